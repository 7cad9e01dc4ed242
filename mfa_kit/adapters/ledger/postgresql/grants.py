"""The SQL that gives roles their privileges in a ledger. mfa-kit prints it, and an administrator runs it."""

from collections.abc import Iterator, Mapping, Sequence

DESK, AUDITOR = "mfa_kit_desk", "mfa_kit_auditor"
# The columns that a desk (a role that may write to the ledger) may insert. The database fills in the other columns.
INSERTED: Mapping[str, str] = {
    "transitions": "run, serial, verb, reached, intent, backup, at, since, sealed",
    "events": 'at, operation, "user", serial, request_id, answer, file',
    "tokens": (
        "serial, fingerprint, factor, digest, digits, period, counter, maker, model, octets, capacity, verdict, reason,"
        " at"
    ),
    "sightings": 'at, serial, fingerprint, verdict, "offset", seconds, reason',
    "seals": "backup, recipient, since",
    "hashes": "backup, sha256, since, replaces",
    "drills": "at, backup, result",
    "break_glass": "at, recipient, action, custodians, threshold, backups, replaces",
    "audits": "at, account, results, failed, rules",
    "audit_findings": "at, account, finding, rule, state",
    "device_uses": 'account, serial, principal, source, writer, "user", at, event, region',
    "event_reads": "account, region, event, source, writer, since, until, reached, top, unread, why",
    "failures": 'plan, "user", at, cause, reason',
    "rollout_runs": "plan, run, at",
    "device_states": 'at, plan, run, serial, "user", state, how',
    "fingerprint_keys": "digest",
    "seen_keys": (
        "at, key_id, event, serial, model, firmware, aaguid, certifications, certificate, card, label, attested,"
        ' account, "user", device, run, since'
    ),
}
# The columns that a desk may change. None of them is in the log or the journal.
CHANGED: Mapping[str, str] = {
    "tokens": INSERTED["tokens"],
    "sightings": "serial",
    "seals": "until",
    "hashes": "until",
    "device_uses": '"user", at, event, region',
    "event_reads": "since, until, reached, top, unread, why",
    "failures": "at, cause, reason",
    "rollout_runs": "ended",
}
OWNER = (
    "do $$ begin execute format('grant execute on function {} to %s',"
    " (select nspowner::regrole from pg_namespace where nspname = 'mfa_kit')); end $$;"
)
# Makes the role in the setting mfa_kit.owner the owner of the ledger. The name of the role is in a setting and
# not in the block, because a name that contains `$$` would end the block.
NEW_OWNER = """do $$
declare
    owner text := current_setting('mfa_kit.owner');
    before text := (select nspowner::regrole from pg_namespace where nspname = 'mfa_kit');
    each regclass;
    routine regprocedure;
begin
    execute format('grant create on database %I to %I', current_database(), owner);
    execute format('alter schema mfa_kit owner to %I', owner);
    for each in select oid from pg_class where relnamespace = 'mfa_kit'::regnamespace and relkind = 'r' loop
        execute format('alter table %s owner to %I', each, owner);
    end loop;
    for routine in select oid from pg_proc where pronamespace = 'mfa_kit'::regnamespace loop
        execute format('alter routine %s owner to %I', routine, owner);
    end loop;
    foreach routine in array array[{uses}]::regprocedure[] loop
        execute format('revoke execute on function %s from %s', routine, before);
    end loop;
end $$;"""
MEMBER = "insert into mfa_kit.members (role, team, auditor)"
REPLACED = "on conflict (role) do update set team = excluded.team, auditor = excluded.auditor"
READ = ("journal", "ends", *INSERTED)
# PostgreSQL's functions with which any role could take another team's locks, so they are revoked from `public`. The
# ledger's own functions take only locks of the caller's team.
LOCKS = (
    "pg_advisory_lock",
    "pg_advisory_lock_shared",
    "pg_advisory_xact_lock",
    "pg_advisory_xact_lock_shared",
    "pg_try_advisory_lock",
    "pg_try_advisory_lock_shared",
    "pg_try_advisory_xact_lock",
    "pg_try_advisory_xact_lock_shared",
)
OWNER_USES = ("pg_try_advisory_lock(bigint)", "pg_try_advisory_lock_shared(bigint)", "pg_advisory_xact_lock(bigint)")


def grants(desks: Mapping[str, str], auditors: Sequence[str], *, owner: str | None = None) -> str:
    """Return the SQL that gives these roles their privileges. The roles must exist.

    `desks` has the team of each role that may write, by the role's name. `auditors` are the names of roles that may
    only read, and see the rows of all teams. `owner` is the name of the role that becomes the ledger's owner; if it is
    None, the owner does not change. The SQL can be run several times, and again later for more roles.
    """
    return "\n".join([*_begin(owner), *_groups(), *_members(desks, auditors), ""])


def _begin(owner: str | None) -> Iterator[str]:
    yield "-- Run this in the ledger's database as a role that may create roles. If a superuser runs it, other roles"
    yield "-- can no longer take advisory locks in this database, so use the database for the ledger only."
    yield "begin;"
    if owner is not None:
        yield f"set local mfa_kit.owner = {_text(owner)};"
        yield NEW_OWNER.format(uses=", ".join(f"'{function}'" for function in OWNER_USES))


def _groups() -> Iterator[str]:
    for group in (DESK, AUDITOR):
        yield f"do $$ begin create role {group} nologin; exception when duplicate_object then null; end $$;"
        yield f"grant usage on schema mfa_kit to {group};"
        yield f"grant select on mfa_kit.version, {', '.join(f'mfa_kit.{table}' for table in READ)} to {group};"
        yield f"grant select (grace) on mfa_kit.settings to {group};"
    for table, columns in INSERTED.items():
        yield f"grant insert ({columns}) on mfa_kit.{table} to {DESK};"
    for table, columns in CHANGED.items():
        yield f"grant update ({columns}) on mfa_kit.{table} to {DESK};"
    # The SQL of an older mfa-kit granted DELETE, with which a role can also lock the table.
    yield f"revoke delete on mfa_kit.seals from {DESK};"
    yield f"grant execute on function mfa_kit.withdraw(text, double precision) to {DESK};"
    for function in ("take(text, uuid)", "enter(text, uuid)", "give_back(text)", "holder(text)", "workers(text[])"):
        yield f"grant execute on function mfa_kit.{function} to {DESK}, {AUDITOR};"
    for name in LOCKS:
        for types in ("bigint", "integer, integer"):
            yield f"revoke execute on function {name}({types}) from public;"
    for function in OWNER_USES:
        yield OWNER.format(function)


def _members(desks: Mapping[str, str], auditors: Sequence[str]) -> Iterator[str]:
    # A role that changes from desk to auditor, or from auditor to desk, loses its earlier privileges. For other roles,
    # the server would warn that there is nothing to revoke. This warning would mislead, so it is turned off.
    yield "set local client_min_messages = error;"
    for role, team in desks.items():
        yield f"revoke {AUDITOR} from {_name(role)};"
        yield f"grant {DESK} to {_name(role)};"
        yield _member(role, team, auditor=False)
    for role in auditors:
        yield f"revoke {DESK} from {_name(role)};"
        yield f"grant {AUDITOR} to {_name(role)};"
        yield _member(role, "", auditor=True)
    yield "commit;"


def _member(role: str, team: str, *, auditor: bool) -> str:
    values = f"{_text(role)}, {_text(team)}, {str(auditor).lower()}"
    return f"{MEMBER} values ({values}) {REPLACED};"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _text(text: str) -> str:
    """Return a text as an SQL string constant that is valid for both values of standard_conforming_strings."""
    escaped = text.replace("\\", "\\\\").replace("'", "''")
    return f"E'{escaped}'"
