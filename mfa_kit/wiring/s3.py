"""Opens buckets of Amazon S3. Only commands that use a bucket load this module."""

from mfa_kit.adapters.aws.clients import Connection, open_s3
from mfa_kit.adapters.aws.s3_calls import S3Calls
from mfa_kit.adapters.aws.s3_store import S3FileStore, check_bucket, read_bucket
from mfa_kit.core.models import S3Url
from mfa_kit.core.stopping import sleep
from mfa_kit.doctor.diagnosis import BucketState
from mfa_kit.wiring.settings import ACCOUNTS, load_config

# The number of calls to S3 that may be in progress at a time.
CONNECTIONS = 32


def open_s3_store(profile: str | None) -> S3FileStore:
    """Return an object that opens folders and files in S3 buckets. `profile` is as in `open_s3_calls`."""
    calls = open_s3_calls(profile)
    return S3FileStore(calls, lambda bucket: check_bucket(bucket, calls))


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


def examine_bucket(place: S3Url, profile: str | None) -> BucketState:
    """List the bucket of backups, and return its properties. Raise AwsFault if it cannot be listed."""
    calls = open_s3_calls(profile)
    calls.ask("list_objects_v2", Bucket=place.bucket, Prefix=place.key, MaxKeys=1)
    return read_bucket(place.bucket, calls)
