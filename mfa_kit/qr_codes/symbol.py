"""Draws QR symbols (ISO/IEC 18004) and reads them.

Each symbol is read back before it is returned. The module uses no files and no terminal.
"""

import io
from bisect import bisect_right
from functools import cache, lru_cache
from itertools import zip_longest

import qrcode
from PIL import Image, ImageDraw, ImageFont
from qrcode.image.pil import PilImage

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import KeyUri, Png, Secret, Symbol
from mfa_kit.qr_codes.decoding import read as read  # noqa: PLC0414 - exported for modules that read symbols

BORDER = 4
SCALE = 5
# The caption, in pixels: text size, line height, and the minimum page width for its sentences.
TEXT = 16
LINE = 21
WIDTH = 460
# Every mask is valid. Choosing the best of the eight masks would mean drawing the symbol eight times. It is not
# necessary, because each symbol is read back.
MASK = 2
# The shortest run of characters for which a denser mode saves more than its header costs. Base32 text,
# such as a secret, can use the alphanumeric mode.
SEGMENT = 6
# Values of SEGMENT to try for a screen. The value that gives the smallest symbol depends on the names in the URI.
SEGMENTS = range(4, 11)
# The version of a symbol is its size. Up to WHOLE_VERSION, a symbol on a screen has its whole quiet zone (the margin),
# and takes at most 45 columns and 23 lines. A larger symbol has half the quiet zone, so the next version does not need
# more room.
WHOLE_VERSION, SCREEN_BORDER = 5, 2
HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


def modules(uri: Secret[str]) -> list[list[bool]]:
    """Return the rows of the QR symbol of a key URI or another text, with its quiet zone. True is dark."""
    return _symbol(uri, correction=qrcode.ERROR_CORRECT_M, segment=SEGMENT).get_matrix()


def text_modules(text: Secret[str]) -> list[list[bool]]:
    """Return the rows of the QR symbol of a text, with its quiet zone. True is dark.

    Raise IntegrityFault if a decoder does not read the text back from it.
    """
    rows = modules(text)
    if read(Png(_png(_drawn(rows)))) != KeyUri(text.reveal()):
        raise IntegrityFault("the QR code that was drawn cannot be read correctly", "report this")
    return rows


def screen_modules(uri: KeyUri) -> list[list[bool]]:
    """Return the rows of the smallest QR symbol of a key URI, for a screen. True is dark.

    It has less error correction than the symbol of `modules`.
    """
    symbols = (_symbol(uri, correction=qrcode.ERROR_CORRECT_L, segment=segment) for segment in SEGMENTS)
    smallest = min(symbols, key=lambda symbol: symbol.version)
    if smallest.version > WHOLE_VERSION:
        smallest.border = SCREEN_BORDER
    return smallest.get_matrix()


def _symbol(uri: Secret[str], *, correction: int, segment: int) -> qrcode.QRCode[PilImage]:
    """Return the smallest symbol that the URI fits into. The library draws it when its matrix is first read."""
    symbol = qrcode.QRCode(error_correction=correction, border=BORDER, mask_pattern=MASK, image_factory=PilImage)
    symbol.add_data(uri.reveal(), optimize=segment)
    symbol.best_fit()
    return symbol


def blocks(uri: KeyUri) -> Symbol:
    """Return the smallest symbol of a key URI, drawn with half-block characters.

    Raise IntegrityFault if a decoder does not read the key URI back from it.
    """
    rows = screen_modules(uri)
    if read(Png(_png(_drawn(rows)))) != uri:
        raise IntegrityFault("the QR code that was drawn cannot be read correctly", "report this")
    light = [False] * len(rows)
    lines = (
        "".join(HALVES[pair] for pair in zip(top, bottom, strict=True))
        for top, bottom in zip_longest(rows[::2], rows[1::2], fillvalue=light)
    )
    return Symbol("\n".join(lines))


def _drawn(rows: list[list[bool]]) -> Image.Image:
    side = len(rows)
    symbol = Image.frombytes("L", (side, side), bytes(0 if dark else 255 for row in rows for dark in row))
    return symbol.convert("1", dither=Image.Dither.NONE).resize((side * SCALE, side * SCALE), Image.Resampling.NEAREST)


def _png(page: Image.Image) -> bytes:
    out = io.BytesIO()
    page.save(out, "PNG", compress_level=1)
    return out.getvalue()


@cache
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(TEXT)


def _broken_lines(line: str, *, width: int) -> list[str]:
    """Return a line in parts that are at most `width` pixels wide. Only lines with long names need more than one."""
    if _font().getlength(line) <= width:
        return [line]
    end = bisect_right(range(1, len(line)), width, key=lambda size: int(_font().getlength(line[:size])))
    return [line[:end], *_broken_lines(line[end:], width=width)]


@lru_cache(maxsize=32)
def _caption_line(line: str, *, width: int) -> Image.Image:
    """Return a picture of one line of the caption, `width` pixels wide.

    Results are cached, because most lines are the same on each page of a rollout.
    """
    margin = BORDER * SCALE
    parts = _broken_lines(line, width=width - 2 * margin)
    strip = Image.new("1", (width, LINE * len(parts)), 1)
    draw = ImageDraw.Draw(strip)
    for number, part in enumerate(parts):
        draw.text((margin, LINE * number), part, fill=0, font=_font())
    return strip


def _captioned(symbol: Image.Image, caption: str) -> Image.Image:
    side, width = symbol.width, max(symbol.width, WIDTH)
    strips = [_caption_line(line, width=width) for line in caption.splitlines()]
    page = Image.new("1", (width, side + sum(strip.height for strip in strips) + BORDER * SCALE), 1)
    page.paste(symbol, ((width - side) // 2, 0))
    down = side
    for strip in strips:
        page.paste(strip, (0, down))
        down += strip.height
    return page


def png(uri: KeyUri, *, caption: str = "") -> Png:
    """Return a PNG of the symbol with a caption below it.

    Raise IntegrityFault if a decoder does not read the key URI back from the picture.
    """
    symbol = _drawn(modules(uri))
    drawn = Png(_png(_captioned(symbol, caption) if caption else symbol))
    if read(drawn, strict=True) != uri:
        raise IntegrityFault("the QR code that was drawn cannot be read correctly", "report this")
    return drawn
