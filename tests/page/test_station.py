"""`rollout station --page`: a queue of people at the page, with phones and with simulated keys."""

import base64
import csv
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mfa_kit.lab.aws.mfa_devices import Display
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.oathcard import CALCULATE, YkoathCard
from mfa_kit.lab.devices.securitykey import KeyBehavior, lab_key
from tests import pcsc
from tests.chromium import Browser
from tests.conftest import ACCOUNT, ROOT, MfaKit
from tests.fido.conftest import LAB_AAGUID, NOW, SITE, Port, publish
from tests.page.conftest import (
    LASTS,
    LIMIT,
    Command,
    Start,
    nothing_is_half_made,
    open_admin,
    open_colleague,
    seed,
    shown_codes,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LIMIT)]
# Seconds until a key is touched.
TOUCH = LASTS / 2
SAID, END, CALLS, FORM, LOG = (
    f"document.querySelector('#{part}').textContent" for part in ("said", "end", "calls", "form", "log")
)


@pytest.fixture(scope="module", autouse=True)
def _readers_end() -> Iterator[None]:
    with pcsc.stopped():
        yield


@pytest.fixture
def people(users: Callable[[], str]) -> Callable[[int], list[str]]:
    return lambda number: sorted(users() for _ in range(number))


def planned(mfa_kit: MfaKit, folder: Path, recipient: str, *rows: str) -> Path:
    """Write a plan for these rows: a user and a kind."""
    roster, plan = folder / "roster.csv", folder / "plan.json"
    roster.write_text("\n".join(["user,kind,recipient", *(f"{row},{recipient}" for row in rows)]) + "\n")
    done = mfa_kit.run("rollout", "plan", roster, "-o", plan)
    assert done.code == 0, done.err
    return plan


def outcomes(plan: Path) -> dict[str, str]:
    with (plan.parent / "plan-results" / "results.csv").open() as file:
        return {row["user"]: row["outcome"] for row in csv.DictReader(file)}


def press(admin: Browser, label: str) -> None:
    """Press the admin's button with this label, as soon as it is there."""
    found = f"[...document.querySelectorAll('button')].find((b) => b.textContent === {label!r} && !b.disabled)"
    admin.click("#" + str(admin.see(f"({found}).id")))


def call(admin: Browser, user: str) -> None:
    """Wait until it is this user's turn."""
    admin.see(f"document.querySelector('#title').textContent === {user!r} && document.querySelector('#form button')")


def type_codes(colleague: Browser, lab: Lab, user: str) -> None:
    """Type the two codes of a user's phone."""
    colleague.see("document.querySelector('#qr svg') && document.querySelector('#code0[data-code]')")
    first, second = shown_codes(lab, user)
    colleague.paste(first)
    colleague.see("document.activeElement.id === 'code1'")
    colleague.type(second)


def complain(colleague: Browser, text: str, *, says: str) -> None:
    """Send a wrong code when the field has the focus. Wait for the sentence about it, and until it has the focus again.

    The field comes later than the QR code.
    """
    field = "document.activeElement"
    number = colleague.see(f"{field}.dataset.code !== undefined && {field}.form.dataset.number")
    colleague.paste(text)
    if len("".join(text.split())) != 6 or not text.strip().isdigit():
        colleague.press("Enter", code=13, text="\r")
    colleague.see(f"{SAID}.includes({says!r})")
    colleague.see(f"document.querySelector('form').dataset.number !== {number!r}")
    colleague.see("document.activeElement.dataset.code !== undefined")


def test_five_people_enroll_at_a_station(
    start: Start,
    mfa_kit: MfaKit,
    browser: Browser,
    lab: Lab,
    people: Callable[[int], list[str]],
    recipient: str,
    tmp_path: Path,
) -> None:
    """They make every mistake, one is skipped and called again, and one attempt is stopped. All have a device then."""
    users = people(5)
    plan = planned(mfa_kit, tmp_path, recipient, *(f"{user},virtual" for user in users))
    command = start("rollout", "station", plan, "--with", "virtual", "--page", "--no-browser", "-r", recipient)
    admin = open_admin(browser, command)
    colleague = open_colleague(admin)
    call(admin, users[0])
    assert admin.ask(f"{FORM}.includes('Press Start when') && document.querySelector('#stop').disabled")
    colleague.see(f"{CALLS}.includes('authenticator app')")
    assert not admin.ask(f"{FORM}.includes('Back')")
    press(admin, "Start")
    colleague.see("document.querySelector('#code0[data-code]')")
    assert "Scan the QR code with your authenticator app" in colleague.ask(CALLS)
    complain(colleague, "12345", says="That is not 6 digits")
    complain(colleague, " ", says="Nothing was typed")
    complain(colleague, "cccccctbgbkvjjhhcchhetfhhkgtbltv", says="typed by a YubiKey")
    first, second = shown_codes(lab, users[0])
    wrong = next(each for each in ("123456", "234567", "345678") if each not in {first, second})
    complain(colleague, wrong, says="does not match this device")
    colleague.paste(first)
    colleague.see("document.activeElement.id === 'code1'")
    assert colleague.ask(SAID) == ""
    complain(colleague, first, says="same code again")
    colleague.type(second)
    colleague.see(f"{CALLS}.includes('{users[0]} is done.')")
    call(admin, users[1])
    assert colleague.ask(SAID) == ""
    press(admin, "Skip")
    call(admin, users[2])
    press(admin, "Start")
    colleague.see("document.querySelector('#qr svg')")
    complain(colleague, "12345", says="That is not 6 digits")
    press(admin, "Stop")
    admin.see("document.querySelector('#log').textContent.includes('interrupted')")
    call(admin, users[2])
    colleague.see(f"{SAID} === 'The enrollment was stopped; please ask the admin.'")
    assert not colleague.ask("!!document.querySelector('svg')")
    for user in users[2:]:
        call(admin, user)
        press(admin, "Start")
        type_codes(colleague, lab, user)
    press(admin, "Back")
    call(admin, users[1])
    press(admin, "Start")
    type_codes(colleague, lab, users[1])
    colleague.see(f"{END}.includes('Thank you')")
    code, _ = command.end()
    assert code == 0, command.err
    assert outcomes(plan) == dict.fromkeys(users, "enrolled")
    assert all(seed(lab, user) for user in users)
    nothing_is_half_made(mfa_kit)


def test_an_admin_who_closed_their_window_gets_a_new_address(
    start: Start,
    mfa_kit: MfaKit,
    browser: Browser,
    lab: Lab,
    people: Callable[[int], list[str]],
    recipient: str,
    tmp_path: Path,
) -> None:
    """The colleague's window is still open, but only the admin can start, skip and quit."""
    (user,) = people(1)
    plan = planned(mfa_kit, tmp_path, recipient, f"{user},virtual")
    command = start("rollout", "station", plan, "--with", "virtual", "--page", "--no-browser", "-r", recipient)
    admin = open_admin(browser.new_tab(), command)
    colleague = open_colleague(admin)
    call(admin, user)
    admin.close()
    admin = open_admin(browser.new_tab(), command, 1)
    assert "the admin's window is closed" in command.err
    press(admin, "Start")
    type_codes(colleague, lab, user)
    colleague.see(f"{END}.includes('Thank you')")
    assert command.end()[0] == 0, command.err
    assert outcomes(plan) == {user: "enrolled"}


def test_a_token_is_enrolled_at_the_page(
    start: Start,
    mfa_kit: MfaKit,
    browser: Browser,
    lab: Lab,
    people: Callable[[int], list[str]],
    tmp_path: Path,
) -> None:
    """The colleague reads which token to take and types two codes of its display. There is no QR code and no backup."""
    (user,), serial = people(1), "GAHT77700001"
    display = Display(base64.b32encode(os.urandom(20)).decode())
    lab.add_token(serial, display.secret)
    roster, plan = tmp_path / "roster.csv", tmp_path / "plan.json"
    roster.write_text(f"user,kind,serial\n{user},hardware-totp,{serial}\n")
    assert mfa_kit.run("rollout", "plan", roster, "-o", plan).code == 0
    command = start("rollout", "station", plan, "--page", "--no-browser")
    admin = open_admin(browser, command)
    colleague = open_colleague(admin)
    call(admin, user)
    colleague.see(f"{CALLS}.includes('Take your token with the number {serial}.')")
    press(admin, "Start")
    colleague.see(f"{SAID}.includes('Press the button of token {serial}')")
    colleague.see("document.activeElement.id === 'code0'")
    complain(colleague, "12345", says="That is not 6 digits")
    first, second = (display.shows(lab.account.now() - wait) for wait in (30, 0))
    colleague.paste(first)
    colleague.see("document.activeElement.id === 'code1'")
    assert not any(window.ask("!!document.querySelector('svg')") for window in (admin, colleague))
    complain(colleague, first, says="same code again")
    colleague.type(second)
    colleague.see(f"{END}.includes('Thank you')")
    code, _ = command.end()
    assert code == 0, command.err
    assert lab.assigned(serial) == user
    assert outcomes(plan) == {user: "enrolled"}
    assert not list((mfa_kit.home / "backups").rglob("*.age"))
    nothing_is_half_made(mfa_kit)


def start_with_keys(start: Start, plan: Path, recipient: str) -> Command:
    env = {pcsc.SOCKET: os.environ[pcsc.SOCKET]}
    return start("rollout", "station", plan, "--page", "--no-browser", "-r", recipient, env=env)


def test_keys_arrive_and_one_is_pulled_out(
    start: Start,
    mfa_kit: MfaKit,
    browser: Browser,
    lab: Lab,
    people: Callable[[int], list[str]],
    recipient: str,
    tmp_path: Path,
) -> None:
    """The colleague is told to insert, to touch and not to remove the key. A key that is back continues its device."""
    users, cards = people(2), [YkoathCard(serial=serial, touch_delay=TOUCH) for serial in (1001, 1002)]
    plan = planned(mfa_kit, tmp_path, recipient, *(f"{user},oath" for user in users))
    pcsc.plug()
    command = start_with_keys(start, plan, recipient)
    admin = open_admin(browser, command)
    colleague = open_colleague(admin)
    call(admin, users[0])
    colleague.see(f"{CALLS}.includes('Insert your key.')")
    cards[0].quirks.pulled_by = CALCULATE
    pcsc.plug(cards[0])
    colleague.see(f"{SAID}.includes('was removed')")
    admin.see("document.querySelector('#log .wrong').textContent.includes('was removed')")
    call(admin, users[0])
    pcsc.plug()
    cards[0].quirks.pulled_by = 0
    pcsc.plug(cards[0])
    colleague.see(f"{CALLS}.includes('Touch it now.')")
    admin.see("document.querySelector('#log').textContent.includes('using YubiKey')")
    colleague.see(f"{CALLS}.includes('{users[0]} is done.')")
    call(admin, users[1])
    pcsc.plug()
    admin.see("document.querySelector('#keys').textContent === ''")
    pcsc.plug(cards[0])
    admin.see("document.querySelector('#keys').textContent.includes('1001')")
    colleague.see(f"{SAID}.includes('already in use')")
    pcsc.plug()
    admin.see("document.querySelector('#keys').textContent === ''")
    pcsc.plug(cards[1])
    colleague.see(f"{END}.includes('Thank you')")
    code, _ = command.end()
    assert code == 0, command.err
    assert outcomes(plan) == dict.fromkeys(users, "enrolled")
    nothing_is_half_made(mfa_kit)
    for user, card in zip(users, cards, strict=True):
        assert [held.key for held in card.credentials.values()] == [lab.seed(f"arn:aws:iam::{ACCOUNT}:mfa/{user}")]


def register(admin: Browser, lab: Lab, user: str) -> None:
    """Do in the console what the admin's view says, once the key of this user has passed."""
    since = f"{LOG}.slice({LOG}.indexOf({f'using mfa-kit lab key for {user}'!r}))"
    lab.register_fido(user, str(admin.see(f"/name it (\\S+),/.exec({since})?.[1]")))


def test_security_keys_arrive_and_are_registered(
    start: Start, mfa_kit: MfaKit, browser: Browser, lab: Lab, people: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """The colleague is told to insert and to touch the key. The key of another user is refused in words."""
    maker, users = AttestationCa(now=NOW), people(2)
    published = publish(tmp_path, maker, [maker.entry("mfa-kit lab key", aaguid=LAB_AAGUID)])
    one, two = (lab_key(maker, behavior=KeyBehavior(touch=TOUCH)) for _ in users)
    roster, plan = tmp_path / "roster.csv", tmp_path / "plan.json"
    roster.write_text("\n".join(["user,kind", *(f"{user},fido2" for user in users)]) + "\n")
    assert mfa_kit.run("rollout", "plan", roster, "-o", plan).code == 0
    with tempfile.TemporaryDirectory(prefix="port-") as folder:
        place = Path(folder) / "0"
        env = {"TEST_HID_PORTS": f"/dev/hidraw0={place}", "PYTHONPATH": f"{SITE}:{ROOT}"}
        command = start("rollout", "station", plan, "--page", "--no-browser", *published.options, env=env)
        admin = open_admin(browser, command)
        colleague = open_colleague(admin)
        call(admin, users[0])
        colleague.see(f"{CALLS}.includes('Insert your key.')")
        with closing(Port(place, one)):
            colleague.see(f"{CALLS}.includes('Touch it now.')")
            register(admin, lab, users[0])
            call(admin, users[1])
            colleague.see(f"{CALLS}.includes('{users[0]} is done.')")
        admin.see("document.querySelector('#keys').textContent === ''")
        with closing(Port(place, one)):
            colleague.see(f"{SAID}.includes('already')")
            call(admin, users[1])
        admin.see("document.querySelector('#keys').textContent === ''")
        with closing(Port(place, two)):
            register(admin, lab, users[1])
            colleague.see(f"{END}.includes('Thank you')")
    assert command.end()[0] == 0, command.err
    assert outcomes(plan) == dict.fromkeys(users, "enrolled")


def test_stop_ends_the_wait_for_the_console(
    start: Start, mfa_kit: MfaKit, browser: Browser, lab: Lab, people: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """It acts as Ctrl-C at a terminal: nothing is registered, the queue continues, and the same key can be used."""
    maker, (user,) = AttestationCa(now=NOW), people(1)
    published = publish(tmp_path, maker, [maker.entry("mfa-kit lab key", aaguid=LAB_AAGUID)])
    roster, plan = tmp_path / "roster.csv", tmp_path / "plan.json"
    roster.write_text(f"user,kind\n{user},fido2\n")
    assert mfa_kit.run("rollout", "plan", roster, "-o", plan).code == 0
    with tempfile.TemporaryDirectory(prefix="port-") as folder:
        place = Path(folder) / "0"
        env = {"TEST_HID_PORTS": f"/dev/hidraw0={place}", "PYTHONPATH": f"{SITE}:{ROOT}"}
        command = start("rollout", "station", plan, "--page", "--no-browser", *published.options, env=env)
        admin = open_admin(browser, command)
        colleague = open_colleague(admin)
        call(admin, user)
        with closing(Port(place, lab_key(maker))):
            admin.see(f"{LOG}.includes('press Stop to end the wait')")
            press(admin, "Stop")
            admin.see(f"{LOG}.includes('interrupted; no key was registered for {user}')")
            colleague.see(f"{SAID}.includes('was stopped')")
            call(admin, user)
            assert admin.ask("document.querySelector('#stop').disabled")
            press(admin, "Start")
            admin.see(f"{LOG}.split('press Stop to end the wait').length === 3")
            register(admin, lab, user)
            colleague.see(f"{END}.includes('Thank you')")
    assert command.end()[0] == 0, command.err
    assert outcomes(plan) == {user: "enrolled"}
    nothing_is_half_made(mfa_kit)
