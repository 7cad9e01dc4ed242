"""The wire formats of AWS: requests, responses, errors, SigV4 signatures, checks of parameters, and paging.

IAM and STS use the query protocol, and Organizations uses JSON. Nothing here depends on a particular operation.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl, quote
from xml.sax.saxutils import escape

from botocore.model import ListShape, Shape, StringShape, StructureShape

from mfa_kit.core.file_formats import read_json

NAMESPACE = {"iam": "https://iam.amazonaws.com/doc/2010-05-08/", "sts": "https://sts.amazonaws.com/doc/2011-06-15/"}
# The HTTP status of errors, as in the API references. Errors that are not listed here have status 400.
STATUS = {
    **dict.fromkeys(("NoSuchEntity", "ReportInProgress"), 404),
    **dict.fromkeys(("AccessDenied", "ExpiredToken", "InvalidAuthenticationCode", "InvalidClientTokenId"), 403),
    **dict.fromkeys(("IncompleteSignature", "MissingAuthenticationToken", "SignatureDoesNotMatch"), 403),
    **dict.fromkeys(("ConcurrentModification", "DeleteConflict", "EntityAlreadyExists"), 409),
    **dict.fromkeys(("EntityTemporarilyUnmodifiable", "LimitExceeded"), 409),
    **dict.fromkeys(("ReportExpired", "ReportNotPresent"), 410),
    **dict.fromkeys(("InternalFailure", "ServiceFailure"), 500),
    "NotImplemented": 501,
}

T = TypeVar("T")


class IamError(Exception):
    """An error that IAM, STS or Organizations returns to the client: its code and its message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class HttpResponse(NamedTuple):
    """An HTTP response. `status` is the status code and its reason phrase, as WSGI requires."""

    status: str
    headers: Sequence[tuple[str, str]]
    body: bytes


# This response makes the server close the connection without sending anything.
LOST = HttpResponse("lost", [], b"")


class LoggedCall(NamedTuple):
    """A call that the lab has answered.

    `key` is the access key ID. `error` is the error code, "" for success, or `lost` if no response was sent. `seconds`
    is the duration of the call. `account` is the ID of the caller's account, or "" if the lab did not issue the key.
    """

    operation: str
    key: str
    error: str
    seconds: float
    account: str


@dataclass(frozen=True, slots=True)
class OperationRequest:
    """One call of an operation: its service, by botocore name, its name and its parsed parameters.

    `region` is the Region that it is signed for, or "" if that makes no difference, as in IAM.
    """

    service: str
    action: str
    params: Mapping[str, object]
    region: str = ""

    def optional(self, name: str) -> str | None:
        """Return a parameter, or None if the request does not have it."""
        value = self.params.get(name)
        return None if value is None else str(value)

    def text(self, name: str) -> str:
        """Return a parameter, or "" if the request does not have it."""
        return self.optional(name) or ""

    def number(self, name: str, default: int) -> int:
        """Return an integer parameter, or the default if it is missing or 0."""
        value = self.params.get(name)
        return value if isinstance(value, int) and value else default

    def texts(self, name: str) -> list[str]:
        """Return a list of strings, or an empty list if the request does not have the parameter."""
        value = self.params.get(name)
        return [str(text) for text in value] if isinstance(value, list) else []

    def rows(self, name: str) -> list[Mapping[str, object]]:
        """Return a list of structures, or an empty list if the request does not have the parameter."""
        value = self.params.get(name)
        return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []

    def tags(self) -> list[tuple[str, str]]:
        """Return the request's tags as pairs of key and value, in the order of the request."""
        return [(str(tag["Key"]), str(tag["Value"])) for tag in self.rows("Tags")]


class Signature(NamedTuple):
    """The parts of a SigV4 Authorization header."""

    key: str
    day: str
    region: str
    service: str
    headers: list[str]
    value: str


def new_request_id() -> str:
    """Return a new request ID, a UUID as in x-amzn-RequestId."""
    return str(uuid.uuid4())


def error_response(service: str, code: str, message: str) -> tuple[int, bytes]:
    """Return the HTTP status and the XML body of an error (API references, "Common Errors")."""
    status = STATUS.get(code, 400)
    side = "Receiver" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "Sender"
    body = (
        f'<ErrorResponse xmlns="{NAMESPACE.get(service, NAMESPACE["iam"])}">\n  <Error>\n    <Type>{side}</Type>\n'
        f"    <Code>{escape(code)}</Code>\n    <Message>{escape(message)}</Message>\n  </Error>\n"
        f"  <RequestId>{new_request_id()}</RequestId>\n</ErrorResponse>\n"
    )
    return status, body.encode()


def error_code(body: bytes) -> str:
    """Return the error code in the XML body of an error response, or "" if it has none."""
    return body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()


def parse_authorization(header: str) -> Signature:
    """Parse a SigV4 Authorization header.

    Raise IamError with the code IncompleteSignature if it is malformed, as AWS does.
    """
    parts = dict(part.strip().partition("=")[::2] for part in header.removeprefix("AWS4-HMAC-SHA256").split(","))
    try:
        key, day, region, service, _ = parts["Credential"].split("/")
        return Signature(key, day, region, service, parts["SignedHeaders"].split(";"), parts["Signature"])
    except (KeyError, ValueError):
        message = "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature'."
        raise IamError("IncompleteSignature", message) from None


def signature_matches(
    signature: Signature, secret: str, *, headers: Mapping[str, str], method: str, path: str, query: str, body: bytes
) -> bool:
    """Return whether a request was signed with this secret (Signature Version 4)."""
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    lines = [f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signature.headers]
    canonical = [
        method,
        quote(path or "/", safe="/-_.~"),
        "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs),
        "".join(lines),
        ";".join(signature.headers),
        hashlib.sha256(body).hexdigest(),
    ]
    scope = f"{signature.day}/{signature.region}/{signature.service}/aws4_request"
    digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), "\n".join(("AWS4-HMAC-SHA256", headers.get("x-amz-date", ""), scope, digest))):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.compare_digest(key.hex(), signature.value)


@cache
def compile_pattern(java: str) -> re.Pattern[str]:
    r"""Translate the Java regular expression of a constraint to Python.

    Classes such as `\p{L}` become letters and digits of any script. Expressions without such a class match only ASCII,
    because names in IAM are ASCII.
    """
    if r"\p{" not in java:
        return re.compile(java, re.ASCII)
    inner, times = java[1 : java.index("]")], java[java.index("]") + 1 :]
    characters = re.sub(r"\\p\{\w\}", "", inner)
    return re.compile(rf"(?:[^\W_]|[\s{characters}]){times}")


def _broken_constraint(shape: Shape, value: str | int) -> str | None:
    """Return the first constraint of the service model that a value breaks, in AWS's words, or None."""
    meta = shape.metadata
    low, high, pattern = meta.get("min"), meta.get("max"), meta.get("pattern")
    enum: Sequence[str] = shape.enum if isinstance(shape, StringShape) else ()
    size, quantity = (len(value), "length") if isinstance(value, str) else (value, "value")
    checks = (
        (bool(enum) and value not in enum, f"satisfy enum value set: [{', '.join(enum)}]"),
        (low is not None and size < low, f"have {quantity} greater than or equal to {low}"),
        (high is not None and size > high, f"have {quantity} less than or equal to {high}"),
        (
            pattern and not compile_pattern(pattern).fullmatch(str(value)),
            f"satisfy regular expression pattern: {pattern}",
        ),
    )
    return next((f"Member must {requirement}" for broken, requirement in checks if broken), None)


class Violation(NamedTuple):
    """A parameter that breaks the service model: its dotted name, its value, and the constraint in IAM's words."""

    name: str
    value: object
    constraint: str


def _violations(shape: Shape, value: object, name: str) -> Iterator[Violation]:
    """Yield the violations of a parameter and of all its members."""
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        yield from _violations_of_structure(shape, value, name)
    elif isinstance(shape, ListShape) and isinstance(value, list):
        high = shape.metadata.get("max")
        if high is not None and len(value) > high:
            yield Violation(name, value, f"Member must have length less than or equal to {high}")
        for number, member in enumerate(value, 1):
            yield from _violations(shape.member, member, f"{name}.{number}.member")
    elif isinstance(value, str | int) and (constraint := _broken_constraint(shape, value)):
        yield Violation(name, value, constraint)


def _violations_of_structure(shape: StructureShape, value: Mapping[str, object], name: str) -> Iterator[Violation]:
    for required in shape.required_members:
        if value.get(required) is None:
            yield Violation(_member(required, name), None, "Member must not be null")
    for member, inner in shape.members.items():
        if value.get(member) is not None:
            yield from _violations(inner, value[member], _member(member, name))


def _member(member: str, above: str) -> str:
    return f"{above}.{member[0].lower()}{member[1:]}".lstrip(".")


def check_constraints(shape: Shape | None, params: Mapping[str, object]) -> None:
    """Raise IamError with the code ValidationError if parameters break constraints of the service model.

    The constraints are lengths, ranges, patterns, enums and required members. botocore checks only required members and
    minimum lengths and values before it sends a request, so a service has to check the rest.
    """
    violations = [] if shape is None else list(_violations(shape, params, ""))
    if violations:
        details = "; ".join(
            f"Value {'null' if value is None else repr(value)} at '{name}' failed to satisfy constraint: {broken}"
            for name, value, broken in violations
        )
        plural = "s" if len(violations) > 1 else ""
        raise IamError("ValidationError", f"{len(violations)} validation error{plural} detected: {details}")


def cut_page(rows: Sequence[T], request: OperationRequest, *, key: Callable[[T], str]) -> tuple[list[T], str | None]:
    """Return one page of rows, sorted by key, and the marker for the next page. The last page has the marker None.

    A page has at most 100 rows, or at most MaxItems rows if the request has MaxItems. The marker encodes the last key
    of the returned page, so no row is skipped if a row is deleted before the next request.
    """
    ordered = sorted(rows, key=key)
    marker = request.text("Marker")
    after = decode_marker(marker) if marker else None
    remaining_rows = ordered if after is None else [row for row in ordered if key(row) > after]
    shown = remaining_rows[: request.number("MaxItems", 100)]
    more = len(remaining_rows) > len(shown)
    return shown, encode_marker(key(shown[-1])) if more else None


def encode_marker(key: str) -> str:
    """Return a text of this lab that clients cannot read, such as the marker of a page. `decode_marker` reads it."""
    return base64.urlsafe_b64encode(b"lab:" + key.encode()).decode()


def decode_marker(marker: str) -> str:
    """Return the key that a marker encodes.

    Raise IamError with the code ValidationError for a marker that this lab did not issue.
    """
    try:
        mark = base64.urlsafe_b64decode(marker)
    except (ValueError, binascii.Error):
        mark = b""
    if not mark.startswith(b"lab:"):
        raise IamError("ValidationError", "Invalid Marker.")
    return mark[4:].decode()


# The error codes of IAM that other services spell differently, by service, with their codes (API references, "Common
# Errors"; EC2 API reference, "Error codes").
CODES: Mapping[str, Mapping[str, str]] = {
    "organizations": {
        "ServiceFailure": "ServiceException",
        "Throttling": "TooManyRequestsException",
        "ValidationError": "InvalidInputException",
    },
    "cloudtrail": {"ServiceFailure": "InternalFailure", "Throttling": "ThrottlingException"},
    "ec2": {
        "AccessDenied": "UnauthorizedOperation",
        "ExpiredToken": "RequestExpired",
        "InvalidClientTokenId": "AuthFailure",
        "ServiceFailure": "InternalError",
        "Throttling": "RequestLimitExceeded",
    },
}
# The same for all services of the JSON protocol.
JSON_CODES = {
    "AccessDenied": "AccessDeniedException",
    "ConcurrentModification": "ConcurrentModificationException",
    "ExpiredToken": "ExpiredTokenException",
    "IncompleteSignature": "IncompleteSignatureException",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "MissingAuthenticationToken": "MissingAuthenticationTokenException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
}


def json_response(status: HTTPStatus, fields: Mapping[str, object]) -> HttpResponse:
    """Return a response of the JSON protocol, with the fields as a JSON object and a new request ID."""
    body = json.dumps(fields).encode()
    headers = [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))]
    return HttpResponse(f"{status.value} {status.phrase}", [*headers, ("x-amzn-RequestId", new_request_id())], body)


def json_error(service: str, code: str, message: str) -> HttpResponse:
    """Return an error response of the JSON protocol. The status is 400, or 5xx if the service failed."""
    status = HTTPStatus(STATUS.get(code, 400))
    shown = status if status >= HTTPStatus.INTERNAL_SERVER_ERROR else HTTPStatus.BAD_REQUEST
    return json_response(shown, {"__type": {**JSON_CODES, **CODES[service]}.get(code, code), "Message": message})


def ec2_response(status: int, inner: str, *, name: str, request_id: str) -> HttpResponse:
    """Return a response of EC2: an XML document with the root element `name`."""
    body = f'<{name} xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">{inner}</{name}>'.encode()
    headers = [("Content-Type", "text/xml"), ("Content-Length", str(len(body))), ("x-amzn-RequestId", request_id)]
    return HttpResponse(f"{status} {HTTPStatus(status).phrase}", headers, body)


def ec2_error(code: str, message: str) -> HttpResponse:
    """Return an error response of EC2 (EC2 API reference, "Error codes")."""
    request_id, shown = new_request_id(), CODES["ec2"].get(code, code)
    inner = f"<Errors><Error><Code>{escape(shown)}</Code><Message>{escape(message)}</Message></Error></Errors>"
    more = f"<RequestID>{request_id}</RequestID>"
    return ec2_response(STATUS.get(code, 400), inner + more, name="Response", request_id=request_id)


def json_error_code(body: bytes) -> str:
    """Return the error code in the JSON body of an error response, or "" if the body has none."""
    return str(read_json(body).get("__type", ""))
