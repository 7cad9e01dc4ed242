"""Opens folders of backups, on this computer or in buckets of Amazon S3, with the recipients of new backups.

The client for S3 is loaded and created when the first bucket is used, so commands that use only this computer do not
load it.
"""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from mfa_kit.adapters.files.local_store import LOCAL, LocalFileStore, find_backups
from mfa_kit.backups.contents import check_shared
from mfa_kit.backups.new_passphrase import can_ask_passphrase
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import OWN, Backup, BackupLocation, S3Url
from mfa_kit.core.stopping import sleep
from mfa_kit.doctor.diagnosis import BucketState
from mfa_kit.enrollment.ports import BackupStore
from mfa_kit.wiring.age_keys import configured_recipients, open_plugins, own_recipient, read_recipients
from mfa_kit.wiring.settings import ACCOUNTS, Settings, backup_dir, home, load_boto3, load_config

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.s3_calls import S3Calls
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


class NewBackupOptions(TypedDict):
    """The options of a command that creates a device: the folder of its backup, and who can decrypt the backup.

    `to`, `to_files` and `local_backups` are as in `open_backup_store`. With `passphrase` or `passphrase_fd` (a file
    descriptor), this computer's identity is an additional recipient.
    """

    to: Sequence[str]
    to_files: Sequence[Path]
    passphrase: bool
    passphrase_fd: int | None
    backup_dir: BackupLocation | None
    local_backups: bool


def open_store_for_device(settings: Settings, options: NewBackupOptions, *, alone: bool) -> BackupStore:
    """Return the BackupStore for a command that creates a device.

    `alone` means that the backup will be the only copy of the secret. If neither the command line nor the configuration
    names a recipient, such a backup is encrypted to this computer's identity. The user chooses the identity's
    passphrase at the terminal; without a terminal, there is no recipient. Raise UsageFault for an invalid recipient,
    and the errors of `own_recipient`.
    """
    to, to_files, descriptor = options["to"], options["to_files"], options["passphrase_fd"]
    is_asked = alone and not (to or to_files or settings.config.recipients) and can_ask_passphrase(settings.interaction)
    if options["passphrase"] or descriptor is not None or is_asked:
        to = (*to, own_recipient(settings, passphrase_fd=descriptor))
    local_backups = options["local_backups"]
    return open_backup_store(settings, options["backup_dir"], to=to, to_files=to_files, local_backups=local_backups)


# The number of calls to S3 that may be in progress at a time.
CONNECTIONS = 32


def open_s3_store(profile: str | None) -> "S3FileStore":
    """Return an object that opens folders and files in S3 buckets. `profile` is as in `open_s3_calls`."""
    from mfa_kit.adapters.aws import s3_store

    calls = open_s3_calls(profile)
    return s3_store.S3FileStore(calls, lambda bucket: s3_store.check_bucket(bucket, calls))


def open_s3_calls(profile: str | None) -> "S3Calls":
    """Return an object that calls S3 with the settings of the configuration file.

    The AWS profile is the configured `backup-profile`, else the argument `profile`. The owner of the bucket is the
    configured `bucket-owner`, else the account of the AWS profile, if this process knows it.
    """
    from mfa_kit.adapters.aws import clients, s3_calls

    configuration = load_config()
    connection = clients.Connection(
        profile=configuration.backup_profile or profile,
        region=configuration.backup_region,
        endpoint_url=configuration.backup_endpoint_url,
        workers=CONNECTIONS,
    )
    key = configuration.backup_kms_key
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}
    return s3_calls.S3Calls(
        lambda: clients.open_s3(connection),
        sleep=sleep,
        encryption=encryption,
        owner=lambda: configuration.bucket_owner or ACCOUNTS.get(connection.profile),
    )


def examine_bucket(place: S3Url, profile: str | None) -> BucketState:
    """List the bucket of backups, and return its properties. Raise AwsFault if it cannot be listed."""
    from mfa_kit.adapters.aws import s3_store

    calls = open_s3_calls(profile)
    calls.ask("list_objects_v2", Bucket=place.bucket, Prefix=place.key, MaxKeys=1)
    return s3_store.read_bucket(place.bucket, calls)
