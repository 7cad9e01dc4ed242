"""CTAPHID, the protocol of a security key on USB (CTAP 2.1, 11.2), with packets of 64 octets, keepalives and cancel.

`CtapHid` serves one key over any transport for packets, such as the kernel's /dev/uhid (uhid.py).
"""

import time
from collections.abc import Callable
from typing import Protocol

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
