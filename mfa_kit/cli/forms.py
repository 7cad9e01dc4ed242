"""The forms of results on stdout: a table for people, JSON with a schema name and version, JSON lines, CSV."""

import json
import os
import sys
from collections.abc import Mapping, Sequence

import click

from mfa_kit.cli.results import VERSION, Cell, Results
from mfa_kit.core.csv_text import csv_lines
from mfa_kit.core.text import one_line


def write_table(results: Results) -> None:
    """Print one result as a line per field, or a list as a line per result below a line of column names."""
    if results.single:
        _write_fields({name: _text(value) for name, value in results.rows[0].items() if value is not None})
    elif results.rows:
        _write_columns([{name: _text(value) for name, value in row.items()} for row in results.rows])
    else:
        click.echo(results.empty)


def json_document(results: Results) -> str:
    """Return one object on one line, with the name and version of its schema. A list is stored in `rows`."""
    fields = results.rows[0] if results.single else {"rows": results.rows}
    return json.dumps({"schema": f"mfa-kit/{results.schema}", "version": VERSION, **fields})


def write_json(results: Results) -> None:
    """Print one object. A list is stored in `rows`."""
    click.echo(json_document(results))


def write_json_lines(results: Results) -> None:
    """Print one object per line, each with its schema."""
    for row in results.rows:
        write_json(Results(results.schema, [row], single=True))


def write_csv(results: Results) -> None:
    """Print a line of column names, then a line per result. Cells are escaped so that none is a formula.

    Without results, nothing is printed.
    """
    if results.rows:
        header = [list(results.rows[0])] if results.header else []
        click.echo(csv_lines([*header, *(list(map(_text, row.values())) for row in results.rows)]), nl=False)


def _write_columns(rows: Sequence[Mapping[str, str]]) -> None:
    """Print a line per row, without empty columns. If the window is too narrow, print a line per field instead."""
    names = [name for name in rows[0] if any(row[name] for row in rows)]
    heads = [name.replace("_", " ").upper() for name in names]
    lines = _aligned([heads, *([row[name] for name in names] for row in rows)])
    if max(map(len, lines)) <= _window_width():
        click.echo("\n".join(lines))
        return
    for number, row in enumerate(rows):
        if number:
            click.echo()
        _write_fields({name: row[name] for name in names if row[name]})


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    """Return lines in which each column is as wide as its widest cell, without trailing spaces."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]


def _write_fields(row: Mapping[str, str]) -> None:
    width = max(map(len, row))
    for name, value in row.items():
        click.echo(f"{name.replace('_', ' '):<{width}}  {value}")


def _window_width() -> int:
    """Return the number of columns of the window. A pipe or a file has no limit."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or sys.maxsize
    except (OSError, ValueError):
        return sys.maxsize


def _text(value: Cell) -> str:
    """Return a value as the text of a cell. A list becomes its items separated by commas, and None an empty text."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str() | int() | float():
            return one_line(str(value))
        case _:
            return ", ".join(_text(each) for each in value)
