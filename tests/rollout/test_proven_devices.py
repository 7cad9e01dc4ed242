"""Which devices are proven, one fact at a time. IAM, the ledger, the backups and the record are lists here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mfa_kit.core import models
from mfa_kit.core.device_records import (
    DeviceState,
    RecordedDevice,
    RecordedLine,
    RecordedRun,
    RecordedState,
    RunRecords,
)
from mfa_kit.core.models import Device, DeviceSpec, JournalEntry, JournalState, Method, RunTag
from mfa_kit.rollout.proven_devices import UNRECORDED, ProvenDevices, adopt_devices, prove_devices, why_unproven
from tests.conftest import ACCOUNT

RUN, OTHER, AT = "20260101T000000Z-00000001", "20260102T000000Z-00000002", 1_767_225_600.0
ALICE = DeviceSpec(account=ACCOUNT, partition="aws", user="alice", name="alice")
STAGED = replace(ALICE, staged=True)
POSTED = replace(ALICE, staged=True, method=Method("oath"))
TOKEN = models.intent_of("GAHT12345678", user="alice", account=ACCOUNT, partition="aws")
CONFIRMED, CREATED = JournalState.CONFIRMED, JournalState.CREATED


def backup(run: str, spec: DeviceSpec = ALICE) -> str:
    return f"/backups/{ACCOUNT}/{spec.user}/{spec.name}-{run}.png.age"


def line(run: str = RUN, spec: DeviceSpec = ALICE, *, sealed: bool = True, in_progress: bool = False) -> RecordedDevice:
    """Return the line of a run about a device, with its backup unless `sealed` is false, or it is a token."""
    recorded = RecordedRun(id=run, plan="p", computer="c", in_progress=in_progress)
    return RecordedDevice(
        run=recorded, at=AT, spec=spec, backups={backup(run, spec): "00"} if sealed and spec is not TOKEN else {}
    )


def entry(run: str = RUN, reached: JournalState = CREATED, spec: DeviceSpec = ALICE, **how: Any) -> JournalEntry:
    return JournalEntry(run=run, spec=spec, reached=reached, **{"backup": backup(run), **how})


@dataclass
class Lists:
    """Stands for the ports: the ledger's entries, the backups that exist, the tags, and the runs at work."""

    ours: Sequence[JournalEntry] = ()
    held: Sequence[str] = ()
    files: Sequence[str] = ()
    run: str | RunTag = RunTag.UNTAGGED
    alive: Sequence[str] = ()
    elsewhere: Sequence[str] = ()
    dry: bool = False
    said: list[str] = field(default_factory=list)
    recorded: list[JournalEntry] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    listed: int = 0
    asked: list[str | None] = field(default_factory=list)

    def made(self, account: str) -> Sequence[JournalEntry]:
        return self.ours

    def lives(self, run: str) -> bool:
        return run in self.alive

    def end(self, run: str) -> None:
        self.ended.append(run)

    def recorded_devices(self) -> set[tuple[str, str]]:
        """Return what the ledger has, without half-made devices."""
        return {(known.run, known.spec.serial) for known in self.ours if not known.is_half_made}

    def record_all(self, entries: Sequence[JournalEntry]) -> None:
        self.recorded += entries

    def backups(self) -> list[Any]:
        self.listed += 1
        return [SimpleNamespace(path=Path(path)) for path in (*map(backup, self.held), *self.files)]

    def find(self, known: JournalEntry) -> str | None:
        self.asked.append(known.spec.recipient)
        return known.backup if known.backup in {*map(backup, (*self.held, *self.elsewhere)), *self.files} else None

    def run_of(self, serial: str) -> str | RunTag:
        return self.run

    def note(self, text: str) -> None:
        self.said.append(str(text))

    alert = note

    @property
    def ports(self) -> Any:
        return SimpleNamespace(
            **dict.fromkeys(("journal", "store", "iam_reader", "progress"), self),
            dry=self.dry,
        )

    def prove(
        self,
        *lines: RecordedDevice,
        holders: Mapping[str, str | None] | None = None,
        states: Sequence[RecordedState] = (),
    ) -> ProvenDevices:
        """Prove with these lines. By default, IAM lists the virtual device for no user."""
        return prove_devices(
            ACCOUNT,
            holders={ALICE.serial: None} if holders is None else holders,
            record=records(*lines, states=states),
            ports=self.ports,
        )


def records(*lines: RecordedDevice, states: Sequence[RecordedState] = ()) -> RunRecords:
    runs = {each.run.id: each.run for each in lines}
    return RunRecords(runs=runs, lines=[RecordedLine(each.run, each.line, "x") for each in lines], states=states)


def reached(proven: ProvenDevices, spec: DeviceSpec = ALICE) -> JournalState | None:
    known = proven.entries.get(spec.serial)
    return known.reached if known else None


# What IAM lists, and the state that a device of the record then has.


@pytest.mark.parametrize(
    ("spec", "holders", "held", "state"),
    [
        (ALICE, {ALICE.serial: "alice"}, [RUN], CONFIRMED),
        (ALICE, {ALICE.serial: None}, [RUN], CREATED),
        (STAGED, {ALICE.serial: None}, [RUN], JournalState.STAGED),
        (STAGED, {ALICE.serial: "alice"}, [RUN], CONFIRMED),
        (TOKEN, {}, [RUN], CONFIRMED),
    ],
)
def test_a_recorded_device_has_the_state_that_iam_shows(
    spec: DeviceSpec, holders: Mapping[str, str | None], held: list[str], state: JournalState
) -> None:
    """IAM's list of virtual devices has no tokens."""
    proven = Lists(held=held).prove(line(spec=spec), holders=holders)
    assert reached(proven, spec) is state
    assert [*proven.adopted] == [spec.serial]
    assert (proven.refused, proven.unassigned) == ({}, set())


def test_a_recorded_device_that_is_gone_is_not_adopted() -> None:
    """A virtual device that IAM does not list does not exist."""
    proven = Lists(held=[RUN]).prove(line(), holders={})
    assert (proven.entries, proven.adopted, proven.refused) == ({}, {}, {})


def test_a_recorded_device_of_another_user_is_refused() -> None:
    """The reason names both."""
    proven = Lists(held=[RUN]).prove(line(), holders={ALICE.serial: "bob"})
    assert proven.refused == {ALICE.serial: f"it belongs to bob, and run {RUN} made it for alice"}
    assert (proven.entries, proven.adopted, proven.unassigned) == ({}, {}, set())


def test_a_staged_device_without_its_backup_is_half_made_if_another_backup_of_its_run_exists() -> None:
    """Without any, the folder may be out of reach. The device of a run that its tags name is known all the same."""
    bob = replace(STAGED, user="bob", name="bob")
    path = f"/backups/{ACCOUNT}/bob/bob-{RUN}.png.age"
    lines, holders = (
        (line(spec=STAGED), replace(line(spec=bob), backups={path: "00"})),
        {ALICE.serial: None, bob.serial: None},
    )
    missing = Lists(run=RUN).prove(*lines, holders=holders)
    assert missing.refused[ALICE.serial] == f"the backup of run {RUN}, without which it cannot be enabled, is missing"
    half = Lists(run=RUN, files=[path]).prove(*lines, holders=holders)
    assert (reached(half), reached(half, bob)) == (CREATED, JournalState.STAGED)


def test_a_device_whose_user_copy_alone_is_left_is_not_staged() -> None:
    """It is enabled with the backup of the administrators."""
    lists = Lists(run=RUN)
    assert ALICE.serial in lists.prove(line(spec=replace(STAGED, recipient="age1x"))).refused
    assert lists.asked[-1] is None


def state(at: float, kind: DeviceState = DeviceState.PREPARED) -> RecordedState:
    run = RecordedRun(id=OTHER, plan="p", computer="c")
    return RecordedState(run=run, at=at, serial=ALICE.serial, user="alice", state=kind, how="x")


@pytest.mark.parametrize(
    ("states", "reached_state"),
    [([], CREATED), ([state(AT)], JournalState.STAGED), ([state(AT - 1)], CREATED)],
)
def test_a_key_by_post_is_staged_if_its_run_prepared_it(
    states: list[RecordedState], reached_state: JournalState
) -> None:
    """A line about an earlier device of this name says nothing."""
    assert reached(Lists(held=[RUN]).prove(line(spec=POSTED), states=states)) is reached_state


def test_a_key_by_post_that_is_enabled_is_confirmed() -> None:
    """Whatever the record says about its preparation."""
    assert reached(Lists(held=[RUN]).prove(line(spec=POSTED), holders={ALICE.serial: "alice"})) is CONFIRMED


# Which line counts.


@pytest.mark.parametrize(
    ("ours", "lists", "adopted"),
    [
        (entry(), {"held": [RUN]}, True),
        (entry(), {"held": []}, False),
        (entry(), {"held": [RUN], "alive": [RUN]}, False),
        (entry(OTHER), {"held": [RUN]}, True),
        (entry(RUN, CONFIRMED), {"held": [RUN]}, False),
    ],
)
def test_a_half_made_device_is_adopted_if_its_run_has_ended_and_its_backup_exists(
    ours: JournalEntry, lists: dict[str, Any], adopted: bool
) -> None:
    """The ledger lost the end of the run then."""
    proven = Lists(ours=[ours], **lists).prove(line(spec=STAGED))
    assert (ALICE.serial in proven.adopted) is adopted
    assert reached(proven) is (JournalState.STAGED if adopted else ours.reached)


def test_a_run_in_progress_is_left_alone() -> None:
    """Its process may write the end. A device that the ledger lacks is known nevertheless, but not settled."""
    lists = Lists(held=[RUN], ours=[entry()])
    assert lists.prove(line(spec=STAGED, in_progress=True)).adopted == {}
    lists = Lists(held=[RUN])
    assert lists.prove(line(in_progress=True)).settled == []
    assert lists.prove(line(spec=STAGED, in_progress=True)).settled != []
    assert lists.prove(line()).settled == [line().entry(CREATED)]


@pytest.mark.parametrize(
    ("held", "ours", "run"),
    [
        ([RUN], [], RUN),
        ([OTHER], [], OTHER),
        ([RUN, OTHER], [], None),
        ([], [], None),
        ([RUN], [entry(OTHER)], RUN),
        ([OTHER], [entry(OTHER)], OTHER),
        ([], [entry(OTHER)], None),
    ],
)
def test_of_several_runs_the_one_whose_backup_exists_made_the_device(
    held: list[str], ours: list[JournalEntry], run: str | None
) -> None:
    """None of them if several or none have a backup. The ledger's own run is one of them."""
    lines = [line(RUN), *([] if ours else [line(OTHER)])]
    proven = Lists(held=held, ours=ours).prove(*lines)
    if run is None:
        number = len(held) or "none"
        assert proven.refused == {ALICE.serial: f"{number} of the runs that may have made it have a backup"}
        assert proven.entries == {}
    else:
        assert proven.entries[ALICE.serial].run == run
        assert ({*proven.adopted} == {ALICE.serial}) is not (run == OTHER and bool(ours))


def test_without_backups_the_last_run_made_the_device() -> None:
    """A key needs no backup, so none can decide."""
    proven = Lists().prove(line(RUN, sealed=False), line(OTHER, sealed=False))
    assert proven.entries[ALICE.serial].run == OTHER


@pytest.mark.parametrize(
    ("lists", "sealed", "adopted"),
    [
        ({}, True, False),
        ({"run": RUN}, True, True),
        ({"run": OTHER}, True, False),
        ({"held": [RUN]}, True, True),
        ({"elsewhere": [RUN]}, True, True),
        ({"files": [f"/moved{backup(RUN)}"]}, True, True),
        ({}, False, True),
    ],
)
def test_a_device_without_its_backup_is_adopted_only_if_its_tags_name_the_run(
    lists: dict[str, Any], sealed: bool, adopted: bool
) -> None:
    """It may be a new device with the name of one that was undone. A backup may be in another folder, or never made."""
    proven = Lists(**lists).prove(line(sealed=sealed))
    assert (ALICE.serial in proven.adopted) is adopted
    assert ("is gone, and no tag" in proven.refused.get(ALICE.serial, "")) is not adopted
    assert proven.unassigned == (set() if adopted else {ALICE.serial})


def test_lines_of_other_accounts_do_not_count() -> None:
    """One record can have many accounts. Backups are listed only if a line is lost."""
    lists = Lists(held=[RUN])
    other = replace(ALICE, account="999999999999")
    assert lists.prove(line(spec=other), holders={other.serial: None}).adopted == {}
    assert lists.listed == 0
    assert lists.prove(line()).adopted
    assert lists.listed == 1


@pytest.mark.parametrize(
    ("ours", "holders", "state"),
    [
        (entry(RUN, JournalState.STAGED), {ALICE.serial: "alice"}, CONFIRMED),
        (entry(RUN, JournalState.STAGED), {ALICE.serial: None}, JournalState.STAGED),
        (entry(RUN, JournalState.STAGED), {ALICE.serial: "bob"}, JournalState.STAGED),
        (entry(RUN, CREATED), {ALICE.serial: "alice"}, CREATED),
    ],
)
def test_a_staged_device_of_the_ledger_counts_as_enabled_if_iam_lists_it(
    ours: JournalEntry, holders: Mapping[str, str | None], state: JournalState
) -> None:
    """For its user, not for another one."""
    assert reached(Lists(ours=[ours]).prove(holders=holders)) is state


# What is said and written.


def test_only_an_unassigned_device_that_nothing_proves_is_given_to_no_one() -> None:
    """The reason is that of its lines, if there are any. A user's device is not unassigned."""
    lost = ProvenDevices(entries={}, adopted={}, refused={}, unassigned={ALICE.serial})
    assert UNRECORDED in str(why_unproven(ALICE, lost))
    assert "two runs" in str(why_unproven(ALICE, replace(lost, refused={ALICE.serial: "two runs"})))
    assert why_unproven(replace(ALICE, name="bob"), lost) is None
    assert Lists().prove(holders={ALICE.serial: None, "b": "bob"}).unassigned == {ALICE.serial}


@pytest.mark.parametrize(
    ("tag", "adopted"), [(RUN, True), (RunTag.UNTAGGED, True), (None, True), (OTHER, False), (RunTag.ABSENT, False)]
)
def test_a_device_whose_tags_name_another_run_is_not_adopted(tag: Any, adopted: bool) -> None:
    """None means that its tags were not read, as of a token."""
    lists = Lists(held=[RUN])
    tagged = {} if tag is None else {ALICE.serial: tag}
    devices = [Device(ALICE.serial, "alice")]
    lines = adopt_devices(ACCOUNT, devices=devices, tagged=tagged, record=records(line()), ports=lists.ports)
    assert [each.run.id for each in lines] == [RUN] * adopted
    assert [(each.run, each.reached) for each in lists.recorded] == [(RUN, CONFIRMED)] * adopted
    assert lists.ended == [RUN] * adopted
    assert lists.said == [f"account {ACCOUNT}: 1 device adopted"] * adopted


def test_a_dry_run_says_what_would_be_adopted_and_writes_nothing() -> None:
    """A refused device is named in any case. A device that IAM does not list is not."""
    bob = replace(ALICE, user="bob", name="bob")
    lists = Lists(held=[RUN], files=[backup(RUN, bob)], dry=True)
    gone = replace(ALICE, user="carol", name="carol")
    devices = [Device(ALICE.serial, "alice"), Device(bob.serial, "dave")]
    record = records(line(), line(spec=bob), line(spec=gone))
    assert adopt_devices(ACCOUNT, devices=devices, tagged={}, record=record, ports=lists.ports) == []
    assert (lists.recorded, lists.ended) == ([], [])
    refused, number = lists.said
    assert refused.startswith(f"{bob.serial} is not adopted: it belongs to dave")
    assert number == f"account {ACCOUNT}: 1 device to adopt"
    lists.dry = False
    adopted = adopt_devices(ACCOUNT, devices=devices, tagged={}, record=record, ports=lists.ports)
    assert [each.spec.user for each in adopted] == ["alice"]


@pytest.mark.parametrize(
    "path",
    [
        f"/backups/{ACCOUNT}/bob/alice-{RUN}.png.age",
        f"/backups/{ACCOUNT}/alice/bob-{RUN}.png.age",
        f"/backups/111111111111/alice/alice-{RUN}.png.age",
        f"/backups/{ACCOUNT}/alice/alice-20250101T000000Z-00000001.png.age",
        f"/backups/{ACCOUNT}/alice/alice-{RUN}.png.age/x",
        "x",
        "",
    ],
)
def test_a_line_with_the_path_of_another_device_proves_nothing(path: str) -> None:
    """Its hashes do not count either, so they are not written into the ledger."""
    wrong = replace(line(), backups={backup(RUN): "00", path: "11"})
    lists = Lists(held=[RUN])
    proven = lists.prove(wrong)
    assert (proven.entries, proven.unassigned, wrong.hashes) == ({}, {ALICE.serial}, {})
    assert proven.refused[ALICE.serial] == f"the record of run {RUN} has a file for alice that is not theirs: {path}"


def test_a_line_without_a_backup_proves_nothing_if_its_run_made_others() -> None:
    bob = replace(ALICE, user="bob", name="bob")
    alone = Lists().prove(line(sealed=False))
    assert alone.refused == {}
    both = Lists(held=[RUN]).prove(line(sealed=False), line(spec=bob))
    assert [*both.refused] == [ALICE.serial]
