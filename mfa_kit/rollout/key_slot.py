"""Where keys are inserted, and the watch for the one key that is inserted next."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from mfa_kit.core.errors import MfaKitError


@dataclass(frozen=True, slots=True, kw_only=True)
class InsertedKey:
    """A key that is in. `identity` tells it from the other keys that are in; a serial may be on two keys, or on none.

    `description` is what people call it, `labels` the names of the credentials that it holds, as far as it tells them.
    """

    identity: str
    serial: str | None
    description: str
    where: str
    labels: tuple[str, ...] = ()


class KeySlot(Protocol):
    """Where keys of one kind are inserted: all readers, or all ports."""

    def state(self) -> object:
        """Return a value that changes when a key comes or goes. Touches no key."""
        ...

    def look(self) -> tuple[list[InsertedKey], Sequence[MfaKitError]]:
        """Return the keys that are in, and what is wrong with whatever else is in."""
        ...


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence for the person, where what was inserted is not one key."""

    text: str


@dataclass(slots=True, kw_only=True)
class SlotWatch:
    """Watches a slot. A key that was in before, or was used, does not count until it was out.

    `inside` and `wrong` are what the last look found; `used` are identities. `polled`: `poll` has reported what is in.
    """

    slot: KeySlot
    state: object = None
    inside: list[InsertedKey] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    polled: bool = False

    def begin(self) -> list[InsertedKey]:
        """Take the keys that are in now as used, and return them. Raise DeviceFault where no key can be read at all."""
        self._look()
        self.used, self.polled = {key.identity for key in self.inside}, True
        return self.inside

    def _look(self) -> None:
        self.state, self.polled = self.slot.state(), False
        self.inside, wrong = self.slot.look()
        self.wrong = [f"{each}; {each.hint}" for each in wrong]
        self.used &= {key.identity for key in self.inside}

    def poll(self) -> InsertedKey | Notice | None:
        """Return the one key that was inserted, or a notice about what else was; None while nothing changes."""
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
            return Notice(f"{_described(new)} were put in: leave one")
        wrong = [each for each in self.wrong if each not in before]
        return Notice("; ".join(wrong)) if wrong else None

    def find_again(self, key: InsertedKey) -> InsertedKey | None:
        """Return a key as it is now; None when it is out."""
        with suppress(MfaKitError):
            self._look()
        return next((each for each in self.inside if each.identity == key.identity), None)

    def take_only(self) -> InsertedKey | Notice:
        """Return the one key that is in, used or not, for a person who says that they mean it."""
        try:
            self._look()
        except MfaKitError as error:
            return Notice(f"{error}; {error.hint}")
        if len(self.inside) == 1:
            return self.inside[0]
        if self.inside:
            return Notice(f"{_described(self.inside)} are in: leave one")
        return Notice("; ".join(["no key is in", *self.wrong]))


def _described(keys: Sequence[InsertedKey]) -> str:
    return f"{len(keys)} keys ({', '.join(key.description for key in keys)})"
