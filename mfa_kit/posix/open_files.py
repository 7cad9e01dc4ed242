"""Flags for os.open(2), and locks of open files: flock(2). Other programs never inherit a file that Python opened."""

import fcntl
import os
import sys

if sys.platform == "win32":
    raise ImportError("not on Windows")

# A symlink is not followed, but raises OSError with ELOOP.
NO_LINK: int = os.O_NOFOLLOW
# Opening a named pipe does not block.
NO_WAIT: int = os.O_NONBLOCK
# Anything but a folder raises OSError.
FOLDER: int = os.O_RDONLY | os.O_DIRECTORY
# A terminal that is opened does not become the terminal of this process and its children.
NOT_OURS: int = os.O_NOCTTY


def lock(file: int) -> None:
    """Lock an open file or folder until it is closed. Wait while another process has a lock."""
    fcntl.flock(file, fcntl.LOCK_EX)


def try_to_lock(file: int) -> None:
    """Lock an open file or folder until it is closed. Raise BlockingIOError if another process has a lock."""
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def check_unlocked(file: int) -> None:
    """Raise BlockingIOError if another process has locked an open file. The caller then closes the file."""
    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def sync_all() -> None:
    """Sync everything that was written to the disks. It takes less time than syncing thousands of files one by one."""
    os.sync()
