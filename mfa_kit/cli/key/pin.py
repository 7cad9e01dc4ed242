"""`mfa-kit key pin` and `key password`: the PIN of a FIDO key and the rules for it, and the password of an OATH key."""

from pathlib import Path
from typing import Unpack

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import PASSWORD_STDIN, PIN_STDIN, RECIPIENT, RECIPIENTS_FILE, WHICH, WHICH_FIDO
from mfa_kit.cli.letters import PAPER
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.value_types import add_options
from mfa_kit.core.errors import Declined, UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.text import ResultRow
from mfa_kit.oath_keys import choosing
from mfa_kit.oath_keys.choosing import give_password
from mfa_kit.security_keys import pin
from mfa_kit.security_keys.authenticator import KeyInfo
from mfa_kit.security_keys.pin import confirm_by_name, give_pin, set_pin_policy
from mfa_kit.wiring.settings import Settings


def pin_row(outcome: str, info: KeyInfo) -> ResultRow:
    """Return the row of schema `key-pin`: `outcome` says what was done, and `info` is the key's state afterward."""
    return {
        "outcome": outcome,
        "key": info.plugged.product or "security key",
        "serial": info.plugged.serial,
        "where": info.plugged.where,
        "pin": bool(info.pin_set),
        "tries_left": info.pin_retries,
        "min_pin_length": info.min_pin_length,
        "force_pin_change": info.force_pin_change,
    }


new_pin_options = add_options(
    WHICH_FIDO,
    click.option(
        "--pin-stdin",
        is_flag=True,
        help="Read the PIN from stdin (for `change`: old, then new, one per line).",
    ),
    click.option(
        "--generate",
        is_flag=True,
        help="Generate a PIN of digits and show it once. With -r and -o, write it to an encrypted file instead.",
    ),
    RECIPIENT,
    RECIPIENTS_FILE,
    click.option(
        "-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="New file for the encrypted PIN."
    ),
    click.option(
        "--letter",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="With --generate: new PDF file for a letter with the PIN, unencrypted.",
    ),
    PAPER,
)


@click.command("set", cls=Verb, needs_config=False, acts_at_once=True)
@new_pin_options
def set_pin(
    *,
    wanted: str | None,
    pin_stdin: bool,
    settings: Settings,
    output: Output,
    **new_pin: "Unpack[wiring.security_keys.NewPinOptions]",
) -> None:
    """Set a PIN on a FIDO key that has none."""
    keys = wiring.security_keys.SecurityKeys(settings, pin_stdin=pin_stdin)
    source = keys.new_pin(new_pin)
    info = give_pin(keys, wanted, source, pin.set_pin, progress=settings.progress)
    output.one("key-pin", pin_row("set", info))


@click.command("change", cls=Verb, needs_config=False, acts_at_once=True)
@new_pin_options
def change_pin(
    *,
    wanted: str | None,
    pin_stdin: bool,
    settings: Settings,
    output: Output,
    **new_pin: "Unpack[wiring.security_keys.NewPinOptions]",
) -> None:
    """Change the PIN of a FIDO key."""
    keys = wiring.security_keys.SecurityKeys(settings, pin_stdin=pin_stdin)
    source = keys.new_pin(new_pin)
    info = give_pin(
        keys, wanted, source, lambda key, new: pin.change_pin(key, keys.pins(), new), progress=settings.progress
    )
    output.one("key-pin", pin_row("changed", info))


@click.command("policy", cls=Verb, needs_config=False, acts_at_once=True)
@WHICH_FIDO
@click.option(
    "--min-length", "shortest", type=click.IntRange(4, 63), help="Minimum length of the PIN. It can only be raised."
)
@click.option("--force-change", is_flag=True, help="Require a new PIN before the key is used again.")
@PIN_STDIN
def pin_policy(
    *,
    wanted: str | None,
    shortest: int | None,
    force_change: bool,
    pin_stdin: bool,
    settings: Settings,
    output: Output,
) -> None:
    """Set the minimum PIN length of a FIDO key, or require a new PIN before the key is used again."""
    if shortest is None and not force_change:
        raise UsageFault("key pin policy needs an option", "add --min-length N, --force-change, or both")
    keys = wiring.security_keys.SecurityKeys(settings, pin_stdin=pin_stdin)
    with keys.open(wanted) as opened:
        before = opened.info()

        def confirm(action: str) -> None:
            """Ask the user to confirm `action`.

            With --yes and --key, ask nothing. Raise UsageFault for --yes without --key.
            """
            confirm_by_name(action, before, key_name=wanted, yes=settings.yes, interaction=settings.interaction)

        info = set_pin_policy(opened, keys.pins(), shortest=shortest, force_change=force_change, confirm=confirm)
    output.one("key-pin", pin_row("policy set", info))
    if info.force_pin_change:
        settings.progress.alert(suggest("the key now requires a new PIN", "key pin change"))


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
