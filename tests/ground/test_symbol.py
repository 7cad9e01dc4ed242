"""QR codes: Debian's zbarimg reads what we draw, we read what others draw, and what is none is said to be none."""

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import qrcode
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter, ImageOps

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import KeyUri, Png, Seed
from mfa_kit.qr_codes import key_uri
from mfa_kit.qr_codes import symbol as qr
from tests.conftest import judge

URI = key_uri.otpauth(Seed(bytes(range(40))), label="alice@000000000000")
CAPTION = "AWS account 000000000000\nuser alice, MFA device alice\n" + "a line wider than the symbol itself " * 3


def drawn(*texts: str, form: str = "PNG") -> Png:
    """Draw by another program's means: qrcode's own image, one beside the other."""
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
def test_zbarimg_reads_what_we_draw(caption: str, tmp_path: Path) -> None:
    """The caption under the symbol does not disturb it."""
    picture = tmp_path / "qr.png"
    picture.write_bytes(qr.png(URI, caption=caption).reveal())
    done = subprocess.run(
        [judge("zbarimg"), "--quiet", "--nodbus", "--raw", picture], capture_output=True, text=True, check=True
    )
    assert done.stdout.rstrip("\n") == URI.reveal()


def test_the_caption_stands_whole_under_the_symbol() -> None:
    """Each line has its place, and one that is too long for the page is not cut off at its edge."""
    symbol, short, long = (picture(caption) for caption in ("", "a", "a" * 300))
    assert symbol.height < short.height < long.height
    for page in (short, long):
        words = page.crop((0, symbol.height, page.width, page.height))
        assert words.getextrema() == (0, 255)
        assert words.crop((words.width - 8, 0, words.width, words.height)).getextrema() == (255, 255)


def picture(caption: str) -> Image.Image:
    with Image.open(io.BytesIO(qr.png(URI, caption=caption).reveal())) as page:
        return page.convert("L")


@settings(max_examples=20, deadline=None)
@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=200))
def test_what_we_draw_reads_back(text: str) -> None:
    """Any URI's characters."""
    uri = KeyUri(f"otpauth://{text}")
    assert qr.read(qr.png(uri)) == uri


@pytest.mark.parametrize("form", qr.PICTURES)
def test_pictures_of_others_are_read(form: str) -> None:
    """In the usual formats."""
    assert qr.read(drawn("hello", form=form)) == KeyUri("hello")


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
    """A page with AWS's picture in it, in light and dark themes, as programs and cameras take it."""
    page = Image.new("RGB", (1920, 1080), ground)
    page.paste(qrcode.make(URI.reveal(), box_size=4).get_image().convert("RGB"), (800, 300))
    out = io.BytesIO()
    taken(page).save(out, form)
    assert qr.read(Png(out.getvalue())) == URI


@pytest.mark.parametrize("modules", [(0, 255), (255, 0)], ids=["dark", "light"])
def test_modules_on_nothing_are_read(modules: tuple[int, int]) -> None:
    """A picture of which only the modules are drawn, dark or light, and the rest is transparent."""
    symbol = qrcode.make(URI.reveal()).get_image().convert("L")
    page = Image.new("LA", symbol.size, (modules[1], 0))
    page.paste((modules[0], 255), mask=symbol.point(lambda value: 255 - value))
    out = io.BytesIO()
    page.save(out, "PNG")
    assert qr.read(Png(out.getvalue())) == URI


def test_a_symbol_has_its_quiet_zone() -> None:
    """ISO/IEC 18004: four modules of light around it, and a finder pattern's corner in it."""
    rows = qr.modules(URI)
    assert {len(row) for row in rows} == {len(rows)}
    assert not any(rows[3])
    assert rows[4][4:11] == [True] * 7


def test_a_small_symbol_has_half_the_quiet_zone() -> None:
    """On a screen two modules do, and nothing dark is in them."""
    rows = qr.modules(URI, small=True)
    assert not any(rows[1])
    assert rows[2][2:9] == [True] * 7
    assert len(rows) < len(qr.modules(URI))


def test_half_blocks_are_the_symbol_s_rows_in_twos() -> None:
    """The upper half of a character is a row, the lower half the next; below the last there is light."""
    rows = qr.modules(URI, small=True)
    halves = {" ": (False, False), "▀": (True, False), "▄": (False, True), "█": (True, True)}
    lines = qr.blocks(URI).reveal().split("\n")
    drawn = [[halves[char][half] for char in line] for line in lines for half in (0, 1)]
    assert drawn == [*rows, [False] * len(rows)]


def test_blocks_that_would_not_read_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a phone would read wrongly is our mistake, and is told before anybody scans it."""
    monkeypatch.setattr(qr, "read", lambda _: KeyUri("another"))
    with pytest.raises(IntegrityFault, match="read back"):
        qr.blocks(URI)


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "not an image"),
        (b"no picture at all", "not an image"),
        (qr.png(URI).reveal()[:200], "not an image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "not an image"),
    ],
)
def test_what_is_no_picture_is_said_to_be_none(octets: bytes, said: str) -> None:
    """One sentence, and what to give instead."""
    with pytest.raises(IntegrityFault, match=said) as caught:
        qr.read(Png(octets))
    assert "PNG" in caught.value.hint


def test_a_picture_without_a_symbol_is_refused() -> None:
    """White paper."""
    out = io.BytesIO()
    Image.new("L", (50, 50), 255).save(out, "PNG")
    with pytest.raises(IntegrityFault, match="no QR code"):
        qr.read(Png(out.getvalue()))


def test_a_picture_with_two_symbols_is_refused() -> None:
    """Which one is meant is not guessed."""
    with pytest.raises(IntegrityFault, match="2 QR codes"):
        qr.read(drawn("one", "two"))


def test_a_picture_that_would_fill_the_memory_is_refused() -> None:
    """Some kilobytes of PNG may claim gigapixels."""
    out = io.BytesIO()
    Image.new("1", (20000, 20000)).save(out, "PNG")
    with pytest.raises(IntegrityFault, match="not an image"):
        qr.read(Png(out.getvalue()))


def test_a_symbol_that_does_not_read_back_is_not_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder is asked before anything leaves."""
    monkeypatch.setattr(qr, "read", lambda _, **__: KeyUri("something else"))
    with pytest.raises(IntegrityFault, match="does not read back"):
        qr.png(URI)
