"""Ports through which a use case informs the user and asks questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar

from mfa_kit.core.errors import Declined

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mfa_kit.core.otp import Secret


T = TypeVar("T")


class Progress(Protocol):
    """Prints messages for the user. It never asks a question."""

    def note(self, text: str) -> None:
        """Print a line that is not part of the result. With --quiet, print nothing."""
        ...

    def alert(self, text: str) -> None:
        """Print a line even with --quiet, because something is wrong or because the user must do something."""
        ...


class LiveProgress(Progress, Protocol):
    """Progress that can also show what a long operation is doing."""

    def showing(self, text: str | Callable[[], str]) -> AbstractContextManager[None]:
        """Show a text on the terminal while the context is active.

        The text may take up to a second to appear. If it is a function, the function is called for each redraw.
        """
        ...


@contextmanager
def counting(progress: LiveProgress, doing: str, items: Iterable[T], total: int | None = None) -> Iterator[Iterator[T]]:
    """Yield an iterator over the items. Until the context ends, show `doing` and how many items were returned."""
    done = 0

    def count() -> Iterator[T]:
        nonlocal done
        for item in items:
            done += 1
            yield item

    with progress.showing(lambda: f"{doing}: {done}{'' if total is None else f' of {total}'}"):
        yield count()


def counted(items: Sequence[T], *, progress: LiveProgress, doing: str) -> Iterator[T]:
    """Yield the items. Until they end, show `doing` and how many were yielded."""
    with counting(progress, doing, items, len(items)) as counter:
        yield from counter


class Interaction(Protocol):
    """Asks a user at a terminal, without using stdin or stdout. Ctrl-C and Ctrl-D raise KeyboardInterrupt.

    If there is no terminal, or questions are not allowed (--no-input), every method except `say` and `clear` raises
    Declined. Its hint tells the user to use `instead`, which is a command-line option or another alternative.
    """

    def check(self, *parts: Secret[str], instead: str) -> None:
        """Check that `show` can show these secrets.

        Raise UsageFault if the window is too small or the terminal cannot erase them. Without a terminal, raise
        Declined with a hint to use `instead`, for example a command-line option.
        """
        ...

    def say(self, text: str) -> None:
        """Print text that belongs to a question. All other text is printed through `Progress`."""
        ...

    def ask_code(self, prompt: str, *, instead: str, seconds_left: Callable[[], float] | None = None) -> str:
        """Ask for a code and return the typed line, stripped.

        `seconds_left` returns the seconds until the next code, which are counted down above the prompt. Without a
        terminal, raise Declined with a hint to use `instead`, for example a command-line option.
        """
        ...

    def ask_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        """Ask for a PIN or a passphrase without echo, and return it.

        Without a terminal, raise Declined with a hint to use `instead`, for example a command-line option.
        """
        ...

    def ask_new_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        """Ask for a new PIN or passphrase twice, until both entries are equal and not empty. Return the entry.

        Without a terminal, raise Declined with a hint to use `instead`, for example a command-line option.
        """
        ...

    def confirm(self, action: str, *, typed: str, instead: str = "--yes") -> None:
        """Raise Declined unless the user types exactly the word `typed`, such as a serial.

        `action` describes the action that the user confirms. Without a terminal, raise Declined with a hint to use
        `instead`, for example a command-line option.
        """
        ...

    def choose(self, prompt: str, options: Sequence[str], *, instead: str) -> int:
        """Show a numbered list of options, and return the zero-based index of the chosen one.

        Raise Declined after three invalid answers. Without a terminal, raise Declined with a hint to use `instead`, for
        example a command-line option.
        """
        ...

    def pause(self, prompt: str, *, instead: str) -> None:
        """Wait until the user presses Enter.

        Without a terminal, raise Declined with a hint to use `instead`, for example a command-line option.
        """
        ...

    def ask_unless(self, prompt: str, comes: Callable[[], T | None], *, instead: str) -> T | str:
        """Wait until the user presses Enter or `comes` returns a value. Return the typed line, stripped, or that value.

        `comes` is called about three times per second. It returns None while there is no value. Without a terminal,
        raise Declined with a hint to use `instead`, for example a command-line option.
        """
        ...

    def show(self, *parts: Secret[str], instead: str) -> None:
        """Show secrets on the terminal's alternate screen. A Symbol is drawn in black on white.

        Until `clear` is called, prompts appear below or beside the secrets. Raise UsageFault if the window is too small
        or the terminal cannot erase the secrets. Without a terminal, raise Declined with a hint to use `instead`, for
        example a command-line option.
        """
        ...

    def clear(self) -> None:
        """Erase the shown secrets from the screen and its scrollback. Does nothing if no secret is shown."""
        ...


@dataclass(eq=False)
class Nobody:
    """Takes the place of a terminal in a command that must not ask questions, or has no terminal.

    Each question raises Declined with the reason `why`. With `dry`, `check` does not, because what it looks for is
    needed only when the command is run without --dry-run.
    """

    why: str
    dry: bool = field(default=False, kw_only=True)

    def _decline(self, requirement: str, instead: str) -> NoReturn:
        raise Declined(f"{requirement}, but {self.why}", f"use {instead}")

    def check(self, *parts: Secret[str], instead: str) -> None:
        """Raise Declined, because the user cannot be asked. In a dry run, do nothing."""
        if not self.dry:
            self._decline("this command needs interactive input", instead)

    def say(self, text: str) -> None:
        """Do nothing, because the text belongs to a question that is not asked."""

    def ask_code(self, prompt: str, *, instead: str, seconds_left: Callable[[], float] | None = None) -> str:
        """Raise Declined, because the user cannot be asked."""
        self._decline(f"{prompt} must be typed", instead)

    def ask_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        """Raise Declined, because the user cannot be asked."""
        self._decline(f"{prompt} must be typed", instead)

    def ask_new_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        """Raise Declined, because the user cannot be asked."""
        self._decline(f"{prompt} must be typed", instead)

    def confirm(self, action: str, *, typed: str, instead: str = "--yes") -> None:
        """Raise Declined, because the user cannot be asked."""
        self._decline(f"{action}; this needs to be confirmed", instead)

    def choose(self, prompt: str, options: Sequence[str], *, instead: str) -> int:
        """Raise Declined, because the user cannot be asked."""
        self._decline(f"the {prompt} must be chosen", instead)

    def pause(self, prompt: str, *, instead: str) -> None:
        """Raise Declined, because the user cannot be asked."""
        self._decline("Enter must be pressed", instead)

    def ask_unless(self, prompt: str, comes: Callable[[], T | None], *, instead: str) -> T | str:
        """Raise Declined, because the user cannot be asked."""
        self._decline("this command needs interactive input", instead)

    def show(self, *parts: Secret[str], instead: str) -> None:
        """Raise Declined, because secrets are shown only on a terminal."""
        self._decline("a secret must be shown", instead)

    def clear(self) -> None:
        """Do nothing, because no secret is shown."""
