"""The WSGI application in front of moto: it applies faults, logs calls and sets the lab's own Date header."""

import io
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import formatdate
from typing import Protocol
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask
from moto.backends import SERVICE_NAMES
from moto.core.common_types import TYPE_RESPONSE
from moto.core.request import Request
from moto.core.utils import convert_to_flask_response
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.wrappers import Request as WsgiRequest

from mfa_kit.lab.aws import control, faults, s3, signin, wire
from mfa_kit.lab.aws.account import LabAccount
from mfa_kit.lab.aws.auth import AuthorizedResponse
from mfa_kit.lab.aws.faults import Faults
from mfa_kit.lab.aws.organization import LabOrganization
from mfa_kit.lab.aws.wire import LOST, HttpResponse, LoggedCall

# Only these headers of moto are sent. With moto's CORS headers, a web page could read the lab's responses.
SENT = ("content-type", "content-length", "x-amzn-requestid")
# Headers of moto's S3 with these prefixes are not sent: CORS headers, and Date, because the lab sends its own Date.
NOT_SENT = ("access-control-", "date")
STS = ("AssumeRole", "AssumeRoot", "GetCallerIdentity", "GetFederationToken", "GetSessionToken")
# The name of the service Organizations, and the start of the X-Amz-Target header in requests to Organizations.
ORGANIZATIONS, TARGET = "organizations", "AWSOrganizations"
# The name of the threads that carry out delayed calls.
LATE_CALL = "late call of the lab"

# A function that takes the caller's account and the lab's organization, and returns the object that answers one request
# to IAM or STS.
LabService = Callable[[LabAccount, LabOrganization], AuthorizedResponse]
# A function that takes the caller's account and the lab's organization, and returns the object that answers one request
# to Organizations.
OrganizationsService = Callable[[LabAccount, LabOrganization], "JsonService"]
# A function that answers a request without applying faults.
Inner = Callable[[WSGIEnvironment], HttpResponse]


class JsonService(Protocol):
    """A service that uses the JSON protocol."""

    def answer(self, request: WsgiRequest, /) -> HttpResponse:
        """Answer one request."""
        ...


class LabRequestHandler(MotoRequestHandler):
    """moto's request handler, but without Nagle's algorithm, log lines on stderr, or its own Date header."""

    disable_nagle_algorithm = True

    def send_response(self, code: int, message: str | None = None) -> None:
        """Send only the status line, because http.server would log a line and add its own Date header."""
        self.send_response_only(code, message)


class CachingDispatcher(DomainDispatcherApplication):
    """moto's dispatcher, with a cache for the service of each host. Without it, moto lists a folder for each lookup."""

    def __init__(self, create_app: Callable[[SERVICE_NAMES], Flask]) -> None:
        super().__init__(create_app)
        self._known: dict[str | None, str | None] = {}

    def get_backend_for_host(self, host: str | None) -> str | None:
        """Return the name of the service that a host belongs to."""
        if host not in self._known:
            self._known[host] = super().get_backend_for_host(host)
        return self._known[host]


class _Call:
    """A call to a service. `inner` answers the call without applying faults."""

    def __init__(self, environ: WSGIEnvironment, service: str, *, inner: Inner) -> None:
        self._environ, self._service, self._inner = environ, service, inner

    def act(self) -> HttpResponse:
        """Let the service answer. If a fault denies a call to S3, return the error here, because moto ignores it."""
        if self._service == s3.SERVICE and "lab.denied" in self._environ:
            return s3.s3_error("AccessDenied", "Access Denied")
        return self._inner(self._environ)

    def refuse(self, code: str, message: str) -> HttpResponse:
        """Return an error response in the wire format of the service that was called."""
        return _error(self._service, code, message)

    def deny(self) -> None:
        """Make the service deny the call. auth.py writes the message, because it knows the caller and the resource."""
        self._environ["lab.denied"] = True


class _FaultedCall:
    """A call to which fault rules apply. `act` applies the next rule; after the last rule, the service answers."""

    def __init__(self, call: _Call, rules: Sequence[faults.FaultRule], *, faults: Faults) -> None:
        self._call, self._rules, self._faults = call, rules, faults

    def answer(self) -> HttpResponse:
        """Answer the call. The last rule of the list is the outermost, so it is applied first."""
        if not self._rules:
            return self._call.act()
        inner = _FaultedCall(self._call, self._rules[:-1], faults=self._faults)
        return faults.play(self._rules[-1], inner)

    def act(self) -> HttpResponse:
        """Answer the call with the remaining rules applied."""
        return self.answer()

    def act_later(self, seconds: float, *, listings: float) -> None:
        """Answer the call in another thread, after `seconds` seconds and `listings` more calls that list devices."""

        def later() -> None:
            self._faults.wait(seconds, listings)
            self.answer()

        threading.Thread(target=later, daemon=True, name=LATE_CALL).start()

    def refuse(self, code: str, message: str) -> HttpResponse:
        """Return an error response in the wire format of the service that was called."""
        return self._call.refuse(code, message)

    def deny(self) -> None:
        """Make the service deny the call."""
        self._call.deny()


class LabApplication:
    """The lab's WSGI application. It applies the due faults to each request, sends a response, and logs the call."""

    def __init__(
        self,
        organization: LabOrganization,
        faults: Faults,
        *,
        services: Mapping[str, LabService],
        organizations: OrganizationsService,
    ) -> None:
        """Serve `services` (by botocore name), Organizations, and moto's S3. Other services answer NotImplemented."""
        self.account, self.organization = organization.management, organization
        self.faults, self.services, self.organizations = faults, services, organizations
        self.calls: list[LoggedCall] = []
        self.signin = signin.SigninEndpoint(organization)
        self.control = control.LabControl(organization, faults, self.calls)
        self.inner = CachingDispatcher(self._app)
        self._s3_lock = threading.Lock()

    def _app(self, service: SERVICE_NAMES) -> Flask:
        """Return moto's Flask app for a service. In all apps except the one for S3, the lab answers the requests."""
        flask: Flask = create_backend_app(service)
        if service == s3.SERVICE:
            return flask

        def answer(request: Request, full_url: str, headers: object) -> TYPE_RESPONSE:
            if service in self.services:
                account: LabAccount = request.environ["lab.account"]
                return self.services[service](account, self.organization).answer(request, full_url, headers)
            return _view_error("NotImplemented", f"The lab does not support {service}.")

        for endpoint in flask.view_functions:
            flask.view_functions[endpoint] = convert_to_flask_response(answer)
        return flask

    def _s3(self, environ: WSGIEnvironment) -> HttpResponse:
        """Let moto answer one call to S3 at a time, because moto checks a condition and then writes, without a lock."""
        with self._s3_lock:
            return self._moto(environ)

    def _organizations(self, environ: WSGIEnvironment) -> HttpResponse:
        """Answer a call to Organizations."""
        return self.organizations(environ["lab.account"], self.organization).answer(WsgiRequest(environ))

    def _moto(self, environ: WSGIEnvironment) -> HttpResponse:
        """Let moto's dispatcher answer. Turn an exception in moto into InternalFailure, and print its traceback."""
        responses: list[tuple[str, list[tuple[str, str]]]] = []

        def keep(status: str, headers: list[tuple[str, str]], _: object = None) -> Callable[[bytes], object]:
            responses[:] = [(status, headers)]
            return lambda _: None

        try:
            body = b"".join(self.inner(environ | {"wsgi.input": io.BytesIO(environ["lab.body"])}, keep))
        except Exception:  # noqa: BLE001 - a failure within moto is a 500 to the client, as it is in IAM
            traceback.print_exc()
            return _error("iam", "InternalFailure", faults.FAILED)
        [(status, headers)] = responses
        if s3.speaks_s3(environ):
            return HttpResponse(
                status, [header for header in headers if not header[0].lower().startswith(NOT_SENT)], body
            )
        return HttpResponse(status, [(name, value) for name, value in headers if name.lower() in SENT], body)

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["lab.body"] = body
        path = environ.get("PATH_INFO", "")
        if path.startswith(control.PATH):
            return _send(self.control.answer(environ), start)
        if path.startswith((signin.FEDERATION, signin.CONSOLE)):
            return _send(self.signin.answer(environ), start)
        response = self._answer(environ, body)
        if response is LOST:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        start(response.status, [*response.headers, ("Date", formatdate(environ["lab.account"].now(), usegmt=True))])
        return [response.body]

    def _answer(self, environ: WSGIEnvironment, body: bytes) -> HttpResponse:
        """Answer a call to an AWS service with the faults that apply to the call, and log the call."""
        began = time.monotonic()
        key = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition("/")[0]
        with self.account.lock:
            caller = self.organization.account_of(key)
        account = environ["lab.account"] = caller or self.account
        number = caller.id if caller else ""
        call, operation = self._call(environ, body, known=caller is not None)
        account.apply(self.faults.conditions(number))
        response = _FaultedCall(call, self.faults.due(operation, number), faults=self.faults).answer()
        error = "lost" if response is LOST else _error_code(response)
        self.calls.append(LoggedCall(operation, key, error, time.monotonic() - began, number))
        self.faults.note_listing(operation)
        return response

    def _call(self, environ: WSGIEnvironment, body: bytes, *, known: bool) -> tuple[_Call, str]:
        """Return the call that a request makes, and the name of its operation.

        `known` says whether the access key exists in an account of the lab. Only S3 needs `known`, because the other
        services check the key themselves.
        """
        service, _, operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")
        if service.startswith(TARGET):
            return _Call(environ, ORGANIZATIONS, inner=self._organizations), operation
        if s3.speaks_s3(environ):
            inner = self._s3 if known else s3.refuse_unknown_key
            return _Call(environ, s3.SERVICE, inner=inner), s3.s3_operation(environ)
        fields = parse_qs(body.decode("utf-8", "replace")) or parse_qs(environ.get("QUERY_STRING", ""))
        operation = fields.get("Action", [""])[0]
        # moto would treat an unsigned request as a request to S3, and answer it.
        inner = self._moto if "HTTP_AUTHORIZATION" in environ else _refuse_unsigned
        return _Call(environ, "sts" if operation in STS else "iam", inner=inner), operation


def _send(response: HttpResponse, start: StartResponse) -> Iterable[bytes]:
    start(response.status, [*response.headers, ("Content-Length", str(len(response.body)))])
    return [response.body]


def _refuse_unsigned(_: WSGIEnvironment) -> HttpResponse:
    """Return the error for a request without a signature."""
    return _error("iam", "MissingAuthenticationToken", "Request is missing Authentication Token")


def _view_error(code: str, message: str) -> TYPE_RESPONSE:
    """Return an error in the form that moto's Flask views return."""
    status, body = wire.error_response("iam", code, message)
    return status, {"Content-Type": "text/xml"}, body


def _error_code(response: HttpResponse) -> str:
    """Return the error code in a response, or "" if the status is not 4xx or 5xx."""
    if response.status[0] not in "45":
        return ""
    return (wire.json_error_code if response.body.startswith(b"{") else wire.error_code)(response.body)


def _error(service: str, code: str, message: str) -> HttpResponse:
    """Return an error response in the wire format of a service."""
    if service == ORGANIZATIONS:
        return wire.json_error(code, message)
    if service == s3.SERVICE:
        return s3.s3_error(code, message)
    status, body = wire.error_response(service, code, message)
    size = str(len(body))
    headers = [("Content-Type", "text/xml"), ("Content-Length", size), ("x-amzn-RequestId", wire.new_request_id())]
    return HttpResponse(f"{status} {code}", headers, body)
