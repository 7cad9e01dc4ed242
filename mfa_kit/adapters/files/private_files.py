"""Files of this user alone: written whole and never over another, in folders that one process at a time may hold."""

import errno
import fcntl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.disk import whole_files
from mfa_kit.disk.folders import make_folder, open_plain_folder


def write_new(path: Path, data: whole_files.Content, *, folders: bool = False) -> None:
    """Write a file, 0600, durably and never over another; with `folders` also those that it is missing.

    Raise IntegrityFault; nothing is left behind then.
    """
    with faults_of(path), (make_folder if folders else open_plain_folder)(path.parent) as folder:
        create_private(folder, path.name, data)


def create_private(folder: int, name: str, data: whole_files.Content) -> None:
    """Create a file whose partial name follows from its name, so that a later run finds what a killed one left."""
    whole_files.create_file(folder, name, data, partial=whole_files.partial_name(name))


@contextmanager
def faults_of(path: Path) -> Iterator[None]:
    """Turn what the disk says of a file or folder into an IntegrityFault."""
    try:
        yield
    except FileExistsError:
        raise IntegrityFault(f"{path} exists already", "choose another name, for nothing is written over") from None
    except OSError as error:
        hint = "check the folder's rights and the free space, or give another folder"
        raise IntegrityFault(f"{path} cannot be written: {reason_of(error)}", hint) from None


def reason_of(error: Exception) -> str:
    """Return the operating system's words for an error, or the name of its class where it has none."""
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "it is a symlink, which is not followed"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__


@contextmanager
def wait_and_hold(folder: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a folder, which is made where it is missing; while another process does, call `waiting` and wait.

    Raise IntegrityFault where the folder cannot be made.
    """
    with ExitStack() as stack:
        with faults_of(folder):
            opened = stack.enter_context(make_folder(folder))
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def hold(folder: int, path: Path) -> None:
    """Hold an open folder until it is closed, to change files in it. Raise IntegrityFault while another does."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise IntegrityFault(f"another mfa-kit is at work on {path}", "wait for its end, and run this again") from None
