"""The responses of AWS's JSON protocol, which Organizations uses."""

import json
from collections.abc import Mapping
from http import HTTPStatus

from mfa_kit.core.json_text import read_json
from mfa_kit.lab.aws.wire import STATUS, HttpResponse, new_request_id

# The error codes of the query protocol that the JSON protocol spells differently, with the JSON protocol's codes
# (Organizations API reference, "Common Errors").
JSON_CODES = {
    "AccessDenied": "AccessDeniedException",
    "ConcurrentModification": "ConcurrentModificationException",
    "ExpiredToken": "ExpiredTokenException",
    "IncompleteSignature": "IncompleteSignatureException",
    "InvalidClientTokenId": "UnrecognizedClientException",
    "MissingAuthenticationToken": "MissingAuthenticationTokenException",
    "ServiceFailure": "ServiceException",
    "SignatureDoesNotMatch": "InvalidSignatureException",
    "Throttling": "TooManyRequestsException",
    "ValidationError": "InvalidInputException",
}


def json_response(status: HTTPStatus, fields: Mapping[str, object]) -> HttpResponse:
    """Return a response of the JSON protocol, with the fields as a JSON object and a new request ID."""
    body = json.dumps(fields).encode()
    headers = [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))]
    return HttpResponse(f"{status.value} {status.phrase}", [*headers, ("x-amzn-RequestId", new_request_id())], body)


def json_error(code: str, message: str) -> HttpResponse:
    """Return an error response of the JSON protocol. The status is 400, or 5xx if the service failed."""
    status = HTTPStatus(STATUS.get(code, 400))
    shown = status if status >= HTTPStatus.INTERNAL_SERVER_ERROR else HTTPStatus.BAD_REQUEST
    return json_response(shown, {"__type": JSON_CODES.get(code, code), "Message": message})


def json_error_code(body: bytes) -> str:
    """Return the error code in the JSON body of an error response, or "" if the body has none."""
    return str(read_json(body).get("__type", ""))
