"""Calls that may hang: waiting for them is limited, and a signal interrupts it."""

import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import ClassVar, NoReturn, TypeVar

T = TypeVar("T")

# Seconds to wait for a thread's last call, and for a call that was given up, after the time that the call was allowed.
LAST = 6.0


class DeadlineThread:
    """A thread for calls that may hang. Waiting for a call is limited. Ctrl-C ends the waiting but not the call."""

    # Threads whose call was interrupted and is still running. A call that timed out is not waited for a second time.
    # The process has one list, because such a call keeps the card busy for the whole process.
    stuck: ClassVar[list["DeadlineThread"]] = []

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._busy = self._mute = False
        self._until = 0.0
        self.thread = threading.Thread(target=self._work, daemon=True, name="pcsc")
        self.thread.start()

    def _work(self) -> None:
        while job := self._jobs.get():
            job()
            del job

    def call(self, act: Callable[[], T], *, seconds: float, tick: Callable[[float], None] = lambda _: None) -> T:
        """Return the result of `act`.

        Raise TimeoutError after `seconds`. `tick` gets the remaining seconds once per second.
        """
        answer: SimpleQueue[Callable[[], T]] = SimpleQueue()
        self._jobs.put(partial(_put_outcome, act, answer))
        until = self._until = time.monotonic() + seconds
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

    def await_stuck(self) -> bool:
        """Wait for an interrupted call, for as long as the call itself could take. Return whether it ended."""
        self.thread.join(max(0.0, self._until - time.monotonic()) + LAST)
        return not self.thread.is_alive()

    def close(self, act: Callable[[], None]) -> None:
        """Make `act` the last call, after the running one. Wait for it only when no call hangs."""
        self._jobs.put(partial(_put_outcome, act, SimpleQueue()))
        self._jobs.put(None)
        if not self._busy:
            self.thread.join(LAST)
        elif not self._mute:
            DeadlineThread.stuck.append(self)


def _put_outcome(act: Callable[[], T], answer: SimpleQueue[Callable[[], T]]) -> None:
    """Call `act`, and put a function that returns its result or raises its error."""
    try:
        value = act()
    except BaseException as error:  # noqa: BLE001 - the waiting thread raises it again
        answer.put(partial(_raise, error))
    else:
        answer.put(lambda: value)


def _raise(error: BaseException) -> NoReturn:
    raise error
