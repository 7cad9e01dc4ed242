"""Workers that share a rollout in several accounts. They are processes, and meet in the ledger only."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.core.models import JournalEntry, JournalState
from mfa_kit.lab.aws.server import Lab
from tests.conftest import MfaKit, Result
from tests.ledgers import Place

ACCOUNTS, USERS, ROLE = 6, 5, "mfa-kit-enroll"
CREATE, ENABLE = "CreateVirtualMFADevice", "EnableMFADevice"


@dataclass
class Team:
    """An index of six accounts, and a ledger that the workers share. Each worker has its own folder of results."""

    folder: Path
    home: Path
    lab: Lab
    place: Place
    recipient: str

    @property
    def index(self) -> Path:
        return self.folder / "index.json"

    @property
    def ids(self) -> list[str]:
        return [*self.lab.organization]

    @property
    def shared(self) -> list[str]:
        """The options for the shared ledger."""
        return ["--ledger", self.place.at] if self.place.kind == "postgresql" else []

    @property
    def backups(self) -> Path:
        """The folder of backups, which stands for one that all computers mount."""
        return (self.home if self.place.kind == "sqlite" else self.folder) / "backups"

    def kit(self, number: int = 0) -> MfaKit:
        """Return the command line of a worker. With the ledger in a file, all workers are on one computer."""
        home = self.home if self.place.kind == "sqlite" else self.folder / f"home-{number}"
        return MfaKit(home, dict(self.lab.env))

    def plan(self, accounts: Sequence[str] = (), *, index: Path | None = None) -> str:
        """Plan for all users of the accounts, by default of all, and return the SHA-256 of the index."""
        users = [user.name for user in self.lab.organization[self.ids[0]].backend.users.values()]
        lines = [f"{number},{user},{self.recipient}" for number in accounts or self.ids for user in users]
        roster = self.folder / "roster.csv"
        roster.write_text("\n".join(["account,user,recipient", *lines]) + "\n")
        done = self.kit().process(
            *("rollout", "plan", roster, "-o", index or self.index, "--org", "--role-name", ROLE, "--output", "json"),
            *self.shared,
        )
        assert done.code == 0, done.err
        return str(json.loads(done.out)["sha256"])

    def work(self, number: int, *more: str | Path, plans: Sequence[Path] = ()) -> subprocess.Popen[str]:
        """Start a worker."""
        return self.kit(number).fork(*self.command("work", number, plans), *more)

    def command(self, verb: str, number: int, plans: Sequence[Path] = ()) -> list[str | Path]:
        backups: list[str | Path] = (
            [] if self.place.kind == "sqlite" else ["--backup-dir", self.backups, "--local-backups"]
        )
        results: list[str | Path] = ["--results", self.folder / f"results-{number}"]
        common = ["--org", "--role-name", ROLE, "-r", self.recipient, "--output", "json", "--workers", "2"]
        return ["rollout", verb, *(plans or [self.index]), *common, *backups, *results, *self.shared]

    def enabled(self) -> Counter[str]:
        """Return how many devices were enabled in each account."""
        return Counter(call.account for call in self.lab.calls if call.operation == ENABLE and not call.error)

    def wait(self, reached: Callable[[], object]) -> None:
        for _ in range(1000):
            if reached():
                return
            time.sleep(0.02)
        pytest.fail("it did not happen")

    def is_done(self, *, users: int = USERS) -> None:
        """Check that each user has one device, whose backup is there, and that the ledger knows it."""
        with self.place.open() as ledger:
            for number in self.ids:
                made = ledger.made(number)
                assert [entry.reached for entry in made] == [JournalState.CONFIRMED] * users
                assert [self.lab.assigned(entry.spec.serial) for entry in made] == [each.spec.user for each in made]
                assert all(backup_of(entry).is_file() for entry in made)
                assert list(ledger.dead(number)) == []
                devices = self.lab.organization[number].backend.virtual_mfa_devices
                assert len(devices) == users, "an orphan is left"

    def enabled_once(self, *, users: int = USERS) -> None:
        """Check that no user was enabled twice."""
        assert self.enabled() == dict.fromkeys(self.ids, users)


def backup_of(entry: JournalEntry) -> Path:
    """Return the path of the backup of an entry's device."""
    assert entry.backup is not None
    return Path(entry.backup)


def end(worker: subprocess.Popen[str]) -> Result:
    out, err = worker.communicate(timeout=100)
    return Result(worker.returncode, out, err)


def states(done: Result) -> dict[str, Any]:
    return {row["account"]: row["state"] for row in json.loads(done.out)["accounts"]}
