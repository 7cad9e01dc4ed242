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
from mfa_kit.adapters.ledger.records import BackupRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.audit.registry import RULES
from mfa_kit.cli import forms
from mfa_kit.lab.aws.server import Lab
from tests.audit.conftest import changed, record_key, record_usage, sound
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
    record_usage(tmp_path / "desk")
    record_key(tmp_path / "desk")

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


def test_an_account_without_findings_exits_with_0(kit: Kit) -> None:
    """The exit code is 0. Each rule has a line, and the age of the report is printed."""
    done = kit("audit")
    assert done.code == 0, done.out
    assert len([line for line in done.out.splitlines() if not line.startswith(" ")]) == len(RULES)
    said = rf"{len(RULES)} rules: \d+ pass, \d+ not applicable; credential report 0 h \d min old"
    assert re.search(said, done.err)


def test_findings_make_the_exit_code_one(kit: Kit) -> None:
    """Findings at or above the severity of --fail-on count."""
    weak = changed(passwords(require_symbols=True))
    assert kit("audit", description=weak).code == 1
    assert kit("audit", "--fail-on", "medium", description=weak).code == 1
    assert kit("audit", "--fail-on", "high", description=weak).code == 0
    assert kit("audit", "--rule", "root", description=weak).code == 0


def test_a_part_that_cannot_be_read_makes_the_exit_code_one(kit: Kit) -> None:
    """Standard error names the part that could not be read."""
    done = kit("audit", "--rule", "passwords.policy", denied=("GetAccountPasswordPolicy",))
    assert done.code == 1
    assert done.out.startswith("UNKNOWN")
    assert "not read: password policy: AWS answers AccessDenied" in done.err
    assert done.err.count("this job needs: mfa-kit policy show --for auditor") == 1


def test_commands_in_a_narrow_window_can_be_pasted(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line but the last of a command ends with a backslash, also of a command that says how to check a rule."""
    monkeypatch.setattr(forms, "output_width", lambda: 60)
    done = kit("audit", "--rule", "passwords.policy", description=changed(passwords(require_symbols=True)))
    lines = [line.strip() for line in done.out.splitlines()]
    first = next(index for index, line in enumerate(lines) if line.startswith("aws "))
    assert lines[first].endswith(" \\")
    assert lines[first + 1].startswith("--")
    done = kit("audit", "--rule", "sessions.duration")
    assert done.out.splitlines()[-1].strip() == "mfa-kit audit --max-session 12h"


def test_json_has_everything(kit: Kit) -> None:
    """It has the rules, findings with their remedies, unknown results, unread parts and times."""
    done = kit(
        "audit", "--output", "json", description=changed(passwords(require_symbols=True)), denied=("ListMFADevices",)
    )
    found = json.loads(done.out)
    assert (found["schema"], found["version"], found["account"]) == ("mfa-kit/audit", 1, "000000000000")
    assert found["holes"][0]["about"] == "lab-admin"
    rules = {row["rule"]: row for row in found["rules"]}
    assert rules["passwords.policy"]["findings"][0]["remedy"][0].startswith("aws iam update-account-password-policy")
    assert rules["admins.spare"]["unknown"][0]["subject"] == "lab-admin"
    assert rules["root.mfa"]["references"][:4] == ["CIS 3.0 1.5", "CIS 5.0 1.4", "CIS 7.0 2.5", "Security Hub IAM.9"]


def test_csv_and_json_lines_have_a_line_per_finding(kit: Kit) -> None:
    """A rule without a finding also has a line."""
    weak = changed(passwords(require_symbols=True, max_password_age=30))
    lines = kit(
        "audit", "--rule", "passwords", "--rule", "root.mfa", "--output", "csv", description=weak
    ).out.splitlines()
    assert [row[0] for row in csv.reader(lines)] == ["result", "fail", "fail", "pass"]
    rows = [json.loads(line) for line in kit("audit", "--output", "jsonl", "--rule", "passwords").out.splitlines()]
    assert [(row["schema"], row["result"]) for row in rows] == [("mfa-kit/audit-finding", "pass")]


def test_only_audit_has_the_form_html(kit: Kit) -> None:
    """The option works before and after the verb. Other verbs refuse it in both places."""
    assert kit("audit", "--output", "html").out.startswith("<!DOCTYPE html>")
    assert kit("--output", "html", "audit").out.startswith("<!DOCTYPE html>")
    for line in (("status", "--output", "html"), ("--output", "html", "status")):
        refused = kit(*line)
        assert refused.code == 2
        assert "'html'" in refused.err.replace("html' is not", "'html'")


def test_a_snapshot_is_made_once_and_then_read(kit: Kit, tmp_path: Path, offline: MfaKit) -> None:
    """The result from the stored snapshot, without AWS, is the same."""
    file = tmp_path / "account.json"
    weak = changed(passwords(require_symbols=True))
    made = kit("audit", "--snapshot", file, "--output", "json", description=weak)
    assert file.stat().st_mode & 0o777 == 0o600
    again = offline.run("audit", "--snapshot", file, "--output", "json")
    assert (again.code, json.loads(again.out)) == (made.code, json.loads(made.out))
    assert f"offline: account 000000000000 (LAB, nothing here is real) as stored in {file}" in again.err


def test_a_snapshot_with_an_old_credential_report_is_refused(kit: Kit, tmp_path: Path, offline: MfaKit) -> None:
    """--max-age applies to the file too, also for the commands about policies."""
    file = tmp_path / "account.json"
    kit("audit", "--snapshot", file)
    snapshot = json.loads(file.read_text())
    snapshot["report"]["made"] -= 5 * 3600
    file.write_text(json.dumps(snapshot))
    for line in (("audit",), ("policy", "lockout"), ("audit", "--max-age", "1h")):
        done = offline.run(*line, "--snapshot", file)
        assert done.code == 2, done.err
        age = "1 h" if "1h" in line else "4 h"
        assert f"the credential report in {file} is 5 h 0 min old, and --max-age is {age} 0 min" in done.err
        assert "or accept this one: --max-age 6h" in done.err
    assert offline.run("audit", "--snapshot", file, "--max-age", "6h").code == 0


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


def test_names_cannot_add_markup_to_a_page(hostile: Path, offline: MfaKit) -> None:
    """Names are escaped. The page has no script, and loads nothing from elsewhere."""
    out = offline.run("audit", "--snapshot", hostile, "--output", "html").out
    page = Page(out)
    assert {"script", "link", "img", "iframe"}.isdisjoint(page.tags)
    assert "<script>alert(1)</script>\\x1b[31m\\u202e=1+1" in page.text
    assert not [each for each in re.findall(r"<pre>(.*?)</pre>", out, re.DOTALL) if "\ntouch it" in each]
    assert "default-src 'none'" in out
    assert {"svg", "circle", "i", "pre", "details"} <= set(page.tags)


def test_the_page_of_a_lab_says_so(kit: Kit) -> None:
    """Readers of the page do not see the terminal on which it was made."""
    page = kit("audit", "--rule", "root", "--output", "html").out
    assert page.count("account 000000000000 (LAB, nothing here is real)<") == 2


def test_names_cannot_add_a_command_to_onboard(hostile: Path, offline: MfaKit) -> None:
    """A line break in a name could otherwise end a comment in the shell script."""
    done = offline.run("policy", "onboard", "--snapshot", hostile)
    assert "\\ntouch it" in done.out
    assert not [line for line in done.out.splitlines() if line.startswith("touch it")]


def test_a_closed_standard_input_is_reported(tmp_path: Path) -> None:
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
def test_names_cannot_control_a_terminal(line: tuple[str, ...], hostile: Path, offline: MfaKit) -> None:
    """Control and bidirectional characters are written as escapes."""
    done = offline.run(*line, "--snapshot", hostile)
    assert done.code in {0, 1, 6}
    for char in ("\x1b", "\u202e"):
        assert char not in done.out + done.err


def test_the_page_of_an_account_with_every_kind_of_device(kit: Kit) -> None:
    """Each user is counted once, under their strongest device."""
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
    weak = changed(passwords(minimum_password_length=7))
    one = Page(kit("audit", "--rule", "passwords", "--output", "html", description=weak).out).text
    assert "0 of 1 checks passed, 1 failed (1 medium)" in one
    nothing = Page(kit("audit", "--output", "html", denied=("GetCredentialReport",)).out).text
    assert "No user is known to have a console password." in nothing
    assert "The credential report could not be read" in nothing


@pytest.mark.slow
def test_folded_details_are_printed_on_paper(kit: Kit, tmp_path: Path) -> None:
    """On the screen, a rule with two hundred findings takes one line. On paper, it takes several pages."""
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


def test_the_audit_knows_the_tests_of_each_backup(
    mfa_kit: MfaKit, users: Callable[[], str], recipient: str, identity_file: Path
) -> None:
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


def test_a_device_reassigned_to_another_user_has_no_backup(
    mfa_kit: MfaKit, users: Callable[[], str], recipient: str, at_lab: Lab
) -> None:
    """The ledger has the device as another user's."""
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


def test_a_snapshot_of_another_account_is_refused(kit: Kit, tmp_path: Path, offline: MfaKit) -> None:
    """--account is also for an account that was read earlier."""
    kit("audit", "--snapshot", tmp_path / "account.json")
    done = offline.run("--account", "111122223333", "audit", "--snapshot", tmp_path / "account.json")
    assert (done.code, done.out) == (2, "")
    assert "the snapshot is of account 000000000000, but --account is 111122223333" in done.err
    assert offline.run("--account", "000000000000", "audit", "--snapshot", tmp_path / "account.json").code == 0


def test_show_prints_a_policy_and_explains_it(offline: MfaKit) -> None:
    """The JSON is on stdout, and the reason for each line on stderr. No credentials are needed."""
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
def test_show_uses_the_chosen_partition(flags: tuple[str, ...], partition: str, offline: MfaKit) -> None:
    """The partition is the named one, or that of the region."""
    assert f'"arn:{partition}:iam::*:mfa/*"' in offline.run("policy", "show", *flags).out


@pytest.mark.parametrize(
    "flags",
    [("--region", "nowhere"), ("--partition", "aws-moon"), ("--profile", "nobody")],
    ids=" ".join,
)
def test_an_unknown_partition_is_refused(flags: tuple[str, ...], offline: MfaKit) -> None:
    """mfa-kit does not guess another partition."""
    assert offline.run("policy", "show", *flags).code == 2


def test_lint_of_a_file(offline: MfaKit, tmp_path: Path) -> None:
    """The exit code is 0 without traps, 1 with a trap, and 2 if the file is not a policy."""
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
def test_a_file_longer_than_any_policy_is_refused(offline: MfaKit, tmp_path: Path, text: str) -> None:
    """mfa-kit does not read more than the maximum length of a policy."""
    file = tmp_path / "policy.json"
    file.write_text(text)
    for args in (("lint", file), ("lockout", file), ("lockout", "--policy", file)):
        done = offline.run("policy", *args)
        assert (done.code, "not an IAM policy" in done.err) == (2, True)
    assert offline.run("policy", "lint", "/dev/zero").code == 2


def test_an_unwritable_snapshot_file_is_refused_first(offline: MfaKit, tmp_path: Path) -> None:
    """Otherwise mfa-kit would read the account and then lose the result."""
    done = offline.run("audit", "--snapshot", tmp_path / "none" / "account.json")
    assert (done.code, "there is no folder" in done.err) == (2, True)


def test_lint_of_an_account(kit: Kit) -> None:
    """Each customer policy that mentions MFA is checked, even if it is not attached."""
    done = kit("policy", "lint")
    assert done.code == 1
    assert "group people, policy force-mfa" in done.out


def weak(name: str = "bob", **more: Any) -> dict[str, Any]:
    description = changed(group("people", policies={}))
    user(name, **{"password": True, **more})(description)
    return description


def test_lockout_exits_with_6_if_a_user_would_be_locked_out(kit: Kit) -> None:
    """Users are listed by name with the reason. If no user would be locked out, the exit code is 0."""
    done = kit("policy", "lockout", "--group", "people", description=weak())
    assert done.code == 6
    assert re.search(r"^bob +console +locked out", done.out, re.MULTILINE)
    assert "2 users, 2 credentials; locked out until they enroll: 1, one lost device from a lockout: 1\n" in done.err
    assert "mfa-kit: 1 of 2 users would (or might) be locked out" in done.err
    fine = kit("policy", "lockout", "--group", "people")
    assert (fine.code, bool(re.search(r"^alice +console +one lost device", fine.out, re.MULTILINE))) == (0, True)
    everybody = kit("policy", "lockout", "--group", "people", "--all", "--output", "json", description=weak(keys=[]))
    assert {row["user"] for row in json.loads(everybody.out)["rows"]} == {"alice", "bob"}


def test_lockout_says_once_what_to_do_about_denied_calls(kit: Kit) -> None:
    """The command is named once. Rows without advice are not said to have some."""
    command = "mfa-kit policy show --for auditor"
    again = "  try: make sure that everything can be read, then run this again\n"
    details = kit("policy", "lockout", denied=("GetAccountAuthorizationDetails",))
    assert (details.code, details.err.count(command), again in details.err) == (6, 1, True)
    nobody = "the state of no user could be read, so nobody was checked\n"
    assert details.out == nobody
    assert (nobody in details.err, "0 users" in details.err) == (True, False)
    report = kit("policy", "lockout", denied=("GetCredentialReport",))
    assert (report.code, report.err.count(command), "FIRST" in report.out + report.err) == (6, 1, False)
    assert "  try: find out what the column WHY says is unknown, then run this again\n" in report.err


def test_users_who_can_enroll_themselves_can_be_ignored(kit: Kit) -> None:
    """The option --self-enroll is needed."""
    described = weak(password_last_used="2026-11-01T00:00:00+00:00", password_changed="2026-10-01T00:00:00+00:00")
    assert kit("policy", "lockout", "--group", "people", description=described).code == 6
    assert kit("policy", "lockout", "--group", "people", "--self-enroll", description=described).code == 0


def test_lockout_tries_a_policy_from_a_file(kit: Kit, tmp_path: Path) -> None:
    """The result is compared with IAM's policy simulator, which agrees here."""
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


def test_a_simulator_that_disagrees_is_reported(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests with different results are listed, because one of the two results must be wrong."""
    monkeypatch.setattr(AccountReader, "simulated", lambda *_: {"ec2:DescribeInstances": Decision.EXPLICIT})
    said = kit("policy", "lockout", "--group", "people").err
    assert "disagrees: ec2:DescribeInstances (session with MFA): IAM says explicit deny, mfa-kit says" in said


def test_a_note_says_if_no_administrator_is_left(kit: Kit) -> None:
    """The lab's admin has only access keys, so a device that shows codes decides whether an administrator is left."""
    said = "no administrator would still have access"
    assert said not in kit("policy", "lockout", description=weak()).err
    bare = weak()
    user("lab-admin", devices=[])(bare)
    assert said in kit("policy", "lockout", description=bare).err


def test_lockout_exits_with_6_if_users_are_unreadable(kit: Kit) -> None:
    """The message names the part that could not be read."""
    done = kit("policy", "lockout", denied=("GetAccountAuthorizationDetails",))
    assert done.code == 6
    assert "could not be read: the account authorization details" in done.err


def test_onboard_prints_the_commands_to_run(kit: Kit) -> None:
    """They are printed as a shell script or as rows. The new colleague is given by name and group."""
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
