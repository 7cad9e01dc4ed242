"""Kills and faults at steps of a verb whose backups are in a bucket; then the command again."""

import signal
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path

import boto3
import pytest

from mfa_kit.core.models import S3Url
from mfa_kit.core.stopping import Stop
from mfa_kit.lab.aws.server import Lab
from tests.conftest import MfaKit
from tests.faults.conftest import Judge, Nursery
from tests.faults.test_kill import AFTER, BEFORE
from tests.faults.worker import ADDRESS
from tests.sizes import sample

names = count()


@pytest.fixture
def bucket(at_lab: Lab) -> str:
    """Make a bucket with versioning, in which a removed secret could stay as an old version."""
    del at_lab  # it sets the endpoint
    name, client = f"kills-{next(names)}", boto3.Session().client("s3")
    client.create_bucket(Bucket=name)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("verb", ["enroll", "replace", "revoke"])
def test_a_kill_at_any_step_is_repaired_and_the_bucket_too(
    verb: str,
    after: bool,
    nursery: Nursery,
    judge: Judge,
    users: Callable[[], str],
    bucket: str,
    new_home: Callable[[str], Path],
    tried: Callable[[str, int], None],
) -> None:
    """Afterwards the bucket has one version of one object for each device, and nothing else."""
    prepare, home, place, user = ["enroll"] * BEFORE[verb], new_home("whole"), S3Url(bucket, "whole"), users()
    assert nursery.run(prepare, user, home, place=str(place))[0] == 0
    code, steps = nursery.run([verb], user, home, place=str(place))
    assert code == 0, steps
    assert len(judge.works(user, home, place)) == AFTER[verb]
    store = [at for at, step in enumerate(steps, 1) if step.startswith("store.")]
    for at in sample(store, 2 if (home / ADDRESS).exists() else 3):
        home, place, user = new_home(f"{at}"), S3Url(bucket, f"{at}"), users()
        assert nursery.run(prepare, user, home, place=str(place))[0] == 0
        code, done = nursery.run([verb], user, home, place=str(place), at=at, after=after)
        assert code == -signal.SIGKILL, f"step {at} was not reached: {done}"
        code, said = nursery.run([verb], user, home, place=str(place))
        assert code == 0 or (verb == "revoke" and "has no MFA device" in said[-1]), said
        assert nursery.run(["clean"], user, home, place=str(place))[0] == 0
        devices = judge.works(user, home, place)
        assert len(devices) == AFTER[verb], (at, steps[at - 1], devices)
        tried(f"kills in {verb} with backups in S3", 1)


FAULTS = ("throttle", "error-before", "error-after", "lost-before", "lost-after", "denied", "expired")


def s3_calls(lab: Lab, since: int) -> list[tuple[str, int]]:
    """Return the calls to S3 since a number of calls, each with its number among those of the same operation."""
    numbered, calls = Counter[str](), []
    for call in lab.calls[since:]:
        if "Object" in call.operation or "Bucket" in call.operation:
            numbered[call.operation] += 1
            calls.append((call.operation, numbered[call.operation]))
    return calls


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_fault_at_any_call_to_s3_is_repaired_by_the_same_command(
    lab: Lab,
    users: Callable[[], str],
    bucket: str,
    mfa_kit: MfaKit,
    recipient: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tried: Callable[[str, int], None],
) -> None:
    """The calls include the test of the server. What may be left of it is named, and nothing else is left."""
    monkeypatch.setattr(Stop, "sleep", lambda *_: None)
    client = boto3.Session().client("s3")
    homes = count()

    def enroll(user: str) -> tuple[int, str]:
        words = ("enroll", user, "--with", "virtual", "--codes", "generated", "-r", recipient)
        done = mfa_kit.run(*words, "--backup-dir", f"s3://{bucket}")
        return done.code, done.err

    def objects() -> set[str]:
        listed = client.list_object_versions(Bucket=bucket)
        return {row["Key"] for kind in ("Versions", "DeleteMarkers") for row in listed.get(kind, ())}

    def move() -> None:
        monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / f"home{next(homes)}"))

    move()
    since = len(lab.calls)
    assert enroll(users())[0] == 0
    calls = s3_calls(lab, since)
    assert len([operation for operation, _ in calls if operation == "PutObject"]) == 3
    for (operation, number), fault in sample([(call, fault) for call in calls for fault in FAULTS], 16):
        before, user = objects(), users()
        move()
        lab.faults.add(operation, fault, at=number)
        code, err = enroll(user)
        lab.faults.clear()
        if code:
            assert enroll(user)[0] == 0, (operation, number, fault, err)
        assert lab.assigned(f"arn:aws:iam::000000000000:mfa/{user}") == user
        new = objects() - before
        assert [key for key in new if f"/{user}/" in key] == [key for key in new if "mfa-kit-test-" not in key]
        assert len([key for key in new if f"/{user}/" in key]) == 1
        assert all(key in err for key in new if "mfa-kit-test-" in key), (operation, number, fault, err)
        tried("faults in calls to S3", 1)
