"""Files and folders that appear under their names complete or not at all, and that survive a power cut.

Files have mode 0600, and new folders 0700. A file is written and synced under a temporary name in its folder, and then
gets its own name in one step. Folders are passed as open file descriptors, so that every operation happens in exactly
the folder that was opened. A function that fails leaves no partly written file behind.
Some functions raise OSError, and those that name a path in their messages raise IntegrityFault.
"""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.message import Message, command
from mfa_kit.core.otp import Secret
from mfa_kit.posix.open_files import FOLDER, NO_LINK, NO_WAIT, lock, sync_all, try_to_lock
from mfa_kit.posix.processes import user_id

READING = os.O_RDONLY | NO_LINK | NO_WAIT
_WRITING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK

Content = bytes | Secret[bytes]


def partial_name(name: str, mark: str = "") -> str:
    """Return the name that a file has while it is written. It is short enough for any file system.

    `mark`, such as the process ID, is put into the name, so that two processes do not use the same name. If `mark` is
    empty, the result depends only on `name`, so a later process finds the partial file that a killed process left.
    """
    return f".{name[-50:]}{mark}.partial"


def create_file(folder: int, name: str, data: Content, *, partial: str | None = None) -> None:
    """Create a file. Raise FileExistsError if the name is taken; an existing file is never replaced.

    After any OSError, no new file remains. `partial` is the name of the file while it is written. By default, that name
    contains the process ID.
    """
    with _written_beside(folder, name, data, partial) as beside:
        os.link(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
        try:
            os.fsync(folder)
        except BaseException:  # remove the file, because it might not survive a power cut
            os.unlink(name, dir_fd=folder)
            raise


def replace_file(folder: int, name: str, data: Content) -> None:
    """Create a file, or replace an existing file of that name."""
    with replacing_file(folder, name, data):
        pass


@contextmanager
def replacing_file(folder: int, name: str, data: Content, *, partial: str | None = None) -> Iterator[bytes]:
    """Write a new file and yield its contents as read back from disk.

    The file gets its name, and replaces an existing file of that name, only if the body of the with statement raises
    nothing. `partial` is the name of the file while it is written. By default, that name contains the process ID.
    """
    with _written_beside(folder, name, data, partial) as beside:
        yield read_all(os.open(beside, READING, dir_fd=folder))
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)


def read_all(file: int, most: int = -1) -> bytes:
    """Read and close an open file. Return its contents, or at most its first `most` octets if `most` is given."""
    with os.fdopen(file, "rb") as opened:
        return opened.read(most)


@contextmanager
def _written_beside(folder: int, name: str, data: Content, partial: str | None) -> Iterator[str]:
    """Write and sync a file under a temporary name, and yield that name.

    At the end, remove the temporary name if it still exists.
    """
    beside = partial or partial_name(name, f".{os.getpid()}")
    with suppress(FileNotFoundError):  # left by an earlier attempt
        os.unlink(beside, dir_fd=folder)
    try:
        with os.fdopen(os.open(beside, _WRITING, 0o600, dir_fd=folder), "wb") as file:
            file.write(data.reveal() if isinstance(data, Secret) else data)
            file.flush()
            os.fsync(file.fileno())
        yield beside
    finally:
        with suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=folder)


@contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    """Open an existing folder and yield its file descriptor. Symlinks are followed."""
    opened = os.open(folder, FOLDER)
    try:
        yield opened
    finally:
        os.close(opened)


@contextmanager
def make_folder(base: Path, *below: str) -> Iterator[int]:
    """Open a folder and yield its file descriptor. Missing folders are created.

    `below` are the names of the folders from `base` down to the one that is opened. Raise OSError if `base` or one of
    them is a symlink.
    """
    for missing in reversed([folder for folder in base.parents if not folder.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
        with open_folder(missing.parent) as parent:
            os.fsync(parent)
    above = os.open(base.parent, FOLDER)
    try:
        for name in filter(None, (base.name, *below)):  # the root of a file system has no name
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=above)
                os.fsync(above)
            above, done = os.open(name, FOLDER | NO_LINK, dir_fd=above), above
            os.close(done)
        yield above
    finally:
        os.close(above)


@contextmanager
def open_plain_folder(base: Path, *below: str) -> Iterator[int]:
    """Open an existing folder and yield its file descriptor. Raise FileNotFoundError if it does not exist.

    `below` are the names of the folders from `base` down to the one that is opened. Raise OSError if `base` or one of
    them is a symlink.
    """
    if not base.joinpath(*below).is_dir():
        raise FileNotFoundError(errno.ENOENT, "its folder does not exist")
    with make_folder(base, *below) as folder:
        yield folder


class OwnershipFault(NamedTuple):
    """Why a path is not trusted, and a command that fixes it."""

    what: str
    hint: str


def fault_of_owner(path: Path, status: os.stat_result) -> OwnershipFault | None:
    """Return why other users could change a file or folder, or None if only this user and root can."""
    if status.st_uid not in {user_id(), 0}:
        return OwnershipFault(
            f"{path} belongs to another user",
            Message("make it yours", command("chown {} {}", str(user_id()), str(path))),
        )
    # In a sticky folder, users cannot remove each other's files. On a file, the sticky bit has no meaning.
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
        return OwnershipFault(
            f"{path} can be written by other users",
            Message("remove that permission", command("chmod go-w {}", str(path))),
        )
    return None


def fault_of_output(folder: Path) -> OwnershipFault | None:
    """Return why other users could read or exchange what is written to a folder, or None. The folder may be missing.

    The folder must not be a symlink. Its parents are checked too, up to the first one that is sticky or belongs to
    root, both as they are written and as they are without symlinks.
    """
    if folder.is_symlink():
        return OwnershipFault(f"{folder} is a symbolic link", Message("name the folder itself"))
    for first in (folder.absolute(), folder.parent.resolve() / folder.name):
        for place in (first, *first.parents):
            with suppress(FileNotFoundError):
                status = place.stat()
                if fault := fault_of_owner(place, status):
                    return fault
                if place != first and (status.st_mode & stat.S_ISVTX or status.st_uid == 0):
                    break
    return None


# The start and the end of a folder's name while the folder is written. After a kill, the folder keeps this name.
_START, _END = ".whole-", ".partial"


def is_partial(folder: Path) -> bool:
    """Return whether a folder is incomplete, because it is being written, or because the writing process was killed."""
    return folder.name.startswith(_START) and folder.name.endswith(_END)


def fill_folder(folder: Path, files: Mapping[str, Content]) -> None:
    """Create files in a folder. `files` maps each file's name to its content. A missing folder is created.

    If a file cannot be written, raise OSError. The files that were written before remain.
    """
    with make_folder(folder) as opened:
        for name, data in files.items():
            create_file(opened, name, data)


def create_whole_folder(place: Path, files: Mapping[str, Content]) -> None:
    """Create a folder with these files. Missing folders above it are created.

    Raise the errors of `_creating`.
    """
    with _creating(place) as partial:
        fill_folder(partial, files)


def create_whole_tree(place: Path, folders: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Create a folder of folders. Each item of `folders` is the name of a folder and its files by name.

    The name "" stands for the folder at `place` itself. Raise the errors of `_creating`. All files are synced to disk
    at once, because syncing thousands of files one by one would take minutes.
    """
    with _creating(place) as partial:
        partial.mkdir(mode=0o700)
        for name, files in folders:
            below = partial / name
            if name:
                below.mkdir(mode=0o700)
            for file, data in files.items():
                with os.fdopen(os.open(below / file, _WRITING, 0o600), "wb") as opened:
                    opened.write(data)
        sync_all()


@contextmanager
def _creating(place: Path) -> Iterator[Path]:
    """Yield a temporary path, at which the body creates a folder. Then rename this folder to `place`.

    Before the body runs, delete the folders that killed processes left beside `place`. If the body or the renaming
    fails, delete the folder at the temporary path. Raise FileExistsError if something exists at `place`, and OSError if
    the folder cannot be created.
    """
    with make_folder(place.parent) as above:
        lock(above)  # wait for other processes, so that no folder is deleted while its process writes it
        for leftover in place.parent.glob(f"{_START}*{_END}"):
            shutil.rmtree(leftover)
        if os.path.lexists(place):
            raise FileExistsError(errno.EEXIST, "it already exists")
        partial = place.parent / f"{_START}{place.name[:200]}{_END}"
        try:
            yield partial
            partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        os.fsync(above)


# The maximum size of a file in octets. An encrypted identity or QR code takes only a few kilobytes.
LARGEST = 1 << 20
# The first octets of an age file (age-encryption.org/v1, "Header").
MAGIC = b"age-encryption.org/v1"


def write_new(path: Path, data: Content, *, folders: bool = False) -> None:
    """Write a new file with mode 0600, and sync it to disk. With `folders`, also create missing folders.

    Raise IntegrityFault if the file exists or cannot be written. No incomplete file remains.
    """
    with faults_of(path), (make_folder if folders else open_plain_folder)(path.parent) as folder:
        create_private(folder, path.name, data)


def create_private(folder: int, name: str, data: Content) -> None:
    """Create a file with mode 0600 in an open folder.

    The file is first written under a temporary name. That name depends only on `name`, so a later run finds and removes
    the temporary file of a killed run.
    """
    create_file(folder, name, data, partial=partial_name(name))


@contextmanager
def faults_of(path: Path, failed: str = "written") -> Iterator[None]:
    """Convert an OSError in the `with` block to IntegrityFault.

    `failed` is "written", "read" or "removed": the message says that `path` cannot be `failed`. If the file exists
    already, the message says so instead.
    """
    try:
        yield
    except FileExistsError:
        raise IntegrityFault(
            f"{path} already exists", "choose another name, because files are never overwritten"
        ) from None
    except OSError as error:
        hint = "check the permissions of the file and of its folder"
        if failed == "written":
            hint = "check the folder's permissions and the free space, or use another folder"
        raise IntegrityFault(f"{path} cannot be {failed}: {reason_of(error)}", hint) from None


def reason_of(error: Exception) -> str:
    """Return the reason for an error as part of a sentence.

    For a refused symlink, the reason names the symlink. For any other error, it is the operating system's message, or
    if there is none, the name of the error's class.
    """
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "it is a symlink, which is not followed"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return type(error).__name__


@contextmanager
def wait_and_hold(folder: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Lock a folder during the `with` block. A missing folder is created.

    If another process holds the lock, call `waiting`, then wait for the lock. Raise IntegrityFault if the folder cannot
    be created or opened.
    """
    with ExitStack() as stack:
        with faults_of(folder):
            opened = stack.enter_context(make_folder(folder))
            try:
                try_to_lock(opened)
            except BlockingIOError:
                waiting()
                lock(opened)
        yield


def hold(folder: int, path: Path) -> None:
    """Lock an open folder until it is closed. Raise IntegrityFault if another process holds the lock."""
    try:
        try_to_lock(folder)
    except BlockingIOError:
        raise IntegrityFault(
            f"another mfa-kit process is changing {path}", "wait until it ends, then repeat the command"
        ) from None
