"""Ports through which a use case informs and asks the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mfa_kit.core.otp import Secret


T = TypeVar("T")


class Progress(Protocol):
    """Reports progress to the user; never asks."""

    def note(self, text: str) -> None:
        """Print a line for people, separate from the result. With --quiet, print nothing."""
        ...

    def alert(self, text: str) -> None:
        """Print a line even with --quiet, because something is wrong or because the user must do something."""
        ...


class LiveProgress(Progress, Protocol):
    """Progress that can also show what a long operation is doing."""

    def showing(self, text: str | Callable[[], str]) -> AbstractContextManager[None]:
        """Show a text on a terminal while the context lasts, within a second. A function is called for each redraw."""
        ...


class Interaction(Protocol):
    """A user at a terminal; stdin and stdout are not used. Ctrl-C and Ctrl-D raise KeyboardInterrupt.

    Without a terminal, every method except `say` and `clear` raises Declined. Its hint is `instead`: the options with
    which a script gives the same answer.
    """

    def check(self, *parts: Secret[str], instead: str) -> None:
        """Raise Declined if there is no terminal, UsageFault if the window is too small for the parts."""
        ...

    def say(self, text: str) -> None:
        """Print text that belongs to a question. Progress prints everything else."""
        ...

    def ask_code(self, prompt: str, *, instead: str, left: Callable[[], float] | None = None) -> str:
        """Return a typed line, stripped. `left` gives the seconds to the next code, a countdown above the prompt."""
        ...

    def ask_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        """Read a PIN or a passphrase without echo."""
        ...

    def ask_new_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        """Read a new PIN or passphrase twice, until both entries match."""
        ...

    def confirm(self, what: str, *, typed: str, instead: str = "--yes") -> None:
        """Raise Declined unless the user types exactly this word, such as a serial."""
        ...

    def choose(self, prompt: str, options: Sequence[str], *, instead: str) -> int:
        """Return the index of the option chosen from a numbered list."""
        ...

    def pause(self, prompt: str, *, instead: str) -> None:
        """Wait for Enter."""
        ...

    def ask_unless(self, prompt: str, comes: Callable[[], T | None], *, instead: str) -> T | str:
        """Return a typed line, stripped. If `comes`, polled every third of a second, has a value first, return it."""
        ...

    def show(self, *parts: Secret[str], instead: str) -> None:
        """Show secrets on the alternate screen, a Symbol in black on white. Until `clear`, prompts appear below them.

        Raise UsageFault if the window is too small.
        """
        ...

    def clear(self) -> None:
        """Erase what was shown from the screen and its scrollback. Does nothing if nothing was shown."""
        ...
