"""Messages for the user, on stderr. Results go to stdout, and questions to the terminal."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TextIO

import click

from mfa_kit.cli.fitting import hanging, on_one_line, window_width
from mfa_kit.core.message import Message

# xterm's control sequences that reset the scrolling region and the colors, and return from the alternate screen to the
# normal screen.
BACK = "\x1b[r\x1b[0m\x1b[?1049l"


def print_error(message: str, *, hint: str = "", notes: Sequence[str] = ()) -> None:
    """Print what happened, then what to try, then notes, each on its own line."""
    _print_line(Message("mfa-kit: ", message))
    if hint:
        _print_line(Message("  try: ", hint))
    for note in notes:
        _print_line(Message("  note: ", note))


def _print_line(line: str) -> None:
    """Print a line, wrapped at words on a terminal.

    A failed write, such as to a closed pipe, is ignored so that it does not stop the work.
    """
    try:
        click.echo("\n".join(hanging(on_one_line(line), window_width(sys.stderr))), err=True)
    except OSError:
        discard(sys.stderr)


def discard(stream: TextIO) -> None:
    """Discard what a stream has buffered and everything written to it later.

    Otherwise Python would flush the buffer at exit, and print a second error.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class StderrProgress:
    """Progress as lines on stderr. With `quiet`, only alerts are printed."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def note(self, text: str) -> None:
        """Print a line, unless quiet."""
        if not self._quiet:
            self.alert(text)

    def alert(self, text: str) -> None:
        """Print a line."""
        _print_line(text)

    def showing(self, text: str | Callable[[], str]) -> AbstractContextManager[None]:
        """Show nothing, because this class prints only lines that stay."""
        return nullcontext()
