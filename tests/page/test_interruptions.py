"""Each moment of an enrollment on the page, and everything that can happen to the page or the command at that moment.

Afterwards the user has exactly one device, nothing is half-made, and no window shows the QR code.
"""

import json
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import product
from typing import ClassVar

import pytest

from mfa_kit.lab.aws.server import Lab
from tests.chromium import Browser
from tests.conftest import ACCOUNT, MfaKit, Result
from tests.limits import wait_until
from tests.page.conftest import (
    LIMIT,
    WAIT,
    Command,
    SlowEnable,
    Start,
    nothing_is_half_made,
    open_admin,
    open_colleague,
    shown_codes,
)
from tests.sizes import FULL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LIMIT)]
# Seconds of a suspension.
ASLEEP = 3.0
HAS_QR = "!!document.querySelector('#qr svg')"


@dataclass
class Desk:
    """One enrollment: the command, its windows, and the codes that the phone shows."""

    start: Start
    mfa_kit: MfaKit
    browser: Browser
    lab: Lab
    user: str
    command: Command = field(init=False)
    admin: Browser | None = None
    colleague: Browser | None = None
    codes: tuple[str, str] | None = None
    accepted: bool = False
    slow: SlowEnable | None = None

    def begin(self) -> None:
        self.command = self.start("enroll", self.user, "--with", "virtual", "--page", "--no-browser")
        self.command.address()
        self.command.see("^account")
        self.admin = self.colleague = self.codes = None
        self.accepted, self.slow = False, None

    def open(self, number: int = 0) -> None:
        """Open the windows that are not open."""
        if self.admin is None:
            self.admin = open_admin(self.browser.new_tab(), self.command, number)
        if self.colleague is None:
            self.colleague = open_colleague(self.admin)
            self.colleague.see(HAS_QR)

    def send_first(self) -> None:
        self.open()
        assert self.colleague
        self.codes = shown_codes(self.lab, self.user)
        self.colleague.see("document.activeElement.id === 'code0'")
        self.colleague.paste(self.codes[0])
        self.colleague.see("document.activeElement.id === 'code1'")
        self.accepted = True

    def send_second(self) -> None:
        if not self.accepted:
            self.send_first()
        assert self.colleague
        assert self.codes
        self.colleague.see("document.querySelector('#code1[data-code]')")
        self.colleague.ask("document.querySelector('#code1').focus()")
        self.colleague.paste(self.codes[1])

    def windows(self) -> list[Browser]:
        return [each for each in (self.admin, self.colleague) if each]

    def finish(self) -> None:
        """Enroll the user to the end."""
        self.open()
        self.send_second()
        assert self.colleague
        self.colleague.see("document.querySelector('#end').textContent.startsWith('Done.')")
        assert self.command.end()[0] == 0, self.command.err

    @property
    def is_enabled(self) -> bool:
        return self.lab.assigned(f"arn:aws:iam::{ACCOUNT}:mfa/{self.user}") == self.user


@pytest.fixture
def desk(start: Start, mfa_kit: MfaKit, browser: Browser, lab: Lab, user: str) -> Desk:
    return Desk(start, mfa_kit, browser, lab, user)


def show(desk: Desk) -> None:
    assert not desk.windows()


def open_only_admin(desk: Desk) -> None:
    desk.admin = open_admin(desk.browser.new_tab(), desk.command)


def make_mistake(desk: Desk) -> None:
    desk.open()
    assert desk.colleague
    desk.colleague.see("document.activeElement.id === 'code0'")
    desk.colleague.paste("12345")
    desk.colleague.press("Enter", code=13, text="\r")
    desk.colleague.see("document.querySelector('#said').textContent.includes('6 digits')")


def wait_for_enable(desk: Desk) -> None:
    """Send the second code, and stop in the middle of the request that enables the device."""
    desk.send_first()
    slow = SlowEnable(desk.lab)
    desk.send_second()
    slow.wait_for_request()
    assert desk.colleague
    desk.colleague.see("document.querySelector('#calls').textContent.includes('Please wait')")
    desk.accepted, desk.slow = False, slow


MOMENTS: dict[str, Callable[[Desk], None]] = {
    "the address is printed": show,
    "the admin's view is open": open_only_admin,
    "the QR code is shown": Desk.open,
    "a code was wrong": make_mistake,
    "one code is accepted": Desk.send_first,
    "the device is being enabled": wait_for_enable,
}


def forgets(desk: Desk) -> None:
    """Check that no window shows the QR code any more, and that each says why."""
    for window in desk.windows():
        window.see(f"!({HAS_QR})")
        window.see("!document.querySelector('#connection').hidden || document.querySelector('#end').textContent")


def kill(desk: Desk) -> None:
    """Kill the command, and run it again."""
    desk.command.process.kill()
    desk.command.process.wait()
    forgets(desk)
    desk.lab.faults.clear()
    again(desk)


def again(desk: Desk) -> None:
    """Run the command again. It enrolls the user, or says that the user has a device."""
    if desk.slow:
        desk.slow.wait_for_answer()
    desk.begin()
    if not desk.is_enabled:
        desk.finish()
        return
    code, out = desk.command.end()  # it ends at once, perhaps before a window is open
    assert (code, "already has an MFA device" in out) == (0, True), out + desk.command.err


def ends_as_interrupted(desk: Desk) -> None:
    code, _ = desk.command.end()
    assert code == 130, desk.command.err
    assert "mfa-kit: interrupted" in desk.command.err
    forgets(desk)
    desk.lab.faults.clear()
    assert desk.is_enabled == ("is nevertheless enabled" in desk.command.err)
    again(desk)


def interrupt(desk: Desk) -> None:
    desk.command.interrupt()
    ends_as_interrupted(desk)


def terminate(desk: Desk) -> None:
    """SIGTERM ends the command as at a terminal: at once."""
    desk.command.process.terminate()
    assert desk.command.process.wait(WAIT) == -signal.SIGTERM
    forgets(desk)
    desk.lab.faults.clear()
    again(desk)


def press_stop(desk: Desk) -> None:
    """Press Stop, if a question is asked. Otherwise the button is disabled, and the enrollment continues."""
    if not desk.admin or desk.slow:
        return end(desk)
    desk.admin.see("!document.querySelector('#stop').disabled")
    desk.admin.click("#stop")
    return ends_as_interrupted(desk)


def end(desk: Desk) -> None:
    """Let the command end by itself."""
    if desk.slow:
        assert desk.colleague
        desk.colleague.see("document.querySelector('#end').textContent.startsWith('Done.')")
        assert desk.command.end()[0] == 0, desk.command.err
        return
    desk.finish()


def reload(desk: Desk) -> None:
    """Each view shows again what it showed, with the focus in the field for the code."""
    shown = [window.ask(f"[{HAS_QR}, document.querySelector('#title').textContent]") for window in desk.windows()]
    for window, before in zip(desk.windows(), shown, strict=True):
        window.reload()
        window.see("document.querySelector('#title').textContent")
        window.see(f"({HAS_QR}) === {str(before[0]).lower()} || document.querySelector('#end').textContent")
        assert window.ask("document.querySelector('#title').textContent") == before[1]
    end(desk)


def close(desk: Desk) -> None:
    """Close all windows. A new address is printed, and opens the page again."""
    if not desk.windows():
        return desk.finish()
    for window in desk.windows():
        window.close()
    desk.admin = desk.colleague = None
    if desk.slow:
        assert desk.command.end()[0] == 0, desk.command.err
        return None
    desk.command.address(1)
    assert "the admin's window is closed" in desk.command.err
    desk.open(1)
    return desk.finish()


def suspend(desk: Desk) -> None:
    """Stop the process for a while, as when a laptop sleeps."""
    desk.command.process.send_signal(signal.SIGSTOP)
    time.sleep(ASLEEP)
    desk.command.process.send_signal(signal.SIGCONT)
    end(desk)


EVENTS: dict[str, Callable[[Desk], None]] = {
    "SIGKILL": kill,
    "Ctrl-C": interrupt,
    "SIGTERM": terminate,
    "Stop": press_stop,
    "reload": reload,
    "all windows closed": close,
    "suspension": suspend,
}


KILLS = ("SIGKILL", "SIGTERM")
EVERY_CASE = [*product(MOMENTS, EVENTS)]
# Each moment with another event. A full check has every event at each moment.
FEW = [*zip(MOMENTS, ("SIGTERM", "Stop", "reload", "all windows closed", "Ctrl-C", "SIGKILL"), strict=True)]


@pytest.mark.parametrize(("moment", "event"), EVERY_CASE if FULL else FEW)
def test_the_user_has_one_device_after(desk: Desk, moment: str, event: str) -> None:
    """Whatever happens, the same command or the same page continues. No second way to settle exists."""
    desk.begin()
    MOMENTS[moment](desk)
    EVENTS[event](desk)
    assert desk.is_enabled
    if event in KILLS:  # what a killed run has only planned is forgotten here, as after the kills of tests/faults
        assert desk.mfa_kit.run("orphans", "clean", "--yes").code == 0
    else:
        nothing_is_half_made(desk.mfa_kit)
    listed: Result = desk.mfa_kit.run("orphans", "list", "--output", "csv")
    assert desk.user not in listed.out


class Impostor(BaseHTTPRequestHandler):
    """Answers as the page's server does, but without knowing the proof. `got` has the requests and their bodies."""

    got: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.got.append(self.path)
        parts = {"title": "IMPOSTOR", "form": "<form data-number=1>PIN<input id=text data-focus></form>"}
        self.answer(json.dumps({"proof": "x" * 43}) + "\n" + json.dumps({"parts": parts, "ended": False}) + "\n")

    def do_POST(self) -> None:
        self.got.append(self.path)
        self.answer(json.dumps({"address": "http://127.0.0.1:1/open/evil"}))

    def answer(self, text: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


def test_an_impostor_on_the_port_gets_nothing(desk: Desk) -> None:
    """After a kill, another program listens on the port. The windows ask it once, and show and send it nothing."""
    desk.begin()
    desk.open()
    assert desk.admin
    assert desk.colleague
    port, before = desk.command.port, desk.admin.tabs()
    Impostor.got.clear()
    desk.command.process.kill()
    desk.command.process.wait()
    with HTTPServer(("127.0.0.1", port), Impostor) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        forgets(desk)
        asked = {"/admin/news", "/colleague/news"}
        wait_until(lambda: asked <= {*Impostor.got}, seconds=WAIT, said=lambda: Impostor.got)
        desk.admin.click("#open")
        desk.admin.click("#stop")
        time.sleep(2)
        server.shutdown()
    assert sorted(Impostor.got) == ["/admin/news", "/colleague/news"]
    assert desk.admin.tabs() == before
    for window, whom in ((desk.admin, "Look at the terminal"), (desk.colleague, "Please ask the admin")):
        assert not window.ask("document.body.innerHTML.includes('IMPOSTOR') || document.body.innerHTML.includes('PIN')")
        assert not window.ask("!!document.querySelector('svg, input')")
        assert whom in window.ask("document.querySelector('#connection').textContent")
    assert "Scan" not in desk.colleague.ask("document.body.innerText")
