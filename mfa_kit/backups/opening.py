"""Reads backups ahead, and checks whether decrypted backups can be used, and whether they may be restored."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from mfa_kit.backups.contents import Opened, device_and_account, intent_in, is_account
from mfa_kit.core.errors import IntegrityFault, UsageFault, WrongIdentityError, WrongPlace
from mfa_kit.core.message import suggest
from mfa_kit.core.models import Backup, BackupLocation, DeviceSpec, JournalEntry, S3Url, recorded_name
from mfa_kit.core.otp import Png
from mfa_kit.core.stopping import Stop, await_result


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupCheck:
    """The result of decrypting a backup, in the schema mfa-kit/backup-verify."""

    file: str
    opens: bool
    label: str | None
    remarks: tuple[str, ...] | None
    fault: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The result of decrypting one backup: the label of its QR code and notes, or why the file cannot be used.

    `remarks` says what was not checked, and `hint` what to do about the fault.
    """

    file: BackupLocation
    label: str | None = None
    remarks: tuple[str, ...] = ()
    fault: str | None = None
    hint: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def checked(self) -> BackupCheck:
        """The result for output."""
        return BackupCheck(
            file=str(self.file),
            opens=self.fault is None,
            label=self.label,
            remarks=self.remarks or None,
            fault=self.fault,
        )


MISSING = suggest("put the missing files back from a copy, or replace the devices", "replace USER --with KIND")


def missing_backup(backup: Backup) -> Verified:
    """Return the result for a backup that should be in a folder, but is missing."""
    return Verified(file=backup.path, fault=f"{backup.path} is missing", hint=MISSING)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathCheck:
    """Compares the path of a backup with the label of its QR code, and with the ledger.

    `users` returns the users whom the ledger names, by the account, the device and the run. With `accept_label`, a
    difference is not an error.
    """

    users: Callable[[], Mapping[tuple[str, str, str], Collection[str]]] = dict
    accept_label: bool = False

    def __call__(self, file: BackupLocation, named: Backup | None, label: str) -> str | None:
        """Return what was not compared, or which difference was accepted, or None.

        `named` is the backup that the path names, or None if it names none. A label without a device or an
        account differs. Only an account's ID can be compared, not its alias. Raise WrongPlace if the label names
        another device or account, or if the ledger names another user.
        """
        if named is None:
            return f"named only by its label {label!r}, because its path is not ACCOUNT/USER/DEVICE-RUN.png.age"
        device, account = device_and_account(label)
        users = self.users().get((named.account, named.device, named.run), (named.user,))
        if device != named.device or (account != named.account and (is_account(account) or not account)):
            difference = f"its label is {label!r}"
        elif named.user not in users:
            difference = f"it belongs to {' and '.join(sorted(users))} according to the ledger"
        else:
            return None if is_account(account) else f"account alias {account!r} of the label not compared"
        if self.accept_label:
            return f"accepted, although {difference}"
        raise WrongPlace(
            f"{file} is not the backup of {named.device} of {named.user} in account {named.account}: {difference}",
            "move it to the right folder and name; if you are sure of this file, name it alone: --accept-label",
        )


def open_of_row(entry: JournalEntry, file: BackupLocation, open_backup: Callable[[BackupLocation], Opened]) -> Opened:
    """Decrypt the backup of a journal entry with `open_backup`, which compares the path of the file with its label.

    Raise WrongPlace if the path is not that of the entry's account, user, device and run. Nothing is decrypted then.
    """
    if not entry.owns(file):
        raise WrongPlace(
            f"{file} is not the backup of {entry.spec.name} of {entry.spec.user} by run {entry.run}",
            suggest(
                "find out who changed the record or the ledger; then replace the device", "replace USER --with KIND"
            ),
        )
    return open_backup(file)


@dataclass(frozen=True, slots=True)
class LabelCheck:
    """Checks the picture in a backup before it is encrypted again: its label must belong to the path of the backup.

    `label_of` returns the label of a picture. `note` prints what was not compared, unless it is None.
    """

    check_path: PathCheck
    label_of: Callable[[Png], str]
    note: Callable[[str], None] | None

    def __call__(self, backup: Backup, picture: Png) -> None:
        """Check a picture. Raise WrongPlace if its label or the ledger names another device, account or user."""
        remark = self.check_path(backup.path, backup, self.label_of(picture))
        if remark and self.note:
            self.note(f"note: {backup.path}: {remark}")


# Files of backups, each with the other files of the same backup: the copy that only the device's user can decrypt.
FilesAndCopies = Mapping[BackupLocation, Sequence[BackupLocation]]


def several_backups(files: Collection[BackupLocation]) -> UsageFault:
    """Return the error for a name that means several backups."""
    names, user = ", ".join(str(file.name) for file in files), next(iter(files)).parts[-2]
    return UsageFault(f"{user} has {len(files)} backups", f"name one of the files: {names}")


def open_only(
    files: FilesAndCopies, open_backup: Callable[[BackupLocation], Opened], warn: Callable[[str], None]
) -> Opened:
    """Open the only one of several backups that the identities decrypt, or its copy.

    With several backups, each is tried, even after one that is damaged; `warn` prints the faults of those. Raise
    WrongPlace for a backup in a wrong place, and UsageFault if the identities decrypt several backups. If they decrypt
    none, raise the error of the first damaged one, or else that of the first one.
    """
    opened: list[Opened] = []
    faults: list[IntegrityFault] = []
    for file, copies in files.items():
        for place in (file, *copies):
            try:
                opened.append(open_backup(place))
                break
            except WrongPlace:
                raise
            except IntegrityFault as fault:
                faults.append(fault)
        if len(opened) > 1:
            raise several_backups(files)
    damaged = [error for error in faults if not isinstance(error, WrongIdentityError)]
    if not opened:
        raise (damaged or faults)[0]
    for skipped in damaged:
        warn(f"note: {skipped}")
    return opened[0]


def verify_files(
    files: Iterable[BackupLocation],
    open_backup: Callable[[BackupLocation], Opened],
    *,
    copies: FilesAndCopies,
    hashes: Mapping[str, Collection[str]],
) -> Iterator[Verified]:
    """Decrypt each file, and yield the label of its QR code or the fault. The label is not secret.

    If the identities do not decrypt a file, its `copies` are tried, and the result names the copy. `hashes` has the
    SHA-256 of the files that each backup may have, by its `recorded_name`. The others are a fault.
    """
    for file in files:
        refused = []
        for place in (file, *copies.get(file, ())):
            try:
                yield _verified(open_backup(place), hashes)
                break
            except WrongIdentityError as fault:
                refused.append(fault)
            except IntegrityFault as fault:
                yield Verified(file=place, fault=str(fault), hint=fault.hint)
                break
        else:
            yield Verified(file=file, fault=str(refused[0]), hint=refused[0].hint)


def _verified(opened: Opened, hashes: Mapping[str, Collection[str]]) -> Verified:
    """Return the result of a file that was decrypted. Raise IntegrityFault if its hash is not on record."""
    remarks = [opened.unchecked, _unrecorded_hash(opened, hashes)]
    return Verified(file=opened.file, label=opened.label, remarks=tuple(filter(None, remarks)), notes=opened.notes)


def _unrecorded_hash(opened: Opened, hashes: Mapping[str, Collection[str]]) -> str | None:
    """Return a remark if no hash of the backup is on record, else None. Raise IntegrityFault for another hash."""
    recorded = hashes.get(recorded_name(opened.file)) if opened.named else None
    if recorded is not None and opened.sha256 not in recorded:
        raise IntegrityFault(
            f"{opened.file} is not the file that mfa-kit wrote last: the ledger has another SHA-256",
            suggest(
                "use another copy; encrypt an older copy of the folder again with backup rekey; to compare a file "
                "with its device",
                "backup drill FILE -i IDENTITY",
            ),
        )
    return "hash not recorded" if recorded is None else None


def restorable(
    opened: Opened,
    *,
    path_of: Callable[[str, str], str],
    losses_of: Callable[[str | None, Collection[str]], Iterable[str]],
) -> DeviceSpec:
    """Return a DeviceSpec for putting the secret of a backup on another phone or OATH key.

    `path_of` returns the IAM path of a device, given its run ID and name. `losses_of` returns the IDs of the runs that
    reported a device as lost, given the device's account (None if unknown) and its possible names. Raise IntegrityFault
    if neither the path nor the label of the backup names a device, and UsageFault if the device was reported lost.
    """
    spec = intent_in(opened, path_of=path_of)
    account = spec.account if is_account(spec.account) else None
    losses = losses_of(account, {spec.name, device_and_account(opened.label)[0]})
    check_not_lost(spec.name, opened.named.run if opened.named else None, losses=losses)
    return spec


def check_not_lost(device: str, run: str | None, *, losses: Iterable[str]) -> None:
    """Raise UsageFault if the device of a backup was reported lost.

    Anyone who finds the lost device would see the same codes as on a restored device. `run` is the run ID of the
    backup, or None if it is unknown. `losses` has the IDs of the runs that reported a device of this name as lost. A
    loss that is older than the backup does not count, because it concerns an earlier device of the same name. If `run`
    is None, every loss counts. Run IDs sort by time.
    """
    if any(run is None or loss >= run for loss in losses):
        raise UsageFault(
            f"{device} was reported lost, and anyone who finds it can see its codes",
            suggest("give the user a new device", "enroll USER"),
        )


THREADS = 16
# The number of backups for which reading starts at the same time, before the first of them is decrypted.
BATCH = 4 * THREADS


class ReadAhead:
    """Reads backups from buckets in threads, before the caller asks for their content with the method `read`.

    Backups on this computer are read when the caller asks for them. The argument `read` is a function that returns the
    encrypted content of a backup. After an error, `stop` is set, so that no thread waits for a bucket any more.
    """

    def __init__(self, read: Callable[[BackupLocation], bytes], stop: Stop) -> None:
        self._read, self._stop = read, stop
        self._reading: dict[BackupLocation, Future[bytes]] = {}

    def prefetch(self, files: Iterable[BackupLocation]) -> Iterator[BackupLocation]:
        """Yield `files` unchanged. Before each batch of BATCH files, start to read its files that are in buckets."""
        remaining_files = iter(files)
        with ThreadPoolExecutor(THREADS, thread_name_prefix="read") as pool, self._stop.after_error():
            while batch := list(islice(remaining_files, BATCH)):
                self._reading = {place: pool.submit(self._read, place) for place in batch if isinstance(place, S3Url)}
                yield from batch

    def read(self, place: BackupLocation) -> bytes:
        """Return the encrypted content of a backup. Raise IntegrityFault if it could not be read."""
        early = self._reading.pop(place, None)
        return await_result(early) if early else self._read(place)
