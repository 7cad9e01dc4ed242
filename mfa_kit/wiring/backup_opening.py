"""Decrypts backups with identities (private keys). The ledger's log records each decryption."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from mfa_kit.adapters.files.local_store import read_backup
from mfa_kit.core.models import Call
from mfa_kit.core.otp import Created, Secret
from mfa_kit.core.places import Place
from mfa_kit.wiring.identities import Identities
from mfa_kit.wiring.ledger import open_ledger
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.stores import AllStores
from mfa_kit.wiring.this_computer import harden

if TYPE_CHECKING:
    from mfa_kit.adapters.files.opener import BackupOpener
    from mfa_kit.adapters.files.plugins import Identity
    from mfa_kit.adapters.ledger.ledger import Ledger


@contextmanager
def open_opener(
    settings: Settings, identities: Identities, *, read: Callable[[Place], bytes] | None = None
) -> Iterator[tuple["BackupOpener", "Ledger"]]:
    """Yield a pair: an object that decrypts backups with these identities, and the ledger that logs each decryption.

    `read` replaces the function that returns the encrypted content of a backup.
    """
    harden()
    with open_opener_with(settings, identities.read(), read=read) as both:
        yield both


@contextmanager
def open_opener_with(
    settings: Settings, secrets: "Secret[list[Identity]]", *, read: Callable[[Place], bytes] | None = None
) -> Iterator[tuple["BackupOpener", "Ledger"]]:
    """Yield the same pair as `open_opener`, for identities that have already been read."""
    with open_ledger(settings) as ledger:
        yield _opener(settings, ledger.called, secrets, read), ledger


def opener(settings: Settings, identities: Identities, log: Callable[[Call], None]) -> Callable[[Place], Created]:
    """Read the identities, and return a function that decrypts the backup with a given path or S3 URL.

    The function returns the device's secret and key URI, as `open_created` does. It calls `log` for each decryption.
    """
    return _opener(settings, log, identities.read(), None).created


def open_created(settings: Settings, file: Place, identities: Identities) -> Created:
    """Decrypt a backup, and return the secret and the key URI that IAM returned when it created the device.

    The ledger records the decryption.
    """
    with open_opener(settings, identities) as (opened, _):
        return opened.created(file)


def backup_reader(settings: Settings) -> Callable[[Place], bytes]:
    """Return a function that returns the encrypted content of a backup, on this computer or in a bucket."""
    return partial(read_backup, stores=AllStores(settings.profile))


def _opener(
    settings: Settings,
    log: Callable[[Call], None],
    secrets: "Secret[list[Identity]]",
    read: Callable[[Place], bytes] | None,
) -> "BackupOpener":
    from mfa_kit.adapters.files.opener import BackupOpener

    return BackupOpener(log, secrets, read or backup_reader(settings))
