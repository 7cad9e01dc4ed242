"""The talk: what is said to a person on stderr. stdout belongs to the result, the terminal to questions."""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO, TypeVar

import click

from mfa_kit.core.text import printable as printable  # noqa: PLC0414 - some verbs still take it from here

T = TypeVar("T")


def complain(what: str, *, hint: str = "", notes: list[str] | None = None) -> None:
    """Tell what happened, then what to do, then what else is to be known."""
    for line in (
        f"mfa-kit: {what}",
        *([f"  try: {hint}"] if hint else []),
        *(f"  note: {note}" for note in notes or []),
    ):
        _say(line)


def _say(line: str) -> None:
    """Tell a line; that nobody can hear it, as on a closed pipe, is no reason to break off."""
    try:
        click.echo(printable(line), err=True)
    except OSError:
        give_up(sys.stderr)


def give_up(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere: Python would try again at its exit, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class Talk:
    """Progress on stderr, a line at a time."""

    def note(self, text: str) -> None:
        _say(text)


def counted(items: Sequence[T], doing: str, *, plain: bool) -> Iterator[T]:
    """Yield items while a bar on the terminal tells how far it is; without a terminal there is none."""
    if plain or not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description=doing, console=Console(stderr=True), transient=True)
