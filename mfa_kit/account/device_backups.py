"""The backups of the devices that the ledger knows: where each is, and when it was last decrypted and last tested."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from mfa_kit.account.snapshot import DeviceBackup
from mfa_kit.core.models import Device, backup_name
from mfa_kit.core.place_text import recorded_place
from mfa_kit.enrollment.ports import Journal, Vault


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


def device_backups(
    devices: Iterable[Device], *, journal: Journal, vault: Vault, records: BackupHistory
) -> tuple[DeviceBackup, ...]:
    """Return a DeviceBackup for each given device that the ledger has, with its user.

    A device is left out if it is no longer assigned to the user for whom it was created.
    """
    return tuple(_device_backups(devices, journal, vault, records))


def _device_backups(
    devices: Iterable[Device], journal: Journal, vault: Vault, records: BackupHistory
) -> Iterator[DeviceBackup]:
    made, opened, drills = records.confirmed_devices(), records.last_opened(), records.drills()
    makers = records.makers()
    for device in devices:
        if device.user is None or device.serial not in made:
            continue
        entry = journal.find(device.serial)
        if entry is None or entry.intent.user != device.user:
            continue
        place = vault.find(entry)
        file = place or entry.backup
        yield DeviceBackup(
            serial=device.serial,
            user=device.user,
            file=file,
            there=place is not None,
            made=entry.began,
            opened=opened.get(recorded_place(file).name) if file else None,
            drilled=drills.get(backup_name(recorded_place(file))) if file else None,
            computer=makers.get((entry.run, device.serial)),
        )
