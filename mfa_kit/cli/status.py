"""`mfa-kit status`: list users and their MFA devices, including users without a device."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.account.reading import read_user_devices
from mfa_kit.backups.drill import drill_due
from mfa_kit.cli import options
from mfa_kit.cli.account_options import MAX_AGE, account_options
from mfa_kit.cli.backup_options import BACKUP_DIR, DRILLED_WITHIN
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.status_line import counting
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.core.models import BackupLocation, Recorders, backup_name
from mfa_kit.core.stopping import Stop, map_in
from mfa_kit.core.timestamps import age_text, iso_time
from mfa_kit.enrollment import device_status as use_case
from mfa_kit.enrollment.planning import resolve_user
from mfa_kit.wiring.settings import Settings

# The number of threads that look up users. IAM does not publish its rate limits, but accepts the requests of 8 threads.
AT_ONCE = 8


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
@account_options(results=False)
def status(
    *,
    user: str | None,
    each_user: bool,
    max_age: float,
    backup_dir: BackupLocation | None,
    drilled_within: float,
    settings: Settings,
    output: Output,
) -> int:
    """List the MFA devices of USER or of all users: kind, date, origin, backup, and last test of the backup.

    With several accounts, list only the kind and the date of each device.
    """
    with wiring.backups.open_records(settings) as records:
        drills, recorders = records.drills(), records.computers.recorders()
    stop = Stop()
    with (
        wiring.status_sources.open_status(settings, backup_dir, stop=stop) as opened,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        ports, caller = opened.ports, opened.caller
        with stop.after_error():
            if user:
                name = resolve_user(user, caller=caller, iam_reader=ports.iam_reader)
                statuses = use_case.read_status(name, caller=caller, ports=ports)
            else:
                with settings.progress.showing("listing users"):
                    names = ports.iam_reader.users()
                if each_user:
                    statuses = _ask_about_each_user(names, opened, pool, progress=settings.progress)
                else:
                    statuses = _read_lists(names, opened, pool, progress=settings.progress, max_age=max_age)
        since = time.time() - drilled_within
        rows = [
            {
                **_row(device_status, drills, since=since),
                **(_computer_cells(device_status, recorders) if recorders else {}),
            }
            for device_status in statuses
        ]
        if due := sum(bool(row["drill_due"]) for row in rows):
            days = f"{drilled_within / 86400:g} days"
            ports.progress.note(f"backups not tested for {days}: {due}; to test them: mfa-kit backup drill -i IDENTITY")
        output.many(
            "status",
            rows,
            empty=f"account {caller.account} has no users",
            narrow=("user", "kind", "device", "since", "drill_due", "computer"),
        )
    return 0


def _ask_about_each_user(
    names: Sequence[str],
    opened: "wiring.status_sources.StatusSources",
    pool: ThreadPoolExecutor,
    *,
    progress: LiveProgress,
) -> list[use_case.DeviceStatus]:
    """Ask IAM about each of these users and each of their devices, and return the status of each device."""
    looked = map_in(
        pool, lambda name: use_case.read_status_while_there(name, caller=opened.caller, ports=opened.ports), names
    )
    with counting(progress, "reading users", looked, len(names)) as counted:
        return list(chain.from_iterable(counted))


def _read_lists(
    names: Sequence[str],
    opened: "wiring.status_sources.StatusSources",
    pool: ThreadPoolExecutor,
    *,
    progress: LiveProgress,
    max_age: float,
) -> list[use_case.DeviceStatus]:
    """Return the status of devices from IAM's list of virtual devices and the credential report.

    Ask IAM about each user who has no virtual device and who, according to the report, has MFA or may have it. For a
    user with a virtual device, devices of other types are left out.
    """
    with progress.showing("reading devices"):
        user_devices = read_user_devices(
            opened.ports.iam_reader, opened.account, names, max_age=max_age, map_each=partial(map_in, pool)
        )
    for why in user_devices.denied:
        progress.alert(f"more users are looked up one by one, because a list cannot be read: {why}")
    if user_devices.report is not None:
        age = age_text(opened.ports.iam_reader.now() - user_devices.report.made)
        progress.note(
            f"from IAM's lists and the credential report, which is {age} old; "
            "to ask IAM about each user: mfa-kit status --each-user"
        )
    return [
        device_status
        for name, devices in user_devices.devices.items()
        for device_status in use_case.listed_status(name, devices, ports=opened.ports)
    ]


def _row(has: use_case.DeviceStatus, drills: Mapping[str, float], *, since: float) -> ResultRow:
    """Return the row of one device, or of a user without devices.

    `drills` has the time of the last passed test of each backup, by the backup's name. A test is due if the backup
    was made before `since` and has passed no test since then. Times are Unix seconds.
    """
    device, backup = has.device, None
    if has.backup:
        backup = next(iter(wiring.backups.backups_named([backup_name(Path(has.backup))])), None)
    drilled = drills.get(backup.name) if backup else None
    return {
        "user": has.user,
        "kind": device.type if device else "none",
        "device": device.serial if device else None,
        "since": iso_time(device.since) if device and device.since else None,
        "made": has.made,
        "backup": has.backup,
        "drilled": iso_time(drilled) if drilled else None,
        "drill_due": drill_due(backup, drills, since=since) if backup else None,
        "certifications": has.certifications,
    }


def _computer_cells(has: use_case.DeviceStatus, recorders: Recorders) -> ResultRow:
    """Return the cells that depend on a shared ledger: which computers made the device and tested its backup."""
    return {
        "made": has.made_for(recorders),
        "computer": has.maker(recorders),
        "drilled_on": recorders.drills.get(backup_name(Path(has.backup))) if has.backup else None,
    }
