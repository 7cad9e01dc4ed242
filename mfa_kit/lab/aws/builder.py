"""Builds an account from its description: the users, policies, devices and keys that description.py read.

The table `organization` of the description adds an organization and its member accounts, with their default roles.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache

from moto.core.exceptions import ServiceException
from moto.iam.models import AccessKeyLastUsed, Group, Role

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws.account import ADMIN, ADMINISTRATOR, LabAccount
from mfa_kit.lab.aws.backend import VALID, LabCertificate, LabUser, new_id, set_sign_in_session
from mfa_kit.lab.aws.description import (
    DOCUMENT,
    FORM,
    OF_THE_FILE,
    PASSWORD_POLICY,
    CheckedRow,
    DescribedRoot,
    PasswordPolicy,
    checked_text,
    parse_root,
)
from mfa_kit.lab.aws.mfa_devices import (
    Binding,
    DeviceCodes,
    FidoDevice,
    HardwareToken,
    VirtualDevice,
    assigned_entry,
    new_base32_seed,
    u2f_serial,
)
from mfa_kit.lab.aws.organization import CREDENTIALS, SESSIONS, AccountRecord, LabOrganization, new_organization
from mfa_kit.lab.aws.policies import parse_statements
from mfa_kit.lab.aws.wire import IamError
from mfa_kit.organization.accounts import AccountState


def build_account(account: LabAccount, description: Mapping[str, object]) -> None:
    """Add everything in `description` to an account that is empty, or has only the user lab-admin.

    Raise UsageFault for invalid values.
    """
    try:
        _add_all(account, CheckedRow("", dict(description)))
    except (IamError, ServiceException, ValueError, AttributeError, LookupError, TypeError) as error:
        message = getattr(error, "message", str(error))
        raise UsageFault(f"the description of the account is not valid: {message}", f"correct it; {FORM}") from None


def _add_all(account: LabAccount, row: CheckedRow) -> None:
    if (alias := row.optional("alias")) is not None:
        account.backend.create_account_alias(alias)
    account.root = parse_root(CheckedRow("root", row.get("root", dict, {})))
    _add_policies(account, row)
    for user in row.rows("users"):
        _add_user(account, user)
    for device in row.rows("devices"):
        _add_device(account, None, device, kind=device.get("kind", str, "virtual"))
    for token in row.rows("tokens"):
        _add_device(account, None, token, kind="token")
    for serial, bindings in row.get("bindings", dict, {}).items():
        account.sts_codes.bindings[checked_text(serial)] = [_binding(binding) for binding in bindings]
    account.regions = row.texts("regions") or account.regions
    for event in row.get("events", list, []):
        account.history.add(event)
    if row.has("password_policy"):
        account.backend.update_account_password_policy(**_password_policy(row.get("password_policy", dict, {})))


def _binding(row: object) -> Binding:
    match row:
        case [int() | float() as at, str() | None as user, str() as seed, int() as skew]:
            return Binding(at, user, seed, skew)
        case _:
            raise TypeError(f"{row!r} does not consist of a time, a user, a seed and a skew")


def _password_policy(row: PasswordPolicy) -> PasswordPolicy:
    unknown = sorted(set(row) - set(PASSWORD_POLICY))
    if unknown:
        raise UsageFault(
            f"password_policy: unknown field {unknown[0]!r}",
            f"remove it, or use one of {', '.join(PASSWORD_POLICY)}",
        )
    return {**PASSWORD_POLICY, **row}


def _add_policies(account: LabAccount, row: CheckedRow) -> None:
    """Add the managed policies, server certificates, groups and roles.

    The managed policies come first, because groups and roles may have them attached.
    """
    backend = account.backend
    for policy in row.rows("policies"):
        document = json.dumps(policy.get("document", dict, {}))
        backend.create_policy("", policy.path, document, policy.name, [])
    for certificate in row.rows("certificates"):
        dates = (
            certificate.date("uploaded") or account.today(),
            certificate.date("expires") or account.today() + VALID,
        )
        lab_certificate = LabCertificate(
            account.id, account.region, name=certificate.name, path=certificate.path, dates=dates
        )
        backend.certificates[new_id("ASCA")] = lab_certificate
    for described in row.rows("groups"):
        _give_policies(backend.attach_group_policy, backend.create_group(described.name, described.path), described)
    for described in row.rows("roles"):
        trust, longest = json.dumps(described.get("trust", dict, {})), described.get("max_session_duration", int, 3600)
        boundary = backend.checked_boundary(described.optional("boundary"))
        role = backend.create_role(described.name, trust, described.path, boundary, "", [], str(longest))
        set_sign_in_session(role, described.get("sign_in_session", int, 0) or None)
        _give_policies(backend.attach_role_policy, role, described)


def _give_policies(attach: Callable[[str, str], None], entity: LabUser | Group | Role, row: CheckedRow) -> None:
    policies = row.get("policies", dict, {})
    entity.policies.update({checked_text(name): json.dumps(document) for name, document in policies.items()})
    for arn in row.texts("attached"):
        attach(arn, entity.name)


def _add_user(account: LabAccount, row: CheckedRow) -> None:
    """Add a user. If the name is lab-admin, the user replaces the account's own lab-admin."""
    backend = account.backend
    if row.name == ADMIN and ADMIN in backend.users:
        backend.access_keys.clear()
        del backend.users[ADMIN]
    tags = [{"Key": key, "Value": value} for key, value in row.pairs("tags").items()]
    user = backend.create_user(account.region, row.name, row.path, tags)
    user.sign_in_session = row.get("sign_in_session", int, 0) or None
    user.permissions_boundary_arn = backend.checked_boundary(row.optional("boundary"))
    user.id = row.get("id", str, user.id)
    user.create_date = row.date("created") or user.create_date
    _set_password(user, row)
    _give_policies(backend.attach_user_policy, user, row)
    for group in row.texts("groups"):
        backend.add_user_to_group(group, row.name)
    for key in row.rows("keys"):
        _add_key(account, user, key)
    for device in row.rows("devices"):
        _add_device(account, user, device, kind=device.get("kind", str, "virtual"))


def _set_password(user: LabUser, row: CheckedRow) -> None:
    user.password = "set" if row.get("password", bool, default=False) else None
    user.password_changed = row.date("password_changed") or (user.create_date if user.password else None)
    user.password_last_used = row.date("password_last_used")
    user.password_reset_required = row.get("password_reset_required", bool, default=False)


def _add_key(account: LabAccount, user: LabUser, row: CheckedRow) -> None:
    """Add an access key with the ID, secret and dates from the description, or with new ones."""
    key = account.backend.create_access_key(user.name, status=row.get("status", str, "Active"))
    del account.backend.access_keys[key.access_key_id]
    key.access_key_id = row.get("id", str, key.access_key_id)
    key.secret_access_key = row.get("secret", str, key.secret_access_key)
    key.create_date = row.date("created") or key.create_date
    account.backend.access_keys[key.access_key_id] = key
    if (used := row.date("last_used")) is not None:
        key.last_used = AccessKeyLastUsed(used, row.get("service", str, "iam"), account.region)


def _add_device(account: LabAccount, user: LabUser | None, row: CheckedRow, *, kind: str) -> None:
    """Add a device. If no user is given, the device stays unassigned.

    The lab chooses the serial of a security key and the seed of any other device if the row has none. Raise UsageFault
    for an unknown kind of device, or a security key without a user.
    """
    enabled = row.date("enabled") or account.today()
    tags, certifications = row.pairs("tags"), row.pairs("certifications")
    if kind == "fido" and user is not None:
        _add_fido(account, user, row, certifications, enabled=enabled)
        return
    codes = DeviceCodes(
        row.get("seed", str, "") or new_base32_seed(), row.get("skew", int, 0), row.get("last", int, -1)
    )
    if kind == "token":
        serial = row.get("serial", str, "")
        account.backend.tokens[serial] = HardwareToken(serial, codes)
    elif kind == "virtual":
        device = VirtualDevice(account.id, account.region, path=row.path, name=row.name)
        device.codes, device.base32_string_seed, device.tags = codes, codes.secret, tags
        serial = device.serial_number
        account.backend.virtual_mfa_devices[serial] = device
        if user is not None:
            device.user, device.enable_date = user, enabled
    else:
        raise UsageFault(f"unknown kind of device: {kind!r}", "use virtual or token, or fido for a device of a user")
    if user is not None:
        user.mfa_devices[serial] = assigned_entry(serial, enabled)
        account.sts_codes.bind(serial, user.id, codes, now=enabled.timestamp())


def _add_fido(
    account: LabAccount, user: LabUser, row: CheckedRow, certifications: dict[str, str], *, enabled: datetime
) -> None:
    serial = row.get("serial", str, "")
    if not serial and not row.name:
        raise UsageFault("devices: a fido device has no name", "add the field 'name'")
    serial = serial or u2f_serial(account.partition, account.id, user=user.name, name=row.name)
    key = FidoDevice(serial, certifications)
    key.enable_date = enabled
    user.mfa_devices[serial] = key


# The role that AWS adds to each account that an organization creates (Organizations user guide).
ACCESS_ROLE = "OrganizationAccountAccessRole"
# The names of the two roles that mfa-kit assumes, and the operations that each may call (docs/permissions.md).
AUDIT_ROLE, ENROLL_ROLE = "mfa-kit-audit", "mfa-kit-enroll"
AUDIT = (
    "GenerateCredentialReport",
    "GetAccountAuthorizationDetails",
    "GetAccountPasswordPolicy",
    "GetAccountSummary",
    "GetCredentialReport",
    "GetLoginProfile",
    "GetMFADevice",
    "ListAccessKeys",
    "ListMFADeviceTags",
    "ListMFADevices",
    "ListOrganizationsFeatures",
    "ListServerCertificates",
    "ListUsers",
    "ListVirtualMFADevices",
    "cloudtrail:LookupEvents",
    "ec2:DescribeRegions",
)
ENROLL = (
    "CreateVirtualMFADevice",
    "DeactivateMFADevice",
    "DeleteVirtualMFADevice",
    "EnableMFADevice",
    "GenerateCredentialReport",
    "GetAccountAuthorizationDetails",
    "GetAccountSummary",
    "GetCredentialReport",
    "GetMFADevice",
    "GetUser",
    "ListMFADeviceTags",
    "ListMFADevices",
    "ListUsers",
    "ListVirtualMFADevices",
    "ResyncMFADevice",
    "TagMFADevice",
    "cloudtrail:LookupEvents",
    "ec2:DescribeRegions",
)


def add_default_roles(account: LabAccount, management: LabAccount) -> None:
    """Add three roles that trust the management account: the two that mfa-kit assumes, and the one that AWS adds."""
    trust = _trust(management.partition, management.id)
    for name, policy in ((AUDIT_ROLE, _allow(AUDIT)), (ENROLL_ROLE, _allow(ENROLL)), (ACCESS_ROLE, ADMINISTRATOR)):
        role = account.backend.create_role(name, trust, "/", None, "", [], "3600")
        role.policies["allow"] = policy


@cache
def _trust(partition: str, management: str) -> str:
    """Return a trust policy, as JSON, that lets principals of the management account assume a role.

    They may also set a source identity. The policy is cached because all accounts of a lab get the same one.
    """
    who = {"AWS": f"arn:{partition}:iam::{management}:root"}
    statement = {"Effect": "Allow", "Principal": who, "Action": ["sts:AssumeRole", "sts:SetSourceIdentity"]}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@cache
def _allow(operations: tuple[str, ...]) -> str:
    """Return a policy, as JSON, that allows these operations on all resources. Those without a service are IAM's."""
    actions = [name if ":" in name else f"iam:{name}" for name in operations]
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


ACCOUNT_ID = re.compile(r"\d{12}", re.ASCII)
# The forms of the IDs of OUs and policies in the service model. The ID of an OU contains a part of the ID of its root.
UNIT_ID = re.compile(r"ou-[0-9a-z]{4,32}-[a-z0-9]{8,32}")
POLICY_ID = re.compile(r"p-[0-9a-zA-Z_]{8,128}")
METHODS = ("CREATED", "INVITED")


def build_organization(management: LabAccount, described: object) -> LabOrganization:
    """Return a new organization with the content of the table `described`. Raise UsageFault for invalid values."""
    organization = new_organization(management)
    try:
        _fill(organization, CheckedRow("organization", described))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UsageFault(f"the description of the organization is not valid: {error}", f"correct it; {FORM}") from None
    return organization


def _fill(organization: LabOrganization, row: CheckedRow) -> None:
    record = organization.records[organization.management.id]
    record.name, record.email = row.get("name", str, record.name), row.get("email", str, record.email)
    if row.has("features"):
        organization.features = {_one_of(feature, (CREDENTIALS, SESSIONS)) for feature in row.texts("features")}
    for unit in row.rows("units"):
        _add_unit(organization, unit)
    for account in row.rows("accounts"):
        _add_account(organization, account)
    for policy in row.rows("control_policies"):
        _add_policy(organization, policy)
    organization.restricted = {_target(organization, target) for target in row.texts("restricted")}
    for number, services in row.get("delegated", dict, {}).items():
        organization.delegated[_member(organization, number)] = [str(service) for service in services]


def _add_unit(organization: LabOrganization, row: CheckedRow) -> None:
    parent = _parent(organization, row.get("parent", str, organization.root_id))
    number = _new_id(row, UNIT_ID, organization.units)
    unit = organization.units[organization.add_unit(row.get("name", str, ""), parent=parent, number=number)]
    unit.tags = row.pairs("tags")


def _add_policy(organization: LabOrganization, row: CheckedRow) -> None:
    document = json.dumps(row.get("document", dict, {}))
    parse_statements(document)
    organization.attach(
        row.get("name", str, ""),
        document,
        *(_target(organization, target) for target in row.texts("targets")),
        number=_new_id(row, POLICY_ID, organization.policies),
        description=row.get("description", str, ""),
    )


def _new_id(row: CheckedRow, form: re.Pattern[str], known: Mapping[str, object]) -> str:
    """Return the ID of a row, or "" if the row has none.

    Raise UsageFault if the ID does not match `form` or is already used.
    """
    number = row.get("id", str, "")
    if number and (number in known or not form.fullmatch(number)):
        raise UsageFault(
            f"the ID {number!r} is used twice, or has the wrong form",
            f"omit it, or use another ID of the form {form.pattern}",
        )
    return number


def _add_account(organization: LabOrganization, row: CheckedRow) -> None:
    """Add a described account. If the description has no `roles`, the account gets the default roles."""
    number = row.get("id", str, "")
    if not ACCOUNT_ID.fullmatch(number):
        raise UsageFault(f"{number!r} is not an account ID", "give 12 digits")
    if organization.find(number) is not None:
        raise UsageFault(f"the account {number} is described twice", "remove one of the descriptions")
    account = organization.management.sibling(number)
    _build(account, row)
    if not row.has("roles"):
        add_default_roles(account, organization.management)
    if row.get("outside", bool, default=False):
        organization.outside[number] = account
        return
    name = row.get("name", str, number)
    record = AccountRecord(
        account=account,
        name=name,
        email=row.get("email", str, f"{number}@example.com"),
        parent=_parent(organization, row.get("parent", str, organization.root_id)),
        state=AccountState(row.get("state", str, "ACTIVE")),
        tags=row.pairs("tags"),
        method=_one_of(row.get("method", str, "CREATED"), METHODS),
    )
    record.joined = row.date("joined") or record.joined
    organization.add(record)


def _build(account: LabAccount, row: CheckedRow) -> None:
    """Build an account from its own description. If the description has no `root`, the root user has no credentials.

    Raise UsageFault for an invalid value. Its message starts with the ID of the account.
    """
    description = row.fields(name for name in DOCUMENT if name not in OF_THE_FILE)
    try:
        build_account(account, description)
    except UsageFault as error:
        raise UsageFault(f"account {account.id}: {error}", error.hint) from None
    if not row.has("root"):
        account.root = DescribedRoot.without_credentials()


def _one_of(value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise UsageFault(f"the value {value!r} is not one of {', '.join(choices)}", f"correct it; {FORM}")
    return value


def _parent(organization: LabOrganization, name_or_id: str) -> str:
    """Return the ID of the root or OU whose ID or name is `name_or_id`.

    Raise UsageFault if neither the root nor any OU has this ID or name, or if several OUs have this name.
    """
    if name_or_id in (organization.root_id, "root") or name_or_id in organization.units:
        return organization.root_id if name_or_id == "root" else name_or_id
    unit_ids = [unit.id for unit in organization.units.values() if unit.name == name_or_id]
    if len(unit_ids) != 1:
        problem = (
            "more than one OU of this organization is named"
            if unit_ids
            else "no OU of this organization has the name or ID"
        )
        raise UsageFault(f"{problem} {name_or_id!r}", "use the ID of an OU that comes earlier in the description")
    return unit_ids[0]


def _target(organization: LabOrganization, name_or_id: str) -> str:
    """Return the ID of the account whose ID is `name_or_id`, or of the root or OU whose ID or name is `name_or_id`.

    Raise UsageFault if nothing has this ID or name, or if several OUs have this name.
    """
    return name_or_id if name_or_id in organization.records else _parent(organization, name_or_id)


def _member(organization: LabOrganization, number: str) -> str:
    """Return the ID of a member account. Raise UsageFault if no member account has this ID."""
    if number not in organization:
        raise UsageFault(
            f"{number!r} is not a member account", "add it to the list 'accounts', or remove it from 'delegated'"
        )
    return number


# UNITS are the OUs of a new organization, each with its parent ("" means the root). STAGES are the OUs that have
# accounts; their names are also the values of the accounts' tag `stage`.
UNITS = (("workloads", ""), ("sandbox", ""), ("production", "workloads"), ("development", "workloads"))
STAGES = ("production", "development", "sandbox")


def add_members(organization: LabOrganization, count: int, *, users: Sequence[str]) -> None:
    """Add the OUs of UNITS and `count` member accounts to an organization.

    The first account has the name `member-001` and the ID 000000000001. Each account gets the users
    named in `users` and the default roles. Its root user has no credentials, as in accounts that AWS creates.
    """
    units = {"": organization.root_id}
    for name, parent in UNITS:
        units[name] = organization.add_unit(name, parent=units[parent])
    for number in range(1, count + 1):
        stage = STAGES[number % len(STAGES)]
        name = f"member-{number:03}"
        account = add_member(organization, f"{number:012}", name=name, parent=units[stage], tags={"stage": stage})
        add_default_roles(account, organization.management)
        for user in users:
            account.add_user(user)


def add_member(
    organization: LabOrganization, number: str, *, name: str, parent: str, tags: dict[str, str] | None = None
) -> LabAccount:
    """Add an empty account to the organization. Its root user has no credentials."""
    account = organization.management.sibling(number)
    account.root = DescribedRoot.without_credentials()
    email = f"{name}@example.com"
    return organization.add(AccountRecord(account=account, name=name, email=email, parent=parent, tags=tags or {}))
