"""Reads an account's users, policies, credentials and devices with boto3, and lists users page by page."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mfa_kit.account.evaluator import Decision, RequestContext
from mfa_kit.account.snapshot import (
    AccessKey,
    AccountPasswordPolicy,
    CredentialReport,
    Credentials,
    Details,
    Entity,
    ServerCertificate,
)
from mfa_kit.adapters.aws.answers import PAGE, Ask, pages
from mfa_kit.core.errors import AwsFault, MfaKitError, NoSuchEntity, Outdated
from mfa_kit.core.models import REPORTED_ROOT, Device, is_root
from mfa_kit.core.stopping import sleep
from mfa_kit.core.text import age_text
from mfa_kit.rollout.roster import ListedUser

if TYPE_CHECKING:
    from mypy_boto3_iam.literals import ContextKeyTypeEnumType, EntityTypeType
    from mypy_boto3_iam.type_defs import (
        GetCredentialReportResponseTypeDef,
        LoginProfileTypeDef,
        PolicyDocumentTypeDef,
        VirtualMFADeviceTypeDef,
    )

# Seconds to wait for a credential report that is being generated, and seconds between two checks.
PATIENCE, LOOK = 60.0, 2.0
DETAILS: "Sequence[EntityTypeType]" = ("User", "Group", "Role", "LocalManagedPolicy", "AWSManagedPolicy")
# IAM's error codes when it has no current credential report.
MISSING = ("ReportNotPresent", "ReportExpired", "ReportInProgress")
# Placeholders that the credential report uses for a missing value.
EMPTY = {"", "N/A", "no_information", "not_supported"}
DECISIONS = {"allowed": Decision.ALLOW, "explicitDeny": Decision.EXPLICIT, "implicitDeny": Decision.IMPLICIT}


class AccountReader:
    """Reads from IAM the data for a snapshot of an account. Implements the port AccountSource.

    `ask` makes each call, `now` returns the time in Unix seconds, and `sleep` waits a number of seconds.
    """

    def __init__(
        self,
        ask: Ask,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], None] = sleep,
    ) -> None:
        self._ask, self._now, self._sleep = ask, now, sleep

    def report(self, *, max_age: float) -> CredentialReport:
        """Return the credential report.

        If it is missing or older than `max_age` seconds, ask IAM to generate a new report. Raise AwsFault if the new
        report is not ready after a minute. Raise Outdated if IAM has only an older report. A report that was made
        within the last minute is never too old.
        """
        report, now = self._present(), self._now()
        if report is None or now - report["GeneratedTime"].timestamp() > max_age:
            report = self._generated(report)
        generated_at = report["GeneratedTime"].timestamp()
        if now - generated_at > max(max_age, PATIENCE):
            raise Outdated(
                f"IAM's credential report is {age_text(now - generated_at)} old, and at most {age_text(max_age)} is "
                "accepted",
                "try again 4 hours after it was made, or accept it: a longer --max-age, or a plan without "
                "--trust-report",
            )
        return _report(report["Content"], generated_at=generated_at)

    def _present(self) -> "GetCredentialReportResponseTypeDef | None":
        """Return IAM's current report, or None if it does not exist, has expired or is being generated."""
        try:
            return self._ask(lambda iam: iam.get_credential_report())
        except MfaKitError as error:
            if any(code in str(error) for code in MISSING):
                return None
            raise

    def _generated(self, before: "GetCredentialReportResponseTypeDef | None") -> "GetCredentialReportResponseTypeDef":
        """Ask IAM to generate a report, and return it when it is ready. Raise AwsFault after PATIENCE seconds.

        `before` is the report that exists now, or None. IAM replaces a report only after four hours, so this method
        returns a younger `before` unchanged.
        """
        waited = 0.0
        while True:
            complete = self._ask(lambda iam: iam.generate_credential_report()["State"]) == "COMPLETE"
            report = self._present()
            if report is not None and (complete or before is None or report["GeneratedTime"] > before["GeneratedTime"]):
                return report
            if waited >= PATIENCE:
                raise AwsFault("the credential report is not ready after a minute", "try again in a few minutes")
            self._sleep(LOOK)
            waited += LOOK

    def credentials(self, user: Entity) -> Credentials:
        """Return a user's password and access keys as they are now, without the dates of last use."""
        profile = self._profile(user.name)
        listed = pages(self._ask, lambda iam, start: iam.list_access_keys(MaxItems=PAGE, UserName=user.name, **start))
        keys = [row for page in listed for row in page["AccessKeyMetadata"]]
        return Credentials(
            arn=user.arn,
            created=user.created or 0.0,
            password=profile is not None,
            password_changed=_seconds(profile["CreateDate"]) if profile else None,
            keys=tuple(
                AccessKey(active=row["Status"] == "Active", rotated=_seconds(row["CreateDate"])) for row in keys
            ),
        )

    def _profile(self, user: str) -> "LoginProfileTypeDef | None":
        try:
            return self._ask(lambda iam: iam.get_login_profile(UserName=user)["LoginProfile"])
        except NoSuchEntity:
            return None

    def summary(self) -> Mapping[str, int]:
        """Return the figures of iam:GetAccountSummary as a mapping from IAM's names to numbers."""
        figures = self._ask(lambda iam: iam.get_account_summary()["SummaryMap"])
        return {str(name): number for name, number in figures.items()}

    def details(self) -> Iterator[Details]:
        """Yield users, groups, roles and their policies page by page (iam:GetAccountAuthorizationDetails)."""
        for page in pages(
            self._ask,
            lambda iam, start: iam.get_account_authorization_details(MaxItems=PAGE, Filter=DETAILS, **start),
        ):
            yield Details(
                users=tuple(_entity(row, "User") for row in page.get("UserDetailList", ())),
                groups=tuple(_entity(row, "Group") for row in page.get("GroupDetailList", ())),
                roles=tuple(_entity(row, "Role") for row in page.get("RoleDetailList", ())),
                policies={
                    row["Arn"]: _text(version["Document"])
                    for row in page.get("Policies", ())
                    for version in row["PolicyVersionList"]
                    if version["IsDefaultVersion"]
                },
                other_versions={
                    row["Arn"]: tuple(
                        _text(version["Document"])
                        for version in row["PolicyVersionList"]
                        if not version["IsDefaultVersion"]
                    )
                    for row in page.get("Policies", ())
                },
            )

    def virtual(self) -> Iterator[Device]:
        """Yield every virtual device. `user` is None for an unassigned device, REPORTED_ROOT for a device of root."""
        for page in pages(self._ask, lambda iam, start: iam.list_virtual_mfa_devices(MaxItems=PAGE, **start)):
            for row in page["VirtualMFADevices"]:
                yield Device(row["SerialNumber"], _holder(row), _seconds(row.get("EnableDate")))

    def own_devices(self) -> list[Device]:
        """Return the caller's own devices, with REPORTED_ROOT as their user. The caller must be root."""
        rows = self._ask(lambda iam: iam.list_mfa_devices()["MFADevices"])
        return [Device(row["SerialNumber"], REPORTED_ROOT, _seconds(row.get("EnableDate"))) for row in rows]

    def certifications(self, key: Device) -> tuple[str, ...]:
        """Return the certifications of a security key, such as `FIDO L1`; () if it has none (iam:GetMFADevice)."""
        serial, user = key.serial, key.user or ""
        device = self._ask(lambda iam: iam.get_mfa_device(SerialNumber=serial, UserName=user))
        return tuple(f"{name} {level}" for name, level in sorted(device.get("Certifications", {}).items()))

    def password_policy(self) -> AccountPasswordPolicy:
        """Return the account's password policy, or IAM's defaults when the account has none."""
        try:
            policy = self._ask(lambda iam: iam.get_account_password_policy()["PasswordPolicy"])
        except NoSuchEntity:
            return AccountPasswordPolicy(custom=False)
        return AccountPasswordPolicy(
            length=policy.get("MinimumPasswordLength", 6),
            upper=policy.get("RequireUppercaseCharacters", False),
            lower=policy.get("RequireLowercaseCharacters", False),
            numbers=policy.get("RequireNumbers", False),
            symbols=policy.get("RequireSymbols", False),
            max_age=policy.get("MaxPasswordAge", 0),
            reuse=policy.get("PasswordReusePrevention", 0),
            may_change=policy.get("AllowUsersToChangePassword", False),
            hard_expiry=policy.get("HardExpiry", False),
        )

    def certificates(self) -> Iterator[ServerCertificate]:
        """Yield the server certificates that IAM stores (iam:ListServerCertificates)."""
        for page in pages(self._ask, lambda iam, start: iam.list_server_certificates(MaxItems=PAGE, **start)):
            for row in page["ServerCertificateMetadataList"]:
                yield ServerCertificate(
                    name=row["ServerCertificateName"], arn=row["Arn"], expires=_seconds(row.get("Expiration"))
                )

    def sign_in_session(self, entity: Entity) -> int | None:
        """Return the maximum duration of the sign-in sessions of a user or role in seconds, or 0 if none is set.

        Return None for a user without a password. AWS leaves the setting out while it is not set (API LoginProfile,
        Role), and returns that of a role only for GetRole.
        """
        fields: Mapping[str, object] | None = (
            self._ask(lambda iam: iam.get_role(RoleName=entity.name)["Role"])
            if ":role/" in entity.arn
            else self._profile(entity.name)
        )
        duration = {"MaxSigninSessionDuration": 0, **fields}["MaxSigninSessionDuration"] if fields else None
        return duration if isinstance(duration, int) else None

    def must_change(self, user: str) -> bool:
        """Return whether a user must choose a new password at the next sign-in."""
        profile = self._profile(user)
        return profile is not None and bool(profile.get("PasswordResetRequired"))

    def simulated(
        self, documents: Sequence[str], actions: Sequence[str], context: RequestContext
    ) -> dict[str, Decision]:
        """Return IAM's decision on each action under the policies in `documents` alone (iam:SimulateCustomPolicy).

        `context` has the condition keys of the simulated request. A key whose value is None is left out. Raise AwsFault
        for a decision that is not documented.
        """
        response = self._ask(
            lambda iam: iam.simulate_custom_policy(
                PolicyInputList=list(documents),
                ActionNames=list(actions),
                ContextEntries=[
                    {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": _type(value)}
                    for name, value in context.items()
                    if value is not None
                ],
            )
        )
        rows = response["EvaluationResults"]
        if unknown := {row["EvalDecision"] for row in rows} - set(DECISIONS):
            raise AwsFault(
                f"IAM's policy simulator returned unknown decisions: {', '.join(unknown)}", "report this as a bug"
            )
        return {row["EvalActionName"]: DECISIONS[row["EvalDecision"]] for row in rows}


def _type(value: str) -> "ContextKeyTypeEnumType":
    """Return the type name that SimulateCustomPolicy requires for a value."""
    if value in {"true", "false"}:
        return "boolean"
    return "numeric" if value.isdecimal() else "string"


def _holder(row: "VirtualMFADeviceTypeDef") -> str | None:
    """Return the name of a virtual device's user, REPORTED_ROOT for root, or None for an unassigned device.

    Root is recognized by its ARN, because IAM users can be named root.
    """
    user = row.get("User")
    if not user:
        return None
    return REPORTED_ROOT if is_root(user["Arn"]) else str(user["UserName"])


def _seconds(time: datetime | None) -> float | None:
    return time.timestamp() if time else None


def _text(document: "PolicyDocumentTypeDef") -> str:
    """Convert a policy document, which botocore has already parsed, back to JSON text."""
    return document if isinstance(document, str) else json.dumps(document)


def _entity(row: Mapping[str, Any], kind: str) -> Entity:
    """Return the user, group or role in a row. `kind` is the word for it in IAM's names of fields, such as `User`."""
    trust = row.get("AssumeRolePolicyDocument")
    return Entity(
        name=row[f"{kind}Name"],
        arn=row["Arn"],
        id=row.get(f"{kind}Id", ""),
        created=_seconds(row.get("CreateDate")),
        inline={policy["PolicyName"]: _text(policy["PolicyDocument"]) for policy in row.get(f"{kind}PolicyList", ())},
        attached=tuple(policy["PolicyArn"] for policy in row.get("AttachedManagedPolicies", ())),
        groups=tuple(row.get("GroupList", ())),
        boundary=row.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"),
        trust=None if trust is None else _text(trust),
        tags={tag["Key"]: tag["Value"] for tag in row.get("Tags", ())},
    )


def _report(content: bytes, *, generated_at: float) -> CredentialReport:
    """Parse the CSV of a credential report, which IAM generated at `generated_at` (in Unix seconds).

    Raise AwsFault if the CSV is malformed, or if a column or cell is missing or invalid.
    """
    try:
        rows = {row["user"]: _credentials(row) for row in csv.DictReader(io.StringIO(content.decode()))}
    except (KeyError, ValueError, OverflowError, csv.Error) as error:
        raise AwsFault(
            f"the credential report does not have the documented format: {error}", "report this as a bug in mfa-kit"
        ) from None
    except (TypeError, AttributeError):
        raise AwsFault("a row of the credential report is incomplete", "report this as a bug in mfa-kit") from None
    return CredentialReport(made=generated_at, root=rows.pop(REPORTED_ROOT, None), users=rows)


def _when(cell: str) -> float | None:
    return None if cell in EMPTY else datetime.fromisoformat(cell).timestamp()


def _credentials(row: Mapping[str, str]) -> Credentials:
    return Credentials(
        arn=row["arn"],
        created=_when(row["user_creation_time"]) or 0.0,
        password=row["password_enabled"].lower() == "true",
        password_used=_when(row["password_last_used"]),
        password_changed=_when(row["password_last_changed"]),
        password_expires=_when(row["password_next_rotation"]),
        mfa=row["mfa_active"].lower() == "true",
        keys=tuple(
            key for number in (1, 2) if (key := _key(row, f"access_key_{number}")).active or key.rotated is not None
        ),
    )


def _key(row: Mapping[str, str], which: str) -> AccessKey:
    def cell(name: str) -> str | None:
        text = row[f"{which}_{name}"]
        return None if text in EMPTY else text

    return AccessKey(
        active=row[f"{which}_active"].lower() == "true",
        rotated=_when(row[f"{which}_last_rotated"]),
        used=_when(row[f"{which}_last_used_date"]),
        region=cell("last_used_region"),
        service=cell("last_used_service"),
    )


class People:
    """Lists the users of one account. `ask` makes the read calls with the IAM client of this account."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def users(self, *, details: bool) -> Iterator[ListedUser]:
        """Yield every user. Without `details`, groups and tags are empty.

        With `details`, the call takes longer, because IAM also sends the users' policies.
        """
        if not details:
            for page in pages(self._ask, lambda iam, start: iam.list_users(MaxItems=PAGE, **start)):
                yield from (ListedUser(name=row["UserName"], path=row["Path"]) for row in page["Users"])
            return
        for detailed in pages(
            self._ask,
            lambda iam, start: iam.get_account_authorization_details(MaxItems=PAGE, Filter=["User"], **start),
        ):
            for row in detailed["UserDetailList"]:
                yield ListedUser(
                    name=row["UserName"],
                    path=row["Path"],
                    groups=tuple(row.get("GroupList", ())),
                    tags=tuple((tag["Key"], tag["Value"]) for tag in row.get("Tags", ())),
                )
