"""Fixtures for a rollout in the lab: rosters and plans in a folder, and checks of IAM, the journal and the backups."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mfa_kit.adapters.files.local_store import backup_at
from mfa_kit.core.models import JournalState
from mfa_kit.core.otp import Png, Secret, Seed
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.qr_codes import key_uri, symbol
from tests.conftest import ACCOUNT, MfaKit, Result, local
from tests.ledgers import Place
from tests.rollout.team import ACCOUNTS, USERS, Team

PAGED = {"ListUsers", "ListVirtualMFADevices"}


def lose_ledger(home: Path) -> None:
    """Remove the ledger and its locks. The backups stay."""
    for path in home.iterdir():
        if path.name != "backups":
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@dataclass
class Rollout:
    """A folder with rosters and plans, a desk, and the identities that decrypt the backups.

    `place` is where the ledger is. None means the desk's folder.
    """

    folder: Path
    desk: MfaKit
    lab: Lab
    identity: pyrage.x25519.Identity
    place: Place | None = None

    @property
    def recipient(self) -> str:
        return str(self.identity.to_public())

    @property
    def file(self) -> Path:
        return self.folder / "plan.json"

    @property
    def results(self) -> Path:
        return self.folder / "plan-results"

    def roster(self, *rows: str, columns: str = "user,recipient") -> Path:
        """Write a roster; the last cells of a row may be omitted."""
        path = self.folder / "roster.csv"
        path.write_text("\n".join([columns, *rows]) + "\n")
        return path

    def own(self, users: Iterable[str]) -> list[str]:
        """Make rows of users who can all decrypt their own copy."""
        return [f"{user},{self.recipient}" for user in users]

    def plan(self, *rows: str, columns: str = "user,recipient", **how: Any) -> Result:
        done = self.desk.run(
            "rollout", "plan", self.roster(*rows, columns=columns), "-o", self.file, *how.get("more", ())
        )
        assert done.code == 0, done.err
        return done

    def apply(self, *more: str | Path) -> Result:
        return self.desk.run("rollout", "apply", self.file, "-r", self.recipient, *more)

    def enroll(self, users: Iterable[str], *more: str) -> None:
        """Plan the rows of `own`, and apply the plan."""
        self.plan(*self.own(users))
        done = self.apply(*more)
        assert done.code == 0, done.err

    def lose_ledger(self) -> None:
        """Remove the ledger, as `lose_ledger` does."""
        lose_ledger(self.desk.home)

    def asked(self, since: int) -> list[str]:
        """Return the operations after the first `since` calls.

        A list counts once, however many pages it has.
        """
        names = [call.operation for call in self.lab.calls[since:]]
        return [name for name, before in zip(names, ["", *names], strict=False) if name != before or name not in PAGED]

    def works(self, users: Iterable[str], *, copies: int = 2) -> None:
        """Check that each of these users has one device, and that every copy of its only backup contains its secret."""
        serials = {user: f"arn:aws:iam::{ACCOUNT}:mfa/{user}" for user in users}
        assert {user: self.lab.assigned(serial) for user, serial in serials.items()} == {user: user for user in users}
        files = [each for each in (self.desk.home / "backups").rglob("*") if each.is_file()]
        backups = [told for file in files if (told := backup_at(file))]
        assert len(backups) == len(files), "something half-written is left"
        found: dict[str, list[Seed]] = {}
        for backup in backups:
            picture = Png(pyrage.decrypt(local(backup).read_bytes(), [self.identity]))
            found.setdefault(backup.user, []).append(key_uri.seed_of(symbol.read(picture)))
        assert {user: len(seeds) for user, seeds in found.items() if user in serials} == dict.fromkeys(serials, copies)
        for user, serial in serials.items():
            assert found[user] == [Seed(self.lab.seed(serial))] * copies
        with (self.place or Place("sqlite", str(self.desk.home))).open() as ledger:
            reached = {entry.spec.user: entry.reached for entry in ledger.made(ACCOUNT)}
            assert list(ledger.dead(ACCOUNT)) == []
        assert {reached[user] for user in serials} == {JournalState.CONFIRMED}


@pytest.fixture
def rollout(mfa_kit: MfaKit, lab: Lab, identity: pyrage.x25519.Identity, tmp_path: Path) -> Rollout:
    folder = tmp_path / "rollout"
    folder.mkdir()
    return Rollout(folder, mfa_kit, lab, identity)


@pytest.fixture
def people(users: Callable[[], str]) -> Callable[[int], list[str]]:
    """Make this number of users."""
    return lambda number: [users() for _ in range(number)]


def key_file(identity: pyrage.x25519.Identity, folder: Path) -> Path:
    """Write an identity, as `age-keygen` does."""
    path = folder / "identity.txt"
    path.write_text(f"{Secret(str(identity)).reveal()}\n")
    return path


@pytest.fixture
def team(place: Place, tmp_path: Path, identity: pyrage.x25519.Identity) -> Iterator[Team]:
    with Lab(accounts=ACCOUNTS, users_per_account=USERS, settings=LabSettings(propagation=0)) as lab:
        yield Team(tmp_path, tmp_path / "desk", lab, place, str(identity.to_public()))
