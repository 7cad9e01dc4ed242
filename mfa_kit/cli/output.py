"""Results on stdout, in the form that the command line names. The forms are one table; each is a function of forms.py.

This module loads no form: `mfa-kit --help` needs their names only.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

import click

from mfa_kit.cli.results import ResultRow, Results

# A form by name: the function that writes it, as `module:function`.
FORMS: Mapping[str, str] = {
    "table": "mfa_kit.cli.forms:write_table",
    "json": "mfa_kit.cli.forms:write_json",
    "jsonl": "mfa_kit.cli.forms:write_json_lines",
    "csv": "mfa_kit.cli.forms:write_csv",
}
# A page, which only some verbs have, each its own.
HTML = "html"


class Output(NamedTuple):
    """Where the result of a verb goes: to stdout, in the form of this name."""

    form: str

    @classmethod
    def of(cls, form: str, ctx: click.Context, *, html: bool) -> Self:
        """Return the output of a verb, which has a page where `html`. Raise click.UsageError for any other form."""
        if form not in FORMS and not (html and form == HTML):
            raise click.UsageError(f"{form!r} is no form of this result; choose from {', '.join(FORMS)}.", ctx)
        return cls(form)

    @property
    def is_html(self) -> bool:
        """Whether a page is wanted, which the verb makes and prints by `text`."""
        return self.form == HTML

    def one(self, schema: str, row: ResultRow) -> None:
        """Print one result. The table is a line a field; fields that are None are left out of it."""
        self._write(Results(schema, [row], single=True))

    def many(self, schema: str, rows: Sequence[ResultRow], *, empty: str, header: bool = True) -> None:
        """Print a list of results, rows of the same fields; `empty` stands in a table that has none.

        Without `header` it goes on with a CSV that was begun.
        """
        self._write(Results(schema, rows, empty=empty, header=header))

    def text(self, text: str) -> None:
        """Print a page or a script as it is, which ends with a line break."""
        click.echo(text, nl=False)

    def _write(self, results: Results) -> None:
        module, _, name = FORMS[self.form].partition(":")
        write: Callable[[Results], None] = getattr(importlib.import_module(module), name)
        write(results)
