"""Stores backups in a folder on this computer. Has the interfaces that a bucket implements too.

A backup has the path `ACCOUNT/USER/DEVICE-RUN.png.age` below its folder. Files have mode 0600, folders 0700. Backups
that are symlinks are refused. A file appears complete or not at all. Only `LocalFile.replace` replaces a file.
"""

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.message import Message, command, suggest
from mfa_kit.core.models import ACCOUNT_ID, Backup, BackupLocation, run_time
from mfa_kit.core.text import encoded
from mfa_kit.disk import files
from mfa_kit.disk.files import LARGEST, create_private, faults_of, hold, make_folder, open_plain_folder, reason_of
from mfa_kit.posix.open_files import FOLDER, NO_LINK

# The errors of stat(2) that mean that there is no file. All others mean that it is unknown.
ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}


def _mode(path: Path) -> int:
    """Return the mode of the file at a path, or 0 if there is none. A damaged record may have a path of no file.

    Raise IntegrityFault if the system cannot tell.
    """
    with faults_of(path, "read"):
        try:
            return path.stat().st_mode
        except ValueError:  # it has a null character
            return 0
        except OSError as error:
            if error.errno not in ABSENT:
                raise
            return 0


def is_gone(path: Path) -> bool:
    """Whether nothing exists at a path. If the system cannot tell, return False."""
    try:
        return not _mode(path)
    except IntegrityFault:
        return False


def _list_folder(path: Path) -> list[Path]:
    """Return what is in a folder, or nothing if the path is no folder. Raise IntegrityFault if it cannot be read."""
    with faults_of(path, "read"):
        try:
            return list(path.iterdir())
        except OSError as error:
            if error.errno not in ABSENT:
                raise
            return []


class StoredFile(Protocol):
    """One backup. The file need not exist. Methods raise IntegrityFault if they fail."""

    def is_taken(self) -> bool:
        """Whether something exists at this place, even if it is not a file."""
        ...

    def is_there(self) -> bool:
        """Whether a file exists at this place."""
        ...

    def read(self, most: int) -> bytes:
        """Return the content of the file, but at most `most` octets."""
        ...

    def create(self, sealed: bytes) -> None:
        """Write a new file durably. Raise IntegrityFault if the file exists, because `create` never overwrites a file.

        An object in S3 that already has exactly this content is not an error.
        """
        ...

    def replace(self, change: Callable[[bytes], bytes], check: Callable[[bytes], bool], *, most: int) -> bool:
        """Replace the content by `change(content)`. Return the result of `check` for the new content as read back.

        At most `most` octets of the old content are read. The file is not replaced if `check` raises an exception, or
        if another process changed the file. If this process is killed, the old or the new content remains.
        """
        ...

    def discard(self) -> None:
        """Remove the file permanently. Raise IntegrityFault if it does not exist."""
        ...

    def remove(self, *, sealed: bool) -> None:
        """Remove the file and its incomplete copies permanently, if they exist.

        `sealed` is true if the file was once written completely. Then a missing folder or bucket raises
        IntegrityFault.
        """
        ...


class StoredFolder(Protocol):
    """A folder of backups. The folder need not exist. Methods raise an MfaKitError if they fail."""

    def check(self) -> None:
        """Raise UsageFault if backups cannot be written to the folder. Nothing is changed."""
        ...

    def is_there(self) -> bool:
        """Whether the folder exists."""
        ...

    def files(self) -> Iterator[BackupLocation]:
        """Yield the files `ACCOUNT/USER/FILE` below the folder, sorted."""
        ...

    def exclusively(self) -> AbstractContextManager[None]:
        """Lock the folder until the context ends, if this kind of storage has locks.

        Raise IntegrityFault if another process holds the lock.
        """
        ...


class FileStore(Protocol):
    """Gives access to backups by their places. A place is a path on this computer or an S3 URL."""

    def folder(self, place: BackupLocation) -> StoredFolder:
        """Return the folder of backups at a place. Nothing is read yet."""
        ...

    def file(self, place: BackupLocation, folder: BackupLocation | None = None) -> StoredFile:
        """Return the backup at a place. Nothing is read yet.

        `folder` is the folder of backups that contains the backup.
        """
        ...


class LocalFolder:
    """A folder of backups on this computer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self) -> None:
        """Raise UsageFault if the folder is a symlink or has no valid name, or if backups cannot be written to it.

        If the folder does not exist yet, check the nearest folder above it that exists.
        """
        try:
            self._path.lstat()
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            pass
        except (OSError, ValueError) as error:  # for example, its name is too long
            raise UsageFault(
                f"the backup folder {self._path} cannot be read: {reason_of(error)}",
                "name another folder: --backup-dir DIR",
            ) from None
        nearest = next(folder for folder in (self._path, *self._path.parents) if os.path.lexists(folder))
        if os.path.islink(self._path):  # noqa: PTH114 - Path.is_symlink may raise PermissionError
            raise UsageFault(f"the backup folder {self._path} is a symlink", "name the folder itself: --backup-dir DIR")
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise UsageFault(
                f"{nearest} is not a folder that you can write to", "name another folder: --backup-dir DIR"
            )

    def is_there(self) -> bool:
        """Whether the folder exists."""
        return stat.S_ISDIR(_mode(self._path))

    def files(self) -> Iterator[Path]:
        """Yield the files `ACCOUNT/USER/FILE` below the folder, sorted. Symlinks are skipped.

        Other folders, such as `lost+found` on a disk of its own, need not be readable.
        """
        accounts = [path for path in _list_folder(self._path) if ACCOUNT_ID.fullmatch(path.name)]
        users = chain.from_iterable(map(_list_folder, accounts))
        for path in sorted(chain.from_iterable(map(_list_folder, users))):
            if not path.is_symlink():
                yield path

    @contextmanager
    def exclusively(self) -> Iterator[None]:
        """Lock the folder during the `with` block. Raise IntegrityFault if another process holds the lock."""
        with faults_of(self._path), open_plain_folder(self._path) as folder:
            hold(folder, self._path)
            yield


class LocalFile:
    """A backup on this computer, at `path` below the folder of backups `base`.

    Only `is_there` follows a symlink at `path`. `create`, `replace` and `discard` also refuse symlinks at `base` and at
    the folders below it. `remove` refuses a symlink at the folder that contains the file.
    """

    def __init__(self, path: Path, base: Path) -> None:
        self._path, self._base = path, base

    def is_taken(self) -> bool:
        """Whether something exists at this path, even if it is not a file."""
        return os.path.lexists(self._path)

    def is_there(self) -> bool:
        """Whether a file exists at this path."""
        return stat.S_ISREG(_mode(self._path))

    def read(self, most: int) -> bytes:
        """Return the content of the file, but at most `most` octets."""
        try:
            return files.read_all(os.open(self._path, files.READING), most)
        except OSError as error:
            raise IntegrityFault(
                f"the backup {self._path} cannot be read: {reason_of(error)}",
                suggest("list the backups", "backup list"),
            ) from None

    def create(self, sealed: bytes) -> None:
        """Write a new file, create missing folders, and sync them to disk. Raise IntegrityFault if the file exists."""
        with faults_of(self._path), make_folder(self._base, *self._below()) as folder:
            create_private(folder, self._path.name, sealed)

    def replace(self, change: Callable[[bytes], bytes], check: Callable[[bytes], bool], *, most: int) -> bool:
        """Replace the content by `change(content)`. Return the result of `check` for the new content as read back.

        The new content is written to a temporary file, read back and checked. Then the temporary file replaces the old
        file. At most `most` octets of the old content are read. Raise IntegrityFault if another process replaced the
        file meanwhile.
        """
        path = self._path
        with faults_of(path), self._holding() as folder:
            file = os.open(path.name, files.READING, dir_fd=folder)
            status = os.fstat(file)
            sealed = change(files.read_all(file, most))
            partial = files.partial_name(path.name)
            with files.replacing_file(folder, path.name, sealed, partial=partial) as written:
                if written != sealed:
                    raise IntegrityFault(
                        f"the new version of {path} was not stored correctly, so {path} is unchanged", "check the disk"
                    )
                result = check(written)
                now = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
                if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino):
                    raise IntegrityFault(f"another process changed {path}", "repeat the command")
        return result

    def discard(self) -> None:
        """Remove the file permanently. Raise IntegrityFault if it does not exist or cannot be removed."""
        with faults_of(self._path), self._holding() as folder:
            os.unlink(self._path.name, dir_fd=folder)
            os.fsync(folder)

    def remove(self, *, sealed: bool) -> None:
        """Remove the file, and an incomplete file that a killed process left, if they exist.

        `sealed` is true if the file was once written completely. A missing folder then raises IntegrityFault.
        """
        path = self._path
        with faults_of(path, "removed"):
            try:
                folder = os.open(path.parent, FOLDER | NO_LINK)
            except (FileNotFoundError, NotADirectoryError):
                if not sealed:
                    return
                raise IntegrityFault(
                    f"the folder {path.parent} does not exist, so the backup in it was not removed",
                    Message(
                        "mount the folder, or repeat the command on the computer that has it; if the folder was "
                        "deleted",
                        command("mkdir -p {}", str(path.parent)),
                        "then repeat the command",
                    ),
                ) from None
            try:
                for name in (files.partial_name(path.name), path.name):
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
                os.fsync(folder)
            finally:
                os.close(folder)

    def _below(self) -> tuple[str, ...]:
        return self._path.absolute().relative_to(self._base).parts[:-1]

    def _holding(self) -> AbstractContextManager[int]:
        """Open the folder that contains the file."""
        return open_plain_folder(self._base, *self._below())


class LocalFileStore:
    """Returns folders of backups, and backups, by their paths on this computer."""

    def folder(self, place: BackupLocation) -> StoredFolder:
        """Return the folder of backups at a path. Raise UsageFault if the place is not on this computer."""
        return LocalFolder(_path(place))

    def file(self, place: BackupLocation, folder: BackupLocation | None = None) -> StoredFile:
        """Return the backup at the path `place`. `folder` is the folder of backups that contains it.

        `place` is not relative to `folder`. If `folder` is None, it is the folder in which the file is. Raise
        UsageFault if one of the two is not a path on this computer.
        """
        path = _path(place)
        return LocalFile(path, _path(folder) if folder is not None else path.parent)


LOCAL = LocalFileStore()


def _path(place: BackupLocation) -> Path:
    if isinstance(place, Path):
        return place
    raise UsageFault(f"{place} is not on this computer", "give a path on this computer")


def read_backup(path: BackupLocation, file_store: FileStore = LOCAL) -> bytes:
    """Return the encrypted content of a backup, at most LARGEST + 1 octets. Raise IntegrityFault if that fails."""
    return file_store.file(path).read(LARGEST + 1)


SUFFIX = ".png.age"
# The maximum length of a file name in octets on common file systems.
NAME_MAX = 255
NAME = re.compile(r"(?P<device>.+)-(?P<run>\d{8}T\d{6}Z-[0-9a-f]{8})\.png\.age")


def new_backup(folder: BackupLocation, *, account: str, user: str, device: str, run: str) -> Backup:
    """Return a Backup with the path for its new file. Raise UsageFault if the file name would be too long."""
    path = folder / encoded(account) / encoded(user) / f"{encoded(device)}-{run}{SUFFIX}"
    if len(path.name) > NAME_MAX:
        raise UsageFault(
            f"the device name {device} is too long for the name of a backup file", "choose a shorter --name"
        )
    return Backup(account=account, user=user, device=device, run=run, path=path)


def backup_at(path: BackupLocation) -> Backup | None:
    """Return the backup with this path, or None if the path does not end with `ACCOUNT/USER/DEVICE-RUN.png.age`."""
    name = NAME.fullmatch(path.name)
    user, account = ([unquote(folder.name) for folder in path.absolute().parents[:2]] + ["", ""])[:2]
    if name is None or not ACCOUNT_ID.fullmatch(account):
        return None
    try:
        run_time(name["run"])
    except ValueError:  # an impossible date, such as day 99
        return None
    return Backup(account=account, user=user, device=unquote(name["device"]), run=name["run"], path=path)


def find_backups(folder: BackupLocation, file_store: FileStore) -> Iterator[Backup]:
    """Yield the backups below a folder, sorted by account and user. Files with other names are skipped."""
    for path in file_store.folder(folder).files():
        if backup := backup_at(path):
            yield backup
