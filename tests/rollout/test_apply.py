"""Apply, activate, undo and status at the lab, with their output."""

import csv
import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest

from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.models import JournalState
from tests.conftest import ACCOUNT, MfaKit
from tests.rollout.conftest import Rollout

People = Callable[[int], list[str]]


def outcomes(rollout: Rollout) -> dict[str, str]:
    with (rollout.results / "results.csv").open() as file:
        return {row["user"]: row["outcome"] for row in csv.DictReader(file)}


def writes(rollout: Rollout, since: int) -> Counter[str]:
    return Counter(name for name in rollout.asked(since) if not name.startswith(("Get", "List")))


def test_every_user_is_enrolled_with_an_own_copy(rollout: Rollout, people: People) -> None:
    """There is another copy for the admins. Enrolling takes two calls per user, and the lists of devices."""
    users = people(20)
    rollout.plan(*rollout.own(users))
    since = len(rollout.lab.calls)
    done = rollout.apply()
    assert done.code == 0, done.err
    assert len(rollout.asked(since)) == 2 * len(users) + 3
    rollout.works(users)
    assert outcomes(rollout) == dict.fromkeys(users, "enrolled")
    assert (rollout.results / "failed.csv").read_text().count("\n") == 1
    assert {f"{user}: enrolled" for user in users} <= set(done.err.splitlines())
    assert done.err.splitlines()[-1] == (
        f"next: write a letter and a folder for each user: mfa-kit rollout handover {rollout.file} -o DIR"
    )
    for row in rows(rollout):
        assert row["user_backup"] == row["backup"].replace("/backups/", "/backups/users/")
        assert row["admin_backup"] == row["backup"]
        assert pyrage.decrypt(Path(row["user_backup"]).read_bytes(), [rollout.identity])


def test_a_replacement_warns_that_the_users_copy_is_removed(rollout: Rollout, people: People) -> None:
    """The user still has the key of that copy, and would look for a copy of the new device."""
    [user] = people(1)
    rollout.plan(*rollout.own([user]))
    assert rollout.apply().code == 0
    words = ("replace", user, "--codes", "generated", "-r", rollout.recipient, "--yes")
    for more in (["--dry-run"], []):
        done = rollout.desk.run(*words, *more)
        assert (done.code, done.err.count("warning: the copy of the backup that only")) == (0, 1), done.err
        assert f"mfa-kit backup show {user} -i IDENTITY -o FILE" in done.err
    assert not [*(rollout.desk.home / "backups" / "users").rglob("*.age")]
    done = rollout.desk.run(*words)
    assert (done.code, "the copy of the backup" in done.err) == (0, False), done.err


@pytest.mark.parametrize(
    ("kind", "more", "said"),
    [
        ("virtual", ("--stage",), "give the users their secrets, then enable the devices: mfa-kit rollout activate"),
        ("virtual", ("--accept-lockout",), "give 1 user their secrets before they sign in: mfa-kit backup show"),
        ("oath", (), "enroll the other users in person: mfa-kit rollout station"),
        ("self", (), "list the users that the rollout still waits for: mfa-kit rollout remind"),
    ],
)
def test_apply_ends_with_what_to_do_next(
    rollout: Rollout, people: People, kind: str, more: tuple[str, ...], said: str
) -> None:
    """The line depends on what is left. Users without an own copy have no `user_backup`."""
    rollout.plan(*(f"{user},{kind}" for user in people(1)), columns="user,kind")
    done = rollout.apply(*more)
    assert (done.code, done.err.splitlines()[-1].startswith(f"next: {said}")) == (0, True), done.err
    assert {row["user_backup"] for row in rows(rollout)} == {None}
    assert rollout.apply("--quiet", *more).err == ""


def test_apply_names_the_reasons_of_failures_last(rollout: Rollout, people: People) -> None:
    """A user who failed is more urgent than the letters of the others. Then nothing is left to do."""
    users = people(2)
    rollout.plan(*rollout.own(users))
    rollout.lab.faults.add("EnableMFADevice", "denied", at=1)
    done = rollout.apply()
    assert done.code == 1
    assert done.err.splitlines()[-1].startswith("next: 1 user not enrolled: ")
    assert "results.csv, then run this command again" in done.err.splitlines()[-1]


def test_without_r_only_the_user_has_a_copy(rollout: Rollout, people: People) -> None:
    """The user's copy is then the only backup."""
    users = people(2)
    rollout.plan(*rollout.own(users))
    assert rollout.desk.run("rollout", "apply", rollout.file).code == 0
    rollout.works(users, copies=1)
    assert all("/backups/users/" in row["backup"] for row in rows(rollout))
    assert all((row["user_backup"], row["admin_backup"]) == (row["backup"], None) for row in rows(rollout))


def rows(rollout: Rollout) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((rollout.results / "results.json").read_text())["rows"]
    return found


def test_each_copy_is_decrypted_only_by_its_recipient(rollout: Rollout, people: People) -> None:
    """The user's key does not decrypt the admins' copy, and the admins' key does not decrypt the user's."""
    (user,) = people(1)
    his = pyrage.x25519.Identity.generate()
    rollout.plan(f"{user},{his.to_public()}")
    assert rollout.apply().code == 0
    backups = rollout.desk.home / "backups"
    (admins,) = backups.glob(f"{ACCOUNT}/{user}/*")
    (own,) = backups.glob(f"users/{ACCOUNT}/{user}/*")
    assert pyrage.decrypt(own.read_bytes(), [his]) == pyrage.decrypt(admins.read_bytes(), [rollout.identity])
    for file, wrong in ((own, rollout.identity), (admins, his)):
        with pytest.raises(pyrage.DecryptError):
            pyrage.decrypt(file.read_bytes(), [wrong])


def test_a_second_run_makes_nothing(rollout: Rollout, people: People) -> None:
    """The result of each user has the ID of the run that enrolled them. Only that run has a record."""
    users = people(3)
    rollout.enroll(users)
    since = len(rollout.lab.calls)
    done = rollout.apply()
    assert done.code == 0
    assert not writes(rollout, since)
    assert {row["reason"][:6] for row in rows(rollout)} == {"by run"}
    assert len([*rollout.results.glob("record-*.jsonl")]) == 1


def test_another_computer_reports_users_without_a_local_copy(rollout: Rollout, people: People, tmp_path: Path) -> None:
    """The same is true on this computer when the copy has been removed. A computer with the record finds the copies."""
    users = people(2)
    rollout.enroll(users)
    other = MfaKit(tmp_path / "other", rollout.desk.env)
    apply = ("rollout", "apply", rollout.file, "-r", rollout.recipient)
    done = other.process(*apply, "--results", tmp_path / "results")
    assert done.code == 0
    assert done.err.count("of which neither the ledger nor a record of a run has a backup") == len(users)
    done = other.process(*apply)
    assert (done.code, f"{len(users)} users enrolled by earlier runs" in done.err) == (0, True), done.err
    for file in (rollout.desk.home / "backups").rglob(f"{users[0]}-*"):
        file.unlink()
    done = rollout.apply()
    assert (done.code, f"enrolled them, but {rollout.desk.home}/backups" in done.err) == (0, True), done.err
    assert outcomes(rollout) == {users[0]: "skipped", users[1]: "enrolled"}


def test_tags_and_names_of_the_roster_reach_iam(rollout: Rollout, people: People) -> None:
    """mfa-kit adds its own tags to the tags of the roster."""
    (user,) = people(1)
    rollout.plan(
        f"{user},{rollout.recipient},{user}-totp,/staff/,team=a b;cost=1",
        columns="user,recipient,device_name,path,tags",
    )
    assert rollout.apply().code == 0
    serial = f"arn:aws:iam::{ACCOUNT}:mfa/staff/{user}-totp"
    assert rollout.lab.assigned(serial) == user
    tags = rollout.lab.account.backend.device(serial).tags
    assert (tags["team"], tags["cost"], tags["mfa-kit:user"]) == ("a b", "1", user)


# Lockouts are prevented


def test_a_user_without_a_copy_is_not_enrolled(rollout: Rollout, people: People) -> None:
    """The exit code is 6 and nothing is made, unless --accept-lockout is given."""
    own, shut_out = people(2)
    rollout.plan(*rollout.own([own]), shut_out)
    since = len(rollout.lab.calls)
    done = rollout.apply()
    assert (done.code, f"no copy of their secret: {shut_out}" in done.err) == (6, True)
    assert not writes(rollout, since)
    assert rollout.apply("--accept-lockout").code == 0
    assert outcomes(rollout) == {own: "enrolled", shut_out: "enrolled"}


def test_a_secret_without_any_backup_is_refused(rollout: Rollout, people: People) -> None:
    """The user has no recipient in the roster and there is no -r, so even --accept-lockout does not help."""
    rollout.plan(*people(1))
    done = rollout.desk.run("rollout", "apply", rollout.file, "--accept-lockout")
    assert (done.code, "no one could open the backups of 1 user: " in done.err) == (2, True)


def test_staged_devices_are_created_and_enabled_later(
    rollout: Rollout, people: People, identity_file: Path, mfa_kit: MfaKit
) -> None:
    """No sign-in asks for a code before. No computer treats them as orphans. A second run stages nothing."""
    users = people(3)
    rollout.plan(*users)
    assert rollout.desk.run("rollout", "apply", rollout.file, "--stage").code == 2
    assert rollout.apply("--stage").code == 0
    assert outcomes(rollout) == dict.fromkeys(users, "staged")
    serials = {f"arn:aws:iam::{ACCOUNT}:mfa/{user}" for user in users}
    assert {rollout.lab.assigned(serial) for serial in serials} == {None}
    since = len(rollout.lab.calls)
    assert rollout.apply("--stage").code == 0
    assert not writes(rollout, since)
    assert mfa_kit.run("orphans", "clean", "--older-than", "0s", "--yes").code == 0
    assert serials <= rollout.lab.serials()
    listed = mfa_kit.run("orphans", "list", "--output", "json").out
    assert sum(row["standing"].startswith("staged") for row in json.loads(listed)["rows"] if row["user"] in users) == 3
    chosen = ("rollout", "activate", "-i", identity_file, "--only", f"{users[0]},{users[1].upper()}")
    assert mfa_kit.run(*chosen, "--dry-run").out.split() == ["staged", "2"]
    assert mfa_kit.run(*chosen).code == 0
    assert [rollout.lab.assigned(f"arn:aws:iam::{ACCOUNT}:mfa/{user}") for user in users] == [*users[:2], None]
    assert mfa_kit.run("rollout", "activate", "-i", identity_file).code == 0
    rollout.works(users, copies=1)
    assert rollout.apply().code == 6  # the plan is unchanged
    assert rollout.apply("--stage").code == 0
    assert outcomes(rollout) == dict.fromkeys(users, "enrolled")


def test_another_computer_keeps_staged_devices(rollout: Rollout, people: People, tmp_path: Path) -> None:
    """However old they are, their tag says that they are staged."""
    (user,) = people(1)
    rollout.plan(user)
    assert rollout.apply("--stage").code == 0
    other = MfaKit(tmp_path / "other", rollout.desk.env)
    assert other.process("orphans", "clean", "--older-than", "0s", "--yes").code == 0
    assert f"arn:aws:iam::{ACCOUNT}:mfa/{user}" in rollout.lab.serials()


def test_a_backup_that_cannot_be_decrypted_fails_one_user(rollout: Rollout, people: People, tmp_path: Path) -> None:
    """The devices of other users are activated, and this user's device stays staged."""
    bad, good = people(2)
    rollout.plan(bad, good)
    assert rollout.apply("--stage").code == 0
    (file,) = (rollout.desk.home / "backups").rglob(f"{bad}-*")
    file.write_bytes(file.read_bytes()[:-1])
    identity = tmp_path / "id"
    identity.write_text(str(rollout.identity))
    done = rollout.desk.run("rollout", "activate", "-i", identity)
    assert (done.code, f"{bad}: failed" in done.err, f"{good}: enrolled" in done.err) == (1, True, True)
    with sqlite_ledger(rollout.desk.home) as ledger:
        assert {entry.spec.user: entry.reached for entry in ledger.made(ACCOUNT)} == {
            bad: JournalState.STAGED,
            good: JournalState.CONFIRMED,
        }


# Undo


def test_undo_removes_exactly_the_devices_of_a_run(rollout: Rollout, people: People, mfa_kit: MfaKit) -> None:
    """A user's last device needs --leave-without-mfa. Staged devices are removed too."""
    first, second, other = people(3)
    rollout.plan(*rollout.own([first, second]))
    run = json.loads(rollout.apply("--output", "json").out)["run"]
    rollout.enroll([other])
    rollout.lab.register_fido(first, "key")
    undo = ("rollout", "undo", run, "--yes")
    assert mfa_kit.run("rollout", "undo", run).code == 8
    dry = mfa_kit.run(*undo, "--dry-run")
    assert f"{second}: enrolled: would be removed\n" in dry.err
    assert (dry.out.split(), f"2 devices of run {run} would be removed\n" in dry.err) == (["enrolled", "2"], True)
    done = mfa_kit.run(*undo)
    assert (done.code, f"{second}: refused: arn" in done.err) == (6, True)
    arn = f"arn:aws:iam::{ACCOUNT}:mfa/"
    assert [arn + user in rollout.lab.serials() for user in (first, second, other)] == [False, True, True]
    assert mfa_kit.run(*undo, "--leave-without-mfa").code == 0
    assert [arn + user in rollout.lab.serials() for user in (second, other)] == [False, True]
    assert not list((mfa_kit.home / "backups").rglob(f"{second}-*"))
    again = mfa_kit.run(*undo)
    assert (again.code, f"{run} is already undone" in again.err) == (0, True)
    unknown = mfa_kit.run("rollout", "undo", "20261126T090000Z-00000000")
    assert (unknown.code, "a device of run 20261126T090000Z-00000000 in account" in unknown.err) == (1, True)
    rollout.works([other])


def test_a_staged_run_can_be_undone(rollout: Rollout, people: People, mfa_kit: MfaKit) -> None:
    """Its devices are not assigned, so no user loses a device."""
    users = people(2)
    rollout.plan(*users)
    run = json.loads(rollout.apply("--stage", "--output", "json").out)["run"]
    rollout.lab.account.backend.delete_user(users[0])  # a user who was deleted meanwhile leaves the device behind
    assert mfa_kit.run("rollout", "undo", run, "--yes").code == 0
    rollout.lab.add_user(users[0])
    assert not {serial for serial in rollout.lab.serials() if serial.rpartition("/")[2] in users}
    assert rollout.apply("--stage").code == 0
    assert outcomes(rollout) == dict.fromkeys(users, "staged")


# Failures


def test_the_failure_of_one_user_is_one_row(rollout: Rollout, people: People, mfa_kit: MfaKit) -> None:
    """The other users are enrolled. failed.csv is a roster. The reason is printed, and kept for `rollout status`."""
    users = people(4)
    rollout.plan(*rollout.own(users))
    rollout.lab.faults.add("EnableMFADevice", "denied", at=2)
    done = rollout.apply("--workers", "1")
    assert done.code == 1
    assert outcomes(rollout) == {**dict.fromkeys(users, "enrolled"), users[1]: "failed"}
    (failed,) = [row for row in rows(rollout) if row["outcome"] == "failed"]
    assert failed["cause"] == "AccessDenied"
    status = json.loads(mfa_kit.run("rollout", "status", rollout.file, "--output", "json").out)["rows"]
    assert [row["cause"] for row in status] == [None, "AccessDenied", None, None]
    again = mfa_kit.run("rollout", "plan", rollout.results / "failed.csv", "-o", rollout.folder / "again.json")
    assert again.code == 0
    done = mfa_kit.run("rollout", "apply", rollout.folder / "again.json", "-r", rollout.recipient)
    assert done.code == 0, done.err
    rollout.works(users)
    status = json.loads(mfa_kit.run("rollout", "status", rollout.file, "--output", "json").out)["rows"]
    assert {row["outcome"] for row in status} == {"enrolled"}


def test_too_many_failures_stop_a_rollout(rollout: Rollout, people: People) -> None:
    """Beyond the limit, rows in progress are finished and no others are started."""
    users = people(6)
    rollout.plan(*rollout.own(users))
    rollout.lab.faults.add("CreateVirtualMFADevice", "denied", at="every")
    done = rollout.apply("--workers", "1", "--max-failures", "1")
    assert (done.code, "more than --max-failures 1" in done.err) == (1, True)
    assert "not started" in done.out
    assert Counter(outcomes(rollout).values())["not started"] >= 3


def test_a_run_without_results_keeps_the_earlier_files(rollout: Rollout, people: People) -> None:
    """The files do not list enrolled users as not started."""
    users = people(2)
    rollout.enroll(users)
    rollout.lab.faults.add("ListVirtualMFADevices", "denied", at="every")
    assert rollout.apply().code == 4
    assert outcomes(rollout) == dict.fromkeys(users, "enrolled")


def test_an_unwritable_results_folder_is_an_error_first(
    rollout: Rollout, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file has the name of the folder, or the folder belongs to another user. Nothing is made."""
    rollout.plan(*rollout.own(people(1)))
    since = len(rollout.lab.calls)
    done = rollout.apply("--results", str(rollout.file))
    assert (done.code, "cannot be created: File exists" in done.err) == (2, True)
    monkeypatch.setattr("mfa_kit.adapters.files.rollout_files.os.access", lambda *_: False)
    done = rollout.apply()
    assert done.code == 2
    assert not writes(rollout, since)


def test_results_that_cannot_be_printed_end_the_run_in_order(rollout: Rollout, people: People) -> None:
    """Rows in progress are finished. The files list their users as enrolled, not as not started."""
    users = people(12)
    rollout.plan(*rollout.own(users))
    rollout.lab.faults.add("EnableMFADevice", "latency", seconds=0.5, at="every")
    with Path("/dev/full").open("w") as full:
        process = rollout.desk.fork(
            "rollout", "apply", rollout.file, "-r", rollout.recipient, "--output", "jsonl", stdout=full
        )
        _, err = process.communicate(timeout=50)
    assert (process.returncode, "the result cannot be written" in err) == (5, True)
    enrolled = {user for user in users if rollout.lab.assigned(f"arn:aws:iam::{ACCOUNT}:mfa/{user}") == user}
    assert enrolled
    assert outcomes(rollout) == {user: "enrolled" if user in enrolled else "not started" for user in users}


def test_the_backup_folder_is_checked_first(rollout: Rollout, people: People) -> None:
    """The folder is checked even if only the users can decrypt their copies. Without a backup, no folder is needed."""
    users = people(2)
    rollout.plan(*rollout.own(users))
    done = rollout.desk.run("rollout", "apply", rollout.file, "--backup-dir", "/dev/null")
    assert (done.code, "is not a folder that you can write to" in done.err) == (2, True)
    assert not {serial for serial in rollout.lab.serials() if serial.rpartition("/")[2] in users}
    rollout.plan(f"{users[0]},self", columns="user,kind")
    assert rollout.desk.run("rollout", "apply", rollout.file, "--backup-dir", "/dev/null").code == 0


def test_a_disk_that_is_full_ends_the_run(rollout: Rollout, people: People) -> None:
    """The error would repeat for all users, so no user is marked as failed. Nothing is left in IAM."""
    users = people(3)
    rollout.plan(*rollout.own(users))
    (rollout.desk.home / "backups").mkdir(parents=True)
    (rollout.desk.home / "backups" / ACCOUNT).write_text("in the way")
    done = rollout.apply("--workers", "1")
    assert done.code == 5, done.err
    assert set(outcomes(rollout).values()) == {"not started"}
    assert not {serial for serial in rollout.lab.serials() if serial.rpartition("/")[2] in users}


def test_credentials_that_expire_pause_the_run_and_fail_no_row(rollout: Rollout, people: People) -> None:
    """The run continues by itself as soon as the credentials work again."""
    users = people(12)
    rollout.plan(*rollout.own(users))
    since = len(rollout.lab.calls)
    process = rollout.desk.fork("rollout", "apply", rollout.file, "-r", rollout.recipient, "--output", "jsonl")
    while len(rollout.lab.calls) < since + 12:
        time.sleep(0.01)
    rollout.lab.faults.add("*", "expired", at="every")
    time.sleep(1)
    assert process.poll() is None
    paused = len(rollout.lab.calls)
    rollout.lab.faults.clear()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert paused < len(rollout.lab.calls)
    assert err.count("waiting: sign in again") == 1
    assert "the credentials work again" in err
    assert [json.loads(line)["outcome"] for line in out.splitlines()] == ["enrolled"] * len(users)
    rollout.works(users)


def test_credentials_that_never_worked_are_an_error_at_once(rollout: Rollout, people: People) -> None:
    """Waiting for them would not help."""
    rollout.plan(*rollout.own(people(1)))
    rollout.lab.faults.add("*", "expired", at="every")
    done = rollout.apply()
    assert (done.code, "ExpiredToken" in done.err) == (4, True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_finishes_users_in_progress_and_starts_no_other(
    rollout: Rollout, people: People, number: signal.Signals
) -> None:
    """The exit code is 130, even if a row is blocked.

    Results are written, no device is half-made, and a second run continues.
    """
    users = people(40)
    rollout.plan(*rollout.own(users), "nobody-of-that-name")
    rollout.lab.faults.add("*", "latency", at="every", seconds=0.05)
    since = len(rollout.lab.calls)
    process = rollout.desk.fork("rollout", "apply", rollout.file, "-r", rollout.recipient, "--output", "jsonl")
    while len(rollout.lab.calls) < since + 20:
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "finishing what is in progress" in err
    done = [row["user"] for row in map(json.loads, out.splitlines()) if row["outcome"] == "enrolled"]
    assert 0 < len(done) < len(users)
    with sqlite_ledger(rollout.desk.home) as ledger:
        assert list(ledger.dead(ACCOUNT)) == []
        assert {entry.spec.user for entry in ledger.made(ACCOUNT)} == set(done)
    left = len(users) - len(done)
    assert Counter(outcomes(rollout).values()) == {"enrolled": len(done), "not started": left, "blocked": 1}
    again = (rollout.results / "failed.csv").read_text().splitlines()
    assert {row[0] for row in csv.reader(again)} == {"user", *users, "nobody-of-that-name"} - set(done)
    line = f"to continue: mfa-kit rollout apply {rollout.file} -r {rollout.recipient} --output jsonl"
    assert json.loads(err.splitlines()[-1])["notes"] == [line]
    rollout.lab.faults.clear()
    assert rollout.apply().code == 1
    rollout.works(users)


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once_and_the_next_run_continues(rollout: Rollout, people: People) -> None:
    """It ends any wait, here for a throttle that would last ten minutes or more.

    The results do not list users whose row was started as not started.
    """
    users = people(12)
    rollout.plan(*rollout.own(users))
    rollout.lab.faults.add("EnableMFADevice", "throttle", at="every")
    since = len(rollout.lab.calls)
    process = rollout.desk.fork("rollout", "apply", rollout.file, "-r", rollout.recipient)
    while not any(call.error == "Throttling" for call in rollout.lab.calls[since:]):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.stderr
    assert any("Press Ctrl-C again to stop now" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "mfa-kit: interrupted\n  note: to continue: mfa-kit rollout apply " in err
    again = (rollout.results / "failed.csv").read_text().splitlines()
    assert [row[0] for row in csv.reader(again)] == ["user", *users]
    with sqlite_ledger(rollout.desk.home) as ledger:
        begun = {entry.spec.user for entry in ledger.made(ACCOUNT)}
    assert begun
    assert outcomes(rollout) == {user: "half-made" if user in begun else "not started" for user in users}
    rollout.lab.faults.clear()
    assert rollout.apply().code == 0
    rollout.works(users)


@pytest.mark.slow
def test_a_lower_rate_limit_in_mid_run_fails_no_user(rollout: Rollout, people: People) -> None:
    """Throttled requests are repeated, with current codes."""
    users = people(24)
    rollout.plan(*rollout.own(users))
    rollout.lab.faults.add("*", "bucket", rate=30, burst=10)
    since = len(rollout.lab.calls)
    process = rollout.desk.fork("rollout", "apply", rollout.file, "-r", rollout.recipient, "--output", "jsonl")
    while len(rollout.lab.calls) < since + 20:
        time.sleep(0.01)
    rollout.lab.faults.add("*", "bucket", rate=6, burst=1)
    out, err = process.communicate(timeout=55)
    assert process.returncode == 0, err
    assert [json.loads(line)["outcome"] for line in out.splitlines()] == ["enrolled"] * len(users)
    assert "Throttling" in {call.error for call in rollout.lab.calls[since:]}
    rollout.works(users)


def test_an_enable_without_a_response_is_looked_up(rollout: Rollout, people: People) -> None:
    """As with `enroll`, the device is enabled nevertheless, with the secret in the backup."""
    users = people(3)
    rollout.plan(*rollout.own(users))
    rollout.lab.faults.add("EnableMFADevice", "lost-after")
    rollout.lab.faults.add("CreateVirtualMFADevice", "lost-after")
    done = rollout.apply()
    assert done.code == 0, done.err
    rollout.works(users)


def test_a_dry_run_of_apply_writes_nothing(rollout: Rollout, people: People) -> None:
    """It prints which users would be enrolled."""
    users = people(2)
    rollout.plan(*rollout.own(users))
    since = len(rollout.lab.calls)
    done = rollout.apply("--dry-run")
    assert (done.code, done.out.split()) == (0, ["not", "started", "2"])
    assert not writes(rollout, since)
    assert not rollout.results.exists()


def test_results_can_be_printed_in_each_form(rollout: Rollout, people: People) -> None:
    """JSON Lines are printed as they arrive; one JSON object and CSV at the end."""
    users = people(2)
    rollout.plan(*rollout.own(users))
    lines = [json.loads(line) for line in rollout.apply("--output", "jsonl").out.splitlines()]
    assert {line["user"] for line in lines} == set(users)
    assert {(line["schema"], line["version"]) for line in lines} == {("mfa-kit/rollout-apply", 1)}
    whole = json.loads(rollout.apply("--output", "json").out)
    assert (whole["counts"], len(whole["rows"])) == ({"enrolled": 2}, 2)
    names = rollout.apply("--output", "csv").out.splitlines()[0]
    assert names.replace('"', "") == "user,outcome,cause,reason,device,backup,user_backup,admin_backup,run,name"


# Users who enroll themselves, and status


def test_users_who_enroll_themselves_are_tracked(rollout: Rollout, people: People, mfa_kit: MfaKit) -> None:
    """No device is made for them. As soon as IAM lists a device of any kind, they count as enrolled."""
    missing, virtual = people(2)
    rollout.plan(f"{missing},self", f"{virtual},self", columns="user,kind")
    since = len(rollout.lab.calls)
    assert rollout.apply().code == 0
    assert not writes(rollout, since)
    assert outcomes(rollout) == {missing: "waiting", virtual: "waiting"}
    rollout.lab.register_fido(virtual, "key")
    found = json.loads(mfa_kit.run("rollout", "status", rollout.file, "--output", "json").out)["rows"]
    assert [(row["outcome"], row["reason"]) for row in found] == [
        ("waiting", "enrolls without mfa-kit; done when IAM lists a device"),
        ("enrolled", "enrolled themselves"),
    ]


def test_the_status_distinguishes_all_states(rollout: Rollout, people: People, mfa_kit: MfaKit) -> None:
    """Enrolled, failed with the reason, not started, staged, skipped, blocked."""
    done, failed, left, has = people(4)
    rollout.lab.register_fido(has, "key")
    rollout.plan(*rollout.own([done, failed, left, has, "ghost"]))
    rollout.lab.faults.add("EnableMFADevice", "denied", at=2)
    assert rollout.apply("--workers", "1", "--max-failures", "0").code == 1
    rollout.lab.faults.clear()
    status = ("rollout", "status", rollout.file, "--output")
    found = json.loads(mfa_kit.run(*status, "json").out)["rows"]
    assert {row["user"]: row["outcome"] for row in found} == {
        done: "enrolled",
        failed: "failed",
        left: "not started",
        has: "skipped",
        "ghost": "blocked",
    }
    unfinished = mfa_kit.run(*status, "json", "--unfinished")
    assert {row["user"] for row in json.loads(unfinished.out)["rows"]} == {failed, left, "ghost"}
    *_, totals, following = unfinished.err.splitlines()
    assert totals == "2 of 5 enrolled, 1 blocked, 1 failed, 1 not started"
    again = f"mfa-kit rollout apply {rollout.file}"
    assert following == f"next: 3 users not enrolled; read the reasons, then: {again}"
    page = mfa_kit.run(*status, "html").out
    assert page.count('<ul class="bars">') == 1
    assert "2 of 5 users have an MFA device" in page
    assert "AccessDenied" in page
    rows = page.partition("Still open: 3")[2]
    assert [rows.index(f">{user}</td>") for user in (failed, "ghost", left)] == sorted(
        rows.index(f">{user}</td>") for user in (failed, "ghost", left)
    )
    assert "(20 %)" in page


def test_the_status_of_a_finished_rollout_names_the_next_command(rollout: Rollout, people: People) -> None:
    """It is the one that `apply` printed. All users count, also those who had a device before."""
    first, second = people(2)
    rollout.plan(*rollout.own([first]), second)
    applied = rollout.apply("--accept-lockout")
    done = rollout.desk.run("rollout", "status", rollout.file, "--unfinished")
    assert (done.code, done.out) == (0, "the plan is finished\n")
    assert done.err.splitlines()[-2:] == ["2 of 2 enrolled", applied.err.splitlines()[-1]]
    assert f"mfa-kit rollout handover {rollout.file} -o DIR" in done.err


def test_a_page_escapes_the_texts_of_a_plan(rollout: Rollout, people: People, mfa_kit: MfaKit) -> None:
    """A plan file may have been edited. The page loads nothing from elsewhere and runs no script."""
    rollout.plan(*rollout.own(people(1)), "ghost")
    evil = '<script>alert(1)</script>\\u202e"'
    text = rollout.file.read_text().replace("there is no such user", evil.replace('"', "&quot;"))
    rollout.file.write_text(text.replace("user/lab-admin", "<img src=x>"))
    page = mfa_kit.run("rollout", "status", rollout.file, "--output", "html").out
    assert "<script" not in page
    assert "<img" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;" in page
    assert "account 000000000000 (LAB, nothing here is real)</h1>" in page
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")


def test_results_never_contain_unknown_columns(rollout: Rollout, people: People) -> None:
    """A password in the roster is not in any file that is written."""
    (good,) = people(1)
    rollout.plan(f"{good},hunter2,{rollout.recipient}", "ghost,hunter2,", columns="user,Password,recipient")
    assert rollout.apply("--accept-lockout").code == 1
    written = [file.read_text() for file in (*rollout.results.iterdir(), rollout.file)]
    assert len(written) == 5
    assert not any("hunter2" in text for text in written)
    assert (rollout.results / "results.csv").stat().st_mode & 0o077 == 0
