"""Finds and removes backups that are no longer needed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from functools import cache, partial

from mfa_kit.backups.contents import backup_call
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import ROOT, Backup, BackupLocation, Call, Device, RunTag
from mfa_kit.enrollment.planning import devices_while_there, serials_of
from mfa_kit.enrollment.ports import IamReader

# Backups younger than this many seconds are kept, because IAM may take a while to list a new device.
YOUNG = 86400.0


class Why(StrEnum):
    """Why a backup can be removed."""

    LEFT = "the user left"
    GONE = "the device is gone"


def find_prunable(
    backups: Sequence[Backup], *, account: str, older: float | None, iam_reader: IamReader
) -> Iterator[tuple[Backup, Why]]:
    """Yield each backup that is no longer needed, with the reason.

    A backup is no longer needed if its user no longer exists in IAM. If `older` is given, a backup is also no longer
    needed if it is at least `older` seconds old. In both cases, a backup is kept while its device exists. A backup that
    belongs to another account or to root, or that is less than a day old, is kept too, because IAM cannot confirm that
    the device of such a backup is gone.
    """
    now, users = iam_reader.now(), {name.lower() for name in iam_reader.users()}
    unassigned = iam_reader.unassigned()

    devices_of = cache(partial(devices_while_there, iam_reader=iam_reader))
    for backup in backups:
        age = now - backup.made
        if not _may_go(backup, account=account, age=age) or (older is None and backup.user.lower() in users):
            continue
        devices = devices_of(backup.user)
        if _exists(backup, devices, unassigned, iam_reader=iam_reader):
            continue
        if devices is None:
            yield backup, Why.LEFT
        elif older is not None and age >= older:
            yield backup, Why.GONE


def _may_go(backup: Backup, *, account: str, age: float) -> bool:
    return backup.account == account and backup.user != ROOT and age >= YOUNG


def _exists(
    backup: Backup, devices: Sequence[Device] | None, unassigned: Sequence[str], *, iam_reader: IamReader
) -> bool:
    """Return whether the device of a backup still exists or may still exist.

    The device is looked for among the user's `devices` and the unassigned devices (`unassigned`). An untagged
    device of the same name may be the device of the backup.
    """
    everything = (*serials_of(devices or ()), *unassigned)
    of_its_name = [serial for serial in everything if serial.rpartition("/")[2].lower() == backup.device.lower()]
    return any(iam_reader.run_of(serial) in {backup.run, RunTag.UNTAGGED} for serial in of_its_name)


def remove(
    chosen: Iterable[Backup], *, discard: Callable[[Backup], None], log: Callable[[Call], None]
) -> dict[BackupLocation, str]:
    """Remove backups permanently, and log each attempt.

    Return the files that could not be removed, each with the reason.
    """
    faults = {}
    for backup in chosen:
        try:
            discard(backup)
        except IntegrityFault as fault:
            faults[backup.path] = str(fault)
        log(backup_call("RemoveBackup", backup.path, user=backup.user, succeeded=backup.path not in faults))
    return faults
