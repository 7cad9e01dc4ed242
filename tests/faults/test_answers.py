"""Inject each fault into each call of each verb. Then run the command again, then `orphans clean`."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mfa_kit.core.errors import AccessDenied, AlreadyExists, AwsFault, MfaKitError, OutcomeUnknownError, UsageFault
from mfa_kit.core.models import Enrolled, JournalState
from mfa_kit.lab.aws.server import LATE_CALL, Lab
from tests.faults.conftest import Judge, wait_until
from tests.faults.test_kill import AFTER, BEFORE, VERBS
from tests.faults.worker import Cut, Shared, act, at_desk, shared_iam
from tests.sizes import sample

FAULTS: dict[str, dict[str, float]] = {
    "throttle": {},
    "error-before": {},
    "error-after": {},
    "lost-before": {},
    "lost-after": {},
    "denied": {},
    "expired": {},
    "late": {"seconds": 0.02},
}
# Seconds; delayed requests take twice as long.
PATIENCE = 0.5
Do = Callable[..., tuple[Any, list[str]]]


class Killed(BaseException):
    """Raised in place of a kill."""


@pytest.fixture(scope="module")
def shared(lab: Lab) -> Iterator[Shared]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.env.items():
            patch.setenv(name, value)
        yield shared_iam()


@pytest.fixture
def do(shared: Shared, identity: pyrage.x25519.Identity) -> Do:
    """Run one verb in this process, with its state in a folder and without sleeping."""

    def do(verb: str, user: str, home: Path, cut: Cut | None = None) -> tuple[Any, list[str]]:
        with at_desk(home, shared, recipient=str(identity.to_public()), cut=cut) as (desk, caller, backend, notes):
            return act(verb, user, desk=desk, caller=caller, backend=backend()), notes.said

    return do


@pytest.fixture
def impatient(identity: pyrage.x25519.Identity) -> Callable[[str, str, Path], bool]:
    """Run one verb like `do`, with a client timeout of PATIENCE seconds. Return whether it succeeded."""
    shared = shared_iam(read_timeout=PATIENCE)

    def do(verb: str, user: str, home: Path) -> bool:
        recipient = str(identity.to_public())
        with at_desk(home, shared, recipient=recipient) as (desk, caller, backend, _), suppress(MfaKitError):
            act(verb, user, desk=desk, caller=caller, backend=backend())
            return True
        return False

    return do


def calls_of(verb: str, user: str, home: Path, do: Do, lab: Lab) -> list[tuple[str, int]]:
    """Run a verb; return its calls, each with the number of earlier calls of the same operation."""
    seen, numbered = len(lab.calls), Counter[str]()
    do(verb, user, home)
    calls = []
    for call in [call.operation for call in lab.calls[seen:] if call.operation != "GetCallerIdentity"]:
        numbered[call] += 1
        calls.append((call, numbered[call]))
    return calls


def answered_late(lab: Lab, seen: int) -> bool:
    """Return whether a call after the first `seen` calls took as long as a delayed call."""
    return any(call.seconds >= 2 * PATIENCE for call in lab.calls[seen:])


def nothing_is_late() -> bool:
    """Return whether the lab has finished all requests. It processes delayed requests in separate threads."""
    return not any(thread.name == LATE_CALL for thread in threading.enumerate())


def gone(verb: str, user: str, lab: Lab) -> bool:
    """Return whether a revocation got so far that the next one has nothing to do."""
    return verb == "revoke" and not any(lab.assigned(serial) == user for serial in lab.serials())


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_fault_at_any_call_is_repaired_by_the_same_command(
    verb: str,
    fault: str,
    do: Do,
    lab: Lab,
    judge: Judge,
    users: Callable[[], str],
    tmp_path: Path,
    tried: Callable[[str, int], None],
) -> None:
    """After any response, the next run of the command ends with one working device, or with none after a revocation."""
    home, user = tmp_path / "whole", users()
    for _ in range(BEFORE[verb]):
        do("enroll", user, home)
    for call, number in sample(calls_of(verb, user, home, do, lab), 4):
        home, user = tmp_path / f"{call}-{number}", users()
        for _ in range(BEFORE[verb]):
            do("enroll", user, home)
        lab.faults.add(call, fault, at=number, account="", **FAULTS[fault])
        done = False
        with suppress(MfaKitError):
            do(verb, user, home)
            done = True
        assert [rule.spent for rule in lab.faults.rules()] == [True], "the fault was not met"
        lab.faults.clear()
        wait_until(nothing_is_late)
        with pytest.raises(UsageFault, match="no MFA device") if done and gone(verb, user, lab) else nullcontext():
            do(verb, user, home)
        do("clean", user, home)
        assert len(judge.works(user, home)) == AFTER[verb], (call, number)
        tried(f"{fault} in {verb}", 1)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("verb", VERBS)
def test_a_timeout_at_any_call_is_repaired_by_the_same_command(
    verb: str,
    do: Do,
    impatient: Callable[[str, str, Path], bool],
    lab: Lab,
    judge: Judge,
    users: Callable[[], str],
    tmp_path: Path,
    tried: Callable[[str, int], None],
) -> None:
    """The client gives up and settles the device before the request takes effect."""
    home, user = tmp_path / "whole", users()
    for _ in range(BEFORE[verb]):
        do("enroll", user, home)
    for call, number in sample(calls_of(verb, user, home, do, lab), 3):
        for attempt in count():
            home, user = tmp_path / f"{call}-{number}-{attempt}", users()
            for _ in range(BEFORE[verb]):
                do("enroll", user, home)
            lab.faults.add(call, "latency", at=number, seconds=2 * PATIENCE)
            seen = len(lab.calls)
            done = impatient(verb, user, home)
            [rule] = lab.faults.rules()
            lab.faults.clear()
            if rule.spent:
                wait_until(partial(answered_late, lab, seen))
            with pytest.raises(UsageFault, match="no MFA device") if done and gone(verb, user, lab) else nullcontext():
                do(verb, user, home)
            do("clean", user, home)
            assert len(judge.works(user, home)) == AFTER[verb], (call, number)
            if rule.spent:  # a busy machine may have timed out earlier, which was another timeout than the injected one
                break
        tried(f"timeout in {verb}", 1)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("first", ["lost-before", "lost-after", "denied"])
def test_a_fault_while_settling_is_repaired_by_the_same_command(
    first: str,
    fault: str,
    do: Do,
    lab: Lab,
    judge: Judge,
    users: Callable[[], str],
    tmp_path: Path,
    tried: Callable[[str, int], None],
) -> None:
    """The Enable fails. Then a call fails that undoes the enrollment, or that finds out that the Enable took effect."""

    def wrong(verb: str, user: str, home: Path) -> tuple[Any, list[str]]:
        lab.faults.add("EnableMFADevice", first)
        with suppress(MfaKitError):
            return do(verb, user, home)
        return None, []

    calls = calls_of("enroll", users(), tmp_path / "whole", wrong, lab)
    for call, number in calls[[call for call, _ in calls].index("EnableMFADevice") + 1 :]:
        home, user = tmp_path / f"{call}-{number}", users()
        lab.faults.clear()
        lab.faults.add(call, fault, at=number, account="", **FAULTS[fault])
        wrong("enroll", user, home)
        assert [rule.spent for rule in lab.faults.rules()] == [True, True], "a fault was not met"
        lab.faults.clear()
        wait_until(nothing_is_late)
        do("enroll", user, home)
        do("clean", user, home)
        assert len(judge.works(user, home)) == 1, (call, number)
        tried(f"{fault} in settling", 1)


def test_a_create_that_is_never_answered_leaves_nothing(do: Do, lab: Lab, user: str, tmp_path: Path) -> None:
    """Each attempt made a device whose secret is lost. The tag proves that this run made it, so it is deleted."""
    lab.faults.add("CreateVirtualMFADevice", "lost-after", at="every")
    with pytest.raises(OutcomeUnknownError):
        do("enroll", user, tmp_path)
    assert f"arn:aws:iam::000000000000:mfa/{user}" not in lab.serials()


def test_a_create_that_is_lost_once_is_made_again(do: Do, lab: Lab, user: str, tmp_path: Path, judge: Judge) -> None:
    """The same command deletes the device whose secret was lost, and creates it again."""
    lab.faults.add("CreateVirtualMFADevice", "lost-after")
    outcome, _ = do("enroll", user, tmp_path)
    assert isinstance(outcome, Enrolled)
    assert judge.works(user, tmp_path) == [outcome.spec.serial]


def test_an_unprovable_untagged_device_is_reported(do: Do, lab: Lab, user: str, tmp_path: Path) -> None:
    """Without tags and a response to Create, mfa-kit cannot know whose device it is.

    The device stays, and the hint has a command for an administrator.
    """
    lab.faults.add("CreateVirtualMFADevice", "denied", at=1)
    lab.faults.add("CreateVirtualMFADevice", "lost-after", at=2)
    with pytest.raises(AwsFault) as caught:
        do("enroll", user, tmp_path)
    assert f"delete-virtual-mfa-device --serial-number arn:aws:iam::000000000000:mfa/{user}" in str(
        caught.value.__notes__
    )
    assert f"arn:aws:iam::000000000000:mfa/{user}" in lab.serials()


def test_a_denied_delete_while_settling_is_a_note_on_the_first_error(
    do: Do, lab: Lab, user: str, tmp_path: Path, judge: Judge
) -> None:
    """The first error is raised. The note says what is left and how to remove it. The entry stays open."""
    lab.faults.add("EnableMFADevice", "denied")
    lab.faults.add("DeleteVirtualMFADevice", "denied", at="every")
    with pytest.raises(AccessDenied) as caught:
        do("enroll", user, tmp_path)
    assert "not settled yet" in caught.value.__notes__[0]
    assert "aws iam delete-virtual-mfa-device" in caught.value.__notes__[0]
    lab.faults.clear()
    do("enroll", user, tmp_path)
    assert len(judge.works(user, tmp_path)) == 1


@pytest.mark.parametrize("listings", [0, 1])
def test_a_late_enable_never_leaves_a_lost_secret(
    listings: int, do: Do, lab: Lab, user: str, tmp_path: Path, judge: Judge
) -> None:
    """mfa-kit gives up before the Enable takes effect. IAM then refuses the Delete, which shows that it took effect."""
    serial = f"arn:aws:iam::000000000000:mfa/{user}"

    def wait_for_it() -> None:
        wait_until(lambda: lab.assigned(serial) is not None)

    steps = Cut()
    do("enroll", f"{user}", tmp_path / "count", steps)
    do("revoke", user, tmp_path / "count")
    delete = steps.steps.index("device_writer.enable") + 4  # the steps in between are codes, run_of and devices
    lab.faults.add("EnableMFADevice", "late", seconds=0.5, listings=listings)
    cut = Cut(at=delete + 1, act=wait_for_it)
    outcome, said = do("enroll", user, tmp_path / "home", cut)
    assert cut.fired
    assert cut.steps[delete] == "device_writer.delete"
    assert isinstance(outcome, Enrolled)
    assert any("is nevertheless enabled" in line for line in said)
    assert judge.works(user, tmp_path / "home") == [serial]


def test_a_listing_that_lags_ends_in_success_with_an_open_entry(
    lab: Lab, do: Do, user: str, tmp_path: Path, shared: Shared, identity: pyrage.x25519.Identity
) -> None:
    """The device is enabled but not listed in time.

    The exit code is 0 with a warning, and the next run closes the entry.
    """
    lab.faults.add("*", "lag", seconds=600)
    outcome, said = do("enroll", user, tmp_path)
    assert isinstance(outcome, Enrolled)
    assert not outcome.listed
    assert any(line.startswith("warning:") for line in said)
    lab.faults.clear()
    do("enroll", user, tmp_path)
    with at_desk(tmp_path, shared, recipient=str(identity.to_public())) as (desk, _, _, _):
        entry = desk.journal.find(outcome.spec.serial)
        assert entry is not None
        assert entry.reached is JournalState.CONFIRMED


def test_a_device_of_another_computer_is_kept(do: Do, lab: Lab, user: str, tmp_path: Path) -> None:
    """It is half-made. The second enrollment fails, and the first continues."""
    first = Cut()
    do("enroll", user, tmp_path / "count", first)
    do("revoke", user, tmp_path / "count")

    def second() -> None:
        with pytest.raises(AlreadyExists, match="already exists"):
            do("enroll", user, tmp_path / "two")

    cut = Cut(at=first.steps.index("device_writer.enable") + 1, act=second)
    outcome, _ = do("enroll", user, tmp_path / "one", cut)
    assert isinstance(outcome, Enrolled)
    assert lab.assigned(outcome.spec.serial) == user
    assert not list((tmp_path / "two").rglob("*.age"))


@pytest.mark.parametrize(
    ("verb", "dies_at", "left"),
    [
        ("revoke", ["device_writer.deactivate"], ""),
        ("replace", ["device_writer.deactivate"], "-2"),
        ("replace", ["journal.record", "journal.record", "iam_reader.devices"], "-2"),
    ],
    ids=["revoke", "replace", "replace, when the new one stands"],
)
def test_a_killed_revoke_of_an_untagged_device_continues(
    verb: str, dies_at: list[str], left: str, do: Do, lab: Lab, user: str, tmp_path: Path, judge: Judge
) -> None:
    """Without a tag, the EnableDate shows that it is the device to revoke."""
    serial = f"arn:aws:iam::000000000000:mfa/{user}"
    lab.faults.add("CreateVirtualMFADevice", "denied")
    do("enroll", user, tmp_path)

    class Dead(Cut):
        def step(self, name: str, call: Callable[[], Any]) -> Any:
            if self.fired or [*self.steps, name][-len(dies_at) :] == dies_at:
                self.fired = True
                raise Killed
            return super().step(name, call)

    with pytest.raises(Killed):
        do(verb, user, tmp_path, Dead())
    assert lab.assigned(serial) == user
    do("enroll", user, tmp_path)
    assert judge.works(user, tmp_path) == [serial + left]
