"""The tour runs mfa-kit's own commands, and succeeds only if each of them does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mfa_kit.cli.main import COMMANDS
from mfa_kit.lab import child
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.tour import STEPS, walk

TITLES = [step.title for step in STEPS]


@pytest.mark.slow
def test_the_tour_succeeds_and_explains_each_step() -> None:
    """Each step has the expected exit code. The tour says what happened, and what the same command does on AWS."""
    found = subprocess.run(
        [sys.executable, "-m", "mfa_kit", "lab", "tour"], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert [line.partition("  ")[2] for line in found.stdout.splitlines() if "/" in line[:3]] == TITLES
    for said in ("What happened:", "On AWS:"):
        assert found.stdout.count(f"   {said} ") == len(STEPS)
    order = ("outcome  enrolled", "outcome  skipped", "InvalidAuthenticationCode", "half-made", "undone", "revoked")
    places = [found.stdout.index(said) for said in order]
    assert places == sorted(places)


def test_every_command_of_the_tour_exists() -> None:
    """A renamed command must also be renamed in the tour."""
    assert {step.run[0] for step in STEPS if step.run} <= set(COMMANDS)


@pytest.mark.slow
def test_a_step_that_fails_is_named(tmp_path: Path) -> None:
    """If Create is denied, the step that kills a command fails, and the tour names that step."""
    with Lab(("alice", "bob")) as lab:
        lab.register_fido("alice", "key")
        lab.faults.add("CreateVirtualMFADevice", "denied", at="every")
        env = child.child_environment(lab.env, caller=os.environ, home=tmp_path / "home")
        wrong = walk(lab, env, tmp_path, lambda _: None)
    assert next(step.title for step in STEPS if step.kill_after) in wrong
