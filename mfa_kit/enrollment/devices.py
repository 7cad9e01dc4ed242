"""The devices of a user, as IAM lists them: which there are, whether one is there, and room for one more."""

from collections.abc import Iterable, Sequence

from mfa_kit.core.errors import NoSuchEntity, UsageFault
from mfa_kit.core.models import Device, Intent
from mfa_kit.enrollment.ports import Desk, Inventory

# IAM quotas: MFA devices of any kind a user.
MAX_DEVICES = 8
# Listings lag behind writes. Seconds between looks, 30 in all.
PAUSES = (1, 2, 3, 4, 5, 7, 8)


def serials_of(devices: Iterable[Device]) -> tuple[str, ...]:
    """Return the serials of devices, in IAM's order."""
    return tuple(device.serial for device in devices)


def look_up_serials(user: str, *, inventory: Inventory) -> tuple[str, ...]:
    """Return the serials of the devices that IAM lists on a user now. Raise NoSuchEntity when there is no such user."""
    return serials_of(inventory.devices(user))


def find_device(intent: Intent, *, desk: Desk) -> Device | None:
    """Return the device of an intent as IAM lists it on its user now, None where IAM does not list it there."""
    try:
        return next((device for device in desk.inventory.devices(intent.user) if device.serial == intent.serial), None)
    except NoSuchEntity:  # a user who is gone has no device: IAM deletes none who has
        return None


def is_listed(intent: Intent, *, desk: Desk) -> bool:
    """Return whether IAM lists the device of an intent on its user now."""
    return find_device(intent, desk=desk) is not None


def wait_until_listed(intent: Intent, *, desk: Desk) -> bool:
    """Look for a device on its user for up to 30 s, because listings lag; return whether IAM lists it."""
    if is_listed(intent, desk=desk):
        return True
    desk.progress.note(f"IAM does not list {intent.serial} yet; looking again for up to {sum(PAUSES)} s")
    for pause in PAUSES:
        desk.sleep(pause)
        if is_listed(intent, desk=desk):
            return True
    return False


def choose_device(user: str, wanted: str | None, *, devices: Sequence[Device]) -> Device:
    """Return the device that `wanted` means: a serial, an ARN, or a name without path; None means the only one.

    Raise UsageFault where that is not exactly one device.
    """
    chosen = [
        device for device in devices if wanted in {None, device.serial, device.serial.rpartition("/")[2], device.name}
    ]
    if not chosen:
        has = ", ".join(device.serial for device in devices)
        what = f"{user} has no MFA device" if wanted is None else f"{user} has no MFA device {wanted}"
        raise UsageFault(what, f"name one of {has}" if has else "see who has which: mfa-kit status")
    if len(chosen) > 1:
        serials = ", ".join(device.serial for device in chosen)
        raise UsageFault(f"{user} has {len(chosen)} MFA devices", f"say which with --mfa-device: {serials}")
    return chosen[0]


def check_room(
    user: str, devices: Sequence[Device], *, what: str = "the most that IAM allows", or_else: str = ""
) -> None:
    """Raise UsageFault when a user can have no more devices. `what` ends its sentence, and `or_else` its hint."""
    if len(devices) < MAX_DEVICES:
        return
    names = ", ".join(device.serial.rpartition("/")[2] for device in devices)
    raise UsageFault(
        f"{user} has {len(devices)} MFA devices, {what}",
        f"take one away first: mfa-kit revoke {user} --mfa-device NAME, one of {names}{or_else}",
    )


def delete_command(serial: str) -> str:
    """Return the aws command that deletes a virtual device."""
    return f"aws iam delete-virtual-mfa-device --serial-number {serial}"
