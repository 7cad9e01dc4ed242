"""The rows of `key list` and `key info`: one row per key, even if the key is of several kinds, and the key's users.

Also finds the OATH half of a FIDO key.

A KeySource supplies the rows of one kind of key. Without a shared ledger, no users are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from mfa_kit import wiring
from mfa_kit.core.errors import MfaKitError, NoApplet
from mfa_kit.core.message import clauses, suggest
from mfa_kit.core.recorded_keys import KeyDevice, KeyFacts, RecordedKey, vendor_of
from mfa_kit.core.text import Cell, ResultRow, count_of, one_line
from mfa_kit.oath_keys.sharing import ISSUERS
from mfa_kit.security_keys.authenticator import KeyInfo, Link, Model, PluggedKey

if TYPE_CHECKING:
    from mfa_kit.core.interaction import Progress
    from mfa_kit.oath_keys.credential import OathKey
    from mfa_kit.wiring.settings import Settings

# COSE algorithms (IANA) that keys sign with, by number.
ALGORITHMS = {-7: "ES256", -8: "EdDSA", -35: "ES384", -36: "ES512", -37: "PS256", -257: "RS256", -9: "ESP256"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRow:
    """A key in a list, with what one or more sources (FidoSource, OathSource) found out about it.

    `own` has the fields that only one source has. Their names begin with `fido_` or `oath_`. `where` are the reader
    names or USB device paths of the key. `names` are further names that `--key` accepts. `details` has a function for
    each source, and each function reads more from the key. One device can be both an OATH key and a FIDO key. In the
    row of an OATH key, `beside` is a function that returns the USB device path or reader name of the FIDO key in the
    same device, or None if there is none. `oath` is the OATH key, or None in the row of a FIDO key.
    """

    key: str
    serial: str | None
    firmware: str | None
    transports: tuple[str, ...]
    where: tuple[str, ...]
    own: Mapping[str, Cell] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    details: tuple[Callable[[], ResultRow], ...] = ()
    beside: Callable[[], str | None] = lambda: None
    oath: OathKey | None = None

    def answers_to(self, name: str) -> bool:
        """Return whether `name` is the key's serial, or is in `where` or `names`."""
        return name in {self.serial, *self.where, *self.names}

    def joined(self, other: KeyRow) -> KeyRow:
        """Return one row merged from two rows of the same key."""
        return KeyRow(
            key=self.key,
            serial=self.serial or other.serial,
            firmware=self.firmware if self.firmware is not None else other.firmware,
            transports=tuple(dict.fromkeys([*self.transports, *other.transports])),
            where=tuple(dict.fromkeys([*self.where, *other.where])),
            own={**self.own, **{name: cell for name, cell in other.own.items() if self.own.get(name) is None}},
            names=(*self.names, *other.names),
            details=(*self.details, *other.details),
            oath=self.oath or other.oath,
        )

    def common(self) -> dict[str, Cell]:
        """Return the fields that every source has."""
        return {
            "key": self.key,
            "serial": self.serial,
            "firmware": self.firmware,
            "transports": self.transports,
            "where": self.where,
        }

    def cells(self) -> dict[str, Cell]:
        """Return the key as a result row, common fields first."""
        return {**self.common(), **self.own}


class KeySource(Protocol):
    """A kind of key, such as FIDO keys, and the way to find the keys of this kind."""

    def rows(self) -> tuple[Sequence[KeyRow], Sequence[MfaKitError]]:
        """Return the connected keys of this kind, and an error for each key that cannot be read."""
        ...

    def state(self) -> object:
        """Return a value that changes when a key is plugged in or removed. Does not access the keys."""
        ...


class FidoSource:
    """Finds FIDO security keys.

    With `count`, the details of a key include the number of its resident credentials. Counting them needs the PIN. If
    `key_name` is the name of a reader, no other reader is opened.
    """

    def __init__(
        self, keys: wiring.security_keys.SecurityKeys, *, count: bool = False, key_name: str | None = None
    ) -> None:
        self._keys, self._count, self._key_name = keys, count, key_name

    def rows(self) -> tuple[Sequence[KeyRow], Sequence[MfaKitError]]:
        """Return a row per key, and an error for each key that could not be read."""
        infos, faults = self._keys.infos(self._key_name)
        return [_fido_row(info, details=partial(self._details, info.plugged.where)) for info in infos], faults

    def state(self) -> object:
        """Return a value that changes when a key is plugged in or removed. Does not access the keys."""
        return self._keys.state()

    def _details(self, place: str) -> ResultRow:
        """Return what the key at `place` (USB path or reader) reports about itself, and the model it claims to be."""
        info, claimed = self._keys.describe(place, count=self._count)
        return {**_fido_row(info).cells(), **_fido_details(info, claimed)}


class OathSource:
    """Finds keys with an OATH applet.

    The function `beside` takes the name of the reader that has an OATH key. If the same device is also a FIDO key,
    `beside` returns the USB device path or reader name of that FIDO key, otherwise None. If `key_name` is the name of a
    reader, no other reader is opened.
    """

    def __init__(
        self,
        keys: wiring.oath_keys.OathKeys,
        *,
        beside: Callable[[str], str | None],
        key_name: str | None = None,
    ) -> None:
        self._keys, self._beside, self._key_name = keys, beside, key_name

    def rows(self) -> tuple[Sequence[KeyRow], Sequence[MfaKitError]]:
        """Return a row per key, and an error for each reader in which no key could be read."""
        keys, faults = self._keys.look(self._key_name)
        return [self._row(key) for key in keys], faults

    def _row(self, key: OathKey) -> KeyRow:
        return replace(
            _oath_row(key),
            names=(key.reader, key.identity),
            details=(partial(self._details, key),),
            beside=partial(self._beside, key.reader),
            oath=key,
        )

    def state(self) -> object:
        """Return a value that changes when a card is inserted or removed. Does not access the keys."""
        return self._keys.state()

    def _details(self, key: OathKey) -> ResultRow:
        """Return what a key reports about itself, and the names of its credentials.

        A key with a password is unlocked first: the password is typed, or comes from stdin with --password-stdin.
        """
        with self._keys.open(key) as applet:
            names = sorted(name.decode(errors="replace") for name in applet.names())
        return {
            **_oath_row(key).cells(),
            "oath_used": len(names),
            "oath_free": key.left(len(names)),
            "oath_identity": key.identity,
            "credentials": names,
        }


def _fido_row(info: KeyInfo, *, details: Callable[[], ResultRow] | None = None) -> KeyRow:
    pin = "locked" if info.pin_locked else info.pin_set
    return KeyRow(
        key=info.plugged.product or "security key",
        serial=info.plugged.serial,
        firmware=info.firmware and str(info.firmware),
        transports=info.transports or (info.plugged.link.value,),
        where=(info.plugged.where,),
        own={"fido_versions": info.versions, "fido_aaguid": info.aaguid, "fido_pin": pin},
        details=(details,) if details else (),
    )


def _fido_details(info: KeyInfo, claimed: Model | None) -> ResultRow:
    options = info.options
    return {
        "fido_claims_to_be": claimed.name if claimed else None,
        "fido_extensions": info.extensions,
        "fido_algorithms": [ALGORITHMS.get(algorithm, str(algorithm)) for algorithm in info.algorithms],
        "fido_options": [name if on else f"no {name}" for name, on in options.items()],
        "fido_certifications": [f"{name} {level}" for name, level in info.certifications.items()],
        "fido_pin_tries_left": info.pin_retries,
        "fido_min_pin_length": info.min_pin_length if info.ctap2 else None,
        "fido_force_pin_change": info.force_pin_change if info.ctap2 else None,
        "fido_pin_complexity": info.pin_complexity,
        "fido_long_touch_for_reset": info.long_touch_for_reset or None,
        "fido_transports_for_reset": info.transports_for_reset,
        "fido_user_verification": options.get("uv"),
        "fido_always_uv": options.get("alwaysUv"),
        "fido_enterprise_attestation": options.get("ep"),
        "fido_resident_used": info.resident_used,
        "fido_resident_free": info.resident_free,
    }


def _oath_row(key: OathKey) -> KeyRow:
    return KeyRow(
        key=key.what,
        serial=key.serial,
        firmware=key.firmware,
        transports=(key.transport,),
        where=(key.where,),
        own={"oath_used": key.used, "oath_free": key.free, "oath_password": key.password},
    )


def complain(faults: Sequence[MfaKitError], progress: Progress) -> None:
    """Print errors of keys on stderr, each with its hint."""
    for fault in faults:
        progress.alert(clauses([str(fault), fault.hint]))


@dataclass(frozen=True, slots=True)
class PluggedRows:
    """The keys that were found (`rows`), and an error for each key that could not be read (`faults`).

    `missing` has an error for each kind of key for which mfa-kit cannot search at all.
    """

    rows: list[KeyRow]
    faults: list[MfaKitError]
    missing: list[MfaKitError]


def look(sources: Sequence[KeySource]) -> PluggedRows:
    """Return the keys of all sources, and the errors.

    If a key was found, errors of cards without an OATH applet are left out. An error that several sources report is
    returned once.
    """
    key_rows: list[KeyRow] = []
    faults: list[MfaKitError] = []
    missing: list[MfaKitError] = []
    for source in sources:
        try:
            rows, wrong = source.rows()
        except MfaKitError as fault:
            missing.append(fault)
            continue
        faults = [*{str(fault): fault for fault in [*faults, *wrong]}.values()]
        key_rows = join_rows(key_rows, rows)
    return PluggedRows(key_rows, [fault for fault in faults if not (key_rows and isinstance(fault, NoApplet))], missing)


def join_rows(earlier_rows: Sequence[KeyRow], rows: Sequence[KeyRow]) -> list[KeyRow]:
    """Add the keys in `rows`, which come from one source, to those in `earlier_rows`, which come from earlier sources.

    If two rows are about the same key, they become one row. Two rows with the same serial are about the same key if
    they come from different sources. If they come from the same source, they are about two keys.
    """
    joined, free = [*earlier_rows], list(range(len(earlier_rows)))
    for row in rows:
        index = _same(row, [(number, earlier_rows[number]) for number in free], rows)
        if index is None:
            joined.append(row)
        else:
            free.remove(index)
            joined[index] = joined[index].joined(row)
    return joined


def _same(row: KeyRow, others: Sequence[tuple[int, KeyRow]], rows: Sequence[KeyRow]) -> int | None:
    """Return the index of the row in `others` that is about the same key as `row`, or None if there is no such row.

    `others` has pairs of an index and a row. `rows` are all rows of the source of `row`. Two rows are about the same
    key in each of these cases: they have the same reader name or USB path, they have the same serial, `row.beside`
    returns a reader name or USB path of the other row, or the reader is named after the key (see `_by_name`).
    """
    by_place = [number for number, other in others if set(row.where) & set(other.where)]
    by_serial = [number for number, other in others if row.serial and row.serial == other.serial]
    if by_place or by_serial or not others:
        return next(iter(by_place or by_serial), None)
    beside = row.beside()
    by_device = next((number for number, other in others if beside in other.where), None)
    return _by_name(row, others, rows) if by_device is None else by_device


def _by_name(row: KeyRow, others: Sequence[tuple[int, KeyRow]], rows: Sequence[KeyRow]) -> int | None:
    """Return the index of the row in `others` after whose key the reader of `row` is named.

    A USB key is its own reader, so the name of the reader begins with the name of the key. Return None unless exactly
    one row in `others` matches. Also return None if several rows in `rows` match that row.
    """
    named = [(number, other) for number, other in others if _named_after(row, other)]
    if len(named) != 1 or sum(_named_after(source_row, named[0][1]) for source_row in rows) != 1:
        return None
    return named[0][0]


def _named_after(row: KeyRow, other: KeyRow) -> bool:
    return any(place.startswith(other.key) for place in row.where)


# The names of AWS credentials begin with an issuer, or are the ARN of a device (aws-vault).
AWS_NAMES = (*(f"{issuer}:" for issuer in ISSUERS), "arn:aws")
REMEDY = suggest("give their users another device", "replace USER --with KIND")


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

    def loss(self, after: OathHalf) -> str:
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


def find_oath_half(plugged: PluggedKey, fido: wiring.security_keys.SecurityKeys, settings: Settings) -> OathHalf:
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
    return OathHalf(keys, _doubts(keys, faults, unseen=plugged.link is Link.HID and fido.is_card(plugged.where)))


def _doubts(keys: Sequence[OathKey], faults: Sequence[MfaKitError], *, unseen: bool) -> list[str]:
    """Return a doubt for each of these keys and errors, except for cards that are no OATH keys.

    `unseen` means that the key is a smart card, so that PC/SC should list it.
    """
    doubts = [
        *(str(fault) for fault in faults if not isinstance(fault, NoApplet)),
        *(f"the OATH key in {key.where} may be the same device" for key in keys),
    ]
    if unseen and not faults and not doubts:
        return ["PC/SC does not list the key as a smart card reader"]
    return doubts


def key_users(settings: Settings) -> wiring.ledger.KeyUsers | None:
    """Return the users of keys from the ledger, or None if the ledger is not shared or cannot be used.

    The keys themselves can be listed without the ledger, so an error of the ledger is printed and not raised.
    """
    try:
        return wiring.ledger.read_key_users(settings)
    except MfaKitError as fault:
        settings.progress.alert(clauses([f"the users of keys are unknown: {fault}", fault.hint]))
        return None


def devices_on(keys: Iterable[RecordedKey], facts: KeyFacts, settings: Settings) -> list[KeyDevice]:
    """Return the recorded devices on the connected key with these facts. Print how many it lost in a reset."""
    recorded = [
        device
        for key in keys
        if key.identity == facts.identity or facts.card in key.cards
        for device in key.devices
        if device.is_in_use
    ]
    # The ledger does not know of a reset since it last recorded the key, but the identity of the OATH applet shows it.
    devices = [device for device in recorded if facts.card is None or device.card in {None, facts.card}]
    if erased := len(recorded) - len(devices):
        settings.progress.note(
            f"OATH on this key was reset, so the key has lost the secrets of {count_of(erased, 'device')}"
        )
    return devices


def device_cells(row: KeyRow, settings: Settings, *, as_text: bool) -> ResultRow:
    """Return the cell with the devices on a key, according to the ledger; None if they are unknown.

    A key without a serial and without OATH cannot be recognized. If the ledger cannot be used, print the reason.
    """
    facts = KeyFacts(serial=row.serial, vendor=vendor_of(row.key))
    facts = facts.beside(row.oath.facts) if row.oath else facts
    if facts.identity is None:
        settings.progress.note("this key reports no serial, so the ledger cannot show whose key it is")
        return {"devices": None}
    try:
        with wiring.ledger.open_ledger(settings) as ledger:
            keys = wiring.ledger.recorded_keys(ledger)
    except MfaKitError as fault:
        settings.progress.alert(clauses([f"the devices on the key are unknown: {fault}", fault.hint]))
        return {"devices": None}
    devices = devices_on(keys, facts, settings)
    if as_text:
        texts = [f"{device.serial} of {device.user} in account {device.account}" for device in devices]
        return {"devices": texts or "none in the ledger"}
    return {
        "devices": [{"account": device.account, "user": device.user, "device": device.serial} for device in devices]
    }


def user_cells(row: KeyRow, users: wiring.ledger.KeyUsers | None) -> ResultRow:
    """Return the cells with the users of a key, and with the computer that recorded each user.

    If `users` is None, return no cells.
    """
    if users is None:
        return {}
    records = users.of_key([name for name in (row.serial, *row.names) if name])
    return {"users": [user for user, _ in records], "computers": [computer for _, computer in records]}
