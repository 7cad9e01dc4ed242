"""S3 servers other than AWS's: mfa-kit tests each bucket once, before its first backup, and refuses what loses backups.

A layer above the lab's server leaves out what some servers lack.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import boto3
import pytest

from mfa_kit.lab.aws import s3
from mfa_kit.lab.aws.server import Lab
from tests.backups.conftest import Pair
from tests.conftest import MfaKit, Result

names = count()
TEST = "mfa-kit-test-"


@pytest.fixture
def client(at_lab: Lab) -> Any:
    del at_lab  # it sets the endpoint
    return boto3.Session().client("s3")


@pytest.fixture(params=[True, False], ids=["versioned", "unversioned"])
def bucket(request: pytest.FixtureRequest, client: Any) -> str:
    name = f"servers-{next(names)}"
    client.create_bucket(Bucket=name)
    if request.param:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.fixture
def lacks(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the server ignore the condition of writes, or refuse some operations as unknown."""

    def lack(*operations: str, conditions: bool = False) -> None:
        inner: WSGIApplication = lab.server.app

        def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
            if conditions:
                environ.pop("HTTP_IF_NONE_MATCH", None)
            if s3.speaks_s3(environ) and s3.s3_operation(environ) in operations:
                response = s3.s3_error("MethodNotAllowed", "The specified method is not allowed against this resource.")
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                start(f"{HTTPStatus.METHOD_NOT_ALLOWED.value} no", [*response.headers])
                return [response.body]
            return inner(environ, start)

        monkeypatch.setattr(lab.server, "app", answer)

    return lack


def enroll(mfa_kit: MfaKit, user: str, bucket: str, to: Pair, *more: str) -> Result:
    place = f"s3://{bucket}/pre"
    words = ("enroll", user, "--with", "virtual", "--codes", "generated", "-r", to.recipient, "--backup-dir", place)
    return mfa_kit.run(*words, *more)


def left(client: Any, bucket: str) -> list[str]:
    return [row["Key"] for row in client.list_objects_v2(Bucket=bucket).get("Contents", ())]


LACKING: dict[str, tuple[tuple[str, ...], bool, str]] = {
    "conditions": ((), True, "overwrites objects, because it ignores If-None-Match"),
    "versions": (("ListObjectVersions",), False, "removes no versions: s3://"),
    "both": (("ListObjectVersions",), True, "overwrites objects"),
}


@pytest.mark.parametrize("case", LACKING)
def test_a_server_that_would_lose_backups_is_refused_and_left_clean(
    case: str, mfa_kit: MfaKit, user: str, bucket: str, client: Any, old: Pair, lab: Lab, lacks: Callable[..., None]
) -> None:
    """No device is made, and `doctor` says the same. s3rver lacks both."""
    operations, conditions, said = LACKING[case]
    lacks(*operations, conditions=conditions)
    before: set[str] = set()
    for _ in range(2):  # a failure is not recorded
        done = enroll(mfa_kit, user, bucket, old)
        assert done.code == 2
        assert f"the S3 server of the bucket {bucket} {said}" in done.err
        assert "use a server with conditional writes and ListObjectVersions" in done.err
        new = set(left(client, bucket)) - before
        assert all(f"remove s3://{bucket}/{key} if it exists" in done.err for key in new)
        assert operations or not new, "only without lists of versions"
        before |= new
    assert not [serial for serial in lab.serials() if serial.endswith(f"/{user}")]
    (mfa_kit.home / "config.toml").write_text(f'backup-dir = "s3://{bucket}/pre"\n')
    assert said in mfa_kit.run("doctor", "--plain").out.replace("\n", " ")


def test_an_object_that_cannot_be_removed_is_named(
    mfa_kit: MfaKit, user: str, bucket: str, client: Any, old: Pair, lacks: Callable[..., None]
) -> None:
    lacks("ListObjectVersions", "DeleteObject")
    done = enroll(mfa_kit, user, bucket, old)
    assert done.code == 2
    [key] = left(client, bucket)
    assert key.startswith(f"pre/{TEST}")
    assert f"note: remove s3://{bucket}/{key} if it exists" in done.err


@pytest.mark.slow
def test_a_good_server_is_tested_once_for_each_bucket_and_computer(
    mfa_kit: MfaKit,
    users: Callable[[], str],
    bucket: str,
    client: Any,
    old: Pair,
    lab: Lab,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dry run writes nothing, so it does not test the server. The record is an empty file."""

    def puts(act: Callable[[], Result]) -> int:
        before = len(lab.calls)
        done = act()
        assert done.code in {0, 1}, done.err
        return Counter(call.operation for call in lab.calls[before:])["PutObject"]

    assert puts(lambda: enroll(mfa_kit, users(), bucket, old, "--dry-run")) == 0
    assert puts(lambda: enroll(mfa_kit, users(), bucket, old)) == 3
    assert puts(lambda: enroll(mfa_kit, users(), bucket, old)) == 1
    assert [file.stat().st_size for file in (mfa_kit.home / "tested-buckets").iterdir()] == [0]
    assert not [key for key in left(client, bucket) if TEST in key]
    other = tmp_path / "other computer"
    other.mkdir()
    (other / "config.toml").write_text(f'backup-dir = "s3://{bucket}/pre"\n')
    monkeypatch.setenv("MFA_KIT_HOME", str(other))
    assert puts(lambda: mfa_kit.run("--dry-run", "doctor")) == 0
    assert puts(lambda: mfa_kit.run("doctor")) == 2
    assert puts(lambda: mfa_kit.run("doctor")) == 0
    assert "overwrites nothing, and removes all versions" in mfa_kit.run("doctor", "--plain").out.replace("\n", " ")


def test_a_home_that_cannot_be_written_does_not_stop_the_work(
    mfa_kit: MfaKit, user: str, bucket: str, old: Pair
) -> None:
    mfa_kit.home.mkdir(exist_ok=True)
    (mfa_kit.home / "tested-buckets").write_text("a file, not a folder")
    assert enroll(mfa_kit, user, bucket, old).code == 0


@pytest.mark.parametrize("operation", ["PutObject", "ListObjectVersions"])
def test_a_test_that_is_denied_says_so(
    mfa_kit: MfaKit, user: str, bucket: str, client: Any, old: Pair, lab: Lab, operation: str
) -> None:
    """A denial says nothing about the server, so the hint is about permissions."""
    lab.faults.add(operation, "denied")
    done = enroll(mfa_kit, user, bucket, old)
    assert done.code in {4, 5}
    assert "AccessDenied" in done.err
    assert "mfa-kit help permissions" in done.err
    assert left(client, bucket) == []
    assert enroll(mfa_kit, user, bucket, old).code == 0


def test_throttling_for_a_while_is_told_and_waited_for(
    mfa_kit: MfaKit, user: str, bucket: str, old: Pair, lab: Lab
) -> None:
    for operation in ("PutObject", "GetObject", "ListObjectsV2"):
        lab.faults.add(operation, "throttle")
    done = enroll(mfa_kit, user, bucket, old)
    assert done.code == 0, done.err
    assert done.err.count("S3 answers SlowDown; trying again") == 1
