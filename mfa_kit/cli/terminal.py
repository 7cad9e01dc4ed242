"""The only owner of the terminal: questions on /dev/tty, so that pipes never break one.

Every control sequence of the program stands here. What is shown of a secret is on the alternate screen and is wiped
line by line, for a multiplexer keeps what is erased as a whole. Where nobody may be asked, a twin raises.
"""

import math
import os
import select
import signal
import sys
import termios
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NoReturn, TypeVar

import click

from mfa_kit.cli.messages import Talk, printable
from mfa_kit.core.errors import Declined, UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.otp import Secret, Symbol

T = TypeVar("T")
Handlers = Mapping[signal.Signals, Any]

TTY = "/dev/tty"
# Lines that a conversation needs below what is shown.
BELOW = 5
TRIES = 3
# Seconds between two looks for what may come in place of a line.
LOOK = 0.3
# xterm's control sequences, which every terminal emulator and multiplexer has. The QR code's black and white are of the
# color cube, for a theme gives the first sixteen other colors.
SCREEN, BACK = "\x1b[?1049h\x1b[H", "\x1b[r\x1b[0m\x1b[?1049l"
BLACK_ON_WHITE, PLAIN = "\x1b[38;5;16;48;5;231m", "\x1b[0m"
AGAIN = "\r\x1b[K"
LINE_ABOVE, RETURN = "\x1b7\x1b[A\r", "\x1b[K\x1b8"
# What is typed behind a question on one line, and what stands between: where it has no room, the line above is another.
ANSWER = 12
# Seconds from which on a wait is counted down.
LONG = 3.0
# What ends this process while a secret is on the screen, and can be caught.
FATAL = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Nobody:
    """No person may be asked; `why` says so."""

    def __init__(self, why: str) -> None:
        self._why = why

    def _decline(self, what: str, instead: str) -> NoReturn:
        raise Declined(f"{what}, and {self._why}", f"use {instead}")

    def check(self, *parts: Secret[str], instead: str) -> None:
        self._decline("somebody has to answer", instead)

    def say(self, text: str) -> None:
        pass

    def ask_code(self, prompt: str, *, instead: str, left: Callable[[], float] | None = None) -> str:
        self._decline(f"{prompt} must be typed", instead)

    def ask_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        self._decline(f"{prompt} must be typed", instead)

    def ask_new_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        self._decline(f"{prompt} must be typed", instead)

    def confirm(self, what: str, *, typed: str, instead: str = "--yes") -> None:
        self._decline(f"{what}: this must be confirmed", instead)

    def choose(self, prompt: str, options: Sequence[str], *, instead: str) -> int:
        self._decline(f"{prompt} must be chosen", instead)

    def pause(self, prompt: str, *, instead: str) -> None:
        self._decline("somebody has to press Enter", instead)

    def ask_unless(self, prompt: str, comes: Callable[[], T | None], *, instead: str) -> T | str:
        self._decline("somebody has to answer", instead)

    def show(self, *parts: Secret[str], instead: str) -> None:
        self._decline("a secret must be shown", instead)

    def clear(self) -> None:
        pass


class Terminal:
    """A person at a terminal. The kernel edits the line that is typed, so a redraw never touches it."""

    def __init__(self, tty: int, *, plain: bool) -> None:
        self._tty, self._redraws, self._shown = tty, not plain, False
        self._heard: Handlers = {}

    def check(self, *parts: Secret[str], instead: str) -> None:
        if parts:
            self._room(parts, instead=instead)

    def _width(self) -> int:
        return os.get_terminal_size(self._tty).columns or sys.maxsize

    def say(self, text: str) -> None:
        lines = textwrap.wrap(printable(text), self._width(), break_long_words=False, break_on_hyphens=False)
        self._write("\n".join(lines) + "\n")

    def ask_code(self, prompt: str, *, instead: str, left: Callable[[], float] | None = None) -> str:
        if left is None:
            return self._line(prompt).strip()

        def told() -> str:
            return f"next code in {math.ceil(left()):>2} s"

        def tick() -> None:
            if len(prompt) + ANSWER < self._width():
                self._write(LINE_ABOVE + told() + RETURN)

        self.say(told())
        return self._line(prompt, tick=tick if self._redraws else None).strip()

    def ask_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        return Secret(self._line(prompt, echo=False).rstrip("\n"))

    def ask_new_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        while True:
            first = self.ask_secret(prompt, instead=instead)
            if first == Secret(""):
                self.say("nothing was typed")
            elif first == self.ask_secret("the same again", instead=instead):
                return first
            else:
                self.say("these two differ")

    def confirm(self, what: str, *, typed: str, instead: str = "--yes") -> None:
        self.say(what)
        if self._line(f"type {typed} to go on").strip() != typed:
            raise Declined(f"{typed} was not typed, so nothing was done", f"answer with {typed}, or use {instead}")

    def choose(self, prompt: str, options: Sequence[str], *, instead: str) -> int:
        for number, option in enumerate(options, 1):
            self.say(f"{number:>3}  {option}")
        for _ in range(TRIES):
            answer = self._line(f"{prompt}, 1 to {len(options)}").strip()
            if answer.isdecimal() and 1 <= int(answer) <= len(options):
                return int(answer) - 1
            self.say(f"type a number from 1 to {len(options)}")
        raise Declined("nothing was chosen", f"answer with a number from 1 to {len(options)}, or use {instead}")

    def pause(self, prompt: str, *, instead: str) -> None:
        self._line(prompt)

    def ask_unless(self, prompt: str, comes: Callable[[], T | None], *, instead: str) -> T | str:
        came: list[T] = []

        def look() -> bool:
            came.extend(found for found in [comes()] if found is not None)
            return bool(came)

        line = self._line(prompt, until=look)
        return came[0] if came else line.strip()

    def show(self, *parts: Secret[str], instead: str) -> None:
        high, lines = self._room(parts, instead=instead)
        if not self._shown:
            self._heard = _hearing(self._killed)
        self._shown = True
        rows = [
            f"{BLACK_ON_WHITE if isinstance(part, Symbol) else ''}{line}{PLAIN}\r\n"
            for part in parts
            for line in part.reveal().splitlines()
        ]
        # Only the lines below scroll from here on, so what is shown stays where it is.
        self._write(SCREEN + "".join(rows) + f"\x1b[{high + 1};{lines}r\x1b[{high + 1};1H")

    def _room(self, parts: Sequence[Secret[str]], *, instead: str) -> tuple[int, int]:
        """Return the lines of the parts and of the window. Raise UsageFault when they do not fit."""
        columns, lines = os.get_terminal_size(self._tty)
        texts = Secret([part.reveal().splitlines() for part in parts])
        wide, high = max(len(line) for text in texts.reveal() for line in text), sum(map(len, texts.reveal()))
        if os.environ.get("TERM", "dumb") == "dumb":
            raise UsageFault("this terminal cannot hide again what it shows: TERM is dumb", f"use {instead}")
        if wide > columns or high + BELOW > lines:
            raise UsageFault(
                f"the window has {columns} columns and {lines} lines, and {wide} by {high + BELOW} are needed",
                f"make it larger or its letters smaller, or use {instead}",
            )
        return high, lines

    def clear(self) -> None:
        if self._shown:
            lines = os.get_terminal_size(self._tty).lines
            self._write("\x1b[r" + "".join(f"\x1b[{row};1H\x1b[K" for row in range(1, lines + 1)) + BACK)
            self._shown = False
            _heard_before(self._heard)

    def _killed(self, number: int, _frame: object) -> None:
        """Wipe the screen, then let the signal do what it would have."""
        _heard_before(self._heard)
        self.clear()
        os.kill(os.getpid(), number)

    def _write(self, text: str) -> None:
        data = text.encode(errors="replace")
        while data:
            data = data[os.write(self._tty, data) :]

    def _line(
        self,
        prompt: str,
        *,
        echo: bool = True,
        tick: Callable[[], None] | None = None,
        until: Callable[[], bool] | None = None,
    ) -> str:
        """Read a line; meanwhile call `tick` each second, or end with none when `until` says so."""
        with self._mode(echo=echo):
            self._write(f"{printable(prompt)}: ")
            try:
                while not select.select([self._tty], [], [], LOOK if until else 1 if tick else None)[0]:
                    if tick:
                        tick()
                    if until and until():
                        self._write("\n")
                        return ""
                line = os.read(self._tty, 4096)
            except KeyboardInterrupt:
                self._write("\n")
                raise
        if not echo:
            self._write("\n")
        if not line:
            self._write("\n")
            raise KeyboardInterrupt
        return line.decode(errors="replace")

    @contextmanager
    def _mode(self, *, echo: bool) -> Iterator[None]:
        """Let the kernel edit a line; keys typed ahead are dropped. Suspend or quit, and a secret would stay there."""
        before = termios.tcgetattr(self._tty)
        mode = termios.tcgetattr(self._tty)
        mode[3] = mode[3] & ~termios.ECHO | termios.ICANON | termios.ISIG | (termios.ECHO if echo else 0)
        mode[6][termios.VSUSP] = mode[6][termios.VQUIT] = b"\0"

        def killed(number: int, _frame: object) -> None:
            _heard_before(heard)
            termios.tcsetattr(self._tty, termios.TCSANOW, before)
            os.kill(os.getpid(), number)

        heard = _hearing(killed)
        try:
            termios.tcsetattr(self._tty, termios.TCSAFLUSH, mode)
            yield
        finally:
            _heard_before(heard)
            termios.tcsetattr(self._tty, termios.TCSADRAIN, before)


def _hearing(act: Callable[[int, object], None]) -> Handlers:
    """Do this when the process is to end, unless that is ignored, as under nohup; return what was done before.

    Signals are the main thread's.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in FATAL}
    heard = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in heard:
        signal.signal(number, act)
    return heard


def _heard_before(handlers: Handlers) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


class Live(Talk):
    """Progress in one line of stderr that is redrawn; notes are written above it."""

    def __init__(self) -> None:
        self._line = ""

    def note(self, text: str) -> None:
        click.echo(AGAIN, err=True, nl=False)
        super().note(text)
        self.draw(self._line)

    def draw(self, line: str) -> None:
        self._line = line
        width = os.get_terminal_size(sys.stderr.fileno()).columns or sys.maxsize
        click.echo(AGAIN + printable(line)[: width - 1], err=True, nl=False)


def pausing(*, plain: bool) -> Callable[[float], None]:
    """Return a sleep that counts a long wait down, where somebody looks at stderr and wants redraws."""
    if plain or not sys.stderr.isatty():
        return time.sleep

    def sleep(seconds: float) -> None:
        if seconds < LONG:
            return time.sleep(seconds)
        end, line = time.monotonic() + seconds, Live()
        try:
            while (left := end - time.monotonic()) > 0:
                line.draw(f"waiting, {math.ceil(left)} s left")
                time.sleep(min(left, 1))
        finally:
            line.draw("")
        return None

    return sleep


@cache
def person(*, plain: bool, no_input: bool) -> Interaction:
    """Return who can be asked: whoever sits at the terminal of this process, or nobody."""
    if no_input:
        return Nobody("--no-input forbids to ask")
    try:
        return Terminal(os.open(TTY, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC), plain=plain)
    except OSError:
        return Nobody("there is no terminal to ask at")
