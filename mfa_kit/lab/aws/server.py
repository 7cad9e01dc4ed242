"""The lab: a local simulator of IAM, STS, Organizations, S3, CloudTrail and the sign-in to the console, on loopback.

A WSGI application in front of moto applies faults, logs calls and sets the lab's own Date header.
"""

import base64
import io
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIEnvironment

from flask import Flask
from moto.backends import SERVICE_NAMES
from moto.core.common_types import TYPE_RESPONSE
from moto.core.request import Request
from moto.core.utils import convert_to_flask_response
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Request as WsgiRequest

from mfa_kit.core import local_servers
from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws import cloudtrail, control, s3, signin, wire
from mfa_kit.lab.aws.account import LabAccount
from mfa_kit.lab.aws.auth import AuthorizedResponse
from mfa_kit.lab.aws.builder import add_members, build_account, build_organization
from mfa_kit.lab.aws.control import register_fido
from mfa_kit.lab.aws.events import sign_in
from mfa_kit.lab.aws.faults import FAILED, FaultRule, Faults, play
from mfa_kit.lab.aws.history import Event
from mfa_kit.lab.aws.iam import LabIam
from mfa_kit.lab.aws.mfa_devices import DeviceCodes, HardwareToken, LabSettings
from mfa_kit.lab.aws.organization import LabOrganization, new_organization
from mfa_kit.lab.aws.organization_api import LabOrganizations, RootAccess
from mfa_kit.lab.aws.sts import LabSts
from mfa_kit.lab.aws.wire import LOST, HttpResponse, LoggedCall
from mfa_kit.lab.child import user_names

# Only these headers of moto are sent. With moto's CORS headers, a web page could read the lab's responses.
SENT = ("content-type", "content-length", "x-amzn-requestid")
# Headers of moto's S3 with these prefixes are not sent: CORS headers, and Date, because the lab sends its own Date.
NOT_SENT = ("access-control-", "date")
STS = ("AssumeRole", "AssumeRoot", "GetCallerIdentity", "GetFederationToken", "GetSessionToken")
# The name of the service Organizations, and the start of the X-Amz-Target header in requests to Organizations.
ORGANIZATIONS, TARGET = "organizations", "AWSOrganizations"
# The name of the threads that carry out delayed calls.
LATE_CALL = "late call of the lab"

# A function that answers a request without applying faults.
Inner = Callable[[WSGIEnvironment], HttpResponse]


class WholeIam(RootAccess, LabIam):
    """All operations of IAM in the lab."""


# The services, apart from Organizations, whose requests the lab itself answers, by botocore name.
SERVICES: Mapping[str, Callable[[LabAccount, LabOrganization], AuthorizedResponse]] = {"iam": WholeIam, "sts": LabSts}


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """A call to a service. `inner` answers the call without applying faults, and `rules` are the faults to apply."""

    environ: WSGIEnvironment
    service: str
    inner: Inner
    faults: Faults
    rules: Sequence[FaultRule]

    def act(self) -> HttpResponse:
        """Answer the call. The last rule is the outermost, so it is applied first; after all rules, the service acts.

        If a fault denies a call to S3, return the error here, because moto ignores it.
        """
        if self.rules:
            return play(self.rules[-1], replace(self, rules=self.rules[:-1]))
        if self.service == s3.SERVICE and "lab.denied" in self.environ:
            return s3.s3_error("AccessDenied", "Access Denied")
        return self.inner(self.environ)

    def act_later(self, seconds: float, *, listings: float) -> None:
        """Answer the call in another thread, after `seconds` seconds and `listings` more calls that list devices."""

        def later() -> None:
            self.faults.wait(seconds, listings)
            self.act()

        threading.Thread(target=later, daemon=True, name=LATE_CALL).start()

    def refuse(self, code: str, message: str) -> HttpResponse:
        """Return an error response in the wire format of the service that was called."""
        return _error(self.service, code, message)

    def deny(self) -> None:
        """Make the service deny the call. auth.py writes the message, because it knows the caller and the resource."""
        self.environ["lab.denied"] = True


class LabApplication:
    """The lab's WSGI application. It applies the due faults to each request, sends a response, and logs the call."""

    def __init__(self, organization: LabOrganization, faults: Faults) -> None:
        """Serve SERVICES, Organizations, and moto's S3. Other services answer NotImplemented."""
        self.account, self.organization, self.faults = organization.management, organization, faults
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
            if service in SERVICES:
                account: LabAccount = request.environ["lab.account"]
                return SERVICES[service](account, self.organization).answer(request, full_url, headers)
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
        return LabOrganizations(environ["lab.account"], self.organization).answer(WsgiRequest(environ))

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
            return _error("iam", "InternalFailure", FAILED)
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
        service, operation, inner = self._target(environ, body, known=caller is not None)
        account.apply(self.faults.conditions(number))
        rules = self.faults.due(operation, number)
        response = _Call(environ=environ, service=service, inner=inner, faults=self.faults, rules=rules).act()
        error = "lost" if response is LOST else _error_code(response)
        self.calls.append(LoggedCall(operation, key, error, time.monotonic() - began, number))
        self.faults.note_listing(operation)
        return response

    def _target(self, environ: WSGIEnvironment, body: bytes, *, known: bool) -> tuple[str, str, Inner]:
        """Return the service and the operation that a request calls, and the function that answers the request.

        `known` says whether the access key exists in an account of the lab. Only S3 needs `known`, because the other
        services check the key themselves.
        """
        service, _, operation = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")
        if service.startswith(TARGET):
            return ORGANIZATIONS, operation, self._organizations
        if service.endswith(cloudtrail.TARGET):
            return cloudtrail.SERVICE, operation, _cloudtrail
        if s3.speaks_s3(environ):
            return s3.SERVICE, s3.s3_operation(environ), self._s3 if known else s3.refuse_unknown_key
        fields = parse_qs(body.decode("utf-8", "replace")) or parse_qs(environ.get("QUERY_STRING", ""))
        operation = fields.get("Action", [""])[0]
        if operation == cloudtrail.REGIONS:
            return "ec2", operation, _regions
        # moto would treat an unsigned request as a request to S3, and answer it.
        inner = self._moto if "HTTP_AUTHORIZATION" in environ else _refuse_unsigned
        return "sts" if operation in STS else "iam", operation, inner


def _send(response: HttpResponse, start: StartResponse) -> Iterable[bytes]:
    start(response.status, [*response.headers, ("Content-Length", str(len(response.body)))])
    return [response.body]


def _cloudtrail(environ: WSGIEnvironment) -> HttpResponse:
    """Answer a call to CloudTrail."""
    return cloudtrail.answer(environ["lab.account"], WsgiRequest(environ))


def _regions(environ: WSGIEnvironment) -> HttpResponse:
    """Answer DescribeRegions, the only operation of EC2 in the lab."""
    return cloudtrail.answer_regions(environ["lab.account"], WsgiRequest(environ))


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
    if service in (ORGANIZATIONS, cloudtrail.SERVICE):
        return wire.json_error(service, code, message)
    if service == "ec2":
        return wire.ec2_error(code, message)
    if service == s3.SERVICE:
        return s3.s3_error(code, message)
    status, body = wire.error_response(service, code, message)
    size = str(len(body))
    headers = [("Content-Type", "text/xml"), ("Content-Length", size), ("x-amzn-RequestId", wire.new_request_id())]
    return HttpResponse(f"{status} {code}", headers, body)


HOST = "127.0.0.1"


def _listening(port: int) -> socket.socket:
    """Return a socket that listens on loopback.

    Raise UsageFault if the port cannot be used. werkzeug does not open the port, because on an error it would end the
    process.
    """
    ours = socket.socket()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        ours.bind((HOST, port))
    except OSError as error:
        ours.close()
        raise UsageFault(
            f"port {port} on {HOST} cannot be used: {error.strerror}", "use another --port, or omit it"
        ) from None
    ours.listen(128)
    return ours


class Lab:
    """A lab, which listens on 127.0.0.1 until the context ends.

    Example: `with Lab(users=("alice",)) as lab: ... lab.env`. `users` are the names of the account's users. If
    `accounts` is not None, the account manages an organization with this number of member accounts, and each member
    account has `users_per_account` users. If `users` is empty, the management account also has `users_per_account`
    users. An organization in `description` replaces this organization. The attribute `organization` maps IDs to member
    accounts.
    """

    def __init__(
        self,
        users: Sequence[str] = (),
        *,
        region: str = "us-east-1",
        port: int = 0,
        settings: LabSettings | None = None,
        description: Mapping[str, object] | None = None,
        accounts: int | None = None,
        users_per_account: int = 0,
    ) -> None:
        lab_description = description or {}
        self.account = LabAccount(region=str(lab_description.get("region", region)), settings=settings or LabSettings())
        self.faults = Faults()
        self.account.add_admin()
        build_account(self.account, lab_description)
        for user in users or (user_names(users_per_account) if accounts is not None else ()):
            self.account.add_user(user)
        self.organization = LabOrganization(self.account)
        if "organization" in lab_description:
            self.organization = build_organization(self.account, lab_description["organization"])
        elif accounts is not None:
            self.organization = new_organization(self.account)
            add_members(self.organization, accounts, users=user_names(users_per_account))
        self.admin = self.account.admin_key()
        self.application = LabApplication(self.organization, self.faults)
        with _listening(port) as ours:
            self.url = f"http://{HOST}:{ours.getsockname()[1]}"
            self.server = make_server(
                HOST, 0, self.application, threaded=True, request_handler=LabRequestHandler, fd=ours.fileno()
            )
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def calls(self) -> list[LoggedCall]:
        """The calls to AWS services that the lab has answered so far, in order."""
        return self.application.calls

    @property
    def env(self) -> dict[str, str]:
        """The complete AWS environment of a child process. No AWS variable of the caller may be passed to the child."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.admin.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.admin.secret_access_key,
            local_servers.VARIABLE: local_servers.lab_variable(self.url, self.admin.secret_access_key),
            "AWS_DEFAULT_REGION": self.account.region,
            "AWS_REGION": self.account.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
            "NO_PROXY": HOST,
            "no_proxy": HOST,
        }

    def add_user(self, name: str, *, path: str = "/") -> None:
        """Create a user of the management account.

        Raise IamError with the code EntityAlreadyExists if the name is taken.
        """
        with self.account.lock:
            self.account.add_user(name, path=path)

    def account_of(self, serial: str) -> LabAccount:
        """Return the account in the ARN of a device.

        Return the management account for a hardware token, which has no ARN, and for an unknown account.
        """
        account = self.organization.find(serial.split(":")[4]) if serial.startswith("arn:") else None
        return account or self.account

    def seed(self, serial: str) -> bytes:
        """Return the octets of a device's secret, so that tests can check the user's copy."""
        return base64.b32decode(self.account_of(serial).backend.codes(serial).secret)

    def assigned(self, serial: str) -> str | None:
        """Return the name of the user who has the device, or None if it is unassigned."""
        with self.account.lock:
            user = self.account_of(serial).backend.holder(serial)
        return user.name if user else None

    def serials(self) -> set[str]:
        """Return the ARNs of all virtual devices of the management account, assigned or not."""
        with self.account.lock:
            return set(self.account.backend.virtual_mfa_devices)

    def sign_in(self, name: str, *, account: str = "", **how: Any) -> list[Event]:
        """Sign a user in to the console. `how` has the parameters of events.sign_in, such as `serial`."""
        with self.account.lock:
            return sign_in(self.organization.find(account) or self.account, name, **how)

    def plant(self, *planted: Event, account: str = "") -> None:
        """Add events of any time and Region to the history of an account, by default the management account."""
        with self.account.lock:
            for event in planted:
                (self.organization.find(account) or self.account).history.add(event)

    def add_token(self, serial: str, secret: str) -> None:
        """Register a hardware TOTP token in the management account, by its printed serial and its seed in base32."""
        with self.account.lock:
            self.account.backend.tokens[serial] = HardwareToken(serial, DeviceCodes(secret))

    def register_fido(self, user: str, name: str) -> str:
        """Register a FIDO security key for a user of the management account, and return the ARN of the key.

        In AWS, only the console can register such keys.
        """
        with self.account.lock:
            return register_fido(self.account, user=user, name=name)
