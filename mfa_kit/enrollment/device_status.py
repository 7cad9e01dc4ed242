"""The status of a user's MFA devices: for each device, which computer made it, and where its backup is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from mfa_kit.core.errors import AccessDenied, NoSuchEntity
from mfa_kit.core.models import Caller, Device, DeviceType, JournalEntry, Recorders, RunKind
from mfa_kit.enrollment.planning import recorded_entry
from mfa_kit.enrollment.ports import EnrollmentPorts


class MadeBy(StrEnum):
    """The computer that made a device, according to this computer's journal and the device's tags."""

    HERE = "this desk"
    ELSEWHERE = "another desk"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatus:
    """One device of a user. If `device` is None, the user has no device.

    `made` says which computer made the device. `backup` is the path or URL of the device's backup, or None if this
    computer finds none. `certifications` are those that IAM reports for a security key, such as `FIDO L1`; None if the
    device is not a security key, or if the certifications could not be read. `run` is the run that made the device, or
    None if that is unknown.
    """

    user: str
    device: Device | None = None
    made: MadeBy | None = None
    backup: str | None = None
    certifications: tuple[str, ...] | None = None
    run: str | None = None

    def maker(self, recorders: Recorders) -> str | None:
        """Return the computer that made the device, or None if no computer recorded it."""
        return recorders.devices.get((self.run or "", self.device.serial)) if self.device else None

    def made_for(self, recorders: Recorders) -> MadeBy | None:
        """Return `made`, but ELSEWHERE instead of HERE if another computer that shares the journal made the device."""
        made_here = self.maker(recorders) == recorders.here
        return MadeBy.ELSEWHERE if self.made is MadeBy.HERE and not made_here else self.made


def read_status(user: str, *, caller: Caller, ports: EnrollmentPorts) -> list[DeviceStatus]:
    """Return the status of each of a user's devices, in IAM's order.

    For a user without a device, return one status whose `device` is None. Raise NoSuchEntity if the user does not
    exist.
    """
    devices = ports.iam_reader.devices(user)
    rows = [
        _status(device, user, recorded_entry(device, user, caller=caller, ports=ports), ports=ports)
        for device in devices
    ]
    return [
        replace(row, certifications=_certifications(device, user, ports=ports))
        for row, device in zip(rows, devices, strict=True)
    ] or [DeviceStatus(user=user)]


def read_status_while_there(user: str, *, caller: Caller, ports: EnrollmentPorts) -> list[DeviceStatus]:
    """Return the result of `read_status`, or [] if the user does not exist any more.

    A caller that lists all users first needs this, because a user may be deleted after the list was read.
    """
    try:
        return read_status(user, caller=caller, ports=ports)
    except NoSuchEntity:
        return []


def listed_status(user: str, devices: Sequence[Device], *, ports: EnrollmentPorts) -> list[DeviceStatus]:
    """Return the status of devices from IAM's lists, without any request to IAM.

    Tags and certifications are not read. A device that is not in the journal is UNKNOWN, because only the journal and
    the tags show which computer made a device. For a user without a device, return one status whose `device` is None.
    """
    statuses = []
    for device in devices:
        entry = ports.journal.find(device.serial)
        ours = entry if entry and entry.spec.user == user else None
        statuses.append(_status(device, user, ours, ports=ports))
    return statuses or [DeviceStatus(user=user)]


def _status(device: Device, user: str, entry: JournalEntry | None, *, ports: EnrollmentPorts) -> DeviceStatus:
    """Return the status of a device, without its certifications.

    `entry` comes from the journal or from the device's tags. It is None if neither shows which run made the device.
    """
    ours = ports.journal.find(device.serial, run=entry.run) if entry else None
    made_by = MadeBy.ELSEWHERE if entry else MadeBy.UNKNOWN
    if ours:
        made_by = MadeBy.UNKNOWN if ours.purpose is RunKind.ADD else MadeBy.HERE
    return DeviceStatus(
        user=user,
        device=device,
        made=made_by,
        backup=ports.store.find(entry) if entry else None,
        run=entry.run if entry else None,
    )


def _certifications(device: Device, user: str, *, ports: EnrollmentPorts) -> tuple[str, ...] | None:
    """Return a security key's certifications from IAM, such as `FIDO L1`.

    Return None for a device of another type, if IAM denies the request, or if the key no longer exists.
    """
    if device.type is not DeviceType.FIDO2:
        return None
    try:
        return ports.iam_reader.registered(user, device.serial).levels
    except (AccessDenied, NoSuchEntity):
        return None
