"""Copies the ledger of one computer into a ledger in PostgreSQL. Rows that PostgreSQL already has are not copied."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from mfa_kit.adapters.ledger.postgresql.sessions import Session, Statement
from mfa_kit.adapters.ledger.tables import Database, SqlRow

# The columns of each table that is copied row by row. `journal` and `ends` are not listed, because the server derives
# them from `transitions`.
COLUMNS: Mapping[str, str] = {
    "events": 'at, operation, "user", serial, request_id, answer, file',
    "sightings": 'at, serial, fingerprint, verdict, "offset", seconds, reason',
    "drills": "at, backup, result",
    "break_glass": "at, recipient, action, custodians, threshold, backups",
    "audits": "at, account, results, failed, rules",
    "audit_findings": "at, account, finding, rule, state",
}
# For each table with a key: the columns of the key, the other columns, and the condition under which a copied row
# replaces the existing row with the same key.
KEYED: Mapping[str, tuple[str, str, str]] = {
    "tokens": (
        "serial",
        "fingerprint, factor, digest, digits, period, counter, maker, model, octets, capacity, verdict, reason, at",
        "excluded.at > tokens.at",
    ),
    "seals": ("backup, recipient, since", "until", "seals.until is null"),
    "hashes": ("backup, sha256", "since, replaces, until", "hashes.until is null"),
    "failures": ('plan, "user"', "at, cause, reason", "excluded.at > failures.at"),
    "rollout_runs": ("plan, run", "at, ended", "rollout_runs.ended is null"),
}
JOURNAL = "run, serial, verb, reached, intent, backup, at, since, sealed"
TRANSITION = f"insert into transitions ({JOURNAL}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)"  # noqa: S608
BATCH = 500


def copy_rows(source: Database, target: Session) -> dict[str, int]:
    """Copy all tables. Return the number of copied rows by the name of the table.

    Raise psycopg.Error if PostgreSQL reports an error, and IntegrityFault if the source cannot be read.
    """
    copied = {"journal": _copy_journal(source, target)}
    for table, columns in COLUMNS.items():
        read = f"select {columns} from {table}"  # noqa: S608 - our own names
        missing = Counter(source.select(read)) - Counter(target.run([(read, ())]))
        copied[table] = _insert(target, table, columns, missing.elements(), "")
    for table, (key, others, newer) in KEYED.items():
        columns = f"{key}, {others}"
        read = f"select {columns} from {table}"  # noqa: S608 - our own names
        missing = Counter(source.select(read)) - Counter(target.run([(read, ())]))
        updates = ", ".join(f"{name} = excluded.{name}" for name in others.split(", "))
        conflict = f"on conflict (team, {key}) do update set {updates} where {newer}"
        copied[table] = _insert(target, table, columns, missing.elements(), conflict)
    return copied


def _insert(target: Session, table: str, columns: str, rows: Iterable[SqlRow], more: str) -> int:
    places = ", ".join(f"${number}" for number in range(1, columns.count(",") + 2))
    sql = f"insert into {table} ({columns}) values ({places}) {more}"  # noqa: S608 - our own names
    waiting: list[Statement] = [(sql, row) for row in rows]
    for start in range(0, len(waiting), BATCH):
        target.run(waiting[start : start + BATCH])
    return len(waiting)


def _copy_journal(source: Database, target: Session) -> int:
    """Copy the entries of the journal, oldest first, and return how many were copied.

    The table `ends` has a row for each time an entry reached a final state. These states are copied before the entry's
    present state. States that are not later than the entry's state in the target are not copied.
    """
    read = f"select {JOURNAL} from journal order by at, run"  # noqa: S608 - our own names
    there = {row[:2]: row for row in target.run([(read, ())])}
    ends: defaultdict[tuple[str, str], list[SqlRow]] = defaultdict(list)
    for run, serial, verb, reached, at in source.select("select run, serial, verb, reached, at from ends order by id"):
        ends[run, serial].append((verb, reached, at))
    copied = 0
    for row in source.select(read):
        before = there.get(row[:2])
        if before and before[6] >= row[6]:
            continue
        copied += 1
        target.run(_steps(row, [end for end in ends[row[0], row[1]] if before is None or end[2] > before[6]]))
    return copied


def _steps(row: SqlRow, ends: Sequence[SqlRow]) -> list[Statement]:
    """Return the statements that record the states in `ends` and then the state in `row`, under the run's lock.

    `row` has the columns JOURNAL. Each row in `ends` has a verb, a state and a time.
    """
    run, serial, verb, reached, intent, backup, at, since, sealed = row
    states = [*ends] if ends and ends[-1] == (verb, reached, at) else [*ends, (verb, reached, at)]
    inserts: list[Statement] = [
        (TRANSITION, (run, serial, verb_then, reached_then, intent, backup, at_then, since, sealed))
        for verb_then, reached_then, at_then in states
    ]
    return [("select take($1, gen_random_uuid())", (run,)), *inserts, ("select give_back($1)", (run,))]
