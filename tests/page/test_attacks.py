"""What a program or a web site that is not the page can send to its server, and that it gets nothing.

The requests are made with http.client, so they are exactly as written here. `Page` is a page with a QR code, a question
that waits for an answer, and both views opened by their own windows.
"""

import asyncio
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.adapters.web import server
from mfa_kit.adapters.web.guard import LONGEST, Guard
from mfa_kit.adapters.web.server import MOST
from mfa_kit.cli.browser.page_state import SHOWN, Asks, Question, Role
from tests.limits import wait_until
from tests.page.served import CODE, LINES, USER, Answer, Page, Window, served_page


@pytest.fixture
def page() -> Iterator[Page]:
    with served_page() as made:
        yield made


@pytest.fixture
def admin(page: Page) -> Window:
    return page.enter(Role.ADMIN)


@pytest.fixture
def colleague(page: Page) -> Window:
    return page.enter(Role.COLLEAGUE)


def test_the_windows_themselves_get_everything(page: Page, admin: Window, colleague: Window) -> None:
    """Otherwise the attacks below could fail for another reason. Only the colleague's view has the QR code."""
    for window in (admin, colleague):
        document = page.ask("GET", f"/{window.role}", {"Host": window.host, "Cookie": window.cookie})
        assert (document.status, USER in document.text) == (200, False)
        news = page.ask("GET", f"/{window.role}/news", window.own)
        assert news.status == 200
        assert json.loads(news.text.splitlines()[0]) == {"proof": window.proof}
        assert USER in news.text
        assert ("<svg" in news.text) == (window is colleague)
    assert page.post(colleague, page.reply("654321")).status == 200
    assert page.post(admin, {"do": "open"}).text.startswith('{"address":"/open/')


Attack = Callable[[Page, Window, Window], Answer]


def other(window: Window, **more: str) -> dict[str, str]:
    """Return a window's headers with some replaced. An empty value removes a header."""
    headers = {**window.posts, **{name.replace("_", "-"): value for name, value in more.items()}}
    return {name: value for name, value in headers.items() if value}


def news(**more: str) -> Attack:
    return lambda page, _, colleague: page.ask("GET", "/colleague/news", other(colleague, **{"Origin": "", **more}))


def act(**more: str) -> Attack:
    return lambda page, _, colleague: page.ask(
        "POST", "/colleague/act", other(colleague, **more), json.dumps(page.reply()).encode()
    )


def document(**more: str) -> Attack:
    return lambda page, _, colleague: page.ask(
        "GET", "/colleague", other(colleague, **{"Origin": "", "X_Key": "", **more})
    )


def open_again(page: Page, _admin: Window, _colleague: Window) -> Answer:
    path = page.server.new_address(Role.COLLEAGUE).reveal().removeprefix(f"http://{page.host}")
    page.ask("GET", path, {"Host": page.host})
    return page.ask("GET", path, {"Host": page.host})


def open_framed(page: Page, _admin: Window, _colleague: Window) -> Answer:
    path = page.server.new_address(Role.COLLEAGUE).reveal().removeprefix(f"http://{page.host}")
    return page.ask("GET", path, {"Host": page.host, "Sec-Fetch-Dest": "iframe"})


def use_replaced(page: Page, _admin: Window, colleague: Window) -> Answer:
    page.enter(Role.COLLEAGUE)
    return page.ask("GET", "/colleague/news", colleague.own)


def raw(method: str, path: str, **more: str) -> Attack:
    return lambda page, admin, _: page.ask(method, path, other(admin, **{"Origin": "", **more}))


def said(body: bytes, **more: str) -> Attack:
    return lambda page, _, colleague: page.ask("POST", "/colleague/act", other(colleague, **more), body)


def said_in_chunks(page: Page, _admin: Window, colleague: Window) -> Answer:
    """Send a valid answer whose length is given twice. Without the second length, it would be accepted."""
    body = json.dumps(page.reply()).encode()
    headers = other(colleague, Transfer_Encoding="chunked", Content_Length=str(len(body)))
    return page.ask("POST", "/colleague/act", headers, b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))


EVIL = "http://evil.example"
ATTACKS: dict[str, Attack] = {
    "another user's program, which knows only the port": news(Cookie="", X_Key=""),
    "a server on another port, to which the browser sent the cookie": news(X_Key=""),
    "the same, with a guessed key": news(X_Key="x" * 43),
    "a script that has read the key, without the cookie": news(Cookie=""),
    "the cookie and the key at the other view": lambda page, _, colleague: page.ask(
        "GET", "/admin/news", colleague.own
    ),
    "the cookie under the name of the other view": lambda page, _, colleague: page.ask(
        "GET", "/admin/news", replace(colleague, cookie=colleague.cookie.replace("colleague", "admin")).own
    ),
    "a guessed address": raw("GET", "/open/" + "x" * 43),
    "an empty address": raw("GET", "/open/"),
    "an address that was opened before": open_again,
    "a window that was replaced": use_replaced,
    "DNS rebinding: the page under another name": news(Host="evil.example"),
    "DNS rebinding with the right port": lambda page, _, colleague: page.ask(
        "GET", "/colleague/news", {**colleague.own, "Host": f"evil.example:{page.host.split(':')[1]}"}
    ),
    "the name localhost, which another program may own": lambda page, _, colleague: page.ask(
        "GET", "/colleague/news", {**colleague.own, "Host": page.host.replace("127.0.0.1", "localhost")}
    ),
    "no Host": news(Host=""),
    "two Hosts": lambda page, _, colleague: page.ask(
        "GET", "/colleague/news", {**colleague.own, "Host": f"{page.host}\nevil.example"}
    ),
    "a post from another site": act(Origin=EVIL),
    "a post from another port of this computer": act(Origin="http://127.0.0.1:1"),
    "a post from a sandboxed frame": act(Origin="null"),
    "a post without an Origin": act(Origin=""),
    "a post of an HTML form": act(Content_Type="application/x-www-form-urlencoded"),
    "a post of an HTML form as text": act(Content_Type="text/plain"),
    "a fetch from another site": news(Origin=EVIL, Sec_Fetch_Site="cross-site"),
    "a fetch from another port": news(Sec_Fetch_Site="same-site", Sec_Fetch_Dest="empty"),
    "a link on another site": document(Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="document"),
    "a frame": document(Sec_Fetch_Site="same-origin", Sec_Fetch_Dest="iframe"),
    "a script or image tag": document(Sec_Fetch_Site="same-origin", Sec_Fetch_Dest="script"),
    "a frame with a one-time address": open_framed,
    "a preflight": raw("OPTIONS", "/colleague/act", Access_Control_Request_Method="POST"),
    "another method": raw("PUT", "/colleague/act"),
    "a HEAD for the size": raw("HEAD", "/admin/news"),
    "TRACE": raw("TRACE", "/admin"),
    "a path out of the server": raw("GET", "/../../etc/passwd"),
    "an encoded path": raw("GET", "/admin%2fnews"),
    "the address of a proxy": raw("GET", "http://evil.example/admin"),
    "a WebSocket": raw("GET", "/admin/news", Connection="Upgrade", Upgrade="websocket", X_Key="x"),
    "a body without a length": said(b"0\r\n\r\n", Transfer_Encoding="chunked"),
    "a long body": said(b'{"do": "answer", "text": "' + b"1" * LONGEST + b'"}'),
    "an answer with two lengths": said_in_chunks,
    "a body with two lengths": said(b"2\r\n{}\r\n0\r\n\r\n", Transfer_Encoding="chunked", Content_Length="2"),
    "a length of 5,000 digits": raw("POST", "/admin/act", Content_Length="9" * 5000),
    "a negative length": raw("POST", "/admin/act", Origin=EVIL, Content_Length="-1"),
    "a path with two slashes": raw("GET", "//admin/news"),
    "a path with a dot": raw("GET", "/./admin/news"),
    "a path with a parameter of another view": raw("GET", "/colleague/news?role=admin", X_Key="x"),
    "malformed JSON": said(b"{"),
    "JSON that two parsers read differently": said(b'{"do": "answer", "do": "stop"}'),
    "JSON that is no object": said(b"[]"),
    "a user who wants to stop": lambda page, _, colleague: page.post(colleague, {"do": "stop"}),
    "a user who wants another window": lambda page, _, colleague: page.post(colleague, {"do": "open"}),
    "an unknown request": lambda page, admin, _: page.post(admin, {"do": "eval", "text": "1"}),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_gets_nothing(page: Page, admin: Window, colleague: Window, attack: str) -> None:
    """The response is an error without any content of the page, and the question was not answered."""
    answer = ATTACKS[attack](page, admin, colleague)
    assert answer.status in {400, 403, 404, 405}, answer
    for content in (USER, "svg", "First code", admin.key, colleague.key, admin.proof, colleague.proof):
        assert content not in answer.text
        assert not any(content in value for value in answer.headers.values())
    assert not any(name.startswith("access-control") for name in answer.headers)
    assert page.answers == []
    assert page.state.question is CODE


def test_there_are_at_least_20_attacks() -> None:
    """The list is the requirement."""
    assert len(ATTACKS) >= 20


def test_a_user_cannot_answer_for_the_admin(page: Page, colleague: Window) -> None:
    """A question that the colleague's view does not show is answered by the admin's view only."""
    page.state.stop()
    while page.state.question:  # the thread of the page has to see the stop before the next question undoes it
        pass
    with suppress(KeyboardInterrupt):
        page.state.ask(
            Question(asks=Asks.SECRET, text="password"),
            lambda: page.post(colleague, page.reply()).status == 200 and page.state.answer is None,
        )
    assert page.answers == []


def test_every_response_forbids_storing_framing_and_foreign_content(page: Page, admin: Window) -> None:
    """Also refusals and pages that do not exist."""
    for path in ("/admin", "/admin/news", "/nothing/here", "/open/x"):
        headers = page.ask("GET", path, admin.own).headers
        assert headers["cache-control"] == "no-store", path
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == headers["cross-origin-opener-policy"] == "same-origin"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "server" not in headers


def test_the_cookie_is_for_this_view_and_the_server_only(page: Page) -> None:
    """No script reads it, and no other site makes the browser send it. It ends with the browser."""
    path = page.server.new_address(Role.ADMIN).reveal().removeprefix(f"http://{page.host}")
    cookie = page.ask("GET", path, {"Host": page.host}).headers["set-cookie"]
    value, *attributes = cookie.split("; ")
    assert sorted(attributes) == ["HttpOnly", "Path=/admin", "SameSite=strict"]
    assert len(value.partition("=")[2]) > 40


def test_the_server_listens_on_the_loopback_interface_only(page: Page) -> None:
    """The kernel's table of sockets has the port at 127.0.0.1, and at no other address."""
    port = int(page.host.split(":")[1])
    tables = [Path(f"/proc/net/{name}").read_text("ascii") for name in ("tcp", "tcp6")]
    rows = [line.split() for table in tables for line in table.splitlines()]
    listening = {row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}
    assert listening == {f"0100007F:{port:04X}"}


def test_the_qr_code_is_gone_after_ten_minutes(page: Page, colleague: Window) -> None:
    """Neither the page nor the process that serves it has the QR code then. Codes can still be typed."""
    page.late = SHOWN - 1
    assert "<svg" in page.ask("GET", "/colleague/news", colleague.own).text
    page.late = SHOWN
    text = page.ask("GET", "/colleague/news", colleague.own).text
    assert "<svg" not in text
    assert "was removed after 10 minutes" in text
    assert page.state.symbol is None
    assert page.post(colleague, page.reply()).status == 200


def test_an_answer_to_an_earlier_question_is_not_taken(page: Page, colleague: Window) -> None:
    """A window that is slow, or was reloaded, cannot answer the next question by accident."""
    old = page.reply("111111")
    assert page.post(colleague, old).status == 200
    while page.answers != ["111111"] or page.state.question is None:
        pass
    assert page.post(colleague, {**old, "text": "222222"}).status == 200
    assert page.answers == ["111111"]
    assert page.state.answer is None


def idle(page: Page, number: int, first: bytes = b"") -> list[socket.socket]:
    """Open connections that send no whole request."""
    address, port = page.host.split(":")
    made = [socket.create_connection((address, int(port)), timeout=120) for _ in range(number)]
    for each in made:
        each.sendall(first)
    return made


def is_closed(link: socket.socket) -> bool:
    """Return whether the server closed a connection."""
    link.setblocking(False)
    try:
        return link.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_idle_connections_do_not_keep_the_page_from_working(page: Page, colleague: Window) -> None:
    """Another user opens many. Few are kept, a window that is open stays open, and a new one can be opened."""
    news = http.client.HTTPConnection(page.host, timeout=120)
    news.request("GET", "/colleague/news", headers=colleague.own)
    stream = news.getresponse()
    links = idle(page, 5 * MOST)
    try:
        assert page.enter(Role.ADMIN).role == Role.ADMIN
        assert page.post(colleague, page.reply()).status == 200
        assert sum(map(is_closed, links)) >= 4 * MOST
        assert all(stream.readline() for _ in range(2 * LINES))
    finally:
        news.close()
        for each in links:
            each.close()


def test_a_refusal_ends_its_connection(page: Page) -> None:
    """Otherwise connections with requests that are refused, and answers that no one reads, look like open windows."""
    with idle(page, 1, f"GET /admin HTTP/1.1\r\nHost: {page.host}\r\n\r\n".encode() * 2)[0] as link:
        answers = b"".join(iter(lambda: link.recv(4096), b""))
    assert answers.count(b"HTTP/1.1 403") == 1
    assert b"connection: close" in answers


@pytest.mark.parametrize("first", [b"", b"GET /admin HTTP/1.1\r\nX: "])
def test_a_connection_that_sends_no_request_is_closed(
    page: Page, first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may also send a few octets from time to time, and yet is no request."""
    monkeypatch.setattr(server, "SLOW", 0.5)
    with idle(page, 1, first)[0] as link:
        assert not is_closed(link)

        def send() -> bool:
            with suppress(OSError):
                link.send(b"x" if first else b"")
            return is_closed(link)

        wait_until(send, seconds=120, said=lambda: "the connection is still open", pause=0.1)


def test_an_open_window_is_no_slow_connection(page: Page, colleague: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its response continues for as long as the page is open."""
    monkeypatch.setattr(server, "SLOW", 0.2)
    news = http.client.HTTPConnection(page.host, timeout=120)
    news.request("GET", "/colleague/news", headers=colleague.own)
    with news.getresponse() as stream:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert stream.readline()
    news.close()


# A request that the guard passes on, changed in one thing, so that no other rule can refuse it.
PLACE = "127.0.0.1:8000"
POST = {
    "host": PLACE,
    "origin": f"http://{PLACE}",
    "content-type": "application/json",
    "content-length": "4096",
    "sec-fetch-site": "same-origin",
    "sec-fetch-dest": "empty",
}


def is_passed_on(*, method: str = "POST", path: str = "/admin/act", **changed: str | None) -> bool:
    """Return whether the guard passes on a request. A header that is None is not sent."""
    headers = {name: text for name, text in {**POST, **_headers(changed)}.items() if text is not None}
    raw_headers = [(name.encode(), text.encode()) for name, text in headers.items()]
    passed: list[str] = []

    async def app(scope: Any, _: object, __: object) -> None:
        passed.append(scope["path"])

    async def send(_: object) -> None:
        pass

    scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "headers": raw_headers}
    asyncio.run(Guard(app, PLACE)(scope, send, send))  # type: ignore[arg-type]
    return passed == [path]


def _headers(changed: dict[str, str | None]) -> dict[str, str | None]:
    return {name.replace("_", "-"): text for name, text in changed.items()}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"sec_fetch_site": "none"},
        {"sec_fetch_dest": "document"},
        {"sec_fetch_site": None, "sec_fetch_dest": None},
        {"content_length": "0"},
        {"method": "GET"},
        {"method": "GET", "origin": None, "content_type": None, "content_length": None},
        {"method": "GET", "path": "/open/x", "sec_fetch_site": "cross-site", "sec_fetch_dest": "document"},
    ],
)
def test_the_requests_of_the_page_are_passed_on(changed: dict[str, Any]) -> None:
    """A one-time address may be opened from a program or a message."""
    assert is_passed_on(**changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "PUT"},
        {"method": "DELETE"},
        {"host": "localhost:8000"},
        {"host": None},
        {"origin": "http://127.0.0.1:8001"},
        {"origin": f"https://{PLACE}"},
        {"origin": None},
        {"content_type": "text/plain"},
        {"content_type": None},
        {"transfer_encoding": "chunked"},
        {"content_length": "4097"},
        {"content_length": "-1"},
        {"content_length": "x"},
        {"content_length": None},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_dest": "iframe"},
        {"method": "GET", "path": "/open/x", "sec_fetch_dest": "iframe"},
    ],
)
def test_a_request_that_differs_in_one_thing_is_refused(changed: dict[str, Any]) -> None:
    """Each rule alone refuses it. A refusal of a length is no error of the program."""
    assert not is_passed_on(**changed)
