"""Other users of the computer, who can connect to the page's port, and what the admin's windows get meanwhile.

The other user is a process of the user `nobody`. It sends requests and never reads the answers.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mfa_kit.adapters.web.server import MOST
from mfa_kit.cli.browser.page_state import Role
from mfa_kit.posix import connections
from tests.conftest import NOBODY
from tests.limits import wait_until
from tests.page.served import LINES, Page, served_page

# Opens connections, sends many requests in each, and opens another one for each that is closed.
FLOOD = """
import select, socket, sys
host, port, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
links, said = [], False
while True:
    while len(links) < number:
        link = socket.socket(family)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        link.setblocking(False)
        link.connect_ex((host, port))
        links.append(link)
    writable = select.select([], links, [], 1)[1]
    for link in writable:
        try:
            link.send(f"GET /admin HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\n\\r\\n".encode() * 1000)
        except BlockingIOError:
            pass
        except OSError:
            link.close()
            links.remove(link)
    if not said:
        said = True
        print("begun", flush=True)
"""
# Opens an address, and prints the status, or the name of the error.
OPEN_ADDRESS = """
import sys, urllib.request
try:
    print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=60).status)
except Exception as error:
    print(type(error).__name__)
"""


@contextmanager
def other_user(python: str, script: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Run a script as the user `nobody`."""
    with subprocess.Popen(
        [python, "-c", script, *args],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def python(unprivileged: tuple[str, str]) -> str:
    return unprivileged[0]


@pytest.fixture
def page() -> Iterator[Page]:
    with served_page() as made:
        yield made


def opened_by_other_user(python: str, page: Page) -> str:
    """Let the other user open a valid address, and return what they got."""
    with other_user(python, OPEN_ADDRESS, page.server.new_address(Role.ADMIN).reveal()) as process:
        return process.communicate()[0].strip()


@pytest.mark.parametrize(
    ("host", "number"),
    [("127.0.0.1", MOST), ("::ffff:127.0.0.1", MOST), ("127.0.0.1", 500)],
)
def test_another_user_cannot_shut_the_page(python: str, page: Page, host: str, number: int) -> None:
    """All requests of the admin succeed, where the kernel reports the users of connections."""
    with other_user(python, FLOOD, host, page.host.split(":")[1], str(number)) as process:
        assert process.stdout
        assert process.stdout.readline() == "begun\n"
        for count in range(5):
            admin = page.enter(Role.ADMIN)
            news = page.ask("GET", "/admin/news", admin.own)
            assert (news.status, len(news.text.splitlines())) == (200, LINES)
            before = len(page.answers)
            assert page.post(admin, page.reply(f"{count:06}")).status == 200
            wait_until(lambda: len(page.answers) > before and page.state.question is not None, seconds=60, said=str)  # noqa: B023
        assert process.poll() is None


def test_another_user_with_a_valid_address_is_refused(
    python: str, page: Page, capfd: pytest.CaptureFixture[str]
) -> None:
    """The address stays valid, and the terminal says why the window got no answer."""
    said: list[str] = []

    def is_reported() -> bool:
        assert opened_by_other_user(python, page) in {"URLError", "ConnectionResetError", "RemoteDisconnected"}
        said.append(capfd.readouterr().err)
        return f"user with ID {NOBODY} " in "".join(said)

    wait_until(is_reported, seconds=60, said=lambda: "".join(said))
    assert page.enter(Role.ADMIN).role == Role.ADMIN


@pytest.mark.parametrize("login", [str(NOBODY), None])
def test_the_user_who_logged_in_may_open_the_page(
    python: str, login: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The browser of that user opens it also if sudo started mfa-kit as root."""
    file = tmp_path / "loginuid"
    file.write_text(login or str(connections.NO_LOGIN), "ascii")
    monkeypatch.setattr(connections, "LOGIN", file)
    monkeypatch.setenv("SUDO_UID", str(NOBODY) if login is None else "1")
    with served_page() as page:
        assert opened_by_other_user(python, page) == "200"


def test_the_variable_of_sudo_counts_without_a_login_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of the process and root always count. Without /proc, so does the variable."""
    monkeypatch.setenv("SUDO_UID", "1234")
    file = tmp_path / "loginuid"
    monkeypatch.setattr(connections, "LOGIN", file)
    assert connections.users_at_computer() == {os.getuid(), 0, 1234}
    file.write_text("1000", "ascii")
    assert connections.users_at_computer() == {os.getuid(), 0, 1000}


def test_users_are_unknown_without_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other systems than Linux have no such files."""
    monkeypatch.setattr(connections, "TABLES", (tmp_path / "tcp",))
    assert connections.socket_owners() is None
