"""Waits until no other worker works on a plan."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from mfa_kit.core.interaction import Progress
from mfa_kit.core.stopping import INTERRUPTS, sleep
from mfa_kit.posix.signals import not_ignored

# The seconds between two attempts to begin with a plan or an account on which another worker is working.
LOOK_AGAIN = 0.25


@contextmanager
def wait_for_turn(claim: Callable[[], AbstractContextManager[bool]], progress: Progress) -> Iterator[None]:
    """Wait until no other worker works on a plan, and keep other workers waiting until the context ends.

    `claim` returns a context that yields True if this worker may begin. SIGTERM ends the wait as Ctrl-C does: it raises
    KeyboardInterrupt.
    """
    wait_reported = False
    with _interrupted_by_sigterm():
        while True:
            turn = ExitStack()
            if turn.enter_context(claim()):
                break
            turn.close()
            if not wait_reported:
                progress.note("waiting, because another worker is working on this plan")
                wait_reported = True
            sleep(LOOK_AGAIN)
    with turn:
        yield


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    before = {number: signal.signal(number, INTERRUPTS.arrive) for number in not_ignored([signal.SIGTERM])}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
