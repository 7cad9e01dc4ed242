"""The operations of IAM that moto lacks or that differ there. docs/lab.md says where they differ from AWS.

moto is not patched: its `DomainDispatcherApplication` accepts a function that makes the Flask app of a service. The
lab's function, in server.py, makes an app whose view uses WholeIam, a subclass of LabIam. moto's IamResponse, the base
class of both, answers the operations that the lab does not implement.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from moto.core.responses import ActionResult, EmptyResult
from moto.iam.models import AWSManagedPolicy, ManagedPolicy, Role
from moto.iam.responses import IamResponse

from mfa_kit.lab.aws import auth, rights, wire
from mfa_kit.lab.aws.backend import VALID, LabBackend, LabCertificate, LabUser, set_sign_in_session, sign_in_session
from mfa_kit.lab.aws.mfa_devices import (
    UNKNOWN_SERIAL,
    DeviceCodes,
    FidoDevice,
    VirtualDevice,
    assigned_entry,
    user_fields,
)
from mfa_kit.lab.aws.policies import Context, EvalDecision, condition_keys, decide
from mfa_kit.lab.aws.wire import IamError, OperationRequest

if TYPE_CHECKING:
    from mfa_kit.lab.aws.account import LabAccount
    from mfa_kit.lab.aws.organization import LabOrganization


COLUMNS = (
    *("user", "arn", "user_creation_time", "password_enabled", "password_last_used", "password_last_changed"),
    *("password_next_rotation", "mfa_active"),
    *("access_key_1_active", "access_key_1_last_rotated", "access_key_1_last_used_date"),
    *("access_key_1_last_used_region", "access_key_1_last_used_service"),
    *("access_key_2_active", "access_key_2_last_rotated", "access_key_2_last_used_date"),
    *("access_key_2_last_used_region", "access_key_2_last_used_service"),
    *("cert_1_active", "cert_1_last_rotated", "cert_2_active", "cert_2_last_rotated"),
)
# The report's placeholders: for a missing value, for a sign-in that was never recorded, and for a column that does not
# apply to root.
NONE, NEVER, UNSUPPORTED = "N/A", "no_information", "not_supported"
CERTIFICATES = ["false", NONE, "false", NONE]
# The maximum number of access keys of a user (user guide, "IAM and STS quotas").
KEYS = 2


def write_report(account: LabAccount) -> bytes:
    """Return the credential report, a CSV file, in the form of a report that we recorded from AWS.

    Root comes first, and users are sorted regardless of case. Dates end in `Z`. Lines end in LF, except the last.
    """
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerow(_root_row(account))
    policy = account.backend.account_password_policy
    max_age = (policy and policy.max_password_age) or 0
    for user in sorted(account.backend.all_users(), key=lambda user: user.name.lower()):
        rows.writerow(_user_row(user, max_age))
    return out.getvalue().rstrip("\n").encode()


def _root_row(account: LabAccount) -> list[str]:
    root = account.root
    arn = f"arn:{account.partition}:iam::{account.id}:root"
    used = (_date(root.key_last_used), "us-east-1", "iam") if root.key_last_used else (NONE, NONE, NONE)
    keys: list[str] = []
    for number in range(KEYS):
        keys += ["true", _date(root.created), *used] if number < root.keys else ["false", NONE, NONE, NONE, NONE]
    password = [UNSUPPORTED, _date(root.password_last_used, NEVER), UNSUPPORTED, UNSUPPORTED]
    return ["<root_account>", arn, _date(root.created), *password, _bool(root.held()), *keys, *CERTIFICATES]


def _user_row(user: LabUser, max_age: int) -> list[str]:
    """Return the row of a user. The password must be changed after `max_age` days, or never if `max_age` is 0."""
    start = [user.name, user.arn, _date(user.create_date)]
    return [*start, *_password(user, max_age), _bool(user.mfa_devices), *_keys(user), *CERTIFICATES]


def _password(user: LabUser, max_age: int) -> list[str]:
    if not user.password:
        return ["false", NONE, NONE, NONE]
    changed = user.password_changed
    due = changed + timedelta(days=max_age) if max_age and changed else None
    return ["true", _date(user.password_last_used, NEVER), _date(changed), _date(due)]


def _keys(user: LabUser) -> Iterator[str]:
    keys = sorted(user.access_keys, key=lambda key: key.access_key_id)[:KEYS]
    for key in keys:
        used = key.last_used
        yield from (_bool(key.status == "Active"), _date(key.create_date))
        yield from (_date(used.timestamp), used.region, used.service) if used else (NONE, NONE, NONE)
    for _ in range(KEYS - len(keys)):
        yield from ("false", NONE, NONE, NONE, NONE)


def _bool(value: object) -> str:
    return "true" if value else "false"


def _date(time: datetime | None, none: str = NONE) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ") if time else none


# The values of EvalDecision in the results of simulations (IAM API reference, EvaluationResult).
SIMULATED = {
    EvalDecision.ALLOW: "allowed",
    EvalDecision.EXPLICIT: "explicitDeny",
    EvalDecision.IMPLICIT: "implicitDeny",
}
# The lists in a response to GetAccountAuthorizationDetails, in order, each with the filter that selects it.
DETAILS = (
    ("UserDetailList", "User"),
    ("GroupDetailList", "Group"),
    ("RoleDetailList", "Role"),
    ("Policies", "LocalManagedPolicy"),
    ("Policies", "AWSManagedPolicy"),
)


# The maximum number of tags of a device (API TagMFADevice).
TAGS = 50


class LabIam(auth.AuthorizedResponse, IamResponse):
    """IAM's operations, as an extension of moto's response class."""

    def __init__(self, account: LabAccount, organization: LabOrganization) -> None:
        IamResponse.__init__(self)
        self.account, self.organization = account, organization

    @property
    def backend(self) -> LabBackend:
        """The account's backend. moto's own property would search moto's dictionary of accounts."""
        return self.account.backend

    def _user(self) -> LabUser:
        """Return the user that the request names.

        Raise IamError with the code ValidationError if the request names no user, or moto's error with the code
        NoSuchEntity if the user does not exist. For operations that act on the caller by default, auth.py has already
        added the caller's name to the request.
        """
        name = self.operation.text("UserName")
        if not name:
            raise IamError("ValidationError", "Must specify userName when calling with non-User credentials")
        return self.backend.get_user(name)

    def _page(self, title: str, rows: Sequence[Mapping[str, object]], *, key: str) -> ActionResult:
        """Return a response with one page of rows, sorted by the field `key`, under a title."""
        shown, marker = wire.cut_page(rows, self.operation, key=lambda row: str(row[key]))
        return ActionResult({title: shown, "IsTruncated": marker is not None, "Marker": marker})

    def list_users(self) -> ActionResult:
        """Answer ListUsers, in pages sorted by name regardless of case."""
        prefix = self.operation.text("PathPrefix") or "/"
        rows = [user for user in self.backend.all_users() if user.path.startswith(prefix)]
        shown, marker = wire.cut_page(rows, self.operation, key=lambda user: user.name.lower())
        return ActionResult(
            {"Users": [user_fields(user) for user in shown], "IsTruncated": marker is not None, "Marker": marker}
        )

    def get_user(self) -> ActionResult:
        """Answer GetUser. The response has the user's tags and permissions boundary, if the user has these."""
        user = self._user()
        more = {"Tags": user.tags, "PermissionsBoundary": user.permissions_boundary}
        return ActionResult({"User": user_fields(user) | {name: value for name, value in more.items() if value}})

    def get_account_authorization_details(self) -> ActionResult:
        """Answer GetAccountAuthorizationDetails: users, then groups, roles and policies, in pages."""
        kinds = self.operation.texts("Filter") or [kind for _, kind in DETAILS]
        rows = [
            (f"{number}:{name}", title, entity)
            for number, (title, kind) in enumerate(DETAILS)
            if kind in kinds
            for name, entity in self._entities(kind)
        ]
        shown, marker = wire.cut_page(rows, self.operation, key=lambda row: row[0])
        entities_by_title: dict[str, list[object]] = {title: [] for title, _ in DETAILS}
        for _, title, entity in shown:
            entities_by_title[title].append(entity)
        return ActionResult({**entities_by_title, "IsTruncated": marker is not None, "Marker": marker})

    def _entities(self, kind: str) -> Iterable[tuple[str, object]]:
        """Return all entities of one type, each with its sort key. `kind` is a value of the request's Filter."""
        if (entities := self.backend.entities.get(kind.lower())) is not None:
            return entities.items()
        aws, policies = kind == "AWSManagedPolicy", self.backend.managed_policies.items()
        return [(arn, _policy(policy)) for arn, policy in policies if isinstance(policy, AWSManagedPolicy) is aws]

    def get_account_summary(self) -> ActionResult:
        """Answer GetAccountSummary. The values whose names begin with Account are about the root user."""
        root = self.account.root
        summary = self.backend.account_summary.summary_map | {
            "UsersQuota": self.account.settings.users_quota,
            "AccountMFAEnabled": int(bool(root.held())),
            "AccountAccessKeysPresent": int(root.keys > 0),
            "AccountPasswordPresent": int(root.password),
        }
        return ActionResult({"SummaryMap": summary})

    def get_mfa_device(self) -> ActionResult:
        """Answer GetMFADevice, which is for FIDO security keys only."""
        serial = self.operation.text("SerialNumber")
        if ":u2f/" not in serial:
            raise IamError(
                "ValidationError",
                "The MFA device serial number sent in the request is invalid or not supported by this API. "
                "Currently, only hardware FIDO security keys are supported. Please use the compatible device or API.",
            )
        user = self._user()
        device = user.mfa_devices.get(serial)
        if not isinstance(device, FidoDevice):
            raise IamError("NoSuchEntity", "MFA Device invalid for user.")
        device_fields = {"UserName": user.name, "SerialNumber": serial, "EnableDate": device.enable_date}
        return ActionResult(device_fields | {"Certifications": device.certifications})

    # The operations that simulate policies.

    def simulate_principal_policy(self) -> ActionResult:
        """Answer SimulatePrincipalPolicy from the principal's policies, and the policies and context in the request."""
        arn = self.operation.text("PolicySourceArn")
        holder = self._principal(arn)
        if holder is None:
            raise IamError("NoSuchEntity", f"Principal {arn} cannot be found.")
        boundary = rights.boundary_of(self.account, holder)
        boundaries = self.operation.texts("PermissionsBoundaryPolicyInputList")
        documents = [*rights.policies_of(holder), *self.operation.texts("PolicyInputList")]
        return self._simulate(documents, boundaries or ([boundary] if boundary is not None else []), caller=holder)

    def simulate_custom_policy(self) -> ActionResult:
        """Answer SimulateCustomPolicy from the policies and the context in the request."""
        documents = self.operation.texts("PolicyInputList")
        return self._simulate(documents, self.operation.texts("PermissionsBoundaryPolicyInputList"), caller=None)

    def _principal(self, arn: str) -> LabUser | Role | None:
        holders: tuple[LabUser | Role, ...] = (*self.backend.all_users(), *self.backend.roles.values())
        return next((holder for holder in holders if holder.arn == arn), None)

    def _context_entries(self) -> dict[str, str | Sequence[str]]:
        """Return the condition keys in the request with their values (API reference: ContextEntry).

        A single value is a string, so that it can replace a policy variable. Several values, and the values of a list
        type such as stringList, are a sequence.
        """
        entries = (OperationRequest("iam", "", row) for row in self.operation.rows("ContextEntries"))
        context: dict[str, str | Sequence[str]] = {}
        for entry in entries:
            values = entry.texts("ContextKeyValues")
            single = len(values) == 1 and not entry.text("ContextKeyType").endswith("List")
            context[entry.text("ContextKeyName")] = values[0] if single else values
        return context

    def _caller_keys(self, holder: LabUser | Role | None) -> dict[str, str | Sequence[str]]:
        """Return the condition keys about the simulated caller, who is `holder` unless the request has a CallerArn.

        Raise IamError with the code InvalidInput if the CallerArn is not the ARN of a user (API SimulateCustomPolicy).
        """
        if arn := self.operation.text("CallerArn"):
            holder = self._principal(arn)
            if not isinstance(holder, LabUser):
                raise IamError("InvalidInput", f"Invalid Caller ARN: {arn}")
        if holder is None:
            return {}
        context: dict[str, str | Sequence[str]] = {"aws:PrincipalArn": holder.arn, **rights.principal_tags(holder)}
        if isinstance(holder, LabUser):
            context |= {"aws:username": holder.name, "aws:userid": holder.id}
        return context

    def _simulate(
        self, documents: Sequence[str], boundaries: Sequence[str], *, caller: LabUser | Role | None
    ) -> ActionResult:
        """Answer a simulation: evaluate the policies for each action on each resource that the request names.

        `boundaries` has the permissions boundary, or is empty. `caller` is the simulated caller if the request has no
        CallerArn; None means that there is no caller.
        """
        context = {**self._caller_keys(caller), **self._context_entries()}
        missing = sorted(condition_keys([*documents, *boundaries]) - context.keys())
        rows = [
            {
                "EvalActionName": action,
                "EvalResourceName": resource,
                "EvalDecision": SIMULATED[_decision(documents, boundaries, action, resource, context=context)],
                "MatchedStatements": [],
                "MissingContextValues": missing,
            }
            for action in self.operation.texts("ActionNames")
            for resource in self.operation.texts("ResourceArns") or ["*"]
        ]
        return ActionResult({"EvaluationResults": rows, "IsTruncated": False})

    # The operations on passwords.

    def create_login_profile(self) -> ActionResult:
        """Answer CreateLoginProfile. Raise IamError with the code EntityAlreadyExists if the user has a password."""
        user = self._user()
        if user.password:
            raise IamError("EntityAlreadyExists", f"Login Profile for user {user.name} already exists.")
        return self._set_password(user)

    def update_login_profile(self) -> ActionResult:
        """Answer UpdateLoginProfile. Raise IamError with the code NoSuchEntity if the user has no password."""
        user = self._user()
        if not user.password:
            raise IamError("NoSuchEntity", f"Login Profile for User {user.name} cannot be found.")
        self._set_password(user)
        return EmptyResult()

    def get_login_profile(self) -> ActionResult:
        """Answer GetLoginProfile. Raise IamError with the code NoSuchEntity if the user has no password."""
        user = self._user()
        if not user.password:
            raise IamError("NoSuchEntity", f"Login Profile for User {user.name} cannot be found.")
        return _login_profile(user)

    def _set_password(self, user: LabUser) -> ActionResult:
        """Set the user's password, and whether the user must choose a new one, from the request.

        The request may also set or reset the longest sign-in session.
        """
        if self.operation.params.get("ResetMaxSigninSessionDuration"):
            user.sign_in_session = None
        user.sign_in_session = self.operation.number("MaxSigninSessionDuration", 0) or user.sign_in_session
        password = self.operation.text("Password")
        if password:
            user.password, user.password_changed = password, self.account.today()
        user.password_reset_required = bool(self.operation.params.get("PasswordResetRequired"))
        return _login_profile(user)

    # The operations on permissions boundaries. moto stores no boundaries of users, and does not check whether the
    # boundary of a role exists.

    def create_user(self) -> ActionResult:
        """Answer CreateUser. Raise IamError with the code NoSuchEntity if the permissions boundary does not exist."""
        boundary = self.backend.checked_boundary(self.operation.text("PermissionsBoundary") or None)
        result = super().create_user()
        self.backend.get_user(self.operation.text("UserName")).permissions_boundary_arn = boundary
        return result

    def create_role(self) -> ActionResult:
        """Answer CreateRole. Raise IamError with the code NoSuchEntity if the permissions boundary does not exist."""
        self.backend.checked_boundary(self.operation.text("PermissionsBoundary") or None)
        result = super().create_role()
        self.update_role()
        return result

    def update_role(self) -> ActionResult:
        """Answer UpdateRole. Unlike in moto, a setting that the request does not name stays (API UpdateRole)."""
        role, params = self.backend.get_role(self.operation.text("RoleName")), self.operation.params
        role.description = self.operation.text("Description") or role.description
        seconds = self.operation.number("MaxSessionDuration", int(role.max_session_duration or 0))
        role.max_session_duration = str(seconds)
        kept = None if params.get("ResetMaxSigninSessionDuration") else sign_in_session(role)
        set_sign_in_session(role, self.operation.number("MaxSigninSessionDuration", 0) or kept)
        return EmptyResult()

    def put_user_permissions_boundary(self) -> ActionResult:
        """Answer PutUserPermissionsBoundary."""
        user = self._user()
        user.permissions_boundary_arn = self.backend.checked_boundary(self.operation.text("PermissionsBoundary"))
        return EmptyResult()

    def delete_user_permissions_boundary(self) -> ActionResult:
        """Answer DeleteUserPermissionsBoundary."""
        self._user().permissions_boundary_arn = None
        return EmptyResult()

    def put_role_permissions_boundary(self) -> ActionResult:
        """Answer PutRolePermissionsBoundary."""
        self.backend.checked_boundary(self.operation.text("PermissionsBoundary"))
        return super().put_role_permissions_boundary()

    # The operations on the credential report.

    def generate_credential_report(self) -> ActionResult:
        """Answer GenerateCredentialReport. Make a new report at once, unless the last one is recent enough."""
        report = self.account.report
        if report is not None and self.account.now() - report[0] <= self.account.settings.report_age:
            return ActionResult({"State": "COMPLETE"})
        self.account.report = (self.account.now(), write_report(self.account))
        return ActionResult(
            {"State": "STARTED", "Description": "No report exists. Starting a new report generation task"}
        )

    def get_credential_report(self) -> ActionResult:
        """Answer GetCredentialReport.

        Raise IamError with the code ReportNotPresent if there is no report, or ReportExpired if it is too old.
        """
        report = self.account.report
        if report is None:
            raise IamError("ReportNotPresent", "Unknown")
        if self.account.now() - report[0] > self.account.settings.report_age:
            raise IamError("ReportExpired", "Unknown")
        generated_at = datetime.fromtimestamp(int(report[0]), UTC)
        return ActionResult({"Content": report[1], "ReportFormat": "text/csv", "GeneratedTime": generated_at})

    def list_server_certificates(self) -> ActionResult:
        """Answer ListServerCertificates, in pages sorted by name."""
        now = datetime.fromtimestamp(int(self.account.now()), UTC)
        rows: list[dict[str, object]] = []
        for number, certificate in self.account.backend.certificates.items():
            dates = (
                (certificate.uploaded, certificate.expires)
                if isinstance(certificate, LabCertificate)
                else (now, now + VALID)
            )
            rows.append(
                {
                    "Path": certificate.path,
                    "ServerCertificateName": certificate.cert_name,
                    "ServerCertificateId": number,
                    "Arn": certificate.arn,
                    "UploadDate": dates[0],
                    "Expiration": dates[1],
                }
            )
        return self._page("ServerCertificateMetadataList", rows, key="ServerCertificateName")

    def _tags(self) -> dict[str, str]:
        """Return the request's tags. Raise IamError with the code InvalidInput if two keys are equal, ignoring case."""
        tags = self.operation.tags()
        if len({key.lower() for key, _ in tags}) < len(tags):
            raise IamError("InvalidInput", "Duplicate tag keys found. Please note that Tag keys are case insensitive.")
        return dict(tags)

    # The operations on virtual devices.

    def create_virtual_mfa_device(self) -> ActionResult:
        """Answer CreateVirtualMFADevice. Only this operation returns the secret and its QR code."""
        path, name = self.operation.text("Path") or "/", self.operation.text("VirtualMFADeviceName")
        device = VirtualDevice(self.account.id, self.account.region, path=path, name=name)
        device.tags = self._tags()
        if device.serial_number in self.backend.virtual_mfa_devices:
            raise IamError("EntityAlreadyExists", "MFA device already exists.")
        if len(self.backend.virtual_mfa_devices) >= self.account.settings.users_quota:
            raise IamError("LimitExceeded", f"Cannot exceed quota for MFADevices: {self.account.settings.users_quota}")
        self.backend.virtual_mfa_devices[device.serial_number] = device
        holder = next(iter(self.backend.account_aliases), self.backend.account_id)
        device_fields = {
            "SerialNumber": device.serial_number,
            "Base32StringSeed": device.base32_string_seed,
            "QRCodePNG": device.qr(holder),
            "Tags": [{"Key": key, "Value": value} for key, value in device.tags.items()],
        }
        return ActionResult({"VirtualMFADevice": device_fields})

    def delete_virtual_mfa_device(self) -> ActionResult:
        """Answer DeleteVirtualMFADevice. Raise IamError with the code DeleteConflict while the device is assigned."""
        device = self.backend.device(self.operation.text("SerialNumber"))
        if device.user is not None:
            raise IamError("DeleteConflict", "MFA VirtualDevice in use. Must deactivate first.")
        del self.backend.virtual_mfa_devices[device.serial_number]
        return EmptyResult()

    def list_virtual_mfa_devices(self) -> ActionResult:
        """Answer ListVirtualMFADevices, in pages that are sorted by serial. Secrets and tags are left out."""
        status = self.operation.text("AssignmentStatus") or "Any"
        rows = [
            row for row in self.account.virtual_rows() if status == "Any" or ("User" in row) == (status == "Assigned")
        ]
        return self._page("VirtualMFADevices", rows, key="SerialNumber")

    # The operations that assign devices to users.

    def enable_mfa_device(self) -> ActionResult:
        """Answer EnableMFADevice for a virtual device or a hardware token, with two consecutive codes."""
        user, serial = self._user(), self.operation.text("SerialNumber")
        codes = self._assignable(user, serial)
        self._accept_codes(serial)
        self.account.sts_codes.bind(serial, user.id, codes, now=self.account.now())
        entry = assigned_entry(serial, self.account.today())
        if (device := self.backend.virtual_mfa_devices.get(serial)) is not None:
            device.user, device.enable_date = user, entry.enable_date
        user.mfa_devices[serial] = entry
        return EmptyResult()

    def deactivate_mfa_device(self) -> ActionResult:
        """Answer DeactivateMFADevice. A virtual device is not deleted, but has no user afterwards."""
        user, serial = self._user(), self.operation.text("SerialNumber")
        self._check_assigned(user, serial)
        del user.mfa_devices[serial]
        if (device := self.backend.virtual_mfa_devices.get(serial)) is not None:
            device.user = device.enable_date = None
        if ":u2f/" not in serial:
            self.account.sts_codes.bind(serial, None, self.backend.codes(serial), now=self.account.now())
        return EmptyResult()

    def resync_mfa_device(self) -> ActionResult:
        """Answer ResyncMFADevice. Store how far the device's clock is off, according to two consecutive codes."""
        user, serial = self._user(), self.operation.text("SerialNumber")
        self._check_assigned(user, serial)
        self._accept_codes(serial)
        self.account.sts_codes.bind(serial, user.id, self.backend.codes(serial), now=self.account.now())
        return EmptyResult()

    def list_mfa_devices(self) -> ActionResult:
        """Answer ListMFADevices: the devices of a user, in pages sorted by serial."""
        user = self._user()
        rows = [
            {"UserName": user.name, "SerialNumber": serial, "EnableDate": enable_date}
            for serial, enable_date in self.account.devices_of(user).items()
        ]
        return self._page("MFADevices", rows, key="SerialNumber")

    def _assignable(self, user: LabUser, serial: str) -> DeviceCodes:
        """Return the DeviceCodes of a device. Raise IamError if the device cannot be assigned to the user."""
        if not serial.startswith("arn:") and serial not in self.backend.tokens:
            code = UNKNOWN_SERIAL[self.account.settings.unknown_serial]
            raise IamError(code, f"MFA device with serial number {serial} does not exist.")
        codes = self.backend.codes(serial)
        if serial in user.mfa_devices:
            raise IamError("EntityAlreadyExists", f"MFA Device for user {user.name} already exists.")
        if self.backend.holder(serial) is not None:
            raise IamError("EntityAlreadyExists", "MFA Device is already in use.")
        limit = self.account.settings.devices_per_user
        if len(user.mfa_devices) >= limit:
            raise IamError("LimitExceeded", f"Cannot exceed quota for MFADevicesPerUser: {limit}")
        return codes

    def _check_assigned(self, user: LabUser, serial: str) -> None:
        if serial not in user.mfa_devices:
            raise IamError("NoSuchEntity", "MFA Device invalid for user.")

    def _accept_codes(self, serial: str) -> None:
        """Accept the request's two codes. Raise IamError with the code InvalidAuthenticationCode if they are wrong."""
        accepted = self.backend.codes(serial).accept_pair(
            self.operation.text("AuthenticationCode1"),
            self.operation.text("AuthenticationCode2"),
            now=self.account.now(),
            settings=self.account.settings,
        )
        if not accepted:
            raise IamError("InvalidAuthenticationCode", "Authentication code for device is not valid.")

    # The operations on the tags of virtual devices.

    def tag_mfa_device(self) -> ActionResult:
        """Answer TagMFADevice. Raise IamError with the code LimitExceeded above 50 tags."""
        device = self.backend.device(self.operation.text("SerialNumber"))
        tags = device.tags | self._tags()
        if len(tags) > TAGS:
            raise IamError("LimitExceeded", f"Cannot exceed quota for TagsPerMFADevice: {TAGS}")
        device.tags = tags
        return EmptyResult()

    def untag_mfa_device(self) -> ActionResult:
        """Answer UntagMFADevice. Tag keys that the device does not have are ignored."""
        device = self.backend.device(self.operation.text("SerialNumber"))
        for key in self.operation.texts("TagKeys"):
            device.tags.pop(key, None)
        return EmptyResult()

    def list_mfa_device_tags(self) -> ActionResult:
        """Answer ListMFADeviceTags, in pages sorted by key."""
        device = self.backend.device(self.operation.text("SerialNumber"))
        rows = [{"Key": key, "Value": value} for key, value in device.tags.items()]
        return self._page("Tags", rows, key="Key")


def _login_profile(user: LabUser) -> ActionResult:
    """Return a user's login profile. The longest sign-in session is left out if it is not set (API LoginProfile)."""
    profile = {
        "UserName": user.name,
        "CreateDate": user.password_changed,
        "PasswordResetRequired": user.password_reset_required,
        "MaxSigninSessionDuration": user.sign_in_session,
    }
    return ActionResult({"LoginProfile": {name: value for name, value in profile.items() if value is not None}})


def _decision(
    documents: Sequence[str], boundaries: Sequence[str], action: str, resource: str, *, context: Context
) -> EvalDecision:
    """Return the decision of policies within a permissions boundary. An explicit deny in the boundary counts too."""
    decision = decide(documents, action, resource, context)
    limit = decide(boundaries, action, resource, context) if boundaries else EvalDecision.ALLOW
    if EvalDecision.EXPLICIT in (decision, limit):
        return EvalDecision.EXPLICIT
    return decision if limit is EvalDecision.ALLOW else EvalDecision.IMPLICIT


def _policy(policy: ManagedPolicy) -> dict[str, object]:
    """Return a managed policy as GetAccountAuthorizationDetails lists it. moto's serializer would omit the name."""
    return {
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": policy.arn,
        "Path": policy.path,
        "DefaultVersionId": policy.default_version_id,
        "AttachmentCount": policy.attachment_count,
        "IsAttachable": policy.is_attachable,
        "CreateDate": policy.create_date,
        "UpdateDate": policy.update_date,
        "PolicyVersionList": policy.policy_version_list,
    }
