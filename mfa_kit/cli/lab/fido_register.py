"""`mfa-kit lab fido-register`: register a FIDO key in the lab."""

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb


@click.command("fido-register", cls=Verb)
@click.argument("user")
@click.argument("name")
def fido_register(*, user: str, name: str) -> None:
    """Register a FIDO key NAME for USER in the lab. In AWS, only the console can register keys."""
    click.echo(wiring.lab.register_fido_key(user, name))
