"""`enroll --with fido2` at the lab: the output, the page that opens the console, and the session that it signs in."""

import json
import os
import re
import socket
import stat
import subprocess
import time
import urllib.request
import webbrowser
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import boto3
import pytest
from botocore.exceptions import ClientError

from mfa_kit.adapters.aws import signin
from mfa_kit.adapters.aws.clients import Connection
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.files.redirect_page import write_page
from mfa_kit.cli.messages import StderrProgress
from mfa_kit.core.errors import AwsFault, UsageFault
from mfa_kit.core.models import DeviceSpec
from mfa_kit.core.otp import Secret
from mfa_kit.enrollment import fido_console
from mfa_kit.lab.aws.account import ADMINISTRATOR
from mfa_kit.lab.aws.server import Lab
from mfa_kit.wiring import browser as kit
from mfa_kit.wiring.methods.fido2 import FIDO2
from tests.conftest import MfaKit, Result, judge

TRUST = '{"Statement": {"Effect": "Allow", "Principal": {"AWS": "000000000000"}, "Action": "sts:AssumeRole"}}'
ENROLL = ("--with", "fido2", "--skip-key-check")
# A browser may exit without a message, so it is started up to three times.
STARTS = 3


class Browser:
    """Stands in for a desktop's browser. It opens the page, and the user registers a key."""

    def __init__(self, lab: Lab, user: str) -> None:
        self.lab, self.user = lab, user
        self.page: Path | None = None
        self.mode = 0
        self.text = ""
        self.folder_mode = 0

    def open(self, uri: str) -> bool:
        self.page = Path(unquote(urlsplit(uri).path))
        self.mode = stat.S_IMODE(self.page.stat().st_mode)
        self.folder_mode = stat.S_IMODE(self.page.parent.stat().st_mode)
        self.text = self.page.read_text("utf-8")
        self.see()
        self.lab.register_fido(self.user, self.user)
        return True

    def see(self) -> None:
        """Follow the page's redirect, as a browser would."""
        urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(self.address).close()

    @property
    def address(self) -> str:
        found = re.search(r'content="0; url=([^"]+)"', self.text)
        assert found
        return found[1].replace("&amp;", "&")


@pytest.fixture
def browser(at_lab: Lab, user: str, monkeypatch: pytest.MonkeyPatch) -> Browser:
    browser = Browser(at_lab, user)
    monkeypatch.setattr(webbrowser, "open", browser.open)
    return browser


def test_the_page_signs_in_for_one_users_mfa_and_is_gone_afterwards(
    mfa_kit: MfaKit, browser: Browser, user: str, at_lab: Lab
) -> None:
    """The page's file has mode 0600. Its credentials come from GetFederationToken, with a policy for that user."""
    done = mfa_kit.run("enroll", user, *ENROLL, "--open", "--output", "json")
    assert done.code == 0, done.err
    assert browser.page
    assert (browser.mode, browser.folder_mode, browser.page.exists()) == (0o600, 0o700, False)
    caller, destination = at_lab.application.signin.signed_in[-1]
    assert (caller.kind, caller.arn.rpartition("/")[2]) == ("federated", f"mfa-kit-{user}")
    assert f"/users/details/{user}?" in destination
    policy = json.loads(caller.policy or "")
    assert policy["Statement"][0]["Resource"] == [
        f"arn:aws:iam::000000000000:user/{user}",
        f"arn:aws:iam::000000000000:user/*/{user}",
    ]
    [(session)] = [each for each in at_lab.account.sessions.values() if each.caller is caller]
    assert 0 < session.expires - at_lab.account.now() <= 900
    token = parse_qs(urlsplit(browser.address).query)["SigninToken"][0]
    assert token not in done.out + done.err
    assert session.token not in done.out + done.err + browser.text


@pytest.mark.usefixtures("browser")
def test_the_call_for_the_session_is_in_the_ledger(mfa_kit: MfaKit, user: str) -> None:
    """Its request ID is the one in CloudTrail."""
    mfa_kit.run("enroll", user, *ENROLL, "--open")
    rows = json.loads(mfa_kit.run("ledger", "show", "--user", user, "--output", "json").out)["rows"]
    [row] = [row for row in rows if row["what"] == "GetFederationToken"]
    assert row["answer"] == "OK"
    assert row["reference"]


@pytest.mark.usefixtures("browser")
def test_a_role_signs_in_in_place_of_the_access_keys(mfa_kit: MfaKit, user: str, at_lab: Lab) -> None:
    """AssumeRole is called with the same policy, for fifteen minutes."""
    iam = boto3.Session().client("iam")
    arn = iam.create_role(RoleName=f"desk-{user}", AssumeRolePolicyDocument=TRUST)["Role"]["Arn"]
    done = mfa_kit.run("enroll", user, *ENROLL, "--open", "--open-role", arn)
    assert done.code == 0, done.err
    caller, _ = at_lab.application.signin.signed_in[-1]
    assert (caller.kind, f"assumed-role/desk-{user}/mfa-kit-{user}" in caller.arn) == ("role", True)
    [session] = [each for each in at_lab.account.sessions.values() if each.caller is caller]
    assert session.expires - at_lab.account.now() <= 900


def with_session(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use credentials of GetSessionToken with MFA, because IAM accepts no others of GetSessionToken."""
    made = boto3.Session().client("sts").get_session_token()["Credentials"]
    session = lab.account.sessions[made["AccessKeyId"]]
    mfa = replace(session.caller, mfa=True, mfa_at=lab.account.now())
    lab.account.sessions[made["AccessKeyId"]] = replace(session, caller=mfa)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", made["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", made["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", made["SessionToken"])


def later(lab: Lab, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the key during the first wait, because this test has no browser."""
    monkeypatch.setattr(fido_console, "PACE", 0.05)
    told = kit.open_console_page  # called when the instructions have been printed

    def page(spec: DeviceSpec, **how: Any) -> object:
        lab.register_fido(user, user)
        return told(spec, **how)

    monkeypatch.setattr(kit, "open_console_page", page)


def test_session_token_credentials_are_not_sent_to_sign_in(
    mfa_kit: MfaKit, user: str, at_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS would refuse them. The address is printed, and mfa-kit continues to wait."""
    with_session(at_lab, monkeypatch)
    later(at_lab, user, monkeypatch)
    before, calls = len(at_lab.application.signin.signed_in), len(at_lab.calls)
    done = mfa_kit.run("enroll", user, *ENROLL, "--open")
    assert done.code == 0, done.err
    assert "session credentials cannot open the console without a role; name a role" in done.err
    assert len(at_lab.application.signin.signed_in) == before
    assert "GetFederationToken" not in {call.operation for call in at_lab.calls[calls:]}


def test_without_a_browser_the_address_is_printed(
    mfa_kit: MfaKit, user: str, at_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An SSH session has no browser. The file with the page is removed."""
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    later(at_lab, user, monkeypatch)
    done = mfa_kit.run("enroll", user, *ENROLL, "--open")
    assert done.code == 0, done.err
    assert "no browser could be opened" in done.err
    assert list(mfa_kit.home.glob("*.html")) == []


def test_the_next_process_removes_the_page_of_a_killed_one(tmp_path: Path) -> None:
    """The page of a living process stays, and so does any other file."""
    left, good, mine = (tmp_path / name for name in ("console-1.html", "console-2.html", "mine.html"))
    for path in (left, good, mine):
        path.write_text("")
    for path in (left, mine):
        os.utime(path, (time.time() - 16 * 60,) * 2)
    with write_page(tmp_path, Secret("https://signin.invalid/"), page=str) as page:
        assert sorted(tmp_path.iterdir()) == sorted([good, mine, page])
    assert sorted(tmp_path.iterdir()) == [good, mine]


@pytest.mark.parametrize(
    ("endpoint", "why"),
    [
        ("http://signin.example.org/federation", "is not encrypted"),
        ("http://127.0.0.1:{closed}/federation", "returned no sign-in token: URLError"),
    ],
)
def test_an_unreachable_endpoint_is_reported_without_secrets(endpoint: str, why: str) -> None:
    """The error contains no part of the session's credentials."""
    with socket.socket() as closed:  # the port is bound, but nothing listens
        closed.bind(("127.0.0.1", 0))
        endpoint = endpoint.format(closed=closed.getsockname()[1])
        with pytest.raises((AwsFault, UsageFault), match=why) as told:
            signin.console_address(endpoint, Secret('{"sessionId": "canary-5839"}'), destination="x")
    assert "canary" not in str(told.value) + told.value.hint


@pytest.mark.usefixtures("at_lab")
def test_the_session_may_give_one_user_a_device_and_nothing_else(users: Callable[[], str]) -> None:
    """The policy limits even a role that has all permissions."""
    one, other = users(), users()
    iam = boto3.Session().client("iam")
    role = iam.create_role(RoleName=f"all-{one}", AssumeRolePolicyDocument=TRUST)["Role"]
    iam.put_role_policy(RoleName=role["RoleName"], PolicyName="all", PolicyDocument=ADMINISTRATOR)
    policy = fido_console.session_policy(account="000000000000", partition="aws", user=one)
    made = json.loads(Iam(observe=lambda _: None).console_session(user=one, policy=policy, role=role["Arn"]).reveal())
    signed = boto3.client(
        "iam",
        aws_access_key_id=made["sessionId"],
        aws_secret_access_key=made["sessionKey"],
        aws_session_token=made["sessionToken"],
    )
    assert signed.list_mfa_devices(UserName=one)["MFADevices"] == []
    with pytest.raises(ClientError, match="AccessDenied"):
        signed.list_mfa_devices(UserName=other)
    with pytest.raises(ClientError, match="AccessDenied"):
        signed.delete_user(UserName=one)
    with pytest.raises(ClientError, match="AccessDenied"):
        signed.list_users()


@pytest.mark.parametrize(
    ("partition", "signs_in", "is_at"),
    [
        ("aws", "signin.aws.amazon.com", "console.aws.amazon.com"),
        ("aws-us-gov", "signin.amazonaws-us-gov.com", "console.amazonaws-us-gov.com"),
        ("aws-cn", "signin.amazonaws.cn", "console.amazonaws.cn"),
    ],
)
def test_the_hosts_of_a_partition(partition: str, signs_in: str, is_at: str) -> None:
    """The host names are those in AWS's guides."""
    assert fido_console.HOSTS[partition] == (signs_in, is_at)


def test_in_another_partition_nothing_is_opened_and_no_session_is_made(
    user: str, at_lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    """The instructions name no address, because other partitions have other ways to sign in."""
    iam = Iam(observe=lambda _: None, connection=Connection(endpoint_url="https://iam.example.org"))
    spec = DeviceSpec(user=user, name=user, account="000000000000", partition="aws-iso", method=FIDO2)
    before = len(at_lab.calls)
    with kit.open_console_page(spec, iam_reader=iam, progress=StderrProgress(), signed_in=True, role=None):
        pass
    said = capsys.readouterr().err
    assert f"1  open IAM, Users, {user} in the console of aws-iso," in said
    assert (
        "the page is not opened: the sign-in address of partition aws-iso is not known; sign in to the console yourself"
        in said
    )
    assert len(at_lab.calls) == before


def test_help_begins_with_the_introduction_of_the_method(mfa_kit: MfaKit) -> None:
    """It says that IAM has no API to register a security key."""
    lines = mfa_kit.run("enroll", "--with", "fido2", "--help").out.splitlines()
    assert lines[2].strip().startswith("IAM has no API to register a security key")


def test_a_dry_run_says_what_would_be_done(mfa_kit: MfaKit, user: str) -> None:
    """The key need not be connected, and the command does not wait."""
    done = mfa_kit.run("enroll", user, "--with", "fido2", "--dry-run", "--output", "json")
    row = json.loads(done.out)
    assert (row["outcome"], row["kind"], len(row["steps"])) == ("planned", "fido2", 3)
    assert row["device"].endswith(f":u2f/user/{user}/{user}")


def test_root_needs_the_option_and_a_security_key(
    mfa_kit: MfaKit, user: str, at_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--root` replaces USER. Another method is a usage error."""
    monkeypatch.setattr(at_lab.account.root, "mfa", False)
    timely = mfa_kit.run("enroll", "--root", "--with", "fido2", "--timeout", "1")
    assert (timely.code, "root's key is not registered" in timely.err) == (4, True)
    monkeypatch.setattr(at_lab.account.root, "mfa", True)
    assert "already has MFA" in mfa_kit.run("enroll", "--root", "--with", "fido2").out
    assert mfa_kit.run("enroll", "--root", "--with", "virtual").code == 2
    assert mfa_kit.run("enroll", user, "--root", "--with", "fido2").code == 2


def test_the_key_of_root_is_reported(mfa_kit: MfaKit, monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator sees only in the account summary that root has MFA."""
    looks = iter((False, True))
    monkeypatch.setattr(fido_console, "PACE", 0.05)
    monkeypatch.setattr(Iam, "root_has_mfa", lambda _: next(looks))
    row = json.loads(mfa_kit.run("enroll", "--root", "--with", "fido2", "--output", "json").out)
    assert (row["outcome"], row["user"], row["device"]) == ("enrolled", "root", None)


def test_status_shows_the_certifications_of_a_key(mfa_kit: MfaKit, user: str, at_lab: Lab) -> None:
    """One call is made for each security key, and none for other devices."""
    at_lab.register_fido(user, "desk-key")
    before = len(at_lab.calls)
    [row] = json.loads(mfa_kit.run("status", user, "--output", "json").out)["rows"]
    assert (row["kind"], row["certifications"]) == ("fido2", ["FIDO L1"])
    assert [call.operation for call in at_lab.calls[before:]].count("GetMFADevice") == 1


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_a_real_browser_reaches_the_console_signed_in(
    mfa_kit: MfaKit, browser: Browser, users: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's Chromium follows the page to the redirect. Its command line contains the file name, but no token."""
    chromium = judge("chromium")
    seen: list[subprocess.CompletedProcess[str]] = []

    def see() -> None:
        assert browser.page
        command = [
            chromium,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={tmp_path / f'profile{len(seen)}'}", "--virtual-time-budget=8000", "--dump-dom"),
            browser.page.as_uri(),
        ]
        assert "SigninToken" not in " ".join(command)
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"}
        seen.append(subprocess.run(command, capture_output=True, text=True, timeout=120, env=env, check=False))

    def is_at_console() -> bool:
        """Return whether the console received the cookie of this user's sign-in."""
        at_console = browser.lab.application.signin.seen_at_console
        return any(caller.arn.endswith(f"federated-user/mfa-kit-{browser.user}") for caller in at_console)

    monkeypatch.setattr(browser, "see", see)
    # On a busy machine, Chromium's processes sometimes fail without a message. The token works only once and may be
    # used up, so each start uses another user.
    while len(seen) < STARTS and not is_at_console():
        browser.user = users()
        done: Result = mfa_kit.run("enroll", browser.user, *ENROLL, "--open")
        assert done.code == 0, done.err
    assert is_at_console(), seen[-1]


def test_the_login_address_is_the_one_in_the_guide(at_lab: Lab, user: str) -> None:
    """It has Action, Issuer, Destination and SigninToken, and no SessionDuration."""
    iam = Iam(observe=lambda _: None)
    session = iam.console_session(user=user, policy={"Statement": []}, role=None)
    found = signin.console_address(
        f"{at_lab.url}/federation", session, destination="https://console.aws.amazon.com/iam/home#/x"
    )
    asked = parse_qs(urlsplit(found.reveal()).query)
    assert sorted(asked) == ["Action", "Destination", "Issuer", "SigninToken"]
    assert urlencode({"Destination": "https://console.aws.amazon.com/iam/home#/x"}) in found.reveal()
