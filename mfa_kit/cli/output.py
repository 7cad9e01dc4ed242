"""Prints results on stdout, in the form that the command line names.

Each form is a function in forms.py. This module does not import forms.py at once, because `mfa-kit --help` needs only
the names of the forms.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import click

from mfa_kit.cli.results import Results
from mfa_kit.core.errors import UsageFault

if TYPE_CHECKING:
    from mfa_kit.core.text import ResultRow

# The forms by name, each with the function that writes it, as `module:function`.
FORMS: Mapping[str, str] = {
    "table": "mfa_kit.cli.forms:write_table",
    "json": "mfa_kit.cli.forms:write_json",
    "jsonl": "mfa_kit.cli.forms:write_json_lines",
    "csv": "mfa_kit.cli.forms:write_csv",
    "text": "mfa_kit.cli.forms:write_text",
}
# The form of an HTML page. Only some commands have a page, and each of these commands makes its page itself.
HTML = "html"
# The forms of findings for other programs: of AWS Security Hub, and of the Open Cybersecurity Schema Framework.
ASFF, OCSF = "asff", "ocsf"
# The function that compiles `--query`. Loading it also loads jmespath.
QUERY = "mfa_kit.cli.query:compile_query"


class Output(NamedTuple):
    """The output of a command: prints to stdout in the chosen form, such as "table" or "json".

    `search` returns the part of a JSON document to print. `wide` prints full values even if they do not fit the window.
    `color` prints tables with colors.
    """

    form: str
    wide: bool = False
    search: Callable[[object], object] | None = None
    color: bool = False

    @classmethod
    def of(
        cls, form: str | None, ctx: click.Context, *, own: Sequence[str], wide: bool = False, query: str | None = None
    ) -> Self:
        """Return the output of a command. `own` has the forms that the command makes itself, such as an HTML page.

        Raise click.UsageError for an unknown form, and UsageFault for an invalid query, or for a query with
        a form other than JSON.
        """
        form = form or ("json" if query else "table")
        if form not in FORMS and form not in own:
            known = ", ".join((*FORMS, *own))
            raise click.UsageError(f"this command has no output form {form!r}; choose from {known}.", ctx)
        if query and not form.startswith("json"):
            raise UsageFault("--query works only with --output json or jsonl", "add --output json")
        return cls(form, wide, load_place(QUERY)(query) if query else None)

    @property
    def is_html(self) -> bool:
        """Whether the chosen form is an HTML page. The command makes the page and prints it with `text`."""
        return self.form == HTML

    def one(self, schema: str, row: "ResultRow") -> None:
        """Print one result. A table has a line per field and leaves out empty fields."""
        self._write(Results(schema, [row], single=True))

    def many(
        self,
        schema: str,
        rows: "Sequence[ResultRow]",
        *,
        empty: str,
        header: bool = True,
        narrow: Sequence[str] = (),
        below: Sequence[str] = (),
    ) -> None:
        """Print a list of results, which all have the same fields. A table without results shows `empty`.

        `narrow` names the columns to show if the window has no room for all columns, and `below` the columns whose
        cells are then printed below their row. Without `header`, the rows continue a CSV that was begun earlier.
        """
        self._write(Results(schema, rows, empty=empty, header=header, narrow=narrow, below=below))

    def text(self, text: str) -> None:
        """Print a page or a script unchanged. The text has to end with a line break."""
        click.echo(text, nl=False)

    def prose(self, *lines: str) -> None:
        """Print messages, wrapped at words if the terminal is too narrow."""
        forms = importlib.import_module("mfa_kit.cli.forms")
        forms.write_prose(lines, wide=self.wide)

    def titled(self, words: Sequence[str], title: str, *, painted: Sequence[str] = ()) -> None:
        """Print words and a title on a line. If the terminal is too narrow, the title is wrapped beside the words.

        The words in `painted` are colored, if there are colors.
        """
        forms = importlib.import_module("mfa_kit.cli.forms")
        forms.write_titled(words, title, wide=self.wide, painted=painted if self.color else ())

    def _write(self, results: Results) -> None:
        _writer(self.form)(results._replace(wide=self.wide, search=self.search, color=self.color))


@cache
def _writer(form: str) -> Callable[[Results], None]:
    """Return the function that writes results in a form. It is cached, because a rollout prints once per user."""
    writer: Callable[[Results], None] = load_place(FORMS[form])
    return writer


def load_place(place: str) -> Any:
    """Import and return the function or command that `place` names as `module:name`."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)


def call_place(place: str, /, *args: Any, **values: Any) -> Any:
    """Call the function that `place` names, and return what it returns.

    For mypy, a module that uses this imports the function itself, so that mypy checks the arguments.
    """
    return load_place(place)(*args, **values)
