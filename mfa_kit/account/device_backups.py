"""Finds the backups of devices: where each backup is, and when it was last decrypted and last tested."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from mfa_kit.account.snapshot import DeviceBackup
from mfa_kit.core.models import REPORTED_ROOT, ROOT, Backup, Device, Seal, backup_name, recorded_location
from mfa_kit.enrollment.ports import BackupStore, Journal


class BackupHistory(Protocol):
    """The ledger's records about devices and their backups. Times are Unix seconds."""

    def confirmed_devices(self) -> set[str]:
        """Return the serials of devices that mfa-kit created, or backed up, and then found in IAM.

        If computers share the ledger, the devices of all of them are included.
        """
        ...

    def last_opened(self) -> Mapping[str, float]:
        """Return the time of each backup's last decryption, by file name. Backups never decrypted are left out."""
        ...

    def drills(self) -> Mapping[str, float]:
        """Return the time of each backup's last successful test, by `ACCOUNT/USER/FILE`.

        Backups that never passed a test are left out.
        """
        ...

    def makers(self) -> Mapping[tuple[str, str], str]:
        """Return the computer that made each device, by run and serial. Without a shared ledger, this is empty."""
        ...

    def seals(self) -> Sequence[Seal]:
        """Return a Seal for each recipient to which a backup is or was encrypted, according to the ledger."""
        ...


def device_backups(
    devices: Iterable[Device],
    *,
    journal: Journal,
    store: BackupStore,
    records: BackupHistory,
    stored: Callable[[], Iterable[Backup]],
) -> tuple[DeviceBackup, ...]:
    """Return a DeviceBackup for each device in `confirmed_devices`, and for each device of root that has a backup.

    A device is left out if it is not assigned to the user for whom it was created. The ledger has no devices of root,
    so their backups are looked up among the backups that `stored` returns.
    """
    return tuple(_device_backups(devices, journal, store, records, stored))


def _device_backups(
    devices: Iterable[Device],
    journal: Journal,
    store: BackupStore,
    records: BackupHistory,
    stored: Callable[[], Iterable[Backup]],
) -> Iterator[DeviceBackup]:
    confirmed_serials, opened, drills = records.confirmed_devices(), records.last_opened(), records.drills()
    makers, recipients = records.makers(), _recipients(records.seals())

    def with_records(plain: DeviceBackup) -> DeviceBackup:
        if plain.file is None:
            return plain
        name = backup_name(recorded_location(plain.file))
        return replace(
            plain,
            opened=opened.get(recorded_location(plain.file).name),
            drilled=drills.get(name),
            recipients=recipients.get(name),
        )

    for device in devices:
        if device.user == REPORTED_ROOT:
            plain = _backup_of_root(device, stored())
        elif device.user is not None and device.serial in confirmed_serials:
            plain = _backup_of_user(device, journal, store, makers)
        else:
            plain = None
        if plain is not None:
            yield with_records(plain)


def _backup_of_user(
    device: Device, journal: Journal, store: BackupStore, makers: Mapping[tuple[str, str], str]
) -> DeviceBackup | None:
    """Return the backup of a user's device, or None if the ledger lacks the device, or has it for another user.

    The fields `opened`, `drilled` and `recipients` are not set.
    """
    entry = journal.find(device.serial)
    if entry is None or entry.spec.user != device.user:
        return None
    place = store.find(entry)
    return DeviceBackup(
        serial=device.serial,
        user=entry.spec.user,
        file=place or entry.backup,
        there=place is not None,
        made=entry.began,
        computer=makers.get((entry.run, device.serial)),
    )


def _backup_of_root(device: Device, backups: Iterable[Backup]) -> DeviceBackup | None:
    """Return the newest backup of a virtual device of root, or None if it has no backup.

    The fields `opened`, `drilled` and `recipients` are not set.
    """
    account, name = device.serial.split(":", 5)[4:]
    backups_of_device = [
        backup
        for backup in backups
        if (backup.account, backup.user) == (account, ROOT) and backup.device == name.removeprefix("mfa/")
    ]
    if not backups_of_device:
        return None
    newest = max(backups_of_device, key=lambda backup: backup.made)
    return DeviceBackup(serial=device.serial, user=REPORTED_ROOT, file=str(newest.path), there=True, made=newest.made)


def _recipients(seals: Iterable[Seal]) -> Mapping[str, tuple[str, ...]]:
    """Return the current recipients of each backup, by the backup's name. The users' own copies are left out."""
    recipients_by_backup: dict[str, tuple[str, ...]] = {}
    for seal in seals:
        if seal.until is None and not seal.own:
            recipients_by_backup[seal.backup] = (*recipients_by_backup.get(seal.backup, ()), seal.recipient)
    return recipients_by_backup
