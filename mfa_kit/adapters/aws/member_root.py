"""Reads which root credentials member accounts have, through centralized root access, and the state of that feature.

This module calls only ListOrganizationsFeatures and AssumeRoot with the caller's credentials, and GetAccountSummary and
ListMFADevices with the credentials of a root session. The session's task policy denies almost all other calls.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeVar

from botocore.credentials import Credentials

from mfa_kit.account.root_posture import CentralRootAccess, OrganizationPlace, RootPosture, root_posture
from mfa_kit.adapters.aws.member_sessions import MemberSessions
from mfa_kit.adapters.aws.pages import Ask
from mfa_kit.core.errors import AccessDenied, AwsFault, MfaKitError
from mfa_kit.core.models import REPORTED_ROOT, Device

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

T = TypeVar("T")

TASK = "IAMAuditRootUserCredentials"
# The maximum duration of an AssumeRoot session in seconds (STS API reference).
SESSION = 900
ENABLE_SERVICE = "aws organizations enable-aws-service-access --service-principal iam.amazonaws.com"
ENABLE_ALL = "# enable all features of the organization: AWS Organizations console, Settings"
# What IAM's errors mean for the caller's account (IAM API reference, ListOrganizationsFeatures, Errors).
PLACES = {
    "OrganizationNotFound": CentralRootAccess(place=OrganizationPlace.ALONE),
    "AccountNotManagementOrDelegatedAdministrator": CentralRootAccess(place=OrganizationPlace.MEMBER),
    "ServiceAccessNotEnabled": CentralRootAccess(
        place=OrganizationPlace.ADMINISTRATOR,
        features=(),
        obstacle="the organization has not enabled trusted access for IAM",
        first=ENABLE_SERVICE,
    ),
    "OrganizationNotInAllFeaturesMode": CentralRootAccess(
        place=OrganizationPlace.ADMINISTRATOR,
        features=(),
        obstacle="the organization has only the features for consolidated billing",
        first=ENABLE_ALL,
    ),
}


def read_central_root_access(ask: Ask) -> CentralRootAccess:
    """Return the state of centralized root access in the organization of the caller's account.

    The result also says whether the account administers the organization. Its `features` are None if the account may
    not list them. Raise AccessDenied if the caller lacks the permission iam:ListOrganizationsFeatures, and AwsFault for
    any other failure.
    """
    try:
        features = ask(lambda iam: iam.list_organizations_features().get("EnabledFeatures", []))
    except AwsFault as error:
        for code, found in PLACES.items():
            if code in str(error):
                return found
        raise
    return CentralRootAccess(place=OrganizationPlace.ADMINISTRATOR, features=tuple(str(each) for each in features))


class Attempts(Protocol):
    """Calls a function that makes one read call, and retries it if needed. Returns the function's result.

    Raises one of mfa-kit's errors if the last attempt fails.
    """

    def __call__(self, act: Callable[[], T]) -> T: ...


class MemberRootReader:
    """Reads which credentials and MFA devices the root users of member accounts have.

    `sessions` use credentials of the management account, or of a delegated administrator for IAM in the same
    organization. `attempts` performs each call and may retry it. Any number of threads may use the reader.
    """

    def __init__(self, sessions: MemberSessions, *, attempts: Attempts) -> None:
        self._sessions, self._attempts = sessions, attempts
        self._task = f"arn:{sessions.hub.partition}:iam::aws:policy/root-task/{TASK}"

    def posture(self, account: str) -> RootPosture:
        """Return which credentials and MFA devices an account's root user has. `unread` lists the calls that failed."""
        try:
            credentials = self._attempts(lambda: self._assume_root(account))
        except MfaKitError as error:
            return RootPosture(account=account, unread=(f"no root session: {_reason(error)}",))
        iam = self._sessions.clients_with(credentials).iam
        unread: list[str] = []

        def part(name: str, read: Callable[[], T]) -> T | None:
            try:
                return self._attempts(read)
            except MfaKitError as error:
                unread.append(f"{name}: {_reason(error)}")
                return None

        summary = part("GetAccountSummary", lambda: _summary(iam)) or {}
        without_mfa = summary.get("AccountMFAEnabled") == 0
        devices = () if without_mfa else part("ListMFADevices", lambda: _devices(iam))
        return root_posture(account, summary, devices=devices, unread=tuple(unread))

    def _assume_root(self, account: str) -> Credentials:
        found = self._sessions.own_clients().sts.assume_root(
            TargetPrincipal=account, TaskPolicyArn={"arn": self._task}, DurationSeconds=SESSION
        )["Credentials"]
        return Credentials(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"], method="assume-root")


def _reason(error: MfaKitError) -> str:
    """Return an error's message. If AWS denied access, add the page that lists the needed permissions."""
    if isinstance(error, AccessDenied):
        return f"{error} (docs/permissions.md says what the call needs)"
    return str(error)


def _summary(iam: "IAMClient") -> Mapping[str, int]:
    return {str(name): number for name, number in iam.get_account_summary()["SummaryMap"].items()}


def _devices(iam: "IAMClient") -> tuple[Device, ...]:
    """Return root's MFA devices. Root can have at most eight, so they are on one page."""
    rows = iam.list_mfa_devices()["MFADevices"]
    return tuple(Device(row["SerialNumber"], REPORTED_ROOT) for row in rows)
