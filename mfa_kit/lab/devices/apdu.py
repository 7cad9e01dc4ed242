"""The messages between a card reader and a smart card (ISO 7816-4), and exceptions for refusals and removed cards."""

from dataclasses import dataclass
from enum import IntEnum

SELECT = 0xA4
# The maximum number of octets of a response that a YKOATH card sends at once.
CHUNK = 255
# The bit in the first length octet of a TLV that says that more length octets follow (X.690, 8.1.3.5), and the size of
# an extended Lc in octets (ISO 7816-4).
LONG, EXTENDED = 0x80, 3
# The bit in the class byte that says that more parts of the command follow, and the class byte of a command in a
# proprietary class.
CHAINED, PROPRIETARY = 0x10, 0x80
# The ATR that a contactless reader generates for a YubiKey (PC/SC part 3, 3.1.3.2.3).
ATR_NFC = bytes.fromhex("3b8d80018073c021c057597562694b657955")


class StatusWord(IntEnum):
    """Status words of ISO 7816-4, YKOATH and U2F raw messages.

    The low 4 bits of RETRIES count the tries that are left, and the low 8 bits of MORE the octets that are left.
    """

    OK = 0x9000
    MORE = 0x6100
    # The card waits for a touch (CTAP 2.1, 11.3.7.1).
    UPDATE = 0x9100
    RETRIES = 0x63C0
    WRONG_LENGTH = 0x6700
    AUTH_REQUIRED = 0x6982
    AUTH_BLOCKED = 0x6983
    NO_SUCH_OBJECT = 0x6984
    CONDITIONS_NOT_SATISFIED = 0x6985
    WRONG_DATA = 0x6A80
    NOT_FOUND = 0x6A82
    NO_SPACE = 0x6A84
    INS_NOT_SUPPORTED = 0x6D00
    CLA_NOT_SUPPORTED = 0x6E00


class ApduRefusal(Exception):
    """Raised when the card answers a command with only a status word."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status:04x}")
        self.status = status


class Pulled(Exception):
    """Raised when the card is pulled out of the reader."""


def tlv(tag: int, value: bytes) -> bytes:
    """Encode a value as BER-TLV, with a one-octet tag and the shortest possible length (X.690, 8.1.3)."""
    length = len(value)
    if length < LONG:
        return bytes([tag, length]) + value
    size = (length.bit_length() + 7) // 8
    return bytes([tag, LONG | size]) + length.to_bytes(size) + value


@dataclass(frozen=True, slots=True)
class Apdu:
    """A command APDU of ISO 7816-4, short or extended. `expects` says whether it has the field Le, to request data."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes
    expects: bool

    @classmethod
    def parse(cls, octets: bytes) -> "Apdu":
        """Parse a command APDU. Raise IndexError if it is shorter than a header, which has four octets."""
        body = octets[4:]
        if len(body) > EXTENDED and body[0] == 0:
            data = body[3 : 3 + int.from_bytes(body[1:3])]
            expects = len(body) > EXTENDED + len(data)
        elif len(body) > 1 and body[0]:
            data = body[1 : 1 + body[0]]
            expects = len(body) > 1 + len(data)
        else:
            data, expects = b"", bool(body)
        return cls(octets[0], octets[1], octets[2], octets[3], data, expects)

    @property
    def selects(self) -> bool:
        """Whether the command is SELECT by application identifier, alone or as a part of a chain."""
        return (self.cla & 0xEF, self.ins, self.p1) == (0, SELECT, 0x04)


class LongResponse:
    """A response that a card sends in parts of `size` octets (ISO 7816-4, 5.3.4)."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._left = b""

    def start(self, data: bytes) -> bytes:
        """Return the first part of a response with its status word: OK, or MORE with the number of octets left."""
        part, self._left = data[: self._size], data[self._size :]
        status = StatusWord.MORE | min(len(self._left), 0xFF) if self._left else StatusWord.OK
        return part + status.to_bytes(2)

    def next(self) -> bytes:
        """Return the next part of the response with its status word."""
        return self.start(self._left)

    def hold(self, data: bytes) -> bytes:
        """Store a response that `next` returns later. Return only a status word: MORE, or OK if the response is empty.

        Some cards respond in this way to a command without Le, because such a command requests no data.
        """
        self._left = data
        return stalled() if data else StatusWord.OK.to_bytes(2)

    def hold_next(self) -> bytes:
        """Keep the rest of the response, and return only a status word, as `hold` does."""
        return self.hold(self._left)

    def forget(self) -> None:
        """Discard the parts of the response that were not sent."""
        self._left = b""


def stalled() -> bytes:
    """Return a response APDU without data. Its status word announces more data."""
    return (StatusWord.MORE | 0xFF).to_bytes(2)
