"""Results on stdout: a table for people, JSON with a schema name and version, JSON lines, CSV. Never a secret."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from mfa_kit.cli.stderr import printable

VERSION = 1
Row = Mapping[str, Any]


def one(schema: str, row: Row, *, output: str) -> None:
    """Print one result. The table is a line a field; fields that are None are left out of it."""
    if output == "table":
        shown = {name.replace("_", " "): value for name, value in row.items() if value is not None}
        width = max(map(len, shown))
        for name, value in shown.items():
            click.echo(f"{name:<{width}}  {_cell(value)}")
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
        cells = [
            [name.replace("_", " ").upper() for name in rows[0]],
            *([_cell(v) for v in row.values()] for row in rows),
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        for line in cells:
            click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


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
