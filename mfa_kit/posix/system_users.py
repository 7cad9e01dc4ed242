"""The user of this process, and the users and groups of the system: passwd(5) and group(5)."""

import grp
import os
import pwd
import sys
from contextlib import suppress

if sys.platform == "win32":
    raise ImportError("not on Windows")


def user_id() -> int:
    """Return the ID of the user of this process."""
    return os.getuid()


def is_root() -> bool:
    """Return whether this process has the rights of root."""
    return os.geteuid() == 0


def user_and_groups() -> tuple[str, list[int]]:
    """Return the current user's name, and the IDs of the groups that the user will have after the next sign-in.

    If the system does not know the user's name, return the text "USER" and no groups.
    """
    try:
        who = pwd.getpwuid(os.getuid())
    except KeyError:
        return "USER", []
    return who.pw_name, os.getgrouplist(who.pw_name, who.pw_gid)


def group_name(number: int) -> str:
    """Return the name of a group, or its number if it has no name."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def group_members(name: str) -> list[str] | None:
    """Return the names of the members that are listed in a group's entry, or None if the group does not exist.

    Users for whom this is the primary group need not be listed.
    """
    with suppress(KeyError):
        return sorted(grp.getgrnam(name).gr_mem)
    return None
