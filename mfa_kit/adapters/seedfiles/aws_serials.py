"""Reads serials of the hardware TOTP tokens that AWS sells, one per line. Only AWS has their seeds."""

from mfa_kit.adapters.seedfiles.cells import Contents, split_lines
from mfa_kit.tokens.seeds import Decoding, DroppedRow, Encoding, SeedFile, Token, folded, sold_by_aws


def is_serial_list(contents: Contents) -> bool:
    """Return whether the first line is the serial of a token that AWS sells."""
    return contents.root is None and sold_by_aws(contents.first_line)


def read_serial_list(contents: Contents) -> SeedFile:
    """Read serials, one per line. A serial that occurs twice, even with different spellings, counts as one token."""
    bare: dict[str, Token] = {}
    dropped = []
    for ordinal, line in enumerate(split_lines(contents.text), 1):
        serial = line.strip()
        if sold_by_aws(serial):
            bare.setdefault(folded(serial), Token(serial=serial, maker="sold by AWS"))
        elif serial and not serial.startswith("#"):
            dropped.append(DroppedRow(f"line {ordinal}", "it is not a serial number of a token that AWS sold"))
    return SeedFile(
        layout="serials of AWS's hardware TOTP tokens",
        readings=(Decoding(encoding=Encoding.HEX, keys=(), dropped=tuple(dropped)),) if dropped else (),
        bare=tuple(bare.values()),
    )
