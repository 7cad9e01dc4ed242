"""Makes, decrypts, tests and removes encrypted backups, and opens the ledger's records of backups."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import TYPE_CHECKING

from mfa_kit.account.reconciling import expected_backups, other_folders
from mfa_kit.adapters.files.local_store import backup_at, is_gone, read_backup
from mfa_kit.adapters.ledger.records import BackupRecords
from mfa_kit.backups import drill, opening, pruning
from mfa_kit.backups.adding import DevicePicture, choose_account
from mfa_kit.backups.contents import Opened, intent_in
from mfa_kit.backups.drill import Drill, Drilled
from mfa_kit.backups.opening import FilesAndCopies, LabelCheck, PathCheck, ReadAhead, Verified
from mfa_kit.backups.rekeying import (
    KnownRecipients,
    OnRecord,
    Rekeyed,
    Rekeying,
    RekeyResult,
    choose_backups,
    known_recipients,
)
from mfa_kit.core.device_records import NO_RECORDS, RecordedDevice, RunRecords
from mfa_kit.core.interaction import Interaction, Progress
from mfa_kit.core.models import (
    OWN,
    Backup,
    BackupLocation,
    Call,
    DeviceSpec,
    JournalEntry,
    JournalState,
    Seal,
    backup_name,
    copies_of,
    recorded_location,
    recorded_name,
)
from mfa_kit.core.otp import Created, KeyUri, Png, Secret, Seed, Symbol
from mfa_kit.core.text import count_of, few
from mfa_kit.enrollment.backends import SECRET
from mfa_kit.rollout.execution import Workers
from mfa_kit.wiring.age_keys import Identities, read_recipients, unopened
from mfa_kit.wiring.files import draw
from mfa_kit.wiring.ledger import backup_records, open_ledger
from mfa_kit.wiring.settings import Settings, harden
from mfa_kit.wiring.stores import AnyFileStore, folder_of_backups, open_age_files, stored_backups

if TYPE_CHECKING:
    from mfa_kit.adapters.files.agefile import AgeFiles, BackupOpener
    from mfa_kit.adapters.files.plugins import Identity
    from mfa_kit.adapters.ledger.ledger import Ledger


@contextmanager
def open_opener(
    settings: Settings,
    identities: "Secret[list[Identity]]",
    *,
    read: Callable[[BackupLocation], bytes] | None = None,
    accept_label: bool = False,
) -> Iterator[tuple["BackupOpener", "Ledger"]]:
    """Yield a pair: an object that decrypts backups with these identities, and the ledger that logs each decryption.

    `read` replaces the function that returns the encrypted content of a backup. `accept_label` is as in PathCheck.
    """
    with open_ledger(settings) as ledger:
        check_path = path_check(ledger, accept_label=accept_label)
        yield _opener(settings, ledger.called, identities, read, check_path), ledger


def _opener(
    settings: Settings,
    log: Callable[[Call], None],
    identities: "Secret[list[Identity]]",
    read: Callable[[BackupLocation], bytes] | None,
    check_path: PathCheck,
) -> "BackupOpener":
    from mfa_kit.adapters.files.agefile import BackupOpener

    return BackupOpener(log, identities, read or backup_reader(settings), check_path)


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
    settings: Settings,
    identities: Identities,
    log: Callable[[Call], None],
    read: Callable[[BackupLocation], bytes] | None = None,
) -> Callable[[JournalEntry, BackupLocation], Created]:
    """Read the identities, and return a function that decrypts the backup of a journal entry, as `open_of_row` does.

    The function returns the device's secret and key URI. It calls `log` for each decryption.
    """
    open_backup = _opener(settings, log, identities.read(), read, PathCheck()).open
    return lambda entry, file: opening.open_of_row(entry, file, open_backup).created


def open_created(settings: Settings, file: BackupLocation, identities: Identities) -> Created:
    """Decrypt a backup, and return the secret and the key URI that IAM returned when it created the device.

    The ledger records the decryption.
    """
    with open_opener(settings, identities.read()) as (opened, _):
        return opened.created(file)


def backup_reader(settings: Settings) -> Callable[[BackupLocation], bytes]:
    """Return a function that returns the encrypted content of a backup, on this computer or in a bucket."""
    return partial(read_backup, file_store=AnyFileStore(settings))


def verify_backups(
    settings: Settings,
    files: Iterable[BackupLocation],
    identities: Identities,
    *,
    accept_label: bool,
    copies: FilesAndCopies = MappingProxyType({}),
) -> list[Verified]:
    """Decrypt each file, and return one result per file: the label of its device, or why the file cannot be used.

    If the identities do not decrypt a file, try its `copies`.
    """
    ahead = ReadAhead(backup_reader(settings), settings.stop)
    opening_ = open_opener(settings, identities.read(), read=ahead.read, accept_label=accept_label)
    with opening_ as (opener_, ledger), ledger.without_fsync():
        hashes = backup_records(ledger).hashes()
        return list(opening.verify_files(ahead.prefetch(files), opener_.open, copies=copies, hashes=hashes))


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
    with open_opener(settings, identities.read(), accept_label=accept_label) as (opener_, ledger):
        return list(
            drill.drill_all(
                files,
                open_backup=partial(open_and_note, settings, opener_),
                intent_of=lambda opened: intent_in(opened, path_of=backup_records(ledger).path),
                judge=judge,
                record=partial(_record_drill, backup_records(ledger)),
            )
        )


def _record_drill(records: BackupRecords, opened: Opened, result: Drill) -> None:
    """Record the result of a test, and the SHA-256 of a file that passed it if none is on record."""
    records.record_drill(backup_name(opened.file), result)
    if result is Drill.PROVED and not records.hashes().get(name := recorded_name(opened.file)):
        records.record_sealed((), (), hashes={name: opened.sha256})


def open_restorable(
    settings: Settings, files: FilesAndCopies, identities: Identities, *, accept_label: bool = False
) -> tuple[DeviceSpec, Opened]:
    """Decrypt a backup, so that its secret can be stored on a phone or a key. Return its DeviceSpec and content.

    The DeviceSpec names the MFA device to which the backup belongs. Raise UsageFault if that device was reported lost,
    the errors of `open_only`, and IntegrityFault if the backup is in a wrong place or names no device.
    """
    with open_opener(settings, identities.read(), accept_label=accept_label) as (opener_, ledger):
        opened = opening.open_only(files, partial(open_and_note, settings, opener_), settings.progress.alert)
        records = backup_records(ledger)
        return opening.restorable(opened, path_of=records.path, losses_of=records.losses), opened


@contextmanager
def open_records(settings: Settings) -> Iterator[BackupRecords]:
    """Yield the ledger's records of backups: their recipients and their tests. Close the ledger afterward."""
    with open_ledger(settings) as ledger:
        yield backup_records(ledger)


def recorded_backups(settings: Settings, choose: Callable[[Sequence[Backup]], Iterable[Backup]]) -> list[Backup]:
    """Return those of the ledger's backups, in whichever folder, that `choose` returns and that still exist."""
    with open_ledger(settings) as ledger:
        paths = [path for entry in ledger.entries() for path in copies_of(entry) if path is not None]
    backups = [backup for path in paths if (backup := backup_at(recorded_location(path)))]
    file_store = AnyFileStore(settings)
    return [backup for backup in choose(backups) if file_store.file(backup.path).is_there()]


def open_with(
    settings: Settings, files: FilesAndCopies, identities: "Secret[list[Identity]]", *, accept_label: bool
) -> Opened:
    """Decrypt a backup with identities that have already been read. `accept_label` is as in PathCheck.

    Raise the errors of `open_only`, and IntegrityFault if the backup is in a wrong place.
    """
    with open_opener(settings, identities, accept_label=accept_label) as (opener_, _):
        return opening.open_only(files, partial(open_and_note, settings, opener_), settings.progress.alert)


def sample_symbol(file: BackupLocation) -> Symbol:
    """Return a QR code without a secret, as large as the one in a backup, to check that it fits the window."""
    named = backup_at(file)
    return draw(Seed(bytes(SECRET)), *((named.device, named.account) if named else ("", "")))


def known_recipients_of(backups: Iterable[Backup], ledger: "Ledger") -> list[KnownRecipients]:
    """Return backups with their recipients on record, without those of users' own copies."""
    return known_recipients(backups, backup_records(ledger).seals(), own=False)


def known_backups(settings: Settings, folder: BackupLocation | None) -> list[KnownRecipients]:
    """Return the backups in a folder as `known_recipients_of` does."""
    with open_ledger(settings) as ledger:
        return known_recipients_of(stored_backups(settings, folder), ledger)


def stored_and_missing(
    settings: Settings, folder: BackupLocation | None, *, own: bool, record: RunRecords = NO_RECORDS
) -> tuple[list[Backup], list[Backup]]:
    """Return the backups below a folder as `stored_backups` does, and those that should be there and are not.

    The ledger and `record`, the records of runs, say which should be there: in a bucket all that were written there, in
    a folder those that this computer wrote. Print which other folders the ledger names.
    """
    place = folder_of_backups(settings, folder).absolute()
    with open_ledger(settings) as ledger:
        expected = _expected_backups(ledger, place, record, own=own)
        stored = stored_backups(settings, folder, own=own)
        missing = expected.keys() - {backup.path.absolute() for backup in stored}
        if missing:  # a backup may have been removed before the list was read
            missing &= _expected_backups(ledger, place, record, own=own).keys()
        _note_other_folders(ledger, place, stored, settings.progress)
    return stored, [backup for path, backup in expected.items() if path in missing]


def _expected_backups(
    ledger: "Ledger", place: BackupLocation, record: RunRecords, *, own: bool
) -> dict[BackupLocation, Backup]:
    records, entries = backup_records(ledger), ledger.entries()
    lost = record.lacking(lambda: {(entry.run, entry.spec.serial) for entry in entries})
    entries += [line.entry(JournalState.CONFIRMED) for line in lost if not line.run.in_progress]
    written = records.written(here=isinstance(place, Path)).union(
        backup_name(path) for line in record.devices for path in line.locations
    )
    return expected_backups(
        sorted(entries, key=lambda entry: entry.run),
        folders={place, place / OWN} if own else {place},
        written=written - records.removed(),
    )


def _note_other_folders(ledger: "Ledger", place: BackupLocation, stored: Iterable[Backup], progress: Progress) -> None:
    """Print which other folders have backups according to the ledger, because a command for `place` leaves them out.

    `stored` are the backups in `place`. Folders that are gone, and those on other computers, are not named.
    """
    records = backup_records(ledger)
    entries = sorted(ledger.entries(), key=lambda entry: entry.run)
    known = expected_backups(entries, folders=None, written=records.written(here=False) - records.removed())
    here = records.written(here=True)
    paths = [path for path in known if not isinstance(path, Path) or backup_name(path) in here]
    numbers = other_folders(paths, folder=place, stored={backup.name for backup in stored})
    others = {
        folder: number for folder, number in numbers.items() if not isinstance(folder, Path) or not is_gone(folder)
    }
    if others:
        names = few([f"{folder} ({number})" for folder, number in others.items()])
        progress.alert(
            f"note: the ledger also has {count_of(sum(others.values()), 'backup')} elsewhere, left out here: {names}; "
            "for other folders, use --backup-dir DIR"
        )


def record_lines(ledger: "Ledger", lines: Iterable[RecordedDevice]) -> set[str]:
    """Record the recipients and the SHA-256 of the backups in records of runs, if the ledger lacks the recipients.

    Return the names of all backups whose recipients are then on record. Files in folders of other computers are left
    out.
    """
    records = backup_records(ledger)
    names = records.written(here=False)
    with ledger.without_fsync():
        for line in lines:
            if lost := {*map(backup_name, line.locations)} - names:
                records.record_sealed(lost, line.to, own=line.spec.recipient, hashes=line.hashes)
                names |= lost
    return names


def read_seals(settings: Settings) -> tuple[list[Seal], set[str]]:
    """Return the ledger's records of the recipients of backups, and the names of backups whose device is gone."""
    with open_records(settings) as records:
        return records.seals(), {backup_name(Path(path)) for path in records.gone()}


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
    confirm: Callable[[Sequence[str]], None],
    until: Callable[[Event], AbstractContextManager[object]],
    counted: Callable[[Sequence[Backup]], Iterable[Backup]],
) -> Rekeyed:
    """Re-encrypt each backup of a folder to exactly the recipients in `to` and in the files `to_files`.

    Return which backups were re-encrypted and which failed. A backup that fails remains unchanged. `only` is the only
    file to re-encrypt, or None. `accept_label` is as in PathCheck. `confirm` is called with the recipients that no
    identity opens and that no backup had before, if there are any. `until` takes an event and returns a context in
    which Ctrl-C sets this event. After the event is set, no further backup is started, and KeyboardInterrupt is raised
    when the backups in progress are finished. `counted` yields the backups that it is given, and shows the progress.
    """
    from mfa_kit.qr_codes.reading import read_device

    recipients = read_recipients(to, to_files)
    store = open_age_files(settings, folder, recipients)
    secrets = identities.read()
    with open_ledger(settings) as ledger, store.exclusively():
        check_label = LabelCheck(
            path_check(ledger, accept_label=accept_label),
            label_of=lambda picture: read_device(picture, drawn=True).label,
            note=settings.progress.alert if only else None,
        )
        stored = list(store.backups())
        known = known_recipients_of(choose_backups(stored, only), ledger)
        if not only:
            _note_other_folders(ledger, folder_of_backups(settings, folder).absolute(), stored, settings.progress)
        recorded = {text for entry in known for text in entry.recipients or ()}
        unproven = unopened(secrets, [recipient for recipient in recipients if recipient.text not in recorded])
        if known and unproven:
            confirm(unproven)
        return reencrypt(
            known,
            store=store,
            secrets=secrets,
            ledger=ledger,
            check_picture=check_label,
            until=until,
            counted=counted,
        )


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

    return Rekeying(
        resealer=resealer,
        on_record=OnRecord.of(known, store.recipients(), own_recipients=resealer.given()),
        records=records,
        log=lambda calls: ledger.called(*calls),
    ).run([entry.backup for entry in known], run_each=each, stoppable=lambda: until(stop), counted=counted)


STDIN = "-"

# A function that overwrites and removes the file of the image that was read. It returns the number of other hard links
# to the file.
Shred = Callable[[], int]


def uri_of(seed: Seed, backup: Backup) -> KeyUri:
    """Return the key URI of a backup's device, labeled like those of AWS."""
    from mfa_kit.qr_codes import key_uri

    return key_uri.otpauth(seed, label=f"{backup.device}@{backup.account}")


def read_picture(image: str, person: Interaction) -> tuple[DevicePicture, Shred | None]:
    """Read the QR code in an image. Return the device in the code, and a function that overwrites and removes the file.

    If `image` is `-`, it is read from stdin, and the function is None. If the image shows several devices, the user
    chooses one. Raise UsageFault if the image cannot be read, and IntegrityFault if it has no QR code of a device.
    """
    from mfa_kit.adapters.files import picture as image_files
    from mfa_kit.qr_codes import reading

    harden()
    plain = None if image == STDIN else image_files.load_image(Path(image))
    accounts = reading.read_accounts(plain.picture if plain else image_files.read_image(sys.stdin.buffer))
    chosen = choose_account(accounts.labels, of=accounts.total, which=accounts.picture, person=person)
    device = reading.device_in(accounts.uris[chosen])
    picture = DevicePicture(created=device.created, label=device.label, notes=device.notes)
    return picture, partial(image_files.shred_image, plain) if plain else None
