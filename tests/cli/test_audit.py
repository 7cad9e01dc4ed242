"""The audit command lines: output forms, exit codes, snapshots, and names from IAM that attack a terminal or a page."""

import base64
import csv
import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.account.evaluator import Decision
from mfa_kit.adapters.aws.account import AccountReader
from mfa_kit.adapters.ledger.backup_records import BackupRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.lab.aws.server import Lab
from tests.audit.conftest import changed, sound
from tests.audit.test_rules import FIDO, group, passwords, user
from tests.conftest import MfaKit, Result, judge
from tests.lab.client import Aws

Kit = Callable[..., Result]
HOSTILE = "</pre><script>alert(1)</script>\x1b[31m\u202e=1+1\ntouch it"
SIGNED_IN = {"password": True, "password_last_used": "2026-01-01T00:00:00+00:00"}


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    """Run a command line at a separate lab, created from a description."""
    monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / "desk"))

    def run(*args: str | Path, description: dict[str, Any] | None = None, denied: tuple[str, ...] = ()) -> Result:
        with Lab(description=description or sound()) as lab:
            for name, value in lab.env.items():
                monkeypatch.setenv(name, value)
            for operation in denied:
                lab.faults.add(operation, "denied", at="every")
            return MfaKit(tmp_path / "desk").run(*args)

    return run


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MfaKit:
    """Run a command line without AWS."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / "desk"))
    return MfaKit(tmp_path / "desk")


def test_a_sound_account_is_told_so(kit: Kit) -> None:
    """The exit code is 0. There is a line per rule, and the age of the report."""
    done = kit("audit")
    assert done.code == 0, done.out
    assert len(done.out.splitlines()) == 27
    assert re.search(r"27 rules: 22 pass, 5 not applicable; credential report 0 h \d min old", done.err)


def test_findings_make_the_exit_code_one(kit: Kit) -> None:
    """Findings at or above --fail-on count."""
    weak = changed(passwords(require_symbols=True))
    assert kit("audit", description=weak).code == 1
    assert kit("audit", "--fail-on", "medium", description=weak).code == 1
    assert kit("audit", "--fail-on", "high", description=weak).code == 0
    assert kit("audit", "--rule", "root", description=weak).code == 0


def test_a_hole_makes_the_exit_code_one(kit: Kit) -> None:
    """Standard error names the missing part."""
    done = kit("audit", "--rule", "passwords.policy", denied=("GetAccountPasswordPolicy",))
    assert done.code == 1
    assert done.out.startswith("UNKNOWN")
    assert "not read: password policy: AWS answers AccessDenied" in done.err


def test_json_has_all_of_it(kit: Kit) -> None:
    """Rules, findings with their remedies, unknown results, missing parts, and times."""
    done = kit(
        "audit", "--output", "json", description=changed(passwords(require_symbols=True)), denied=("ListMFADevices",)
    )
    found = json.loads(done.out)
    assert (found["schema"], found["version"], found["account"]) == ("mfa-kit/audit", 1, "000000000000")
    assert found["holes"][0]["about"] == "lab-admin"
    rules = {row["rule"]: row for row in found["rules"]}
    assert rules["passwords.policy"]["findings"][0]["remedy"][0].startswith("aws iam update-account-password-policy")
    assert rules["admins.spare"]["unknown"][0]["subject"] == "lab-admin"
    assert rules["root.mfa"]["references"] == ["CIS 3.0 1.5", "FSBP IAM.9"]


def test_csv_and_json_lines_have_a_line_a_finding(kit: Kit) -> None:
    """A rule without a finding has a line too."""
    weak = changed(passwords(require_symbols=True, max_password_age=30))
    lines = kit(
        "audit", "--rule", "passwords", "--rule", "root.mfa", "--output", "csv", description=weak
    ).out.splitlines()
    assert [row[0] for row in csv.reader(lines)] == ["result", "fail", "fail", "pass"]
    rows = [json.loads(line) for line in kit("audit", "--output", "jsonl", "--rule", "passwords").out.splitlines()]
    assert [(row["schema"], row["result"]) for row in rows] == [("mfa-kit/audit-finding", "pass")]


def test_html_is_for_the_audit_alone(kit: Kit) -> None:
    """The option works before and after the verb. Other verbs refuse it in both places."""
    assert kit("audit", "--output", "html").out.startswith("<!DOCTYPE html>")
    assert kit("--output", "html", "audit").out.startswith("<!DOCTYPE html>")
    for line in (("status", "--output", "html"), ("--output", "html", "status")):
        refused = kit(*line)
        assert refused.code == 2
        assert "'html'" in refused.err.replace("html' is not", "'html'")


def test_a_snapshot_is_made_once_and_then_read(kit: Kit, tmp_path: Path, offline: MfaKit) -> None:
    """The result without AWS is the same."""
    file = tmp_path / "account.json"
    weak = changed(passwords(require_symbols=True))
    made = kit("audit", "--snapshot", file, "--output", "json", description=weak)
    assert file.stat().st_mode & 0o777 == 0o600
    again = offline.run("audit", "--snapshot", file, "--output", "json")
    assert (again.code, json.loads(again.out)) == (made.code, json.loads(made.out))
    assert f"offline: account 000000000000 (LAB, nothing here is real) as stored in {file}" in again.err


class Page(HTMLParser):
    """The text and the elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in {"src", "href"}, value

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def hostile(kit: Kit, tmp_path: Path) -> Path:
    """Make a snapshot with names that an attacker would choose."""
    file = tmp_path / "hostile.json"
    kit(
        "audit",
        "--snapshot",
        file,
        description=changed(user("bob", password=True, policies={"own": {"Statement": []}})),
    )
    file.write_text(file.read_text().replace('"bob"', json.dumps(HOSTILE)).replace('"own"', json.dumps(HOSTILE)))
    return file


def test_no_name_drives_a_page(hostile: Path, offline: MfaKit) -> None:
    """Names are escaped. The page has no script, and loads nothing from elsewhere."""
    out = offline.run("audit", "--snapshot", hostile, "--output", "html").out
    page = Page(out)
    assert {"script", "link", "img", "iframe"}.isdisjoint(page.tags)
    assert "<script>alert(1)</script>\\x1b[31m\\u202e=1+1" in page.text
    assert not [each for each in re.findall(r"<pre>(.*?)</pre>", out, re.DOTALL) if "\ntouch it" in each]
    assert "default-src 'none'" in out
    assert {"svg", "circle", "i", "pre", "details"} <= set(page.tags)


def test_a_page_says_that_it_is_of_a_lab(kit: Kit) -> None:
    """Its readers do not see the terminal on which it was made."""
    page = kit("audit", "--rule", "root", "--output", "html").out
    assert page.count("account 000000000000 (LAB, nothing here is real)<") == 2


def test_no_name_adds_a_command_to_those_of_a_safe_start(hostile: Path, offline: MfaKit) -> None:
    """A line break in a name could otherwise end a comment."""
    done = offline.run("policy", "onboard", "--snapshot", hostile)
    assert "\\ntouch it" in done.out
    assert not [line for line in done.out.splitlines() if line.startswith("touch it")]


def test_a_standard_input_that_is_closed_is_told(tmp_path: Path) -> None:
    """Some jobs have no standard input."""
    line = f"exec {shlex.join([sys.executable, '-m', 'mfa_kit', 'policy', 'lint', '-'])} <&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mfa-kit: this is not an IAM policy")


@pytest.mark.parametrize(
    "line",
    [("audit",), ("audit", "--output", "csv"), ("policy", "lockout"), ("policy", "onboard"), ("policy", "lint")],
    ids=" ".join,
)
def test_no_name_drives_a_terminal(line: tuple[str, ...], hostile: Path, offline: MfaKit) -> None:
    """Control and bidirectional characters are written as escapes."""
    done = offline.run(*line, "--snapshot", hostile)
    assert done.code in {0, 1, 6}
    for char in ("\x1b", "\u202e"):
        assert char not in done.out + done.err


def test_the_page_of_an_account_with_every_kind_of_device(kit: Kit) -> None:
    """Each user is counted once, under their best device."""
    sms = {"kind": "token", "serial": "arn:aws:iam::000000000000:sms-mfa/s"}
    everybody = changed(None)
    for name, devices in {"f": [FIDO], "s": [sms], "n": []}.items():
        user(name, devices=devices, **SIGNED_IN)(everybody)
    text = Page(kit("audit", "--output", "html", description=everybody).out).text
    for said in (
        "4 users have a console password",
        "security key or passkey1 (25 %)",
        "code from an app or a token1 (25 %)",
        "text message1 (25 %)",
        "no MFA1 (25 %)",
    ):
        assert said in text
    partly = Page(kit("audit", "--output", "html", description=everybody, denied=("ListMFADevices",)).out).text
    assert "kind unknown2 (50 %)" in partly
    assert "Could not be read:" in partly
    weak = changed(passwords(minimum_password_length=14))
    one = Page(kit("audit", "--rule", "passwords", "--output", "html", description=weak).out).text
    assert "0 of 1 checks passed, 1 failed (1 medium)" in one
    nothing = Page(kit("audit", "--output", "html", denied=("GetCredentialReport",)).out).text
    assert "No user is known to have a console password." in nothing
    assert "The credential report could not be read" in nothing


@pytest.mark.slow
def test_what_is_folded_is_printed(kit: Kit, tmp_path: Path) -> None:
    """A rule with two hundred findings takes one line on the screen, and several pages in print."""
    described = sound()
    described["users"] += [{"name": f"user{number:03}", "groups": []} for number in range(200)]
    page = tmp_path / "audit.html"
    page.write_text(kit("audit", "--rule", "users.groupless", "--output", "html", description=described).out)
    assert "<details open" not in page.read_text()
    paper = tmp_path / "audit.pdf"
    subprocess.run(
        [
            judge("chromium"),
            *("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'chromium'}"),
            *(f"--print-to-pdf={paper}", page.as_uri()),
        ],
        check=True,
        timeout=150,
        capture_output=True,
    )
    assert len(re.findall(rb"/Type /Page\b", paper.read_bytes())) > 5


def test_backups_of_this_desk(mfa_kit: MfaKit, users: Callable[[], str], recipient: str, identity_file: Path) -> None:
    """The ledger and the folder show whether a backup was never opened, opened, not tested, tested, or removed."""
    name = users()
    serial = f"arn:aws:iam::000000000000:mfa/{name}"
    mfa_kit.run("enroll", name, "--with", "virtual", "--codes", "generated", "-r", recipient)
    (file,) = mfa_kit.home.rglob("*.png.age")

    def told(*words: str) -> dict[str, list[str]]:
        found = json.loads(mfa_kit.run("audit", "--rule", "backups", "--output", "json", *words).out)
        return {row["rule"]: [each["subject"] for each in row["findings"]] for row in found["rules"]}

    kept: dict[str, list[str]] = {"backups.there": [], "backups.verified": [], "backups.drilled": []}
    assert told() == {**kept, "backups.verified": [serial]}
    mfa_kit.run("backup", "verify", "-i", identity_file, file)
    assert told() == kept
    assert told("--drilled-within", "0s") == {**kept, "backups.drilled": [serial]}
    with sqlite_ledger(mfa_kit.home) as ledger:
        BackupRecords(ledger, now=time.time() + 60).record_drill("/".join(file.parts[-3:]), "proved")
    assert told("--drilled-within", "0s") == kept
    file.unlink()
    assert told() == {**kept, "backups.there": [serial]}
    (mfa_kit.home / "config.toml").write_text('recipients = ["nobody"]')
    unknown = mfa_kit.run("audit", "--rule", "backups.there")
    assert (unknown.code, unknown.out[:7]) == (1, "UNKNOWN")


def test_a_device_that_went_to_somebody_else_has_no_backup_of_ours(
    mfa_kit: MfaKit, users: Callable[[], str], recipient: str, at_lab: Lab
) -> None:
    """The ledger has it as another user's device."""
    first, second = users(), users()
    serial = f"arn:aws:iam::000000000000:mfa/{first}"
    mfa_kit.run("enroll", first, "--with", "virtual", "--codes", "generated", "-r", recipient)
    admin = Aws(at_lab, (at_lab.admin.access_key_id, at_lab.admin.secret_access_key, None))
    admin.seeds[serial] = base64.b32encode(at_lab.seed(serial))
    admin.iam.deactivate_mfa_device(UserName=first, SerialNumber=serial)
    admin.enable(second, serial, 4)
    done = mfa_kit.run("audit", "--rule", "backups.there")
    assert done.out.startswith("NOT APPLICABLE")


def test_another_account_is_refused(kit: Kit) -> None:
    """All verbs check the account in this way."""
    done = kit("audit", "--account", "123456789012")
    assert (done.code, done.out) == (2, "")


# Policy


def test_show_prints_a_policy_and_explains_it(offline: MfaKit) -> None:
    """The JSON is on stdout, and the reason for every line on stderr. No credentials are needed."""
    done = offline.run("policy", "show")
    assert json.loads(done.out)["Statement"][-1]["Sid"] == "DenyAllExceptListedIfNoMFA"
    assert "BoolIfExists: requests with plain access keys do not have this condition key" in done.err


@pytest.mark.parametrize(
    ("flags", "partition"),
    [
        (("--region", "us-gov-west-1"), "aws-us-gov"),
        (("--region", "cn-north-1"), "aws-cn"),
        (("--partition", "aws-iso", "--region", "cn-north-1"), "aws-iso"),
        ((), "aws"),
    ],
)
def test_show_is_of_the_partition(flags: tuple[str, ...], partition: str, offline: MfaKit) -> None:
    """It is the named partition, or that of the region."""
    assert f'"arn:{partition}:iam::*:mfa/*"' in offline.run("policy", "show", *flags).out


@pytest.mark.parametrize(
    "flags",
    [("--region", "nowhere"), ("--partition", "aws-moon"), ("--profile", "nobody")],
    ids=" ".join,
)
def test_a_partition_that_there_is_none_of_is_refused(flags: tuple[str, ...], offline: MfaKit) -> None:
    """mfa-kit does not guess another one."""
    assert offline.run("policy", "show", *flags).code == 2


def test_lint_of_a_file(offline: MfaKit, tmp_path: Path) -> None:
    """The exit code is 0 without a trap, 1 with one, and 2 if the file is not a policy."""
    file = tmp_path / "policy.json"
    file.write_text(offline.run("policy", "show", "--first-sign-in", "--user-paths").out)
    assert offline.run("policy", "lint", file, "--on", "group").code == 0
    on_role = offline.run("policy", "lint", file, "--on", "role", "--output", "json")
    assert (on_role.code, [row["trap"] for row in json.loads(on_role.out)["rows"]]) == (1, ["role"])
    for text in (b"{}", b"\xff"):
        file.write_bytes(text)
        assert offline.run("policy", "lint", file).code == 2
    assert offline.run("policy", "lint", tmp_path / "none.json").code == 2


@pytest.mark.parametrize("text", ["x" * ((1 << 20) + 1), "[" * 100_000], ids=["long", "deep"])
def test_what_is_far_from_a_policy_is_refused(offline: MfaKit, tmp_path: Path, text: str) -> None:
    """mfa-kit reads no more than the maximum length of a policy."""
    file = tmp_path / "policy.json"
    file.write_text(text)
    for args in (("lint", file), ("lockout", "--policy", file)):
        done = offline.run("policy", *args)
        assert (done.code, "not an IAM policy" in done.err) == (2, True)
    assert offline.run("policy", "lint", "/dev/zero").code == 2


def test_a_snapshot_that_could_not_be_kept_is_refused_before_anything_is_asked(offline: MfaKit, tmp_path: Path) -> None:
    """Otherwise the account would be read in vain."""
    done = offline.run("audit", "--snapshot", tmp_path / "none" / "account.json")
    assert (done.code, "there is no folder" in done.err) == (2, True)


def test_lint_of_an_account(kit: Kit) -> None:
    """Each customer policy that mentions MFA is checked, wherever it is attached."""
    done = kit("policy", "lint")
    assert done.code == 1
    assert "group people, policy force-mfa" in done.out


def weak(name: str = "bob", **more: Any) -> dict[str, Any]:
    description = changed(group("people", policies={}))
    user(name, **{"password": True, **more})(description)
    return description


def test_lockout_ends_with_six_while_anybody_would_be(kit: Kit) -> None:
    """Users are listed by name with the reason. If none would be locked out, the exit code is 0."""
    done = kit("policy", "lockout", "--group", "people", description=weak())
    assert done.code == 6
    assert re.search(r"^bob +console +locked out", done.out, re.MULTILINE)
    assert "2 users, 2 credentials; locked out until they enroll: 1, one lost device from a lockout: 1\n" in done.err
    assert "mfa-kit: 1 of 2 users would (or might) be locked out" in done.err
    fine = kit("policy", "lockout", "--group", "people")
    assert (fine.code, bool(re.search(r"^alice +console +one lost device", fine.out, re.MULTILINE))) == (0, True)
    everybody = kit("policy", "lockout", "--group", "people", "--all", "--output", "json", description=weak(keys=[]))
    assert {row["user"] for row in json.loads(everybody.out)["rows"]} == {"alice", "bob"}


def test_whoever_may_enroll_himself_may_be_let_pass(kit: Kit) -> None:
    """An option has to allow it."""
    described = weak(password_last_used="2026-11-01T00:00:00+00:00", password_changed="2026-10-01T00:00:00+00:00")
    assert kit("policy", "lockout", "--group", "people", description=described).code == 6
    assert kit("policy", "lockout", "--group", "people", "--self-enroll", description=described).code == 0


def test_lockout_of_a_policy_of_ones_own(kit: Kit, tmp_path: Path) -> None:
    """The policy is read from a file. The result is compared with IAM's simulator, which agrees here."""
    file = tmp_path / "policy.json"
    file.write_text(json.dumps({"Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]}))
    done = kit("policy", "lockout", "--policy", file, description=weak())
    assert (done.code, "denied even with MFA: s3:*" in done.out) == (0, True)
    file.write_text(json.dumps({"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}))
    done = kit("policy", "lockout", "--policy", file, description=weak())
    assert (done.code, done.out) == (0, "no user would be locked out\n")
    assert "IAM's policy simulator agrees" in done.err
    denied = kit("policy", "lockout", "--policy", file, description=weak(), denied=("SimulateCustomPolicy",))
    assert "not compared with IAM's policy simulator: AWS answers AccessDenied" in denied.err


def test_a_simulator_that_judges_otherwise_is_told(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests with different results are listed, because one of the two must be wrong."""
    monkeypatch.setattr(AccountReader, "simulated", lambda *_: {"ec2:DescribeInstances": Decision.EXPLICIT})
    said = kit("policy", "lockout", "--group", "people").err
    assert "disagrees: ec2:DescribeInstances (session with MFA): IAM says explicit deny, mfa-kit says" in said


def test_nobody_who_could_help_is_a_note(kit: Kit) -> None:
    """The lab's admin has only access keys, so no one is left if the policy applies to all."""
    assert "no administrator would still have access" in kit("policy", "lockout", description=weak()).err


def test_without_the_users_there_is_no_all_clear(kit: Kit) -> None:
    """The exit code is 6, and the missing part is named."""
    done = kit("policy", "lockout", denied=("GetAccountAuthorizationDetails",))
    assert done.code == 6
    assert "could not be read: the account authorization details" in done.err


def test_onboard_prints_what_a_person_runs(kit: Kit) -> None:
    """The steps are a script or rows. The colleague is given by name and group."""
    done = kit("policy", "onboard")
    assert (done.code, done.out.splitlines()[0]) == (
        0,
        "# Read each step before you run it. mfa-kit does not run any of this.",
    )
    rows = json.loads(kit("policy", "onboard", "--user", "eve", "--group", "people", "--output", "json").out)["rows"]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["commands"][0] == "aws iam create-user --user-name eve"
    assert kit("policy", "onboard", "--user", "eve").code == 2
    assert kit("policy", "onboard", "--user", "root", "--group", "people").code == 2
