"""The readers or USB ports in which keys are inserted, and a watch that reports the next inserted key."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from mfa_kit.core.errors import MfaKitError


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
        self.wrong = [f"{each}; {each.hint}" for each in wrong]
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
        """Return the only inserted key, even if it counts as used: the person at the station has confirmed this key.

        If no key or more than one is inserted, return a notice.
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
