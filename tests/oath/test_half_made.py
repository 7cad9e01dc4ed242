"""Whatever ends a run early, at the key too: the same command then ends in one device that works, and nothing else."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mfa_kit.adapters.oath import pcsc as adapter
from mfa_kit.errors import DeviceFault, MfaKitError, UsageFault
from mfa_kit.lab.oathcard import Card
from mfa_kit.lab.server import Lab
from tests import pcsc
from tests.faults.conftest import Judge, Nursery, nursery_at
from tests.faults.worker import Shared, shared_iam
from tests.oath.seat import AFTER, BEFORE, KeyJudge, do

VERBS = tuple(BEFORE)
FAULTS = ("throttle", "error-before", "error-after", "lost-before", "lost-after", "denied")
# A call that hangs is given up after so many seconds here.
IMPATIENT = 0.3


@pytest.fixture(scope="module")
def shared(lab: Lab) -> Iterator[Shared]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in lab.env.items():
            patch.setenv(name, value)
        yield shared_iam()


@pytest.fixture
def judge(at_lab: Lab, identity: object) -> KeyJudge:
    return KeyJudge(at_lab, Judge(at_lab, identity, lambda *_: None))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def nursery(lab: Lab, recipient: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    folder = tmp_path_factory.mktemp("nursery")
    with nursery_at(lab, recipient, folder, module="tests.oath.worker", **pcsc.shared().env) as nursery:
        yield nursery


def plugged() -> Card:
    card = Card()
    pcsc.plug(card)
    return card


@contextmanager
def nothing_left(verb: str) -> Iterator[None]:
    """Let a revoke find that the one before it came to its end."""
    try:
        yield
    except UsageFault as error:
        if verb != "revoke" or "has no MFA device" not in str(error):
            raise


def exchanges(verb: str, user: str, home: Path, shared: Shared, recipient: str) -> int:
    """Run a verb undisturbed and count its APDUs."""
    card = plugged()
    for _ in range(BEFORE[verb]):
        do("enroll", user, home, shared, recipient=recipient)
    card.log.clear()
    do(verb, user, home, shared, recipient=recipient)
    return len(card.log)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_kill_at_any_step_is_repaired_by_the_same_command(
    verb: str, after: bool, nursery: Nursery, judge: KeyJudge, users: Callable[[], str], tmp_path: Path
) -> None:
    """SIGKILL just before and just after each call of each port: the key and IAM end as if it had not been."""
    prepare = ["enroll"] * BEFORE[verb]
    home, user, card = tmp_path / "whole", users(), plugged()
    assert nursery.run(prepare, user, home)[0] == 0
    code, steps = nursery.run([verb], user, home)
    assert code == 0, steps
    assert len(judge.works(user, home, card)) == AFTER[verb]
    for at in range(1, len(steps) + 1):
        home, user, card = tmp_path / f"{at}", users(), plugged()
        assert nursery.run(prepare, user, home)[0] == 0
        code, done = nursery.run([verb], user, home, at=at, after=after)
        assert code == -signal.SIGKILL, f"step {at} was not reached: {done}"
        code, said = nursery.run([verb], user, home)
        assert code == 0 or (verb == "revoke" and "has no MFA device" in said[-1]), said
        assert nursery.run(["clean"], user, home)[0] == 0
        assert len(judge.works(user, home, card)) == AFTER[verb], (at, steps[at - 1])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["pulled_before", "pulled_after", "mute_at"])
@pytest.mark.parametrize("verb", ["enroll", "revoke"])
def test_a_key_that_goes_or_hangs_at_any_apdu_costs_a_sentence_and_the_same_command(
    verb: str,
    how: str,
    judge: KeyJudge,
    shared: Shared,
    users: Callable[[], str],
    recipient: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pulled before it acts, pulled after, or mute: plugged in again, the command ends as if it had not been."""
    monkeypatch.setattr(adapter, "COMMAND", 2.0)
    for at in range(1, exchanges(verb, users(), tmp_path / "whole", shared, recipient) + 1):
        home, user, card = tmp_path / f"{at}", users(), plugged()
        for _ in range(BEFORE[verb]):
            do("enroll", user, home, shared, recipient=recipient)
        card.log.clear()
        setattr(card.quirks, how, at)
        monkeypatch.setattr(adapter, "COMMAND", IMPATIENT if how == "mute_at" else 2.0)
        with pytest.raises(MfaKitError) as caught:
            do(verb, user, home, shared, recipient=recipient)
        assert caught.value.hint
        setattr(card.quirks, how, 0)
        monkeypatch.setattr(adapter, "COMMAND", 2.0)
        pcsc.plug()
        pcsc.plug(card)
        with nothing_left(verb):
            do(verb, user, home, shared, recipient=recipient)
        do("clean", user, home, shared, recipient=recipient)
        assert len(judge.works(user, home, card)) == AFTER[verb], at


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_fault_at_any_call_is_repaired_by_the_same_command(
    verb: str,
    fault: str,
    judge: KeyJudge,
    shared: Shared,
    at_lab: Lab,
    users: Callable[[], str],
    recipient: str,
    tmp_path: Path,
) -> None:
    """Whatever one answer of AWS was, the next run ends in one working device, or none after a revoke."""
    home, user, card = tmp_path / "whole", users(), plugged()
    for _ in range(BEFORE[verb]):
        do("enroll", user, home, shared, recipient=recipient)
    seen = len(at_lab.calls)
    do(verb, user, home, shared, recipient=recipient)
    number = sum(call.operation != "GetCallerIdentity" for call in at_lab.calls[seen:])
    for at in range(1, number + 1):
        home, user, card = tmp_path / f"{at}", users(), plugged()
        for _ in range(BEFORE[verb]):
            do("enroll", user, home, shared, recipient=recipient)
        at_lab.faults.add("*", fault, at=at + 1)  # the caller's identity is asked first
        with suppress(MfaKitError):
            do(verb, user, home, shared, recipient=recipient)
        at_lab.faults.clear()
        with nothing_left(verb):
            do(verb, user, home, shared, recipient=recipient)
        do("clean", user, home, shared, recipient=recipient)
        assert len(judge.works(user, home, card)) == AFTER[verb], at


def test_an_absent_key_keeps_its_entry_open_and_is_asked_for(
    judge: KeyJudge, shared: Shared, user: str, recipient: str, tmp_path: Path
) -> None:
    """By its serial, in the error and by each later command, until it is there."""
    card = plugged()
    do("enroll", user, tmp_path, shared, recipient=recipient)
    pcsc.plug()
    with pytest.raises(DeviceFault, match="12345678, which is not plugged in") as caught:
        do("revoke", user, tmp_path, shared, recipient=recipient)
    assert "plug in that key" in caught.value.hint
    assert card.credentials
    done, _ = do("clean", user, tmp_path, shared, recipient=recipient)
    assert done
    pcsc.plug(card)
    do("clean", user, tmp_path, shared, recipient=recipient)
    assert judge.works(user, tmp_path, card) == []


def test_another_runs_credential_of_the_same_name_is_not_touched(
    judge: KeyJudge, shared: Shared, user: str, recipient: str, tmp_path: Path
) -> None:
    """A desk that settles late finds the device's name taken by another desk, and leaves key and IAM to it."""
    card = plugged()
    card.log.clear()
    card.quirks.pulled_before = exchanges_of_codes()
    with pytest.raises(DeviceFault):
        do("enroll", user, tmp_path / "late", shared, recipient=recipient)
    card.quirks.pulled_before = 0
    card.credentials.clear()
    pcsc.plug()
    pcsc.plug(card)
    do("enroll", user, tmp_path / "other", shared, recipient=recipient)
    _, said = do("clean", user, tmp_path / "late", shared, recipient=recipient)
    assert any("is not touched" in each for each in said)
    assert len(judge.works(user, tmp_path / "other", card)) == 1


def exchanges_of_codes() -> int:
    """Return the number of the APDU that computes the first code: see what an enrollment's are in tests/bench/oath."""
    return 11


def test_a_ctrl_c_in_place_of_a_touch_leaves_key_and_iam_as_they_were(
    judge: KeyJudge, shared: Shared, user: str, recipient: str, tmp_path: Path
) -> None:
    """The key cannot be asked to stop, so it is waited for."""
    card = plugged()
    card.touch_delay = 0.4
    card.on_touch = lambda: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        do("enroll", user, tmp_path, shared, recipient=recipient, touch=True)
    assert judge.works(user, tmp_path, card) == []
    assert card.credentials == {}
