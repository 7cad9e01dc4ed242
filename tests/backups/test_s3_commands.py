"""The commands with backups in a bucket of the lab do what they do with a folder."""

import json
import re
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pytest

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import S3Url, check_shared, parse_location
from mfa_kit.enrollment import pacing
from mfa_kit.lab.aws.server import Lab
from tests.backups.conftest import Pair
from tests.conftest import ACCOUNT, MfaKit

names = count()


@pytest.fixture
def client(at_lab: Lab) -> Any:
    del at_lab  # it sets the endpoint
    return boto3.Session().client("s3")


@pytest.fixture
def bucket(client: Any) -> str:
    name = f"commands-{next(names)}"
    client.create_bucket(Bucket=name)
    client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def rows(mfa_kit: MfaKit, *words: str | Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(mfa_kit.run(*words, "--output", "json").out)["rows"]
    return found


def keys(client: Any, bucket: str) -> list[str]:
    return [each["Key"] for each in client.list_object_versions(Bucket=bucket).get("Versions", ())]


def enroll(mfa_kit: MfaKit, user: str, place: str, to: Pair) -> None:
    done = mfa_kit.run(
        *("enroll", user, "--with", "virtual", "--codes", "generated", "-r", to.recipient, "--backup-dir", place)
    )
    assert done.code == 0, done.err


@pytest.mark.slow
def test_a_backup_lives_in_a_bucket_from_enroll_to_revoke(
    mfa_kit: MfaKit, user: str, bucket: str, client: Any, old: Pair, new: Pair, tmp_path: Path
) -> None:
    """enroll, list, verify, show, rekey and revoke."""
    place = f"s3://{bucket}/pre"
    enroll(mfa_kit, user, place, old)
    [row] = rows(mfa_kit, "backup", "list", "--backup-dir", place)
    file = row["file"]
    assert file.startswith(f"{place}/{ACCOUNT}/{user}/{user}-")
    assert keys(client, bucket) == [file.removeprefix(f"s3://{bucket}/")]
    [row] = rows(mfa_kit, "backup", "verify", "--all", "--backup-dir", place, "-i", old.file)
    assert (row["file"], row["opens"]) == (file, True)
    out = tmp_path / "qr.png"
    assert mfa_kit.run("backup", "show", file, "-i", old.file, "-o", out).code == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    done = mfa_kit.run("backup", "rekey", "--unproven", "--backup-dir", place, "-i", old.file, "-r", new.recipient)
    assert done.code == 0, done.err
    assert mfa_kit.run("backup", "verify", file, "-i", old.file).code == 5
    assert mfa_kit.run("backup", "verify", file, "-i", new.file).code == 0
    assert len(keys(client, bucket)) == 1
    done = mfa_kit.run("revoke", user, "--leave-without-mfa", "--yes")
    assert done.code == 0, done.err
    assert keys(client, bucket) == []


def test_the_backups_of_deleted_users_are_removed_from_a_bucket(
    mfa_kit: MfaKit, user: str, bucket: str, client: Any, old: Pair
) -> None:
    """All their versions are removed. A dry run removes nothing, and the backup of an existing user remains."""
    place = f"s3://{bucket}/pre"
    enroll(mfa_kit, user, place, old)
    [kept] = keys(client, bucket)
    gone = re.sub(r"-\d{8}T", "-20250101T", kept.replace(user, "gone"))  # a backup of today would remain
    for _ in range(2):
        client.copy_object(Bucket=bucket, Key=gone, CopySource={"Bucket": bucket, "Key": kept})
    prune = ("backup", "prune", "--backup-dir", place)
    [row] = rows(mfa_kit, *prune, "--dry-run")
    assert (row["outcome"], row["file"]) == ("planned", f"s3://{bucket}/{gone}")
    assert len(keys(client, bucket)) == 3
    [row] = rows(mfa_kit, *prune, "--yes")
    assert (row["outcome"], row["file"]) == ("removed", f"s3://{bucket}/{gone}")
    assert keys(client, bucket) == [kept]
    assert mfa_kit.run(*prune).out == "nothing to remove\n"


@pytest.mark.slow
def test_one_denied_backup_is_a_fault_and_endless_throttling_exits_with_7(
    mfa_kit: MfaKit,
    users: Callable[[], str],
    bucket: str,
    old: Pair,
    lab: Lab,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each command for many backups goes on after a denial, and ends if S3 keeps throttling."""
    place = f"s3://{bucket}"
    for _ in range(2):
        enroll(mfa_kit, users(), place, old)
    monkeypatch.setattr(pacing, "GIVE_UP", -1.0)
    for words in (("verify", "--all", "-i", old.file), ("rekey", "-i", old.file, "-r", old.recipient)):
        lab.faults.add("GetObject", "denied")
        done = mfa_kit.run("backup", *words, "--backup-dir", place)
        assert done.code == 5
        assert "AccessDenied" in done.out + done.err
        lab.faults.clear()
        lab.faults.add("GetObject", "throttle", at="every")
        assert mfa_kit.run("backup", *words, "--backup-dir", place).code == 7
        lab.faults.clear()
        assert mfa_kit.run("backup", *words, "--backup-dir", place).code == 0


def test_the_place_can_be_configured(mfa_kit: MfaKit, user: str, bucket: str, client: Any, old: Pair) -> None:
    """With the endpoint and the KMS key."""
    endpoint = client.meta.endpoint_url
    (mfa_kit.home / "config.toml").parent.mkdir(exist_ok=True)
    (mfa_kit.home / "config.toml").write_text(
        f'backup-dir = "s3://{bucket}"\nbackup-endpoint-url = "{endpoint}"\nbackup-kms-key = "alias/backups"\n'
        f'backup-region = "eu-west-1"\nrecipients = ["{old.recipient}"]\n'
    )
    done = mfa_kit.run("enroll", user, "--with", "virtual", "--codes", "generated")
    assert done.code == 0, done.err
    [key] = keys(client, bucket)
    assert client.head_object(Bucket=bucket, Key=key)["ServerSideEncryption"] == "aws:kms"
    [row] = rows(mfa_kit, "backup", "list")
    assert row["file"] == f"s3://{bucket}/{key}"


def test_the_profile_of_one_command_is_for_its_bucket_only(mfa_kit: MfaKit, bucket: str) -> None:
    """The next command in the same process uses the usual credentials."""
    done = mfa_kit.run("--profile", "nope", "backup", "list", "--backup-dir", f"s3://{bucket}")
    assert done.code == 4
    assert "profile (nope) could not be found" in done.err
    assert mfa_kit.run("backup", "list", "--backup-dir", f"s3://{bucket}").code == 0


def test_a_public_bucket_gets_no_backup_and_no_device(
    mfa_kit: MfaKit, user: str, bucket: str, client: Any, old: Pair, lab: Lab
) -> None:
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    place = f"s3://{bucket}"
    done = mfa_kit.run(
        *("enroll", user, "--with", "virtual", "--codes", "generated", "-r", old.recipient, "--backup-dir", place)
    )
    assert done.code == 2
    assert f"the bucket {bucket} is public" in done.err
    assert not [serial for serial in lab.serials() if serial.endswith(f"/{user}")]


def test_an_undone_device_leaves_no_object(
    mfa_kit: MfaKit, user: str, bucket: str, client: Any, old: Pair, lab: Lab
) -> None:
    """The secret is removed with all its versions when IAM refuses the device."""
    lab.faults.add("EnableMFADevice", "denied", at="every")
    done = mfa_kit.run(
        *("enroll", user, "--with", "virtual", "--codes", "generated", "-r", old.recipient),
        *("--backup-dir", f"s3://{bucket}"),
    )
    assert done.code == 4
    assert keys(client, bucket) == []
    assert not [serial for serial in lab.serials() if serial.endswith(f"/{user}")]


def test_doctor_checks_the_bucket(mfa_kit: MfaKit, bucket: str, client: Any) -> None:
    mfa_kit.home.mkdir(exist_ok=True)

    def found() -> dict[str, tuple[str, str]]:
        return {row["check"]: (row["state"], row["found"]) for row in rows(mfa_kit, "doctor")}

    (mfa_kit.home / "config.toml").write_text(f'backup-dir = "s3://{bucket}/pre"\n')
    state_of = found()
    assert state_of["backup bucket"] == ("ok", f"s3://{bucket}/pre")
    assert state_of["bucket versioning"] == ("ok", "on")
    assert state_of["object lock"] == ("ok", "no default retention")
    assert state_of["public access"][0] == "-"
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    assert found()["public access"] == ("wrong", "the bucket is public, so mfa-kit refuses it")
    (mfa_kit.home / "config.toml").write_text('backup-dir = "s3://nowhere-at-all"\n')
    state, words = found()["backup bucket"]
    assert state == "wrong"
    assert "there is no such bucket" in words


def test_without_a_bucket_the_client_of_s3_is_not_created(
    mfa_kit: MfaKit, monkeypatch: pytest.MonkeyPatch, sealed_here: Callable[[], None]
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("mfa_kit.adapters.aws.clients.open_s3", fail)
    sealed_here()
    assert mfa_kit.run("backup", "list").code == 0


@pytest.fixture
def sealed_here(mfa_kit: MfaKit, user: str, old: Pair) -> Callable[[], None]:
    return lambda: enroll(mfa_kit, user, str(mfa_kit.home / "backups"), old)


@pytest.mark.parametrize(
    "text", ["s3://", "s3://A/x", "s3://bucket/a//b", "s3://bucket/../b", "s3://b", "s3://bucket/./a"]
)
def test_a_url_with_a_fault_is_refused(text: str) -> None:
    with pytest.raises(UsageFault):
        parse_location(text)


def test_a_url_keeps_its_form(tmp_path: Path) -> None:
    assert str(parse_location("s3://bucket/pre/fix/")) == "s3://bucket/pre/fix"
    assert str(parse_location("s3://bucket")) == str(parse_location("s3://bucket/")) == "s3://bucket"
    assert str(S3Url("bucket") / "a" / "b") == "s3://bucket/a/b"
    assert parse_location(str(tmp_path)) == tmp_path
    assert parse_location("./s3:/bucket") == Path("s3:/bucket")


@pytest.mark.parametrize("text", ["s3:/bucket", "S3://bucket/pre", "s3:bucket", "gs://bucket/pre", "https://example/x"])
def test_a_mistyped_or_other_url_is_no_folder(text: str) -> None:
    """Otherwise the backup would be in a new folder of this computer."""
    with pytest.raises(UsageFault, match="is neither a path nor an S3 URL"):
        parse_location(text)


def test_a_shared_ledger_needs_a_shared_place(tmp_path: Path) -> None:
    """Backups on one computer are refused for a ledger that several use, unless the user accepts that."""
    check_shared(ledger_is_shared=True, place=S3Url("bucket"), local_backups=False)
    check_shared(ledger_is_shared=False, place=tmp_path, local_backups=False)
    check_shared(ledger_is_shared=True, place=tmp_path, local_backups=True)
    with pytest.raises(UsageFault, match="other computers use this ledger"):
        check_shared(ledger_is_shared=True, place=tmp_path, local_backups=False)


@pytest.mark.slow
@pytest.mark.parametrize(("verb", "signals"), [("verify", 1), ("rekey", 2)])
def test_ctrl_c_ends_a_wait_for_s3(
    verb: str, signals: int, mfa_kit: MfaKit, users: Callable[[], str], bucket: str, old: Pair, lab: Lab
) -> None:
    """The wait for a throttle would last ten minutes or more. `rekey` first finishes what is in progress."""
    place = f"s3://{bucket}"
    for _ in range(2):
        enroll(mfa_kit, users(), place, old)
    lab.faults.add("GetObject", "throttle", at="every")
    since = len(lab.calls)
    more = ("--all",) if verb == "verify" else ("-r", old.recipient)
    process = mfa_kit.start("backup", verb, *more, "-i", old.file, "--backup-dir", place)
    while not any(call.error == "SlowDown" for call in lab.calls[since:]):
        time.sleep(0.01)
    assert process.stderr
    for number in range(signals):
        process.send_signal(signal.SIGINT)
        if number + 1 < signals:
            assert any("Press Ctrl-C again to stop now" in line for line in process.stderr)
    process.communicate(timeout=30)
    assert process.returncode == 130
