"""A ledger that is lost or old: the records of the runs, and nothing else, prove which devices a rollout made."""

import base64
import errno
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pyrage
import pytest

from mfa_kit.adapters.files.rollout_files import RecordFiles, read_records
from mfa_kit.adapters.ledger.records import BackupRecords
from mfa_kit.core.device_records import RecordedDevice, RecordedRun
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import RUN_TAG, STAGED_TAG, USER_TAG, DeviceSpec
from mfa_kit.core.otp import KeyUri, Seed, code_at
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.posix.open_files import try_to_lock
from mfa_kit.qr_codes import symbol
from tests.conftest import ACCOUNT, Result, users_of
from tests.faults.test_disk import full  # noqa: F401 - a fixture
from tests.rollout.conftest import Rollout, key_file, lose_ledger
from tests.rollout.test_accounts import ROLE, Accounts, accounts  # noqa: F401 - a fixture
from tests.sizes import size
from tests.tokens.person import Person

USERS = size(10, 5000)
ARN = f"arn:aws:iam::{ACCOUNT}:mfa/"


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Run a lab that has room for many users."""
    with Lab(settings=LabSettings(users_quota=2 * USERS + 1000)) as running:
        yield running


@pytest.fixture(scope="session")
def users(lab: Lab) -> Callable[[], str]:
    return users_of(lab)


def command(rollout: Rollout, verb: str, *more: str | Path) -> Result:
    return rollout.desk.run("rollout", verb, *more)


def status(rollout: Rollout, *more: str | Path) -> dict[str, tuple[str, str]]:
    """Return the outcome and the reason of each user."""
    done = command(rollout, "status", rollout.file, "--output", "json", *more)
    assert done.code == 0, done.err
    return {row["user"]: (row["outcome"], row["reason"] or "") for row in json.loads(done.out)["rows"]}


def letters(rollout: Rollout, *more: str | Path) -> tuple[int, int, str]:
    """Hand over to a new folder. Return the exit code, the number of letters, and the messages."""
    folder = rollout.folder / f"letters-{time.monotonic_ns()}"
    done = command(rollout, "handover", rollout.file, "-o", folder, *more)
    return done.code, len([*folder.glob("*/letter.txt")]), done.err


def test_a_lost_ledger_between_stage_and_activate(
    rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """The record has everything: each user gets a letter, and each device is enabled, and undone twice."""
    users = people(3)
    rollout.enroll(users, "--stage")
    rollout.lose_ledger()
    assert {outcome for outcome, _ in status(rollout).values()} == {"staged"}
    assert letters(rollout)[:2] == (0, 3)
    new_plan = rollout.folder / "again.json"
    roster = rollout.roster(*rollout.own(users))
    done = command(rollout, "plan", roster, "-o", new_plan, "--record", rollout.results)
    assert done.code == 0, done.err
    assert {step["action"] for step in json.loads(new_plan.read_text())["rows"]} == {"staged"}
    again = rollout.apply("--stage")
    assert (again.code, "delete-virtual-mfa-device" in again.err) == (0, False), again.err
    rollout.lose_ledger()
    dry = command(rollout, "undo", rollout.file, "--dry-run", "--output", "json")
    assert {row["outcome"] for row in json.loads(dry.out)["rows"]} == {"staged"}
    activate = ("-i", key_file(rollout.identity, tmp_path))
    none = command(rollout, "activate", *activate)
    assert (none.code, "neither the ledger nor a record has: t0" in none.err) == (1, True), none.err
    assert "--record DIR" in none.err
    done = command(rollout, "activate", *activate, "--record", rollout.results)
    assert done.code == 0, done.err
    rollout.works(users)
    rollout.lose_ledger()
    undo = ("undo", rollout.file, "--yes", "--leave-without-mfa")
    assert '"enrolled":' in command(rollout, *undo, "--dry-run", "--output", "json").out
    assert command(rollout, *undo).code == 0
    assert not {ARN + user for user in users} & {*rollout.lab.serials()}
    assert not [path for path in (rollout.desk.home / "backups").rglob("*") if path.is_file()]
    twice = command(rollout, *undo)
    assert (twice.code, "is already undone" in twice.err) == (0, True), twice.err
    rollout.lose_ledger()
    twice = command(rollout, *undo)
    assert (twice.code, "is already undone" in twice.err) == (0, True), twice.err


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_finished_rollout_whose_ledger_is_lost(
    rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """Each user gets a letter, each backup opens, and `undo` removes all."""
    users = people(USERS)
    rollout.plan(*rollout.own(users))
    run = partial(rollout.desk.process, timeout=size(150, 3000))
    assert run("rollout", "apply", rollout.file, "-r", rollout.recipient).code == 0
    rollout.lose_ledger()
    assert letters(rollout)[:2] == (0, USERS)
    identity = ("-i", key_file(rollout.identity, tmp_path))
    verified = run("backup", "verify", "--all", *identity, "--output", "json")
    assert (verified.code, len(json.loads(verified.out)["rows"])) == (0, USERS), verified.err
    done = run("rollout", "undo", rollout.file, "--yes", "--leave-without-mfa")
    assert done.code == 0, done.err
    assert not {ARN + user for user in users} & {*rollout.lab.serials()}
    assert not [path for path in (rollout.desk.home / "backups").rglob("*") if path.is_file()]


def test_an_old_ledger(rollout: Rollout, people: Callable[[int], list[str]]) -> None:
    """A dump from the middle lacks the second half, and has the first half as staged."""
    users = people(4)
    rollout.enroll(users[:2], "--stage")
    shutil.copytree(rollout.desk.home, rollout.folder / "dump")
    identity = key_file(rollout.identity, rollout.folder)
    rollout.enroll(users)
    assert command(rollout, "activate", "-i", identity).code == 0
    rollout.lose_ledger()
    shutil.copytree(rollout.folder / "dump", rollout.desk.home, dirs_exist_ok=True)
    assert {outcome for outcome, _ in status(rollout).values()} == {"enrolled"}
    assert letters(rollout)[:2] == (0, 4)
    assert rollout.apply().code == 0
    rollout.works(users[2:])


def lose_the_end(rollout: Rollout, reached: str = "created") -> None:
    """Let the ledger be a standby that took over without the last records of a run: no device is staged."""
    with sqlite3.connect(rollout.desk.home / "ledger.sqlite") as ledger:
        ledger.execute("update journal set reached = ? where reached = 'staged'", [reached])


def test_a_ledger_that_lost_the_end_of_a_run(
    rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """It has devices as half-made that the run completed. They stay as they are: a user may have the secret."""
    users = people(3)
    rollout.enroll(users, "--stage")
    seeds = [rollout.lab.seed(ARN + user) for user in users]
    for file in (rollout.desk.home / "backups").rglob(f"{users[0]}-*"):
        file.unlink()  # this device is half-made indeed

    lose_the_end(rollout)
    assert [outcome for outcome, _ in status(rollout).values()] == ["half-made", "staged", "staged"]
    assert rollout.apply("--stage").code == 0
    assert [rollout.lab.seed(ARN + user) == seed for user, seed in zip(users, seeds, strict=True)] == [
        False,
        True,
        True,
    ]
    lose_the_end(rollout)
    assert letters(rollout)[:2] == (0, 3)
    activate = ("-i", key_file(rollout.identity, tmp_path), "--record", rollout.results)
    done = command(rollout, "activate", *activate)
    assert done.code == 0, done.err
    rollout.works(users)


@pytest.mark.parametrize("reached", ["intent", "created", "undone"])
def test_only_undo_removes_what_a_lost_end_shows_as_half_made(
    rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path, reached: str
) -> None:
    """No other command has the record, but the backup, which is written last, is complete."""
    user, other = people(2)
    rollout.enroll([user, other], "--stage")
    seed, [run] = rollout.lab.seed(ARN + user), read_records([rollout.results], computer="here").runs
    lose_the_end(rollout, reached)
    for file in (rollout.desk.home / "backups").glob(f"[0-9]*/*/{other}-*"):
        file.unlink()  # this device is half-made indeed: only its user's own copy, which is written first, exists
    listed = rollout.desk.run("orphans", "list", "--output", "json")
    rows = {row["device"]: (row["standing"], row["clean"]) for row in json.loads(listed.out)["rows"]}
    assert rows[ARN + user] == ("staged, to be enabled later", "leaves it")
    assert rows[ARN + other][1] == "removes it"
    cleaned = rollout.desk.run("orphans", "clean", "--yes", "--older-than", "0d")
    assert (rollout.lab.seed(ARN + user), ARN + other in rollout.lab.serials()) == (seed, False)
    if reached == "undone":
        return
    records = rollout.results.rename(tmp_path / "records")
    enrolled = rollout.desk.run("enroll", user, "--with", "virtual", "--no-input")
    replaced = rollout.desk.run("replace", user, "--with", "virtual", "--no-input")
    for said in (cleaned, enrolled, replaced, rollout.apply("--stage")):
        assert (said.code != 0, "is staged, and its backup is complete" in said.err) == (True, True), said.err
        assert f"to remove it: mfa-kit rollout undo {run}" in said.err
        assert "delete-virtual-mfa-device" not in said.err
    assert rollout.lab.seed(ARN + user) == seed
    if reached == "intent":
        undone = command(rollout, "undo", run, "--yes")
        assert (undone.code, ARN + user in rollout.lab.serials()) == (0, False), undone.err
        assert not [*(rollout.desk.home / "backups").rglob(f"{user}-*")]
        return
    activate = ("-i", key_file(rollout.identity, tmp_path), "--record", records)
    done = command(rollout, "activate", *activate)
    assert done.code == 0, done.err
    rollout.works([user])


def test_no_message_deletes_an_untagged_device_with_its_backup(
    rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path
) -> None:
    (user,) = people(1)
    rollout.enroll([user], "--stage")
    iam = boto3.Session().client("iam", endpoint_url=rollout.lab.env["AWS_ENDPOINT_URL"])
    iam.untag_mfa_device(SerialNumber=ARN + user, TagKeys=[RUN_TAG, STAGED_TAG])
    lose_the_end(rollout)
    cleaned = rollout.desk.run("orphans", "clean", "--yes", "--older-than", "0d")
    assert (cleaned.code, "rollout activate --record DIR" in cleaned.err) == (4, True), cleaned.err
    assert "delete-virtual-mfa-device" not in cleaned.err
    done = command(rollout, "activate", "-i", key_file(rollout.identity, tmp_path), "--record", rollout.results)
    assert done.code == 0, done.err
    rollout.works([user])


def test_activate_lists_what_an_old_ledger_lacks(
    rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """It enables what the dump has, lists the other staged devices, and exits with 1 until it has their record."""
    users = people(4)
    rollout.enroll(users[:2], "--stage")
    shutil.copytree(rollout.desk.home, rollout.folder / "dump")
    rollout.enroll(users, "--stage")
    rollout.lose_ledger()
    shutil.copytree(rollout.folder / "dump", rollout.desk.home, dirs_exist_ok=True)
    activate = ("-i", key_file(rollout.identity, tmp_path))
    for _ in range(2):
        done = command(rollout, "activate", *activate)
        assert (done.code, [rollout.lab.assigned(ARN + user) for user in users]) == (1, [*users[:2], None, None])
        named = f"IAM has 2 staged devices that neither the ledger nor a record has: {users[2]}, {users[3]}"
        assert (named in done.err, "--record DIR" in done.err) == (True, True), done.err
    assert command(rollout, "activate", *activate, "--only", users[0]).code == 0
    done = command(rollout, "activate", *activate, "--record", rollout.results)
    assert done.code == 0, done.err
    rollout.works(users)


def test_activate_leaves_a_run_that_is_in_progress_alone(
    rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """Its process is alive, although the ledger is lost."""
    (user,) = people(1)
    rollout.enroll([user], "--stage")
    rollout.lose_ledger()
    (file,) = rollout.results.glob("record-*")
    activate = ("-i", key_file(rollout.identity, tmp_path), "--record", rollout.results)
    with file.open() as opened:
        try_to_lock(opened.fileno())
        done = command(rollout, "activate", *activate)
    assert (done.code, "is still in progress" in done.err) == (2, True), done.err
    assert rollout.lab.assigned(ARN + user) is None
    assert command(rollout, "activate", *activate).code == 0


def test_a_kill_during_the_adoption_leaves_no_device(
    rollout: Rollout, people: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start adopts a half-made device that has no line, too."""
    users = people(2)
    rollout.enroll(users, "--stage")
    (file,) = rollout.results.glob("record-*")
    head, _, _ = file.read_text().partition("\n")
    file.write_text(f"{head}\n")
    shutil.rmtree(rollout.desk.home / "backups")
    rollout.lose_ledger()

    def killed(*_: object, **__: object) -> None:
        raise IntegrityFault("killed")

    with monkeypatch.context() as patch:
        patch.setattr("mfa_kit.rollout.apply.record_adopted", killed)
        assert rollout.apply("--stage").code == 5
    done = rollout.apply("--stage")
    assert done.code == 0, done.err
    assert {outcome for outcome, _ in status(rollout).values()} == {"staged"}


def test_without_a_record_nothing_is_adopted(
    rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tags and backups prove nothing. `undo --adopt-unrecorded` removes the devices, and they can be staged again."""
    users = people(3)
    rollout.enroll(users, "--stage")
    rollout.lose_ledger()
    shutil.rmtree(rollout.results)
    for outcome, reason in status(rollout).values():
        assert (outcome, "neither the ledger nor a record of a run has it" in reason) == ("failed", True)
    code, number, said = letters(rollout)
    assert (code, number, "IAM has a device for them" in said) == (1, 0, True), said
    refused = rollout.apply("--stage")
    assert (refused.code, "delete-virtual-mfa-device" in refused.err) == (1, False), refused.err
    assert command(rollout, "undo", rollout.file, "--yes").code == 1
    undo = ("undo", rollout.file, "--adopt-unrecorded", "--yes")
    assert command(rollout, *undo).code == 8  # --yes does not answer the question
    dry = command(rollout, *undo, "--dry-run")
    assert (dry.code, "3 devices" in dry.err) == (0, True), dry.err
    monkeypatch.setattr("mfa_kit.cli.terminal.find_person", lambda *_, **__: Person(["3"]))
    done = command(rollout, *undo)
    assert done.code == 0, done.err
    assert not {ARN + user for user in users} & {*rollout.lab.serials()}
    assert not [path for path in (rollout.desk.home / "backups").rglob("*") if path.is_file()]
    assert rollout.apply("--stage").code == 0
    done = command(rollout, "activate", "-i", key_file(rollout.identity, tmp_path))
    assert done.code == 0, done.err
    rollout.works(users)


@pytest.mark.parametrize("folder", ["**", "[0-9]*"], ids=["both files", "administrators' file"])
def test_a_staged_device_without_its_backup_is_staged_again(
    rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path, folder: str
) -> None:
    """A kill after its line and before its backup, or between the backup's two files, can leave it."""
    lost, kept = people(2)
    rollout.enroll([lost, kept], "--stage")
    for file in [*(rollout.desk.home / "backups").glob(f"{folder}/*/{lost}-*")]:
        file.unlink()
    rollout.lose_ledger()
    assert {user: outcome for user, (outcome, _) in status(rollout).items()} == {lost: "half-made", kept: "staged"}
    assert rollout.apply("--stage").code == 0
    done = command(rollout, "activate", "-i", key_file(rollout.identity, tmp_path))
    assert done.code == 0, done.err
    rollout.works([lost, kept])


def test_backups_that_are_out_of_reach_cost_no_device(
    rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """If no backup of a run is found, its folder may be away. `apply` leaves its staged devices alone."""
    users = people(2)
    rollout.enroll(users, "--stage")
    backups, seeds = rollout.desk.home / "backups", [rollout.lab.seed(ARN + user) for user in users]
    backups.rename(tmp_path / "away")
    rollout.lose_ledger()
    for outcome, reason in status(rollout).values():
        assert (outcome, "without which it cannot be enabled, is missing" in reason) == ("failed", True)
    assert rollout.apply("--stage").code == 1
    assert [rollout.lab.seed(ARN + user) for user in users] == seeds
    shutil.rmtree(backups, ignore_errors=True)
    (tmp_path / "away").rename(backups)
    rollout.lose_ledger()
    assert {outcome for outcome, _ in status(rollout).values()} == {"staged"}


def test_backups_that_are_lost_for_good(
    rollout: Rollout, people: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`undo` leaves the staged devices alone. `undo --adopt-unrecorded` removes them, and they can be staged again."""
    users = people(2)
    rollout.enroll(users, "--stage")
    shutil.rmtree(rollout.desk.home / "backups")
    rollout.lose_ledger()
    assert command(rollout, "undo", rollout.file, "--yes").code == 1
    monkeypatch.setattr("mfa_kit.cli.terminal.find_person", lambda *_, **__: Person(["2"]))
    done = command(rollout, "undo", rollout.file, "--adopt-unrecorded")
    assert done.code == 0, done.err
    assert rollout.apply("--stage").code == 0
    assert {outcome for outcome, _ in status(rollout).values()} == {"staged"}


def test_backups_that_were_encrypted_again_after_the_record(
    rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path
) -> None:
    """Only the lost ledger had their SHA-256. `backup rekey` records it again."""
    users = people(2)
    rollout.enroll(users, "--stage")
    identity = ("-i", key_file(rollout.identity, tmp_path))
    rekey = ("backup", "rekey", *identity, "-r", rollout.recipient)
    assert rollout.desk.run(*rekey).code == 0
    rollout.lose_ledger()
    activate = (*identity, "--record", rollout.results)
    done = command(rollout, "activate", *activate)
    assert (done.code, "If backup rekey did, and the ledger was lost since, see" in done.err) == (1, True)
    assert [rollout.lab.assigned(ARN + user) for user in users] == [None, None]
    assert rollout.desk.run(*rekey).code == 0
    done = command(rollout, "activate", *activate)
    assert done.code == 0, done.err
    rollout.works(users)


def plant(rollout: Rollout, iam: Any, user: str, run: str) -> None:
    """Replace a user's staged device and backup by others with the same tags, and a seed that the attacker knows."""
    iam.delete_virtual_mfa_device(SerialNumber=ARN + user)
    tags = {RUN_TAG: run, USER_TAG: user, STAGED_TAG: "yes"}
    iam.create_virtual_mfa_device(
        VirtualMFADeviceName=user, Tags=[{"Key": key, "Value": value} for key, value in tags.items()]
    )
    for file in (rollout.desk.home / "backups").rglob(f"{user}-*"):
        secret = base64.b32encode(rollout.lab.seed(ARN + user)).decode()
        uri = KeyUri(f"otpauth://totp/AWS:{user}@{ACCOUNT}?secret={secret}&issuer=AWS")
        file.write_bytes(pyrage.encrypt(symbol.png(uri, caption="").reveal(), [rollout.identity.to_public()]))


@pytest.mark.parametrize("left", ["both", "record", "ledger", "none"])
def test_a_planted_device_is_refused(
    rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path, left: str
) -> None:
    """Tags, device and backup agree with each other, and still nobody gets the device."""
    (user,) = people(1)
    rollout.enroll([user], "--stage")
    (run,) = read_records([rollout.results], computer="").runs
    iam = boto3.Session().client("iam", endpoint_url=rollout.lab.env["AWS_ENDPOINT_URL"])
    plant(rollout, iam, user, run)
    if left in {"record", "none"}:
        rollout.lose_ledger()
    if left in {"ledger", "none"}:
        shutil.rmtree(rollout.results)
    record = ("--record", rollout.results) if left in {"both", "record"} else ()
    done = command(rollout, "activate", "-i", key_file(rollout.identity, tmp_path), *record)
    assert (done.code, rollout.lab.assigned(ARN + user)) == (1, None), done.err
    assert left == "none" or "is not the file that mfa-kit wrote" in done.err
    code, number, said = letters(rollout)
    assert (code, number) == (1, 0), said
    assert rollout.lab.assigned(ARN + user) is None


def test_an_adopted_device_keeps_its_hash(rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path) -> None:
    """`apply` writes the device into the new ledger, and then `activate` needs no record to refuse another backup."""
    (user,) = people(1)
    rollout.enroll([user], "--stage")
    (run,) = read_records([rollout.results], computer="").runs
    rollout.lose_ledger()
    plant(rollout, boto3.Session().client("iam", endpoint_url=rollout.lab.env["AWS_ENDPOINT_URL"]), user, run)
    assert rollout.apply("--stage").code == 0
    done = command(rollout, "activate", "-i", key_file(rollout.identity, tmp_path))
    assert (done.code, rollout.lab.assigned(ARN + user)) == (1, None), done.err
    assert "is not the file that mfa-kit wrote" in done.err
    assert command(rollout, "undo", rollout.file, "--yes").code == 0


def test_a_new_device_with_the_name_of_an_undone_one_is_left_alone(
    rollout: Rollout, people: Callable[[int], list[str]]
) -> None:
    """The ledger that says that the run was undone is lost, and the user has made a device in the console since."""
    (user,) = people(1)
    rollout.enroll([user])
    undo = ("undo", rollout.file, "--yes", "--leave-without-mfa")
    assert command(rollout, *undo).code == 0
    rollout.lose_ledger()
    iam = boto3.Session().client("iam", endpoint_url=rollout.lab.env["AWS_ENDPOINT_URL"])
    iam.create_virtual_mfa_device(VirtualMFADeviceName=user)
    first, second = (code_at(Seed(rollout.lab.seed(ARN + user)), time.time() - ago) for ago in (30, 0))
    iam.enable_mfa_device(UserName=user, SerialNumber=ARN + user, AuthenticationCode1=first, AuthenticationCode2=second)
    assert status(rollout)[user][0] == "skipped"
    assert rollout.apply().code == 0
    done = command(rollout, *undo)
    assert (done.code, f"{ARN}{user} is left as it is" in done.err) == (1, True), done.err
    assert rollout.lab.assigned(ARN + user) == user


def test_a_device_that_cannot_be_adopted_is_not_called_undone(
    rollout: Rollout, people: Callable[[int], list[str]]
) -> None:
    """Two runs may have made it, and neither has a backup. `undo` names it, and exits with 1."""
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    undo = ("undo", rollout.file, "--yes")
    for _ in range(2):
        command(rollout, *undo)
        assert rollout.apply("--stage").code == 0
    shutil.rmtree(rollout.desk.home / "backups")
    rollout.lose_ledger()
    done = command(rollout, *undo)
    assert (done.code, "already undone" in done.err) == (1, False), done.err
    assert f"{ARN}{user} is left as it is" in done.err
    assert rollout.apply("--stage").code == 1  # nothing proves whose seed it has
    assert ARN + user in rollout.lab.serials()


def test_undo_waits_for_a_recorded_run(rollout: Rollout, people: Callable[[int], list[str]]) -> None:
    """The run is at work with another ledger. Only its record shows that."""
    users = people(2)
    rollout.enroll(users, "--stage")
    rollout.lose_ledger()
    undo = ("undo", rollout.file, "--yes")
    none = command(rollout, *undo, "--adopt-unrecorded")
    assert (none.code, "IAM has no staged device" in none.err) == (1, True), none.err
    (file,) = rollout.results.glob("record-*")
    with file.open() as opened:
        try_to_lock(opened.fileno())
        done = command(rollout, *undo)
    assert (done.code, "is still in progress" in done.err) == (2, True), done.err
    assert {ARN + user for user in users} <= {*rollout.lab.serials()}
    assert command(rollout, *undo).code == 0


RUN = RecordedRun(id="20261130T120000Z-0123abcd", plan="0" * 64, computer="here")


def record(folder: Path) -> RecordFiles:
    """Record one device of a run."""
    files = RecordFiles(folder)
    files.begin(RUN)
    spec = DeviceSpec(account=ACCOUNT, partition="aws", user="alice", name="alice")
    files.add(RecordedDevice(run=RUN, at=time.time(), spec=spec))
    return files


def written_long_ago(file: Path) -> None:
    """Set the times in a record to 15 minutes ago. The file itself was changed just now, as a copy is."""
    head, *lines = file.read_text().splitlines()
    old = [json.dumps(json.loads(line) | {"at": time.time() - 901}) for line in lines]
    file.write_text("\n".join([head, *old]) + "\n")


def test_a_torn_last_line_is_ignored(tmp_path: Path) -> None:
    """A power cut can leave it. Any other damaged line is an error."""
    record(tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    assert file.name == f"record-{RUN.id}-here-{os.getpid()}.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    for cut in (whole[:20], whole[:-1], whole + whole[:50]):
        file.write_bytes(cut)
        devices = read_records([tmp_path], computer="here").devices
        assert [device.spec.user for device in devices] == ["alice"] * cut.startswith(whole)
    head, _, rest = whole.partition(b"\n")
    file.write_bytes(head + b"\n" + rest[:50] + b"\n" + rest)
    with pytest.raises(IntegrityFault, match=r"line 2 of .* is not a line of a run's record"):
        assert read_records([tmp_path], computer="here").devices


def test_a_line_that_does_not_fit_on_the_disk_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread can write its line once there is space again. The record must then still be readable."""
    files, write = record(tmp_path), os.write
    spec = DeviceSpec(account=ACCOUNT, partition="aws", user="bob", name="bob")

    def write_part(file: int, line: bytes) -> int:
        if len(line) > 20:
            return write(file, line[: len(line) - 20])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write_part)
        with pytest.raises(IntegrityFault, match="No space left on device"):
            files.add(RecordedDevice(run=RUN, at=time.time(), spec=spec))
    files.add(RecordedDevice(run=RUN, at=time.time(), spec=spec))
    assert [device.spec.user for device in read_records([tmp_path], computer="here").devices] == ["alice", "bob"]


def test_a_record_that_others_can_write_proves_nothing(tmp_path: Path) -> None:
    record(tmp_path)
    (file,) = tmp_path.iterdir()
    file.chmod(0o620)
    with pytest.raises(IntegrityFault, match="can be written by other users"):
        read_records([tmp_path], computer="here")


def test_a_run_is_in_progress_while_its_process_is_alive(tmp_path: Path) -> None:
    """The process keeps the file locked. A run of another computer counts for 15 minutes after its last line."""
    files = record(tmp_path)
    (file,) = tmp_path.iterdir()

    def in_progress(computer: str) -> bool:
        (run,) = read_records([tmp_path], computer=computer).runs.values()
        return run.in_progress

    assert in_progress("here")
    files.close()
    assert (in_progress("here"), in_progress("there")) == (False, True)
    assert (in_progress("here"), in_progress("there")) == (False, True)
    written_long_ago(file)
    assert not in_progress("there")
    file.write_text(file.read_text().partition("\n")[0] + "\n")
    assert not in_progress("there")  # the run's ID has the time when it began


def test_a_ledger_of_several_accounts_is_lost(accounts: Accounts, tmp_path: Path) -> None:  # noqa: F811
    """Each account has its own record below the results of the index."""
    number_of_devices = len(accounts.ids) * len(accounts.users)
    assert accounts.plan().code == 0
    assert accounts.apply("--stage").code == 0
    lose_ledger(accounts.desk.home)
    done = accounts.desk.run(*accounts.command("status", "--output", "json"))
    assert [row["outcome"] for row in json.loads(done.out)["rows"]] == ["staged"] * number_of_devices, done.err
    refused = accounts.plan()
    assert (refused.code, f"its runs created {number_of_devices} devices" in refused.err) == (2, True), refused.err
    letters = tmp_path / "letters"
    done = accounts.desk.run(*accounts.command("handover", "-o", letters))
    assert (done.code, len([*letters.glob("*/*/letter.txt")])) == (0, number_of_devices), done.err
    options = ("--org", "--role-name", ROLE, "-i", key_file(accounts.identity, tmp_path))
    done = accounts.desk.run("rollout", "activate", *options)
    hint = "mfa-kit rollout activate --record DIR"
    assert (done.code, "no device is staged" in done.err, hint in done.err) == (1, True, True), done.err
    done = accounts.desk.run("rollout", "activate", *options, "--record", accounts.folder / "index-results")
    assert done.code == 0, done.err
    accounts.works()
    lose_ledger(accounts.desk.home)
    undo = accounts.command("undo", "--yes", "--leave-without-mfa")
    done = accounts.desk.run(*undo)
    assert (done.code, [accounts.enrolled(number) for number in accounts.ids]) == (0, [set()] * len(accounts.ids))
    done = accounts.desk.run(*undo)
    assert (done.code, "is already undone" in done.err) == (0, True), done.err


def test_half_made_devices_of_several_accounts_are_made_again(accounts: Accounts) -> None:  # noqa: F811
    """Each account adopts its own run only, also if all begin at the same time."""
    assert accounts.plan().code == 0
    assert accounts.apply("--stage").code == 0
    for file in accounts.folder.glob("index-results/*/record-*"):
        head, _, _ = file.read_text().partition("\n")
        file.write_text(f"{head}\n")  # as if each run was killed before the first line of a device
    shutil.rmtree(accounts.desk.home / "backups")
    lose_ledger(accounts.desk.home)
    done = accounts.apply("--stage")
    assert done.code == 0, done.err
    assert accounts.desk.run(*accounts.command("undo", "--yes")).code == 0


def test_a_record_that_cannot_be_written_ends_the_run(
    rollout: Rollout,
    people: Callable[[int], list[str]],
    full: Path,  # noqa: F811
) -> None:
    """The kernel raises ENOSPC. No device is made without its line, and the same command works once there is space."""
    users = people(2)
    rollout.plan(*rollout.own(users))
    with (full / "more").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    done = rollout.apply("--results", full / "results")
    assert (done.code, "No space left on device" in done.err) == (5, True), done.err
    assert not {ARN + user for user in users} & {*rollout.lab.serials()}
    for name in ("ballast", "more"):
        (full / name).unlink()
    assert rollout.apply("--results", full / "results").code == 0
    rollout.works(users)


def test_a_wrong_name_is_no_lost_ledger(rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path) -> None:
    """`activate --only` exits with 0, as long as the ledger has a staged device of another user."""
    rollout.enroll(people(1), "--stage")
    done = command(rollout, "activate", "-i", key_file(rollout.identity, tmp_path), "--only", "nobody")
    assert (done.code, "no device is staged on this computer for nobody" in done.err) == (0, True), done.err


def test_undo_refuses_before_it_asks(rollout: Rollout, people: Callable[[int], list[str]]) -> None:
    """If each device is the last of its user, no question is asked. Otherwise, one reason is printed once."""
    users = people(8)
    rollout.enroll(users)
    done = command(rollout, "undo", rollout.file)
    assert (done.code, "all 8 devices are the last MFA device of their user" in done.err) == (6, True), done.err
    rollout.lab.register_fido(users[0], "key")
    done = command(rollout, "undo", rollout.file)
    asks = f"1 device of {rollout.file} will be removed, and 7 will stay"
    assert (done.code, asks in done.err) == (8, True), done.err
    done = command(rollout, "undo", rollout.file, "--yes")
    assert (done.code, done.err.count("it is the user's last MFA device")) == (6, 1), done.err
    assert "and 2 more: refused" in done.err


def reconcile(rollout: Rollout, *more: str | Path) -> tuple[int, list[tuple[str, str]], str]:
    """Return the exit code, the differences about the users of this test, and the messages."""
    done = rollout.desk.run("ledger", "reconcile", "--output", "json", *more)
    users = {line.split(",")[0] for line in (rollout.folder / "roster.csv").read_text().splitlines()[1:]}
    rows = [(row["user"] or row["device"].split("/")[-1], row["difference"]) for row in json.loads(done.out)["rows"]]
    return done.code, [(user, difference) for user, difference in rows if user in users], done.err


@pytest.mark.parametrize("how", ["lost", "dump"])
def test_reconcile_adopts_what_the_record_proves(
    rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path, how: str
) -> None:
    """Afterward, the ledger has the devices, and the recipients and the hashes of their backups."""
    users = people(4)
    rollout.enroll(users[:2], "--stage")
    shutil.copytree(rollout.desk.home, rollout.folder / "dump")
    rollout.enroll(users, "--stage")
    rollout.lose_ledger()
    lacks = users
    if how == "dump":
        shutil.copytree(rollout.folder / "dump", rollout.desk.home, dirs_exist_ok=True)
        lacks = users[2:]
    record = ("--record", rollout.results)
    _, before, _ = reconcile(rollout, *record)
    assert {user for user, _ in before} == {*lacks}
    _, planned, said = reconcile(rollout, "--adopt", *record, "--dry-run")
    assert (planned, f"{len(lacks)} devices to adopt" in said) == (before, True), said
    _, after, said = reconcile(rollout, "--adopt", *record)
    assert (after, f"{len(lacks)} devices adopted" in said) == ([], True), said
    assert reconcile(rollout)[1] == []
    verified = rollout.desk.run(
        "backup", "verify", "--all", "-i", key_file(rollout.identity, tmp_path), "--output", "json"
    )
    assert [row["remarks"] for row in json.loads(verified.out)["rows"]] == [None] * 4
    recipients = rollout.desk.run("backup", "recipients", "--output", "json")
    assert [row["recipients"] for row in json.loads(recipients.out)["rows"]] == [[rollout.recipient]] * 4
    shutil.rmtree(rollout.results)  # the ledger has it all now
    assert command(rollout, "activate", "-i", key_file(rollout.identity, tmp_path)).code == 0
    rollout.works(users)
    assert reconcile(rollout)[1] == []


def test_reconcile_adopts_nothing_else(rollout: Rollout, people: Callable[[int], list[str]]) -> None:
    """Devices that no record has, and those that another run made, are reported and not adopted."""
    taken, unrecorded, left = people(3)
    rollout.enroll([taken, left], "--stage")
    records = rollout.results.rename(rollout.folder / "records")
    rollout.enroll([taken, unrecorded, left], "--stage")
    iam = boto3.Session().client("iam", endpoint_url=rollout.lab.env["AWS_ENDPOINT_URL"])
    plant(rollout, iam, taken, "20261130T120000Z-0123abcd")
    rollout.lose_ledger()
    alone = rollout.desk.run("ledger", "reconcile", "--adopt")
    assert (alone.code, "--record DIR" in alone.err) == (2, True), alone.err
    code, rows, said = reconcile(rollout, "--adopt", "--record", records)
    assert (code, {user for user, _ in rows}) == (1, {taken, unrecorded}), said
    assert (taken, "device is not in the ledger") in rows


def test_an_interrupted_adoption_is_completed(
    rollout: Rollout, people: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger fails after the devices, and before the recipients of all backups are recorded."""
    users = people(3)
    rollout.enroll(users)
    rollout.lose_ledger()
    real, written = BackupRecords.record_sealed, list[object]()

    def fails(self: BackupRecords, *args: Any, **how: Any) -> None:
        if written:
            raise IntegrityFault("the ledger cannot be written: the disk is full", "make room")
        real(self, *args, **how)
        written.append(args)

    adopt = ("--adopt", "--record", rollout.results)
    with monkeypatch.context() as patch:
        patch.setattr(BackupRecords, "record_sealed", fails)
        broken = rollout.desk.run("ledger", "reconcile", *adopt)
    assert (broken.code, "the disk is full" in broken.err) == (5, True), broken.err
    assert {difference for _, difference in reconcile(rollout)[1]} == {"backup is not in the ledger"}
    assert reconcile(rollout, *adopt)[1] == []
    assert reconcile(rollout)[1] == []


def test_backups_in_folders_of_other_computers_are_adopted_there(
    rollout: Rollout, people: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the devices are adopted here, because this computer would miss files that it cannot see."""
    users = people(2)
    rollout.plan(*rollout.own(users))
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: "another")
        assert rollout.apply().code == 0
    rollout.lose_ledger()
    for file in rollout.results.glob("record-*"):
        written_long_ago(file)
    (rollout.desk.home / "backups").rename(rollout.folder / "on another computer")
    assert reconcile(rollout, "--adopt", "--record", rollout.results)[1] == []
    assert rollout.desk.run("backup", "list", "--record", rollout.results).code == 0
    (rollout.folder / "on another computer").rename(rollout.desk.home / "backups")
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    assert {difference for _, difference in reconcile(rollout)[1]} == {"backup is not in the ledger"}
    assert reconcile(rollout, "--adopt", "--record", rollout.results)[1] == []


@pytest.mark.slow
def test_reconcile_works_in_many_accounts(accounts: Accounts) -> None:  # noqa: F811 - the fixture
    """Each row has its account, and each account's devices are adopted."""
    assert accounts.plan().code == 0
    assert accounts.apply().code == 0
    lose_ledger(accounts.desk.home)
    many = ("--org", "--role-name", ROLE, "--output", "json")
    record = ("--record", accounts.folder / "index-results")
    before = accounts.desk.run("ledger", "reconcile", *record, *many)
    found = {(row["account"], row["difference"]) for row in json.loads(before.out)["rows"] if row["difference"]}
    kinds = ("device is not in the ledger", "backup is not in the ledger")
    assert (before.code, found) == (1, {(account, kind) for account in accounts.ids for kind in kinds}), before.err
    adopted = accounts.desk.run("ledger", "reconcile", "--adopt", *record, *many)
    assert adopted.code == 0, adopted.err
    assert accounts.desk.run("ledger", "reconcile", *many).code == 0
