"""A simulated YKOATH card: a YubiKey's OATH applet, optionally with the deviations of real firmware.

Source: https://docs.yubico.com/yesdk/users-manual/application-oath/oath-protocol.html (YKOATH). The card takes command
APDUs and returns response APDUs, which reader.py transports.
"""

import hmac
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from mfa_kit.lab.devices.apdu import (
    CHAINED,
    CHUNK,
    LONG,
    Apdu,
    ApduRefusal,
    LongResponse,
    Pulled,
    StatusWord,
    stalled,
    tlv,
)

AID_OATH = bytes.fromhex("a0000005272101")
AID_MANAGEMENT = bytes.fromhex("a000000527471117")
# A YubiKey's ATR on USB.
ATR_USB = bytes.fromhex("3bfd1300008131fe158073c021c057597562694b657940")

# The instructions of the OATH applet. READ_CONFIG belongs to the management applet.
PUT, DELETE, SET_CODE, RESET, RENAME = 0x01, 0x02, 0x03, 0x04, 0x05
READ_CONFIG = 0x1D
LIST, CALCULATE, VALIDATE, CALCULATE_ALL, SEND_REMAINING = 0xA1, 0xA2, 0xA3, 0xA4, 0xA5
# The tags of the TLVs in commands and responses.
NAME, NAME_LIST, KEY, CHALLENGE, RESPONSE, TRUNCATED = 0x71, 0x72, 0x73, 0x74, 0x75, 0x76
HOTP, PROPERTY, VERSION, IMF, ALGORITHM, TOUCH = 0x77, 0x78, 0x79, 0x7A, 0x7B, 0x7C
# The types of credentials, and the property of a credential that requires a touch.
TOTP_TYPE, HOTP_TYPE = 0x20, 0x10
WANTS_TOUCH = 0x02
# The algorithms of credentials (RFC 6238, 1.2).
HASHES = {1: "sha1", 2: "sha256", 3: "sha512"}

# The maximum length of a credential's name in octets.
NAME_LIMIT = 64
# The response of a card with the quirk `garbage`: a TLV whose length field exceeds the response.
GARBAGE = bytes.fromhex("71ff0004")
Fields = Mapping[int, bytes]


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential that PUT stored. `kind` is its type and algorithm in one octet, as in the protocol."""

    kind: int
    digits: int
    key: bytes = field(repr=False)
    touch: bool
    counter: int = 0

    @property
    def hotp(self) -> bool:
        """Whether the credential is HOTP (RFC 4226), not TOTP."""
        return self.kind & 0xF0 == HOTP_TYPE


@dataclass(slots=True)
class Quirks:
    """How a card differs from the YKOATH specification.

    Instructions are given as INS octets. The response to an instruction in `endless` never ends. The response to an
    instruction in `stalls` announces data that is never sent. The response to an instruction in `garbage` is malformed.
    `refuses` maps instructions to the status words with which the card refuses them.

    The first APDU after `log.clear()` has number 1; 0 means never. The card is pulled out before it executes APDU
    number `pulled_before` or any APDU with the instruction `pulled_by`, or after it executed APDU number `pulled_after`
    and before it responds. The card stops answering at APDU number `mute_at`.

    With `strict_le`, the response to a command without Le has no data, only a status word that announces data
    (CanoKey). With more than `most_at_once` credentials, the card refuses CALCULATE ALL with the status word 6700
    (pico-fido). With `writes_touched`, PUT and DELETE need a touch. With `lists_plainly`, LIST does not say which
    credentials need a touch.

    With `drops_touch`, credentials that PUT stores never need a touch; with `adds_touch`, they always need one. With
    `overwrites`, PUT also deletes the oldest credential. With `forgets`, PUT stores nothing. With `keeps`, DELETE
    deletes nothing. With `ignores_password`, SET CODE does not change the password. With `wrong_codes`, all codes are
    wrong. With `cannot_compute`, CALCULATE returns this status word. With `untouched`, the card is never touched, and a
    command that needs a touch returns this status word.

    `wrong_password` is the status word for a wrong password. With `password_tries`, the status word is 63Cx instead,
    where x is the number of tries left. When none are left, the card accepts no password.
    """

    strict_le: bool = False
    most_at_once: int | None = None
    endless: frozenset[int] = frozenset()
    stalls: frozenset[int] = frozenset()
    garbage: frozenset[int] = frozenset()
    refuses: dict[int, int] = field(default_factory=dict)
    writes_touched: bool = False
    lists_plainly: bool = False
    drops_touch: bool = False
    adds_touch: bool = False
    overwrites: bool = False
    forgets: bool = False
    keeps: bool = False
    ignores_password: bool = False
    cannot_compute: int = 0
    wrong_codes: bool = False
    untouched: int = 0
    wrong_password: int = StatusWord.WRONG_DATA
    password_tries: int | None = None
    pulled_by: int = 0
    mute_at: int = 0
    pulled_before: int = 0
    pulled_after: int = 0


def tlvs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tags and values in a command's data. The property in PUT has no length octet (YKOATH)."""
    position = 0
    while position < len(data):
        tag = data[position]
        if tag == PROPERTY:
            yield tag, data[position + 1 : position + 2]
            position += 2
            continue
        size = data[position + 1]
        position += 2
        if size & LONG:
            size, position = int.from_bytes(data[position : position + (size & 0x7F)]), position + (size & 0x7F)
        yield tag, data[position : position + size]
        position += size


class YkoathCard:
    """A simulated YKOATH card.

    `touch_delay` is the time in seconds until the card's button is touched, and `touch_limit` the time that the card
    waits for the touch. For tests, `credentials` has the credentials by name, and `log` the INS octet of each APDU
    since `log.clear()`.
    """

    def __init__(
        self,
        *,
        version: tuple[int, int, int] = (5, 4, 3),
        serial: int | None = 12345678,
        management: bool = True,
        capacity: int = 32,
        atr: bytes = ATR_USB,
        touch_delay: float = 0.0,
        touch_limit: float = 15.0,
        identity: bytes | None = None,
        quirks: Quirks | None = None,
    ) -> None:
        self.version, self.serial, self.management = version, serial, management
        self.capacity, self.atr = capacity, atr
        self.touch_delay, self.touch_limit = touch_delay, touch_limit
        self.quirks = quirks or Quirks()
        self.identity = identity or secrets.token_bytes(8)
        self.credentials: dict[bytes, Credential] = {}
        self.password: bytes | None = None
        self.log: list[int] = []
        self.touches = 0
        self.on_touch: Callable[[], None] = lambda: None
        # The reader sets `gone` when it removes the card, and `powered` when pcscd has powered the card.
        self.gone, self.powered = threading.Event(), threading.Event()
        self._applet = b""
        self._open = False
        self._challenge = b""
        self._chain = b""
        self._response = LongResponse(CHUNK)

    # The methods that handle APDUs.

    def power(self) -> None:
        """Forget the state of a session (applet, password check, command chain), as after a reset or a power-up."""
        self._applet, self._open, self._challenge, self._chain = b"", False, b"", b""
        self._response.forget()

    def answer(self, octets: bytes) -> bytes:
        """Return the response to a command APDU. Raise Pulled if the card is pulled out of the reader."""
        apdu = Apdu.parse(octets)
        self.log.append(apdu.ins)
        if len(self.log) == self.quirks.mute_at:
            self.gone.wait()
        if len(self.log) in {self.quirks.mute_at, self.quirks.pulled_before} or self._pulled(apdu):
            raise Pulled
        reply = self._answer(apdu)
        if len(self.log) == self.quirks.pulled_after:
            raise Pulled
        return reply

    def _pulled(self, apdu: Apdu) -> bool:
        return apdu.ins == self.quirks.pulled_by and not apdu.selects

    def _answer(self, apdu: Apdu) -> bytes:
        """Run a complete command, or store one part of a chained command. Return the response with its status word."""
        if apdu.cla & CHAINED:
            self._chain += apdu.data
            return StatusWord.OK.to_bytes(2)
        command = replace(apdu, data=self._chain + apdu.data)
        self._chain = b""
        if self._applet == AID_OATH and apdu.ins == SEND_REMAINING:
            return self._remaining(apdu)
        try:
            if self._applet and not apdu.selects:
                return self._run_with_quirks(command)
            return self._send(self._run(command), apdu)
        except ApduRefusal as refusal:
            return refusal.status.to_bytes(2)

    def _send(self, response: bytes, apdu: Apdu) -> bytes:
        strict = self.quirks.strict_le and not apdu.expects
        return self._response.hold(response) if strict else self._response.start(response)

    def _remaining(self, apdu: Apdu) -> bytes:
        if self.quirks.endless:
            return _endless()
        if self.quirks.stalls:
            return stalled()
        strict = self.quirks.strict_le and not apdu.expects
        return self._response.hold_next() if strict else self._response.next()

    def _run_with_quirks(self, apdu: Apdu) -> bytes:
        quirks = self.quirks
        if apdu.ins in quirks.endless:
            return _endless()
        if apdu.ins in quirks.stalls:
            return stalled()
        if apdu.ins in quirks.refuses:
            raise ApduRefusal(quirks.refuses[apdu.ins])
        reply = self._send(self._run(apdu), apdu)
        return GARBAGE + StatusWord.OK.to_bytes(2) if apdu.ins in quirks.garbage else reply

    def _run(self, apdu: Apdu) -> bytes:
        if apdu.selects:
            return self._select(apdu.data)
        if self._applet == AID_MANAGEMENT and apdu.ins == READ_CONFIG:
            return self._config()
        command = self._COMMANDS.get(apdu.ins) if self._applet == AID_OATH else None
        if command is None:
            raise ApduRefusal(StatusWord.INS_NOT_SUPPORTED)
        if apdu.ins not in (RESET, VALIDATE) and not self._open:
            raise ApduRefusal(StatusWord.AUTH_REQUIRED)
        if self.quirks.writes_touched and apdu.ins in {PUT, DELETE}:
            self._wait_for_touch()
        return command(self, apdu)

    # The methods that select applets.

    def _select(self, aid: bytes) -> bytes:
        self._response.forget()
        if aid == AID_MANAGEMENT and self.management:
            self._applet = aid
            return b"Virtual mgr - FW version %d.%d.%d" % self.version
        if aid != AID_OATH:
            raise ApduRefusal(StatusWord.NOT_FOUND)
        self._applet = aid
        self._open = self.password is None
        response = tlv(VERSION, bytes(self.version)) + tlv(NAME, self.identity)
        if self.password is not None:
            self._challenge = secrets.token_bytes(8)
            response += tlv(CHALLENGE, self._challenge) + tlv(ALGORITHM, b"\x01")
        return response

    def _config(self) -> bytes:
        """Return a DeviceInfo for yubikit: a USB-A keychain key with all applications, its version and its serial."""
        info = tlv(0x01, b"\x02\x3b") + tlv(0x03, b"\x02\x3b") + tlv(0x04, b"\x01") + tlv(0x05, bytes(self.version))
        if self.serial is not None:
            info += tlv(0x02, self.serial.to_bytes(4))
        return bytes([len(info)]) + info

    def _reset(self, apdu: Apdu) -> bytes:
        if (apdu.p1, apdu.p2) != (0xDE, 0xAD):
            raise ApduRefusal(StatusWord.WRONG_DATA)
        self.erase()
        return b""

    def erase(self) -> None:
        """Forget the credentials, the password and the identity."""
        self.credentials.clear()
        self.password, self.identity = None, secrets.token_bytes(8)

    # The methods for the password.

    def _validate(self, apdu: Apdu) -> bytes:
        fields, quirks = _fields(apdu), self.quirks
        if self.password is None:
            raise ApduRefusal(StatusWord.NO_SUCH_OBJECT)
        if quirks.password_tries == 0:
            raise ApduRefusal(StatusWord.AUTH_BLOCKED)
        if fields[RESPONSE] != hmac.digest(self.password, self._challenge, "sha1"):
            if quirks.password_tries is not None:
                quirks.password_tries -= 1
                raise ApduRefusal(StatusWord.RETRIES | quirks.password_tries)
            raise ApduRefusal(quirks.wrong_password)
        self._open = True
        return tlv(RESPONSE, hmac.digest(self.password, fields[CHALLENGE], "sha1"))

    def _set_code(self, apdu: Apdu) -> bytes:
        """Set the password, or remove it if the command has no key."""
        fields = _fields(apdu)
        if self.quirks.ignores_password:
            return b""
        if not fields.get(KEY):
            self.password = None
            return b""
        key = fields[KEY][1:]
        if fields[RESPONSE] != hmac.digest(key, fields[CHALLENGE], "sha1"):
            raise ApduRefusal(StatusWord.NO_SUCH_OBJECT)
        self.password = key
        return b""

    # The methods for credentials.

    def _known(self, name: bytes) -> bytes:
        """Return `name`. Raise ApduRefusal if no credential has this name."""
        if name not in self.credentials:
            raise ApduRefusal(StatusWord.NO_SUCH_OBJECT)
        return name

    def _put(self, apdu: Apdu) -> bytes:
        fields, quirks = _fields(apdu), self.quirks
        name, key = fields[NAME], fields[KEY]
        if not 0 < len(name) <= NAME_LIMIT or key[0] & 0x0F not in HASHES:
            raise ApduRefusal(StatusWord.WRONG_DATA)
        if name not in self.credentials and len(self.credentials) >= self.capacity:
            raise ApduRefusal(StatusWord.NO_SPACE)
        if quirks.overwrites and self.credentials:
            self.credentials.pop(next(iter(self.credentials)))
        if not quirks.forgets:
            touch = bool(fields.get(PROPERTY, b"\0")[0] & WANTS_TOUCH)
            self.credentials[name] = Credential(
                key[0],
                key[1],
                key[2:],
                touch=(touch and not quirks.drops_touch) or quirks.adds_touch,
                counter=int.from_bytes(fields.get(IMF, b"")),
            )
        return b""

    def _list(self, apdu: Apdu) -> bytes:
        """Answer LIST. Version 1 of LIST, which Nitrokeys support, adds an octet of properties after each name."""
        with_touch = apdu.data == b"\x01" and not self.quirks.lists_plainly
        return b"".join(
            tlv(NAME_LIST, bytes([credential.kind]) + name + (bytes([credential.touch]) if with_touch else b""))
            for name, credential in self.credentials.items()
        )

    def _delete(self, apdu: Apdu) -> bytes:
        name = self._known(_fields(apdu)[NAME])
        credential = self.credentials.pop(name)
        if self.quirks.keeps:
            self.credentials[name] = credential
        return b""

    def _rename(self, apdu: Apdu) -> bytes:
        old, new = (value for _, value in tlvs(apdu.data))
        if new in self.credentials:
            raise ApduRefusal(StatusWord.NO_SUCH_OBJECT)
        self.credentials[new] = self.credentials.pop(self._known(old))
        return b""

    def _code(self, name: bytes, challenge: bytes, *, truncate: bool) -> bytes:
        """Return a TLV with the number of digits and the HMAC of the challenge, whole or truncated (RFC 4226, 5.3).

        For HOTP, the HMAC is that of the counter, which is then increased.
        """
        credential = self.credentials[name]
        if credential.hotp:
            challenge = credential.counter.to_bytes(8)
            self.credentials[name] = replace(credential, counter=credential.counter + 1)
        key = credential.key[::-1] if self.quirks.wrong_codes else credential.key
        mac = hmac.digest(key, challenge, HASHES[credential.kind & 0x0F])
        if not truncate:
            return tlv(RESPONSE, bytes([credential.digits]) + mac)
        offset = mac[-1] & 15
        number = int.from_bytes(mac[offset : offset + 4]) & 0x7FFFFFFF
        return tlv(TRUNCATED, bytes([credential.digits]) + number.to_bytes(4))

    def _calculate(self, apdu: Apdu) -> bytes:
        fields = _fields(apdu)
        name = self._known(fields[NAME])
        if self.quirks.cannot_compute:
            raise ApduRefusal(self.quirks.cannot_compute)
        if self.credentials[name].touch:
            self._wait_for_touch()
        return self._code(name, fields[CHALLENGE], truncate=bool(apdu.p2))

    def _wait_for_touch(self) -> None:
        """Wait for a touch. Raise ApduRefusal if the card is never touched, and Pulled if it is removed before that."""
        self.on_touch()
        if self.quirks.untouched:
            self.gone.wait(self.touch_limit)
            raise ApduRefusal(self.quirks.untouched)
        if self.gone.wait(self.touch_delay):
            raise Pulled
        self.touches += 1

    def _calculate_all(self, apdu: Apdu) -> bytes:
        """Answer CALCULATE ALL with the codes of all credentials.

        A credential that is HOTP or requires a touch gets a tag without a code.
        """
        challenge, truncate = _fields(apdu)[CHALLENGE], bool(apdu.p2)
        if self.quirks.most_at_once is not None and len(self.credentials) > self.quirks.most_at_once:
            raise ApduRefusal(StatusWord.WRONG_LENGTH)
        response = b""
        for name, credential in self.credentials.items():
            if credential.hotp:
                entry = tlv(HOTP, bytes([credential.digits]))
            elif credential.touch:
                entry = tlv(TOUCH, bytes([credential.digits]))
            else:
                entry = self._code(name, challenge, truncate=truncate)
            response += tlv(NAME, name) + entry
        return response

    _COMMANDS: ClassVar[Mapping[int, "Callable[[YkoathCard, Apdu], bytes]"]] = {
        PUT: _put,
        DELETE: _delete,
        SET_CODE: _set_code,
        RESET: _reset,
        RENAME: _rename,
        LIST: _list,
        CALCULATE: _calculate,
        VALIDATE: _validate,
        CALCULATE_ALL: _calculate_all,
    }


def _fields(apdu: Apdu) -> Fields:
    return dict(tlvs(apdu.data))


def _endless() -> bytes:
    """Return one part of an endless response. Its status word announces another part."""
    return bytes(CHUNK) + (StatusWord.MORE | 0xFF).to_bytes(2)
