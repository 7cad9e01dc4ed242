"""What goes between a reader and a card, as ISO 7816-4 has it: commands, status words, and a card that goes."""

from dataclasses import dataclass

SELECT = 0xA4
OK, MORE = 0x9000, 0x6100
AUTH_NEEDED, NOT_THERE = 0x6982, 0x6984
BAD_SYNTAX, NO_FILE, NO_ROOM, NO_INSTRUCTION = 0x6A80, 0x6A82, 0x6A84, 0x6D00
CHUNK = 255
# ISO 7816-4: a length of several octets; octets of an extended Lc or Le.
LONG, EXTENDED = 0x80, 3


class ApduRefusal(Exception):
    """The card answers with a status word alone."""

    def __init__(self, status: int) -> None:
        super().__init__(f"{status:04x}")
        self.status = status


class Pulled(Exception):
    """The card leaves the reader now."""


def tlv(tag: int, value: bytes) -> bytes:
    """BER-TLV with one octet of tag, and as many of length as it takes."""
    length = len(value)
    if length < LONG:
        return bytes([tag, length]) + value
    size = (length.bit_length() + 7) // 8
    return bytes([tag, LONG | size]) + length.to_bytes(size) + value


@dataclass(frozen=True, slots=True)
class Apdu:
    """A command APDU of ISO 7816-4, short or extended."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes

    @classmethod
    def parse(cls, octets: bytes) -> "Apdu":
        rest = octets[4:]
        if len(rest) > EXTENDED and rest[0] == 0:
            data = rest[3 : 3 + int.from_bytes(rest[1:3])]
        elif len(rest) > 1 and rest[0]:
            data = rest[1 : 1 + rest[0]]
        else:
            data = b""
        return cls(octets[0], octets[1], octets[2], octets[3], data)

    @property
    def selects(self) -> bool:
        return (self.cla & 0xEF, self.ins, self.p1) == (0, SELECT, 0x04)
