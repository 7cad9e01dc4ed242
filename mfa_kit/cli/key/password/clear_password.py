"""`mfa-kit key password clear`: remove the OATH password of a key."""

import click

from mfa_kit import wiring
from mfa_kit.cli.key_options import PASSWORD_STDIN, WHICH
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import Declined
from mfa_kit.oath_keys import password
from mfa_kit.wiring.settings import Settings


@click.command("clear", cls=Verb, needs_config=False)
@WHICH
@PASSWORD_STDIN
def clear_password(*, wanted: str | None, password_stdin: bool, settings: Settings, output: Output) -> None:
    """Remove a key's OATH password. Anyone with the key can then read its codes."""
    if not settings.yes:
        raise Declined("this would remove the key's password", "add --yes to confirm")
    key = password.clear_password(wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin), wanted)
    output.one("key-password", {"password": "cleared", "serial": key.serial, "where": key.where})
