"""Opens folders of backups, on this computer or in buckets of Amazon S3, with the recipients of new backups.

The client for S3 is created when the first bucket is used, so commands that use only this computer do not load it.
"""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.adapters.files.local_store import LOCAL, LocalFileStore, find_backups
from mfa_kit.backups.contents import check_shared
from mfa_kit.backups.new_passphrase import can_ask_passphrase
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import OWN, Backup, BackupLocation, S3Url
from mfa_kit.enrollment.ports import BackupStore
from mfa_kit.wiring.age_keys import configured_recipients, open_plugins, own_recipient, read_recipients
from mfa_kit.wiring.settings import Settings, backup_dir, home, load_boto3

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.s3_store import S3FileStore
    from mfa_kit.adapters.files.agefile import AgeFiles
    from mfa_kit.adapters.files.identities import Recipient
    from mfa_kit.adapters.files.local_store import StoredFile, StoredFolder


class AnyFileStore:
    """Opens backups and folders of backups, on this computer and in S3 buckets.

    `profile` is the AWS profile for buckets. It is not used if the configuration file has `backup-profile`.
    """

    def __init__(self, profile: str | None) -> None:
        self._profile = profile

    @cached_property
    def _s3(self) -> "S3FileStore":
        from mfa_kit.wiring.s3 import open_s3_store

        return open_s3_store(self._profile)

    def folder(self, place: BackupLocation) -> "StoredFolder":
        """Return the folder with this path or S3 URL. Nothing is read yet."""
        return self._file_store_of(place).folder(place)

    def file(self, place: BackupLocation, folder: BackupLocation | None = None) -> "StoredFile":
        """Return the file with this path or S3 URL. Nothing is read yet.

        `folder` is the folder of backups that contains the file.
        """
        return self._file_store_of(place).file(place, folder)

    def _file_store_of(self, place: BackupLocation) -> "S3FileStore | LocalFileStore":
        return self._s3 if isinstance(place, S3Url) else LOCAL


def open_backup_store(
    settings: Settings,
    folder: BackupLocation | None = None,
    *,
    to: Sequence[str] = (),
    to_files: Sequence[Path] = (),
    local_backups: bool = True,
) -> BackupStore:
    """Return the BackupStore that keeps encrypted backups in a folder, and encrypts new backups to some recipients.

    The recipients are those in `to` and in the files `to_files`. The defaults of folder and recipients come from the
    configuration file. Raise UsageFault for text that is not a recipient. `local_backups` is as in `open_age_files`.
    """
    load_boto3()  # before the QR code reader is imported; see `load_boto3`
    recipients = read_recipients(to, to_files) if to or to_files else configured_recipients()
    return open_age_files(settings, folder, recipients, local_backups=local_backups)


def open_age_files(
    settings: Settings,
    folder: BackupLocation | None,
    recipients: "Sequence[Recipient]",
    *,
    local_backups: bool = True,
) -> "AgeFiles":
    """Return a BackupStore of files encrypted with age for `folder`, else for the configured folder.

    New backups are encrypted to `recipients`. If other computers share the ledger, they cannot read a folder on this
    computer. The BackupStore's `check` then raises UsageFault for such a folder, unless `local_backups` is true.
    """
    from mfa_kit.adapters.files.agefile import AgeFiles

    place, is_shared = backup_dir(folder), settings.ledger is not None
    return AgeFiles(
        place,
        list(recipients),
        AnyFileStore(settings.profile),
        accept=partial(check_shared, ledger_is_shared=is_shared, place=place, local_backups=local_backups),
        plugins=open_plugins(settings.interaction),
    )


def stored_backups(settings: Settings, folder: BackupLocation | None, *, own: bool = False) -> list[Backup]:
    """Return the backups below a folder. With `own`, also return the copies that are encrypted only to their users.

    If `folder` is None, look in the configured folder, else in the default folder. Raise UsageFault if the folder does
    not exist; for the default folder, return an empty list instead.
    """
    place = backup_dir(folder)
    file_store = AnyFileStore(settings.profile)
    if place != home() / "backups" and not file_store.folder(place).is_there():
        raise UsageFault(f"there is no folder {place}", "name the folder of your backups: --backup-dir DIR")
    return [*find_backups(place, file_store), *(find_backups(place / OWN, file_store) if own else ())]


def open_store_for_device(
    settings: Settings,
    folder: BackupLocation | None,
    *,
    to: Sequence[str],
    to_files: Sequence[Path],
    local_backups: bool,
    passphrase: bool,
    passphrase_fd: int | None,
    alone: bool,
) -> BackupStore:
    """Return the BackupStore for a command that creates a device. The arguments are as in `open_backup_store`.

    With `passphrase` or `passphrase_fd` (a file descriptor), this computer's identity is an additional recipient.
    `alone` means that the backup will be the only copy of the secret. If neither the command line nor the configuration
    names a recipient, such a backup is encrypted to this computer's identity. The user chooses the identity's
    passphrase at the terminal; without a terminal, there is no recipient. Raise UsageFault for an invalid recipient,
    and the errors of `own_recipient`.
    """
    named = bool(to or to_files or settings.config.recipients)
    if passphrase or passphrase_fd is not None or (alone and not named and can_ask_passphrase(settings.interaction)):
        to = (*to, own_recipient(settings, passphrase_fd=passphrase_fd))
    return open_backup_store(settings, folder, to=to, to_files=to_files, local_backups=local_backups)
