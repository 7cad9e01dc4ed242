"""Rules of the station's queue: which row is next, which key counts as inserted, and which user has a key."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import pytest

from mfa_kit.core.errors import AccessDenied, DeviceFault, MfaKitError, NoSuchEntity, Throttled
from mfa_kit.core.models import (
    CARD_TAG,
    HARDWARE_TAG,
    USER_TAG,
    Device,
    DeviceSpec,
    DeviceType,
    JournalEntry,
    JournalState,
    Method,
    RosterMethod,
)
from mfa_kit.enrollment.pacing import GIVE_UP, IDLE, RateLimiter
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.rollout.execution import RowOutcome, RowResult
from mfa_kit.rollout.key_slot import InsertedKey, KeyHolders, Notice, SlotWatch
from mfa_kit.rollout.plan import Action, Plan, PlanStep
from mfa_kit.rollout.roster import SELF, VIRTUAL, RosterRow
from mfa_kit.rollout.row_status import results_of_others
from mfa_kit.rollout.station import StationQueue, StationRuns, station_steps
from mfa_kit.rollout.watching import Failure

ACCOUNT = "123456789012"
OATH = RosterMethod(method=Method("oath"))
FIDO2 = RosterMethod(method=Method("fido2", DeviceType.FIDO2))
HARDWARE_TOTP = RosterMethod(method=Method("hardware-totp", DeviceType.HARDWARE_TOTP), by_serial=True)


def key(number: int, *labels: str, serial: str | None = None) -> InsertedKey:
    return InsertedKey(
        identity=f"id{number}", serial=serial, description=f"key {number}", where="reader", labels=labels
    )


def spec(user: str, **more: Any) -> DeviceSpec:
    return DeviceSpec(account=ACCOUNT, partition="aws", user=user, name=user, method=Method("oath"), **more)


def step(user: str, kind: RosterMethod, action: Action = Action.STATION, **more: Any) -> PlanStep:
    return PlanStep(row=RosterRow(user=user, kind=kind), action=action, **more)


def test_the_station_gets_rows_that_apply_leaves() -> None:
    """With --with, it gets the rows of these methods. Users who have a device, wait or are blocked are left out."""
    steps = [
        step("a", OATH),
        step("b", VIRTUAL, Action.ENROLL),
        step("c", FIDO2, Action.SKIP),
        step("d", SELF, Action.SELF),
        step("e", OATH, Action.BLOCKED),
        step("f", OATH, Action.BLOCKED, repair=True),
        step("g", HARDWARE_TOTP),
        step("h", OATH),
    ]
    plan = Plan(account=ACCOUNT, partition="aws", by="", planned_at=0, steps=steps)
    users = set("abcdefg")
    assert [each.user for each in station_steps(plan, set(), users)] == ["a", "f", "g"]
    assert [each.user for each in station_steps(plan, {"virtual", "oath"}, users)] == ["a", "b", "f"]
    assert [each.by_apply for each in steps] == [each.user == "b" for each in steps]


def test_a_queue_calls_only_users_who_are_not_done() -> None:
    """A failed row can be called again."""
    queue = StationQueue(steps=[step(user, OATH) for user in "abc"])
    queue.record(RowResult(user="a", outcome=RowOutcome.SKIPPED))
    assert (queue.call_next(), queue.place) == (queue.steps[1], "2 of 3")
    assert not queue.go_back()
    queue.record(RowResult(user="b", outcome=RowOutcome.FAILED))
    assert queue.call_next() is queue.steps[1]
    queue.skip()
    assert queue.call_next() is queue.steps[2]
    assert queue.go_back()
    assert queue.call_next() is queue.steps[1]
    queue.record(RowResult(user="b", outcome=RowOutcome.ENROLLED))
    assert [each.user for each in queue.left] == ["c"]
    queue.record(RowResult(user="c", outcome=RowOutcome.ENROLLED))
    left: list[object] = [queue.call_next(), *queue.left]
    assert left == [None]


@dataclass
class Tray:
    """A slot whose contents a test sets. None means that the smart card service does not run."""

    things: list[InsertedKey] | None = field(default_factory=list)
    wrong: list[MfaKitError] = field(default_factory=list)
    changes: int = 0

    def state(self) -> object:
        return self.changes

    def look(self) -> tuple[list[InsertedKey], Sequence[MfaKitError]]:
        if self.things is None:
            raise DeviceFault("no service", "start it")
        return list(self.things), self.wrong

    def has(self, *things: InsertedKey) -> None:
        self.things, self.changes = list(things), self.changes + 1


@pytest.fixture
def tray() -> Tray:
    return Tray()


@pytest.fixture
def watch(tray: Tray) -> SlotWatch:
    """Watch an empty tray."""
    watch = SlotWatch(slot=tray)
    assert watch.begin() == []
    return watch


def test_an_inserted_key_is_reported_once(tray: Tray, watch: SlotWatch) -> None:
    """Nothing is reported until something changes."""
    assert watch.poll() is None
    tray.has(key(1))
    assert watch.poll() == key(1)
    assert watch.poll() is None


def test_a_used_key_counts_again_after_it_was_removed(tray: Tray, watch: SlotWatch) -> None:
    """Another key beside it counts at once."""
    tray.has(key(1))
    watch.poll()
    watch.used.add("id1")
    tray.has(key(1), key(2))
    assert watch.poll() == key(2)
    watch.used.add("id2")
    tray.has(key(2))
    assert watch.poll() is None
    tray.has(key(2), key(1))
    assert watch.poll() == key(1)


def test_a_key_inserted_between_two_polls_is_not_missed(tray: Tray, watch: SlotWatch) -> None:
    """It was inserted while the previous row was in progress."""
    tray.has(key(1))
    watch.poll()
    watch.used.add("id1")
    tray.has(key(2))
    assert watch.find_again(key(1)) is None
    assert watch.poll() == key(2)


def test_an_unusable_device_is_reported_when_inserted(tray: Tray, watch: SlotWatch) -> None:
    """It is not reported again when something else changes."""
    tray.wrong = [DeviceFault("the card has no applet", "use another")]
    tray.has()
    assert watch.poll() == Notice("the card has no applet; use another")
    tray.has()
    assert watch.poll() is None
    assert watch.take_only() == Notice("no key is inserted; the card has no applet; use another")
    tray.has(key(1))
    assert watch.poll() == key(1)


def test_a_smart_card_service_that_ends_is_reported(tray: Tray, watch: SlotWatch) -> None:
    """The keys then count as removed. At the start, a missing service is an error."""
    tray.has(key(1))
    watch.poll()
    tray.things, tray.changes = None, 9
    assert watch.poll() == Notice("no service; start it")
    assert watch.take_only() == Notice("no service; start it")
    assert watch.inside == []
    with pytest.raises(DeviceFault):
        SlotWatch(slot=tray).begin()


@dataclass
class World:
    """A test double for everything that KeyHolders, StationRuns and settle use."""

    entries: list[JournalEntry] = field(default_factory=list)
    devices_of: dict[str, list[Device]] = field(default_factory=dict)
    tags_of: dict[str, dict[str, str]] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    @property
    def desk(self) -> EnrollmentPorts:
        return cast("EnrollmentPorts", self)

    journal = iam_reader = progress = property(lambda self: self)

    def made(self, _account: str) -> list[JournalEntry]:
        return self.entries

    def devices(self, user: str) -> list[Device]:
        return self.devices_of.get(user, [])

    def tags(self, serial: str) -> dict[str, str]:
        if serial not in self.tags_of:
            raise NoSuchEntity("gone", "")
        return self.tags_of[serial]

    def note(self, text: str) -> None:
        self.said.append(text)

    alert = note

    def holders(self, *there: Device) -> KeyHolders:
        return KeyHolders(ports=self.desk, virtual=lambda: there, users={"alice", "bob"})


def entry(user: str, reached: JournalState = JournalState.CONFIRMED, **more: Any) -> JournalEntry:
    return JournalEntry(run="20260101T000000Z-00000000", spec=spec(user, **more), reached=reached)


ALICE = spec("alice")


@pytest.mark.parametrize(
    "found", [{"card": "id1"}, {"card": "other", "hardware": "77"}, {"hardware": "77"}], ids=["card", "reset", "serial"]
)
def test_the_journal_knows_a_key_while_iam_lists_its_device(found: dict[str, Any]) -> None:
    """If the device is removed without mfa-kit, its key is free, unless the device is half-made.

    A user's own key is accepted.
    """
    world = World([entry("bob", **found)])
    thing = key(1, serial="77")
    assert world.holders().find_holder(thing, ALICE) is None
    world.devices_of["bob"] = [Device(spec("bob").serial, "bob")]
    assert world.holders().find_holder(thing, ALICE) == "it belongs to bob (run 20260101T000000Z-00000000)"
    assert world.holders().find_holder(thing, spec("bob")) is None
    assert world.holders().find_holder(key(2, serial="78"), ALICE) is None
    world.devices_of.clear()
    world.entries = [entry("bob", JournalState.CREATED, **found)]
    assert "it belongs to bob" in str(world.holders().find_holder(thing, ALICE))


def test_a_key_without_a_serial_is_not_taken_for_another() -> None:
    """Two keys without a serial are different keys."""
    world = World([entry("bob", card="id9")])
    world.devices_of["bob"] = [Device(spec("bob").serial, "bob")]
    assert world.holders().find_holder(key(1), ALICE) is None


def test_a_key_with_credentials_of_this_account_is_in_use() -> None:
    """Credentials of other accounts and brands, and those of the same user, do not count."""
    holders = World().holders()
    assert holders.find_holder(key(1, f"AWS:bob@{ACCOUNT}"), ALICE) == f"it contains AWS:bob@{ACCOUNT}"
    assert (
        holders.find_holder(key(1, f"AWS:alice@{ACCOUNT}", "AWS:bob@999999999999", f"GitHub:bob@{ACCOUNT}"), ALICE)
        is None
    )


def test_tags_are_read_for_queued_users_and_new_devices() -> None:
    """Tags are read once per device. A device that was removed belongs to no user."""
    old, bobs, new = (Device(spec(name).serial, name) for name in ("old", "bob", "new"))
    world = World(
        tags_of={each.serial: {CARD_TAG: f"id-{each.user}", USER_TAG: str(each.user)} for each in (bobs, new)}
    )
    there = [old, bobs]
    holders = KeyHolders(ports=world.desk, virtual=lambda: there, users={"alice", "bob"})

    def of(name: str) -> str | None:
        return holders.find_holder(InsertedKey(identity=f"id-{name}", serial=None, description="", where=""), ALICE)

    assert of("bob") == f"it belongs to bob ({bobs.serial})"
    assert of("new") is None
    there.append(new)
    assert of("new") == f"it belongs to new ({new.serial})"
    there.remove(bobs)
    assert of("bob") is None
    there.append(Device(spec("gone").serial, "gone"))
    assert of("gone") is None


@pytest.mark.parametrize("reached", [JournalState.STAGED, JournalState.CREATED])
def test_a_key_of_a_prepared_device_is_in_use(reached: JournalState) -> None:
    """IAM lists the device for no user yet."""
    world = World([entry("bob", reached, card="id1")])
    assert "it belongs to bob" in str(world.holders().find_holder(key(1), ALICE))


BY_POST = spec("alice", staged=True)


@pytest.mark.parametrize(
    ("known", "new", "free"),
    [
        (entry("alice", JournalState.STAGED, card="id1", staged=True), replace(BY_POST, name="alice-2"), False),
        (entry("alice", JournalState.CREATED, card="id1", staged=True), replace(BY_POST, name="alice-2"), True),
        (entry("alice", JournalState.STAGED, card="id1"), replace(BY_POST, name="alice-2"), True),
        (entry("alice", JournalState.STAGED, card="id1", staged=True), replace(ALICE, name="alice-2"), True),
        (entry("alice", JournalState.STAGED, card="id1", staged=True), BY_POST, True),
        (entry("bob", JournalState.CREATED, card="id1"), replace(ALICE, name="bob"), True),
        (entry("bob", JournalState.CREATED, card="id1"), ALICE, False),
    ],
)
def test_two_devices_of_a_user_share_a_key_unless_both_come_by_post(
    known: JournalEntry, new: DeviceSpec, free: bool
) -> None:
    """A key by post has one password. The same device may be made again on its key."""
    assert (World([known]).holders().find_holder(key(1), new) is None) is free


def test_tags_name_a_key_by_its_card_or_serial() -> None:
    """A key or a tag without a serial is no match. The other devices of the user, and the same device, do not count."""
    bobs = Device(spec("bob").serial, "bob")
    for tags, thing, taken in (
        ({HARDWARE_TAG: "77"}, key(1, serial="77"), True),
        ({HARDWARE_TAG: "78"}, key(1, serial="77"), False),
        ({}, key(1), False),
        ({HARDWARE_TAG: "77", USER_TAG: "alice"}, key(1, serial="77"), False),
        ({CARD_TAG: "id1"}, key(1), True),
    ):
        world = World(tags_of={bobs.serial: tags})
        said = world.holders(bobs).find_holder(thing, ALICE)
        assert (said is not None) is taken
        assert said is None or f"({bobs.serial})" in said
    again = World(tags_of={bobs.serial: {CARD_TAG: "id1", USER_TAG: "carol"}}).holders(bobs)
    assert again.find_holder(key(1), replace(ALICE, name="bob")) is None


def test_tags_of_a_device_name_its_card() -> None:
    """None if they name none, or if the device is gone."""
    world = World(tags_of={"a": {CARD_TAG: "id1"}, "b": {}})
    assert [world.holders().card_of(serial) for serial in "abc"] == ["id1", None, None]


class Counted(World):
    """It notes whose tags are read, and can deny it."""

    def __init__(self, *, denied: bool = False, **how: Any) -> None:
        super().__init__(**how)
        self.denied, self.read = denied, list[str]()

    def tags(self, serial: str) -> dict[str, str]:
        self.read.append(serial)
        if self.denied:
            raise AccessDenied("no", "")
        return super().tags(serial)


def test_tags_are_read_once_and_at_first_only_for_those_at_the_station() -> None:
    """Each read is a call to AWS while a person waits. A device of a parcel has no user yet."""
    mine, theirs, parcel = (Device(name, name) for name in ("alice", "carol", "parcel"))
    later, there = Device("later", "dave"), [mine, theirs, parcel]
    world = Counted(tags_of={})
    holders = KeyHolders(ports=world.desk, virtual=lambda: there, users={"alice"}, posted={"parcel"})
    holders.prefetch()
    holders.prefetch()
    assert world.read == ["alice", "parcel"]
    there.append(later)
    holders.prefetch()
    assert world.read == ["alice", "parcel", "later"]


def test_tags_that_may_not_be_read_are_said_once() -> None:
    """No key counts as another user's then, and AWS is not asked again."""
    world = Counted(denied=True)
    holders = world.holders(Device("a", "alice"), Device("b", "bob"))
    assert holders.find_holder(key(1, serial="77"), ALICE) is None
    assert holders.card_of("c") is None
    assert (world.read, len(world.said)) == (["a"], 1)


def test_an_unsettled_attempt_is_followed_by_a_new_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-made devices of other users are kept. If settling fails, that is reported."""
    names = iter("AB")
    runs = StationRuns(new_id=lambda: next(names))
    left = JournalEntry(run="A", spec=spec("bob", card="id1"), reached=JournalState.CREATED)

    class Found(World):
        def find(self, serial: str, *, run: str) -> JournalEntry | None:
            return left if (serial, run) == (left.spec.serial, "A") else None

    world = Found()
    runs.keep_left(spec("bob"), ports=world.desk)
    following = partial(runs.run_of_next_try, ALICE, ports=world.desk)
    assert (following(), following()) == ("A", "A")
    runs.keep_left(spec("bob"), ports=world.desk)
    runs.keep_left(spec("bob"), ports=world.desk)
    assert (runs.left, following()) == ([left], "B")
    settled: list[JournalEntry] = []
    there = False

    def settle(entry: JournalEntry, *_: object, **__: object) -> None:
        if not there:
            raise DeviceFault("the key is absent", "plug it in")
        settled.append(entry)

    monkeypatch.setattr("mfa_kit.rollout.station.settle", settle)
    monkeypatch.setattr("mfa_kit.rollout.station.backend_of", lambda *_, **__: None)
    assert not runs.settle_left(ALICE, "id2", ports=world.desk)
    assert world.said == []
    assert not runs.settle_left(ALICE, "id1", ports=world.desk)
    assert world.said == ["run A was neither finished nor undone: the key is absent; plug it in"]
    there = True
    assert runs.settle_left(spec("bob"), None, ports=world.desk)
    assert (settled, runs.left, following()) == ([left], [], "B")


def test_an_idle_station_does_not_count_as_throttled() -> None:
    """If a person takes half an hour for a key, the run does not end with "AWS accepted no call for 10 minutes"."""
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    class Talk:
        def note(self, text: str) -> None:
            raise AssertionError(text)

        alert = note

    how: dict[str, Any] = {"at_once": 1} if "at_once" in RateLimiter.__init__.__annotations__ else {}
    pace = RateLimiter(clock=lambda: now, sleep=sleep, progress=Talk(), renew=lambda: None, **how)
    throttles = iter([True, False])

    def call() -> str:
        if next(throttles):
            raise Throttled("Throttling", "")
        return "done"

    sleep(2 * GIVE_UP)
    assert pace(call) == "done"

    def refused() -> str:
        raise Throttled("Throttling", "")

    sleep(IDLE + 1)
    began = now
    with pytest.raises(Throttled, match="accepted no call"):
        pace(refused)
    assert now - began > GIVE_UP


def test_the_results_of_other_workers_are_complete_or_none() -> None:
    """Each user has a device of the plan, has failed, or had a device before. Otherwise only IAM knows."""
    steps = [step(user, VIRTUAL, Action.ENROLL) for user in "abc"]
    steps += [step("d", VIRTUAL, Action.SKIP, reason="has x", devices=("x",)), step("e", VIRTUAL, Action.SKIP)]
    plan = Plan(account=ACCOUNT, partition="aws", by="", planned_at=0, steps=steps)
    run = "20261130T120000Z-0123abcd"
    enrolled, staged = (JournalEntry(run=run, spec=plan.intent_of(each.row)) for each in steps[:2])
    entries = [enrolled.at(JournalState.CONFIRMED), staged.at(JournalState.STAGED)]
    failures = {"c": Failure(key="c", cause="Throttled", reason="later")}
    results = results_of_others(plan, entries=entries, failures=failures)
    assert results is not None
    outcomes = [RowOutcome.ENROLLED, RowOutcome.STAGED, RowOutcome.FAILED, RowOutcome.SKIPPED, RowOutcome.SKIPPED]
    assert [result.outcome for result in results] == outcomes
    assert [result.device for result in results[3:]] == ["x", None]
    assert results_of_others(plan, entries=entries, failures={}) is None
    assert results_of_others(plan, entries=[enrolled, *entries[1:]], failures=failures) is None
