"""The operations of AWS Organizations that list or describe accounts, OUs, policies and tags. They change nothing.

The management account and delegated administrators may call these operations. Any other member account may only call
DescribeOrganization.

IAM's operations for centralized root access, and those that AssumeRoot sessions call on the root user, are here too.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.model import Shape
from moto.core.responses import ActionResult, EmptyResult
from moto.iam.responses import IamResponse
from werkzeug.wrappers import Request

from mfa_kit.lab.aws import wire
from mfa_kit.lab.aws.account import LabAccount
from mfa_kit.lab.aws.auth import AuthorizedResponse, JsonService
from mfa_kit.lab.aws.organization import (
    CONTROL_TYPE,
    CREDENTIALS,
    FULL_ACCESS,
    IAM_SERVICE,
    SESSIONS,
    AccountRecord,
    ControlPolicy,
    LabOrganization,
)
from mfa_kit.lab.aws.wire import HttpResponse, IamError, OperationRequest
from mfa_kit.organization.accounts import AccountState

SERVICE = "organizations"
# The maximum number of rows of a page (API ListAccounts: MaxResults).
PAGE = 20
# The value of the field Status for each State. Status is the older field and has fewer values. AWS does not document
# how Status follows from State.
STATUS = {
    AccountState.PENDING_ACTIVATION: "ACTIVE",
    AccountState.ACTIVE: "ACTIVE",
    AccountState.SUSPENDED: "SUSPENDED",
    AccountState.PENDING_CLOSURE: "PENDING_CLOSURE",
    AccountState.CLOSED: "SUSPENDED",
    AccountState.UNKNOWN: "SUSPENDED",
}
Answer = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class LabOrganizations:
    """Answers one caller's calls to AWS Organizations. `account` is the caller's account."""

    account: LabAccount
    organization: LabOrganization

    def answer(self, request: Request) -> HttpResponse:
        """Answer one request."""
        operations = {name: partial(self._operate, operation) for name, operation in OPERATIONS.items()}
        return JsonService(SERVICE, operations, _check_form).answer(self.account, request)

    def _operate(
        self, operation: Callable[[LabOrganization, OperationRequest], Answer], call: OperationRequest
    ) -> Answer:
        """Run an operation. Return the fields of its output."""
        self._check_place(call.action)
        return operation(self.organization, call)

    def _check_place(self, action: str) -> None:
        """Raise IamError if the caller's account is in no organization.

        Also raise it if the account is a member that may not call this operation.
        """
        if self.account.id not in self.organization.records:
            raise IamError("AWSOrganizationsNotInUseException", "Your account is not a member of an organization.")
        if action != "DescribeOrganization" and not self.organization.administers(self.account):
            raise IamError("AccessDenied", "You don't have permissions to access this resource.")


def _check_form(shape: Shape | None, call: OperationRequest) -> None:
    """Raise IamError with the code InvalidInputException if a parameter breaks a constraint of the service model.

    Source: API ListAccounts, InvalidInputException.
    """
    try:
        wire.check_constraints(shape, call.params)
    except IamError:
        raise IamError(
            "InvalidInputException", "You provided a value that does not match the required pattern."
        ) from None


def _page(call: OperationRequest, title: str, rows: Iterable[Mapping[str, Any]]) -> Answer:
    """Return a response with a page of at most 20 rows in the field `title`, sorted by their Id, Key or TargetId."""
    token, size = call.optional("NextToken"), min(call.number("MaxResults", PAGE), PAGE)
    asked = OperationRequest(SERVICE, call.action, {"Marker": token, "MaxItems": size})
    shown, marker = wire.cut_page(
        [*rows], asked, key=lambda row: str(row.get("Id", row.get("Key", row.get("TargetId"))))
    )
    return {title: shown} | ({"NextToken": marker} if marker else {})


def _account_row(organization: LabOrganization, record: AccountRecord) -> dict[str, object]:
    return {
        "Id": record.account.id,
        "Arn": organization.arn("account", record.account.id),
        "Email": record.email,
        "Name": record.name,
        "Status": STATUS[record.state],
        "State": record.state.value,
        "Paths": [f"{organization.path(record.parent)}{record.account.id}/"],
        "JoinedMethod": record.method,
        "JoinedTimestamp": record.joined.timestamp(),
    }


def _describe_organization(organization: LabOrganization, _: OperationRequest) -> Answer:
    account = organization.management
    row = {
        "Id": organization.id,
        "Arn": organization.arn("organization"),
        "FeatureSet": "ALL",
        "MasterAccountId": account.id,
        "MasterAccountArn": organization.arn("account", account.id),
        "MasterAccountEmail": organization.records[account.id].email,
        "AvailablePolicyTypes": [{"Type": CONTROL_TYPE, "Status": "ENABLED"}],
    }
    return {"Organization": row}


def _list_accounts(organization: LabOrganization, call: OperationRequest) -> Answer:
    return _page(call, "Accounts", (_account_row(organization, record) for record in organization.records.values()))


def _list_accounts_for_parent(organization: LabOrganization, call: OperationRequest) -> Answer:
    parent = _parent(organization, call)
    records = (record for record in organization.records.values() if record.parent == parent)
    return _page(call, "Accounts", (_account_row(organization, record) for record in records))


def _list_roots(organization: LabOrganization, call: OperationRequest) -> Answer:
    types = [{"Type": CONTROL_TYPE, "Status": "ENABLED"}]
    arn = organization.arn("root", organization.root_id)
    return _page(call, "Roots", [{"Id": organization.root_id, "Arn": arn, "Name": "Root", "PolicyTypes": types}])


def _unit_row(organization: LabOrganization, number: str) -> dict[str, object]:
    unit = organization.units[number]
    return {
        "Id": unit.id,
        "Arn": organization.arn("ou", unit.id),
        "Name": unit.name,
        "Path": organization.path(unit.id),
    }


def _list_units(organization: LabOrganization, call: OperationRequest) -> Answer:
    parent = _parent(organization, call)
    unit_ids = [unit.id for unit in organization.units.values() if unit.parent == parent]
    return _page(call, "OrganizationalUnits", (_unit_row(organization, unit_id) for unit_id in unit_ids))


def _describe_unit(organization: LabOrganization, call: OperationRequest) -> Answer:
    number = call.text("OrganizationalUnitId")
    if number not in organization.units:
        raise IamError(
            "OrganizationalUnitNotFoundException",
            "You specified an organizational unit that doesn't exist.",
        )
    return {"OrganizationalUnit": _unit_row(organization, number)}


def _parent(organization: LabOrganization, call: OperationRequest) -> str:
    """Return the ParentId of a request: the ID of the root or of an OU.

    Raise IamError with the code ParentNotFoundException if neither the root nor an OU has this ID.
    """
    parent = call.text("ParentId")
    if parent != organization.root_id and parent not in organization.units:
        raise IamError("ParentNotFoundException", "You specified parent that doesn't exist.")
    return parent


def _list_parents(organization: LabOrganization, call: OperationRequest) -> Answer:
    child = call.text("ChildId")
    if child in organization.records:
        parent = organization.records[child].parent
    elif child in organization.units:
        parent = organization.units[child].parent
    else:
        raise IamError("ChildNotFoundException", "You specified a child that doesn't exist.")
    kind = "ROOT" if parent == organization.root_id else "ORGANIZATIONAL_UNIT"
    return _page(call, "Parents", [{"Id": parent, "Type": kind}])


def _list_children(organization: LabOrganization, call: OperationRequest) -> Answer:
    parent, kind = _parent(organization, call), call.text("ChildType")
    if kind == "ACCOUNT":
        child_ids = [record.account.id for record in organization.records.values() if record.parent == parent]
    else:
        child_ids = [unit.id for unit in organization.units.values() if unit.parent == parent]
    return _page(call, "Children", ({"Id": child_id, "Type": kind} for child_id in child_ids))


def _describe_account(organization: LabOrganization, call: OperationRequest) -> Answer:
    record = organization.records.get(call.text("AccountId"))
    if record is None:
        raise IamError("AccountNotFoundException", "You specified an account that doesn't exist.")
    return {"Account": _account_row(organization, record)}


def _list_tags(organization: LabOrganization, call: OperationRequest) -> Answer:
    number = call.text("ResourceId")
    holder = organization.records.get(number) or organization.units.get(number)
    if holder is None and number != organization.root_id:
        raise IamError("TargetNotFoundException", "You specified a target that doesn't exist.")
    tags = holder.tags if holder else {}
    return _page(call, "Tags", ({"Key": key, "Value": value} for key, value in tags.items()))


def _list_policies(organization: LabOrganization, call: OperationRequest) -> Answer:
    policies = organization.all_policies() if call.text("Filter") == CONTROL_TYPE else []
    return _page(call, "Policies", (_policy_row(organization, policy) for policy in policies))


def _list_policies_for_target(organization: LabOrganization, call: OperationRequest) -> Answer:
    target = call.text("TargetId")
    if target not in organization.targets():
        raise IamError("TargetNotFoundException", "You specified a target that doesn't exist.")
    policies = organization.attached(target) if call.text("Filter") == CONTROL_TYPE else []
    return _page(call, "Policies", (_policy_row(organization, policy) for policy in policies))


def _policy_row(organization: LabOrganization, policy: ControlPolicy) -> dict[str, object]:
    return {
        "Id": policy.id,
        "Arn": organization.policy_arn(policy.id),
        "Name": policy.name,
        "Description": policy.description,
        "Type": CONTROL_TYPE,
        "AwsManaged": policy.id == FULL_ACCESS,
    }


def _policy(organization: LabOrganization, call: OperationRequest) -> ControlPolicy:
    """Return the policy with the PolicyId of a request, or raise IamError with the code PolicyNotFoundException."""
    for policy in organization.all_policies():
        if policy.id == call.text("PolicyId"):
            return policy
    raise IamError("PolicyNotFoundException", "You specified a policy that doesn't exist.")


def _describe_policy(organization: LabOrganization, call: OperationRequest) -> Answer:
    policy = _policy(organization, call)
    return {"Policy": {"PolicySummary": _policy_row(organization, policy), "Content": policy.document}}


def _list_targets(organization: LabOrganization, call: OperationRequest) -> Answer:
    targets = _policy(organization, call).targets
    return _page(call, "Targets", (_target_row(organization, target) for target in targets))


def _target_row(organization: LabOrganization, target: str) -> dict[str, object]:
    kind, place, name = "ROOT", "root", "Root"
    if target in organization.units:
        kind, place, name = "ORGANIZATIONAL_UNIT", "ou", organization.units[target].name
    elif target in organization.records:
        kind, place, name = "ACCOUNT", "account", organization.records[target].name
    return {"TargetId": target, "Arn": organization.arn(place, target), "Name": name, "Type": kind}


OPERATIONS: Mapping[str, Callable[[LabOrganization, OperationRequest], Answer]] = {
    "DescribeAccount": _describe_account,
    "DescribeOrganization": _describe_organization,
    "DescribeOrganizationalUnit": _describe_unit,
    "DescribePolicy": _describe_policy,
    "ListAccounts": _list_accounts,
    "ListAccountsForParent": _list_accounts_for_parent,
    "ListChildren": _list_children,
    "ListOrganizationalUnitsForParent": _list_units,
    "ListParents": _list_parents,
    "ListPolicies": _list_policies,
    "ListPoliciesForTarget": _list_policies_for_target,
    "ListRoots": _list_roots,
    "ListTagsForResource": _list_tags,
    "ListTargetsForPolicy": _list_targets,
}


class RootAccess(AuthorizedResponse, IamResponse):
    """A mixin for centralized root access: its features, and the calls of AssumeRoot sessions about the root user.

    The methods that begin with `root_` answer the latter. LabIam answers all other calls.
    """

    # The operations on the features of centralized root access.

    def list_organizations_features(self) -> ActionResult:
        """Answer ListOrganizationsFeatures, for the management account and a delegated administrator for IAM."""
        self._check_administrator()
        return self._features()

    def enable_organizations_root_credentials_management(self) -> ActionResult:
        """Answer EnableOrganizationsRootCredentialsManagement."""
        return self._set_feature(CREDENTIALS, enabled=True)

    def disable_organizations_root_credentials_management(self) -> ActionResult:
        """Answer DisableOrganizationsRootCredentialsManagement."""
        return self._set_feature(CREDENTIALS, enabled=False)

    def enable_organizations_root_sessions(self) -> ActionResult:
        """Answer EnableOrganizationsRootSessions."""
        return self._set_feature(SESSIONS, enabled=True)

    def disable_organizations_root_sessions(self) -> ActionResult:
        """Answer DisableOrganizationsRootSessions."""
        return self._set_feature(SESSIONS, enabled=False)

    def _features(self) -> ActionResult:
        return ActionResult(
            {"OrganizationId": self.organization.id, "EnabledFeatures": sorted(self.organization.features)}
        )

    def _set_feature(self, feature: str, *, enabled: bool) -> ActionResult:
        """Enable or disable a feature. Only the management account may do so."""
        self._check_administrator()
        if self.account is not self.organization.management:
            raise IamError(
                "CallerIsNotManagementAccountException",
                "The account making the request is not the management account of the organization.",
            )
        if enabled:
            self.organization.features.add(feature)
        else:
            self.organization.features.discard(feature)
        return self._features()

    def _check_administrator(self) -> None:
        if self.account.id not in self.organization.records:
            raise IamError("OrganizationNotFoundException", "No organization is associated with your account.")
        if not self.organization.administers(self.account, IAM_SERVICE):
            raise IamError(
                "AccountNotManagementOrDelegatedAdministratorException",
                "The account making the request is not the management account or a delegated administrator.",
            )

    # The operations on the credentials of the root user.

    def _method(self, name: str) -> Callable[[], ActionResult]:
        """Return the method for an operation.

        If an AssumeRoot session sent the request, and it names no user, it is about the root user.
        """
        about_root = self.caller.kind == "root" and "UserName" not in self.operation.params
        return super()._method(f"root_{name}" if about_root and hasattr(self, f"root_{name}") else name)

    def root_list_mfa_devices(self) -> ActionResult:
        """Answer ListMFADevices with root's devices."""
        rows = [{"SerialNumber": device.serial, "EnableDate": device.enabled} for device in self.account.root_devices()]
        return ActionResult({"MFADevices": rows, "IsTruncated": False})

    def root_list_access_keys(self) -> ActionResult:
        """Answer ListAccessKeys with root's keys."""
        created = self.account.root.created
        rows = [
            {"AccessKeyId": f"AKIA{self.account.id}ROO{number}", "Status": "Active", "CreateDate": created}
            for number in range(1, self.account.root.keys + 1)
        ]
        return ActionResult({"AccessKeyMetadata": rows, "IsTruncated": False})

    def root_get_login_profile(self) -> ActionResult:
        """Answer GetLoginProfile with root's login profile."""
        if not self.account.root.password:
            raise IamError("NoSuchEntity", "Login Profile for User root cannot be found.")
        return ActionResult({"LoginProfile": {"UserName": "root", "CreateDate": self.account.root.created}})

    def root_get_user(self) -> ActionResult:
        """Answer GetUser with the root user."""
        root = self.account.root
        shown = {"UserId": self.account.id, "Arn": self.caller.arn, "CreateDate": root.created}
        return ActionResult({"User": {**shown, "PasswordLastUsed": root.password_last_used}})

    def root_list_signing_certificates(self) -> ActionResult:
        """Answer ListSigningCertificates. In the lab, root has no signing certificates."""
        return ActionResult({"Certificates": [], "IsTruncated": False})

    def root_deactivate_mfa_device(self) -> ActionResult:
        """Answer DeactivateMFADevice: remove the device from root."""
        devices = self.account.root_devices()
        remaining_devices = [device for device in devices if device.serial != self.operation.text("SerialNumber")]
        if len(remaining_devices) == len(devices):
            raise IamError("NoSuchEntity", "MFA Device invalid for user.")
        self.account.root.devices = remaining_devices
        return EmptyResult()

    def root_delete_access_key(self) -> ActionResult:
        """Answer DeleteAccessKey: delete one of root's keys. The lab ignores the key ID in the request."""
        if not self.account.root.keys:
            raise IamError("NoSuchEntity", f"The Access Key with id {self._get_param('AccessKeyId')} cannot be found.")
        self.account.root.keys -= 1
        return EmptyResult()

    def root_create_login_profile(self) -> ActionResult:
        """Answer CreateLoginProfile: root gets a password.

        In AWS, the call only allows root to recover its password.
        """
        if self.account.root.password:
            raise IamError("EntityAlreadyExists", "Login Profile for user root already exists.")
        self.account.root.password = True
        return self.root_get_login_profile()

    def root_delete_login_profile(self) -> ActionResult:
        """Answer DeleteLoginProfile: delete root's password."""
        self.root_get_login_profile()
        self.account.root.password = False
        return EmptyResult()
