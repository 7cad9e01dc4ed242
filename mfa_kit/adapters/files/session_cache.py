"""Reads the files of sessions. A cached session must be found in a few milliseconds, so this module imports little."""

import os
from pathlib import Path

from mfa_kit.core.otp import Secret
from mfa_kit.posix.open_files import FOLDER, NO_LINK, NO_WAIT, is_private

# A larger file is not a session. A session token can have several kilobytes.
LARGEST = 1 << 16


def read_private(folder: Path, name: str) -> Secret[bytes] | None:
    """Return the content of a file. Return None if there is none that only this user can read and change."""
    try:
        opened = os.open(folder, FOLDER | NO_LINK)
    except OSError:
        return None
    try:
        file = os.open(name, os.O_RDONLY | NO_LINK | NO_WAIT, dir_fd=opened)
        with os.fdopen(file, "rb") as stream:
            return Secret(stream.read(LARGEST)) if is_private(opened) and is_private(file) else None
    except OSError:
        return None
    finally:
        os.close(opened)
