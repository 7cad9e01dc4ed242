"""Writes an account as a description, which `--state` keeps between runs and description.py reads.

The description is complete. The file has mode 0600 because it contains secrets, although they work only in a lab.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from moto.iam.models import AccessKey, Group, MFADevice, Role

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.disk.folders import open_folder
from mfa_kit.disk.whole_files import replace_file
from mfa_kit.lab.aws import description
from mfa_kit.lab.aws.account import LabAccount
from mfa_kit.lab.aws.backend import LabUser
from mfa_kit.lab.aws.codes import DeviceCodes
from mfa_kit.lab.aws.mfa_devices import FidoDevice
from mfa_kit.lab.aws.rights import default_version

Row = dict[str, object]


def save_account(account: LabAccount, file: Path) -> None:
    """Write an account to a new file, then rename it over the old file.

    On failure, raise IntegrityFault and keep the old file.
    """
    try:
        with open_folder(file.parent) as folder:
            replace_file(folder, file.name, json.dumps(describe_account(account), indent=1).encode())
    except OSError as error:
        raise IntegrityFault(
            f"{file} cannot be written, so the state of this lab is lost: {error.strerror}",
            "check the free space and the permissions",
        ) from None


def describe_account(account: LabAccount) -> Row:
    """Describe a whole account in the form that description.py parses."""
    backend = account.backend
    held = {serial for user in backend.all_users() for serial in user.mfa_devices}
    found = {
        "schema": "mfa-kit.lab",
        "version": description.VERSION,
        "region": account.region,
        "alias": next(iter(backend.account_aliases), None),
        "root": _root(account.root),
        "password_policy": _password_policy(account),
        "policies": _policies(account),
        "groups": [_without_empty(_entity(group)) for group in backend.groups.values()],
        "roles": [_role(role) for role in backend.roles.values()],
        "users": [_user(account, user) for user in backend.all_users()],
        "devices": [_device(account, serial, None) for serial in backend.virtual_mfa_devices if serial not in held],
        "tokens": [
            {"serial": serial, **_codes(token.codes)} for serial, token in backend.tokens.items() if serial not in held
        ],
        "bindings": {
            serial: [[one.at, one.user, one.secret, one.skew] for one in rows]
            for serial, rows in account.sts_codes.bindings.items()
        },
    }
    return _without_empty(found)


def _without_empty(row: Mapping[str, object]) -> Row:
    return {name: value for name, value in row.items() if value not in (None, {}, [])}


def _date(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat() if at else None


def _root(root: description.RootPosture) -> Row:
    return _without_empty(
        {
            "mfa": root.mfa,
            "virtual": root.virtual,
            "password": root.password,
            "keys": root.keys,
            "key_last_used": _date(root.key_last_used),
            "created": _date(root.created),
            "password_last_used": _date(root.password_last_used),
        }
    )


def _password_policy(account: LabAccount) -> Row | None:
    policy = account.backend.account_password_policy
    if policy is None:
        return None
    held = vars(policy) | {"allow_change_password": policy.allow_users_to_change_password}
    return {name: held[name] for name in description.PASSWORD_POLICY}


def _policies(account: LabAccount) -> list[Row]:
    """Describe the account's own managed policies. AWS's are omitted: a request that names one loads it."""
    return [
        {"name": policy.name, "path": policy.path, "document": json.loads(default_version(policy))}
        for arn, policy in account.backend.managed_policies.items()
        if f"::{account.backend.account_id}:" in arn
    ]


def _entity(one: LabUser | Group | Role) -> Row:
    documents = {name: json.loads(text) for name, text in one.policies.items()}
    return {"name": one.name, "path": one.path, "policies": documents, "attached": list(one.managed_policies)}


def _role(role: Role) -> Row:
    return _without_empty(_entity(role) | {"trust": json.loads(role.assume_role_policy_document)})


def _user(account: LabAccount, user: LabUser) -> Row:
    more: Row = {
        "id": user.id,
        "created": _date(user.create_date),
        "groups": user.group_list,
        "tags": {tag["Key"]: tag["Value"] for tag in user.tags or []},
        "keys": [_key(key) for key in user.access_keys],
        "password": bool(user.password),
        "password_changed": _date(user.password_changed),
        "password_last_used": _date(user.password_last_used),
        "password_reset_required": user.password_reset_required,
        "devices": [_device(account, serial, entry) for serial, entry in user.mfa_devices.items()],
    }
    return _without_empty(_entity(user) | more)


def _key(key: AccessKey) -> Row:
    used = key.last_used
    return _without_empty(
        {
            "id": key.access_key_id,
            "secret": key.secret_access_key,
            "status": key.status,
            "created": _date(key.create_date),
            "last_used": _date(used.timestamp) if used else None,
            "service": used.service if used else None,
        }
    )


def _codes(codes: DeviceCodes) -> Row:
    return {"seed": codes.secret, "skew": codes.skew, "last": codes.last}


def _device(account: LabAccount, serial: str, entry: MFADevice | None) -> Row:
    """Describe a device. `entry` is its entry in its user's list, None for an unassigned device."""
    enabled = _date(entry.enable_date) if entry else None
    if isinstance(entry, FidoDevice):
        return {"kind": "fido", "serial": serial, "enabled": enabled, "certifications": entry.certifications}
    codes: Row = {**_codes(account.backend.codes(serial)), "enabled": enabled}
    if serial in account.backend.tokens:
        return _without_empty({"kind": "token", "serial": serial} | codes)
    device = account.backend.device(serial)
    path = serial.partition(":mfa")[2].removesuffix(device.name)
    return _without_empty({"kind": "virtual", "name": device.name, "path": path, "tags": device.tags} | codes)
