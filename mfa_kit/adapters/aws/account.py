"""The account around the devices over boto3: IAM's answers become values. Reads only."""

import csv
import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from mfa_kit.account.evaluator import Context, Verdict
from mfa_kit.account.snapshot import ROOT, Credentials, Details, Entity, Key, PasswordPolicy, Report
from mfa_kit.core.errors import AwsFault, MfaKitError, NoSuchEntity
from mfa_kit.core.models import Device

PAGE = 1000
# Seconds to wait for a credential report in the making, and between two looks.
PATIENCE, LOOK = 60.0, 2.0
DETAILS = ("User", "Group", "Role", "LocalManagedPolicy", "AWSManagedPolicy")
# What IAM answers where there is no report to be had.
MISSING = ("ReportNotPresent", "ReportExpired", "ReportInProgress")
# What the credential report has in place of a value.
EMPTY = {"", "N/A", "no_information", "not_supported"}
DECISIONS = {"allowed": Verdict.ALLOW, "explicitDeny": Verdict.EXPLICIT, "implicitDeny": Verdict.IMPLICIT}


class Reader:
    """Account over one way to ask IAM: an operation's name as boto3 has it, and its parameters."""

    def __init__(
        self,
        ask: Callable[..., Any],
        *,
        now: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ask, self._now, self._sleep = ask, now, sleep

    def _pages(self, operation: str, **wanted: Any) -> Iterator[Any]:
        more: dict[str, Any] = {}
        while True:
            page = self._ask(operation, MaxItems=PAGE, **wanted, **more)
            yield page
            if not page.get("IsTruncated"):
                return
            more = {"Marker": page["Marker"]}

    def report(self, *, max_age: float) -> Report:
        found = self._present()
        if found is None or self._now() - found["GeneratedTime"].timestamp() > max_age:
            found = self._made(found)
        return _report(found["Content"].decode(), made=found["GeneratedTime"].timestamp())

    def _present(self) -> Any:
        """Return the report that IAM has; None where it has none, an expired one, or one in the making."""
        try:
            return self._ask("get_credential_report")
        except MfaKitError as error:
            if any(code in str(error) for code in MISSING):
                return None
            raise

    def _made(self, before: Any) -> Any:
        """Have IAM make a report, and wait for it; younger than four hours it stays the same."""
        waited = 0.0
        while True:
            complete = self._ask("generate_credential_report")["State"] == "COMPLETE"
            found = self._present()
            if found is not None and (complete or before is None or found["GeneratedTime"] > before["GeneratedTime"]):
                return found
            if waited >= PATIENCE:
                raise AwsFault("the credential report is not ready after a minute", "try again in some minutes")
            self._sleep(LOOK)
            waited += LOOK

    def credentials(self, user: Entity) -> Credentials:
        profile = self._profile(user.name)
        keys = [
            row for page in self._pages("list_access_keys", UserName=user.name) for row in page["AccessKeyMetadata"]
        ]
        return Credentials(
            arn=user.arn,
            created=user.created or 0.0,
            password=profile is not None,
            password_changed=_seconds(profile["CreateDate"]) if profile else None,
            keys=tuple(Key(active=row["Status"] == "Active", rotated=_seconds(row["CreateDate"])) for row in keys),
        )

    def _profile(self, user: str) -> Any:
        try:
            return self._ask("get_login_profile", UserName=user)["LoginProfile"]
        except NoSuchEntity:
            return None

    def summary(self) -> Mapping[str, int]:
        return dict(self._ask("get_account_summary")["SummaryMap"])

    def details(self) -> Iterator[Details]:
        for page in self._pages("get_account_authorization_details", Filter=list(DETAILS)):
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
            )

    def virtual(self) -> Iterator[Device]:
        for page in self._pages("list_virtual_mfa_devices"):
            for row in page["VirtualMFADevices"]:
                yield Device(row["SerialNumber"], _holder(row), _seconds(row.get("EnableDate")))

    def own_devices(self) -> list[Device]:
        rows = self._ask("list_mfa_devices")["MFADevices"]
        return [Device(row["SerialNumber"], ROOT, _seconds(row.get("EnableDate"))) for row in rows]

    def certifications(self, key: Device) -> tuple[str, ...]:
        found = self._ask("get_mfa_device", SerialNumber=key.serial, UserName=key.user)
        return tuple(f"{name} {level}" for name, level in sorted(found.get("Certifications", {}).items()))

    def password_policy(self) -> PasswordPolicy:
        try:
            said = self._ask("get_account_password_policy")["PasswordPolicy"]
        except NoSuchEntity:
            return PasswordPolicy(custom=False)
        return PasswordPolicy(
            length=said.get("MinimumPasswordLength", 6),
            upper=said.get("RequireUppercaseCharacters", False),
            lower=said.get("RequireLowercaseCharacters", False),
            numbers=said.get("RequireNumbers", False),
            symbols=said.get("RequireSymbols", False),
            max_age=said.get("MaxPasswordAge", 0),
            reuse=said.get("PasswordReusePrevention", 0),
            may_change=said.get("AllowUsersToChangePassword", False),
            hard_expiry=said.get("HardExpiry", False),
        )

    def must_change(self, user: str) -> bool:
        profile = self._profile(user)
        return profile is not None and bool(profile.get("PasswordResetRequired"))

    def simulated(self, documents: Sequence[str], actions: Sequence[str], context: Context) -> dict[str, Verdict]:
        entries = [
            {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": _type(value)}
            for name, value in context.items()
            if value is not None
        ]
        found = self._ask(
            "simulate_custom_policy",
            PolicyInputList=list(documents),
            ActionNames=list(actions),
            ContextEntries=entries,
        )
        return {row["EvalActionName"]: DECISIONS[row["EvalDecision"]] for row in found["EvaluationResults"]}


def _type(value: str) -> str:
    """Return the type that SimulateCustomPolicy wants with a value."""
    if value in {"true", "false"}:
        return "boolean"
    return "numeric" if value.isdecimal() else "string"


def _holder(row: Mapping[str, Any]) -> str | None:
    """Return who has a virtual device: root is told by its ARN, for anybody may be named root."""
    user = row.get("User")
    if not user:
        return None
    return ROOT if user["Arn"].endswith(":root") else str(user["UserName"])


def _seconds(at: datetime | None) -> float | None:
    return at.timestamp() if at else None


def _text(document: Any) -> str:
    """Return a policy as text: botocore has already read it."""
    return document if isinstance(document, str) else json.dumps(document)


def _entity(row: Mapping[str, Any], kind: str) -> Entity:
    trust = row.get("AssumeRolePolicyDocument")
    return Entity(
        name=row[f"{kind}Name"],
        arn=row["Arn"],
        created=_seconds(row.get("CreateDate")),
        inline={one["PolicyName"]: _text(one["PolicyDocument"]) for one in row.get(f"{kind}PolicyList", ())},
        attached=tuple(one["PolicyArn"] for one in row.get("AttachedManagedPolicies", ())),
        groups=tuple(row.get("GroupList", ())),
        boundary=row.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"),
        trust=None if trust is None else _text(trust),
    )


def _report(text: str, *, made: float) -> Report:
    """Read the CSV; a column that is not there is a report of another form."""
    try:
        rows = {row["user"]: _credentials(row) for row in csv.DictReader(io.StringIO(text))}
    except (KeyError, ValueError) as error:
        raise AwsFault(f"the credential report is not as documented: {error}", "report this") from None
    return Report(made=made, root=rows.pop(ROOT, None), users=rows)


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


def _key(row: Mapping[str, str], which: str) -> Key:
    def cell(name: str) -> str | None:
        found = row[f"{which}_{name}"]
        return None if found in EMPTY else found

    return Key(
        active=row[f"{which}_active"].lower() == "true",
        rotated=_when(row[f"{which}_last_rotated"]),
        used=_when(row[f"{which}_last_used_date"]),
        region=cell("last_used_region"),
        service=cell("last_used_service"),
    )
