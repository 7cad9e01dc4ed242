"""Draws a letter as a PDF with ReportLab. The PDF exists in memory only; this module writes no file.

The text is selectable, so that pdftotext and screen readers can read it. The fonts are embedded.

Arabic and Hebrew run from right to left (Unicode Standard Annex 9), and the form of an Arabic letter depends on its
neighbors. A PDF stores glyphs as they are drawn, from left to right, so this module breaks text into lines, then shapes
and orders the letters of each line.
"""

import io
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import NamedTuple

from arabic_reshaper import ArabicReshaper
from bidi import get_display
from reportlab.lib.pagesizes import A4, LETTER
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.letter import Letter, LetterSection
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import one_line
from mfa_kit.letters.sheet import Paper, PrintedSecret, Sheet, grouped_lines
from mfa_kit.qr_codes.symbol import text_modules

# The zero-width non-joiner and joiner, which some names contain. All other control characters are printed as escapes.
JOINERS = "\u200c\u200d"
# The font has no glyph for this optional ligature.
RESHAPER = ArabicReshaper({"ARABIC LIGATURE ALLAH": False})
RIGHT_TO_LEFT = {"R", "AL"}


class Line(NamedTuple):
    """A line as it is printed, from left to right. `backward` says whether its text runs from right to left."""

    text: str
    backward: bool = False


def break_lines(text: str, *, width: float, measure: Callable[[str], float], end: str = "") -> list[Line]:
    """Return the lines of a text, at least one. `measure` returns the width of a printed line.

    A word that is wider than a line is broken at any character. `end` is appended to all lines except the last.
    """
    clean = "".join(char if char in JOINERS else one_line(char) for char in text)
    backward = _runs_backward(clean)

    def shown(logical: str) -> str:
        return _in_printed_order(logical, backward=backward)

    def fits(logical: str) -> bool:
        return measure(shown(logical + end)) <= width

    lines = list(_broken(clean.split(" "), fits))
    return [Line(shown(line + (end if number < len(lines) else "")), backward) for number, line in enumerate(lines, 1)]


def _broken(words: list[str], fits: Callable[[str], bool]) -> Iterator[str]:
    line = ""
    for number, word in enumerate(words):
        longer = f"{line} {word}" if number else word
        if fits(longer):
            line = longer
            continue
        if line:
            yield line
        line = word
        while not fits(line):
            length = next((size for size in range(len(line) - 1, 1, -1) if fits(line[:size])), 1)
            if length >= len(line):
                break
            yield line[:length]
            line = line[length:]
    yield line


def _runs_backward(text: str) -> bool:
    """Return whether the first letter with a direction belongs to a script that runs from right to left."""
    directions = (unicodedata.bidirectional(char) for char in text)
    return next((direction in RIGHT_TO_LEFT for direction in directions if direction in {"L", *RIGHT_TO_LEFT}), False)


def _in_printed_order(text: str, *, backward: bool) -> str:
    if text.isascii():
        return text
    shaped = get_display(RESHAPER.reshape(text), base_dir="R" if backward else "L")
    return "".join(char for char in str(shaped) if char not in JOINERS)


SIZES = {Paper.A4: A4, Paper.LETTER: LETTER}
PLAIN, BOLD, FIXED = "DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono"
# Where Debian, Fedora and Arch Linux have the fonts.
FOLDERS = (
    *(
        "/usr/share/fonts/truetype/dejavu",
        "/usr/share/fonts/dejavu-sans-fonts",
        "/usr/share/fonts/dejavu-sans-mono-fonts",
    ),
    *("/usr/share/fonts/TTF", "/usr/share/fonts/dejavu"),
)
MARGIN, INDENT, LABEL = 20 * mm, 8 * mm, 42 * mm
TEXT, SMALL, TITLE, SECTION, SECRET = 10.0, 8.5, 16.0, 12.0, 13.0
LEADING = 1.4
# The width and height of a QR code. In a scan at 150 dpi, a module of an age identity's QR code is six pixels wide.
SYMBOL = 45 * mm
SIGNATURE = 16 * mm
# The smallest scale at which a letter of one page is printed. Its text then has 7.5 points.
SMALLEST = 0.75

# A function that draws one item on a page, at a position that is already decided.
Mark = Callable[[Canvas], None]


@cache
def load_fonts(folders: tuple[str, ...] = FOLDERS) -> None:
    """Register the fonts with ReportLab, once per process. Raise UsageFault if this computer does not have them."""
    for name in (PLAIN, BOLD, FIXED):
        files = (Path(folder) / f"{name}.ttf" for folder in folders)
        file = next((path for path in files if path.is_file()), None)
        if file is None:
            raise UsageFault(
                f"letters need the font {name}, which is not installed",
                "install the DejaVu fonts, such as Debian's package fonts-dejavu-core",
            )
        pdfmetrics.registerFont(TTFont(name, str(file)))


def draw_pdf(sheet: Sheet, paper: Paper) -> Secret[bytes]:
    """Return the PDF of a letter. Raise UsageFault if the fonts are missing."""
    return Secret(_draw(sheet, paper))


def draw_letter(letter: Letter, paper: Paper) -> bytes:
    """Return the PDF of a letter without a secret, which is one page if it is not much too long for that.

    Raise UsageFault if the fonts are missing.
    """
    return _draw(Sheet(letter=letter), paper, smallest=SMALLEST)


def _draw(sheet: Sheet, paper: Paper, *, smallest: float = 1.0) -> bytes:
    """Return the PDF of a letter. If it then fits on one page, print it smaller, down to `smallest` of its size."""
    load_fonts()
    scale, pages = 1.0, _laid_out(sheet, paper)
    while len(pages.pages) > 1 and scale > smallest:
        scale = max(scale - 0.05, smallest)
        pages = _laid_out(sheet, paper, scale)
    if len(pages.pages) > 1:
        scale, pages = 1.0, _laid_out(sheet, paper)
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=SIZES[paper])
    canvas.setTitle(sheet.letter.title)
    canvas.setCreator("mfa-kit")
    canvas.setProducer("mfa-kit")
    for number, marks in enumerate(pages.pages, 1):
        canvas.scale(scale, scale)
        for mark in marks:
            mark(canvas)
        canvas.setFont(PLAIN, SMALL)
        canvas.drawRightString(pages.width - MARGIN, MARGIN / 2, f"page {number} of {len(pages.pages)}")
        canvas.showPage()
    canvas.save()
    return out.getvalue()


@dataclass(slots=True)
class _Pages:
    """The pages so far. `down` is how far the next item's top is above the lower edge of the page, in points."""

    width: float
    height: float
    pages: list[list[Mark]] = field(default_factory=lambda: [[]])
    down: float = 0.0

    def __post_init__(self) -> None:
        self.down = self.height - MARGIN

    def need(self, height: float) -> None:
        """Begin a new page if less than `height` points are left on the current page."""
        if self.down - height < MARGIN and self.pages[-1]:
            self.pages.append([])
            self.down = self.height - MARGIN

    def mark(self, mark: Mark) -> None:
        """Add a mark to the current page."""
        self.pages[-1].append(mark)

    def skip(self, height: float) -> None:
        """Leave a space of `height` points."""
        self.down -= height

    def text(
        self, text: str, *, font: str = PLAIN, size: float = TEXT, left: float = 0.0, right: float = 0.0, end: str = ""
    ) -> None:
        """Add a text below the last item. `left` and `right` are its indents from the margins, in points.

        Text that runs from right to left is aligned at the right. `end` is appended to all lines except the last.
        """
        for line in self.lines(text, font=font, size=size, left=left, right=right, end=end):
            self.need(size * LEADING)
            self.down -= size * LEADING
            position = self.width - MARGIN - right if line.backward else MARGIN + left
            self.mark(_line(line, position=position, down=self.down, font=font, size=size))

    def lines(
        self, text: str, *, font: str = PLAIN, size: float = TEXT, left: float = 0.0, right: float = 0.0, end: str = ""
    ) -> list[Line]:
        """Return the lines of a text that is indented from the margins by `left` and `right` points.

        `end` is appended to all lines except the last.
        """

        def measure(line: str) -> float:
            return float(pdfmetrics.stringWidth(line, font, size))

        return break_lines(text, width=self.width - 2 * MARGIN - left - right, measure=measure, end=end)


def _line(line: Line, *, position: float, down: float, font: str, size: float) -> Mark:
    """Return a function that draws a line of text.

    The text begins `position` points from the left edge, or ends there if it is written from right to left.
    """

    def draw(canvas: Canvas) -> None:
        canvas.setFont(font, size)
        (canvas.drawRightString if line.backward else canvas.drawString)(position, down, line.text)

    return draw


def _laid_out(sheet: Sheet, paper: Paper, scale: float = 1.0) -> _Pages:
    """Return the pages of a letter, in the units of a page that is drawn at this scale."""
    width, height = SIZES[paper]
    pages = _Pages(width / scale, height / scale)
    letter = sheet.letter
    pages.text(letter.title, font=BOLD, size=TITLE)
    for paragraph in letter.paragraphs:
        pages.skip(TEXT / 2)
        pages.text(paragraph)
    pages.skip(TEXT / 2)
    for label, value in letter.facts:
        _fact(label, value, pages)
    if sheet.secret:
        _secret(sheet.secret, pages)
    for section in letter.sections:
        _section(section, pages)
    for signer in sheet.signers:
        _signature(signer, pages)
    return pages


def _fact(label: str, value: str, pages: _Pages) -> None:
    """Add a label, and its value in a second column. The lines of the label and the value are side by side.

    A value without spaces that is too long for one line, such as a public key, is printed smaller if that makes it fit.
    """
    labels = pages.lines(label, font=BOLD, right=pages.width - 2 * MARGIN - LABEL + INDENT / 2)
    values, size = pages.lines(value, left=LABEL), TEXT
    if len(values) > 1 and " " not in value and len(pages.lines(value, left=LABEL, size=SMALL)) == 1:
        values, size = pages.lines(value, left=LABEL, size=SMALL), SMALL
    for number in range(max(len(labels), len(values))):
        pages.need(TEXT * LEADING)
        pages.down -= TEXT * LEADING
        for lines, indent, font, points in ((labels, 0.0, BOLD, TEXT), (values, LABEL, PLAIN, size)):
            if number < len(lines):
                line = Line(lines[number].text)
                pages.mark(_line(line, position=MARGIN + indent, down=pages.down, font=font, size=points))
    pages.skip(TEXT * 0.3)


def _section(section: LetterSection, pages: _Pages) -> None:
    pages.need(SECTION * LEADING * 4)  # keep the title on one page with the lines that follow
    pages.skip(SECTION)
    pages.text(section.title, font=BOLD, size=SECTION)
    for paragraph in section.paragraphs:
        pages.skip(TEXT / 3)
        pages.text(paragraph)
    for number, step in enumerate(section.steps, 1):
        pages.skip(TEXT / 3)
        pages.need(TEXT * LEADING * (2 if step.commands else 1))
        pages.mark(_line(Line(f"{number}."), position=MARGIN, down=pages.down - TEXT * LEADING, font=PLAIN, size=TEXT))
        pages.text(step.text, left=INDENT)
        for command in step.commands:
            end = _continuation(command)
            longest = max(pdfmetrics.stringWidth(one_line(word) + end, FIXED, SMALL) for word in command.split(" "))
            # A file's name must not be broken: it would become two arguments.
            size = SMALL * min(1.0, 0.999 * (pages.width - 2 * MARGIN - INDENT) / longest)
            pages.text(command, font=FIXED, size=size, left=INDENT, end=end)


def _continuation(command: str) -> str:
    """Return what ends a line that continues on the next: a backtick in PowerShell, or a backslash in other shells."""
    return " `" if "$env:" in command else " \\"


def _secret(secret: PrintedSecret, pages: _Pages) -> None:
    """Add a frame with a secret: its QR code (if `scanned`) at the left, and its groups and check words beside it."""
    lines = grouped_lines(secret.text)
    height = max(SYMBOL if secret.scanned else 0.0, SECRET * LEADING * (len(lines.reveal()) + 1.5)) + INDENT
    pages.need(height + TEXT * 3)
    pages.skip(TEXT)
    pages.text(secret.label, font=BOLD)
    pages.skip(TEXT / 2)
    top, width = pages.down, pages.width - 2 * MARGIN
    pages.mark(lambda canvas: canvas.rect(MARGIN, top - height, width, height))
    left = MARGIN + INDENT / 2
    if secret.scanned:
        pages.mark(_symbol(secret.text, left=left, top=top - INDENT / 2))
        left += SYMBOL + INDENT
    pages.mark(_groups(lines, left=left, top=top - INDENT / 2))
    pages.down = top - height


def _groups(lines: Secret[list[tuple[str, str]]], *, left: float, top: float) -> Mark:
    """Return a function that draws the groups of a secret, with the check word of each line in a second column."""

    def draw(canvas: Canvas) -> None:
        column = left + max(pdfmetrics.stringWidth(groups, FIXED, SECRET) for groups, _ in lines.reveal()) + INDENT
        canvas.setFont(PLAIN, SMALL)
        canvas.drawString(column, top - SECRET, "check word")
        canvas.setFont(FIXED, SECRET)
        for number, (groups, check) in enumerate(lines.reveal(), 2):
            canvas.drawString(left, top - SECRET * LEADING * number, groups)
            canvas.drawString(column, top - SECRET * LEADING * number, check)

    return draw


def _symbol(text: Secret[str], *, left: float, top: float) -> Mark:
    """Return a function that draws the QR code of a text, with its quiet zone.

    Adjacent dark modules of a row are drawn as one rectangle.
    """

    def draw(canvas: Canvas) -> None:
        rows = text_modules(text)
        module = SYMBOL / len(rows)
        for down, row in enumerate(rows, 1):
            for start, length in _runs(row):
                canvas.rect(left + start * module, top - down * module, length * module, module, stroke=0, fill=1)

    return draw


def _runs(row: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yield the start and the length of each run of dark modules."""
    start = None
    for index, dark in enumerate([*row, False]):
        if dark and start is None:
            start = index
        elif not dark and start is not None:
            yield start, index - start
            start = None


def _signature(signer: str, pages: _Pages) -> None:
    """Add a line to sign on, with a name below it and a shorter line for the date."""
    pages.need(SIGNATURE)
    pages.skip(SIGNATURE - TEXT * LEADING)
    down, half = pages.down, (pages.width - 2 * MARGIN) * 0.6
    pages.mark(lambda canvas: canvas.line(MARGIN, down, MARGIN + half, down))
    pages.mark(lambda canvas: canvas.line(MARGIN + half + INDENT, down, pages.width - MARGIN, down))
    date = _line(Line("date"), position=MARGIN + half + INDENT, down=down - TEXT * LEADING, font=PLAIN, size=SMALL)
    pages.mark(date)
    pages.text(signer, size=SMALL, right=pages.width - 2 * MARGIN - half)
