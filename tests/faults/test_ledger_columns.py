"""Tests of a ledger whose columns have values of other types: the exit code is 5, and never 70."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from tests.conftest import ACCOUNT, MfaKit
from tests.sizes import sample, size
from tests.tokens import boxes
from tests.tokens.boxes import Made

# A value for each storage class of SQLite, and numbers and text that no column has.
VALUES = ("x'ff00'", "cast(x'eda080' as text)", "-1", "1e308", "9e999", "null", "'[{]'", "''", "char(10)")
COMMANDS = (
    ("ledger", "show"),
    ("ledger", "export"),
    ("backup", "list"),
    ("backup", "recipients"),
    ("token", "list"),
    ("orphans", "list"),
)


@pytest.fixture
def used(mfa_kit: MfaKit, user: str, recipient: str, identity_file: Path, tmp_path: Path) -> MfaKit:
    """Return a desk with a row in nearly every table."""
    box, readings = tmp_path / "box.csv", tmp_path / "readings.csv"
    box.write_bytes(boxes.entra([Made("10001002"), Made("10001003")]))
    readings.write_text("serial,code\n10001002,123456\n10001003,123456\n")
    roster, plan = tmp_path / "roster.csv", tmp_path / "plan.json"
    roster.write_text(f"user,recipient\n{user}-gone,{recipient}\n")
    for words in (
        ("enroll", user, "--with", "virtual", "--codes", "generated", "-r", recipient),
        ("backup", "verify", "--all", "-i", identity_file),
        ("token", "import", box),
        ("token", "accept", box, "--readings", readings),
        ("rollout", "plan", roster, "-o", plan),
        ("rollout", "apply", plan, "-r", recipient),
    ):
        assert mfa_kit.run(*words).code in (0, 1, 2), words
    return mfa_kit


def _columns(file: Path) -> Iterator[tuple[str, str]]:
    with closing(sqlite3.connect(file)) as db:
        for (table,) in db.execute("select name from sqlite_master where type = 'table' order by name").fetchall():
            if not table.startswith("sqlite_") and db.execute(f"select count(*) from {table}").fetchone()[0]:
                yield from ((table, row[1]) for row in db.execute(f"pragma table_info({table})").fetchall())


@pytest.mark.slow
@pytest.mark.timeout(size(180, 3600))
def test_a_value_of_another_type_in_any_column_exits_with_5(used: MfaKit) -> None:
    """Each column of each table that has rows gets each value in turn."""
    file = used.home / "ledger.sqlite"
    before = file.with_name("before")
    with sqlite_ledger(used.home) as ledger:
        assert ledger.made(ACCOUNT)
    with closing(sqlite3.connect(file)) as db:
        db.execute("pragma wal_checkpoint(truncate)")
    shutil.copy(file, before)
    columns = [*_columns(file)]
    assert len({table for table, _ in columns}) >= 5
    wrong, refused = [], set()
    for table, column, value in sample([(*each, value) for each in columns for value in VALUES], 40):
        for more in ("", "-wal", "-shm"):
            file.with_name(file.name + more).unlink(missing_ok=True)
        shutil.copy(before, file)
        with closing(sqlite3.connect(file)) as db, suppress(sqlite3.IntegrityError):
            db.execute(f"update {table} set {column} = {value}")
            db.commit()
        for words in COMMANDS:
            done = used.run(*words)
            if done.code == 5:
                refused.add((table, column))
            if done.code not in (0, 1, 5) or "Traceback" in done.err:
                wrong.append(f"{table}.{column} = {value}: {words}: {done.code} {done.err}")
    assert wrong == []
    assert refused
