"""Backups in a bucket of the lab: nothing is overwritten, each answer of S3 has one meaning, removals are complete."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from ssl import SSLEOFError
from types import SimpleNamespace
from typing import Any

import boto3
import pyrage
import pytest
from botocore.awsrequest import AWSResponse, HTTPHeaders
from botocore.exceptions import EndpointConnectionError
from botocore.response import StreamingBody
from botocore.session import get_session
from urllib3.exceptions import SSLError

from mfa_kit.adapters.aws.answers import READ_PAUSES
from mfa_kit.adapters.aws.clients import Connection, is_aws, open_s3
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.aws.s3_calls import OUTAGE_PAUSES, S3Calls
from mfa_kit.adapters.aws.s3_store import COPY, S3File, S3FileStore, check_bucket, check_server, read_bucket
from mfa_kit.adapters.files.agefile import AgeFiles, open_backup
from mfa_kit.adapters.files.identities import parse_recipients
from mfa_kit.adapters.files.local_store import find_backups, read_backup
from mfa_kit.adapters.files.plugins import Identity
from mfa_kit.cli.messages import StderrProgress
from mfa_kit.core.errors import IntegrityFault, MfaKitError, StoreThrottled, Throttled, UsageFault, WrongIdentityError
from mfa_kit.core.models import Caller, DeviceSpec, JournalEntry, S3Url
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.enrollment.pacing import BUSY, THROTTLED, Backoff
from mfa_kit.lab.aws.server import Lab
from mfa_kit.qr_codes import key_uri
from mfa_kit.wiring import settings as wiring_settings
from mfa_kit.wiring.aws import identify
from mfa_kit.wiring.settings import Config
from mfa_kit.wiring.stores import check_other_server, open_s3_calls
from tests.conftest import COUNTED
from tests.plain_settings import plain_settings
from tests.sizes import size

RUN = "20261125T000000Z-0a1b2c3d"
URI = key_uri.otpauth(Seed(bytes(range(40))), label="alice@000000000000")
MOST = 1 << 20
names = count()


def stores_of(calls: S3Calls) -> S3FileStore:
    """Return the stores that use these calls, with the check of buckets."""
    return S3FileStore(calls, lambda folder: check_bucket(folder.bucket, calls))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as lab:
        yield lab


@pytest.fixture(autouse=True)
def _here(at_lab: Lab) -> None:
    """Point each test at this lab, and remove all faults at its end."""


@pytest.fixture(scope="module")
def shared() -> dict[str, Any]:
    """Hold the clients of this module, which take long to create."""
    return {}


@pytest.fixture
def client(shared: dict[str, Any]) -> Any:
    return shared.get("test") or shared.setdefault("test", boto3.Session().client("s3"))


@pytest.fixture(params=[True, False], ids=["versioned", "unversioned"])
def bucket(request: pytest.FixtureRequest, client: Any) -> str:
    """Make a bucket with and without versioning."""
    return made(client, versioning=request.param)


@pytest.fixture
def versioned(client: Any) -> str:
    return made(client, versioning=True)


def made(client: Any, *, versioning: bool, **how: Any) -> str:
    name = f"objects-{next(names)}"  # the labs of one process share their buckets
    client.create_bucket(Bucket=name, **how)
    if versioning:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def calls(shared: dict[str, Any], slept: list[float]) -> S3Calls:
    client = shared.get("kit") or shared.setdefault("kit", open_s3(Connection(workers=16)))
    turn = Backoff(sleep=slept.append, progress=StderrProgress(quiet=True))
    return S3Calls(lambda: client, sleep=slept.append, encryption={}, turn=turn)


@pytest.fixture
def harmed() -> S3Calls:
    """Return calls with a client of their own, whose requests and answers a test may change."""
    client = open_s3(Connection())
    return S3Calls(lambda: client, sleep=lambda _: None, encryption={})


@pytest.fixture
def file(bucket: str, calls: S3Calls) -> S3File:
    return S3File(url(bucket), calls)


def url(bucket: str) -> S3Url:
    return S3Url(bucket, f"pre/000000000000/alice/alice-{RUN}.png.age")


def keys(client: Any, bucket: str) -> list[str]:
    """Return all versions and delete markers in a bucket."""
    found = client.list_object_versions(Bucket=bucket)
    return sorted(each["Key"] for each in (*found.get("Versions", ()), *found.get("DeleteMarkers", ())))


def content(client: Any, place: S3Url) -> bytes:
    found: bytes = client.get_object(Bucket=place.bucket, Key=place.key)["Body"].read()
    return found


def damage(client: Any, operation: str, wrong: bytes) -> None:
    """Let the server get another content than the client sent, once. moto does not check checksums."""
    once = iter([wrong])

    def change(request: Any, **_: Any) -> None:
        request.body = next(once, request.body)
        request.headers["Content-Length"] = str(len(request.body))

    client.meta.events.register(f"before-send.s3.{operation}", change)


def test_an_object_is_written_once_and_read_back(file: S3File, bucket: str, client: Any, lab: Lab) -> None:
    before = len(lab.calls)
    file.create(b"sealed")
    assert [call.operation for call in lab.calls[before:]] == ["PutObject", "GetObject"]
    assert file.is_there()
    assert file.read(MOST) == b"sealed"
    assert keys(client, bucket) == [url(bucket).key]


def test_another_object_is_never_overwritten(file: S3File, bucket: str, client: Any) -> None:
    client.put_object(Bucket=bucket, Key=url(bucket).key, Body=b"other")
    with pytest.raises(IntegrityFault, match="already exists"):
        file.create(b"sealed")
    assert content(client, url(bucket)) == b"other"
    assert len(keys(client, bucket)) == 1


@pytest.mark.parametrize("fault", ["lost-after", "lost-before", "throttle", "busy", "error-before", "error-after"])
def test_a_write_survives_each_unclear_or_refused_answer(
    fault: str, file: S3File, bucket: str, client: Any, lab: Lab, slept: list[float]
) -> None:
    """Lost, 503 SlowDown, 409 ConditionalRequestConflict and 500. Afterwards one object has the right content."""
    lab.faults.add("PutObject", fault)
    file.create(b"sealed")
    assert content(client, url(bucket)) == b"sealed"
    assert len(keys(client, bucket)) == 1
    assert slept == [{"throttle": THROTTLED, "busy": BUSY}.get(fault, READ_PAUSES)[0]]


def test_equal_octets_after_a_lost_answer_are_ours(file: S3File, lab: Lab) -> None:
    lab.faults.add("PutObject", "lost-after")
    before = len(lab.calls)
    file.create(b"sealed")
    puts = [call.error for call in lab.calls[before:] if call.operation == "PutObject"]
    assert puts == ["lost", "PreconditionFailed"]


def test_a_write_that_never_succeeds_is_a_fault(file: S3File, lab: Lab, slept: list[float]) -> None:
    lab.faults.add("PutObject", "throttle", at="every")
    with pytest.raises(Throttled, match="cannot be written: S3 answers SlowDown") as caught:
        file.create(b"sealed")
    assert caught.value.exit_code == 7
    assert slept == list(THROTTLED)


@pytest.mark.parametrize("fault", ["lost-before", "throttle", "error-before"])
def test_a_read_is_repeated(fault: str, file: S3File, lab: Lab) -> None:
    file.create(b"sealed")
    lab.faults.add("GetObject", fault)
    assert file.read(MOST) == b"sealed"


def test_an_outage_of_a_server_that_answered_before_is_waited_for(
    file: S3File, calls: S3Calls, lab: Lab, slept: list[float]
) -> None:
    """Three minutes, for lost answers and for failed connections."""
    file.create(b"sealed")
    lab.faults.add("GetObject", "lost-before", at="every")
    with pytest.raises(IntegrityFault, match="cannot be read: no answer from AWS"):
        file.read(MOST)
    assert slept == list(OUTAGE_PAUSES)
    assert 180 < sum(slept) < 200
    slept.clear()
    refuse_connections(calls.client, 2)
    assert file.is_there()
    assert slept == list(OUTAGE_PAUSES[:2])


def refuse_connections(client: Any, number: int) -> None:
    """Let so many connections fail as if no server listened."""
    left = iter(range(number))

    def fail(**_: Any) -> None:
        if next(left, None) is not None:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    client.meta.events.register("before-send.s3", fail)


def test_a_server_that_never_answered_is_not_waited_for(bucket: str, harmed: S3Calls) -> None:
    """A wrong address is reported at once."""
    refuse_connections(harmed.client, 1)
    with pytest.raises(IntegrityFault, match="AWS cannot be reached") as caught:
        S3File(url(bucket), harmed).read(MOST)
    assert "check the network, the proxy and backup-endpoint-url" in caught.value.hint


def test_ctrl_c_in_the_test_of_a_server_leaves_no_object(bucket: str, client: Any, harmed: S3Calls) -> None:
    puts = count()

    def interrupt(**_: Any) -> None:
        if next(puts) == 1:
            raise KeyboardInterrupt

    harmed.client.meta.events.register("before-send.s3.PutObject", interrupt)
    with pytest.raises(KeyboardInterrupt) as caught:
        check_server(S3Url(bucket, "pre"), harmed)
    assert not getattr(caught.value, "__notes__", [])
    assert keys(client, bucket) == []


def test_a_denied_write_says_so(file: S3File, lab: Lab) -> None:
    lab.faults.add("PutObject", "denied")
    with pytest.raises(IntegrityFault, match="cannot be written: AWS answers AccessDenied"):
        file.create(b"sealed")


def test_what_the_server_damaged_is_noticed_and_removed(bucket: str, client: Any, harmed: S3Calls) -> None:
    """The server has another content than the one that was sent."""
    damage(harmed.client, "PutObject", b"sEaled")
    with pytest.raises(IntegrityFault, match="does not contain what was written to it"):
        S3File(url(bucket), harmed).create(b"sealed")
    assert keys(client, bucket) == []


def test_content_with_a_wrong_checksum_is_not_used(bucket: str, client: Any, harmed: S3Calls) -> None:
    """The object was damaged after it was written."""
    damage(harmed.client, "PutObject", b"sEaled")
    harmed.put(url(bucket), b"sealed")
    assert len(keys(client, bucket)) == 1
    with pytest.raises(IntegrityFault, match="S3's response is damaged"):
        S3File(url(bucket), harmed).read(MOST)


def test_an_answer_whose_tls_connection_ends_is_asked_for_again(
    bucket: str, harmed: S3Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL reports an end without a notice as an error of TLS, which botocore passes on as it is."""
    harmed.put(url(bucket), b"sealed")
    reads, read = [0], StreamingBody.read

    def broken_once(body: StreamingBody, amt: int | None = None) -> bytes:
        reads[0] += 1
        if reads[0] == 1:
            raise SSLError(SSLEOFError("EOF occurred in violation of protocol"))
        return read(body, amt)

    monkeypatch.setattr(StreamingBody, "read", broken_once)
    assert S3File(url(bucket), harmed).read(MOST) == b"sealed"
    assert reads[0] > 1


def test_of_eight_writers_one_wins(versioned: str, calls: S3Calls) -> None:
    """The others are refused, and the content is that of the winner."""
    for race in range(size(3, 50)):
        file, gate = S3File(url(versioned) / str(race), calls), threading.Barrier(8)
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(partial(write, file, gate), [bytes([each]) * 100 for each in range(8)]))
        [winner] = [each for each in won if each]
        assert file.read(MOST) == winner


def write(file: S3File, gate: threading.Barrier, mark: bytes) -> bytes | None:
    """Create the object when all are ready. Return what was written, or None if the object was refused."""
    gate.wait()
    try:
        file.create(mark)
    except IntegrityFault:
        return None
    return mark


def test_a_removal_leaves_no_version(file: S3File, bucket: str, client: Any) -> None:
    """Otherwise the secret could be read from an older version."""
    file.create(b"sealed")
    client.delete_object(Bucket=bucket, Key=url(bucket).key)
    file.create(b"again")
    client.put_object(Bucket=bucket, Key=url(bucket).key + COPY + "00000000", Body=b"copy")
    client.put_object(Bucket=bucket, Key=url(bucket).key + ".note", Body=b"another file")
    file.remove(sealed=True)
    assert keys(client, bucket) == [url(bucket).key + ".note"]
    file.remove(sealed=True)
    with pytest.raises(IntegrityFault, match="there is no such object"):
        file.discard()


def test_a_missing_bucket_is_told(calls: S3Calls) -> None:
    """A new name is free there, so that the check of the bucket reports it. An existing backup is not."""
    file = S3File(url("nowhere"), calls)
    assert not file.is_taken()
    with pytest.raises(IntegrityFault, match="there is no such bucket"):
        file.is_there()
    with pytest.raises(IntegrityFault, match="there is no such bucket"):
        file.remove(sealed=True)
    file.remove(sealed=False)
    with pytest.raises(UsageFault, match="there is no bucket nowhere"):
        stores_of(calls).folder(S3Url("nowhere")).check()


def locked(client: Any, mode: str) -> str:
    name = made(client, versioning=True, ObjectLockEnabledForBucket=True)
    rule = {"DefaultRetention": {"Mode": mode, "Days": 1}}
    client.put_object_lock_configuration(
        Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    return name


def test_a_lock_in_compliance_mode_is_refused_and_explained(client: Any, calls: S3Calls) -> None:
    name = locked(client, "COMPLIANCE")
    with pytest.raises(UsageFault, match="locks new objects in compliance mode"):
        stores_of(calls).folder(S3Url(name)).check()
    file = S3File(url(name), calls)
    file.create(b"sealed")
    with pytest.raises(IntegrityFault, match=r"is locked in compliance mode until \d{4}-") as found:
        file.remove(sealed=True)
    assert "which backups to lock" in found.value.hint


def test_a_lock_in_governance_mode_is_overridden(client: Any, calls: S3Calls) -> None:
    name = locked(client, "GOVERNANCE")
    stores_of(calls).folder(S3Url(name)).check()
    file = S3File(url(name), calls)
    file.create(b"sealed")
    file.remove(sealed=True)
    assert keys(client, name) == []


def test_only_confirmed_backups_may_be_locked_in_compliance_mode(client: Any, calls: S3Calls) -> None:
    """Without default retention, the lock is put on an object later, and the bucket is accepted."""
    name = made(client, versioning=True, ObjectLockEnabledForBucket=True)
    stores_of(calls).folder(S3Url(name)).check()
    file = S3File(url(name), calls)
    file.create(b"sealed")
    until = datetime.now(UTC) + timedelta(days=1)
    client.put_object_retention(
        Bucket=name, Key=url(name).key, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until}
    )
    with pytest.raises(IntegrityFault, match="is locked in compliance mode"):
        file.discard()
    with pytest.raises(IntegrityFault, match="is locked in compliance mode"):
        file.replace(lambda _: b"new", lambda _: True, most=MOST)
    assert keys(client, name) == [url(name).key], "a rekey that is refused leaves no copy"


PUBLIC = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", '
    '"Resource": "arn:aws:s3:::%s/*"}]}'
)


def block(client: Any, name: str) -> None:
    settings = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    client.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=dict.fromkeys(settings, True))


@pytest.mark.parametrize("by", ["policy", "acl"])
def test_a_public_bucket_is_refused(by: str, bucket: str, client: Any, calls: S3Calls) -> None:
    if by == "policy":
        client.put_bucket_policy(Bucket=bucket, Policy=PUBLIC % bucket)
    else:
        client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    with pytest.raises(UsageFault, match="is public"):
        stores_of(calls).folder(S3Url(bucket)).check()
    block(client, bucket)
    stores_of(calls).folder(S3Url(bucket)).check()


def test_what_aws_does_not_tell_is_no_reason_to_refuse(bucket: str, calls: S3Calls, lab: Lab) -> None:
    lab.faults.add("*", "denied", at="every")
    stores_of(calls).folder(S3Url(bucket)).check()


def test_files_are_listed_in_order_at_their_depth(bucket: str, client: Any, calls: S3Calls) -> None:
    """An object with only a copy is listed, others are not."""
    for key in (
        "pre/1/b/x",
        "pre/1/a/y",
        f"pre/1/a/z{COPY}00000000",
        "pre/1/w",
        "pre/users/1/a/y",
        "pre/1/a/",
        "q/1/a/x",
    ):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    found = [str(each) for each in stores_of(calls).folder(S3Url(bucket, "pre")).files()]
    assert found == [f"s3://{bucket}/pre/1/a/y", f"s3://{bucket}/pre/1/a/z", f"s3://{bucket}/pre/1/b/x"]


def replaced(file: S3File) -> bool:
    return file.replace(lambda old: b"new " + old, lambda new: new == b"new old", most=MOST)


def test_a_replacement_leaves_one_version(file: S3File, bucket: str, client: Any) -> None:
    """The old version could be opened with the old key."""
    file.create(b"old")
    assert replaced(file)
    assert file.read(MOST) == b"new old"
    assert keys(client, bucket) == [url(bucket).key]


def test_a_check_that_fails_leaves_the_old_content(file: S3File, bucket: str, client: Any) -> None:
    file.create(b"old")

    def fail(_: bytes) -> bool:
        raise WrongIdentityError("another picture", "")

    with pytest.raises(WrongIdentityError):
        file.replace(lambda _: b"new", fail, most=MOST)
    assert file.read(MOST) == b"old"
    assert keys(client, bucket) == [url(bucket).key]


class Killed(BaseException):
    """Ends a replacement as SIGKILL does: nothing is cleaned up."""


class Killing:
    """Calls to S3 that end before or after the nth request or answer, and all later ones too."""

    def __init__(self) -> None:
        client = open_s3(Connection())
        for operation in ("PutObject", "DeleteObject", "GetObject", "ListObjectsV2", "ListObjectVersions"):
            client.meta.events.register(f"before-send.s3.{operation}", self._step)
            client.meta.events.register(f"after-call.s3.{operation}", self._step)
        self.calls = S3Calls(lambda: client, sleep=lambda _: None, encryption={})
        self.left = 0

    def _step(self, **_: Any) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


@pytest.mark.slow
def test_a_killed_replacement_loses_nothing_and_is_finished_later(
    bucket: str, client: Any, calls: S3Calls, record_property: Callable[[str, object], None]
) -> None:
    """At each moment the object can be read and is listed. The next replacement leaves one version of it."""
    killing = Killing()
    for at in count():
        killing.left, place = at, S3Url(bucket, f"pre/1/u{at}/x.png.age")
        file = S3File(place, calls)
        file.create(b"old")
        try:
            replaced(S3File(place, killing.calls))
        except Killed:
            whole = False
        else:
            whole = True
        found = file.read(MOST)
        assert found in {b"old", b"new old"}
        assert place in list(stores_of(calls).folder(S3Url(bucket, "pre")).files())
        assert file.is_there()
        file.replace(lambda _: b"newest", lambda _: True, most=MOST)
        assert [each for each in keys(client, bucket) if f"/u{at}/" in each] == [place.key], at
        assert file.read(MOST) == b"newest"
        record_property(COUNTED, ("kills in a replacement in S3", 1))
        if whole:
            assert at > 15
            return


def test_replacements_at_once_lose_nothing(bucket: str, calls: S3Calls) -> None:
    """Some of them are refused. Each content is that of a whole replacement, and the next one cleans up."""
    marks = [bytes([each]) * 50 for each in range(4)]
    for race in range(size(3, 30)):
        file, gate = S3File(url(bucket) / str(race), calls), threading.Barrier(4)
        file.create(b"old")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(partial(replace_by, file, gate), marks))
        assert file.read(MOST) in {b"old", *marks}
        file.replace(lambda _: b"last", lambda _: True, most=MOST)
        assert file.read(MOST) == b"last"


def replace_by(file: S3File, gate: threading.Barrier, mark: bytes) -> bool:
    """Replace the content when all are ready. Return whether that succeeded."""
    gate.wait()
    try:
        return file.replace(lambda _: mark, lambda _: True, most=MOST)
    except IntegrityFault:
        return False


@pytest.fixture
def store(bucket: str, calls: S3Calls, recipient: str) -> AgeFiles:
    return AgeFiles(S3Url(bucket, "pre"), parse_recipients([recipient]), stores_of(calls))


def test_a_bucket_is_a_vault_as_a_folder_is(
    store: AgeFiles, bucket: str, calls: S3Calls, client: Any, identity: Identity
) -> None:
    """A backup and the user's own copy are placed, sealed, found, listed, opened, rekeyed and removed."""
    mine, new = pyrage.x25519.Identity.generate(), pyrage.x25519.Identity.generate()
    spec = DeviceSpec(
        account="000000000000", partition="aws", user="Alice", name="alice", recipient=str(mine.to_public())
    )
    entry = JournalEntry(run=RUN, spec=spec, backup=store.place(spec, RUN))
    assert entry.backup == f"s3://{bucket}/pre/000000000000/%41lice/alice-{RUN}.png.age"
    assert store.find(entry) is None
    store.check()
    store.seal(entry, URI)
    assert store.find(entry) == entry.backup
    stores = stores_of(calls)
    [found] = find_backups(S3Url(bucket, "pre"), stores)
    [copy] = find_backups(S3Url(bucket, "pre/users"), stores)
    assert (found.account, found.user, found.device, found.run) == ("000000000000", "Alice", "alice", RUN)
    assert found.name == copy.name
    picture = open_backup(found.path, Secret([identity]), partial(read_backup, file_store=stores))
    assert open_backup(copy.path, Secret([mine]), partial(read_backup, file_store=stores)) == picture
    later = AgeFiles(S3Url(bucket, "pre"), parse_recipients([str(new.to_public())]), stores)
    with later.exclusively():
        assert later.rekey(found, Secret([identity]), proof=Secret([new]))
    assert later.picture(found, Secret([new])) == picture
    with pytest.raises(IntegrityFault, match="already exists"):
        store.place(spec, RUN)
    store.remove(entry)
    assert keys(client, bucket) == []


def test_a_bucket_is_checked_once(store: AgeFiles, lab: Lab) -> None:
    """A rollout checks its vault for each user."""
    store.check()
    before = len(lab.calls)
    store.check()
    assert len(lab.calls) == before


def test_a_ledger_that_names_another_object_removes_nothing(store: AgeFiles, bucket: str) -> None:
    spec = DeviceSpec(account="000000000000", partition="aws", user="alice", name="alice")
    for place in (f"s3://{bucket}/other", f"s3://{bucket}/pre/../x", "s3://", f"s3://{bucket}"):
        with pytest.raises(IntegrityFault, match="no backup of that run can have this path"):
            store.remove(JournalEntry(run=RUN, spec=spec, backup=place))


@pytest.mark.parametrize(
    "credentials",
    [
        "role_arn = arn:aws:iam::000000000000:role/x\ncredential_source = Environment",
        "aws_access_key_id = AKIAEXAMPLE\naws_secret_access_key = example",
    ],
    ids=["role", "keys"],
)
def test_a_profile_that_needs_a_code_is_refused(
    credentials: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two prompts for the same device would need two codes. A bucket gets a profile of its own."""
    config = tmp_path / "config"
    config.write_text(f"[profile role]\n{credentials}\nmfa_serial = arn:aws:iam::000000000000:mfa/x\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("HOME", str(tmp_path))
    calls = S3Calls(lambda: open_s3(Connection(profile="role")), sleep=lambda _: None, encryption={})
    with pytest.raises(IntegrityFault, match="needs an MFA code of arn:aws:iam::000000000000:mfa/x"):
        S3File(url("any-bucket"), calls).read(MOST)


def test_a_key_of_kms_is_sent_with_each_write(bucket: str, client: Any) -> None:
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/backups"}
    calls = S3Calls(lambda: open_s3(Connection()), sleep=lambda _: None, encryption=encryption)
    S3File(url(bucket), calls).create(b"sealed")
    found = client.head_object(Bucket=bucket, Key=url(bucket).key)
    assert found["ServerSideEncryption"] == "aws:kms"
    assert "alias/backups" in found["SSEKMSKeyId"]


def test_the_calls_of_one_backup_are_few(store: AgeFiles, lab: Lab) -> None:
    spec = DeviceSpec(account="000000000000", partition="aws", user="alice", name="alice")
    before = len(lab.calls)
    entry = JournalEntry(run=RUN, spec=spec, backup=store.place(spec, RUN))
    store.seal(entry, URI)
    assert Counter(call.operation for call in lab.calls[before:]) == {
        "ListObjectsV2": 1,
        "PutObject": 1,
        "GetObject": 1,
    }


OWNER = "111122223333"
HEADER = "x-amz-expected-bucket-owner"


@pytest.fixture
def at_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients use AWS's own endpoints. Requests must be intercepted, because tests have no network."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")


def answered(calls: S3Calls, status: int = 200, body: bytes = b"") -> list[Any]:
    """Answer each request of the client without a network. Return the requests, which are added as they are made."""
    requests: list[Any] = []

    def answer(*, request: Any, **_: Any) -> AWSResponse:
        requests.append(request)
        raw = SimpleNamespace(stream=lambda **_: iter([body]), read=lambda *_: body, close=lambda: None)
        return AWSResponse(request.url, status, HTTPHeaders.from_dict({"ETag": "1", "Content-Length": "0"}), raw)

    calls.client.meta.events.register("before-send.s3", answer)
    return requests


def owned_calls(owner: str | None, **connection: Any) -> S3Calls:
    client = open_s3(Connection(region="us-east-1", **connection))
    return S3Calls(lambda: client, sleep=lambda _: None, encryption={}, owner=lambda: owner)


EACH: dict[str, Callable[[S3Calls], object]] = {
    "put": lambda calls: calls.put(url("b"), b"sealed"),
    "get": lambda calls: calls.get(url("b"), most=MOST),
    "delete": lambda calls: calls.delete(url("b"), version="1", unlock=True),
    "delete an unversioned object": lambda calls: calls.delete_unversioned(url("b"), etag="1"),
    "keys": lambda calls: list(calls.keys(url("b"))),
    "versions": lambda calls: list(calls.versions(url("b"))),
    "check of the bucket": lambda calls: check_bucket("b", calls),
    "doctor": lambda calls: read_bucket("b", calls),
    "lock": lambda calls: calls.ask("head_object", Bucket="b", Key="k"),
}


@pytest.mark.usefixtures("at_aws")
@pytest.mark.parametrize("call", EACH)
def test_each_request_to_aws_names_the_owner_of_the_bucket(call: str) -> None:
    """S3 then denies a request to a bucket that another account made under the same name."""
    calls = owned_calls(OWNER)
    requests = answered(calls)
    EACH[call](calls)
    assert requests
    for request in requests:
        assert request.headers[HEADER].decode() == OWNER
        assert HEADER in request.headers["Authorization"].decode(), "it is signed"


@pytest.mark.usefixtures("at_aws")
def test_no_owner_is_sent_to_another_server_or_if_it_is_unknown() -> None:
    """Other servers have no accounts, or know other ones."""
    for calls in (owned_calls(OWNER, endpoint_url="http://127.0.0.1:1"), owned_calls(None)):
        requests = answered(calls)
        list(calls.keys(url("b")))
        assert [HEADER in request.headers for request in requests] == [False]


def test_the_endpoints_of_aws_are_those_of_all_partitions() -> None:
    """A host that only contains such a name is another server."""
    for partition in get_session().get_data("partitions")["partitions"]:
        for suffix in (partition["outputs"]["dnsSuffix"], partition["outputs"]["dualStackDnsSuffix"]):
            assert is_aws(f"https://s3.region.{suffix}")
            assert not is_aws(f"https://s3.region.{suffix}.example.com")
            assert not is_aws(f"https://example{suffix}")


@pytest.mark.usefixtures("at_aws")
@pytest.mark.parametrize(
    ("code", "status", "hint"),
    [
        ("AuthorizationHeaderMalformed", 400, "set backup-region in the configuration file"),
        ("ExpiredToken", 400, "sign in again, or choose another backup-profile"),
        ("InvalidAccessKeyId", 403, "check the access key of backup-profile, and backup-endpoint-url"),
        ("KMS.NotFoundException", 400, "correct backup-kms-key"),
        ("MethodNotAllowed", 405, "check backup-endpoint-url: this server is not AWS"),
        ("NotImplemented", 501, "check backup-endpoint-url: this server is not AWS"),
        ("PermanentRedirect", 301, "set backup-region in the configuration file"),
        ("QuotaExceeded", 403, "look up this error code in the S3 API reference"),
        ("AccessDenied", 403, "to see what is needed: mfa-kit help permissions"),
        ("", 400, "check the proxy, the network and backup-endpoint-url"),
    ],
)
def test_the_hint_of_an_error_is_about_s3(code: str, status: int, hint: str) -> None:
    """It names the settings for the bucket, and not those for IAM."""
    calls = owned_calls(None)
    answered(calls, status, f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode() if code else b"<html>")
    with pytest.raises(MfaKitError) as caught:
        calls.put(url("b"), b"sealed")
    assert hint in caught.value.hint
    assert "--" not in caught.value.hint


@pytest.mark.usefixtures("at_aws")
def test_aws_itself_is_not_tested() -> None:
    calls = owned_calls(None)
    requests = answered(calls)
    assert check_other_server(S3Url("b"), calls) is None
    assert requests == []


@pytest.mark.usefixtures("at_aws")
@pytest.mark.parametrize(("code", "status"), [("SlowDown", 503), ("RequestLimitExceeded", 400), ("TooMany", 429)])
def test_throttling_is_an_error_of_its_own(code: str, status: int) -> None:
    """As the whole call, and as that of a backup."""
    calls = owned_calls(None)
    answered(calls, status, f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode())
    with pytest.raises(Throttled, match=f"S3 answers {code}"):
        check_bucket("b", calls)
    with pytest.raises(StoreThrottled, match=f"s3://b/.* cannot be read: S3 answers {code}"):
        S3File(url("b"), calls).read(MOST)


@pytest.mark.usefixtures("at_aws")
def test_a_denial_names_the_key_for_the_owner() -> None:
    """Only if the request named an owner, because other denials have other reasons."""
    denial = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
    for owner in (OWNER, None):
        calls = owned_calls(owner)
        answered(calls, 403, denial)
        with pytest.raises(IntegrityFault, match="cannot be read: AWS answers AccessDenied") as caught:
            S3File(url("b"), calls).read(MOST)
        said = f"does not belong to account {OWNER}, set bucket-owner in the configuration file"
        assert (said in caught.value.hint) is (owner is not None)
        assert "ask an administrator for the permission" in caught.value.hint


@pytest.mark.usefixtures("at_aws")
@pytest.mark.parametrize(
    ("config", "profile", "asked", "owner"),
    [
        ("", None, {None: OWNER}, OWNER),
        ("", "desk", {"desk": OWNER, None: "444455556666"}, OWNER),
        ("", "desk", {None: "444455556666"}, None),
        ('backup-profile = "vault"', "desk", {"desk": "444455556666"}, None),
        ('backup-profile = "vault"', "desk", {"desk": "444455556666", "vault": OWNER}, OWNER),
        (f'bucket-owner = "{OWNER}"', None, {None: "444455556666"}, OWNER),
        ("", None, {}, None),
    ],
)
def test_the_owner_is_configured_or_that_of_the_buckets_credentials(
    config: str, profile: str | None, asked: dict[str | None, str], owner: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The account of other credentials is never used. No request is made to find the account."""
    monkeypatch.setattr("mfa_kit.wiring.stores.load_config", lambda: parse_config(config))
    monkeypatch.setattr("mfa_kit.adapters.aws.clients.open_s3", lambda _: open_s3(Connection(region="us-east-1")))
    calls = open_s3_calls(plain_settings(profile=profile))
    requests = answered(calls)
    monkeypatch.setattr("mfa_kit.wiring.aws.ACCOUNTS", asked)
    monkeypatch.setattr("mfa_kit.wiring.stores.ACCOUNTS", asked)  # asked after the calls were opened
    list(calls.keys(url("b")))
    assert [each.headers.get(HEADER) for each in requests] == [owner and owner.encode()]


@pytest.mark.usefixtures("at_aws")
@pytest.mark.parametrize("server", ["aws", "sts elsewhere"])
def test_the_account_is_noted_if_aws_said_it(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account of another server says nothing about the owner of a bucket at AWS."""
    noted: dict[str | None, str] = {}
    monkeypatch.setattr("mfa_kit.wiring.aws.ACCOUNTS", noted)
    if server != "aws":
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")
    iam = Iam(observe=lambda _: None, connection=Connection(region="us-east-1"))
    monkeypatch.setattr(iam, "caller", lambda: Caller(OWNER, f"arn:aws:iam::{OWNER}:user/ada"))
    assert identify(iam, "desk").account == OWNER
    assert noted == ({"desk": OWNER} if server == "aws" else {})


def test_an_owner_that_is_no_account_is_refused() -> None:
    """A number without quotes would lose its leading zeros."""
    for text in ("123456789012", '"12345678901"', '"arn:aws:iam::123456789012:root"'):
        with pytest.raises(UsageFault, match="bucket-owner has the wrong value") as caught:
            parse_config(f"bucket-owner = {text}")
        assert "the 12 digits of an account in quotes" in caught.value.hint


def parse_config(text: str) -> Config:
    return wiring_settings._parse(text.encode(), Path("config.toml"))  # noqa: SLF001 - without a file
