"""Draws lines of text as rows of pixels, for the caption below a QR code."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from PIL import Image, ImageDraw, ImageFont

from mfa_kit.qr_codes.black_and_white import packed

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
    left = b"1" * margin
    return tuple(
        packed(left + b"".join([glyph.rows[row] for glyph in part]), width=width)
        for part in _parts(line, width - 2 * margin)
        for row in range(LINE)
    )


def _parts(line: str, width: int) -> Iterator[list[Glyph]]:
    """Yield the characters of a line in parts that are at most `width` pixels wide."""
    part: list[Glyph] = []
    left = width
    for glyph in map(_glyph, line):
        if glyph.width > left:
            yield part
            part, left = [], width
        part.append(glyph)
        left -= glyph.width
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
