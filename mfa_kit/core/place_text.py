"""Parses paths and S3 URLs of backups, from the command line, the configuration file or the ledger."""

import re
from pathlib import Path

from mfa_kit.core.backup_location import SCHEME, BackupLocation, S3Url
from mfa_kit.core.errors import UsageFault

# Matches the start of a URL that is not an S3 URL, or of a mistyped S3 URL.
OTHER_URL = re.compile(r"s3:|[a-z][a-z0-9+.-]*://", re.ASCII | re.IGNORECASE)
# The name of a bucket (Amazon S3 user guide, "General purpose bucket naming rules").
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)


def parse_place(text: str) -> BackupLocation:
    """Return the S3Url or Path that a text names.

    Raise UsageFault for an S3 URL with an invalid bucket or key, and for any other URL, because that may be a mistyped
    S3 URL.
    """
    if not text.startswith(SCHEME):
        if OTHER_URL.match(text):
            raise UsageFault(
                f"{text!r} is neither a path nor an S3 URL",
                "write s3://BUCKET/KEY, or ./ before a path on this computer",
            )
        return Path(text)
    bucket, _, key = text.removeprefix(SCHEME).partition("/")
    key = key.rstrip("/")
    if not BUCKET.fullmatch(bucket):
        raise UsageFault(f"{text!r} does not name a bucket", "write s3://BUCKET/PREFIX")
    if any(part in {"", ".", ".."} for part in key.split("/") if key):
        raise UsageFault(f"{text!r} has an empty part, or the part . or ..", "write s3://BUCKET/PREFIX")
    return S3Url(bucket, key)


def recorded_place(text: str) -> BackupLocation:
    """Return the S3Url or Path in a text from the ledger. An invalid S3 URL is treated as a relative path."""
    try:
        return parse_place(text)
    except UsageFault:
        return Path(text)
