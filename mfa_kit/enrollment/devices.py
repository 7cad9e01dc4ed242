"""The devices that IAM lists for a user: find a device, wait until it is listed, and check the limit per user."""

from collections.abc import Iterable, Sequence

from mfa_kit.core.errors import NoSuchEntity, UsageFault
from mfa_kit.core.message import Command, Message, command, mfa_kit, suggest
from mfa_kit.core.models import Caller, Device, DeviceSpec, DeviceType, JournalEntry, RunTag, intent_of
from mfa_kit.enrollment.ports import EnrollmentPorts, IamReader

# The maximum number of MFA devices of a user, of any kind (IAM quotas).
MAX_DEVICES = 8
# Seconds to wait before each new request for a list, 30 s in total, because IAM's lists lag behind writes.
PAUSES = (1, 2, 3, 4, 5, 7, 8)


def serials_of(devices: Iterable[Device]) -> tuple[str, ...]:
    """Return the serials of devices, in IAM's order."""
    return tuple(device.serial for device in devices)


def look_up_serials(user: str, *, iam_reader: IamReader) -> tuple[str, ...]:
    """Return the serials of the devices that IAM lists for a user. Raise NoSuchEntity if the user does not exist."""
    return serials_of(iam_reader.devices(user))


def find_device(spec: DeviceSpec, *, ports: EnrollmentPorts) -> Device | None:
    """Return the device that `spec` describes, from IAM's list of the user's devices; None if it is not listed."""
    try:
        return next((device for device in ports.iam_reader.devices(spec.user) if device.serial == spec.serial), None)
    except NoSuchEntity:  # a deleted user has no device, because IAM deletes only users without devices
        return None


def is_listed(spec: DeviceSpec, *, ports: EnrollmentPorts) -> bool:
    """Return whether IAM lists the device that `spec` describes among the user's devices."""
    return find_device(spec, ports=ports) is not None


def wait_until_listed(spec: DeviceSpec, *, ports: EnrollmentPorts) -> bool:
    """Wait up to 30 s until IAM lists a device for its user, and return whether it does.

    The wait is necessary because IAM's lists lag behind writes.
    """
    if is_listed(spec, ports=ports):
        return True
    ports.progress.note(f"IAM does not list {spec.serial} yet; checking again for up to {sum(PAUSES)} s")
    for pause in PAUSES:
        ports.sleep(pause)
        if is_listed(spec, ports=ports):
            return True
    return False


def device_names(device: Device) -> set[str]:
    """Return the values of `--mfa-device` that select a device: serial or ARN, last part of the ARN, and name."""
    return {device.serial, device.serial.rpartition("/")[2], device.name}


def choose_device(user: str, device_name: str | None, *, devices: Sequence[Device]) -> Device:
    """Return the device that `device_name` selects (see `device_names`). If it is None, return the only device.

    Raise UsageFault unless exactly one device matches.
    """
    chosen = [device for device in devices if device_name is None or device_name in device_names(device)]
    if not chosen:
        has = ", ".join(device.serial for device in devices)
        message = f"{user} has no MFA device" if device_name is None else f"{user} has no MFA device {device_name}"
        raise UsageFault(
            message, f"choose one of {has}" if has else suggest("list the users and their devices", "status")
        )
    if len(chosen) > 1:
        serials = ", ".join(device.serial for device in chosen)
        raise UsageFault(f"{user} has {len(chosen)} MFA devices", f"choose one with --mfa-device: {serials}")
    return chosen[0]


def check_room(
    user: str, devices: Sequence[Device], *, message_end: str = "the maximum that IAM allows", or_else: str = ""
) -> None:
    """Raise UsageFault if a user cannot have more devices.

    The message of the error ends with `message_end`, and the hint of the error ends with `or_else`.
    """
    if len(devices) < MAX_DEVICES:
        return
    names = ", ".join(device.serial.rpartition("/")[2] for device in devices)
    raise UsageFault(
        f"{user} has {len(devices)} MFA devices, {message_end}",
        Message("remove one first", mfa_kit("revoke {} --mfa-device NAME", user), f"NAME is one of {names}", or_else),
    )


def delete_command(serial: str) -> Command:
    """Return the command of the AWS CLI that deletes a virtual device."""
    return command("aws iam delete-virtual-mfa-device --serial-number {}", serial)


def recorded_entry(device: Device, user: str, *, caller: Caller, ports: EnrollmentPorts) -> JournalEntry | None:
    """Return the journal's entry for a user's device, or an entry built from the device's tags.

    Return None if the journal has no entry for this device and user, and the tags contain no run ID.
    """
    tagged = ports.iam_reader.run_of(device.serial) if device.type is DeviceType.VIRTUAL else RunTag.UNTAGGED
    run = tagged if isinstance(tagged, str) else None
    if (entry := ports.journal.find(device.serial, run=run)) and entry.spec.user == user:
        return entry
    if run is None:
        return None
    return JournalEntry(
        run=run, spec=intent_of(device.serial, user=user, account=caller.account, partition=caller.partition)
    )
