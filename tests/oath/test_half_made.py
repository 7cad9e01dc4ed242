"""Tests of interrupted runs with a key: after any interruption, the same command ends with one working device.

Nothing else is left.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pyrage.x25519 import Identity

from mfa_kit.adapters.oath import pcsc as adapter
from mfa_kit.core.checks import Failed
from mfa_kit.core.errors import DeviceFault, MfaKitError, UsageFault
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.oathcard import CALCULATE, DELETE, PUT, YkoathCard
from tests import pcsc
from tests.faults.conftest import Judge, Nursery, nursery_at
from tests.faults.worker import Shared, shared_iam
from tests.oath.seat import AFTER, BEFORE, KEY_ALONE, KeyJudge, do
from tests.sizes import sample

VERBS = tuple(BEFORE)
WRITES = {PUT, DELETE}
FAULTS = ("throttle", "error-before", "error-after", "lost-before", "lost-after", "denied")
# Seconds after which a hanging call is given up here, and seconds that no working call takes on any computer.
IMPATIENT, PATIENT = 0.3, 30.0


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


def plugged() -> YkoathCard:
    card = YkoathCard()
    pcsc.plug(card)
    return card


def used_by(verb: str, enrolled: YkoathCard) -> YkoathCard:
    """Return the key that a command uses, plugged in. A restore uses another key for the second copy of a secret."""
    return plugged() if verb == "restore" else enrolled


@contextmanager
def nothing_left(verb: str) -> Iterator[None]:
    """Accept that a repeated revoke finds the first one completed."""
    try:
        yield
    except UsageFault as error:
        if verb != "revoke" or "has no MFA device" not in str(error):
            raise


@dataclass(frozen=True)
class Begun:
    """A user with everything that a command requires, and a key for the user."""

    user: str
    home: Path
    card: YkoathCard
    do: Callable[[str], tuple[object, list[str]]]


@pytest.fixture
def begun(shared: Shared, users: Callable[[], str], identity: Identity, tmp_path: Path) -> Callable[[str], Begun]:
    numbers = count()

    def begin(verb: str) -> Begun:
        user, home = users(), tmp_path / f"{next(numbers)}"
        card = plugged()
        each = partial(do, user=user, home=home, shared=shared, identity=identity)
        for _ in range(BEFORE[verb]):
            each("enroll")
        card = used_by(verb, card)
        card.log.clear()
        return Begun(user, home, card, each)

    return begin


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_kill_at_any_step_is_repaired_by_the_same_command(
    verb: str,
    after: bool,
    nursery: Nursery,
    judge: KeyJudge,
    users: Callable[[], str],
    identity: Identity,
    tmp_path: Path,
) -> None:
    """SIGKILL comes just before and just after each call of each port and applet.

    Afterwards the same command succeeds.
    """
    run = partial(nursery.run, identity=str(identity))
    prepare = ["enroll"] * BEFORE[verb]

    def begin(name: str) -> tuple[Path, str, YkoathCard]:
        home, user, card = tmp_path / name, users(), plugged()
        assert run(prepare, user, home)[0] == 0
        return home, user, used_by(verb, card)

    home, user, card = begin("whole")
    code, steps = run([verb], user, home)
    assert code == 0, steps
    assert len(judge.works(user, home, card)) == AFTER[verb]
    for at in sample(range(1, len(steps) + 1), 5):
        home, user, card = begin(f"{at}")
        code, done = run([verb], user, home, at=at, after=after)
        assert code == -signal.SIGKILL, f"step {at} was not reached: {done}"
        code, said = run([verb], user, home)
        assert code == 0 or (verb == "revoke" and "has no MFA device" in said[-1]), said
        assert run(["clean"], user, home)[0] == 0
        assert len(judge.works(user, home, card)) == AFTER[verb], (at, steps[at - 1])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["pulled_before", "pulled_after", "mute_at"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_failing_key_at_any_apdu_is_repaired_by_the_same_command(
    verb: str, how: str, judge: KeyJudge, begun: Callable[[str], Begun], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is removed before or after a write, or does not answer.

    After it is plugged in again, the command completes.
    """
    whole = begun(verb)
    whole.do(verb)
    assert WRITES & set(whole.card.log)
    tries = [
        at
        for at, ins in enumerate(whole.card.log, start=1)
        # Before a read is the same moment as after the previous command.
        if how != "pulled_before" or ins in WRITES
    ]
    for at in sample(tries, 3):
        here = begun(verb)
        setattr(here.card.quirks, how, at)
        monkeypatch.setattr(adapter, "COMMAND", IMPATIENT if how == "mute_at" else PATIENT)
        assert sentence(verb, here), at
        setattr(here.card.quirks, how, 0)
        monkeypatch.setattr(adapter, "COMMAND", PATIENT)
        pcsc.plug()
        pcsc.plug(here.card)
        with nothing_left(verb):
            here.do(verb)
        here.do("clean")
        assert len(judge.works(here.user, here.home, here.card)) == AFTER[verb], at


def sentence(verb: str, begun: Begun) -> str:
    """Return the message of a command that ended early. A verification may end with a result."""
    try:
        answer, _ = begun.do(verb)
    except MfaKitError as error:
        return error.hint
    assert isinstance(answer, Failed)
    return "judged"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in KEY_ALONE])
def test_a_fault_at_any_call_is_repaired_by_the_same_command(
    verb: str, fault: str, judge: KeyJudge, at_lab: Lab, begun: Callable[[str], Begun]
) -> None:
    """After any fault of one AWS response, the next run ends with one working device, or none after a revocation."""
    whole = begun(verb)
    seen = len(at_lab.calls)
    whole.do(verb)
    number = sum(call.operation != "GetCallerIdentity" for call in at_lab.calls[seen:])
    for at in sample(range(1, number + 1), 3):
        here = begun(verb)
        at_lab.faults.add("*", fault, at=at + 1)  # the first request asks for the caller's identity
        with suppress(MfaKitError):
            here.do(verb)
        at_lab.faults.clear()
        with nothing_left(verb):
            here.do(verb)
        here.do("clean")
        assert len(judge.works(here.user, here.home, here.card)) == AFTER[verb], at


def test_an_absent_key_keeps_its_entry_unfinished(
    judge: KeyJudge, shared: Shared, user: str, identity: Identity, tmp_path: Path
) -> None:
    """The error and each later command name the serial of the key, until the key is plugged in."""
    card = plugged()
    do("enroll", user, tmp_path, shared, identity=identity)
    pcsc.plug()
    with pytest.raises(DeviceFault, match="12345678, which is not plugged in") as caught:
        do("revoke", user, tmp_path, shared, identity=identity)
    assert "plug in that key" in caught.value.hint
    assert card.credentials
    done, _ = do("clean", user, tmp_path, shared, identity=identity)
    assert done
    pcsc.plug(card)
    do("clean", user, tmp_path, shared, identity=identity)
    assert judge.works(user, tmp_path, card) == []


def test_an_absent_key_is_cleaned_after_its_device_name_is_reused(
    judge: KeyJudge, shared: Shared, user: str, identity: Identity, tmp_path: Path
) -> None:
    """The user got another key meanwhile. The ledger distinguishes the two keys."""
    away, other = plugged(), YkoathCard(serial=2222)
    do("enroll", user, tmp_path, shared, identity=identity)
    pcsc.plug(other)
    with pytest.raises(DeviceFault, match="12345678, which is not plugged in"):
        do("revoke", user, tmp_path, shared, identity=identity)
    do("enroll", user, tmp_path, shared, identity=identity)
    pcsc.plug(away)
    do("clean", user, tmp_path, shared, identity=identity)
    assert away.credentials == {}
    assert len(judge.works(user, tmp_path, other)) == 1


def test_another_key_with_the_serial_of_an_absent_key_is_unchanged(
    shared: Shared, user: str, identity: Identity, tmp_path: Path
) -> None:
    """It may be a twin with another user's credential of that name.

    It is not changed, and the entry stays unfinished.
    """
    plugged()
    do("enroll", user, tmp_path, shared, identity=identity)
    twin = plugged()
    do("restore", user, tmp_path, shared, identity=identity)
    with pytest.raises(DeviceFault, match="12345678, which is not plugged in") as caught:
        do("revoke", user, tmp_path, shared, identity=identity)
    assert any("is another key or was reset" in note for note in caught.value.__notes__)
    assert len(twin.credentials) == 1
    cleaned: Any = do("clean", user, tmp_path, shared, identity=identity)[0]
    assert [bool(each.error) for each in cleaned] == [True]


def test_a_credential_of_another_run_is_not_changed(
    judge: KeyJudge, shared: Shared, user: str, identity: Identity, tmp_path: Path
) -> None:
    """If another computer has reused the device's name, a late settlement does not change the key or IAM."""
    card = plugged()
    card.log.clear()
    card.quirks.pulled_by = CALCULATE
    with pytest.raises(DeviceFault):
        do("enroll", user, tmp_path / "late", shared, identity=identity)
    card.quirks.pulled_by = 0
    card.credentials.clear()
    pcsc.plug()
    pcsc.plug(card)
    do("enroll", user, tmp_path / "other", shared, identity=identity)
    _, said = do("clean", user, tmp_path / "late", shared, identity=identity)
    assert any("so the credential of that name is kept" in each for each in said)
    assert len(judge.works(user, tmp_path / "other", card)) == 1


def test_ctrl_c_instead_of_a_touch_leaves_key_and_iam_unchanged(
    judge: KeyJudge, shared: Shared, user: str, identity: Identity, tmp_path: Path
) -> None:
    """The wait in the key cannot be canceled, so the program waits for the key."""
    card = plugged()
    card.touch_delay = 0.4
    card.on_touch = lambda: os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        do("enroll", user, tmp_path, shared, identity=identity, touch=True)
    assert judge.works(user, tmp_path, card) == []
    assert card.credentials == {}
