"""Writes black-and-white pictures as PNG (W3C, Portable Network Graphics, third edition).

Each row of pixels is a bytes object with one character per pixel: "0" is black and "1" is white. Pillow can write such
pictures too, but takes four times as long, because it packs each pixel of each row. Here a row is packed once, and
repeated.
"""

import struct
import zlib
from collections.abc import Iterable

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The bits of a pixel, the color type "grayscale", and the only methods that the standard has (section 11.2.1).
ONE_BIT, GRAY, COMPRESSION, FILTER, NO_INTERLACE = 1, 0, 0, 0, 0
# The filter type "None" at the start of each row (section 9.2).
UNFILTERED = b"\0"
FASTEST = 1


def packed(pixels: bytes, *, width: int) -> bytes:
    """Return a row of pixels with a bit per pixel, padded with white to `width` pixels, a multiple of 8."""
    return int(pixels.ljust(width, b"1"), 2).to_bytes(width // 8, "big")


def png_of(rows: Iterable[bytes], *, width: int) -> bytes:
    """Return the PNG of packed rows. Each row is `width` pixels wide."""
    lines = [UNFILTERED + row for row in rows]
    header = struct.pack(">IIBBBBB", width, len(lines), ONE_BIT, GRAY, COMPRESSION, FILTER, NO_INTERLACE)
    data = zlib.compress(b"".join(lines), FASTEST)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
