"""The readers or USB ports in which keys are inserted, and whether a key already belongs to a user."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from mfa_kit.core.errors import AccessDenied, MfaKitError, NoSuchEntity
from mfa_kit.core.message import clauses
from mfa_kit.core.models import CARD_TAG, HARDWARE_TAG, USER_TAG, Device, DeviceSpec, JournalEntry, JournalState
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.enrollment.settling import is_listed


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertedKey:
    """A key that is inserted. Its `identity` is unique among the inserted keys; its `serial` need not be.

    `description` is the key's name in messages. `where` is the name of its card reader or the path of its USB device.
    `labels` are the names of the credentials that an OATH key reports.
    """

    identity: str
    serial: str | None
    description: str
    where: str
    labels: tuple[str, ...] = ()


class KeySlot(Protocol):
    """All card readers, or all USB ports, of this computer in which keys of one kind can be inserted."""

    def state(self) -> object:
        """Return a value that changes when a key is inserted or removed. Does not access the keys."""
        ...

    def look(self) -> tuple[list[InsertedKey], Sequence[MfaKitError]]:
        """Return the inserted keys, and an error for each inserted device that is not a usable key."""
        ...


@dataclass(frozen=True, slots=True)
class Notice:
    """Tells the person at the station why no key can be used now, for example because two keys are inserted."""

    text: str


@dataclass(slots=True, kw_only=True)
class SlotWatch:
    """Watches the readers or USB ports (`slot`) for the next key.

    `used` has the identities of keys that `poll` returns only after they were removed and inserted again: the keys that
    were inserted at the start, and the keys that the caller adds. `inside` has the inserted keys, and `wrong` the
    messages about unusable devices; both are from the last call of `slot.look`. `state` is the last value of
    `slot.state`. `polled` means that `poll` has already reported this state.
    """

    slot: KeySlot
    state: object = None
    inside: list[InsertedKey] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    polled: bool = False

    def begin(self) -> list[InsertedKey]:
        """Make `used` the set of the inserted keys, and return these keys.

        `poll` returns a used key only after the key was removed and inserted again. Raise DeviceFault if keys cannot be
        read at all.
        """
        self._look()
        self.used, self.polled = {key.identity for key in self.inside}, True
        return self.inside

    def _look(self) -> None:
        self.state, self.polled = self.slot.state(), False
        self.inside, wrong = self.slot.look()
        self.wrong = [clauses([str(error), error.hint]) for error in wrong]
        self.used &= {key.identity for key in self.inside}

    def poll(self) -> InsertedKey | Notice | None:
        """Return the new key, or a notice if several new keys or an unusable device were inserted.

        Return None if no key was inserted or removed since the last call, or if no inserted key is new.
        """
        if self.polled and self.slot.state() == self.state:
            return None
        before = self.wrong
        try:
            self._look()
        except MfaKitError as error:
            self.inside, self.wrong = [], [clauses([str(error), error.hint])]
        self.polled = True
        new = [key for key in self.inside if key.identity not in self.used]
        if len(new) == 1:
            return new[0]
        if new:
            return Notice(f"{_described(new)} were inserted; leave only one inserted")
        wrong = [message for message in self.wrong if message not in before]
        return Notice("; ".join(wrong)) if wrong else None

    def find_again(self, key: InsertedKey) -> InsertedKey | None:
        """Read the inserted keys again, and return the one with this key's identity; None if it was removed."""
        with suppress(MfaKitError):
            self._look()
        return next((inserted_key for inserted_key in self.inside if inserted_key.identity == key.identity), None)

    def follow(self, key: InsertedKey) -> InsertedKey:
        """Return the key in the place of `key`, whose identity a reset may have changed. It counts as used."""
        with suppress(MfaKitError):
            self._look()
        found = next((inserted for inserted in self.inside if inserted.where == key.where), key)
        self.used.add(found.identity)
        return found

    def take_only(self) -> InsertedKey | Notice:
        """Return the only inserted key, even if it counts as used: the person at the station has confirmed this key.

        If no key or more than one is inserted, return a notice.
        """
        try:
            self._look()
        except MfaKitError as error:
            return Notice(clauses([str(error), error.hint]))
        if len(self.inside) == 1:
            return self.inside[0]
        if self.inside:
            return Notice(f"{_described(self.inside)} are inserted; leave only one inserted")
        return Notice("; ".join(["no key is inserted", *self.wrong]))


def _described(keys: Sequence[InsertedKey]) -> str:
    return f"{len(keys)} keys ({', '.join(key.description for key in keys)})"


@dataclass(slots=True, kw_only=True)
class KeyHolders:
    """Finds the user of a key in this computer's journal, on the key itself, and in the tags that other computers set.

    `virtual` lists all virtual devices of the account. `users` are those to be enrolled at the station, and `posted`
    the serials of the plan's devices on keys by post. The first check reads the tags of the devices of these users, and
    of prepared devices, which have no user yet. Each later check reads the tags of all new devices in the list.
    """

    ports: EnrollmentPorts
    virtual: Callable[[], Iterable[Device]]
    users: Container[str]
    posted: Container[str] = ()
    _tags: dict[str, Mapping[str, str]] | None = None
    _denied: bool = False

    def find_holder(self, key: InsertedKey, spec: DeviceSpec) -> str | None:
        """Return a sentence that names the user or the credentials of this key, or None.

        None means that the user of the intent may get the key.
        """
        return self._in_journal(key, spec) or _on_key(key, spec) or self._in_tags(key, spec)

    def find_owner(self, key: InsertedKey, spec: DeviceSpec) -> str | None:
        """Return a sentence that names another user of this key, from the journal or the tags; None without one."""
        return self._in_journal(key, spec) or self._in_tags(key, spec)

    def card_of(self, serial: str) -> str | None:
        """Return the identity of the OATH key that the tags of a device name, or None."""
        return self._ask_tags(serial).get(CARD_TAG)

    def prefetch(self) -> None:
        """Read the tags that the first check needs, so that it takes less time while a key is inserted."""
        self._read_tags()

    def _in_journal(self, key: InsertedKey, spec: DeviceSpec) -> str | None:
        for entry in self.ports.journal.made(spec.account):
            known = entry.spec
            same = known.card == key.identity or (key.serial and known.hardware == key.serial)
            if not same or _may_share(entry, spec):
                continue
            if entry.is_half_made or entry.reached is JournalState.STAGED or is_listed(known, ports=self.ports):
                return f"it belongs to {known.user} (run {entry.run})"
        return None

    def _in_tags(self, key: InsertedKey, spec: DeviceSpec) -> str | None:
        for serial, tags in self._read_tags().items():
            same = tags.get(CARD_TAG) == key.identity or (key.serial and tags.get(HARDWARE_TAG) == key.serial)
            # The other half of a pair is on the same key. Both halves can report the same serial.
            if same and serial != spec.serial and tags.get(USER_TAG) != spec.user:
                return f"it belongs to {tags.get(USER_TAG, 'another user')} ({serial})"
        return None

    def _read_tags(self) -> Mapping[str, Mapping[str, str]]:
        """Return the tags of each virtual device, by the device's serial. Tags that were not read are an empty mapping.

        The first call reads the tags of the devices of `users` and `posted`. Each later call reads those of all new
        devices.
        """
        users_by_serial = {device.serial: device.user for device in self.virtual()}
        before = self._tags
        self._tags = {serial: tags for serial, tags in (before or {}).items() if serial in users_by_serial}
        for serial, user in users_by_serial.items():
            if serial not in self._tags:
                tags_needed = before is not None or user in self.users or serial in self.posted
                self._tags[serial] = self._ask_tags(serial) if tags_needed else {}
        return self._tags

    def _ask_tags(self, serial: str) -> Mapping[str, str]:
        if self._denied:
            return {}
        try:
            return self.ports.iam_reader.tags(serial)
        except NoSuchEntity:
            return {}
        except AccessDenied as denied:
            self._denied = True
            self.ports.progress.alert(f"warning: cannot check which keys other computers have assigned: {denied}")
            return {}


def _may_share(entry: JournalEntry, spec: DeviceSpec) -> bool:
    """Return whether the device of `spec` may be on the same key as the device of an entry.

    A key by post has one password, so it gets one device, also if both are the user's.
    """
    two_by_post = entry.reached is JournalState.STAGED and entry.spec.posted and spec.posted
    return entry.spec.serial == spec.serial or (entry.spec.user == spec.user and not two_by_post)


def _on_key(key: InsertedKey, spec: DeviceSpec) -> str | None:
    """Return a sentence that lists the key's credentials for other devices in this account; None if there are none.

    The label of a credential names its device and account.
    """
    brand, ours = spec.label.partition(":")[0], f"@{spec.account}"
    labels = [label for label in key.labels if label.startswith(f"{brand}:") and label.endswith(ours)]
    if others := sorted(set(labels) - {spec.label}):
        return f"it contains {', '.join(others)}"
    return None
