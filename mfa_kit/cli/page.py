"""The layout of the screen while a QR code is shown: the code on the left, messages and the prompt on the right."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import NamedTuple

from mfa_kit.core.otp import Secret, Symbol

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
