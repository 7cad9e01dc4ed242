"""`mfa-kit ledger`: what mfa-kit did, the ledger in PostgreSQL, and whether the ledger agrees with IAM."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mfa_kit import wiring
from mfa_kit.account.reconciling import Recorded, reconcile
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import BACKUP_DIR, RECORD, without_copies
from mfa_kit.cli.options import Verb
from mfa_kit.cli.value_types import Age, LocalPath, Moment
from mfa_kit.cli.visits import AccountRows, RowsForm, exit_code, print_rows
from mfa_kit.core.device_records import NO_RECORDS, RunRecords
from mfa_kit.core.errors import NoSuchEntity, UsageFault
from mfa_kit.core.interaction import LiveProgress, counting
from mfa_kit.core.message import suggest
from mfa_kit.core.models import Backup, BackupLocation, Device, DeviceType, RunTag
from mfa_kit.core.text import ResultRow, age_text, iso_time
from mfa_kit.rollout.proven_devices import adopt_devices, runs_of_devices

if TYPE_CHECKING:
    from mfa_kit.account.reading import MapEach
    from mfa_kit.cli.output import Output
    from mfa_kit.enrollment.ports import IamReader
    from mfa_kit.organization.accounts import AccountsChoice, OrgAccount
    from mfa_kit.wiring.settings import Settings

T = TypeVar("T")

USER = click.option("--user", metavar="NAME", help="Only show this user.")
SINCE = click.option(
    "--since", type=Moment(), default=0.0, help="Start time, such as 2026-11-25, or 7d for the last 7 days."
)


def history_rows(settings: Settings, user: str | None, since: float) -> list[ResultRow]:
    """Return a row for each event of a user, or of all users if `user` is None, oldest first.

    `since` is the Unix time at which the list begins. The field `at` is ISO 8601 in UTC. Only the rows of a shared
    ledger have the field `computer`.
    """
    shared = settings.ledger is not None
    rows = ({**asdict(event), "at": iso_time(event.at)} for event in wiring.ledger.history(settings, user, since))
    return [{name: cell for name, cell in row.items() if shared or name != "computer"} for row in rows]


@click.command("show", cls=Verb)
@USER
@SINCE
def show_ledger(*, user: str | None, since: float, settings: Settings, output: Output) -> None:
    """Show calls to AWS, uses of backups, and the progress of each run."""
    output.many(
        "ledger",
        history_rows(settings, user, since),
        empty="no entries",
        narrow=("at", "what", "answer", "user", "device", "computer"),
    )


@click.command(cls=Verb)
@USER
@SINCE
def export(*, user: str | None, since: float, settings: Settings, output: Output) -> None:
    """Print the ledger as JSON Lines. For a call to AWS, `reference` is its requestID in CloudTrail."""
    output._replace(form="jsonl").many("ledger", history_rows(settings, user, since), empty="")


class UnfinishedFor(Age):
    """A parameter type: `unfinished=AGE`, converted to the age in seconds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the age. Raise UsageFault for any other text."""
        condition, _, age = str(value).partition("=")
        if condition != "unfinished":
            raise UsageFault(f"{value!r} is not a condition", "write unfinished=1h")
        return super().convert(age, param, ctx)


@click.command("status", cls=Verb)
@click.option(
    "--fail-on",
    type=UnfinishedFor(),
    metavar="unfinished=AGE",
    help="Exit with 1 if an unfinished run has not advanced for this long, such as unfinished=1h.",
)
def ledger_status(*, fail_on: float | None, settings: Settings, output: Output) -> int:
    """Show the state of the ledger. In PostgreSQL, also show the server and your database role."""
    state = wiring.ledger.ledger_state(settings)
    age = state.oldest_unfinished_s
    output.one("ledger-status", {**asdict(state), "now": iso_time(state.now)})
    if age is None or fail_on is None or age < fail_on:
        return 0
    settings.progress.alert(f"an unfinished run has not advanced for {age_text(age)}")
    settings.progress.alert(suggest("  try: see it, and settle it if its process has ended", "orphans list"))
    return 1


@click.command("init", cls=Verb, acts_at_once=True)
@click.option(
    "--grace",
    type=Age(),
    metavar="AGE",
    help="How long a run stays reserved for its computer after the database server restarts [60s].",
)
def init_ledger(*, grace: float | None, settings: Settings, output: Output) -> None:
    """Create the ledger in a PostgreSQL database. Your database role becomes the owner.

    If the ledger exists, it is brought up to date.
    """
    output.one("ledger-init", {"applied": wiring.ledger.owned_ledger(settings).create(grace=grace)})


@click.command(cls=Verb, acts_at_once=True)
def migrate(*, settings: Settings, output: Output) -> None:
    """Bring the ledger in PostgreSQL up to date with this version of mfa-kit. Only the ledger's owner can do this."""
    output.one("ledger-migrate", {"applied": wiring.ledger.owned_ledger(settings).migrate()})


@click.command("copy", cls=Verb, acts_at_once=True)
@click.option(
    "--from", "folder", type=LocalPath(), metavar="DIR", help="Copy the ledger in this folder, not this computer's own."
)
def copy_ledger(*, folder: Path | None, settings: Settings, output: Output) -> None:
    """Copy a computer's ledger to PostgreSQL. Your database role must own the ledger there.

    Rows that were copied before are not copied again. The times of rows are kept. The ledger on the computer is not
    changed.
    """
    output.one("ledger-copy", dict(wiring.ledger.copy_ledger(settings, folder)))


@click.command(cls=Verb)
@click.option(
    "--desk", "desks", multiple=True, metavar="ROLE=TEAM", help="A role that enrolls users, and its team. Repeatable."
)
@click.option("--auditor", "auditors", multiple=True, metavar="ROLE", help="A role that reads everything. Repeatable.")
@click.option(
    "--owner", metavar="ROLE", help="A role that becomes the owner of the ledger.  [default: the owner remains]"
)
def grants(*, desks: tuple[str, ...], auditors: tuple[str, ...], owner: str | None, output: Output) -> None:
    """Print the SQL that gives roles their privileges in the ledger. mfa-kit does not run it.

    A role given with --desk can read and write only its own team's rows, and cannot change or delete the log. The roles
    must exist.
    """
    members = [_role_and_team(ports) for ports in desks]
    teams = dict(members)
    if len(teams) < len({*members}):
        raise UsageFault("a role of --desk has two teams", "use one role for each team")
    if common_roles := teams.keys() & {*auditors}:
        raise UsageFault(f"role {min(common_roles)} is given with both --desk and --auditor", "use two roles")
    if not all(auditors):
        raise UsageFault("--auditor does not name a role", "write --auditor ROLE")
    if owner == "":
        raise UsageFault("--owner does not name a role", "write --owner ROLE")
    text = wiring.ledger.grants(teams, auditors, owner=owner)
    if output.form == "table":
        output.text(text)
    else:
        output.one("ledger-grants", {"sql": text})


def _role_and_team(text: str) -> tuple[str, str]:
    role, _, team = text.partition("=")
    if not role or not team:
        raise UsageFault(f"--desk {text!r} does not name a role and a team", "write --desk ROLE=TEAM")
    return role, team


FORM = RowsForm(
    "ledger-reconcile",
    fields=("difference", "user", "device", "run", "file", "detail"),
    narrow=("difference", "user", "device", "run", "file"),
    narrow_in_many=("difference", "user", "device"),
    empty="the ledger agrees with IAM and the backups",
)


@click.command("reconcile", cls=Verb)
@BACKUP_DIR
@RECORD
@click.option("--adopt", is_flag=True, help="Write what the records of runs prove into the ledger.")
@account_options(results=False)
def reconcile_ledger(
    *,
    backup_dir: BackupLocation | None,
    record: RunRecords,
    adopt: bool,
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """Compare the ledger with the devices in IAM, their tags, and the backups.

    Use this after the ledger was lost, or an old one was restored. Without --adopt, nothing is changed. The exit code
    is 1 if there are differences. Virtual devices without the tags of mfa-kit need not be in the ledger.
    """
    if adopt and not record.runs:
        raise UsageFault("--adopt needs the records of the runs", "name the folders with the results: --record DIR")
    # A backup's recipients are recorded before the backup is written. Because the backups are listed first, a backup
    # that is written meanwhile is not reported as missing from the ledger.
    stored, missing = wiring.backups.stored_and_missing(settings, backup_dir, own=True, record=record)
    backups = without_copies(stored)
    store = wiring.stores.open_backup_store(settings, backup_dir)
    with wiring.organization.open_organization(settings, accounts) as organization:
        ledger = organization.ledger
        if adopt and not settings.dry_run:
            wiring.rollout.record_lost_hashes(ledger, record)
            wiring.rollout.record_lost_states(ledger, record)

        def read(account: OrgAccount) -> AccountRows:
            opened = organization.enter(account)
            ports = wiring.ports.enrollment_ports(settings, iam=opened.iam, ledger=ledger, store=store)
            before = ports.journal.entries(account.id)
            devices, tagged = _read_devices(ports.iam_reader, organization.within, settings.progress)
            adopted = record if adopt else NO_RECORDS
            lines = adopt_devices(account.id, devices=devices, tagged=tagged, record=adopted, ports=ports)
            sealed = wiring.backups.record_lines(ledger, lines)
            if not settings.dry_run:
                serials = {device.serial for device in devices}
                wiring.rollout.record_lost_runs(ledger, runs_of_devices(serials, tagged, adopted))
            differences = reconcile(
                Recorded(entries=ports.journal.entries(account.id), before=before, backups=sealed),
                devices=devices,
                tagged=tagged,
                backups=_in_account(account.id, backups),
                missing=_in_account(account.id, missing),
                lives=ports.journal.lives,
            )
            return AccountRows([asdict(difference) for difference in differences])

        visits = print_rows(organization, read, FORM, progress=settings.progress, output=output)
    return exit_code(visits, findings=any(visit.found and visit.found.rows for visit in visits))


def _in_account(account: str, backups: Iterable[Backup]) -> list[Backup]:
    return [backup for backup in backups if backup.account == account]


def _read_devices(
    iam_reader: IamReader, within: MapEach, progress: LiveProgress
) -> tuple[list[Device], Mapping[str, str | RunTag]]:
    """Return all devices of the account, and a mapping from the serial of each virtual device to the run in its tags.

    Raise AccessDenied if the caller may not read tags. Without tags, devices of unknown runs would be missed.
    """

    def counted(doing: str, act: Callable[[str], T], names: Sequence[str]) -> list[T]:
        with counting(progress, doing, within(act, names), len(names)) as results:
            return [*results]

    def read(user: str) -> list[Device]:
        try:
            return iam_reader.devices(user)
        except NoSuchEntity:  # the user was deleted meanwhile
            return []

    def read_run(serial: str) -> str | RunTag:
        run = iam_reader.run_of(serial)
        # run_of also returns UNTAGGED if the caller may not read tags. Then inventory.tags raises AccessDenied.
        if run is RunTag.UNTAGGED:
            with suppress(NoSuchEntity):
                iam_reader.tags(serial)
        return run

    users = iam_reader.users()
    devices = [device for of_user in counted("reading users", read, users) for device in of_user]
    devices += [Device(serial=serial, user=None) for serial in iam_reader.unassigned()]
    virtual = [device.serial for device in devices if device.type is DeviceType.VIRTUAL]
    return devices, dict(zip(virtual, counted("reading tags", read_run, virtual), strict=True))
