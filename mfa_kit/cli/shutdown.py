"""A stop in order: Ctrl-C and SIGTERM ask work of many parts to begin no more of them."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event

ENDING = "ending: what was begun comes to its end, and nothing else is begun; once more breaks off"


@contextmanager
def stop_on_signals(
    stop: Event, *also: Callable[[], None], break_off: Callable[[], None] = lambda: None
) -> Iterator[Event]:
    """On the first SIGINT or SIGTERM set `stop` and call `also`; on a second call `break_off`, raise KeyboardInterrupt.

    Yield an event that is set on the first signal: others may have set `stop` before.
    """
    asked = Event()

    def end(*_: object) -> None:
        if asked.is_set():
            break_off()
            raise KeyboardInterrupt
        asked.set()
        stop.set()
        with suppress(OSError):  # not by a stream: it may be in the middle of a line
            os.write(2, f"{chr(10) * os.isatty(2)}{ENDING}\n".encode())
        for act in also:
            act()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
