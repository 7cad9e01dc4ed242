"""Reads answers of AWS: limits, retries and pages them, and converts botocore's errors to mfa-kit's errors.

The new error has the error code and the message from the response, but not the rest of the response or the request.

The limits of `BoundedResponse` apply to all of botocore's connections in this process, including those that renew
credentials.
"""

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, NotRequired, Protocol, Self, TypedDict, TypeVar

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    InvalidRegionError,
    NoCredentialsError,
    ProxyConnectionError,
    SSLError,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError

from mfa_kit.core import errors
from mfa_kit.core.denials import IN_ORGANIZATION, advice, parse_denial, without_links
from mfa_kit.core.errors import (
    AccessDenied,
    AwsFault,
    Expired,
    MfaKitError,
    NoSuchEntity,
    OutcomeUnknownError,
    Throttled,
    TooSlow,
    UsageFault,
)
from mfa_kit.core.message import Message, mfa_kit, suggest
from mfa_kit.core.permissions import jobs_with
from mfa_kit.core.stopping import INTERRUPTS
from mfa_kit.core.text import CLOCK_LIMIT, clock_difference, one_line
from mfa_kit.core.wrong_codes import REJECTED
from mfa_kit.network.http import BoundedResponse, SlowResponse


def bound_answers() -> None:
    """Apply the limits to every connection that botocore makes from now on."""
    for connection in (AWSHTTPConnection, AWSHTTPSConnection):
        connection.response_class = BoundedResponse  # type: ignore[assignment]  # the stubs declare another class


def end_limits() -> None:
    """Apply no limits to the connections that botocore makes from now on."""
    for connection in (AWSHTTPConnection, AWSHTTPSConnection):
        if "response_class" in vars(connection):
            delattr(connection, "response_class")


class ServiceHint(str):
    """A hint about a call to AWS, in the words of IAM. `in_s3` is the hint in the words of the bucket of backups.

    The settings of the bucket have names of their own. The template has the places `{endpoint}`, `{profile}` and
    `{region}` for them, `{service}` for the name of the service, and `{host}` for its name in addresses.
    """

    __slots__ = ("in_s3",)
    in_s3: str

    def __new__(cls, template: str) -> Self:
        """Return a hint."""
        options = {"endpoint": "--endpoint-url", "profile": "--profile", "region": "--region"}
        hint = super().__new__(cls, template.format(**options, service="IAM", host="iam"))
        settings = {"endpoint": "backup-endpoint-url", "profile": "backup-profile", "region": "backup-region"}
        hint.in_s3 = template.format(**settings, service="S3", host="s3")
        return hint


DENIED = suggest("ask an administrator for the permission; to see what is needed", "help permissions")
SIGN_IN_FIRST = suggest(
    "choose a profile (--profile NAME), or export AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if there is one, "
    "AWS_SESSION_TOKEN, such as those that the AWS access portal shows; see",
    "help credentials",
)
SIGN_IN = ServiceHint("sign in again, or choose another {profile}")
REGION = "set backup-region in the configuration file to the region of the bucket"
# Error codes with their class and hint (IAM API reference, common errors; Amazon S3 API
# reference, "Error responses"; EC2 API reference, "Error codes").
# Any other code is an AwsFault with a general hint.
CODES: dict[str, tuple[type[MfaKitError], str]] = {
    **dict.fromkeys(
        ("AccessDenied", "UnauthorizedOperation"),
        (AccessDenied, DENIED),
    ),
    "AuthorizationHeaderMalformed": (AwsFault, REGION),
    "ConcurrentModification": (errors.BusyError, "wait some minutes and try again"),
    "DeleteConflict": (errors.Conflict, "deactivate the device first"),
    "EntityAlreadyExists": (
        errors.AlreadyExists,
        Message("list the devices", mfa_kit("status"), mfa_kit("orphans list")),
    ),
    "EntityTemporarilyUnmodifiable": (errors.BusyError, "wait some minutes and try again"),
    "ExpiredToken": (Expired, SIGN_IN),
    "InvalidAccessKeyId": (AwsFault, ServiceHint("check the access key of {profile}, and {endpoint}")),
    "InvalidAuthenticationCode": (errors.InvalidCode, REJECTED),
    "InvalidClientTokenId": (
        AwsFault,
        ServiceHint("check the {profile}; in GovCloud and China also give the {region}"),
    ),
    **dict.fromkeys(
        ("InvalidAction", "MethodNotAllowed", "NotImplemented", "UnknownOperation", "UnsupportedOperation"),
        (errors.NoSuchOperation, ServiceHint("check {endpoint}: this server is not AWS")),
    ),
    "KMS.NotFound": (AwsFault, "correct backup-kms-key in the configuration file"),
    "LimitExceeded": (AwsFault, "raise the quota in Service Quotas, or delete devices that are not used"),
    "NoSuchEntity": (NoSuchEntity, suggest("check the name; to list the users", "status")),
    "PermanentRedirect": (AwsFault, REGION),
    "RequestExpired": (AwsFault, "set this computer's clock"),
    "SignatureDoesNotMatch": (AwsFault, "check the secret access key and this computer's clock"),
    **dict.fromkeys(
        ("RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException"),
        (Throttled, "try again later"),
    ),
    "ValidationError": (errors.InvalidValue, "check the names and ARNs that were given"),
}
# Error codes of requests that AWS may have refused because of their time (API references of IAM, Organizations and S3,
# errors).
CLOCK_CODES = {"InvalidSignature", "RequestExpired", "RequestTimeTooSkewed", "SignatureDoesNotMatch"}
# A phrase in a refusal of IAM that is due to missing MFA.
WITHOUT_MFA = "authenticated with an MFA device"
WITH_MFA = suggest(
    "if a policy requires MFA, use credentials with MFA, such as a profile with mfa_serial; see", "help credentials"
)
CAUSES = (
    "AWS does not say why; check that the role exists, that its trust policy allows you, that your own policies allow "
    "sts:AssumeRole, that the external ID is right, and whether the role requires MFA"
)
WRONG_CODE = "MultiFactorAuthentication failed"
# The errors that botocore raises instead of sending a request if it cannot renew the credentials. If the renewed
# credentials have expired too, botocore raises a RuntimeError with the words STILL_EXPIRED, which are botocore's own.
NOT_RENEWED = (CredentialRetrievalError, SSOTokenLoadError, TokenRetrievalError, UnauthorizedSSOTokenError)
STILL_EXPIRED = "refreshed credentials are still expired"
# In these modules, botocore raises ValueError if a number or base64 in a response is invalid, and RecursionError if the
# JSON of a policy is nested too deeply.
PARSERS = {"botocore.parsers", "botocore.handlers"}
# After these errors, no connection was made, so the request was not sent.
NOT_SENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError)
# This HTTP status, or a higher one, means that the server failed. The request may have taken effect (RFC 9110, 15.6).
SERVER_ERROR = 500
NOT_IAM = ServiceHint("check the proxy, the network and {endpoint}, and try again")


@contextmanager
def our_errors() -> Iterator[None]:
    """Convert the errors that botocore raises in the `with` block to mfa-kit's errors.

    Every call to AWS is made in such a block. Raise KeyboardInterrupt if Ctrl-C was lost before the call or during it.
    """
    INTERRUPTS.check()
    try:
        with _converted():
            yield
    finally:
        INTERRUPTS.check()


@contextmanager
def _converted() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        raise _refused(error) from None
    except SSLError as error:
        # Other TLS errors can happen after the certificate check, so the request may have been sent.
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            raise OutcomeUnknownError("no answer from AWS (SSLError)", "check the network and try again") from None
        raise AwsFault(f"AWS cannot be reached: {error}", ServiceHint("check the CA bundle and {endpoint}")) from None
    except NOT_SENT as error:
        raise AwsFault(
            f"AWS cannot be reached: {error}", ServiceHint("check the network, the proxy and {endpoint}")
        ) from None
    except (HTTPClientError, ResponseParserError) as error:
        raise _no_answer(error) from None
    except NOT_RENEWED as error:
        raise Expired(f"the credentials cannot be renewed: {str(error).rstrip('. ')}", SIGN_IN) from None
    except BotoCoreError as error:
        raise _unusable(error) from None
    except (RuntimeError, ValueError) as error:
        raise _of_botocore(error) from None
    except KeyError as error:
        raise _lacking(error) from None


def _of_botocore(error: Exception) -> Exception:
    """Convert a RuntimeError or ValueError if botocore raised it while renewing credentials or parsing a response.

    Return any other error unchanged.
    """
    if STILL_EXPIRED in str(error):
        return Expired("the credentials have expired and were not renewed", SIGN_IN)
    frames = traceback.walk_tb(error.__traceback__)
    parsing = any(frame.f_globals.get("__name__") in PARSERS for frame, _ in frames)
    return _no_answer(ResponseParserError()) if parsing else error


def _lacking(error: KeyError) -> Exception:
    """Convert a KeyError if a module of this package looked for a member that a response lacks.

    AWS sends all the members that these modules need. Return any other error unchanged.
    """
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    if not frame.f_globals["__name__"].startswith(f"{__package__}."):
        return error
    return OutcomeUnknownError(f"the response has no {error.args[0]}, so it is not from AWS", NOT_IAM)


def _no_answer(error: Exception) -> OutcomeUnknownError:
    """Convert an error to OutcomeUnknownError, because it is unknown whether the request took effect."""
    if isinstance(error, ResponseParserError):
        return OutcomeUnknownError("the response cannot be parsed, so it is not from AWS", NOT_IAM)
    cause = error.__context__
    while cause is not None:
        if isinstance(cause, SlowResponse):
            return TooSlow(f"no complete answer from AWS: {cause}", NOT_IAM)
        cause = cause.__context__
    return OutcomeUnknownError(f"no answer from AWS ({type(error).__name__})", "check the network and try again")


def clock_offset(date: str | None) -> float | None:
    """Return AWS's time minus this computer's time in seconds, from the Date header of a response that just arrived.

    Return None if there is no such header, or if it is not a date.
    """
    try:
        # The header has whole seconds, so AWS's time is half a second later on average.
        return parsedate_to_datetime(date or "").timestamp() + 0.5 - time.time()
    except ValueError:
        return None


def wrong_clock(offset: float) -> AwsFault:
    """Return the error for a clock that is off by more than CLOCK_LIMIT seconds. `offset` is as in `clock_offset`."""
    return AwsFault(clock_difference(offset), "set it: timedatectl set-ntp true")


def is_wrong_code(error: ClientError) -> bool:
    """Return whether STS refused the code of an MFA device."""
    return WRONG_CODE in str(error)


def refused_role(error: ClientError, role: str) -> MfaKitError:
    """Convert the error response to an AssumeRole call that mfa-kit, not botocore, made.

    If AWS denies access without a cause, the hint lists the possible causes.
    """
    refusal = _answered(error)
    if not isinstance(refusal, AccessDenied):
        return refusal
    denial = parse_denial(str(error))
    if is_wrong_code(error):
        hint = refusal.hint
    elif denial and denial.type in IN_ORGANIZATION:
        hint = "an administrator of the organization must change that policy"
    else:
        hint = CAUSES
    return coded(AccessDenied(f"the role {role} cannot be assumed: {refusal}", hint), error)


def _refused(error: ClientError) -> MfaKitError:
    """Convert an error response to one of mfa-kit's errors."""
    refusal = _answered(error)
    if error.operation_name == "AssumeRole" and not isinstance(refusal, Throttled | OutcomeUnknownError):
        # botocore made this call to get credentials for another request, which it then did not send. So the credentials
        # are at fault, as if they had expired.
        return coded(Expired(str(refusal), refusal.hint), error)
    return refusal


def _code_of(error: ClientError) -> str:
    """Return the code of an error response. Some services append "Exception" to the codes of the others."""
    code = one_line(str(error.response.get("Error", {}).get("Code") or "?"))
    return code.removesuffix("Exception") if code.removesuffix("Exception") in {*CODES, *CLOCK_CODES} else code


def coded(fault: MfaKitError, error: ClientError) -> MfaKitError:
    """Add the code of an error response to the error that it was converted to, and return that error."""
    fault.aws_code = _code_of(error)[:80]
    return fault


def _answered(error: ClientError) -> MfaKitError:
    code, message = _code_of(error), one_line(error.response.get("Error", {}).get("Message") or "").rstrip(". ")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == str(status):
        # If the body is HTML or empty, botocore uses the status as the code. AWS always sends XML or JSON.
        return OutcomeUnknownError(f"the response is not from AWS: HTTP {status} {message}", NOT_IAM)
    offset = clock_offset(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date"))
    if code in CLOCK_CODES and offset and abs(offset) > CLOCK_LIMIT:
        return coded(wrong_clock(offset), error)
    kind, hint = _kind_and_hint(code, message, status=status)
    if kind is AccessDenied:
        message = without_links(message)
    if hint == DENIED and (jobs := jobs_with(error.operation_name)):
        hint = suggest("ask an administrator for the permissions that this job needs", f"policy show --for {jobs[0]}")
    return coded(kind(f"AWS answers {code}: {message or '(no message)'}", hint), error)


def _kind_and_hint(code: str, message: str, *, status: int) -> tuple[type[MfaKitError], str]:
    """Return the error class for an error code, and the hint for the code and its message."""
    kind, hint = CODES.get(code, (AwsFault, ServiceHint("look up this error code in the {service} API reference")))
    if kind is AwsFault and status >= SERVER_ERROR:
        kind, hint = OutcomeUnknownError, "try again later"
    return kind, _mfa_hint(kind, message) or hint


def _mfa_hint(kind: type[MfaKitError], message: str) -> str:
    """Return the hint for a refusal that may be due to missing MFA or a wrong code, or "" for any other refusal."""
    denial = parse_denial(message) if kind is AccessDenied else None
    if kind is AccessDenied and WITHOUT_MFA in message:
        return WITH_MFA
    if denial and (denial.is_explicit or denial.type in IN_ORGANIZATION):
        return advice(denial)
    if WRONG_CODE in message:
        return (
            "each code works only once, and expires after about a minute: wait for the next code, and check mfa_serial "
            "in the profile"
        )
    return ""


def _unusable(error: BotoCoreError) -> MfaKitError:
    """Return the UsageFault or AwsFault for an error that botocore raised before it sent a request."""
    message = str(error).rstrip(". ")
    if isinstance(error, InvalidRegionError):
        return UsageFault(
            message, ServiceHint("give a region such as us-east-1: {region}, or the setting region of the profile")
        )
    if isinstance(error, NoCredentialsError):
        return AwsFault("there are no AWS credentials", SIGN_IN_FIRST)
    check = "check the profile (--profile NAME, or AWS_PROFILE) and its credentials; see"
    return AwsFault(message, suggest(check, "help credentials"))


T = TypeVar("T")
log = logging.getLogger(__name__)

# Seconds between the attempts of a read.
READ_PAUSES = (0.5, 1, 2, 4, 8)


class Retry(Protocol):
    """Calls a function, and retries it after some errors. Returns the function's result, or raises the last error."""

    def __call__(self, act: Callable[[], T]) -> T: ...


def read(
    attempt: Callable[[], T],
    *,
    sleep: Callable[[float], None],
    turn: Retry | None = None,
    pauses: Sequence[float] = READ_PAUSES,
) -> T:
    """Call `attempt`, which makes one read call, and return its result.

    If `attempt` raises Throttled or OutcomeUnknownError (no response, or a server error), it is called again after each
    of the `pauses` in seconds, because reading twice is harmless. TooSlow is raised at once. The error of the last
    attempt is raised. `turn`, if given, makes every attempt. It may wait before the attempt, and it retries throttled
    attempts itself.
    """

    def once() -> T:
        return turn(attempt) if turn else attempt()

    for pause in pauses:
        try:
            return once()
        except TooSlow:
            raise
        except OutcomeUnknownError as error:
            log.debug("%s; asking again in %s s", error, pause)
        except Throttled as error:
            # `turn` has already retried the attempt and given up.
            if turn:
                raise
            log.debug("%s; asking again in %s s", error, pause)
        sleep(pause)
    return once()


if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient

# The maximum number of rows that IAM puts on a page.
PAGE = 1000


class Ask(Protocol):
    """Makes one read call with boto3's IAM client and returns its result. An implementation may retry the call.

    Raises one of mfa-kit's errors if the call fails.
    """

    def __call__(self, call: Callable[["IAMClient"], T]) -> T: ...


class IamPage(TypedDict):
    """The fields that all pages of IAM's listings have. IAM sends `Marker` only if `IsTruncated` is true."""

    IsTruncated: bool
    Marker: str


class From(TypedDict):
    """The argument of a call that says where the requested page begins. For the first page it is empty."""

    Marker: NotRequired[str]


P = TypeVar("P", bound=IamPage)


def pages(ask: Ask, call: Callable[["IAMClient", From], P]) -> Iterator[P]:
    """Yield the pages of a listing in order. `call` requests one page. Its second argument says where the page begins.

    Raise AwsFault if a marker is missing or repeats, or the error that `ask` raises for a page.
    """
    start: From = {}
    while True:
        page = ask(partial(_call_from, call, start))
        yield page
        if not page.get("IsTruncated"):
            return
        if page.get("Marker") in {None, start.get("Marker")}:
            raise AwsFault("IAM returned a page without a new marker", "try again; report it if it happens again")
        start = {"Marker": page["Marker"]}


def _call_from(call: Callable[["IAMClient", From], P], start: From, iam: "IAMClient") -> P:
    return call(iam, start)


# A function that is called with the operation, the request ID, and the name of the user in the request, or None.
Observe = Callable[[str, str, str | None], None]
# The key under which the user's name is kept in botocore's request context.
USER = "mfa_kit_user"


def observe_reads(ask: Ask, observe: Observe) -> None:
    """Make the IAM client of `ask` call `observe` after each response from now on."""

    def before(params: dict[str, object], context: dict[str, object], **_: object) -> None:
        context[USER] = params.get("UserName")

    def after(parsed: dict[str, dict[str, str]], model: object, context: dict[str, object], **_: object) -> None:
        user = context.get(USER)
        operation = str(getattr(model, "name", ""))
        request = str(parsed.get("ResponseMetadata", {}).get("RequestId", ""))
        observe(operation, request, str(user) if user else None)

    def register(client: object) -> None:
        events = getattr(client, "meta").events  # noqa: B009 - every client of boto3 has `meta`
        events.register("before-parameter-build.iam", before)
        events.register("after-call.iam", after)

    ask(register)
