"""`mfa-kit status`: list users and their MFA devices, including users without a device."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.account.last_use import LastUse, LastUses, coverage_of
from mfa_kit.account.reading import AccountSource, read_user_devices
from mfa_kit.account.snapshot import AccountUsage, Snapshot, SnapshotPart, unread_parts
from mfa_kit.account.users import AccountUser, account_users
from mfa_kit.backups.drill import drill_due
from mfa_kit.cli import options
from mfa_kit.cli.account_options import MAX_AGE, account_options
from mfa_kit.cli.backup_options import BACKUP_DIR, DRILLED_WITHIN
from mfa_kit.cli.messages import counting
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.value_types import Number
from mfa_kit.cli.visits import AccountRows, RowsForm, exit_code, print_rows
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.core.message import suggest
from mfa_kit.core.models import BackupLocation, Caller, Device, Recorders, backup_name
from mfa_kit.core.recorded_keys import FACTS, KeyOfDevice, KeysOfDevices
from mfa_kit.core.text import age_text, iso_time
from mfa_kit.enrollment import device_status as use_case
from mfa_kit.enrollment.planning import resolve_user
from mfa_kit.enrollment.ports import EnrollmentPorts
from mfa_kit.organization.accounts import AccountsChoice, OrgAccount
from mfa_kit.organization.across import VisitState
from mfa_kit.wiring.settings import Settings

# The cells about the last use of a device. A table has only the first.
USE_FIELDS = ("last_used", "last_used_at", "no_use_since", "use_from_files", "uses_read")
FORM = RowsForm(
    "status",
    fields=("user", "kind", "device", "since", *USE_FIELDS),
    narrow=("user", "kind", "device", "since", "last_used", "key", "drill_due", "computer"),
    narrow_in_many=("user", "kind", "device", "since", "last_used", "key"),
    empty="these accounts have no users",
    schema_in_many="status-account",
)


@click.command(cls=options.Verb)
@click.argument("user", required=False)
@click.option(
    "--each-user",
    is_flag=True,
    help="Ask IAM about each user and each device, instead of using IAM's lists and the credential report.",
)
@MAX_AGE
@BACKUP_DIR
@DRILLED_WITHIN
@click.option(
    "--key",
    "key_name",
    metavar="SERIAL|LABEL",
    help="List the devices on this key, in all accounts, from the ledger. AWS is not asked.",
)
@click.option(
    "--unused",
    type=Number(),
    metavar="DAYS",
    help="Only devices that were not used for DAYS days, according to what `usage update` has read.",
)
@account_options(results=False, in_one=("user", "each_user", "backup_dir", "key_name"))
def status(
    *,
    user: str | None,
    each_user: bool,
    max_age: float,
    backup_dir: BackupLocation | None,
    drilled_within: float,
    key_name: str | None,
    unused: float | None,
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """List the MFA devices of USER or of all users: kind, date, last use, key, origin, backup, and its last test.

    With several accounts, list only the kind, the date, the last use and the key of each device. No event is read: to
    read when devices were last used, run `mfa-kit usage update`.
    """
    if key_name is not None:
        if user:
            raise UsageFault("--key lists the devices of all users", "leave out USER or --key")
        return _print_devices_on_key(key_name, settings, output)
    source = wiring.audit.SnapshotSource(file=None, max_age=max_age)
    with wiring.organization.open_organization(settings, accounts) as organization:
        keys = KeysOfDevices.of(wiring.ledger.recorded_keys(organization.ledger))
        coverages: list[LastUses] = []
        describe = partial(DeviceCells, keys=keys, unused=unused, details=output.form != "table")

        def read(account: OrgAccount) -> AccountRows:
            if accounts:
                snapshot = wiring.audit.take_snapshot(settings, organization, account, source)
                cells = describe(account=account.id, uses=LastUses(snapshot.usage or AccountUsage(), now=snapshot.at))
                coverages.append(cells.uses)
                return AccountRows(
                    _snapshot_rows(snapshot, cells), unread_parts(snapshot, SnapshotPart.DETAILS, SnapshotPart.USAGE)
                )
            opened, store = organization.enter(account), wiring.stores.open_backup_store(settings, backup_dir)
            ports = wiring.ports.enrollment_ports(settings, iam=opened.iam, ledger=organization.ledger, store=store)
            if user or each_user:
                statuses = _ask_each_user(user, opened.caller, organization, ports, settings.progress)
            else:
                account_source = wiring.audit.account_source(opened.iam)
                statuses = _read_lists(account_source, organization, ports, settings.progress, max_age=max_age)
            usage = wiring.ledger.usage_records(organization.ledger).usage(account.id)
            cells = describe(account=account.id, uses=LastUses(usage, now=opened.iam.now()))
            statuses = [status for status in statuses if cells.are_listed(status.device)]
            coverages.append(cells.uses)
            return AccountRows(_backup_rows(statuses, cells, organization, settings, drilled_within=drilled_within))

        empty = _no_rows(None if accounts else organization.home_account, unused)
        form = FORM._replace(empty=empty, fields=(*FORM.fields, *_key_cells(None, details=output.form != "table")))
        visits = print_rows(organization, read, form, progress=settings.progress, output=output)
    _note_coverage(coverages, settings.progress, must_say=unused is not None)
    return exit_code(visits, findings=any(visit.state is VisitState.PARTLY for visit in visits))


def _note_coverage(accounts: Sequence[LastUses], progress: LiveProgress, *, must_say: bool) -> None:
    """Print how far the events were read, if any were or with `must_say`."""
    if must_say or any(uses.is_known for uses in accounts):
        progress.note(suggest(f"last uses: {coverage_of(accounts)}; to read new ones", "usage update"))


def _no_rows(account: str | None, unused: float | None) -> str:
    """Return the text to print instead of a table without rows. `account` is None for several accounts."""
    if unused is not None:
        return f"no device is unused for {unused:g} days"
    return f"account {account} has no users" if account else FORM.empty


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCells:
    """Makes the cells of an account's devices, with what the ledger knows about their keys and their uses.

    `unused` is the value of --unused in days. With `details`, there are also the cells that only JSON and CSV have.
    """

    account: str
    keys: KeysOfDevices
    uses: LastUses
    unused: float | None
    details: bool

    def of(self, user: str, device: Device | None, *, user_id: str = "", without: str = "none") -> ResultRow:
        """Return the cells of a device, or those of a user without a device. `without` is then the kind."""
        cells: ResultRow = {
            "user": user,
            "kind": device.type if device else without,
            "device": device.serial if device else None,
            "since": _iso(device.since) if device else None,
        }
        last = self.uses.of(device, user_id=user_id) if device and self.uses.is_known else None
        return {**cells, **self._of_use(last)}

    def _of_use(self, last: LastUse | None) -> ResultRow:
        """Return the cells of the last use of a device; all None if no events were read, or without a device."""
        if last is None or not self.details:
            return dict.fromkeys(USE_FIELDS) | {"last_used": last.text if last else None}
        return {
            "last_used": last.text,
            "last_used_at": _iso(last.at),
            "no_use_since": _iso(last.unseen_since),
            "use_from_files": last.from_files,
            "uses_read": self.uses.coverage,
        }

    def of_key(self, user: str, device: Device | None) -> ResultRow:
        """Return the cells of the key that a device is on."""
        key = self.keys.find(self.account, replace(device, user=user)) if device else None
        return _key_cells(key, details=self.details)

    def are_listed(self, device: Device | None, *, user_id: str = "") -> bool:
        """Return whether --unused lists a device, or True without the option.

        A device is also listed if it is unknown whether it was used.
        """
        if self.unused is None:
            return True
        if device is None:
            return False
        return self.uses.of(device, user_id=user_id).is_unused(self.unused, now=self.uses.now) is not False


def _iso(time: float | None) -> str | None:
    return None if time is None else iso_time(time)


def _snapshot_rows(snapshot: Snapshot, cells: DeviceCells) -> list[ResultRow]:
    return [
        {**cells.of(name, device, user_id=user_id, without=without), **cells.of_key(name, device)}
        for name, user_id, device, without in _devices_of(account_users(snapshot))
        if cells.are_listed(device, user_id=user_id)
    ]


def _devices_of(users: Sequence[AccountUser]) -> Iterator[tuple[str, str, Device | None, str]]:
    """Yield the user's name and ID and each device; None for a user without devices, or whose devices are unknown.

    The fourth value is the kind to show if there is no device.
    """
    for user in users:
        for device in user.devices or [None]:
            yield user.name, user.user.id, device, "none" if user.mfa is False else "unknown"


def _key_cells(found: KeyOfDevice | None, *, details: bool) -> ResultRow:
    """Return the cells of the key that a device is on; all None if it is unknown.

    With `details`, there is also a cell for each fact.
    """
    name = found and f"{found.key.facts.name}{' (was reset)' if found.device.erased else ''}"
    if not details:
        return {"key": name}
    return {
        "key": name,
        **{f"key_{fact}": found and getattr(found.key.facts, fact) for fact in FACTS},
        "key_attested": found and sorted(found.key.facts.attested),
        "key_erased": found and found.device.erased,
    }


def _print_devices_on_key(key_name: str, settings: Settings, output: Output) -> int:
    """Print the devices on the keys with this serial, label or identity, from the ledger. Return the exit code."""
    with wiring.ledger.open_ledger(settings) as ledger:
        keys = [key for key in wiring.ledger.recorded_keys(ledger) if key.answers_to(key_name)]
    details = output.form != "table"
    rows = [
        {
            "account": device.account,
            "user": device.user,
            "device": device.serial,
            "since": iso_time(device.since) if device.since else None,
            "recorded": iso_time(device.at),
            **_key_cells(KeyOfDevice(key, device), details=details),
        }
        for key in keys
        for device in key.devices
        if not device.revoked
    ]
    names = " and ".join(dict.fromkeys(key.facts.name for key in keys))
    no_device = f"no device is on {names}, according to the ledger" if keys else f"no key {key_name} is in the ledger"
    output.many(
        "status-key",
        rows,
        empty=no_device,
        narrow=("account", "user", "device", "key"),
    )
    if not keys:
        settings.progress.alert(suggest("to record a key, plug it in, and verify the device on it", "verify user USER"))
    return 0 if keys else 1


def _list_users(ports: EnrollmentPorts, progress: LiveProgress) -> Sequence[str]:
    with progress.showing("listing users"):
        return ports.iam_reader.users()


def _ask_each_user(
    user: str | None,
    caller: Caller,
    organization: "wiring.organization.Organization",
    ports: EnrollmentPorts,
    progress: LiveProgress,
) -> list[use_case.DeviceStatus]:
    """Ask IAM about the user, or about each user, and return the status of each device."""
    if user:
        name = resolve_user(user, caller=caller, iam_reader=ports.iam_reader)
        return use_case.read_status(name, caller=caller, ports=ports)
    names = _list_users(ports, progress)
    looked = organization.within(lambda name: use_case.read_status_while_there(name, caller=caller, ports=ports), names)
    with counting(progress, "reading users", looked, len(names)) as counted:
        return list(chain.from_iterable(counted))


def _read_lists(
    account: AccountSource,
    organization: "wiring.organization.Organization",
    ports: EnrollmentPorts,
    progress: LiveProgress,
    *,
    max_age: float,
) -> list[use_case.DeviceStatus]:
    """Return the status of devices from IAM's list of virtual devices and the credential report.

    Ask IAM about each user who has no virtual device and who, according to the report, has MFA or may have it. For a
    user with a virtual device, devices of other types are left out. `max_age` is that of the report in seconds.
    """
    names = _list_users(ports, progress)
    with progress.showing("reading devices"):
        user_devices = read_user_devices(
            ports.iam_reader, account, names, max_age=max_age, map_each=organization.within
        )
    for why in user_devices.denied:
        progress.alert(f"more users are looked up one by one, because a list cannot be read: {why}")
    if user_devices.report is not None:
        age = age_text(ports.iam_reader.now() - user_devices.report.made)
        source = f"from IAM's lists and the credential report, which is {age} old"
        progress.note(suggest(f"{source}; to ask IAM about each user", "status --each-user"))
    return [
        device_status
        for name, devices in user_devices.devices.items()
        for device_status in use_case.listed_status(name, devices, ports=ports)
    ]


def _backup_rows(
    statuses: Sequence[use_case.DeviceStatus],
    cells: DeviceCells,
    organization: "wiring.organization.Organization",
    settings: Settings,
    *,
    drilled_within: float,
) -> list[ResultRow]:
    """Return the rows of devices with their backups.

    Print how many backups were not tested for `drilled_within` seconds.
    """
    records = wiring.ledger.backup_records(organization.ledger)
    drills, recorders, since = records.drills(), records.computers.recorders(), time.time() - drilled_within
    rows = [_backup_row(device_status, cells, drills, recorders, since=since) for device_status in statuses]
    if due := sum(bool(row["drill_due"]) for row in rows):
        days = f"{drilled_within / 86400:g} days"
        settings.progress.note(
            suggest(f"backups not tested for {days}: {due}; to test them", "backup drill -i IDENTITY")
        )
    return rows


def _backup_row(
    has: use_case.DeviceStatus,
    cells: DeviceCells,
    drills: Mapping[str, float],
    recorders: Recorders | None,
    *,
    since: float,
) -> ResultRow:
    """Return the row of one device, or of a user without devices.

    `drills` has the time of the last passed test of each backup, by the backup's name. A test is due if the backup
    was made before `since` and has passed no test since then. Times are Unix seconds. With `recorders`, other computers
    share the ledger, and the row says which computers made the device and tested its backup.
    """
    name = backup_name(Path(has.backup)) if has.backup else ""
    backup = next(iter(wiring.backups.backups_named([name])), None) if name else None
    drilled = drills.get(backup.name) if backup else None
    computers: ResultRow = {}
    if recorders:
        computers = {"computer": has.maker(recorders), "drilled_on": recorders.drills.get(name)}
    return {
        **cells.of(has.user, has.device),
        "made": has.made_for(recorders) if recorders else has.made,
        "backup": has.backup,
        "drilled": iso_time(drilled) if drilled else None,
        "drill_due": drill_due(backup, drills, since=since) if backup else None,
        "certifications": has.certifications,
        **computers,
        **cells.of_key(has.user, has.device),
    }
