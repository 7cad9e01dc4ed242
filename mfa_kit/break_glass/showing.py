"""Shows the QR code in a backup, or the codes of its device, on the terminal's alternate screen."""

import re
from collections.abc import Callable
from functools import partial

from mfa_kit.core import otp
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.otp import Secret, Seed, Symbol

INSTEAD = "a terminal"
UNSEEN = "--codes"
# Matches the first three digits of a code at the beginning of a line.
HALF = re.compile(r"^(\d{3})", re.MULTILINE)


def show_picture(symbol: Symbol, device: str, *, person: Interaction) -> None:
    """Show a QR code until the user presses Enter. Raise UsageFault if the window is too small."""
    try:
        person.show(symbol, instead=UNSEEN)
        person.say(f"scan it with an authenticator app: {device}")
        person.pause("press Enter to clear the screen", instead=INSTEAD)
    finally:
        person.clear()


def show_codes(seed: Seed, device: str, *, now: Callable[[], float], person: Interaction) -> None:
    """Show the current and the next code of a device until the user presses Enter. `now` returns the Unix time."""
    shown: str | None = None
    try:
        while shown is None:
            step = otp.step(now())
            person.show(_page(seed, device, step), instead=INSTEAD)
            answer = person.ask_unless("press Enter to clear the screen", partial(_is_over, step, now), instead=INSTEAD)
            shown = answer if isinstance(answer, str) else None
    finally:
        person.clear()


def _is_over(step: int, now: Callable[[], float]) -> bool | None:
    """Return True if a time step is over, else None."""
    return True if otp.step(now()) != step else None


def _page(seed: Seed, device: str, step: int) -> Secret[str]:
    """Return the text with the codes of a time step and of the one after it."""
    # A single expression, because a traceback could show a code that is in a local variable.
    return Secret(f"{device}\n" + HALF.sub(r"\1 ", "\n".join(otp.codes(seed, range(step, step + 2)))))
