"""A lab, and the environment of a program that uses it."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mfa_kit.lab.aws.server import Lab
from tests.cheap_scrypt import cheap_scrypt

# Codes are typed between these seconds of a step of AWS's clock. A program's clock may be two seconds off, and a code
# is checked some time after it was typed; even on a slow machine, both then happen in the same step.
EARLY, LATE = 3.0, 15.0


def in_good_time(lab: Lab) -> float:
    """Return AWS's time early in a step. Wait for the next step if necessary."""
    while not EARLY <= lab.account.now() % 30 <= LATE:
        time.sleep(0.1)
    return lab.account.now()


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(users=("alice",)) as lab:
        yield lab


def environment(lab: Lab, folder: Path) -> dict[str, str]:
    """Return the complete environment of a program that uses the lab, with its files below a folder."""
    return {
        **lab.env,
        **cheap_scrypt(),
        **{
            name: os.environ[name]
            for name in os.environ
            if name in {"PATH", "PYTHONPATH"} or name.startswith("COVERAGE_")
        },
        "HOME": str(folder / "user"),
        "MFA_KIT_HOME": str(folder / "home"),
        "TERM": "xterm-256color",
        "LC_ALL": "C.UTF-8",
    }


@pytest.fixture
def env(lab: Lab, tmp_path: Path) -> dict[str, str]:
    return environment(lab, tmp_path)
