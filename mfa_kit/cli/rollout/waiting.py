"""Waits until no other worker works on a plan."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from mfa_kit.core.interaction import Progress

# Seconds between two attempts to begin in an account in which another worker works.
LOOK_AGAIN = 0.25


@contextmanager
def wait_for_turn(claim: Callable[[], AbstractContextManager[bool]], progress: Progress) -> Iterator[None]:
    """Wait until no other worker works on a plan, and keep other workers waiting until the context ends.

    `claim` returns a context that yields True if this worker may begin.
    """
    told = False
    while True:
        with claim() as ours:
            if ours:
                yield
                return
        if not told:
            progress.note("waiting, because another worker is working on this plan")
            told = True
        time.sleep(LOOK_AGAIN)
