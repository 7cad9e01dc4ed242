"""Threads that process many rows. Each result is yielded when it is ready.

After a stop, the rows in progress are finished.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True, kw_only=True)
class Workers(Generic[T, R]):
    """Calls `act` for each row in `number` threads. After `stop` is set, no further row is started."""

    act: Callable[[T], R]
    number: int
    stop: threading.Event

    def work_through(self, rows: Iterable[T]) -> Iterator[R]:
        """Yield the result of each row when it is ready. When all threads have ended, raise the first error of `act`.

        Each thread takes the next row from `rows` when it is free. After an error of `act`, no further row is started.
        """
        todo, taking = iter(rows), threading.Lock()
        # Each thread is one task of the pool. With a task per row, the pool would take all rows from `rows` at once.
        done = SimpleQueue[tuple[R] | None]()  # None marks the end of a worker
        errors: list[BaseException] = []

        def take_row() -> tuple[T] | None:
            with taking:
                return None if self.stop.is_set() else next(((row,) for row in todo), None)

        def work() -> None:
            try:
                while (row := take_row()) is not None:
                    done.put((self.act(*row),))
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for the results
                self.stop.set()
                errors.append(error)
            finally:
                done.put(None)

        with futures.ThreadPoolExecutor(self.number, thread_name_prefix="worker") as pool:
            try:
                for _ in range(self.number):
                    pool.submit(work)
                for _ in range(self.number):
                    yield from (result for (result,) in iter(done.get, None))
            finally:
                self.stop.set()
        if errors:
            raise errors[0]
