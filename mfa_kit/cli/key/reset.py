"""`mfa-kit key reset`: erase a FIDO key.

The reset of FIDO is for the FIDO half of a key, but some firmware also erases the OATH half: pico-fido's cbor_reset
(src/fido/cbor_reset.c) erases all of its flash memory. So the OATH credentials are listed before and after.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import click

from mfa_kit import wiring
from mfa_kit.cli.key.pin_row import pin_row
from mfa_kit.cli.key.plugged_rows import join_rows
from mfa_kit.cli.key.sources import FidoSource, OathSource
from mfa_kit.cli.key_options import WHICH_FIDO
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import Lockout, MfaKitError, NoApplet
from mfa_kit.core.text import count_of, one_line, without_controls
from mfa_kit.oath_keys.acceptance import ISSUERS
from mfa_kit.oath_keys.credential import OathKey
from mfa_kit.security_keys.authenticator import KeyInfo, Link, PluggedKey
from mfa_kit.security_keys.pin import confirm_by_name
from mfa_kit.wiring.settings import Settings

# The names of AWS credentials begin with an issuer, or are the ARN of a device (aws-vault).
AWS_NAMES = (*(f"{issuer}:" for issuer in ISSUERS), "arn:aws")
REMEDY = "give their users another device: mfa-kit replace USER, or remove the device: mfa-kit revoke USER"


@click.command(cls=Verb, needs_config=False)
@WHICH_FIDO
@click.option(
    "--erase-oath", is_flag=True, help="With --yes, accept that OATH credentials on the key may be erased too."
)
def reset(*, wanted: str | None, erase_oath: bool, settings: Settings, output: Output) -> None:
    """Erase the PIN and all credentials of a FIDO key. mfa-kit asks you to unplug the key and plug it in again.

    Some keys erase their OATH credentials too. mfa-kit lists these before and after.
    """
    fido, halves = wiring.security_keys.SecurityKeys(settings), list[OathHalf]()

    def confirm(what: str, info: KeyInfo) -> None:
        """List the OATH credentials, and ask the user to confirm the action that `what` describes.

        With --yes and --key, ask nothing. Raise UsageFault for --yes without --key. Raise Lockout if the key has or may
        have OATH credentials, for --yes without --erase-oath.
        """
        halves.append(half := _find_oath_half(info.plugged, fido, settings))
        if half.at_risk:
            settings.progress.alert(
                f"this key {half.state}; on some keys, such as pico-fido, a reset erases them too, "
                "and IAM still asks for their codes"
            )
        _name_users([info.plugged.serial, *([half.key.serial, half.key.identity] if half.key else [])], settings)
        confirm_by_name(what, info, wanted=wanted, yes=settings.yes, interaction=settings.interaction)
        if half.at_risk and settings.yes and not erase_oath:
            raise Lockout(
                "the reset may erase OATH credentials of users, so nothing was erased",
                f"{REMEDY}; to erase the key in any case, add --erase-oath",
            )

    def report(plugged: PluggedKey) -> None:
        """Say which OATH credentials are gone after the reset."""
        if halves[0].at_risk:
            settings.progress.alert(halves[0].loss(_find_oath_half(plugged, fido, settings)))

    info = fido.resetter().reset(wanted, confirm=confirm, erased=report)
    output.one("key-pin", pin_row("reset", info))


@dataclass(frozen=True, slots=True)
class OathHalf:
    """The OATH half of a FIDO key. `doubt` says why its credentials are not known, and is empty if they are."""

    key: OathKey | None = None
    doubt: str = ""

    @property
    def labels(self) -> Sequence[str]:
        """The names of the credentials, as far as they are known."""
        return self.key.labels if self.key else ()

    @property
    def at_risk(self) -> bool:
        """Whether the key has OATH credentials, or may have some."""
        return bool(self.labels or self.doubt)

    @property
    def state(self) -> str:
        """What is known about the credentials, as the end of a sentence about the key."""
        if self.doubt:
            return f"may have OATH credentials ({self.doubt})"
        return f"has OATH credentials: {_listed(self.labels)}" if self.labels else "has no OATH credentials"

    def loss(self, after: "OathHalf") -> str:
        """Return a sentence that says what a reset erased. `after` is the OATH half after the reset."""
        if gone := [label for label in self.labels if label not in after.labels and not after.doubt]:
            return f"the reset also erased OATH credentials: {_listed(gone)}; {REMEDY}"
        if self.doubt and not after.at_risk:
            return f"the key now has no OATH credentials; if it had any, they are gone, so {REMEDY}"
        return f"after the reset, the key {after.state}"


def _listed(labels: Sequence[str]) -> str:
    """Return the names of the AWS credentials, and how many others there are."""
    names = [one_line(label) for label in labels if label.startswith(AWS_NAMES)]
    others = len(labels) - len(names)
    return ", ".join([*names, *([f"{count_of(others, 'credential')} of other services"] if others else [])])


def _find_oath_half(plugged: PluggedKey, fido: "wiring.security_keys.SecurityKeys", settings: Settings) -> OathHalf:
    """Read the OATH half of a FIDO key. Without one, each OATH key that may be the same device is a doubt."""
    try:
        fido_rows, _ = FidoSource(fido, wanted=plugged.where).rows()
        oath = wiring.oath_keys.OathKeys(settings)
        oath_rows, faults = OathSource(oath, beside=fido.find_same_device, wanted=plugged.where).rows()
    except MfaKitError as fault:
        return OathHalf(doubt=str(fault))
    rows = join_rows(fido_rows, oath_rows)
    for row in rows:
        if row.oath and plugged.where in row.where:
            return OathHalf(row.oath, "it is locked with a password" if row.oath.password else "")
    doubts = [str(fault) for fault in faults if not isinstance(fault, NoApplet)]
    if plugged.link is Link.PCSC:
        # Both halves would be in this reader.
        return OathHalf(doubt="; ".join(doubt for doubt in doubts if without_controls(plugged.where) in doubt))
    doubts += [
        f"the OATH key in {row.oath.where} may be the same device"
        for row in rows
        if row.oath and (len(row.details) == 1 or (plugged.serial and plugged.serial == row.oath.serial))
    ]
    if len(doubts) == len(faults) == 0 and fido.has_card_interface(plugged):
        doubts.append("PC/SC does not list the key as a smart card reader")
    return OathHalf(doubt="; ".join(doubts))


def _name_users(names: Sequence[str | None], settings: Settings) -> None:
    """Print the users whose devices are on a key, according to the ledger."""
    try:
        users = wiring.key_users.find_users(settings, [name for name in names if name])
    except MfaKitError as fault:
        settings.progress.alert(f"the users of this key are unknown: {fault}; {fault.hint}")
        return
    if users:
        settings.progress.alert(f"users of this key, according to the ledger: {', '.join(users)}")
