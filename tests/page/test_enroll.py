"""`enroll --page` end to end: the command, its page in Chromium, and the lab as AWS."""

import socket
import stat
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from mfa_kit.lab.aws.server import Lab
from tests.chromium import Browser
from tests.conftest import MfaKit
from tests.page.conftest import LIMIT, Command, Start, open_admin, open_colleague, seed, shown_codes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LIMIT)]


def test_a_user_enrolls_on_the_page(at_page: Command, browser: Browser, lab: Lab, user: str) -> None:
    """The colleague scans the code and types two codes, pasted with spaces, and both views say that it is done."""
    admin = open_admin(browser, at_page)
    colleague = open_colleague(admin)
    colleague.see("document.querySelector('#qr svg')")
    colleague.see(f"document.querySelector('#title').textContent === {user!r}")
    assert not admin.ask("document.querySelector('svg')")
    for view in (admin, colleague):
        assert "AWS account 000000000000 (LAB" in view.ask("document.querySelector('#owner').textContent")
    first, second = shown_codes(lab, user)
    colleague.see("document.activeElement.id === 'code0'")
    colleague.paste(f"{first[:3]} {first[3:]}")
    colleague.see("document.activeElement.id === 'code1'")
    colleague.type(second)
    colleague.see("document.querySelector('#end').textContent.startsWith('Done.')")
    admin.see("document.querySelector('#end').textContent.includes('is enrolled')")
    code, out = at_page.end()
    assert code == 0, at_page.err
    assert f"mfa/{user}" in out
    assert seed(lab, user)


REFUSED = {
    "--codes generated": ("--with", "virtual", "--codes", "generated"),
    "another kind": ("--with", "hardware-totp", "--serial", "GAHT12345678"),
    "--dry-run": ("--with", "virtual", "--dry-run"),
    "--no-input": ("--with", "virtual", "--no-input"),
    "--resume": ("--resume", "-i", "identity.txt"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_command_without_questions_has_no_page(mfa_kit: MfaKit, at_lab: Lab, user: str, why: str) -> None:
    """It is a usage error, and no request is made."""
    before = len(at_lab.calls)
    done = mfa_kit.run("enroll", user, *REFUSED[why], "--page")
    assert (done.code, "--page" in done.err) == (2, True), done.err
    assert len(at_lab.calls) == before


def test_a_dry_run_of_a_station_has_no_page(mfa_kit: MfaKit, user: str, recipient: str, tmp_path: Path) -> None:
    """Its result is a table, so there is nothing to show."""
    roster, plan = tmp_path / "roster.csv", tmp_path / "plan.json"
    roster.write_text(f"user,kind,recipient\n{user},virtual,{recipient}\n")
    assert mfa_kit.run("rollout", "plan", roster, "-o", plan).code == 0
    done = mfa_kit.run("rollout", "station", plan, "--with", "virtual", "--page", "--dry-run")
    assert (done.code, "omit --page or --dry-run" in done.err) == (2, True), done.err


def test_the_browser_opens_a_private_file(start: Start, user: str, tmp_path: Path) -> None:
    """The address is not an argument of the browser. The file leads to it, and is removed at the end."""
    seen, browser = tmp_path / "seen", tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {seen}.new; mv {seen}.new {seen}\n')
    browser.chmod(0o755)
    command = start("enroll", user, "--with", "virtual", "--page", env={"BROWSER": str(browser)})
    address = command.address()
    while not seen.exists():
        time.sleep(0.02)
    (uri,) = seen.read_text().split()
    file = Path(unquote(urlsplit(uri).path))
    assert urlsplit(uri).scheme == "file"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert f'content="0; url={address}"' in file.read_text()
    command.see("^account")  # so that Ctrl-C does not come while modules are imported
    command.interrupt()
    assert command.end()[0] == 130, command.err
    assert not file.exists()


def test_a_second_use_of_an_address_is_reported(at_page: Command) -> None:
    """If another user of the computer opened it first, the person at the terminal sees that."""
    with urllib.request.urlopen(at_page.address()) as page:
        assert page.status == 200
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(at_page.address())
    assert refused.value.code == 403
    refused.value.close()
    at_page.see("opened a second time; if you did not do that, press Ctrl-C")


def test_the_server_ends_with_the_command(at_page: Command) -> None:
    """Nothing listens on its port then."""
    at_page.address()
    with socket.create_connection(("127.0.0.1", at_page.port), timeout=120):
        pass
    at_page.see("^account")
    at_page.interrupt()
    assert at_page.end()[0] == 130
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", at_page.port), timeout=120)


def test_no_secret_is_printed(at_page: Command, browser: Browser, lab: Lab, user: str) -> None:
    """Neither the seed nor a code nor a key of a window is in the output of a whole enrollment."""
    admin = open_admin(browser, at_page)
    key, proof = admin.ask("JSON.parse(sessionStorage.admin)")
    colleague = open_colleague(admin)
    colleague.see("document.activeElement.id === 'code0'")
    codes = shown_codes(lab, user)
    colleague.paste(codes[0])
    colleague.see("document.activeElement.id === 'code1'")
    colleague.paste(codes[1])
    code, out = at_page.end()
    assert code == 0
    for secret in (seed(lab, user), *codes, key, proof):
        assert secret not in at_page.err + out
