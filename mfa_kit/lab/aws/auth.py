"""Checks each request to the lab's services except S3: signature, access key, parameters and the caller's policies.

AuthorizedResponse is a mixin for moto's response classes. It overrides methods that moto provides for its own
subclasses.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore.model import OperationNotFoundError, Shape
from moto.core.common_types import TYPE_RESPONSE
from moto.core.exceptions import ServiceException
from moto.core.request import Request
from moto.core.responses import ActionResult, BaseResponse
from moto.core.utils import camelcase_to_underscores, get_service_model
from moto.utilities.utils import get_partition
from werkzeug.wrappers import Request as WsgiRequest

from mfa_kit.core.file_formats import read_json
from mfa_kit.lab.aws import events, rights, wire
from mfa_kit.lab.aws.wire import HttpResponse, IamError, OperationRequest

if TYPE_CHECKING:
    from mfa_kit.lab.aws.account import LabAccount, Principal
    from mfa_kit.lab.aws.organization import LabOrganization


# The services that have one endpoint for all Regions.
GLOBAL = ("iam", "organizations")
# The number of colons before the last part of an ARN.
ARN_COLONS = 5
# The fraction of a second in a date element of a response. moto's dates have one, and IAM's dates have none.
FRACTION = re.compile(r"(<\w*(?:Date|Used|Time|Expiration)>[^<.]*)\.\d+Z<")


class AuthorizedResponse(BaseResponse):
    """Authenticates and authorizes a request before its operation runs, and makes the response for an error.

    `operation` is the call, `caller` the principal that signed it, `account` the account of that principal, and
    `result` the fields of the answer, or None before there is one.
    """

    account: LabAccount
    organization: LabOrganization
    caller: Principal
    operation: OperationRequest
    result: Mapping[str, Any] | None = None

    def get_current_account(self) -> str:
        """Return the account's ID, which moto would otherwise derive from the access key."""
        return self.account.id

    def answer(self, request: Request, full_url: str, headers: object) -> TYPE_RESPONSE:
        """Answer one request. Return status, headers and body. Requests run one at a time, under the account's lock."""
        with self.account.lock:
            try:
                self._check_operation(request)
                self.setup_class(request, full_url, headers)
                self.caller = authenticate(self.account, request)
                self._read_operation(request)
                return self._act_and_record(request)
            except (IamError, ServiceException) as error:
                status, body = wire.error_response(self.boto3_service_name, error.code, error.message)
                return status, {"Content-Type": "text/xml"}, body
            finally:
                self.account.remember()

    def _act_and_record(self, request: Request) -> TYPE_RESPONSE:
        """Authorize the call, run its operation, and record its events, also if it fails."""
        try:
            check_rights(self.operation, self.account, self.caller, request)
            response = self._act()
        except (IamError, ServiceException) as error:
            self._record(request, (error.code, str(error.message)))
            raise
        self._record(request, None)
        return response

    def _record(self, request: Request, error: tuple[str, str] | None) -> None:
        """Add the events of the call to the histories of the caller's account and of the account of an assumed role."""
        if self.operation.action not in events.RECORDED:
            return
        key = wire.parse_authorization(request.headers["Authorization"]).key
        role = self.operation.text("RoleArn").split(":")
        events.record_call(
            self.operation,
            self.account,
            events.identity_of(self.caller, self.account, key),
            result=self.result,
            error=error,
            target=self.organization.find(role[4]) if len(role) > ARN_COLONS else None,
            agent=request.headers.get("User-Agent", ""),
        )

    def _read_operation(self, request: Request) -> None:
        """Read the operation and its parameters from the request.

        Some operations act on the caller if the request names no user. Add the caller's name to such a request. Raise
        IamError with the code ValidationError if a parameter breaks the service model's constraints.
        """
        action, service = self._get_action(), self.boto3_service_name
        wire.check_constraints(get_service_model(service).operation_model(action).input_shape, self.params)
        if action in rights.SELF and "UserName" not in self.params and self.caller.user is not None:
            self.params["UserName"] = self.caller.user.name
        self.operation = OperationRequest(service, action, self.params, signed_region(service, request))

    def _act(self) -> TYPE_RESPONSE:
        """Run the operation. The header and the body of its response get the same request ID."""
        result = self._method(camelcase_to_underscores(self.operation.action))()
        self.result = result.result if isinstance(result.result, dict) else {}
        status, headers, body = self.serialized(result)
        request_id = wire.new_request_id()
        headers["x-amzn-RequestId"] = request_id
        text = FRACTION.sub(r"\1Z<", str(body))
        return status, headers, re.sub(r"(?<=<RequestId>).*?(?=</RequestId>)", request_id, text)

    def _method(self, name: str) -> Callable[[], ActionResult]:
        """Return the method that answers an operation. `name` is the name of the operation in snake case."""
        method: Callable[[], ActionResult] = getattr(self, name)
        return method

    def _check_operation(self, request: Request) -> None:
        """Raise IamError if the operation of a request is not available.

        The error code is InvalidAction if the service does not have the operation, and NotImplemented if moto does not
        support it.
        """
        action = request.values.get("Action", "")
        try:
            get_service_model(self.boto3_service_name).operation_model(action)
        except OperationNotFoundError:
            version = request.values.get("Version", "")
            raise IamError("InvalidAction", f"Could not find operation {action} for version {version}") from None
        if not hasattr(self, camelcase_to_underscores(action)):
            raise IamError("NotImplemented", f"The lab does not support {action}, because moto does not.")


def authenticate(account: LabAccount, request: WsgiRequest) -> Principal:
    """Return the principal that signed a request. Raise IamError if the key, the signature or its date is invalid."""
    signature = wire.parse_authorization(request.headers.get("Authorization", ""))
    if get_partition(signature.region) != account.partition:
        raise IamError("InvalidClientTokenId", "The security token included in the request is invalid.")
    secret, caller = account.secret(
        signature.key, request.headers.get("X-Amz-Security-Token"), service=signature.service
    )
    headers = {name.lower(): value for name, value in request.headers.items()}
    matches = wire.signature_matches(
        signature,
        secret,
        headers=headers,
        method=request.method,
        path=request.path,
        query=request.query_string.decode(),
        body=request.environ["lab.body"],
    )
    if not matches:
        raise IamError(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
        )
    _check_date(account, headers.get("x-amz-date", ""))
    return caller


def signed_region(service: str, request: WsgiRequest) -> str:
    """Return the Region that a request is signed for, or "" for a service with one endpoint for all Regions."""
    return "" if service in GLOBAL else wire.parse_authorization(request.headers.get("Authorization", "")).region


def check_region(account: LabAccount, region: str) -> None:
    """Raise IamError if a Region is not enabled in the account: it does not know the account's keys."""
    if region not in account.regions:
        raise IamError("InvalidClientTokenId", "The security token included in the request is invalid.")


def check_rights(call: OperationRequest, account: LabAccount, caller: Principal, request: WsgiRequest) -> None:
    """Raise IamError if the policies do not permit a call, or a fault denies it."""
    rights.authorize(call, account, caller)
    if "lab.denied" in request.environ:
        raise rights.denial(call, account, caller)


@dataclass(frozen=True, slots=True)
class JsonService:
    """A service of the JSON protocol, by botocore name.

    `operations` maps the names of operations to functions that return the fields of the output. `check_form` raises
    IamError for parameters that break the service model.
    """

    name: str
    operations: Mapping[str, Callable[[OperationRequest], Mapping[str, object]]]
    check_form: Callable[[Shape | None, OperationRequest], None]

    def answer(self, account: LabAccount, request: WsgiRequest) -> HttpResponse:
        """Answer one request, while holding the account's lock."""
        with account.lock:
            try:
                return wire.json_response(HTTPStatus.OK, self._act(account, request))
            except IamError as error:
                return wire.json_error(self.name, error.code, error.message)
            except Exception:  # noqa: BLE001 - a failure of the lab is a 500 to the client, as it is in AWS
                traceback.print_exc()
                return wire.json_error(self.name, "InternalFailure", "The request processing has failed.")

    def _act(self, account: LabAccount, request: WsgiRequest) -> Mapping[str, object]:
        """Check a request and run its operation. Return the fields of its output."""
        action = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        try:
            shape = get_service_model(self.name).operation_model(action).input_shape
        except OperationNotFoundError:
            raise IamError("UnknownOperationException", "") from None
        if action not in self.operations:
            raise IamError("NotImplemented", f"The lab does not support {action}.")
        caller = authenticate(account, request)
        call = OperationRequest(self.name, action, _json_parameters(request), signed_region(self.name, request))
        self.check_form(shape, call)
        check_rights(call, account, caller, request)
        return self.operations[action](call)


def _json_parameters(request: WsgiRequest) -> Mapping[str, object]:
    try:
        parameters = read_json(request.environ["lab.body"] or b"{}")
    except ValueError:
        parameters = None
    if not isinstance(parameters, dict):
        raise IamError("SerializationException", "")
    return parameters


def _check_date(account: LabAccount, stamp: str) -> None:
    """Raise IamError if the signature's date is too far in the past or future, or is not a date."""
    limit = account.settings.clock_tolerance
    try:
        signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise IamError("IncompleteSignature", f"Date must be in ISO-8601 'basic format'. Got '{stamp}'.") from None
    now = account.now()
    if abs(signed_at - now) > limit:
        state = "expired" if signed_at < now else "not yet current"
        server_time = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        order = "earlier" if signed_at < now else "later"
        raise IamError(
            "SignatureDoesNotMatch",
            f"Signature {state}: {stamp} is now {order} than {server_time} ({limit / 60:.0f} min.)",
        )
