"""What every operation of the lab passes first: the signature, the key, the model's constraints, the caller's policies.

A mixin for moto's response classes; it overrides the methods that moto made for its own subclasses.
"""

import re
from datetime import UTC, datetime
from typing import Any

from botocore.model import OperationNotFoundError
from moto.core.exceptions import ServiceException
from moto.core.request import Request
from moto.core.responses import BaseResponse
from moto.core.utils import camelcase_to_underscores, get_service_model
from moto.utilities.utils import get_partition

from mfa_kit.lab.aws import rights, wire
from mfa_kit.lab.aws.account import LabAccount, Principal
from mfa_kit.lab.aws.wire import IamError

Answer = tuple[int, dict[str, Any], Any]


class AuthorizedResponse(BaseResponse):
    """Authentication, authorization and errors."""

    account: LabAccount
    caller: Principal

    def get_current_account(self) -> str:
        return self.account.backend.account_id

    def answer(self, request: Request, full_url: str, headers: Any) -> Answer:
        """One request at a time: IAM is the arbiter, so is the lab."""
        with self.account.lock:
            try:
                self._known(request)
                self.setup_class(request, full_url, headers)
                self.caller = self._authenticate(request)
                action, service = self._get_action(), self.boto3_service_name
                wire.check_constraints(get_service_model(service).operation_model(action).input_shape, self.params)
                if action in rights.SELF and "UserName" not in self.params and self.caller.user is not None:
                    self.params["UserName"] = self.caller.user.name
                rights.authorize(service, action, self.params, self.account, self.caller)
                if "lab.denied" in request.environ:
                    raise rights.denial(service, action, self.params, self.account, self.caller)
                return self._act(action)
            except (IamError, ServiceException) as error:
                status, body = wire.error_response(self.boto3_service_name, error.code, error.message)
                return status, {"Content-Type": "text/xml"}, body
            finally:
                self.account.remember()

    def _act(self, action: str) -> Answer:
        """Let the operation answer; the request id is one, in the header and in the body."""
        result = getattr(self, camelcase_to_underscores(action))()
        status, headers, body = self.serialized(result)
        made = wire.new_request_id()
        headers["x-amzn-RequestId"] = made
        return status, headers, re.sub(r"(?<=<RequestId>).*?(?=</RequestId>)", made, str(body))

    def _known(self, request: Request) -> None:
        action = request.values.get("Action", "")
        try:
            get_service_model(self.boto3_service_name).operation_model(action)
        except OperationNotFoundError:
            version = request.values.get("Version", "")
            raise IamError("InvalidAction", f"Could not find operation {action} for version {version}") from None
        if not hasattr(self, camelcase_to_underscores(action)):
            raise IamError("NotImplemented", f"The lab does not play {action}: neither does moto.")

    def _authenticate(self, request: Request) -> Principal:
        found = wire.parse_authorization(request.headers.get("Authorization", ""))
        if get_partition(found.region) != self.account.partition:
            raise IamError("InvalidClientTokenId", "The security token included in the request is invalid.")
        secret, caller = self.account.secret(
            found.key, request.headers.get("X-Amz-Security-Token"), service=found.service
        )
        headers = {name.lower(): value for name, value in request.headers.items()}
        query, body = request.query_string.decode(), self._bare(request)
        if not wire.signature_matches(
            found, secret, headers=headers, method=request.method, path=request.path, query=query, body=body
        ):
            raise IamError(
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. "
                "Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
            )
        self._fresh(headers.get("x-amz-date", ""))
        return caller

    @staticmethod
    def _bare(request: Request) -> bytes:
        body: bytes = request.environ["lab.body"]
        return body

    def _fresh(self, stamp: str) -> None:
        limit = self.account.settings.clock_tolerance
        at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        now = self.account.now()
        if abs(at - now) > limit:
            said = "expired" if at < now else "not yet current"
            here = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
            order = "earlier" if at < now else "later"
            raise IamError(
                "SignatureDoesNotMatch", f"Signature {said}: {stamp} is now {order} than {here} ({limit / 60:.0f} min.)"
            )
