"""Kills and exceptions at each step of create, rotate and drill: the old or the new state is complete afterward.

A step is a call that changes the disk or the ledger. Each run is in a process of its own, forked from this one.
"""

import errno
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from tests.backups.conftest import SEED
from tests.break_glass.conftest import Desk, seed_in
from tests.conftest import COUNTED
from tests.sizes import sample

THREE = ("alice", "bob", "carol")
# The functions that are steps, by the object that has them.
STEPS: tuple[tuple[Any, str], ...] = (
    *((os, name) for name in ("mkdir", "link", "unlink", "fsync", "rename")),
    (Ledger, "write"),
    (Ledger, "called"),
)


@dataclass
class Counter:
    """Counts the steps of a run, and acts before or after one of them."""

    act: Callable[[], None]
    at: int = 0
    after: bool = False
    steps: int = 0

    def plant(self, patch: pytest.MonkeyPatch) -> None:
        """Let each step call this object."""
        for owner, name in STEPS:
            patch.setattr(owner, name, self._counting(getattr(owner, name)))

    def _counting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*args: Any, **how: Any) -> Any:
            self.steps += 1
            mine = self.steps == self.at
            if mine and not self.after:
                self.act()
            try:
                return real(*args, **how)
            finally:  # also after a call that fails, such as the removal of a file that does not exist
                if mine and self.after:
                    self.act()

        return counting


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise OSError(errno.EIO, "Input/output error")


def surprise() -> None:
    raise RuntimeError("planted")


def run(desk: Desk, words: list[str], counter: Counter) -> tuple[int, int]:
    """Run a command in a forked process. Return its exit code, negative for a signal, and the number of its steps."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:  # pragma: no cover - another process
        code = 99
        try:
            with pytest.MonkeyPatch.context() as patch:
                counter.plant(patch)
                code = desk.run("break-glass", *words).code
            os.write(writing, str(counter.steps).encode())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        steps = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), int(steps or 0)


@dataclass
class State:
    """A desk with an identity and two backups that are encrypted to it; one of them has an admin as a recipient too."""

    desk: Desk

    def __post_init__(self) -> None:
        self.row = self.desk.create(2, THREE)
        admin = self.desk.key("admin").public
        self.backups = [
            self.desk.sealed("root", self.row["recipient"]),
            self.desk.sealed("ada", self.row["recipient"], admin),
        ]

    def identities(self) -> dict[str, bytes]:
        """Return each identity on the disk by its recipient. Each folder must be complete."""
        found = {}
        for folder in sorted((self.desk.home / "break-glass").iterdir()):
            if folder.name.startswith("."):  # a killed process left it, and the next one removes it
                continue
            done = self.desk.break_glass("status", "--dir", folder, "--backup-dir", self.desk.home / "backups")
            opened = {
                self.desk.identity(done, *names) for names in (("alice", "bob"), ("alice", "carol"), ("bob", "carol"))
            }
            assert len(opened) == 1, folder
            found[done["recipient"]] = opened.pop()
        return found

    def check(self, *, recorded: bool = True) -> None:
        """Check that an identity on the disk opens each backup and, if `recorded`, is on record as its recipient."""
        identities, recipients = self.identities(), self.desk.recipients()
        for backup in self.backups:
            openers = {recipient for recipient, each in identities.items() if self._opens(backup, each)}
            assert len(openers) == 1, backup
            assert not recorded or openers <= recipients[backup.name]

    def _opens(self, backup: Any, identity: bytes) -> bool:
        try:
            return seed_in(backup, identity, self.desk.folder) == SEED
        except subprocess.CalledProcessError:
            return False


def cases(desk: Desk, words: list[str]) -> list[int]:
    """Return the steps of a command to break. The command is run once, with a step that does not exist."""
    code, steps = run(desk, words, Counter(fail))
    assert (code, steps > 3) == (0, True)
    return sample(range(1, steps + 1), 9)


ACTS = pytest.mark.parametrize(
    ("act", "after"), [(kill, False), (kill, True), (fail, False), (surprise, True)], ids=["kill", "late", "io", "bug"]
)


def another(desk: Desk, name: str, patch: pytest.MonkeyPatch) -> Desk:
    """Return a new desk with the same people."""
    home = desk.folder / f"desk-{name}"
    patch.setenv("MFA_KIT_HOME", str(home))
    return Desk(home, folder=desk.folder)


@pytest.mark.slow
@pytest.mark.timeout(300)
@ACTS
def test_a_broken_create_leaves_a_complete_folder_or_none(
    desk: Desk, act: Callable[[], None], after: bool, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    """The next create removes what was left."""
    words = ["create", *desk.group(2, THREE)]
    steps = cases(desk, words)
    for at in steps:
        new = another(desk, str(at), monkeypatch)
        code, _ = run(new, words, Counter(act, at=at, after=after))
        assert code == -signal.SIGKILL if act is kill else code in {5, 70}, at
        for folder in (new.home / "break-glass").glob("2*"):
            assert {file.name for file in folder.iterdir()} == {
                "manifest.json",
                "set-01-alice-bob.age",
                "set-02-alice-carol.age",
                "set-03-bob-carol.age",
            }
        State(new).check()
        assert not list((new.home / "break-glass").glob(".*"))
    record_property(*(COUNTED, ("faults in break-glass create", len(steps))))


@pytest.mark.slow
@pytest.mark.timeout(600)
@ACTS
def test_a_broken_rotation_is_finished_by_the_same_command(
    desk: Desk, act: Callable[[], None], after: bool, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    """Whenever it breaks, each backup can be opened, and the next rotation goes on with the identity of the first."""
    words = ["rotate", *desk.here("carol", "alice")]
    State(desk)
    steps = cases(desk, words)
    for at in steps:
        state = State(another(desk, str(at), monkeypatch))
        code, _ = run(state.desk, words, Counter(act, at=at, after=after))
        assert code == -signal.SIGKILL if act is kill else code in {5, 70}, at
        # If the folder cannot be synced after a file was replaced, the file counts as unchanged until the next run.
        state.check(recorded=act is not fail)
        ended = any(each.action is RecoveryKeyAction.ROTATED for each in state.desk.records())
        if not ended:
            assert state.desk.break_glass(*words)["outcome"] == "rotated"
        state.check()
        assert len(state.identities()) == 2, at
        [current] = {min(each) for each in state.desk.recipients().values() for each in [each - {_admin(desk)}]}
        assert current != state.row["recipient"]
        assert not [*(state.desk.home / "backups").rglob(".*"), *(state.desk.home / "break-glass").glob(".*")]
    record_property(*(COUNTED, ("faults in break-glass rotate", len(steps))))


def _admin(desk: Desk) -> str:
    return desk.key("admin").public


@pytest.mark.slow
@pytest.mark.timeout(300)
@ACTS
def test_a_broken_drill_changes_no_backup(
    desk: Desk, act: Callable[[], None], after: bool, monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    """It is recorded completely or not at all, and the next one passes."""
    words = ["drill", *desk.here("carol", "alice")]
    State(desk)
    code, total = run(desk, words, Counter(fail))
    assert (code, total > 0) == (0, True)
    for at in range(1, total + 1):
        state = State(another(desk, str(at), monkeypatch))
        before = {file: file.read_bytes() for file in (state.desk.home / "backups").rglob("*.age")}
        code, _ = run(state.desk, words, Counter(act, at=at, after=after))
        assert code == -signal.SIGKILL if act is kill else code in {5, 70}, at
        assert {file: file.read_bytes() for file in (state.desk.home / "backups").rglob("*.age")} == before
        drilled = [each for each in state.desk.records() if each.action is RecoveryKeyAction.DRILLED]
        assert [each.backups for each in drilled] in ([], [2])
        assert state.desk.break_glass(*words)["outcome"] == "passed"
    record_property(*(COUNTED, ("faults in break-glass drill", total)))
