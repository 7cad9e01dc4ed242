"""Rare situations in a rollout: another computer, lists that lag, a run that is alive, a throttle that never ends."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mfa_kit.adapters.aws import account as pages
from mfa_kit.adapters.aws.account import AccountReader
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.cli import messages
from mfa_kit.cli.messages import StatusLine
from mfa_kit.core.models import DeviceSpec, JournalEntry, JournalState, RunKind
from mfa_kit.enrollment import pacing
from mfa_kit.lab.aws.server import Lab
from mfa_kit.rollout import execution
from tests.conftest import ACCOUNT
from tests.lab.client import Aws
from tests.rollout.conftest import Rollout

People = Callable[[int], list[str]]


@pytest.fixture
def aws(at_lab: Lab) -> Aws:
    return Aws(at_lab, (at_lab.admin.access_key_id, at_lab.admin.secret_access_key, None))


def rows(rollout: Rollout) -> dict[str, dict[str, Any]]:
    found = json.loads((rollout.results / "results.json").read_text())["rows"]
    return {row["user"]: row for row in found}


def standing(rollout: Rollout) -> dict[str, str]:
    done = rollout.desk.run("rollout", "status", rollout.file, "--output", "json")
    assert done.code == 0, done.err
    return {row["user"]: row["outcome"] for row in json.loads(done.out)["rows"]}


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Return a list of virtual devices from before the test."""
    monkeypatch.setattr(AccountReader, "virtual", lambda _: iter(()))


def test_the_backup_of_another_process_is_reported(
    rollout: Rollout, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process enrolls the user after this process has listed the devices."""
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    create, others = Iam.create, ["enroll", user, "--with", "virtual", "--codes", "generated", "-r", rollout.recipient]

    def create_later(self: Iam, *what: Any, **how: Any) -> Any:
        if others:
            words = [*others]
            others.clear()
            assert rollout.desk.process(*words).code == 0
        return create(self, *what, **how)

    monkeypatch.setattr(Iam, "create", create_later)
    assert rollout.apply().code == 0
    row = rows(rollout)[user]
    assert (row["outcome"], row["reason"]) == ("skipped", "enrolled by another run in the meantime")
    assert Path(row["backup"]).is_file()
    rollout.works([user], copies=1)


@pytest.mark.parametrize("finished", [True, False])
def test_a_device_that_another_process_makes_while_devices_are_listed_has_a_backup(
    finished: bool, rollout: Rollout, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list has the device. The journal has it too, even if the other process has not recorded the end yet."""
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    virtual, others = AccountReader.virtual, [sqlite_ledger(rollout.desk.home)]

    def virtual_later(self: AccountReader) -> Any:
        if not list(others[0].made(ACCOUNT)):
            words = ["enroll", user, "--with", "virtual", "--codes", "generated", "-r", rollout.recipient]
            assert rollout.desk.process(*words).code == 0
            [entry] = others[0].made(ACCOUNT)
            others[0].record(entry.at(JournalState.CONFIRMED if finished else JournalState.CREATED))
        return virtual(self)

    monkeypatch.setattr(AccountReader, "virtual", virtual_later)
    assert rollout.apply().code == 0
    row = rows(rollout)[user]
    assert "no backup" not in row["reason"]
    assert Path(row["backup"]).is_file()
    assert row["outcome"] == ("enrolled" if finished else "skipped")
    others[0].close()


@pytest.mark.usefixtures("stale")
def test_a_user_enrolled_by_another_computer_is_no_failure(rollout: Rollout, people: People, aws: Aws) -> None:
    """The list was older. IAM refuses the name, and the tags of the device name its user."""
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    aws.enrolled(user)
    assert rollout.apply().code == 0
    assert (rows(rollout)[user]["outcome"], "by another computer in the meantime" in rows(rollout)[user]["reason"]) == (
        "skipped",
        True,
    )


@pytest.mark.usefixtures("stale")
def test_a_taken_name_with_unreadable_tags_is_a_failure(rollout: Rollout, people: People, aws: Aws) -> None:
    """mfa-kit then cannot know whose device it is."""
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    aws.enrolled(user)
    rollout.lab.faults.add("ListMFADevices", "denied", at="every")
    assert rollout.apply().code == 1
    assert rows(rollout)[user]["cause"] == "AlreadyExists"


def test_a_rollout_waits_for_lists_that_lag(rollout: Rollout, people: People) -> None:
    """A device is recorded as enabled, not as confirmed, until IAM lists it."""
    users = people(2)
    rollout.plan(*rollout.own(users))
    rollout.lab.faults.add("*", "lag", seconds=1.0)
    assert rollout.apply().code == 0
    rollout.lab.faults.clear()
    rollout.works(users)


def test_an_unlisted_device_is_confirmed_by_the_next_run(
    rollout: Rollout, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device works nevertheless, and a warning is printed."""
    users = people(2)
    rollout.plan(*rollout.own(users))
    with monkeypatch.context() as patch:
        patch.setattr(execution, "PAUSES", ())
        patch.setattr(AccountReader, "virtual", lambda _: iter(()))
        done = rollout.apply()
    assert (done.code, done.err.count("but IAM does not list it yet")) == (0, 2)
    assert rollout.apply().code == 0
    rollout.works(users)


def test_an_unsettled_run_is_reported_again_at_the_end(rollout: Rollout, people: People) -> None:
    """The message says what to do about it. The user's row says why they were not enrolled."""
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    rollout.lab.faults.add("EnableMFADevice", "lost-before", at="every")
    rollout.lab.faults.add("DeleteVirtualMFADevice", "denied", at="every")
    assert rollout.apply().code == 1
    done = rollout.apply()
    assert (done.code, "was neither finished nor undone: AWS does not let you delete" in done.err) == (1, True)
    assert standing(rollout)[user] == "failed"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a wait of ten minutes end at once."""
    monkeypatch.setattr(pacing, "GIVE_UP", -1.0)


@pytest.mark.usefixtures("impatient")
def test_endless_throttling_exits_with_7(rollout: Rollout, people: People) -> None:
    """No user is marked as failed and nothing is left half-made. A second run continues."""
    users = people(3)
    rollout.plan(*rollout.own(users))
    rollout.lab.faults.add("EnableMFADevice", "throttle", at="every")
    done = rollout.apply()
    assert (done.code, "run the same command again later" in done.err) == (7, True)
    assert {row["outcome"] for row in rows(rollout).values()} == {"not started"}
    assert not {serial for serial in rollout.lab.serials() if serial.rpartition("/")[2] in users}
    rollout.lab.faults.clear()
    assert rollout.apply().code == 0
    rollout.works(users)


@pytest.mark.usefixtures("impatient")
def test_endless_throttling_ends_activate_and_undo_too(rollout: Rollout, people: People, identity_file: Path) -> None:
    """A second run continues."""
    users = people(2)
    rollout.plan(*users)
    run = json.loads(rollout.apply("--stage", "--output", "json").out)["run"]
    activate = ("rollout", "activate", "-i", identity_file)
    undo = ("rollout", "undo", run, "--yes", "--leave-without-mfa")
    rollout.lab.faults.add("EnableMFADevice", "throttle", at="every")
    assert rollout.desk.run(*activate).code == 7
    rollout.lab.faults.clear()
    assert rollout.desk.run(*activate).code == 0
    for operation in ("ListMFADevices", "DeactivateMFADevice"):
        rollout.lab.faults.add(operation, "throttle", at="every")
        assert rollout.desk.run(*undo).code == 7
        rollout.lab.faults.clear()
    assert rollout.desk.run(*undo).code == 0
    assert not {serial for serial in rollout.lab.serials() if serial.rpartition("/")[2] in users}


@pytest.mark.parametrize("operation", ["ListMFADevices", "DeactivateMFADevice"])
def test_a_device_that_cannot_be_undone_fails_one_row(rollout: Rollout, people: People, operation: str) -> None:
    """The other devices are undone."""
    users = people(2)
    rollout.plan(*rollout.own(users))
    run = json.loads(rollout.apply("--output", "json").out)["run"]
    rollout.lab.faults.add(operation, "denied")
    undo = ("rollout", "undo", run, "--yes", "--leave-without-mfa", "--workers", "1", "--output", "json")
    done = rollout.desk.run(*undo)
    assert (done.code, json.loads(done.out)["counts"]) == (1, {"failed": 1, "revoked": 1})
    again = rollout.desk.run(*undo)
    assert (again.code, json.loads(again.out)["counts"]) == (0, {"revoked": 1})


def test_a_killed_undo_is_continued(rollout: Rollout, people: People) -> None:
    """It includes the devices that were being removed."""
    users = people(3)
    rollout.plan(*rollout.own(users))
    run = json.loads(rollout.apply("--output", "json").out)["run"]
    with sqlite_ledger(rollout.desk.home) as other:
        first, second, _ = (entry for entry in other.made(ACCOUNT) if entry.run == run)
        for entry in (first, second):
            other.record(replace(entry, purpose=RunKind.REVOKE, reached=JournalState.REVOKING))
    rollout.lab.faults.add("DeleteVirtualMFADevice", "denied")
    undo = ("rollout", "undo", run, "--yes", "--leave-without-mfa", "--workers", "1", "--output", "json")
    done = rollout.desk.run(*undo)
    assert (done.code, json.loads(done.out)["counts"]) == (1, {"failed": 1, "revoked": 2})
    again = rollout.desk.run(*undo)
    assert (again.code, json.loads(again.out)["counts"]) == (0, {"revoked": 1})
    assert not {serial for serial in rollout.lab.serials() if serial.rpartition("/")[2] in users}


def test_undo_refuses_a_run_in_progress(rollout: Rollout, people: People, identity_file: Path) -> None:
    """Its process might be about to enable a device that undo would remove."""
    (user,) = people(1)
    rollout.plan(user)
    run = json.loads(rollout.apply("--stage", "--output", "json").out)["run"]
    with sqlite_ledger(rollout.desk.home) as other:
        (entry,) = [each for each in other.made(ACCOUNT) if each.run == run]
        other.record(entry)
        for verb in (("activate", "-i", identity_file), ("undo", run, "--yes")):
            done = rollout.desk.run("rollout", *verb)
            assert (done.code, f"run {run} is still in progress" in done.err) == (2, True)


def test_the_status_shows_a_half_made_device(rollout: Rollout, people: People) -> None:
    """The run is alive, or was killed."""
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    spec = DeviceSpec(account=ACCOUNT, partition="aws", user=user, name=user)
    with sqlite_ledger(rollout.desk.home) as other:
        other.record(JournalEntry(run="20260101T000000Z-00000000", spec=spec, reached=JournalState.INTENT))
        assert standing(rollout) == {user: "half-made"}


def test_an_enabled_but_unrecorded_device_is_half_made(rollout: Rollout, people: People) -> None:
    """The status does not say that the secret has no copy."""
    (user,) = people(1)
    rollout.enroll([user])
    with sqlite_ledger(rollout.desk.home) as other:
        (entry,) = (each for each in other.made(ACCOUNT) if each.spec.user == user)
        other.record(entry.at(JournalState.CREATED))
        assert standing(rollout) == {user: "half-made"}


def test_the_status_of_a_deleted_user_has_no_device(rollout: Rollout, people: People, aws: Aws) -> None:
    """The status continues with the other users."""
    gone, there = people(2)
    rollout.plan(*rollout.own([gone, there]))
    aws.iam.delete_user(UserName=gone)
    assert standing(rollout) == {gone: "not started", there: "not started"}


def test_users_on_all_pages_are_read(rollout: Rollout, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of pages does not matter."""
    monkeypatch.setattr(pages, "PAGE", 2)
    users = people(5)
    rollout.plan(*rollout.own(users))
    assert {row["action"] for row in json.loads(rollout.file.read_text())["rows"]} == {"enroll"}


def test_a_file_that_is_too_large_is_refused(rollout: Rollout, monkeypatch: pytest.MonkeyPatch) -> None:
    """mfa-kit does not read the whole file."""
    monkeypatch.setattr("mfa_kit.adapters.files.rollout_files.LARGEST", 10)
    done = rollout.desk.run("rollout", "plan", rollout.roster("alice"), "-o", rollout.file)
    assert (done.code, "is larger than 0 MB" in done.err) == (2, True)


def test_an_unwritable_plan_is_an_error(rollout: Rollout, people: People, tmp_path: Path) -> None:
    """No partial file is left."""
    (tmp_path / "file").touch()
    done = rollout.desk.run("rollout", "plan", rollout.roster(*people(1)), "-o", tmp_path / "file" / "plan.json")
    assert (done.code, "cannot be written" in done.err) == (5, True)


def test_a_plan_never_replaces_a_folder(
    rollout: Rollout, people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path without a file name is refused too."""
    monkeypatch.chdir(tmp_path)
    done = rollout.desk.run("rollout", "plan", rollout.roster(*people(1)), "-o", ".")
    assert (done.code, ". is a folder" in done.err) == (2, True)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/stdout")])
def test_a_plan_never_replaces_a_pipe_or_a_link(rollout: Rollout, make: Callable[[Path], None]) -> None:
    """Otherwise root could replace even /dev/stdout by a file."""
    make(path := rollout.folder / "there")
    before = path.lstat().st_ino
    done = rollout.desk.run("rollout", "plan", rollout.roster("alice"), "-o", path)
    assert (done.code, "is a link, a pipe or a device" in done.err) == (2, True)
    assert path.lstat().st_ino == before


@pytest.mark.parametrize(
    ("more", "said"),
    [((), "for these users"), (("--only", "Typo,"), "staged on this computer for typo\n")],
)
def test_activate_that_finds_nothing_exits_with_1(
    rollout: Rollout, identity_file: Path, more: tuple[str, ...], said: str
) -> None:
    """A message says that no device is staged."""
    done = rollout.desk.run("rollout", "activate", "-i", identity_file, *more)
    assert (done.code, done.out.split(), said in done.err) == (1, ["users", "0"], True)


def test_each_staged_device_of_a_user_has_a_row(rollout: Rollout, people: People, identity_file: Path) -> None:
    """Two plans staged devices for the user under two names."""
    (user,) = people(1)
    names = {f"{user}-one", f"{user}-two"}
    for name in names:
        rollout.plan(f"{user},{name}", columns="user,device_name")
        assert rollout.apply("--stage").code == 0
    done = rollout.desk.run("rollout", "activate", "-i", identity_file, "--only", user, "--output", "json")
    told = json.loads(done.out)
    assert (done.code, told["counts"]) == (0, {"enrolled": 2})
    assert {row["device"].rpartition("/")[2] for row in told["rows"]} == names


class Screen(StatusLine):
    """Keeps the last text of the line that would be redrawn."""

    drawn: ClassVar[list[str]] = []

    def draw(self, text: str) -> None:
        self.drawn.append(text)


def test_the_status_line_shows_the_progress(rollout: Rollout, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the users done and failed, users per second, the time left and the pace."""
    monkeypatch.setattr(messages, "find_progress", lambda **_: Screen())
    Screen.drawn.clear()
    users = people(3)
    rollout.plan(*rollout.own(users))
    rollout.lab.faults.add("EnableMFADevice", "denied", at=2)
    assert rollout.apply("--workers", "1").code == 1
    # The clock redraws the line too, also before the first result.
    lines = [line for line in Screen.drawn if " of 3, " in line and not line.startswith("0 of 3")]
    assert [*dict.fromkeys(line.partition(" failed")[0] for line in lines)] == ["1 of 3, 0", "2 of 3, 1", "3 of 3, 1"]
    assert re.fullmatch(r"3 of 3, 1 failed, \d+\.\d users/s, 0:00 left, at most \d+ calls/s", lines[-1])
