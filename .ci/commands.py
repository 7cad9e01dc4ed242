#!/usr/bin/env python3
"""Write docs/commands.md from the program's own help, and the table in docs/permissions.md from the program's own.

`--check` fails when a page is not current.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from mfa_kit.cli.main import cli
from mfa_kit.core.permissions import TABLE, Job, Resource

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PERMISSIONS = DOCS / "commands.md", DOCS / "permissions.md"
BEGIN, END = "<!-- permissions -->\n", "<!-- end -->\n"
WIDTH = 100


def sections(command: click.Command, parent: click.Context | None, name: str) -> Iterator[str]:
    """Yield the section of a command, then those of its own commands."""
    context = click.Context(command, parent=parent, info_name=name, terminal_width=WIDTH, max_content_width=WIDTH)
    level = "#" * min(2 + context.command_path.count(" "), 4)
    yield f"{level} {context.command_path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from sections(found, context, child)


def page() -> str:
    """Return what docs/commands.md is to hold."""
    head = "# Commands\n\nWritten by `.ci/commands.py` from each command's `--help`. Do not edit this page.\n"
    return "\n".join([head, *sections(cli, None, "mfa-kit")])


def permissions() -> str:
    """Return what docs/permissions.md is to hold."""
    before, _, rest = PERMISSIONS.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = ["| command | action | purpose | jobs |", "|---|---|---|---|"]
    for row in TABLE:
        on = "" if row.resource is Resource.ALL else f" on `{row.resource}`"
        rows.append(
            f"| {row.command} | `{row.action}`{on} | {row.purpose} | {', '.join(j for j in Job if j in row.jobs)} |"
        )
    return "\n".join([f"{before}{BEGIN}", *rows, "", f"{END}{after}"])


def main() -> int:
    """Write the pages or check them; return the exit code."""
    wrong = [file for file, text in ((PAGE, page()), (PERMISSIONS, permissions())) if file.read_text("utf-8") != text]
    if sys.argv[1:] == ["--check"]:
        for file in wrong:
            click.echo(f"docs/{file.name} is not current: run .ci/commands.py and commit it", err=True)
        return 1 if wrong else 0
    PAGE.write_text(page(), "utf-8")
    PERMISSIONS.write_text(permissions(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
