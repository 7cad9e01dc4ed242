"""Workers over many rows: results as they come, an end that waits for those in flight."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Broke:
    """What came out of `act` in place of a result."""

    error: BaseException


@dataclass(slots=True, kw_only=True)
class Crew(Generic[T, R]):
    """Workers over rows. After `stop` none is begun, and those in flight come to their end."""

    act: Callable[[T], R]
    workers: int
    stop: threading.Event

    def over(self, rows: Iterable[T]) -> Iterator[R]:
        """Yield results as they come. Raise, when all have ended, the first error that came out of `act`."""
        todo, taking = iter(rows), threading.Lock()
        done = SimpleQueue[tuple[R] | _Broke | None]()  # a result, an error, a worker's end

        def take() -> tuple[T] | None:
            with taking:
                return None if self.stop.is_set() else next(((row,) for row in todo), None)

        def work() -> None:
            try:
                while (row := take()) is not None:
                    done.put((self.act(*row),))
            except BaseException as error:  # noqa: BLE001 - carried to the thread that waits for us
                self.stop.set()
                done.put(_Broke(error))
            finally:
                done.put(None)

        threads = [threading.Thread(target=work, name=f"worker {number}") for number in range(self.workers)]
        try:
            for thread in threads:
                thread.start()
            yield from _results(done, len(threads))
        finally:
            self.stop.set()
            for thread in threads:
                if thread.ident is not None:  # else it was never begun
                    thread.join()


def _results(done: "SimpleQueue[tuple[R] | _Broke | None]", workers: int) -> Iterator[R]:
    broke: list[BaseException] = []
    while workers:
        come = done.get()
        if come is None:
            workers -= 1
        elif isinstance(come, _Broke):
            broke.append(come.error)
        else:
            yield come[0]
    if broke:
        raise broke[0]
