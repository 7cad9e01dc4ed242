"""`mfa-kit key password set`, `change` and `clear`: the password of a key's OATH applet."""

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import PASSWORD_STDIN, WHICH
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import Declined
from mfa_kit.oath_keys import choosing
from mfa_kit.oath_keys.choosing import give_password
from mfa_kit.wiring.settings import Settings


@click.command("set", cls=Verb, needs_config=False, acts_at_once=True)
@WHICH
@PASSWORD_STDIN
def set_password(*, wanted: str | None, password_stdin: bool, settings: Settings, output: Output) -> None:
    """Set an OATH password on a key that has none."""
    key = give_password(wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin), wanted, had=False)
    output.one("key-password", {"password": "set", "serial": key.serial, "where": key.where})


@click.command("clear", cls=Verb, needs_config=False, acts_at_once=True)
@WHICH
@PASSWORD_STDIN
def clear_password(*, wanted: str | None, password_stdin: bool, settings: Settings, output: Output) -> None:
    """Remove a key's OATH password. Anyone with the key can then read its codes."""
    if not settings.yes:
        raise Declined("this would remove the key's password", "add --yes to confirm")
    key = choosing.clear_password(wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin), wanted)
    output.one("key-password", {"password": "cleared", "serial": key.serial, "where": key.where})


@click.command("change", cls=Verb, needs_config=False, acts_at_once=True)
@WHICH
@PASSWORD_STDIN
def change_password(*, wanted: str | None, password_stdin: bool, settings: Settings, output: Output) -> None:
    """Change a key's OATH password."""
    key = give_password(wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin), wanted, had=True)
    output.one("key-password", {"password": "changed", "serial": key.serial, "where": key.where})
