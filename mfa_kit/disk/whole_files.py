"""Writes files that appear under their names complete or not at all, have mode 0600, and survive a power cut.

A file is written and synced under a temporary name in its folder, and then gets its own name in one step. Folders are
passed as open file descriptors (see `folders`). A function that raises OSError leaves no partly written file behind.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mfa_kit.core.otp import Secret
from mfa_kit.posix.open_files import NO_LINK, NO_WAIT

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
