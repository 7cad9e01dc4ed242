"""Opens sessions in the accounts of an organization, and reads which root credentials they have.

All sessions share one IAM client and one STS client. A separate client would take 2 ms and 2 MB for each account. The
shared clients have no valid credentials. Each request is signed with the credentials of the account that it concerns.

The user's own credentials come from one or several profiles. A session with MFA may assume any number of roles. So if
several profiles have roles with the same source profile and MFA device, they need only one code, and only one prompt is
shown at a time. The AWS CLI asks for one code per role.

Root is read through centralized root access. That calls only ListOrganizationsFeatures and AssumeRoot with the caller's
credentials, and GetAccountSummary and ListMFADevices with the credentials of a root session. The session's task policy
denies almost all other calls.
"""

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, cast

from botocore.client import BaseClient
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.exceptions import ClientError

from mfa_kit.account.snapshot import CentralRootAccess, OrganizationPlace, RootPosture, root_posture
from mfa_kit.adapters.aws.answers import SIGN_IN_FIRST, Ask, our_errors, read, refused_role
from mfa_kit.adapters.aws.clients import (
    AskCode,
    Clients,
    Connection,
    create_shared_clients,
    identify,
    open_clients,
    open_session,
    profile_settings,
)
from mfa_kit.core.errors import AccessDenied, AwsFault, Expired, MfaKitError, UsageFault
from mfa_kit.core.message import clauses, command, suggest
from mfa_kit.core.models import REPORTED_ROOT, Caller, Device
from mfa_kit.core.otp import PERIOD
from mfa_kit.core.stopping import Stop
from mfa_kit.network.http import ended_by
from mfa_kit.organization.accounts import OrgAccount

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_sts import STSClient
    from mypy_boto3_sts.type_defs import AssumeRoleRequestTypeDef


# A profile has all these settings if it assumes a role with a code (AWS CLI user guide, "Using an IAM role in the AWS
# CLI").
ROLE_WITH_MFA = {"role_arn", "source_profile", "mfa_serial"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRole:
    """The role that a profile names. `source` has the credentials of a session with MFA that may assume the role."""

    source: Credentials
    role: str
    external_id: str | None
    session_name: str | None


class OwnCredentials:
    """Loads the user's credentials, and asks for an MFA code if they need one.

    Any number of threads may use one object. Only one prompt at a time is shown.

    If an error occurs after a prompt for a code, the user is not asked for another code of that MFA device during the
    next PERIOD seconds. The same error is raised instead. Otherwise several threads could send AWS one wrong code after
    another. `clock` returns a monotonic time in seconds.
    """

    def __init__(self, connection: Connection, *, clock: Callable[[], float] = time.monotonic) -> None:
        ask = partial(self._ask, connection.ask_code) if connection.ask_code else None
        self._wanted, self._clock = replace(connection, ask_code=ask), clock
        self._lock, self._asked = threading.RLock(), threading.local()
        self._refused: dict[str, tuple[float, MfaKitError]] = {}
        self._sources: dict[tuple[str, str], Credentials] = {}

    def open(self) -> Clients:
        """Create clients with the credentials of the Connection that was given to the constructor."""
        with self._lock, self.remembering():
            return open_clients(self._wanted)

    def of_profile(self, profile: str) -> Credentials | ProfileRole:
        """Return the credentials of a profile, or a ProfileRole.

        A ProfileRole is returned if the profile names a role that requires an MFA code, and a source profile with
        access keys. Raise UsageFault if the profile has no credentials, and Declined if a code is needed and cannot be
        asked for.
        """
        with self._lock, self.remembering(), our_errors():
            settings = profile_settings(profile)
            if settings.keys() >= ROLE_WITH_MFA:
                source = self._source(settings["source_profile"], settings["mfa_serial"])
                if source is not None:
                    return ProfileRole(
                        source=source,
                        role=settings["role_arn"],
                        external_id=settings.get("external_id"),
                        session_name=settings.get("role_session_name"),
                    )
            credentials = open_session(replace(self._wanted, profile=profile, stored=False)).get_credentials()
            if credentials is None:
                raise UsageFault(
                    f"the profile {profile} has no credentials", "name another profile in the accounts file"
                )
            # Load them now. Otherwise botocore would load them at the first request, and its prompt for a code could
            # appear together with the prompt of another thread.
            credentials.get_frozen_credentials()
            return credentials

    def forget_sources(self) -> None:
        """Forget all sessions with MFA, so that the next use of a source profile asks for a code again.

        The caller does this when one of the sessions has expired.
        """
        with self._lock:
            self._sources.clear()

    def _source(self, profile: str, serial: str) -> Credentials | None:
        """Return the credentials of a session with MFA. The session is requested once, with a profile's access keys.

        `serial` is the serial of the MFA device. Return None if the profile has no long-term access keys.
        """
        known = self._sources.get((profile, serial))
        if known is None and "role_arn" not in profile_settings(profile):
            session = open_session(replace(self._wanted, profile=profile, mfa_serial=serial, stored=False))
            credentials = session.get_credentials()
            # boto3 sets `method` to `explicit` only for the session with MFA that `open_session` made.
            if credentials is not None and credentials.method == "explicit":
                known = self._sources[profile, serial] = credentials
        return known

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """If the `with` block raises an error after this thread asked for a code, store the error for the MFA device.

        For PERIOD seconds, that error is then raised instead of another prompt for the device.
        """
        self._asked.serial = None
        try:
            yield
        except MfaKitError as error:
            if self._asked.serial is not None:
                self._refused[self._asked.serial] = self._clock() + PERIOD, error
            raise

    def _ask(self, ask: AskCode, serial: str) -> str:
        with self._lock:
            until, error = self._refused.get(serial, (0.0, None))
            if error is not None and self._clock() < until:
                raise type(error)(str(error), error.hint)
            self._asked.serial = serial
            return ask(serial)


# The ARN of a role's session: partition, account, role and session name (STS API reference, AssumedRoleUser).
ASSUMED = re.compile(r"arn:(?P<partition>[\w-]+):sts::(?P<account>\d{12}):assumed-role/.+", re.ASCII)
SESSION_NAME = "mfa-kit"


@dataclass(frozen=True, slots=True)
class _Signer:
    """The credentials with which requests are signed, and the function that is called after each response, if any."""

    credentials: Credentials
    answered: Callable[..., None] | None = None


_SIGNER: ContextVar[_Signer | None] = ContextVar("signer", default=None)


def _sign(*, context: dict[str, Any], **_: object) -> None:
    """Sign a request with its account's credentials. botocore has no public way to choose credentials per request."""
    signer = _SIGNER.get()
    if signer is None:
        raise LookupError(
            "a request was made with a client that several accounts share, but no account was chosen for the request"
        )
    context.setdefault("signing", {})["request_credentials"] = signer.credentials


def _pass_on(**answer: Any) -> None:
    signer = _SIGNER.get()
    if signer is not None and signer.answered is not None:
        signer.answered(**answer)


@contextmanager
def _signing(signer: _Signer, stop: Stop) -> Iterator[None]:
    """In the `with` block, sign the requests of this thread with the credentials of `signer`.

    After `stop` is set, the requests raise KeyboardInterrupt instead of waiting for a response.
    """
    before = _SIGNER.set(signer)
    try:
        with ended_by(stop):
            yield
    finally:
        _SIGNER.reset(before)


class _AccountClient:
    """A shared client whose calls are signed with the credentials of one account. `limit` limits parallel calls.

    After `stop` is set, a call raises KeyboardInterrupt without sending a request, or without waiting for its response.
    """

    def __init__(self, client: BaseClient, limit: threading.Semaphore, credentials: Credentials, stop: Stop) -> None:
        self._client, self._limit, self.signer, self._stop = client, limit, _Signer(credentials), stop

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._limit, _signing(self.signer, self._stop):
                self._stop.check()
                return attribute(*args, **kwargs)

        return call


@dataclass(frozen=True, slots=True)
class _MemberClients(Clients):
    """The shared clients with the credentials of one account. `session` has the caller's own credentials."""

    member: Credentials

    @property
    def credentials(self) -> Credentials:
        """The credentials of the account."""
        return self.member

    def watch(self, answered: Callable[..., None]) -> None:
        """Call `answered` after each response to this account's calls."""
        for client in (self.iam, self.sts):
            own = cast("_AccountClient", client)
            own.signer = replace(own.signer, answered=answered)


class MemberSessions:
    """Opens sessions in accounts with the caller's own credentials, and keeps the sessions in memory only.

    `source_identity` is sent with each AssumeRole, so that CloudTrail records which person uses the session. When
    `stop` is set, all calls, and all waits before a retry, end with KeyboardInterrupt.
    """

    def __init__(self, connection: Connection, *, source_identity: str | None = None, stop: Stop | None = None) -> None:
        """Load the caller's own credentials, and ask for a code if they need MFA."""
        self._source_identity, self.stop = source_identity, stop or Stop()
        self._own_credentials = OwnCredentials(connection)
        self.hub = self._own_credentials.open()
        self._iam, self._sts = create_shared_clients(connection)
        for client in (self._iam, self._sts):
            client.meta.events.register("before-call", _sign)
            client.meta.events.register("after-call", _pass_on)
        self._limit, self._renewing = threading.Semaphore(connection.workers), threading.Lock()

    def renew(self, known: Clients) -> None:
        """Load the caller's own credentials again. `known` has the clients whose credentials have expired.

        Do nothing if another thread has already replaced `known`.
        """
        with self._renewing:
            if self.hub is known:
                self.hub = self._own_credentials.open()

    def own_clients(self) -> Clients:
        """Return the shared clients. Their requests are signed with the caller's own credentials.

        Raise AwsFault if the caller has no credentials.
        """
        return self.clients_with(self._own())

    def enter(self, account: OrgAccount, *, entering: Stop | None = None) -> tuple[Clients, Caller]:
        """Open a session in an account by assuming its roles one after the other, or with its profile.

        Return the account's clients and the identity of the session. A role session is renewed before it expires.
        `entering` is a Stop; without it, the Stop of all accounts is used. After the Stop
        is set, this call ends with KeyboardInterrupt. Raise AccessDenied if a role cannot be assumed; its hint lists
        the possible causes. Raise UsageFault if the credentials belong to another account.
        """
        entering = entering or self.stop
        if account.profile is not None:
            return self._by_profile(account, account.profile, entering)
        credentials: Credentials = self._own()
        arn = ""
        for number, role in enumerate(account.roles, 1):
            external_id = account.external_id if number == len(account.roles) else None
            credentials, arn = self._assumed(credentials, self._role_arn(role, account), external_id, stop=entering)
        return self._entered(account, credentials, arn)

    def _entered(self, account: OrgAccount, credentials: Credentials, arn: str) -> tuple[Clients, Caller]:
        match = ASSUMED.fullmatch(arn)
        if match is None or match["account"] != account.id:
            _wrong_account(account, match["account"] if match else "unknown")
        return self.clients_with(credentials), Caller(account.id, arn)

    def clients_with(self, credentials: Credentials) -> Clients:
        """Return the shared clients, wrapped so that their requests are signed with these credentials."""
        iam = cast("IAMClient", _AccountClient(self._iam, self._limit, credentials, self.stop))
        sts = cast("STSClient", _AccountClient(self._sts, self._limit, credentials, self.stop))
        return _MemberClients(iam, sts, self.hub.session, credentials)

    def _own(self) -> Credentials:
        if self.hub.credentials is None:
            raise AwsFault("there are no AWS credentials", SIGN_IN_FIRST)
        return self.hub.credentials

    def _role_arn(self, role: str, account: OrgAccount) -> str:
        return role if role.startswith("arn:") else f"arn:{self.hub.partition}:iam::{account.id}:role/{role}"

    def _assumed(
        self,
        source: Credentials,
        role: str,
        external_id: str | None,
        session_name: str | None = None,
        *,
        stop: Stop,
    ) -> tuple[RefreshableCredentials, str]:
        """Assume a role. Return a pair: credentials that renew themselves, and the ARN of the session.

        AssumeRole calls count toward a quota of the caller's account, and a command for many accounts can exceed this
        quota. While this thread waits before a retry, no other account is started in its place, so the rate falls.
        `stop` ends the call that assumes the role; the Stop of all accounts ends the later calls that renew its
        credentials.
        """
        request: AssumeRoleRequestTypeDef = {"RoleArn": role, "RoleSessionName": session_name or SESSION_NAME}
        if external_id is not None:
            request["ExternalId"] = external_id
        if self._source_identity is not None:
            request["SourceIdentity"] = self._source_identity
        arn, ending = "", stop

        def renew() -> dict[str, str]:
            nonlocal arn
            ending.check()
            with self._own_credentials.remembering(), our_errors(), _signing(_Signer(source), ending):
                try:
                    answer = self._sts.assume_role(**request)
                except ClientError as error:
                    raise refused_role(error, role) from None
                arn = answer["AssumedRoleUser"]["Arn"]
                keys = answer["Credentials"]
                return {
                    "access_key": keys["AccessKeyId"],
                    "secret_key": keys["SecretAccessKey"],
                    "token": keys["SessionToken"],
                    "expiry_time": keys["Expiration"].isoformat(),
                }

        # Only this first call is retried here. A later renewal is attempted once, because the call that needs the
        # credentials is itself retried.
        first = read(renew, sleep=stop.sleep)
        ending = self.stop
        credentials = RefreshableCredentials.create_from_metadata(first, refresh_using=renew, method="assume-role")
        return credentials, arn

    def _by_profile(self, account: OrgAccount, profile: str, entering: Stop) -> tuple[Clients, Caller]:
        """Open a session with the credentials of a profile. Raise UsageFault if they belong to another account.

        STS says which account the credentials belong to. After `entering` is set, a wait before a retry raises
        KeyboardInterrupt.
        """

        def ask() -> tuple[str, str]:
            with our_errors():
                return identify(clients)

        own = self._own_credentials.of_profile(profile)
        if isinstance(own, ProfileRole):
            return self._by_role_of_profile(account, own, entering)
        clients = self.clients_with(own)
        owner, arn = read(ask, sleep=entering.sleep)
        if owner != account.id:
            _wrong_account(account, owner)
        return clients, Caller(account.id, arn)

    def _by_role_of_profile(self, account: OrgAccount, own: ProfileRole, entering: Stop) -> tuple[Clients, Caller]:
        try:
            credentials, arn = self._assumed(own.source, own.role, own.external_id, own.session_name, stop=entering)
        except Expired:
            self._own_credentials.forget_sources()
            raise
        return self._entered(account, credentials, arn)


def _wrong_account(account: OrgAccount, owner: str) -> NoReturn:
    raise UsageFault(
        f"the credentials for account {account.label} belong to account {owner}",
        "correct the role or profile of this account in the accounts file",
    )


T = TypeVar("T")

TASK = "IAMAuditRootUserCredentials"
# The maximum duration of an AssumeRoot session in seconds (STS API reference).
SESSION = 900
ENABLE_SERVICE = command("aws organizations enable-aws-service-access --service-principal iam.amazonaws.com")
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
        for code, state in PLACES.items():
            if code in str(error):
                return state
        raise
    return CentralRootAccess(
        place=OrganizationPlace.ADMINISTRATOR, features=tuple(str(feature) for feature in features)
    )


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
        keys = self._sessions.own_clients().sts.assume_root(
            TargetPrincipal=account, TaskPolicyArn={"arn": self._task}, DurationSeconds=SESSION
        )["Credentials"]
        return Credentials(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], method="assume-root")


def _reason(error: MfaKitError) -> str:
    """Return an error's message. If AWS denied access, add the page that lists the needed permissions."""
    if isinstance(error, AccessDenied):
        return clauses([str(error), suggest("to see what the call needs", "help permissions")])
    return str(error)


def _summary(iam: "IAMClient") -> Mapping[str, int]:
    return {str(name): number for name, number in iam.get_account_summary()["SummaryMap"].items()}


def _devices(iam: "IAMClient") -> tuple[Device, ...]:
    """Return root's MFA devices. Root can have at most eight, so they are on one page."""
    rows = iam.list_mfa_devices()["MFADevices"]
    return tuple(Device(row["SerialNumber"], REPORTED_ROOT) for row in rows)
