"""Fits tables and messages into a window: shortens cells, and wraps cells and messages over several lines."""

import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from stat import S_ISFIFO
from typing import TextIO

from mfa_kit.core.message import Command, Message, parts_of, separator, shell_word
from mfa_kit.core.text import one_line

GAP = "  "
# Limits for the width of columns, in characters. Columns are made narrower in up to three steps. In the first step, no
# word is broken, and no column becomes narrower than PROSE. In the second step, words may be broken. In the last step,
# columns may become as narrow as LEAST.
PROSE, LEAST = 16, 8
ARN = re.compile(r"arn:[^\s:]+:[^\s:]+:[^\s:]*:[^\s:]*:([^\s,]+)")
# Matches the last part of an ARN, such as `mfa/team/alice`, but not `root`. The group is the name, alice.
RESOURCE = re.compile(r"(?:mfa|user|u2f|group|role|policy|sms-mfa)/(?:[^\s,]*/)?([^\s/,]+)")
PATH = re.compile(r"/(?:[^/\s]+/)+([^/\s]+)")
SHA256 = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
RECIPIENT = re.compile(r"\b(age1\w{8})\w{40,}")
SHORTER = ((ARN, r"\1"), (RESOURCE, r"\1"), (SHA256, r"\1…"), (RECIPIENT, r"\1…"))


# What the running command was given for a placeholder in the commands that messages suggest.
GIVEN: dict[str, str] = {}
# Names of fields in JSON and CSV that have other words in tables.
LABELS = {"bench": "station", "no_own_copy": "without a copy"}


class _Cell(textwrap.TextWrapper):
    """Wraps a cell. A path or an ARN that is too wide is broken after a slash or a colon."""

    wordsep_simple_re = re.compile(r"(\s+)|(?<=[/:])(?=\S)")


def aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return each row of cells as a line. Each column is as wide as its widest cell. There are no trailing spaces."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [GAP.join(map(str.ljust, line, widths)).rstrip() for line in cells]


def fitted_table(rows: Sequence[Mapping[str, str]], names: Sequence[str], width: int) -> list[str]:
    """Return the lines of a table with these columns, at most `width` wide if possible."""
    return [line for lines in fitted_rows(rows, names, width) for line in lines]


def fitted_rows(rows: Sequence[Mapping[str, str]], names: Sequence[str], width: int) -> list[list[str]]:
    """Return the lines of a table as `fitted_table` does, but as one list of lines per row.

    The first list has the lines of the headings.
    """
    cells = [[heading(name) for name in names], *([shorter(row[name]) for name in names] for row in rows)]
    columns = list(zip(*cells, strict=True))
    widths = _widths(
        [max(map(len, column)) for column in columns], [max(map(_word, column)) for column in columns], width
    )
    return [_lines(row, widths) for row in cells]


def label(name: str) -> str:
    """Return the name of a field in words."""
    return LABELS.get(name, name).replace("_", " ")


def heading(name: str) -> str:
    """Return the heading of a column: its name in words, in upper case."""
    return label(name).upper()


def shorter(cell: str) -> str:
    """Return a shorter form of a cell.

    If the cell is an ARN, return the name of the resource. If the cell is a path, return the file name. Otherwise leave
    out all but the start of each SHA-256 or age recipient.
    """
    match = ARN.fullmatch(cell)
    for pattern, replacement in SHORTER if match else SHORTER[2:]:
        cell = pattern.sub(replacement, cell)
    return PATH.sub(r"\1", cell) if PATH.fullmatch(cell) else cell


def wrapped(text: str, width: int) -> list[str]:
    """Return a text as lines of whole words. A long word is not broken, so that a user can copy it."""
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def on_one_line(text: str) -> str:
    """Return a message with control characters and line breaks written as escapes, as `one_line` does.

    In its commands, placeholders are replaced with what was GIVEN for them.
    """
    parts = (
        Command(one_line(GIVEN.get(word, word)) for word in part.arguments)
        if isinstance(part, Command)
        else one_line(part)
        for part in parts_of(text)
    )
    return text if text.isprintable() and not GIVEN else Message(*parts)


def laid_out(text: str, width: int, shorten: Callable[[str], str] = str) -> list[str]:
    """Return a message as lines. In a message that needs several lines, each command begins on a new line.

    A user can copy a command: its lines are broken only between its words, and the shell joins them. If the message
    needs several lines, `shorten` shortens its sentences.
    """
    if len(text) <= width:
        return [text]
    lines: list[str] = []
    prose = ""
    for part in (*parts_of(text), Command()):
        if isinstance(part, Command):
            words = shorten(f"{prose}{separator(prose, part) if part else ''}".strip())
            lines += [*(wrapped(words, width) if words else ()), *_continued(map(shell_word, part.arguments), width)]
        prose = "" if isinstance(part, Command) else prose + part
    return lines


def hanging(line: str, width: int) -> list[str]:
    """Return a message as lines, as `laid_out` does, with the following lines indented by two more columns."""
    if len(line) <= width:
        return [line.rstrip()]
    indent = len(line) - len(line.lstrip())
    first, *others = laid_out(line, max(width - indent - 2, LEAST))
    return [" " * indent + first, *(" " * (indent + 2) + continuation for continuation in others)]


def labeled(label: str, text: str, width: int, *, short: bool = False) -> list[str]:
    """Return the lines of a label and a text beside it, wrapped at words.

    If fewer than PROSE columns remain beside the label, the text is below it. With `short`, each ARN in a wrapped text,
    except in a command, is replaced with the name of its resource.
    """
    start, room = len(label), width - len(label)
    below = room < PROSE
    if below:
        start, room = 4, max(width - 4, LEAST)
    lines = laid_out(text, room, _without_arns if short else str)
    continuations = [" " * start + line for line in (lines if below else lines[1:])]
    return [(label if below else label + lines[0]).rstrip(), *continuations]


def window_width(stream: TextIO) -> int:
    """Return the number of columns of a stream's terminal. For a pipe or a file, return sys.maxsize."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or sys.maxsize
    except (OSError, ValueError):
        return sys.maxsize


def output_width() -> int:
    """Return the width for results on stdout: that of its terminal, or of the one behind a pipe to another program.

    A pipe is shown on a terminal if stderr is a terminal. Without a terminal, return sys.maxsize.
    """
    try:
        is_pipe = S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        is_pipe = False
    return window_width(sys.stderr if is_pipe else sys.stdout)


def _without_arns(text: str) -> str:
    return ARN.sub(lambda arn: RESOURCE.sub(r"\1", arn[1]), text)


def _continued(words: Iterable[str], width: int) -> list[str]:
    """Return the words of a command as lines. Each line except the last ends with a backslash."""
    lines: list[str] = []
    for word in words:
        if lines and len(f"{lines[-1]} {word} \\") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [*(f"{line} \\" for line in lines[:-1]), *lines[-1:]]


def _word(cell: str) -> int:
    return max(map(len, cell.split()), default=0)


def _widths(widest: Sequence[int], words: Sequence[int], width: int) -> list[int]:
    """Return the widths of the columns. The widest columns are narrowed until the table fits into `width`, if possible.

    `widest` has the width of each column's widest cell, and `words` the width of each column's longest word.
    """
    widths, room = [*widest], width - len(GAP) * (len(widest) - 1)
    prose, least_of_all = (
        [min(PROSE, column_width) for column_width in widest],
        [min(LEAST, column_width) for column_width in widest],
    )
    for least in ([*map(max, words, prose)], prose, least_of_all):
        while sum(widths) > room:
            spare = [index for index, column_width in enumerate(widths) if column_width > least[index]]
            if not spare:
                break
            widths[max(spare, key=lambda index: widths[index])] -= 1
    return widths


def _lines(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    cells = [_Cell(width=width, break_on_hyphens=False).wrap(cell) for cell, width in zip(row, widths, strict=True)]
    return [GAP.join(map(str.ljust, line, widths)).rstrip() for line in zip_longest(*cells, fillvalue="")] or [""]
