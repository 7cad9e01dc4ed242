"""Opens folders of backups, on this computer or in buckets of Amazon S3, with the recipients of new backups.

The client for S3 is created when the first bucket is used, so commands that use only this computer do not load it.
"""

import gc
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.adapters.files.local_store import LOCAL, LocalStores, find_backups
from mfa_kit.backups.new_passphrase import INSTEAD
from mfa_kit.core.errors import Declined, UsageFault
from mfa_kit.core.models import OWN, Backup, BackupLocation, S3Url
from mfa_kit.enrollment.ports import BackupStore
from mfa_kit.wiring.age_keys import configured_recipients, open_plugins, own_recipient, read_recipients
from mfa_kit.wiring.settings import Settings, backup_dir, home

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.s3_store import S3Stores
    from mfa_kit.adapters.files.agefile import AgeFiles
    from mfa_kit.adapters.files.local_store import StoredFile, StoredFolder
    from mfa_kit.adapters.files.recipients import Recipient


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


def load_boto3() -> None:
    """Load boto3, and exclude its objects from garbage collection, because they live until exit (docs/decisions/007).

    Call this before zxing-cpp is imported. Otherwise this function does nothing, because the types of zxing-cpp would
    be excluded too, and zxing-cpp would print a line at exit for each of them.
    """
    if "boto3" not in sys.modules and "zxingcpp" not in sys.modules:
        import boto3  # noqa: F401 - adapters use it

        gc.freeze()


def open_vault(
    settings: Settings, folder: BackupLocation | None = None, *, to: Sequence[str] = (), to_files: Sequence[Path] = ()
) -> BackupStore:
    """Return the BackupStore that keeps encrypted backups in a folder, and encrypts new backups to some recipients.

    The recipients are those in `to` and in the files `to_files`. The defaults of folder and recipients come from the
    configuration file. Raise UsageFault for text that is not a recipient.
    """
    load_boto3()  # before the QR code reader is imported; see `load_boto3`
    return open_age_files(settings, folder, _recipients(to, to_files))


def open_vault_for_new(
    settings: Settings,
    folder: BackupLocation | None,
    *,
    to: Sequence[str],
    to_files: Sequence[Path],
    local_backups: bool,
) -> BackupStore:
    """Return the BackupStore for new backups. `folder`, `to`, `to_files` and the errors are as in `open_vault`.

    If other computers share the ledger, they cannot read a folder on this computer. The BackupStore's `check` then
    raises UsageFault for such a folder, unless `local_backups` is true.
    """
    load_boto3()
    place, shared = backup_dir(folder), settings.ledger is not None
    return open_age_files(
        settings,
        place,
        _recipients(to, to_files),
        accept=lambda: check_shared(ledger_is_shared=shared, place=place, local_backups=local_backups),
    )


def _recipients(to: Sequence[str], to_files: Sequence[Path]) -> "list[Recipient]":
    return read_recipients(to, to_files) if to or to_files else configured_recipients()


def open_age_files(
    settings: Settings,
    folder: BackupLocation | None,
    recipients: "Sequence[Recipient]",
    *,
    accept: Callable[[], None] = lambda: None,
) -> "AgeFiles":
    """Return a BackupStore of files encrypted with age for `folder`, else for the configured folder.

    New backups are encrypted to `recipients`. `accept` is as in AgeFiles.
    """
    from mfa_kit.adapters.files.agefile import AgeFiles

    plugins, stores = open_plugins(settings.interaction), AllStores(settings.profile)
    return AgeFiles(backup_dir(folder), list(recipients), stores, accept=accept, plugins=plugins)


def stored_backups(settings: Settings, folder: BackupLocation | None, *, own: bool = False) -> list[Backup]:
    """Return the backups below a folder. With `own`, also return the copies that are encrypted only to their users.

    If `folder` is None, look in the configured folder, else in the default folder. Raise UsageFault if the folder does
    not exist; for the default folder, return an empty list instead.
    """
    place = backup_dir(folder)
    stores = AllStores(settings.profile)
    if place != home() / "backups" and not stores.folder(place).is_there():
        raise UsageFault(f"there is no folder {place}", "name the folder of your backups: --backup-dir DIR")
    return [*find_backups(place, stores), *(find_backups(place / OWN, stores) if own else ())]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealing:
    """The recipients of backups (`to`), files with more recipients (`to_files`), and the folder of backups.

    If `backup_dir` is None, the configured or the default folder is used. `local_backups` is as in
    `open_vault_for_new`. With `passphrase` or `passphrase_fd` (a file descriptor), this computer's identity is an
    additional recipient.
    """

    to: Sequence[str]
    to_files: Sequence[Path]
    backup_dir: BackupLocation | None
    local_backups: bool
    passphrase: bool
    passphrase_fd: int | None = None

    def store(self, settings: Settings, *, alone: bool) -> BackupStore:
        """Return the BackupStore for a command that creates a device.

        `alone` means that the backup will be the only copy of the secret. If neither the command line nor the
        configuration names a recipient, such a backup is encrypted to this computer's identity. The user chooses the
        identity's passphrase at the terminal; without a terminal, there is no recipient. Raise UsageFault for an
        invalid recipient, and the errors of `own_recipient`.
        """
        passphrase = self.passphrase or self.passphrase_fd is not None
        if alone and not (passphrase or self.to or self.to_files or settings.config.recipients):
            with suppress(Declined):
                settings.interaction.check(instead=INSTEAD)
                passphrase = True
        to = (*self.to, own_recipient(settings, passphrase_fd=self.passphrase_fd)) if passphrase else self.to
        return open_vault_for_new(
            settings, self.backup_dir, to=to, to_files=self.to_files, local_backups=self.local_backups
        )
