"""`mfa-kit key password change`: change the OATH password of a key."""

import click

from mfa_kit import wiring
from mfa_kit.cli.key_options import PASSWORD_STDIN, WHICH
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.oath_keys.password import give_password
from mfa_kit.wiring.settings import Settings


@click.command("change", cls=Verb, needs_config=False)
@WHICH
@PASSWORD_STDIN
def change_password(*, wanted: str | None, password_stdin: bool, settings: Settings, output: Output) -> None:
    """Change a key's OATH password."""
    key = give_password(wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin), wanted, had=True)
    output.one("key-password", {"password": "changed", "serial": key.serial, "where": key.where})
