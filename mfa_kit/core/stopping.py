"""Ends work in several threads: a thread that waits or is about to make a call raises KeyboardInterrupt."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """A request to end the work. Any number of threads may check it."""

    def __init__(self) -> None:
        self._set = threading.Event()

    def set(self) -> None:
        """End the work: from now on, `check` and `sleep` raise KeyboardInterrupt."""
        self._set.set()

    @contextmanager
    def after_error(self) -> Iterator[None]:
        """Call `set` if the body of the with statement raises any exception, including KeyboardInterrupt."""
        try:
            yield
        except BaseException:
            self.set()
            raise

    def check(self) -> None:
        """Raise KeyboardInterrupt if `set` was called."""
        if self._set.is_set():
            raise KeyboardInterrupt

    def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds. Raise KeyboardInterrupt as soon as `set` is called."""
        if self._set.wait(seconds):
            raise KeyboardInterrupt
