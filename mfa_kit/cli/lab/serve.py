"""`mfa-kit lab serve`: run a lab until Ctrl-C."""

from typing import Unpack

import click

from mfa_kit import wiring
from mfa_kit.cli.lab.start_options import start_options
from mfa_kit.cli.options import Verb
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
@start_options
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port on 127.0.0.1 [any].")
def serve(*, port: int, settings: Settings, **choices: "Unpack[wiring.lab.LabChoices]") -> None:
    """Run a lab until Ctrl-C, and print the environment variables to export."""
    wiring.lab.serve(click.echo, region=settings.region, port=port, **choices)
