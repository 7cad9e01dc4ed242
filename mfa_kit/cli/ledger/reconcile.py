"""`mfa-kit ledger reconcile`: compare the ledger with IAM and the backups."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict

import click

from mfa_kit import wiring
from mfa_kit.account.reconciling import Recorded, reconcile
from mfa_kit.cli.backup_options import BACKUP_DIR, without_copies
from mfa_kit.cli.messages import counting
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import NoSuchEntity
from mfa_kit.core.models import BackupLocation, Device, DeviceType, RunTag
from mfa_kit.core.stopping import Stop, map_in
from mfa_kit.enrollment.ports import IamReader
from mfa_kit.wiring.settings import Settings

# The number of threads that read devices. IAM does not publish its rate limits, but it is known to accept this many
# requests at a time.
AT_ONCE = 8


@click.command("reconcile", cls=Verb)
@BACKUP_DIR
def reconcile_ledger(*, backup_dir: BackupLocation | None, settings: Settings, output: Output) -> int:
    """Compare the ledger with the devices in IAM, their tags, and the backups.

    Use this after you restored an old ledger. Nothing is changed. The exit code is 1 if there are differences. Virtual
    devices without the tags of mfa-kit need not be in the ledger.
    """
    # A backup's recipients are recorded before the backup is written. Because the backups are listed first, a backup
    # that is written meanwhile is not reported as missing from the ledger.
    backups = without_copies(wiring.stores.stored_backups(settings, backup_dir, own=True))
    with wiring.backups.open_records(settings) as records:
        sealed = {seal.backup for seal in records.seals()}
    stop = Stop()
    store = wiring.stores.open_backup_store(settings, backup_dir)
    with wiring.ports.open_ports(settings, store=store, stop=stop) as (ports, caller):
        before = ports.journal.entries(caller.account)
        with ThreadPoolExecutor(AT_ONCE) as pool, stop.after_error():
            devices, tagged = _read_devices(ports.iam_reader, pool, settings=settings)
        differences = reconcile(
            Recorded(entries=ports.journal.entries(caller.account), before=before, backups=sealed),
            devices=devices,
            tagged=tagged,
            backups=[backup for backup in backups if backup.account == caller.account],
            lives=ports.journal.lives,
        )
    output.many(
        "ledger-reconcile",
        [asdict(difference) for difference in differences],
        empty="the ledger agrees with IAM and the backups",
        narrow=("difference", "user", "device", "run", "file"),
    )
    return int(bool(differences))


def _read_devices(
    iam_reader: IamReader, pool: ThreadPoolExecutor, *, settings: Settings
) -> tuple[list[Device], Mapping[str, str | RunTag]]:
    """Return all devices of the account, and a mapping from the serial of each virtual device to the run in its tags.

    Raise AccessDenied if the caller may not read tags. Without tags, devices of unknown runs would be missed.
    """

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

    with settings.progress.showing("listing users"):
        users = iam_reader.users()
    with counting(settings.progress, "reading users", map_in(pool, read, users), len(users)) as counted:
        devices = [device for user_devices in counted for device in user_devices]
    devices += [Device(serial=serial, user=None) for serial in iam_reader.unassigned()]
    virtual = [device.serial for device in devices if device.type is DeviceType.VIRTUAL]
    with counting(settings.progress, "reading tags", map_in(pool, read_run, virtual), len(virtual)) as runs:
        return devices, dict(zip(virtual, runs, strict=True))
