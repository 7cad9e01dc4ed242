"""Draws QR symbols (ISO/IEC 18004) with a caption, for a PNG, a terminal or a printed page.

A symbol is read back with a decoder before it is shown. The functions read and write no files, and use no terminal.

Pictures are black-and-white PNG (W3C, Portable Network Graphics, third edition). A row of pixels is a bytes object with
one character per pixel: "0" is black and "1" is white. A packed row has one bit per pixel. Pillow can write such
pictures too, but takes four times as long, because it packs each row. Here, the caller can pack a row once, and then
use it several times.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import zip_longest
from operator import attrgetter
from typing import Literal

import qrcode
from PIL import Image, ImageDraw, ImageFont
from qrcode.image.pil import PilImage
from qrcode.util import QRData

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import KeyUri, Png, Secret, Seed, Symbol
from mfa_kit.qr_codes import key_uri
from mfa_kit.qr_codes.decoding import SCALE
from mfa_kit.qr_codes.decoding import read as read  # noqa: PLC0414 - exported for modules that read symbols

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


# The text size and the height of a line, in pixels.
TEXT, LINE = 16, 21


@dataclass(frozen=True, slots=True)
class Glyph:
    """The picture of a character: LINE rows of `width` pixels each."""

    width: int
    rows: tuple[bytes, ...]


@lru_cache(maxsize=32)
def caption_rows(line: str, *, width: int, margin: int) -> tuple[bytes, ...]:
    """Return one line of the caption as packed rows, `width` pixels wide. A line that is too long is wrapped.

    `margin` is the number of white pixels to the left and right of the text. Results are cached, because most lines are
    the same on each page of a rollout.
    """
    left_margin = b"1" * margin
    return tuple(
        packed(left_margin + b"".join([glyph.rows[row] for glyph in part]), width=width)
        for part in _parts(line, width - 2 * margin)
        for row in range(LINE)
    )


def _parts(line: str, width: int) -> Iterator[list[Glyph]]:
    """Yield the characters of a line in parts that are at most `width` pixels wide."""
    part: list[Glyph] = []
    remaining_width = width
    for glyph in map(_glyph, line):
        if glyph.width > remaining_width:
            yield part
            part, remaining_width = [], width
        part.append(glyph)
        remaining_width -= glyph.width
    yield part


# Results are cached, because drawing a character takes longer than putting a whole line together.
@lru_cache(maxsize=512)
def _glyph(char: str) -> Glyph:
    left, _, right, _ = _font().getbbox(char)
    # Some characters extend to the left of their position, or to the right of the next character's position.
    before = max(0, -round(left))
    width = before + max(round(_font().getlength(char)), round(right))
    cell = Image.new("L", (width, LINE), 255)
    draw = ImageDraw.Draw(cell)
    draw.fontmode = "1"
    draw.text((before, 0), char, fill=0, font=_font())
    pixels = cell.tobytes().replace(b"\0", b"0").replace(b"\xff", b"1")
    return Glyph(width, tuple(pixels[width * row : width * (row + 1)] for row in range(LINE)))


@cache
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(TEXT)


# The width of the quiet zone (the margin of a symbol) in modules.
BORDER = 4
# One row of pixels of a light and of a dark module.
LIGHT, DARK = b"1" * SCALE, b"0" * SCALE
# The margin of the caption, and the minimum width of a picture with a caption, in pixels.
MARGIN, WIDTH = BORDER * SCALE, 460
# Every mask is valid. To find the best of the eight masks, the library would draw the symbol eight times. That is not
# necessary, because each symbol is read back.
MASK = 2
# The shortest run of characters for which a denser mode saves more than its header costs. Base32 text,
# such as a secret, can use the alphanumeric mode.
SEGMENT = 6
# Values of SEGMENT to try for a screen. The value that gives the smallest symbol depends on the names in the URI.
SEGMENTS = range(4, 11)
# The version of a symbol is its size. Up to WHOLE_VERSION, a symbol on a screen has its whole quiet zone, and takes at
# most 45 columns and 23 lines. A larger symbol has half the quiet zone, so the next version takes no more columns.
WHOLE_VERSION, SCREEN_BORDER = 5, 2
HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def modules(uri: Secret[str]) -> list[list[bool]]:
    """Return the rows of the QR symbol of a key URI or another text, with the quiet zone. True is dark."""
    return _matrix(_symbol(uri, correction=qrcode.ERROR_CORRECT_M, segment=SEGMENT))


def text_modules(text: Secret[str]) -> list[list[bool]]:
    """Return the rows of the QR symbol of a text, with the quiet zone. True is dark.

    Raise IntegrityFault if a decoder does not read the text back from the symbol.
    """
    rows = modules(text)
    if read(Png(_png(rows))) != KeyUri(text.reveal()):
        raise IntegrityFault("the QR code that was drawn cannot be read correctly", "report this")
    return rows


def screen_modules(uri: KeyUri) -> list[list[bool]]:
    """Return the rows of the smallest QR symbol of a key URI, for a screen. True is dark.

    The symbol has less error correction than the one that `modules` returns. The caller has to read it back.
    """
    symbols = (_symbol(uri, correction=qrcode.ERROR_CORRECT_L, segment=segment) for segment in SEGMENTS)
    smallest = min(symbols, key=lambda symbol: symbol.version)
    if smallest.version > WHOLE_VERSION:
        smallest.border = SCREEN_BORDER
    return _matrix(smallest)


def _symbol(uri: Secret[str], *, correction: int, segment: int) -> qrcode.QRCode[PilImage]:
    """Return the smallest symbol that a text fits into. The symbol is not drawn yet."""
    symbol = qrcode.QRCode(error_correction=correction, border=BORDER, mask_pattern=MASK, image_factory=PilImage)
    symbol.add_data(uri.reveal(), optimize=segment)
    # A loop would bind each part of the secret to a local variable, which a traceback could show.
    parts = zip(map(attrgetter("mode"), symbol.data_list), map(len, symbol.data_list), strict=True)
    symbol.version = _version(correction, tuple(parts))
    return symbol


@lru_cache(maxsize=64)
def _version(correction: int, parts: tuple[tuple[Literal[1, 2, 4], int], ...]) -> int:
    """Return the smallest version for parts with these modes and lengths.

    To find the version, the library encodes all parts, which takes time. Results are cached, because the parts of most
    URIs have the same lengths.
    """
    sample = qrcode.QRCode(error_correction=correction)
    for mode, length in parts:
        sample.add_data(QRData(b"0" * length, mode=mode, check_data=False))
    return sample.best_fit()


def _matrix(symbol: qrcode.QRCode[PilImage]) -> list[list[bool]]:
    # By default, the library would search for the smallest version again.
    symbol.make(fit=False)
    return symbol.get_matrix()


def blocks(uri: KeyUri) -> Symbol:
    """Return the smallest symbol of a key URI, drawn with half-block characters.

    Raise IntegrityFault if a decoder does not read the key URI back from the symbol.
    """
    rows = screen_modules(uri)
    if read(Png(_png(rows))) != uri:
        raise IntegrityFault("the QR code that was drawn cannot be read correctly", "report this")
    light = [False] * len(rows)
    lines = (
        "".join(HALVES[pair] for pair in zip(top, bottom, strict=True))
        for top, bottom in zip_longest(rows[::2], rows[1::2], fillvalue=light)
    )
    return Symbol("\n".join(lines))


def _symbol_rows(rows: list[list[bool]], *, width: int) -> list[bytes]:
    """Return the packed rows of pixels of a symbol, in the middle of a page that is `width` pixels wide."""
    margin = b"1" * ((width - SCALE * len(rows)) // 2)
    drawn = [margin + bytes(row).replace(b"\0", LIGHT).replace(b"\1", DARK) for row in rows]
    return [row for pixels in drawn for row in [packed(pixels, width=width)] * SCALE]


def _png(rows: list[list[bool]], caption: str = "") -> bytes:
    """Return a PNG of a symbol, with the caption below it. The symbol is not read back."""
    least = max(SCALE * len(rows), WIDTH if caption else 0)
    width = least + -least % 8
    lines = _symbol_rows(rows, width=width)
    for line in caption.splitlines():
        lines += caption_rows(line, width=width, margin=MARGIN)
    if caption:
        lines += [packed(b"", width=width)] * MARGIN
    return png_of(lines, width=width)


def png(uri: KeyUri, *, caption: str = "") -> Png:
    """Return a PNG of the symbol of a key URI, with the caption below it.

    Raise IntegrityFault if a decoder does not read the key URI back from the picture.
    """
    drawn = Png(_png(modules(uri), caption))
    if read(drawn, strict=True) != uri:
        raise IntegrityFault("the QR code that was drawn cannot be read correctly", "report this")
    return drawn


def device_symbol(seed: Seed, device: str, account: str) -> Symbol:
    """Return the QR code of a device's secret as text for a terminal, drawn in half-block characters."""
    return blocks(key_uri.short_otpauth(seed, device=device, account=account))
