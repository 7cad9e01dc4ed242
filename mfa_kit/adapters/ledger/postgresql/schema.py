"""The schema of a ledger in PostgreSQL: numbered SQL files, and the number of the last file that was applied."""

from pathlib import Path

from psycopg import errors

from mfa_kit.adapters.ledger.postgresql.address import Address
from mfa_kit.adapters.ledger.postgresql.sessions import Session
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.message import suggest

FILES = tuple(sorted(Path(__file__).parent.glob("[0-9]*.sql")))
# The key of the advisory lock under which migrations run. The number is arbitrary.
MIGRATION = 6_387_204_117
BEGIN = """
    create schema if not exists mfa_kit;
    revoke all on schema mfa_kit from public;
    create table if not exists version (number integer primary key, applied timestamptz not null default now());
"""


def version_of(session: Session) -> int | None:
    """Return the version of the schema, or None if the database has no ledger.

    Raise psycopg.Error if the version cannot be read.
    """
    try:
        # The query names the schema, so that a role without access to it gets a permission error, not UndefinedTable.
        [number] = session.row("select coalesce(max(number), 0) from mfa_kit.version", types="integer")
    except errors.UndefinedTable:
        return None
    return int(number)


def check_version(session: Session, address: Address) -> None:
    """Raise IntegrityFault if there is no ledger, or if this mfa-kit uses another version of the ledger's schema."""
    number = version_of(session)
    if number is None:
        raise IntegrityFault(
            f"there is no ledger in {address.label}",
            suggest("ask the owner of the database to create it", "ledger init"),
        )
    if number < len(FILES):
        raise IntegrityFault(
            f"the ledger {address.label} was made by an older mfa-kit",
            suggest("ask its owner to bring it up to date", "ledger migrate"),
        )
    if number > len(FILES):
        raise IntegrityFault(
            f"the ledger {address.label} was made by a newer mfa-kit", "upgrade mfa-kit the way you installed it"
        )


def migrate(session: Session, address: Address, *, create: bool, grace: float | None = None) -> int:
    """Apply the SQL files that were not applied yet, all of them or none. Return how many files were applied.

    With `create`, also create the schema. `grace`, if given, is the new number of seconds for which a run stays
    reserved for its process after a restart of the server. Raise psycopg.Error if a statement fails, UsageFault if
    there is no schema, and IntegrityFault if a newer mfa-kit made the schema.
    """
    database = session.connection
    with database.transaction():
        database.execute("select pg_advisory_xact_lock($1)", (MIGRATION,))
        if create:
            database.execute(BEGIN)
        [schema_exists] = session.row("select to_regclass('mfa_kit.version') is not null", types="boolean")
        if not schema_exists:
            raise UsageFault(f"there is no ledger in {address.label}", suggest("create it", "ledger init"))
        [number] = session.row("select coalesce(max(number), 0) from version", types="integer")
        for file in FILES[number:]:
            database.execute(file.read_bytes())
            database.execute("insert into version (number) values ($1)", (int(file.name[:4]),))
        if grace is not None:
            database.execute("update settings set grace = $1", (grace,))
    check_version(session, address)
    return max(len(FILES) - int(number), 0)
