"""Waiting before a write: a Registrar before the Registrar. It waits, then asks for codes, then makes one attempt."""

from collections.abc import Callable
from typing import TypeVar

from mfa_kit.errors import Busy, Throttled
from mfa_kit.models import Intent
from mfa_kit.otp import Created, Pair
from mfa_kit.ports import Progress, Registrar

T = TypeVar("T")

# Seconds. AWS asks to wait "several minutes" after ConcurrentModification and EntityTemporarilyUnmodifiable.
THROTTLED = (1, 2, 4, 8, 15, 30)
BUSY = (5, 10, 20, 40, 60)


class Patient:
    """Tries again what IAM surely did not do: throttled, or another change under way. Never what is unclear."""

    def __init__(self, inner: Registrar, *, sleep: Callable[[float], None], progress: Progress) -> None:
        self._inner, self._sleep, self._progress = inner, sleep, progress

    def _turn(self, act: Callable[[], T]) -> T:
        throttled, busy = iter(THROTTLED), iter(BUSY)
        while True:
            try:
                return act()
            except (Throttled, Busy) as error:
                pause = next(throttled if isinstance(error, Throttled) else busy, None)
                if pause is None:
                    raise
                self._progress.note(f"{error}; trying again in {pause} s")
                self._sleep(pause)

    def create(self, intent: Intent, tags: dict[str, str]) -> Created:
        return self._turn(lambda: self._inner.create(intent, tags))

    def enable(self, intent: Intent, codes: Callable[[], Pair]) -> None:
        self._turn(lambda: self._inner.enable(intent, codes))

    def resync(self, user: str, serial: str, codes: Callable[[], Pair]) -> None:
        self._turn(lambda: self._inner.resync(user, serial, codes))

    def deactivate(self, user: str, serial: str) -> None:
        self._turn(lambda: self._inner.deactivate(user, serial))

    def delete(self, serial: str) -> None:
        self._turn(lambda: self._inner.delete(serial))
