"""A security key that is used as a smart card: FIDO over NFC and CCID (CTAP 2.1, 11.3).

The card takes command APDUs and returns response APDUs, which reader.py transports. To a CTAP2 command that needs a
touch, the card answers with status 9100 until the key is touched. The client asks again with NFCCTAP_GETRESPONSE.
"""

import threading
import time

from mfa_kit.lab.devices.apdu import (
    ATR_NFC,
    CHAINED,
    PROPRIETARY,
    SELECT,
    Apdu,
    LongResponse,
    Pulled,
    StatusWord,
    stalled,
)
from mfa_kit.lab.devices.ctap import CtapRefusal, CtapStatus
from mfa_kit.lab.devices.ctaphid import PATIENCE, UPNEEDED
from mfa_kit.lab.devices.securitykey import SimulatedKey

AID_FIDO = bytes.fromhex("a0000006472f0001")
# The instruction GET RESPONSE (ISO 7816-4).
GET_REMAINING = 0xC0
# NFCCTAP_MSG, NFCCTAP_GETRESPONSE and NFCCTAP_CONTROL, and the P1 of a GETRESPONSE that cancels (CTAP 2.1, 11.3.7).
MSG, GETRESPONSE, CONTROL = 0x10, 0x11, 0x12
CANCEL = 0x11
# The command authenticatorReset (CTAP 2.1, 6.6).
RESET = b"\x07"
# The length of one part of a response in octets. A short response APDU cannot hold more.
PART = 256


class _NotYet(Exception):
    """Raised when a command needs a touch and the key has not been touched yet."""


class FidoCard:
    """A security key in a reader.

    The key stops answering at APDU number `mute_at`, and is pulled out at APDU number `pulled_at`. The first APDU has
    number 1; 0 means never. `wrong_pin` is a status word for a wrong PIN (pico-fido: 6431); None means that the CTAP
    status is returned. With `stalls`, each response to a CTAP2 command announces more data that is never sent. With
    `reset_deselects`, the applet must be selected again after a reset (the JavaCard applet FIDO2Applet).
    """

    def __init__(
        self,
        key: SimulatedKey,
        *,
        atr: bytes = ATR_NFC,
        mute_at: int = 0,
        pulled_at: int = 0,
        wrong_pin: int | None = None,
        stalls: bool = False,
        reset_deselects: bool = False,
    ) -> None:
        self.key, self.atr = key, atr
        self.wrong_pin, self.stalls, self.reset_deselects = wrong_pin, stalls, reset_deselects
        self.mute_at, self.pulled_at = mute_at, pulled_at
        self.count = 0
        # The reader sets `gone` when it removes the card, and `powered` when pcscd has powered the card.
        self.gone, self.powered = threading.Event(), threading.Event()
        self._selected = False
        self._chain = b""
        self._response = LongResponse(PART)
        self._request = b""
        self._asked = 0.0
        self._canceled = False

    def power(self) -> None:
        """Forget the state of a session, as a card does when it is powered up."""
        self._selected, self._chain, self._request = False, b"", b""
        self._response.forget()
        self.key.power_up()

    def answer(self, octets: bytes) -> bytes:
        """Return the response to a command APDU. Raise Pulled if the card is pulled out of the reader."""
        self.count += 1
        if self.count == self.mute_at:
            self.gone.wait()
        if self.count in {self.mute_at, self.pulled_at}:
            raise Pulled
        apdu = Apdu.parse(octets)
        if apdu.cla & CHAINED:
            self._chain += apdu.data
            return StatusWord.OK.to_bytes(2)
        data, self._chain = self._chain + apdu.data, b""
        if apdu.ins == GET_REMAINING:
            return self._next()
        if apdu.cla == 0 and apdu.ins == SELECT:
            return self._select(data)
        if not self._selected:
            return StatusWord.INS_NOT_SUPPORTED.to_bytes(2)
        if apdu.cla == PROPRIETARY:
            return self._ctap2(apdu.ins, apdu.p1, data)
        body, word = self.key.apdu(octets[:4] + b"\0" + len(data).to_bytes(2) + data + b"\0\0", self)
        return self._response.start(body) if word is StatusWord.OK else word.to_bytes(2)

    def _next(self) -> bytes:
        return stalled() if self.stalls else self._response.next()

    def _select(self, aid: bytes) -> bytes:
        self._selected = aid == AID_FIDO
        if not self._selected:
            return StatusWord.NOT_FOUND.to_bytes(2)
        return self._response.start(b"U2F_V2" if "U2F_V2" in self.key.model.versions else b"FIDO_2_0")

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
        return self._answer_request()

    def _answer_request(self) -> bytes:
        """Return the response to the CTAP2 request, or a status update while the key waits for a touch."""
        try:
            answer = self.key.cbor(self._request, self)
            if self.wrong_pin is not None and answer[:1] == bytes([CtapStatus.PIN_INVALID]):
                return self.wrong_pin.to_bytes(2)
            if self.reset_deselects and self._request[:1] == RESET and answer[0] == CtapStatus.OK:
                self._selected = False
            return stalled() if self.stalls else self._response.start(answer)
        except _NotYet:
            return bytes([UPNEEDED]) + StatusWord.UPDATE.to_bytes(2)

    def wait(self) -> None:
        """Raise _NotYet before the touch, and CtapRefusal after a cancel or a timeout. Do nothing after the touch."""
        if self._canceled:
            raise CtapRefusal(CtapStatus.KEEPALIVE_CANCEL)
        if time.monotonic() > self._asked + PATIENCE:
            raise CtapRefusal(CtapStatus.USER_ACTION_TIMEOUT)
        touch = self.key.behavior.touch
        if touch is None or time.monotonic() < self._asked + touch:
            raise _NotYet

    def ready(self) -> bool:
        """Return whether the key is touched. A key in a reader counts as touched, unless its `touch` is None."""
        return self.key.behavior.touch is not None
