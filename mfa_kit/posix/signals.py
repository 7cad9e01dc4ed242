"""Signals of POSIX systems, and functions that wait for a signal or send one: signal(7)."""

import signal
import sys
import threading
from collections.abc import Collection

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
