#!/usr/bin/env python3
"""Write docs/commands.md from the program's own help. `--check` fails when the page is not current."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from mfa_kit.cli.main import cli

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
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


def main() -> int:
    """Write the page or check it; return the exit code."""
    if sys.argv[1:] == ["--check"]:
        current = PAGE.is_file() and PAGE.read_text("utf-8") == page()
        if not current:
            click.echo("docs/commands.md is not current: run .ci/commands.py and commit it", err=True)
        return 0 if current else 1
    PAGE.write_text(page(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
