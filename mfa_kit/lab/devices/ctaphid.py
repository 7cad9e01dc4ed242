"""CTAPHID, the protocol of a security key on USB (CTAP 2.1, 11.2), with packets of 64 octets, keepalives and cancel.

`CtapHid` serves one key over any transport for packets. `Uhid` is such a transport: it makes the Linux kernel show the
key as a USB device, with /dev/uhid (Documentation/hid/uhid.rst), and needs root.
"""

import os
import select
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

from mfa_kit.core.errors import DeviceFault
from mfa_kit.lab.devices.ctap import CtapRefusal, CtapStatus
from mfa_kit.lab.devices.securitykey import SimulatedKey

PACKET = 64
BROADCAST = 0xFFFFFFFF
# The commands of CTAPHID, and the capabilities that INIT reports (CTAP 2.1, 11.2.9).
INIT, PING, MSG, WINK, CBOR, CANCEL, KEEPALIVE, ERROR = 0x06, 0x01, 0x03, 0x08, 0x10, 0x11, 0x3B, 0x3F
CAN_WINK, CAN_CBOR, NO_MSG = 0x01, 0x04, 0x08
# The status of a keepalive that requests a touch, and the seconds between two keepalives.
UPNEEDED = 2
EVERY = 0.1
# The length of an APDU's header in octets.
HEADER = 4
# How long a key waits for a touch, in seconds (CTAP 2.1, 6.1.2: 10 to 120; real keys wait 30).
PATIENCE = 30.0


class PacketWire(Protocol):
    """A transport for packets."""

    def receive(self, timeout: float | None) -> bytes | None:
        """Return the next packet, or None after `timeout` seconds. Raise EOFError if the transport is closed."""
        ...

    def send(self, packet: bytes) -> None:
        """Send a packet."""
        ...


class CtapHid:
    """Serves one key over one transport.

    A `mute` key accepts all packets and answers none. `patience` is the time in seconds that the key waits for a touch.
    The key answers the first `busy` CBOR messages with CHANNEL_BUSY.
    """

    def __init__(
        self,
        key: SimulatedKey,
        wire: PacketWire,
        *,
        mute: bool = False,
        busy: int = 0,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key = key
        self._wire = wire
        self._mute = mute
        self._busy = busy
        self._patience = patience
        self._clock = clock
        self._channel = 0
        self._last_channel = 0
        self._asked: float | None = None

    def serve(self) -> None:
        """Receive the computer's messages and send the responses, until the transport raises EOFError or OSError."""
        self._key.power_up()
        try:
            while True:
                self._message()
        except (EOFError, OSError):
            return

    def _message(self) -> None:
        packet = self._wire.receive(None)
        if packet is None or len(packet) < PACKET or not packet[4] & 0x80 or self._mute:
            return
        channel, command = int.from_bytes(packet[:4]), packet[4] & 0x7F
        if command == CANCEL:
            return
        length = int.from_bytes(packet[5:7])
        data = packet[7:]
        while len(data) < length:
            more = self._wire.receive(None) or b""
            data += more[5:]
        self._channel = channel
        self._answer(command, data[:length])

    def _answer(self, command: int, data: bytes) -> None:
        key = self._key
        if command == INIT:
            self._init(data)
        elif command == CBOR and self._busy:
            self._busy -= 1
            self._reply(ERROR, bytes([CtapStatus.CHANNEL_BUSY]))
        elif command == CBOR and key.model.aaguid is not None:
            self._reply(CBOR, key.cbor(data, self))
        elif command == MSG and "U2F_V2" in key.model.versions and len(data) >= HEADER:
            body, word = key.apdu(data, self)
            self._reply(MSG, body + word.to_bytes(2))
        elif command in (PING, WINK):
            self._reply(command, data)
        else:
            self._reply(ERROR, bytes([CtapStatus.INVALID_COMMAND]))

    def _init(self, nonce: bytes) -> None:
        channel = self._channel
        if channel == BROADCAST:
            self._last_channel += 1
            channel = self._last_channel
        can = CAN_WINK
        if self._key.model.aaguid is not None:
            can |= CAN_CBOR
        if "U2F_V2" not in self._key.model.versions:
            can |= NO_MSG
        self._reply(INIT, nonce + channel.to_bytes(4) + bytes([2, *self._key.model.firmware, can]))

    def _reply(self, command: int, data: bytes) -> None:
        head = self._channel.to_bytes(4) + bytes([0x80 | command]) + len(data).to_bytes(2)
        first, continuation = data[: PACKET - 7], data[PACKET - 7 :]
        self._wire.send((head + first).ljust(PACKET, b"\0"))
        for sequence, offset in enumerate(range(0, len(continuation), PACKET - 5)):
            head = self._channel.to_bytes(4) + bytes([sequence & 0x7F])
            self._wire.send((head + continuation[offset : offset + PACKET - 5]).ljust(PACKET, b"\0"))

    def wait(self) -> None:
        """Send keepalives until the key is touched. Raise CtapRefusal after CANCEL, or after `patience` seconds."""
        began = self._clock()
        touch = self._key.behavior.touch
        while touch is None or self._clock() < began + touch:
            if self._clock() > began + self._patience:
                raise CtapRefusal(CtapStatus.USER_ACTION_TIMEOUT)
            self._reply(KEEPALIVE, bytes([UPNEEDED]))
            packet = self._wire.receive(EVERY)
            if packet and packet[4] == 0x80 | CANCEL and int.from_bytes(packet[:4]) == self._channel:
                raise CtapRefusal(CtapStatus.KEEPALIVE_CANCEL)

    def ready(self) -> bool:
        """Return whether the key was touched since the first call of this method.

        After a call has returned True, the next call counts as the first call.
        """
        touch = self._key.behavior.touch
        if self._asked is None:
            self._asked = self._clock()
        if touch is None or self._clock() < self._asked + touch:
            return False
        self._asked = None
        return True


NODE = "/dev/uhid"
# The types of events (include/uapi/linux/uhid.h).
DESTROY, OUTPUT, CREATE2, INPUT2 = 1, 6, 11, 12
# The layout of a CREATE2 event, and the length of the longest event in octets.
CREATE = struct.Struct("<I128s64s64sHHIIII4096s")
EVENT = 4380
BUS_USB = 3

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
