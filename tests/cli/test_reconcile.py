"""`ledger reconcile`: what it reports after an old ledger was restored, and that it changes nothing."""

import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyotp
import pytest

from mfa_kit.account.reconciling import Recorded, reconcile
from mfa_kit.core.errors import AccessDenied
from mfa_kit.core.models import DeviceSpec, JournalEntry, JournalState
from mfa_kit.lab.aws.server import Lab
from tests.conftest import MfaKit, bare
from tests.ledgers import Place
from tests.postgresql import BIN, Server

ACCOUNT = "000000000000"
ENROLL = ("enroll", "--with", "virtual", "--codes", "generated")


@pytest.fixture
def own_lab(at_lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Return a lab without the devices of other tests. The command line uses it."""
    for name in at_lab.env:
        monkeypatch.delenv(name)
    with Lab() as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        yield lab


class Ledgers:
    """A ledger that can be copied, and whose copy can be restored, as an administrator would."""

    def __init__(self, kind: str, home: Path, server: Server | None) -> None:
        self.kind, self.home, self.server = kind, home, server
        self.database = server.new_database() if server else ""

    @property
    def words(self) -> list[str]:
        return ["--ledger", self.server.address(self.database), "--local-backups"] if self.server else []

    @property
    def place(self) -> Place:
        return Place(self.kind, self.server.address(self.database) if self.server else str(self.home))

    def copy(self) -> None:
        if self.server is None:
            shutil.copyfile(self.home / "ledger.sqlite", self.home / "old")
            return
        self._run("pg_dump", "-Fc", "-f", self.home / "old", self.server.address(self.database, role="postgres"))

    def restore(self) -> None:
        if self.server is None:
            for name in ("ledger.sqlite-wal", "ledger.sqlite-shm"):
                (self.home / name).unlink(missing_ok=True)
            (self.home / "old").replace(self.home / "ledger.sqlite")
            return
        self.database = f"{self.database}_restored"
        self.server.execute(f"create database {self.database} owner owner")
        self._run("pg_restore", "-d", self.server.address(self.database, role="postgres"), self.home / "old")

    def _run(self, program: str, *words: str | Path) -> None:
        subprocess.run([BIN / program, *words], check=True, env=bare())


@pytest.fixture(params=["sqlite", "postgresql"])
def ledgers(request: pytest.FixtureRequest, mfa_kit: MfaKit) -> Ledgers:
    server: Server | None = request.getfixturevalue("postgresql") if request.param == "postgresql" else None
    return Ledgers(request.param, mfa_kit.home, server)


def differences(mfa_kit: MfaKit, ledgers: Ledgers) -> tuple[int, list[dict[str, Any]]]:
    done = mfa_kit.run("ledger", "reconcile", "--output", "json", *ledgers.words[:2])
    assert done.code in {0, 1}, done.err
    rows: list[dict[str, Any]] = json.loads(done.out)["rows"]
    return done.code, rows


@pytest.mark.slow
def test_a_restored_ledger_lacks_exactly_what_happened_since(
    mfa_kit: MfaKit, own_lab: Lab, ledgers: Ledgers, recipient: str
) -> None:
    """Ten users were enrolled, one was enrolled again, and one device was revoked. Nothing else is reported."""

    def enroll(name: str) -> None:
        done = mfa_kit.run(*ENROLL, name, "-r", recipient, *ledgers.words)
        assert done.code == 0, done.err

    def revoke(name: str) -> None:
        done = mfa_kit.run("revoke", name, "--yes", "--leave-without-mfa", *ledgers.words[:2])
        assert done.code == 0, done.err

    for name in ("stays", "goes", "again", *(f"new{number}" for number in range(10))):
        own_lab.add_user(name)
    for name in ("stays", "goes", "again"):
        enroll(name)
    assert differences(mfa_kit, ledgers) == (0, [])
    ledgers.copy()
    revoke("goes")
    revoke("again")
    for name in ("again", *(f"new{number}" for number in range(10))):
        enroll(name)
    assert differences(mfa_kit, ledgers) == (0, [])
    ledgers.restore()
    calls = len(own_lab.calls)
    code, rows = differences(mfa_kit, ledgers)
    assert code == 1
    by_kind: dict[str, set[str]] = {}
    for row in rows:
        by_kind.setdefault(row["difference"], set()).add(row["user"])
    since = {"again", *(f"new{number}" for number in range(10))}
    assert by_kind == {
        "device is not in the ledger": since,
        "device is not in IAM": {"goes", "again"},
        "backup is not in the ledger": since,
    }
    assert len(rows) == 11 + 2 + 11
    assert not [call for call in own_lab.calls[calls:] if not call.operation.startswith(("Get", "List"))]


def test_an_unfinished_run_is_reported_unless_its_process_is_alive(
    mfa_kit: MfaKit, own_lab: Lab, ledgers: Ledgers
) -> None:
    """A process that is alive completes or removes the device itself."""
    own_lab.add_user("half")
    spec = DeviceSpec(account=ACCOUNT, partition="aws", user="half", name="half")
    with ledgers.place.open() as ledger:
        ledger.record(JournalEntry(run="20261125T000000Z-00000001", spec=spec, reached=JournalState.INTENT))
        assert differences(mfa_kit, ledgers) == (0, [])
    code, [row] = differences(mfa_kit, ledgers)
    assert (code, row["difference"], row["user"]) == (1, "run is unfinished", "half")
    assert row["detail"] == "it reached the state intent"


def test_a_caller_who_may_not_read_tags_is_refused(mfa_kit: MfaKit, own_lab: Lab, ledgers: Ledgers) -> None:
    """The ledger lacks a device, which would go unnoticed."""
    boto3.Session().client("iam").create_virtual_mfa_device(
        VirtualMFADeviceName="lost", Tags=[{"Key": "mfa-kit:run", "Value": "20261125T000000Z-00000001"}]
    )
    assert [row["difference"] for row in differences(mfa_kit, ledgers)[1]] == ["device is not in the ledger"]
    own_lab.faults.add("ListMFADeviceTags", "denied", at="every")
    done = mfa_kit.run("ledger", "reconcile", *ledgers.words[:2])
    assert (done.code, "ListMFADeviceTags" in done.err) == (AccessDenied.exit_code, True), done.err


def test_the_requests_of_a_comparison_grow_with_the_users_only(mfa_kit: MfaKit, own_lab: Lab, ledgers: Ledgers) -> None:
    """There is one for each user, one for each virtual device, and a few lists, which is what IAM's rate allows."""
    names, run = [f"user{number:03}" for number in range(120)], "20261125T000000Z-00000001"
    client = boto3.Session().client("iam")
    for name in names:
        own_lab.add_user(name)
        client.create_virtual_mfa_device(VirtualMFADeviceName=name, Tags=[{"Key": "mfa-kit:run", "Value": run}])
    with ledgers.place.open() as ledger:
        intents = [DeviceSpec(account=ACCOUNT, partition="aws", user=name, name=name, staged=True) for name in names]
        ledger.record_all([JournalEntry(run=run, spec=spec, reached=JournalState.STAGED) for spec in intents])
    before = len(own_lab.calls)
    assert differences(mfa_kit, ledgers) == (0, [])
    made = Counter(call.operation for call in own_lab.calls[before:])
    users = len(own_lab.account.backend.users)
    assert made.pop("ListMFADevices") == users
    assert made.pop("ListMFADeviceTags") == len(names)
    assert made.total() <= 8


def test_each_unfinished_run_is_looked_up_once() -> None:
    """Its entries are reported one by one, or none of them while its process is alive."""
    entries = [
        JournalEntry(run=run, spec=DeviceSpec(account=ACCOUNT, partition="aws", user=user, name=user))
        for run in ("20261125T000000Z-00000001", "20261125T000000Z-00000002")
        for user in ("alice", "bob", "carol")
    ]
    asked: list[str] = []

    def lives(run: str) -> bool:
        asked.append(run)
        return run.endswith("1")

    recorded = Recorded(entries=entries, before=entries, backups=())
    found = reconcile(recorded, devices=(), tagged={}, backups=(), lives=lives)
    assert [(each.run, each.user) for each in found] == [
        ("20261125T000000Z-00000002", user) for user in ("alice", "bob", "carol")
    ]
    assert sorted(asked) == ["20261125T000000Z-00000001", "20261125T000000Z-00000002"]


def test_a_token_that_the_ledger_lacks_is_reported(mfa_kit: MfaKit, own_lab: Lab, ledgers: Ledgers) -> None:
    """It has no tags. A virtual device without tags was not made by mfa-kit, so it is left out."""
    own_lab.add_user("alice")
    secret = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    own_lab.add_token("GAHT00990011", secret)
    boto3.Session().client("iam").create_virtual_mfa_device(VirtualMFADeviceName="console")
    enable("alice", "GAHT00990011", secret)
    code, [row] = differences(mfa_kit, ledgers)
    assert (code, row["difference"], row["device"], row["run"]) == (
        1,
        "device is not in the ledger",
        "GAHT00990011",
        None,
    )


def enable(user: str, serial: str, secret: str) -> None:
    """Enable a token as the console would."""
    codes, now = pyotp.TOTP(secret), time.time()
    boto3.Session().client("iam").enable_mfa_device(
        UserName=user,
        SerialNumber=serial,
        AuthenticationCode1=codes.at(now - 30),
        AuthenticationCode2=codes.at(now),
    )
