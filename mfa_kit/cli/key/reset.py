"""`mfa-kit key reset`: erase a FIDO key.

The reset of FIDO is for the FIDO half of a key, but some firmware also erases the OATH half: pico-fido's cbor_reset
(src/fido/cbor_reset.c) erases all of its flash memory. So the OATH credentials are listed before and after.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import WHICH_FIDO
from mfa_kit.cli.key.pin import pin_row
from mfa_kit.cli.key.sources import FidoSource, OathSource, join_rows
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import Lockout, MfaKitError, NoApplet
from mfa_kit.core.message import suggest
from mfa_kit.core.recorded_keys import KeyEvent, KeyFacts, vendor_of
from mfa_kit.core.text import count_of, one_line
from mfa_kit.oath_keys.credential import OathKey
from mfa_kit.oath_keys.sharing import ISSUERS
from mfa_kit.security_keys.authenticator import KeyInfo, Link, PluggedKey
from mfa_kit.security_keys.pin import confirm_by_name
from mfa_kit.wiring.settings import Settings

# The names of AWS credentials begin with an issuer, or are the ARN of a device (aws-vault).
AWS_NAMES = (*(f"{issuer}:" for issuer in ISSUERS), "arn:aws")
REMEDY = suggest("give their users another device", "replace USER --with KIND")
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
        try:
            with wiring.ledger.open_ledger(settings) as ledger:
                users = ledger.users_of_key(names)
        except MfaKitError as fault:
            users = [f"unknown, because {fault}"]
        if users:
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


@dataclass(frozen=True, slots=True)
class OathHalf:
    """The OATH half of a FIDO key: the OATH key that is the same device, or each one that may be.

    `doubts` are the reasons why it is not certain which OATH key is the same device, or whether one is.
    """

    keys: Sequence[OathKey] = ()
    doubts: Sequence[str] = ()

    @property
    def doubt(self) -> str:
        """Why the credentials are not certain, or "" if they are."""
        return "; ".join([*self.doubts, *("it is locked with a password" for key in self.keys if key.password)])

    @property
    def labels(self) -> list[str]:
        """The names of the credentials, as far as they can be read."""
        return [label for key in self.keys for label in key.labels]

    @property
    def has_applet(self) -> bool | None:
        """Whether the key has an OATH applet; None if that is unknown."""
        return None if self.doubts else bool(self.keys)

    @property
    def at_risk(self) -> bool:
        """Whether the key has OATH credentials, or may have some."""
        return bool(self.labels or self.doubt)

    @property
    def state(self) -> str:
        """What is known about the credentials, as the end of a sentence about the key."""
        listed = f": {_listed(self.labels)}" if self.labels else ""
        if self.doubt:
            return f"may have OATH credentials ({self.doubt}){listed}"
        return f"has OATH credentials{listed}" if listed else "has no OATH credentials"

    def joined(self, facts: KeyFacts) -> KeyFacts:
        """Return these facts about the FIDO key, with those about the OATH half if it is certain."""
        return facts.beside(self.keys[0].facts) if len(self.keys) == 1 and not self.doubts else facts

    def loss(self, after: "OathHalf") -> str:
        """Return a sentence that says what a reset erased. `after` is the OATH half after the reset."""
        readable = not after.doubt or (after.keys and not any(key.password for key in after.keys))
        if gone := [label for label in self.labels if readable and label not in after.labels]:
            return f"the reset also erased OATH credentials: {_listed(gone)}; {REMEDY}"
        if self.doubt and not after.at_risk:
            return f"the key now has no OATH credentials; if it had any, they are gone, so {REMEDY}"
        return f"after the reset, the key {after.state}"


def _listed(labels: Sequence[str]) -> str:
    """Return the names of the AWS credentials, and how many others there are."""
    names = [one_line(label) for label in labels if label.startswith(AWS_NAMES)]
    others = len(labels) - len(names)
    return ", ".join([*names, *([f"{count_of(others, 'credential')} of other services"] if others else [])])


def find_oath_half(plugged: PluggedKey, fido: "wiring.security_keys.SecurityKeys", settings: Settings) -> OathHalf:
    """Read the OATH half of a FIDO key. If none is certain, each OATH key or error that may be about it is a doubt."""
    try:
        fido_rows, _ = FidoSource(fido, key_name=plugged.where).rows()
        oath = wiring.oath_keys.OathKeys(settings)
        oath_rows, faults = OathSource(oath, beside=fido.find_same_device, key_name=plugged.where).rows()
    except MfaKitError as fault:
        return OathHalf(doubts=[str(fault)])
    rows = [(row, row.oath) for row in join_rows(fido_rows, oath_rows) if row.oath]
    if same := [key for row, key in rows if plugged.where in row.where]:
        return OathHalf(same)
    keys = [key for row, key in rows if len(row.details) == 1 or key.serial in {plugged.serial} - {None}]
    doubts = _doubts(keys, faults)
    if not (faults or doubts) and plugged.link is Link.HID and fido.is_card(plugged.where):
        doubts = ["PC/SC does not list the key as a smart card reader"]
    return OathHalf(keys, doubts)


def _doubts(keys: Sequence[OathKey], faults: Sequence[MfaKitError]) -> list[str]:
    """Return a doubt for each of these keys and errors, except for cards that are no OATH keys."""
    return [
        *(str(fault) for fault in faults if not isinstance(fault, NoApplet)),
        *(f"the OATH key in {key.where} may be the same device" for key in keys),
    ]
