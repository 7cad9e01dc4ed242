"""The place of an encrypted backup: a path on this computer, or an `s3://BUCKET/KEY` URL."""

from dataclasses import dataclass
from pathlib import Path

SCHEME = "s3://"


@dataclass(frozen=True, slots=True, order=True)
class S3Url:
    """An object or a prefix in a bucket. It has the parts of Path's interface that mfa-kit uses for backups.

    `key` neither begins nor ends with a slash. An empty key is the whole bucket.
    """

    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}".rstrip("/")

    def __truediv__(self, below: str) -> "S3Url":
        return self.joinpath(below)

    def joinpath(self, *below: str) -> "S3Url":
        """Return the URL with these parts added."""
        return S3Url(self.bucket, "/".join(filter(None, (self.key, *below))))

    def absolute(self) -> "S3Url":
        """Return this URL, because a URL is always absolute."""
        return self

    def is_absolute(self) -> bool:
        """Return True, because a URL is always absolute."""
        return True

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the key, without slashes."""
        return tuple(self.key.split("/")) if self.key else ()

    @property
    def name(self) -> str:
        """The last part of the key, or "" for the whole bucket."""
        return self.key.rpartition("/")[2]

    @property
    def parents(self) -> tuple["S3Url", ...]:
        """The URLs above this one, from the nearest one to the whole bucket. Empty for the whole bucket."""
        parts = self.parts
        return tuple(S3Url(self.bucket, "/".join(parts[:count])) for count in range(len(parts) - 1, -1, -1))


# The place of a backup, or of a folder of backups.
BackupLocation = Path | S3Url
