"""`mfa-kit man`: write manual pages in man(7) format, one per command, from the help texts."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from mfa_kit import __version__, wiring
from mfa_kit.cli.method_verb import MethodVerb, click_options, leave_methods_out
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.value_types import LocalPath
from mfa_kit.wiring.methods.registry import METHODS


@click.command(cls=Verb)
@click.option(
    "--dir", "folder", type=LocalPath(), metavar="DIR", help="Write the pages of all commands to this folder."
)
def man(*, folder: Path | None, output: Output) -> None:
    """Print the main manual page (`mfa-kit man | man -l -`), or write all pages (`--dir ~/.local/share/man/man1`)."""
    root = click.get_current_context().find_root().command
    pages = dict(_pages(root, None, "mfa-kit"))
    if folder is None:
        output.text(pages["mfa-kit"])
        return
    wiring.files.write_pages(folder, {f"{name}.1": page for name, page in pages.items()})
    output.one("man", {"folder": str(folder), "pages": len(pages)})


def _pages(command: click.Command, parent: click.Context | None, name: str) -> Iterator[tuple[str, str]]:
    """Yield the name and the page of a command, then those of its subcommands."""
    context = click.Context(command, parent=parent, info_name=name)
    leave_methods_out(context)
    children = command.list_commands(context) if isinstance(command, click.Group) else []
    title = context.command_path.replace(" ", "-")
    yield title, _page(command, context, children)
    for child in children:
        subcommand = command.get_command(context, child) if isinstance(command, click.Group) else None
        if subcommand:
            yield from _pages(subcommand, context, child)


def _page(command: click.Command, context: click.Context, children: list[str]) -> str:
    """Return the page of one command. `children` are the names of its subcommands."""
    title = context.command_path.replace(" ", "-")
    summary = " ".join((command.help or "").split("\n\n")[0].split())
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [
        f'.TH {_roff(title.upper())} 1 "" "mfa-kit {__version__}"',
        ".SH NAME",
        rf"{_roff(title)} \- {_roff(summary.rstrip('.'))}",
        ".SH SYNOPSIS",
        rf"\fB{_roff(context.command_path)}\fR {_roff(usage)}",
        ".SH DESCRIPTION",
        *_text(command.help or ""),
        ".SH OPTIONS",
    ]
    lines += _options(command.get_params(context), context)
    if isinstance(command, MethodVerb):
        for kind, row in METHODS.items():
            lines += [f".SS Options of \\-\\-with {_roff(kind)}", *_options(click_options(row.options), context)]
    if command.epilog:
        lines += [".SH NOTES", *_text(command.epilog)]
    if children:
        lines += [".SH COMMANDS", ", ".join(rf"\fB{_roff(title)}\-{_roff(child)}\fR(1)" for child in children)]
    return "\n".join(lines) + "\n"


def _options(options: Sequence[click.Parameter], context: click.Context) -> Iterator[str]:
    for option in options:
        if isinstance(option, click.Option) and (record := option.get_help_record(context)):
            yield from (".TP", rf"\fB{_roff(record[0])}\fR", _roff(record[1]))


def _text(text: str) -> Iterator[str]:
    r"""Yield a help text as lines of roff. As in the help, a paragraph that starts with \b keeps its line breaks."""
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        is_preformatted = paragraph.lstrip().startswith("\b")
        lines = [line.strip() for line in paragraph.replace("\b", "").strip().splitlines()]
        yield from (".PP", *([".nf", *map(_roff, lines), ".fi"] if is_preformatted else [_roff(" ".join(lines))]))


def _roff(text: str) -> str:
    """Escape text so that roff prints it literally."""
    plain = text.replace("\\", r"\e").replace("-", r"\-").replace("…", r"\[u2026]")
    return rf"\&{plain}" if plain.startswith((".", "'")) else plain
