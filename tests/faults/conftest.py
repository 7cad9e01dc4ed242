"""One lab, desks in folders of their own, a nursery of killable processes, and the counts at the end of the run."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mfa_kit import keyuri, qr
from mfa_kit.adapters import agefile
from mfa_kit.lab.server import Lab
from mfa_kit.otp import Secret, Seed
from tests.conftest import ROOT, bare, users_of
from tests.faults.broken_disk import library

COUNTED = "counted"


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="session")
def users(lab: Lab) -> Callable[[], str]:
    return users_of(lab)


@pytest.fixture(autouse=True)
def _here(at_lab: Lab) -> None:
    """Point each test at this lab; no fault stays."""


@dataclass
class Nursery:
    """Runs jobs in processes that may be killed; see tests/faults/worker.py."""

    process: subprocess.Popen[str]
    recipient: str
    folder: Path
    number: Iterator[int] = field(default_factory=count)

    def start(self, verbs: list[str], user: str, home: Path, **how: Any) -> Path:
        """Begin a job; `finish` waits for it. Return the file of its steps."""
        assert self.process.stdin
        steps = self.folder / f"steps-{next(self.number)}"
        job = {"verbs": verbs, "user": user, "home": str(home), "recipient": self.recipient}
        self.process.stdin.write(json.dumps({**job, "steps": str(steps), **how}) + "\n")
        self.process.stdin.flush()
        return steps

    def finish(self) -> int:
        assert self.process.stdout
        return int(self.process.stdout.readline())

    def run(self, verbs: list[str], user: str, home: Path, **how: Any) -> tuple[int, list[str]]:
        """Return the exit code, negative for a signal, and the steps."""
        steps = self.start(verbs, user, home, **how)
        code = self.finish()
        return code, steps.read_text("utf-8").splitlines() if steps.exists() else []


@contextmanager
def nursery_at(lab: Lab, recipient: str, folder: Path, *, module: str, **env: str) -> Iterator[Nursery]:
    """Start the process whose children are killed."""
    with subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**bare(), **lab.env, **env},
    ) as process:
        yield Nursery(process, recipient, folder)
        process.communicate()


@pytest.fixture(scope="session")
def nursery_of(lab: Lab, recipient: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Nursery]]:
    with ExitStack() as started:
        yield lambda **env: started.enter_context(
            nursery_at(lab, recipient, tmp_path_factory.mktemp("nursery"), module="tests.faults.worker", **env)
        )


@pytest.fixture(scope="session")
def nursery(nursery_of: Callable[..., Nursery]) -> Nursery:
    return nursery_of()


@pytest.fixture(scope="session")
def broken_disk(nursery_of: Callable[..., Nursery], tmp_path_factory: pytest.TempPathFactory) -> Nursery:
    """Start a nursery whose writes can be made to fail."""
    return nursery_of(LD_PRELOAD=str(library(tmp_path_factory.mktemp("broken-disk"))))


@dataclass
class Judge:
    """Looks at IAM and at a desk's folder when all is over."""

    lab: Lab
    identity: pyrage.x25519.Identity
    record: Callable[[str, int], None]

    def works(self, user: str, home: Path) -> list[str]:
        """Return the user's devices: each has one backup, which opens and holds IAM's seed; nothing else is left."""
        serials = {serial for serial in self.lab.serials() if serial.rpartition("/")[2].startswith(user)}
        assert {self.lab.assigned(serial) for serial in serials} <= {user}, "a device that nobody has"
        files = [each for each in (home / "backups").rglob("*") if each.is_file()]
        backups = [told for file in files if (told := agefile.told(file))]
        assert len(backups) == len(files), f"something half written: {files}"
        seeds = {}
        for backup in backups:
            opened = agefile.open_backup(backup.path, Secret([self.identity]))
            seeds[f"arn:aws:iam::000000000000:mfa/{backup.device}"] = keyuri.seed_of(qr.read(opened))
        assert seeds == {serial: Seed(self.lab.seed(serial)) for serial in serials}, "a backup that is not its device's"
        assert len(backups) == len(serials)
        self.record("users judged", 1)
        return sorted(serials)


@pytest.fixture
def judge(lab: Lab, identity: pyrage.x25519.Identity, tried: Callable[[str, int], None]) -> Judge:
    return Judge(lab, identity, tried)


@pytest.fixture
def tried(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """Count something for the closing lines."""

    def note(what: str, number: int = 1) -> None:
        record_property(COUNTED, (what, number))

    return note


def pytest_terminal_summary(terminalreporter: Any) -> None:
    counted: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                for name, value in report.user_properties:
                    if name == COUNTED:
                        counted[value[0]] += value[1]
    if counted:
        failed = len(terminalreporter.stats.get("failed", ()))
        terminalreporter.section("faults tried")
        for what, number in sorted(counted.items()):
            terminalreporter.line(f"{what}: {number}")
        terminalreporter.line(f"users lost: {failed or 0}")
