"""Checks whether the ledger's file can be used, without changing the file."""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from mfa_kit.adapters.ledger.migrations import MIGRATIONS
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.disk.ownership import fault_of_owner

# Tables that exist in every version of the ledger.
TABLES = {"journal", "events"}
# How many seconds to wait for a program that is writing to the file.
PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class LedgerFault:
    """The reason why a ledger cannot be used, and a hint that says what to do."""

    what: str
    hint: str


def is_there(path: Path) -> bool:
    """Return whether the path exists. A dangling symlink counts as existing."""
    return os.path.lexists(path)


def check_owner(path: Path, status: os.stat_result) -> None:
    """Raise IntegrityFault if other users can write to the ledger.

    By changing paths in the ledger, other users could make mfa-kit remove the wrong files.
    """
    fault = fault_of_owner(path, status) or fault_of_owner(path.parent, path.parent.stat())
    if fault:
        raise IntegrityFault(*fault)


def find_fault(path: Path) -> LedgerFault | None:
    """Return why the ledger at a path cannot be used, or None if it can be used.

    A ledger can be used if it is intact, is not locked, was not written by another program or a newer mfa-kit, and if
    other users cannot write to it.
    """
    if owner := fault_of_owner(path, path.stat()) or fault_of_owner(path.parent, path.parent.stat()):
        return LedgerFault(*owner)
    aside = f"move the file away; devices in IAM are not affected: mv {quote(str(path))} {quote(f'{path}.broken')}"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE)) as db:
            db.isolation_level = None
            fault = _fault_in(db, aside)
            db.execute("begin immediate")
            db.execute("rollback")
    except sqlite3.OperationalError as error:
        return LedgerFault(str(error), "end other programs that use the file, and check its permissions")
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        return LedgerFault(f"damaged: {error}", aside)
    return fault


def _fault_in(db: sqlite3.Connection, aside: str) -> LedgerFault | None:
    [found] = db.execute("pragma quick_check(1)").fetchone()
    [version] = db.execute("pragma user_version").fetchone()
    tables = {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
    if found != "ok":
        return LedgerFault(f"damaged: {found}", aside)
    if tables and not tables >= TABLES:
        return LedgerFault("belongs to another program", aside)
    if version > len(MIGRATIONS):
        return LedgerFault("was written by a newer version of mfa-kit", "upgrade mfa-kit the way you installed it")
    return None
