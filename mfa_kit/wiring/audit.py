"""Takes a snapshot of an account or reads one from a file, and finds the AWS partition and the Security Hub region."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mfa_kit.account.device_backups import device_backups
from mfa_kit.account.last_use import LastUses
from mfa_kit.account.reading import policy_holes, read_account
from mfa_kit.account.snapshot import Acceptance, Snapshot
from mfa_kit.account.status import BackupTests, DeviceCells, ask_each_user, read_lists
from mfa_kit.adapters.aws.account import AccountReader
from mfa_kit.adapters.aws.answers import observe_reads
from mfa_kit.adapters.files import snapshots
from mfa_kit.adapters.files.local_store import backup_at
from mfa_kit.adapters.files.snapshots import SNAPSHOT_FILE, account_folders, read_baseline
from mfa_kit.adapters.ledger.audit_records import AuditRecords, BreakGlassRecords
from mfa_kit.audit.finding import AuditRule
from mfa_kit.audit.records import (
    EarlierAudits,
    compare_audits,
)
from mfa_kit.audit.registry import AccountAudit
from mfa_kit.backups.drill import drill_due
from mfa_kit.break_glass.uses import identities_in_use
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.models import BackupLocation
from mfa_kit.core.recalls import judge_devices
from mfa_kit.core.text import ResultRow, age_text
from mfa_kit.enrollment.device_status import DeviceStatus
from mfa_kit.organization.accounts import AccountsChoice, AccountSelection, OrgAccount, only_account
from mfa_kit.organization.across import AccountFolders
from mfa_kit.organization.control_policies import OrganizationControl
from mfa_kit.organization.member_root import OrganizationRoot
from mfa_kit.wiring import aws
from mfa_kit.wiring.files import check_new, read_advisories
from mfa_kit.wiring.ledger import backup_records, recorded_keys, usage_records
from mfa_kit.wiring.organization import Organization, control_of, open_organization, root_of
from mfa_kit.wiring.ports import enrollment_ports
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.stores import open_backup_store, stored_backups

if TYPE_CHECKING:
    from botocore.session import Session

    from mfa_kit.account.reading import AccountSource
    from mfa_kit.account.users import AccountUser
    from mfa_kit.adapters.aws.iam import Iam
    from mfa_kit.core.models import Seal

S = TypeVar("S")
T = TypeVar("T")

# The region of Security Hub in a partition, if no region is configured. REGION is that of all other partitions.
REGIONS = {"aws-us-gov": "us-gov-west-1", "aws-cn": "cn-north-1"}
REGION = "us-east-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSource:
    """The source of a snapshot: an existing file, or AWS. For AWS, also which data mfa-kit reads.

    `file` is an existing snapshot to read, or a new file to write. If it is None, mfa-kit reads AWS and stores no
    snapshot. `max_age` is the maximum age of the credential report in seconds. `backup_dir` is the folder of backups;
    None means the configured folder. For the users that `passwords_of` selects, mfa-kit also reads whether they have to
    change their password at the next sign-in. With `sessions`, it also reads how long sign-in sessions may last.
    For the users that `afresh` selects, mfa-kit reads password, keys and devices from IAM
    even if the credential report has them. With `central_root`, or if the snapshot is stored, mfa-kit also reads
    whether the account's organization manages the root users of its accounts centrally. With `control`, it reads the
    service control policies of accounts that Organizations has listed. `observe` is called after each
    response of IAM, with the operation, the request ID, and the user in the request, or None.
    """

    file: Path | None
    max_age: float
    backup_dir: BackupLocation | None = None
    passwords_of: Callable[[AccountUser], bool] = lambda _: False
    sessions: bool = False
    afresh: Callable[[AccountUser], bool] = lambda _: False
    central_root: bool = False
    control: bool = False
    observe: Callable[[str, str, str | None], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSnapshots:
    """The accounts in which a command works, and the function `take`, which returns the snapshot of an account.

    `organization` is None if the snapshot comes from a file. `root` returns what the caller's account can see of the
    root users in other accounts; it is None if snapshots are taken without that.
    """

    selection: AccountSelection
    take: Callable[[OrgAccount], Snapshot]
    organization: Organization | None = None
    root: Callable[[], OrganizationRoot] | None = None

    @property
    def home_account(self) -> str | None:
        """The ID of the caller's account, or None without a connection to AWS."""
        return self.organization.home_account if self.organization else None

    def each(self, function: Callable[[S], T], items: Iterable[S]) -> Generator[T, None, None]:
        """Apply a function to several items at a time, as `Organization.each` does. A stored snapshot is one item."""
        return self.organization.each(function, items) if self.organization else (function(item) for item in items)


@contextmanager
def open_snapshots(
    settings: Settings, source: SnapshotSource, choice: AccountsChoice | None
) -> Iterator[AccountSnapshots]:
    """Open the accounts of `choice`, or else the stored snapshot or the caller's account, and yield AccountSnapshots.

    Raise UsageFault if the file is not a snapshot, if it is a snapshot of another account than --account, or if its
    credential report is older than `source.max_age`. If no file exists, AWS is read: raise the errors of
    `open_organization`, and those of `check_new` if the snapshot cannot be stored.
    """
    if source.file is not None and source.file.exists():
        stored = _stored_snapshot(settings, source.file, max_age=source.max_age)
        yield AccountSnapshots(selection=only_account(stored.account), take=lambda _: stored)
        return
    if source.file is not None:
        check_new(source.file)
    with open_organization(settings, choice) as organization:
        root = root_of(organization) if source.central_root or source.file is not None else None
        control = control_of(organization) if source.control and choice and choice.org else None
        yield AccountSnapshots(
            selection=organization.selection,
            take=lambda account: take_snapshot(settings, organization, account, source, root=root, control=control),
            organization=organization,
            root=root,
        )


def snapshot_of_account(settings: Settings, source: SnapshotSource) -> Snapshot:
    """Return the snapshot of a command that works in one account. Raise the errors of `open_snapshots`."""
    with open_snapshots(settings, source, None) as snapshots:
        (account,) = snapshots.selection.chosen
        return snapshots.take(account)


def _stored_snapshot(settings: Settings, file: Path, *, max_age: float) -> Snapshot:
    snapshot = snapshots.read_snapshot(file)
    label = aws.account_label(snapshot.account, lab=snapshot.lab)
    settings.progress.note(f"offline: account {label} as stored in {file}")
    if settings.account is not None and settings.account != snapshot.account:
        raise UsageFault(
            f"the snapshot is of account {snapshot.account}, but --account is {settings.account}",
            "choose another file: --snapshot FILE",
        )
    age = time.time() - snapshot.report.made if snapshot.report else 0
    if age > max_age:
        raise UsageFault(
            f"the credential report in {file} is {age_text(age)} old, and --max-age is {age_text(max_age)}",
            f"take a new snapshot, or accept this one: --max-age {age // 3600 + 1:.0f}h",
        )
    return replace(snapshot, holes=tuple(dict.fromkeys((*snapshot.holes, *policy_holes(snapshot)))))


def take_snapshot(
    settings: Settings,
    organization: Organization,
    account: OrgAccount,
    source: SnapshotSource,
    *,
    root: Callable[[], OrganizationRoot] | None = None,
    control: OrganizationControl | None = None,
) -> Snapshot:
    """Read an account as `source` says, and return the snapshot. Its `holes` list the parts that could not be read.

    With `root`, this function also reads what the caller's account can see of the root user in this account, and with
    `control`, which service control policies apply to the account.
    """
    from mfa_kit.adapters.aws.member_sessions import read_central_root_access

    opened = organization.enter(account)
    if source.observe is not None:
        observe_reads(opened.iam.ask, source.observe)
    records, ledger = backup_records(organization.ledger), organization.ledger
    ask_root = partial(read_central_root_access, opened.iam.ask)
    is_many = organization.selection.is_many
    with nullcontext() if is_many else settings.progress.showing("reading the account"):
        snapshot = read_account(
            opened.iam,
            account_source(opened.iam),
            caller=opened.caller,
            max_age=source.max_age,
            backups=lambda devices: device_backups(
                devices,
                journal=ledger,
                store=open_backup_store(settings, source.backup_dir),
                records=records,
                stored=partial(stored_backups, settings, source.backup_dir),
            ),
            map_each=organization.within,
            passwords_of=source.passwords_of,
            sessions=source.sessions,
            afresh=source.afresh,
            central_root=(lambda: root().central(account, ask_root)) if root else None,
            member_root=(lambda: root().posture(account.id)) if root else None,
            break_glass=lambda: identities_in_use(
                BreakGlassRecords(ledger).all(), _users_by_key(records.seals(), account.id)
            ),
            usage=lambda: usage_records(ledger).usage(account.id),
            recalls=lambda: judge_devices(recorded_keys(ledger), read_advisories(), account.id),
            control=partial(control.levels, account) if control else None,
        )
    if source.file is not None:
        snapshots.write_snapshot(snapshot, source.file)
        settings.progress.note(
            f"stored the snapshot in {source.file}; keep it private: it shows which users are weakly protected"
        )
    return snapshot


def list_devices(
    settings: Settings,
    organization: Organization,
    account: OrgAccount,
    describe: Callable[[LastUses], DeviceCells],
    *,
    user: str | None = None,
    each_user: bool = False,
    max_age: float,
    backup_dir: BackupLocation | None,
    drilled_within: float,
) -> tuple[list[ResultRow], LastUses]:
    """Return the rows of the devices of a user, or of all users, in one account, and what is known of their uses.

    With `each_user`, ask IAM about each user instead of reading its lists. Tell how many backups were not tested for
    `drilled_within` seconds.
    """
    opened, progress = organization.enter(account), settings.progress
    store = open_backup_store(settings, backup_dir)
    ports = enrollment_ports(settings, iam=opened.iam, ledger=organization.ledger, store=store)
    read: partial[list[DeviceStatus]]
    if user or each_user:
        read = partial(ask_each_user, user, caller=opened.caller)
    else:
        read = partial(read_lists, account_source(opened.iam), max_age=max_age)
    statuses = read(map_each=organization.within, ports=ports, progress=progress)
    uses = LastUses(usage_records(organization.ledger).usage(account.id), now=opened.iam.now())
    cells, records = describe(uses), backup_records(organization.ledger)
    drills = records.drills()
    tests = BackupTests(
        named=lambda name: backup_at(Path("/", name)),
        drills=drills,
        is_due=partial(drill_due, drills=drills, since=time.time() - drilled_within),
        recorders=records.computers.recorders(),
    )
    rows = [tests.row(status, cells) for status in statuses if cells.are_listed(status.device)]
    if due := sum(bool(row["drill_due"]) for row in rows):
        days = f"{drilled_within / 86400:g} days"
        progress.note(suggest(f"backups not tested for {days}: {due}; to test them", "backup drill -i IDENTITY"))
    return rows, uses


def _users_by_key(seals: Iterable[Seal], account: str) -> dict[str, set[str]]:
    """Return, by public key, the users of an account whose own copies of backups are encrypted to the key."""
    users_by_key: dict[str, set[str]] = {}
    for seal in seals:
        backup = backup_at(Path(seal.backup)) if seal.own else None
        if backup and backup.account == account:
            users_by_key.setdefault(seal.recipient, set()).add(backup.user)
    return users_by_key


def account_source(iam: Iam) -> AccountSource:
    """Return an AccountSource, which reads the users, devices and policies of the account whose client is `iam`."""
    return AccountReader(iam.ask, now=iam.now)


def security_hub_region(region: str | None, profile: str | None, partition: str) -> str:
    """Return `region`, else the region of the profile or the environment, else the partition's region in REGIONS.

    Raise UsageFault if the profile does not exist.
    """
    return region or _configured_region(profile)[1] or REGIONS.get(partition, REGION)


def _configured_region(profile: str | None) -> tuple[Session, str | None]:
    """Return a session of botocore, and the region of the profile or the environment."""
    import botocore.exceptions
    import botocore.session

    session = botocore.session.Session(profile=profile)
    try:
        return session, session.get_config_variable("region")
    except botocore.exceptions.ProfileNotFound as error:
        raise UsageFault(str(error), "choose a profile with --profile") from None


def chosen_partition(settings: Settings, name: str | None) -> str | None:
    """Return the AWS partition `name`. If `name` is None, return the partition of the configured region.

    Return None if no region is configured either. Raise UsageFault for a partition, a region or a profile that does not
    exist.
    """
    from botocore.exceptions import UnknownRegionError

    session, configured_region = _configured_region(settings.profile)
    if name is not None:
        if name not in (known := session.get_available_partitions()):
            raise UsageFault(f"there is no partition {name!r}", f"use one of {', '.join(known)}")
        return name
    region = settings.region or configured_region
    try:
        return str(session.get_partition_for_region(region)) if region else None
    except UnknownRegionError:
        raise UsageFault(f"there is no region {region!r}", "use a region such as us-east-1, or --partition") from None


# The result for an audit that is not compared with earlier audits, such as the audit of a stored snapshot.
NOTHING_BEFORE = EarlierAudits()


def open_baseline(file: Path | None, rules: Iterable[AuditRule]) -> Sequence[Acceptance]:
    """Return the accepted findings in a baseline file, or () if `file` is None.

    Raise UsageFault if the file is not a baseline, or if an entry names a rule that is not in `rules`.
    """
    return read_baseline(file, {rule.id for rule in rules}) if file else ()


def compare_with_ledger(
    settings: Settings, organization: Organization | None, audit: AccountAudit, *, records: bool = True
) -> EarlierAudits:
    """Compare an audit with the ledger's records of the account's last audit. With `records`, also record this audit.

    With --dry-run, nothing is recorded. If there is no ledger, because the snapshot comes from a file, return
    NOTHING_BEFORE. If the ledger cannot be used, or if this audit cannot be recorded because the PostgreSQL role may
    only read the ledger, print an alert and return NOTHING_BEFORE.
    """
    if organization is None:
        return NOTHING_BEFORE
    history = AuditRecords(organization.ledger)
    try:
        return compare_audits(history, audit.snapshot, audit.raw_answers, records=records and not settings.dry_run)
    except IntegrityFault as error:
        settings.progress.alert(f"the ledger could not be used for this audit: {error}")
        return NOTHING_BEFORE


@contextmanager
def open_folders(base: Path | None) -> Iterator[AccountFolders | None]:
    """Create or open the folder for results, and yield it. Yield None if `base` is None.

    Raise IntegrityFault if the folder cannot be created or used.
    """
    if base is None:
        yield None
        return
    with account_folders(base) as folders:
        yield folders


def snapshot_file(snapshot: Snapshot) -> dict[str, str]:
    """Return a dictionary with one entry: the name and the text of the file in which a snapshot is stored."""
    return {SNAPSHOT_FILE: snapshots.snapshot_text(snapshot)}
