"""Tests of two processes at the same time, and of a user who presses Ctrl-C twice."""

import signal
from collections.abc import Callable
from pathlib import Path

import pyrage
import pytest

from mfa_kit.lab.aws.server import Lab
from tests.faults.conftest import Judge, Nursery, wait_until
from tests.faults.worker import Cut, act, at_desk, shared_iam


def test_two_processes_for_one_user_make_one_device(
    nursery_of: Callable[..., Nursery], users: Callable[[], str], new_home: Callable[[str], Path], judge: Judge
) -> None:
    """They run on one computer at the same time.

    IAM gives the name to only one, and the other leaves nothing behind.
    """
    one, two = nursery_of(), nursery_of()
    for number in range(10):
        user, home = users(), new_home(str(number))
        first, second = one.start(["enroll"], user, home), two.start(["enroll"], user, home)
        codes = (one.finish(), two.finish())
        assert 0 in codes, (first.read_text(), second.read_text())
        assert len(judge.works(user, home)) == 1


def test_a_clean_leaves_a_live_enrollment_alone(
    nursery_of: Callable[..., Nursery], user: str, new_home: Callable[[str], Path], judge: Judge, lab: Lab
) -> None:
    """`orphans clean` runs while an enrollment waits for a user's code. The device stays, and is enabled later."""
    waiting, cleaning = nursery_of(), nursery_of()
    home = new_home("home")
    gate, serial = home.with_name("gate"), f"arn:aws:iam::000000000000:mfa/{user}"
    steps = waiting.start(["enroll"], user, home, gate=str(gate))
    wait_until(lambda: steps.exists() and "device_writer.enable" in steps.read_text())
    assert serial in lab.serials()
    assert cleaning.run(["clean"], user, home)[0] == 0
    assert serial in lab.serials()
    gate.touch()
    assert waiting.finish() == 0
    assert judge.works(user, home) == [serial]


def test_a_live_enrollment_survives_a_second_enroll(
    nursery_of: Callable[..., Nursery], user: str, new_home: Callable[[str], Path], judge: Judge
) -> None:
    """The second enroll for the same user finds the name taken, and removes nothing."""
    waiting, second = nursery_of(), nursery_of()
    home = new_home("home")
    gate = home.with_name("gate")
    steps = waiting.start(["enroll"], user, home, gate=str(gate))
    wait_until(lambda: steps.exists() and "device_writer.enable" in steps.read_text())
    code, said = second.run(["enroll"], user, home)
    assert code != 0
    assert "already exists" in said[-1]
    gate.touch()
    assert waiting.finish() == 0
    assert len(judge.works(user, home)) == 1


def test_a_second_ctrl_c_while_settling_keeps_the_entry_open(
    user: str, new_home: Callable[[str], Path], identity: pyrage.x25519.Identity, judge: Judge, nursery: Nursery
) -> None:
    """The first interrupt is reported, the note says what is left, and the next run settles the device."""

    class TwiceInterrupted(Cut):
        def step(self, name: str, call: Callable[[], object]) -> object:
            if name in {"device_writer.enable", "device_writer.delete"}:
                raise KeyboardInterrupt
            return super().step(name, call)

    home = new_home("home")
    with at_desk(home, shared_iam(), recipient=str(identity.to_public()), cut=TwiceInterrupted()) as desk_and_more:
        desk, caller, backend, _ = desk_and_more
        with pytest.raises(KeyboardInterrupt) as caught:
            act("enroll", user, desk=desk, caller=caller, backend=backend())
    assert "not settled yet" in caught.value.__notes__[0]
    assert nursery.run(["enroll"], user, home)[0] == 0
    assert len(judge.works(user, home)) == 1


def test_ctrl_c_settles_before_it_ends(
    user: str, new_home: Callable[[str], Path], identity: pyrage.x25519.Identity, lab: Lab
) -> None:
    """After an interrupt at the Enable, the device is deleted and the interrupt is raised again."""

    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)

    shared, recipient = shared_iam(), str(identity.to_public())
    cut = Cut()
    with at_desk(new_home("count"), shared, recipient=recipient, cut=cut) as (desk, caller, backend, _):
        act("enroll", user, desk=desk, caller=caller, backend=backend())
        act("revoke", user, desk=desk, caller=caller, backend=backend())
    cut = Cut(at=cut.steps.index("device_writer.enable") + 1, act=interrupt)
    with (
        at_desk(new_home("home"), shared, recipient=recipient, cut=cut) as (desk, caller, backend, _),
        pytest.raises(KeyboardInterrupt),
    ):
        act("enroll", user, desk=desk, caller=caller, backend=backend())
    assert f"arn:aws:iam::000000000000:mfa/{user}" not in lab.serials()
