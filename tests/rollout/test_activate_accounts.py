"""`rollout activate` in several accounts of the lab's organization."""

import base64
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pyotp

from tests.conftest import Result
from tests.rollout.test_accounts import ACCOUNTS, ROLE, USERS, Accounts, accounts  # noqa: F401 - a fixture


def activate(at: Accounts, identity_file: Path, *more: str | Path) -> Result:
    return at.desk.run("rollout", "activate", "--org", "--role-name", ROLE, "-i", identity_file, *more)


def staged(at: Accounts) -> None:
    """Stage devices for everyone."""
    assert at.plan().code == 0
    done = at.apply("--stage")
    assert done.code == 0, done.err


def test_staged_devices_of_all_accounts_are_activated(accounts: Accounts, identity_file: Path) -> None:  # noqa: F811
    """First those of one account, then the others. A dry run enables nothing, and a second run finds nothing to do."""
    staged(accounts)
    first, *others = accounts.ids
    dry = activate(accounts, identity_file, "--dry-run", "--output", "json")
    assert (dry.code, json.loads(dry.out)["counts"]) == (0, {"staged": ACCOUNTS * USERS}), dry.err
    done = activate(accounts, identity_file, "-a", first)
    assert done.code == 0, done.err
    assert [number for number in others if number in done.err] == []
    assert [accounts.enrolled(number) for number in accounts.ids] == [set(accounts.users), *(set() for _ in others)]
    done = activate(accounts, identity_file, "--output", "json")
    assert done.code == 0, done.err
    shown = json.loads(done.out)
    assert shown["counts"] == {"enrolled": len(others) * USERS}
    assert sorted(each["account"] for each in shown["accounts"]) == sorted(others)
    accounts.works()
    again = activate(accounts, identity_file)
    assert (again.code, "no device is staged on this computer in these accounts" in again.err) == (0, True), again.err


def test_the_warning_about_lockout_names_the_account(accounts: Accounts, identity_file: Path) -> None:  # noqa: F811
    """And its command works in this account only."""
    first, second, *_ = accounts.ids
    rows = [f"{number},{accounts.users[0]}" for number in (first, second)]
    accounts.index.unlink(missing_ok=True)
    roster = accounts.roster(*rows, columns="account,user")
    plan = accounts.desk.run("rollout", "plan", roster, "-o", accounts.index, "--org", "--role-name", ROLE)
    assert plan.code == 0, plan.err
    done = accounts.apply("--stage", "--accept-lockout")
    assert done.code == 0, done.err
    warned = activate(accounts, identity_file, "--dry-run").err.split("warning: ")[1:]
    assert len(warned) == 2
    for number in (first, second):
        assert [f"--account {number}" in text for text in warned].count(True) == 1, warned


def test_accounts_in_which_nothing_staged_is_known_are_named(
    accounts: Accounts,  # noqa: F811
    identity_file: Path,
) -> None:
    """No call is made there. After a loss, the status of the index shows what is staged."""
    staged(accounts)
    first = accounts.ids[0]
    with sqlite3.connect(accounts.desk.home / "ledger.sqlite") as ledger:
        ledger.execute("delete from journal where serial like ?", [f"%:{first}:%"])
    since = len(accounts.lab.calls)
    done = activate(accounts, identity_file)
    assert (done.code, first in {call.account for call in accounts.lab.calls[since:]}) == (0, False), done.err
    (unread,) = [line for line in done.err.splitlines() if line.startswith("no device is known to be staged in ")]
    assert f"({first})" in unread
    assert unread.endswith("so nothing was read there; to see their devices: mfa-kit rollout status INDEX")
    assert [accounts.enrolled(number) for number in accounts.ids[1:]] == [set(accounts.users)] * (ACCOUNTS - 1)
    shown = accounts.desk.run(*accounts.command("status", "--output", "json"))
    outcomes = {row["outcome"] for row in json.loads(shown.out)["rows"] if row["account"] == first}
    assert outcomes == {"staged"}


def test_proofs_enable_only_the_device_that_they_prove(accounts: Accounts, identity_file: Path) -> None:  # noqa: F811
    """The codes are those of the user's device in one account. The other devices stay staged."""
    staged(accounts)
    number, user = accounts.ids[1], accounts.users[0]
    now = accounts.lab.organization[number].now()
    phone = pyotp.TOTP(base64.b32encode(accounts.lab.seed(f"arn:aws:iam::{number}:mfa/{user}")).decode())
    proofs, at = accounts.folder / "proofs.csv", datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds")
    head, line = "user,code1,code2,time", f"{user},{phone.at(now - 30)},{phone.at(now)},{at}"
    proofs.write_text(f"{head}\n{line}\nnobody,123456,654321,{at}\n")
    done = activate(accounts, identity_file, "--proofs", proofs, "--output", "json")
    assert done.code == 6, done.err
    assert "no device is staged on this computer for nobody" in done.err
    outcomes = {row["account"]: row["outcome"] for row in json.loads(done.out)["rows"]}
    assert outcomes == {each: "enrolled" if each == number else "refused" for each in accounts.ids}
    assert {each: accounts.enrolled(each) for each in accounts.ids} == {
        each: {user} if each == number else set() for each in accounts.ids
    }


def test_a_call_about_one_device_has_no_accounts(accounts: Accounts, identity_file: Path) -> None:  # noqa: F811
    """--prompt asks for the codes of one device, so its account has to be named by the credentials."""
    done = activate(accounts, identity_file, "--prompt", "alice")
    assert (done.code, "--prompt is for one device" in done.err) == (2, True), done.err
