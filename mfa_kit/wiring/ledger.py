"""Open the ledger of this computer."""

from typing import TYPE_CHECKING

from mfa_kit.wiring.this_computer import home

if TYPE_CHECKING:
    from mfa_kit.adapters.ledger.ledger import Ledger
    from mfa_kit.core.models import LogLine


def open_ledger() -> "Ledger":
    """Open the ledger, or create it if it does not exist. Raise IntegrityFault if it cannot be used."""
    from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger

    return sqlite_ledger(home())


def history(user: str | None, since: float) -> "list[LogLine]":
    """Return the lines of the log since a Unix time, oldest first. If `user` is None, return those of all users."""
    with open_ledger() as ledger:
        return ledger.history(user=user, since=since)
