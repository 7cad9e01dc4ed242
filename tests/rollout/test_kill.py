"""Any number of kills: after a rollout has been restarted often enough, each user is enrolled exactly once."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mfa_kit.lab.aws.server import Lab
from tests.conftest import ACCOUNT, MfaKit
from tests.ledgers import Place
from tests.rollout.conftest import Rollout, key_file
from tests.sizes import size

# How many users there are and how often a rollout is killed, by the kind of the ledger.
SIZES = {
    "sqlite": (size(150, 1000, "MFA_KIT_ROLLOUT_USERS"), size(5, 20, "MFA_KIT_ROLLOUT_KILLS")),
    "postgresql": (size(50, 300), size(3, 10)),
}
SHARED = size(60, 120)


def enrolled(lab: Lab, since: int) -> int:
    return sum(call.operation == "EnableMFADevice" and not call.error for call in lab.calls[since:])


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_everybody_is_enrolled_once_after_any_kills(
    rollout: Rollout, people: Callable[[int], list[str]], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL comes at random moments. The next run settles devices that a dead run left half-made."""
    number_of_users, number_of_kills = SIZES[place.kind]
    shared = ["--local-backups"] if place.kind == "postgresql" else []
    if shared:
        rollout.place = place
        rollout.desk.env["MFA_KIT_LEDGER"] = place.at
        monkeypatch.setenv("MFA_KIT_LEDGER", place.at)
    users = people(number_of_users)
    rollout.plan(*rollout.own(users))
    lab, since, kills = rollout.lab, len(rollout.lab.calls), 0
    command: tuple[str | Path, ...] = ("rollout", "apply", rollout.file, "-r", rollout.recipient, "--output", "jsonl")
    command += tuple(shared)
    for number in range(number_of_kills):
        process = rollout.desk.fork(*command, stdout=None, stderr=None)
        # Kill within the next part of the users. Each start takes a second, and starts are not under test here.
        goal = enrolled(lab, since) + random.randint(
            0, max(1, 2 * (number_of_users - enrolled(lab, since)) // (number_of_kills - number + 1))
        )
        while enrolled(lab, since) < goal and process.poll() is None:
            time.sleep(0.005)
        time.sleep(random.random() / 50)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
    done = rollout.desk.process(*command, timeout=3000)
    assert done.code == 0, done.err[-2000:]
    assert kills >= int(number_of_kills * 0.8)
    rollout.works(users)
    assert {lab.assigned(serial) for serial in lab.serials() if serial.rpartition("/")[2] in users} == set(users)
    assert rollout.apply(*shared).code == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_computers_share_a_plan_and_one_is_killed(rollout: Rollout, people: Callable[[int], list[str]]) -> None:
    """IAM gives each name only once, so no user gets two devices. Each computer knows the devices of the other."""
    users = people(SHARED)
    rollout.plan(*rollout.own(users))
    other = MfaKit(rollout.folder / "other", rollout.desk.env)
    command = ("rollout", "apply", rollout.file, "-r", rollout.recipient, "--output", "jsonl", "--results")
    since = len(rollout.lab.calls)
    killed = other.fork(*command, rollout.folder / "b", stdout=None, stderr=None)
    while enrolled(rollout.lab, since) < 10:
        time.sleep(0.01)
    one = rollout.desk.fork(*command, rollout.folder / "a")
    while enrolled(rollout.lab, since) < SHARED // 2:
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    out, err = one.communicate(timeout=120)
    assert one.returncode in {0, 1}, err
    again = other.process(*command, rollout.folder / "b")
    assert again.code == 0, again.err
    last = rollout.desk.process(*command, rollout.folder / "a")
    assert last.code == 0, last.err
    assert {rollout.lab.assigned(f"arn:aws:iam::000000000000:mfa/{user}") for user in users} == set(users)
    assert out.count("\n") == len(users)
    for side in (last, again):
        without = side.out.count("of which neither the ledger nor a record of a run has a backup")
        assert side.out.count('"outcome": "enrolled"') + without == len(users)
    assert last.out.count('"outcome": "enrolled"') + again.out.count('"outcome": "enrolled"') == len(users)


LOST_USERS, LOST_KILLS = size(20, 60), size(3, 12)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("staged", [False, True], ids=["enabled", "staged"])
def test_a_ledger_that_is_lost_with_each_kill(
    rollout: Rollout, people: Callable[[int], list[str]], tmp_path: Path, staged: bool
) -> None:
    """SIGKILL, and the ledger is gone: the records suffice to settle, hand over, enable and undo everything."""
    users = people(LOST_USERS)
    rollout.plan(*rollout.own(users))
    command: tuple[str | Path, ...] = ("rollout", "apply", rollout.file, "-r", rollout.recipient)
    command += ("--stage",) if staged else ()
    arn = f"arn:aws:iam::{ACCOUNT}:mfa/"
    serials = {arn + user for user in users}
    for number in range(LOST_KILLS):
        goal = LOST_USERS * number // LOST_KILLS
        process = rollout.desk.start(*command, "--workers", "2", stdout=None, stderr=None)
        while len(serials & rollout.lab.serials()) <= goal and process.poll() is None:
            time.sleep(0.005)
        time.sleep(random.random() / 50)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        rollout.lose_ledger()
    done = rollout.desk.process(*command)
    assert done.code == 0, done.err
    rollout.lose_ledger()
    letters = tmp_path / "letters"
    done = rollout.desk.process("rollout", "handover", rollout.file, "-o", letters)
    assert (done.code, len([*letters.glob("*/letter.txt")])) == (0, LOST_USERS), done.err
    if staged:
        activate = ("-i", key_file(rollout.identity, tmp_path), "--record", rollout.results)
        done = rollout.desk.process("rollout", "activate", *activate)
        assert done.code == 0, done.err
    else:
        assert rollout.desk.process(*command).code == 0  # the ledger of `works` has the devices again
    rollout.works(users)
    rollout.lose_ledger()
    done = rollout.desk.process("rollout", "undo", rollout.file, "--yes", "--leave-without-mfa")
    assert done.code == 0, done.err
    assert not serials & rollout.lab.serials()
    assert not [path for path in (rollout.desk.home / "backups").rglob("*") if path.is_file()]
