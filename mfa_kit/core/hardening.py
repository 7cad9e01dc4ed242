"""Protect the memory of this process from core dumps and other processes."""

import resource
import sys

PR_SET_DUMPABLE = 4


def harden() -> None:
    """Protect this process's memory from core dumps and from other processes of the same user.

    Call it before the first secret is handled. It uses setrlimit(2) and prctl(2): without privileges, ptrace(2) cannot
    attach to a process that is not dumpable.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - slow to load, and help pages need no protection

        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
