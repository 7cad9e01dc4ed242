"""Open the ledger (mfa-kit's records): a file on this computer, or a database in PostgreSQL that computers share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from mfa_kit.core.errors import IntegrityFault, MfaKitError, UsageFault
from mfa_kit.wiring import config
from mfa_kit.wiring.this_computer import home

if TYPE_CHECKING:
    from mfa_kit.adapters.ledger.ledger import Ledger
    from mfa_kit.core.models import LogLine

EXTRA = "pip install 'mfa-kit[postgres]'"


def _raise(fault: IntegrityFault) -> NoReturn:
    raise fault


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerChoice:
    """Which ledger (mfa-kit's own records) a command uses.

    `address` is the URL from the command line or the environment, or None if neither names a ledger. `end` reports a
    fault and ends the process. It is called if the connection to PostgreSQL that holds the locks of this process's runs
    is lost. If `needs_config` is false, a configuration file with errors is ignored.
    """

    address: str | None = None
    end: Callable[[IntegrityFault], NoReturn] = _raise
    needs_config: bool = True


_CHOICE: ContextVar[LedgerChoice] = ContextVar("_CHOICE", default=LedgerChoice())  # noqa: B039 - it is frozen


@contextmanager
def chosen_ledger(choice: LedgerChoice) -> Iterator[None]:
    """Choose the ledger that `open_ledger` opens, until the context ends."""
    before = _CHOICE.set(choice)
    try:
        yield
    finally:
        _CHOICE.reset(before)


def ledger_address() -> str | None:
    """Return the URL of the ledger in PostgreSQL, or None if the ledger is the file on this computer."""
    choice = _CHOICE.get()
    if choice.address is not None:
        return choice.address
    try:
        return config.load().ledger
    except MfaKitError:
        if choice.needs_config:
            raise
        return None


def open_ledger() -> "Ledger":
    """Open the ledger. The file is created if it does not exist.

    Raise UsageFault if the ledger's address is invalid, or IntegrityFault if the ledger cannot be used.
    """
    address = ledger_address()
    if address is None:
        from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger

        return sqlite_ledger(home())
    need_postgresql()
    from mfa_kit.adapters.ledger.postgresql.database import postgresql_ledger

    return postgresql_ledger(address, end=_CHOICE.get().end)


def need_postgresql() -> None:
    """Raise UsageFault if the extra `postgres` is not installed."""
    try:
        import psycopg  # noqa: F401 - the adapter uses it
    except ImportError:
        raise UsageFault("a ledger in PostgreSQL needs the 'postgres' extra, which is not installed", EXTRA) from None


def history(user: str | None, since: float) -> "list[LogLine]":
    """Return the lines of the log since a Unix time, oldest first. If `user` is None, return those of all users."""
    with open_ledger() as ledger:
        return ledger.history(user=user, since=since)
