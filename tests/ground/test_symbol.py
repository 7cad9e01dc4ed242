"""QR codes: Debian's zbarimg reads mfa-kit's symbols, mfa-kit reads those of others, and other pictures are refused."""

import base64
import io
import math
import subprocess
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import qrcode
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps
from qrcode.util import QRData

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import KeyUri, Png, Seed
from mfa_kit.qr_codes import decoding, key_uri
from mfa_kit.qr_codes import symbol as qr
from mfa_kit.qr_codes.decoding import MADE_BY_PEOPLE, MADE_BY_PROGRAMS, PICTURES, PictureLimits, _decode
from mfa_kit.qr_codes.reading import read_accounts, read_device
from mfa_kit.qr_codes.symbol import TEXT, caption_rows, packed, png_of
from tests.conftest import judge

URI = key_uri.otpauth(Seed(bytes(range(40))), label="alice@000000000000")
CAPTION = "AWS account 000000000000\nuser alice, MFA device alice\n" + "a line wider than the symbol itself " * 3


def drawn(*texts: str, form: str = "PNG") -> Png:
    """Draw symbols with another program: qrcode's own image, one beside the other."""
    pages = [qrcode.make(text).get_image().convert("L") for text in texts]
    page = Image.new("L", (sum(each.width for each in pages), max(each.height for each in pages)), 255)
    left = 0
    for each in pages:
        page.paste(each, (left, 0))
        left += each.width
    out = io.BytesIO()
    page.save(out, form)
    return Png(out.getvalue())


@pytest.mark.parametrize("caption", ["", CAPTION], ids=["bare", "caption"])
def test_zbarimg_reads_drawn_symbols(caption: str, tmp_path: Path) -> None:
    """The caption below the symbol does not interfere."""
    picture = tmp_path / "qr.png"
    picture.write_bytes(qr.png(URI, caption=caption).reveal())
    done = subprocess.run(
        [judge("zbarimg"), "--quiet", "--nodbus", "--raw", picture], capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip("\n") == URI.reveal()


def test_the_whole_caption_is_below_the_symbol() -> None:
    """Each line of the caption has its own space, and a line that is too long for the page is wrapped, not cut off."""
    symbol, short, long = (picture(caption) for caption in ("", "a", "a" * 300))
    assert symbol.height < short.height < long.height
    for page in (short, long):
        words = page.crop((0, symbol.height, page.width, page.height))
        assert words.getextrema() == (0, 255)
        assert words.crop((words.width - 8, 0, words.width, words.height)).getextrema() == (255, 255)


@pytest.mark.parametrize("char", [chr(code) for code in range(0x21, 0x7F)])
def test_no_character_of_the_caption_is_cut_off(char: str) -> None:
    """Each has as many black pixels as on a page with room on all sides, even if it is wider than its place."""
    roomy = Image.new("1", (100, 100), 1)
    ImageDraw.Draw(roomy).text((40, 40), char, fill=0, font=ImageFont.load_default(TEXT))
    rows = caption_rows(char, width=104, margin=40)
    assert sum((~row & 0xFF).bit_count() for row in b"".join(rows)) == roomy.histogram()[0] > 0


@pytest.mark.parametrize("width", [8, 32])
def test_another_program_sees_the_pixels_of_a_picture(width: int) -> None:
    """Pillow reads each pixel as it was given. A row that is too short is white at its end."""
    rows = [b"0" * count for count in range(width + 1)]
    with Image.open(io.BytesIO(png_of([packed(row, width=width) for row in rows], width=width))) as page:
        assert (page.format, page.mode, page.size) == ("PNG", "1", (width, width + 1))
        assert page.tobytes() == b"".join(packed(row, width=width) for row in rows)
        black = [page.crop((0, row, width, row + 1)).histogram()[0] for row in range(width + 1)]
        assert black == list(range(width + 1))


def picture(caption: str) -> Image.Image:
    with Image.open(io.BytesIO(qr.png(URI, caption=caption).reveal())) as page:
        return page.convert("L")


@settings(max_examples=20, deadline=None)
@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=200))
def test_drawn_symbols_are_read_back(text: str) -> None:
    """Any characters that a URI can have are read back."""
    uri = KeyUri(f"otpauth://{text}")
    assert qr.read(qr.png(uri)) == uri


@pytest.mark.parametrize("form", PICTURES)
def test_pictures_of_others_are_read(form: str) -> None:
    """The usual picture formats are read."""
    assert qr.read(drawn("hello", form=form), limits=MADE_BY_PEOPLE) == KeyUri("hello")


@pytest.mark.parametrize("form", sorted({*PICTURES} - {"PNG"}))
def test_pictures_of_iam_and_backups_must_be_png(form: str) -> None:
    """Each further format would be one more decoder exposed to hostile data."""
    with pytest.raises(IntegrityFault, match="not a picture"):
        qr.read(drawn("hello", form=form))


def photographed(page: Image.Image) -> Image.Image:
    turned = page.rotate(7, expand=True, fillcolor=(90, 90, 90)).filter(ImageFilter.GaussianBlur(1.0))
    return turned.point(lambda value: int(value * 0.7 + 20))


@pytest.mark.parametrize("ground", ["white", "#0f141a"], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("taken", "form"),
    [
        (lambda page: page, "PNG"),
        (lambda page: page.resize((1280, 720)), "PNG"),
        (lambda page: page.resize((3840, 2160)), "JPEG"),
        (lambda page: page.transpose(Image.Transpose.ROTATE_90), "WEBP"),
        (ImageOps.invert, "PNG"),
        (photographed, "JPEG"),
    ],
    ids=["screenshot", "scaled", "high-resolution", "on its side", "inverted", "photo"],
)
def test_the_code_on_a_screenshot_is_read(taken: Callable[[Image.Image], Image.Image], form: str, ground: str) -> None:
    """A page with AWS's picture, in light and dark themes, as screenshot programs and cameras capture it."""
    page = Image.new("RGB", (1920, 1080), ground)
    page.paste(qrcode.make(URI.reveal(), box_size=4).get_image().convert("RGB"), (800, 300))
    out = io.BytesIO()
    taken(page).save(out, form)
    assert qr.read(Png(out.getvalue()), limits=MADE_BY_PEOPLE) == URI


@pytest.mark.parametrize("modules", [(0, 255), (255, 0)], ids=["dark", "light"])
def test_a_symbol_on_a_transparent_background_is_read(modules: tuple[int, int]) -> None:
    """Only the modules are drawn, dark or light, and the rest of the picture is transparent."""
    symbol = qrcode.make(URI.reveal()).get_image().convert("L")
    page = Image.new("LA", symbol.size, (modules[1], 0))
    page.paste((modules[0], 255), mask=symbol.point(lambda value: 255 - value))
    out = io.BytesIO()
    page.save(out, "PNG")
    assert qr.read(Png(out.getvalue())) == URI


LABELS = st.text("aZ09+=,.@_-", min_size=1, max_size=128).map(lambda name: f"{name}@000000000000")


@given(LABELS, st.binary(min_size=20, max_size=64), st.sampled_from(["", CAPTION]))
@settings(max_examples=50, deadline=None)
def test_a_picture_of_mfa_kit_is_read_with_one_pixel_for_each_module(label: str, seed: bytes, caption: str) -> None:
    """Reading the whole picture would take three times as long."""
    uri = key_uri.otpauth(Seed(seed), label=label)
    picture, pages = qr.png(uri, caption=caption), list[Image.Image]()

    def decode(page: Image.Image, **options: bool) -> list[KeyUri | None]:
        pages.append(page)
        return _decode(page, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_decode", decode)
        assert qr.read(picture, drawn=True) == uri
    [page] = pages
    assert page.width == Image.open(io.BytesIO(picture.reveal())).width // 5


@pytest.mark.parametrize("width", [1, 2, 3, 4, 6, 7])
def test_a_picture_with_modules_of_another_width_is_read(width: int) -> None:
    """Another program drew it. The whole picture is read if it has no QR code with one pixel for each five."""
    out = io.BytesIO()
    qrcode.make(URI.reveal(), box_size=width).get_image().save(out, "PNG")
    assert qr.read(Png(out.getvalue()), drawn=True) == URI


def test_a_symbol_has_its_quiet_zone() -> None:
    """ISO/IEC 18004 requires four light modules around the symbol.

    The next module is the corner of a finder pattern.
    """
    rows = qr.modules(URI)
    assert {len(row) for row in rows} == {len(rows)}
    assert not any(rows[3])
    assert rows[4][4:11] == [True] * 7


@pytest.mark.parametrize(("name", "border", "side"), [("n" * 20, 4, 45), ("n" * 40, 2, 45), ("n" * 64, 2, 49)])
def test_a_symbol_on_a_screen_has_the_quiet_zone_that_fits(name: str, border: int, side: int) -> None:
    """Version 5 has all four modules. Larger symbols have two, and none of them is dark."""
    rows = qr.screen_modules(key_uri.short_otpauth(Seed(bytes(range(40))), device=name, account="000000000000"))
    assert len(rows) == side
    assert not any(map(any, rows[:border]))
    assert rows[border][border : border + 7] == [True] * 7


def test_half_blocks_contain_two_rows_of_the_symbol() -> None:
    """The upper half of a character is one row and the lower half is the next row.

    Below the last row, the half is light.
    """
    rows = qr.screen_modules(URI)
    halves = {" ": (False, False), "▀": (True, False), "▄": (False, True), "█": (True, True)}
    lines = qr.blocks(URI).reveal().split("\n")
    drawn = [[halves[char][half] for char in line] for line in lines for half in (0, 1)]
    assert drawn == [*rows, [False] * len(rows)]


def test_blocks_that_cannot_be_decoded_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A symbol that a phone would misread is a bug, and is reported before it is shown."""
    monkeypatch.setattr(qr, "read", lambda _: KeyUri("another"))
    with pytest.raises(IntegrityFault, match="cannot be read correctly"):
        qr.blocks(URI)


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "not a picture"),
        (b"no picture at all", "not a picture"),
        (qr.png(URI).reveal()[:200], "not a picture"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "not a picture"),
    ],
)
def test_a_file_that_is_not_a_picture_is_refused(octets: bytes, said: str) -> None:
    """The error is one sentence and says what to give instead."""
    with pytest.raises(IntegrityFault, match=said) as caught:
        qr.read(Png(octets))
    assert "PNG" in caught.value.hint


def test_a_picture_without_a_symbol_is_refused() -> None:
    """The picture is blank white paper."""
    out = io.BytesIO()
    Image.new("L", (50, 50), 255).save(out, "PNG")
    with pytest.raises(IntegrityFault, match="no QR code"):
        qr.read(Png(out.getvalue()))


def test_a_picture_with_two_symbols_is_refused() -> None:
    """mfa-kit does not guess which of the two is meant."""
    with pytest.raises(IntegrityFault, match="2 QR codes"):
        qr.read(drawn("one", "two"))


class Header(QRData):
    """The header of structured append: the number of the symbol and of all, four bits each, and a parity octet."""

    def __init__(self, number: int, total: int) -> None:
        self.mode: Any = STRUCTURED_APPEND
        self.number = number << 12 | (total - 1) << 8 | 0x5A

    def __len__(self) -> int:
        return self.number

    def write(self, buffer: object) -> None:
        """Write nothing, because qrcode writes the mode and the number."""


STRUCTURED_APPEND = 3


def picture_of(*parts: str | Header, mask: int, version: int = 5) -> Image.Image:
    code = qrcode.QRCode(version=version, error_correction=qrcode.ERROR_CORRECT_M, mask_pattern=mask)
    for part in parts:
        code.add_data(part, optimize=0)
    code.make(fit=False)
    return code.make_image().get_image().convert("L")


def turned(page: Image.Image) -> list[Png]:
    """Return a picture as it is, upside down, on its side, as in a mirror, and inverted."""
    pages = (page, page.rotate(180), page.rotate(90), ImageOps.mirror(page), ImageOps.invert(page))
    return [Png(saved(each)) for each in pages]


@pytest.mark.parametrize("mask", range(8))
def test_a_part_of_a_divided_text_is_refused(mask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first part of a key URI looks like a whole one with a shorter secret. A whole text is read in each mask."""
    lengths = qrcode.util.length_in_bits
    monkeypatch.setattr(
        qrcode.util, "length_in_bits", lambda mode, size: 16 if mode == STRUCTURED_APPEND else lengths(mode, size)
    )
    text = URI.reveal()[:60]
    for version in (5, 10):  # the second has several blocks of codewords
        for page in turned(picture_of(Header(0, 2), text, mask=mask, version=version)):
            with pytest.raises(IntegrityFault, match="has only a part of a text that is divided among several"):
                qr.read(page, limits=MADE_BY_PEOPLE)
        for page in turned(picture_of(text, mask=mask, version=version)):
            assert qr.read(page, limits=MADE_BY_PEOPLE) == KeyUri(text)


# The first of two symbols of a key URI, drawn by segno 1.6.6: `segno.make_sequence(uri, symbol_count=2)`.
FIRST_OF_TWO = (
    "iVBORw0KGgoAAAANSUhEUgAAAFoAAABaAQAAAAAQ03yvAAABG0lEQVR42r2UMYpuMQiFZWyFbEWwDbh1Ia3gVgK2ASd/9R5j2hmbS/gwHo/e"
    "QP0Lg988APqoSga1L/g/SrOGJGQ1wpIDlQUfxN0m5YsEq65HjqYory29DqB84qHtSreS/Hx/kLlA0JQ62QMPOflpZK06HonZ6vjAYpNNLcdw"
    "bJRR1HLm2DGWeD60uYcSzEbgOr1CZD88sKu8dvcAZ/AJOtpuGzlxqO7T+zlxhat0bfwx04tWn09xxALsvm2eObeKNUJ+PYC7JO22kJ24ULiT"
    "SoPYo09h7luClknPmYs11KIr2JScA/SxO8RsoY8pYAZOl/HY0dtlqMJr41FogzwImV3R3r2WO4Sl/voXHKbD8ccecC1Mkkc/f/FSfAMK96sd"
    "nKRZiAAAAABJRU5ErkJggg=="
)


def test_a_part_that_another_program_drew_is_refused() -> None:
    """Zbarimg returns its text, which is a key URI with a part of the secret."""
    page = Image.open(io.BytesIO(base64.b64decode(FIRST_OF_TWO)))
    for picture in (page, page.resize((1200, 1200))):  # another process reads the second, because it is large
        with pytest.raises(IntegrityFault, match="has only a part of a text that is divided among several") as caught:
            read_accounts(Png(saved(picture)))
        assert caught.value.hint == "make one QR code of the whole text, or take a clean picture of it"


def test_a_picture_that_would_fill_the_memory_is_refused() -> None:
    """The header of a PNG of a few kilobytes may declare gigapixels."""
    out = io.BytesIO()
    Image.new("1", (20000, 20000)).save(out, "PNG")
    with pytest.raises(IntegrityFault, match="more than 4 megapixels"):
        qr.read(Png(out.getvalue()))


def test_a_symbol_that_cannot_be_decoded_is_not_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The symbol is decoded before it is returned."""
    monkeypatch.setattr(qr, "read", lambda _, **__: KeyUri("something else"))
    with pytest.raises(IntegrityFault, match="cannot be read correctly"):
        qr.png(URI)


def saved(page: Image.Image, **how: Any) -> bytes:
    out = io.BytesIO()
    page.save(out, "PNG", **how)
    return out.getvalue()


def finders(side: int) -> Image.Image:
    """Draw only the corner patterns of QR codes, which a decoder tries to combine."""
    corner = Image.new("L", (8, 8), 255)
    for shade, box in ((0, (0, 0, 7, 7)), (255, (1, 1, 6, 6)), (0, (2, 2, 5, 5))):
        corner.paste(shade, box)
    page = Image.new("L", (side, side), 255)
    for left in range(0, side, 8):
        for top in range(0, side, 8):
            page.paste(corner, (left, top))
    return page


def chunk(name: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4) + name + content + zlib.crc32(name + content).to_bytes(4)


WHOLE = qr.png(URI).reveal()
FIRST = WHOLE[:33]
# Made when a test needs them, because compressing the profile takes a second.
BROKEN: dict[str, Callable[[], bytes]] = {
    "length": lambda: FIRST + b"\xff\xff\xff\xff" + WHOLE[37:],
    "checksum": lambda: WHOLE[:45] + bytes([WHOLE[45] ^ 255]) + WHOLE[46:],
    "name": lambda: FIRST + chunk(b"\0\0\0\0", b"x") + WHOLE[33:],
    "header": lambda: WHOLE[:8] + chunk(b"IHDR", b"") + WHOLE[33:],
    "palette": lambda: FIRST + chunk(b"tRNS", b"") + WHOLE[33:],
    "profile": lambda: FIRST + chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 28))) + WHOLE[33:],
    "animation": lambda: FIRST + chunk(b"acTL", b"") + WHOLE[33:],
    "end": lambda: WHOLE[:-12] + chunk(b"fdAT", b"") + WHOLE[-12:],
}


@pytest.mark.parametrize("limits", [MADE_BY_PROGRAMS, MADE_BY_PEOPLE], ids=["programs", "people"])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_chunk_is_an_error_message(name: str, limits: PictureLimits) -> None:
    """If the picture can be read without the broken chunk, the chunk is ignored."""
    try:
        assert qr.read(Png(BROKEN[name]()), limits=limits) == URI
    except IntegrityFault as fault:
        assert any(each in str(fault) for each in ("not a picture", "larger than"))  # noqa: PT017 - either is right


@pytest.mark.parametrize(("limits", "text"), [(MADE_BY_PROGRAMS, False), (MADE_BY_PEOPLE, True)])
def test_what_is_not_a_picture_may_be_a_text_of_a_user(limits: PictureLimits, *, text: bool) -> None:
    """The hint names text files only to users who give their own picture."""
    with pytest.raises(IntegrityFault, match="not a picture") as caught:
        qr.read(Png(b"JBSWY3DPEHPK3PXP"), limits=limits)
    assert ("a text file of only its key URI" in caught.value.hint) == text


def test_the_limits_of_pictures() -> None:
    """Any QR code of AWS fits on a page of 4 megapixels, and a photograph has up to 50 megapixels."""
    programs, people = MADE_BY_PROGRAMS, MADE_BY_PEOPLE
    assert (programs.formats, programs.octets, programs.pixels) == (("PNG",), 256 << 10, 4_000_000)
    assert (people.octets, people.pixels, people.seconds) == (20 << 20, 50_000_000, 5)


def test_pictures_of_users_have_higher_limits() -> None:
    """A user's picture may be a photograph, while pictures of IAM and of backups are small PNG files."""
    photo = drawn("hello", form="JPEG")
    assert read_accounts(photo).uris == (KeyUri("hello"),)
    with pytest.raises(IntegrityFault, match="not a picture"):
        read_device(photo)


@pytest.mark.parametrize("limits", [MADE_BY_PROGRAMS, MADE_BY_PEOPLE], ids=["programs", "people"])
def test_a_picture_beyond_its_limits_is_refused(limits: PictureLimits) -> None:
    """The size and the header are checked before any pixel is decoded."""
    side = math.isqrt(limits.pixels) + 1
    began = time.monotonic()
    with pytest.raises(IntegrityFault, match="megapixels"):
        qr.read(Png(saved(Image.new("1", (side, side)))), limits=limits)
    with pytest.raises(IntegrityFault, match="larger than"):
        qr.read(Png(WHOLE + bytes(limits.octets)), limits=limits)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("how", [{"lossless": True}, {"lossless": False}, {"lossless": True, "exif": b"Exif"}])
def test_a_large_webp_is_not_opened(how: dict[str, Any]) -> None:
    """Pillow decodes a WebP picture when it opens it, so the header is read first, in each of its three forms."""
    for mode in ("RGB", "RGBA"):
        out = io.BytesIO()
        Image.new(mode, (4200, 4000), "white").save(out, "WEBP", **how)
        with pytest.raises(IntegrityFault, match="more than 16 megapixels"):
            qr.read(Png(out.getvalue()), limits=MADE_BY_PEOPLE)


def test_a_large_transparent_picture_is_refused() -> None:
    """Such a picture is copied several times in memory."""
    with pytest.raises(IntegrityFault, match="more than 16 megapixels"):
        qr.read(Png(saved(Image.new("LA", (4200, 4000)))), limits=MADE_BY_PEOPLE)


def test_reading_a_picture_is_stopped_at_a_time_limit() -> None:
    """A picture of a few kilobytes that seems to be full of corner patterns takes minutes.

    IAM's pictures are scaled down first.
    """
    page = Png(saved(finders(1990)))
    with pytest.raises(IntegrityFault, match="QR code"):
        qr.read(page)
    with pytest.raises(IntegrityFault, match="takes longer than 0 seconds"):
        qr.read(page, limits=replace(MADE_BY_PEOPLE, seconds=0.1))
