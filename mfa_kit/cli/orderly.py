"""An end in order: Ctrl-C and SIGTERM ask work of many parts to begin no more of them."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event


@contextmanager
def orderly(stop: Event, *also: Callable[[], None]) -> Iterator[None]:
    """Set `stop`, and do `also`, when an end is asked for; a second one breaks off with KeyboardInterrupt."""

    def end(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        for act in also:
            act()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
