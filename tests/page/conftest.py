"""A command with `--page` in a process of its own, and Chromium windows that show its views."""

import base64
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyotp
import pytest

from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.lab.aws.server import Lab
from tests.chromium import Browser, chromium
from tests.conftest import ACCOUNT, MfaKit
from tests.limits import never_came, wait_until
from tests.sizes import FULL

ADDRESS = re.compile(r"^(http://127\.0\.0\.1:(\d+)/open/(\S+))$", re.MULTILINE)
# Seconds of a test, after which it fails for good, and seconds to wait for a line of a command or for its end.
LIMIT, WAIT = 60, 30.0
# Seconds that a state lasts which a test must see meanwhile. A full check may run on a slow computer.
LASTS = 6.0 if FULL else 2.0
# Seconds in which a code that was read from a phone is typed, sent and checked.
SHOWN = 6.0


@dataclass
class Command:
    """A running command. `err` has what it printed on stderr so far."""

    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    more: threading.Condition = field(default_factory=threading.Condition)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self.more:
                self.lines.append(line)
                self.more.notify_all()

    @property
    def err(self) -> str:
        return "".join(self.lines)

    def see(self, pattern: str, *, times: int = 1) -> None:
        """Wait until stderr has a text, that many times."""
        with self.more:
            if not self.more.wait_for(lambda: len(re.findall(pattern, self.err, re.MULTILINE)) >= times, WAIT):
                never_came(WAIT, f"{pattern!r} in {self.err}")

    def address(self, number: int = 0) -> str:
        """Return one of the one-time addresses that the command has printed."""
        self.see(ADDRESS.pattern, times=number + 1)
        return str(ADDRESS.findall(self.err)[number][0])

    @property
    def port(self) -> int:
        return int(ADDRESS.findall(self.err)[0][1])

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> tuple[int, str]:
        """Wait until the command ends. Return its exit code and what it printed on stdout.

        Raise TimeoutExpired after WAIT seconds, as for a command that waits for a window that nobody opens.
        """
        assert self.process.stdout
        code, out = self.process.wait(WAIT), self.process.stdout.read()
        self._reader.join(WAIT)  # the last lines may arrive after the exit code
        return code, out


Start = Callable[..., Command]


@contextmanager
def started(mfa_kit: MfaKit, *args: str | Path, **how: Any) -> Iterator[Command]:
    """Run a command, and kill it at the end if it still runs."""
    process = mfa_kit.fork(*args, **how)
    try:
        yield Command(process)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


@pytest.fixture
def start(mfa_kit: MfaKit) -> Iterator[Start]:
    """Return a function that starts a command. All commands are killed at the end."""
    running: list[Any] = []

    def begin(*args: str | Path, **how: Any) -> Command:
        running.append(started(mfa_kit, *args, **how))
        command: Command = running[-1].__enter__()
        return command

    yield begin
    for each in running:
        each.__exit__(None, None, None)


@pytest.fixture
def at_page(start: Start, user: str) -> Command:
    """Start to enroll a user with a phone, on a page."""
    return start("enroll", user, "--with", "virtual", "--page", "--no-browser")


@pytest.fixture(scope="module")
def first_tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def browser(first_tab: Browser) -> Iterator[Browser]:
    """Return a new tab of the browser."""
    tab = first_tab.new_tab()
    tab.size(width=1280)
    yield tab
    tab.close()


def open_admin(browser: Browser, command: Command, number: int = 0) -> Browser:
    """Open the admin's view in a tab."""
    browser.go(command.address(number))
    browser.see("document.querySelector('#open')")
    return browser


def open_colleague(admin: Browser) -> Browser:
    """Open the colleague's view with the admin's button, and return its tab."""
    before = admin.tabs()
    admin.click("#open")
    return admin.opened(before)


def seed(lab: Lab, user: str) -> str:
    """Return the secret of a user's device in base32, as the phone has it."""
    return base64.b32encode(lab.seed(f"arn:aws:iam::{ACCOUNT}:mfa/{user}")).decode()


def shown_codes(lab: Lab, user: str) -> tuple[str, str]:
    """Return the previous code and the current one of the user's phone, if the phone shows it for SHOWN seconds more.

    Otherwise wait for the next code, because the previous one would be too old before the page has sent it.
    """
    while lab.account.now() % 30 > 30 - SHOWN:
        time.sleep(0.1)
    now = int(lab.account.now())
    phone = pyotp.TOTP(seed(lab, user))
    return phone.at(now - 30), phone.at(now)


class SlowEnable:
    """EnableMFADevice takes LASTS seconds, until the faults are cleared."""

    def __init__(self, lab: Lab) -> None:
        self._lab, self._before = lab, 0
        self._before = self._acted
        lab.faults.add("EnableMFADevice", "latency", at="every", seconds=LASTS)
        self._rule = lab.faults.rules()[-1]

    @property
    def _acted(self) -> int:
        return sum(call.operation == "EnableMFADevice" for call in self._lab.calls) - self._before

    def wait_for_request(self) -> None:
        """Wait until a request has come, on which IAM has not acted yet."""
        wait_until(lambda: self._rule.seen > 0, seconds=WAIT, said=lambda: "no request")

    def wait_for_answer(self) -> None:
        """Wait until IAM has acted on each request that came, also if the command that sent it was killed."""
        wait_until(lambda: self._acted >= self._rule.seen, seconds=WAIT, said=lambda: "no answer")


def nothing_is_half_made(mfa_kit: MfaKit) -> None:
    with sqlite_ledger(mfa_kit.home) as ledger:
        assert list(ledger.dead(ACCOUNT)) == []
