"""Ends work on Ctrl-C, and in several threads: who waits or is about to make a call raises KeyboardInterrupt."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeVar

from mfa_kit.core.errors import notes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor, Future
    from types import FrameType

S = TypeVar("S")
T = TypeVar("T")

# Seconds between two checks during a wait.
LOOK = 0.5


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. `number` counts the times that it was pressed in this process."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Interrupts:
    """The record of Ctrl-C in this process.

    Python raises KeyboardInterrupt in whatever code the main thread runs at the moment. In a finalizer, or in a
    callback of a library that is not written in Python, the exception is dropped, or becomes another error. Therefore
    `arrive` also records it, and every wait, every call to AWS and every prompt calls `check` before it begins and
    after it ends. In other threads than the main thread, only `arrive` may have an effect.
    """

    def __init__(self) -> None:
        self._arrived = self._known = 0

    def arrive(self, _number: int, frame: FrameType | None) -> None:
        """Record Ctrl-C, and raise KeyboardInterrupt. The arguments are those of a signal handler.

        While an extension module is being loaded, only record it, because the exception would crash the process: C++
        code calls `std::terminate`. The same in awscrt, which signs requests: its callback would not say that the
        request is signed, and botocore would wait for it forever.
        """
        self._arrived += 1
        if not _must_go_on(frame):
            raise Interrupted(self._arrived)

    def find_spec(self, *_: object) -> None:
        """Call `check`, and find no module. In `sys.meta_path`, this is called before each module is imported."""
        if self._known != self._arrived and not _must_go_on(sys._getframe()):  # noqa: SLF001 - the only way to get it
            self.check()

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was lost."""
        if self._is_lost():
            raise self._again()

    def end(self) -> None:
        """At the end of a command, raise KeyboardInterrupt in place of its result or its error after Ctrl-C."""
        if self._known != self._arrived and not isinstance(sys.exception(), KeyboardInterrupt):
            raise self._again()

    def _again(self) -> Interrupted:
        """Return a KeyboardInterrupt with the notes of the error that is being handled, and of its cause."""
        again, error = Interrupted(self._arrived), sys.exception()
        for note in (
            note for exception in (error, error and error.__cause__) if exception for note in notes_of(exception)
        ):
            again.add_note(note)
        return again

    def forget(self) -> None:
        """Go on after a KeyboardInterrupt that ends only a part of the work."""
        self._known = self._arrived

    @contextmanager
    def settling(self) -> Iterator[None]:
        """In the with statement, raise only a new Ctrl-C, so that a lost one does not end the cleanup after an error.

        Afterward, `check` raises the lost one. The caller has caught any new one.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        lost = self._known != self._arrived and not isinstance(sys.exception(), KeyboardInterrupt)
        known, self._known = self._known, self._arrived
        try:
            yield
        finally:
            self._known = known if lost else self._arrived

    def _is_lost(self) -> bool:
        """Whether the last Ctrl-C is not known, and this thread is not handling its exception at this moment."""
        if self._known == self._arrived or threading.current_thread() is not threading.main_thread():
            return False
        error = sys.exception()
        while error and not (isinstance(error, Interrupted) and error.number == self._arrived):
            error = error.__context__
        return error is None


def _must_go_on(frame: FrameType | None) -> bool:
    """Return whether a frame, or one of its callers, loads an extension module or belongs to awscrt."""
    while frame:
        if frame.f_code.co_qualname.startswith("ExtensionFileLoader."):
            return True
        if str(frame.f_globals.get("__name__")).partition(".")[0] == "awscrt":
            return True
        frame = frame.f_back
    return False


INTERRUPTS = Interrupts()


class Stop:
    """A request to end the work. Any number of threads may check it."""

    def __init__(self) -> None:
        self._set = threading.Event()

    def set(self) -> None:
        """End the work: from now on, `check` and `sleep` raise KeyboardInterrupt."""
        self._set.set()

    @contextmanager
    def after_error(self) -> Iterator[None]:
        """Call `set` if the body of the with statement raises any exception, including KeyboardInterrupt."""
        try:
            yield
        except BaseException:
            self.set()
            raise

    def check(self) -> None:
        """Raise KeyboardInterrupt if `set` was called, or if Ctrl-C was lost."""
        INTERRUPTS.check()
        if self._set.is_set():
            raise KeyboardInterrupt

    def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds. Raise KeyboardInterrupt as soon as `set` is called, or if Ctrl-C was lost."""
        self.check()
        while seconds > 0:
            self._set.wait(min(seconds, LOOK))
            self.check()
            seconds -= LOOK


def sleep(seconds: float) -> None:
    """Wait for a number of seconds. Raise KeyboardInterrupt if Ctrl-C was lost, which `time.sleep` does not notice."""
    Stop().sleep(seconds)


def take(queue: SimpleQueue[T]) -> T:
    """Wait for the next entry of a queue, and return it. Raise KeyboardInterrupt if Ctrl-C was lost."""
    while True:
        INTERRUPTS.check()
        try:
            entry = queue.get(timeout=LOOK)
        except Empty:
            continue
        INTERRUPTS.check()
        return entry


def await_result(future: Future[T]) -> T:
    """Wait until a call in another thread ends, and return its result. Raise KeyboardInterrupt if Ctrl-C was lost."""
    ended: SimpleQueue[Future[T]] = SimpleQueue()
    future.add_done_callback(ended.put)
    return take(ended).result()


def put_outcome(call: Callable[[], T], future: Future[T]) -> None:
    """Make a call, and give its result or its error to the thread that waits for the future."""
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - the waiting thread raises it again
        future.set_exception(error)


def map_in(pool: Executor, function: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
    """Call `function` with each item in threads, and return an iterator over the results, as `pool.map` does.

    Its waits raise KeyboardInterrupt if Ctrl-C was lost. The items whose calls have not begun are then left out.
    """
    futures = [pool.submit(function, item) for item in items]
    futures.reverse()

    def results() -> Iterator[T]:
        try:
            while futures:
                yield await_result(futures.pop())
        finally:
            for future in futures:
                future.cancel()

    return results()
