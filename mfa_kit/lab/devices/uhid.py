"""Simulates a USB security key in the Linux kernel with /dev/uhid (Documentation/hid/uhid.rst). Needs root."""

import os
import select
import struct
from contextlib import suppress
from types import TracebackType
from typing import Self

from mfa_kit.core.errors import DeviceFault

NODE = "/dev/uhid"
# The types of events (include/uapi/linux/uhid.h).
DESTROY, OUTPUT, CREATE2, INPUT2 = 1, 6, 11, 12
# The layout of a CREATE2 event, and the length of the longest event in octets.
CREATE = struct.Struct("<I128s64s64sHHIIII4096s")
EVENT = 4380
BUS_USB = 3
PACKET = 64
# A report descriptor with FIDO's usage page, one input report and one output report of 64 octets each (CTAP 2.1,
# 11.2.8.1).
REPORTS = bytes.fromhex("06d0f10901a1010920150026ff007508954081020921150026ff00750895409102c0")
VENDOR, PRODUCT = 0x1209, 0x0001


def open_uhid() -> int:
    """Open /dev/uhid and return the file descriptor. Raise DeviceFault if /dev/uhid is missing or may not be opened."""
    try:
        return os.open(NODE, os.O_RDWR)
    except OSError as error:
        raise DeviceFault(
            f"{NODE} cannot be opened: {error.strerror}", "run the command as root, after `modprobe uhid`"
        ) from None


class Uhid:
    """A simulated USB HID device. It has a /dev/hidraw node while the context is open.

    Usage: `with Uhid(open_uhid(), product="name") as wire: CtapHid(key, wire).serve()`.
    """

    def __init__(self, handle: int, *, product: str, serial: str = "") -> None:
        self._handle, self._product, self._serial = handle, product, serial
        self._stopped, self._stop = os.pipe()

    def __enter__(self) -> Self:
        name, serial = self._product.encode()[:127], self._serial.encode()[:63]
        about = (CREATE2, name, b"mfa-kit lab", serial, len(REPORTS), BUS_USB, VENDOR, PRODUCT, 0, 0, REPORTS)
        os.write(self._handle, CREATE.pack(*about))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        with suppress(OSError):
            os.write(self._handle, struct.pack("<I", DESTROY))
        os.close(self._handle)
        os.close(self._stopped)
        os.close(self._stop)

    def stop(self) -> None:
        """Make `receive` raise EOFError, in a call that is waiting now or in the next call."""
        os.write(self._stop, b"\0")

    def receive(self, timeout: float | None) -> bytes | None:
        """Return the next packet that a program wrote, or None after `timeout` seconds. Raise EOFError after `stop`."""
        while ready := select.select([self._handle, self._stopped], [], [], timeout)[0]:
            if self._stopped in ready:
                raise EOFError
            event = os.read(self._handle, EVENT)
            if not event:
                raise EOFError
            if int.from_bytes(event[:4], "little") == OUTPUT:
                size = int.from_bytes(event[4100:4102], "little")
                # A report without a report ID has a zero octet in front, which a program writes to /dev/hidraw. A USB
                # device does not receive this octet, so it is removed.
                return event[4 : 4 + size][-PACKET:]
        return None

    def send(self, packet: bytes) -> None:
        """Send a packet to the programs that have the /dev/hidraw node open."""
        os.write(self._handle, struct.pack("<IH", INPUT2, len(packet)) + packet)
