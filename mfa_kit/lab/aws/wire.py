"""The query protocol as IAM and STS speak it: errors in their XML, the service model's constraints, SigV4, paging.

Nothing here knows an operation.
"""

import base64
import binascii
import hashlib
import hmac
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, quote
from xml.sax.saxutils import escape

from botocore.model import ListShape, Shape, StringShape, StructureShape

NAMESPACE = {"iam": "https://iam.amazonaws.com/doc/2010-05-08/", "sts": "https://sts.amazonaws.com/doc/2011-06-15/"}
# Everything else is 400, as in the API references' tables of errors.
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
    """An error as IAM or STS words it. Not one of moto's, which knows only the codes of the service's model."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message


class Signature(NamedTuple):
    """What the Authorization header of SigV4 says."""

    key: str
    day: str
    region: str
    service: str
    headers: list[str]
    value: str


def new_request_id() -> str:
    return str(uuid.uuid4())


def error_response(service: str, code: str, message: str) -> tuple[int, bytes]:
    """Status and body of an error."""
    status = STATUS.get(code, 400)
    side = "Receiver" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "Sender"
    body = (
        f'<ErrorResponse xmlns="{NAMESPACE.get(service, NAMESPACE["iam"])}">\n  <Error>\n    <Type>{side}</Type>\n'
        f"    <Code>{escape(code)}</Code>\n    <Message>{escape(message)}</Message>\n  </Error>\n"
        f"  <RequestId>{new_request_id()}</RequestId>\n</ErrorResponse>\n"
    )
    return status, body.encode()


def parse_authorization(header: str) -> Signature:
    """Parse an Authorization header. Raise IamError as the services do when it is not SigV4's."""
    parts = dict(part.strip().partition("=")[::2] for part in header.removeprefix("AWS4-HMAC-SHA256").split(","))
    try:
        key, day, region, service, _ = parts["Credential"].split("/")
        return Signature(key, day, region, service, parts["SignedHeaders"].split(";"), parts["Signature"])
    except (KeyError, ValueError):
        said = "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature'."
        raise IamError("IncompleteSignature", said) from None


def signature_matches(
    signature: Signature, secret: str, *, headers: Mapping[str, str], method: str, path: str, query: str, body: bytes
) -> bool:
    """Whether the signature (Signature Version 4) of a request was made with this secret."""
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
    """Put a constraint's expression into Python's dialect. Names are ASCII, tags may be of any script."""
    if r"\p{" not in java:
        return re.compile(java, re.ASCII)
    inner, times = java[1 : java.index("]")], java[java.index("]") + 1 :]
    rest = re.sub(r"\\p\{\w\}", "", inner)
    return re.compile(rf"(?:[^\W_]|[\s{rest}]){times}")


def _broken(shape: Shape, value: Any) -> str | None:
    """Name the constraint of the model that a value breaks, in the services' words."""
    meta = shape.metadata
    low, high = meta.get("min"), meta.get("max")
    is_text = isinstance(shape, StringShape)
    size = len(value) if is_text else value
    what = "length" if is_text else "value"
    enum = shape.enum if isinstance(shape, StringShape) else []
    wanted = meta.get("pattern")
    checks = (
        (bool(enum) and value not in enum, f"satisfy enum value set: [{', '.join(enum)}]"),
        (low is not None and size < low, f"have {what} greater than or equal to {low}"),
        (high is not None and size > high, f"have {what} less than or equal to {high}"),
        (wanted and not compile_pattern(wanted).fullmatch(str(value)), f"satisfy regular expression pattern: {wanted}"),
    )
    return next((f"Member must {said}" for broken, said in checks if broken), None)


def _walk(shape: Shape, value: Any, name: str) -> Iterable[tuple[str, Any, str]]:
    if isinstance(shape, StructureShape):
        for required in shape.required_members:
            if value.get(required) is None:
                yield _lower(required, name), None, "Member must not be null"
        for member, inner in shape.members.items():
            if value.get(member) is not None:
                yield from _walk(inner, value[member], _lower(member, name))
    elif isinstance(shape, ListShape):
        high = shape.metadata.get("max")
        if high is not None and len(value) > high:
            yield name, value, f"Member must have length less than or equal to {high}"
        for number, inner_value in enumerate(value, 1):
            yield from _walk(shape.member, inner_value, f"{name}.{number}.member")
    elif isinstance(value, str | int) and (said := _broken(shape, value)):
        yield name, value, said


def _lower(member: str, above: str) -> str:
    return f"{above}.{member[0].lower()}{member[1:]}".lstrip(".")


def check_constraints(shape: Shape | None, params: Mapping[str, Any]) -> None:
    """Raise ValidationError when parameters break the service model's lengths, patterns, enums or required members.

    botocore checks lengths only; the service checks the rest.
    """
    found = [] if shape is None else list(_walk(shape, params, ""))
    if found:
        said = "; ".join(
            f"Value {'null' if value is None else repr(value)} at '{name}' failed to satisfy constraint: {broken}"
            for name, value, broken in found
        )
        plural = "s" if len(found) > 1 else ""
        raise IamError("ValidationError", f"{len(found)} validation error{plural} detected: {said}")


def cut_page(
    rows: Sequence[T], params: Mapping[str, Any], *, key: Callable[[T], str], default: int = 100
) -> tuple[list[T], str | None]:
    """Cut one page of rows sorted by key, and the marker of the next.

    A marker is the last key, so that a deletion between two pages loses nothing.
    """
    ordered = sorted(rows, key=key)
    after = decode_marker(params["Marker"]) if params.get("Marker") else None
    rest = ordered if after is None else [row for row in ordered if key(row) > after]
    shown = rest[: params.get("MaxItems") or default]
    more = len(rest) > len(shown)
    return shown, base64.urlsafe_b64encode(b"lab:" + key(shown[-1]).encode()).decode() if more else None


def decode_marker(marker: str) -> str:
    try:
        mark = base64.urlsafe_b64decode(marker)
    except (ValueError, binascii.Error):
        mark = b""
    if not mark.startswith(b"lab:"):
        raise IamError("ValidationError", "Invalid Marker.")
    return mark[4:].decode()
