"""Opens folders as file descriptors, so that every operation happens in exactly the folder that was opened.

New folders have mode 0700, and are synced to disk before anything is put into them. Functions raise OSError if a folder
cannot be opened or created.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from mfa_kit.posix.open_files import FOLDER, NO_LINK
from mfa_kit.posix.system_users import user_id


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
        return OwnershipFault(f"{path} belongs to another user", f"make it yours: chown {user_id()} {quote(str(path))}")
    # In a sticky folder, users cannot remove each other's files. On a file, the sticky bit has no meaning.
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky:
        return OwnershipFault(
            f"{path} can be written by other users", f"remove that permission: chmod go-w {quote(str(path))}"
        )
    return None
