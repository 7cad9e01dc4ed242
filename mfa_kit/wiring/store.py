"""Open and list the folder of encrypted backups."""

import gc
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.adapters.files.local_store import find_backups
from mfa_kit.core.backup_copies import OWN
from mfa_kit.core.backup_location import BackupLocation
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import Backup
from mfa_kit.enrollment.ports import BackupStore
from mfa_kit.wiring.backup_recipients import configured_recipients, read_recipients
from mfa_kit.wiring.plugins import open_plugins
from mfa_kit.wiring.settings import Settings, backup_dir, home
from mfa_kit.wiring.stores import AllStores, check_shared

if TYPE_CHECKING:
    from mfa_kit.adapters.files.agefile import AgeFiles
    from mfa_kit.adapters.files.recipients import Recipient


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
