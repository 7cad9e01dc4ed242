"""Prints results on stdout: as a table for people, as JSON with a schema name and version, as JSON Lines, or as CSV."""

import json
import sys
from collections.abc import Mapping, Sequence
from itertools import chain

import click

from mfa_kit.cli.colors import COLUMNS, paint, paint_columns
from mfa_kit.cli.fitting import (
    GAP,
    LEAST,
    aligned,
    fitted_rows,
    hanging,
    heading,
    labeled,
    laid_out,
    on_one_line,
    window_width,
)
from mfa_kit.cli.results import VERSION, Cell, Results
from mfa_kit.core.csv_text import csv_lines
from mfa_kit.core.text import one_line


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
    width = sys.maxsize if results.wide else window_width(sys.stdout)
    if results.single:
        fields = {name: text for name, value in results.rows[0].items() if (text := _text(value))}
        _write_fields(fields, width, color=results.color)
    elif results.rows:
        rows = [{name: _text(value) for name, value in row.items()} for row in results.rows]
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
    below = [name for name in names if name in results.below]
    columns = [name for name in names if name in results.narrow] or [name for name in names if name not in below]
    heads, *blocks = fitted_rows(rows, columns, width)
    return [*heads, *chain(*(block + _below(row, below, width) for row, block in zip(rows, blocks, strict=True)))]


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
    names = max(map(len, row)) + len(GAP)
    for name, value in row.items():
        first, *others = laid_out(value, max(width - names, LEAST))
        for label, line in [(name.replace("_", " "), first), *(("", line) for line in others)]:
            least = len(label) + len(GAP)
            room = least if least <= width - len(line) < names else names
            click.echo(f"{label:<{room}}{paint(line) if color and name in COLUMNS else line}")


def write_prose(lines: Sequence[str], *, wide: bool) -> None:
    """Print messages wrapped at words, with a hanging indent. With `wide`, they are not wrapped."""
    width = sys.maxsize if wide else window_width(sys.stdout)
    for line in lines:
        click.echo("\n".join(hanging(on_one_line(line), width)))


def write_titled(words: Sequence[str], title: str, *, wide: bool, painted: Sequence[str] = ()) -> None:
    """Print words and a title on one line. If the line is too long, the title is wrapped beside the words.

    The words in `painted` are colored. With `wide`, the title is not wrapped.
    """
    width, label = sys.maxsize if wide else window_width(sys.stdout), GAP.join([*words, ""])
    first, *others = labeled(label, one_line(title), width)
    colored = GAP.join([*(paint(word) if word in painted else word for word in words), ""])
    beside = first[len(label) :]
    click.echo("\n".join([colored + beside if beside else colored.rstrip(), *others]))


def _text(value: Cell) -> str:
    """Return a value as the text of a cell. The items of a list are joined with commas, and None is an empty text."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str() | int() | float():
            return on_one_line(value) if isinstance(value, str) else str(value)
        case _:
            return ", ".join(_text(entry) for entry in value)
