"""`mfa-kit lab run`. The lab listens on loopback alone, and what runs in it reaches nothing else."""

from typing import Unpack

import click

from mfa_kit.cli.lab.start_options import start_options
from mfa_kit.cli.options import Verb
from mfa_kit.wiring import lab
from mfa_kit.wiring.lab import LabChoices
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
@start_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def run(*, command: tuple[str, ...], settings: Settings, **choices: Unpack[LabChoices]) -> int:
    """Run COMMAND in a lab of its own and return its status: `mfa-kit lab run -- COMMAND`."""
    return lab.run(command, region=settings.region, **choices)
