"""Creates boto3's clients for IAM, STS, Organizations and S3, and keeps secrets out of their logs."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

import boto3
import botocore.session
from botocore.awsrequest import AWSPreparedRequest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.credentials import CredentialProvider, CredentialResolver, Credentials
from botocore.parsers import ResponseParserError
from botocore.utils import JSONFileCache, parse_timestamp

from mfa_kit.adapters.aws.answers import ServiceHint, bound_answers, end_limits, our_errors
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.local_servers import is_loopback
from mfa_kit.core.otp import Secret

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_sts import STSClient

# The AWS CLI caches role sessions in this folder. mfa-kit uses the same cache, so a second command does not ask for
# another code.
CLI_CACHE = "~/.aws/cli/cache"
# The names of botocore's providers that read access keys from a profile. mfa-kit itself requests a session with MFA
# only with such keys.
OWN_KEYS = ("shared-credentials-file", "config-file")
# At DEBUG these loggers write request and response bodies, which can contain a device's secret and codes.
LOUD = {"boto3", "botocore", "urllib3"}

# The ends of the host names of AWS's endpoints: the DNS suffixes of all partitions (botocore, data/partitions.json).
AWS_HOSTS = (
    *(".amazonaws.com", ".api.aws", ".amazonaws.com.cn", ".api.amazonwebservices.com.cn"),
    *(".amazonaws.eu", ".api.amazonwebservices.eu", ".c2s.ic.gov", ".api.aws.ic.gov"),
    *(".sc2s.sgov.gov", ".api.aws.scloud", ".cloud.adc-e.uk", ".api.cloud-aws.adc-e.uk"),
    *(".csp.hci.ic.gov", ".api.aws.hci.ic.gov"),
)

AskCode = Callable[[str], str]
C = TypeVar("C", bound=BaseClient)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """The user's settings for connections to AWS. None means boto3's default.

    If the credentials require a code, `ask_code` asks the user for it. Its argument is the serial of the MFA device.
    `workers` is the number of threads that use the clients, and `read_timeout` is how many seconds to wait for a
    response. If `mfa_serial` is given, it replaces the `mfa_serial` of the profile. `stored` says whether the session
    of a profile's role is kept in the AWS CLI's cache on disk, so that the next command needs no new code.
    """

    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None
    ask_code: AskCode | None = None
    workers: int = 1
    read_timeout: float = 30
    mfa_serial: str | None = None
    stored: bool = True


class Place(TypedDict):
    """The arguments of boto3 that determine where a client sends its requests."""

    region_name: str
    endpoint_url: str | None


@dataclass(frozen=True, slots=True)
class Clients:
    """The clients that use one set of credentials, and the boto3 session that holds the credentials."""

    iam: "IAMClient"
    sts: "STSClient"
    session: boto3.Session

    @property
    def credentials(self) -> Credentials | None:
        """The credentials with which the clients sign requests, or None if there are none."""
        return self.session.get_credentials()

    @property
    def own_keys(self) -> bool:
        """Whether the credentials are a user's long-term keys and not session credentials."""
        credentials = self.credentials
        return credentials is not None and not credentials.get_frozen_credentials().token

    @property
    def partition(self) -> str:
        """The AWS partition of the region, such as `aws` or `aws-us-gov`."""
        return str(self.iam.meta.partition)

    def watch(self, answered: Callable[..., None]) -> None:
        """Call `answered` after each response, with the arguments of botocore's event `after-call`."""
        for client in (self.iam, self.sts):
            client.meta.events.register("after-call", answered)


def open_clients(connection: Connection, session: boto3.Session | None = None) -> Clients:
    """Create clients for IAM and STS with the credentials of a session, or else of a new one of the connection.

    Raise UsageFault for an invalid or unencrypted endpoint.
    """
    session = session or open_session(connection)
    with _valid_endpoint(), our_errors():
        return Clients(_iam(session, connection), _sts(session, connection), session)


def open_session(connection: Connection) -> boto3.Session:
    """Return a boto3 session with the credentials of a connection. If they need an MFA code, ask for it.

    Raise UsageFault for an invalid endpoint.
    """
    _quiet()
    bound_answers()
    with _valid_endpoint(), our_errors():
        core = _session(connection.profile)
        session = boto3.Session(botocore_session=core, region_name=connection.region)
        if connection.ask_code:
            _ask_by(connection.ask_code, core, stored=connection.stored)
            session = _with_mfa(session, connection, connection.ask_code)
        return session


class KeptSession:
    """Opens clients for several commands with the credentials of one boto3 session, so that a code is asked for once.

    Any number of threads may use it. Questions go to the command that opened clients last. Once no KeptSession of the
    process is open, the limits of botocore's responses end.
    """

    _open: ClassVar[set["KeptSession"]] = set()

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: boto3.Session | None = None
        self._ask: AskCode | None = None
        self._open.add(self)

    def close(self) -> None:
        """Forget the credentials."""
        self._session = None
        self._open.discard(self)
        if not self._open:
            end_limits()

    def opener(self) -> Callable[[Connection], Clients]:
        """Return the function that opens the clients of one command. Its second call loads the credentials again."""
        used: boto3.Session | None = None

        def ask(serial: str) -> str:
            assert self._ask is not None  # noqa: S101 - set before the session is opened
            return self._ask(serial)

        def open_with_session(connection: Connection) -> Clients:
            nonlocal used
            with self._lock:
                self._ask = connection.ask_code
                if self._session is None or self._session is used:
                    self._session = open_session(replace(connection, ask_code=ask))
                used = self._session
                return open_clients(connection, used)

        return open_with_session


def open_sts(session: boto3.Session, connection: Connection) -> "STSClient":
    """Create a client for STS. Raise UsageFault for an invalid or unencrypted endpoint."""
    with _valid_endpoint(), our_errors():
        return _sts(session, connection)


def profile_settings(profile: str) -> dict[str, Any]:
    """Return the settings of a profile as botocore reads them."""
    return dict(_session(profile).get_scoped_config())


@contextmanager
def _valid_endpoint() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        # botocore raises ValueError for an invalid endpoint from the option, the environment or a profile.
        raise UsageFault(
            f"the endpoint address is invalid: {error}",
            ServiceHint("give an address such as https://{host}.amazonaws.com"),
        ) from None


def identify(clients: Clients) -> tuple[str, str]:
    """Ask STS once whose credentials the clients use. Return a pair: the account and the ARN.

    Raise KeyError if the response lacks either of them, which `our_errors` converts.
    """
    identity = clients.sts.get_caller_identity()
    return identity["Account"], identity["Arn"]


def open_service(clients: Clients, connection: Connection, service: str, region: str | None) -> Any:
    """Create a client for another service with the credentials of `clients`, in a Region or the configured one.

    This client is separate so that other commands do not load the service's model.
    """
    core = _session(connection.profile)
    if clients.credentials is not None:
        core.register_component("credential_provider", CredentialResolver([_Given(clients.credentials)]))
    session = boto3.Session(botocore_session=core, region_name=connection.region)
    place = _place(session, connection)
    if region is not None:
        place["region_name"] = region
    with _valid_endpoint(), our_errors():
        return _checked(lambda config: session.client(service, **place, config=config), connection)  # type: ignore[call-overload]


class _Given(CredentialProvider):
    """Provides botocore with credentials that are there already, and that may renew themselves."""

    METHOD = "given"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Credentials:
        """Return the credentials."""
        return self._credentials


def create_shared_clients(connection: Connection) -> "tuple[IAMClient, STSClient]":
    """Create an IAM client and an STS client with placeholder credentials.

    The caller sets the real credentials for each request. The STS client uses the regional endpoint, as AssumeRoot
    requires. Sessions from this endpoint are valid in all regions.
    """
    core = _session(connection.profile)
    core.set_config_variable("sts_regional_endpoints", "regional")
    core.set_credentials("shared", "shared")
    session = boto3.Session(botocore_session=core, region_name=connection.region)
    return _iam(session, connection), _sts(session, connection)


def open_s3(connection: Connection) -> Any:
    """Create a client for S3 with its own boto3 session.

    If the profile needs an MFA code, this function or the first request raises UsageFault, unless a session of the
    profile's role is in the AWS CLI's cache.
    """

    def refuse(serial: str) -> str:
        raise UsageFault(
            f"the profile for the bucket needs an MFA code of {serial}, but mfa-kit asks for codes only for IAM",
            "name a profile that needs no code: backup-profile in the configuration file",
        )

    _quiet()
    bound_answers()
    with _valid_endpoint(), our_errors():
        core = _session(connection.profile)
        _ask_by(refuse, core, stored=True)
        session = _with_mfa(boto3.Session(botocore_session=core, region_name=connection.region), connection, refuse)
        client = _checked(lambda config: session.client("s3", **_place(session, connection), config=config), connection)
        if not is_aws(client.meta.endpoint_url):
            # A server other than AWS rarely has a host name for each bucket.
            path, place = Config(s3={"addressing_style": "path"}), _place(session, connection)
            client = _checked(lambda config: session.client("s3", **place, config=config.merge(path)), connection)
        client.meta.events.register("before-send.s3", _send_at_once)
        return client


def _send_at_once(*, request: AWSPreparedRequest, **_: object) -> None:
    """Send a request with its body, instead of waiting until the server asks for the body (`Expect: 100-continue`).

    Backups are small, and botocore would wait for such an interim response without the limits of `bounds`.
    """
    if "Expect" in request.headers:
        del request.headers["Expect"]


def is_aws(address: str) -> bool:
    """Return whether an address is the URL of an endpoint of AWS, in any partition."""
    return (urlsplit(address).hostname or "").endswith(AWS_HOSTS)


def _session(profile: str | None) -> botocore.session.Session:
    core = botocore.session.Session(profile=profile)
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=moment)
    return core


def _iam(session: boto3.Session, connection: Connection) -> "IAMClient":
    return _checked(lambda config: session.client("iam", **_place(session, connection), config=config), connection)


def _sts(session: boto3.Session, connection: Connection) -> "STSClient":
    return _checked(lambda config: session.client("sts", **_place(session, connection), config=config), connection)


def _place(session: boto3.Session, connection: Connection) -> Place:
    return {"region_name": session.region_name or "us-east-1", "endpoint_url": connection.endpoint_url}


def _checked(create: Callable[[Config], C], connection: Connection) -> C:
    """Return a client made by `create`. For an endpoint on loopback, the client uses no proxy.

    Raise UsageFault for an unencrypted endpoint that is not on loopback.
    """
    client = create(_config(connection))
    address = client.meta.endpoint_url
    _check_encrypted(address)
    # A profile or the environment may set the endpoint, so the address is known only after a client was created.
    proxies = getproxies().keys() - {"no"}  # `no` has the value of NO_PROXY
    return create(_config(connection).merge(Config(proxies={}))) if is_loopback(address) and proxies else client


def _config(connection: Connection) -> Config:
    return Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=10,
        read_timeout=connection.read_timeout,
        max_pool_connections=max(10, connection.workers),
    )


def _check_encrypted(address: str) -> None:
    """Raise UsageFault for an unencrypted address, unless it is on loopback."""
    if not address.startswith("https://") and not is_loopback(address):
        raise UsageFault(
            f"{address} is not encrypted, so secrets would be sent in plain text",
            "use https; plain http is for loopback only",
        )


def _ask_by(ask_code: AskCode, session: botocore.session.Session, *, stored: bool) -> None:
    """Have botocore ask for codes with `ask_code`. If `stored`, keep role sessions in the AWS CLI's cache on disk."""
    provider = session.get_component("credential_provider").get_provider("assume-role")
    if stored:
        provider.cache = JSONFileCache(str(Path(CLI_CACHE).expanduser()))
    # botocore passes the prompt "Enter MFA code for SERIAL: ".
    provider._prompter = lambda text: ask_code(text.rpartition(" for ")[2].rstrip(": "))  # noqa: SLF001 - botocore has no public way to do this


def _with_mfa(session: boto3.Session, connection: Connection, ask_code: AskCode) -> boto3.Session:
    """Return a session with MFA if the profile has a user's access keys, and an `mfa_serial` is set for them.

    The `mfa_serial` of `connection` overrides that of the profile. boto3 itself ignores the setting `mfa_serial` if a
    profile has access keys. The new session is kept in memory only. For any other profile, return `session`.
    """
    config = session._session.get_scoped_config()  # noqa: SLF001 - boto3 has no public access to the settings of a profile
    credentials = session.get_credentials()
    serial = connection.mfa_serial or config.get("mfa_serial")
    if serial is None or "role_arn" in config or credentials is None or credentials.method not in OWN_KEYS:
        return session
    if credentials.get_frozen_credentials().token:
        return session
    sts = _sts(session, connection)
    session_keys = Secret(sts.get_session_token(SerialNumber=serial, TokenCode=ask_code(serial))["Credentials"])
    return boto3.Session(
        aws_access_key_id=session_keys.reveal()["AccessKeyId"],
        aws_secret_access_key=session_keys.reveal()["SecretAccessKey"],
        aws_session_token=session_keys.reveal()["SessionToken"],
        region_name=session.region_name,
    )


def moment(text: Any) -> datetime:
    """Parse a time in a response as botocore does, but try ISO 8601 first.

    botocore guesses the format of each time, and this would take longer than all other work on a long page. Raise
    ResponseParserError for text that is not a time.
    """
    try:
        time = _parsed(text)
        time.utctimetuple()  # raises OverflowError for a time before the year 1 or after the year 9999
    except (ArithmeticError, OSError, RuntimeError, TypeError, ValueError):
        raise ResponseParserError("a response from AWS has an invalid time") from None
    return time


def _parsed(text: Any) -> datetime:
    # Digits alone are Unix seconds, which fromisoformat would parse as a date.
    if isinstance(text, str) and "T" in text:
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    return parse_timestamp(text)


def _quiet() -> None:
    """Keep the loggers of boto3, botocore and urllib3 above DEBUG, because at DEBUG they log secrets and codes."""
    for name in (*LOUD, *logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        if name.split(".")[0] in LOUD and logger.level < logging.INFO:
            logger.setLevel(logging.INFO)
