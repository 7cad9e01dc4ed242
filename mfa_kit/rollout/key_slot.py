"""The places where keys are inserted, and a watch that reports the next key."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from mfa_kit.core.errors import MfaKitError


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertedKey:
    """A key that is inserted. Its `identity` is unique among the inserted keys; its `serial` need not be.

    `description` is the key's name in messages. `where` is the name of its reader or the path of its USB device.
    `labels` are the names of the credentials that the key reports.
    """

    identity: str
    serial: str | None
    description: str
    where: str
    labels: tuple[str, ...] = ()


class KeySlot(Protocol):
    """All the places where keys of one kind can be inserted: the card readers, or the USB ports."""

    def state(self) -> object:
        """Return a value that changes when a key is inserted or removed. Does not access the keys."""
        ...

    def look(self) -> tuple[list[InsertedKey], Sequence[MfaKitError]]:
        """Return the inserted keys, and an error for each inserted device that is not a usable key."""
        ...


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence for the person at the station that says why no key can be used now, such as two inserted keys."""

    text: str


@dataclass(slots=True, kw_only=True)
class SlotWatch:
    """Watches a slot for the next key. Keys that were there at the start or were used must be removed first.

    `inside` are the inserted keys, and `wrong` are messages about unusable devices, both from the last call of `look`.
    `used` has the identities of inserted keys that `poll` does not return. `polled` means that `poll` has reported the
    current state.
    """

    slot: KeySlot
    state: object = None
    inside: list[InsertedKey] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    polled: bool = False

    def begin(self) -> list[InsertedKey]:
        """Mark the inserted keys as used, and return them. Raise DeviceFault if keys cannot be read at all."""
        self._look()
        self.used, self.polled = {key.identity for key in self.inside}, True
        return self.inside

    def _look(self) -> None:
        self.state, self.polled = self.slot.state(), False
        self.inside, wrong = self.slot.look()
        self.wrong = [f"{each}; {each.hint}" for each in wrong]
        self.used &= {key.identity for key in self.inside}

    def poll(self) -> InsertedKey | Notice | None:
        """Return the new key, or a notice if several keys or an unusable device were inserted.

        Return None if nothing has changed since the last call.
        """
        if self.polled and self.slot.state() == self.state:
            return None
        before = self.wrong
        try:
            self._look()
        except MfaKitError as error:
            self.inside, self.wrong = [], [f"{error}; {error.hint}"]
        self.polled = True
        new = [key for key in self.inside if key.identity not in self.used]
        if len(new) == 1:
            return new[0]
        if new:
            return Notice(f"{_described(new)} were inserted; leave only one inserted")
        wrong = [each for each in self.wrong if each not in before]
        return Notice("; ".join(wrong)) if wrong else None

    def find_again(self, key: InsertedKey) -> InsertedKey | None:
        """Read the inserted keys again, and return the one with this key's identity; None if it was removed."""
        with suppress(MfaKitError):
            self._look()
        return next((each for each in self.inside if each.identity == key.identity), None)

    def take_only(self) -> InsertedKey | Notice:
        """Return the only inserted key, even if it was used, because the person confirmed it.

        Otherwise return a notice.
        """
        try:
            self._look()
        except MfaKitError as error:
            return Notice(f"{error}; {error.hint}")
        if len(self.inside) == 1:
            return self.inside[0]
        if self.inside:
            return Notice(f"{_described(self.inside)} are inserted; leave only one inserted")
        return Notice("; ".join(["no key is inserted", *self.wrong]))


def _described(keys: Sequence[InsertedKey]) -> str:
    return f"{len(keys)} keys ({', '.join(key.description for key in keys)})"
