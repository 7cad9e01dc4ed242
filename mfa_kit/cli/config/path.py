"""`mfa-kit config path`."""

import click

from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.wiring import config


@click.command(cls=Verb)
def path(*, output: Output) -> None:
    """Print the path of the configuration file, which need not exist."""
    output.one("config-path", {"path": str(config.path())})
