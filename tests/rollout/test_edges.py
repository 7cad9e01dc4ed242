"""Situations in a rollout: another computer, lagging listings, a run that is alive, a throttle that never ends."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from mfa_kit.adapters.aws import people as pages
from mfa_kit.adapters.aws.account import AccountReader
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.cli import status_line
from mfa_kit.cli.status_line import StatusLine
from mfa_kit.core.models import Entry, Intent, Purpose, Reached
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


def test_where_the_backup_of_another_process_in_this_folder_is_is_told(
    rollout: Rollout, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process enrolls the user after this one has looked."""
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
    assert (row["outcome"], row["reason"]) == ("skipped", "enrolled by another run on this computer in the meantime")
    assert Path(row["backup"]).is_file()
    rollout.works([user], copies=1)


@pytest.mark.usefixtures("stale")
def test_who_was_enrolled_by_another_desk_in_between_is_no_failure(rollout: Rollout, people: People, aws: Aws) -> None:
    """The list was older. IAM says that the name is taken, and its tags whose device it is."""
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    aws.enrolled(user)
    assert rollout.apply().code == 0
    assert (rows(rollout)[user]["outcome"], "by another computer in the meantime" in rows(rollout)[user]["reason"]) == (
        "skipped",
        True,
    )


@pytest.mark.usefixtures("stale")
def test_a_name_that_is_taken_is_a_failure_also_where_nobody_may_look(
    rollout: Rollout, people: People, aws: Aws
) -> None:
    """It is then not known whose device it is."""
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    aws.enrolled(user)
    rollout.lab.faults.add("ListMFADevices", "denied", at="every")
    assert rollout.apply().code == 1
    assert rows(rollout)[user]["cause"] == "AlreadyExists"


def test_listings_that_lag_are_waited_for(rollout: Rollout, people: People) -> None:
    """A device is recorded as enabled, not as confirmed, until IAM lists it."""
    users = people(2)
    rollout.plan(*rollout.own(users))
    rollout.lab.faults.add("*", "lag", seconds=1.0)
    assert rollout.apply().code == 0
    rollout.lab.faults.clear()
    rollout.works(users)


def test_what_is_not_listed_is_told_and_confirmed_by_the_next_run(
    rollout: Rollout, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device works nevertheless."""
    users = people(2)
    rollout.plan(*rollout.own(users))
    with monkeypatch.context() as patch:
        patch.setattr(execution, "PAUSES", ())
        patch.setattr(AccountReader, "virtual", lambda _: iter(()))
        done = rollout.apply()
    assert (done.code, done.err.count("but IAM does not list it yet")) == (0, 2)
    assert rollout.apply().code == 0
    rollout.works(users)


def test_what_stays_unsettled_is_told_again_at_the_end(rollout: Rollout, people: People) -> None:
    """The message says what to do about it; the user's row says why they were not enrolled."""
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    rollout.lab.faults.add("EnableMFADevice", "lost-before", at="every")
    rollout.lab.faults.add("DeleteVirtualMFADevice", "denied", at="every")
    assert rollout.apply().code == 1
    done = rollout.apply()
    assert (done.code, "is not settled: AWS does not let you delete" in done.err) == (1, True)
    assert standing(rollout)[user] == "failed"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a wait of ten minutes end at once."""
    monkeypatch.setattr(pacing, "GIVE_UP", -1.0)


@pytest.mark.usefixtures("impatient")
def test_a_throttle_that_never_yields_ends_with_exit_code_7(rollout: Rollout, people: People) -> None:
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
def test_activation_and_undo_end_so_too(rollout: Rollout, people: People, identity_file: Path) -> None:
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
def test_what_may_not_be_undone_is_that_users_failure(rollout: Rollout, people: People, operation: str) -> None:
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


def test_an_undo_that_was_killed_goes_on(rollout: Rollout, people: People) -> None:
    """It includes the devices that were being removed."""
    users = people(3)
    rollout.plan(*rollout.own(users))
    run = json.loads(rollout.apply("--output", "json").out)["run"]
    with sqlite_ledger(rollout.desk.home) as other:
        first, second, _ = (entry for entry in other.made(ACCOUNT) if entry.run == run)
        for entry in (first, second):
            other.record(replace(entry, purpose=Purpose.REVOKE, reached=Reached.REVOKING))
    rollout.lab.faults.add("DeleteVirtualMFADevice", "denied")
    undo = ("rollout", "undo", run, "--yes", "--leave-without-mfa", "--workers", "1", "--output", "json")
    done = rollout.desk.run(*undo)
    assert (done.code, json.loads(done.out)["counts"]) == (1, {"failed": 1, "revoked": 2})
    again = rollout.desk.run(*undo)
    assert (again.code, json.loads(again.out)["counts"]) == (0, {"revoked": 1})
    assert not {serial for serial in rollout.lab.serials() if serial.rpartition("/")[2] in users}


def test_a_run_that_is_at_work_is_not_touched(rollout: Rollout, people: People, identity_file: Path) -> None:
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


def test_the_status_tells_of_a_user_who_is_in_the_making(rollout: Rollout, people: People) -> None:
    """The run is alive, or was killed."""
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    intent = Intent(account=ACCOUNT, partition="aws", user=user, name=user)
    with sqlite_ledger(rollout.desk.home) as other:
        other.record(Entry(run="20260101T000000Z-00000000", intent=intent, reached=Reached.INTENT))
        assert standing(rollout) == {user: "half-made"}


def test_what_is_enabled_and_not_noted_yet_is_in_the_making(rollout: Rollout, people: People) -> None:
    """The status does not say that their secret has no copy."""
    (user,) = people(1)
    rollout.plan(*rollout.own([user]))
    assert rollout.apply().code == 0
    with sqlite_ledger(rollout.desk.home) as other:
        (entry,) = (each for each in other.made(ACCOUNT) if each.intent.user == user)
        other.record(entry.at(Reached.CREATED))
        assert standing(rollout) == {user: "half-made"}


def test_a_user_who_is_gone_has_no_device(rollout: Rollout, people: People, aws: Aws) -> None:
    """The status continues with the others."""
    gone, there = people(2)
    rollout.plan(*rollout.own([gone, there]))
    aws.iam.delete_user(UserName=gone)
    assert standing(rollout) == {gone: "not started", there: "not started"}


def test_users_are_read_by_pages(rollout: Rollout, people: People, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of pages does not matter."""
    monkeypatch.setattr(pages, "PAGE", 2)
    users = people(5)
    rollout.plan(*rollout.own(users))
    assert {row["action"] for row in json.loads(rollout.file.read_text())["rows"]} == {"enroll"}


def test_a_file_that_is_too_large_is_no_roster(rollout: Rollout, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read completely."""
    monkeypatch.setattr("mfa_kit.adapters.files.rollout_files.LARGEST", 10)
    done = rollout.desk.run("rollout", "plan", rollout.roster("alice"), "-o", rollout.file)
    assert (done.code, "is larger than 0 MB" in done.err) == (2, True)


def test_a_plan_that_cannot_be_written_is_told(rollout: Rollout, people: People, tmp_path: Path) -> None:
    """No partial file is left."""
    (tmp_path / "file").touch()
    done = rollout.desk.run("rollout", "plan", rollout.roster(*people(1)), "-o", tmp_path / "file" / "plan.json")
    assert (done.code, "cannot be written" in done.err) == (5, True)


def test_a_plan_is_not_written_in_the_place_of_a_folder(
    rollout: Rollout, people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same holds for a path without a file name."""
    monkeypatch.chdir(tmp_path)
    done = rollout.desk.run("rollout", "plan", rollout.roster(*people(1)), "-o", ".")
    assert (done.code, ". is a folder" in done.err) == (2, True)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/stdout")])
def test_a_plan_is_not_written_in_the_place_of_a_pipe_or_a_link(rollout: Rollout, make: Callable[[Path], None]) -> None:
    """The file that is moved there would replace it; as root, even /dev/stdout."""
    make(path := rollout.folder / "there")
    before = path.lstat().st_ino
    done = rollout.desk.run("rollout", "plan", rollout.roster("alice"), "-o", path)
    assert (done.code, "is a link, a pipe or a device" in done.err) == (2, True)
    assert path.lstat().st_ino == before


@pytest.mark.parametrize(
    ("more", "said"),
    [((), "for these users"), (("--only", "Typo,"), "staged on this computer for typo\n")],
)
def test_nothing_staged_is_nothing_to_do(
    rollout: Rollout, identity_file: Path, more: tuple[str, ...], said: str
) -> None:
    """A message says so, and it is not an error."""
    done = rollout.desk.run("rollout", "activate", "-i", identity_file, *more)
    assert (done.code, done.out.split(), said in done.err) == (0, ["users", "0"], True)


def test_each_of_a_users_staged_devices_is_told(rollout: Rollout, people: People, identity_file: Path) -> None:
    """Two plans staged them under two names."""
    (user,) = people(1)
    names = {f"{user}-one", f"{user}-two"}
    for name in names:
        rollout.plan(f"{user},{name}", columns="user,name")
        assert rollout.apply("--stage").code == 0
    done = rollout.desk.run("rollout", "activate", "-i", identity_file, "--only", user, "--output", "json")
    told = json.loads(done.out)
    assert (done.code, told["counts"]) == (0, {"enrolled": 2})
    assert {row["device"].rpartition("/")[2] for row in told["rows"]} == names


class Screen(StatusLine):
    """Keeps the line that would be redrawn."""

    drawn: ClassVar[list[str]] = []

    def draw(self, text: str) -> None:
        self.drawn.append(text)


def test_a_line_on_the_terminal_tells_how_far_it_is(
    rollout: Rollout, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows done, failed, users per second, time left and the pace."""
    monkeypatch.setattr(status_line, "find_progress", lambda **_: Screen())
    Screen.drawn.clear()
    users = people(3)
    rollout.plan(*rollout.own(users))
    rollout.lab.faults.add("EnableMFADevice", "denied", at=2)
    assert rollout.apply("--workers", "1").code == 1
    # The clock redraws the line too, also before the first result.
    lines = [line for line in Screen.drawn if " of 3, " in line and not line.startswith("0 of 3")]
    assert [*dict.fromkeys(line.partition(" failed")[0] for line in lines)] == ["1 of 3, 0", "2 of 3, 1", "3 of 3, 1"]
    assert re.fullmatch(r"3 of 3, 1 failed, \d+\.\d users/s, 0:00 left, at most \d+ calls/s", lines[-1])
