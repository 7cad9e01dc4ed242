"""A security key as a smart card: FIDO over NFC and CCID (CTAP 2.1, 11.3), octets in and octets out.

What carries them is lab.reader. A finger that is late is asked for with status 9100 and NFCCTAP_GETRESPONSE.
"""

import threading
import time

from mfa_kit.lab.devices.apdu import Pulled
from mfa_kit.lab.devices.ctap import CtapRefusal, CtapStatus, StatusWord
from mfa_kit.lab.devices.ctaphid import PATIENCE, UPNEEDED
from mfa_kit.lab.devices.securitykey import SimulatedKey

AID_FIDO = bytes.fromhex("a0000006472f0001")
# What a contactless reader makes up for such a card (PC/SC part 3, 3.1.3.2.3).
ATR_NFC = bytes.fromhex("3b8d80018073c021c057597562694b657955")
SELECT, GET_REMAINING = 0xA4, 0xC0
MSG, GETRESPONSE, CONTROL = 0x10, 0x11, 0x12
PROPRIETARY, CHAINED = 0x80, 0x10
CANCEL = 0x11
CHUNK = 256
MORE = 0x6100


class _NotYet(Exception):
    """The finger is not there yet."""


class FidoCard:
    """One key in a reader. `mute_at` and `pulled_at` are numbers of APDUs, from 1 on; 0 is never."""

    def __init__(self, key: SimulatedKey, *, atr: bytes = ATR_NFC, mute_at: int = 0, pulled_at: int = 0) -> None:
        self.key, self.atr = key, atr
        self.mute_at, self.pulled_at = mute_at, pulled_at
        self.count = 0
        # Set by the reader: it is not in one any more; it was powered.
        self.gone, self.powered = threading.Event(), threading.Event()
        self._selected = False
        self._chain = b""
        self._left = b""
        self._request = b""
        self._asked = 0.0
        self._canceled = False

    def power(self) -> None:
        """Forget what a session knows."""
        self._selected, self._chain, self._left, self._request = False, b"", b"", b""
        self.key.power_up()

    def answer(self, octets: bytes) -> bytes:
        """Return the response APDU. Raise Pulled where the card is taken out."""
        self.count += 1
        if self.count == self.mute_at:
            self.gone.wait()
        if self.count in {self.mute_at, self.pulled_at}:
            raise Pulled
        cla, ins, p1 = octets[0], octets[1], octets[2]
        if cla & CHAINED:
            self._chain += _data(octets)
            return StatusWord.OK.to_bytes(2)
        data, self._chain = self._chain + _data(octets), b""
        if ins == GET_REMAINING:
            return self._send(self._left)
        if cla == 0 and ins == SELECT:
            return self._select(data)
        if not self._selected:
            return StatusWord.INS_NOT_SUPPORTED.to_bytes(2)
        if cla == PROPRIETARY:
            return self._ctap2(ins, p1, data)
        body, word = self.key.apdu(octets[:4] + b"\0" + len(data).to_bytes(2) + data + b"\0\0", self)
        return self._send(body) if word is StatusWord.OK else word.to_bytes(2)

    def _select(self, aid: bytes) -> bytes:
        self._selected = aid == AID_FIDO
        if not self._selected:
            return StatusWord.NOT_FOUND.to_bytes(2)
        return self._send(b"U2F_V2" if "U2F_V2" in self.key.model.versions else b"FIDO_2_0")

    def _ctap2(self, ins: int, p1: int, data: bytes) -> bytes:
        if self.key.model.aaguid is None:
            return StatusWord.INS_NOT_SUPPORTED.to_bytes(2)
        if ins == CONTROL:
            return StatusWord.OK.to_bytes(2)
        if ins == MSG:
            self._request, self._asked, self._canceled = data, time.monotonic(), False
        elif ins == GETRESPONSE:
            self._canceled = p1 == CANCEL
        else:
            return StatusWord.INS_NOT_SUPPORTED.to_bytes(2)
        try:
            return self._send(self.key.cbor(self._request, self))
        except _NotYet:
            return bytes([UPNEEDED]) + StatusWord.UPDATE.to_bytes(2)

    def _send(self, data: bytes) -> bytes:
        part, self._left = data[:CHUNK], data[CHUNK:]
        return part + (MORE | min(len(self._left), 0xFF) if self._left else StatusWord.OK).to_bytes(2)

    def wait(self) -> None:
        """Raise Refusal when it is too late or canceled, _NotYet while the finger is not there."""
        if self._canceled:
            raise CtapRefusal(CtapStatus.KEEPALIVE_CANCEL)
        if time.monotonic() > self._asked + PATIENCE:
            raise CtapRefusal(CtapStatus.USER_ACTION_TIMEOUT)
        finger = self.key.behavior.touch
        if finger is None or time.monotonic() < self._asked + finger:
            raise _NotYet

    def ready(self) -> bool:
        """Whether a finger is on the key: in a reader's field it always is."""
        return self.key.behavior.touch is not None


def _data(octets: bytes) -> bytes:
    """Return the data of a short or an extended APDU (ISO 7816-4, 5.1)."""
    rest = octets[4:]
    if len(rest) > 3 and rest[0] == 0:  # noqa: PLR2004 - zero and two octets of length
        return rest[3 : 3 + int.from_bytes(rest[1:3])]
    return rest[1 : 1 + rest[0]] if len(rest) > 1 and rest[0] else b""
