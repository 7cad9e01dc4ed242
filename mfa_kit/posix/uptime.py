"""A clock that cannot be set, and that also counts the time in which the computer sleeps."""

import sys
import time

if sys.platform == "win32":
    raise ImportError("not on Windows")

# On macOS, which lacks CLOCK_BOOTTIME, CLOCK_MONOTONIC counts sleep too.
CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Return the time of this clock in seconds. Only the difference between two times has a meaning."""
    return time.clock_gettime(CLOCK)
