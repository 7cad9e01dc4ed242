"""`mfa-kit key reset`: erase a FIDO key.

The reset of FIDO is for the FIDO half of a key, but some firmware also erases the OATH half: pico-fido's cbor_reset
(src/fido/cbor_reset.c) erases all of its flash memory. So the OATH credentials are listed before and after.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import WHICH_FIDO
from mfa_kit.cli.key.pin import pin_row
from mfa_kit.cli.key.sources import REMEDY, OathHalf, find_oath_half
from mfa_kit.cli.options import Verb
from mfa_kit.core.errors import Lockout, MfaKitError
from mfa_kit.core.recorded_keys import KeyEvent, KeyFacts, vendor_of
from mfa_kit.security_keys.pin import confirm_by_name

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.security_keys.authenticator import KeyInfo, PluggedKey
    from mfa_kit.wiring.settings import Settings

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
    facts = halves[0].joined(
        KeyFacts(
            serial=info.plugged.serial,
            model=info.plugged.product,
            aaguid=info.aaguid,
            vendor=vendor_of(info.plugged.product),
        )
    )
    if facts.identity:
        wiring.ledger.record_key(settings, KeyEvent.RESET, facts)
    output.one("key-pin", pin_row("reset", info))


def _users_of_key(names: Collection[str | None], settings: Settings) -> list[str]:
    try:
        with wiring.ledger.open_ledger(settings) as ledger:
            return ledger.users_of_key(names)
    except MfaKitError as fault:
        return [f"unknown, because {fault}"]
