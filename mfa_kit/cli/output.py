"""Results on stdout: a table for people, JSON with a schema name and version, JSON lines, CSV. Never a secret."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Self

import click

from mfa_kit.cli.messages import printable

VERSION = 1
Row = Mapping[str, Any]
FORMS = ("table", "json", "jsonl", "csv")
HTML = "html"


class Output(NamedTuple):
    """Where the result of a verb goes, and in which form."""

    form: str

    @classmethod
    def of(cls, form: str, ctx: click.Context, *, html: bool) -> Self:
        """Raise click.UsageError for a form that this result has not."""
        if form == HTML and not html:
            raise click.UsageError(f"'html' is no form of this result; choose from {', '.join(FORMS)}.", ctx)
        return cls(form)

    @property
    def is_html(self) -> bool:
        return self.form == HTML

    def one(self, schema: str, row: Row) -> None:
        """Print one result. The table is a line a field; fields that are None are left out of it."""
        one(schema, row, output=self.form)

    def many(self, schema: str, rows: Sequence[Row], *, empty: str, header: bool = True) -> None:
        """Print a list of results, rows of the same fields; `empty` stands in a table that has none.

        Without `header` it goes on with a CSV that was begun.
        """
        many(schema, rows, output=self.form, empty=empty, header=header)

    def text(self, text: str) -> None:
        """Print a page or a script as it is, which ends with a line break."""
        click.echo(text, nl=False)


def one(schema: str, row: Row, *, output: str) -> None:
    """Print one result. The table is a line a field; fields that are None are left out of it."""
    if output == "table":
        _fields({name: value for name, value in row.items() if value is not None})
    elif output == "csv":
        _csv([row])
    else:
        _json({"schema": f"mfa-kit/{schema}", "version": VERSION, **row})


def many(schema: str, rows: Sequence[Row], *, output: str, empty: str, header: bool = True) -> None:
    """Print a list of results, rows of the same fields; `empty` stands in a table that has none.

    Without `header` it goes on with a CSV that was begun.
    """
    if output == "json":
        _json({"schema": f"mfa-kit/{schema}", "version": VERSION, "rows": rows})
    elif output == "jsonl":
        for row in rows:
            one(schema, row, output="json")
    elif output == "csv":
        _csv(rows, header=header)
    elif not rows:
        click.echo(empty)
    else:
        _table(rows)


def _table(rows: Sequence[Row]) -> None:
    """Print a line a row, without columns that are empty; in a window that is too narrow for it, a line a field."""
    names = [name for name in rows[0] if any(_cell(row[name]) for row in rows)]
    cells = [
        [name.replace("_", " ").upper() for name in names],
        *([_cell(row[name]) for name in names] for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    if max(map(len, lines)) <= _columns():
        click.echo("\n".join(lines))
        return
    for number, row in enumerate(rows):
        if number:
            click.echo()
        _fields({name: row[name] for name in names if _cell(row[name])})


def _fields(row: Row) -> None:
    width = max(map(len, row))
    for name, value in row.items():
        click.echo(f"{name.replace('_', ' '):<{width}}  {_cell(value)}")


def _columns() -> int:
    """Return how wide the window is; what reads a pipe or a file has no bounds."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or sys.maxsize
    except (OSError, ValueError):
        return sys.maxsize


def _json(row: Row) -> None:
    import json

    click.echo(json.dumps(row))


def _csv(rows: Sequence[Row], *, header: bool = True) -> None:
    import csv
    import io

    if rows:
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows({name: _defused(_cell(value)) for name, value in row.items()} for row in rows)
        click.echo(text.getvalue(), nl=False)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case str() | int() | float():
            return printable(str(value)).replace("\n", "\\n")
        case _:
            return ", ".join(_cell(each) for each in value)


def _defused(cell: str) -> str:
    """Write an apostrophe before a cell that a spreadsheet would compute."""
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell
