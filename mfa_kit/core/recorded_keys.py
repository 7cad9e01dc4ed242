"""What is known about physical keys: what each key reported, what of it was attested, and which MFA devices are on it.

A key has an identity in the ledger. FIDO and OATH on one key have the same identity if both report the same serial, or
if they were at the same USB device or reader when they were seen. Otherwise they count as two keys.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import NamedTuple, Protocol

from mfa_kit.core.models import Device

# Matches the names and the reader names of Yubico's keys. Such a name need not begin with the vendor's name.
_YUBICO = re.compile(r"yubi|yk4", re.IGNORECASE)


class KeyEvent(StrEnum):
    """Why a key was seen. RESET: all its FIDO credentials, and on some keys its OATH credentials, were erased."""

    ENROLLED = "enrolled"
    VERIFIED = "verified"
    RESET = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFacts:
    """What is known about a key. A field is None or empty if it is unknown.

    `attested` has the names of the fields that the key's attestation proves. The key only claims the other fields, and
    a user chose `label`. `vendor` is the vendor's name from the interface that reports the serial, in lower case.
    `certifications` are those of the attested model in the FIDO metadata, or those that the key claims. `certificate`
    is the SHA-256 of the attestation certificate in hex. Many keys share such a certificate.
    `card` is the identity of the OATH applet, which changes with each reset of the applet.
    """

    serial: str | None = None
    model: str | None = None
    firmware: str | None = None
    aaguid: str | None = None
    certifications: tuple[str, ...] = ()
    certificate: str | None = None
    card: str | None = None
    label: str | None = None
    vendor: str = ""
    attested: frozenset[str] = frozenset()

    @property
    def identity(self) -> str | None:
        """The identity of the key in the ledger, or None if nothing that the key reports distinguishes it.

        Two vendors can use the same serial, so the identity includes the vendor.
        """
        if self.serial:
            return f"serial:{self.vendor}:{self.serial}"
        return f"card:{self.card}" if self.card else None

    @property
    def name(self) -> str:
        """The model and the serial, or else the label or the OATH identity, for users."""
        return " ".join(filter(None, [self.model or "key", self.serial or self.label or self.card]))

    def joined(self, other: "KeyFacts") -> "KeyFacts":
        """Return the facts of both about the same key. An attested fact counts more, then one of `self`."""
        known = {}
        for name in FACTS:
            mine, others = getattr(self, name), getattr(other, name)
            known[name] = others if not mine or (name in other.attested and name not in self.attested) else mine
        vendor = self.vendor if self.serial else other.vendor
        return KeyFacts(**known, vendor=vendor, attested=self.attested | other.attested)

    def recorded_with(self, fido: "KeyFacts") -> "tuple[KeyFacts, ...]":
        """Return all facts under which the key is recorded: these, and those of its FIDO half if it has another serial.

        Then the key is found by each of the serials, also after one half no longer reports its own.
        """
        return (self, *([fido] if fido.identity not in {None, self.identity} else []))

    def beside(self, oath: "KeyFacts") -> "KeyFacts":
        """Return the facts of a FIDO key, joined with those of the OATH key that is the same device.

        The serial that OATH reports counts more, because it is the one that is printed on the key.
        """
        joined = self.joined(oath)
        return replace(joined, serial=oath.serial, vendor=oath.vendor) if oath.serial else joined


# The names of the facts that a row of the ledger has, without the one that says which of them are attested.
FACTS = [fact.name for fact in fields(KeyFacts) if fact.name not in {"vendor", "attested"}]


def vendor_of(product: str | None) -> str:
    """Return the vendor's name at the beginning of a product's name, in lower case; "" if the name is unknown."""
    return "yubico" if _YUBICO.search(product or "") else (product or "").partition(" ")[0].lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDevice:
    """An MFA device that was on a key at the Unix time `at`.

    `run` is the run that made the device, and `since` IAM's EnableDate, in Unix seconds; None if unknown. `card` is the
    identity of the OATH applet that has the device's secret, or None for a FIDO credential. `erased` means that the key
    was reset afterward. IAM may still list the device. `revoked` means that mfa-kit has removed the device from IAM.
    """

    account: str
    user: str
    serial: str
    at: float = 0.0
    run: str | None = None
    since: float | None = None
    card: str | None = None
    erased: bool = False
    revoked: bool = False

    @property
    def made_as(self) -> tuple[str, ...]:
        """What distinguishes the device from others, also from a later device with the same serial."""
        return (self.account, self.serial, self.user, str(self.since or self.run))

    @property
    def is_in_use(self) -> bool:
        """Whether the device is on its key, and in IAM unless another tool has removed it there."""
        return not self.erased and not self.revoked

    def after_reset(self, *, is_oath: bool) -> "KeyDevice":
        """Return the record of the device after its key's OATH applet was reset, or else its FIDO applet."""
        return replace(self, erased=True) if is_oath == (self.card is not None) else self


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySighting:
    """One row of the ledger: at the Unix time `at`, the key with this identity was seen, with a device or without.

    `computer` is the computer that recorded it in a shared ledger, otherwise None. `own` means that this role and this
    computer recorded it.
    """

    identity: str
    at: float
    event: KeyEvent
    facts: KeyFacts
    device: KeyDevice | None = None
    computer: str | None = None
    own: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedKey:
    """A physical key, with all that the ledger knows about it. `seen` is when it was last seen, in Unix seconds.

    `cards` are the identities that its OATH applet had, and `computers` those that recorded it in a shared ledger.
    `reset_here` means that this role and computer reset the key, and nobody has seen it since.
    """

    identity: str
    facts: KeyFacts
    seen: float
    devices: tuple[KeyDevice, ...] = ()
    cards: tuple[str, ...] = ()
    computers: tuple[str, ...] = ()
    reset_here: bool = False

    def answers_to(self, name: str) -> bool:
        """Return whether `name` is the serial, the label, the name, an OATH identity or the identity of the key."""
        return name in {self.facts.serial, self.facts.label, self.facts.name, self.identity, *self.cards}


class KeyRecords(Protocol):
    """The record of all physical keys that were seen when devices were enrolled or verified."""

    def all(self) -> list[RecordedKey]:
        """Return all recorded keys with their devices, the key that was seen first, first. This takes one query."""
        ...


# The devices on a key, by what they were made as.
_Devices = dict[tuple[str, ...], KeyDevice]


def merge_sightings(sightings: Iterable[KeySighting]) -> list[RecordedKey]:
    """Return a RecordedKey for each identity in `sightings`, which are ordered from old to new."""
    sightings = list(sightings)
    # A key may report its serial through only one of FIDO and OATH. Then its OATH identity shows that it is the key.
    identity_of_card = {sighting.facts.card: sighting.identity for sighting in sightings if sighting.facts.serial}
    by_identity: dict[str, list[KeySighting]] = {}
    for sighting in sightings:
        has_serial, card = sighting.facts.serial, sighting.facts.card
        identity = sighting.identity if has_serial or not card else identity_of_card.get(card, sighting.identity)
        by_identity.setdefault(identity, []).append(sighting)
    return [_merged(identity, of_key) for identity, of_key in by_identity.items()]


def _after_reset(devices: _Devices, *, is_oath: bool) -> _Devices:
    return {name: device.after_reset(is_oath=is_oath) for name, device in devices.items()}


def _merged(identity: str, sightings: Sequence[KeySighting]) -> RecordedKey:
    facts = KeyFacts()
    devices: _Devices = {}
    cards: list[str] = []
    for sighting in sightings:
        facts = sighting.facts.joined(facts)
        card = sighting.facts.card
        if card and card not in cards:
            if cards:  # the identity of an OATH applet changes only if the applet is reset
                devices = _after_reset(devices, is_oath=True)
            cards.append(card)
        if sighting.event is KeyEvent.RESET:
            devices = _after_reset(devices, is_oath=False)
        if sighting.device:
            devices[sighting.device.made_as] = sighting.device
    return RecordedKey(
        identity=identity,
        facts=facts,
        seen=max(sighting.at for sighting in sightings),
        devices=tuple(devices.values()),
        cards=tuple(cards),
        computers=tuple(dict.fromkeys(sighting.computer for sighting in sightings if sighting.computer)),
        reset_here=sightings[-1].event is KeyEvent.RESET and sightings[-1].own,
    )


class KeyOfDevice(NamedTuple):
    """The key on which a device is or was, and the record of the device."""

    key: RecordedKey
    device: KeyDevice


@dataclass(frozen=True, slots=True)
class KeysOfDevices:
    """The keys of devices, by the account and the serial of the device."""

    by_serial: Mapping[tuple[str, str], Sequence[KeyOfDevice]]

    @classmethod
    def of(cls, keys: Iterable[RecordedKey]) -> "KeysOfDevices":
        """Return the keys of all devices in `keys`."""
        by_serial: dict[tuple[str, str], list[KeyOfDevice]] = {}
        for key in keys:
            for device in key.devices:
                by_serial.setdefault((device.account, device.serial), []).append(KeyOfDevice(key, device))
        return cls(by_serial)

    def find(self, account: str, device: Device) -> KeyOfDevice | None:
        """Return the key that a device of an account was last on, or None if it is unknown.

        ARNs are used again, so a record counts only if it has the device's user and EnableDate. The case of user names
        does not matter in IAM.
        """
        records = [
            record
            for record in self.by_serial.get((account, device.serial), ())
            if record.device.user.casefold() == (device.user or "").casefold()
            and record.device.since == device.since is not None
        ]
        return max(records, key=lambda record: record.device.at, default=None)
