"""`mfa-kit config show`: print the settings in the configuration file."""

from dataclasses import asdict

import click

from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.wiring import config


@click.command("show", cls=Verb)
def show_config(*, output: Output) -> None:
    """Print the settings in the configuration file; unset keys are omitted."""
    values = asdict(config.load())
    row = {config.key_of(name): value or None for name, value in values.items()}
    output.one("config-show", {"path": str(config.path()), **row})
