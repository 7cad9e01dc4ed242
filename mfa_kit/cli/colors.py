"""The colors of words in tables on a terminal.

A color adds no information, because the word itself is always printed.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TypedDict

import click


class Style(TypedDict, total=False):
    """Arguments of click.style."""

    fg: str
    bold: bool


GOOD, BAD, UNSURE, NEUTRAL = Style(fg="green"), Style(fg="red"), Style(fg="yellow"), Style(fg="cyan")
# The style in which each of these words is printed. The words are in lower case.
STYLES: Mapping[str, Style] = {
    **dict.fromkeys(("pass", "ok", "proof", "proved", "accepted", "done", "fine"), GOOD),
    **dict.fromkeys(("enrolled", "replaced", "revoked", "removed", "restored", "rekeyed", "sealed", "imported"), GOOD),
    **dict.fromkeys(("fail", "failed", "wrong", "refused", "rejected", "blocked", "differs", "locked out"), BAD),
    **dict.fromkeys(
        ("warn", "unknown", "undecided", "untested", "half-made", "not started", "not opened", "to do", "partly done"),
        UNSURE,
    ),
    **dict.fromkeys(("planned", "staged", "waiting", "skipped", "not applicable", "display-only"), NEUTRAL),
    "critical": Style(fg="red", bold=True),
    "high": BAD,
    "medium": UNSURE,
    "low": NEUTRAL,
}
# Matches a cell in a line of a table. Columns are separated by two spaces.
CELL = re.compile(r"\S+(?: \S+)*")
# The columns that are colored. Other columns may contain a word of STYLES by chance, such as a user named "failed".
COLUMNS = frozenset({"outcome", "result", "severity", "state", "verdict", "answer", "standing", "action"})


def can_color() -> bool:
    """Return whether stdout is a terminal that shows colors, and NO_COLOR (https://no-color.org) is not set."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not os.environ.get("NO_COLOR")


def paint(text: str) -> str:
    """Return a word of STYLES in its color, ignoring spaces around the word. Return any other text unchanged."""
    style = STYLES.get(text.strip().lower())
    return click.style(text, **style) if style else text


def paint_columns(lines: Sequence[str]) -> list[str]:
    """Return the lines of a table with colors. The first line has the names of the columns, above their cells."""
    starts = [match.start() for match in CELL.finditer(lines[0]) if match[0].lower() in COLUMNS]
    colored = [lines[0]]
    for line in lines[1:]:
        for start in reversed(starts):
            if cell := CELL.match(line, start):
                line = line[:start] + paint(cell[0]) + line[cell.end() :]  # noqa: PLW2901 - each step colors one cell
        colored.append(line)
    return colored
