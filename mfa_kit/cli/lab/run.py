"""`mfa-kit lab run`: run a command in a new lab. The lab listens only on loopback.

The command gets no AWS credentials except those of the lab.
"""

from typing import Unpack

import click

from mfa_kit import wiring
from mfa_kit.cli.lab.start_options import start_options
from mfa_kit.cli.options import Verb
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
@start_options
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def run(*, command: tuple[str, ...], settings: Settings, **choices: "Unpack[wiring.lab.LabChoices]") -> int:
    """Run COMMAND in a new lab: `mfa-kit lab run -- COMMAND`. The exit code is COMMAND's exit code."""
    return wiring.lab.run(command, region=settings.region, progress=settings.progress, **choices)
