"""The ledger's records about backups and rollouts.

A backup has records of who can decrypt it, and when it was tested. When it is encrypted again without one of its
recipients, that recipient stays on record, because copies of the old file may still exist. The copy that only the user
can decrypt has records of its own. A rollout plan has its runs and the users who failed. Only
a shared ledger also says which computer recorded which row.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mfa_kit.adapters.ledger.ledger import OPEN
from mfa_kit.adapters.ledger.tables import SqlRow, Tables
from mfa_kit.core.device_records import DeviceState, RecordedRun, RecordedState
from mfa_kit.core.models import Recorders, Seal, backup_name
from mfa_kit.rollout.watching import Failure, PlanProgress

BEGUN = "insert into rollout_runs (plan, run, at) values ($1, $2, $3)"
ENDED = "update rollout_runs set ended = $3 where plan = $1 and run = $2"
# Selects for each plan when its last incomplete run and its last complete run began, how many devices its runs staged
# or enabled, and since when its oldest unfinished device has not advanced. In this statement and the next two, `{}`
# stands for the list of plans.
PROGRESS = f"""
    select r.plan, max(case when r.ended is null then r.at end), max(case when r.ended is not null then r.at end),
        (select count(*) from journal j join rollout_runs m on m.run = j.run
            where m.plan = r.plan and j.verb = 'enroll' and j.reached in ('staged', 'enabled', 'confirmed')),
        (select min(j.at) from journal j join rollout_runs m on m.run = j.run where m.plan = r.plan and j.{OPEN})
    from rollout_runs r where r.plan in ({{}}) group by r.plan
"""  # noqa: S608 - our own names
CAUSES = "select plan, cause, count(*) from failures where cause <> '' and plan in ({}) group by plan, cause"
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


def runs_of_all_plans(tables: Tables) -> dict[str, str]:
    """Return the digest of the plan's file of each run of all plans, by the ID of the run."""
    return dict(tables.select("select run, plan from rollout_runs", types="run text"))


def progress_of_plans(tables: Tables, plans: Sequence[str]) -> dict[str, PlanProgress]:
    """Return the progress of each plan that has a run in the ledger. `plans` are digests of the plans' files."""
    if not plans:
        return {}
    causes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for plan, cause, number in tables.select(_of_plans(CAUSES, plans), plans, types="text text integer"):
        causes[plan][cause] = number
    rows = tables.select(_of_plans(PROGRESS, plans), plans, types="text time? time? integer time?")
    return {
        plan: PlanProgress(
            made=device_count,
            causes=causes[plan],
            complete=ended is not None and (incomplete_at or 0.0) <= ended,
            unfinished_since=unfinished_since,
        )
        for plan, incomplete_at, ended, device_count, unfinished_since in rows
    }


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
    """Stores the last failed enrollment of each row of a rollout plan. `plan` is the digest of the plan's file.

    The column `user` has what identifies the row: the user, or `USER/NAME` for a further device.
    """

    def __init__(self, tables: Tables, *, plan: str) -> None:
        self._tables, self._plan = tables, plan

    def record(self, failure: Failure, *, now: float) -> None:
        """Record a row's failure at a Unix time. It replaces the row's previous failure."""
        self._tables.write((FAILED, [(self._plan, failure.key, now, failure.cause, failure.reason)]))

    def forget(self, key: str) -> None:
        """Forget a row's failure, because a later run has made its device.

        The row is emptied instead of deleted, because in PostgreSQL, only the ledger's owner may delete it.
        """
        self._tables.write((FORGOTTEN, [(self._plan, key)]))

    def by_row(self, *, since: float = 0.0) -> dict[str, Failure]:
        """Return the last failure of each row, by its key, without failures before the Unix time `since`."""
        rows = self._tables.select(SINCE, (self._plan, since), types="text text text")
        return {key: Failure(key=key, cause=cause, reason=reason) for key, cause, reason in rows}


STATE = """
    insert into device_states (at, plan, run, serial, "user", state, how) values ($1, $2, $3, $4, $5, $6, $7)
"""
STATES = 'select at, plan, run, {}, serial, "user", state, how from device_states order by id'


class DeviceStates:
    """Stores the states of devices that IAM cannot report. Each computer of a shared ledger reads those of its team."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def record(self, *states: RecordedState) -> None:
        """Record states, all of them or none."""
        rows = [
            (state.at, state.run.plan, state.run.id, state.serial, state.user, state.state, state.how)
            for state in states
        ]
        self._tables.write((STATE, rows))

    def all(self) -> list[RecordedState]:
        """Return all states, in the order in which they were recorded."""
        sql = STATES.format("computer" if self._tables.shared else "''")
        return [
            RecordedState(
                run=RecordedRun(id=run, plan=plan, computer=computer),
                at=at,
                serial=serial,
                user=user,
                state=DeviceState(state),
                how=how,
            )
            for at, plan, run, computer, serial, user, state, how in self._tables.select(
                sql, types="time text run text text text state text"
            )
        ]


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


SEAL = """
    insert into seals (backup, recipient, since) select $1, $2, cast($3 as double precision)
    where not exists (select 1 from seals where backup = $1 and recipient = $2 and until is null)
"""
HASH = """
    insert into hashes (backup, sha256, since, replaces) select $1, $2, cast($3 as double precision), $4
    where not exists (select 1 from hashes where backup = $1 and sha256 = $2)
"""
# A hash is replaced if the file with another current hash replaced it.
REPLACED = """
    update hashes set until = $1 where backup = $2 and until is null
        and sha256 in (select replaces from hashes where backup = $2 and until is null)
"""
WITHDRAW = "delete from seals where backup = $1 and since = $2"
# In a shared ledger, no role may delete rows itself, because it could then also lock the table.
WITHDRAW_SHARED = "select withdraw($1, $2)"
# In this statement, `$3` and the later parameters are the recipients that remain.
LEAVE_OUT = "update seals set until = $1 where backup = $2 and until is null and recipient not in ({})"
CONFIRMED = "select distinct serial from journal where reached = 'confirmed'"
OPENED = "select file, max(at) from events where operation = 'OpenBackup' and answer = 'OK' group by file"
REMOVED = "select distinct file from events where operation = 'RemoveBackup' and answer = 'OK'"
WRITTEN = "select distinct backup from seals"
WRITTEN_HERE = f"select backup from ({BACKUPS}) as written where computer = my_computer()"  # noqa: S608 - our own
USERS = """
    select intent ->> 'account', intent ->> 'name', run, intent ->> 'user' from journal
    where intent ->> 'user' is not null
"""
DRILL = "insert into drills (at, backup, result) values ($1, $2, $3)"


class BackupRecords:
    """Records the recipients and the tests of backups. New records get the time `now`, in Unix seconds."""

    def __init__(self, tables: Tables, *, now: float) -> None:
        self._tables, self._now = tables, now

    @property
    def computers(self) -> Computers:
        """An object that reads which computer recorded which row of the ledger."""
        return Computers(self._tables)

    def record_sealed(
        self,
        backups: Collection[str],
        recipients: Sequence[str],
        *,
        own: str | None = None,
        hashes: Mapping[str, str] | None = None,
        in_run: bool = False,
    ) -> None:
        """Record that these recipients can decrypt the backups. The backup files need not exist yet.

        `own` is the public key of the backups' user, to which a separate copy of each backup is encrypted. `hashes` has
        the SHA-256 of each file that will be written, by its `recorded_name`. With `in_run`, a power cut can lose these
        records until the next record of the run's progress.
        """
        rows = [(backup, recipient, self._now) for backup in backups for recipient in recipients]
        rows += [(OWN + backup, own, self._now) for backup in backups if own]
        write = self._tables.write_in_run if in_run else self._tables.write
        write((SEAL, rows), (HASH, [(file, sha256, self._now, None) for file, sha256 in (hashes or {}).items()]))

    def withdraw_sealed(self, backups: Iterable[str]) -> None:
        """Remove the records that this object added with `record_sealed` for these backups.

        The records of the users' own copies remain.
        """
        sql = WITHDRAW_SHARED if self._tables.shared else WITHDRAW
        self._tables.write((sql, [(backup, self._now) for backup in backups]))

    def record_only(self, backups: Iterable[str], recipients: Sequence[str]) -> None:
        """Record that from now on only these recipients can decrypt the backups, and that the old files are gone."""
        sql = LEAVE_OUT.format(", ".join(f"${number}" for number in range(3, len(recipients) + 3)))
        self._tables.write(
            (sql, [(self._now, backup, *recipients) for backup in backups]),
            (REPLACED, [(self._now, backup) for backup in backups]),
        )

    def record_replacement(self, backup: str, old: str, new: str) -> None:
        """Record the SHA-256 of a backup's old file, and of the new file that will replace it.

        Both are current until `record_only` is called for the backup.
        """
        self._tables.write((HASH, [(backup, old, self._now, None), (backup, new, self._now, old)]))

    def hashes(self) -> dict[str, set[str]]:
        """Return the SHA-256 of each file that a backup may have at present, by its `recorded_name`.

        There are several if copies of the backup in other folders were encrypted again.
        """
        hashes: dict[str, set[str]] = {}
        for backup, sha256, until in self._tables.select(
            "select backup, sha256, until from hashes", types="text text time?"
        ):
            hashes.setdefault(backup, set()).update((sha256,) if until is None else ())
        return hashes

    def seals(self) -> list[Seal]:
        """Return a Seal for each recipient that a backup has or had according to the ledger.

        A Seal has the period in which a backup was encrypted to a recipient. The result is sorted by backup and
        recipient.
        """
        rows = self._tables.select(
            "select backup, recipient, since, until from seals order by backup, recipient", types="text text time time?"
        )
        return [
            Seal(backup=name.removeprefix(OWN), recipient=to, since=since, until=until, own=name.startswith(OWN))
            for name, to, since, until in rows
        ]

    def record_drill(self, backup: str, result: str) -> None:
        """Record the result of a test of a backup. `backup` is the name of its file, and `result` a value of Drill."""
        self._tables.write((DRILL, [(self._now, backup, result)]))

    def drills(self) -> dict[str, float]:
        """Return when each backup last passed a test, in Unix seconds. The keys are names of backup files."""
        sql = "select backup, max(at) from drills where result = 'proved' group by backup"
        return dict(self._tables.select(sql, types="text time"))

    def makers(self) -> dict[tuple[str, str], str]:
        """Return the computer that made each device, by run and serial.

        The result is empty if the ledger is not shared.
        """
        return self.computers.of_devices()

    def confirmed_devices(self) -> set[str]:
        """Return the serials of the devices with a confirmed journal entry.

        mfa-kit confirms an entry after it has created the device or its backup, and then found the device in IAM.
        """
        return {serial for (serial,) in self._tables.select(CONFIRMED, types="text")}

    def last_opened(self) -> dict[str, float]:
        """Return when each backup was last decrypted, in Unix seconds. The keys are names of backup files."""
        return {
            Path(file).name: opened_at for file, opened_at in self._tables.select(OPENED, types="text? time") if file
        }

    def gone(self) -> set[str]:
        """Return the paths of the backups whose device no longer exists, according to the journal.

        The device was revoked, or its enrollment was undone.
        """
        rows = self._tables.select("select backup from journal where reached in ('undone', 'revoked')", types="text?")
        return {backup for (backup,) in rows if backup}

    def written(self, *, here: bool) -> set[str]:
        """Return the names of the backups whose recipients are on record.

        With `here`, leave out those that other computers recorded in a shared ledger.
        """
        rows = self._tables.select(WRITTEN_HERE if here and self._tables.shared else WRITTEN, types="text")
        return {name.removeprefix(OWN) for (name,) in rows}

    def removed(self) -> set[str]:
        """Return the names of the backups that were removed because their device or user is gone."""
        return {backup_name(Path(file)) for (file,) in self._tables.select(REMOVED, types="text?") if file}

    def users(self) -> dict[tuple[str, str, str], set[str]]:
        """Return the users of all devices in the journal, by the account, the name of the device and the run."""
        users: dict[tuple[str, str, str], set[str]] = {}
        for account, device, run, user in self._tables.select(USERS, types="text? text? text text?"):
            users.setdefault((account, device, run), set()).add(user)
        return users

    def losses(self, account: str | None, devices: Collection[str]) -> list[str]:
        """Return the IDs of the runs that reported one of these devices of an account as lost.

        `devices` has device names. If `account` is None, return the runs of all accounts.
        """
        rows = self._tables.select(
            "select run, intent ->> 'name' from journal where verb = 'lost' and $1 in (intent ->> 'account', '')",
            (account or "",),
            types="text text?",
        )
        return [run for run, name in rows if name in devices]

    def path(self, run: str, device: str) -> str:
        """Return the IAM path of a device that a run created, or `/` if it is unknown.

        The path is part of the credential's name on an OATH key.
        """
        rows = self._tables.select(
            "select intent ->> 'path' from journal where run = $1 and intent ->> 'name' = $2",
            (run, device),
            types="text?",
        )
        return str(rows[0][0] or "/") if rows else "/"
