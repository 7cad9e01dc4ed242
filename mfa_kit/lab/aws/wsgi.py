"""The lab in front of moto: what a request looks like on the wire, and the faults it meets. WSGI."""

import io
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from flask import Flask
from moto.core.utils import convert_to_flask_response
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app

from mfa_kit.lab.aws import control, signin, wire
from mfa_kit.lab.aws.account import LabAccount
from mfa_kit.lab.aws.faults import FaultRule, Faults
from mfa_kit.lab.aws.iam import LabIam
from mfa_kit.lab.aws.sts import LabSts

# No browser is to read the lab's answers: moto's CORS headers stay behind.
SENT = ("content-type", "content-length", "x-amzn-requestid")
STS = ("AssumeRole", "AssumeRoot", "GetCallerIdentity", "GetFederationToken", "GetSessionToken")
FAILED = "The request processing has failed because of an unknown error."
# Faults that answer instead of the service, or in place of its answer.
SAID = {
    "throttle": ("Throttling", "Rate exceeded"),
    "bucket": ("Throttling", "Rate exceeded"),
    "busy": (
        "ConcurrentModification",
        "The request was rejected because multiple requests to change this object were submitted simultaneously.",
    ),
    "expired": ("ExpiredToken", "The security token included in the request is expired"),
    "error-before": ("ServiceFailure", FAILED),
    "error-after": ("ServiceFailure", FAILED),
}


class LoggedCall(NamedTuple):
    """One request as it was answered. `error` is the code, "" for success, and `lost` for an answer that never left."""

    operation: str
    key: str
    error: str
    seconds: float


class HttpResponse(NamedTuple):
    """What goes out; a `lost` one never does."""

    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def code(self) -> str:
        """IAM's error code, "" for success."""
        return self.body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode() if self.status[0] in "45" else ""


LOST = HttpResponse("lost", [], b"")


class LabRequestHandler(MotoRequestHandler):
    """Moto's handler without Nagle's delay, without a line on stderr for each request, and with the lab's own Date."""

    disable_nagle_algorithm = True

    def send_response(self, code: int, message: str | None = None) -> None:
        self.send_response_only(code, message)


class CachingDispatcher(DomainDispatcherApplication):
    """Moto's dispatcher, which reads its own folder for each request, without reading it again."""

    def __init__(self, create_app: Callable[[Any], Flask]) -> None:
        super().__init__(create_app)
        self._known: dict[str | None, Any] = {}

    def get_backend_for_host(self, host: str | None) -> Any:
        if host not in self._known:
            self._known[host] = super().get_backend_for_host(host)
        return self._known[host]


class LabApplication:
    """One request, its faults, its answer, its line in the log of calls."""

    def __init__(self, account: LabAccount, faults: Faults) -> None:
        self.account, self.faults = account, faults
        self.calls: list[LoggedCall] = []
        self.signin = signin.SigninEndpoint(account)
        self.inner = CachingDispatcher(self._app)

    def _app(self, service: Any) -> Flask:
        """Make moto's app for a service with our response class in its view."""
        flask: Flask = create_backend_app(service)

        def answer(request: Any, full_url: str, headers: Any) -> Any:
            match service:
                case "iam":
                    return LabIam(self.account).answer(request, full_url, headers)
                case "sts":
                    return LabSts(self.account).answer(request, full_url, headers)
                case _ if "Authorization" not in request.headers:
                    return _plain("MissingAuthenticationToken", "Request is missing Authentication Token")
                case _:
                    return _plain("NotImplemented", f"The lab does not play {service}.")

        for endpoint in flask.view_functions:
            flask.view_functions[endpoint] = convert_to_flask_response(answer)
        return flask

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        began = time.monotonic()
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["lab.body"] = body
        if environ.get("PATH_INFO", "").startswith(control.PATH):
            status, told = control.answer_control(environ, account=self.account, faults=self.faults, calls=self.calls)
            start(
                f"{status} {status.phrase}", [("Content-Type", "application/json"), ("Content-Length", str(len(told)))]
            )
            return [told]
        if environ.get("PATH_INFO", "").startswith((signin.FEDERATION, signin.CONSOLE)):
            page = self.signin.answer(environ)
            start(f"{page.status} {page.status.phrase}", [*page.headers, ("Content-Length", str(len(page.body)))])
            return [page.body]
        fields = parse_qs(body.decode("utf-8", "replace")) or parse_qs(environ.get("QUERY_STRING", ""))
        operation = fields.get("Action", [""])[0]
        self.account.weather(offset=self.faults.standing("clock"), lag=self.faults.standing("lag"))
        answer = self._answer(environ, operation)
        key = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition("/")[0]
        code = "lost" if answer is LOST else answer.code
        self.calls.append(LoggedCall(operation, key, code, time.monotonic() - began))
        self.faults.listed(operation)
        if answer is LOST:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        start(answer.status, [*answer.headers, ("Date", formatdate(self.account.now(), usegmt=True))])
        return [answer.body]

    def _answer(self, environ: dict[str, Any], operation: str) -> HttpResponse:
        def act() -> HttpResponse:
            return self._act(environ)

        def under(rule: FaultRule, inner: Callable[[], HttpResponse]) -> Callable[[], HttpResponse]:
            return lambda: self._under(rule, inner, "sts" if operation in STS else "iam")

        made = act
        for rule in self.faults.due(operation):
            if rule.fault == "denied":
                environ["lab.denied"] = True  # the guard knows who asks, and for what
            else:
                made = under(rule, made)
        return made()

    def _under(self, rule: FaultRule, act: Callable[[], HttpResponse], service: str) -> HttpResponse:
        """Answer a request under one fault."""
        if rule.fault == "latency":
            time.sleep(rule.parameters["seconds"])
            return act()
        if rule.fault in ("error-after", "lost-after"):
            act()
        if rule.fault == "late":
            threading.Thread(target=self._later, args=(rule, act), daemon=True).start()
        return _error(service, *SAID[rule.fault]) if rule.fault in SAID else LOST

    def _later(self, rule: FaultRule, act: Callable[[], HttpResponse]) -> None:
        self.faults.wait(rule.parameters["seconds"], rule.parameters.get("listings", 0))
        act()

    def _act(self, environ: dict[str, Any]) -> HttpResponse:
        """Let moto's dispatcher answer. What breaks in there is IAM's internal failure, told on stderr."""
        kept: list[Any] = []

        def keep(status: str, headers: list[tuple[str, str]], _: Any = None) -> Callable[[bytes], object]:
            kept[:] = [status, headers]
            return lambda _: None

        try:
            body = b"".join(self.inner(environ | {"wsgi.input": io.BytesIO(environ["lab.body"])}, keep))
        except Exception:  # noqa: BLE001 - a failure within moto is a 500 to the client, as it is in IAM
            traceback.print_exc()
            return _error("iam", "InternalFailure", FAILED)
        return HttpResponse(kept[0], [(name, value) for name, value in kept[1] if name.lower() in SENT], body)


def _plain(code: str, message: str) -> tuple[int, dict[str, str], bytes]:
    status, body = wire.error_response("iam", code, message)
    return status, {"Content-Type": "text/xml"}, body


def _error(service: str, code: str, message: str) -> HttpResponse:
    status, body = wire.error_response(service, code, message)
    size = str(len(body))
    headers = [("Content-Type", "text/xml"), ("Content-Length", size), ("x-amzn-RequestId", wire.new_request_id())]
    return HttpResponse(f"{status} {code}", headers, body)
