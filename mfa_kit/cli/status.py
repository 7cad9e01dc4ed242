"""`mfa-kit status`: list users and their MFA devices, including users without a device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.account.last_use import LastUses, coverage_of
from mfa_kit.account.snapshot import AccountUsage, Snapshot, SnapshotPart, unread_parts
from mfa_kit.account.status import USE_FIELDS, DeviceCells, key_cells
from mfa_kit.account.users import AccountUser, account_users
from mfa_kit.cli import options
from mfa_kit.cli.account_options import MAX_AGE, account_options
from mfa_kit.cli.backup_options import BACKUP_DIR, DRILLED_WITHIN
from mfa_kit.cli.value_types import Number
from mfa_kit.cli.visits import AccountRows, RowsForm, exit_code, print_rows
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.recorded_keys import KeyOfDevice, KeysOfDevices
from mfa_kit.core.text import ResultRow, iso_time
from mfa_kit.organization.across import VisitState

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.interaction import LiveProgress
    from mfa_kit.core.models import BackupLocation, Device
    from mfa_kit.organization.accounts import AccountsChoice, OrgAccount
    from mfa_kit.wiring.settings import Settings

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
            rows, uses = wiring.audit.list_devices(
                settings,
                organization,
                account,
                lambda uses: describe(account=account.id, uses=uses),
                user=user,
                each_user=each_user,
                max_age=max_age,
                backup_dir=backup_dir,
                drilled_within=drilled_within,
            )
            coverages.append(uses)
            return AccountRows(rows)

        empty = _no_rows(None if accounts else organization.home_account, unused)
        form = FORM._replace(empty=empty, fields=(*FORM.fields, *key_cells(None, details=output.form != "table")))
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
            **key_cells(KeyOfDevice(key, device), details=details),
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
