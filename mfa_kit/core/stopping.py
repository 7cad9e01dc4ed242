"""Ends work in several threads: a thread that waits or is about to make a call raises KeyboardInterrupt."""

import threading


class Stop:
    """A request to end the work. Any number of threads may check it."""

    def __init__(self) -> None:
        self._set = threading.Event()

    def set(self) -> None:
        """End the work: from now on, `check` and `sleep` raise KeyboardInterrupt."""
        self._set.set()

    def check(self) -> None:
        """Raise KeyboardInterrupt if `set` was called."""
        if self._set.is_set():
            raise KeyboardInterrupt

    def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds. Raise KeyboardInterrupt as soon as `set` is called."""
        if self._set.wait(seconds):
            raise KeyboardInterrupt
