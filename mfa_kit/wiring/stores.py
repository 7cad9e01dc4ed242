"""Opens folders of backups, on this computer or in buckets of Amazon S3, and the backups in them.

The client for S3 is created when the first bucket is used, so commands that use only this computer do not load it.
"""

from functools import cached_property
from typing import TYPE_CHECKING

from mfa_kit.adapters.files.local_store import LOCAL, LocalStores
from mfa_kit.core.backup_location import BackupLocation, S3Url
from mfa_kit.core.errors import UsageFault

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.s3_store import S3Stores
    from mfa_kit.adapters.files.local_store import StoredFile, StoredFolder


class AllStores:
    """Opens backups and folders of backups, on this computer and in S3 buckets.

    `profile` is the AWS profile for buckets. It is not used if the configuration file has `backup-profile`.
    """

    def __init__(self, profile: str | None) -> None:
        self._profile = profile

    @cached_property
    def _s3(self) -> "S3Stores":
        from mfa_kit.wiring.s3 import open_s3_stores

        return open_s3_stores(self._profile)

    def folder(self, place: BackupLocation) -> "StoredFolder":
        """Return the folder with this path or S3 URL. Nothing is read yet."""
        return self._stores_of(place).folder(place)

    def file(self, place: BackupLocation, folder: BackupLocation | None = None) -> "StoredFile":
        """Return the file with this path or S3 URL. Nothing is read yet.

        `folder` is the folder of backups that contains the file.
        """
        return self._stores_of(place).file(place, folder)

    def _stores_of(self, place: BackupLocation) -> "S3Stores | LocalStores":
        return self._s3 if isinstance(place, S3Url) else LOCAL


def check_shared(*, ledger_is_shared: bool, place: BackupLocation, local_backups: bool) -> None:
    """Raise UsageFault if other computers use the ledger, but the folder of backups is on this computer.

    With `local_backups`, the user has accepted that, so nothing is raised.
    """
    if ledger_is_shared and not isinstance(place, S3Url) and not local_backups:
        raise UsageFault(
            f"other computers use this ledger, but cannot read backups in the folder {place}",
            "put the backups into a bucket: --backup-dir s3://BUCKET/PREFIX, or accept this: --local-backups",
        )
