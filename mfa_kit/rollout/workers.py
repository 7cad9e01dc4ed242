"""Threads that process many rows. Each result is yielded when it is ready.

After a stop, the rows in progress are finished.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

from mfa_kit.core.stopping import take

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
        done = SimpleQueue[tuple[R] | None]()  # a worker puts None when it ends
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

        threads = [threading.Thread(target=work, name=f"worker_{number}") for number in range(self.number)]
        try:
            for thread in threads:
                thread.start()
            for _ in threads:
                yield from (result for (result,) in iter(lambda: take(done), None))
        finally:
            self.stop.set()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if errors:
            raise errors[0]
