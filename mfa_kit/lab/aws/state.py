"""Describes a lab, with its accounts and organization, in the form that `--state` stores.

description.py reads it. Sessions, and the codes that STS accepted, are left out. The state file has mode 0600 because
it contains secrets, although these secrets work only in a lab.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from moto.iam.models import AccessKey, Group, MFADevice, Role

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.file_formats import read_json
from mfa_kit.disk.files import open_folder, replace_file
from mfa_kit.lab.aws import description
from mfa_kit.lab.aws.account import LabAccount
from mfa_kit.lab.aws.backend import LabCertificate, LabUser, sign_in_session
from mfa_kit.lab.aws.description import OF_THE_FILE
from mfa_kit.lab.aws.mfa_devices import DeviceCodes, FidoDevice
from mfa_kit.lab.aws.organization import AccountRecord, ControlPolicy, LabOrganization, OrganizationalUnit
from mfa_kit.lab.aws.rights import default_version

Row = dict[str, object]
# The default of a role's MaxSessionDuration, in seconds (API CreateRole).
ROLE_SECONDS = 3600


def save_description(described: Row, file: Path) -> None:
    """Write a description to a new file, then rename it over the old file.

    On failure, raise IntegrityFault and keep the old file.
    """
    try:
        with open_folder(file.parent) as folder:
            replace_file(folder, file.name, json.dumps(described, indent=1).encode())
    except OSError as error:
        raise IntegrityFault(
            f"{file} cannot be written, so the state of this lab is lost: {error.strerror}",
            "check the free space and the permissions",
        ) from None


def describe_account(account: LabAccount) -> Row:
    """Describe a whole account, in the form that description.py can parse."""
    backend = account.backend
    assigned_serials = {serial for user in backend.all_users() for serial in user.mfa_devices}
    row = {
        "schema": "mfa-kit.lab",
        "version": description.VERSION,
        "region": account.region,
        "alias": next(iter(backend.account_aliases), None),
        "root": _root(account.root),
        "password_policy": _password_policy(account),
        "policies": _policies(account),
        "certificates": _certificates(account),
        "groups": [without_empty(_entity(group)) for group in backend.groups.values()],
        "roles": [_role(role) for role in backend.roles.values()],
        "users": [_user(account, user) for user in backend.all_users()],
        "devices": [
            _device(account, serial, None) for serial in backend.virtual_mfa_devices if serial not in assigned_serials
        ],
        "tokens": [
            {"serial": serial, **_codes(token.codes)}
            for serial, token in backend.tokens.items()
            if serial not in assigned_serials
        ],
        "bindings": {
            serial: [[binding.at, binding.user, binding.secret, binding.skew] for binding in rows]
            for serial, rows in account.sts_codes.bindings.items()
        },
        "regions": account.regions,
        "events": account.history.all(),
    }
    return without_empty(row)


def without_empty(row: Mapping[str, object]) -> Row:
    """Return a row without the fields whose value is None, or an empty list or dictionary."""
    return {name: value for name, value in row.items() if value not in (None, {}, [])}


def date_text(time: datetime | None) -> str | None:
    """Return a date as ISO 8601 in UTC, or None for None."""
    return time.astimezone(UTC).isoformat() if time else None


def _root(root: description.DescribedRoot) -> Row:
    devices: Row = {"mfa": root.mfa, "virtual": root.virtual}
    if root.devices is not None:
        rows = [
            {"kind": device.kind, "serial": device.serial or None, "enabled": date_text(device.enabled)}
            for device in root.devices
        ]
        devices = {"devices": [without_empty(row) for row in rows]}
    return devices | without_empty(
        {
            "password": root.password,
            "keys": root.keys,
            "key_last_used": date_text(root.key_last_used),
            "created": date_text(root.created),
            "password_last_used": date_text(root.password_last_used),
        }
    )


def _password_policy(account: LabAccount) -> Row | None:
    policy = account.backend.account_password_policy
    if policy is None:
        return None
    settings = vars(policy) | {"allow_change_password": policy.allow_users_to_change_password}
    return {name: settings[name] for name in description.PASSWORD_POLICY}


def _policies(account: LabAccount) -> list[Row]:
    """Return the account's own managed policies.

    AWS's managed policies are left out, because the lab loads each of them when a request first names it.
    """
    return [
        {"name": policy.name, "path": policy.path, "document": json.loads(default_version(policy))}
        for arn, policy in account.backend.managed_policies.items()
        if f"::{account.id}:" in arn
    ]


def _certificates(account: LabAccount) -> list[Row]:
    return [
        {
            "name": certificate.cert_name,
            "path": certificate.path,
            "uploaded": date_text(certificate.uploaded),
            "expires": date_text(certificate.expires),
        }
        for certificate in account.backend.certificates.values()
        if isinstance(certificate, LabCertificate)
    ]


def _entity(entity: LabUser | Group | Role) -> Row:
    documents = {name: json.loads(text) for name, text in entity.policies.items()}
    return {"name": entity.name, "path": entity.path, "policies": documents, "attached": list(entity.managed_policies)}


def _role(role: Role) -> Row:
    row = _entity(role) | {
        "boundary": role.permissions_boundary_arn,
        "trust": json.loads(role.assume_role_policy_document),
        "sign_in_session": sign_in_session(role),
    }
    longest = int(role.max_session_duration or ROLE_SECONDS)
    return without_empty(row | ({"max_session_duration": longest} if longest != ROLE_SECONDS else {}))


def _user(account: LabAccount, user: LabUser) -> Row:
    more: Row = {
        "boundary": user.permissions_boundary_arn,
        "sign_in_session": user.sign_in_session,
        "id": user.id,
        "created": date_text(user.create_date),
        "groups": user.group_list,
        "tags": {tag["Key"]: tag["Value"] for tag in user.tags or []},
        "keys": [_key(key) for key in user.access_keys],
        "password": bool(user.password),
        "password_changed": date_text(user.password_changed),
        "password_last_used": date_text(user.password_last_used),
        "password_reset_required": user.password_reset_required,
        "devices": [_device(account, serial, entry) for serial, entry in user.mfa_devices.items()],
    }
    return without_empty(_entity(user) | more)


def _key(key: AccessKey) -> Row:
    used = key.last_used
    return without_empty(
        {
            "id": key.access_key_id,
            "secret": key.secret_access_key,
            "status": key.status,
            "created": date_text(key.create_date),
            "last_used": date_text(used.timestamp) if used else None,
            "service": used.service if used else None,
        }
    )


def _codes(codes: DeviceCodes) -> Row:
    return {"seed": codes.secret, "skew": codes.skew, "last": codes.last}


def _device(account: LabAccount, serial: str, entry: MFADevice | None) -> Row:
    """Return the description of a device.

    `entry` is the device's entry in the `mfa_devices` of its user, or None if the device is unassigned.
    """
    enabled = date_text(entry.enable_date) if entry else None
    if isinstance(entry, FidoDevice):
        return {"kind": "fido", "serial": serial, "enabled": enabled, "certifications": entry.certifications}
    codes: Row = {**_codes(account.backend.codes(serial)), "enabled": enabled}
    if serial in account.backend.tokens:
        return without_empty({"kind": "token", "serial": serial} | codes)
    device = account.backend.device(serial)
    path = serial.partition(":mfa")[2].removesuffix(device.name)
    return without_empty({"kind": "virtual", "name": device.name, "path": path, "tags": device.tags} | codes)


def describe_lab(organization: LabOrganization) -> Row:
    """Return the description of a lab. If the lab has an organization, it is in the table `organization`."""
    row = describe_account(organization.management)
    if organization.records:
        row["organization"] = _organization(organization)
    return row


def _organization(organization: LabOrganization) -> Row:
    management = organization.records[organization.management.id]
    members = [_member(record) for record in organization.records.values() if record is not management]
    outside = [{**_account(account), "outside": True} for account in organization.outside.values()]
    more = {
        "name": management.name,
        "email": management.email,
        "delegated": organization.delegated,
        "restricted": sorted(organization.restricted),
        "units": [_unit(unit) for unit in organization.units.values()],
        "control_policies": [_policy(policy) for policy in organization.policies.values()],
        "accounts": [*members, *outside],
    }
    return {"features": sorted(organization.features), **without_empty(more)}


def _unit(unit: OrganizationalUnit) -> Row:
    return without_empty({"id": unit.id, "name": unit.name, "parent": unit.parent, "tags": unit.tags})


def _policy(policy: ControlPolicy) -> Row:
    return {
        "id": policy.id,
        "name": policy.name,
        "description": policy.description,
        "document": read_json(policy.document),
        "targets": policy.targets,
    }


def _account(account: LabAccount) -> Row:
    """Return the row of an account in the list `accounts` of the description.

    The row has the field `roles` even if the account has no roles. Without this field, the account would get the
    default roles when the description is read again.
    """
    row = {name: value for name, value in describe_account(account).items() if name not in OF_THE_FILE}
    return {"id": account.id, "roles": [], **row}


def _member(record: AccountRecord) -> Row:
    more: Row = {
        "name": record.name,
        "email": record.email,
        "state": record.state.value,
        "parent": record.parent,
        "tags": record.tags,
        "joined": date_text(record.joined),
        "method": record.method,
    }
    return {**_account(record.account), **without_empty(more)}
