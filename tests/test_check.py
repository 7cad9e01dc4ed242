"""Tests of `.ci/run`: second tries of failed tests, the versions that it installs, and advisories."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Fails in its first run, in each way, and passes in the second.
TESTS = """
import pathlib, subprocess, time

def is_first():
    there = pathlib.Path("ran").exists()
    pathlib.Path("ran").touch()
    return not there

{marks}
def test_passes_alone():
    if is_first():
        {act}
"""
OPTIONS = "-p no:randomly -p tests.limits"
CASES = {
    "an assertion": ("", "assert False", 0),
    "a test that hangs": ("import pytest\n@pytest.mark.timeout(1)", "time.sleep(60)", 1),
    "a test that hangs within mfa-kit": (
        "import pytest\nfrom mfa_kit.core.errors import only_our_errors\n@pytest.mark.timeout(1)",
        "with only_our_errors(): time.sleep(60)",
        1,
    ),
    "a wait in vain": (
        "from tests.limits import wait_until",
        "wait_until(lambda: False, seconds=0.5, said=lambda: 'nothing')",
        1,
    ),
    "a command that hangs": ("", "subprocess.run(['sleep', '60'], timeout=0.5)", 1),
    "a terminal that hangs": ("import pexpect", "pexpect.spawn('sleep', ['60'], timeout=0.5).expect('x')", 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_what_hangs_gets_no_second_try(case: str, tmp_path: Path) -> None:
    """It fails although it passes alone. A test that fails otherwise passes with its second run, which is announced."""
    marks, act, status = CASES[case]
    (tmp_path / "test_unsteady.py").write_text(TESTS.format(marks=marks, act=act))
    (tmp_path / "pytest.ini").touch()
    function = 'eval "$(sed -n "/^pytests() {/,/^}/p" "$RUN")"; set -euo pipefail; pytests suite $OPTIONS'
    env = {name: value for name, value in os.environ.items() if not name.startswith(("COV", "PYTEST"))}
    path = f"{Path(sys.executable).parent}:{env['PATH']}"
    done = subprocess.run(
        ["bash", "-c", f"scratch=$PWD unsteady=5; {function}"],
        cwd=tmp_path,
        env={**env, "PATH": path, "PYTHONPATH": str(ROOT), "OPTIONS": OPTIONS, "RUN": str(ROOT / ".ci/run")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "== once more, by itself: test_unsteady.py" in done.stdout) == (status, not status)
    assert ("== not once more" in done.stdout) is bool(status)


def test_no_judge_replaces_a_version_of_the_lock() -> None:
    """The judges pin newer versions than the lowest that mfa-kit allows, so they are installed first."""
    text = (ROOT / ".ci/run").read_text("utf-8")
    judges, lock = "--no-deps -r .ci/judges.txt", '--require-hashes -r "$lock"'
    assert text.count(judges) == text.count(lock) == 1
    assert text.index(judges) < text.index(lock)


ADVISORY = {"id": "PYSEC-1", "fix_versions": ["2.0"]}


@pytest.mark.parametrize(
    ("packages", "status", "words"),
    [
        ([{"name": "a", "version": "1.0", "vulns": []}], 0, "the advisories of 1 of 1 packages were read"),
        ([{"name": "a", "version": "1.0", "vulns": [ADVISORY]}], 1, "a 1.0 PYSEC-1 fixed in 2.0"),
        ([{"name": "a", "skip_reason": "not found"}], 75, "the advisories of 0 of 1 packages were read"),
        (None, 75, "no network"),
    ],
)
def test_advisories_that_could_not_be_read_are_no_pass(
    packages: list[dict[str, object]] | None, status: int, words: str, tmp_path: Path
) -> None:
    """A known vulnerability fails. If advisories are missing, the suite ends with the status of "NOT CHECKED"."""
    program = tmp_path / "environment-advisories/bin/pip-audit"
    program.parent.mkdir(parents=True)
    answer = json.dumps({"dependencies": packages})
    found = int(any(package.get("vulns") for package in packages or []))
    writes = f'while [ "$1" != --output ]; do shift; done; echo \'{answer}\' >"$2"; exit {found}'
    program.write_text(f"#!/bin/sh\n{writes if packages else 'echo no network >&2; exit 1'}\n")
    program.chmod(0o755)
    function = 'eval "$(sed -n "/^advisories() {/,/^}/p" "$RUN")"; (set -e; advisories)'
    done = subprocess.run(
        ["bash", "-c", f"scratch=$PWD venv=$PWD/environment not_checked=75; {function}"],
        cwd=tmp_path,
        env={**os.environ, "RUN": str(ROOT / ".ci/run")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, words in done.stdout) == (status, True), done.stderr
