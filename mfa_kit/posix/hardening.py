"""Protects the memory of this process from core dumps and from other processes, and measures it."""

import resource
import sys
from pathlib import Path

if sys.platform == "win32":
    raise ImportError("not on Windows")

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
