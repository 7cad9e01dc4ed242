"""Ends work in several threads: what waits or begins another call raises KeyboardInterrupt there."""

import threading


class Stop:
    """Whether the work is to end. Any number of threads may use it."""

    def __init__(self) -> None:
        self._set = threading.Event()

    def set(self) -> None:
        """End the work: from now on, `check` and `sleep` raise KeyboardInterrupt."""
        self._set.set()

    def check(self) -> None:
        """Raise KeyboardInterrupt if the work is to end."""
        if self._set.is_set():
            raise KeyboardInterrupt

    def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds. Raise KeyboardInterrupt as soon as the work is to end."""
        if self._set.wait(seconds):
            raise KeyboardInterrupt
