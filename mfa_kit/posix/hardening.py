"""Protects the memory of this process from core dumps and from other processes."""

import resource
import sys

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
