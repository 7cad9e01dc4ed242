"""A rollout in several accounts of the lab's organization: plan, apply, status and undo."""

import csv
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pyrage
import pytest

from mfa_kit.adapters.files.local_store import backup_at
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.cli import terminal
from mfa_kit.core.models import JournalState
from mfa_kit.core.otp import Png, Seed
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.organization.accounts import AccountState
from mfa_kit.qr_codes import key_uri, symbol
from tests.conftest import MfaKit, Result, interrupt
from tests.policy.test_org_role import READ, actions
from tests.rollout.conftest import key_file
from tests.sizes import size
from tests.tokens.person import Person

ACCOUNTS = 5
USERS = size(3, 40)
KILLS = size(3, 20)
ROLE = "mfa-kit-enroll"
WRITES = ("CreateVirtualMFADevice", "EnableMFADevice", "DeactivateMFADevice", "DeleteVirtualMFADevice")


@dataclass
class Accounts:
    """A folder with a roster and an index, and a lab with an organization."""

    folder: Path
    desk: MfaKit
    lab: Lab
    identity: pyrage.x25519.Identity

    @property
    def recipient(self) -> str:
        return str(self.identity.to_public())

    @property
    def index(self) -> Path:
        return self.folder / "index.json"

    @property
    def ids(self) -> list[str]:
        return [*self.lab.organization]

    @property
    def users(self) -> list[str]:
        return [user.name for user in self.lab.organization[self.ids[0]].backend.users.values()]

    def everyone(self) -> list[str]:
        """Return a roster row for each user of each account."""
        return [f"{number},{user},{self.recipient}" for number in self.ids for user in self.users]

    def roster(self, *rows: str, columns: str = "account,user,recipient") -> Path:
        path = self.folder / "roster.csv"
        path.write_text("\n".join([columns, *rows]) + "\n")
        return path

    def plan(self, *rows: str, more: tuple[str | Path, ...] = ()) -> Result:
        roster = self.roster(*(rows or self.everyone()))
        return self.desk.run("rollout", "plan", roster, "-o", self.index, "--org", "--role-name", ROLE, *more)

    def command(self, verb: str, *more: str | Path) -> tuple[str | Path, ...]:
        return ("rollout", verb, self.index, "--org", "--role-name", ROLE, *more)

    def apply(self, *more: str | Path) -> Result:
        return self.desk.run(*self.command("apply", "-r", self.recipient, *more))

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.index.read_text())
        return found

    def change(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the index."""
        document = self.document()
        change(document)
        self.index.write_text(json.dumps(document))

    def plan_of(self, number: str) -> Path:
        (place,) = [each["plan"] for each in self.document()["accounts"] if each["id"] == number]
        return self.folder / str(place)

    def outcomes(self, number: str) -> Counter[str]:
        with (self.folder / "index-results" / number / "results.csv").open() as file:
            return Counter(row["outcome"] for row in csv.DictReader(file))

    def calls(self, since: int, *operations: str) -> Counter[str]:
        """Return the successful calls per account after the first `since` calls."""
        found = self.lab.calls[since:]
        return Counter(call.account for call in found if call.operation in operations and not call.error)

    def enrolled(self, number: str) -> set[str]:
        """Return the users of an account who have a device. The device has the name of the user."""
        serials = {user: f"arn:aws:iam::{number}:mfa/{user}" for user in self.users}
        devices = self.lab.organization[number].backend.virtual_mfa_devices
        assert set(devices) <= set(serials.values())
        return {user for user, serial in serials.items() if serial in devices and self.lab.assigned(serial) == user}

    def wrong_profile(self, number: str) -> Path:
        """Write the AWS configuration with the profile `wrong`, whose credentials belong to an account."""
        config = self.folder / "config"
        arn = f"arn:aws:iam::{number}:role/{ROLE}"
        config.write_text(f"[profile wrong]\nrole_arn = {arn}\ncredential_source = Environment\n")
        return config

    def works(self) -> None:
        """Check that each user of each account has one device, and two copies of its secret that can be decrypted."""
        assert {number: self.enrolled(number) for number in self.ids} == {key: set(self.users) for key in self.ids}
        seeds: dict[tuple[str, str], list[Seed]] = {}
        for file in (self.desk.home / "backups").rglob("*"):
            if backup := backup_at(file) if file.is_file() else None:
                picture = Png(pyrage.decrypt(file.read_bytes(), [self.identity]))
                seeds.setdefault((backup.account, backup.user), []).append(key_uri.seed_of(symbol.read(picture)))
        expected = {
            (number, user): [Seed(self.lab.seed(f"arn:aws:iam::{number}:mfa/{user}"))] * 2
            for number in self.ids
            for user in self.users
        }
        assert seeds == expected
        with sqlite_ledger(self.desk.home) as ledger:
            for number in self.ids:
                assert {entry.reached for entry in ledger.made(number)} == {JournalState.CONFIRMED}
                assert list(ledger.dead(number)) == []


@pytest.fixture
def accounts(tmp_path: Path, identity: pyrage.x25519.Identity, monkeypatch: pytest.MonkeyPatch) -> Iterator[Accounts]:
    with Lab(accounts=ACCOUNTS, users_per_account=USERS, settings=LabSettings(propagation=0)) as lab:
        home = tmp_path / "home"
        for name, value in {**lab.env, "MFA_KIT_HOME": str(home)}.items():
            monkeypatch.setenv(name, value)
        folder = tmp_path / "rollout"
        folder.mkdir()
        yield Accounts(folder, MfaKit(home, lab.env), lab, identity)


def rows(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


# Plan


def test_each_account_gets_a_plan_and_the_index_has_their_hashes(accounts: Accounts) -> None:
    """A plan has the format of a single account. Rows name their account by ID or by name, or in the user's ARN."""
    first, second, third = accounts.ids[:3]
    done = accounts.plan(
        f"{first},alice,", "member-002,alice,", f",arn:aws:iam::{third}:user/alice,", more=("--output", "json")
    )
    assert done.code == 0, done.err
    found, index = json.loads(done.out), accounts.document()
    assert [each["id"] for each in index["accounts"]] == [first, second, third]
    assert [row["sha256"] for row in found["rows"]] == [each["sha256"] for each in index["accounts"]]
    assert index["counts"]["enroll"] == found["enroll"] == 3
    for number in (first, second, third):
        plan = json.loads(accounts.plan_of(number).read_text())
        assert (plan["schema"], plan["account"]) == ("mfa-kit/rollout-plan", number)
        assert [row["user"] for row in plan["rows"]] == ["alice"]
    assert {call.account for call in accounts.lab.calls} <= {"000000000000", first, second, third}


def test_every_fault_of_a_row_s_account_is_named(accounts: Accounts) -> None:
    """A user name in two accounts is not a duplicate. A user name in one account, given by name and by ID, is."""
    first, second = accounts.ids[:2]
    accounts.lab.organization.records[accounts.ids[2]].state = AccountState.SUSPENDED
    done = accounts.plan(
        f"{first},alice,",
        f"{second},alice,",
        "member-001,ALICE,",
        ",bob,",
        "99,bob,",
        "nowhere,bob,",
        "member-003,bob,",
        f"{first},arn:aws:iam::{second}:user/bob,",
    )
    assert done.code == 2
    for line in (
        "line 4, user: 'ALICE' is a duplicate of 'alice' on line 2, because IAM ignores case",
        "line 5, account: the cell is empty; write the ID or the name of an account",
        "line 6, account: '99' is not one of the chosen accounts; check the ID or the name, with the leading zeros",
        "line 7, account: 'nowhere' is not one of the chosen accounts",
        "line 8, account: account member-003 (000000000003) is SUSPENDED; remove the row",
        f"line 9, account: the row is for account {first}, but the user's ARN is for {second}",
    ):
        assert line in done.err, done.err
    assert not accounts.index.exists()


def test_for_an_account_that_is_not_chosen_no_similar_one_is_suggested(accounts: Accounts) -> None:
    """With the ID or the name of another account, the user of the same name there would get the device."""
    first, second = accounts.ids[:2]
    done = accounts.plan(f"{first},alice,", f"{second},alice,", more=("--include", first))
    assert done.code == 2
    hint = "check the ID or the name, or choose this account too"
    assert f"line 3, account: '{second}' is not one of the chosen accounts; {hint}" in done.err, done.err
    named = accounts.plan(f"{first},alice,", "member-002,alice,", more=("--include", first))
    assert f"line 3, account: 'member-002' is not one of the chosen accounts; {hint}" in named.err, named.err


def test_plan_and_status_need_only_the_role_that_reads(accounts: Accounts) -> None:
    """They assume it by default. The template of `policy org-role` allows all their calls."""
    since = len(accounts.lab.calls)
    for more in ((), ("--trust-report",)):
        done = accounts.desk.run(
            "rollout", "plan", accounts.roster(*accounts.everyone()), "-o", accounts.index, "--org", *more
        )
        assert done.code == 0, done.err
    status = accounts.desk.run("rollout", "status", accounts.index, "--org", "--output", "jsonl")
    assert Counter(row["outcome"] for row in rows(status)) == {"not started": USERS * ACCOUNTS}
    selected = ("rollout", "plan", "--tag", "team=none", "-o", accounts.index, "--org")
    assert "no account has users to plan for" in accounts.desk.run(*selected).err
    calls = [call for call in accounts.lab.calls[since:] if call.account in accounts.ids]
    assert not [call for call in calls if call.error == "AccessDenied"]
    allowed = {action.removeprefix("iam:") for action in actions(READ)}
    assert {call.operation for call in calls} - {"AssumeRole", "GetCallerIdentity"} <= allowed


def test_a_row_needs_no_account_if_one_is_chosen(accounts: Accounts) -> None:
    """All users are then in this account."""
    done = accounts.plan(",alice,", ",bob,", more=("--include", "member-004"))
    assert done.code == 0, done.err
    assert [each["id"] for each in accounts.document()["accounts"]] == [accounts.ids[3]]


def test_skipped_rows_keep_their_account(accounts: Accounts) -> None:
    """The file of --skip-bad is a roster to correct."""
    bad = accounts.folder / "bad.csv"
    done = accounts.plan("member-001,alice,", "member-009,bob,", more=("--skip-bad", bad))
    assert done.code == 0, done.err
    (row,) = csv.DictReader(bad.read_text().splitlines())
    assert (row["account"], row["user"]) == ("member-009", "bob")


def test_a_selection_works_in_each_account(accounts: Accounts) -> None:
    """Accounts without a selected user get no plan."""
    since = len(accounts.lab.calls)
    done = accounts.desk.run(
        *("rollout", "plan", "--only", "bob", "-o", accounts.index, "--org", "--role-name", ROLE, "--output", "jsonl")
    )
    assert done.code == 0, done.err
    assert {row["account"]: row["enroll"] for row in rows(done)[:-1]} == dict.fromkeys(
        [*accounts.ids, "000000000000"], 1
    )
    assert not accounts.calls(since, *WRITES)
    none = accounts.desk.run(*("rollout", "plan", "--only", "zoe", "-o", accounts.index, "--org", "--role-name", ROLE))
    assert (none.code, "in none of the accounts that were read: zoe" in none.err) == (2, True)


def test_an_account_that_cannot_be_read_has_no_plan(accounts: Accounts) -> None:
    """The other accounts have a plan. The index and the result have the reason, and the exit code is 1."""
    denied = accounts.ids[1]
    accounts.lab.faults.add("ListUsers", "denied", at="every", account=denied)
    done = accounts.plan(more=("--output", "jsonl"))
    assert done.code == 1, done.err
    assert [each["id"] for each in accounts.document()["unplanned"]] == [denied]
    assert denied not in {each["id"] for each in accounts.document()["accounts"]}
    assert {row["account"]: row["state"] for row in rows(done)[:-1]}[denied] == "unknown"


def test_a_disk_that_fills_up_leaves_the_earlier_index(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    """No new plan remains, and the plans of the earlier index are unchanged."""
    assert accounts.plan().code == 0
    before = {file: file.read_bytes() for file in accounts.folder.rglob("*.json")}
    real, written = os.fsync, []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    done = accounts.plan()
    assert done.code == 5, done.err
    assert {file: file.read_bytes() for file in accounts.folder.rglob("*.json")} == before
    monkeypatch.undo()


@pytest.mark.slow
def test_an_index_whose_devices_can_be_undone_is_not_replaced(accounts: Accounts) -> None:
    """Its plans stay too. After undo, or in another file, a new index is written."""
    row = f"{accounts.ids[0]},alice,{accounts.recipient}"
    assert accounts.plan(row).code == 0
    assert accounts.apply().code == 0
    before = {file: file.read_bytes() for file in accounts.folder.rglob("*.json")}
    refused = accounts.plan()
    assert refused.code == 2
    assert f"{accounts.index} cannot be replaced: its runs created 1 device, and undo needs this index" in refused.err
    assert {file: file.read_bytes() for file in accounts.folder.rglob("*.json")} == before
    assert accounts.plan(row, more=("-o", accounts.folder / "more.json")).code == 0
    assert accounts.desk.run(*accounts.command("undo", "--yes", "--leave-without-mfa")).code == 0
    assert accounts.plan(row).code == 0


def test_a_selection_that_matches_no_user_leaves_the_earlier_index(accounts: Accounts) -> None:
    """An index without plans is never written. The message says what to check."""
    assert accounts.plan().code == 0
    before = {file: file.read_bytes() for file in accounts.folder.rglob("*.json")}
    selection = ("--path-prefix", "/nowhere/", "-o", accounts.index, "--org", "--role-name", ROLE)
    refused = accounts.desk.run("rollout", "plan", *selection)
    assert (refused.code, "no account has users to plan for" in refused.err) == (2, True), refused.err
    assert {file: file.read_bytes() for file in accounts.folder.rglob("*.json")} == before


def test_two_indexes_never_share_a_folder_of_plans(accounts: Accounts) -> None:
    """The names of the two indexes may differ only in the ending.

    The second index leaves the plans of the first unchanged.
    """
    first, second = accounts.folder / "q3.json", accounts.folder / "q3.idx"
    row = f"{accounts.ids[0]},alice,"
    assert accounts.plan(row, more=("-o", first)).code == 0
    (before,) = accounts.folder.rglob("0*.json")
    assert accounts.plan(row, more=("-o", second)).code == 0
    assert before.exists()
    done = accounts.desk.run("rollout", "status", first, "--org")
    assert done.code == 0, done.err


# Apply


@pytest.mark.slow
def test_everyone_is_enrolled_once_in_each_account(accounts: Accounts) -> None:
    """Each account has its own results and run. A second apply makes nothing."""
    assert accounts.plan().code == 0
    since = len(accounts.lab.calls)
    done = accounts.apply("--output", "json")
    assert done.code == 0, done.err
    accounts.works()
    found = json.loads(done.out)
    assert {row["account"]: row["enrolled"] for row in found["accounts"]} == dict.fromkeys(accounts.ids, USERS)
    assert len({row["run"] for row in found["accounts"]}) == ACCOUNTS
    assert {(row["account"], row["user"]) for row in found["rows"]} == {
        (number, user) for number in accounts.ids for user in accounts.users
    }
    assert all(accounts.outcomes(number) == Counter(enrolled=USERS) for number in accounts.ids)
    assert accounts.calls(since, "EnableMFADevice") == dict.fromkeys(accounts.ids, USERS)
    since = len(accounts.lab.calls)
    assert accounts.apply().code == 0
    assert not accounts.calls(since, *WRITES)


def test_a_plan_that_was_changed_is_refused(accounts: Accounts) -> None:
    """No account is changed. --expect-sha256 compares the index with the hash that was reviewed."""
    done = accounts.plan(more=("--output", "json"))
    digest = json.loads(done.out)["sha256"]
    since = len(accounts.lab.calls)
    plan = accounts.plan_of(accounts.ids[2])
    before = plan.read_text()
    plan.write_text(before.replace("alice", "mallory"))
    refused = accounts.apply()
    assert (refused.code, f"{plan} has changed since {accounts.index} was written" in refused.err) == (2, True)
    plan.write_text(before)
    accounts.change(lambda index: index["accounts"].pop())
    refused = accounts.apply("--expect-sha256", digest)
    assert (refused.code, "is not the expected index" in refused.err) == (2, True)
    assert not accounts.calls(since, *WRITES)


def test_an_account_without_a_plan_is_refused_by_name_and_never_entered(accounts: Accounts) -> None:
    """Without --include, only the accounts of the index are opened."""
    assert accounts.plan().code == 0
    out = accounts.ids[-1]
    accounts.change(lambda index: index["accounts"].pop())
    refused = accounts.apply("--include", out)
    assert (refused.code, f"{accounts.index} has no plan for account member-005 ({out})" in refused.err) == (2, True)
    since = len(accounts.lab.calls)
    assert accounts.apply().code == 0
    assert out not in {call.account for call in accounts.lab.calls[since:]}


def test_accounts_without_a_plan_are_named(accounts: Accounts) -> None:
    """If they could not be read, apply exits with 1. If they are new in the organization, apply exits with 0."""
    first, unread = accounts.ids[:2]
    accounts.lab.faults.add("ListUsers", "denied", at="every", account=unread)
    assert accounts.plan(f"{first},alice,{accounts.recipient}", f"{unread},alice,").code == 1
    accounts.lab.faults.clear()
    commands = (
        (1, accounts.command("apply", "-r", accounts.recipient)),
        (0, accounts.command("status")),
        (0, accounts.command("undo", "--yes", "--leave-without-mfa")),
    )
    for code, command in commands:
        done = accounts.desk.run(*command)
        assert done.code == code, done.err
        assert f"no plan for account member-002 ({unread}), which rollout plan could not read: " in done.err
        assert f"{ACCOUNTS - 1} accounts not in {accounts.index}: management (000000000000), member-003" in done.err
    chosen = accounts.apply("--include", first)
    assert (chosen.code, "no plan" in chosen.err) == (0, False), chosen.err


def test_a_suspended_account_without_a_plan_is_no_error(accounts: Accounts) -> None:
    """The account is named. No user in it can be enrolled, so apply exits with 0."""
    accounts.lab.organization.records[accounts.ids[0]].state = AccountState.SUSPENDED
    selection = ("rollout", "plan", "--only", "alice", "-o", accounts.index, "--org", "--exclude", "management")
    assert accounts.desk.run(*selection).code == 0
    done = accounts.apply("--accept-lockout")
    assert (done.code, f"no plan for account member-001 ({accounts.ids[0]})" in done.err) == (0, True), done.err


def test_an_account_of_the_file_that_is_not_in_the_index_is_refused(accounts: Accounts) -> None:
    """The file names the accounts to enroll, so nothing begins. --exclude leaves such an account out."""
    first, second = accounts.ids[:2]
    assert accounts.plan(f"{first},alice,{accounts.recipient}").code == 0
    file = accounts.folder / "accounts.json"
    file.write_text(json.dumps({"accounts": [{"account_id": number, "role": ROLE} for number in (first, second)]}))
    since = len(accounts.lab.calls)
    apply = ("rollout", "apply", accounts.index, "--accounts", file, "-r", accounts.recipient)
    refused = accounts.desk.run(*apply)
    assert (refused.code, f"{accounts.index} has no plan for account {second}" in refused.err) == (2, True)
    assert not accounts.calls(since, *WRITES)
    assert accounts.desk.run(*apply, "--exclude", second).code == 0


def test_an_account_of_the_index_that_is_gone_is_reported(accounts: Accounts) -> None:
    """So is a suspended account. The other accounts are done, and the exit code is 1."""
    assert accounts.plan().code == 0
    gone, suspended = accounts.ids[0], accounts.ids[1]
    del accounts.lab.organization.records[gone]
    accounts.lab.organization.records[suspended].state = AccountState.SUSPENDED
    done = accounts.apply("--output", "json")
    assert done.code == 1, done.err
    states = {row["account"]: (row["state"], row["why"]) for row in json.loads(done.out)["accounts"]}
    assert states[gone] == ("skipped", "the account is not listed any more")
    assert states[suspended] == ("skipped", "the account is SUSPENDED")
    assert accounts.outcomes(accounts.ids[-1]) == Counter(enrolled=USERS)


def test_an_account_that_answers_with_another_id_gets_no_write(accounts: Accounts) -> None:
    """mfa-kit first calls GetCallerIdentity in each account. The other accounts continue."""
    assert accounts.plan().code == 0
    first, second = accounts.ids[:2]
    file = accounts.folder / "accounts.json"
    listed = [{"account_id": number, "role": ROLE} for number in accounts.ids]
    listed[0]["profile"] = "wrong"
    del listed[0]["role"]
    file.write_text(json.dumps({"accounts": listed}))
    config = accounts.wrong_profile(second)
    since = len(accounts.lab.calls)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_CONFIG_FILE", str(config))
        patch.setenv("HOME", str(accounts.folder))  # the cache of the AWS CLI has sessions of another lab
        done = accounts.desk.run(
            "rollout", "apply", accounts.index, "--accounts", file, "-r", accounts.recipient, "--output", "json"
        )
    assert done.code == 1, done.err
    (row,) = [row for row in json.loads(done.out)["accounts"] if row["account"] == first]
    assert row["state"] == "failed"
    assert f"belong to account {second}" in row["why"]
    assert accounts.calls(since, "CreateVirtualMFADevice") == dict.fromkeys(accounts.ids[1:], USERS)


@pytest.mark.slow
def test_a_lockout_in_one_account_stops_the_whole_rollout(accounts: Accounts) -> None:
    """All accounts are checked before anything begins. The error names the users with their accounts."""
    assert accounts.plan(*accounts.everyone()[:-1], f"{accounts.ids[-1]},{accounts.users[-1]},").code == 0
    since = len(accounts.lab.calls)
    done = accounts.apply()
    assert done.code == 6
    assert f"{accounts.users[-1]} in member-005 ({accounts.ids[-1]})" in done.err
    assert not accounts.calls(since, *WRITES)
    assert accounts.apply("--accept-lockout").code == 0
    accounts_done = {number: len(accounts.enrolled(number)) for number in accounts.ids}
    assert accounts_done == dict.fromkeys(accounts.ids, USERS)


@pytest.mark.slow
def test_the_failure_of_an_account_ends_that_account_only(accounts: Accounts) -> None:
    """A denied account and an account whose session expires are reported. The same command then does the rest."""
    assert accounts.plan().code == 0
    denied, expired = accounts.ids[:2]
    accounts.lab.faults.add("ListVirtualMFADevices", "denied", at="every", account=denied)
    accounts.lab.faults.add("*", "expired", at="every", account=expired)
    done = accounts.apply("--output", "json")
    assert done.code == 1, done.err
    states = {row["account"]: row["state"] for row in json.loads(done.out)["accounts"]}
    assert states == {**dict.fromkeys(accounts.ids, "done"), denied: "failed", expired: "failed"}
    assert "failed: account member-001 (000000000001)" in done.err
    accounts.lab.faults.clear()
    assert accounts.apply().code == 0
    accounts.works()


def test_if_no_account_works_the_exit_code_is_that_of_the_errors(accounts: Accounts) -> None:
    """All accounts are denied here."""
    assert accounts.plan().code == 0
    accounts.lab.faults.add("ListVirtualMFADevices", "denied", at="every")
    done = accounts.apply()
    assert (done.code, "all accounts failed" in done.err) == (4, True)


def test_if_no_account_can_be_opened_the_exit_code_is_4(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verbs that read exit with 4 too, although the error is a wrong profile in the accounts file."""
    first, second = accounts.ids[:2]
    assert accounts.plan(f"{first},alice,{accounts.recipient}").code == 0
    monkeypatch.setenv("AWS_CONFIG_FILE", str(accounts.wrong_profile(second)))
    monkeypatch.setenv("HOME", str(accounts.folder))  # the cache of the AWS CLI has sessions of another lab
    file = accounts.folder / "accounts.json"
    file.write_text(json.dumps({"accounts": [{"account_id": first, "profile": "wrong"}]}))
    done = accounts.desk.run("rollout", "apply", accounts.index, "--accounts", file, "-r", accounts.recipient)
    assert (done.code, f"belong to account {second}" in done.err) == (4, True), done.err
    # The session of the profile's role stays in memory.
    assert not (accounts.folder / ".aws").exists()
    status = accounts.desk.run("rollout", "status", accounts.index, "--accounts", file)
    assert (status.code, f"belong to account {second}" in status.err) == (4, True), status.err


@pytest.mark.slow
def test_a_throttled_account_does_not_slow_other_accounts(accounts: Accounts) -> None:
    """AWS refuses all its calls until the other accounts are done. None of their calls is refused."""
    assert accounts.plan().code == 0
    slow, others = accounts.ids[0], accounts.ids[1:]
    accounts.lab.faults.add("CreateVirtualMFADevice", "throttle", at="every", account=slow)
    process = accounts.desk.fork(*accounts.command("apply", "-r", accounts.recipient, "--output", "jsonl"))
    assert process.stdout
    done: Counter[str] = Counter()
    while sum(done.values()) < USERS * len(others):
        row = json.loads(process.stdout.readline())
        done[row["account"]] += "user" in row
    assert done == dict.fromkeys(others, USERS)
    assert not any(call.error for call in accounts.lab.calls if call.account in others)
    accounts.lab.faults.clear()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert sum('"user"' in line for line in out.splitlines()) == USERS
    accounts.works()


@pytest.mark.slow
def test_ctrl_c_ends_all_accounts_in_order_and_the_same_command_continues(accounts: Accounts) -> None:
    """Users in progress are finished, and no device is half-made. The exit code is 130, and a note has the command."""
    assert accounts.plan().code == 0
    accounts.lab.faults.add("*", "latency", at="every", seconds=0.1)
    since = len(accounts.lab.calls)
    process = accounts.desk.fork(
        *accounts.command("apply", "-r", accounts.recipient, "--workers", "1", "--output", "jsonl")
    )
    while not accounts.calls(since, "EnableMFADevice"):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "to continue: mfa-kit rollout apply" in err
    enrolled = {(row["account"], row["user"]) for row in map(json.loads, out.splitlines()) if row.get("user")}
    assert 0 < len(enrolled) < USERS * ACCOUNTS
    with sqlite_ledger(accounts.desk.home) as ledger:
        for number in accounts.ids:
            assert list(ledger.dead(number)) == []
            assert {entry.spec.user for entry in ledger.made(number)} == accounts.enrolled(number)
    accounts.lab.faults.clear()
    assert accounts.apply().code == 0
    accounts.works()


@pytest.mark.slow
def test_ctrl_c_ends_an_account_that_is_being_opened(accounts: Accounts) -> None:
    """AWS throttles its first call, which would be repeated for ten minutes. The users of other accounts are done."""
    assert accounts.plan().code == 0
    slow, since = accounts.ids[0], len(accounts.lab.calls)
    accounts.lab.faults.add("GetCallerIdentity", "throttle", at="every", account=slow)
    process = accounts.desk.fork(*accounts.command("apply", "-r", accounts.recipient, "--output", "jsonl"))
    while accounts.calls(since, "EnableMFADevice").total() < USERS * (ACCOUNTS - 1):
        time.sleep(0.01)
    assert any(call.error for call in accounts.lab.calls[since:] if call.account == slow)
    interrupt(process)
    assert not accounts.enrolled(slow)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_after_any_kill_everyone_is_enrolled_once(accounts: Accounts) -> None:
    """After SIGKILL in the middle, the same command settles half-made devices in each account, and does the rest."""
    assert accounts.plan().code == 0
    since, total = len(accounts.lab.calls), USERS * ACCOUNTS
    command = accounts.command("apply", "-r", accounts.recipient, "--output", "jsonl")
    kills = 0
    for number in range(KILLS):
        accounts.lab.faults.clear()
        accounts.lab.faults.add("*", "latency", at="every", seconds=0.03)
        goal = (number + 1) * total // (KILLS + 1)
        process = accounts.desk.fork(*command, stdout=None, stderr=None)
        while accounts.calls(since, "EnableMFADevice").total() < goal and process.poll() is None:
            time.sleep(0.005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    accounts.lab.faults.clear()
    done = accounts.desk.process(*command, timeout=3000)
    assert done.code == 0, done.err[-2000:]
    assert kills
    accounts.works()


@pytest.mark.slow
def test_credentials_that_expire_pause_all_accounts_until_a_new_sign_in(accounts: Accounts) -> None:
    """The new keys are written to the profile. Each account begins a new session with them, and no user fails."""
    assert accounts.plan().code == 0
    keys, lab = accounts.folder / "credentials", accounts.lab
    old = lab.account.admin_key()
    write_keys(keys, old)
    env = {"AWS_SHARED_CREDENTIALS_FILE": str(keys), "AWS_PROFILE": "hub", "AWS_ACCESS_KEY_ID": ""}
    process = accounts.desk.fork(
        *accounts.command("apply", "-r", accounts.recipient, "--output", "jsonl"),
        before=("env", "-u", "AWS_ACCESS_KEY_ID", "-u", "AWS_SECRET_ACCESS_KEY"),
        env=env,
    )
    since = len(lab.calls)
    while len(accounts.calls(since, "CreateVirtualMFADevice")) < ACCOUNTS:
        time.sleep(0.01)
    lab.faults.add("*", "expired", at="every")
    while not any(call.error and call.operation == "AssumeRole" for call in lab.calls[since:]):
        time.sleep(0.01)
    write_keys(keys, lab.account.backend.create_access_key("lab-admin"))
    old.status = "Inactive"
    again = len(lab.calls)
    lab.faults.clear()
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert sum(call.operation == "AssumeRole" for call in lab.calls[again:]) >= ACCOUNTS
    assert "the credentials work again" in err
    assert Counter(row.get("outcome") for row in map(json.loads, out.splitlines()) if "user" in row) == Counter(
        enrolled=USERS * ACCOUNTS
    )
    accounts.works()


def write_keys(file: Path, key: Any) -> None:
    """Write an access key as the profile `hub`."""
    file.write_text(
        f"[hub]\naws_access_key_id = {key.access_key_id}\naws_secret_access_key = {key.secret_access_key}\n"
    )


@pytest.mark.slow
def test_the_log_of_events_names_the_account_that_failed(accounts: Accounts) -> None:
    """The message of IAM, which has the ARN of the role, is not in the log."""
    assert accounts.plan().code == 0
    accounts.lab.faults.add("ListVirtualMFADevices", "denied", at="every", account=accounts.ids[0])
    done = accounts.apply("--log", "json")
    accounts.lab.faults.clear()
    rows = [json.loads(line) for line in done.err.splitlines()]
    failed = [(row["account"], row["cause"]) for row in rows if row["event"] == "account failed"]
    assert failed == [(accounts.ids[0], "AccessDenied")]
    assert Counter(row["event"] for row in rows)["enrolled"] == USERS * (len(accounts.ids) - 1)
    assert "arn:" not in done.err


# Status and undo


@pytest.mark.slow
def test_status_shows_the_users_of_all_accounts(accounts: Accounts) -> None:
    """An account that cannot be read has one row, and the exit code is 1. The HTML page shows the same."""
    assert accounts.plan().code == 0
    assert accounts.apply("--include", "member-001").code == 0
    accounts.lab.faults.add("ListVirtualMFADevices", "denied", at="every", account=accounts.ids[1])
    done = accounts.desk.run(*accounts.command("status", "--output", "jsonl"))
    assert done.code == 1, done.err
    states = Counter((row["account_name"], row["outcome"]) for row in rows(done))
    assert states["member-001", "enrolled"] == states["member-003", "not started"] == USERS
    assert states["member-002", "unknown"] == 1
    page = accounts.desk.run(*accounts.command("status", "--output", "html"))
    assert page.code == 1
    assert f"{USERS} of {USERS * 4} users have an MFA device" in page.out


@pytest.mark.slow
def test_an_index_is_handed_over_and_reminded_of_in_all_accounts(accounts: Accounts) -> None:
    """A folder per account, and one table. An account that cannot be read costs only itself."""
    first, second, third = accounts.ids[:3]
    rows_of = [
        f"{number},{user},{accounts.recipient}" for number in (first, second, third) for user in ("alice", "bob")
    ]
    accounts.plan(*rows_of, f"{second},carol,")
    staged = accounts.apply("--stage")
    assert (staged.code, "handover" in staged.err) == (0, True)
    assert f"mfa-kit rollout handover {accounts.index} -o DIR; with the options for accounts" in staged.err
    accounts.lab.organization.records[third].state = AccountState.SUSPENDED
    out = accounts.folder / "out"
    listed = accounts.desk.run("rollout", "remind", accounts.index, "--org", "--output", "json")
    reminded = json.loads(listed.out)["rows"]
    names = [(first, "alice"), (first, "bob"), (second, "alice"), (second, "bob")]
    assert [(row["account"], row["user"]) for row in reminded] == [*names, (second, "carol")]
    assert {row["waiting_for"] for row in reminded} == {"proof"}
    dry = accounts.desk.run("rollout", "handover", accounts.index, "--org", "-o", out, "--output", "json", "--dry-run")
    assert (json.loads(dry.out)["users"], out.exists()) == (4, False)
    since = len(accounts.lab.calls)
    done = accounts.desk.run("rollout", "handover", accounts.index, "--org", "-o", out, "--output", "json")
    found = json.loads(done.out)
    assert [(row["account"], row["user"]) for row in found["rows"]] == names
    assert [(row["account"], row["user"]) for row in found["left_out"]] == [(second, "carol")]
    assert f"no file for 1 user (carol in {second})" in done.err
    assert not accounts.calls(since, *WRITES)
    with (out / "handover.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [(row["account"], row["user"]) for row in table] == names
    for row in table:
        sealed = Path(row["file"])
        assert sealed.parent == out / row["account"] / row["user"]
        seed = key_uri.seed_of(symbol.read(Png(pyrage.decrypt(sealed.read_bytes(), [accounts.identity]))))
        assert seed == Seed(accounts.lab.seed(row["device"]))
        assert row["account"] in (sealed.parent / "letter.txt").read_text()
    one = accounts.desk.run(
        "rollout", "handover", accounts.index, "--org", "--include", second, "-o", out.with_name("2")
    )
    assert (one.code, [path.name for path in out.with_name("2").iterdir() if path.is_dir()]) == (0, [second])
    letters = out.with_name("letters")
    options = ("--passphrase-files", "-i", key_file(accounts.identity, accounts.folder), "--passphrases", letters)
    with mock.patch.object(terminal, "find_person", return_value=Person()):
        accounts.desk.run("rollout", "handover", accounts.index, "--org", "-o", out.with_name("3"), *options)
    [sealed] = (out.with_name("3") / second / "carol").iterdir()
    assert (letters / second / "carol" / sealed.name.replace(".png.age", ".html")).is_file()


@pytest.mark.slow
def test_an_account_that_cannot_be_read_is_not_handed_over(accounts: Accounts) -> None:
    """The others are, and the exit code is 1. A run is of one account, and an index needs the options for accounts."""
    first, second = accounts.ids[:2]
    accounts.plan(f"{first},alice,{accounts.recipient}", f"{second},alice,{accounts.recipient}")
    assert accounts.apply().code == 0
    accounts.lab.faults.add("ListVirtualMFADevices", "denied", at="every", account=second)
    out = accounts.folder / "out"
    done = accounts.desk.run("rollout", "handover", accounts.index, "--org", "-o", out)
    assert (done.code, [path.name for path in out.iterdir() if path.is_dir()]) == (1, [first])
    assert f"unknown: account member-002 ({second}): " in done.err
    run = accounts.desk.run("rollout", "handover", "20200101T000000Z-00000000", "--org", "-o", out.with_name("run"))
    assert (run.code, "a run belongs to one account" in run.err) == (2, True)
    for verb in (("handover", accounts.index, "-o", out.with_name("no")), ("remind", accounts.index)):
        refused = accounts.desk.run("rollout", *verb)
        assert (refused.code, f"give the plan of one account from {accounts.index.name}-plans" in refused.err) == (
            2,
            True,
        )


@pytest.mark.slow
def test_undo_removes_the_devices_of_all_runs_of_an_index(accounts: Accounts) -> None:
    """It works in all accounts or in chosen ones.

    A user's last device needs --leave-without-mfa. Other devices stay.
    """
    assert accounts.plan().code == 0
    first = accounts.ids[0]
    assert accounts.apply().code == 0
    refused = accounts.desk.run(*accounts.command("undo", "--yes", "--output", "jsonl"))
    assert refused.code == 6
    assert any(
        f"mfa-kit enroll {accounts.users[0]} --add --account {first}" in row["reason"]
        for row in rows(refused)
        if "user" in row
    )
    undo = accounts.command("undo", "--yes", "--leave-without-mfa")
    assert accounts.desk.run(*undo, "--include", first).code == 0
    assert [len(accounts.enrolled(number)) for number in accounts.ids] == [0, *[USERS] * (ACCOUNTS - 1)]
    dry = accounts.desk.run(*undo, "--dry-run")
    assert f"{USERS * (ACCOUNTS - 1)} devices in {ACCOUNTS - 1} accounts would be removed" in dry.err
    assert accounts.desk.run(*undo).code == 0
    assert [len(accounts.enrolled(number)) for number in accounts.ids] == [0] * ACCOUNTS
    again = accounts.desk.run(*undo)
    assert (again.code, "is already undone" in again.err) == (0, True)


def test_a_missing_plan_of_an_index_is_not_to_be_created(accounts: Accounts) -> None:
    """The hint names the folder of the plans, because a plan that is created now has another SHA-256."""
    assert accounts.plan().code == 0
    missing = accounts.plan_of(accounts.ids[1])
    missing.unlink()
    done = accounts.apply()
    assert (done.code, f"{missing} cannot be read: No such file or directory" in done.err) == (2, True), done.err
    hint = f"restore the folder {missing.parent}, which contains the plans of {accounts.index}, or plan again"
    assert hint in done.err


@pytest.mark.slow
def test_undo_needs_no_plan_file(accounts: Accounts) -> None:
    """One plan is changed and one is missing. The index has the hashes by which the runs are found."""
    assert accounts.plan().code == 0
    assert accounts.apply().code == 0
    accounts.plan_of(accounts.ids[0]).write_text("changed")
    accounts.plan_of(accounts.ids[1]).unlink()
    done = accounts.desk.run(*accounts.command("undo", "--yes", "--leave-without-mfa"))
    assert done.code == 0, done.err
    assert [len(accounts.enrolled(number)) for number in accounts.ids] == [0] * ACCOUNTS


@pytest.mark.slow
def test_undo_counts_only_the_devices_that_it_can_remove(accounts: Accounts) -> None:
    """Devices in suspended and unlisted accounts are reported. If there are no others, the exit code is 2."""
    first, second, third = accounts.ids[:3]
    assert accounts.plan(*[f"{number},alice,{accounts.recipient}" for number in (first, second, third)]).code == 0
    assert accounts.apply().code == 0
    accounts.lab.organization.records[first].state = AccountState.SUSPENDED
    del accounts.lab.organization.records[second]
    undo = accounts.command("undo", "--leave-without-mfa")
    dry = accounts.desk.run(*undo, "--dry-run")
    assert "1 device in 1 account would be removed" in dry.err
    assert f"will not be removed: 1 device in account member-001 ({first}): the account is SUSPENDED" in dry.err
    assert (
        f"will not be removed: 1 device in account member-002 ({second}): the account is not listed any more" in dry.err
    )
    assert accounts.desk.run(*undo, "--yes").code == 1
    assert [len(accounts.enrolled(number)) for number in (first, third)] == [1, 0]
    again = accounts.desk.run(*undo, "--yes")
    assert (again.code, "are in accounts that cannot be used now" in again.err) == (2, True)


def test_an_index_and_a_plan_are_distinguished(accounts: Accounts) -> None:
    """An index needs --accounts or --org, and a plan must not have them."""
    assert accounts.plan().code == 0
    alone = accounts.desk.run("rollout", "apply", accounts.index, "-r", accounts.recipient)
    assert (alone.code, "is an index of the plans of several accounts, not a plan" in alone.err) == (2, True)
    plan = accounts.plan_of(accounts.ids[0])
    wrong = accounts.desk.run("rollout", "apply", plan, "--org", "--role-name", ROLE, "-r", accounts.recipient)
    assert (wrong.code, "is not an index of plans" in wrong.err) == (2, True)


def test_dry_runs_write_nothing(accounts: Accounts) -> None:
    """Dry runs write no files and make no devices."""
    assert accounts.plan(more=("--dry-run",)).code == 0
    assert not accounts.index.exists()
    assert accounts.plan().code == 0
    since = len(accounts.lab.calls)
    done = accounts.apply("--dry-run", "--output", "json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["counts"] == {"not_started": USERS * ACCOUNTS}
    assert not accounts.calls(since, *WRITES)
    assert not (accounts.folder / "index-results").exists()


def test_a_dry_run_shows_accounts_without_a_run_as_not_started(accounts: Accounts) -> None:
    """Nothing was tried in them, so nothing failed."""
    assert accounts.plan().code == 0
    done = accounts.apply("--dry-run", "--output", "jsonl")
    states = [row["state"] for row in rows(done) if "state" in row]
    assert (done.code, states) == (0, ["not started"] * ACCOUNTS), done.out


def test_the_results_of_another_index_are_not_replaced(accounts: Accounts) -> None:
    """Two indexes that differ in the extension of their names would have the same folder. Nothing begins."""
    first = accounts.ids[0]
    assert accounts.plan(f"{first},alice,{accounts.recipient}").code == 0
    assert accounts.apply().code == 0
    before = accounts.outcomes(first)
    other = accounts.index.with_suffix(".idx")
    roster = accounts.roster(f"{first},bob,{accounts.recipient}")
    more = ("--org", "--role-name", ROLE)
    assert accounts.desk.run("rollout", "plan", roster, "-o", other, *more).code == 0
    since = len(accounts.lab.calls)
    done = accounts.desk.run("rollout", "apply", other, *more, "-r", accounts.recipient)
    assert (done.code, f"{first} has the results of index.json" in done.err) == (2, True), done.err
    assert not accounts.calls(since, *WRITES)
    assert accounts.outcomes(first) == before
    done = accounts.desk.run(
        "rollout", "apply", other, *more, "-r", accounts.recipient, "--results", accounts.folder / "other"
    )
    assert done.code == 0, done.err


def test_status_forgets_a_failure_after_a_success(accounts: Accounts) -> None:
    """After the undo of a later run the user is not started, and has not failed."""
    first = accounts.ids[0]
    assert accounts.plan(f"{first},alice,{accounts.recipient}").code == 0
    accounts.lab.faults.add("EnableMFADevice", "denied", at="next", account=first)
    assert accounts.apply().code == 1
    assert accounts.apply().code == 0
    undo = accounts.command("undo", "--yes", "--leave-without-mfa")
    assert accounts.desk.run(*undo).code == 0
    status = accounts.desk.run(*accounts.command("status", "--output", "json"))
    (row,) = json.loads(status.out)["rows"]
    assert (row["outcome"], row["reason"]) == ("not started", None)


def test_the_state_of_an_account_counts_its_users(accounts: Accounts) -> None:
    """If all its users failed, it failed; if some did, it is partly done."""
    first, second, third = accounts.ids[:3]
    alice, bob = accounts.users[:2]
    rows_of_roster = [
        f"{number},{user},{accounts.recipient}" for number in (first, second, third) for user in (alice, bob)
    ]
    assert accounts.plan(*rows_of_roster).code == 0
    accounts.lab.faults.add("CreateVirtualMFADevice", "denied", at="every", account=first)
    accounts.lab.faults.add("EnableMFADevice", "denied", at="next", account=second)
    done = accounts.apply("--output", "json")
    assert done.code == 1
    states = {row["account"]: row["state"] for row in json.loads(done.out)["accounts"]}
    assert states == {first: "failed", second: "partly done", third: "done"}


def test_a_role_that_may_not_write_is_named_once(accounts: Accounts) -> None:
    """The first refusal says which role may write, and at the end a line names all accounts."""
    first, second = accounts.ids[:2]
    assert accounts.plan(*(f"{number},{user}," for number in (first, second) for user in accounts.users[:2])).code == 0
    done = accounts.desk.run(
        *("rollout", "apply", accounts.index, "--org", "--role-name", "mfa-kit-audit"),
        *("-r", accounts.recipient, "--accept-lockout"),
    )
    assert done.code == 1
    assert done.err.count("mfa-kit-audit/mfa-kit is not allowed to change MFA devices") == 1
    assert done.err.count("--role-name mfa-kit-enroll") == 1
    assert "denied: 2 accounts (" in done.err


def test_blocked_users_have_a_next_step(accounts: Accounts) -> None:
    """The plan and the run say how many cannot be enrolled, and what to do."""
    for done in (
        accounts.plan(f"{accounts.ids[0]},nobody,", f"{accounts.ids[1]},alice,"),
        accounts.apply("--accept-lockout"),
    ):
        assert '1 user cannot be enrolled, because the plan says "blocked"' in done.err
        assert "try: correct their rows in the roster, and plan again" in done.err
    assert done.code == 1


def test_the_summary_of_the_plans_counts_backups_that_only_their_user_can_open(accounts: Accounts) -> None:
    """A narrow table of the accounts has no room for the column."""
    done = accounts.plan(*accounts.everyone(), f"{accounts.ids[0]},nobody,")
    assert f"no admin backup  {USERS * ACCOUNTS}, unless apply gets -r" in done.out.splitlines()


def test_an_account_with_a_similar_name_is_suggested(accounts: Accounts) -> None:
    """A name that no account has is often misspelled."""
    done = accounts.plan("member-0001,alice,")
    assert "'member-0001' is not one of the chosen accounts; did you mean 'member-001'?" in done.err
    assert "  try: fix the error, or skip the row with --skip-bad FILE" in done.err.splitlines()


@pytest.mark.slow
def test_ctrl_c_does_not_wait_for_a_throttled_assume_role(accounts: Accounts) -> None:
    """The pause between its attempts ends, and the message names the accounts in which users are finished."""
    assert accounts.plan().code == 0
    accounts.lab.faults.add("AssumeRole", "throttle", at="every")
    since = len(accounts.lab.calls)
    process = accounts.desk.fork(*accounts.command("apply", "-r", accounts.recipient))
    while sum(call.error == "Throttling" for call in accounts.lab.calls[since:]) < 3 * ACCOUNTS:
        time.sleep(0.05)
    before = len(accounts.lab.calls)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert len(accounts.lab.calls) - before < 3
    assert "Stopping: finishing what is in progress" in err


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait_for_a_response(accounts: Accounts) -> None:
    """The first one names the account in which users are in progress. The next run settles what was begun."""
    first = accounts.ids[0]
    assert accounts.plan(f"{first},alice,{accounts.recipient}").code == 0
    accounts.lab.faults.add("EnableMFADevice", "latency", at="every", seconds=90)
    process = accounts.desk.fork(*accounts.command("apply", "-r", accounts.recipient))
    while not any(call.operation == "CreateVirtualMFADevice" for call in accounts.lab.calls):
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    err = interrupt(process, within=20)
    assert f"Stopping: finishing the users in progress in member-001 ({first})." in err
    accounts.lab.faults.clear()


@pytest.mark.slow
def test_a_throttled_account_leaves_its_place_to_another(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    """One account at a time is worked on. The others are done while AWS throttles the first one."""
    assert accounts.plan().code == 0
    slow, since = accounts.ids[0], len(accounts.lab.calls)
    accounts.lab.faults.add("CreateVirtualMFADevice", "throttle", at="every", account=slow)
    monkeypatch.setattr("mfa_kit.wiring.rollout.ACCOUNTS", 1)
    ended = threading.Event()

    def clear() -> None:
        while not ended.is_set() and accounts.calls(since, "EnableMFADevice").total() < USERS * (ACCOUNTS - 1):
            time.sleep(0.05)
        accounts.lab.faults.clear()

    clearing = threading.Thread(target=clear)
    clearing.start()
    try:
        done = accounts.apply()
    finally:
        ended.set()
        clearing.join()
    assert done.code == 0, done.err
    accounts.works()
