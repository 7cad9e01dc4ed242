"""`rollout finish` and `undo` of an exchange: killed at each step, and each call to IAM fails in each way.

A user who has a working device is never without one, and the next run settles what is half-made.
"""

import signal
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import boto3
import pytest

from mfa_kit.adapters.ledger.records import DeviceStates
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.device_records import DeviceState, RecordedRun, RecordedState
from mfa_kit.lab.aws.server import Lab
from mfa_kit.rollout.plan_files import plan_digest
from tests.conftest import ACCOUNT, MfaKit
from tests.faults.conftest import Nursery
from tests.faults.test_kill_worker import workers  # noqa: F401 - a fixture
from tests.lab.client import Aws
from tests.sizes import sample

ARN = f"arn:aws:iam::{ACCOUNT}:mfa/"
RUN = "20261130T120000Z-0123abcd"
# The devices that a user has in the end, by the command: the new one, or the old one.
LEFT = {"finish": "-key", "undo": ""}
Words = list[str]


@pytest.fixture
def exchange(
    mfa_kit: MfaKit, at_lab: Lab, users: Callable[[], str], recipient: str, tmp_path: Path
) -> Callable[[str], tuple[str, Words]]:
    """Return a function that gives a user with a phone a new, proven device, and returns the words of a command."""
    aws = Aws(at_lab, (at_lab.admin.access_key_id, at_lab.admin.secret_access_key, None))

    def make(verb: str) -> tuple[str, Words]:
        user = users()
        aws.enrolled(user)
        roster, file = tmp_path / "roster.csv", tmp_path / f"{user}.json"
        roster.write_text(f"user,action\n{user},replace\n")
        for words in (("plan", roster, "-o", file), ("apply", file, "-r", recipient, "--accept-lockout")):
            done = mfa_kit.run("rollout", *words)
            assert done.code == 0, done.err
        run = RecordedRun(id=RUN, plan=plan_digest(file.read_text()), computer="desk-7")
        state = RecordedState(
            run=run, at=time.time(), serial=f"{ARN}{user}-key", user=user, state=DeviceState.PROVEN, how="two codes"
        )
        with sqlite_ledger(mfa_kit.home) as ledger:
            DeviceStates(ledger).record(state)
        return user, ["rollout", verb, str(file), "--workers", "1", *(["--yes"] if verb == "undo" else [])]

    return make


def names(user: str) -> set[str]:
    """Return the ends of the names of a user's devices in IAM."""
    devices = boto3.session.Session().client("iam").list_mfa_devices(UserName=user)["MFADevices"]
    return {device["SerialNumber"].removeprefix(ARN + user) for device in devices}


def settled(mfa_kit: MfaKit, lab: Lab, user: str, verb: str) -> None:
    """Check that the user has the device that is left, and that nothing of the other one is."""
    assert names(user) == {LEFT[verb]}
    assert {serial.removeprefix(ARN + user) for serial in lab.serials() if serial.startswith(ARN + user)} == {
        LEFT[verb]
    }
    with sqlite_ledger(mfa_kit.home) as ledger:
        assert list(ledger.dead(ACCOUNT, user=user)) == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("verb", LEFT)
def test_a_command_killed_at_any_step_leaves_a_device_and_is_continued(
    verb: str,
    after: bool,
    workers: Nursery,  # noqa: F811 - the fixture
    exchange: Callable[[str], tuple[str, Words]],
    mfa_kit: MfaKit,
    lab: Lab,
    tried: Callable[[str, int], None],
) -> None:
    user, words = exchange(verb)
    code, steps = workers.run([], "", mfa_kit.home, words=words)
    assert code == 0, steps
    settled(mfa_kit, lab, user, verb)
    for at in sample(range(1, len(steps)), 5):
        user, words = exchange(verb)
        code, done = workers.run([], "", mfa_kit.home, words=words, at=at, after=after)
        assert code == -signal.SIGKILL, f"step {at} was not reached: {done}"
        assert LEFT[verb] in names(user), (at, steps[at - 1])
        code, said = workers.run([], "", mfa_kit.home, words=words)
        assert code == 0, said
        settled(mfa_kit, lab, user, verb)
        tried("kills of exchanges", 1)


READS, WRITES = (
    ("ListMFADevices", "ListMFADeviceTags"),
    ("TagMFADevice", "DeactivateMFADevice", "DeleteVirtualMFADevice"),
)
WAYS = ("lost-after", "denied", "throttle", "busy", "lost-before", "error-before", "error-after")


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "way"), sample([*product(LEFT, WAYS)], 3))
def test_each_call_to_iam_may_fail_in_each_way(
    verb: str, way: str, exchange: Callable[[str], tuple[str, Words]], mfa_kit: MfaKit, lab: Lab
) -> None:
    """The second run settles what the first left."""
    for operation in (*READS, *WRITES):
        user, words = exchange(verb)
        lab.faults.add(operation, way, at=1)
        first = mfa_kit.run(*words)
        lab.faults.clear()
        assert LEFT[verb] in names(user), (operation, first.err)
        assert first.code in {0, 1, 4, 7}, first.err
        again = mfa_kit.run(*words)
        assert again.code == 0, again.err
        settled(mfa_kit, lab, user, verb)
