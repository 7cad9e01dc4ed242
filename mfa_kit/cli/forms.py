"""Prints results on stdout.

The forms are a table for people, JSON with a schema name and version, JSON Lines, CSV, and text for `cut` and `read`.
"""

import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import chain, zip_longest
from stat import S_ISFIFO
from typing import TypedDict

import click

from mfa_kit.cli.messages import LEAST, hanging, laid_out, on_one_line, window_width
from mfa_kit.cli.results import Results
from mfa_kit.core.file_formats import csv_lines
from mfa_kit.core.message import Command, Message, parts_of
from mfa_kit.core.text import VERSION, Cell, one_line, with_readable_times

GAP = "  "
# Limits for the width of columns, in characters. Columns are made narrower in up to three steps. In the first step, no
# word is broken, and no column becomes narrower than PROSE. In the second step, words may be broken. In the last step,
# columns may become as narrow as LEAST.
PROSE = 16
ARN = re.compile(r"arn:[^\s:]+:[^\s:]+:[^\s:]*:[^\s:]*:([^\s,]+)")
# Matches the last part of an ARN, such as `mfa/team/alice`, but not `root`. The group is the name, alice.
RESOURCE = re.compile(r"(?:mfa|user|u2f|group|role|policy|sms-mfa)/(?:[^\s,]*/)?([^\s/,]+)")
PATH = re.compile(r"/(?:[^/\s]+/)+([^/\s]+)")
SHA256 = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")
RECIPIENT = re.compile(r"\b(age1\w{8})\w{40,}")
SHORTER = ((ARN, r"\1"), (RESOURCE, r"\1"), (SHA256, r"\1…"), (RECIPIENT, r"\1…"))
# Names of fields in JSON and CSV that have other words in tables.
LABELS = {"bench": "station", "no_own_copy": "without a copy"}


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
# Words of JSON and CSV, each with its column, that are other words in tables and text.
WORDS = {
    ("action", "bench"): "station",
    ("copy", "user"): "of the user",
    ("made", "this desk"): "this computer",
    ("made", "another desk"): "another computer",
}
# The columns of names, in which a date is a part of a name.
NAMES = {"user", "device", "name", "serial", "asset", "file", "computer"}
DAY = re.compile(r"\d{4}-\d\d-\d\d")
# Replaces the characters that separate cells or lines with spaces.
SPACES = dict.fromkeys(map(ord, "\t\n\v\f\r\x85\u2028\u2029"), " ")


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


def json_document(results: Results) -> str:
    """Return the results as one JSON object on one line, with the name and version of its schema.

    A list is in the field `rows`. If the results have a `search`, return only the part that `search`
    finds in the object.
    """
    fields = results.rows[0] if results.single else {"rows": results.rows}
    document = {"schema": f"mfa-kit/{results.schema}", "version": VERSION, **fields}
    return json.dumps(results.search(document) if results.search else document)


def write_table(results: Results) -> None:
    """Print a single result with a line per field, or a list of results as a table with a row per result.

    If the list is empty, print `results.empty`.
    """
    width = sys.maxsize if results.wide else output_width()
    if results.single:
        fields = {name: text for name, value in results.rows[0].items() if (text := _shown(name, value))}
        _write_fields(fields, width, color=results.color)
    elif results.rows:
        rows = [{name: _shown(name, value) for name, value in row.items()} for row in results.rows]
        lines = _table(rows, results, width)
        click.echo("\n".join(paint_columns(lines) if results.color else lines))
    else:
        click.echo(results.empty)


def write_json(results: Results) -> None:
    """Print the results as one JSON object. It has the fields of a single result, or a list of results in `rows`."""
    click.echo(json_document(results))


def write_json_lines(results: Results) -> None:
    """Print each result as a JSON object on one line, with its schema."""
    for row in results.rows:
        write_json(results if results.single else results._replace(rows=[row], single=True))


def write_csv(results: Results) -> None:
    """Print a line of column names if `results.header` is true, then a line per result. Without results, print nothing.

    Formulas in cells are escaped, so that a spreadsheet does not run them.
    """
    if results.rows:
        header = [list(results.rows[0])] if results.header else []
        click.echo(csv_lines([*header, *(list(map(_text, row.values())) for row in results.rows)]), nl=False)


def write_text(results: Results) -> None:
    """Print a line per result: its cells, separated by tabs. Tabs and line breaks in cells become spaces."""
    for row in results.rows:
        cells = {name: _text(value, lambda text: on_one_line(text.translate(SPACES))) for name, value in row.items()}
        click.echo("\t".join(WORDS.get(cell, cell[1]) for cell in cells.items()))


def _table(rows: Sequence[Mapping[str, str]], results: Results, width: int) -> Sequence[str]:
    """Return the lines of a table without empty columns.

    If a line would be wider than `width`, shorten and wrap the cells, and keep only the columns in `results.narrow`. If
    the table has no such columns, keep those that are not in `results.below`. The cells of the columns in
    `results.below` are printed below each row.
    """
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    lines = aligned([list(map(heading, names)), *([row[name] for name in names] for row in rows)])
    if max(map(len, lines)) <= width:
        return lines
    below = _of(names, results.below)
    columns = _of(names, results.narrow) or _of(names, set(names).difference(below))
    heads, *blocks = fitted_rows(rows, columns, width)
    return [*heads, *chain(*(block + _below(row, below, width) for row, block in zip(rows, blocks, strict=True)))]


def _of(names: Sequence[str], others: Collection[str]) -> list[str]:
    """Return the names that are also in `others`."""
    return [name for name in names if name in others]


def _below(row: Mapping[str, str], names: Sequence[str], width: int) -> list[str]:
    """Return the lines of those cells that are printed below their row. An empty cell has no line."""
    room = max(map(len, names), default=0) + len(GAP)
    cells = [labeled(f"    {heading(name):<{room}}", row[name], width, short=True) for name in names if row[name]]
    return [*chain(*cells)]


def _write_fields(row: Mapping[str, str], width: int, *, color: bool) -> None:
    """Print a line per field. Long values are wrapped at words.

    A word that is too wide for the column of values, such as a checksum, starts closer to the field's name if it fits
    there.
    """
    names = max(len(label(name)) for name in row) + len(GAP)
    for name, value in row.items():
        first, *others = laid_out(value, max(width - names, LEAST))
        for words, line in [(label(name), first), *(("", line) for line in others)]:
            least = len(words) + len(GAP)
            room = least if least <= width - len(line) < names else names
            click.echo(f"{words:<{room}}{paint(line) if color and name in COLUMNS else line}")


def write_prose(lines: Sequence[str], *, wide: bool) -> None:
    """Print messages wrapped at words, with a hanging indent. With `wide`, they are not wrapped."""
    width = sys.maxsize if wide else output_width()
    for line in lines:
        click.echo("\n".join(hanging(_for_people(on_one_line(line)), width)))


def write_titled(words: Sequence[str], title: str, *, wide: bool, painted: Sequence[str] = ()) -> None:
    """Print words and a title on one line. If the line is too long, the title is wrapped beside the words.

    The words in `painted` are colored. With `wide`, the title is not wrapped.
    """
    width, label = sys.maxsize if wide else output_width(), GAP.join([*words, ""])
    first, *others = labeled(label, one_line(title), width)
    colored = GAP.join([*(paint(word) if word in painted else word for word in words), ""])
    beside = first[len(label) :]
    click.echo("\n".join([colored + beside if beside else colored.rstrip(), *others]))


def _shown(name: str, value: Cell) -> str:
    """Return the text of a cell of a table. `name` is the name of its column."""
    text = _text(value)
    if name in NAMES or not DAY.search(text):
        return WORDS.get((name, text), text)
    if DAY.match(text):
        return with_readable_times(f"on {text}").removeprefix("on ")
    return _for_people(text)


def _for_people(text: str) -> str:
    """Return a message with readable times. Commands in it stay as they are."""
    if not DAY.search(text):
        return text
    return Message(*(part if isinstance(part, Command) else with_readable_times(part) for part in parts_of(text)))


def _text(value: Cell, clean: Callable[[str], str] = on_one_line) -> str:
    """Return a value as the text of a cell. The items of a list are joined with commas, and None is an empty text.

    `clean` returns a text without control characters.
    """
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str() | int() | float():
            return clean(value) if isinstance(value, str) else str(value)
        case _:
            return ", ".join(_text(entry, clean) for entry in value)


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
