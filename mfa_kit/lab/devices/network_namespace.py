"""Connects to ports within the network namespace of another process. Linux only: setns(2), netdevice(7)."""

import ctypes
import fcntl
import socket
import struct
import sys
from pathlib import Path

if sys.platform == "win32":
    raise ImportError("not on Windows")

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, IFF_UP = 0x8914, 1


def connect_within(process: int, port: int) -> socket.socket:
    """Connect to a port on the loopback interface of a process's network namespace, and bring this interface up.

    The calling thread enters this namespace and stays in it; other threads do not (setns(2)). Raise OSError if the
    connection fails.
    """
    with Path(f"/proc/{process}/ns/net").open("rb") as space:
        if ctypes.CDLL(None, use_errno=True).setns(space.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    wire = socket.socket()
    fcntl.ioctl(wire, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    wire.connect(("127.0.0.1", port))
    return wire
