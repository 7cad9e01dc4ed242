"""`mfa-kit key password set`: set an OATH password on a key that has none."""

import click

from mfa_kit import wiring
from mfa_kit.cli.key_options import PASSWORD_STDIN, WHICH
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.oath_keys.password import give_password
from mfa_kit.wiring.settings import Settings


@click.command("set", cls=Verb, needs_config=False)
@WHICH
@PASSWORD_STDIN
def set_password(*, wanted: str | None, password_stdin: bool, settings: Settings, output: Output) -> None:
    """Set an OATH password on a key that has none."""
    key = give_password(wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin), wanted, had=False)
    output.one("key-password", {"password": "set", "serial": key.serial, "where": key.where})
