"""Text from outside made safe to show, also in spreadsheets, and lists of names and commands for sentences.

Spreadsheets evaluate a cell that begins like a formula, so such a cell gets an apostrophe. What spreadsheets write is
read here too: cells that they keep as text, numbers that they rounded, and Excel's separator line.
"""

import codecs
import csv
import io
import re
import shlex
import unicodedata
from collections.abc import Iterable, Sequence


def encoding_of(octets: bytes) -> str:
    """Return the name of a text's encoding: UTF-16 if its byte order mark says so, or else UTF-8, without its mark."""
    return "utf-16" if octets.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def is_control(char: str) -> bool:
    """Return whether a character is a line or paragraph separator, or is in Unicode's category C.

    Category C includes control, format (bidi), surrogate, private-use and unassigned characters.
    """
    return unicodedata.category(char).startswith(("C", "Zl", "Zp"))


def one_line(text: str) -> str:
    r"""Return the text with control characters written as escapes (`\x1b`, `\u202e`) and line breaks as `\n`."""
    if text.isprintable():  # true for most texts, and much faster than a check of each character
        return text
    return "".join(char.encode("unicode_escape").decode() if is_control(char) else char for char in text)


def printable(text: str) -> str:
    """Return the text with control characters written as escapes. Line breaks are kept."""
    return "\n".join(map(one_line, text.split("\n")))


def without_controls(text: str) -> str:
    """Return a name, such as that of a card reader, without control characters and surrounding spaces."""
    return "".join(char for char in text if not is_control(char)).strip()


def is_private_key(text: str) -> bool:
    """Return whether a text looks like an age identity, a plugin's identity or the first line of an SSH private key.

    People paste such keys where a name or a file belongs. An error message must not quote them.
    """
    return any(word in text.upper() for word in ("AGE-SECRET-KEY-", "AGE-PLUGIN-", "PRIVATE KEY-----"))


def count_of(number: int, noun: str, plural: str = "") -> str:
    """Return the number and the noun, such as `1 user` or `2 users`. Without `plural`, the plural ends with an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


# Matches the place before a formula. A spreadsheet treats a cell that begins with =, +, - or @ as a formula. In
# countries whose decimal separator is a comma, a spreadsheet also splits cells at semicolons, even in quotation marks.
# A formula that already has apostrophes gets one more, because `original_cell` removes one.
FORMULA = re.compile(r"(?P<before>^|[;\t])(?='*[=+\-@])")
DISARMED = re.compile(r"(?P<before>^|[;\t])'(?='*[=+\-@])")

# A first line such as `sep=;`. Excel takes the separator from it.
EXCEL_SEPARATOR = re.compile(r'\s*"?sep=([,;\t])"?[,;\t]*\r?\n', re.IGNORECASE)
# A cell such as ="0123" or '0123. Excel treats its content as text and therefore keeps the zero.
EXCEL_TEXT = re.compile(r'="(.*)"|\'([0-9a-z]+=*)', re.DOTALL | re.ASCII | re.IGNORECASE)
# A spreadsheet rounds long numbers to a form such as 1.23457E+14, and programs write a fraction of zero. The form
# always has a plus sign, which a hex serial or seed with an E among its digits never has.
ROUNDED = re.compile(r"\d([.,]\d+)?E\+\d+|\d+[.,]0+", re.ASCII | re.IGNORECASE)


def csv_lines(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as CSV in which every cell is quoted and no spreadsheet evaluates a cell as a formula.

    An apostrophe is put before each formula; `original_cell` removes it. Control characters and line breaks are written
    as escapes.
    """
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([FORMULA.sub(r"\g<before>'", one_line(cell)) for cell in row] for row in rows)
    return out.getvalue()


def original_cell(cell: str) -> str:
    """Return a cell's text without the apostrophes that `csv_lines` put before formulas."""
    return DISARMED.sub(r"\g<before>", cell)


def plain_cell(cell: str) -> str:
    """Return the text of a cell, without what EXCEL_TEXT matches and without the apostrophe that `csv_lines` adds."""
    if text := EXCEL_TEXT.fullmatch(cell):
        return text[2] or text[1].replace('""', '"').strip()
    return original_cell(cell)


# The number of names that `few` returns in full.
FEW = 5


def command(*words: str) -> str:
    """Return a command whose words are quoted for a shell where necessary."""
    return shlex.join(words)


def few(names: Sequence[str]) -> str:
    """Return the first five names and the number of the others, such as `a, b, c, d, e and 3 more`."""
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")
