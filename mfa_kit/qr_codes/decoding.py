"""Pictures of QR codes decoded within bounds, because anyone can make a picture that costs minutes and gigabytes.

Pillow and zxing-cpp do the work. A picture is judged by its size and its header before any of its pixels are decoded.
"""

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass

import zxingcpp
from PIL import Image

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import KeyUri, Png

# Pillow's own limit warns on stderr. Ours is lower, and is checked where a picture is opened.
Image.MAX_IMAGE_PIXELS = None
# The formats of screenshots and cameras. Pillow reads more, and starts a program for some.
PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
QR_CODES = zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode)
MEGA = 1_000_000
# A picture up to this size is decoded within a second, whatever is drawn in it.
QUICK = MEGA
# A transparent picture is copied several times in memory, so a larger one is made smaller first.
TRANSPARENT = 12 * MEGA


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureLimits:
    """Which pictures are decoded: their formats, and at most so many octets, pixels and seconds.

    Without `seconds` a large picture is made smaller, so that it cannot take long. `hint` is for one that is too large.
    """

    formats: tuple[str, ...]
    octets: int
    pixels: int
    seconds: float | None
    hint: str


# IAM's answers and our own backups: small PNGs in which the QR code fills the width.
MADE_BY_PROGRAMS = PictureLimits(
    formats=("PNG",), octets=256 << 10, pixels=4 * MEGA, seconds=None, hint="use the QR code that AWS showed"
)
# Screenshots and photographs, in which the QR code may be small.
MADE_BY_PEOPLE = PictureLimits(
    formats=PICTURES, octets=20 << 20, pixels=50 * MEGA, seconds=5.0, hint="crop the picture to the QR code"
)


def read(image: Png, *, strict: bool = False, limits: PictureLimits = MADE_BY_PROGRAMS) -> KeyUri:
    """Return the text of the one QR code in a picture. Raise IntegrityFault for none, for several, and beyond limits.

    `strict` reads as the plainest scanner does: upright, dark on light, in its own size.
    """
    if len(image.reveal()) > limits.octets:
        raise IntegrityFault(f"the picture is larger than {_size(limits.octets)}", limits.hint)
    page = _gray_page(image, limits)

    def decode() -> list[zxingcpp.Barcode]:
        return zxingcpp.read_barcodes(
            page, formats=QR_CODES, try_rotate=not strict, try_downscale=not strict, try_invert=not strict
        )

    slow = limits.seconds is not None and page.width * page.height > QUICK
    found = _within(limits.seconds, decode, limits.hint) if slow and limits.seconds else decode()
    if len(found) != 1:
        count = f"are {len(found)} QR codes" if found else "is no QR code"
        raise IntegrityFault(f"there {count} in the picture", "give a picture with exactly one")
    return KeyUri(found[0].text)


def _gray_page(image: Png, limits: PictureLimits) -> Image.Image:
    """Return the pixels in gray. Raise IntegrityFault for a picture that has too many, and for data that is damaged."""
    try:
        with Image.open(io.BytesIO(image.reveal()), formats=limits.formats) as page:
            if page.width * page.height <= limits.pixels:
                return _gray(_smaller(page, QUICK) if limits.seconds is None else page)
    except Exception:  # noqa: BLE001 - Pillow's readers raise SyntaxError, struct.error and others for damaged data
        forms = "PNG" if limits.formats == ("PNG",) else "PNG or JPEG"
        raise IntegrityFault(
            "this is not a picture that can be read, or it is damaged", f"give a {forms} of the QR code"
        ) from None
    raise IntegrityFault(f"the picture has more than {limits.pixels // MEGA} megapixels", limits.hint)


def _smaller(page: Image.Image, pixels: int) -> Image.Image:
    """Return a picture with at most so many pixels, which is the same one if it has no more."""
    factor = 1
    while (page.width // factor) * (page.height // factor) > pixels:
        factor += 1
    if factor == 1:
        return page
    return (page if page.mode in {"L", "LA", "RGB", "RGBA"} else page.convert("RGBA")).reduce(factor)


def _gray(page: Image.Image) -> Image.Image:
    """Put transparent parts on a gray ground, on which neither dark nor light modules disappear."""
    if not page.has_transparency_data:
        return page.convert("L")
    colored = _smaller(page, TRANSPARENT).convert("RGBA")
    ground = Image.new("L", colored.size, 128)
    ground.paste(colored.convert("L"), mask=colored.getchannel("A"))
    return ground


def _within(seconds: float, decode: Callable[[], list[zxingcpp.Barcode]], hint: str) -> list[zxingcpp.Barcode]:
    """Return what is decoded within so many seconds. Raise IntegrityFault after that.

    The decoder cannot be interrupted. It is left alone in a thread that ends with the process.
    """
    found: list[list[zxingcpp.Barcode]] = []
    thread = threading.Thread(target=lambda: found.append(decode()), daemon=True)
    thread.start()
    thread.join(seconds)
    if not (found or thread.is_alive()):
        raise IntegrityFault("the picture cannot be decoded", hint)
    if not found:
        raise IntegrityFault(f"reading the picture takes longer than {seconds:.0f} seconds", hint)
    return found[0]


def _size(octets: int) -> str:
    return f"{octets >> 20} MB" if octets >= 1 << 20 else f"{octets >> 10} KB"
