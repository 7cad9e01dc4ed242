"""Asks the user questions and shows secrets on /dev/tty, so that stdin, stdout and stderr can be pipes.

The control sequences that mfa-kit writes itself are in this file and messages.py. Secrets are shown on the alternate
screen, and are erased line by line, because a terminal multiplexer keeps the content of a screen that is erased with
one command. If the user cannot be asked, `Nobody` in core/interaction.py takes the place of `Terminal`.
"""

import math
import os
import select
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import zip_longest
from types import FrameType
from typing import NamedTuple, TypeVar

from mfa_kit.cli.messages import BACK, STATUS
from mfa_kit.core.errors import Declined, UsageFault
from mfa_kit.core.interaction import Interaction, Nobody
from mfa_kit.core.otp import Secret, Symbol
from mfa_kit.core.stopping import INTERRUPTS
from mfa_kit.core.text import one_line, printable
from mfa_kit.posix import processes
from mfa_kit.posix.open_files import NOT_OURS

# The number of columns between the QR code and the messages, and the minimum number of columns for messages.
GAP, NARROWEST = 2, 24


class Size(NamedTuple):
    """A number of columns and lines."""

    columns: int
    lines: int

    def fits(self, window: "Size") -> bool:
        """Return whether a window has at least this size."""
        return self.columns <= window.columns and self.lines <= window.lines

    def __str__(self) -> str:
        return f"{self.columns}x{self.lines}"


@dataclass(slots=True, kw_only=True)
class Page:
    """The content of the screen: a QR code (`symbol`), secrets as text, messages, a countdown, and the prompt.

    While a question is asked, `prompt` begins with the countdown. The last line of the window stays free, so that the
    line break after an answer does not scroll the page.
    """

    symbol: Symbol
    texts: Sequence[Secret[str]]
    window: Size
    messages: list[str] = field(default_factory=list)
    countdown: Sequence[str] = ()
    prompt: Sequence[str] = ()

    @property
    def needs(self) -> Size:
        """The smallest window with room for the page."""
        rows = Secret(self.symbol.reveal().splitlines())
        return Size(len(rows.reveal()[0]) + GAP + NARROWEST, len(rows.reveal()) + 1)

    @property
    def left(self) -> int:
        """The width in characters of the QR code and the gap beside it; 0 if the window has no room for the QR code."""
        return self.needs.columns - NARROWEST if self.needs.fits(self.window) else 0

    @property
    def width(self) -> int:
        """The width in characters of the text, which is to the right of the QR code."""
        return self.window.columns - self.left

    def rows(self) -> Secret[list[tuple[str, str]]]:
        """Return a pair for each line of the window: a line of the QR code, and the text to the right of it.

        The last line of text is left out, because it can be the prompt. `end` returns this line, to be written after
        all other lines: a script that sees the prompt can rely on a complete screen.
        """
        symbol = Secret(self.symbol.reveal().splitlines() if self.needs.fits(self.window) else [])
        beside = Secret(self._beside().reveal()[:-1])
        pairs = Secret(zip_longest(symbol.reveal(), beside.reveal(), [None] * self.window.lines, fillvalue=""))
        return Secret([(line, text) for line, text, _ in pairs.reveal()][: self.window.lines])

    def end(self) -> tuple[int, str]:
        """Return the number of the last line of text, counted from 1, and the line."""
        lines = self._beside()
        return len(lines.reveal()), (lines.reveal() or [""])[-1]

    def _beside(self) -> Secret[list[str]]:
        """Return the lines to the right of the QR code: all secrets, then messages, then the prompt.

        If there are too many lines for the window, the oldest messages are left out. If the window is now too small for
        the QR code, return a message with the required size instead, and the prompt.
        """
        if not self.needs.fits(self.window):
            return Secret(self._wrapped([f"enlarge the window to {self.needs}", *self.prompt]))
        fixed = Secret([line for text in self.texts for line in self._wrapped([text.reveal()])])
        lines = self._wrapped([*self.messages, *self.prompt])
        return Secret([*fixed.reveal(), *lines[len(fixed.reveal()) + 1 - self.window.lines :]])

    def _wrapped(self, texts: Sequence[str]) -> list[str]:
        """Return the texts as lines of whole words. Only a word that is wider than the column is broken."""
        return [line for text in texts for line in textwrap.wrap(text, self.width, break_on_hyphens=False)]


T = TypeVar("T")
# Maps signals to their handlers.
Handlers = Mapping[signal.Signals, Callable[[int, FrameType | None], object] | int | None]

TTY = "/dev/tty"
# The number of lines that questions need below a secret.
BELOW = 5
TRIES = 3
# Seconds between two checks for an event that ends a prompt, such as an inserted key, or for a resized window.
LOOK = 0.1
# Control sequences of xterm, which all terminal emulators and multiplexers support. The black and white of a QR code
# are colors 16 and 231, because a theme may change the first sixteen colors.
SCREEN = "\x1b[?1049h\x1b[H"
BLACK_ON_WHITE, PLAIN = "\x1b[38;5;16;48;5;231m", "\x1b[0m"
LINE_ABOVE, RETURN = "\x1b7\x1b[A\x1b[{}G", "\x1b[K\x1b8"
# The number of columns for an answer after a prompt. If the prompt and the answer need more than one line, the
# countdown cannot be redrawn in the line above.
ANSWER = 12
# The signals that end a process and can be caught.
FATAL = (processes.TERMINATED, processes.HUNG_UP, processes.QUIT)


class Terminal:
    """Asks the user at the terminal with the file descriptor `tty`.

    The kernel edits the typed line, so redrawing the screen does not change what was typed. While a QR code is shown,
    `_page` has the whole content of the screen: the QR code, and the texts beside it. With `plain`, or in a window that
    is too narrow for the QR code and the texts, `_page` is None and the texts are below the QR code.
    """

    def __init__(self, tty: int, *, plain: bool) -> None:
        self._tty, self._redraws, self._shown = tty, not plain, False
        self._page: Page | None = None
        self._handlers: Handlers = {}

    def check(self, *parts: Secret[str], instead: str) -> None:
        """Raise UsageFault if the window has no room for the secrets `parts`, or if the terminal cannot erase them."""
        if parts and not self._fitting_page(parts):
            self._room(parts, instead=instead)

    def _window(self) -> Size:
        return Size(*os.get_terminal_size(self._tty))

    def _width(self) -> int:
        return self._page.width if self._page else self._window().columns or sys.maxsize

    def say(self, text: str) -> None:
        """Print a text, wrapped to the width of the window, or next to the QR code if one is shown."""
        if self._page:
            self._page.messages.append(printable(text))
            return self._draw(self._page)
        with STATUS.hidden():
            return self._write("\n".join(self._wrapped(printable(text))) + "\n")

    def _wrapped(self, text: str) -> list[str]:
        return textwrap.wrap(text, self._width(), break_long_words=False, break_on_hyphens=False)

    def ask_code(self, prompt: str, *, instead: str, seconds_left: Callable[[], float] | None = None) -> str:
        """Return the typed line without surrounding spaces.

        The seconds that `seconds_left` returns are counted down above the prompt.
        """
        if seconds_left is None:
            return self._line(prompt).strip()

        def countdown() -> str:
            return f"next code in {math.ceil(seconds_left()):>2} s"

        def tick() -> None:
            if len(prompt) + ANSWER < self._width():
                self._write(LINE_ABOVE.format(self._page.left + 1 if self._page else 1) + countdown() + RETURN)

        if self._page:
            self._page.countdown = [countdown()]
        else:
            self.say(countdown())
        return self._line(prompt, tick=tick if self._redraws else None).strip()

    def ask_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        """Return the typed line, without echoing it."""
        return Secret(self._line(prompt, echo=False).rstrip("\n"))

    def ask_new_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        """Return a secret that the user typed twice. Ask until both entries are the same and not empty."""
        while True:
            first = self.ask_secret(prompt, instead=instead)
            if first == Secret(""):
                self.say("nothing was typed")
            elif first == self.ask_secret("type it again", instead=instead):
                return first
            else:
                self.say("the two entries differ; type both again")

    def confirm(self, action: str, *, typed: str, instead: str = "--yes") -> None:
        """Raise Declined unless the user types the word `typed`."""
        self.say(action)
        if self._line(f"type {typed} to continue").strip() != typed:
            raise Declined(f"the answer was not {typed}, so nothing was done", f"type {typed}, or use {instead}")

    def choose(self, prompt: str, options: Sequence[str], *, instead: str) -> int:
        """Return the index of the chosen option. Raise Declined after three invalid answers."""
        for number, option in enumerate(options, 1):
            self.say(f"{number:>3}  {option}")
        for _ in range(TRIES):
            answer = self._line(f"{prompt}, 1 to {len(options)}").strip()
            if answer.isdecimal() and 1 <= int(answer) <= len(options):
                return int(answer) - 1
            self.say(f"type a number from 1 to {len(options)}")
        raise Declined("nothing was chosen", f"type a number from 1 to {len(options)}, or use {instead}")

    def pause(self, prompt: str, *, instead: str) -> None:
        """Wait for Enter."""
        self._line(prompt)

    def ask_unless(self, prompt: str, comes: Callable[[], T | None], *, instead: str) -> T | str:
        """Return the first value of `comes` that is not None, or the typed line if the user presses Enter first."""
        arrivals: list[T] = []

        def look() -> bool:
            arrivals.extend(arrival for arrival in [comes()] if arrival is not None)
            return bool(arrivals)

        line = self._line(prompt, until=look)
        return arrivals[0] if arrivals else line.strip()

    def show(self, *parts: Secret[str], instead: str) -> None:
        """Show secrets on the alternate screen, above or beside the questions.

        Raise UsageFault if the secrets do not fit, or if the terminal cannot erase them.
        """
        page = self._fitting_page(parts)
        high, lines = (0, 0) if page else self._room(parts, instead=instead)
        if not self._shown:
            self._handlers = _catch_fatal_signals(self._on_fatal_signal)
        self._shown, self._page = True, page
        if page:
            self._write(SCREEN)
            return self._draw(page)
        rows = [
            f"{BLACK_ON_WHITE if isinstance(part, Symbol) else ''}{line}{PLAIN}\r\n"
            for part in parts
            for line in part.reveal().splitlines()
        ]
        # From now on, only the lines below the secrets scroll, so the secrets stay visible.
        return self._write(SCREEN + "".join(rows) + f"\x1b[{high + 1};{lines}r\x1b[{high + 1};1H")

    def _page_of(self, parts: Sequence[Secret[str]]) -> Page | None:
        """Return a page with the first part as its QR code, and the other parts as texts.

        Return None if the first part is not a QR code (Symbol), or if the screen cannot or must not be redrawn.
        """
        match parts:
            case [Symbol() as symbol, *texts] if self._redraws and os.environ.get("TERM", "dumb") != "dumb":
                return Page(symbol=symbol, texts=texts, window=self._window())
        return None

    def _fitting_page(self, parts: Sequence[Secret[str]]) -> Page | None:
        page = self._page_of(parts)
        return page if page and page.needs.fits(page.window) else None

    def _draw(self, page: Page) -> None:
        """Draw the whole page, because a long answer or a resized window may have damaged the screen."""
        page.window = self._window()
        rows, (last, text) = page.rows(), page.end()
        drawn = "".join(
            f"\x1b[{row};1H{BLACK_ON_WHITE if line else ''}{line}{PLAIN}\x1b[K\x1b[{page.left + 1}G{beside}"
            for row, (line, beside) in enumerate(rows.reveal(), 1)
        )
        self._write(f"{drawn}\x1b[{last};{page.left + 1}H{text}{' ' if page.prompt else ''}")

    def _room(self, parts: Sequence[Secret[str]], *, instead: str) -> tuple[int, int]:
        """Return two numbers: the lines that the parts need, and the lines of the window.

        Raise UsageFault if the parts do not fit into the window, or if the terminal cannot erase them.
        """
        columns, lines = window = self._window()
        texts = Secret([part.reveal().splitlines() for part in parts])
        wide, high = max(len(line) for text in texts.reveal() for line in text), sum(map(len, texts.reveal()))
        if os.environ.get("TERM", "dumb") == "dumb":
            raise UsageFault("this terminal cannot erase what it shows, because TERM is dumb", f"use {instead}")
        if wide > columns or high + BELOW > lines:
            page = self._page_of(parts)
            raise UsageFault(
                f"a window of {page.needs if page else Size(wide, high + BELOW)} characters is needed; "
                f"this one has {window}",
                f"enlarge the window or use a smaller font, or use {instead}",
            )
        return high, lines

    def clear(self) -> None:
        """Erase the secrets and leave the alternate screen."""
        if self._shown:
            lines = os.get_terminal_size(self._tty).lines
            self._write("\x1b[r" + "".join(f"\x1b[{row};1H\x1b[K" for row in range(1, lines + 1)) + BACK)
            self._shown, self._page = False, None
            _restore_handlers(self._handlers)

    def _on_fatal_signal(self, number: int, _frame: object) -> None:
        """Erase the secrets, then let the signal end the process."""
        _restore_handlers(self._handlers)
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
        """Return a typed line. Raise KeyboardInterrupt after Ctrl-C, or after Ctrl-D on an empty line.

        While waiting, call `tick` at least once a second, and return an empty line as soon as `until` returns true.
        """
        with self._mode(echo=echo):
            self._prompt(f"{one_line(prompt)}:")
            try:
                if not self._typed(tick, until):
                    self._write("\n")
                    return ""
                line = os.read(self._tty, 4096)
                INTERRUPTS.check()
            except KeyboardInterrupt:
                self._write("\n")
                raise
            finally:
                if self._page:
                    self._page.countdown = self._page.prompt = ()
        if not echo:
            self._write("\n")
        if not line:
            self._write("\n")
            raise KeyboardInterrupt
        answer = line.decode(errors="replace")
        if self._page:
            self._page.messages.append(one_line(f"{prompt} {answer.strip() if echo else ''}"))
        return answer

    def _prompt(self, prompt: str) -> None:
        if self._page:
            self._page.prompt = [*self._page.countdown, prompt]
            self._draw(self._page)
        else:
            self._write("\n".join(self._wrapped(prompt)) + " ")

    def _typed(self, tick: Callable[[], None] | None, until: Callable[[], bool] | None) -> bool:
        """Wait until the user has typed a line. Return False if `until` returned true first.

        If the size of the window changes, the page is drawn again. An unfinished line is then discarded, because
        terminals differ in where they move its text.
        """
        # The wait always has a timeout, because a signal that arrives just before `select` would not end the wait.
        pause = LOOK if until or self._page else 1
        INTERRUPTS.check()
        while not select.select([self._tty], [], [], pause)[0]:
            INTERRUPTS.check()
            if self._page and self._page.window != self._window():
                processes.discard_typed(self._tty)
                self._draw(self._page)
            if tick:
                tick()
            if until and until():
                return False
        return True

    @contextmanager
    def _mode(self, *, echo: bool) -> Iterator[None]:
        """Let the kernel edit a line until the context ends. Keys typed before the prompt are discarded.

        The keys that suspend or quit the process are disabled, because a secret would stay on the screen.
        """
        before, mode = processes.line_mode(self._tty, echo=echo)

        def restore_and_end(number: int, _frame: object) -> None:
            _restore_handlers(handlers)
            processes.end_mode_at_once(self._tty, before)
            os.kill(os.getpid(), number)

        handlers = _catch_fatal_signals(restore_and_end)
        try:
            processes.begin_mode(self._tty, mode)
            with STATUS.hidden():
                yield
        finally:
            _restore_handlers(handlers)
            processes.end_mode(self._tty, before)


def _catch_fatal_signals(act: Callable[[int, object], None]) -> Handlers:
    """Call `act` on the signals that end the process, and return the previous handlers.

    Signals that are ignored, such as under nohup, stay ignored. Only the main thread can set handlers. In any other
    thread, do nothing and return no handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        return {}
    before = {number: signal.getsignal(number) for number in FATAL}
    handlers = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for number in handlers:
        signal.signal(number, act)
    return handlers


def _restore_handlers(handlers: Handlers) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


@cache
def find_person(*, plain: bool, no_input: bool, dry: bool = False) -> Interaction:
    """Return the terminal of this process. With `no_input` or `dry`, or if there is no terminal, return Nobody."""
    if dry:
        return Nobody("--dry-run asks no questions", dry=True)
    if no_input:
        return Nobody("--no-input forbids prompts")
    try:
        return Terminal(os.open(TTY, os.O_RDWR | NOT_OURS), plain=plain)
    except OSError:
        return Nobody("there is no terminal")
