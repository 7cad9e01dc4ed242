"""Open folders as file descriptors, so that what is done in one is done in that very folder. Functions raise OSError.

New folders are 0700, and are on disk before anything is put into them.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def open_folder(folder: Path) -> Iterator[int]:
    """Open an existing folder. Symlinks are followed."""
    opened = os.open(folder, _FOLDER)
    try:
        yield opened
    finally:
        os.close(opened)


@contextmanager
def make_folder(base: Path, *below: str) -> Iterator[int]:
    """Open the folder `below` a base, and make what is missing of both. No symlink is followed at or below the base."""
    for missing in reversed([each for each in base.parents if not each.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
        with open_folder(missing.parent) as parent:
            os.fsync(parent)
    above = os.open(base.parent, _FOLDER)
    try:
        for name in filter(None, (base.name, *below)):  # the root of a file system has no name
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=above)
                os.fsync(above)
            above, done = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=above), above
            os.close(done)
        yield above
    finally:
        os.close(above)


@contextmanager
def open_plain_folder(base: Path, *below: str) -> Iterator[int]:
    """Open the existing folder `below` a base. No symlink is followed at or below the base."""
    if not base.joinpath(*below).is_dir():
        raise FileNotFoundError(errno.ENOENT, "its folder is not there")
    with make_folder(base, *below) as folder:
        yield folder
