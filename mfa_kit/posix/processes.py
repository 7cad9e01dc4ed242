"""Processes, the memory of the current process, and the users and groups of the system, passwd(5) and group(5).

Processes are listed as far as this user can see them, proc(5): on Linux only, because other systems have no /proc.
"""

import grp
import os
import pwd
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

if sys.platform == "win32":
    raise ImportError("not on Windows")

PROC = Path("/proc")


def process_names() -> Iterator[tuple[str, str]]:
    """Yield the ID of each process, and its name, which may contain control characters."""
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError):
            yield folder.name, (folder / "comm").read_text("utf-8", "replace").strip()


def processes_with(library: str) -> Iterator[tuple[str, str]]:
    """Yield the ID and the name of each process, except this one, that has loaded a library.

    `library` is a part of the library's path. Processes whose memory map this user may not read are skipped.
    """
    for number, name in process_names():
        with suppress(OSError):
            if number != str(os.getpid()) and library in (PROC / number / "maps").read_text("utf-8", "replace"):
                yield number, name


PR_SET_DUMPABLE = 4


def harden() -> None:
    """Prevent core dumps of this process. On Linux, also prevent the user's other processes from reading its memory.

    Call this function before the first secret is handled. It uses setrlimit(2) and prctl(2): an unprivileged process
    cannot attach with ptrace(2) to a process that is not dumpable.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - slow to load, and not needed to show help

        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def memory_used() -> int:
    """Return how many bytes of memory this process uses; without proc(5), the most that it has used so far."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


# A clock that cannot be set, and that also counts the time in which the computer sleeps. On macOS, which lacks
# CLOCK_BOOTTIME, CLOCK_MONOTONIC counts sleep too.
CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Return the time of this clock in seconds. Only the difference between two times has a meaning."""
    return time.clock_gettime(CLOCK)


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
