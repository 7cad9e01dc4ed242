"""Encrypted backups: one age file (age-encryption.org/v1) per device, which contains a picture of its QR code.

Files are 0600 and folders 0700. Symlinks are refused. A file appears complete or not at all, and never replaces
another.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from shlex import quote

import pyrage

from mfa_kit.adapters.files.age_calls import contain_panics, without_armor
from mfa_kit.adapters.files.backup_names import OWN, encoded, new_backup, own_copy
from mfa_kit.adapters.files.identities import LARGEST, MAGIC, Identity
from mfa_kit.adapters.files.private_files import create_private, faults_of, hold, reason_of, write_new
from mfa_kit.adapters.files.recipients import Recipient, parse_recipients
from mfa_kit.core.errors import IntegrityFault, OthersSeal, UsageFault
from mfa_kit.core.models import Backup, Entry, Intent
from mfa_kit.core.otp import KeyUri, Png, Secret
from mfa_kit.disk import whole_files
from mfa_kit.disk.folders import make_folder, open_plain_folder
from mfa_kit.qr_codes import symbol

NOT_FOR_US = "No matching keys"


def open_backup(path: Path, keys: Secret[list[Identity]]) -> Png:
    """Decrypt a backup. Raise IntegrityFault if it cannot be read or if none of the identities can decrypt it."""
    try:
        file = os.open(path, whole_files.READING)
        return _decrypted(path, whole_files.read_all(file, LARGEST + 1), keys)
    except OSError as error:
        raise IntegrityFault(
            f"the backup {path} cannot be read: {reason_of(error)}", "see: mfa-kit backup list"
        ) from None


def _decrypted(path: Path, sealed: bytes, keys: Secret[list[Identity]]) -> Png:
    sealed = without_armor(Secret(sealed)).reveal()
    if len(sealed) > LARGEST or not sealed.startswith(MAGIC):
        raise IntegrityFault(f"{path} is not a backup: it is not an age file", "see: mfa-kit backup list")
    damaged = IntegrityFault(f"{path} is damaged and cannot be decrypted", "use another copy")
    try:
        with contain_panics(damaged):
            return Png(pyrage.decrypt(sealed, keys.reveal()))
    except pyrage.DecryptError as error:
        if NOT_FOR_US in str(error):
            raise OthersSeal(f"{path} was encrypted to a different key", "give another identity with -i") from None
        raise damaged from None


def seal_text(path: Path, text: Secret[str], to: Sequence[str], to_files: Sequence[Path]) -> None:
    """Encrypt a short text into a new file. `to` and the lines of `to_files` are the recipients' public keys.

    Raise UsageFault if a key is not a recipient, and IntegrityFault if the file cannot be written. No incomplete file
    remains.
    """
    recipients = parse_recipients(to, to_files)
    write_new(path, pyrage.encrypt(text.reveal().encode(), [each.key for each in recipients]))


class AgeFiles:
    """The Vault: a folder of backups for a list of recipients. Without recipients, it makes no backups.

    If a user has their own recipient, `users` contains a copy of their backup that only the user can decrypt. Without
    other recipients, that copy is the only file.
    """

    def __init__(self, folder: Path, to: list[Recipient]) -> None:
        self._folder, self._to = folder.absolute(), to

    def place(self, intent: Intent, run: str) -> str | None:
        """Return the path for the backup of this run, or None if there will be no backup.

        Raise IntegrityFault if a file with that path exists.
        """
        if self._to:
            path = self.new(intent.account, intent.user, intent.name, run=run).path
            if os.path.lexists(path):  # an undo would remove a file that this run did not write
                raise IntegrityFault(
                    f"{path} already exists", "move it away, because mfa-kit never overwrites a backup"
                )
            return str(path)
        return self._own(intent.recipient).place(replace(intent, recipient=None), run) if intent.recipient else None

    def _own(self, recipient: str) -> "AgeFiles":
        return AgeFiles(self._folder / OWN, parse_recipients([recipient]))

    def new(self, account: str, user: str, device: str, *, run: str) -> Backup:
        """Return a backup with the path that it will have. Raise UsageFault if the name is too long for a file."""
        return new_backup(self._folder, account=account, user=user, device=device, run=run)

    def recipients(self) -> list[str]:
        """Return the public keys to which new backups are encrypted."""
        return [each.text for each in self._to]

    def find(self, entry: Entry) -> str | None:
        """Return the path of a run's backup, or else of the user's own copy, or None if neither exists."""
        usual = self.new(entry.intent.account, entry.intent.user, entry.intent.name, run=entry.run)
        places = [*([Path(entry.backup)] if entry.backup else []), usual.path]
        if entry.intent.recipient:
            places += [own_copy(place) for place in places]
        return next((str(place) for place in places if place.is_file()), None)

    def check(self) -> None:
        """Raise UsageFault if the backup folder is a symlink or cannot be written.

        If the folder does not exist yet, check the nearest parent that exists.
        """
        nearest = next(each for each in (self._folder, *self._folder.parents) if os.path.lexists(each))
        if os.path.islink(self._folder):  # noqa: PTH114 - Path.is_symlink may raise PermissionError
            raise UsageFault(
                f"the backup folder {self._folder} is a symlink", "name the folder itself: --backup-dir DIR"
            )
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise UsageFault(
                f"{nearest} is not a folder that you can write to", "name another folder: --backup-dir DIR"
            )

    def seal(self, entry: Entry, uri: KeyUri) -> None:
        """Write `entry.backup` and the user's own copy. Raise IntegrityFault if a file exists or cannot be written."""
        if entry.backup is None:
            return
        intent, path = entry.intent, Path(entry.backup)
        backup = Backup(account=intent.account, user=intent.user, device=intent.name, run=entry.run, path=path)
        picture = symbol.png(uri, caption=_caption(backup))
        if self._to:
            _put(self._folder, backup, picture, self._to)
        if intent.recipient:
            own = replace(backup, path=own_copy(path))
            _put(self._folder / OWN, own, picture, parse_recipients([intent.recipient]))

    def keep(self, backup: Backup, uri: KeyUri) -> None:
        """Write an encrypted picture of a key URI. Raise IntegrityFault if the file exists or cannot be written."""
        _put(self._folder, backup, symbol.png(uri, caption=_caption(backup)), self._to)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the backup folder while its files change. Raise IntegrityFault if another process holds the lock."""
        with faults_of(self._folder), open_plain_folder(self._folder) as folder:
            hold(folder, self._folder)
            yield

    def rekey(self, backup: Backup, keys: Secret[list[Identity]], *, proof: Secret[list[Identity]]) -> bool:
        """Decrypt a backup with `keys`, and encrypt it to the current recipients.

        Return whether one of the identities in `proof` can decrypt the new file. The new file is written beside the old
        file, read back, and then renamed over it.
        """
        path = backup.path
        with faults_of(path), self._holding(path) as folder:
            file = os.open(path.name, whole_files.READING, dir_fd=folder)
            status = os.fstat(file)
            picture = _decrypted(path, whole_files.read_all(file, LARGEST + 1), keys)
            sealed = pyrage.encrypt(picture.reveal(), [each.key for each in self._to])
            partial = whole_files.partial_name(path.name)
            with whole_files.replacing_file(folder, path.name, sealed, partial=partial) as written:
                if written != sealed:
                    raise IntegrityFault(f"{path} does not contain what was written to it", "check the disk")
                opens = _opens(path, written, proof, picture)
                now = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
                if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino):
                    raise IntegrityFault(f"another process changed {path}", "repeat the command")
        return opens

    def discard(self, backup: Backup) -> None:
        """Remove a backup permanently."""
        with faults_of(backup.path), self._holding(backup.path) as folder:
            os.unlink(backup.path.name, dir_fd=folder)
            os.fsync(folder)

    def _holding(self, path: Path) -> AbstractContextManager[int]:
        """Open the folder that contains a backup. No symlink is followed."""
        return open_plain_folder(self._folder, *path.absolute().relative_to(self._folder).parts[:-1])

    def remove(self, entry: Entry) -> None:
        """Remove `entry.backup`, the user's own copy, and incomplete files of the two.

        Raise IntegrityFault if that fails.
        """
        if entry.backup is None:
            return
        path = Path(entry.backup)
        if not _is_backup_of(path, entry):
            raise IntegrityFault(
                f"the ledger names {path} as the backup of run {entry.run}, which cannot have that path; "
                "the file was not removed",
                "find out who changed the ledger; then remove the right file yourself",
            )
        for copy in (path, own_copy(path)) if entry.intent.recipient else (path,):
            self._remove(copy, sealed=entry.sealed)

    def _remove(self, path: Path, *, sealed: bool) -> None:
        with faults_of(path, "removed"):
            try:
                folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                if not sealed:
                    return
                raise IntegrityFault(
                    f"the folder {path.parent} does not exist, so the backup in it was not removed",
                    f"mount it, or if it no longer exists: mkdir -p {quote(str(path.parent))}; then repeat the command",
                ) from None
            try:
                for name in (whole_files.partial_name(path.name), path.name):
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
                os.fsync(folder)
            finally:
                os.close(folder)


def _is_backup_of(path: Path, entry: Entry) -> bool:
    """Return whether a path has the account, user and file name of this run's backup. The folder above may be any.

    This is checked because mfa-kit removes the file, and another program may have changed the path in the ledger.
    """
    intent = entry.intent
    usual = new_backup(Path("/"), account=intent.account, user=intent.user, device=intent.name, run=entry.run).path
    return path.is_absolute() and ".." not in path.parts and path.parts[-3:] == usual.parts[-3:]


def _put(base: Path, backup: Backup, picture: Png, to: list[Recipient]) -> None:
    sealed = pyrage.encrypt(picture.reveal(), [each.key for each in to])
    with faults_of(backup.path), make_folder(base, encoded(backup.account), encoded(backup.user)) as folder:
        create_private(folder, backup.path.name, sealed)


def _opens(path: Path, sealed: bytes, keys: Secret[list[Identity]], picture: Png) -> bool:
    """Return whether one of these identities can decrypt a file.

    Raise IntegrityFault if the file contains another picture.
    """
    try:
        found = _decrypted(path, sealed, keys)
    except OthersSeal:
        return False
    if found != picture:
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
