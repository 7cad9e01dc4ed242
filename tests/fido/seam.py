"""The seam of python-fido2 on Linux: 64-octet packets, over a socket to a key of the lab instead of /dev/hidraw."""

import contextlib
import socket
from collections.abc import Callable

from fido2.hid.base import CtapHidConnection, HidDescriptor

PACKET = 64
CANCEL, KEEPALIVE = 0x91, 0xBB
Tamper = Callable[[int, bytes], bytes | None]


class SocketWire:
    """The key's end of the connection. Packets are sent over SOCK_SEQPACKET."""

    def __init__(self, sock: socket.socket, tamper: Tamper | None = None) -> None:
        self._socket = sock
        self._tamper = tamper
        self.count = 0
        self.canceled = False
        # Whether the key's last message said that it waits for a touch.
        self.waits = False

    def receive(self, timeout: float | None) -> bytes | None:
        self._socket.settimeout(timeout)
        try:
            packet = self._socket.recv(PACKET + 1)
        except TimeoutError:
            return None
        if not packet:
            raise EOFError
        self.canceled |= packet[4] == CANCEL
        return packet

    def send(self, packet: bytes) -> None:
        """Send the packet that `tamper` returns for a packet and its number.

        None unplugs the key, and b"" sends nothing.
        """
        self.waits = packet[4] == KEEPALIVE
        sent = self._tamper(self.count, packet) if self._tamper else packet
        self.count += 1
        if sent is None:
            self.close()
            raise EOFError
        if sent:
            self._socket.settimeout(None)
            self._socket.send(sent)

    def close(self) -> None:
        """Unplug the key."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class SocketConnection(CtapHidConnection):
    """The program's end of the connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def read_packet(self) -> bytes:
        return self._socket.recv(PACKET)

    def write_packet(self, data: bytes) -> None:
        self._socket.send(data)

    def close(self) -> None:
        self._socket.close()


def descriptor(path: str, product: str | None = "mfa-kit lab key", serial: str | None = None) -> HidDescriptor:
    return HidDescriptor(path, 0x1209, 0x0001, PACKET, PACKET, product, serial)
