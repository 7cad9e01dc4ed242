"""Compares the ledger with IAM and the backups, for example after an old ledger was restored. Changes nothing."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.core.models import (
    Backup,
    BackupLocation,
    Device,
    DeviceType,
    JournalEntry,
    JournalState,
    RunTag,
    backup_name,
    copies_of,
    own_copy,
    recorded_location,
)

STANDS = {JournalState.STAGED, JournalState.ENABLED, JournalState.CONFIRMED}
OPEN = {JournalState.INTENT, JournalState.CREATED, JournalState.REVOKING}
# The index of the folder of backups among the parents of a backup: the account and the user are between them.
PARTS = 2


class Difference(StrEnum):
    """The kind of a difference between the ledger and an account or its backups."""

    UNKNOWN_DEVICE = "device is not in the ledger"
    GONE_DEVICE = "device is not in IAM"
    UNFINISHED = "run is unfinished"
    UNKNOWN_BACKUP = "backup is not in the ledger"
    MISSING_BACKUP = "backup is missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """One difference between the ledger and IAM or the backups.

    `device` is the serial of the device, and `file` the path or S3 URL of the backup. `run` is the run that made the
    device or the backup, or None if the run is unknown. `detail` is a sentence, or "".
    """

    difference: Difference
    user: str | None
    device: str | None = None
    run: str | None = None
    file: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the ledger has about one account.

    `entries` has the account's journal entries, including those of removed devices. `before` has the entries that the
    journal had before the devices were read from IAM. A device of a later entry is not reported as missing in IAM,
    because it may have been made after the devices were read. `backups` has the names of all backups whose recipients
    are recorded.
    """

    entries: Sequence[JournalEntry]
    before: Collection[JournalEntry]
    backups: Collection[str]


def reconcile(
    recorded: Recorded,
    *,
    devices: Sequence[Device],
    tagged: Mapping[str, str | RunTag],
    backups: Iterable[Backup],
    missing: Iterable[Backup] = (),
    lives: Callable[[str], bool],
) -> list[Discrepancy]:
    """Return the differences between the ledger and an account: devices first, then runs, then backups.

    `devices` are the account's devices in IAM, unassigned ones included. `tagged` has, by serial, the run in the tags
    of each virtual device, or a RunTag that says why there is none. `backups` are the backups of the account's devices,
    and `missing` those that should be there and are not; they are reported if their device exists. `lives` says whether
    a run's process is alive. The differences of a run that is alive are left out, because the run is still making
    changes. A virtual device without a run in its tags is not reported as missing in the ledger, because nothing shows
    that mfa-kit made it.
    """
    # Ask once per run: each call of `lives` may need several requests to a shared ledger, and a killed rollout leaves
    # many entries of one run.
    alive = {*filter(lives, {entry.run for entry in recorded.entries if entry.reached in OPEN})}
    known = {(entry.run, entry.spec.serial): entry for entry in recorded.entries}
    serials = {entry.spec.serial for entry in recorded.entries if entry.reached in STANDS | OPEN}
    devices_by_serial = {device.serial: device for device in devices}
    before = {*recorded.before}
    gone = [*_gone_devices([entry for entry in recorded.entries if entry in before], devices_by_serial, tagged)]
    not_needed = {(discrepancy.user, discrepancy.run) for discrepancy in gone}
    discrepancies = [
        *_unknown_devices(devices, tagged, known, serials),
        *gone,
        *_unfinished(recorded.entries),
        *_backups(backups, recorded, [backup for backup in missing if (backup.user, backup.run) not in not_needed]),
    ]
    return [discrepancy for discrepancy in discrepancies if discrepancy.run not in alive]


def _unknown_devices(
    devices: Iterable[Device],
    tagged: Mapping[str, str | RunTag],
    known: Mapping[tuple[str, str], JournalEntry],
    serials: Collection[str],
) -> Iterator[Discrepancy]:
    for device in devices:
        run = tagged.get(device.serial)
        if isinstance(run, str) and (run, device.serial) not in known:
            detail = "its tags say that mfa-kit made it"
            yield Discrepancy(
                difference=Difference.UNKNOWN_DEVICE, user=device.user, device=device.serial, run=run, detail=detail
            )
        elif run is None and device.type is not DeviceType.VIRTUAL and device.serial not in serials:
            detail = "IAM does not say what made it, because devices of this type have no tags"
            yield Discrepancy(
                difference=Difference.UNKNOWN_DEVICE, user=device.user, device=device.serial, detail=detail
            )


def _gone_devices(
    entries: Iterable[JournalEntry], devices_by_serial: Mapping[str, Device], tagged: Mapping[str, str | RunTag]
) -> Iterator[Discrepancy]:
    # Only the last entry of a name counts. Earlier devices of the same name may have been removed without mfa-kit.
    for serial, entry in {entry.spec.serial: entry for entry in entries if entry.reached in STANDS}.items():
        user = entry.spec.user
        device, run = devices_by_serial.get(serial), tagged.get(serial)
        if device is None:
            detail = "it was removed, or renamed"
        elif isinstance(run, str) and run != entry.run:
            detail = f"run {run} made another device with this name"
        elif entry.reached is not JournalState.STAGED and device.user != user:
            detail = f"it belongs to {device.user}" if device.user else "it is not assigned to the user"
        else:
            continue
        yield Discrepancy(difference=Difference.GONE_DEVICE, user=user, device=serial, run=entry.run, detail=detail)


def _unfinished(entries: Iterable[JournalEntry]) -> Iterator[Discrepancy]:
    for entry in entries:
        if entry.reached in OPEN:
            yield Discrepancy(
                difference=Difference.UNFINISHED,
                user=entry.spec.user,
                device=entry.spec.serial,
                run=entry.run,
                detail=f"it reached the state {entry.reached}",
            )


def _backups(backups: Iterable[Backup], recorded: Recorded, missing: Iterable[Backup]) -> Iterator[Discrepancy]:
    unknown = [backup for backup in backups if backup.name not in recorded.backups]
    for difference, differing, detail in (
        (Difference.UNKNOWN_BACKUP, unknown, "the recipients of the file are not recorded"),
        (Difference.MISSING_BACKUP, missing, "mfa-kit wrote it there, and did not remove it"),
    ):
        for backup in differing:
            yield Discrepancy(
                difference=difference, user=backup.user, run=backup.run, file=str(backup.path), detail=detail
            )


def expected_backups(
    entries: Iterable[JournalEntry], *, folders: Collection[BackupLocation] | None, written: Collection[str]
) -> dict[BackupLocation, Backup]:
    """Return the backups that should be directly in one of these folders, by their paths.

    `entries` are journal entries, oldest run first. Of several devices with the same serial, only the last one counts.
    `folders` is None for all folders. `written` has the names of the backups that were written there and not removed.
    """
    last = {entry.spec.serial: entry for entry in entries if entry.reached is not JournalState.UNDONE}
    return {
        path: Backup(account=entry.spec.account, user=entry.spec.user, device=entry.spec.name, run=entry.run, path=path)
        for entry in last.values()
        if entry.reached in STANDS and entry.backup is not None and len(recorded_location(entry.backup).parents) > PARTS
        for path in map(recorded_location, filter(None, copies_of(entry)))
        if (folders is None or path.parents[PARTS] in folders) and backup_name(path) in written
    }


def other_folders(
    backups: Iterable[BackupLocation], *, folder: BackupLocation, stored: Collection[str]
) -> Mapping[BackupLocation, int]:
    """Return the other folders of backups, each with the number of its backups whose name is not in `stored`.

    `backups` are the paths on record. The users' own copies, whose folder is `users` in another one, are not counted.
    `stored` has the names in `folder`, so the former path of a folder that was moved is no other folder.
    """
    return Counter(
        path.parents[PARTS]
        for path in backups
        if path.parents[PARTS] != folder and path != own_copy(path) and backup_name(path) not in stored
    )
