"""Plan the device to make for a user: choose its name, and check that the user can have it. Changes nothing."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from itertools import count

from mfa_kit.core.errors import NoSuchEntity, UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.models import ROOT, USER_NAME, VIRTUAL, Caller, Device, DeviceSpec, Method
from mfa_kit.enrollment.devices import check_room
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts, IamReader


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollRequest:
    """A request to enroll a user, from the command line or a roster.

    `name` and `path` are those of the device in IAM. If `name` is None, a free name is derived from the user's name.
    `add` allows another device for a user who has one. `recipient` is the user's public key, to which their own copy of
    the backup is encrypted. `tags` are added to the device in IAM.
    """

    user: str
    method: Method = VIRTUAL
    name: str | None = None
    path: str = "/"
    add: bool = False
    recipient: str | None = None
    tags: tuple[tuple[str, str], ...] = ()


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

    `going` is the serial of an old device that is removed before the new one is made. Unless the wish has a name, the
    new device gets another name than the old one. Otherwise, a deactivate request for the old device that got no
    response could still take effect later, and deactivate the new device. Raise UsageFault if the user already has the
    maximum number of devices, or has a device with the new device's serial. Also raise the errors of `backend.check`
    and of the vault (the store of backups).
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
    """Return the DeviceSpec for a wish. The device gets the name in the wish.

    If the wish has no name, the device gets the first free name among USER, USER-2, USER-3 and so on. `taken` has the
    serials that the new device must not have. Raise UsageFault if the name in the wish leads to one of these serials.
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
