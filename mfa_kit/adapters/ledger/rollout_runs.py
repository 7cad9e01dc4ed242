"""Stores which runs belong to each rollout plan, and which enrollments failed. The journal has the successful ones.

Only a shared ledger also says which computer recorded which row.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mfa_kit.adapters.ledger.ledger import OPEN
from mfa_kit.adapters.ledger.tables import SqlRow, Tables
from mfa_kit.core.models import Recorders
from mfa_kit.rollout.watching import Failure, PlanProgress

BEGUN = "insert into rollout_runs (plan, run, at) values ($1, $2, $3)"
ENDED = "update rollout_runs set ended = $3 where plan = $1 and run = $2"
# Selects for each plan when its last incomplete run and its last complete run began, how many devices its runs staged
# or enabled, how many users failed, and since when its oldest unfinished device has not advanced. In this statement and
# the next two, `{}` stands for the list of plans.
PROGRESS = f"""
    select r.plan, max(case when r.ended is null then r.at end), max(case when r.ended is not null then r.at end),
        (select count(*) from journal j join rollout_runs m on m.run = j.run
            where m.plan = r.plan and j.verb = 'enroll' and j.reached in ('staged', 'enabled', 'confirmed')),
        (select count(*) from failures f where f.plan = r.plan and f.cause <> ''),
        (select min(j.at) from journal j join rollout_runs m on m.run = j.run where m.plan = r.plan and j.{OPEN})
    from rollout_runs r where r.plan in ({{}}) group by r.plan
"""  # noqa: S608 - our own names
CAUSES = "select cause, count(*) from failures where cause <> '' and plan in ({}) group by cause order by 2 desc, 1"
# Selects how many devices the runs of the plans created since a Unix time, which is the first parameter.
CREATED = """
    select count(*) from events where operation = 'CreateVirtualMFADevice' and answer = 'OK' and at >= $1
        and serial in (select j.serial from journal j join rollout_runs m on m.run = j.run where m.plan in ({}))
"""


class RolloutRuns:
    """Stores the IDs of the runs of one rollout plan. `plan` is the digest of the plan's file."""

    def __init__(self, tables: Tables, *, plan: str) -> None:
        self._tables, self._plan = tables, plan

    def record(self, run: str, *, now: float) -> None:
        """Record a run that is about to begin. `now` is a Unix time."""
        self._tables.write((BEGUN, [(self._plan, run, now)]))

    def end(self, run: str, *, now: float) -> None:
        """Record that a run is complete: it has a result for each user of the plan. `now` is a Unix time."""
        self._tables.write((ENDED, [(self._plan, run, now)]))

    def all(self, *, since: float = 0.0) -> set[str]:
        """Return the IDs of the plan's runs. Leave out runs that began before the Unix time `since`."""
        rows = self._tables.select(
            "select run from rollout_runs where plan = $1 and at >= $2", (self._plan, since), types="run"
        )
        return {run for (run,) in rows}


def runs_of_all_plans(tables: Tables) -> set[str]:
    """Return the IDs of the runs of all plans."""
    return {run for (run,) in tables.select("select run from rollout_runs", types="run")}


def progress_of_plans(tables: Tables, plans: Sequence[str]) -> dict[str, PlanProgress]:
    """Return the progress of each plan that has a run in the ledger. `plans` are digests of the plans' files."""
    if not plans:
        return {}
    rows = tables.select(_of_plans(PROGRESS, plans), plans, types="text time? time? integer integer time?")
    return {
        plan: PlanProgress(
            made=device_count,
            failed=failed,
            complete=ended is not None and (incomplete_at or 0.0) <= ended,
            unfinished_since=unfinished_since,
        )
        for plan, incomplete_at, ended, device_count, failed, unfinished_since in rows
    }


def causes_of_failures(tables: Tables, plans: Sequence[str]) -> dict[str, int]:
    """Return for how many users of these plans each cause is the last failure, the most frequent cause first."""
    return dict(tables.select(_of_plans(CAUSES, plans), plans, types="text integer")) if plans else {}


def created_since(tables: Tables, plans: Sequence[str], since: float) -> int:
    """Return how many devices the runs of these plans created since a Unix time."""
    [(number,)] = tables.select(_of_plans(CREATED, plans, first=2), (since, *plans), types="integer")
    return int(number)


def _of_plans(sql: str, plans: Sequence[str], *, first: int = 1) -> str:
    """Return a statement with a parameter for each plan. `first` is the number of the first of these parameters."""
    return sql.format(", ".join(f"${number}" for number in range(first, len(plans) + first)))


FAILED = """
    insert into failures (plan, "user", at, cause, reason) values ($1, $2, $3, $4, $5)
    on conflict (plan, "user") do update set at = excluded.at, cause = excluded.cause, reason = excluded.reason
"""
FORGOTTEN = """update failures set cause = '', reason = '' where plan = $1 and "user" = $2"""
SINCE = """select "user", cause, reason from failures where plan = $1 and at >= $2 and cause <> ''"""


class Failures:
    """Stores the last failed enrollment of each user of a rollout plan. `plan` is the digest of the plan's file."""

    def __init__(self, tables: Tables, *, plan: str) -> None:
        self._tables, self._plan = tables, plan

    def record(self, failure: Failure, *, now: float) -> None:
        """Record a user's failure at a Unix time. It replaces the user's previous failure."""
        self._tables.write((FAILED, [(self._plan, failure.user, now, failure.cause, failure.reason)]))

    def forget(self, user: str) -> None:
        """Forget a user's failure, because a later run has enrolled the user.

        The row is emptied instead of deleted, because in PostgreSQL, only the ledger's owner may delete it.
        """
        self._tables.write((FORGOTTEN, [(self._plan, user)]))

    def by_user(self, *, since: float = 0.0) -> dict[str, Failure]:
        """Return the last failure of each user, by user name, without failures before the Unix time `since`."""
        rows = self._tables.select(SINCE, (self._plan, since), types="text text text")
        return {user: Failure(user=user, cause=cause, reason=reason) for user, cause, reason in rows}


# In the ledger, the names of the users' own copies of backups begin with this text.
OWN = "users/"
# Selects the computer that made each device: the computer that recorded the device's first row. Later rows can be from
# a computer that settled (completed or undid) the run.
MAKERS = "select distinct on (run, serial) run, serial, computer from transitions order by run, serial, id"
DEVICES = f"select run, serial, computer from ({MAKERS}) as made where $1::text[] is null or run = any($1)"  # noqa: S608
# Selects the team whose rows the session's role sees. Selects nothing if the role sees the rows of all teams.
TEAM = """
    select my_team() where not is_auditor()
        and not (select rolsuper or rolbypassrls from pg_roles where rolname = session_user)
"""
TOKENS = "select serial, computer from tokens"
BACKUPS = "select distinct on (backup) backup, computer from seals order by backup, since, recorded"
DRILLS = "select distinct on (backup) backup, computer from drills where result = 'proved' order by backup, at desc"
FAILURES = """select "user", computer from failures where plan = $1 and cause <> ''"""
# Selects the devices in the journal, oldest first, with the names of the key or token that stores the secret. The user
# is null if the device is not enabled yet, or was revoked.
HARDWARE = f"""
    select intent ->> 'hardware', intent ->> 'card', serial, made.computer,
        case when reached in ('enabled', 'confirmed', 'revoking') then intent ->> 'user' end
    from journal join ({MAKERS}) as made using (run, serial)
    where reached not in ('intent', 'undone') order by at, run
"""  # noqa: S608 - our own statement


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldKey:
    """A device of a user, as `computer` recorded it, with the names of the key or token that stores its secret.

    `names` are the serial or label of the key or token, the identity of its OATH applet, and the serial of the device
    in IAM.
    """

    names: tuple[str, ...]
    user: str
    computer: str


@dataclass(frozen=True, slots=True)
class Computers:
    """Reads which computer recorded which row. If the ledger is not shared, every result is empty or None."""

    tables: Tables

    @property
    def shared(self) -> bool:
        """Whether several computers share the ledger."""
        return self.tables.shared

    def team(self) -> str | None:
        """Return the team whose rows this role sees, or "" if the role is in no team.

        Return None if the role sees the rows of all teams, or if the ledger is not shared.
        """
        return next((team for (team,) in self._select(TEAM, types="text")), None)

    def recorders(self) -> Recorders | None:
        """Return the computers that made devices and tested backups. Return None if the ledger is not shared."""
        computer = next((name for (name,) in self._select("select my_computer()", types="text")), None)
        return (
            None if computer is None else Recorders(here=computer, devices=self.of_devices(), drills=self.of_drills())
        )

    def of_devices(self, runs: Collection[str] | None = None) -> dict[tuple[str, str], str]:
        """Return the computer that made each device, by run and serial. If `runs` is None, include all runs."""
        rows = self._select(DEVICES, (None if runs is None else [*runs],), types="text text text")
        return {(run, serial): computer for run, serial, computer in rows}

    def of_tokens(self) -> dict[str, str] | None:
        """Return the computer that last imported or tested each token, by serial."""
        return dict(self._select(TOKENS, types="text text")) if self.shared else None

    def of_backups(self) -> dict[str, str] | None:
        """Return the computer that first recorded the recipients of each backup, by the backup's name."""
        rows = self._select(BACKUPS, types="text text")
        return {name.removeprefix(OWN): computer for name, computer in rows} if self.shared else None

    def of_drills(self) -> dict[str, str]:
        """Return the computer on which each backup last passed a test, by the backup's name."""
        return dict(self._select(DRILLS, types="text text"))

    def of_failures(self, plan: str) -> dict[str, str]:
        """Return the computer on which each user's enrollment last failed. `plan` is the digest of the plan's file."""
        return dict(self._select(FAILURES, (plan,), types="text text"))

    def held_keys(self) -> list[HeldKey]:
        """Return the devices that users have, with the names of their keys and tokens, oldest device first."""
        rows = self.tables.select(HARDWARE, types="text? text? text text text?") if self.shared else []
        last = {
            serial: (tuple(filter(None, (hardware, card, serial))), user, computer)
            for hardware, card, serial, computer, user in rows
        }
        return [HeldKey(names=names, user=user, computer=computer) for names, user, computer in last.values() if user]

    def _select(self, sql: str, values: Sequence[object] = (), *, types: str) -> list[SqlRow]:
        return self.tables.select(sql, values, types=types) if self.tables.shared else []
