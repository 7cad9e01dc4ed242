"""What every ledger does, in SQLite and in PostgreSQL: the journal, the log, and the locks of runs."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.adapters.ledger.records import Failures, RolloutRuns, created_since, progress_of_plans
from mfa_kit.core.models import Call, DeviceSpec, JournalEntry, JournalState, Method, RunKind
from mfa_kit.rollout.watching import Failure, PlanProgress
from tests.conftest import bare
from tests.faults.conftest import wait_until
from tests.ledgers import Place

RUNS = (f"20261125T000000Z-{number:08x}" for number in count())
# Opens a ledger, records one entry, prints a line, and stays alive.
HOLDER = """
import sys
from mfa_kit.core.models import JournalEntry, DeviceSpec, JournalState
from tests.ledgers import open_at
intent = DeviceSpec(account="000000000000", partition="aws", user="alice", name="alice")
with open_at(sys.argv[1]) as ledger:
    ledger.record(JournalEntry(run=sys.argv[2], spec=intent, reached=JournalState(sys.argv[3])))
    print("noted", flush=True)
    sys.stdin.read()
"""


def spec(**how: Any) -> DeviceSpec:
    return DeviceSpec(**{"account": "000000000000", "partition": "aws", "user": "alice", "name": "alice", **how})


def entry(**how: Any) -> JournalEntry:
    return JournalEntry(**{"run": next(RUNS), "spec": spec(), **how})


def told(ledger: Ledger) -> list[tuple[str, str]]:
    return [(each.what, each.answer) for each in ledger.history()]


@pytest.fixture
def ledger(place: Place) -> Iterator[Ledger]:
    with place.open() as ledger:
        yield ledger


@pytest.fixture
def holder(place: Place) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start processes that record an entry and then hold their run until they are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(run: str, reached: JournalState = JournalState.CREATED) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, place.at, run, reached],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=bare(),
        )
        started.append(process)
        assert process.stdout
        assert process.stdout.readline() == "noted\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_recorded_entry_is_read_by_the_next_process(place: Place) -> None:
    """All fields of an entry and its intent are stored, except the fields that only this process needs."""
    noted = entry(
        spec=spec(
            name="desk", path="/p/", method=Method("virtual"), replaces="GAHT1", replaces_run="r", replaces_since=1.5
        ),
        purpose=RunKind.REVOKE,
        reached=JournalState.REVOKING,
        backup="/b/x.png.age",
        since=1795651200.0,
        sealed=True,
    )
    with place.open() as ledger:
        ledger.record(noted)
    with place.open() as ledger:
        assert ledger.find(noted.spec.serial, run=noted.run) == noted
        assert list(ledger.dead("000000000000")) == [noted]


def test_an_entry_is_updated_in_its_own_row(ledger: Ledger) -> None:
    """A run has one row for each device. DeviceSpec and backup stay as they were first recorded."""
    first = entry(backup="/b")
    for reached in (JournalState.INTENT, JournalState.CREATED, JournalState.CONFIRMED):
        ledger.record(first.at(reached))
    assert ledger.find(first.spec.serial) == first.at(JournalState.CONFIRMED)
    assert [(each.what, each.answer) for each in ledger.history()] == [("enrollment", "done")]


def test_the_history_keeps_an_enrollment_after_its_revocation(place: Place) -> None:
    """A run's row has only its latest state. The history still has the earlier results, in words."""
    with place.open() as ledger:
        noted = entry()
        for reached in (
            JournalState.INTENT,
            JournalState.CREATED,
            JournalState.CREATED,
            JournalState.CONFIRMED,
            JournalState.CONFIRMED,
        ):
            ledger.record(noted.at(reached))
        leaving = replace(noted, purpose=RunKind.LOST)
        ledger.record(leaving.at(JournalState.REVOKING))
        assert told(ledger) == [("enrollment", "done"), ("revocation of a lost device", "in progress")]
        ledger.record(noted.at(JournalState.CONFIRMED))
        assert told(ledger) == [("enrollment", "done")]
        for reached in (JournalState.REVOKING, JournalState.REVOKED, JournalState.REVOKED):
            ledger.record(leaving.at(reached))
        assert told(ledger) == [("enrollment", "done"), ("revocation of a lost device", "done")]
        assert [each.reference for each in ledger.history(user="alice")] == [noted.run] * 2
        assert ledger.history(user="bob") == []


@pytest.mark.parametrize(
    ("reached", "half_made", "stands"),
    [
        (JournalState.INTENT, True, True),
        (JournalState.CREATED, True, True),
        (JournalState.CONFIRMED, False, True),
        (JournalState.UNDONE, False, False),
        (JournalState.REVOKING, True, True),
        (JournalState.REVOKED, False, False),
    ],
)
def test_half_made_and_complete_entries(reached: JournalState, half_made: bool, stands: bool, place: Place) -> None:
    """`dead` returns unfinished entries.

    Without a run, `find` returns the complete ones. With a run, it returns any entry.
    """
    noted = entry(reached=reached)
    with place.open() as ledger:
        ledger.record(noted)
    with place.open() as ledger:
        assert list(ledger.dead("000000000000")) == [noted] * half_made
        assert ledger.find(noted.spec.serial) == (noted if stands else None)
        assert ledger.find(noted.spec.serial, run=noted.run) == noted


def test_unfinished_entries_are_found_by_account_and_user(place: Place) -> None:
    """Entries of another account or another user are not returned."""
    alice, bob, other = entry(), entry(spec=spec(user="bob")), entry(spec=spec(account="111111111111"))
    with place.open() as ledger:
        for each in (alice, bob, other):
            ledger.record(each)
    with place.open() as ledger:
        assert list(ledger.dead("000000000000")) == [alice, bob]
        assert list(ledger.dead("000000000000", user="bob")) == [bob]
        assert list(ledger.dead("111111111111")) == [other]


def test_a_run_of_this_process_is_not_dead(ledger: Ledger) -> None:
    """While the process lives, no process may settle the run, not even this one."""
    noted = ledger.record(entry())
    assert ledger.lives(noted.run)
    assert list(ledger.dead("000000000000")) == []


def test_a_run_is_alive_as_long_as_its_process(ledger: Ledger, holder: Callable[..., subprocess.Popen[str]]) -> None:
    """After kill -9 nothing else has to be removed."""
    run = next(RUNS)
    process = holder(run)
    assert ledger.lives(run)
    assert list(ledger.dead("000000000000")) == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not ledger.lives(run))
    assert [each.run for each in ledger.dead("000000000000")] == [run]


def test_a_run_that_is_being_settled_counts_as_alive(place: Place, ledger: Ledger) -> None:
    """Two processes on one computer do not settle the same run at once."""
    with place.open() as gone:
        noted = gone.record(entry())
    with place.open() as other:
        for each in ledger.dead("000000000000"):
            assert other.lives(each.run)
            assert list(other.dead("000000000000")) == []
            ledger.record(each.at(JournalState.UNDONE))
        assert not other.lives(noted.run)
        assert list(other.dead("000000000000")) == []


def test_a_run_that_was_settled_meanwhile_is_skipped(place: Place, ledger: Ledger) -> None:
    """The entry is read again when the lock is held."""
    with place.open() as gone:
        first, second = gone.record(entry()), gone.record(entry(spec=spec(user="bob")))
    found = ledger.dead("000000000000")
    assert next(found) == first
    with place.open() as other:
        other.record(second.at(JournalState.UNDONE))
    assert list(found) == []


def test_threads_share_one_ledger(ledger: Ledger) -> None:
    """The workers of a rollout write at the same time, and nothing is lost."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for each in range(10):
                noted = ledger.record(entry(run=f"20261125T000000Z-{number:04x}{each:04x}"))
                ledger.called(Call(operation="X", user=None, serial=None, request_id=None, answer="OK"))
                assert ledger.find(noted.spec.serial, run=noted.run) == noted
        except BaseException as error:  # noqa: BLE001 - the test reports a thread's failure
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(ledger.history()) == 160


def test_the_history_is_in_order_and_by_user_and_time(place: Place) -> None:
    """A call on a device belongs to the user of the run that created the device, even if the call names no user."""
    clock = iter(range(100, 200))
    with place.open(clock=lambda: next(clock)) as ledger:
        ledger.called(Call(operation="Create", user="alice", serial=spec().serial, request_id="r1", answer="OK"))
        ledger.record(entry())
        ledger.called(Call(operation="Delete", user=None, serial=spec().serial, request_id="r2", answer="Conflict"))
        ledger.called(Call(operation="Open", user="bob", serial=None, request_id=None, answer="OK", file="/f"))
        ledger.called(Call(operation="Delete", user=None, serial="another", request_id="r3", answer="OK"))
        told = [(each.at, each.what, each.answer, each.reference, each.file) for each in ledger.history()]
        assert [each[1] for each in told] == ["Create", "enrollment", "Delete", "Open", "Delete"]
        assert told[3] == (103.0, "Open", "OK", None, "/f")
        assert [each.what for each in ledger.history(user="alice")] == ["Create", "enrollment", "Delete"]
        assert [each.what for each in ledger.history(since=102)] == ["Delete", "Open", "Delete"]


def test_a_piece_of_work_is_claimed_by_one_process(place: Place, ledger: Ledger) -> None:
    """Another one gets it as soon as the first one is done. Other work is free."""
    work, free = (f"{letter * 64}-000000000000" for letter in "ab")
    with place.open() as other:
        with ledger.claimed(work) as ours, other.claimed(work) as theirs, other.claimed(free) as third:
            assert (ours, theirs, third) == (True, False, True)
        with other.claimed(work) as theirs:
            assert theirs


def test_the_holder_of_a_piece_of_work_is_known(place: Place, ledger: Ledger) -> None:
    """Its computer, the number of its process, and since when. Free work has no holder."""
    works = [f"{letter * 64}-000000000000" for letter in "abc"]
    began = time.time()
    with place.open() as other, other.claimed(works[1]) as ours:
        assert ours
        [held] = ledger.workers(works)
    assert (held.work, held.computer, held.process) == (works[1], os.uname().nodename, str(os.getpid()))
    assert began - 2 < held.since < time.time() + 2
    assert ledger.workers(works) == []


def test_entries_that_are_recorded_together_are_those_of_their_runs(place: Place, ledger: Ledger) -> None:
    """Each of them reaches its state, also those of another run of this process."""
    one, two = (entry(spec=spec(name=name)) for name in ("one", "two"))
    three = replace(one, spec=spec(name="three"))
    for each in (one, two, three):
        ledger.record(each)
    ledger.record_all([each.at(JournalState.CONFIRMED) for each in (one, two, three)])
    ledger.record_all([])
    with place.open() as other:
        assert {each.spec.name: each.reached for each in other.made("000000000000")} == dict.fromkeys(
            ("one", "two", "three"), JournalState.CONFIRMED
        )


def test_of_two_runs_in_one_second_the_later_one_counts(ledger: Ledger) -> None:
    """The name of a run begins with its second and ends at random, so its order alone does not say which was later."""
    earlier, later = entry(run="20260101T000000Z-ffffffff"), entry(run="20260101T000000Z-00000000")
    ledger.record(earlier.at(JournalState.CREATED))
    ledger.record(later.at(JournalState.CONFIRMED))
    assert [made.run for made in ledger.made(later.spec.account)] == [later.run]
    last = ledger.find(later.spec.serial)
    assert last
    assert last.run == later.run


def test_a_plan_is_complete_when_its_last_run_has_ended(ledger: Ledger) -> None:
    """Devices that its runs made count, and users who failed. A plan that nobody began is left out."""
    runs = RolloutRuns(ledger, plan="plan")
    first, second = entry(), entry(spec=spec(user="bob", name="bob"))
    runs.record(first.run, now=1.0)
    ledger.record(first.at(JournalState.CONFIRMED))
    Failures(ledger, plan="plan").record(Failure(key="bob", cause="X", reason="y"), now=2.0)
    runs.end(first.run, now=3.0)
    progress = PlanProgress(made=1, causes={"X": 1}, complete=True)
    assert progress_of_plans(ledger, ["plan", "other"]) == {"plan": progress}
    runs.record(second.run, now=4.0)
    ledger.record(second.at(JournalState.STAGED))
    Failures(ledger, plan="plan").forget("bob")
    assert progress_of_plans(ledger, ["plan"]) == {"plan": PlanProgress(made=2, complete=False)}
    assert progress_of_plans(ledger, []) == {}
    third = entry(spec=spec(user="carol", name="carol"))
    runs.record(third.run, now=5.0)
    ledger.record(third.at(JournalState.CREATED))
    assert progress_of_plans(ledger, ["plan"])["plan"].unfinished_since == pytest.approx(time.time(), abs=60)
    number, age = ledger.unfinished()
    assert (number, age is not None and age < 60) == (1, True)


def test_the_devices_of_the_last_seconds_are_counted(ledger: Ledger) -> None:
    """Only those that a run of the plan created, and that IAM accepted."""
    ours, theirs = entry(), entry(spec=spec(user="bob", name="bob"))
    RolloutRuns(ledger, plan="plan").record(ours.run, now=1.0)
    for device, answer in ((ours, "OK"), (ours, "Throttling"), (theirs, "OK")):
        ledger.record(device.at(JournalState.CREATED))
        serial = device.spec.serial
        ledger.called(
            Call(operation="CreateVirtualMFADevice", user="alice", serial=serial, request_id="r", answer=answer)
        )
    assert created_since(ledger, ["plan", "other"], time.time() - 60) == 1
    assert created_since(ledger, ["plan"], time.time() + 60) == created_since(ledger, ["other"], 0.0) == 0


def test_a_run_that_was_ended_can_be_settled_by_another_process(place: Place, ledger: Ledger) -> None:
    """The process that made it goes on, for example with another account. A run that it does not hold is ignored."""
    run = next(RUNS)
    ledger.record(entry(run=run, reached=JournalState.CREATED))
    with place.open() as other:
        assert (other.lives(run), list(other.dead("000000000000"))) == (True, [])
        other.end(run)
        assert other.lives(run)
        ledger.end(run)
        assert not other.lives(run)
        assert [each.run for each in other.dead("000000000000")] == [run]


def test_a_failure_is_forgotten_after_a_success(ledger: Ledger) -> None:
    """It may occur again. Only failures since a time are returned."""
    failures, failure = Failures(ledger, plan="a" * 64), Failure(key="alice", cause="AwsFault", reason="why")
    failures.record(failure, now=5.0)
    assert (failures.by_row(), failures.by_row(since=6.0)) == ({"alice": failure}, {})
    failures.forget("alice")
    assert failures.by_row() == {}
    failures.record(failure, now=7.0)
    assert failures.by_row(since=6.0) == {"alice": failure}


def test_threads_share_one_run(place: Place, ledger: Ledger) -> None:
    """The workers of a rollout record the entries of one run, which others see as alive."""
    run, failures = next(RUNS), list[BaseException]()

    def work(number: int) -> None:
        try:
            for each in range(3):
                noted = entry(run=run, spec=spec(user=f"u{number}-{each}", name=f"u{number}-{each}"))
                ledger.record(noted)
                ledger.called(Call(operation="X", user=None, serial=None, request_id=None, answer="OK"))
                ledger.record(noted.at(JournalState.CONFIRMED))
        except BaseException as error:  # noqa: BLE001 - the test reports a thread's failure
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(ledger.history()) == 48
    with place.open() as other:
        assert other.lives(run)
