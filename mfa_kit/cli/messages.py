"""Messages for the user, on stderr: lines, and a status line that shows what a long operation is doing.

Results go to stdout, and questions to the terminal. Like terminal.py, this module writes control sequences that move
the cursor.
"""

import math
import os
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, TextIO, TypeVar

import click

from mfa_kit.core.errors import MfaKitError, aws_code_of, name_in_ledgers, notes_of
from mfa_kit.core.message import Command, Message, parts_of, separator, shell_word
from mfa_kit.core.stopping import sleep
from mfa_kit.core.text import VERSION, iso_time, one_line

if TYPE_CHECKING:
    from mfa_kit.core.interaction import LiveProgress

T = TypeVar("T")

# xterm's control sequences that reset the scrolling region and the colors, and return from the alternate screen to the
# normal screen.
BACK = "\x1b[r\x1b[0m\x1b[?1049l"
AGAIN = "\r\x1b[K"
# Seconds before the line appears, and between two redraws.
EACH = 0.5
# Waits of at least this many seconds are counted down.
LONG = 3.0
# The least width of a message or a column, in characters.
LEAST = 8


# What the running command was given for a placeholder in the commands that messages suggest.
GIVEN: dict[str, str] = {}


class EventLog:
    """The Progress of a worker that writes events to stderr instead of messages, each as JSON on a line of its own.

    An event has no text of a message, and no name of a user, device or file. `cause` is the name of an error's class.
    Until `on` is true, nothing is written.
    """

    on = False

    def line(self, event: str, *, account: str | None = None, run: str | None = None, cause: str | None = None) -> str:
        """Return the line of an event in the account with this ID, and in the run with this ID."""
        import json
        import socket

        who = {"time": iso_time(time.time()), "computer": socket.gethostname(), "worker": str(os.getpid())}
        return json.dumps({**who, "account": account, "run": run, "event": event, "cause": cause}) + "\n"

    def write(self, event: str, **cells: str | None) -> None:
        """Write an event, if the log is on. `cells` are as in `line`. A failed write is ignored."""
        if self.on:
            try:
                click.echo(self.line(event, **cells), err=True, nl=False)
            except OSError:
                discard(sys.stderr)

    def note(self, text: str) -> None:
        """Write nothing, because a note needs no attention."""

    def alert(self, text: str) -> None:
        """Write an event that says that there was a message. A hint, which is indented, belongs to the last message."""
        if not text.startswith(" "):
            self.write("warning")

    def showing(self, text: str | Callable[[], str]) -> AbstractContextManager[None]:
        """Show nothing."""
        return nullcontext()


# The log of this process. A process has only one stderr.
EVENTS = EventLog()


def print_error(message: str, *, hint: str = "", notes: Sequence[str] = (), cause: str = "") -> None:
    """Print what happened, then what to try, then notes, each on its own line.

    If the log of events is on, write only an event with the `cause`.
    """
    if EVENTS.on:
        EVENTS.write("error", cause=cause)
        return
    _print_line(Message("mfa-kit: ", message))
    if hint:
        _print_line(Message("  try: ", hint))
    for note in notes:
        _print_line(Message("  note: ", note))


class LastError:
    """Reports the error that ends the command. With `as_json`, it is one JSON object on the last line of stderr."""

    as_json = False

    def write(self, error: MfaKitError) -> int:
        """Report an error, and return its exit code."""
        return self.write_texts(
            str(error),
            hint=error.hint,
            notes=notes_of(error),
            kind=name_in_ledgers(error),
            code=aws_code_of(error),
            exit_code=error.exit_code,
        )

    def write_texts(
        self, message: str, *, hint: str = "", notes: Sequence[str] = (), kind: str, code: str | None, exit_code: int
    ) -> int:
        """Report an error with the name of its class and the code of AWS's response. Return its exit code."""
        if not self.as_json or EVENTS.on:
            print_error(message, hint=hint, notes=notes, cause=kind)
            return exit_code
        import json

        fields = {
            "schema": "mfa-kit/error",
            "version": VERSION,
            "class": kind,
            "code": code,
            "message": on_one_line(message),
            "hint": on_one_line(hint),
            "notes": [*map(on_one_line, notes)],
            "exit_code": exit_code,
        }
        _echo(json.dumps(fields))
        return exit_code


# A process has only one stderr, and threads that have no click context can end it.
LAST_ERROR = LastError()


def _print_line(line: str) -> None:
    """Print a line, wrapped at words on a terminal."""
    _echo("\n".join(hanging(on_one_line(line), window_width(sys.stderr))))


def _echo(text: str) -> None:
    """Print a text. A failed write, such as to a closed pipe, is ignored so that it does not stop the work."""
    try:
        click.echo(text, err=True)
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


class Redrawable:
    """Base class for progress output that may have a status line. The base class itself has none."""

    def refresh(self) -> bool:
        """Draw the status line now. Return whether there is a status line."""
        return False


class StatusLine(StderrProgress, Redrawable):
    """Progress that redraws one line on stderr, and prints notes above that line.

    Operations can be nested and run in several threads. The line shows the operation that began last and still runs.
    While a prompt is on the screen, the line is not drawn.
    """

    def __init__(self) -> None:
        super().__init__()
        self._texts: list[Callable[[], str]] = []
        self._prompts = 0
        self._drawn = False
        self._ended = threading.Event()
        self._lock = threading.RLock()

    def alert(self, text: str) -> None:
        """Print a line above the status line."""
        with self._lock:
            drawn = self._drawn
            self._erase()
            super().alert(text)
            if drawn:
                self.refresh()

    @contextmanager
    def showing(self, text: str | Callable[[], str]) -> Iterator[None]:
        """Show a text until the context ends.

        A string is followed by the elapsed seconds. A function returns the text for each redraw.
        """
        began = time.monotonic()
        shown = text if callable(text) else lambda: f"{text}, {time.monotonic() - began:.0f} s"
        with self._lock:
            self._texts.append(shown)
            if len(self._texts) == 1:
                self._ended = threading.Event()
                threading.Thread(target=self._keep_current, args=(self._ended,), daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._texts.remove(shown)
                if not self._texts:
                    self._ended.set()
                    self._erase()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Do not draw the line until the context ends."""
        with self._lock:
            self._prompts += 1
            self._erase()
        try:
            yield
        finally:
            with self._lock:
                self._prompts -= 1

    def refresh(self) -> bool:
        """Draw the current text now, cut to the width of the window. Return whether there was a text."""
        with self._lock:
            if self._texts and not self._prompts:
                self.draw(self._texts[-1]())
            return bool(self._texts)

    def draw(self, line: str) -> None:
        """Replace the status line with this text."""
        self._drawn = True
        width = os.get_terminal_size(sys.stderr.fileno()).columns or sys.maxsize
        click.echo(AGAIN + one_line(line)[: width - 1], err=True, nl=False)

    def _erase(self) -> None:
        if self._drawn:
            self._drawn = False
            click.echo(AGAIN, err=True, nl=False)

    def _keep_current(self, ended: threading.Event) -> None:
        while not ended.wait(EACH):
            with self._lock:
                if not ended.is_set():
                    self.refresh()


class Redrawn:
    """Draws lines on stdout, which is a terminal. Each drawing replaces the previous one.

    No line may be wider than the window.
    """

    def __init__(self) -> None:
        self._drawn = 0

    def draw(self, lines: Sequence[str]) -> None:
        """Draw these lines in place of the previous lines."""
        above = f"\x1b[{self._drawn}A" if self._drawn else ""
        click.echo(above + "".join(f"\x1b[K{one_line(line)}\n" for line in lines) + "\x1b[J", nl=False)
        self._drawn = len(lines)


# The status line of this process. There is only one, because there is only one terminal.
STATUS = StatusLine()


def find_progress(*, plain: bool, quiet: bool = False) -> "LiveProgress":
    """Return the status line. With `plain` or `quiet`, or if stderr cannot be redrawn, return progress without it."""
    still = plain or quiet or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb"
    return StderrProgress(quiet=quiet) if still else STATUS


def countdown_sleep(*, plain: bool) -> Callable[[float], None]:
    """Return a function that waits for a number of seconds, and counts down long waits if there is a status line."""
    progress = find_progress(plain=plain)

    def wait(seconds: float) -> None:
        if seconds < LONG:
            return sleep(seconds)
        end = time.monotonic() + seconds
        with progress.showing(lambda: f"waiting, {math.ceil(max(end - time.monotonic(), 0))} s left"):
            return sleep(seconds)

    return wait


def wrapped(text: str, width: int) -> list[str]:
    """Return a text as lines of whole words. A long word is not broken, so that a user can copy it.

    Each line of a shell comment is a comment, because a user may copy it with the command below it.
    """
    mark = "# " if text.startswith("# ") else ""
    lines = textwrap.wrap(text, width, subsequent_indent=mark, break_long_words=False, break_on_hyphens=False)
    return lines or [""]


def on_one_line(text: str) -> str:
    """Return a message with control characters and line breaks written as escapes, as `one_line` does.

    In its commands, placeholders are replaced with what was GIVEN for them.
    """
    parts = (
        Command(one_line(GIVEN.get(word, word)) for word in part.arguments)
        if isinstance(part, Command)
        else one_line(part)
        for part in parts_of(text)
    )
    return text if text.isprintable() and not GIVEN else Message(*parts)


def laid_out(text: str, width: int, shorten: Callable[[str], str] = str) -> list[str]:
    """Return a message as lines. In a message that needs several lines, each command begins on a new line.

    A user can copy a command: its lines are broken only between its words, and the shell joins them. If the message
    needs several lines, `shorten` shortens its sentences.
    """
    if len(text) <= width:
        return [text]
    lines: list[str] = []
    prose = ""
    for part in (*parts_of(text), Command()):
        if isinstance(part, Command):
            words = shorten(f"{prose}{separator(prose, part) if part else ''}".strip())
            lines += [*(wrapped(words, width) if words else ()), *_continued(map(shell_word, part.arguments), width)]
        prose = "" if isinstance(part, Command) else prose + part
    return lines


def hanging(line: str, width: int) -> list[str]:
    """Return a message as lines, as `laid_out` does, with the following lines indented by two more columns."""
    if len(line) <= width:
        return [line.rstrip()]
    indent = len(line) - len(line.lstrip())
    first, *others = laid_out(line, max(width - indent - 2, LEAST))
    return [" " * indent + first, *(" " * (indent + 2) + continuation for continuation in others)]


def window_width(stream: TextIO) -> int:
    """Return the number of columns of a stream's terminal. For a pipe or a file, return sys.maxsize."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or sys.maxsize
    except (OSError, ValueError):
        return sys.maxsize


def _continued(words: Iterable[str], width: int) -> list[str]:
    """Return the words of a command as lines. Each line except the last ends with a backslash."""
    lines: list[str] = []
    for word in words:
        if lines and len(f"{lines[-1]} {word} \\") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [*(f"{line} \\" for line in lines[:-1]), *lines[-1:]]
