"""`mfa-kit rollout finish`: which proofs count, which devices it removes, and what `undo` does before and after it."""

import base64
import json
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
import pyotp
import pyrage
import pytest

from mfa_kit.adapters.aws import event_history
from mfa_kit.adapters.ledger.records import DeviceStates
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.adapters.ledger.usage_records import UsageRecords
from mfa_kit.cli import terminal
from mfa_kit.core.device_records import DeviceState, RecordedRun, RecordedState
from mfa_kit.core.models import (
    RUN_TAG,
    Device,
    DeviceSpec,
    DeviceUse,
    JournalEntry,
    JournalState,
    Method,
    RunKind,
    UseEvent,
)
from mfa_kit.core.text import iso_time
from mfa_kit.lab.aws.log_files import log_files, write_log_files
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.rollout import execution, finish, undo
from mfa_kit.rollout.plan_files import plan_digest
from mfa_kit.usage import updating
from tests.conftest import ACCOUNT, MfaKit, Result
from tests.ledgers import Place
from tests.postgresql import Server
from tests.rollout.conftest import Rollout, key_file
from tests.rollout.test_accounts import ROLE, Accounts, accounts  # noqa: F401 - a fixture
from tests.tokens.person import Person
from tests.usage.test_events import call, login

OLD = "2025-01-01T00:00:00+00:00"
ARN = f"arn:aws:iam::{ACCOUNT}:mfa/"
COLUMNS = "user,kind,action,device_name,replaces"
USERS = ("alice", "bob", "carol")
RUN = "20261130T120000Z-0123abcd"
REMOVED = "alice is removed, and alice-key stays"


@dataclass
class Exchange(Rollout):
    """A rollout in which users with phones, named as they are, get new devices."""

    @property
    def iam(self) -> Any:
        return boto3.session.Session().client("iam")

    def exchange(self, *rows: str) -> None:
        """Plan these rows, and make the devices that need no person."""
        self.plan(*rows, columns=COLUMNS)
        assert self.apply("--accept-lockout").code == 0

    def finish(self, *more: str | Path, code: int = 0) -> dict[str, tuple[str, str]]:
        """Return the outcome and the reason of each user."""
        done = self.desk.run("rollout", "finish", self.file, "--output", "json", *more)
        assert done.code == code, (done.out, done.err)
        return {row["user"]: (row["outcome"], row["reason"] or "") for row in json.loads(done.out)["rows"]}

    def undo(self, *more: str | Path) -> Result:
        return self.desk.run("rollout", "undo", self.file, "--yes", *more)

    def has(self, user: str) -> set[str]:
        """Return the names of a user's devices in IAM."""
        listed = self.iam.list_mfa_devices(UserName=user)["MFADevices"]
        return {device["SerialNumber"].rpartition("/")[2] for device in listed}

    def devices(self, user: str) -> list[Device]:
        """Return a user's devices as mfa-kit reads them."""
        listed = self.iam.list_mfa_devices(UserName=user)["MFADevices"]
        return [Device(device["SerialNumber"], user, device["EnableDate"].timestamp()) for device in listed]

    def state(self, user: str, *, how: str = "two codes at the desk", **changes: Any) -> RecordedState:
        """Return a proof of a user's new virtual device that another computer recorded just now."""
        run = RecordedRun(id=RUN, plan=plan_digest(self.file.read_text()), computer="desk-7")
        fields: dict[str, Any] = {"serial": f"{ARN}{user}-key", "user": user, "state": DeviceState.PROVEN}
        return RecordedState(**{"run": run, "at": time.time(), "how": how, **fields, **changes})

    def record(self, *states: RecordedState) -> None:
        with sqlite_ledger(self.desk.home) as ledger:
            DeviceStates(ledger).record(*states)

    def enabled(self, user: str, seconds: float, *, serial: str = "") -> None:
        """Let IAM say that a user's new device was enabled `seconds` ago, or in the future."""
        with self.lab.account.lock:
            device = self.lab.account.backend.get_user(user).mfa_devices[serial or f"{ARN}{user}-key"]
            device.enable_date = datetime.fromtimestamp(time.time() - seconds, UTC).replace(tzinfo=None)

    def sign_in(self, user: str, serial: str = "", **how: Any) -> None:
        """Sign a user in to the console with the new device, which they have had for a minute."""
        serial = serial or f"{ARN}{user}-key"
        self.enabled(user, 60, serial=serial)
        self.lab.sign_in(user, **{"serial": serial, "region": "us-east-2", **how})


@pytest.fixture
def rollout(tmp_path: Path, identity: pyrage.x25519.Identity, monkeypatch: pytest.MonkeyPatch) -> Iterator[Exchange]:
    """Run a lab whose users have phones since long ago, and that allows any number of lookups."""
    monkeypatch.setattr(event_history, "SECONDS", 0.0)
    admin = {"name": "lab-admin", "attached": ["arn:aws:iam::aws:policy/AdministratorAccess"]}
    users = [{"name": name, "password": True, "devices": [{"name": name, "enabled": OLD}]} for name in USERS]
    description = {"version": 1, "regions": ["us-east-1", "us-east-2"], "users": [admin, *users]}
    with Lab(description=description, settings=LabSettings(propagation=0, lookup_rate=1e6)) as running:
        for name, value in running.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / "desk"))
        (tmp_path / "rollout").mkdir()
        yield Exchange(tmp_path / "rollout", MfaKit(tmp_path / "desk", dict(running.env)), running, identity)


def replacing(*users: str, kind: str = "virtual") -> list[str]:
    return [f"{user},{kind},replace,," for user in users]


def codes(rollout: Exchange, user: str, *, name: str = "") -> tuple[str, str]:
    """Return two consecutive codes of a user's new virtual device, as an app shows them now."""
    seed = rollout.lab.seed(f"{ARN}{name or f'{user}-key'}")
    totp = pyotp.TOTP(base64.b32encode(seed).decode())
    return totp.at(int(time.time()) - 30), totp.at(int(time.time()))


def enable(rollout: Exchange, user: str, name: str) -> None:
    first, second = codes(rollout, user, name=name)
    rollout.iam.enable_mfa_device(
        UserName=user, SerialNumber=f"{ARN}{name}", AuthenticationCode1=first, AuthenticationCode2=second
    )


# What proves a device


def test_old_devices_of_proven_users_are_removed_and_the_others_are_named(rollout: Exchange) -> None:
    rollout.exchange(*replacing("alice", "bob"), "carol,virtual,add,,")
    rollout.record(rollout.state("alice"))
    results = rollout.finish(code=1)
    assert results["alice"] == ("revoked", REMOVED)
    assert results["bob"][0] == "waiting"
    assert results["bob"][1].startswith(
        "bob-key is not proven: no two codes of it are recorded, and no use was seen since"
    )
    assert {user: rollout.has(user) for user in USERS} == {
        "alice": {"alice-key"},
        "bob": {"bob", "bob-key"},
        "carol": {"carol", "carol-key"},
    }
    assert f"{ARN}alice" not in rollout.lab.serials()
    rollout.record(rollout.state("bob"))
    results = rollout.finish()
    assert results == {
        "alice": ("skipped", f"alice no longer has {ARN}alice"),
        "bob": ("revoked", "bob is removed, and bob-key stays"),
    }


def test_an_old_device_with_the_default_name_of_the_new_one_goes_last(rollout: Exchange) -> None:
    """It is there until the new one, which has another name, is proven, and status says so until then."""
    rollout.exchange("alice,virtual,add,,")
    rollout.exchange("alice,virtual,replace,,alice-key")
    assert rollout.has("alice") == {"alice", "alice-key", "alice-key-2"}
    assert rollout.finish(code=1)["alice"][1].startswith("alice-key-2 is not proven")
    status = rollout.desk.run("rollout", "status", rollout.file)
    assert (f"the old device {ARN}alice-key stays" in " ".join(status.out.split())) or "rollout finish" in status.err
    assert "nothing is left to do" not in status.err
    rollout.record(rollout.state("alice", serial=f"{ARN}alice-key-2"))
    assert rollout.finish()["alice"] == ("revoked", "alice-key is removed, and alice-key-2 stays")
    assert rollout.has("alice") == {"alice", "alice-key-2"}
    rollout.plan("alice,virtual,replace,,alice-key", columns=COLUMNS)
    assert rollout.finish()["alice"] == ("skipped", "alice no longer has alice-key")
    assert rollout.has("alice") == {"alice", "alice-key-2"}


def test_a_name_of_two_devices_removes_neither(rollout: Exchange) -> None:
    """The new device is there, so the row is skipped. Nothing says which of the two was meant."""
    rollout.exchange("alice,virtual,add,spare,")
    rollout.exchange("alice,virtual,add,desk,")
    rollout.lab.register_fido("alice", "spare")
    rollout.plan("alice,virtual,replace,desk,spare", columns=COLUMNS)
    rollout.record(rollout.state("alice", serial=f"{ARN}desk"))
    before = rollout.has("alice")
    for more in (["--dry-run"], []):
        outcome, reason = rollout.finish(*more, code=6)["alice"]
        assert (outcome, "the plan does not say which device is spare" in reason) == ("refused", True)
    assert rollout.has("alice") == before
    assert "rollout finish" in rollout.desk.run("rollout", "status", rollout.file).err


def test_a_new_device_of_an_unknown_run_is_named(rollout: Exchange) -> None:
    """The ledger and the record are lost, so no proof of the new device is known. The old device stays."""
    rollout.exchange(*replacing("alice"))
    before = rollout.has("alice")
    rollout.lose_ledger()
    rollout.results.rename(rollout.folder / "elsewhere")
    done = rollout.desk.run("rollout", "finish", rollout.file)
    assert (done.code, rollout.has("alice")) == (1, before), done.err
    assert (
        "1 device of the plan stays, because neither the ledger nor a record has the run that made it: alice"
        in done.err
    )
    assert "mfa-kit ledger reconcile --adopt --record DIR" in done.err


def test_cloudtrail_is_read_only_if_a_proof_is_missing(rollout: Exchange) -> None:
    """Then once, in every Region, until a use of each device is found."""
    rollout.exchange(*replacing("alice", "bob"))
    rollout.record(rollout.state("alice"))
    rollout.sign_in("bob")
    before = len(rollout.lab.calls)
    assert {outcome for outcome, _ in rollout.finish().values()} == {"revoked"}
    lookups = [call for call in rollout.lab.calls[before:] if call.operation == "LookupEvents"]
    assert 1 <= len(lookups) <= 2
    before = len(rollout.lab.calls)
    rollout.finish()
    assert {call.operation for call in rollout.lab.calls[before:]} == {"GetCallerIdentity", "ListMFADevices"}


@pytest.mark.parametrize(
    "how",
    [
        {"serial": f"{ARN}alice"},  # the phone
        {"end": "failure"},
        {"at": time.time() - 86400},
    ],
)
def test_other_sign_ins_prove_nothing(rollout: Exchange, how: dict[str, Any]) -> None:
    rollout.exchange(*replacing("alice"))
    rollout.sign_in("alice", **how)
    assert rollout.finish(code=1)["alice"][0] == "waiting"


def test_forged_uses_prove_nothing(rollout: Exchange, tmp_path: Path) -> None:
    """Neither a log file of CloudTrail, nor a use in the ledger, of this or another computer."""
    rollout.exchange(*replacing("alice"))
    forged = login(
        userIdentity={**login()["userIdentity"], "accountId": ACCOUNT, "userName": "alice"},
        eventTime=iso_time(time.time() + 2),
        additionalEventData={"MFAUsed": "Yes", "MFAIdentifier": f"{ARN}alice-key"},
        recipientAccountId=ACCOUNT,
    )
    write_log_files(tmp_path / "logs", log_files([forged]))
    done = rollout.desk.run("usage", "update", "--cloudtrail", tmp_path / "logs")
    assert "read 1 log file" in done.err
    use = DeviceUse(
        serial=f"{ARN}alice-key",
        principal="",
        user="alice",
        at=time.time() + 5,
        event=UseEvent.CONSOLE_LOGIN,
        region="us-east-2",
    )
    with sqlite_ledger(rollout.desk.home) as ledger:
        UsageRecords(ledger).record(ACCOUNT, [use], [])
        assert UsageRecords(ledger).usage(ACCOUNT).uses
    assert rollout.finish(code=1)["alice"][0] == "waiting"
    assert rollout.has("alice") == {"alice", "alice-key"}


def test_a_proof_by_two_codes_is_about_the_device_that_iam_lists(rollout: Exchange) -> None:
    """Not about one of the same name that was enabled later, another user's, one of another plan, or a security key."""
    rollout.exchange(*replacing("alice", "bob"), "carol,fido2,replace,,")
    key = rollout.lab.register_fido("carol", "carol-key")
    rollout.record(rollout.state("alice"), rollout.state("carol", serial=key))
    rollout.record(replace(rollout.state("bob"), user="carol"))
    rollout.record(rollout.state("bob", at=time.time() + 1, run=RecordedRun(id=RUN, plan="0" * 64, computer="desk-7")))
    rollout.enabled("alice", -3600)
    assert {outcome for outcome, _ in rollout.finish(code=1).values()} == {"waiting"}
    rollout.enabled("alice", 60)
    rollout.record(rollout.state("bob", at=time.time() + 2, state=DeviceState.ARRIVED))
    results = rollout.finish(code=1)
    assert (results["alice"][0], results["bob"][0]) == ("revoked", "waiting")
    rollout.record(rollout.state("bob", at=time.time() + 3600))
    assert rollout.finish(code=1)["bob"][0] == "waiting"


def test_a_security_key_is_proven_by_a_sign_in(rollout: Exchange) -> None:
    rollout.exchange("alice,fido2,replace,,", *replacing("bob"))
    key = rollout.lab.register_fido("alice", "alice-key")
    sts = call("GetSessionToken")
    identity = {**sts["userIdentity"], "accountId": ACCOUNT}
    for user, serial in (("alice", key), ("bob", f"{ARN}bob-key")):
        rollout.enabled(user, 60, serial=serial)
        changes = {"userIdentity": {**identity, "userName": user}, "requestParameters": {"serialNumber": serial}}
        rollout.lab.plant({**sts, **changes, "eventTime": iso_time(time.time() - 1), "recipientAccountId": ACCOUNT})
    results = rollout.finish(code=1)
    assert (results["alice"][0], results["bob"][0]) == ("waiting", "revoked")
    assert "two codes" not in results["alice"][1]
    rollout.sign_in("alice", key)
    assert rollout.finish()["alice"] == ("revoked", REMOVED)


def test_a_pair_is_proven_when_both_halves_are(rollout: Exchange) -> None:
    """Also if the second half is not enabled yet."""
    rollout.plan("alice,pair,replace,,", columns=COLUMNS)
    rollout.iam.create_virtual_mfa_device(VirtualMFADeviceName="alice-key")
    enable(rollout, "alice", "alice-key")
    rollout.record(rollout.state("alice"))
    assert rollout.finish(code=1)["alice"] == ("waiting", "alice-key-2 is not enabled yet")
    key = rollout.lab.register_fido("alice", "alice-key-2")
    assert rollout.finish(code=1)["alice"][1].startswith("alice-key-2 is not proven: no use was seen since")
    rollout.sign_in("alice", key)
    assert rollout.finish()["alice"] == ("revoked", "alice is removed, and alice-key and alice-key-2 stay")
    assert len(rollout.has("alice")) == 2


def test_the_key_of_a_pair_that_came_by_post_may_have_any_name(rollout: Exchange) -> None:
    """Its user registers it, and may choose another name than the letter says."""
    rollout.iam.create_virtual_mfa_device(VirtualMFADeviceName="spare")
    enable(rollout, "alice", "spare")
    rollout.plan("alice,pair,replace,,alice,post", columns=f"{COLUMNS},delivery")
    rollout.iam.create_virtual_mfa_device(VirtualMFADeviceName="alice-key")
    enable(rollout, "alice", "alice-key")
    rollout.record(rollout.state("alice"))
    assert rollout.finish(code=1)["alice"] == ("waiting", "alice-key-2 is not enabled yet")
    key = rollout.lab.register_fido("alice", "mine")
    assert rollout.finish(code=1)["alice"][1].startswith("mine is not proven: no use was seen since")
    rollout.sign_in("alice", key)
    assert rollout.finish()["alice"] == ("revoked", "alice is removed, and alice-key and mine stay")
    assert len(rollout.has("alice")) == 3


def test_two_codes_at_the_desk_and_by_activate_are_recorded(rollout: Exchange, tmp_path: Path) -> None:
    """In the ledger and in the record of the process. So each is enough if the other is lost."""
    rollout.plan(*replacing("alice", "bob", "carol"), columns=COLUMNS)
    assert rollout.apply("--stage", "--accept-lockout").code == 0
    proofs = tmp_path / "proofs.csv"
    now = datetime.now(UTC)
    rows = [f"{user},{','.join(codes(rollout, user))},{now.isoformat()}" for user in ("alice", "bob")]
    proofs.write_text("\n".join(["user,code1,code2,time", *rows]) + "\n")
    activate = ("rollout", "activate", "-i", key_file(rollout.identity, tmp_path), "--record", rollout.results)
    done = rollout.desk.run(*activate, "--proofs", proofs)
    assert done.code == 0, done.err
    assert rollout.desk.run(*activate, "--only", "carol").code == 0
    rollout.lose_ledger()
    assert [outcome for outcome, _ in rollout.finish(code=1).values()].count("revoked") == 2
    assert rollout.has("carol") == {"carol", "carol-key"}
    shutil.rmtree(rollout.results)


def test_a_proof_of_another_computer_counts_in_a_shared_ledger(
    rollout: Exchange, postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A use that another computer has recorded does not."""
    place = Place("postgresql", postgresql.address(postgresql.new_database()))
    monkeypatch.setenv("MFA_KIT_LEDGER", place.at)
    rollout.plan(*replacing("alice", "bob"), columns=COLUMNS)
    assert rollout.apply("--accept-lockout", "--local-backups").code == 0
    use = DeviceUse(
        serial=f"{ARN}bob-key",
        principal="",
        user="bob",
        at=time.time() + 5,
        event=UseEvent.CONSOLE_LOGIN,
        region="us-east-2",
    )
    with place.open() as ledger:
        DeviceStates(ledger).record(rollout.state("alice"))
        UsageRecords(ledger).record(ACCOUNT, [use], [])
    results = rollout.finish(code=1)
    assert (results["alice"], results["bob"][0]) == (("revoked", REMOVED), "waiting")


def test_a_search_in_many_events_ends(rollout: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    """Services of AWS assume roles all the time. The reason says that not all events were read."""
    monkeypatch.setattr(updating, "MOST_PAGES", 2)
    rollout.exchange(*replacing("alice"))
    rollout.enabled("alice", 60)
    event = {**call("AssumeRole"), "eventTime": iso_time(time.time() - 1), "recipientAccountId": ACCOUNT}
    rollout.lab.plant(*({**event, "eventID": str(number)} for number in range(101)))
    since = len(rollout.lab.calls)
    reason = rollout.finish(code=1)["alice"][1]
    assert reason.endswith("not read completely in us-east-2: only the newest 2 pages of AssumeRole were read")
    assert [call.operation for call in rollout.lab.calls[since:]].count("LookupEvents") == 2 * 3 + 1


def test_a_proof_survives_a_kill_of_activate(rollout: Exchange, tmp_path: Path) -> None:
    """The kill comes after the Enable, and before the proof is recorded. The next activate records it."""
    rollout.plan(*replacing("alice"), columns=COLUMNS)
    assert rollout.apply("--stage", "--accept-lockout").code == 0
    proofs = tmp_path / "proofs.csv"
    proofs.write_text(
        f"user,code1,code2,time\nalice,{','.join(codes(rollout, 'alice'))},{datetime.now(UTC).isoformat()}\n"
    )
    activate = ("rollout", "activate", "-i", key_file(rollout.identity, tmp_path), "--proofs", proofs)
    with mock.patch.object(DeviceStates, "record", side_effect=KeyboardInterrupt):
        assert rollout.desk.run(*activate).code == 130
    assert "alice-key" in rollout.has("alice")
    assert rollout.desk.run(*activate).code == 0
    assert rollout.finish()["alice"] == ("revoked", REMOVED)


# What is removed, and what is not


def test_an_old_device_that_was_enabled_again_is_not_removed(rollout: Exchange) -> None:
    """It may be another device of the same name."""
    rollout.exchange(*replacing("alice"))
    rollout.record(rollout.state("alice"))
    rollout.enabled("alice", -3600, serial=f"{ARN}alice")
    outcome, reason = rollout.finish(code=6)["alice"]
    assert (outcome, "was enabled after the plan was made" in reason) == ("refused", True)
    assert rollout.has("alice") == {"alice", "alice-key"}


def test_the_new_device_of_a_row_is_never_removed(rollout: Exchange) -> None:
    """Somebody may have edited the plan, so that each of two rows replaces the device of the other."""
    rollout.exchange("alice,virtual,replace,one,", "alice,virtual,add,two,")
    document = json.loads(rollout.file.read_text())
    one, two = document["rows"]
    one["replaces"], two["replaces"], two["change"] = f"{ARN}two", f"{ARN}one", "replace"
    rollout.file.write_text(json.dumps(document))
    rollout.record(*(rollout.state("alice", serial=f"{ARN}{name}") for name in ("one", "two")))
    done = rollout.desk.run("rollout", "finish", rollout.file)
    assert (done.code, "is the new device of a row of the plan" in done.err) == (6, True), done.err
    assert rollout.has("alice") == {"alice", "one", "two"}


def test_an_old_device_that_cannot_be_deleted_is_named_until_it_is(rollout: Exchange) -> None:
    """The user no longer has it, but it is still there, and so is its entry in the journal."""
    rollout.exchange(*replacing("alice"))
    rollout.record(rollout.state("alice"))
    rollout.lab.faults.add("DeleteVirtualMFADevice", "denied", at="every")
    for _ in range(2):
        outcome, reason = rollout.finish(code=1)["alice"]
        assert (outcome, f"AWS does not let you delete {ARN}alice" in reason) == ("failed", True)
        assert rollout.has("alice") == {"alice-key"}
    rollout.lab.faults.clear()
    assert rollout.finish()["alice"][0] == "revoked"
    assert f"{ARN}alice" not in rollout.lab.serials()


def test_rows_that_the_plan_blocks_are_left_out(rollout: Exchange) -> None:
    """Also if the cell of the old device is not a serial. But a pair with one blocked half is not proven."""
    rollout.iam.create_virtual_mfa_device(VirtualMFADeviceName="bob-key")
    rollout.plan("alice,virtual,replace,,nothing", "bob,pair,replace,,", columns=COLUMNS)
    rows = json.loads(rollout.file.read_text())["rows"]
    assert [row["action"] for row in rows] == ["blocked", "blocked", "bench"]
    rollout.sign_in("bob", rollout.lab.register_fido("bob", "bob-key-2"))
    assert rollout.finish(code=1) == {"bob": ("waiting", "bob-key is not enabled yet")}
    assert len(rollout.has("bob")) == 2


def test_users_and_devices_that_are_gone_are_no_failure(rollout: Exchange) -> None:
    rollout.exchange(*replacing("alice", "bob"))
    for name in ("alice", "alice-key"):
        rollout.iam.deactivate_mfa_device(UserName="alice", SerialNumber=f"{ARN}{name}")
    rollout.iam.delete_login_profile(UserName="alice")
    rollout.iam.delete_user(UserName="alice")
    rollout.iam.deactivate_mfa_device(UserName="bob", SerialNumber=f"{ARN}bob")
    assert rollout.finish() == {
        "alice": ("skipped", "the user no longer exists"),
        "bob": ("skipped", f"bob no longer has {ARN}bob"),
    }


def test_only_these_users_and_a_dry_run(rollout: Exchange) -> None:
    rollout.exchange(*replacing("alice", "bob"))
    rollout.record(rollout.state("alice"), rollout.state("bob"))
    assert rollout.finish("--dry-run")["bob"] == ("enrolled", f"{ARN}bob would be removed")
    assert rollout.has("bob") == {"bob", "bob-key"}
    assert rollout.finish("--only", "Bob") == {"bob": ("revoked", "bob is removed, and bob-key stays")}
    assert rollout.has("alice") == {"alice", "alice-key"}
    assert rollout.desk.run("rollout", "finish", rollout.file, "--only", "dave").code == 2


def test_the_status_says_when_old_devices_are_next(rollout: Exchange) -> None:
    """Not that letters have to be written, until the old device is gone."""
    rollout.exchange(*replacing("alice"))
    says = f"next: remove the old devices of users whose new device is proven: mfa-kit rollout finish {rollout.file}"
    assert says in rollout.desk.run("rollout", "status", rollout.file).err
    rollout.record(rollout.state("alice"))
    assert rollout.finish("--only", "alice")["alice"][0] == "revoked"
    assert says not in rollout.desk.run("rollout", "status", rollout.file).err


def test_a_person_is_asked_and_sees_each_user(rollout: Exchange) -> None:
    """At a terminal, with the number of devices that go; --yes does not ask, and prints it. Both devices are named."""
    rollout.exchange(*replacing("alice", "bob"))
    rollout.record(rollout.state("alice"), rollout.state("bob"))
    person = Person()
    with mock.patch.object(terminal, "find_person", return_value=person):
        done = rollout.desk.run("rollout", "finish", rollout.file, "--only", "alice")
        assert (done.code, f"alice/alice-key: revoked: {REMOVED}" in done.err) == (0, True), done.err
        assert person.told == ["1 old device will be removed"]
        done = rollout.desk.run("rollout", "finish", rollout.file, "--only", "bob", "--yes")
        assert (done.code, "1 old device will be removed" in done.err) == (0, True), done.err
        refused = rollout.desk.run("rollout", "undo", rollout.file, "--leave-without-mfa")
    assert (len(person.told), refused.code) == (1, 6), refused.err
    assert "2 devices have replaced other devices, which are removed and cannot come back" in refused.err


def test_a_region_that_cannot_be_read_is_named(rollout: Exchange) -> None:
    """A use in another Region counts nevertheless."""
    rollout.exchange(*replacing("alice", "bob"))
    rollout.sign_in("alice")
    rollout.lab.faults.add("LookupEvents", "denied", at=1)
    results = rollout.finish(code=1)
    assert re.search("CloudTrail was not read completely in us-east-[12]: AWS answers AccessDenied", results["bob"][1])
    assert "revoked" in {results["alice"][0], rollout.finish(code=1)["alice"][0]}  # the Region may be that of the use
    rollout.lab.faults.add("DescribeRegions", "denied")
    assert "CloudTrail was not read completely in any Region" in rollout.finish(code=1)["bob"][1]


def test_the_credential_of_an_old_device_may_stay_on_its_key(rollout: Exchange) -> None:
    """The user has the key, so it cannot be inserted here. The device and its backup are removed."""
    rollout.exchange(*replacing("alice"))
    rollout.record(rollout.state("alice"))
    spec = DeviceSpec(account=ACCOUNT, partition="aws", user="alice", name="alice", method=Method("oath"))
    entry = JournalEntry(run=RUN, spec=spec.on(hardware="12345678", card="card-1"))
    with sqlite_ledger(rollout.desk.home) as ledger:
        ledger.record(entry.at(JournalState.CONFIRMED))
    assert rollout.finish() == {"alice": ("revoked", REMOVED)}


@pytest.mark.parametrize("operation", ["DeactivateMFADevice", "DeleteVirtualMFADevice"])
def test_an_interrupted_removal_is_finished_without_the_key(rollout: Exchange, operation: str) -> None:
    """The next `finish` does that, although the ledger names the OATH key, which the user has."""
    rollout.exchange(*replacing("alice"))
    rollout.record(rollout.state("alice"))
    spec = DeviceSpec(account=ACCOUNT, partition="aws", user="alice", name="alice", method=Method("oath"))
    entry = JournalEntry(run=RUN, spec=spec.on(hardware="12345678", card="card-1"))
    with sqlite_ledger(rollout.desk.home) as ledger:
        ledger.record(entry.at(JournalState.CONFIRMED))
    rollout.iam.tag_mfa_device(SerialNumber=f"{ARN}alice", Tags=[{"Key": RUN_TAG, "Value": RUN}])
    for at in range(1, 4):
        rollout.lab.faults.add(operation, "lost-before", at=at)
    assert rollout.finish(code=1)["alice"][0] == "failed"
    rollout.lab.faults.clear()
    assert rollout.finish()["alice"] == ("revoked", f"alice no longer has {ARN}alice")
    assert (rollout.has("alice"), f"{ARN}alice" in rollout.lab.serials()) == ({"alice-key"}, False)


def test_status_says_whether_the_new_device_is_proven_and_the_old_one_is_there(rollout: Exchange) -> None:
    def reasons() -> dict[str, str]:
        done = rollout.desk.run("rollout", "status", rollout.file, "--output", "json")
        return {row["user"]: row["reason"] for row in json.loads(done.out)["rows"]}

    rollout.exchange(*replacing("alice", "bob"), "carol,fido2,replace,,")
    rollout.record(rollout.state("alice"))
    rollout.lab.register_fido("carol", "carol-key")
    stays = "the old device {}{} stays until it is removed: mfa-kit rollout finish"
    found = reasons()
    assert found["alice"].endswith("; proven by two codes at the desk; " + stays.format(ARN, "alice"))
    assert found["bob"].endswith("; not proven yet; " + stays.format(ARN, "bob"))
    assert found["carol"].endswith("not proven yet; " + stays.format(ARN, "carol"))
    rollout.finish(code=1)
    assert reasons()["alice"].endswith(f"; {ARN}alice is removed")


def test_two_processes_and_two_computers_at_once(rollout: Exchange) -> None:
    """Each old device is removed once, and no user loses the new one. Another run completes what is left."""
    rollout.exchange(*replacing(*USERS))
    other = MfaKit(rollout.folder / "other", rollout.desk.env)
    for kit in (rollout.desk, other):
        with sqlite_ledger(kit.home) as ledger:
            DeviceStates(ledger).record(*map(rollout.state, USERS))
    processes = [kit.fork("rollout", "finish", rollout.file) for kit in (rollout.desk, rollout.desk, other)]
    ends = [(process.communicate(timeout=60), process.returncode)[1] for process in processes]
    assert {*ends} <= {0, 1}
    assert {outcome for outcome, _ in rollout.finish().values()} <= {"revoked", "skipped"}
    assert {user: rollout.has(user) for user in USERS} == {user: {f"{user}-key"} for user in USERS}
    assert {f"{ARN}{user}" for user in USERS} & rollout.lab.serials() == set()


def test_no_other_process_removes_the_new_device_meanwhile(rollout: Exchange) -> None:
    """An undo that is in progress holds the lock of the run. Then the user keeps both devices."""
    rollout.exchange(*replacing("alice"))
    rollout.record(rollout.state("alice"))
    with sqlite_ledger(rollout.desk.home) as ledger:
        [entry] = ledger.made(ACCOUNT)
        ledger.record(entry)
        outcome, reason = rollout.finish(code=1)["alice"]
    assert (outcome, f"run {entry.run} is still in progress" in reason) == ("failed", True)
    assert rollout.has("alice") == {"alice", "alice-key"}
    assert rollout.finish()["alice"] == ("revoked", REMOVED)


@pytest.mark.parametrize("late", ["undo", "finish"])
def test_finish_and_undo_at_once_leave_a_device(rollout: Exchange, late: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One has looked at the user's devices, and removes its device after the other one has ended."""
    rollout.exchange(*replacing("alice"))
    rollout.record(rollout.state("alice"))
    commands = {"undo": ("undo", rollout.file, "--yes"), "finish": ("finish", rollout.file)}
    [other] = [words for verb, words in commands.items() if verb != late]
    module = {"undo": undo, "finish": finish}[late]
    real, ended = module.retire, []

    def retire_later(*args: Any, **how: Any) -> Any:
        process = rollout.desk.fork("rollout", *other)
        ended.append((process.communicate(timeout=60)[1], process.returncode))
        return real(*args, **how)

    monkeypatch.setattr(module, "retire", retire_later)
    assert rollout.desk.run("rollout", *commands[late]).code == 0
    [(said, code)] = ended
    assert (code != 0, "is still in progress" in said) == (True, True), said
    assert rollout.has("alice") == {"alice" if late == "undo" else "alice-key"}


@pytest.mark.parametrize("first", ["undo", "finish"])
def test_a_device_that_iam_still_lists_after_its_removal_does_not_count(
    rollout: Exchange, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IAM's lists lag behind writes, so the second command sees both devices."""
    rollout.exchange(*replacing("alice"))
    rollout.record(rollout.state("alice"))
    both = rollout.devices("alice")
    assert (rollout.undo().code if first == "undo" else len(rollout.finish())) == int(first == "finish")
    left = rollout.has("alice")
    monkeypatch.setattr("mfa_kit.adapters.aws.iam.Iam.devices", lambda *_, **__: both)
    if first == "undo":
        assert rollout.finish(code=1)["alice"] == ("waiting", "alice-key is not enabled yet")
    else:
        assert rollout.undo().code == 6
    assert rollout.has("alice") == left


def test_a_new_device_whose_removal_was_interrupted_proves_nothing(
    rollout: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An `undo` was killed after it had recorded that it will remove the device. The next run continues it."""
    rollout.exchange(*replacing("alice"))
    rollout.record(rollout.state("alice"))
    [new] = [device for device in rollout.devices("alice") if device.name == "alice-key"]
    with sqlite_ledger(rollout.desk.home) as ledger:
        [entry] = [entry for entry in ledger.made(ACCOUNT) if entry.spec.serial == new.serial]
        leaving = replace(entry, purpose=RunKind.REVOKE, since=new.since, reached=JournalState.REVOKING)
    real = execution.devices_left

    def look_later(*args: Any, **how: Any) -> Any:
        with sqlite_ledger(rollout.desk.home) as ledger:
            ledger.record(leaving)
        return real(*args, **how)

    with monkeypatch.context() as patch:
        patch.setattr(finish, "devices_left", look_later)
        assert rollout.finish(code=1)["alice"][0] == "waiting"
    assert rollout.finish(code=1)["alice"] == ("waiting", "alice-key is not enabled yet")
    assert rollout.has("alice") == {"alice"}


def test_finish_works_in_many_accounts(accounts: Accounts) -> None:  # noqa: F811 - the fixture
    """With the index of an exchange. Each account has its own plan and proofs."""
    assert (accounts.plan().code, accounts.apply("--accept-lockout").code) == (0, 0)
    index = accounts.folder / "exchange.json"
    rows = [f"{row},replace" for row in accounts.everyone()]
    roster = accounts.roster(*rows, columns="account,user,recipient,action")
    org = ("--org", "--role-name", ROLE)
    plan = accounts.desk.run("rollout", "plan", roster, "-o", index, *org)
    apply = accounts.desk.run("rollout", "apply", index, "-r", accounts.recipient, *org)
    assert (plan.code, apply.code) == (0, 0), (plan.err, apply.err)
    proven = accounts.ids[0]
    [planned] = [account for account in json.loads(index.read_text())["accounts"] if account["id"] == proven]
    run = RecordedRun(id=RUN, plan=planned["sha256"], computer="desk-7")
    with sqlite_ledger(accounts.desk.home) as ledger:
        for user in accounts.users:
            serial = f"arn:aws:iam::{proven}:mfa/{user}-key"
            fields: dict[str, Any] = {"run": run, "at": time.time(), "serial": serial, "user": user}
            DeviceStates(ledger).record(RecordedState(**fields, state=DeviceState.PROVEN, how="two codes"))
    done = accounts.desk.run("rollout", "finish", index, "--output", "json", *org)
    assert done.code == 1, done.err
    shown = json.loads(done.out)
    assert {(row["account"] == proven, row["outcome"]) for row in shown["rows"]} == {
        (True, "revoked"),
        (False, "waiting"),
    }
    assert (shown["index"], len(shown["accounts"])) == (str(index), len(accounts.ids))


# Undo


def test_undo_before_finish_removes_the_new_device_only(rollout: Exchange) -> None:
    rollout.exchange(*replacing("alice"))
    done = rollout.undo()
    assert done.code == 0, done.err
    assert rollout.has("alice") == {"alice"}


def test_undo_leaves_an_old_device_whose_replacement_is_not_finished(rollout: Exchange) -> None:
    """An earlier run made the old device. The new one may not work yet."""
    rollout.iam.deactivate_mfa_device(UserName="alice", SerialNumber=f"{ARN}alice")
    rollout.exchange("alice,virtual,add,phone,")
    with sqlite_ledger(rollout.desk.home) as ledger:
        [first] = {entry.run for entry in ledger.made(ACCOUNT)}
    rollout.exchange("alice,virtual,replace,new,phone")
    done = rollout.desk.run("rollout", "undo", first, "--yes")
    assert (done.code, f"{ARN}new is to replace {ARN}phone" in done.err) == (6, True), done.err
    assert rollout.has("alice") == {"phone", "new"}


@pytest.mark.parametrize("lost", ["nothing", "ledger", "plan"])
def test_undo_after_finish_refuses(rollout: Exchange, lost: str) -> None:
    """Also with --leave-without-mfa, with the record alone, and by the run's ID."""
    rollout.exchange(*replacing("alice"), "bob,virtual,add,,")
    rollout.record(rollout.state("alice"))
    rollout.finish()
    with sqlite_ledger(rollout.desk.home) as ledger:
        [run] = {entry.run for entry in ledger.made(ACCOUNT) if entry.spec.name.endswith("-key")}
    if lost == "ledger":
        rollout.lose_ledger()
    if lost == "plan":
        rollout.file.unlink()
    target = run if lost == "plan" else rollout.file
    done = rollout.desk.run("rollout", "undo", target, "--yes", "--leave-without-mfa")
    assert done.code == 6, done.err
    assert f"has replaced {ARN}alice, which alice no longer has, and which cannot come back" in done.err
    assert "mfa-kit revoke alice --mfa-device" in done.err
    assert (rollout.has("alice"), rollout.has("bob")) == ({"alice-key"}, {"bob"})


def test_undo_first_completes_an_interrupted_finish(rollout: Exchange) -> None:
    """Finish was killed before it removed the old device. Otherwise, the user would end without any device."""
    rollout.exchange(*replacing("alice"))
    old = DeviceSpec(account=ACCOUNT, partition="aws", user="alice", name="alice")
    since = datetime.fromisoformat(OLD).timestamp()
    entry = JournalEntry(run=RUN, spec=old, purpose=RunKind.REVOKE, reached=JournalState.REVOKING, since=since)
    with sqlite_ledger(rollout.desk.home) as ledger:
        ledger.record(entry)
    done = rollout.undo("--leave-without-mfa")
    assert (done.code, f"has replaced {ARN}alice" in done.err) == (6, True), done.err
    assert rollout.has("alice") == {"alice-key"}


@pytest.mark.parametrize("stale", [False, True])
def test_undo_leaves_one_device_of_a_user_whose_two_were_made(
    rollout: Exchange, stale: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several threads remove devices, but a user's devices one after another, even while IAM's list lags behind."""
    rollout.iam.deactivate_mfa_device(UserName="alice", SerialNumber=f"{ARN}alice")
    rollout.exchange("alice,virtual,add,one,", "alice,virtual,add,two,", *replacing("bob"))
    if stale:
        listed = cache(lambda user: rollout.iam.list_mfa_devices(UserName=user)["MFADevices"])
        monkeypatch.setattr(
            execution,
            "devices_while_there",
            lambda user, **_: [Device(device["SerialNumber"], user) for device in listed(user)],
        )
    done = rollout.undo("--workers", "8")
    assert done.code == 6, done.err
    serials = {f"{ARN}{name}" for name in ("one", "two")}
    assert sum(rollout.lab.assigned(serial) == "alice" for serial in serials & rollout.lab.serials()) == 1


def test_exactly_the_counted_devices_are_removed(rollout: Exchange) -> None:
    """The number is that of the proven devices. What is proven while the question is open waits for the next run."""
    rollout.exchange(*replacing(*USERS))
    rollout.record(rollout.state("alice"))
    person, asked = Person(), list[tuple[str, str]]()

    def confirm(action: str, *, typed: str, **_: object) -> None:
        asked.append((action, typed))
        rollout.record(rollout.state("bob"))

    with mock.patch.object(terminal, "find_person", return_value=person), mock.patch.object(person, "confirm", confirm):
        results = rollout.finish(code=1)
        assert asked == [("1 old device will be removed", "1")]
        assert {user: outcome for user, (outcome, _) in results.items()} == {
            "alice": "revoked",
            "bob": "waiting",
            "carol": "waiting",
        }
        assert "newer than the count" in results["bob"][1]
        assert rollout.has("bob") == {"bob", "bob-key"}
        assert rollout.finish(code=1)["bob"] == ("revoked", "bob is removed, and bob-key stays")
    assert asked[1:] == [("1 old device will be removed", "1")]


def test_nobody_is_asked_if_nothing_will_be_removed(rollout: Exchange) -> None:
    """A number that nobody should type is not asked for, and no question means that nothing goes."""
    rollout.exchange(*replacing("alice"))
    person = Person()
    with mock.patch.object(terminal, "find_person", return_value=person):
        assert rollout.finish(code=1)["alice"][0] == "waiting"
    assert (person.told, rollout.has("alice")) == ([], {"alice", "alice-key"})
