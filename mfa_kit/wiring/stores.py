"""Opens folders of backups, on this computer or in buckets of Amazon S3, with the recipients of new backups.

The client for S3 is loaded and created when the first bucket is used, so commands that use only this computer do not
load it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, cached_property, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar
from urllib.parse import quote

from mfa_kit.adapters.files import event_files
from mfa_kit.adapters.files.local_store import LOCAL, NAME_MAX, LocalFileStore, find_backups
from mfa_kit.backups.own_identity import can_ask_passphrase
from mfa_kit.core.errors import IntegrityFault, OutcomeUnknownError, Throttled, TooSlow, UsageFault
from mfa_kit.core.models import OWN, Backup, BackupLocation, S3Url, check_shared
from mfa_kit.disk.files import write_new
from mfa_kit.doctor.diagnosis import BucketState
from mfa_kit.enrollment.pacing import RateLimiter
from mfa_kit.enrollment.ports import BackupStore
from mfa_kit.network.http import ended_by
from mfa_kit.wiring.age_keys import configured_recipients, open_plugins, own_recipient, read_recipients
from mfa_kit.wiring.ledger import open_ledger
from mfa_kit.wiring.settings import ACCOUNTS, Settings, backup_dir, home, load_boto3, load_config

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.s3_calls import S3Calls
    from mfa_kit.adapters.aws.s3_store import S3FileStore
    from mfa_kit.adapters.files.agefile import AgeFiles
    from mfa_kit.adapters.files.identities import Recipient
    from mfa_kit.adapters.files.local_store import StoredFile, StoredFolder


class AnyFileStore:
    """Opens backups and folders of backups, on this computer and in S3 buckets."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _s3(self) -> "S3FileStore":
        return open_s3_store(self._settings)

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
    computer. The BackupStore's `check` then raises UsageFault for such a folder, unless `local_backups` is true. It
    also raises the errors of `check_not_retired`.
    """
    from mfa_kit.adapters.files.agefile import AgeFiles

    place, is_shared = backup_dir(folder), settings.ledger is not None

    @cache  # a rollout checks this for each user, but reads the ledger once
    def accept() -> None:
        check_shared(ledger_is_shared=is_shared, place=place, local_backups=local_backups)
        check_not_retired(settings, [recipient.text for recipient in recipients])

    return AgeFiles(
        place,
        list(recipients),
        AnyFileStore(settings),
        accept=accept,
        plugins=open_plugins(settings.interaction),
    )


def check_not_retired(settings: Settings, recipients: Sequence[str]) -> None:
    """Raise IntegrityFault if a break-glass rotation replaced one of the recipients, according to the ledger.

    The command line may allow retired recipients by name.
    """
    if not recipients:
        return
    from mfa_kit.adapters.ledger.audit_records import BreakGlassRecords
    from mfa_kit.break_glass.retired import check_recipients

    by_name = read_recipients(settings.retired_recipients, source="--retired-recipient")
    with open_ledger(settings) as ledger:
        check_recipients(recipients, BreakGlassRecords(ledger).all(), allowed=[recipient.text for recipient in by_name])


def stored_backups(settings: Settings, folder: BackupLocation | None, *, own: bool = False) -> list[Backup]:
    """Return the backups below a folder. With `own`, also return the copies that are encrypted only to their users.

    If `folder` is None, look in the configured folder, else in the default folder. Raise UsageFault if the folder does
    not exist; for the default folder, return an empty list instead.
    """
    place, file_store = folder_of_backups(settings, folder), AnyFileStore(settings)
    return [*find_backups(place, file_store), *(find_backups(place / OWN, file_store) if own else ())]


def folder_of_backups(settings: Settings, folder: BackupLocation | None) -> BackupLocation:
    """Return `folder`, else the configured folder, else the default folder. Raise UsageFault as `stored_backups`."""
    place = backup_dir(folder)
    if place != home() / "backups" and not AnyFileStore(settings).folder(place).is_there():
        raise UsageFault(f"there is no folder {place}", "name the folder of your backups: --backup-dir DIR")
    return place


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
# The rate of calls to S3 at first, in calls per second. AWS promises at least 3,500 writes per second.
S3_RATE = 200.0
# The largest log file of CloudTrail in octets. Uncompressed, it has at most 50 MB (CloudTrail user guide).
LARGEST_LOG_FILE = 64 << 20
# The folder in `home()` with an empty file for each bucket whose server was tested and is not AWS's.
TESTED = "tested-buckets"
T = TypeVar("T")


def open_s3_store(settings: Settings) -> "S3FileStore":
    """Return an object that opens folders and files in S3 buckets. `settings` are as in `open_s3_calls`."""
    from mfa_kit.adapters.aws import s3_store

    calls = open_s3_calls(settings)

    def check(folder: S3Url) -> None:
        s3_store.check_bucket(folder.bucket, calls)
        if not settings.dry_run:
            check_other_server(folder, calls)

    return s3_store.S3FileStore(calls, check)


def check_other_server(folder: S3Url, calls: "S3Calls") -> str | None:
    """Check the server of a bucket as `check_server` does, and record its success on this computer.

    Return the URL of the server. Without a check, return None if it is AWS's own, and the URL if it has passed before.
    """
    from mfa_kit.adapters.aws import s3_store

    if server := calls.other_server:
        record = home().absolute() / TESTED / quote(f"{server}/{folder.bucket}", safe="")[-NAME_MAX:]
        if not record.exists():
            s3_store.check_server(folder, calls)
            with suppress(IntegrityFault):  # without the record, the next command checks the server again
                write_new(record, b"", folders=True)
    return server


def open_s3_calls(settings: Settings, *, any_owner: bool = False) -> "S3Calls":
    """Return an object that calls S3 with the settings of the configuration file.

    The AWS profile is the configured `backup-profile`, else that of `settings`. The owner of the bucket is the
    configured `bucket-owner`, else the account of the AWS profile, if this process knows it; with `any_owner`, the
    bucket may belong to any account. One RateLimiter limits the rate of all calls, and retries throttled ones.
    """
    from mfa_kit.adapters.aws import clients, s3_calls

    configuration = load_config()
    connection = clients.Connection(
        profile=configuration.backup_profile or settings.profile,
        region=configuration.backup_region,
        endpoint_url=configuration.backup_endpoint_url,
        workers=CONNECTIONS,
    )
    key = configuration.backup_kms_key
    encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key} if key else {}
    pace = RateLimiter(
        clock=time.monotonic,
        sleep=settings.stop.sleep,
        progress=settings.progress,
        renew=lambda: None,
        at_once=CONNECTIONS,
        rate=S3_RATE,
    )
    pace.stop()  # makes expired credentials an error at once
    say_once = cache(settings.progress.note)

    def turn(act: Callable[[], T]) -> T:
        def attempt() -> T:
            try:
                return act()
            except (OutcomeUnknownError, Throttled) as error:
                if not isinstance(error, TooSlow):  # which is not repeated
                    say_once(f"{error}; trying again")
                raise

        with ended_by(settings.stop):
            return pace(attempt)

    return s3_calls.S3Calls(
        lambda: clients.open_s3(connection),
        sleep=settings.stop.sleep,
        encryption=encryption,
        turn=turn,
        owner=lambda: None if any_owner else configuration.bucket_owner or ACCOUNTS.get(connection.profile),
    )


def examine_bucket(place: S3Url, calls: "S3Calls") -> BucketState:
    """List the bucket of backups, and return its properties. Raise AwsFault if it cannot be listed."""
    from mfa_kit.adapters.aws import s3_store

    calls.ask("list_objects_v2", Bucket=place.bucket, Prefix=place.key, MaxKeys=1)
    return s3_store.read_bucket(place.bucket, calls)


def log_files(settings: Settings, place: BackupLocation) -> Iterator[event_files.LogFile]:
    """Yield the log files of CloudTrail in a folder, or below an S3 URL. Raise UsageFault if there is none.

    The bucket is read with the credentials and the configuration for backups, but it may belong to any account.
    """
    if not isinstance(place, S3Url):
        yield from event_files.log_files(place)
        return
    calls = open_s3_calls(settings, any_owner=True)
    is_empty = True
    for url in calls.keys(place):
        if event_files.is_log_file(str(url)):
            is_empty = False
            yield event_files.LogFile(str(url), partial(_open_object, calls, url))
    if is_empty:
        raise event_files.no_log_files(place)


def _open_object(calls: "S3Calls", url: S3Url) -> BytesIO:
    return BytesIO(calls.get(url, most=LARGEST_LOG_FILE).content)
