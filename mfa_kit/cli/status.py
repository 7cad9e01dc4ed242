"""`mfa-kit status`: list users and their MFA devices, including users without a device."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from mfa_kit.backups.drill import drill_due
from mfa_kit.cli import options
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import BACKUP_DIR, DRILLED_WITHIN
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.status_line import counting
from mfa_kit.core.models import backup_name
from mfa_kit.core.places import Place
from mfa_kit.core.recorders import Recorders
from mfa_kit.core.stopping import Stop
from mfa_kit.core.timestamps import iso_time
from mfa_kit.enrollment import device_status as use_case
from mfa_kit.enrollment.user_names import resolve_user
from mfa_kit.wiring import backup as backups
from mfa_kit.wiring.desk import open_desk
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.vault import open_vault

# The number of threads that look up users. IAM does not publish its rate limits, but is known to accept this many.
AT_ONCE = 8


@click.command(cls=options.Verb)
@click.argument("user", required=False)
@BACKUP_DIR
@DRILLED_WITHIN
@account_options(results=False)
def status(
    *,
    user: str | None,
    backup_dir: Place | None,
    drilled_within: float,
    settings: Settings,
    output: Output,
) -> int:
    """List the MFA devices of USER or of all users: kind, date, origin, backup, and last test of the backup.

    With several accounts, list only the kind and the date of each device.
    """
    with backups.open_records(settings) as records:
        drills, recorders = records.drills(), records.computers.recorders()
    stop = Stop()
    with open_desk(settings, METHODS, vault=open_vault(settings, backup_dir), stop=stop) as (desk, caller):
        with settings.progress.showing("listing users"):
            names = [resolve_user(user, caller=caller, inventory=desk.inventory)] if user else desk.inventory.users()
        look = use_case.read_status if user else use_case.read_status_while_there
        with ThreadPoolExecutor(AT_ONCE) as pool, stop.after_error():
            looked = pool.map(lambda name: look(name, caller=caller, desk=desk), names)
            with counting(settings.progress, "reading users", looked, len(names)) as counted:
                found = list(counted)
        since = time.time() - drilled_within
        rows = [
            {**_row(each, drills, since=since), **(_computer_cells(each, recorders) if recorders else {})}
            for devices in found
            for each in devices
        ]
        if due := sum(bool(row["drill_due"]) for row in rows):
            days = f"{drilled_within / 86400:g} days"
            desk.progress.note(f"backups not tested for {days}: {due}; to test them: mfa-kit backup drill -i IDENTITY")
        output.many(
            "status",
            rows,
            empty=f"account {caller.account} has no users",
            narrow=("user", "kind", "device", "since", "drill_due", "computer"),
        )
    return 0


def _row(has: use_case.DeviceStatus, drills: Mapping[str, float], *, since: float) -> ResultRow:
    """Return the row of one device, or of a user without devices.

    `drills` has the time of the last test of each backup, by the backup's name. A test is due if the last test was
    before `since`. Times are Unix seconds.
    """
    device, backup = has.device, None
    if has.backup:
        (backup,) = backups.backups_named([backup_name(Path(has.backup))])
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
    """Return the cells that only a shared ledger can fill: the computers that made the device and tested its backup."""
    return {
        "made": has.made_for(recorders),
        "computer": has.maker(recorders),
        "drilled_on": recorders.drills.get(backup_name(Path(has.backup))) if has.backup else None,
    }
