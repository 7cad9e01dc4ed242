"""Interrupts enroll by an exception before and after each call of each port, in the run and while it is being settled.

tests/faults interrupts by SIGKILL.
"""

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from mfa_kit.core.errors import IntegrityFault, MfaKitError
from mfa_kit.core.models import JournalState
from mfa_kit.lab.aws.server import Lab
from tests.enroll.conftest import AtDesk, Person
from tests.faults.conftest import Judge
from tests.faults.worker import Cut

EXCEPTIONS = {
    "ctrl-c": KeyboardInterrupt(),
    "disk": OSError(errno.ENOSPC, "No space left on device"),
    "fault": IntegrityFault("the ledger cannot be used", "make room"),
}


def raiser(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        error.__dict__.pop("__notes__", None)
        raise error

    return act


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("what", EXCEPTIONS)
def test_an_exception_at_any_step_leaves_one_working_device_or_none(
    what: str, after: bool, at: AtDesk, users: Callable[[], str], judge: Judge, home: Path
) -> None:
    """The state is right immediately, not only after the next run. The next run succeeds."""
    whole = Cut()
    with at(cut=whole) as desk:
        desk.enroll(users())
    for number in range(1, len(whole.steps) + 1):
        user = users()
        cut = Cut(at=number, after=after, act=raiser(EXCEPTIONS[what]))
        with at(cut=cut) as desk, suppress(type(EXCEPTIONS[what])):
            desk.enroll(user)
        assert cut.fired, f"step {number} was not reached"
        assert cut.steps[:number] == whole.steps[:number]
        place = home.parent / user
        _own(user, home, place)
        assert len(judge.works(user, place)) in {0, 1}, cut.steps
        with at() as desk:
            desk.enroll(user)
        with at() as desk:  # only after 15 minutes is it certain that a Create without a response has not taken effect
            dead = [each for each in desk.ledger.dead("000000000000") if each.spec.user == user]
            assert all(each.reached is JournalState.INTENT for each in dead)
        _own(user, home, place)
        assert len(judge.works(user, place)) == 1, cut.steps


def _own(user: str, home: Path, place: Path) -> None:
    """Give the judge a folder with the backups of only one user."""
    link = place / "backups"
    link.mkdir(parents=True, exist_ok=True)
    for path in (home / "backups" / "000000000000" / user).glob("*"):
        target = link / "000000000000" / user / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.hardlink_to(path)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("what", EXCEPTIONS)
def test_an_exception_while_settling_becomes_a_note(
    what: str, after: bool, at: AtDesk, users: Callable[[], str], judge: Judge, at_lab: Lab, tmp_path: Path
) -> None:
    """The first error is raised, whatever the second error is. The next run continues."""

    def refused(user: str, cut: Cut) -> MfaKitError:
        at_lab.faults.add("EnableMFADevice", "denied")
        with at(cut=cut) as desk, pytest.raises(MfaKitError, match="AccessDenied") as caught:
            desk.enroll(user)
        return caught.value

    whole = Cut()
    assert not getattr(refused(users(), whole), "__notes__", [])
    for number in range(whole.steps.index("carrier.codes") + 2, len(whole.steps) + 1):
        user = users()
        cut = Cut(at=number, after=after, act=raiser(EXCEPTIONS[what]))
        first = refused(user, cut)
        assert cut.fired
        assert "is not settled yet" in first.__notes__[0]
        assert ("the removal was interrupted too" in first.__notes__[0]) is (what == "ctrl-c")
        assert first.__notes__[0].endswith("; run the same command again to continue") is (what != "fault")
        with at() as desk:
            desk.enroll(user)
            assert desk.reached(f"arn:aws:iam::000000000000:mfa/{user}") is JournalState.CONFIRMED
        place = tmp_path / user
        _own(user, tmp_path / "desk", place)
        assert len(judge.works(user, place)) == 1, cut.steps


def test_a_second_ctrl_c_becomes_a_note_of_the_first(
    at: AtDesk, users: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first Ctrl-C may come while mfa-kit prints a message. The next run continues."""
    user, whole = users(), Cut()

    def note(_: Person, text: str) -> None:
        if text.startswith("cancelling:"):
            raise KeyboardInterrupt

    monkeypatch.setattr(Person, "note", note)
    with at(cut=whole) as desk:
        desk.enroll(users())
    cut = Cut(at=whole.steps.index("carrier.codes") + 1, act=raiser(first := KeyboardInterrupt()))
    with at(cut=cut) as desk, pytest.raises(KeyboardInterrupt) as caught:
        desk.enroll(user)
    assert caught.value is first
    assert "is not settled yet: the removal was interrupted too" in first.__notes__[0]
    with at() as desk:
        desk.enroll(user)
        assert desk.reached(f"arn:aws:iam::000000000000:mfa/{user}") is JournalState.CONFIRMED
