"""CloudTrail's LookupEvents, and EC2's DescribeRegions, which says in which Regions to ask.

Source: CloudTrail API reference, LookupEvents; EC2 API reference, DescribeRegions.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from http import HTTPStatus
from typing import Any

from botocore.model import Shape
from werkzeug.wrappers import Request

from mfa_kit.core.file_formats import read_json
from mfa_kit.lab.aws import auth, wire
from mfa_kit.lab.aws.account import LabAccount, Principal
from mfa_kit.lab.aws.history import Event, Position, event_time, unix_time
from mfa_kit.lab.aws.rights import request_context
from mfa_kit.lab.aws.wire import HttpResponse, IamError, OperationRequest

# The name of the service, and the end of the prefix of its X-Amz-Target header.
SERVICE, TARGET = "cloudtrail", "CloudTrail_20131101"
# How long the events of an account can be looked up, in seconds.
KEPT = 90 * 24 * 3600
PAGE = 50
# A Unix time in the year 5138. Later times are refused.
LATEST = 1e11
REGIONS = "DescribeRegions"


def _resources(event: Event) -> list[dict[str, str]]:
    """Return the resources of an event with their types: a role, a user or a device."""
    rows = [(row.get("type"), row.get("ARN")) for row in event.get("resources") or ()]
    params = event.get("requestParameters") or {}
    rows += [("AWS::IAM::User", params.get("userName")), ("AWS::IAM::MfaDevice", params.get("serialNumber"))]
    return [{"ResourceType": kind, "ResourceName": name} for kind, name in rows if kind and name]


def username(event: Event) -> str:
    """Return the Username of an event: a user's name, `root`, or the session name of a role."""
    identity = event.get("userIdentity") or {}
    if identity.get("type") == "Root":
        return "root"
    return str(identity.get("userName") or str(identity.get("principalId", "")).partition(":")[2])


def _row(event: Event) -> dict[str, Any]:
    """Return an event in the form of the answer, without CloudTrailEvent. Each AttributeKey is a field in it."""
    key = (event.get("userIdentity") or {}).get("accessKeyId")
    return {
        "EventId": event["eventID"],
        "EventName": event["eventName"],
        "ReadOnly": str(event.get("readOnly", False)).lower(),
        **({"AccessKeyId": key} if key else {}),
        "EventTime": unix_time(event),
        "EventSource": event["eventSource"],
        "Username": username(event),
        "Resources": _resources(event),
    }


def _matches(row: Mapping[str, Any], attributes: Sequence[Mapping[str, object]]) -> bool:
    """Return whether a row has the attribute of a lookup, or the lookup has none."""
    for attribute in attributes:
        key, value = str(attribute["AttributeKey"]), attribute["AttributeValue"]
        values = [resource.get(key) for resource in row["Resources"]] if key.startswith("R") else []
        return value in [row.get(key), *values]
    return True


# The error code for a parameter that breaks the service model, by the start of its name.
REFUSALS = {
    "lookupAttributes": "InvalidLookupAttributesException",
    "maxResults": "InvalidMaxResultsException",
    "eventCategory": "InvalidEventCategoryException",
}


def check_form(shape: Shape | None, call: OperationRequest) -> None:
    """Raise IamError with the code that LookupEvents has for a parameter that breaks the service model."""
    try:
        wire.check_constraints(shape, call.params)
    except IamError as error:
        code = next((code for name, code in REFUSALS.items() if f"'{name}" in error.message), "ValidationException")
        raise IamError(code, error.message) from None
    if len(call.rows("LookupAttributes")) > 1:
        raise IamError("InvalidLookupAttributesException", "You can only use one lookup attribute.")


def answer(account: LabAccount, request: Request) -> HttpResponse:
    """Answer one request of an account to CloudTrail."""
    service = auth.JsonService(SERVICE, {"LookupEvents": partial(_lookup_events, account)}, check_form)
    return service.answer(account, request)


def _lookup_events(account: LabAccount, call: OperationRequest) -> Mapping[str, object]:
    """Answer LookupEvents: one page of events of one Region, the newest first, from the last 90 days."""
    auth.check_region(account, call.region)
    if not account.lookups.take_token(call.region):
        raise IamError("Throttling", "Rate exceeded")
    asked = {name: value for name, value in call.params.items() if name != "NextToken"}
    digest = hashlib.sha256(json.dumps([account.id, call.region, asked], sort_keys=True).encode()).hexdigest()
    start, end = _times(account, call)
    if call.optional("EventCategory"):
        return {"Events": []}
    last = before = _position(call.text("NextToken"), digest)
    page: list[dict[str, Any]] = []
    for position, event in account.history.newest_first(call.region, start=start, end=end, before=before):
        row = _row(event)
        if _matches(row, call.rows("LookupAttributes")):
            if len(page) == call.number("MaxResults", PAGE):
                return {"Events": page, "NextToken": _token(last, digest)}
            page.append(row | {"CloudTrailEvent": json.dumps(event)})
            last = position
    return {"Events": page}


def _times(account: LabAccount, call: OperationRequest) -> tuple[str, str]:
    """Return the first and the last `eventTime` of a lookup. Raise IamError if its time range is not valid."""
    now, times = account.now(), []
    for name, default in (("StartTime", 0.0), ("EndTime", now)):
        seconds = call.params.get(name, default)
        if not isinstance(seconds, int | float) or not 0 <= seconds < LATEST:
            raise IamError("InvalidTimeRangeException", "The time range is outside the range of possible values.")
        times.append(seconds)
    start, end = times
    if start > end:
        raise IamError("InvalidTimeRangeException", "The start time must be before the end time.")
    return event_time(max(start, now - KEPT)), event_time(min(end, now - account.settings.event_delay))


def _token(position: Position, digest: str) -> str:
    return base64.b64encode(json.dumps([digest, *position]).encode()).decode()


def _position(token: str, digest: str) -> Position:
    """Return the position that a token encodes, or the newest possible if the token is "".

    Raise IamError with the code InvalidNextTokenException for a token of other parameters, or of another Region.
    """
    if not token:
        return Position("9", 0)
    try:
        content: Any = read_json(base64.b64decode(token, validate=True))
    except (ValueError, binascii.Error):
        content = None
    match content:
        case [str() as of, str() as time, int() as number] if of == digest:
            return Position(time, number)
    raise IamError("InvalidNextTokenException", "The provided token is not valid.")


def _check_rights(call: OperationRequest, account: LabAccount, caller: Principal, request: Request) -> None:
    """Raise IamError if the caller may not do this. EC2 appends an encoded message to the words of a denial.

    The names in the message are those that public examples of sts:DecodeAuthorizationMessage show.
    """
    try:
        auth.check_rights(call, account, caller, request)
    except IamError as error:
        mfa = request_context(call, account, caller).get("aws:MultiFactorAuthPresent")
        values = [{"key": "aws:MultiFactorAuthPresent", "values": {"items": [{"value": mfa}]}}] if mfa else []
        context = {
            "principal": {"id": caller.id, "arn": caller.arn},
            "action": f"ec2:{call.action}",
            "resource": "*",
            "conditions": {"items": values},
        }
        message = {"allowed": False, "explicitDeny": "explicit deny" in error.message, "context": context}
        encoded = wire.encode_marker(json.dumps(message))
        raise IamError(error.code, f"{error.message} Encoded authorization failure message: {encoded}") from None


def answer_regions(account: LabAccount, request: Request) -> HttpResponse:
    """Answer DescribeRegions with the enabled Regions of an account, whatever the parameters of the request are."""
    request_id = wire.new_request_id()
    with account.lock:
        try:
            call = OperationRequest("ec2", REGIONS, {}, auth.signed_region("ec2", request))
            caller = auth.authenticate(account, request)
            auth.check_region(account, call.region)
            _check_rights(call, account, caller, request)
        except IamError as error:
            return wire.ec2_error(error.code, error.message)
        items = "".join(
            f"<item><regionName>{region}</regionName><regionEndpoint>ec2.{region}.amazonaws.com</regionEndpoint>"
            "<optInStatus>opt-in-not-required</optInStatus></item>"
            for region in account.regions
        )
    inner = f"<requestId>{request_id}</requestId><regionInfo>{items}</regionInfo>"
    return wire.ec2_response(HTTPStatus.OK, inner, name=f"{REGIONS}Response", request_id=request_id)
