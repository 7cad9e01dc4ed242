"""Break-glass access with AWS: backups in a bucket, and custodians who are IAM users."""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pyrage
import pytest

from tests.conftest import MfaKit

NAMES = count()


def recovery_key(mfa_kit: MfaKit, *words: str | Path) -> dict[str, Any]:
    done = mfa_kit.run("break-glass", *words, "--output", "json")
    assert done.code == 0, done
    return dict(json.loads(done.out))


@pytest.mark.slow
def test_backups_in_a_bucket_are_drilled_and_rotated(
    mfa_kit: MfaKit, users: Callable[[], str], recipient: str, identity_file: Path
) -> None:
    """Afterward only the new identity opens them, and no version of the old object remains."""
    client = boto3.Session().client("s3")
    bucket = f"break-glass-{next(NAMES)}"
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    place = f"s3://{bucket}/pre"
    made = recovery_key(mfa_kit, "create", "--threshold", "1", "--custodian", f"a={recipient}")
    for _ in range(3):
        words = ("enroll", users(), "--with", "virtual", "--codes", "generated", "--backup-dir", place)
        assert mfa_kit.run(*words, "-r", made["recipient"]).code == 0
    here = ("-i", str(identity_file), "--backup-dir", place)
    assert recovery_key(mfa_kit, "drill", *here)["opened"] == 3
    rotated = recovery_key(mfa_kit, "rotate", *here)
    assert (rotated["outcome"], rotated["rekeyed"]) == ("rotated", 3)
    assert recovery_key(mfa_kit, "drill", *here)["opened"] == 3
    assert len(client.list_object_versions(Bucket=bucket)["Versions"]) == 3
    with_old = mfa_kit.run("break-glass", "drill", *here, "--dir", made["folder"])
    assert "no backup is encrypted to" in with_old.err


def test_custodians_without_a_user_are_due(mfa_kit: MfaKit, user: str) -> None:
    """Only with --ask-iam, because custodians need not be IAM users."""
    keys = [str(pyrage.x25519.Identity.generate().to_public()) for _ in range(2)]
    recovery_key(
        mfa_kit, "create", "--threshold", "1", "--custodian", f"{user.upper()}={keys[0]}", "--custodian", f"x={keys[1]}"
    )
    assert not any("replace" in each for each in recovery_key(mfa_kit, "status")["due"])
    due = recovery_key(mfa_kit, "status", "--ask-iam")["due"]
    assert [each for each in due if "replace" in each] == [
        "replace x, who has no user in this account: break-glass custodians"
    ]
