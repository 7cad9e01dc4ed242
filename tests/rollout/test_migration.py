"""A shared ledger is migrated from 1.1.0: which version is refused before and after it, and a run that is at work.

Version 1.1.0 is this program with the SQL files that 1.1.0 had, and with its statement for uses of break-glass keys.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from mfa_kit.adapters.ledger import audit_records
from mfa_kit.adapters.ledger.audit_records import BreakGlassRecords
from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.adapters.ledger.postgresql import database
from mfa_kit.adapters.ledger.postgresql.database import FILES
from mfa_kit.adapters.ledger.postgresql.grants import grants
from mfa_kit.adapters.ledger.postgresql.owning import OwnedLedger
from mfa_kit.adapters.ledger.tables import Tables
from mfa_kit.break_glass.uses import Record
from mfa_kit.core.models import JournalState
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from mfa_kit.lab.aws.server import Lab
from tests.conftest import ACCOUNT, Result
from tests.ledgers import open_at
from tests.postgresql import Server
from tests.rollout.conftest import Rollout

OF_1_1_0 = 11
INSERT_1_1_0 = """
    insert into break_glass (at, recipient, action, custodians, threshold, backups) values ($1, $2, $3, $4, $5, $6)
"""
Version = Callable[[], AbstractContextManager[None]]


class Before:
    """The records of uses of break-glass keys as 1.1.0 writes them."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def add(self, record: Record) -> None:
        """Record a use, without what the identity replaces."""
        custodians = json.dumps(dict(record.custodians))
        row = (record.at, record.recipient, record.action, custodians, record.threshold, record.backups)
        self._tables.write((INSERT_1_1_0, [row]))


@contextmanager
def version_1_1_0() -> Iterator[None]:
    """Make this process use the schema of 1.1.0. It reads no column that 1.1.0 does not have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "FILES", FILES[:OF_1_1_0])
        patch.setattr(audit_records, "SELECT", audit_records.SELECT.replace("replaces", "null::text"))
        yield


@pytest.fixture
def address(postgresql: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of a new ledger of 1.1.0 for a desk, whose privileges are those of 1.1.0."""
    name = "ledger_of_1_1_0"
    postgresql.execute(f"create database {name} owner owner")
    try:
        with version_1_1_0():
            OwnedLedger(postgresql.address(name)).create(grace=None)
        postgresql.execute("drop role if exists desk_1")
        postgresql.execute("create role desk_1 login")
        old = grants({"desk_1": "desk"}, []).replace("backups, replaces", "backups")
        postgresql.execute(old, database=name)
        address = postgresql.address(name, role="desk_1")
        monkeypatch.setenv("MFA_KIT_LEDGER", address)
        yield address
    finally:
        postgresql.execute(f"drop database {name} with (force)")


def migrate(rollout: Rollout, postgresql: Server) -> int:
    """Run `ledger migrate` as the owner, in a process of this version. Return how many files were applied."""
    owner = postgresql.address("ledger_of_1_1_0")
    process = rollout.desk.start("ledger", "migrate", "--ledger", owner, "--output", "json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return int(json.loads(out)["applied"])


def rows_of(postgresql: Server) -> list[Any]:
    tables = ("journal", "events", "seals", "break_glass", "hashes")
    return [postgresql.execute(f"select count(*) from mfa_kit.{table}", database="ledger_of_1_1_0") for table in tables]


def is_refused(done: Result, *words: str) -> bool:
    told = " ".join(done.err.split())
    return done.code == 5 and all(word in told for word in words)


@pytest.mark.usefixtures("address")
def test_each_version_is_refused_before_its_first_write(
    rollout: Rollout, users: Callable[[], str], lab: Lab, postgresql: Server
) -> None:
    """Before the migration it is this version, and after it 1.1.0. Each works with its own ledger."""
    words = ("--with", "virtual", "--codes", "generated", "-r", rollout.recipient, "--local-backups")
    devices, rows = lab.serials(), rows_of(postgresql)
    refused = rollout.desk.run("enroll", users(), *words)
    assert is_refused(refused, "was made by an older mfa-kit", "mfa-kit ledger migrate"), refused
    assert (lab.serials(), rows_of(postgresql)) == (devices, rows)
    with version_1_1_0():
        assert rollout.desk.run("enroll", users(), *words).code == 0
    assert migrate(rollout, postgresql) == len(FILES) - OF_1_1_0
    devices, rows = lab.serials(), rows_of(postgresql)
    with version_1_1_0():
        refused = rollout.desk.run("enroll", users(), *words)
    assert is_refused(refused, "was made by a newer mfa-kit", "upgrade mfa-kit"), refused
    assert (lab.serials(), rows_of(postgresql)) == (devices, rows)
    assert rollout.desk.run("enroll", users(), *words).code == 0
    assert migrate(rollout, postgresql) == 0


@pytest.mark.parametrize("after", [1, 8])
def test_a_run_of_1_1_0_that_is_at_work_ends_without_loss(
    rollout: Rollout,
    people: Callable[[int], Sequence[str]],
    address: str,
    postgresql: Server,
    monkeypatch: pytest.MonkeyPatch,
    after: int,
) -> None:
    """The ledger is migrated after some rows of the run, whose sessions with the ledger stay open."""
    names, record, count = people(6), Ledger.record, iter(range(1, 1000))
    applied: list[int] = []

    def record_and_migrate(ledger: Ledger, *args: Any, **kwargs: Any) -> Any:
        recorded = record(ledger, *args, **kwargs)
        if next(count) == after:
            applied.append(migrate(rollout, postgresql))
        return recorded

    with version_1_1_0():
        rollout.plan(*rollout.own(names))
        monkeypatch.setattr(Ledger, "record", record_and_migrate)
        done = rollout.apply("--local-backups", "--workers", "2")
    assert (done.code, applied) == (0, [len(FILES) - OF_1_1_0]), done.err
    assert {rollout.lab.assigned(f"arn:aws:iam::{ACCOUNT}:mfa/{name}") for name in names} == set(names)
    with open_at(address) as ledger:
        reached = {entry.spec.user: entry.reached for entry in ledger.made(ACCOUNT)}
        assert (reached, [*ledger.dead(ACCOUNT)]) == (dict.fromkeys(names, JournalState.CONFIRMED), [])
    status = rollout.desk.run("rollout", "status", rollout.file, "--output", "json")
    assert status.code == 0, status.err


def test_a_meeting_of_1_1_0_that_is_at_work_is_recorded(address: str, rollout: Rollout, postgresql: Server) -> None:
    """Its rows do not say what an identity replaces. Those of this version do, with the privileges of 1.1.0."""
    use = Record(at=1.0, recipient="age1a", action=RecoveryKeyAction.SEALED, custodians={"a": "k"}, threshold=1)
    newer = Record(at=2.0, recipient="age1b", action=RecoveryKeyAction.ROTATED, custodians={}, replaces="age1a")
    with version_1_1_0():
        opened = open_at(address)
    with opened as ledger:
        assert migrate(rollout, postgresql) == len(FILES) - OF_1_1_0
        Before(ledger).add(use)
    with open_at(address) as ledger:
        BreakGlassRecords(ledger).add(newer)
        assert [(each.recipient, each.replaces) for each in BreakGlassRecords(ledger).all()] == [
            ("age1a", None),
            ("age1b", "age1a"),
        ]
