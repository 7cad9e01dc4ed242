"""The account around the devices: users by pages, the whole account at once, the credential report, the summary."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from moto.core.responses import ActionResult, EmptyResult
from moto.iam.models import AWSManagedPolicy, ManagedPolicy
from moto.iam.responses import IamResponse

from mfa_kit.lab.aws import auth, rights, wire
from mfa_kit.lab.aws.account import LabAccount, LabBackend
from mfa_kit.lab.aws.devices import FidoDevice, user_fields
from mfa_kit.lab.aws.policies import Context, EvalDecision, condition_keys, decide
from mfa_kit.lab.aws.wire import IamError

REPORT = (
    *("user", "arn", "user_creation_time", "password_enabled", "password_last_used", "password_last_changed"),
    *("password_next_rotation", "mfa_active"),
    *("access_key_1_active", "access_key_1_last_rotated", "access_key_1_last_used_date"),
    *("access_key_1_last_used_region", "access_key_1_last_used_service"),
    *("access_key_2_active", "access_key_2_last_rotated", "access_key_2_last_used_date"),
    *("access_key_2_last_used_region", "access_key_2_last_used_service"),
    *("cert_1_active", "cert_1_last_rotated", "cert_2_active", "cert_2_last_rotated"),
)
NONE = "N/A"
CERTIFICATES = ["false", NONE, "false", NONE]
# IAM API reference, EvaluationResult: EvalDecision.
SIMULATED = {
    EvalDecision.ALLOW: "allowed",
    EvalDecision.EXPLICIT: "explicitDeny",
    EvalDecision.IMPLICIT: "implicitDeny",
}
# GetAccountAuthorizationDetails: the list that a kind of entity stands in, and the filter that asks for it, in order.
DETAILS = (
    ("UserDetailList", "User"),
    ("GroupDetailList", "Group"),
    ("RoleDetailList", "Role"),
    ("Policies", "LocalManagedPolicy"),
    ("Policies", "AWSManagedPolicy"),
)


class Directory(auth.AuthorizedResponse, IamResponse):
    """Reads, and the few writes that reads must see."""

    def __init__(self, account: LabAccount) -> None:
        IamResponse.__init__(self)
        self.account = account

    @property
    def backend(self) -> LabBackend:
        return self.account.backend

    def _user(self) -> Any:
        """Find the user named; the guard has put the caller in where an operation may name none."""
        name = self._get_param("UserName")
        if not name:
            raise IamError("ValidationError", "Must specify userName when calling with non-User credentials")
        return self.backend.get_user(name)

    def list_users(self) -> ActionResult:
        prefix = self._get_param("PathPrefix") or "/"
        rows = [user for user in self.backend.users.values() if user.path.startswith(prefix)]
        shown, marker = wire.cut_page(rows, self.params, key=lambda user: str(user.name).lower())
        return ActionResult(
            {"Users": [user_fields(user) for user in shown], "IsTruncated": marker is not None, "Marker": marker}
        )

    def get_user(self) -> ActionResult:
        user = self._user()
        return ActionResult({"User": user_fields(user) | ({"Tags": user.tags} if user.tags else {})})

    def get_account_authorization_details(self) -> ActionResult:
        wanted = self._get_param("Filter") or [kind for _, kind in DETAILS]
        rows: list[tuple[str, str, Any]] = []
        for number, (title, kind) in enumerate(DETAILS):
            if kind in wanted:
                rows += [(f"{number}:{name}", title, entity) for name, entity in self._entities(kind)]
        shown, marker = wire.cut_page(rows, self.params, key=lambda row: row[0])
        found: dict[str, Any] = {title: [] for title, _ in DETAILS}
        for _, title, entity in shown:
            found[title].append(entity)
        return ActionResult(found | {"IsTruncated": marker is not None, "Marker": marker})

    def _entities(self, kind: str) -> Sequence[tuple[str, Any]]:
        match kind:
            case "User":
                return list(self.backend.users.items())
            case "Group":
                return list(self.backend.groups.items())
            case "Role":
                return list(self.backend.roles.items())
            case _:
                aws = kind == "AWSManagedPolicy"
                held = self.backend.managed_policies.items()
                return [(arn, _policy(one)) for arn, one in held if isinstance(one, AWSManagedPolicy) is aws]

    def get_account_summary(self) -> ActionResult:
        root = self.account.root
        seen = self.backend.account_summary.summary_map | {
            "AccountMFAEnabled": int(root.mfa),
            "AccountAccessKeysPresent": int(root.keys > 0),
            "AccountPasswordPresent": int(root.password),
        }
        return ActionResult({"SummaryMap": seen})

    def get_mfa_device(self) -> ActionResult:
        serial = self._get_param("SerialNumber")
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
        found = {"UserName": user.name, "SerialNumber": serial, "EnableDate": device.enable_date}
        return ActionResult(found | {"Certifications": device.certifications})

    # what policies allow

    def simulate_principal_policy(self) -> ActionResult:
        """Judge each action on each resource by the principal's own policies; of a request nothing else is known."""
        arn = self._get_param("PolicySourceArn")
        holders = [*self.backend.users.values(), *self.backend.roles.values()]
        holder = next((one for one in holders if one.arn == arn), None)
        if holder is None:
            raise IamError("NoSuchEntity", f"Principal {arn} cannot be found.")
        documents = rights.policies_of(holder)
        given = {each["ContextKeyName"]: each["ContextKeyValues"] for each in self._get_param("ContextEntries") or []}
        context: dict[str, str | Sequence[str]] = {"aws:PrincipalArn": arn, **given}
        if ":user/" in arn:
            context["aws:username"] = holder.name
        return self._simulated(documents, context)

    def simulate_custom_policy(self) -> ActionResult:
        """Judge each action on each resource by policies that nobody has."""
        given = {each["ContextKeyName"]: each["ContextKeyValues"] for each in self._get_param("ContextEntries") or []}
        return self._simulated(self._get_param("PolicyInputList"), given)

    def _simulated(self, documents: Sequence[str], context: Context) -> ActionResult:
        rows = [
            {
                "EvalActionName": action,
                "EvalResourceName": resource,
                "EvalDecision": SIMULATED[decide(documents, action, resource, context)],
                "MatchedStatements": [],
                "MissingContextValues": sorted(condition_keys(documents) - context.keys()),
            }
            for action in self._get_param("ActionNames")
            for resource in self._get_param("ResourceArns") or ["*"]
        ]
        return ActionResult({"EvaluationResults": rows, "IsTruncated": False})

    # passwords

    def create_login_profile(self) -> ActionResult:
        user = self._user()
        if user.password:
            raise IamError("EntityAlreadyExists", f"Login Profile for user {user.name} already exists.")
        return self._set_password(user)

    def update_login_profile(self) -> ActionResult:
        user = self._user()
        if not user.password:
            raise IamError("NoSuchEntity", f"Login Profile for User {user.name} cannot be found.")
        self._set_password(user)
        return EmptyResult()

    def _set_password(self, user: Any) -> ActionResult:
        if self._get_param("Password"):
            user.password, user.password_changed = self._get_param("Password"), self.account.today()
        user.password_reset_required = bool(self._get_param("PasswordResetRequired"))
        seen = {
            "UserName": user.name,
            "CreateDate": user.password_changed,
            "PasswordResetRequired": user.password_reset_required,
        }
        return ActionResult({"LoginProfile": seen})

    # the credential report

    def generate_credential_report(self) -> ActionResult:
        report = self.account.report
        if report is not None and self.account.now() - report[0] <= self.account.settings.report_age:
            return ActionResult({"State": "COMPLETE"})
        self.account.report = (self.account.now(), self._report())
        return ActionResult(
            {"State": "STARTED", "Description": "No report exists. Starting a new report generation task"}
        )

    def get_credential_report(self) -> ActionResult:
        report = self.account.report
        if report is None:
            raise IamError("ReportNotPresent", "Unknown")
        if self.account.now() - report[0] > self.account.settings.report_age:
            raise IamError("ReportExpired", "Unknown")
        made = datetime.fromtimestamp(int(report[0]), UTC)
        return ActionResult({"Content": report[1], "ReportFormat": "text/csv", "GeneratedTime": made})

    def _report(self) -> bytes:
        """Write the CSV as recorded: root first, users without case, `Z` dates, LF, no newline at the end."""
        out = io.StringIO()
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(REPORT)
        root, no = self.account.root, "not_supported"
        arn = f"arn:{self.account.partition}:iam::{self.backend.account_id}:root"
        last = _date(root.password_last_used, "no_information")
        used = (_date(root.key_last_used), "us-east-1", "iam") if root.key_last_used else (NONE, NONE, NONE)
        keys: list[str] = []
        for number in range(2):
            held = number < root.keys
            keys += [_bool(held), _date(root.created) if held else NONE, *(used if held else (NONE, NONE, NONE))]
        rows.writerow(
            ["<root_account>", arn, _date(root.created), no, last, no, no, _bool(root.mfa), *keys, *CERTIFICATES]
        )
        policy = self.backend.account_password_policy
        for name in sorted(self.backend.users):
            rows.writerow(_row(self.backend.users[name], (policy and policy.max_password_age) or 0))
        return out.getvalue().rstrip("\n").encode()


def _policy(policy: ManagedPolicy) -> dict[str, Any]:
    """Show a managed policy as GetAccountAuthorizationDetails does; moto's serializer misses its name."""
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


def _bool(value: object) -> str:
    return "true" if value else "false"


def _date(at: datetime | None, none: str = NONE) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ") if at else none


def _row(user: Any, max_age: int) -> list[str]:
    if user.password:
        changed = user.password_changed
        due = changed + timedelta(days=max_age) if max_age and changed else None
        password = ["true", _date(user.password_last_used, "no_information"), _date(changed), _date(due)]
    else:
        password = ["false", NONE, NONE, NONE]
    keys: list[str] = []
    for number in range(2):
        key = sorted(user.access_keys, key=lambda one: str(one.access_key_id))[number : number + 1]
        if not key:
            keys += ["false", NONE, NONE, NONE, NONE]
            continue
        used = key[0].last_used
        keys += [_bool(key[0].status == "Active"), _date(key[0].create_date)]
        keys += [_date(used.timestamp), used.region, used.service] if used else [NONE, NONE, NONE]
    return [user.name, user.arn, _date(user.create_date), *password, _bool(user.mfa_devices), *keys, *CERTIFICATES]
