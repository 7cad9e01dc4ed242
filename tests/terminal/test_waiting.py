"""Tests of the output while IAM asks to wait."""

from pathlib import Path

import pytest

from mfa_kit.lab.aws.server import Lab
from tests.terminal.spawn import MFA_KIT
from tests.terminal.window import Window

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

RECIPIENT = "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z"
ENROLL = [*MFA_KIT, "enroll", "alice", "--with", "virtual", "--codes", "generated"]
BUSY = "ConcurrentModification"


def test_a_wait_is_counted_down_and_then_erased(lab: Lab, env: dict[str, str], tmp_path: Path) -> None:
    """One line below IAM's message is redrawn. The message stays."""
    lab.faults.add("EnableMFADevice", "busy")
    window = Window([*ENROLL, "-r", RECIPIENT], env=env, cwd=tmp_path, size=(200, 40), apart=False)
    for _ in range(2):
        window.see("waiting, ")
        window.see(" s left")
    assert window.end() == 0
    shown = window.screen.text()
    assert f"AWS answers {BUSY}" in shown
    assert "trying again in 5 s" in shown
    assert "waiting" not in shown


def test_plain_has_no_countdown(lab: Lab, env: dict[str, str], tmp_path: Path) -> None:
    """The message has the length of the wait."""
    lab.faults.add("EnableMFADevice", "busy")
    window = Window([*ENROLL, "-r", RECIPIENT, "--plain"], env=env, cwd=tmp_path, size=(200, 40), apart=False)
    window.see("trying again in 5 s")
    assert window.end() == 0
    assert "waiting" not in window.screen.text()


def test_ctrl_c_during_a_wait_settles_the_device(lab: Lab, env: dict[str, str], tmp_path: Path) -> None:
    """mfa-kit responds at once, removes the countdown, and prints how it ended."""
    lab.faults.add("EnableMFADevice", "busy")
    window = Window([*ENROLL, "-r", RECIPIENT], env=env, cwd=tmp_path, size=(200, 40), apart=False)
    window.see("s left")
    window.type("\x03", end="")
    assert window.end() == 130
    shown = window.screen.text()
    said = "cancelling: removing arn:aws:iam::000000000000:mfa/alice from AWS first. Press Ctrl-C again"
    assert said in shown.partition("removed arn:aws:iam::000000000000:mfa/alice")[0]
    assert "removed arn:aws:iam::000000000000:mfa/alice; alice has no new device" in shown
    assert "left\n" not in shown
    assert not lab.serials()
