"""A station with a page that is killed or interrupted at each moment. The same command then continues the queue.

Afterwards each user has exactly one device, whose backup has its secret, and nothing is half-made.
"""

import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyrage
import pytest

from mfa_kit.lab.aws.server import Lab
from tests.chromium import Browser
from tests.conftest import COUNTED, MfaKit
from tests.limits import never_came
from tests.page.conftest import LIMIT, WAIT, Command, SlowEnable, Start, open_admin, open_colleague, shown_codes
from tests.page.test_station import END, call, press
from tests.rollout.conftest import Rollout
from tests.sizes import sample

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LIMIT)]


@dataclass
class Station:
    """A station for two users with phones."""

    start: Start
    browser: Browser
    lab: Lab
    rollout: Rollout
    users: list[str]
    command: Command = field(init=False)
    admin: Browser = field(init=False)
    colleague: Browser = field(init=False)
    slow: SlowEnable | None = None

    def open(self) -> None:
        """Start the command, and open both views."""
        plan, recipient = self.rollout.file, self.rollout.recipient
        words = ("--with", "virtual", "--page", "--no-browser", "-r", recipient)
        self.command = self.start("rollout", "station", plan, *words)
        self.admin = open_admin(self.browser.new_tab(), self.command)
        self.colleague = open_colleague(self.admin)
        self.colleague.see("document.querySelector('#title').textContent")

    def show(self, user: str) -> None:
        """Call a user, and wait until their QR code is shown."""
        call(self.admin, user)
        press(self.admin, "Start")
        self.colleague.see("document.querySelector('#qr svg') && document.querySelector('#code0[data-code]')")

    def type_first(self, user: str) -> str:
        """Show a QR code, type the first code, and return the second."""
        self.show(user)
        first, second = shown_codes(self.lab, user)
        self.colleague.paste(first)
        self.colleague.see("document.activeElement.id === 'code1'")
        return second

    def enroll(self, user: str) -> None:
        """Enroll a user to the end."""
        self.colleague.paste(self.type_first(user))
        self.colleague.see(f"document.body.innerText.includes('{user} is done.') || {END}.includes('Thank you')")

    def has_device(self, user: str) -> bool:
        return self.lab.assigned(f"arn:aws:iam::000000000000:mfa/{user}") == user


def be_called(station: Station) -> None:
    call(station.admin, station.users[0])


def show_qr_code(station: Station) -> None:
    station.show(station.users[0])


def accept_one_code(station: Station) -> None:
    station.type_first(station.users[0])


def enable(station: Station) -> None:
    second = station.type_first(station.users[0])
    station.slow = SlowEnable(station.lab)
    station.colleague.paste(second)
    station.slow.wait_for_request()
    station.colleague.see("document.querySelector('#calls').textContent.includes('Please wait')")


def show_second(station: Station) -> None:
    station.enroll(station.users[0])
    station.show(station.users[1])


MOMENTS: dict[str, Callable[[Station], None]] = {
    "the device is being enabled": enable,
    "a user is called": be_called,
    "the QR code is shown": show_qr_code,
    "one code is accepted": accept_one_code,
    "the QR code of the second user is shown": show_second,
}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CASES = [(moment, number) for moment in MOMENTS for number in SIGNALS]


def end(station: Station, number: signal.Signals) -> None:
    """Send a signal until the command ends. The first Ctrl-C may only end the enrollment of one user."""
    process = station.command.process
    process.send_signal(number)
    until = time.monotonic() + WAIT
    while process.poll() is None:
        if time.monotonic() > until:
            never_came(WAIT, station.command.err)
        time.sleep(0.1)
        if number == signal.SIGINT and station.admin.ask("!!document.querySelector('#form button[data-do]')"):
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
    assert process.returncode == (130 if number == signal.SIGINT else -number), station.command.err


@pytest.fixture
def station(
    start: Start,
    browser: Browser,
    mfa_kit: MfaKit,
    lab: Lab,
    identity: pyrage.x25519.Identity,
    users: Callable[[], str],
    tmp_path: Path,
) -> Station:
    """Plan a rollout for two users with phones."""
    people = sorted(users() for _ in range(2))
    rollout = Rollout(tmp_path, mfa_kit, lab, identity)
    rollout.plan(*[f"{user},virtual,{rollout.recipient}" for user in people], columns="user,kind,recipient")
    return Station(start, browser, lab, rollout, people)


@pytest.mark.parametrize(("moment", "number"), sample(CASES, 4))
def test_a_stopped_station_continues(
    station: Station, moment: str, number: signal.Signals, record_property: Callable[[str, object], None]
) -> None:
    """No window keeps the QR code, nobody is lost, and nobody has a second device."""
    rollout, people = station.rollout, station.users
    station.open()
    MOMENTS[moment](station)
    end(station, number)
    for window in (station.admin, station.colleague):
        window.see("!document.querySelector('svg')")
        window.see("!document.querySelector('#connection').hidden || document.querySelector('#end').textContent")
    rollout.lab.faults.clear()
    if station.slow:
        station.slow.wait_for_answer()
    left = [user for user in people if not station.has_device(user)]
    station.open()
    for user in left:
        station.enroll(user)
    assert station.command.end()[0] == 0, station.command.err
    assert rollout.desk.run("orphans", "clean", "--yes").code == 0
    rollout.works(people)
    serials = [each for each in rollout.lab.serials() if each.rpartition("/")[2] in people]
    assert len(serials) == len(people)
    record_property(COUNTED, ("kills and interrupts of a station with a page", 1))
