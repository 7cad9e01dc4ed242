"""Open the ledger (mfa-kit's records): a file on this computer, or a database in PostgreSQL that computers share."""

from typing import TYPE_CHECKING

from mfa_kit.core.errors import UsageFault
from mfa_kit.wiring.settings import Settings, command_for_extra, home

if TYPE_CHECKING:
    from mfa_kit.adapters.ledger.ledger import Ledger, LogLine


def open_ledger(settings: Settings) -> "Ledger":
    """Open the ledger in PostgreSQL that the settings name, else the file on this computer.

    The file is created if it does not exist. Raise UsageFault if the address in the settings is invalid or the extra
    `postgres` is not installed, or IntegrityFault if the ledger cannot be used.
    """
    if settings.ledger is None:
        from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger

        return sqlite_ledger(home())
    need_postgresql()
    from mfa_kit.adapters.ledger.postgresql.database import postgresql_ledger

    return postgresql_ledger(settings.ledger, end=settings.end, alert=settings.progress.alert)


def check_address(text: str) -> None:
    """Raise UsageFault if a ledger's address is invalid or has a password, or if the extra `postgres` is missing."""
    need_postgresql()
    from mfa_kit.adapters.ledger.postgresql.address import parse_address

    parse_address(text)


def need_postgresql() -> None:
    """Raise UsageFault if the extra `postgres` is not installed."""
    try:
        import psycopg  # noqa: F401 - the adapter uses it
    except ImportError:
        raise UsageFault(
            "a ledger in PostgreSQL needs the 'postgres' extra, which is not installed", command_for_extra("postgres")
        ) from None


def history(settings: Settings, user: str | None, since: float) -> "list[LogLine]":
    """Return the lines of the log since a Unix time, oldest first. If `user` is None, return those of all users."""
    with open_ledger(settings) as ledger:
        return ledger.history(user=user, since=since)
