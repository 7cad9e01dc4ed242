"""IAM and STS over boto3. Reads may be tried again, a write is one attempt.

Here seeds are born and AWS's errors become ours.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    InvalidRegionError,
    ProxyConnectionError,
    SSLError,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError
from botocore.utils import JSONFileCache, parse_timestamp

from mfa_kit.core import errors, otp
from mfa_kit.core.errors import (
    AccessDenied,
    AwsFault,
    Expired,
    IntegrityFault,
    MfaKitError,
    NoSuchEntity,
    Throttled,
    Unclear,
    UsageFault,
)
from mfa_kit.core.models import RUN, RUN_TAG, Call, Caller, Device, Intent, Mark, Registered
from mfa_kit.core.otp import Created, Pair, Png, Secret
from mfa_kit.qr_codes import key_uri, symbol

if TYPE_CHECKING:
    from mypy_boto3_iam.type_defs import VirtualMFADeviceTypeDef

T = TypeVar("T")
log = logging.getLogger(__name__)

# Below this many seconds an offset is the Date header's own resolution and the time on the way.
RESOLUTION = 2.0
# Seconds that a session for the console lasts, the shortest that AWS gives.
CONSOLE = 900
# Seconds between the tries of a read.
READ_PAUSES = (0.5, 1, 2, 4, 8)

SIGN_IN = "sign in again, or choose another --profile"
# IAM API reference, common errors; the hint of what is not here is empty.
CODES: dict[str, tuple[type[MfaKitError], str]] = {
    "AccessDenied": (AccessDenied, "ask an administrator for the permission; docs/permissions.md lists what is needed"),
    "ConcurrentModification": (errors.Busy, "wait some minutes and try again"),
    "DeleteConflict": (errors.Conflict, "deactivate the device first"),
    "EntityAlreadyExists": (errors.AlreadyExists, "see who has what: mfa-kit status; mfa-kit orphans list"),
    "EntityTemporarilyUnmodifiable": (errors.Busy, "wait some minutes and try again"),
    "ExpiredToken": (Expired, SIGN_IN),
    "InvalidAuthenticationCode": (errors.InvalidCode, "check the clock that the codes come from and try again"),
    "InvalidClientTokenId": (AwsFault, "check the --profile; in GovCloud and China also give the --region"),
    "LimitExceeded": (AwsFault, "raise the quota in Service Quotas, or delete what is not used"),
    "NoSuchEntity": (NoSuchEntity, "check the name; names of users are listed by: aws iam list-users"),
    "RequestExpired": (AwsFault, "set this machine's clock"),
    "SignatureDoesNotMatch": (AwsFault, "check the secret access key and this machine's clock"),
    "Throttling": (Throttled, "try again later"),
    "ThrottlingException": (Throttled, "try again later"),
    "TooManyRequestsException": (Throttled, "try again later"),
}
# What the services say where MFA is missing, or may be: a policy that demands it denies explicitly.
WITHOUT_MFA = ("explicit deny", "authenticated with an MFA device")
WITH_MFA = (
    "policies that demand MFA deny like this: use credentials with MFA, such as a profile with mfa_serial; "
    "docs/credentials.md says how"
)
# The condition of a session with MFA, for a simulation.
MFA_PRESENT = {
    "ContextKeyName": "aws:MultiFactorAuthPresent",
    "ContextKeyType": "boolean",
    "ContextKeyValues": ["true"],
}
WRONG_CODE = "MultiFactorAuthentication failed"
# Where the AWS CLI keeps the sessions of roles, so that two commands ask for one code.
CLI_CACHE = "~/.aws/cli/cache"
# Credentials that a profile holds itself: the providers of botocore whose keys may ask for a session with MFA.
OWN_KEYS = ("shared-credentials-file", "config-file")
# What botocore raises, before a request leaves, when credentials cannot be had anew; a RuntimeError by its sentence.
NOT_RENEWED = (CredentialRetrievalError, SSOTokenLoadError, TokenRetrievalError, UnauthorizedSSOTokenError)
STILL_EXPIRED = "refreshed credentials are still expired"
NOT_SENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)


def _refused(error: ClientError) -> MfaKitError:
    """Turn an answer that is an error into ours."""
    answer = error.response.get("Error", {})
    code, message = answer.get("Code", "?"), answer.get("Message", "").rstrip(". ")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = code.removesuffix("Exception") if code.removesuffix("Exception") in CODES else code
    kind, hint = CODES.get(code, (AwsFault, "look the code up in the IAM API reference"))
    if kind is AwsFault and status >= 500:  # noqa: PLR2004 - RFC 9110, 15.6
        kind, hint = Unclear, "try again later"
    if kind is AccessDenied and any(said in message for said in WITHOUT_MFA):
        hint = WITH_MFA
    elif WRONG_CODE in message:
        hint = "each code works once and for a minute: wait for the next one, and check mfa_serial in the profile"
    if error.operation_name == "AssumeRole" and not issubclass(kind, Throttled | Unclear):
        kind = Expired  # we never call it: botocore does, for the credentials of a request that did not leave
    return kind(f"AWS answers {code}: {message or 'without a message'}", hint)


@contextmanager
def ours() -> Iterator[None]:
    """Turn botocore's errors into ours. Nothing of the request or the answer's body is kept."""
    try:
        yield
    except ClientError as error:
        raise _refused(error) from None
    except SSLError as error:
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):  # it broke later: the request may have left
            raise Unclear("no answer from AWS (SSLError)", "check the network and try again") from None
        raise AwsFault(f"AWS cannot be reached: {error}", "check the CA bundle and --endpoint-url") from None
    except NOT_SENT as error:
        raise AwsFault(f"AWS cannot be reached: {error}", "check the network, the proxy and --endpoint-url") from None
    except (HTTPClientError, ResponseParserError) as error:
        raise Unclear(f"no answer from AWS ({type(error).__name__})", "check the network and try again") from None
    except NOT_RENEWED as error:
        raise Expired(f"there are no credentials any more: {str(error).rstrip('. ')}", SIGN_IN) from None
    except RuntimeError as error:
        if STILL_EXPIRED not in str(error):
            raise
        raise Expired("the credentials have expired and were not renewed", SIGN_IN) from None
    except BotoCoreError as error:
        raise _unusable(error) from None


def _unusable(error: BotoCoreError) -> MfaKitError:
    """Turn what botocore says before it asks into ours."""
    said = str(error).rstrip(". ")
    if isinstance(error, InvalidRegionError):
        return UsageFault(said, "name one such as us-east-1: --region, or the region of the profile")
    return AwsFault(said, "check the profile and the credentials: aws sts get-caller-identity")


def _quiet() -> None:
    """Keep botocore and urllib3 above DEBUG: there they log bodies, with the seed and both codes in them."""
    for name in ("boto3", "botocore", "urllib3", *logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        if name.split(".")[0] in {"boto3", "botocore", "urllib3"} and logger.level < logging.INFO:
            logger.setLevel(logging.INFO)


def moment(text: Any) -> datetime:
    """Return a time of an answer as botocore does. Its own way guesses at the format: most of the cost of a long page.

    Raise ValueError where it is none.
    """
    with suppress(TypeError, ValueError):
        if "T" in text:  # digits alone are seconds, which Python would read as a date
            return datetime.fromisoformat(text)
    return parse_timestamp(text)


def loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


def _encrypted(client: Any) -> Any:
    """Return the client. Raise UsageFault when anybody could listen."""
    address = urlsplit(client.meta.endpoint_url)
    if address.scheme != "https" and not loopback(address.hostname):
        raise UsageFault(
            f"{client.meta.endpoint_url} is not encrypted, and seeds would travel in the clear",
            "use https; plain http is for loopback only",
        )
    return client


def _asking(session: botocore.session.Session, ask_code: Callable[[str], str]) -> None:
    """Let us ask where botocore would, by getpass and in every process: roles share the AWS CLI's cache."""
    provider = session.get_component("credential_provider").get_provider("assume-role")
    provider.cache = JSONFileCache(str(Path(CLI_CACHE).expanduser()))
    # What botocore would print is "Enter MFA code for SERIAL: ".
    provider._prompter = lambda text: ask_code(text.rpartition(" for ")[2].rstrip(": "))  # noqa: SLF001 - there is no other way in


def _with_mfa(session: boto3.Session, ask_code: Callable[[str], str], sts: Callable[[], Any]) -> boto3.Session:
    """Return a session with MFA for a user's own keys with `mfa_serial`, which boto3 ignores; kept in memory."""
    config = session._session.get_scoped_config()  # noqa: SLF001 - boto3 does not tell a profile's settings
    found = session.get_credentials()
    if "mfa_serial" not in config or "role_arn" in config or found is None or found.method not in OWN_KEYS:
        return session
    if found.get_frozen_credentials().token:
        return session
    serial = config["mfa_serial"]
    made = Secret(sts().get_session_token(SerialNumber=serial, TokenCode=ask_code(serial))["Credentials"])
    return boto3.Session(
        aws_access_key_id=made.reveal()["AccessKeyId"],
        aws_secret_access_key=made.reveal()["SecretAccessKey"],
        aws_session_token=made.reveal()["SessionToken"],
        region_name=session.region_name,
    )


class Turn(Protocol):
    """Makes an attempt, and perhaps another."""

    def __call__(self, act: Callable[[], T]) -> T: ...


class Iam:
    """Inventory and Registrar over one pair of clients, for as many threads as workers.

    `observe` is told of each write, whatever came of it. `read_timeout` is the seconds to wait for an answer.
    `ask_code` is asked for a code of the MFA device that is named, where the credentials demand one. `turn` makes each
    attempt to read, as one wants who makes many.
    """

    def __init__(
        self,
        *,
        observe: Callable[[Call], None],
        profile: str | None = None,
        region: str | None = None,
        endpoint_url: str | None = None,
        ask_code: Callable[[str], str] | None = None,
        workers: int = 1,
        read_timeout: float = 30,
        sleep: Callable[[float], None] = time.sleep,
        turn: Turn | None = None,
    ) -> None:
        _quiet()
        self._observe, self._sleep, self._turn = observe, sleep, turn
        self._offset = 0.0
        self._last = threading.local()
        self._open = partial(
            self._opened,
            profile=profile,
            region=region,
            endpoint_url=endpoint_url,
            ask_code=ask_code,
            workers=workers,
            read_timeout=read_timeout,
        )
        self._open()

    def _opened(
        self,
        *,
        profile: str | None,
        region: str | None,
        endpoint_url: str | None,
        ask_code: Callable[[str], str] | None,
        workers: int,
        read_timeout: float,
    ) -> None:
        """Make the clients, with the credentials that are there now."""
        config = Config(
            retries={"total_max_attempts": 1, "mode": "standard"},
            connect_timeout=10,
            read_timeout=read_timeout,
            max_pool_connections=max(10, workers),
        )
        try:
            with ours():
                core = botocore.session.Session(profile=profile)
                core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=moment)
                session = boto3.Session(botocore_session=core, region_name=region)
                where: dict[str, Any] = {
                    "region_name": session.region_name or "us-east-1",
                    "endpoint_url": endpoint_url,
                    "config": config,
                }
                if ask_code:
                    _asking(core, ask_code)
                    session = _with_mfa(session, ask_code, lambda: _encrypted(session.client("sts", **where)))
                iam, sts = (_encrypted(session.client(service, **where)) for service in ("iam", "sts"))
        except ValueError as error:  # botocore's for an endpoint, from the flag, the environment or a profile
            raise UsageFault(
                f"AWS cannot be asked there: {error}", "give an address such as https://iam.amazonaws.com"
            ) from None
        for client in (iam, sts):
            client.meta.events.register("after-call", self._answered)
        self._iam, self._sts, self._session = iam, sts, session

    def renew(self, account: str) -> None:
        """Take the credentials that are there now. Raise Expired, or another error, when they do not work."""
        self._open()
        with ours():
            found = self._sts.get_caller_identity()["Account"]
        if found != account:
            raise Expired(f"the credentials are of account {found} now, and not of {account}", SIGN_IN)

    @property
    def endpoint_url(self) -> str:
        return str(self._iam.meta.endpoint_url)

    def _answered(self, *, http_response: Any, parsed: Any, model: Any, **_: object) -> None:
        """Keep the time and the request id of each answer."""
        parsed = parsed.get("ResponseMetadata", {})  # first of all: the rest of an answer may be a seed
        self._last.request_id = parsed.get("RequestId")
        log.debug("%s answered %s, request %s", model.name, http_response.status_code, self._last.request_id)
        try:
            date = parsedate_to_datetime(http_response.headers["Date"])
        except (KeyError, ValueError):
            return
        offset = date.timestamp() + 0.5 - time.time()
        self._offset = offset if abs(offset) > RESOLUTION else 0.0

    def _read(self, act: Callable[[], T]) -> T:
        """Ask, and ask again when throttled or not answered: reading twice is harmless."""
        attempt = partial(self._once, act)
        for pause in READ_PAUSES:
            try:
                return self._turn(attempt) if self._turn else attempt()
            except Unclear as error:
                log.debug("%s; asking again in %s s", error, pause)
            except Throttled as error:
                if self._turn:  # it has waited as long as it does
                    raise
                log.debug("%s; asking again in %s s", error, pause)
            self._sleep(pause)
        return attempt()

    def _once(self, act: Callable[[], T]) -> T:
        with ours():
            return act()

    @contextmanager
    def _write(self, operation: str, *, user: str | None, serial: str | None) -> Iterator[None]:
        """One attempt, told to the observer with its request id."""
        self._last.request_id = None
        answer = "Unclear"
        try:
            with ours():
                yield
            answer = "OK"
        except MfaKitError as error:
            answer = type(error).__name__
            raise
        finally:
            request_id = self._last.request_id
            self._observe(Call(operation=operation, user=user, serial=serial, request_id=request_id, answer=answer))

    def caller(self) -> Caller:
        identity = self._read(self._sts.get_caller_identity)
        return Caller(identity["Account"], identity["Arn"])

    def now(self) -> float:
        return time.time() + self._offset

    def offset(self) -> float:
        return self._offset

    def ask(self, operation: str, **wanted: Any) -> Any:
        """Read by any operation of IAM's, named as boto3 does; for a neighbor that makes values of the answer."""
        return self._read(lambda: getattr(self._iam, operation)(**wanted))

    def devices(self, user: str | None, *, patient: bool = True) -> list[Device]:
        whose = {"UserName": user} if user else {}
        pages = self._iam.get_paginator("list_mfa_devices")

        def look() -> list[Any]:
            return [row for page in pages.paginate(**whose) for row in page["MFADevices"]]

        rows = (self._read if patient else self._once)(look)
        return [Device(row["SerialNumber"], row["UserName"], row["EnableDate"].timestamp()) for row in rows]

    def spelled(self, user: str) -> str:
        try:
            return str(self._read(lambda: self._iam.get_user(UserName=user)["User"]["UserName"]))
        except (AccessDenied, NoSuchEntity):
            return user

    def registered(self, user: str, serial: str) -> Registered:
        said = self._read(lambda: self._iam.get_mfa_device(UserName=user, SerialNumber=serial))
        return Registered(since=said["EnableDate"].timestamp(), certifications=said.get("Certifications", {}))

    def active_keys(self, user: str) -> int:
        pages = self._iam.get_paginator("list_access_keys").paginate(UserName=user)
        rows = self._read(lambda: [row for page in pages for row in page["AccessKeyMetadata"]])
        return sum(row["Status"] == "Active" for row in rows)

    def root_has_mfa(self) -> bool:
        return bool(self._once(self._iam.get_account_summary)["SummaryMap"]["AccountMFAEnabled"])

    def users(self) -> list[str]:
        pages = self._iam.get_paginator("list_users").paginate(PaginationConfig={"PageSize": 1000})
        return self._read(lambda: [row["UserName"] for page in pages for row in page["Users"]])

    def allowed(self, actions: Mapping[str, str]) -> dict[str, bool | None]:
        caller = self.caller()
        role = re.fullmatch(r"(arn:[^:]+):sts::(\d+):assumed-role/([^/]+)/.*", caller.arn)
        who = f"{role[1]}:iam::{role[2]}:role/{role[3]}" if role else caller.arn
        told: dict[str, bool | None] = dict.fromkeys(actions)
        with suppress(AwsFault):
            for resource in sorted(set(actions.values())):
                told |= self._simulated(who, [name for name, on in actions.items() if on == resource], resource)
        return told

    def _simulated(self, who: str, names: list[str], resource: str) -> dict[str, bool | None]:
        """Ask IAM. A denial that a condition may lift, such as MFA, of which the simulation knows nothing, is None."""
        asked = {"PolicySourceArn": who, "ResourceArns": [resource]}
        rows = self._read(lambda: self._iam.simulate_principal_policy(**asked, ActionNames=names))["EvaluationResults"]
        told: dict[str, bool | None] = {row["EvalActionName"]: row["EvalDecision"] == "allowed" for row in rows}
        lifted = [
            row["EvalActionName"] for row in rows if row.get("MissingContextValues") and not told[row["EvalActionName"]]
        ]
        if lifted:
            mfa = self._read(
                lambda: self._iam.simulate_principal_policy(**asked, ActionNames=lifted, ContextEntries=[MFA_PRESENT])
            )
            told |= {
                row["EvalActionName"]: None
                for row in mfa["EvaluationResults"]
                if row["EvalDecision"] == "allowed" or row.get("MissingContextValues")
            }
        return told

    def run_of(self, serial: str) -> str | Mark:
        try:
            run = self.tags(serial).get(RUN_TAG, "")
        except NoSuchEntity:
            return Mark.ABSENT
        except AccessDenied:
            return Mark.UNTAGGED
        return run if RUN.fullmatch(run) else Mark.UNTAGGED

    def tags(self, serial: str) -> dict[str, str]:
        rows = self._read(lambda: self._iam.list_mfa_device_tags(SerialNumber=serial)["Tags"])
        return {row["Key"]: row["Value"] for row in rows}

    def unassigned(self) -> list[str]:
        pages = self._iam.get_paginator("list_virtual_mfa_devices").paginate(
            AssignmentStatus="Unassigned", PaginationConfig={"PageSize": 1000}
        )
        return self._read(lambda: [row["SerialNumber"] for page in pages for row in page["VirtualMFADevices"]])

    def accepts(self, serial: str, code: str) -> bool:
        with self._write("GetSessionToken", user=None, serial=serial):
            try:
                self._sts.get_session_token(SerialNumber=serial, TokenCode=code)
            except ClientError as error:
                if "MultiFactorAuthentication failed" in str(error):
                    return False
                raise
        return True

    def console_session(self, *, user: str, policy: Mapping[str, object], role: str | None) -> Secret[str]:
        """Make credentials for the console, in the JSON that AWS's federation endpoint takes, for 15 minutes.

        The endpoint takes those of AssumeRole and of GetFederationToken alone; the latter asks for a user's own
        long-term keys. A role that is assumed from a session gets no length: the endpoint refuses what has one.
        """
        found = self._session.get_credentials()
        lasting = found is not None and not found.get_frozen_credentials().token
        name = re.sub(r"[^\w+=,.@-]", "-", f"mfa-kit-{user}", flags=re.ASCII)
        document = json.dumps(policy)
        if role:
            length = {"DurationSeconds": CONSOLE} if lasting else {}
            with self._write("AssumeRole", user=user, serial=None):
                made = self._sts.assume_role(RoleArn=role, RoleSessionName=name[:64], Policy=document, **length)
        elif lasting:
            with self._write("GetFederationToken", user=user, serial=None):
                made = self._sts.get_federation_token(Name=name[:32], Policy=document, DurationSeconds=CONSOLE)
        else:
            raise UsageFault(
                "a session's credentials cannot open the console", "name a role that may be assumed, with --open-role"
            )
        keys = Secret(made["Credentials"])
        return Secret(
            json.dumps(
                {
                    "sessionId": keys.reveal()["AccessKeyId"],
                    "sessionKey": keys.reveal()["SecretAccessKey"],
                    "sessionToken": keys.reveal()["SessionToken"],
                }
            )
        )

    def create(self, intent: Intent, tags: dict[str, str]) -> Created:
        with self._write("CreateVirtualMFADevice", user=intent.user, serial=intent.serial):
            device = Secret(
                self._iam.create_virtual_mfa_device(
                    Path=intent.path,
                    VirtualMFADeviceName=intent.name,
                    Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
                )["VirtualMFADevice"]
            )
        return _created(device, label=f"{intent.name}@{intent.account}")

    def enable(self, intent: Intent, codes: Callable[[], Pair]) -> None:
        pair = codes()
        with self._write("EnableMFADevice", user=intent.user, serial=intent.serial):
            self._iam.enable_mfa_device(
                UserName=intent.user,
                SerialNumber=intent.serial,
                AuthenticationCode1=pair.first,
                AuthenticationCode2=pair.second,
            )

    def resync(self, user: str, serial: str, codes: Callable[[], Pair]) -> None:
        pair = codes()
        with self._write("ResyncMFADevice", user=user, serial=serial):
            self._iam.resync_mfa_device(
                UserName=user,
                SerialNumber=serial,
                AuthenticationCode1=pair.first,
                AuthenticationCode2=pair.second,
            )

    def deactivate(self, user: str, serial: str) -> None:
        with self._write("DeactivateMFADevice", user=user, serial=serial):
            self._iam.deactivate_mfa_device(UserName=user, SerialNumber=serial)

    def delete(self, serial: str) -> None:
        with self._write("DeleteVirtualMFADevice", user=None, serial=serial):
            self._iam.delete_virtual_mfa_device(SerialNumber=serial)


def _created(device: Secret["VirtualMFADeviceTypeDef"], *, label: str) -> Created:
    """Take the seed and AWS's own URI, decoded from its PNG. Raise IntegrityFault for none, or when the two differ."""
    try:
        seed = otp.from_base32(Secret(device.reveal()["Base32StringSeed"]))
    except ValueError:
        raise IntegrityFault("the seed that was answered is not base32", "check --endpoint-url: AWS's is") from None
    try:
        uri = symbol.read(Png(device.reveal()["QRCodePNG"]))
    except IntegrityFault:  # an IAM that is not AWS's may send no picture; one drawn from the seed is equivalent
        return Created(seed, key_uri.otpauth(seed, label=label))
    if key_uri.seed_of(uri) != seed:
        raise IntegrityFault("AWS's QR code holds another seed than its answer", "try again; report it when it stays")
    return Created(seed, uri)
