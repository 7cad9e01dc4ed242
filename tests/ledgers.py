"""A place for a ledger: a folder of this computer, or a database of the tests' PostgreSQL server."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.adapters.ledger.postgresql.database import postgresql_ledger
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.errors import IntegrityFault

KINDS = ("sqlite", "postgresql")


def raise_fault(fault: IntegrityFault) -> NoReturn:
    """Raise a fault that would end the process of a command."""
    raise fault


def open_at(place: str, *, clock: Callable[[], float] = time.time) -> Ledger:
    """Open the ledger in a folder, or at an address of PostgreSQL."""
    if "=" in place:
        return postgresql_ledger(place, end=raise_fault, alert=print, clock=clock)
    return sqlite_ledger(Path(place), clock=clock)


@dataclass(frozen=True)
class Place:
    """Where a test's ledger is. Several ledgers may be open there at a time, as in several processes."""

    kind: str
    at: str

    def open(self, *, clock: Callable[[], float] = time.time) -> Ledger:
        """Open the ledger."""
        return open_at(self.at, clock=clock)
