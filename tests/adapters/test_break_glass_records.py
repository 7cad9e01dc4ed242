"""Tests of the ledger's records of break-glass identities, in SQLite and in PostgreSQL."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mfa_kit.adapters.ledger.audit_records import BreakGlassRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.break_glass.uses import Record
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from tests.ledgers import Place


def test_records_are_returned_in_the_order_of_time(place: Place) -> None:
    """Several ledgers may add to them. The clock of a computer does not count in PostgreSQL."""
    made = [
        Record(
            at=1.0,
            recipient="age1x",
            action=RecoveryKeyAction.SEALED,
            custodians={"alice": "age1a", "bob": "k"},
            threshold=2,
        ),
        Record(at=2.0, recipient="age1x", action=RecoveryKeyAction.DRILLED, custodians={"alice": "age1a"}, backups=7),
        Record(at=3.0, recipient="age1y", action=RecoveryKeyAction.FAILED, custodians={}),
        Record(at=4.0, recipient="age1z", action=RecoveryKeyAction.ROTATED, custodians={}, replaces="age1x"),
    ]
    with place.open() as first, place.open() as second:
        for ledger, record in zip((first, second, first, second), made, strict=True):
            BreakGlassRecords(ledger).add(record)
        found = BreakGlassRecords(second).all()
    times = [each.at for each in found]
    assert times == sorted(times)
    same_writer = [replace(each, at=0.0, role="", computer="") for each in found]
    assert same_writer == [replace(each, at=0.0) for each in made]


@pytest.mark.parametrize(
    "change",
    [
        "action = 'x'",
        "custodians = '[]'",
        "custodians = '{\"a\": 1}'",
        "custodians = 'x'",
        "custodians = x'00'",
        "at = 'x'",
        "threshold = 'x'",
        "recipient = x'00'",
        "replaces = x'00'",
    ],
)
def test_a_row_that_mfa_kit_did_not_write_is_an_integrity_fault(tmp_path: Path, change: str) -> None:
    with sqlite_ledger(tmp_path) as ledger:
        BreakGlassRecords(ledger).add(
            Record(at=1.0, recipient="r", action=RecoveryKeyAction.OPENED, custodians={"a": "k"})
        )
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        db.execute(f"update break_glass set {change}")
        db.commit()
    with sqlite_ledger(tmp_path) as ledger, pytest.raises(IntegrityFault):
        BreakGlassRecords(ledger).all()
