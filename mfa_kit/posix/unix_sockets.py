"""Unix sockets: unix(7)."""

import socket
import sys

if sys.platform == "win32":
    raise ImportError("not on Windows")


def listens(path: str) -> bool:
    """Return whether a program listens on the Unix socket with this path."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0
