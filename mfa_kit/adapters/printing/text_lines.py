"""Breaks text into lines that fit a width, and puts the characters of each line into the order in which they are drawn.

Arabic and Hebrew run from right to left (Unicode Standard Annex 9), and the form of an Arabic letter depends on its
neighbors. A PDF stores glyphs as they are drawn, from left to right, so this module shapes and orders the
letters first.
"""

import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple

from arabic_reshaper import ArabicReshaper
from bidi import get_display

from mfa_kit.core.text import one_line

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
    return [Line(shown(each + (end if at < len(lines) else "")), backward) for at, each in enumerate(lines, 1)]


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
            at = next((size for size in range(len(line) - 1, 1, -1) if fits(line[:size])), 1)
            if at >= len(line):
                break
            yield line[:at]
            line = line[at:]
    yield line


def _runs_backward(text: str) -> bool:
    """Return whether the first letter with a direction belongs to a script that runs from right to left."""
    directions = (unicodedata.bidirectional(char) for char in text)
    return next((each in RIGHT_TO_LEFT for each in directions if each in {"L", *RIGHT_TO_LEFT}), False)


def _in_printed_order(text: str, *, backward: bool) -> str:
    if text.isascii():
        return text
    shaped = get_display(RESHAPER.reshape(text), base_dir="R" if backward else "L")
    return "".join(char for char in str(shaped) if char not in JOINERS)
