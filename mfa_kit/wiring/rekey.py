"""Encrypt all backups of a folder to other recipients."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from mfa_kit.backups.rekeying import KnownRecipients, OnRecord, Rekeyed, Rekeying, RekeyResult, known_recipients
from mfa_kit.core.backup_location import BackupLocation
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import Backup
from mfa_kit.core.otp import Png, Secret
from mfa_kit.rollout.workers import Workers
from mfa_kit.wiring.backup_opening import path_check
from mfa_kit.wiring.backup_recipients import read_recipients
from mfa_kit.wiring.backup_records import backup_records
from mfa_kit.wiring.identities import Identities
from mfa_kit.wiring.ledger import open_ledger
from mfa_kit.wiring.settings import Settings, harden
from mfa_kit.wiring.store import open_age_files

if TYPE_CHECKING:
    from mfa_kit.adapters.files.agefile import AgeFiles
    from mfa_kit.adapters.files.plugins import Identity
    from mfa_kit.adapters.ledger.ledger import Ledger

# The number of threads. There are many, because they spend most of their time waiting for the disk.
THREADS = 32


def rekey(
    settings: Settings,
    folder: BackupLocation | None,
    identities: Identities,
    to: Sequence[str],
    to_files: Sequence[Path],
    *,
    only: BackupLocation | None,
    accept_label: bool,
    until: Callable[[Event], AbstractContextManager[object]],
    counted: Callable[[Sequence[Backup]], Iterable[Backup]],
) -> Rekeyed:
    """Re-encrypt each backup of a folder to exactly the recipients in `to` and in the files `to_files`.

    Return which backups were re-encrypted and which failed. A backup that fails remains unchanged. `only` is the only
    file to re-encrypt, or None. `accept_label` is as in PathCheck. `until` takes an event and returns a context in
    which Ctrl-C sets this event. After the event is set, no further backup is started, and KeyboardInterrupt is raised
    when the backups in progress are finished. `counted` yields the backups that it is given, and shows the progress.
    """
    from mfa_kit.qr_codes.reading import read_device

    harden()
    store = open_age_files(settings, folder, read_recipients(to, to_files))
    secrets = identities.read()
    with open_ledger(settings) as ledger, store.exclusively():
        backups = files_to_rekey(store.backups(), only)
        known = known_recipients(backups, [seal for seal in backup_records(ledger).seals() if not seal.own])
        check_path = path_check(ledger, accept_label=accept_label)

        def check_label(backup: Backup, picture: Png) -> None:
            if (remark := check_path(backup.path, backup, read_device(picture, drawn=True).label)) and only:
                settings.progress.alert(f"note: {backup.path}: {remark}")

        done = reencrypt(
            known,
            store=store,
            secrets=secrets,
            ledger=ledger,
            check_picture=check_label,
            until=until,
            counted=counted,
        )
    done.failed.sort(key=lambda failure: str(failure[0].path))
    return done


def files_to_rekey(backups: Iterable[Backup], only: BackupLocation | None) -> list[Backup]:
    """Return the backups, or only the one with the path `only`. Raise UsageFault if it is not among them."""
    chosen = [backup for backup in backups if only is None or backup.path == only.absolute()]
    if only and not chosen:
        raise UsageFault(f"{only} is not a backup in this folder", "name its folder: --backup-dir DIR")
    return chosen


def reencrypt(
    known: Sequence[KnownRecipients],
    *,
    store: "AgeFiles",
    secrets: "Secret[list[Identity]]",
    ledger: "Ledger",
    check_picture: Callable[[Backup, Png], None] = lambda _, __: None,
    until: Callable[[Event], AbstractContextManager[object]],
    counted: Callable[[Sequence[Backup]], Iterable[Backup]],
) -> Rekeyed:
    """Re-encrypt the backups in `known` to the recipients of `store`.

    `known` also has the recipients that the ledger recorded for each backup. The caller must have locked the folder.
    `check_picture` raises IntegrityFault for the picture of a backup that must not be re-encrypted. `until` and
    `counted`, and the result, are as in `rekey`.
    """
    from mfa_kit.adapters.files.agefile import AgeResealer

    records, stop = backup_records(ledger), Event()
    rekey_file = partial(store.rekey, check_picture=check_picture, record=records.record_replacement)
    resealer = AgeResealer(store, secrets, rekey_file)

    def each(act: Callable[[Backup], RekeyResult], backups: Iterable[Backup]) -> Iterator[RekeyResult]:
        return Workers(act=act, number=THREADS, stop=stop).work_through(backups)

    run = Rekeying(
        resealer=resealer,
        on_record=OnRecord.of(known, store.recipients(), own_recipients=resealer.given()),
        records=records,
        log=lambda calls: ledger.called(*calls),
        done=Rekeyed(found=len(known)),
    )
    run.prefetch([entry.backup for entry in known], run_each=each, stoppable=lambda: until(stop), counted=counted)
    return run.done
