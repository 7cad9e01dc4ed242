"""Administers the ledger in PostgreSQL that several computers share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.adapters.ledger.postgresql.grants import grants
from mfa_kit.core.errors import UsageFault
from mfa_kit.wiring.ledger import need_postgresql
from mfa_kit.wiring.settings import Settings, home

if TYPE_CHECKING:
    from mfa_kit.adapters.ledger.postgresql.owning import LedgerConditions, LedgerState, OwnedLedger


def _owned(settings: Settings) -> "OwnedLedger":
    """Return the ledger in PostgreSQL.

    Raise UsageFault if the settings name none, or if the extra `postgres` is not installed.
    """
    if settings.ledger is None:
        raise UsageFault(
            "no ledger in PostgreSQL is configured", "name the ledger: --ledger postgresql://HOST/DATABASE"
        )
    need_postgresql()
    from mfa_kit.adapters.ledger.postgresql.owning import OwnedLedger

    return OwnedLedger(settings.ledger)


def create_ledger(settings: Settings, *, grace: float | None) -> int:
    """Create the ledger in PostgreSQL, or bring its schema up to date. Return how many migrations were applied.

    `grace` is how many seconds a run stays reserved for its process after the server was restarted. None keeps the
    present value.
    """
    return _owned(settings).create(grace=grace)


def migrate_ledger(settings: Settings) -> int:
    """Bring the schema of the ledger in PostgreSQL up to date. Return how many migrations were applied.

    Raise UsageFault if the ledger does not exist.
    """
    return _owned(settings).migrate()


def copy_ledger(settings: Settings, folder: Path | None) -> dict[str, int]:
    """Copy the ledger in a folder, by default this computer's, to PostgreSQL.

    Return the number of copied rows by the name of the table. If no computer has recorded a key for the fingerprints of
    seeds, the folder's key becomes the key that all computers must use.
    """
    from mfa_kit.wiring.token_records import share_fingerprint_key

    copied = _owned(settings).copy_from(folder or home())
    share_fingerprint_key(settings, folder or home())
    return copied


def ledger_state(settings: Settings) -> "LedgerState":
    """Return the state of the ledger in PostgreSQL. Raise UsageFault if none is configured."""
    return _owned(settings).state()


def examine_ledger(settings: Settings) -> "tuple[LedgerState, LedgerConditions]":
    """Return the state of the ledger in PostgreSQL and the conditions of its use.

    Raise UsageFault if none is configured, and IntegrityFault if it cannot be used.
    """
    return _owned(settings).examine()


def grants_of(desks: Mapping[str, str], auditors: Sequence[str], *, owner: str | None = None) -> str:
    """Return the SQL that gives roles of PostgreSQL their privileges on the ledger.

    `desks` has the team of each role that may write, by the role's name. `auditors` are the names of roles that may
    only read, and see the records of all teams. `owner` is the name of the role that becomes the ledger's owner; if it
    is None, the owner does not change.
    """
    return grants(desks, auditors, owner=owner)
