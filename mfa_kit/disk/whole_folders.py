"""Writes folders that appear complete or not at all. Their files have mode 0600, and they survive a power cut."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mfa_kit.disk.folders import make_folder
from mfa_kit.disk.whole_files import Content, create_file
from mfa_kit.posix.open_files import NO_LINK, lock, sync_all

# The start and the end of a folder's name while the folder is written. After a kill, the folder keeps this name.
_START, _END = ".whole-", ".partial"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK


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
                with os.fdopen(os.open(below / file, _NEW, 0o600), "wb") as opened:
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
