"""Accounts that are opened with a profile whose credentials need a code, and the behavior after a wrong code."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mfa_kit.adapters.aws.clients import Connection
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.aws.member_sessions import MemberSessions, OwnCredentials
from mfa_kit.core.errors import AccessDenied, Declined, Expired, NoSuchEntity
from mfa_kit.core.message import Message, mfa_kit, suggest
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.organization.accounts import OrgAccount, in_account
from tests.conftest import ACCOUNT, MfaKit
from tests.lab.client import PERIOD, Aws, code, document, stop_the_clock

MEMBERS = ("000000000001", "000000000002")


@dataclass
class Desk:
    """Answers prompts for a code with the current code of alice's device, or with `typed` if that is set."""

    lab: Lab
    serial: str = ""
    seed: bytes = b""
    typed: str = ""
    prompts: list[str] = field(default_factory=list)

    def ask(self, serial: str) -> str:
        self.prompts.append(serial)
        return self.typed or code(self.seed, int(self.lab.account.now()) // PERIOD)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Write a configuration: `base` has the keys of alice, who has a device, and each member has a profile based on it.

    `keys` is a profile with the keys of alice and `mfa_serial`. The members' roles require MFA.
    """
    with Lab(accounts=len(MEMBERS), users_per_account=1, settings=LabSettings(propagation=0)) as lab:
        stop_the_clock(lab, monkeypatch)
        admin = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
        serial = admin.enrolled("alice")
        allow = document({"Action": "*", "Resource": "*"})
        admin.iam.put_user_policy(UserName="alice", PolicyName="p", PolicyDocument=allow)
        key = lab.account.backend.create_access_key("alice")
        keys = f"aws_access_key_id = {key.access_key_id}\naws_secret_access_key = {key.secret_access_key}\n"
        lines = [f"[profile base]\n{keys}", f"[profile keys]\n{keys}mfa_serial = {serial}\n"]
        for number in MEMBERS:
            trust = document(
                {
                    "Action": "sts:AssumeRole",
                    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
                    "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}},
                }
            )
            role = lab.organization[number].backend.create_role("with-mfa", trust, "/", None, "", [], "3600")
            role.policies["all"] = allow
            lines.append(
                f"[profile in-{number}]\nrole_arn = {role.arn}\nsource_profile = base\nmfa_serial = {serial}\n"
            )
        config = tmp_path / "config"
        config.write_text("\n".join(lines))
        for name, value in {**lab.env, "AWS_CONFIG_FILE": str(config), "HOME": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        yield Desk(lab, serial, admin.seeds[serial])


def by_profile(number: str, profile: str = "") -> OrgAccount:
    return OrgAccount(id=number, roles=(), profile=profile or f"in-{number}")


def test_two_accounts_of_one_source_profile_need_one_code(desk: Desk) -> None:
    """One session with MFA of the source profile assumes the roles of both accounts. mfa-kit asks for the code."""
    sessions = MemberSessions(Connection(ask_code=desk.ask))
    callers = [sessions.enter(by_profile(number))[1] for number in MEMBERS]
    assert [caller.account for caller in callers] == list(MEMBERS)
    assert desk.prompts == [desk.serial]


def test_keys_of_a_profile_get_a_session_with_mfa(desk: Desk) -> None:
    """An account's profile with a user's own keys and `mfa_serial` is used with MFA, like the command's profile."""
    clients, caller = MemberSessions(Connection(ask_code=desk.ask)).enter(by_profile(ACCOUNT, "keys"))
    assert caller.arn == f"arn:aws:iam::{ACCOUNT}:user/alice"
    assert not clients.own_keys
    assert desk.prompts == [desk.serial]


def test_a_session_with_mfa_that_expired_is_made_again(desk: Desk) -> None:
    """After the error about expired credentials, the next attempt asks for a code."""
    sessions = MemberSessions(Connection(ask_code=desk.ask))
    sessions.enter(by_profile(MEMBERS[0]))
    desk.lab.faults.add("AssumeRole", "expired")
    with pytest.raises(Expired):
        sessions.enter(by_profile(MEMBERS[1]))
    desk.typed = "000000"
    with pytest.raises(AccessDenied, match="MultiFactorAuthentication failed"):
        sessions.enter(by_profile(MEMBERS[1]))
    assert desk.prompts == [desk.serial] * 2


def test_after_a_wrong_code_no_further_account_asks_at_once(desk: Desk) -> None:
    """Accounts that need the same device fail with the same error, so that wrong codes do not lock the device."""
    desk.typed = "000000"
    sessions = MemberSessions(Connection(ask_code=desk.ask))
    for number in MEMBERS:
        with pytest.raises(AccessDenied, match="MultiFactorAuthentication failed"):
            sessions.enter(by_profile(number))
    assert len(desk.prompts) == 1


def test_after_a_wrong_code_a_renewal_asks_with_a_new_code(desk: Desk) -> None:
    """After a wrong code, mfa-kit asks again when the device shows a new code, and not before."""
    now = 0.0
    own = OwnCredentials(Connection(profile="keys", ask_code=desk.ask), clock=lambda: now)
    desk.typed = "000000"
    for _ in range(2):
        with pytest.raises(AccessDenied):
            own.open()
    assert len(desk.prompts) == 1
    now, desk.typed = float(PERIOD), ""
    assert not own.open().own_keys


def test_without_a_terminal_an_account_that_needs_a_code_is_declined(desk: Desk, tmp_path: Path) -> None:
    """With --no-input, the exit code is that of a declined prompt, and the error names the device."""
    file = tmp_path / "accounts.json"
    rows = [{"account_id": number, "name": f"m{number}", "profile": f"in-{number}"} for number in MEMBERS]
    file.write_text(json.dumps({"accounts": rows}))
    result = MfaKit(tmp_path / "desk").run("audit", "--accounts", file, "--no-input")
    assert result.code == Declined.exit_code, result.err
    assert desk.serial in result.err


@pytest.mark.usefixtures("desk")
def test_the_hint_for_a_missing_profile_is_for_all_accounts(tmp_path: Path) -> None:
    """It names a page of the documentation, which has no option --account."""
    file = tmp_path / "accounts.json"
    rows = [{"account_id": ACCOUNT, "name": "hub"}, {"account_id": MEMBERS[0], "name": "m1", "profile": "missing"}]
    file.write_text(json.dumps({"accounts": rows}))
    result = MfaKit(tmp_path / "desk").run("status", "--accounts", file)
    assert "The config profile (missing) could not be found" in result.err
    assert "its credentials; see: mfa-kit help credentials\n" in result.err


def test_each_command_of_a_hint_names_the_account() -> None:
    """A hint may have several commands of mfa-kit. Each of them gets the option --account."""
    hint = in_account(Message("list the devices", mfa_kit("status"), mfa_kit("orphans list")), MEMBERS[0])
    assert hint.count(f"--account {MEMBERS[0]}") == 2


def test_commands_for_all_accounts_get_no_account() -> None:
    """The ledger belongs to all accounts."""
    hint = Message("ask its owner", mfa_kit("ledger grants --help"), "see the users", mfa_kit("status"))
    assert in_account(hint, MEMBERS[0]) == f"{hint} --account {MEMBERS[0]}"


@pytest.mark.usefixtures("desk")
def test_the_hints_of_doctor_name_the_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command in the column `hint` is for the account of its row."""

    def fail(_: Iam) -> bool:
        raise NoSuchEntity("there is no summary", suggest("see who has what", "status"))

    monkeypatch.setattr(Iam, "root_has_mfa", fail)
    result = MfaKit(tmp_path / "desk").run("doctor", "--org", "--output", "json")
    hints = {row["account"]: row["hint"] for row in json.loads(result.out)["rows"] if row["hint"]}
    assert hints == {number: f"see who has what: mfa-kit status --account {number}" for number in (ACCOUNT, *MEMBERS)}
