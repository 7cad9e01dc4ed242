"""A ledger that lost only some rows, as in a failover: `undo` and `finish` name what stays, and the way on works."""

import json
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import boto3
import pytest

from mfa_kit.core.models import RUN_TAG, USER_TAG
from mfa_kit.core.otp import Seed, code_at
from tests.conftest import MfaKit
from tests.rollout.conftest import Rollout
from tests.rollout.test_lost_ledger import ARN, command

People = Callable[[int], list[str]]
UNDO = ("--yes", "--leave-without-mfa")


def lose_rows(rollout: Rollout, users: list[str], *, run: bool) -> None:
    """Remove the rows about the devices of these users, and with `run` also the row of the run."""
    with sqlite3.connect(rollout.desk.home / "ledger.sqlite") as tables:
        for user in users:
            assert tables.execute("delete from journal where intent like ?", (f'%"user": "{user}"%',)).rowcount
        if run:
            assert tables.execute("delete from rollout_runs").rowcount


def adopt(rollout: Rollout) -> None:
    done = rollout.desk.run("ledger", "reconcile", "--adopt", "--record", rollout.folder / "elsewhere")
    assert done.code == 0, done.err


def test_undo_works_after_an_adoption(rollout: Rollout, people: People) -> None:
    """The adopted runs belong to their plan again, also without the record."""
    users = people(3)
    rollout.enroll(users)
    rollout.lose_ledger()
    rollout.results.rename(rollout.folder / "elsewhere")
    adopt(rollout)
    done = command(rollout, "undo", rollout.file, *UNDO)
    assert done.code == 0, done.err
    assert not {ARN + user for user in users} & {*rollout.lab.serials()}


@pytest.mark.parametrize("lost", [slice(0, 1), slice(1, 3), slice(3, 4), slice(0, 4)], ids=str)
@pytest.mark.parametrize("run", [False, True])
def test_undo_names_the_devices_whose_rows_are_lost(rollout: Rollout, people: People, lost: slice, run: bool) -> None:
    """Rows before, between and after the rows of the run. Nothing is called done, and the printed way on works."""
    users = people(4)
    rollout.enroll(users)
    rollout.results.rename(rollout.folder / "elsewhere")
    lose_rows(rollout, users[lost], run=run)
    gone = users if run else users[lost]
    done = command(rollout, "undo", rollout.file, *UNDO)
    assert done.code == 1, done.err
    staying = {user for user in users if ARN + user in {*rollout.lab.serials()}}
    assert staying == {*gone}
    number = len(users[lost])
    stay = "1 device of the plan stays" if number == 1 else f"{number} devices of the plan stay"
    assert f"{stay}, because neither the ledger nor a record has the run" in done.err, done.err
    assert all(user in done.err for user in users[lost])
    assert "mfa-kit ledger reconcile --adopt --record DIR" in done.err
    again = command(rollout, "undo", rollout.file, *UNDO)
    assert (again.code, "already undone" in again.err) == (1, False), again.err
    adopt(rollout)
    done = command(rollout, "undo", rollout.file, *UNDO)
    assert done.code == 0, done.err
    assert not {ARN + user for user in users} & {*rollout.lab.serials()}


def test_the_desk_without_a_record_of_its_own_says_what_stays(rollout: Rollout, people: People) -> None:
    """One ledger has a half of the devices, the other has none. Each names what it leaves, until it gets the record."""
    mine, theirs = people(2)
    rollout.plan(*rollout.own([mine, theirs]))
    other = MfaKit(rollout.folder / "other", rollout.desk.env)
    done = rollout.apply("--results", str(rollout.folder / "mine"))
    assert done.code == 0, done.err
    lose_rows(rollout, [theirs], run=False)  # this desk has never had the row
    records = rollout.folder / "mine"
    records.rename(rollout.folder / "elsewhere")
    done = command(rollout, "undo", rollout.file, *UNDO)
    assert (done.code, "1 device of the plan stays, because" in done.err, theirs in done.err) == (1, True, True)
    nothing = other.run("rollout", "undo", rollout.file, *UNDO)
    assert (nothing.code, "1 device of the plan stays" in nothing.err) == (1, True), nothing.err
    there = other.run("rollout", "undo", rollout.file, *UNDO, "--record", rollout.folder / "elsewhere")
    assert ARN + theirs not in {*rollout.lab.serials()}, there.err


def test_a_device_from_before_the_plan_and_one_of_the_user_do_not_count(rollout: Rollout, people: People) -> None:
    """Only a device that a run of mfa-kit made for the plan stays in the sense of the message."""
    before, own, made = people(3)
    rollout.enroll([before])
    rollout.lose_ledger()
    rollout.results.rename(rollout.folder / "first")
    rollout.enroll([before, own, made])
    undone = command(rollout, "undo", rollout.file, *UNDO)
    assert undone.code == 0, undone.err
    iam = boto3.Session().client("iam", endpoint_url=rollout.lab.env["AWS_ENDPOINT_URL"])
    iam.create_virtual_mfa_device(VirtualMFADeviceName=own)
    codes = [code_at(Seed(rollout.lab.seed(ARN + own)), time.time() - ago) for ago in (30, 0)]
    iam.enable_mfa_device(
        UserName=own, SerialNumber=ARN + own, AuthenticationCode1=codes[0], AuthenticationCode2=codes[1]
    )
    again = command(rollout, "undo", rollout.file, *UNDO)
    assert (again.code, "stay" in again.err, "is already undone" in again.err) == (0, False, True), again.err
    assert {ARN + before, ARN + own} <= {*rollout.lab.serials()}


def test_a_device_without_a_line_is_adopted_as_half_made(rollout: Rollout, people: People) -> None:
    """A kill between the device and its line. `apply` then removes the device, and makes the user's."""
    user, lineless, foreign = people(3)
    rollout.enroll([user])
    [record] = rollout.results.glob("record-*.jsonl")
    run = json.loads(record.read_text().splitlines()[0])["run"]
    iam = boto3.Session().client("iam", endpoint_url=rollout.lab.env["AWS_ENDPOINT_URL"])
    for name, of in ((lineless, run), (foreign, "20261130T120000Z-0123abcd")):
        tags: Any = [{"Key": RUN_TAG, "Value": of}, {"Key": USER_TAG, "Value": name}]
        iam.create_virtual_mfa_device(VirtualMFADeviceName=name, Tags=tags)
    rollout.lose_ledger()
    rollout.results.rename(rollout.folder / "elsewhere")
    rollout.desk.run("ledger", "reconcile", "--adopt", "--record", rollout.folder / "elsewhere")
    rollout.plan(*rollout.own([user, lineless]))
    done = rollout.apply()
    assert done.code == 0, done.err
    rollout.works([user, lineless])
    assert ARN + foreign in {*rollout.lab.serials()}
