"""A page that is served by this process, without a command, and a client that sends exactly what a test says."""

import http.client
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from mfa_kit.adapters.web.server import PageServer
from mfa_kit.cli.browser.page import PageViews
from mfa_kit.cli.browser.page_state import Asks, Ending, PageState, Question, Role
from mfa_kit.cli.messages import StderrProgress
from mfa_kit.core.otp import Symbol
from mfa_kit.enrollment.backends import FIRST_CODE

USER = "victoria"
CODE = Question(asks=Asks.CODE, text=FIRST_CODE)
ENTERED = re.compile(r'setItem\("(\w+)", JSON.stringify\(\["([^"]+)", "([^"]+)"\]\)\)')
# The first line of what a window gets, and the line with everything that the view shows.
LINES = 2


@dataclass(frozen=True)
class Answer:
    """The response to a request."""

    status: int
    text: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Window:
    """What a browser window knows after it has opened a one-time address."""

    role: str
    host: str
    cookie: str
    key: str
    proof: str

    @property
    def own(self) -> dict[str, str]:
        """The headers that the page's script sends, apart from those that browsers add."""
        return {"Cookie": self.cookie, "X-Key": self.key, "Host": self.host}

    @property
    def posts(self) -> dict[str, str]:
        return {**self.own, "Origin": f"http://{self.host}", "Content-Type": "application/json"}


@dataclass
class Page:
    """A running page. `times` moves its clock."""

    server: PageServer
    state: PageState
    host: str
    answers: list[str] = field(default_factory=list)
    late: float = 0.0

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Send a request with these headers only, and read the first lines of the response."""
        link = http.client.HTTPConnection(self.host, timeout=120)
        try:
            link.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                for each in value.split("\n"):
                    link.putheader(name, each)
            if body is not None and "Transfer-Encoding" not in headers:
                link.putheader("Content-Length", str(len(body)))
            link.endheaders(body)
            with link.getresponse() as response:
                news = response.getheader("content-type", "").startswith("application/x-ndjson")
                text = b"".join(response.readline() for _ in range(LINES)) if news else response.read()
                return Answer(response.status, text.decode(), {k.lower(): v for k, v in response.getheaders()})
        finally:
            link.close()

    def enter(self, role: str) -> Window:
        """Open a new one-time address of a view, as a browser does."""
        path = self.server.new_address(role).reveal().removeprefix(f"http://{self.host}")
        answer = self.ask("GET", path, {"Host": self.host})
        assert answer.status == 200, answer
        found = ENTERED.search(answer.text)
        assert found
        return Window(found[1], self.host, answer.headers["set-cookie"].partition(";")[0], found[2], found[3])

    def post(self, window: Window, said: object, **more: str) -> Answer:
        """Send what a window's script would send."""
        headers = {**window.posts, **{name.replace("_", "-"): value for name, value in more.items()}}
        return self.ask("POST", f"/{window.role}/act", headers, json.dumps(said).encode())

    def reply(self, text: str = "123456") -> dict[str, object]:
        return {"do": "answer", "number": self.state.number, "text": text}


@contextmanager
def served_page() -> Iterator[Page]:
    """Serve a page with a QR code and a question that waits for an answer."""
    state = PageState(user=USER)
    server = PageServer(PageViews(state, StderrProgress(quiet=True)))
    state.on_change = server.wake
    made = Page(server, state, server.new_address(Role.ADMIN).reveal().split("/")[2])
    state.clock = lambda: made.late
    state.show(Symbol("█▀\n▄ "), [])

    def wait() -> None:
        with suppress(KeyboardInterrupt):
            while answer := state.ask(CODE):
                made.answers.append(answer.reveal())

    waits = threading.Thread(target=wait, daemon=True)
    waits.start()
    while not state.question:
        pass
    yield made
    while waits.is_alive():  # `stop` has no effect if a test removed the question, or between two questions
        with state.change():
            state.stopped = True
            state.changed.notify_all()
        waits.join(0.1)
    state.end(Ending(admin="over", colleague="over"))
    server.stop()
