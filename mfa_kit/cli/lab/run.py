"""`mfa-kit lab run`. The lab listens on loopback only, and a command in the lab can reach no other account."""

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
    """Run COMMAND in a new lab: `mfa-kit lab run -- COMMAND`. The exit code is that of COMMAND."""
    return lab.run(command, region=settings.region, progress=settings.progress, **choices)
