"""Builds an account from its description: the users, policies, devices and keys that description.py read."""

from collections.abc import Callable, Mapping
from datetime import datetime

from moto.core.exceptions import ServiceException
from moto.iam.models import AccessKey, AccessKeyLastUsed, Group, Role

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws.account import ADMIN, LabAccount
from mfa_kit.lab.aws.backend import VALID, LabCertificate, LabUser, new_id
from mfa_kit.lab.aws.codes import Binding, DeviceCodes
from mfa_kit.lab.aws.description import (
    FORM,
    DescribedAccount,
    DescribedDevice,
    DescribedEntity,
    DescribedKey,
    DescribedUser,
    parse_description,
)
from mfa_kit.lab.aws.mfa_devices import (
    FidoDevice,
    HardwareToken,
    VirtualDevice,
    assigned_entry,
    new_base32_seed,
    u2f_serial,
)
from mfa_kit.lab.aws.wire import IamError


def build_account(account: LabAccount, description: Mapping[str, object]) -> None:
    """Add everything in `description` to an account that is empty, or has only the user lab-admin.

    Raise UsageFault for invalid values.
    """
    try:
        _add_all(account, parse_description(description))
    except (IamError, ServiceException, ValueError, AttributeError, LookupError, TypeError) as error:
        message = getattr(error, "message", str(error))
        raise UsageFault(f"the description of the account is not valid: {message}", f"correct it; {FORM}") from None


def _add_all(account: LabAccount, described: DescribedAccount) -> None:
    backend = account.backend
    if described.alias is not None:
        backend.create_account_alias(described.alias)
    account.root = described.root
    _add_policies(account, described)
    for user in described.users:
        _add_user(account, user)
    for device in (*described.devices, *described.tokens):
        _add_device(account, None, device)
    for serial, rows in described.bindings.items():
        account.sts_codes.bindings[serial] = [Binding(*row) for row in rows]
    if described.password_policy is not None:
        backend.update_account_password_policy(**described.password_policy)


def _add_policies(account: LabAccount, described: DescribedAccount) -> None:
    """Add the managed policies, server certificates, groups and roles.

    The managed policies come first, because groups and roles may have them attached.
    """
    backend = account.backend
    for policy in described.policies:
        backend.create_policy("", policy.path, policy.document, policy.name, [])
    for certificate in described.certificates:
        dates = (certificate.uploaded or account.today(), certificate.expires or account.today() + VALID)
        lab_certificate = LabCertificate(
            account.id, account.region, name=certificate.name, path=certificate.path, dates=dates
        )
        backend.certificates[new_id("ASCA")] = lab_certificate
    for entity in described.groups:
        group = backend.create_group(entity.name, entity.path)
        _give_policies(backend.attach_group_policy, group, entity)
    for described_role in described.roles:
        longest = str(described_role.max_session_duration)
        role = backend.create_role(
            described_role.entity.name,
            described_role.trust,
            described_role.entity.path,
            backend.checked_boundary(described_role.boundary),
            "",
            [],
            longest,
        )
        _give_policies(backend.attach_role_policy, role, described_role.entity)


def _give_policies(
    attach: Callable[[str, str], None], entity: LabUser | Group | Role, described: DescribedEntity
) -> None:
    entity.policies.update(described.policies)
    for arn in described.attached:
        attach(arn, entity.name)


def _add_user(account: LabAccount, described: DescribedUser) -> None:
    """Add a user. If the name is lab-admin, the user replaces the account's own lab-admin."""
    backend = account.backend
    name = described.entity.name
    if name == ADMIN and name in backend.users:
        backend.access_keys.clear()
        del backend.users[ADMIN]
    tags = [{"Key": key, "Value": value} for key, value in described.tags.items()]
    user = backend.create_user(account.region, name, described.entity.path, tags)
    user.sign_in_session = described.sign_in_session or None
    user.permissions_boundary_arn = backend.checked_boundary(described.boundary)
    user.id = user.id if described.id is None else described.id
    user.create_date = described.created or user.create_date
    _set_password(user, described)
    _give_policies(backend.attach_user_policy, user, described.entity)
    for group in described.groups:
        backend.add_user_to_group(group, name)
    for key in described.keys:
        _set_key(account, backend.create_access_key(name, status=key.status), key)
    for device in described.devices:
        _add_device(account, user, device)


def _set_password(user: LabUser, described: DescribedUser) -> None:
    user.password = "set" if described.password else None
    user.password_changed = described.password_changed or (user.create_date if user.password else None)
    user.password_last_used = described.password_last_used
    user.password_reset_required = described.password_reset_required


def _set_key(account: LabAccount, key: AccessKey, described: DescribedKey) -> None:
    """Give a new key the ID, secret and dates from the description."""
    del account.backend.access_keys[key.access_key_id]
    key.access_key_id = key.access_key_id if described.id is None else described.id
    key.secret_access_key = key.secret_access_key if described.secret is None else described.secret
    key.create_date = described.created or key.create_date
    account.backend.access_keys[key.access_key_id] = key
    if described.last_used is not None:
        key.last_used = AccessKeyLastUsed(described.last_used, described.service, account.region)


def _add_device(account: LabAccount, user: LabUser | None, described: DescribedDevice) -> None:
    """Add a device. If no user is given, the device stays unassigned.

    Raise UsageFault for an unknown kind of device, or a security key without a user.
    """
    enabled = described.enabled or account.today()
    if described.kind == "fido" and user is not None:
        _add_fido(account, user, described, enabled=enabled)
        return
    codes = DeviceCodes(described.seed or new_base32_seed(), described.skew, described.last)
    if described.kind == "token":
        serial = described.serial
        account.backend.tokens[serial] = HardwareToken(serial, codes)
    elif described.kind == "virtual":
        device = VirtualDevice(account.id, account.region, path=described.path, name=described.name)
        device.codes, device.base32_string_seed, device.tags = codes, codes.secret, dict(described.tags)
        serial = device.serial_number
        account.backend.virtual_mfa_devices[serial] = device
        if user is not None:
            device.user, device.enable_date = user, enabled
    else:
        raise UsageFault(
            f"unknown kind of device: {described.kind!r}", "use virtual or token, or fido for a device of a user"
        )
    if user is not None:
        user.mfa_devices[serial] = assigned_entry(serial, enabled)
        account.sts_codes.bind(serial, user.id, codes, now=enabled.timestamp())


def _add_fido(account: LabAccount, user: LabUser, described: DescribedDevice, *, enabled: datetime) -> None:
    if not described.serial and not described.name:
        raise UsageFault("devices: a fido device has no name", "add the field 'name'")
    serial = described.serial or u2f_serial(account.partition, account.id, user=user.name, name=described.name)
    key = FidoDevice(serial, dict(described.certifications))
    key.enable_date = enabled
    user.mfa_devices[serial] = key
