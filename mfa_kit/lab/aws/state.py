"""An account as a JSON or TOML description: what `--from` reads, and what `--state` keeps between runs.

One form for both. A description may leave out what IAM would choose, such as ids, keys' secrets, seeds and dates; a
kept state has all of it, so it is written 0600 like any file with seeds in it, though these open nothing but a lab.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moto.core.exceptions import ServiceException
from moto.iam.models import AccessKey, AccessKeyLastUsed, AccountPasswordPolicy, MFADevice

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.disk.folders import open_folder
from mfa_kit.disk.whole_files import replace
from mfa_kit.lab.aws import description
from mfa_kit.lab.aws.account import ADMIN, LabAccount, LabUser
from mfa_kit.lab.aws.codes import Binding, DeviceCodes
from mfa_kit.lab.aws.description import Row
from mfa_kit.lab.aws.devices import FidoDevice, HardwareToken, VirtualDevice, assigned_entry, new_seed, u2f_serial
from mfa_kit.lab.aws.rights import default_version
from mfa_kit.lab.aws.wire import IamError


def save_account(account: LabAccount, file: Path) -> None:
    """Keep an account: a new file beside, then renamed over the old one. Raise IntegrityFault; the old one stays."""
    try:
        with open_folder(file.parent) as folder:
            replace(folder, file.name, json.dumps(describe_account(account), indent=1).encode())
    except OSError as error:
        raise IntegrityFault(
            f"{file} cannot be written, so this lab is not kept: {error.strerror}",
            "check the free space and the rights",
        ) from None


# out


def _when(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat() if at else None


def _kept(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value not in (None, {}, [])}


def _entity(one: Any) -> dict[str, Any]:
    documents = {name: json.loads(text) for name, text in one.policies.items()}
    return {"name": one.name, "path": one.path, "policies": documents, "attached": list(one.managed_policies)}


def _key(key: AccessKey) -> dict[str, Any]:
    used = key.last_used
    return _kept(
        {
            "id": key.access_key_id,
            "secret": key.secret_access_key,
            "status": key.status,
            "created": _when(key.create_date),
            "last_used": _when(used.timestamp) if used else None,
            "service": used.service if used else None,
        }
    )


def _device(account: LabAccount, serial: str, entry: Any) -> dict[str, Any]:
    enabled = _when(entry.enable_date) if entry else None
    if isinstance(entry, FidoDevice):
        return {"kind": "fido", "serial": serial, "enabled": enabled, "certifications": entry.certifications}
    codes = account.backend.codes(serial)
    spent = {"seed": codes.secret, "skew": codes.skew, "last": codes.last, "enabled": enabled}
    if serial in account.backend.tokens:
        return _kept({"kind": "token", "serial": serial} | spent)
    device = account.backend.device(serial)
    path = serial.partition(":mfa")[2].removesuffix(device.name)
    return _kept({"kind": "virtual", "name": device.name, "path": path, "tags": device.tags} | spent)


def _user(account: LabAccount, user: LabUser) -> dict[str, Any]:
    more = {
        "id": user.id,
        "created": _when(user.create_date),
        "groups": user.group_list,
        "tags": {tag["Key"]: tag["Value"] for tag in user.tags or []},
        "keys": [_key(key) for key in user.access_keys],
        "password": bool(user.password),
        "password_changed": _when(user.password_changed),
        "password_last_used": _when(user.password_last_used),
        "password_reset_required": user.password_reset_required,
        "devices": [_device(account, serial, entry) for serial, entry in user.mfa_devices.items()],
    }
    return _kept(_entity(user) | more)


def _password_row(policy: AccountPasswordPolicy) -> dict[str, Any]:
    held = vars(policy) | {"allow_change_password": policy.allow_users_to_change_password}
    return {name: held[name] for name in description.PASSWORD_POLICY}


def describe_account(account: LabAccount) -> dict[str, Any]:
    """Describe an account, whole."""
    backend = account.backend
    held = {serial for user in backend.users.values() for serial in user.mfa_devices}
    local = [policy for arn, policy in backend.managed_policies.items() if f"::{backend.account_id}:" in arn]
    root = account.root
    policy = backend.account_password_policy
    found = {
        "schema": "mfa-kit.lab",
        "version": description.VERSION,
        "region": account.region,
        "alias": next(iter(backend.account_aliases), None),
        "root": _kept(
            {
                "mfa": root.mfa,
                "virtual": root.virtual,
                "password": root.password,
                "keys": root.keys,
                "key_last_used": _when(root.key_last_used),
                "created": _when(root.created),
                "password_last_used": _when(root.password_last_used),
            }
        ),
        "password_policy": _password_row(policy) if policy else None,
        "policies": [
            {"name": one.name, "path": one.path, "document": json.loads(default_version(one))} for one in local
        ],
        "groups": [_kept(_entity(group)) for group in backend.groups.values()],
        "roles": [
            _kept(_entity(role) | {"trust": json.loads(role.assume_role_policy_document)})
            for role in backend.roles.values()
        ],
        "users": [_user(account, user) for user in backend.users.values()],
        "devices": [_device(account, serial, None) for serial in backend.virtual_mfa_devices if serial not in held],
        "tokens": [
            {"serial": serial, "seed": token.codes.secret, "skew": token.codes.skew, "last": token.codes.last}
            for serial, token in backend.tokens.items()
            if serial not in held
        ],
        "bindings": {
            serial: [[one.at, one.user, one.secret, one.skew] for one in rows]
            for serial, rows in account.book.bindings.items()
        },
    }
    return _kept(found)


# in


def build_account(account: LabAccount, found: Row) -> None:
    """Put what a description says into an account that has only its admin. Raise UsageFault for what does not fit."""
    description.check_fields("", found)
    try:
        _build(account, found)
    except (IamError, ServiceException, ValueError, AttributeError, LookupError, TypeError) as error:
        said = getattr(error, "message", str(error))
        raise UsageFault(
            f"the description of the account does not fit: {said}", "correct it, see docs/lab.md"
        ) from None


def _build(account: LabAccount, found: Row) -> None:
    backend = account.backend
    if "alias" in found:
        backend.create_account_alias(found["alias"])
    root = found.get("root", {})
    description.check_fields("root", root)
    for name, value in root.items():
        setattr(account.root, name, datetime.fromisoformat(value) if isinstance(value, str) else value)
    _add_policies(account, found)
    for row in description.checked_rows("users", found):
        _add_user(account, row)
    for row in description.checked_rows("devices", found):
        _add_device(account, None, row)
    for row in description.checked_rows("tokens", found):
        backend.tokens[row["serial"]] = HardwareToken(row["serial"], _codes(row))
    for serial, rows in found.get("bindings", {}).items():
        account.book.bindings[serial] = [Binding(*row) for row in rows]
    _password_policy(account, found.get("password_policy"))


def _add_policies(account: LabAccount, found: Row) -> None:
    backend = account.backend
    for row in description.checked_rows("policies", found):
        backend.create_policy("", row.get("path", "/"), json.dumps(row["document"]), row["name"], [])
    for row in description.checked_rows("groups", found):
        group = backend.create_group(row["name"], row.get("path", "/"))
        _policies(backend.attach_group_policy, group, row)
    for row in description.checked_rows("roles", found):
        role = backend.create_role(row["name"], json.dumps(row["trust"]), row.get("path", "/"), None, "", [], "3600")
        _policies(backend.attach_role_policy, role, row)


def _policies(attach: Callable[[str, str], None], entity: Any, row: Row) -> None:
    for name, document in row.get("policies", {}).items():
        entity.policies[name] = json.dumps(document)
    for arn in row.get("attached", []):
        attach(arn, entity.name)


def _date(row: Row, name: str) -> datetime | None:
    return datetime.fromisoformat(row[name]) if name in row else None


def _add_user(account: LabAccount, row: Row) -> None:
    backend = account.backend
    name = row["name"]
    if name == ADMIN:
        backend.access_keys.clear()
        del backend.users[ADMIN]
    tags = [{"Key": key, "Value": value} for key, value in row.get("tags", {}).items()]
    user = backend.create_user(account.region, name, row.get("path", "/"), tags)
    user.id, user.create_date = row.get("id", user.id), _date(row, "created") or user.create_date
    user.password = "set" if row.get("password") else None
    user.password_changed = _date(row, "password_changed") or (user.create_date if user.password else None)
    user.password_last_used = _date(row, "password_last_used")
    user.password_reset_required = row.get("password_reset_required", False)
    _policies(backend.attach_user_policy, user, row)
    for group in row.get("groups", []):
        backend.add_user_to_group(group, name)
    for each in description.checked_rows("keys", row):
        key = backend.create_access_key(name, status=each.get("status", "Active"))
        _rename(account, key, each)
    for each in description.checked_rows("devices", row):
        _add_device(account, user, each)


def _rename(account: LabAccount, key: AccessKey, row: Row) -> None:
    """Give a new key the id, the secret and the past that are described."""
    del account.backend.access_keys[key.access_key_id]
    key.access_key_id, key.secret_access_key = (
        row.get("id", key.access_key_id),
        row.get("secret", key.secret_access_key),
    )
    key.create_date = _date(row, "created") or key.create_date
    account.backend.access_keys[key.access_key_id] = key
    if "last_used" in row:
        at = datetime.fromisoformat(row["last_used"])
        key.last_used = AccessKeyLastUsed(at, row.get("service", "iam"), account.region)


def _codes(row: Row) -> DeviceCodes:
    seed = row.get("seed") or new_seed()
    return DeviceCodes(seed, row.get("skew", 0), row.get("last", -1))


def _add_device(account: LabAccount, user: LabUser | None, row: Row) -> None:
    """Add a device of any kind, assigned unless there is no user."""
    backend = account.backend
    enabled = _date(row, "enabled") or account.today()
    kind = row.get("kind", "virtual")
    if kind == "fido" and user is not None:
        serial = row.get("serial") or u2f_serial(
            account.partition, backend.account_id, user=user.name, name=row["name"]
        )
        entry: MFADevice = FidoDevice(serial, row.get("certifications", {}))
        entry.enable_date = enabled
        user.mfa_devices[serial] = entry
        return
    if kind == "token":
        serial, codes = row["serial"], _codes(row)
        backend.tokens[serial] = HardwareToken(serial, codes)
    elif kind == "virtual":
        device = VirtualDevice(
            backend.account_id, account.region, path=row.get("path", "/"), name=row.get("name", "key")
        )
        device.codes = codes = _codes(row)
        device.base32_string_seed, device.tags = codes.secret, dict(row.get("tags", {}))
        serial = device.serial_number
        backend.virtual_mfa_devices[serial] = device
        if user is not None:
            device.user, device.enable_date = user, enabled
    else:
        raise UsageFault(f"there is no device of kind {kind!r}", "a device is virtual, token or fido; a key has a user")
    if user is not None:
        user.mfa_devices[serial] = assigned_entry(serial, enabled)
        account.book.bind(serial, user.id, codes, now=enabled.timestamp())


def _password_policy(account: LabAccount, row: Row | None) -> None:
    if row is None:
        return
    unknown = sorted(set(row) - set(description.PASSWORD_POLICY))
    if unknown:
        raise UsageFault(
            f"password_policy has {unknown[0]!r}",
            f"take it out, or write one of {', '.join(description.PASSWORD_POLICY)}",
        )
    account.backend.update_account_password_policy(**(dict(description.PASSWORD_POLICY) | dict(row)))
