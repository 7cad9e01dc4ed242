"""Decodes pictures of QR codes within limits, because a malicious picture could take minutes and gigabytes of memory.

Pillow and zxing-cpp do the work. The size and header of a picture are checked before any of its pixels are decoded.
"""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import zxingcpp
from PIL import Image

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import KeyUri, Png
from mfa_kit.posix.processes import harden

# Pillow's own limit would print a warning on stderr. The limits below are lower, and are checked when a picture is
# opened.
Image.MAX_IMAGE_PIXELS = None
# The formats of screenshots and cameras. Pillow reads more formats, and starts external programs for some of them.
PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
# The masks of QR codes, by number: a module is inverted where the function of its row and column is 0 (ISO/IEC 18004,
# 7.8.2).
MASKS: tuple[Callable[[int, int], int], ...] = (
    lambda i, j: (i + j) % 2,
    lambda i, _: i % 2,
    lambda _, j: j % 3,
    lambda i, j: (i + j) % 3,
    lambda i, j: (i // 2 + j // 3) % 2,
    lambda i, j: i * j % 2 + i * j % 3,
    lambda i, j: (i * j % 2 + i * j % 3) % 2,
    lambda i, j: ((i + j) % 2 + i * j % 3) % 2,
)
# The mode of a symbol that has a part of a text (structured append, ISO/IEC 18004, 8), as four bits.
STRUCTURED_APPEND = [False, False, True, True]
QR_CODES = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)
MEGA = 1_000_000
# The width of a module in the pictures that mfa-kit draws, in pixels.
SCALE = 5
# A picture with at most this many pixels is decoded within a second, whatever it shows.
QUICK = MEGA
# WebP pictures, transparent pictures and pictures in rare color modes need several times the memory of a photograph, so
# their pixel limit is divided by COSTLY. USUAL are the color modes that are not rare.
COSTLY, USUAL = 3, {"1", "L", "P", "RGB"}
# Decoding copies a transparent picture several times in memory, so a transparent picture with more pixels than this is
# scaled down first.
TRANSPARENT = 12 * MEGA


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureLimits:
    """Limits for pictures: their formats, and the maximum number of octets, pixels and seconds.

    If `seconds` is None, a large picture is scaled down, so that decoding cannot take long. `hint` is shown for a
    picture that is too large, or takes too long.
    """

    formats: tuple[str, ...]
    octets: int
    pixels: int
    seconds: float | None
    hint: str


# QR codes from IAM and from mfa-kit's own backups: small PNGs in which the QR code fills the width.
MADE_BY_PROGRAMS = PictureLimits(
    formats=("PNG",), octets=256 << 10, pixels=4 * MEGA, seconds=None, hint="use the QR code that AWS showed"
)
# Screenshots and photographs, in which the QR code may be small.
MADE_BY_PEOPLE = PictureLimits(
    formats=PICTURES, octets=20 << 20, pixels=50 * MEGA, seconds=5.0, hint="crop the picture to the QR code"
)


def read(image: Png, *, strict: bool = False, drawn: bool = False, limits: PictureLimits = MADE_BY_PROGRAMS) -> KeyUri:
    """Return the text of the only QR code in a picture.

    With `strict`, the picture is read as the simplest scanner would read it: upright, dark on light, in one size, and
    with one threshold between dark and light. If `limits.seconds` is set, `strict` has no effect on a large picture.
    With `drawn`, the picture is first read with one pixel for each module, as mfa-kit draws it. That is three times as
    fast, but another QR code beside this one may be missed.
    Raise IntegrityFault if there is no QR code or more than one, if it has only a part of a text, or if the picture is
    damaged or exceeds the limits.
    """
    if len(image.reveal()) > limits.octets:
        raise IntegrityFault(f"the picture is larger than {_size(limits.octets)}", limits.hint)
    page = _gray_page(image, limits)

    if limits.seconds is not None and page.width * page.height > QUICK:
        texts = _decode_within(limits.seconds, page, limits.hint)
    else:
        texts = _decode(_one_pixel_for_each_module(page)) if drawn else []
        texts = texts if len(texts) == 1 else _decode(page, strict=strict)
    if len(texts) != 1:
        count = f"are {len(texts)} QR codes" if texts else "is no QR code"
        raise IntegrityFault(f"there {count} in the picture", "give a picture with exactly one QR code")
    if texts[0] is None:
        raise IntegrityFault(
            "this QR code has only a part of a text that is divided among several QR codes",
            "make one QR code of the whole text, or take a clean picture of it",
        )
    return texts[0]


def _decode(page: Image.Image, *, strict: bool = False) -> list[KeyUri | None]:
    """Return the texts of the QR codes in a gray picture, or None for a part of a text. `strict` is as for `read`."""
    barcodes = zxingcpp.read_barcodes(
        page,
        formats=QR_CODES,
        try_rotate=not strict,
        try_downscale=not strict,
        try_invert=not strict,
        binarizer=zxingcpp.Binarizer.GlobalHistogram if strict else zxingcpp.Binarizer.LocalAverage,
    )
    return [None if _is_part(barcode) else KeyUri(barcode.text) for barcode in barcodes]


def _one_pixel_for_each_module(page: Image.Image) -> Image.Image:
    width, height = page.width // SCALE, page.height // SCALE
    # Each pixel is from the middle of a square of SCALE x SCALE pixels, so from another module than its neighbors.
    return page.resize((width, height), Image.Resampling.NEAREST, box=(0, 0, width * SCALE, height * SCALE))


def _is_part(symbol: zxingcpp.Barcode) -> bool:
    """Return whether a QR code has only a part of a text. zxing-cpp returns the part as if it were the whole text.

    The four modules in the lower right corner are the mode, as they are in the picture: zxing-cpp does not return what
    it corrected, so a damaged corner can hide a part, or make a whole text look like one. In a picture that was taken
    through a mirror, rows and columns are exchanged. If the code of a product (GS1) is read that way, it counts as a
    part, and is no key URI.
    """
    extra: Any = symbol.extra
    modules, mask = memoryview(symbol.to_image(add_quiet_zones=False)), MASKS[extra["DataMask"]]
    last = len(modules) - 1
    places = [(row, column) for row in (last, last - 1) for column in (last, last - 1)]
    return any(
        [(modules[place[::order]] == 0) != (mask(*place) == 0) for place in places] == STRUCTURED_APPEND
        for order in (1, -1)
    )


def _gray_page(image: Png, limits: PictureLimits) -> Image.Image:
    """Return the picture in gray. Raise IntegrityFault if it has too many pixels or cannot be read."""
    costly = limits.pixels // COSTLY
    if "WEBP" in limits.formats and _webp_pixels(image.reveal()) > costly:
        raise _too_many(costly, limits)
    try:
        with Image.open(io.BytesIO(image.reveal()), formats=limits.formats) as page:
            page.draft("L", page.size)  # makes Pillow decode a JPEG directly to gray
            unusual = page.has_transparency_data or page.mode not in USUAL
            most = costly if unusual and limits.seconds is not None else limits.pixels
            if page.width * page.height <= most:
                return _gray(_smaller(page, QUICK) if limits.seconds is None else page)
    except Exception:  # noqa: BLE001 - Pillow's readers raise SyntaxError, struct.error and others for damaged data
        of_program = limits.formats == ("PNG",)
        forms = "PNG of the QR code" if of_program else "PNG or JPEG of the QR code, or a text file of only its key URI"
        raise IntegrityFault("this is not a picture that can be read, or it is damaged", f"give a {forms}") from None
    raise _too_many(most, limits)


def _too_many(most: int, limits: PictureLimits) -> IntegrityFault:
    return IntegrityFault(f"the picture has more than {most // MEGA} megapixels", limits.hint)


def _smaller(page: Image.Image, pixels: int) -> Image.Image:
    """Return the picture, scaled down by a whole factor if it has more than `pixels` pixels.

    The result can have slightly more than `pixels` pixels, because its width and height are rounded up.
    """
    factor = 1
    while (page.width // factor) * (page.height // factor) > pixels:
        factor += 1
    if factor == 1:
        return page
    return (page if page.mode in {"L", "LA", "RGB", "RGBA"} else page.convert("RGBA")).reduce(factor)


def _gray(page: Image.Image) -> Image.Image:
    """Return the picture in gray.

    Transparent parts become mid-gray, so that dark and light modules both remain visible.
    """
    if not page.has_transparency_data:
        return page.convert("L")
    colored = _smaller(page, TRANSPARENT).convert("RGBA")
    ground = Image.new("L", colored.size, 128)
    ground.paste(colored.convert("L"), mask=colored.getchannel("A"))
    return ground


def _decode_within(seconds: float, page: Image.Image, hint: str) -> list[KeyUri | None]:
    """Return what `_decode` returns for a gray picture, decoded in another process.

    A process can be stopped; the decoder itself cannot. Raise IntegrityFault with `hint` if decoding fails, or takes
    longer than `seconds`.
    """
    program = [sys.executable, "-c", f"from {__name__} import answer; answer()", str(page.width), str(page.height)]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            program,
            input=page.tobytes(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=True,
        )
        return [text if text is None else KeyUri(text) for text in json.loads(done.stdout)]
    except subprocess.TimeoutExpired:
        raise IntegrityFault(f"reading the picture takes longer than {seconds:.0f} seconds", hint) from None
    except subprocess.CalledProcessError:
        raise IntegrityFault("the picture cannot be decoded", hint) from None


def answer() -> None:
    """Decode the gray picture on standard input, and write the texts of its QR codes to standard output as JSON.

    `_decode_within` starts a process that calls this function. The arguments of the process are the width and height.
    """
    harden()
    width, height = map(int, sys.argv[1:])
    texts = _decode(Image.frombytes("L", (width, height), sys.stdin.buffer.read()))
    sys.stdout.write(json.dumps([text and text.reveal() for text in texts]))


def _webp_pixels(octets: bytes) -> int:
    """Return the number of pixels from the header of a WebP picture, or 0 if the data is not WebP.

    Image.open already decodes a WebP picture, so the size has to be checked before that call. The header is described
    in RFC 9649, sections 2.4 to 2.7.
    """
    if octets[:4] != b"RIFF" or octets[8:12] != b"WEBP":
        return 0
    match octets[12:16]:
        case b"VP8X":
            return (int.from_bytes(octets[24:27], "little") + 1) * (int.from_bytes(octets[27:30], "little") + 1)
        case b"VP8L":
            bits = int.from_bytes(octets[21:25], "little")
            return ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1)
        case _:
            width, height = int.from_bytes(octets[26:28], "little"), int.from_bytes(octets[28:30], "little")
            return (width & 0x3FFF) * (height & 0x3FFF)


def _size(octets: int) -> str:
    return f"{octets >> 20} MB" if octets >= 1 << 20 else f"{octets >> 10} KB"
