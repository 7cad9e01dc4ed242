"""Decrypts, tests and removes encrypted backups, and opens the ledger's records of backups."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mfa_kit.adapters.files.local_store import backup_at
from mfa_kit.adapters.ledger.backup_records import BackupRecords
from mfa_kit.backups import drill, opening, pruning
from mfa_kit.backups.contents import Opened, intent_in
from mfa_kit.backups.drill import Drilled
from mfa_kit.backups.opening import Verified
from mfa_kit.core.backup_location import BackupLocation
from mfa_kit.core.models import Backup, DeviceSpec, backup_name
from mfa_kit.wiring.backup_opening import backup_reader, open_and_note, open_opener
from mfa_kit.wiring.backup_records import backup_records
from mfa_kit.wiring.files import check_new, write_new_file
from mfa_kit.wiring.identities import Identities
from mfa_kit.wiring.ledger import open_ledger
from mfa_kit.wiring.read_ahead import ReadAhead
from mfa_kit.wiring.settings import Settings, harden
from mfa_kit.wiring.store import open_age_files


def show_backup(
    settings: Settings, file: BackupLocation, identities: Identities, out: Path, *, accept_label: bool
) -> None:
    """Decrypt a backup and write its QR code as a PNG to the new file `out`, mode 0600, in an existing folder.

    `accept_label` is as in PathCheck. If the backup cannot be decrypted, has no QR code of a device or is in a wrong
    place, write nothing and raise IntegrityFault. Raise the errors of `check_new` if the file cannot be written.
    """
    harden()
    check_new(out)
    with open_opener(settings, identities, accept_label=accept_label) as (opener_, _):
        opened = open_and_note(settings, opener_, file)
    write_new_file(out, opened.picture)


def verify_backups(
    settings: Settings, files: Iterable[BackupLocation], identities: Identities, *, accept_label: bool
) -> list[Verified]:
    """Decrypt each file, and return one result per file: the label of its device, or why the file cannot be used."""
    ahead = ReadAhead(backup_reader(settings))
    opening_ = open_opener(settings, identities, read=ahead.read, accept_label=accept_label)
    with opening_ as (opener_, ledger), ledger.without_fsync():
        return list(opening.verify_files(ahead.prefetch(files), opener_.open, hashes=backup_records(ledger).hashes()))


def drill_backups(
    settings: Settings,
    files: Iterable[BackupLocation],
    identities: Identities,
    judge: Callable[[DeviceSpec, Opened], Drilled],
    *,
    accept_label: bool,
) -> list[Drilled]:
    """Test backups: decrypt each file, and let `judge` decide whether the secret in it belongs to the device.

    Return one result per file. The ledger records the results of the files whose secret was compared with a code.
    """
    with open_opener(settings, identities, accept_label=accept_label) as (opener_, ledger):
        return list(
            drill.drill_all(
                files,
                open_backup=partial(open_and_note, settings, opener_),
                intent_of=lambda opened: intent_in(opened, path_of=backup_records(ledger).path),
                judge=judge,
                record=lambda file, result: backup_records(ledger).record_drill(backup_name(file), result),
            )
        )


def open_restorable(
    settings: Settings, file: BackupLocation, identities: Identities, *, accept_label: bool = False
) -> tuple[DeviceSpec, Opened]:
    """Decrypt a backup, so that its secret can be stored on a phone or a key. Return its DeviceSpec and content.

    The DeviceSpec names the MFA device to which the backup belongs. Raise UsageFault if that device was reported lost,
    and IntegrityFault if the backup cannot be decrypted, is in a wrong place or names no device.
    """
    with open_opener(settings, identities, accept_label=accept_label) as (opener_, ledger):
        opened, records = open_and_note(settings, opener_, file), backup_records(ledger)
        return opening.restorable(opened, path_of=records.path, losses_of=records.losses), opened


@contextmanager
def open_records(settings: Settings) -> Iterator[BackupRecords]:
    """Yield the ledger's records of backups: their recipients and their tests. Close the ledger afterward."""
    with open_ledger(settings) as ledger:
        yield backup_records(ledger)


def backups_named(names: Iterable[str]) -> list[Backup]:
    """Return a Backup for each name of the form `ACCOUNT/USER/FILE`. Ignore other names. No file is read."""
    return [named for name in names if (named := backup_at(Path("/", name)))]


def remove_backups(
    settings: Settings, folder: BackupLocation | None, chosen: Sequence[Backup]
) -> dict[BackupLocation, str]:
    """Remove backups permanently, and log each attempt.

    Return the paths of the backups that could not be removed, each with the reason.
    """
    store = open_age_files(settings, folder, ())
    with open_ledger(settings) as ledger:
        return pruning.remove(chosen, discard=store.discard, log=ledger.called)
