"""Threads that process many rows. Results are yielded as they arrive. After a stop, rows in progress are finished."""

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
        """Yield results as they arrive. When all workers have ended, raise the first error that `act` raised.

        Each worker is one task of the pool and takes a row from `rows` when it is free. With a task per row, the pool
        would take all rows from `rows` at once.
        """
        todo, taking = iter(rows), threading.Lock()
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
