"""Encrypts, decrypts and re-encrypts backups. Each decryption is recorded in the log.

A backup is an age file (age-encryption.org/v1) with a picture of a device's QR code. `local_store` defines the
interface for writing, reading and removing the files.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from mfa_kit.adapters.files.identities import Recipient, parse_recipients, recipients_of, split_by_recipients
from mfa_kit.adapters.files.local_store import LOCAL, FileStore, backup_at, find_backups, new_backup, read_backup
from mfa_kit.adapters.files.plugins import (
    NO_PLUGINS,
    Identity,
    Plugins,
    decrypt_file,
    encrypt,
    without_armor,
)
from mfa_kit.backups.contents import Opened, backup_call
from mfa_kit.core.errors import IntegrityFault, WrongIdentityError
from mfa_kit.core.message import suggest
from mfa_kit.core.models import (
    OWN,
    Backup,
    BackupLocation,
    Call,
    DeviceSpec,
    JournalEntry,
    backup_name,
    own_copy,
    recorded_location,
    recorded_name,
)
from mfa_kit.core.otp import Created, KeyUri, Png, Secret
from mfa_kit.disk.files import LARGEST, MAGIC
from mfa_kit.qr_codes import symbol
from mfa_kit.qr_codes.reading import read_device


def open_backup(
    path: BackupLocation, keys: Secret[list[Identity]], read: Callable[[BackupLocation], bytes] = read_backup
) -> Png:
    """Return the picture in a backup. Raise IntegrityFault if none of the identities can decrypt the backup.

    `read` returns the encrypted content of the backup, and raises IntegrityFault if it cannot be read.
    """
    return _decrypted(path, read(path), keys)


def _decrypted(path: BackupLocation, sealed: bytes, keys: Secret[list[Identity]]) -> Png:
    content = without_armor(Secret(sealed))
    if len(content.reveal()) > LARGEST or not content.reveal().startswith(MAGIC):
        raise IntegrityFault(
            f"{path} is not a backup: it is not an age file", suggest("list the backups", "backup list")
        )
    return Png(decrypt_file(content, keys, where=str(path), hint="give another identity with -i").reveal())


class AgeFiles:
    """A BackupStore in one folder. It encrypts new backups to the recipients `to`.

    For a user who has a recipient, it also writes a copy to the subfolder `users`. Only this user can decrypt the copy.
    If `to` is empty, it writes only this copy, and nothing for users without a recipient. `accept` raises UsageFault if
    new backups must not be written to the folder. `plugins` are the age plugins that may encrypt to the users'
    recipients. `record` is a RecordSealed.
    """

    def __init__(
        self,
        folder: BackupLocation,
        to: list[Recipient],
        file_store: FileStore = LOCAL,
        *,
        accept: Callable[[], None] = lambda: None,
        plugins: Plugins = NO_PLUGINS,
        record: Callable[..., None] = lambda *_, **__: None,
    ) -> None:
        self._folder, self._to, self._file_store, self._accept = folder.absolute(), to, file_store, accept
        self._plugins, self._record = plugins, record

    def place(self, spec: DeviceSpec, run: str) -> str | None:
        """Return the path for the backup of this run, or None if there will be no backup.

        Raise IntegrityFault if a file with that path exists, and UsageFault if the device name is too long for a file
        name.
        """
        if self._to:
            path = self.new(spec.account, spec.user, spec.name, run=run).path
            if self._file_store.file(path).is_taken():  # undoing this run would remove the existing file
                raise IntegrityFault(
                    f"{path} already exists", "move it away, because mfa-kit never overwrites a backup"
                )
            return str(path)
        return self._own(spec.recipient).place(replace(spec, recipient=None), run) if spec.recipient else None

    def _own(self, recipient: str) -> "AgeFiles":
        return AgeFiles(self._folder / OWN, self._recipients_of(recipient), self._file_store)

    def _recipients_of(self, user: str) -> list[Recipient]:
        """Return the recipient of a user's own copy, in a list. `user` is the user's public key as text."""
        return parse_recipients([user], plugins=self._plugins)

    def new(self, account: str, user: str, device: str, *, run: str) -> Backup:
        """Return a Backup with the path for its new file. Raise UsageFault if the file name would be too long."""
        return new_backup(self._folder, account=account, user=user, device=device, run=run)

    def recipients(self) -> list[str]:
        """Return the public keys to which new backups are encrypted."""
        return [recipient.text for recipient in self._to]

    def find(self, entry: JournalEntry) -> str | None:
        """Return the path of the backup that a journal entry's run wrote.

        If that file does not exist, return the path of the user's own copy, or None if there is no copy either.
        """
        usual = self.new(entry.spec.account, entry.spec.user, entry.spec.name, run=entry.run)
        places = [*([recorded_location(entry.backup)] if entry.backup else []), usual.path]
        if entry.spec.recipient:
            places += [own_copy(place) for place in places]
        return next((str(place) for place in places if self._file_store.file(place).is_there()), None)

    def backups(self) -> Iterator[Backup]:
        """Yield the backups in the folder, without the users' own copies."""
        return find_backups(self._folder, self._file_store)

    def recorded_by(self, record: Callable[..., None]) -> "AgeFiles":
        """Return the same store, which calls `record`, a RecordSealed, before it writes a backup."""
        return AgeFiles(
            self._folder, self._to, self._file_store, accept=self._accept, plugins=self._plugins, record=record
        )

    def check(self) -> None:
        """Raise UsageFault if backups cannot or must not be written to the folder. Nothing is changed."""
        self._accept()
        self._file_store.folder(self._folder).check()

    def seal(self, entry: JournalEntry, uri: KeyUri) -> None:
        """Write a key URI to the user's own copy if the user has a recipient, and then to the backup `entry.backup`.

        The backup then shows that both are complete. If `entry.backup` is None, write nothing. Raise IntegrityFault if
        one of the files exists or cannot be written.
        """
        if entry.backup is None:
            return
        spec, path = entry.spec, recorded_location(entry.backup)
        backup = Backup(account=spec.account, user=spec.user, device=spec.name, run=entry.run, path=path)
        picture = symbol.png(uri, caption=_caption(backup))
        files: list[tuple[BackupLocation, BackupLocation, bytes]] = []
        if spec.recipient:
            sealed = _encrypted(picture, self._recipients_of(spec.recipient))
            files.append((own_copy(path), self._folder / OWN, sealed))
        if self._to:
            files.append((path, self._folder, _encrypted(picture, self._to)))
        self._write(files, backup_name(path), own=spec.recipient, entry=entry)

    def store_existing(self, backup: Backup, uri: KeyUri) -> None:
        """Write a key URI to a backup. Raise IntegrityFault if the file exists or cannot be written."""
        sealed = _encrypted(symbol.png(uri, caption=_caption(backup)), self._to)
        self._write([(backup.path, self._folder, sealed)], backup.name, own=None, entry=None)

    def _write(
        self,
        files: Sequence[tuple[BackupLocation, BackupLocation, bytes]],
        name: str,
        *,
        own: str | None,
        entry: JournalEntry | None,
    ) -> None:
        """Record the recipients of a backup, then write the encrypted content of each file below its folder."""
        hashes = {recorded_name(path): sha256_of(sealed) for path, _, sealed in files}
        self._record(name, self.recipients(), own=own, hashes=hashes, entry=entry)
        for path, folder, sealed in files:
            self._file_store.file(path, folder).create(sealed)

    def exclusively(self) -> AbstractContextManager[None]:
        """Return a context manager that locks the backup folder, if this kind of storage has locks.

        Entering the context raises IntegrityFault if another process holds the lock.
        """
        return self._file_store.folder(self._folder).exclusively()

    def rekey(
        self,
        backup: Backup,
        keys: Secret[list[Identity]],
        *,
        proof: Secret[list[Identity]],
        check_picture: Callable[[Backup, Png], None] = lambda _, __: None,
        record: Callable[[str, str, str], None] = lambda *_: None,
    ) -> bool:
        """Decrypt a backup with `keys`, and replace its file with one that is encrypted to the current recipients.

        `check_picture` raises IntegrityFault for a picture that does not belong to the backup. `record` is called
        with the name of the backup and the SHA-256 of its old and new file before the old file is replaced. The new
        file is read back before it replaces the old file. Return whether one of the identities in `proof` can decrypt
        the new file. Raise IntegrityFault if no identity in `keys` can decrypt the old file, or if the new file cannot
        be written.
        """
        pictures: list[Png] = []

        def change(old: bytes) -> bytes:
            picture = _decrypted(backup.path, old, keys)
            check_picture(backup, picture)
            pictures[:] = [picture]
            new = _encrypted(picture, self._to)
            record(backup.name, sha256_of(old), sha256_of(new))
            return new

        def check(written: bytes) -> bool:
            return _opens(backup.path, written, proof, pictures[0])

        return self._file_store.file(backup.path, self._folder).replace(change, check, most=LARGEST + 1)

    def picture(self, backup: Backup, keys: Secret[list[Identity]]) -> Png:
        """Return the decrypted picture in a backup. Raise IntegrityFault if it cannot be read or decrypted."""
        return _decrypted(backup.path, read_backup(backup.path, self._file_store), keys)

    def discard(self, backup: Backup) -> None:
        """Remove a backup permanently. Raise IntegrityFault if that fails."""
        self._file_store.file(backup.path, self._folder).discard()

    def remove(self, entry: JournalEntry) -> None:
        """Remove `entry.backup`, the user's own copy, and the incomplete versions of both files.

        Raise IntegrityFault if that fails, or if `entry.backup` cannot be a backup of the entry's run.
        """
        if entry.backup is None:
            return
        path = recorded_location(entry.backup)
        if not _is_backup_of(path, entry):
            raise IntegrityFault(
                f"the ledger names {path} as the backup of run {entry.run}, but no backup of that run can have this "
                "path; the file was not removed",
                "find out who changed the ledger; then remove the right file yourself",
            )
        for copy in (path, own_copy(path)) if entry.spec.recipient else (path,):
            self._file_store.file(copy).remove(sealed=entry.sealed)


def _is_backup_of(path: BackupLocation, entry: JournalEntry) -> bool:
    """Return whether a path ends with the account, user and file name of this run's backup, in any folder.

    `remove` checks this, because another program may have changed the path in the ledger.
    """
    spec = entry.spec
    usual = new_backup(Path("/"), account=spec.account, user=spec.user, device=spec.name, run=entry.run).path
    return path.is_absolute() and ".." not in path.parts and path.parts[-3:] == usual.parts[-3:]


def sha256_of(content: bytes) -> str:
    """Return the SHA-256 of an encrypted file, in hex digits."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

    return hashlib.sha256(content).hexdigest()


def _encrypted(picture: Png, to: Sequence[Recipient]) -> bytes:
    return encrypt(picture, [recipient.key for recipient in to])


def _opens(path: BackupLocation, sealed: bytes, keys: Secret[list[Identity]], picture: Png) -> bool:
    """Return whether one of these identities can decrypt a file.

    Raise IntegrityFault if the decrypted content is not `picture`.
    """
    try:
        content = _decrypted(path, sealed, keys)
    except WrongIdentityError:
        return False
    if content != picture:
        raise IntegrityFault(f"{path} does not contain what was written to it", "check the disk")
    return True


def _caption(backup: Backup) -> str:
    return (
        f"AWS account {backup.account}\n"
        f"user {backup.user}\n"
        f"MFA device {backup.device}\n"
        f"made {backup.run[:4]}-{backup.run[4:6]}-{backup.run[6:8]}\n"
        "\n"
        "Scan this with an authenticator app. Keep it encrypted."
    )


class BackupOpener:
    """Decrypts backups with `identities`, and records each attempt with `log`.

    `read` returns the encrypted content of a backup, and raises IntegrityFault if it cannot be read. `check_path` takes
    a file, the backup that its path names, and the label of its QR code. It returns what was not compared, and raises
    WrongPlace if the path and the label differ.
    """

    def __init__(
        self,
        log: Callable[[Call], None],
        identities: Secret[list[Identity]],
        read: Callable[[BackupLocation], bytes],
        check_path: Callable[[BackupLocation, Backup | None, str], str | None],
    ) -> None:
        self._log, self._identities, self._read, self._check_path = log, identities, read, check_path

    def picture(self, file: BackupLocation) -> Png:
        """Return the picture in a backup. Raise IntegrityFault if the backup cannot be decrypted."""
        return self._decrypt(file)[0]

    def _decrypt(self, file: BackupLocation) -> tuple[Png, bytes]:
        """Return the picture in a backup, and the encrypted content."""
        succeeded, named = False, backup_at(file)
        try:
            sealed = self._read(file)
            picture = open_backup(file, self._identities, lambda _: sealed)
            succeeded = True
        finally:
            user = named.user if named else None
            self._log(backup_call("OpenBackup", file, user=user, succeeded=succeeded))
        return picture, sealed

    def open(self, file: BackupLocation) -> Opened:
        """Return the contents of a backup.

        Raise IntegrityFault if the backup cannot be decrypted or has no QR code of a device, and WrongPlace if it is in
        the place of another backup.
        """
        (picture, sealed), named = self._decrypt(file), backup_at(file)
        device = read_device(picture)
        return Opened(
            file=file,
            picture=picture,
            created=device.created,
            label=device.label,
            named=named,
            sha256=sha256_of(sealed),
            unchecked=self._check_path(file, named, device.label),
            notes=device.notes,
        )

    def created(self, file: BackupLocation) -> Created:
        """Return the secret and the key URI in a backup, whose path is not compared with its label.

        Raise IntegrityFault if the backup cannot be decrypted or has no QR code of a device.
        """
        return read_device(self.picture(file)).created


class AgeResealer:
    """Decrypts backups with the given identities, and encrypts them to the recipients of `store` (the new recipients).

    An identity is new if its public key is one of the new recipients. The other identities are old. SSH keys and
    plugins count as old, because pyrage does not return their public keys. `rekey` is
    `AgeFiles.rekey` of `store`, with its checks.
    """

    def __init__(self, store: AgeFiles, identities: Secret[list[Identity]], rekey: Callable[..., bool]) -> None:
        self._vault, self._all, self._rekey = store, identities, rekey
        self._old, self._new = split_by_recipients(identities, store.recipients())

    @property
    def has_new_identity(self) -> bool:
        """Whether one of the identities belongs to a new recipient."""
        return self._new is not None

    def recipients(self) -> list[str]:
        """Return the public keys to which the backups are encrypted again."""
        return self._vault.recipients()

    def given(self) -> list[str | None]:
        """Return the recipient of each given identity, or None for an identity of SSH or of a plugin."""
        return recipients_of(self._all)

    def reseal(self, backup: Backup) -> bool:
        """Decrypt a backup with the old identities, and encrypt it to the new recipients.

        If no identity is old, decrypt with the new ones. Return whether one of the given identities can decrypt the new
        file. Raise WrongIdentityError if no identity that was tried can decrypt the old file.
        """
        return self._rekey(backup, self._old, proof=self._all)

    def reseal_with_new(self, backup: Backup) -> bool:
        """Decrypt a backup with the new identities, and encrypt it to the new recipients.

        Return whether one of the given identities can decrypt the new file. Raise WrongIdentityError if no new identity
        can decrypt the old file.
        """
        return self._rekey(backup, self._new_identities(), proof=self._all)

    def check_opens(self, backup: Backup) -> None:
        """Raise WrongIdentityError if no new identity can decrypt a backup."""
        self._vault.picture(backup, self._new_identities())

    def _new_identities(self) -> Secret[list[Identity]]:
        assert self._new is not None  # noqa: S101 - callers check has_new_identity first
        return self._new
