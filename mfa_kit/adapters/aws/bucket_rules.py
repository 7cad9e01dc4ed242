"""Reads the properties of an S3 bucket, and checks them before backups are written to the bucket. Changes nothing."""

from collections.abc import Mapping
from typing import Any

from mfa_kit.adapters.aws.s3_calls import NoBucket, S3Calls
from mfa_kit.core.errors import MfaKitError, UsageFault
from mfa_kit.doctor.diagnosis import BucketState

BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
# The groups in an access control list (ACL) that stand for everyone, and for everyone with an AWS account.
PUBLIC = (
    "http://acs.amazonaws.com/groups/global/AllUsers",
    "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
)
COMPLIANCE = "COMPLIANCE"
BLOCK = "turn on Block Public Access for the bucket; see docs/backups-in-s3.md"


def read_bucket(bucket: str, calls: S3Calls) -> BucketState:
    """Read the properties of a bucket. Raise NoBucket if it does not exist."""
    blocked = _blocked(bucket, calls)
    answer = _ask(calls, "get_bucket_versioning", bucket)
    return BucketState(
        blocked=blocked,
        public=False if blocked else _public(bucket, calls),
        versioning=None if answer is None else answer.get("Status") == "Enabled",
        lock=_lock(bucket, calls),
    )


def check_bucket(bucket: str, calls: S3Calls) -> None:
    """Raise UsageFault for a bucket that does not exist, is public, or locks new objects in compliance mode.

    A property that could not be read is not checked.
    """
    try:
        public = False if _blocked(bucket, calls) else _public(bucket, calls)
    except NoBucket as absent:
        raise UsageFault(f"there is no bucket {bucket}", absent.hint) from None
    if public:
        raise UsageFault(f"the bucket {bucket} is public", BLOCK)
    if _lock(bucket, calls) == COMPLIANCE:
        raise UsageFault(
            f"the bucket {bucket} locks new objects in compliance mode, so mfa-kit could not remove the secret of a "
            "device that was not enabled",
            "use governance mode, or no default retention, and lock backups after they are confirmed; "
            "see docs/backups-in-s3.md",
        )


def _ask(calls: S3Calls, operation: str, bucket: str, *, otherwise: str = "") -> Mapping[str, Any] | None:
    """Make a read call about a bucket and return its response. Raise NoBucket if the bucket does not exist.

    Return {} if the call fails with the error code `otherwise`, and None if it fails with any other error.
    """
    try:
        response: Mapping[str, Any] = calls.ask(operation, Bucket=bucket)
    except NoBucket:
        raise
    except MfaKitError as error:
        return {} if otherwise and otherwise in str(error) else None
    return response


def _blocked(bucket: str, calls: S3Calls) -> bool | None:
    answer = _ask(calls, "get_public_access_block", bucket, otherwise="NoSuchPublicAccessBlockConfiguration")
    if answer is None:
        return None
    settings = answer.get("PublicAccessBlockConfiguration", {})
    return all(settings.get(setting) for setting in BLOCKS)


def _public(bucket: str, calls: S3Calls) -> bool | None:
    """Return whether the policy or the ACL of a bucket gives everyone access, or None if neither can be read."""
    policy = _ask(calls, "get_bucket_policy_status", bucket, otherwise="NoSuchBucketPolicy")
    acl = _ask(calls, "get_bucket_acl", bucket)
    by_policy = None if policy is None else bool(policy.get("PolicyStatus", {}).get("IsPublic"))
    by_acl = (
        None if acl is None else any(grant.get("Grantee", {}).get("URI") in PUBLIC for grant in acl.get("Grants", ()))
    )
    if by_policy or by_acl:
        return True
    return None if by_policy is None and by_acl is None else False


def _lock(bucket: str, calls: S3Calls) -> str | None:
    """Return the mode of a bucket's default retention, "" if it has none, or None if the setting cannot be read."""
    answer = _ask(calls, "get_object_lock_configuration", bucket, otherwise="ObjectLockConfigurationNotFound")
    if answer is None:
        return None
    rule = answer.get("ObjectLockConfiguration", {}).get("Rule", {})
    return str(rule.get("DefaultRetention", {}).get("Mode", ""))
