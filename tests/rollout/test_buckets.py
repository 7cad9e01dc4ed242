"""A rollout whose backups are in a bucket: one denied object fails one user, and throttling ends with exit code 7."""

import json
import signal
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import boto3
import pytest

from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.models import JournalState
from mfa_kit.enrollment import pacing
from tests.conftest import ACCOUNT, Result
from tests.rollout.conftest import Rollout

People = Callable[[int], list[str]]
names = count()


@pytest.fixture
def client(rollout: Rollout) -> Any:
    del rollout  # it sets the endpoint
    return boto3.Session().client("s3")


@pytest.fixture
def bucket(client: Any) -> str:
    name = f"rollouts-{next(names)}"
    client.create_bucket(Bucket=name)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a wait of ten minutes end at once."""
    monkeypatch.setattr(pacing, "GIVE_UP", -1.0)


def apply(rollout: Rollout, bucket: str, *more: str) -> Result:
    return rollout.apply("--backup-dir", f"s3://{bucket}", "--output", "json", *more)


def devices(rollout: Rollout, users: list[str]) -> set[str]:
    return {name for serial in rollout.lab.serials() if (name := serial.rpartition("/")[2]) in users}


def versions(client: Any, bucket: str) -> list[str]:
    listed = client.list_object_versions(Bucket=bucket)
    return [row["Key"] for kind in ("Versions", "DeleteMarkers") for row in listed.get(kind, ())]


def record_test(rollout: Rollout, bucket: str) -> None:
    """Record that the server of a bucket was tested, so that the faults hit the backups."""
    (rollout.desk.home / "config.toml").write_text(f'backup-dir = "s3://{bucket}"\n')
    rollout.desk.run("doctor")


@pytest.mark.parametrize("operation", ["PutObject", "GetObject", "ListObjectsV2"])
def test_one_denied_object_fails_one_user(
    rollout: Rollout, people: People, bucket: str, client: Any, operation: str
) -> None:
    """The others are enrolled, and the next run enrolls the user who failed."""
    users = people(4)
    rollout.plan(*rollout.own(users))
    record_test(rollout, bucket)
    rollout.lab.faults.add(operation, "denied")
    done = apply(rollout, bucket, "--workers", "1")
    assert done.code == 1, done.err
    result = json.loads(done.out)
    assert result["counts"] == {"enrolled": 3, "failed": 1}
    [failed] = [row for row in result["rows"] if row["outcome"] == "failed"]
    assert failed["cause"] == "BackupDenied"
    assert "AccessDenied" in failed["reason"]
    assert "mfa-kit help permissions" in failed["reason"]
    assert devices(rollout, users) == set(users) - {failed["user"]}
    assert apply(rollout, bucket).code == 0
    assert devices(rollout, users) == set(users)
    assert len(versions(client, bucket)) == 2 * len(users)


def test_a_backup_that_may_not_be_listed_fails_its_row_when_a_run_continues(
    rollout: Rollout, people: People, bucket: str
) -> None:
    """The second run looks for the backup of each user who has a device."""
    users = people(3)
    rollout.plan(*rollout.own(users))
    assert apply(rollout, bucket).code == 0
    rollout.lab.faults.add("ListObjectsV2", "denied")
    done = apply(rollout, bucket)
    assert (done.code, json.loads(done.out)["counts"]) == (1, {"enrolled": 2, "failed": 1})


@pytest.mark.slow
def test_a_denied_backup_fails_one_row_of_undo(rollout: Rollout, people: People, bucket: str, client: Any) -> None:
    users = people(3)
    rollout.plan(*rollout.own(users))
    run = json.loads(apply(rollout, bucket).out)["run"]
    undo = ("rollout", "undo", run, "--yes", "--leave-without-mfa", "--workers", "1", "--output", "json")
    rollout.lab.faults.add("ListObjectVersions", "denied")
    done = rollout.desk.run(*undo)
    assert (done.code, json.loads(done.out)["counts"]) == (1, {"failed": 1, "revoked": 2})
    assert len(versions(client, bucket)) == 2
    assert rollout.desk.run(*undo).code == 0
    assert versions(client, bucket) == []


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("fault", "code", "said"),
    [
        ("throttle", 7, ["AWS accepted no call for", "S3 answers SlowDown"]),
        ("expired", 4, ["sign in again, or choose another backup-profile"]),
    ],
    ids=["throttled", "expired"],
)
def test_a_bucket_that_refuses_all_writes_ends_the_command(
    fault: str, code: int, said: list[str], rollout: Rollout, people: People, bucket: str, client: Any
) -> None:
    """No user is marked as failed and nothing is left half-made. A second run continues, also of `undo`."""
    users = people(3)
    rollout.plan(*rollout.own(users))
    record_test(rollout, bucket)
    rollout.lab.faults.add("PutObject", fault, at="every")
    done = apply(rollout, bucket)
    assert (done.code, [words for words in said if words not in done.err]) == (code, []), done.err
    assert not devices(rollout, users)
    rollout.lab.faults.clear()
    done = apply(rollout, bucket)
    assert done.code == 0
    undo = ("rollout", "undo", json.loads(done.out)["run"], "--yes", "--leave-without-mfa")
    rollout.lab.faults.add("DeleteObject", fault, at="every")
    rollout.lab.faults.add("*", "lag", seconds=0.5)  # IAM may list a device that was just removed
    assert rollout.desk.run(*undo).code == code
    with sqlite_ledger(rollout.desk.home) as ledger:
        assert {entry.reached for entry in ledger.dead(ACCOUNT)} == {JournalState.REVOKING}
    rollout.lab.faults.clear()
    assert rollout.desk.run(*undo).code == 0
    assert not devices(rollout, users)
    assert versions(client, bucket) == []


def test_a_rate_limit_of_s3_fails_no_user(rollout: Rollout, people: People, bucket: str) -> None:
    users = people(6)
    rollout.plan(*rollout.own(users))
    record_test(rollout, bucket)
    rollout.lab.faults.add("PutObject", "bucket", rate=20, burst=2)
    done = apply(rollout, bucket)
    assert (done.code, json.loads(done.out)["counts"]) == (0, {"enrolled": 6})


@pytest.mark.slow
def test_a_second_ctrl_c_ends_a_wait_for_s3(rollout: Rollout, people: People, bucket: str) -> None:
    """The wait for a throttle would last ten minutes or more. The next run continues."""
    users = people(4)
    rollout.plan(*rollout.own(users))
    record_test(rollout, bucket)
    rollout.lab.faults.add("PutObject", "throttle", at="every")
    since = len(rollout.lab.calls)
    process = rollout.desk.start(
        "rollout", "apply", rollout.file, "-r", rollout.recipient, "--backup-dir", f"s3://{bucket}"
    )
    while not any(call.error == "SlowDown" for call in rollout.lab.calls[since:]):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.stderr
    assert any("Press Ctrl-C again to stop now" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    rollout.lab.faults.clear()
    assert apply(rollout, bucket).code == 0
    assert devices(rollout, users) == set(users)
