"""Checks that only this user and root can change a file or folder whose contents mfa-kit trusts."""

import os
import stat
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from mfa_kit.posix.system_users import user_id


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
