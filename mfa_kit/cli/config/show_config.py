"""`mfa-kit config show`."""

from dataclasses import asdict

import click

from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.wiring import config


@click.command("show", cls=Verb)
def show_config(*, output: Output) -> None:
    """Print what the file says; keys that it has not are left out."""
    values = asdict(config.load())
    row = {config.key_of(name): value or None for name, value in values.items()}
    output.one("config-show", {"path": str(config.path()), **row})
