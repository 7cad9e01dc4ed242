"""Tests of what a terminal shows while AWS or scrypt is slow."""

from pathlib import Path

import pyrage
import pytest

from mfa_kit.core.otp import Secret
from mfa_kit.lab.aws.server import Lab
from tests.terminal.spawn import MFA_KIT
from tests.terminal.window import Window

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SLOW = 4.0


def slow(lab: Lab, call: str) -> None:
    """Make one call so slow that a user would wonder."""
    lab.faults.add(call, "latency", seconds=SLOW)


@pytest.mark.parametrize(
    ("command", "call", "shown"),
    [
        ("status", "ListUsers", "listing users, "),
        ("status", "ListVirtualMFADevices", "reading devices, "),
        ("status --each-user", "ListMFADevices", "reading users: "),
        ("audit", "GetAccountAuthorizationDetails", "reading the account, "),
        ("orphans list", "ListVirtualMFADevices", "reading unassigned devices, "),
        ("doctor", "GetCallerIdentity", "checking, "),
        ("rollout plan roster.csv -o plan.json", "ListUsers", "reading users: 0"),
        ("rollout plan roster.csv -o plan.json", "ListVirtualMFADevices", "reading virtual devices: 0"),
        ("rollout plan roster.csv -o plan.json", "ListMFADevices", "looking up users: 1 of 1"),
        ("rollout plan --without-mfa -o plan.json", "GetCredentialReport", "reading the credential report, "),
    ],
)
def test_a_slow_read_shows_what_is_done(
    lab: Lab, env: dict[str, str], tmp_path: Path, command: str, call: str, shown: str
) -> None:
    """The line is erased at the end. In a pipe there is no line."""
    (tmp_path / "roster.csv").write_text("user\nalice\n")
    slow(lab, call)
    window = Window([*MFA_KIT, *command.split()], env=env, cwd=tmp_path, size=(80, 24), apart=False)
    window.see(shown)
    window.end()
    assert shown not in window.screen.text()
    slow(lab, call)
    window = Window([*MFA_KIT, *command.split()], env=env, cwd=tmp_path)
    window.end()
    assert shown not in window.printed("err")


def test_a_slow_rollout_shows_its_line_before_the_first_result(
    lab: Lab, env: dict[str, str], tmp_path: Path, identity: pyrage.x25519.Identity
) -> None:
    """Apply shows it, and so does undo after the user typed the number of devices."""
    (tmp_path / "roster.csv").write_text(f"user,recipient\nalice,{identity.to_public()}\n")
    Window([*MFA_KIT, "rollout", "plan", "roster.csv", "-o", "plan.json"], env=env, cwd=tmp_path).end()
    slow(lab, "CreateVirtualMFADevice")
    window = Window([*MFA_KIT, "rollout", "apply", "plan.json"], env=env, cwd=tmp_path, size=(80, 24), apart=False)
    window.see("0 of 1, 0 failed")
    assert window.end() == 0
    assert "0 of 1" not in window.screen.text()
    run = next(line for line in window.screen.text().splitlines() if line.startswith("run ")).split()[1]
    slow(lab, "DeactivateMFADevice")
    undo = ["rollout", "undo", run, "--leave-without-mfa"]
    window = Window([*MFA_KIT, *undo], env=env, cwd=tmp_path, size=(80, 24), apart=False)
    window.see("type 1 to continue: ")
    window.type("1")
    window.see("0 of 1, 0 failed")
    assert window.end() == 0
    assert f"1 device of run {run} will be removed" in window.screen.text()


def test_a_passphrase_from_a_descriptor_shows_the_wait_too(
    env: dict[str, str], tmp_path: Path, identity: pyrage.x25519.Identity
) -> None:
    """Scrypt takes seconds, whether the passphrase is typed or not."""
    secret = Secret(str(identity)).reveal().encode()
    (tmp_path / "identity.age").write_bytes(pyrage.passphrase.encrypt(secret, "correct horse battery"))
    script = 'mfa-kit backup verify identity.age -i identity.age --passphrase-fd 3 3<<<"correct horse battery"'.replace(
        "mfa-kit", " ".join(MFA_KIT)
    )
    window = Window(["bash", "-c", script], env=env, cwd=tmp_path, size=(80, 24), apart=False)
    window.see("unlocking the identity ...")
    window.end()
