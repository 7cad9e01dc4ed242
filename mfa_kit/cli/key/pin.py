"""`mfa-kit key pin`, `key password` and `key reset`: set the PIN or the password of a key, or erase a FIDO key.

The reset of FIDO is for the FIDO half of a key, but some firmware also erases the OATH half: pico-fido's cbor_reset
(src/fido/cbor_reset.c) erases all of its flash memory. So the OATH credentials are listed before and after.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Unpack

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import PASSWORD_STDIN, PIN_STDIN, RECIPIENT, RECIPIENTS_FILE, WHICH, WHICH_FIDO
from mfa_kit.cli.key.sources import REMEDY, OathHalf, find_oath_half
from mfa_kit.cli.letters import PAPER
from mfa_kit.cli.options import Verb
from mfa_kit.cli.value_types import LocalPath, add_options
from mfa_kit.core.errors import Declined, Lockout, MfaKitError, UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.recorded_keys import KeyEvent
from mfa_kit.oath_keys import choosing
from mfa_kit.oath_keys.choosing import give_password
from mfa_kit.security_keys import pin
from mfa_kit.security_keys.pin import confirm_by_name, give_pin, set_pin_policy

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.text import ResultRow
    from mfa_kit.security_keys.authenticator import KeyInfo, PluggedKey
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
    click.option("-o", "--out", type=LocalPath(), metavar="FILE", help="New file for the encrypted PIN."),
    click.option(
        "--letter",
        type=LocalPath(),
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
    **new_pin: Unpack[wiring.security_keys.NewPinOptions],
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
    **new_pin: Unpack[wiring.security_keys.NewPinOptions],
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


SOME_KEYS = "on some keys, such as pico-fido, a reset erases them too, and IAM still asks for their codes"


@click.command(cls=Verb, needs_config=False, acts_at_once=True)
@WHICH_FIDO
@click.option("--erase-oath", is_flag=True, help="With --yes, accept the loss of OATH credentials on the key.")
def reset(*, wanted: str | None, erase_oath: bool, settings: Settings, output: Output) -> None:
    """Erase the PIN and all credentials of a FIDO key. mfa-kit asks you to unplug the key and plug it in again.

    Some keys erase their OATH credentials too. mfa-kit lists these before and after.
    """
    fido, halves = wiring.security_keys.SecurityKeys(settings), list[OathHalf]()

    def confirm(action: str, info: KeyInfo) -> None:
        """List the OATH credentials, and ask the user to confirm `action`.

        With --yes and --key, ask nothing. Raise UsageFault for --yes without --key. Raise Lockout if the key has or may
        have OATH credentials, for --yes without --erase-oath.
        """
        halves.append(half := find_oath_half(info.plugged, fido, settings))
        if half.at_risk:
            settings.progress.alert(f"this key {half.state}; {SOME_KEYS}")
        names = {info.plugged.serial, *(name for key in half.keys for name in (key.serial, key.identity))}
        if users := _users_of_key(names, settings):
            settings.progress.alert(f"users of this key, according to the ledger: {', '.join(users)}")
        confirm_by_name(action, info, key_name=wanted, yes=settings.yes, interaction=settings.interaction)
        if half.at_risk and settings.yes and not erase_oath:
            raise Lockout(
                "the reset may erase OATH credentials, so nothing was erased", f"{REMEDY}; or add --erase-oath"
            )

    def report(plugged: PluggedKey) -> None:
        """Say which OATH credentials are gone after the reset."""
        if halves[0].at_risk:
            settings.progress.alert(halves[0].loss(find_oath_half(plugged, fido, settings)))

    info = fido.resetter().reset(wanted, confirm=confirm, erased=report)
    facts = halves[0].joined(info.facts)
    if facts.identity:
        wiring.ledger.record_key(settings, KeyEvent.RESET, facts)
    output.one("key-pin", pin_row("reset", info))


def _users_of_key(names: Collection[str | None], settings: Settings) -> list[str]:
    try:
        with wiring.ledger.open_ledger(settings) as ledger:
            return ledger.users_of_key(names)
    except MfaKitError as fault:
        return [f"unknown, because {fault}"]
