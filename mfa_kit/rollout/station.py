"""The rows of a plan that are made at a desk, one after the other: which, in what order, and on a key that nobody has.

IAM, the journal and the key itself tell what is done and whose a key is; nothing else is kept, so whoever comes back
to a plan, or works on it at another desk, goes on where it stands.
"""

from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from mfa_kit.core.errors import AccessDenied, MfaKitError, NoSuchEntity
from mfa_kit.core.models import CARD_TAG, HARDWARE_TAG, USER_TAG, Caller, Device, Entry, Intent, Outcome, Reached
from mfa_kit.enrollment import enroll
from mfa_kit.enrollment.enroll import Maker, Wish
from mfa_kit.enrollment.ports import Carrier, Desk
from mfa_kit.enrollment.recovery import carrier_of, listed, settle
from mfa_kit.rollout.apply import End, Result
from mfa_kit.rollout.plan import Plan, Step

DONE = {End.ENROLLED, End.SKIPPED}
HALF_MADE = {Reached.INTENT, Reached.CREATED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """What was put in. `identity` tells it from what else is in; a serial may be on two, or on none.

    `told` are the words for it, `labels` the names of the credentials that it holds, as far as it tells them.
    """

    identity: str
    serial: str | None
    told: str
    where: str
    labels: tuple[str, ...] = ()


class Slot(Protocol):
    """Where things are put in."""

    def state(self) -> object:
        """Return what changes when one comes or goes; touches none."""
        ...

    def look(self) -> tuple[list[Thing], Sequence[MfaKitError]]:
        """Return what is in, and what is wrong with the rest."""
        ...


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence on what was put in, where that is not one thing."""

    text: str


def rows(plan: Plan, kinds: Collection[str], users: Container[str]) -> list[Step]:
    """Return the rows of these users, in the plan's order, for whom a device is yet to be made.

    Without kinds they are those that `apply` leaves to a desk.
    """
    return [
        step
        for step in plan.steps
        if step.open and step.user in users and (step.row.kind.name in kinds if kinds else not step.makes)
    ]


@dataclass(slots=True, kw_only=True)
class Queue:
    """Rows in order, and how they ended; `at` is behind the last when all were called."""

    steps: Sequence[Step]
    results: dict[str, Result] = field(default_factory=dict)
    at: int = 0

    def call_next(self) -> Step | None:
        """Advance to the next row that is not done, and return it; None after the last."""
        while self.at < len(self.steps) and self.done(self.steps[self.at]):
            self.at += 1
        return self.steps[self.at] if self.at < len(self.steps) else None

    def done(self, step: Step) -> bool:
        result = self.results.get(step.user)
        return result is not None and result.outcome in DONE

    @property
    def place(self) -> str:
        return f"{self.at + 1} of {len(self.steps)}"

    @property
    def left(self) -> list[Step]:
        return [step for step in self.steps if not self.done(step)]

    def end(self, result: Result) -> None:
        self.results[result.user] = result

    def skip(self) -> None:
        self.at += 1

    def back(self) -> bool:
        """Go to the last row before this one that is not done. False where there is none."""
        before = [number for number in range(self.at) if not self.done(self.steps[number])]
        if before:
            self.at = before[-1]
        return bool(before)


@dataclass(slots=True, kw_only=True)
class Watch:
    """What comes into a slot. What was in before, or was used, does not count until it was out.

    `seen`: whether `news` told of what is in now.
    """

    slot: Slot
    state: object = None
    inside: list[Thing] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    old: set[str] = field(default_factory=set)
    seen: bool = False

    def begin(self) -> list[Thing]:
        """Take what is in now as old, and return it. Raise DeviceFault where nothing can be put in at all."""
        self._look()
        self.old, self.seen = {thing.identity for thing in self.inside}, True
        return self.inside

    def _look(self) -> None:
        self.state, self.seen = self.slot.state(), False
        self.inside, wrong = self.slot.look()
        self.wrong = [f"{each}; {each.hint}" for each in wrong]
        self.old &= {thing.identity for thing in self.inside}

    def news(self) -> Thing | Said | None:
        """Return the one thing that came, or what else there is to say; None while nothing changes."""
        if self.seen and self.slot.state() == self.state:
            return None
        before = self.wrong
        try:
            self._look()
        except MfaKitError as error:
            self.inside, self.wrong = [], [f"{error}; {error.hint}"]
        self.seen = True
        came = [thing for thing in self.inside if thing.identity not in self.old]
        if len(came) == 1:
            return came[0]
        said = (
            [f"{_told(came)} were put in: leave one"] if came else [each for each in self.wrong if each not in before]
        )
        return Said("; ".join(said)) if said else None

    def still(self, thing: Thing) -> Thing | None:
        """Return a thing as it is now; None when it is out."""
        with suppress(MfaKitError):
            self._look()
        return next((each for each in self.inside if each.identity == thing.identity), None)

    def only(self) -> Thing | Said:
        """Return the one thing that is in, old or new, for who says that he means it."""
        try:
            self._look()
        except MfaKitError as error:
            return Said(f"{error}; {error.hint}")
        if len(self.inside) == 1:
            return self.inside[0]
        return Said(
            f"{_told(self.inside)} are in: leave one" if self.inside else "; ".join(["no key is in", *self.wrong])
        )


def _told(things: Sequence[Thing]) -> str:
    return f"{len(things)} keys ({', '.join(thing.told for thing in things)})"


@dataclass(slots=True, kw_only=True)
class Holders:
    """Whose a key is already: by this desk's journal, by what the key itself holds, by the tags that other desks gave.

    Tags are read once for each device: of the queue's users, and of every device that is made from then on, anywhere.
    """

    desk: Desk
    virtual: Callable[[], Iterable[Device]]
    rows: Container[str]
    _tags: dict[str, Mapping[str, str]] | None = None
    _denied: bool = False

    def of(self, thing: Thing, intent: Intent) -> str | None:
        """Say in words who has a key; None where nobody but perhaps this very user has it."""
        return self._by_journal(thing, intent) or _by_labels(thing, intent) or self._by_tags(thing, intent)

    def _by_journal(self, thing: Thing, intent: Intent) -> str | None:
        for entry in self.desk.journal.made(intent.account):
            known = entry.intent
            mine = known.serial == intent.serial or known.user == intent.user
            if mine or not (known.card == thing.identity or (thing.serial and known.hardware == thing.serial)):
                continue
            if entry.reached in HALF_MADE or listed(known, desk=self.desk):
                return f"{known.user} has it, by run {entry.run}"
        return None

    def _by_tags(self, thing: Thing, intent: Intent) -> str | None:
        for serial, tags in self._read().items():
            same = tags.get(CARD_TAG) == thing.identity or (thing.serial and tags.get(HARDWARE_TAG) == thing.serial)
            if same and serial != intent.serial:
                return f"{tags.get(USER_TAG, 'somebody')} has it, as {serial}"
        return None

    def _read(self) -> Mapping[str, Mapping[str, str]]:
        there = {device.serial: device.user for device in self.virtual()}
        before = self._tags
        self._tags = {serial: tags for serial, tags in (before or {}).items() if serial in there}
        for serial, user in there.items():
            if serial not in self._tags:
                wanted = before is not None or user in self.rows
                self._tags[serial] = self._told(serial) if wanted else {}
        return self._tags

    def _told(self, serial: str) -> Mapping[str, str]:
        if self._denied:
            return {}
        try:
            return self.desk.inventory.tags(serial)
        except NoSuchEntity:
            return {}
        except AccessDenied as denied:
            self._denied = True
            self.desk.progress.note(f"warning: which keys other desks have given away is not known: {denied}")
            return {}


def _by_labels(thing: Thing, intent: Intent) -> str | None:
    """Say what a key holds for this account: its label tells the device."""
    brand, ours = intent.label.partition(":")[0], f"@{intent.account}"
    others = [each for each in thing.labels if each.startswith(f"{brand}:") and each.endswith(ours)]
    if held := sorted(set(others) - {intent.label}):
        return f"it holds {', '.join(held)}"
    return None


@dataclass(slots=True, kw_only=True)
class Runs:
    """The runs of one sitting. A try that could not be settled is left, and then a new run is begun.

    Nobody else may settle what is left while this process lives.
    """

    new: Callable[[], str]
    ids: list[str] = field(default_factory=list)
    left: list[Entry] = field(default_factory=list)

    def settle(self, intent: Intent, card: str | None, *, desk: Desk) -> bool:
        """Settle what is left of a device, and on a key that is in now, as far as can be; whether anything was."""
        before = len(self.left)
        for entry in [*self.left]:
            if entry.intent.serial == intent.serial or entry.intent.card == card is not None:
                try:
                    settle(entry, carrier_of(entry, desk=desk), desk=desk)
                except MfaKitError as error:
                    desk.progress.note(f"run {entry.run} is not settled: {error}; {error.hint}")
                else:
                    self.left.remove(entry)
        return len(self.left) < before

    def run(self) -> str:
        """Return the run for the next try."""
        if not self.ids or any(entry.run == self.ids[-1] for entry in self.left):
            self.ids.append(self.new())
        return self.ids[-1]

    def failed(self, intent: Intent, *, desk: Desk) -> None:
        """Look what a try has left."""
        entry = desk.journal.find(intent.serial, run=self.ids[-1]) if self.ids else None
        if entry and entry.reached in HALF_MADE and entry not in self.left:
            self.left.append(entry)


def attempt(intent: Intent, carrier: Carrier, *, caller: Caller, desk: Desk, run: str, maker: Maker) -> Outcome:
    """Make the device of a row, as `enroll` does. Raise MfaKitError; what is half-made then is settled, or told."""
    wish = Wish(
        user=intent.user,
        method=intent.method,
        name=intent.name,
        path=intent.path,
        recipient=intent.recipient,
        tags=intent.tags,
    )
    return enroll.enroll(wish, carrier, caller=caller, desk=desk, run=run, maker=maker)
