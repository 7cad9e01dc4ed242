"""Runs calls that may hang. Waiting for a call has a time limit, and a signal can interrupt the wait."""

import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from typing import ClassVar, NoReturn, TypeVar

from mfa_kit.core.stopping import INTERRUPTS

T = TypeVar("T")

# Seconds to wait for the last call of a thread, and for an interrupted call after the end of its time limit.
LAST = 6.0


class DeadlineThread:
    """A thread for calls that may hang. Waiting for a call has a time limit. Ctrl-C ends the wait, but not the call."""

    # Threads with an interrupted call that is still running. A thread whose call reached its time limit is not in the
    # list. The whole process shares the list, because an interrupted call keeps its card busy for the whole process.
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
        """Call `act` in the thread and return its result.

        Raise TimeoutError after `seconds` seconds. `tick` is called once per second with the remaining seconds.
        """
        answer: SimpleQueue[Callable[[], T]] = SimpleQueue()
        self._jobs.put(partial(_put_outcome, act, answer))
        until = self._until = time.monotonic() + seconds
        self._busy = True
        while (left := until - time.monotonic()) > 0:
            INTERRUPTS.check()
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
        """Wait for an interrupted call, at most until LAST seconds after its time limit. Return whether it ended."""
        self.thread.join(max(0.0, self._until - time.monotonic()) + LAST)
        return not self.thread.is_alive()

    def close(self, act: Callable[[], None]) -> None:
        """End the thread after a last call, `act`. Wait up to LAST seconds, unless an earlier call hangs."""
        self._jobs.put(partial(_put_outcome, act, SimpleQueue()))
        self._jobs.put(None)
        if not self._busy:
            self.thread.join(LAST)
        elif not self._mute:
            DeadlineThread.stuck.append(self)


def _put_outcome(act: Callable[[], T], answer: SimpleQueue[Callable[[], T]]) -> None:
    """Call `act`, and put into `answer` a function that returns its result or raises its error."""
    try:
        value = act()
    except BaseException as error:  # noqa: BLE001 - the waiting thread raises it again
        answer.put(partial(_raise, error))
    else:
        answer.put(lambda: value)


def _raise(error: BaseException) -> NoReturn:
    raise error
