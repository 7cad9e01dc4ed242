"""SIGKILL at steps of a verb whose backups are in a bucket; then the command again, and a clean."""

import signal
from collections.abc import Callable
from itertools import count
from pathlib import Path

import boto3
import pytest

from mfa_kit.core.models import S3Url
from mfa_kit.lab.aws.server import Lab
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
