"""Decrypts backups with identities (private keys). The ledger's log records each decryption."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING

from mfa_kit.adapters.files.local_store import read_backup
from mfa_kit.backups.contents import Opened
from mfa_kit.backups.opening import PathCheck
from mfa_kit.core.backup_location import BackupLocation
from mfa_kit.core.models import Call
from mfa_kit.core.otp import Created, Secret
from mfa_kit.wiring.backup_records import backup_records
from mfa_kit.wiring.identities import Identities
from mfa_kit.wiring.ledger import open_ledger
from mfa_kit.wiring.settings import Settings, harden
from mfa_kit.wiring.stores import AllStores

if TYPE_CHECKING:
    from mfa_kit.adapters.files.agefile import BackupOpener
    from mfa_kit.adapters.files.plugins import Identity
    from mfa_kit.adapters.ledger.ledger import Ledger


@contextmanager
def open_opener(
    settings: Settings,
    identities: Identities,
    *,
    read: Callable[[BackupLocation], bytes] | None = None,
    accept_label: bool = False,
) -> Iterator[tuple["BackupOpener", "Ledger"]]:
    """Yield a pair: an object that decrypts backups with these identities, and the ledger that logs each decryption.

    `read` replaces the function that returns the encrypted content of a backup. `accept_label` is as in PathCheck.
    """
    harden()
    with open_opener_with(settings, identities.read(), read=read, accept_label=accept_label) as opener_and_ledger:
        yield opener_and_ledger


@contextmanager
def open_opener_with(
    settings: Settings,
    secrets: "Secret[list[Identity]]",
    *,
    read: Callable[[BackupLocation], bytes] | None = None,
    accept_label: bool = False,
) -> Iterator[tuple["BackupOpener", "Ledger"]]:
    """Yield the same pair as `open_opener`, for identities that have already been read."""
    with open_ledger(settings) as ledger:
        yield _opener(settings, ledger.called, secrets, read, path_check(ledger, accept_label=accept_label)), ledger


def path_check(ledger: "Ledger", *, accept_label: bool) -> PathCheck:
    """Return a PathCheck, which compares the path of a backup with its label and with the ledger."""
    return PathCheck(users=cache(backup_records(ledger).users), accept_label=accept_label)


def open_and_note(settings: Settings, opener: "BackupOpener", file: BackupLocation) -> Opened:
    """Decrypt a backup, and print what of its path was not compared. Raise the errors of `BackupOpener.open`."""
    opened = opener.open(file)
    if opened.unchecked:
        settings.progress.alert(f"note: {file}: {opened.unchecked}")
    return opened


def opener(
    settings: Settings, identities: Identities, log: Callable[[Call], None]
) -> Callable[[BackupLocation], Created]:
    """Read the identities, and return a function that decrypts the backup with a given path or S3 URL.

    The function returns the device's secret and key URI, as `open_created` does. It calls `log` for each decryption.
    """
    return _opener(settings, log, identities.read(), None, PathCheck()).created


def open_created(settings: Settings, file: BackupLocation, identities: Identities) -> Created:
    """Decrypt a backup, and return the secret and the key URI that IAM returned when it created the device.

    The ledger records the decryption.
    """
    with open_opener(settings, identities) as (opened, _):
        return opened.created(file)


def backup_reader(settings: Settings) -> Callable[[BackupLocation], bytes]:
    """Return a function that returns the encrypted content of a backup, on this computer or in a bucket."""
    return partial(read_backup, stores=AllStores(settings.profile))


def _opener(
    settings: Settings,
    log: Callable[[Call], None],
    secrets: "Secret[list[Identity]]",
    read: Callable[[BackupLocation], bytes] | None,
    check_path: PathCheck,
) -> "BackupOpener":
    from mfa_kit.adapters.files.agefile import BackupOpener

    return BackupOpener(log, secrets, read or backup_reader(settings), check_path)
