"""A YKOATH card: the applet of a YubiKey as Yubico's protocol page describes it, and the ways real firmware strays.

https://docs.yubico.com/yesdk/users-manual/application-oath/oath-protocol.html (YKOATH). Octets in, octets out; what
carries them is lab.reader.
"""

import hmac
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mfa_kit.lab.devices.apdu import (
    AUTH_NEEDED,
    BAD_SYNTAX,
    CHUNK,
    LONG,
    MORE,
    NO_FILE,
    NO_INSTRUCTION,
    NO_ROOM,
    NOT_THERE,
    OK,
    Apdu,
    ApduRefusal,
    Pulled,
    tlv,
)

AID_OATH = bytes.fromhex("a0000005272101")
AID_MANAGEMENT = bytes.fromhex("a000000527471117")
# A YubiKey's on USB, and the form that a contactless reader makes up for it (PC/SC part 3, 3.1.3.2.3).
ATR_USB = bytes.fromhex("3bfd1300008131fe158073c021c057597562694b657940")
ATR_NFC = bytes.fromhex("3b8d80018073c021c057597562694b657955")

PUT, DELETE, SET_CODE, RESET, RENAME = 0x01, 0x02, 0x03, 0x04, 0x05
READ_CONFIG = 0x1D
LIST, CALCULATE, VALIDATE, CALCULATE_ALL, SEND_REMAINING = 0xA1, 0xA2, 0xA3, 0xA4, 0xA5
NAME, NAME_LIST, KEY, CHALLENGE, RESPONSE, TRUNCATED = 0x71, 0x72, 0x73, 0x74, 0x75, 0x76
HOTP, PROPERTY, VERSION, IMF, ALGORITHM, TOUCH = 0x77, 0x78, 0x79, 0x7A, 0x7B, 0x7C
TOTP_TYPE, HOTP_TYPE = 0x20, 0x10
WANTS_TOUCH = 0x02
HASHES = {1: "sha1", 2: "sha256", 3: "sha512"}

NAME_LIMIT = 64


@dataclass(frozen=True, slots=True)
class Credential:
    """What PUT stored: type and algorithm in one octet, as on the wire."""

    kind: int
    digits: int
    key: bytes = field(repr=False)
    touch: bool
    counter: int = 0

    @property
    def hotp(self) -> bool:
        return self.kind & 0xF0 == HOTP_TYPE


@dataclass(slots=True)
class Quirks:
    """How a card strays. Instructions are given by their INS octet, APDUs by their number since `log` was cleared."""

    endless: frozenset[int] = frozenset()
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
    wrong_password: int = BAD_SYNTAX
    password_tries: int | None = None
    pulled_by: int = 0
    mute_at: int = 0
    pulled_before: int = 0
    pulled_after: int = 0


def tlvs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Read PUT's and the other commands' data: TLVs, but for the property, which has no length (YKOATH, PUT)."""
    at = 0
    while at < len(data):
        tag = data[at]
        if tag == PROPERTY:
            yield tag, data[at + 1 : at + 2]
            at += 2
            continue
        size = data[at + 1]
        at += 2
        if size & LONG:
            size, at = int.from_bytes(data[at : at + (size & 0x7F)]), at + (size & 0x7F)
        yield tag, data[at : at + size]
        at += size


class YkoathCard:
    """One card. `credentials` and `log` are for judges: what it holds, and the INS of each APDU since `log.clear()`."""

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
        # Set by the reader: it is not in one any more; it was powered.
        self.gone, self.powered = threading.Event(), threading.Event()
        self._applet = b""
        self._open = False
        self._challenge = b""
        self._chain = b""
        self._left = b""

    # the wire

    def power(self) -> None:
        """Forget what a session knows, as a reset or a new power-up does."""
        self._applet, self._open, self._challenge, self._chain, self._left = b"", False, b"", b"", b""

    def answer(self, octets: bytes) -> bytes:
        """Return the response APDU. Raise Pulled where the card is taken out."""
        apdu = Apdu.parse(octets)
        self.log.append(apdu.ins)
        if len(self.log) == self.quirks.mute_at:
            self.gone.wait()
        if len(self.log) in {self.quirks.mute_at, self.quirks.pulled_before} or self._pulled(apdu):
            raise Pulled
        reply = self._chained(apdu)
        if len(self.log) == self.quirks.pulled_after:
            raise Pulled
        return reply

    def _pulled(self, apdu: Apdu) -> bool:
        return apdu.ins == self.quirks.pulled_by and not apdu.selects

    def _chained(self, apdu: Apdu) -> bytes:
        if apdu.cla & 0x10:
            self._chain += apdu.data
            return OK.to_bytes(2)
        data, self._chain = self._chain + apdu.data, b""
        if self._applet == AID_OATH and apdu.ins == SEND_REMAINING:
            return self._send(self._left) if not self.quirks.endless else bytes(CHUNK) + (MORE | 0xFF).to_bytes(2)
        try:
            if self._applet == AID_OATH and not apdu.selects:
                return self._strayed(apdu, data)
            return self._send(self._run(apdu, data))
        except ApduRefusal as refused:
            return refused.status.to_bytes(2)

    def _strayed(self, apdu: Apdu, data: bytes) -> bytes:
        quirks = self.quirks
        if apdu.ins in quirks.endless:
            return bytes(CHUNK) + (MORE | 0xFF).to_bytes(2)
        if apdu.ins in quirks.refuses:
            raise ApduRefusal(quirks.refuses[apdu.ins])
        reply = self._send(self._run(apdu, data))
        return bytes.fromhex("71ff0004") + OK.to_bytes(2) if apdu.ins in quirks.garbage else reply

    def _send(self, data: bytes) -> bytes:
        part, self._left = data[:CHUNK], data[CHUNK:]
        return part + (MORE | min(len(self._left), 0xFF) if self._left else OK).to_bytes(2)

    def _run(self, apdu: Apdu, data: bytes) -> bytes:
        if apdu.selects:
            return self._select(data)
        if self._applet == AID_MANAGEMENT and apdu.ins == READ_CONFIG:
            return self._config()
        if self._applet != AID_OATH:
            raise ApduRefusal(NO_INSTRUCTION)
        free: dict[int, Callable[[], bytes]] = {
            RESET: lambda: self._reset(apdu.p1, apdu.p2),
            VALIDATE: lambda: self._validate(fields),
        }
        guarded: dict[int, Callable[[], bytes]] = {
            PUT: lambda: self._put(fields),
            DELETE: lambda: self._delete(fields[NAME]),
            SET_CODE: lambda: self._set_code(fields),
            RENAME: lambda: self._rename(*(value for _, value in tlvs(data))),
            LIST: lambda: self._list(data),
            CALCULATE: lambda: self._calculate(fields, truncate=bool(apdu.p2)),
            CALCULATE_ALL: lambda: self._calculate_all(fields[CHALLENGE], truncate=bool(apdu.p2)),
        }
        if apdu.ins not in free | guarded:
            raise ApduRefusal(NO_INSTRUCTION)
        if apdu.ins in guarded and not self._open:
            raise ApduRefusal(AUTH_NEEDED)
        if self.quirks.writes_touched and apdu.ins in {PUT, DELETE}:
            self._wait_for_touch()
        fields = {} if apdu.ins == LIST else dict(tlvs(data))
        return (free | guarded)[apdu.ins]()

    # applets

    def _select(self, aid: bytes) -> bytes:
        self._left = b""
        if aid == AID_MANAGEMENT and self.management:
            self._applet = aid
            return b"Virtual mgr - FW version %d.%d.%d" % self.version
        if aid != AID_OATH:
            raise ApduRefusal(NO_FILE)
        self._applet = aid
        self._open = self.password is None
        told = tlv(VERSION, bytes(self.version)) + tlv(NAME, self.identity)
        if self.password is not None:
            self._challenge = secrets.token_bytes(8)
            told += tlv(CHALLENGE, self._challenge) + tlv(ALGORITHM, b"\x01")
        return told

    def _config(self) -> bytes:
        """DeviceInfo as yubikit's management module reads it: OATH on USB, a keychain with USB-A, serial, version."""
        told = tlv(0x01, b"\x02\x3b") + tlv(0x03, b"\x02\x3b") + tlv(0x04, b"\x01") + tlv(0x05, bytes(self.version))
        if self.serial is not None:
            told += tlv(0x02, self.serial.to_bytes(4))
        return bytes([len(told)]) + told

    def _reset(self, p1: int, p2: int) -> bytes:
        if (p1, p2) != (0xDE, 0xAD):
            raise ApduRefusal(BAD_SYNTAX)
        self.credentials.clear()
        self.password, self.identity = None, secrets.token_bytes(8)
        return b""

    # the password

    def _validate(self, fields: dict[int, bytes]) -> bytes:
        quirks = self.quirks
        if self.password is None:
            raise ApduRefusal(NOT_THERE)
        if quirks.password_tries == 0:
            raise ApduRefusal(0x6983)
        if fields[RESPONSE] != hmac.digest(self.password, self._challenge, "sha1"):
            if quirks.password_tries is not None:
                quirks.password_tries -= 1
                raise ApduRefusal(0x63C0 | quirks.password_tries)
            raise ApduRefusal(quirks.wrong_password)
        self._open = True
        return tlv(RESPONSE, hmac.digest(self.password, fields[CHALLENGE], "sha1"))

    def _set_code(self, fields: dict[int, bytes]) -> bytes:
        if self.quirks.ignores_password:
            return b""
        if not fields.get(KEY):
            self.password = None
            return b""
        key = fields[KEY][1:]
        if fields[RESPONSE] != hmac.digest(key, fields[CHALLENGE], "sha1"):
            raise ApduRefusal(NOT_THERE)
        self.password = key
        return b""

    # credentials

    def _known(self, name: bytes) -> bytes:
        if name not in self.credentials:
            raise ApduRefusal(NOT_THERE)
        return name

    def _put(self, fields: dict[int, bytes]) -> bytes:
        name, key = fields[NAME], fields[KEY]
        if not 0 < len(name) <= NAME_LIMIT or key[0] & 0x0F not in HASHES:
            raise ApduRefusal(BAD_SYNTAX)
        if name not in self.credentials and len(self.credentials) >= self.capacity:
            raise ApduRefusal(NO_ROOM)
        quirks = self.quirks
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

    def _list(self, version: bytes) -> bytes:
        """LIST; version 1, which Nitrokeys have, ends each name with an octet of properties."""
        told = version == b"\x01" and not self.quirks.lists_plainly
        return b"".join(
            tlv(NAME_LIST, bytes([held.kind]) + name + (bytes([held.touch]) if told else b""))
            for name, held in self.credentials.items()
        )

    def _delete(self, name: bytes) -> bytes:
        held = self.credentials.pop(self._known(name))
        if self.quirks.keeps:
            self.credentials[name] = held
        return b""

    def _rename(self, old: bytes, new: bytes) -> bytes:
        if new in self.credentials:
            raise ApduRefusal(NOT_THERE)
        self.credentials[new] = self.credentials.pop(self._known(old))
        return b""

    def _code(self, name: bytes, challenge: bytes, *, truncate: bool) -> bytes:
        """Digits and the HMAC, whole or dynamically truncated (RFC 4226, 5.3; RFC 6238, 1.2)."""
        credential = self.credentials[name]
        if credential.hotp:
            challenge = credential.counter.to_bytes(8)
            self.credentials[name] = Credential(
                credential.kind,
                credential.digits,
                credential.key,
                touch=credential.touch,
                counter=credential.counter + 1,
            )
        key = credential.key[::-1] if self.quirks.wrong_codes else credential.key
        mac = hmac.digest(key, challenge, HASHES[credential.kind & 0x0F])
        if not truncate:
            return tlv(RESPONSE, bytes([credential.digits]) + mac)
        at = mac[-1] & 15
        number = int.from_bytes(mac[at : at + 4]) & 0x7FFFFFFF
        return tlv(TRUNCATED, bytes([credential.digits]) + number.to_bytes(4))

    def _calculate(self, fields: dict[int, bytes], *, truncate: bool) -> bytes:
        name = self._known(fields[NAME])
        if self.quirks.cannot_compute:
            raise ApduRefusal(self.quirks.cannot_compute)
        if self.credentials[name].touch:
            self._wait_for_touch()
        return self._code(name, fields[CHALLENGE], truncate=truncate)

    def _wait_for_touch(self) -> None:
        if self.quirks.untouched:
            self.gone.wait(self.touch_limit)
            raise ApduRefusal(self.quirks.untouched)
        self.on_touch()
        if self.gone.wait(self.touch_delay):
            raise Pulled
        self.touches += 1

    def _calculate_all(self, challenge: bytes, *, truncate: bool) -> bytes:
        def one(name: bytes, credential: Credential) -> bytes:
            if credential.hotp:
                return tlv(HOTP, bytes([credential.digits]))
            if credential.touch:
                return tlv(TOUCH, bytes([credential.digits]))
            return self._code(name, challenge, truncate=truncate)

        return b"".join(tlv(NAME, name) + one(name, credential) for name, credential in self.credentials.items())
