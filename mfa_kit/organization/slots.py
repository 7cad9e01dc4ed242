"""Runs work in several accounts at the same time. An account that is throttled does not delay other accounts.

There is a fixed number of places. Work in an account starts when a place is free, and occupies the place. While the
work pauses, the account gives up its place, so that work in another account can start.
"""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from queue import SimpleQueue
from typing import Generic, TypeVar

from mfa_kit.core.stopping import take

S = TypeVar("S")
T = TypeVar("T")

# How many accounts may pause at the same time, in addition to the accounts that have a place. The number is limited,
# because each account that was started has threads and results in memory.
WAITING = 100
# The seconds that running requests get to end after an error or Ctrl-C. If they take longer, the command prints for
# which accounts it waits.
PROMPT = 1.0


class AccountSlot:
    """The place of one account. The account gives it up while the work in the account pauses.

    If the account has several threads, its place is free while at least one of them pauses. `changed` is called with 1
    when the place becomes free, and with -1 when the account takes a place again.
    """

    def __init__(self, changed: Callable[[int], None]) -> None:
        self._changed, self._waiting, self._lock = changed, 0, threading.Lock()

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Leave this account's place to another account until the `with` block ends."""
        with self._lock:
            self._waiting += 1
            if self._waiting == 1:
                self._changed(1)
        try:
            yield
        finally:
            with self._lock:
                self._waiting -= 1
                if not self._waiting:
                    self._changed(-1)


_PLACE: ContextVar[AccountSlot | None] = ContextVar("place", default=None)


def leaving_place(sleep: Callable[[float], None], *, least: float = 0.0) -> Callable[[float], None]:
    """Return a version of `sleep` during which the account of this thread gives up its place.

    The account keeps its place in a pause shorter than `least` seconds. In a thread that works in no account, return
    `sleep` itself.
    """
    place = _PLACE.get()
    if place is None:
        return sleep

    def pause(seconds: float) -> None:
        if seconds < least:
            sleep(seconds)
            return
        with place.given_up():
            sleep(seconds)

    return pause


class AccountSlots(Generic[S, T]):
    """Calls `act` with each item, such as an account, in a separate thread.

    A new thread starts only while fewer than `number` threads work. Up to WAITING further threads may pause with a
    function that `leaving_place` returned. A thread continues directly after its pause, even if more than `number`
    threads then work. After an error or Ctrl-C, `waits_for` is called with the items whose threads have not ended
    within PROMPT seconds.
    """

    def __init__(
        self,
        act: Callable[[S], T],
        *,
        number: int,
        stopped: Callable[[], bool] = lambda: False,
        waits_for: Callable[[list[S]], object] = lambda _: None,
    ) -> None:
        """Store the arguments; `work_through` starts the work.

        `stopped` is called before an item is started. When it returns True, no further item is started.
        """
        self._act, self._number, self._stopped, self._waits_for = act, number, stopped, waits_for
        self._free, self._lock = number, threading.Lock()
        self._going: dict[Future[T], S] = {}
        # An event is the future of a finished item, or None if an item began a pause, so that another item can start.
        self._events: SimpleQueue[Future[T] | None] = SimpleQueue()

    def work_through(
        self, items: Iterable[S], *, on_error: Callable[[], object] = lambda: None
    ) -> Generator[T, None, None]:
        """Yield each result of `act` when it is ready, or raise the first error of `act`.

        `on_error` is called after an error or Ctrl-C, or if the generator is closed. It must make the running threads
        end soon.
        """
        todo = iter(items)
        pool = ThreadPoolExecutor(self._number + WAITING, thread_name_prefix="account")
        try:
            self._start(pool, todo)
            while self._going:
                done = take(self._events)
                if done is not None:
                    del self._going[done]
                    self._change(1)
                self._start(pool, todo)
                if done is not None:
                    yield done.result()
        except BaseException:
            on_error()
            for future in self._going:
                future.cancel()
            unfinished_futures = wait(self._going, PROMPT).not_done
            if unfinished_futures:
                self._waits_for([self._going[future] for future in unfinished_futures])
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _start(self, pool: ThreadPoolExecutor, todo: Iterator[S]) -> None:
        """Start the next items until no place is free, `number` + WAITING items run, or `stopped` returns True."""
        while self._free > 0 and len(self._going) < self._number + WAITING and not self._stopped():
            for item in todo:
                self._change(-1)
                future = pool.submit(self._run, item)
                self._going[future] = item
                future.add_done_callback(self._events.put)
                break
            else:
                return

    def _run(self, item: S) -> T:
        _PLACE.set(AccountSlot(self._changed))
        return self._act(item)

    def _change(self, by: int) -> None:
        with self._lock:
            self._free += by

    def _changed(self, by: int) -> None:
        self._change(by)
        if by > 0:
            self._events.put(None)
