"""Runs work in several accounts at the same time. An account that waits because of throttling holds up no other."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from queue import SimpleQueue
from typing import Generic, TypeVar

S = TypeVar("S")
T = TypeVar("T")

# The number of accounts that may wait besides those that are at work. Each has its own threads and results in memory.
WAITING = 100
# Seconds. After a stop, requests end within this time. If they do not, the command prints what it waits for.
PROMPT = 1.0


class AccountPlace:
    """The place of an account among those at work. While any thread of the account waits, another account has it.

    `changed` is called with 1 when the place becomes free, and with -1 when the account takes it again.
    """

    def __init__(self, changed: Callable[[int], None]) -> None:
        self._changed, self._waiting, self._lock = changed, 0, threading.Lock()

    @contextmanager
    def given_up(self) -> Iterator[None]:
        """Leave the place to another account while the context lasts."""
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


_PLACE: ContextVar[AccountPlace | None] = ContextVar("place", default=None)


def leaving_place(sleep: Callable[[float], None], *, least: float = 0.0) -> Callable[[float], None]:
    """Return `sleep` (in seconds) for the account of this thread, which gives up its place meanwhile.

    Shorter pauses than `least` keep the place. Outside of an account, return `sleep` itself.
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


class Places(Generic[S, T]):
    """Applies `act` to items, `number` at a time and WAITING more that wait, each in a thread of its own.

    An item that has waited continues at once, even if this means that more than `number` are at work. `waits_for` is
    called with the items that have not ended PROMPT seconds after the iteration was closed.
    """

    def __init__(
        self,
        act: Callable[[S], T],
        *,
        number: int,
        stopped: Callable[[], bool] = lambda: False,
        waits_for: Callable[[list[S]], object] = lambda _: None,
    ) -> None:
        """After `stopped` returns True, no further item is started."""
        self._act, self._number, self._stopped, self._waits_for = act, number, stopped, waits_for
        self._free, self._lock = number, threading.Lock()
        self._going: dict[Future[T], S] = {}
        # None means that a place became free.
        self._events: SimpleQueue[Future[T] | None] = SimpleQueue()

    def work_through(
        self, items: Iterable[S], *, on_error: Callable[[], object] = lambda: None
    ) -> Generator[T, None, None]:
        """Yield each result when it is ready, or raise the first error.

        `on_error` is called after an error, a Ctrl-C, or if the generator is closed. Then the work in progress ends.
        """
        todo = iter(items)
        pool = ThreadPoolExecutor(self._number + WAITING, thread_name_prefix="account")
        try:
            self._start(pool, todo)
            while self._going:
                done = self._events.get()
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
            left = wait(self._going, PROMPT).not_done
            if left:
                self._waits_for([self._going[future] for future in left])
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _start(self, pool: ThreadPoolExecutor, todo: Iterator[S]) -> None:
        """Start items while places are free."""
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
        _PLACE.set(AccountPlace(self._changed))
        return self._act(item)

    def _change(self, by: int) -> None:
        with self._lock:
            self._free += by

    def _changed(self, by: int) -> None:
        self._change(by)
        if by > 0:
            self._events.put(None)
