"""Tests of servers that are not AWS: proxies, slow and endless answers, wrong clocks, pages of HTML."""

import http.server
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from itertools import count, cycle, islice

import pytest

from mfa_kit.adapters.aws import s3_calls, signin
from mfa_kit.adapters.aws.clients import Connection, open_s3
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.aws.s3_calls import S3Calls
from mfa_kit.adapters.aws.s3_store import S3File, check_bucket
from mfa_kit.adapters.forge.public_keys import FetchError, fetch_keys, keys_address
from mfa_kit.core.errors import AwsFault, IntegrityFault, OutcomeUnknownError, UsageFault
from mfa_kit.core.local_servers import is_loopback
from mfa_kit.core.models import S3Url
from mfa_kit.core.otp import Secret
from mfa_kit.lab.aws.server import Lab
from mfa_kit.network.http import BoundedResponse
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

        do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = handle_any  # noqa: N815 - the names are http.server's

        def handle_expect_100(self) -> bool:
            answer(self)
            return False

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
    return Iam(observe=lambda _: None, sleep=lambda _: None, connection=Connection(endpoint_url=address))


def open_bucket(address: str) -> S3Calls:
    connection = Connection(endpoint_url=address, region="us-east-1")
    return S3Calls(lambda: open_s3(connection), sleep=lambda _: None, encryption={})


def trickle(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Send a byte now and then, each soon enough for a limit on silence."""
    handler.send_response(200)
    handler.end_headers()
    trickle_body(handler)


def trickle_body(handler: http.server.BaseHTTPRequestHandler) -> None:
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
    """Without the deadline, botocore would wait for the whole response, because the server keeps sending.

    The read is not repeated, because the next response could take as long.
    """
    monkeypatch.setattr(BoundedResponse, "seconds", 0.2)
    given_up: list[int] = []

    def note(handler: http.server.BaseHTTPRequestHandler) -> None:
        try:
            answer(handler)
        except OSError:
            given_up.append(1)

    with serve(note) as address:
        with pytest.raises(OutcomeUnknownError, match="no complete answer from AWS: the response takes too long"):
            open_iam(address).caller()
        while not given_up:
            time.sleep(0.02)
    assert given_up == [1]


@pytest.mark.parametrize("answer", [trickle, trickle_headers])
def test_a_slow_sign_in_response_ends_at_its_deadline(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sign-in endpoint is not IAM, but its responses have the same limits."""
    monkeypatch.setattr(BoundedResponse, "seconds", 0.2)
    given_up = threading.Event()

    def note(handler: http.server.BaseHTTPRequestHandler) -> None:
        try:
            answer(handler)
        except OSError:
            given_up.set()

    with serve(note) as address:
        with pytest.raises(AwsFault, match="returned no sign-in token: SlowResponse"):
            signin.console_address(address, Secret("{}"), destination="https://127.0.0.1/")
        assert given_up.wait(60)


def no_http(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Send a line that is not HTTP."""
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.9\r\n")


def part_of_body(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Send fewer octets than announced."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nssh-")


@pytest.mark.parametrize("answer", [no_http, part_of_body])
def test_a_malformed_response_is_an_error_of_the_site(answer: Answer) -> None:
    """Neither the sign-in endpoint nor a forge can cause an internal error."""
    with serve(answer) as address:
        with pytest.raises(AwsFault, match="returned no sign-in token: MalformedResponse"):
            signin.console_address(address, Secret("{}"), destination="https://127.0.0.1/")
        with pytest.raises(FetchError, match=r"/ada\.keys cannot be read: MalformedResponse"):
            fetch_keys(keys_address(address, "ada"))


def trickle_after_continue(handler: http.server.BaseHTTPRequestHandler) -> None:
    """Send the headers of an interim response now and then."""
    handler.wfile.write(b"HTTP/1.1 100 Continue\r\n")
    for _ in range(200):
        handler.wfile.write(b"x: y\r\n")
        handler.wfile.flush()
        time.sleep(0.02)


@pytest.mark.parametrize("answer", [trickle, trickle_headers])
@pytest.mark.parametrize("call", ["list", "read", "write"])
@pytest.mark.usefixtures("at_lab")
def test_a_slow_response_of_s3_ends_at_its_deadline(call: str, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the content of an object is read, and before the server asks for the content of a new one.

    The call is not repeated, because the next response could take as long.
    """
    monkeypatch.setattr(BoundedResponse, "seconds", 0.2)
    given_up: list[int] = []

    def note(handler: http.server.BaseHTTPRequestHandler) -> None:
        try:
            if "Expect" in handler.headers:
                trickle_after_continue(handler)
            elif call == "read" and answer is trickle:
                handler.send_response(200)
                handler.send_header("Content-Length", "1000")
                handler.send_header("ETag", '"1"')
                handler.end_headers()
                trickle_body(handler)
            else:
                answer(handler)
        except OSError:
            given_up.append(1)

    with serve(note) as address:
        bucket, place = open_bucket(address), S3Url("bucket", "key")
        calls: dict[str, Callable[[], object]] = {
            "list": lambda: list(bucket.keys(place)),
            "read": lambda: bucket.get(place, most=1 << 20),
            "write": lambda: bucket.put(place, b"sealed"),
        }
        with pytest.raises(OutcomeUnknownError, match="no complete answer from AWS: the response takes too long"):
            calls[call]()
        until = time.monotonic() + 3
        while not given_up and time.monotonic() < until:
            time.sleep(0.02)
    assert given_up == [1]


ROW = "<Contents><Key>k</Key></Contents>"
MORE = "<IsTruncated>true</IsTruncated>"


def pages(*tokens: str, body: str = ROW) -> Answer:
    """Answer with pages of a list that continue at these tokens in turn, again and again."""
    turn = cycle(tokens)

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        token = next(turn)
        send(handler, 200, f"<ListBucketResult>{MORE}{body}{token}</ListBucketResult>".encode())

    return answer


def token(name: str) -> str:
    return f"<NextContinuationToken>{name}</NextContinuationToken>"


def numbered() -> Answer:
    """Answer with pages that have a new token each."""
    numbers = count()

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        pages(token(str(next(numbers))))(handler)

    return answer


@pytest.mark.parametrize(
    "answer",
    [pages(token("a")), pages(token("a"), token("b")), pages(""), numbered()],
    ids=["one token", "two tokens in turn", "no token", "ever new tokens"],
)
@pytest.mark.usefixtures("at_lab")
def test_a_list_of_a_bucket_that_does_not_end_is_refused(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens of the pages must differ, and there is a limit for the number of pages."""
    monkeypatch.setattr(s3_calls, "MOST_PAGES", 20, raising=False)
    with serve(answer) as address, pytest.raises(AwsFault, match="a list that does not end"):
        list(islice(open_bucket(address).keys(S3Url("bucket")), 100))


def without(name: str) -> Answer:
    """Answer with an object that has all headers except one."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for header, text in (("ETag", '"1"'), ("Content-Length", "1")):
            if header != name:
                handler.send_header(header, text)
        handler.end_headers()
        handler.wfile.write(b"x")

    return answer


VERSION = "<Key>k</Key><VersionId>v</VersionId><IsLatest>true</IsLatest>"


def versions(without: str) -> Answer:
    """Answer with a list of one version that lacks a member."""
    row = re.sub(f"<{without}>.*</{without}>", "", VERSION)
    body = f"<ListVersionsResult><Version>{row}</Version></ListVersionsResult>".encode()
    return lambda handler: send(handler, 200, body)


@pytest.mark.parametrize(
    ("call", "answer", "member"),
    [
        ("get", without("ETag"), "ETag"),
        ("get", without("Content-Length"), "ContentLength"),
        ("keys", pages("", body="<Contents><Size>1</Size></Contents>"), "Key"),
        *[("versions", versions(name), name) for name in ("Key", "VersionId", "IsLatest")],
    ],
)
@pytest.mark.usefixtures("at_lab")
def test_an_answer_of_s3_that_lacks_a_member_is_not_from_aws(call: str, answer: Answer, member: str) -> None:
    """It is an error of AWS, with exit code 4, and not a bug of mfa-kit."""
    with serve(answer) as address:
        bucket, place = open_bucket(address), S3Url("bucket", "k")
        with pytest.raises(OutcomeUnknownError, match=f"the response has no {member}, so it is not from AWS"):
            bucket.get(place, most=10) if call == "get" else list(getattr(bucket, call)(place))


@pytest.mark.usefixtures("at_lab")
def test_a_grant_and_a_lock_without_members_are_unknown() -> None:
    """Neither ends the program with an internal error."""
    acl = b"<AccessControlPolicy><AccessControlList><Grant><Permission>READ</Permission></Grant></AccessControlList>"
    with serve(lambda handler: send(handler, 200, acl + b"</AccessControlPolicy>")) as address:
        check_bucket("bucket", open_bucket(address))

    def deny(handler: http.server.BaseHTTPRequestHandler) -> None:
        if handler.command == "GET":
            versions("-")(handler)
            return
        handler.send_response(200 if handler.command == "HEAD" else 403)
        handler.send_header("x-amz-object-lock-mode", "GOVERNANCE")
        handler.end_headers()
        handler.wfile.write(b"" if handler.command == "HEAD" else b"<Error><Code>AccessDenied</Code></Error>")

    with serve(deny) as address, pytest.raises(IntegrityFault, match="cannot be removed: AWS answers AccessDenied"):
        S3File(S3Url("bucket", "k"), open_bucket(address)).discard()


@pytest.mark.usefixtures("at_lab")
def test_an_endless_response_ends_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most the limit is kept in memory."""
    monkeypatch.setattr(BoundedResponse, "octets", 1 << 20)
    with (
        serve(lambda handler: send(handler, 200, XML + b" " * (2 << 20))) as address,
        pytest.raises(OutcomeUnknownError, match="no answer from AWS"),
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


@pytest.mark.parametrize("minutes", [-6, 6, -16, 16, 60 * 24 * 365 * 20, -60 * 24 * 365 * 50])
@pytest.mark.usefixtures("at_lab")
def test_a_clock_that_is_far_off_is_refused(minutes: int) -> None:
    """With codes for such a time, the user's phone could not be used with the device."""
    date = formatdate(time.time() + 60 * minutes, usegmt=True)
    with serve(lambda handler: send(handler, 200, XML, date=date)) as address, pytest.raises(AwsFault) as caught:
        open_iam(address).caller()
    side = "behind" if minutes > 0 else "ahead of"
    assert str(caught.value) == f"this computer's clock is {abs(minutes):,} min {side} AWS's"
    assert caught.value.hint == "set it: timedatectl set-ntp true"


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_refusal_because_of_the_clock_says_so(minutes: int, mfa_kit: MfaKit, at_lab: Lab) -> None:
    """AWS refuses the signature, which could have other reasons. The time of its answer shows that it is the clock."""
    at_lab.faults.add("*", "clock", at="every", seconds=60 * minutes)
    done = mfa_kit.run("status")
    assert done.code == 4
    side = "behind" if minutes > 0 else "ahead of"
    assert f"mfa-kit: this computer's clock is 10 min {side} AWS's\n  try: set it: timedatectl set-ntp true" in done.err


@pytest.mark.usefixtures("at_lab")
def test_a_wrong_clock_is_named_for_a_bucket_too() -> None:
    """S3 has an error code of its own for it."""
    answer = b"<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message></Error>"
    date = formatdate(time.time() + 60 * 20, usegmt=True)
    with (
        serve(lambda handler: send(handler, 403, answer, date=date)) as address,
        pytest.raises(AwsFault, match="clock is 20 min behind AWS's"),
    ):
        list(open_bucket(address).keys(S3Url("bucket")))


@pytest.mark.parametrize("member", ["Arn", "Account"])
@pytest.mark.usefixtures("at_lab")
def test_an_identity_that_lacks_a_member_is_not_from_aws(member: str) -> None:
    """The same for credentials that are loaded again after they expired."""
    answer = re.sub(f"<{member}>.*</{member}>".encode(), b"", XML)
    answers = [answer]
    with serve(lambda handler: send(handler, 200, answers[-1])) as address:
        with pytest.raises(OutcomeUnknownError, match=f"the response has no {member}, so it is not from AWS") as caught:
            open_iam(address).caller()
        iam = open_iam(address)
        with pytest.raises(OutcomeUnknownError, match=f"has no {member}"):
            iam.renew("000000000000")
    assert caught.value.exit_code == 4


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
        pytest.raises(OutcomeUnknownError, match="the response") as caught,
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
