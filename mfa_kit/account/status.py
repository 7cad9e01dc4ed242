"""The status of the users' devices in one account: how it is read, and the rows that `status` prints."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from mfa_kit.account.last_use import LastUse, LastUses
from mfa_kit.account.reading import AccountSource, MapEach, read_user_devices
from mfa_kit.core.interaction import LiveProgress, counting
from mfa_kit.core.message import suggest
from mfa_kit.core.models import Backup, Caller, Device, Recorders, backup_name
from mfa_kit.core.recorded_keys import FACTS, KeyOfDevice, KeysOfDevices
from mfa_kit.core.text import ResultRow, age_text, iso_time
from mfa_kit.enrollment import device_status as use_case
from mfa_kit.enrollment.planning import resolve_user
from mfa_kit.enrollment.ports import EnrollmentPorts

# The cells about the last use of a device. A table has only the first.
USE_FIELDS = ("last_used", "last_used_at", "no_use_since", "use_from_files", "uses_read")


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
        return key_cells(key, details=self.details)

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


def key_cells(found: KeyOfDevice | None, *, details: bool) -> ResultRow:
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


def _list_users(ports: EnrollmentPorts, progress: LiveProgress) -> Sequence[str]:
    with progress.showing("listing users"):
        return ports.iam_reader.users()


def ask_each_user(
    user: str | None, *, caller: Caller, map_each: MapEach, ports: EnrollmentPorts, progress: LiveProgress
) -> list[use_case.DeviceStatus]:
    """Ask IAM about the user, or about each user, and return the status of each device."""
    if user:
        name = resolve_user(user, caller=caller, iam_reader=ports.iam_reader)
        return use_case.read_status(name, caller=caller, ports=ports)
    names = _list_users(ports, progress)
    looked = map_each(lambda name: use_case.read_status_while_there(name, caller=caller, ports=ports), names)
    with counting(progress, "reading users", looked, len(names)) as counted:
        return list(chain.from_iterable(counted))


def read_lists(
    account: AccountSource, *, max_age: float, map_each: MapEach, ports: EnrollmentPorts, progress: LiveProgress
) -> list[use_case.DeviceStatus]:
    """Return the status of devices from IAM's list of virtual devices and the credential report.

    Ask IAM about each user who has no virtual device and who, according to the report, has MFA or may have it. For a
    user with a virtual device, devices of other types are left out. `max_age` is that of the report in seconds.
    """
    names = _list_users(ports, progress)
    with progress.showing("reading devices"):
        user_devices = read_user_devices(ports.iam_reader, account, names, max_age=max_age, map_each=map_each)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupTests:
    """What the ledger knows about the tests of backups.

    `named` returns the backup with a name of the form `ACCOUNT/USER/FILE`, or None. `drills` has the time of the last
    passed test of each backup, by the backup's name, in Unix seconds. `is_due` returns whether a test is due. With
    `recorders`, other computers share the ledger.
    """

    named: Callable[[str], Backup | None]
    drills: Mapping[str, float]
    is_due: Callable[[Backup], bool]
    recorders: Recorders | None

    def row(self, has: use_case.DeviceStatus, cells: DeviceCells) -> ResultRow:
        """Return the row of one device, or of a user without devices.

        With `recorders`, the row says which computers made the device and tested its backup.
        """
        name, recorders = backup_name(Path(has.backup)) if has.backup else "", self.recorders
        backup = self.named(name) if name else None
        drilled = self.drills.get(backup.name) if backup else None
        computers: ResultRow = {}
        if recorders:
            computers = {"computer": has.maker(recorders), "drilled_on": recorders.drills.get(name)}
        return {
            **cells.of(has.user, has.device),
            "made": has.made_for(recorders) if recorders else has.made,
            "backup": has.backup,
            "drilled": iso_time(drilled) if drilled else None,
            "drill_due": self.is_due(backup) if backup else None,
            "certifications": has.certifications,
            **computers,
            **cells.of_key(has.user, has.device),
        }
