"""Fixtures: a lab, desks in separate folders, processes that can be killed, and a judge of the results."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import psycopg
import pyrage
import pytest

from mfa_kit.adapters.files.agefile import open_backup
from mfa_kit.adapters.files.local_store import backup_at, read_backup
from mfa_kit.core import otp
from mfa_kit.core.models import BackupLocation, S3Url
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.lab.aws.server import Lab
from mfa_kit.qr_codes import key_uri, symbol
from mfa_kit.wiring.stores import AnyFileStore
from tests.conftest import COUNTED, LOST, ROOT, bare, users_of
from tests.faults.broken_disk import library
from tests.faults.worker import ADDRESS
from tests.ledgers import KINDS
from tests.plain_settings import plain_settings
from tests.postgresql import Server


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(scope="session")
def users(lab: Lab) -> Callable[[], str]:
    return users_of(lab)


@pytest.fixture(autouse=True)
def _here(at_lab: Lab) -> None:
    """Point each test at this lab, and remove all faults after the test."""


def wait_until(met: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not met():
        assert time.monotonic() < until
        time.sleep(0.01)


def sessions_of(home: Path) -> set[int]:
    """Return the processes of PostgreSQL that serve mfa-kit at the database of a desk; none for a ledger in a file."""
    address = home / ADDRESS
    if not address.exists():
        return set()
    with psycopg.connect(address.read_text("utf-8"), autocommit=True) as connection:
        sql = (
            "select pid from pg_stat_activity where datname = current_database() and application_name like 'mfa-kit@%'"
        )
        return {pid for (pid,) in connection.execute(sql)}


@dataclass
class Nursery:
    """Runs jobs in processes that may be killed; see tests/faults/worker.py."""

    process: subprocess.Popen[str]
    recipient: str
    folder: Path
    number: Iterator[int] = field(default_factory=count)

    def start(self, verbs: list[str], user: str, home: Path, **how: Any) -> Path:
        """Start a job, and return the file in which it lists its steps. `finish` waits for the job."""
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
        """Run a job. Return its exit code (negative for a signal) and its steps."""
        others = sessions_of(home)
        steps = self.start(verbs, user, home, **how)
        code = self.finish()
        if code < 0:  # until PostgreSQL has noticed that the process is gone, it keeps the locks of its run
            wait_until(lambda: sessions_of(home) <= others)
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
    """Start a nursery in which writes can be made to fail."""
    return nursery_of(LD_PRELOAD=str(library(tmp_path_factory.mktemp("broken-disk"))))


@pytest.fixture(params=KINDS)
def new_home(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that makes the folder of a desk, whose ledger is in it or in a database of its own."""

    def make(name: str) -> Path:
        home = tmp_path / name
        if request.param == "postgresql":
            server: Server = request.getfixturevalue("postgresql")
            home.mkdir(mode=0o700)
            (home / ADDRESS).write_text(server.address(server.new_database()), "utf-8")
        return home

    return make


@dataclass
class Judge:
    """Checks IAM and the folder of a desk after a test."""

    lab: Lab
    identity: pyrage.x25519.Identity
    record: Callable[[str, int], None]
    # IAM accepts no code twice, so each pair is later than the previous one.
    ahead: Iterator[int] = field(default_factory=lambda: count(1, 2))

    @cached_property
    def iam(self) -> Any:
        return boto3.client(
            "iam",
            endpoint_url=self.lab.url,
            region_name="us-east-1",
            aws_access_key_id=self.lab.admin.access_key_id,
            aws_secret_access_key=self.lab.admin.secret_access_key,
        )

    def works(self, user: str, home: Path, place: BackupLocation | None = None) -> list[str]:
        """Return the user's devices. Check that each has exactly one backup, whose codes IAM accepts.

        The backups are in the folder of a desk, or in a place of its own.
        """
        try:
            return self._works(user, place or home / "backups")
        except AssertionError:
            self.record(LOST, 1)
            raise

    def _works(self, user: str, place: BackupLocation) -> list[str]:
        serials = {serial for serial in self.lab.serials() if serial.rpartition("/")[2].startswith(user)}
        assert {self.lab.assigned(serial) for serial in serials} <= {user}, "a device that nobody has"
        files = _files(place)
        backups = [told for file in files if (told := backup_at(file))]
        assert len(backups) == len(files), f"something half written: {files}"
        seeds = {}
        for backup in backups:
            opened = open_backup(
                backup.path, Secret([self.identity]), partial(read_backup, file_store=AnyFileStore(plain_settings()))
            )
            seeds[f"arn:aws:iam::000000000000:mfa/{backup.device}"] = key_uri.seed_of(symbol.read(opened))
        assert seeds == {serial: Seed(self.lab.seed(serial)) for serial in serials}, "a backup that is not its device's"
        assert len(backups) == len(serials)
        for serial, seed in seeds.items():
            codes = otp.codes(seed, range((at := otp.step(self.lab.account.now()) + next(self.ahead)), at + 2))
            asked = dict(zip(("AuthenticationCode1", "AuthenticationCode2"), codes, strict=True))
            self.iam.resync_mfa_device(UserName=user, SerialNumber=serial, **asked)
        self.record("users judged", 1)
        return sorted(serials)


def _files(place: BackupLocation) -> Sequence[BackupLocation]:
    """Return all files in a folder, or all versions and delete markers under a prefix."""
    if isinstance(place, Path):
        return [each for each in place.rglob("*") if each.is_file()]
    found = boto3.Session().client("s3").list_object_versions(Bucket=place.bucket, Prefix=f"{place.key}/")
    return [S3Url(place.bucket, each["Key"]) for kind in ("Versions", "DeleteMarkers") for each in found.get(kind, ())]


@pytest.fixture
def judge(lab: Lab, identity: pyrage.x25519.Identity, tried: Callable[[str, int], None]) -> Judge:
    return Judge(lab, identity, tried)


@pytest.fixture
def tried(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """Count an attempt for the summary at the end."""

    def note(what: str, number: int = 1) -> None:
        record_property(COUNTED, (what, number))

    return note
