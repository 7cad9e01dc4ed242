"""Ctrl-C while many accounts are read, and how accounts share the threads."""

import signal
import threading
import time
from pathlib import Path

import pytest

from mfa_kit.core.stopping import Stop
from mfa_kit.lab.aws.server import Lab
from mfa_kit.organization.slots import AccountSlots, leaving_place
from mfa_kit.wiring.organization import UserThreads
from tests.conftest import MfaKit, interrupt
from tests.organization.conftest import MEMBERS


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["*", "AssumeRole"])
def test_ctrl_c_does_not_wait_for_a_throttled_account(
    operation: str, org_kit: MfaKit, org_lab: Lab, tmp_path: Path
) -> None:
    """The reads of all accounts end in their pauses. A note has the command that reads the remaining accounts."""
    org_lab.faults.add(operation, "throttle", at="every", account="" if operation == "AssumeRole" else MEMBERS[0])
    process = org_kit.fork("audit", "--org", "--output-dir", tmp_path / "results")
    while sum(call.error == "Throttling" for call in org_lab.calls) < 3:
        time.sleep(0.05)
    before = len(org_lab.calls)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert f"to continue: mfa-kit audit --org --output-dir {tmp_path}/results --resume" in err
    # The throttled account would make more than 30 attempts.
    assert len(org_lab.calls) - before < 15


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_a_response(org_kit: MfaKit, org_lab: Lab, tmp_path: Path) -> None:
    """A request that hangs is given up, although its response would be awaited for 30 seconds."""
    org_lab.faults.add("GetAccountPasswordPolicy", "latency", at="every", account=MEMBERS[0], seconds=90)
    results = tmp_path / "results"
    process = org_kit.fork("audit", "--org", "--output-dir", results)
    while len([*results.glob("0*")]) < len(MEMBERS):
        time.sleep(0.05)
    interrupt(process, within=20)


@pytest.mark.slow
def test_ctrl_c_in_a_single_account_does_not_wait_for_a_response(org_kit: MfaKit, org_lab: Lab) -> None:
    """The threads that look up users give up too, here for a user who is newer than the credential report."""
    assert org_kit.run("audit").code == 1
    org_lab.add_user("newcomer")
    del org_lab.calls[:]
    org_lab.faults.add("ListMFADevices", "latency", at="every", seconds=90)
    process = org_kit.fork("audit")
    while not any(call.operation == "ListAccessKeys" for call in org_lab.calls):
        time.sleep(0.05)
    time.sleep(1)
    interrupt(process, within=20)


@pytest.mark.slow
def test_ctrl_c_during_a_status_does_not_wait_for_a_response(org_kit: MfaKit, org_lab: Lab) -> None:
    """The threads that list the devices of users give up."""
    org_lab.faults.add("ListMFADevices", "latency", at="every", seconds=90)
    process = org_kit.fork("status", "--each-user")
    while not any(call.operation == "ListUsers" for call in org_lab.calls):
        time.sleep(0.05)
    time.sleep(2)
    interrupt(process, within=20)


@pytest.mark.slow
def test_throttled_accounts_do_not_hold_up_the_others(org_kit: MfaKit, org_lab: Lab, tmp_path: Path) -> None:
    """Even with --workers 1, the other accounts are read while the first ones wait because AWS throttles them."""
    for number in MEMBERS[:3]:
        org_lab.faults.add("*", "throttle", at="every", account=number)
    results = tmp_path / "results"
    process = org_kit.fork("audit", "--org", "--workers", "1", "--output-dir", results)
    try:
        while len([*results.glob("0*")]) < len(MEMBERS) + 1 - 3:
            assert sum(call.error == "Throttling" for call in org_lab.calls) < 20
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()


def test_an_account_that_waits_leaves_its_place_to_another() -> None:
    """With two places, two accounts are completed while four others wait. Then these four continue."""
    waits = threading.Event()

    def work(number: int) -> int:
        if number < 4:
            leaving_place(lambda _: None if waits.wait(60) else pytest.fail("nobody ended the pause"))(1)
        return number

    results = AccountSlots(work, number=2).work_through(range(6))
    assert {next(results), next(results)} == {4, 5}
    waits.set()
    assert {*results} == {0, 1, 2, 3}


def test_no_more_accounts_than_places_are_at_work() -> None:
    """Accounts that do not wait keep their places, and short pauses do not count."""
    barrier, most, lock = threading.Barrier(2), [0, 0], threading.Lock()

    def work(number: int) -> int:
        with lock:
            most[0] += 1
            most[1] = max(most)
        leaving_place(lambda _: None, least=1)(0.5)
        barrier.wait(60)
        with lock:
            most[0] -= 1
        return number

    assert sorted(AccountSlots(work, number=2).work_through(range(8))) == [*range(8)]
    assert most == [0, 2]


def test_after_a_stop_no_further_account_is_begun() -> None:
    """The account that is at work finishes, and its result is yielded."""
    stop = threading.Event()

    def work(number: int) -> int:
        stop.set()
        return number

    assert [*AccountSlots(work, number=1, stopped=stop.is_set).work_through(range(5))] == [0]


def test_after_ctrl_c_the_accounts_that_are_still_at_work_are_named() -> None:
    """A second after the stop, `waits_for` is called with the accounts that are still at work."""
    ends, begun = threading.Event(), threading.Event()
    named: list[list[str]] = []

    def work(name: str) -> str:
        if name == "slow":
            begun.set()
            ends.wait(60)
        return name

    def say(names: list[str]) -> None:
        named.append(names)
        ends.set()

    results = AccountSlots(work, number=2, waits_for=say).work_through(["slow", "fast"])
    assert next(results) == "fast"
    assert begun.wait(60)
    results.close()
    assert named == [["slow"]]


def test_after_a_stop_no_further_user_is_read() -> None:
    """Reads that wait for a thread are not begun, and the account that waits for them ends."""
    stop = Stop()
    done: list[int] = []

    def read(number: int) -> None:
        done.append(number)
        stop.set()

    with pytest.raises(KeyboardInterrupt):
        list(UserThreads(1, stop=stop)(read, range(10)))
    assert done == [0]
