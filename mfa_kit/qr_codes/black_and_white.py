"""Writes black-and-white pictures as PNG (W3C, Portable Network Graphics, third edition).

A row of pixels is a bytes object with one character per pixel: "0" is black and "1" is white. A packed row has one bit
per pixel. Pillow can write such pictures too, but takes four times as long, because it packs each row. Here, the caller
can pack a row once, and then use it several times.
"""

import struct
import zlib
from collections.abc import Iterable

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The values of the header (section 11.2.1): one bit per pixel, the color type "grayscale", the only compression method
# and filter method that the standard defines, and no interlacing.
ONE_BIT, GRAY, COMPRESSION, FILTER, NO_INTERLACE = 1, 0, 0, 0, 0
# The filter type "None" at the start of each row (section 9.2).
UNFILTERED = b"\0"
FASTEST = 1


def packed(pixels: bytes, *, width: int) -> bytes:
    """Return a row of pixels as bits, padded with white to `width` pixels. `width` is a multiple of 8."""
    return int(pixels.ljust(width, b"1"), 2).to_bytes(width // 8, "big")


def png_of(rows: Iterable[bytes], *, width: int) -> bytes:
    """Return a PNG with these packed rows. Each row is `width` pixels wide."""
    lines = [UNFILTERED + row for row in rows]
    header = struct.pack(">IIBBBBB", width, len(lines), ONE_BIT, GRAY, COMPRESSION, FILTER, NO_INTERLACE)
    data = zlib.compress(b"".join(lines), FASTEST)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
