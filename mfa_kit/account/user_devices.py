"""Lists the MFA devices of users, with few requests.

The list of virtual devices and the credential report are read first. Then IAM is asked about each user who has no
virtual device, but has MFA according to the report or is not in the report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mfa_kit.account.reading import MapEach
from mfa_kit.account.records import CredentialReport
from mfa_kit.account.source import AccountSource
from mfa_kit.core.errors import AccessDenied, NoSuchEntity, Outdated
from mfa_kit.core.models import Device
from mfa_kit.enrollment.ports import Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDevices:
    """The devices of users, by user name.

    `report` is the credential report that showed which users have no device. If AWS denied access to the report,
    or has only an older one, `report` is None, and IAM was asked about each user without a virtual device. `denied` has
    the error messages for the list of virtual devices and the report, if they could not be used.
    """

    devices: Mapping[str, Sequence[Device]]
    report: CredentialReport | None
    denied: tuple[str, ...] = ()


def read_user_devices(
    inventory: Inventory, account: AccountSource, names: Sequence[str], *, max_age: float, each: MapEach
) -> UserDevices:
    """Return the devices of the users with these names.

    The result keeps the order of `names`. Users whom IAM no longer finds are left out. For a user with a virtual
    device, the result has only virtual devices, because IAM's list of virtual devices shows no others and no further
    request is made. `max_age` is the maximum age of the credential report in seconds, and `each` is used like `map`. If
    AWS denies access to the list of virtual devices or to the report, or the report is older, IAM is asked about more
    users, with one request per user.
    """
    denied: list[str] = []
    virtual: dict[str, list[Device]] = {}
    try:
        for device in account.virtual():
            if device.user is not None:
                virtual.setdefault(device.user, []).append(device)
    except AccessDenied as error:
        denied.append(str(error))
        virtual = {}
    report = None
    try:
        report = account.report(max_age=max_age)
    except (AccessDenied, Outdated) as error:
        denied.append(str(error))
    asked = [name for name in names if name not in virtual and _may_have_device(name, report)]
    listed = dict(zip(asked, each(lambda name: devices_while_there(inventory, name), asked), strict=True))
    found = {name: listed.get(name, virtual.get(name, ())) for name in names}
    return UserDevices(
        devices={name: [replace(one, user=name) for one in held] for name, held in found.items() if held is not None},
        report=report,
        denied=tuple(denied),
    )


def devices_while_there(inventory: Inventory, name: str) -> Sequence[Device] | None:
    """Return the devices that IAM lists for a user, or None if the user does not exist any more."""
    try:
        return inventory.devices(name)
    except NoSuchEntity:
        return None


def _may_have_device(name: str, report: CredentialReport | None) -> bool:
    """Return whether a user without a virtual device may have another device, as far as the credential report shows."""
    row = report.users.get(name) if report else None
    return row is None or row.mfa is not False
