"""Signals, signal(7), and the mode of a terminal: how the kernel handles typed keys, termios(3)."""

import signal
import sys
import termios
import threading
from collections.abc import Collection
from typing import Any

if sys.platform == "win32":
    raise ImportError("not on Windows")

TERMINATED: signal.Signals = signal.SIGTERM
# Sent when the terminal is closed.
HUNG_UP: signal.Signals = signal.SIGHUP
# Sent by Ctrl-\ at a terminal.
QUIT: signal.Signals = signal.SIGQUIT
# Ends a process at once, and cannot be caught.
KILL: signal.Signals = signal.SIGKILL


def not_ignored(numbers: Collection[signal.Signals]) -> list[signal.Signals]:
    """Return the signals that this process does not ignore. Under nohup or in the background, some are ignored."""
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def wait_for_signal(numbers: Collection[signal.Signals]) -> None:
    """Wait until one of these signals arrives. No signal handler runs, and the signal does not end the process.

    A signal that is ignored stays ignored.
    """
    waited_for = not_ignored(numbers)  # a signal that is blocked would arrive even if it is ignored
    signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    signal.sigwait(waited_for)


def interrupt_main_thread() -> None:
    """Send SIGINT to the main thread, as Ctrl-C at a terminal does. Any thread may call this function."""
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


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
