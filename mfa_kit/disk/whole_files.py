"""Files that appear whole under their name, or not at all; they are 0600 and outlast a power cut.

A file is written and synced beside its place, then takes its name in one step. A folder is an open file descriptor
(see `folders`). Functions raise OSError, and leave nothing behind then.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mfa_kit.core.otp import Secret

# A named pipe would be waited for.
READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Content = bytes | Secret[bytes]


def partial_name(name: str, mark: str = "") -> str:
    """Return the name of a file while it is written, short enough for any file system.

    Without a mark it follows from the name alone, so a later process finds what a killed one left.
    """
    return f".{name[-60:]}{mark}.partial"


def create_file(folder: int, name: str, data: Content, *, partial: str | None = None) -> None:
    """Create a file. Raise FileExistsError where the name is taken: link(2) never replaces a file."""
    with _written_beside(folder, name, data, partial) as beside:
        os.link(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
        try:
            os.fsync(folder)
        except BaseException:  # whatever it was, the file is ours, and might be gone after a power cut
            os.unlink(name, dir_fd=folder)
            raise


def replace_file(folder: int, name: str, data: Content) -> None:
    """Create a file, or put it in the place of the one that has the name."""
    with replacing_file(folder, name, data):
        pass


@contextmanager
def replacing_file(folder: int, name: str, data: Content, *, partial: str | None = None) -> Iterator[bytes]:
    """Yield what reads back of the new file, which takes the name at the end of a body that raised nothing."""
    with _written_beside(folder, name, data, partial) as beside:
        yield read_all(os.open(beside, READING, dir_fd=folder))
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)


def read_all(file: int, most: int = -1) -> bytes:
    """Read an open file, or as many octets as `most`, and close it."""
    with os.fdopen(file, "rb") as opened:
        return opened.read(most)


@contextmanager
def _written_beside(folder: int, name: str, data: Content, partial: str | None) -> Iterator[str]:
    """Write and sync a file beside its place; what is left under the name that is yielded is removed at the end."""
    beside = partial or partial_name(name, f".{os.getpid()}")
    with suppress(FileNotFoundError):  # of an earlier try
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
