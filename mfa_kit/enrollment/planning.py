"""Plan the device to make for a user: choose its name, and check that the user can have it. Changes nothing.

Also chooses a device among those that IAM lists for a user.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from mfa_kit.core.errors import NoSuchEntity, UsageFault
from mfa_kit.core.message import Message, mfa_kit, suggest
from mfa_kit.core.models import (
    ROOT,
    USER_NAME,
    VIRTUAL,
    Caller,
    Device,
    DeviceSpec,
    DeviceType,
    JournalEntry,
    Method,
    RunTag,
    intent_of,
)
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts, IamReader

# The maximum number of MFA devices of a user, of any kind (IAM quotas).
MAX_DEVICES = 8


def serials_of(devices: Iterable[Device]) -> tuple[str, ...]:
    """Return the serials of devices, in IAM's order."""
    return tuple(device.serial for device in devices)


def look_up_serials(user: str, *, iam_reader: IamReader) -> tuple[str, ...]:
    """Return the serials of the devices that IAM lists for a user. Raise NoSuchEntity if the user does not exist."""
    return serials_of(iam_reader.devices(user))


def devices_while_there(user: str, *, iam_reader: IamReader) -> Sequence[Device] | None:
    """Return the devices that IAM lists for a user, or None if the user does not exist any more."""
    try:
        return iam_reader.devices(user)
    except NoSuchEntity:
        return None


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
        Message("remove one first", mfa_kit("revoke {} --mfa-device NAME", user), f"NAME is one of {names}{or_else}"),
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollRequest:
    """A request to enroll a user, from the command line or a roster.

    `name` and `path` are those of the device in IAM. If `name` is None, a free name is derived from the user's name.
    `add` allows another device for a user who has one. `recipient` is the user's public key, to which their own copy of
    the backup is encrypted. `tags` are added to the device in IAM. `staged` and `replaces` are as in DeviceSpec.
    """

    user: str
    method: Method = VIRTUAL
    name: str | None = None
    path: str = "/"
    add: bool = False
    recipient: str | None = None
    tags: tuple[tuple[str, str], ...] = ()
    staged: bool = False
    replaces: str | None = None


def plan_device(
    request: EnrollRequest,
    backend: DeviceBackend,
    *,
    devices: Sequence[Device],
    caller: Caller,
    ports: EnrollmentPorts,
    going: str | None = None,
) -> DeviceSpec:
    """Return the device to make for a user who has these `devices`.

    `going` is the serial of an old device that is removed before the new one is made. Unless the request has a name,
    the new device gets another name than the old one. Otherwise, a deactivate request for the old device that got no
    response could still take effect later, and deactivate the new device. Raise UsageFault if the user already has the
    maximum number of devices, or has a device with the new device's serial. Also raise the errors of `backend.check`
    and of the BackupStore.
    """
    check_room(request.user, devices)
    has = {serial for device in devices for serial in (device.serial, device.serial.removesuffix(_id(device)))}
    spec = _named_intent(request, taken=has if request.name else {*has, going}, caller=caller)
    sealed = ports.store.place(spec, "") is not None
    spec = backend.check(spec, sealed=sealed)
    if spec.serial in has:
        raise UsageFault(
            f"{request.user} already has {spec.serial}", suggest("see the user's devices", "status {}", request.user)
        )
    if sealed:
        ports.store.check()
    return spec


def _named_intent(request: EnrollRequest, *, taken: Container[str | None], caller: Caller) -> DeviceSpec:
    """Return the DeviceSpec for a request. The device gets the name in the request.

    If the request has no name, the device gets the first free name among USER, USER-2, USER-3 and so on. `taken` has
    the serials that the new device must not have. Raise UsageFault if the name in the request leads to one of them.
    """
    names = [request.name] if request.name else (request.user if n == 1 else f"{request.user}-{n}" for n in count(1))
    for name in names:
        spec = DeviceSpec(
            account=caller.account,
            partition=caller.partition,
            user=request.user,
            name=name,
            method=request.method,
            path=request.path,
            recipient=request.recipient,
            tags=request.tags,
            staged=request.staged,
            replaces=request.replaces,
        )
        if spec.serial not in taken:
            return spec
    raise UsageFault(f"{request.user} already has a device named {request.name}", "choose another --name")


def _id(device: Device) -> str:
    """Return the ID that IAM appended to a security key's name; "" for other devices."""
    return device.serial.rpartition("/")[2].removeprefix(device.name)


def resolve_user(text: str, *, caller: Caller, iam_reader: IamReader, must_exist: bool = False) -> str:
    """Return the user name for a name, an ARN or `@me` (the caller), as IAM spells it.

    User names in IAM are case-insensitive, but those in the journal, tags and backups are case-sensitive. For a
    user who does not exist, raise NoSuchEntity if `must_exist` is true. If `must_exist` is false, return the name
    unchanged, because some commands remove the keys and backups of a deleted user. Raise UsageFault for an ARN of a
    role or a group, an ARN in another account, and `@me` if the caller is not a user.
    """
    name = _plain_name(text, caller=caller)
    if caller.user and name.lower() == caller.user.lower():
        return caller.user
    if name == ROOT or not USER_NAME.fullmatch(name):
        return name
    try:
        return iam_reader.name_in_iam(name)
    except NoSuchEntity:
        if must_exist:
            raise
        return name


def _plain_name(text: str, *, caller: Caller) -> str:
    if text == "@me":
        if caller.user is None:
            raise UsageFault(f"you are not an IAM user but {caller.arn}", "give a user name instead of @me")
        return caller.user
    if not text.startswith("arn:"):
        return text
    account_prefix = f"arn:{caller.partition}:iam::{caller.account}:"
    if not text.startswith(account_prefix):
        raise UsageFault(f"{text} is not in this account, {caller.account}", "choose another --profile")
    resource = text.removeprefix(account_prefix)
    if resource != ROOT and not resource.startswith("user/"):
        raise UsageFault(f"{text} is not a user", "name an IAM user, because roles and groups have no MFA devices")
    return resource.rpartition("/")[2]
