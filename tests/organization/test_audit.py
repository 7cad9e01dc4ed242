"""`mfa-kit audit`, `status`, `policy lockout`, `orphans list` and `doctor` in many accounts."""

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.adapters.ledger.seen_keys import SeenKeyRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.cli import forms
from mfa_kit.core.recorded_keys import KeyDevice, KeyEvent, KeyFacts
from mfa_kit.disk.files import create_file
from mfa_kit.lab.aws.mfa_devices import assigned_entry
from mfa_kit.lab.aws.server import Lab
from mfa_kit.organization.accounts import AccountState
from tests.conftest import ACCOUNT, MfaKit
from tests.organization.conftest import MEMBERS

ALL = [ACCOUNT, *MEMBERS]


@contextmanager
def without_role(lab: Lab, number: str) -> Iterator[None]:
    """Remove the audit role from an account until the context ends."""
    roles = lab.organization[number].backend.roles
    key = next(key for key, role in roles.items() if role.name == "mfa-kit-audit")
    role = roles.pop(key)
    yield
    roles[key] = role


def rows(kit: MfaKit, *args: str | Path, code: int = 0) -> list[dict[str, Any]]:
    result = kit.run(*args, "--output", "json")
    assert result.code == code, result.err
    found: list[dict[str, Any]] = json.loads(result.out)["rows"]
    return found


def test_every_row_names_its_account(org_kit: MfaKit) -> None:
    """An audit of an organization has a row per account, with its ID, its name and its state."""
    found = rows(org_kit, "audit", "--org", code=1)
    assert {row["account"] for row in found} == set(ALL)
    assert {row["state"] for row in found} == {"read"}
    assert next(row for row in found if row["account"] == MEMBERS[0])["account_name"] == "member-001"


def test_an_account_has_the_same_results_alone_and_together(org_kit: MfaKit) -> None:
    """The rules have the same results and findings for an account whether it is audited alone or with all others."""
    together = {row["account"]: row["audit"] for row in rows(org_kit, "audit", "--org", code=1)}
    for number in ALL:
        (alone,) = rows(org_kit, "audit", "--org", "-a", number, code=1)
        assert alone["audit"]["rules"] == together[number]["rules"]
    single = json.loads(org_kit.run("audit", "--output", "json").out)["rules"]
    assert [rule["result"] for rule in single] == [rule["result"] for rule in together[ACCOUNT]["rules"]]


@pytest.mark.parametrize(("denied", "users"), [("GetAccountAuthorizationDetails", None), ("GetCredentialReport", 1)])
def test_a_partly_read_account_has_no_numbers_of_users(
    org_kit: MfaKit, org_lab: Lab, denied: str, users: int | None
) -> None:
    """What was not read is null, not 0: in JSON, in the table and on the page."""
    org_lab.faults.add(denied, "denied", at="every", account=MEMBERS[1])
    (row,) = [row for row in rows(org_kit, "audit", "--org", code=1) if row["account"] == MEMBERS[1]]
    assert (row["state"], row["passwords"], row["without_mfa"]) == ("partly read", None, None)
    assert (row["users"] is None) == (users is None)
    (line,) = org_kit.run("audit", "--org", "-a", MEMBERS[1], "--output", "csv").out.splitlines()[1:]
    assert "partly read" in line
    page = org_kit.run("audit", "--org", "--output", "html").out
    assert "Not counted: the users of 1 account that could not be read completely" in page
    assert re.search(rf"<td>{MEMBERS[1]}\s*<td class=odd>\?", page)


def test_a_denied_account_is_unknown_in_its_row(org_kit: MfaKit, org_lab: Lab) -> None:
    """If an account denies access, its row has the reason, the other accounts are read, and the exit code is 1."""
    with without_role(org_lab, MEMBERS[1]):
        result = org_kit.run("status", "--org", "--output", "json")
    assert result.code == 1
    found = json.loads(result.out)["rows"]
    (denied,) = [row for row in found if row["account"] == MEMBERS[1]]
    assert (denied["state"], denied["user"]) == ("unknown", None)
    assert "cannot be assumed" in denied["why"]
    assert {row["account"] for row in found} == set(ALL)
    assert f"unknown: account member-002 ({MEMBERS[1]}): the role" in result.err


def test_the_key_of_a_device_is_shown_in_many_accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes from the ledger. A device with the same serial in another account is on no known key."""
    serial, accounts, kit = "GAHT12345678", MEMBERS[:2], MfaKit(tmp_path / "desk")
    with Lab(accounts=2, users_per_account=1) as lab:
        for name, value in {**lab.env, "MFA_KIT_HOME": str(kit.home)}.items():
            monkeypatch.setenv(name, value)
        entries = [assigned_entry(serial, lab.organization[number].today()) for number in accounts]
        for number, entry in zip(accounts, entries, strict=True):
            lab.organization[number].backend.get_user("alice").mfa_devices[serial] = entry
        on_key = KeyDevice(account=MEMBERS[0], user="alice", serial=serial, since=entries[0].enable_date.timestamp())
        facts = KeyFacts(serial="12345678", model="YubiKey 5 NFC", vendor="yubico")
        with sqlite_ledger(kit.home) as ledger:
            SeenKeyRecords(ledger).add(facts, KeyEvent.VERIFIED, now=1.0, device=on_key)
        found = json.loads(kit.run("status", "--org", "--output", "json").out)["rows"]
        table = kit.run("status", "--org").out
    keys = {row["account"]: (row["key"], row["key_serial"]) for row in found if row["device"] == serial}
    assert keys == {MEMBERS[0]: ("YubiKey 5 NFC 12345678", "12345678"), MEMBERS[1]: (None, None)}
    assert "KEY" in table.partition("\n")[0]


def test_if_every_account_is_denied_the_caller_is_blamed(org_kit: MfaKit, org_lab: Lab) -> None:
    """If the caller can assume the role in no account, the error says that the cause is probably the caller."""
    org_lab.faults.add("AssumeRole", "denied", at="every")
    result = org_kit.run("audit", "--org", "--exclude", ACCOUNT)
    assert result.code == 4
    assert "the cause is most likely the caller" in result.err
    # The root users of members are read with the caller's own credentials, so they are known without the role.
    assert result.out.count("no root credentials") == len(MEMBERS)


def test_an_account_that_is_not_active_is_skipped(org_kit: MfaKit, org_lab: Lab) -> None:
    """A suspended account has a row that says so. No call is made to it."""
    record = org_lab.organization.records[MEMBERS[2]]
    record.state = AccountState.SUSPENDED
    try:
        result = org_kit.run("status", "--org", "--output", "json")
    finally:
        record.state = AccountState.ACTIVE
    (skipped,) = [row for row in json.loads(result.out)["rows"] if row["account"] == MEMBERS[2]]
    assert (skipped["state"], skipped["why"]) == ("skipped", "the account is SUSPENDED")
    assert result.code == 0


def test_the_folder_of_an_account_is_complete(org_kit: MfaKit, tmp_path: Path) -> None:
    """--output-dir gets a folder per account with its snapshot and its audit, and two files about all accounts."""
    folder = tmp_path / "out"
    rows(org_kit, "audit", "--org", "--output-dir", folder, code=1)
    assert sorted(each.name for each in folder.iterdir()) == sorted(
        [*ALL, "audit.html", "organization.json", "run.json"]
    )
    for number in ALL:
        assert {each.name: oct(each.stat().st_mode)[-3:] for each in (folder / number).iterdir()} == {
            "snapshot.json": "600",
            "audit.json": "600",
        }
        assert json.loads((folder / number / "audit.json").read_text())["account"] == number


def test_resume_reads_incomplete_accounts_again(org_kit: MfaKit, org_lab: Lab, tmp_path: Path) -> None:
    """A second run keeps the complete accounts. It reads the denied account and the partly read account again."""
    folder = tmp_path / "out"
    unreadable = {"operation": "GetAccountPasswordPolicy", "fault": "denied", "at": "every", "account": MEMBERS[1]}
    org_lab.faults.add_row(unreadable)
    with without_role(org_lab, MEMBERS[0]):
        first = rows(org_kit, "audit", "--org", "--output-dir", folder, code=1)
    states = {row["account"]: row["state"] for row in first}
    assert (states[MEMBERS[0]], states[MEMBERS[1]], states[MEMBERS[2]]) == ("unknown", "partly read", "read")
    org_lab.faults.clear()
    again = rows(org_kit, "audit", "--org", "--output-dir", folder, "--resume", code=1)
    states = {row["account"]: row["state"] for row in again}
    assert [states.pop(number) for number in MEMBERS[:2]] == ["read", "read"]
    assert set(states.values()) == {"kept"}


def test_a_command_that_fixes_a_finding_names_its_account(org_kit: MfaKit) -> None:
    """The command has --account, so that it cannot change a user of the same name in another account."""
    found = rows(org_kit, "audit", "--org", "-a", MEMBERS[0], code=1)
    lines = [
        line
        for rule in found[0]["audit"]["rules"]
        for finding in rule["findings"]
        for line in finding["remedy"]
        if line.startswith("mfa-kit ")
    ]
    assert lines
    assert all(f"--account {MEMBERS[0]}" in line for line in lines)


def test_status_of_many_accounts_makes_few_calls(org_kit: MfaKit, org_lab: Lab) -> None:
    """Users whose devices are known are not looked up.

    So an account takes at most eight calls, and one call per other user.
    """
    rows(org_kit, "status", "--org")
    for number in MEMBERS:
        assert len([call for call in org_lab.calls if call.account == number]) <= 8 + 3


@pytest.mark.parametrize(("command", "code"), [(("status",), 1), (("policy", "lockout", "--all"), 6)])
def test_users_who_cannot_be_listed_are_unknown(
    command: tuple[str, ...], code: int, org_kit: MfaKit, org_lab: Lab
) -> None:
    """An account whose users cannot be read is partly read. It is never said to have no users."""
    org_lab.faults.add("GetAccountAuthorizationDetails", "denied", at="every")
    done = org_kit.run(*command, "--org", "--output", "json")
    found = json.loads(done.out)["rows"]
    assert (done.code, {row["account"] for row in found}) == (code, set(ALL))
    assert {row["state"] for row in found} == {"partly read"}
    assert all("the account authorization details: AWS answers AccessDenied" in row["why"] for row in found)
    assert re.search(r"^partly read: \d accounts .*: the account authorization details", done.err, re.MULTILINE)
    done = org_kit.run(*command, "--org")
    assert ("partly read" in done.out, "no user" in done.out) == (True, False)


def test_an_audit_says_what_an_account_did_not_let_it_read(org_kit: MfaKit, org_lab: Lab, tmp_path: Path) -> None:
    """The reason names the part and the action, on stderr, and in the row of the account and its file."""
    org_lab.faults.add("GetAccountPasswordPolicy", "denied", at="every")
    done = org_kit.run("audit", "--org", "--output", "json", "--output-dir", tmp_path / "out")
    org_lab.faults.clear()
    unread = "the password policy: AWS answers AccessDenied"
    lines = [line for line in done.err.splitlines() if unread in line]
    assert [line.startswith("partly read: ") for line in lines] == [True, True]  # the caller's own account, and members
    assert f"partly read: {len(MEMBERS)} accounts" in lines[1]
    assert all("iam:GetAccountPasswordPolicy" in line for line in lines)
    found = json.loads(done.out)["rows"]
    assert {(row["state"], row["why"].startswith(f"not read: {unread}")) for row in found} == {("partly read", True)}
    assert json.loads((tmp_path / "out/organization.json").read_text())["rows"][0]["why"] == found[0]["why"]


@pytest.mark.parametrize("command", [("policy", "lockout", "--all"), ("orphans", "list"), ("doctor",)])
def test_the_other_reports_have_the_account_too(command: tuple[str, ...], org_kit: MfaKit) -> None:
    """Each row of the other reports for many accounts begins with the account."""
    result = org_kit.run(*command, "--org", "--output", "json")
    found = json.loads(result.out)["rows"]
    assert all(list(row)[:2] == ["account", "account_name"] for row in found)
    if command != ("orphans", "list"):
        assert {row["account"] for row in found} == set(ALL)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("status", "alice"), "USER"),
        (("status", "--each-user"), "--each-user"),
        (("status", "--backup-dir", "backups"), "--backup-dir"),
        (("audit", "--snapshot", "one.json"), "--snapshot"),
        (("audit", "--framework", "fsbp"), "--framework"),
        (("audit", "--max-session", "12h"), "--max-session"),
        (("policy", "lockout", "--snapshot", "one.json"), "--snapshot"),
    ],
)
def test_what_belongs_to_one_account_is_refused(command: tuple[str, ...], option: str, org_kit: MfaKit) -> None:
    """A user name, --snapshot and the like are refused together with several accounts."""
    done = org_kit.run(*command, "--org")
    assert done.code == 2
    assert f"{option} can be used only with one account" in done.err


def test_a_full_disk_leaves_no_partial_folder(org_kit: MfaKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a folder cannot be written, the command ends with one sentence, and no partly written folder stays."""
    folder = tmp_path / "out"

    def fail(opened: int, name: str, data: bytes) -> None:
        if name == "audit.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        create_file(opened, name, data)

    monkeypatch.setattr("mfa_kit.disk.files.create_file", fail)
    result = org_kit.run("audit", "--org", "--output-dir", folder)
    assert result.code == 5
    assert "cannot be written: No space left on device" in result.err
    assert [each.name for each in folder.iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    "command", [("audit",), ("status",), ("policy", "lockout", "--all"), ("orphans", "list"), ("doctor",)]
)
def test_every_table_of_accounts_fits_80_columns(
    command: tuple[str, ...], org_kit: MfaKit, org_lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a window of 80 columns, each result is a table that fits and that begins with the account."""
    monkeypatch.setattr(forms, "output_width", lambda: 80)
    with without_role(org_lab, MEMBERS[1]):
        lines = org_kit.run(*command, "--org").out.splitlines()
    assert lines[0].startswith("ACCOUNT")
    assert max(map(len, lines)) <= 80


def test_resume_continues_only_the_last_run(org_kit: MfaKit, tmp_path: Path) -> None:
    """Accounts that only an earlier run read are read again."""
    folder = tmp_path / "out"
    rows(org_kit, "audit", "--org", "--output-dir", folder, code=1)
    run = folder / "run.json"
    run.write_text(run.read_text().replace("20", "21", 1))
    again = rows(org_kit, "audit", "--org", "--output-dir", folder, "--resume", code=1)
    assert {row["state"] for row in again} == {"read"}


@pytest.mark.parametrize("other", [("--rule", "passwords"), ("-a", MEMBERS[0])])
def test_resume_is_refused_for_other_accounts_or_rules(other: tuple[str, str], org_kit: MfaKit, tmp_path: Path) -> None:
    """--resume requires the options of the earlier run. Otherwise the files about all accounts would lose rows."""
    folder = tmp_path / "out"
    rows(org_kit, "audit", "--org", "--output-dir", folder, code=1)
    before = (folder / "organization.json").read_text()
    result = org_kit.run("audit", "--org", "--output-dir", folder, "--resume", *other)
    assert result.code == 2
    assert "had other accounts or rules" in result.err
    assert (folder / "organization.json").read_text() == before


def test_the_earlier_folder_stays_if_it_cannot_be_replaced(
    org_kit: MfaKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the new folder cannot be renamed, the folder of the earlier run is put back."""
    folder = tmp_path / "out"
    rows(org_kit, "audit", "--org", "--output-dir", folder, code=1)
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    assert org_kit.run("audit", "--org", "--output-dir", folder).code == 5
    assert all((folder / number / "snapshot.json").exists() for number in ALL)
    assert not list(folder.glob(".0*"))


def test_an_unwritable_stdout_is_not_blamed_on_the_folder(org_kit: MfaKit, tmp_path: Path) -> None:
    """If stdout cannot be written, the error says so, and the exit code is 5."""
    with Path("/dev/full").open("w") as full:
        result = org_kit.process("audit", "--org", "--output-dir", tmp_path / "out", stdout=full)
    assert result.code == 5
    assert "the result cannot be written" in result.err


def test_a_role_that_is_missing_everywhere_points_at_the_caller(org_kit: MfaKit) -> None:
    """The caller's own account is read without a role, so it does not count as an account in which the role exists."""
    result = org_kit.run("status", "--org", "--role-name", "no-such-role")
    assert result.code == 1
    assert "access was denied in every account except the caller's own" in result.err


def test_an_account_of_unknown_state_counts_as_unread(org_kit: MfaKit, org_lab: Lab) -> None:
    """The account may be active and is not read, so the exit code is 1."""
    record = org_lab.organization.records[MEMBERS[2]]
    record.state = AccountState.UNKNOWN
    try:
        result = org_kit.run("status", "--org", "--output", "json")
    finally:
        record.state = AccountState.ACTIVE
    assert result.code == 1
    assert "does not say whether the account is active" in result.err


def test_the_tables_of_a_rollout_across_accounts_fit_80_columns(
    org_kit: MfaKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan of each account, and the state of each user, are tables in a default window."""
    monkeypatch.setattr(forms, "output_width", lambda: 80)
    index = tmp_path / "index.json"
    for words in (("plan", "--only", "alice", "-o", index), ("status", index)):
        lines = org_kit.run("rollout", *words, "--org").out.splitlines()
        assert lines[0].startswith("ACCOUNT")
        # A path is not broken across lines, so that it can be copied.
        assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80


def test_a_reason_that_several_accounts_share_is_printed_once(org_kit: MfaKit, org_lab: Lab) -> None:
    """The line about the reason names three of the accounts and the number of the others, which are `unknown`."""
    with contextlib.ExitStack() as stack:
        for number in MEMBERS:
            stack.enter_context(without_role(org_lab, number))
        result = org_kit.run("status", "--org")
    assert result.code == 1
    (line,) = [line for line in result.err.splitlines() if "cannot be assumed" in line]
    few = ", ".join(f"member-{int(number):03} ({number})" for number in MEMBERS[:3])
    assert line.startswith(f"unknown: 5 accounts ({few} and 2 more): the role arn:aws:iam::ACCOUNT:role/mfa-kit-audit")
    assert "6 accounts: 1 read, 5 unknown" in result.err


def test_reasons_that_differ_are_printed_for_their_accounts(org_kit: MfaKit, org_lab: Lab) -> None:
    """One account has no role, and another one does not list its devices.

    Each reason contains the ID of its account.
    """
    org_lab.faults.add("GetAccountAuthorizationDetails", "denied", at="every", account=MEMBERS[1])
    org_lab.faults.add("ListVirtualMFADevices", "denied", at="every", account=MEMBERS[1])
    with without_role(org_lab, MEMBERS[0]):
        result = org_kit.run("orphans", "list", "--org")
    found = [line for line in result.err.splitlines() if line.startswith("unknown: account ")]
    assert [line.split(": ")[1] for line in found] == [f"account member-00{n} ({MEMBERS[n - 1]})" for n in (1, 2)]
    assert f"the role arn:aws:iam::{MEMBERS[0]}:role" in found[0]


def test_a_folder_that_cannot_be_made_is_a_fault_of_the_result(org_kit: MfaKit) -> None:
    """If the folder of --output-dir cannot be created, the exit code is 5, that of results that cannot be written."""
    result = org_kit.run("audit", "--org", "--output-dir", "/proc/audit")
    assert (result.code, "the folder /proc/audit cannot be used" in result.err) == (5, True), result.err


def test_a_role_that_only_enrolls_may_lack_the_account_summary(org_kit: MfaKit, org_lab: Lab) -> None:
    """Without iam:GetAccountSummary, doctor names what needs it, but reports no problem of the role that enrolls."""
    org_lab.faults.add("GetAccountSummary", "denied", at="every", account=MEMBERS[0])
    found = rows(org_kit, "doctor", "--org", "-a", MEMBERS[0], "--role-name", "mfa-kit-enroll")
    (summary,) = [row for row in found if row["check"] == "iam:GetAccountSummary"]
    assert summary["health"] != "problem"
    assert summary["found"] == "denied; audits, and plans that add or replace devices, need this permission"


def test_the_role_of_an_audit_needs_the_account_summary(org_kit: MfaKit, org_lab: Lab) -> None:
    """If the role of an audit may not call GetAccountSummary, doctor reports a problem."""
    org_lab.faults.add("GetAccountSummary", "denied", at="every", account=MEMBERS[0])
    rows(org_kit, "doctor", "--org", "-a", MEMBERS[0], code=1)


@pytest.mark.parametrize("option", [("--org",), ("--accounts", "accounts.json")])
def test_a_command_for_one_account_names_those_for_many(option: tuple[str, ...], org_kit: MfaKit) -> None:
    """For an option such as --org, enroll names the command for many accounts instead of a similar option."""
    result = org_kit.run("enroll", "alice", *option)
    assert result.code == 2
    assert f"enroll has no option {option[0]}, because this command works in one account" in result.err
    assert "to enroll users: mfa-kit rollout plan ROSTER --org -o index.json" in result.err


def baseline(folder: Path, **more: str) -> str:
    """Write a baseline that accepts that an account has no role for AWS Support. Return its path."""
    entry = {"rule": "roles.support", "subject": "*", "owner": "ops", "reason": "one account for all", **more}
    file = folder / "baseline.toml"
    file.write_text("\n".join(["[[accepted]]", *(f'{name} = "{value}"' for name, value in entry.items()), ""]))
    return str(file)


def results(kit: MfaKit, *words: str) -> dict[str, str]:
    found = json.loads(kit.run("audit", "--org", "--rule", "roles.support", "--output", "json", *words).out)["rows"]
    return {row["account"]: row["audit"]["rules"][0]["result"] for row in found}


def test_a_baseline_is_about_one_account_or_about_all(org_kit: MfaKit, tmp_path: Path) -> None:
    """An entry with an account accepts nothing in other accounts, also if one account is audited alone."""
    assert set(results(org_kit).values()) == {"fail"}
    everywhere = baseline(tmp_path, until="2999-12-31")
    assert set(results(org_kit, "--baseline", everywhere).values()) == {"accepted"}
    assert org_kit.run("audit", "--org", "--rule", "roles.support", "--baseline", everywhere).code == 0
    one = baseline(tmp_path, until="2999-12-31", account=MEMBERS[0])
    found = results(org_kit, "--baseline", one)
    assert found.pop(MEMBERS[0]) == "accepted"
    assert set(found.values()) == {"fail"}
    assert org_kit.run("audit", "--rule", "roles.support", "--baseline", one).code == 1
    wrong = org_kit.run("audit", "--org", "--baseline", baseline(tmp_path, until="2999-12-31", account="member-001"))
    assert (wrong.code, "account is not an account ID" in wrong.err) == (2, True)


def test_a_finding_that_is_gone_is_gone_in_every_account(org_kit: MfaKit, tmp_path: Path) -> None:
    """An entry is noted only if no account has its finding, and never if an account could not be read."""
    said = "accepts root.keys of root, which was not found"
    file = baseline(tmp_path, rule="root.keys", subject="root", until="2999-12-31")
    words = ("audit", "--org", "--rule", "root.keys", "--baseline", file)
    assert said in org_kit.run(*words).err


@pytest.mark.slow
def test_findings_of_many_accounts_have_stable_ids_and_times(org_kit: MfaKit, org_lab: Lab) -> None:
    """ASFF and OCSF have the findings of each account. A second run has the same IDs, and the times of the first."""

    def findings(form: str) -> list[dict[str, Any]]:
        done = org_kit.run("audit", "--org", "--rule", "roles.support", "--output", form, "--region", "eu-central-1")
        assert done.code == 1, done.err
        return json.loads(done.out) if form == "asff" else [json.loads(line) for line in done.out.splitlines()]

    first = findings("asff")
    assert sorted(each["AwsAccountId"] for each in first) == sorted(ALL)
    assert all(f":eu-central-1:{each['AwsAccountId']}:" in each["ProductArn"] for each in first)
    org_lab.faults.add("*", "clock", seconds=120)
    second = findings("asff")
    assert [each["Id"] for each in second] == [each["Id"] for each in first]
    assert [each["FirstObservedAt"] for each in second] == [each["FirstObservedAt"] for each in first]
    assert all(each["LastObservedAt"] > each["FirstObservedAt"] for each in second)
    assert {each["finding_info"]["uid"] for each in findings("ocsf")} == {each["Id"][-32:] for each in first}
