"""The ports by which a use case tells a person something, or asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from mfa_kit.core.otp import Secret


T = TypeVar("T")


class Progress(Protocol):
    """Tells a person how the work goes; never asks."""

    def note(self, text: str) -> None:
        """Print a line for people, apart from the result."""
        ...


class Interaction(Protocol):
    """A person at a terminal, apart from stdin and stdout. Ctrl-C and Ctrl-D are KeyboardInterrupt.

    Where nobody may be asked, everything but `say` and `clear` raises Declined, with `instead` as what to do then: the
    flags by which a script says the same.
    """

    def check(self, *parts: Secret[str], instead: str) -> None:
        """Raise Declined when there is nobody to ask, UsageFault when the window has no room for the parts."""
        ...

    def say(self, text: str) -> None:
        """Tell what belongs to a question; Progress tells everything else."""
        ...

    def ask_code(self, prompt: str, *, instead: str, left: Callable[[], float] | None = None) -> str:
        """Read a line as it was typed, stripped; `left` gives the seconds to the next code, counted down above it."""
        ...

    def ask_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        """Read a PIN or a passphrase; nothing is echoed."""
        ...

    def ask_new_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        """Read a new PIN or passphrase, twice, until both are the same."""
        ...

    def confirm(self, what: str, *, typed: str, instead: str = "--yes") -> None:
        """Raise Declined unless the person types exactly this word, such as a serial."""
        ...

    def choose(self, prompt: str, options: Sequence[str], *, instead: str) -> int:
        """Return the index of the option that was chosen from a numbered list."""
        ...

    def pause(self, prompt: str, *, instead: str) -> None:
        """Wait for Enter."""
        ...

    def ask_unless(self, prompt: str, comes: Callable[[], T | None], *, instead: str) -> T | str:
        """Read a line, stripped, unless `comes`, asked every third of a second, gives something before."""
        ...

    def show(self, *parts: Secret[str], instead: str) -> None:
        """Show secrets on the alternate screen, a Symbol as black on white; what is asked until `clear` is below them.

        Raise UsageFault when the window has no room for it.
        """
        ...

    def clear(self) -> None:
        """Take what was shown off the screen, and out of its scrollback; harmless when nothing is."""
        ...
