"""Makes read calls, and retries them if they are throttled or get no response."""

import logging
from collections.abc import Callable
from typing import Protocol, TypeVar

from mfa_kit.core.errors import Throttled, TooSlow, Unclear

T = TypeVar("T")
log = logging.getLogger(__name__)

# Seconds between the attempts of a read.
READ_PAUSES = (0.5, 1, 2, 4, 8)


class Retry(Protocol):
    """Calls a function, and retries it after some errors. Returns the function's result, or raises the last error."""

    def __call__(self, act: Callable[[], T]) -> T: ...


def read(attempt: Callable[[], T], *, sleep: Callable[[float], None], turn: Retry | None = None) -> T:
    """Call `attempt`, which makes one read call, and return its result.

    If `attempt` raises Throttled or Unclear (no response, or a server error), it is called again after a pause, because
    reading twice is harmless. TooSlow is raised at once. The error of the last attempt is raised. `turn`, if given,
    makes every attempt. It may wait before the attempt, and it retries throttled attempts itself.
    """

    def once() -> T:
        return turn(attempt) if turn else attempt()

    for pause in READ_PAUSES:
        try:
            return once()
        except TooSlow:
            raise
        except Unclear as error:
            log.debug("%s; asking again in %s s", error, pause)
        except Throttled as error:
            # `turn` has already retried the attempt and given up.
            if turn:
                raise
            log.debug("%s; asking again in %s s", error, pause)
        sleep(pause)
    return once()
