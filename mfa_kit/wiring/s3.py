"""Opens buckets of Amazon S3. Only commands that use a bucket load this module."""

from collections.abc import Iterator

from mfa_kit.account.diagnosis import Diagnosis, Health
from mfa_kit.adapters.aws.bucket_rules import COMPLIANCE, check_bucket, read_bucket
from mfa_kit.adapters.aws.clients import Connection, open_s3
from mfa_kit.adapters.aws.s3_calls import S3Calls
from mfa_kit.adapters.aws.s3_store import S3Stores
from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.models import S3Url
from mfa_kit.core.stopping import sleep
from mfa_kit.wiring.settings import ACCOUNTS, load_config

# The number of calls to S3 that may be in progress at a time.
CONNECTIONS = 32


def open_s3_stores(profile: str | None) -> S3Stores:
    """Return an object that opens folders and files in S3 buckets. `profile` is as in `open_s3_calls`."""
    calls = open_s3_calls(profile)
    return S3Stores(calls, lambda bucket: check_bucket(bucket, calls))


def open_s3_calls(profile: str | None) -> S3Calls:
    """Return an object that calls S3 with the settings of the configuration file.

    The AWS profile is the configured `backup-profile`, else the argument `profile`. The owner of the bucket is the
    configured `bucket-owner`, else the account of the AWS profile, if this process knows it.
    """
    configuration = load_config()
    connection = Connection(
        profile=configuration.backup_profile or profile,
        region=configuration.backup_region,
        endpoint_url=configuration.backup_endpoint_url,
        workers=CONNECTIONS,
    )
    key = configuration.backup_kms_key
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}
    return S3Calls(
        lambda: open_s3(connection),
        sleep=sleep,
        encryption=encryption,
        owner=lambda: configuration.bucket_owner or ACCOUNTS.get(connection.profile),
    )


WITHOUT = "unknown without the permission {}"
PAGE = "docs/backups-in-s3.md"


def diagnose_bucket(place: S3Url, profile: str | None) -> Iterator[Diagnosis]:
    """Yield the lines for a bucket: whether it can be listed, whether it is public, its versioning and object lock."""
    try:
        calls = open_s3_calls(profile)
        calls.ask("list_objects_v2", Bucket=place.bucket, Prefix=place.key, MaxKeys=1)
        state = read_bucket(place.bucket, calls)
    except MfaKitError as error:
        yield Diagnosis("backup bucket", Health.BAD, f"{place}: {error}", error.hint)
        return
    yield Diagnosis("backup bucket", Health.GOOD, str(place))
    yield _public_access(blocked=state.blocked, public=state.public)
    if state.versioning is None:
        yield Diagnosis("bucket versioning", Health.UNKNOWN, WITHOUT.format("s3:GetBucketVersioning"))
    elif state.versioning:
        yield Diagnosis("bucket versioning", Health.GOOD, "on")
    else:
        hint = f"turn versioning on, so that you can restore backups that another program deletes; see {PAGE}"
        yield Diagnosis("bucket versioning", Health.NOTED, "off", hint)
    if state.lock is None:
        yield Diagnosis("object lock", Health.UNKNOWN, WITHOUT.format("s3:GetBucketObjectLockConfiguration"))
    elif state.lock == COMPLIANCE:
        finding = "new objects are locked in compliance mode, so mfa-kit refuses to enroll users"
        yield Diagnosis("object lock", Health.BAD, finding, f"use governance mode, or no default retention; see {PAGE}")
    else:
        mode = state.lock.lower()
        yield Diagnosis("object lock", Health.GOOD, f"{mode} mode" if mode else "no default retention")


def _public_access(*, blocked: bool | None, public: bool | None) -> Diagnosis:
    subject, hint = "public access", f"turn on Block Public Access; see {PAGE}"
    if public:
        return Diagnosis(subject, Health.BAD, "the bucket is public, so mfa-kit refuses it", hint)
    if blocked:
        return Diagnosis(subject, Health.GOOD, "blocked")
    if blocked is None and public is None:
        return Diagnosis(subject, Health.UNKNOWN, WITHOUT.format("s3:GetBucketPublicAccessBlock"))
    return Diagnosis(subject, Health.NOTED, "not blocked for this bucket, but the bucket is not public", hint)
