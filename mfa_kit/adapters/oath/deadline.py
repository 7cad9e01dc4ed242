"""Calls that may hang: waiting for them has limits, and a signal ends it."""

import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import ClassVar, NoReturn, TypeVar

T = TypeVar("T")

# Seconds that the last call of a thread is waited for, and that a call is that was given up.
LAST = 6.0
STUCK = 20.0


class DeadlineThread:
    """A thread for calls that may hang: waiting for one has a limit, and Ctrl-C ends the waiting, not the call."""

    # Threads whose call was interrupted and goes on; what timed out is not waited for a second time. There is one list
    # for the process, for a card is busy for all of it.
    stuck: ClassVar[list["DeadlineThread"]] = []

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._busy = self._mute = False
        self.thread = threading.Thread(target=self._work, daemon=True, name="pcsc")
        self.thread.start()

    def _work(self) -> None:
        while job := self._jobs.get():
            job()
            del job

    def call(self, act: Callable[[], T], *, seconds: float, tick: Callable[[float], None] = lambda _: None) -> T:
        """Return what act returns. Raise TimeoutError; tick is told each second how many are left."""
        answer: SimpleQueue[Callable[[], T]] = SimpleQueue()
        self._jobs.put(partial(_put_outcome, act, answer))
        until = time.monotonic() + seconds
        self._busy = True
        while (left := until - time.monotonic()) > 0:
            try:
                outcome = answer.get(timeout=min(left, 1))
            except Empty:
                tick(until - time.monotonic())
                continue
            self._busy = False
            return outcome()
        self._mute = True
        raise TimeoutError

    def close(self, act: Callable[[], None]) -> None:
        """Let act be the last call, whenever the call before it ends; wait only when none hangs."""
        self._jobs.put(partial(_put_outcome, act, SimpleQueue()))
        self._jobs.put(None)
        if not self._busy:
            self.thread.join(LAST)
        elif not self._mute:
            DeadlineThread.stuck.append(self)


def _put_outcome(act: Callable[[], T], answer: SimpleQueue[Callable[[], T]]) -> None:
    """Call act, and put a function that returns what it returned, or raises what it raised."""
    try:
        value = act()
    except Exception as error:  # noqa: BLE001 - whatever it is, it goes on in the thread that waits
        answer.put(partial(_raise, error))
    else:
        answer.put(lambda: value)


def _raise(error: Exception) -> NoReturn:
    raise error
