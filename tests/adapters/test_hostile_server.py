"""Tests of servers that are not AWS: proxies, slow and endless answers, wrong clocks, pages of HTML."""

import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate

import pytest

from mfa_kit.adapters.aws import bounds, signin
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.core.errors import AwsFault, Unclear, UsageFault
from mfa_kit.core.loopback import is_loopback
from mfa_kit.core.otp import Secret
from mfa_kit.lab.aws.server import Lab
from mfa_kit.wiring import lab as lab_wiring
from tests.conftest import MfaKit

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]
XML = b"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::000000000000:user/ada</Arn><UserId>A</UserId><Account>000000000000</Account></GetCallerIdentityResult>
</GetCallerIdentityResponse>"""


@contextmanager
def serve(answer: Answer) -> Iterator[str]:
    """Answer every request with a function; yield the server's address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer(self)

        do_GET = do_POST = handle_any  # noqa: N815 - the names are http.server's

        def log_message(self, *_: object) -> None:
            pass

        def version_string(self) -> str:
            return "test"

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def send(
    handler: http.server.BaseHTTPRequestHandler,
    status: int,
    body: bytes,
    kind: str = "text/xml",
    date: str | None = None,
) -> None:
    handler.send_response_only(status)
    handler.send_header("Date", formatdate(usegmt=True) if date is None else date)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def open_iam(address: str) -> Iam:
    return Iam(observe=lambda _: None, sleep=lambda _: None, endpoint_url=address)


def trickle(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Send a byte now and then, each soon enough for a limit on silence."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.02)


def trickle_headers(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Send headers now and then, and no body."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    for _ in range(200):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.02)


@pytest.mark.parametrize("answer", [trickle, trickle_headers])
@pytest.mark.usefixtures("at_lab")
def test_a_slow_response_ends_at_its_deadline(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the deadline, botocore would wait for the whole response, because the server keeps sending."""
    monkeypatch.setattr(bounds, "DEADLINE", 0.2)
    given_up: list[int] = []

    def note(handler: http.server.BaseHTTPRequestHandler) -> None:
        try:
            answer(handler)
        except OSError:
            given_up.append(1)

    with serve(note) as address:
        with pytest.raises(Unclear, match="no answer from AWS"):
            open_iam(address).caller()
        while not given_up:
            time.sleep(0.02)


@pytest.mark.parametrize("answer", [trickle, trickle_headers])
def test_a_slow_sign_in_response_ends_at_its_deadline(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sign-in endpoint is not IAM, but its responses have the same limits."""
    monkeypatch.setattr(bounds, "DEADLINE", 0.2)
    given_up = threading.Event()

    def note(handler: http.server.BaseHTTPRequestHandler) -> None:
        try:
            answer(handler)
        except OSError:
            given_up.set()

    with serve(note) as address:
        with pytest.raises(AwsFault, match="returned no sign-in token: TimeoutError"):
            signin.console_address(address, Secret("{}"), destination="https://127.0.0.1/")
        assert given_up.wait(60)


@pytest.mark.usefixtures("at_lab")
def test_an_endless_response_ends_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most the limit is kept in memory."""
    monkeypatch.setattr(bounds, "LONGEST", 1 << 20)
    with (
        serve(lambda handler: send(handler, 200, XML + b" " * (2 << 20))) as address,
        pytest.raises(Unclear, match="no answer from AWS"),
    ):
        open_iam(address).caller()


@pytest.mark.usefixtures("at_lab")
def test_a_response_below_the_limit_is_read() -> None:
    """A response that is shorter than the limit is read, although it has a lot of white space."""
    with serve(lambda handler: send(handler, 200, XML + b" " * (1 << 20))) as address:
        assert open_iam(address).caller().user == "ada"


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_no_proxy_is_used_for_loopback(name: str, at_lab: Lab, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would see the secret, because plain http is allowed for loopback.

    Tested for IAM, the sign-in and the lab.
    """
    seen: list[str] = []
    with serve(lambda handler: seen.append(handler.path)) as proxy:
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.setenv(name, proxy)
        assert open_iam(at_lab.url).caller().user == "lab-admin"
        with pytest.raises(AwsFault, match="HTTP 400"):
            signin.console_address(f"{at_lab.url}/federation", Secret("{}"), destination="https://127.0.0.1/")
        assert lab_wiring.register_fido_key(user, "key")
    assert not seen


@pytest.mark.parametrize("minutes", [-16, 16, 60 * 24 * 365 * 20, -60 * 24 * 365 * 50])
@pytest.mark.usefixtures("at_lab")
def test_a_clock_that_is_far_off_is_refused(minutes: int) -> None:
    """With codes for such a time, the user's phone could not be used with the device."""
    date = formatdate(time.time() + 60 * minutes, usegmt=True)
    with (
        serve(lambda handler: send(handler, 200, XML, date=date)) as address,
        pytest.raises(AwsFault, match=r"differ by [\d,]+ minutes") as caught,
    ):
        open_iam(address).caller()
    assert "timedatectl" in caught.value.hint


@pytest.mark.parametrize(
    "date", ["", "Thu, 01 Jan 1970 00:00:00", "Fri, 31 Dec 9999 23:59:59 -9999", "1e400", "x" * 999]
)
@pytest.mark.usefixtures("at_lab")
def test_an_unusual_date_header_is_ignored_or_refused(date: str) -> None:
    """No value of the Date header ends the program with an internal error."""
    with serve(lambda handler: send(handler, 200, XML, date=date)) as address:
        try:
            assert open_iam(address).caller().user == "ada"
        except AwsFault as error:
            assert "clock" in str(error)  # noqa: PT017 - either is right


@pytest.mark.parametrize("status", [200, 404, 500, 502, 503])
@pytest.mark.usefixtures("at_lab")
def test_an_html_page_is_not_a_response_of_iam(status: int) -> None:
    """The error says that the response is not from IAM, but from a proxy or a sign-in page, for example."""
    page = b"<html><head><title>Sign in</title></head><body>Welcome<br></body></html>"
    with (
        serve(lambda handler: send(handler, status, page, "text/html")) as address,
        pytest.raises(Unclear, match="the response") as caught,
    ):
        open_iam(address).caller()
    assert "proxy" in caught.value.hint
    assert "Welcome" not in str(caught.value)


def test_a_request_id_is_one_line_of_the_log(mfa_kit: MfaKit) -> None:
    """The request ID may come from a server that is not AWS, and --debug prints it."""
    named = b"<ResponseMetadata><RequestId>a&#10;mfa-kit: all is well&#x202e;</RequestId></ResponseMetadata>"
    answer = XML.replace(b"</GetCallerIdentityResponse>", named + b"</GetCallerIdentityResponse>")
    with serve(lambda handler: send(handler, 200, answer)) as address:
        done = mfa_kit.process("--debug", "enroll", "x" * 65, "--with", "virtual", env={"AWS_ENDPOINT_URL": address})
    assert r"request a\nmfa-kit: all is well\u202e" in done.err
    assert "\nmfa-kit: all is well" not in done.err


@pytest.mark.parametrize(
    "address",
    [
        r"http://evil\@127.0.0.1/",
        r"http://evil\@127.0.0.1:80",
        "http://127.0.0.1@evil/",
        "http://127.0.0.1:80@evil/",
        "http://evil@127.0.0.1/",
        "http://127.0.0.1.evil/",
        "http://127.0.0.1 .evil/",
        "http://127.0.0.1\t@evil/",
        "http://127.0.0.1/\\@evil",
        "http://127.0.0.1#@evil/",
        "http://127.0.0.1?@evil/",
        "http://localhost.evil/",
        "http://[::1]evil/",
        "http://[::1%25eth0]/",
        "http://127\u3002\u0030.0.1/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://127.1/",
        "http://0.0.0.0/",
        "ftp://127.0.0.1/",
        "//127.0.0.1/",
        "",
    ],
)
@pytest.mark.usefixtures("at_lab")
def test_an_address_that_two_parsers_read_differently_is_refused(address: str) -> None:
    """One parser may read 127.0.0.1 while the parser of the HTTP client reads another host."""
    assert not is_loopback(address)
    with pytest.raises(UsageFault):
        open_iam(address or "http://")
    if address.startswith("http"):
        with pytest.raises(UsageFault, match="is not encrypted"):
            signin.console_address(address, Secret("{}"), destination="https://127.0.0.1/")


@pytest.mark.parametrize(
    "address",
    ["http://localhost", "http://127.0.0.1:5000/", "https://127.8.9.1/x", "http://[::1]:1", "HTTP://LOCALHOST:1"],
)
def test_plain_loopback_addresses_are_recognized(address: str) -> None:
    """A loopback address is recognized with any port and any path."""
    assert is_loopback(address)
