"""The mode in which the kernel reads lines from a terminal: termios(3)."""

import sys
import termios
from typing import Any

if sys.platform == "win32":
    raise ImportError("not on Windows")

# What tcgetattr(3) returns: four sets of flags, two speeds, and the list of control characters.
Mode = list[Any]


def line_mode(terminal: int, *, echo: bool) -> tuple[Mode, Mode]:
    """Return the terminal's mode, and the same mode for editing a line, without the keys that suspend or quit."""
    before: Mode = termios.tcgetattr(terminal)
    mode: Mode = termios.tcgetattr(terminal)
    mode[3] = mode[3] & ~termios.ECHO | termios.ICANON | termios.ISIG | (termios.ECHO if echo else 0)
    mode[6][termios.VSUSP] = mode[6][termios.VQUIT] = b"\0"
    return before, mode


def begin_mode(terminal: int, mode: Mode) -> None:
    """Change the terminal's mode. Keys that were typed before are discarded."""
    termios.tcsetattr(terminal, termios.TCSAFLUSH, mode)


def end_mode(terminal: int, before: Mode) -> None:
    """Change the terminal's mode back when everything that was written to it is sent."""
    termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def end_mode_at_once(terminal: int, before: Mode) -> None:
    """Change the terminal's mode back without waiting, because the process ends."""
    termios.tcsetattr(terminal, termios.TCSANOW, before)


def discard_typed(terminal: int) -> None:
    """Discard the keys that were typed and not read yet."""
    termios.tcflush(terminal, termios.TCIFLUSH)
