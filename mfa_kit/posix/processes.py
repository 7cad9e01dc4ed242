"""Processes: their memory, users and groups, signals, signal(7), and the mode of their terminal, termios(3).

Processes are listed as far as this user can see them, proc(5): on Linux only, because other systems have no /proc.
"""

import grp
import os
import pwd
import resource
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import FrameType
from typing import Any

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


def file_system(path: Path) -> str:
    """Return the type of the file system that has a path, such as `ext4`, or "" on a system without /proc."""
    try:
        mounts = (PROC / "self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    rows = [(line.split()[4].encode().decode("unicode_escape"), line.partition(" - ")[2].split()[0]) for line in mounts]
    above = [
        (len(point), place, kind) for place, (point, kind) in enumerate(rows) if path.resolve().is_relative_to(point)
    ]
    return max(above, default=(0, 0, ""))[2]


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


if sys.platform == "win32":
    raise ImportError("not on Windows")

TERMINATED: signal.Signals = signal.SIGTERM
# Sent when the terminal is closed.
HUNG_UP: signal.Signals = signal.SIGHUP
# Sent by Ctrl-\ at a terminal.
QUIT: signal.Signals = signal.SIGQUIT
# Ends a process at once, and cannot be caught.
KILL: signal.Signals = signal.SIGKILL


def not_ignored(numbers: Collection[signal.Signals]) -> list[signal.Signals]:
    """Return the signals that this process does not ignore. Under nohup or in the background, some are ignored."""
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def wait_for_signal(numbers: Collection[signal.Signals]) -> None:
    """Wait until one of these signals arrives. No signal handler runs, and the signal does not end the process.

    A signal that is ignored stays ignored.
    """
    waited_for = not_ignored(numbers)  # a signal that is blocked would arrive even if it is ignored
    signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    signal.sigwait(waited_for)


def alarm(seconds: float, act: Callable[[int, FrameType | None], None]) -> ExitStack:
    """Call `act` as the handler of a signal when this many seconds have passed, unless the returned context has ended.

    With a decorator, mypy for Windows would not know the type of this function.
    """
    stack = ExitStack()
    stack.callback(signal.signal, signal.SIGALRM, signal.signal(signal.SIGALRM, act))
    stack.callback(signal.setitimer, signal.ITIMER_REAL, 0)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    return stack


def interrupt_main_thread() -> None:
    """Send SIGINT to the main thread, as Ctrl-C at a terminal does. Any thread may call this function."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


# What tcgetattr(3) returns: four sets of flags, two speeds, and the list of control characters.
Mode = list[Any]


def line_mode(terminal: int, *, echo: bool) -> tuple[Mode, Mode]:
    """Return the terminal's current mode, and a changed copy, in which the kernel lets the user edit a line.

    In the copy, `echo` decides whether typed characters are shown. Ctrl-C sends SIGINT. The keys that suspend or quit
    the process, such as Ctrl-Z, have no effect.
    """
    before: Mode = termios.tcgetattr(terminal)
    mode: Mode = termios.tcgetattr(terminal)
    mode[3] = mode[3] & ~termios.ECHO | termios.ICANON | termios.ISIG | (termios.ECHO if echo else 0)
    mode[6][termios.VSUSP] = mode[6][termios.VQUIT] = b"\0"
    return before, mode


def begin_mode(terminal: int, mode: Mode) -> None:
    """Change the terminal's mode, and discard the keys that were typed and not read yet."""
    termios.tcsetattr(terminal, termios.TCSAFLUSH, mode)


def end_mode(terminal: int, before: Mode) -> None:
    """Change the terminal's mode back to `before`, after everything that was written to the terminal has been sent."""
    termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def end_mode_at_once(terminal: int, before: Mode) -> None:
    """Change the terminal's mode back to `before` without waiting. Use this function only if the process ends now."""
    termios.tcsetattr(terminal, termios.TCSANOW, before)


def discard_typed(terminal: int) -> None:
    """Discard the keys that were typed and not read yet."""
    termios.tcflush(terminal, termios.TCIFLUSH)
