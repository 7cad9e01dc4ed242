"""Creates files that only this user can read, without replacing existing files, and locks their folders."""

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.disk import files
from mfa_kit.disk.files import make_folder, open_plain_folder
from mfa_kit.posix.open_files import lock, try_to_lock

# The maximum size of a file in octets. An encrypted identity or QR code takes only a few kilobytes.
LARGEST = 1 << 20
# The first octets of an age file (age-encryption.org/v1, "Header").
MAGIC = b"age-encryption.org/v1"


def write_new(path: Path, data: files.Content, *, folders: bool = False) -> None:
    """Write a new file with mode 0600, and sync it to disk. With `folders`, also create missing folders.

    Raise IntegrityFault if the file exists or cannot be written. No incomplete file remains.
    """
    with faults_of(path), (make_folder if folders else open_plain_folder)(path.parent) as folder:
        create_private(folder, path.name, data)


def create_private(folder: int, name: str, data: files.Content) -> None:
    """Create a file with mode 0600 in an open folder.

    The file is first written under a temporary name. That name depends only on `name`, so a later run finds and removes
    the temporary file of a killed run.
    """
    files.create_file(folder, name, data, partial=files.partial_name(name))


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
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


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
