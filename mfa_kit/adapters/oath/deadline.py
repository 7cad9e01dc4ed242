"""Calls that may hang: waiting for them has limits, and a signal ends it."""

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

# Seconds that the last call of a line is waited for, and that a call is that was given up.
LAST = 6.0
STUCK = 20.0


class Line:
    """A thread for calls that may hang: waiting for one has a limit, and Ctrl-C ends the waiting, not the call."""

    # Lines whose call was interrupted and goes on; what timed out is not waited for a second time.
    stuck: list["Line"] = []  # noqa: RUF012 - one list for the process, for a card is busy for all of it

    def __init__(self) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], Any], SimpleQueue[Any]] | None] = SimpleQueue()
        self._busy = self._mute = False
        self.thread = threading.Thread(target=self._work, daemon=True, name="pcsc")
        self.thread.start()

    def _work(self) -> None:
        while job := self._jobs.get():
            act, answer = job
            try:
                answer.put((act(), None))
            except Exception as error:  # noqa: BLE001 - it goes on in the thread that waits
                answer.put((None, error))
            del job, act, answer

    def call(self, act: Callable[[], T], *, seconds: float, tick: Callable[[float], None] = lambda _: None) -> T:
        """Return what act returns. Raise TimeoutError; tick is told each second how many are left."""
        answer: SimpleQueue[Any] = SimpleQueue()
        self._jobs.put((act, answer))
        until = time.monotonic() + seconds
        self._busy = True
        while (left := until - time.monotonic()) > 0:
            try:
                value, error = answer.get(timeout=min(left, 1))
            except Empty:
                tick(until - time.monotonic())
                continue
            self._busy = False
            if error is not None:
                raise error
            done: T = value
            return done
        self._mute = True
        raise TimeoutError

    def close(self, act: Callable[[], None]) -> None:
        """Let act be the last call, whenever the call before it ends; wait only when none hangs."""
        self._jobs.put((act, SimpleQueue()))
        self._jobs.put(None)
        if not self._busy:
            self.thread.join(LAST)
        elif not self._mute:
            Line.stuck.append(self)
