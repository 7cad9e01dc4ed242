"""Flags for os.open, as in open(2), and locks of open files, as in flock(2)."""

import fcntl
import os
import sys

if sys.platform == "win32":
    raise ImportError("not on Windows")

# With this flag, os.open raises OSError (ELOOP) if the path is a symlink.
NO_LINK: int = os.O_NOFOLLOW
# With this flag, os.open does not wait for another process to open the other end of a named pipe.
NO_WAIT: int = os.O_NONBLOCK
# With these flags, os.open raises OSError if the path is not a folder.
FOLDER: int = os.O_RDONLY | os.O_DIRECTORY
# With this flag, a terminal that is opened does not become the controlling terminal of this process.
NOT_OURS: int = os.O_NOCTTY


def lock(file: int) -> None:
    """Lock an open file or folder until it is closed. Wait while another process has locked it."""
    fcntl.flock(file, fcntl.LOCK_EX)


def try_to_lock(file: int) -> None:
    """Lock an open file or folder until it is closed. Raise BlockingIOError if another process has locked it."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def check_unlocked(file: int) -> None:
    """Raise BlockingIOError if another process has locked an open file with `lock` or `try_to_lock`.

    Otherwise this process now holds a shared lock. Other processes cannot lock the file until the caller closes it.
    """
    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def sync_all() -> None:
    """Write all file changes in memory to the disks. This is faster than os.fsync for each of thousands of files."""
    os.sync()


def is_private(file: int) -> bool:
    """Return whether an open file or folder belongs to this user, and no other user may read or change it."""
    status = os.fstat(file)
    return status.st_uid == os.getuid() and not status.st_mode & 0o077
