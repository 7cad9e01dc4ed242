"""Independent readers of a PDF file: poppler's pdftotext and pdftoppm, and zbarimg."""

import re
import subprocess
from pathlib import Path

from tests.conftest import judge

DPI = 150


def text_of(pdf: Path) -> str:
    """Return the text of a PDF, with the columns side by side as on the page."""
    done = subprocess.run([judge("pdftotext"), "-layout", pdf, "-"], capture_output=True, text=True, check=True)
    return done.stdout


def words_of(pdf: Path) -> list[tuple[float, float, str]]:
    """Return each word of a PDF with the places of its left and right edge, as a share of the width of the page."""
    done = subprocess.run([judge("pdftotext"), "-bbox", pdf, "-"], capture_output=True, text=True, check=True)
    width = float(re.findall(r'<page width="([0-9.]+)"', done.stdout)[0])
    found = re.findall(r'<word xMin="([0-9.-]+)"[^>]*xMax="([0-9.-]+)"[^>]*>(.*?)</word>', done.stdout)
    return [(float(left) / width, float(right) / width, word) for left, right, word in found]


def size_of(pdf: Path) -> tuple[int, float, float]:
    """Return the number of pages, and the width and height of a page in points."""
    done = subprocess.run([judge("pdfinfo"), pdf], capture_output=True, text=True, check=True).stdout
    pages, width, height = (
        re.findall(pattern, done)[0] for pattern in (r"Pages: +(\d+)", r"Page size: +([0-9.]+)", r" x ([0-9.]+) pts")
    )
    return int(pages), float(width), float(height)


def pictures_of(pdf: Path) -> list[Path]:
    """Draw the pages as pictures at 150 dpi, and return their files."""
    base = pdf.with_suffix("")
    subprocess.run([judge("pdftoppm"), "-r", str(DPI), "-gray", "-png", pdf, base], check=True)
    return sorted(pdf.parent.glob(f"{base.name}-*.png"))


def codes_in(picture: Path) -> list[str]:
    """Return the texts of the QR codes that zbarimg finds in a picture."""
    options = ("--quiet", "--raw", "--nodbus", "-Sdisable", "-Sqrcode.enable")
    command: list[str | Path] = [judge("zbarimg"), *options, picture]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return str(done.stdout).splitlines()
