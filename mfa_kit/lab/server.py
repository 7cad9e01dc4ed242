"""The lab as a server on loopback: what the wire sees, faults, then moto's dispatcher with our response classes in it."""

import base64
import io
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from email.utils import formatdate
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs

from flask import Flask
from moto.core.utils import convert_to_flask_response
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from mfa_kit.lab import wire
from mfa_kit.lab.account import Account
from mfa_kit.lab.devices import Settings
from mfa_kit.lab.faults import Faults, Rule
from mfa_kit.lab.iam import Iam
from mfa_kit.lab.sts import Sts

HOST = "127.0.0.1"
Start = Callable[..., Any]


class Call(NamedTuple):
    """One request as the lab answered it. `error` is the code, "" for success, and `lost` for an answer that never left."""

    operation: str
    key: str
    error: str
    seconds: float


class Handler(MotoRequestHandler):
    """moto's handler without Nagle's delay, without a log, for a request may hold codes, and with the lab's own Date."""

    disable_nagle_algorithm = True

    def send_response(self, code: int, message: str | None = None) -> None:
        self.send_response_only(code, message)

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        pass


class Front:
    """WSGI: one request, its faults, its answer, its line in the log of calls."""

    def __init__(self, account: Account, faults: Faults) -> None:
        self.account, self.faults = account, faults
        self.calls: list[Call] = []
        self.inner = DomainDispatcherApplication(self._app)

    def _app(self, service: Any) -> Flask:
        """moto's app for a service with our response class in its view."""
        flask: Flask = create_backend_app(service)
        made: dict[str, Callable[[], Any]] = {"iam": lambda: Iam(self.account), "sts": lambda: Sts(self.account)}

        def answer(request: Any, full_url: str, headers: Any) -> Any:
            if service not in made:
                status, body = wire.error(service, "NotImplemented", f"The lab does not play {service}.")
                return status, {"Content-Type": "text/xml"}, body
            return made[service]()._dispatch(request, full_url, headers)  # noqa: SLF001 - what moto's own `dispatch` does

        for endpoint in flask.view_functions:
            flask.view_functions[endpoint] = convert_to_flask_response(answer)
        return flask

    def __call__(self, environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        began = time.monotonic()
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["lab.body"] = body
        fields = parse_qs(body.decode("utf-8", "replace")) or parse_qs(environ.get("QUERY_STRING", ""))
        operation = fields.get("Action", [""])[0]
        self.account.offset, self.account.lag = self.faults.standing("clock"), self.faults.standing("lag")
        if not self.account.views:
            self.account.remember()
        status, headers, answer = self._answer(environ, operation)
        lost = status is None
        code = "lost" if status is None else _code(answer) if int(status.split()[0]) >= 400 else ""
        key = environ.get("HTTP_AUTHORIZATION", "").partition("Credential=")[2].partition("/")[0]
        self.calls.append(Call(operation, key, code, time.monotonic() - began))
        self.faults.listed(operation)
        if lost:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        start(status, [*headers, ("Date", formatdate(self.account.now(), usegmt=True))])
        return [answer]

    def _answer(self, environ: dict[str, Any], operation: str) -> tuple[str | None, list[tuple[str, str]], bytes]:
        """Status, headers and body; no status when the connection is to be cut."""
        act = lambda: self._act(environ)  # noqa: E731 - what a rule wraps
        for rule in self.faults.due(operation):
            act = self._with(rule, act, operation)
        return act()

    def _with(self, rule: Rule, act: Callable[[], Any], operation: str) -> Callable[[], Any]:
        """The same request under one more fault."""
        service = "sts" if operation in STS else "iam"

        def faulty() -> Any:
            match rule.fault:
                case "latency":
                    time.sleep(rule.parameters["seconds"])
                    return act()
                case "throttle" | "bucket":
                    return _error(service, "Throttling", "Rate exceeded")
                case "denied":
                    return _error(service, "AccessDenied", f"User is not authorized to perform: {service}:{operation}")
                case "expired":
                    return _error(service, "ExpiredToken", "The security token included in the request is expired")
                case "error-before":
                    return _error(
                        service, "ServiceFailure", "The request processing has failed because of an unknown error."
                    )
                case "error-after":
                    act()
                    return _error(
                        service, "ServiceFailure", "The request processing has failed because of an unknown error."
                    )
                case "lost-before":
                    return None, [], b""
                case "lost-after":
                    act()
                    return None, [], b""
                case "late":
                    threading.Thread(target=self._later, args=(rule, act), daemon=True).start()
                    return None, [], b""
                case _:
                    raise AssertionError(rule.fault)

        return faulty

    def _later(self, rule: Rule, act: Callable[[], Any]) -> None:
        self.faults.wait(rule.parameters["seconds"], rule.parameters.get("listings", 0))
        act()

    def _act(self, environ: dict[str, Any]) -> tuple[str, list[tuple[str, str]], bytes]:
        """Let moto's dispatcher answer. What breaks in there is IAM's internal failure, told on stderr."""
        kept: list[Any] = []

        def keep(status: str, headers: list[tuple[str, str]], _: Any = None) -> Callable[[bytes], object]:
            kept[:] = [status, headers]
            return lambda _: None

        try:
            body = b"".join(self.inner(environ | {"wsgi.input": io.BytesIO(environ["lab.body"])}, keep))
        except Exception:  # noqa: BLE001 - a failure within moto is a 500 to the client, as it is in IAM
            traceback.print_exc()
            return _error("iam", "InternalFailure", "The request processing has failed because of an unknown error.")
        return kept[0], [(name, value) for name, value in kept[1] if name.lower() in SENT], body


# No browser is to read the lab's answers: moto's CORS headers stay behind.
SENT = ("content-type", "content-length", "x-amzn-requestid")
STS = ("AssumeRole", "AssumeRoot", "GetCallerIdentity", "GetFederationToken", "GetSessionToken")


def _code(body: bytes) -> str:
    return body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode() or "unreadable"


def _error(service: str, code: str, message: str) -> tuple[str, list[tuple[str, str]], bytes]:
    status, body = wire.error(service, code, message)
    headers = [
        ("Content-Type", "text/xml"),
        ("Content-Length", str(len(body))),
        ("x-amzn-RequestId", wire.request_id()),
    ]
    return f"{status} {code}", headers, body


class Lab:
    """A running lab: `with Lab(users=("alice",)) as lab: ... lab.env`."""

    def __init__(
        self, users: Sequence[str] = (), *, region: str = "us-east-1", port: int = 0, settings: Settings | None = None
    ) -> None:
        self.account = Account(region=region, settings=settings or Settings())
        self.faults = Faults()
        self.admin = self.account.add_admin()
        for user in users:
            self.account.add_user(user)
        self.front = Front(self.account, self.faults)
        self.server = make_server(HOST, port, self.front, threaded=True, request_handler=Handler)
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
    def url(self) -> str:
        return f"http://{HOST}:{self.server.server_port}"

    @property
    def calls(self) -> list[Call]:
        """What was asked so far, in order."""
        return self.front.calls

    @property
    def env(self) -> dict[str, str]:
        """The whole AWS environment of a child: nothing of the caller's is to pass beside it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.admin.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.admin.secret_access_key,
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
        with self.account.lock:
            self.account.add_user(name, path=path)

    def seed(self, serial: str) -> bytes:
        """The raw octets of a device's seed, for judges in tests."""
        return base64.b32decode(self.account.backend.codes(serial).secret)

    def assigned(self, serial: str) -> str | None:
        """Who has the device, or None."""
        with self.account.lock:
            user = self.account.backend.holder(serial)
        return user and str(user.name)

    def serials(self) -> set[str]:
        """The virtual devices that exist, assigned or not."""
        with self.account.lock:
            return set(self.account.backend.virtual_mfa_devices)
