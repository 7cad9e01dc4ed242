"""`mfa-kit usage update` and what `status` and `audit` say afterward, with the CloudTrail of the lab."""

import gzip
import io
import json
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.adapters.aws import event_history
from mfa_kit.adapters.files.event_files import LogFile
from mfa_kit.core.text import iso_time, readable_day
from mfa_kit.lab.aws.log_files import log_files, write_log_files
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.usage.updating import read_file
from tests.conftest import MfaKit, Result
from tests.faults.conftest import wait_until
from tests.sizes import sample
from tests.usage.test_events import login

DAY = 86400.0
REGIONS = ["eu-north-1", "us-east-1", "us-east-2"]
ACCOUNT = "000000000000"
OLD = "2025-01-01T00:00:00+00:00"
PHONE, KEY = f"arn:aws:iam::{ACCOUNT}:mfa/alice", f"arn:aws:iam::{ACCOUNT}:u2f/user/bob/key-{'A' * 26}"


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Run a lab whose devices were enabled long ago, and that allows any number of lookups."""
    monkeypatch.setattr(event_history, "SECONDS", 0.0)
    users = [
        {"name": "lab-admin", "attached": ["arn:aws:iam::aws:policy/AdministratorAccess"]},
        {"name": "alice", "password": True, "devices": [{"name": "alice", "enabled": OLD}]},
        {"name": "bob", "password": True, "devices": [{"kind": "fido", "name": "key", "serial": KEY, "enabled": OLD}]},
    ]
    description = {"version": 1, "regions": REGIONS, "users": users}
    with Lab(description=description, settings=LabSettings(propagation=0, lookup_rate=1e6)) as running:
        for name, value in running.env.items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
def kit(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MfaKit:
    monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / "desk"))
    return MfaKit(tmp_path / "desk", dict(lab.env))


def told(kit: MfaKit, *more: str) -> dict[str, Any]:
    """Return what `status` says of each user's device."""
    done = kit.run("status", "--output", "json", *more)
    return {row["user"]: row for row in json.loads(done.out)["rows"]}


def update(kit: MfaKit, *more: str | Path, code: int = 0) -> Result:
    done = kit.run("usage", "update", *more)
    assert done.code == code, done.err
    return done


def test_before_the_first_update_nothing_is_said_about_uses(kit: MfaKit) -> None:
    assert told(kit)["alice"]["last_used"] is None
    assert "LAST USED" not in kit.run("status").out


def test_status_says_when_each_device_was_last_used(lab: Lab, kit: MfaKit) -> None:
    used = int(time.time() - 20 * DAY)
    lab.sign_in("alice", serial=PHONE, region="eu-north-1", at=used)
    lab.sign_in("alice", serial=PHONE, region="us-east-2", at=used - 3 * DAY)
    lab.sign_in("alice", end="failure", at=used + DAY)
    lab.sign_in("bob", end="given up", at=used + DAY)
    update(kit)
    done = kit.run("status")
    assert readable_day(datetime.fromtimestamp(used, UTC)) in done.out
    since = time.time() - 90 * DAY
    assert f"no use seen since {readable_day(datetime.fromtimestamp(since, UTC))}" in done.out
    assert "3 of 3 Regions" in done.err
    rows = told(kit)
    assert rows["alice"]["last_used_at"] == iso_time(used)
    assert (rows["bob"]["last_used_at"], rows["bob"]["no_use_since"][:10]) == (None, iso_time(since)[:10])
    assert rows["lab-admin"]["last_used"] is None


def test_a_use_today_appears_although_the_last_hour_is_read_again(lab: Lab, kit: MfaKit) -> None:
    used = int(time.time())
    lab.sign_in("alice", serial=PHONE, at=used)
    update(kit)
    assert told(kit)["alice"]["last_used_at"] == iso_time(used)
    update(kit)
    assert told(kit)["alice"]["last_used_at"] == iso_time(used)


def test_an_update_reads_only_what_is_new(lab: Lab, kit: MfaKit) -> None:
    for day in range(1, 80):
        for _ in range(3):
            lab.sign_in("alice", serial=PHONE, region="us-east-1", at=time.time() - day * DAY)
    first = json.loads(update(kit, "--output", "json").out)["rows"]
    again = json.loads(update(kit, "--output", "json").out)["rows"]
    assert sum(row["pages"] for row in first) == 3 * len(REGIONS) + 4  # 237 sign-ins are five pages
    assert sum(row["pages"] for row in again) == 3 * len(REGIONS)
    assert [row["read_since"] for row in again] == [row["read_since"] for row in first]


def test_unused_devices_are_listed(lab: Lab, kit: MfaKit) -> None:
    lab.sign_in("alice", serial=PHONE, at=time.time() - 40 * DAY)
    update(kit)
    assert {*told(kit, "--unused", "89")} == {"bob"}
    assert {*told(kit, "--unused", "30")} == {"alice", "bob"}
    # Nothing is known about the time before the history, so bob's key may be unused for 95 days.
    assert {*told(kit, "--unused", "95")} == {"bob"}


@pytest.mark.parametrize("command", ["status", "audit"])
def test_status_and_audit_do_not_ask_cloudtrail(lab: Lab, kit: MfaKit, command: str) -> None:
    def calls() -> list[str]:
        before = len(lab.calls)
        kit.run(command, "--output", "json")
        return sorted(call.operation for call in lab.calls[before:])

    calls()  # the first one lets IAM generate the report
    before = calls()
    update(kit)
    assert calls() == before


def test_a_region_that_denies_makes_the_answer_unknown(lab: Lab, kit: MfaKit) -> None:
    used = int(time.time() - DAY)
    for region in ("eu-north-1", "us-east-2"):
        lab.sign_in("alice", serial=PHONE, region=region, at=used)
    lab.faults.add("LookupEvents", "denied", at=1)  # about sign-ins, with which a Region begins
    done = update(kit, code=1)
    assert re.search("not read: [a-z0-9-]+: AWS answers AccessDenied", done.err)
    rows = told(kit)
    assert (rows["alice"]["last_used_at"], rows["bob"]["last_used"]) == (iso_time(used), "unknown")
    assert rows["bob"]["uses_read"].endswith("2 of 3 Regions")
    update(kit)
    assert told(kit)["bob"]["last_used"].startswith("no use seen since ")


@pytest.mark.parametrize("at", range(1, 10))
def test_credentials_that_expire_end_the_update_and_leave_the_other_regions_unknown(
    lab: Lab, kit: MfaKit, at: int
) -> None:
    lab.faults.add("LookupEvents", "expired", at=at)
    done = kit.run("usage", "update")
    assert (done.code, done.out) == (4, "")
    assert "expired" in done.err
    assert told(kit)["alice"]["last_used"] == "unknown"
    lab.faults.clear()
    update(kit)
    assert told(kit)["alice"]["last_used"].startswith("no use seen since ")


def test_a_region_that_was_closed_and_opened_again_is_read_again(kit: MfaKit) -> None:
    update(kit)
    with sqlite3.connect(kit.home / "ledger.sqlite") as database:
        moved = "region || '-closed', event, source, writer, since, until, reached, top, unread, why"
        database.execute(f"insert into event_reads select account, {moved} from event_reads")
    update(kit)
    closed = "select distinct until > 4000000000 from event_reads where region"
    with sqlite3.connect(kit.home / "ledger.sqlite") as database:
        assert database.execute(f"{closed} like '%-closed'").fetchall() == [(1,)]
        database.execute("update event_reads set until = (select max(until) from event_reads)")
    update(kit)
    with sqlite3.connect(kit.home / "ledger.sqlite") as database:
        assert database.execute(f"{closed} not like '%-closed'").fetchall() == [(0,)]


def test_without_any_permission_the_error_names_it(lab: Lab, kit: MfaKit) -> None:
    lab.faults.add("LookupEvents", "denied", at="every")
    done = kit.run("usage", "update")
    assert (done.code, done.out) == (4, "")
    assert "AccessDenied" in done.err


def test_a_refused_list_of_regions_names_the_permission_and_throttling_is_waited_for(lab: Lab, kit: MfaKit) -> None:
    lab.faults.add("DescribeRegions", "throttle", at=1)
    update(kit)
    lab.faults.add("DescribeRegions", "denied", at="every")
    done = kit.run("usage", "update")
    assert (done.code, done.out) == (4, "")
    assert "UnauthorizedOperation" in done.err
    assert "ask an administrator for the permission" in done.err


def test_without_unused_devices_status_says_how_far_the_events_were_read(lab: Lab, kit: MfaKit) -> None:
    done = kit.run("status", "--unused", "30")
    assert "last uses: not read; to read new ones: mfa-kit usage update" in done.err
    assert PHONE in done.out
    for serial, user in ((PHONE, "alice"), (KEY, "bob")):
        lab.sign_in(user, serial=serial, at=time.time() - DAY)
    update(kit)
    assert "no device is unused for 30 days" in kit.run("status", "--unused", "30").out


def test_many_accounts_are_read_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_history, "SECONDS", 0.0)
    with Lab(accounts=2, users_per_account=1, settings=LabSettings(propagation=0, lookup_rate=1e6)) as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / "desk"))
        kit = MfaKit(tmp_path / "desk", dict(lab.env))
        update(kit, "--org", "--exclude", "member-002")
        done = kit.run("status", "--org")
        assert re.search("last uses: read until [^ ]+, 34 of 34 Regions, and not read in 1 account; ", done.err)
        update(kit, "--org")
        assert "51 of 51 Regions; " in kit.run("status", "--org").err


def test_a_device_that_was_made_again_with_the_same_name_has_no_older_use(lab: Lab, kit: MfaKit) -> None:
    lab.sign_in("alice", serial=PHONE, at=time.time() - 2 * DAY)
    update(kit)
    assert told(kit)["alice"]["last_used_at"]
    assert kit.run("revoke", "alice", "--yes", "--leave-without-mfa").code == 0
    done = kit.run("enroll", "alice", "--with", "virtual", "--codes", "generated", "--no-backup")
    if done.code == 0:
        assert told(kit)["alice"]["last_used"].startswith("no use seen since ")


def write_logs(folder: Path, *events: dict[str, Any]) -> Path:
    write_log_files(folder, log_files(events, organization="o-lab0000000"))
    return folder


def sign_in_event(serial: str, *, user: str = "alice", account: str = ACCOUNT, **more: Any) -> dict[str, Any]:
    identity = {"type": "IAMUser", "principalId": "", "accountId": account, "userName": user}
    data = {"MFAUsed": "Yes", "MFAIdentifier": serial}
    return login(userIdentity=identity, recipientAccountId=account, additionalEventData=data, **more)


def test_log_files_are_read_and_marked(kit: MfaKit, tmp_path: Path) -> None:
    at = iso_time(time.time() - 200 * DAY)
    events = [sign_in_event(PHONE, eventTime=at), sign_in_event(PHONE, account="999999999999", eventTime=at)]
    done = update(kit, "--cloudtrail", write_logs(tmp_path / "trail", *events), code=1)
    assert "left out 1 event of other accounts: 999999999999" in done.err
    assert re.search(r"^us-east-2 .* 1 +0$", done.out, re.MULTILINE)  # one device, no pages
    row = told(kit)["alice"]
    assert (row["last_used_at"], row["use_from_files"]) == (at, True)
    assert row["last_used"].endswith(" (from files)")
    assert "not read: eu-north-1, us-east-1: the log files have no event of this Region" in done.err


def test_files_prove_no_absence_unless_they_have_events_of_each_region(kit: MfaKit, tmp_path: Path) -> None:
    events = [sign_in_event(PHONE, eventTime=iso_time(time.time() - DAY), awsRegion=region) for region in REGIONS]
    update(kit, "--cloudtrail", write_logs(tmp_path / "one", *events[1:]), code=1)
    assert told(kit)["bob"]["last_used"] == "unknown"
    update(kit, "--cloudtrail", write_logs(tmp_path / "all", *events))
    assert told(kit)["bob"]["last_used"].startswith("no use seen since ")
    assert told(kit)["bob"]["uses_read"].endswith("3 of 3 Regions")


def test_a_forged_file_is_marked_and_changes_nothing_else(lab: Lab, kit: MfaKit, tmp_path: Path) -> None:
    """No sign-in was made with bob's key. Who can write to the log bucket can say otherwise."""
    real = int(time.time() - 10 * DAY)
    lab.sign_in("alice", serial=PHONE, at=real)
    update(kit)
    forged = iso_time(time.time() - DAY)
    files = write_logs(tmp_path / "t", sign_in_event(KEY, user="bob", eventTime=forged, awsRegion="us-west-2"))
    before = told(kit)
    update(kit, "--cloudtrail", files, code=1)
    rows = told(kit)
    assert (rows["bob"]["last_used_at"], rows["bob"]["use_from_files"]) == (forged, True)
    assert (rows["alice"]["last_used_at"], rows["alice"]["use_from_files"]) == (iso_time(real), False)
    assert rows["lab-admin"] == {**before["lab-admin"], "uses_read": rows["lab-admin"]["uses_read"]}


def test_damaged_files_are_named_and_prove_no_absence(kit: MfaKit, tmp_path: Path) -> None:
    folder = write_logs(tmp_path / "trail", sign_in_event(PHONE, eventTime=iso_time(time.time() - DAY)))
    (log,) = [path for path in folder.rglob("*.json.gz") if "Digest" not in str(path)]
    (log.parent / "cut.json.gz").write_bytes(log.read_bytes()[:-20])
    (log.parent / "new.json.gz").write_bytes(
        gzip.compress(json.dumps({"Records": [sign_in_event(PHONE, eventVersion="2.0")]}).encode())
    )
    done = update(kit, "--cloudtrail", folder, code=1)
    assert "cut.json.gz is cut off" in done.err
    assert "1 event of account 000000000000: each has another version than 1" in done.err
    rows = told(kit)
    assert rows["alice"]["last_used_at"]
    assert rows["bob"]["last_used"] == "unknown"


def test_an_event_with_a_time_in_the_future_proves_no_absence(kit: MfaKit, tmp_path: Path) -> None:
    """The clock of its writer is off, or somebody forged it."""
    late = sign_in_event(PHONE, eventTime=iso_time(time.time() + 30 * DAY), eventName="CheckMfa")
    early = sign_in_event(PHONE, eventTime=iso_time(time.time() - 30 * DAY), eventName="CheckMfa")
    update(kit, "--cloudtrail", write_logs(tmp_path / "trail", early, late), code=1)
    assert told(kit)["alice"]["last_used"] == "unknown"


def test_a_dry_run_is_refused_because_nothing_could_be_shown(lab: Lab, kit: MfaKit) -> None:
    done = kit.run("usage", "update", "--dry-run")
    assert (done.code, done.out) == (2, "")
    assert "usage update has no --dry-run, so nothing was done" in done.err
    assert not [call for call in lab.calls if call.operation == "LookupEvents"]


@pytest.mark.parametrize("wrong", [["x"], {"x": "y"}, 7, None, True])
@pytest.mark.parametrize("member", [*sign_in_event(PHONE), "identity"])
def test_an_event_with_other_types_than_documented_is_no_internal_error(member: str, wrong: object) -> None:
    event = sign_in_event(PHONE)
    changed = [{**event, member: wrong}]
    if member == "identity":
        identity = event["userIdentity"]
        changed = [{**event, "userIdentity": {**identity, name: wrong}} for name in identity]
    file = LogFile("log", partial(io.BytesIO, json.dumps({"Records": changed}).encode()))
    assert read_file(file, [ACCOUNT], now=time.time()).problems == []


def test_a_folder_without_log_files_is_refused(kit: MfaKit, tmp_path: Path) -> None:
    done = kit.run("usage", "update", "--cloudtrail", tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "has no log files of CloudTrail" in done.err


def test_session_tokens_of_events_are_nowhere(lab: Lab, kit: MfaKit, tmp_path: Path) -> None:
    """Also not with --debug, and not after events that cannot be read."""
    canary = "SESSION-TOKEN-CANARY"
    answer = {"credentials": {"sessionToken": canary, "accessKeyId": "ASIACANARY"}}
    call = {
        **sign_in_event(PHONE, eventTime=iso_time(time.time() - DAY)),
        "eventSource": "sts.amazonaws.com",
        "eventName": "GetSessionToken",
        "responseElements": answer,
        "requestParameters": {"serialNumber": PHONE, "tokenCode": "CODE-CANARY"},
    }
    for event in (call, {**call, "eventVersion": "9"}, {**call, "eventTime": canary}, {**call, "awsRegion": canary}):
        lab.plant({**event, "eventID": f"{len(lab.account.history.all())}", "eventTime": call["eventTime"]})
    lab.plant({**call, "eventVersion": canary, "eventID": "x"})
    texts = []
    for line in (
        ("usage", "update"),
        ("--debug", "usage", "update", "--cloudtrail", str(write_logs(tmp_path / "trail", call))),
        ("status", "--output", "json"),
        ("audit", "--output", "json"),
        ("ledger", "show", "--output", "json"),
    ):
        done = kit.process(*line)
        texts += [done.out, done.err]
    assert PHONE in "".join(texts)
    with sqlite3.connect(kit.home / "ledger.sqlite") as database:
        texts += list(database.iterdump())
    texts += [path.read_bytes().decode("latin-1") for path in kit.home.rglob("*") if path.is_file()]
    assert "CANARY" not in "".join(texts)


@pytest.mark.parametrize("at", sample(range(1, 10), 3))
def test_a_killed_update_is_finished_by_the_next(lab: Lab, kit: MfaKit, at: int) -> None:
    """The process is killed when the lab has answered a page. What was read before is on record."""
    used = int(time.time() - 60 * DAY)
    for day in range(1, 80):
        lab.sign_in("alice", serial=PHONE, region="us-east-1", at=time.time() - day * DAY)
    lab.sign_in("bob", serial=KEY, region="us-east-1", at=used)
    process = kit.start("usage", "update")
    wait_until(lambda: sum(call.operation == "LookupEvents" for call in lab.calls) >= at)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    update(kit)
    rows = told(kit)
    assert rows["bob"]["last_used_at"] == iso_time(used)
    assert rows["alice"]["last_used_at"][:10] == iso_time(time.time() - DAY)[:10]
