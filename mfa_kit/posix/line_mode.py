"""Reads and changes a terminal's mode: how the kernel handles typed keys. See termios(3)."""

import sys
import termios
from typing import Any

if sys.platform == "win32":
    raise ImportError("not on Windows")

# What tcgetattr(3) returns: four sets of flags, two speeds, and the list of control characters.
Mode = list[Any]


def line_mode(terminal: int, *, echo: bool) -> tuple[Mode, Mode]:
    """Return the terminal's current mode, and a changed copy, in which the kernel lets the user edit a line.

    In the copy, `echo` decides whether typed characters are shown. Ctrl-C sends SIGINT. The keys that suspend or quit
    the process, such as Ctrl-Z, have no effect.
    """
    before: Mode = termios.tcgetattr(terminal)
    mode: Mode = termios.tcgetattr(terminal)
    mode[3] = mode[3] & ~termios.ECHO | termios.ICANON | termios.ISIG | (termios.ECHO if echo else 0)
    mode[6][termios.VSUSP] = mode[6][termios.VQUIT] = b"\0"
    return before, mode


def begin_mode(terminal: int, mode: Mode) -> None:
    """Change the terminal's mode, and discard the keys that were typed and not read yet."""
    termios.tcsetattr(terminal, termios.TCSAFLUSH, mode)


def end_mode(terminal: int, before: Mode) -> None:
    """Change the terminal's mode back to `before`, after everything that was written to the terminal has been sent."""
    termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def end_mode_at_once(terminal: int, before: Mode) -> None:
    """Change the terminal's mode back to `before` without waiting. Use this function only if the process ends now."""
    termios.tcsetattr(terminal, termios.TCSANOW, before)


def discard_typed(terminal: int) -> None:
    """Discard the keys that were typed and not read yet."""
    termios.tcflush(terminal, termios.TCIFLUSH)
