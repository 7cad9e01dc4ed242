"""When a call to IAM is made, and made again: `Patience` for one user, `Pace` for the many of a rollout.

Both are turns: they wait, then let one attempt be made. An unclear request is never tried again here, because it may
have acted. Codes are computed within the attempt, so that no code is old when it is sent.
"""

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from mfa_kit.core.errors import Busy, Expired, MfaKitError, Throttled
from mfa_kit.core.interaction import Progress
from mfa_kit.core.models import Intent
from mfa_kit.core.otp import Created, Pair
from mfa_kit.enrollment.ports import Registrar

T = TypeVar("T")

# Seconds. AWS asks to wait "several minutes" after ConcurrentModification and EntityTemporarilyUnmodifiable.
THROTTLED = (1, 2, 4, 8, 15, 30)
BUSY = (5, 10, 20, 40, 60)
# Calls a second: AWS publishes no rate for IAM. Doubled each second until it first throttles, and halved then; from
# there a bit more each second, a fiftieth a call at most, and a part of it after a Throttling. After so many seconds
# and calls without one it is doubled again, for others may have ended, or AWS may have saved calls up for us; what was
# refused then leads back to what was not.
FIRST_RATE = 10.0
LEAST_RATE = 0.2
GAIN = 0.4
FIRST_CUT, CUT = 0.5, 0.75
QUIET, QUIET_CALLS = 4.0, 10
# Seconds that a call may be late for its slot without losing it: threads wake when they are let.
LATE = 0.25
# Seconds without an accepted call after which a throttled rollout ends.
GIVE_UP = 600.0
# Seconds in which no call was begun, after which nobody was waiting for one.
IDLE = 60.0
# Seconds between looks whether the credentials work again.
SIGNED_OUT = 5.0


class Turn(Protocol):
    """Waits, makes one attempt, and makes another where IAM surely did nothing."""

    def __call__(self, act: Callable[[], T]) -> T: ...


class InTurn:
    """A Registrar in front of another: each call takes its turn."""

    def __init__(self, inner: Registrar, turn: Turn) -> None:
        self._inner, self._turn = inner, turn

    def create(self, intent: Intent, tags: dict[str, str]) -> Created:
        """Create a device in turn."""
        return self._turn(lambda: self._inner.create(intent, tags))

    def enable(self, intent: Intent, codes: Callable[[], Pair]) -> None:
        """Enable a device in turn."""
        self._turn(lambda: self._inner.enable(intent, codes))

    def resync(self, user: str, serial: str, codes: Callable[[], Pair]) -> None:
        """Resync a device in turn."""
        self._turn(lambda: self._inner.resync(user, serial, codes))

    def deactivate(self, user: str, serial: str) -> None:
        """Deactivate a device in turn."""
        self._turn(lambda: self._inner.deactivate(user, serial))

    def delete(self, serial: str) -> None:
        """Delete a device in turn."""
        self._turn(lambda: self._inner.delete(serial))


class Patience:
    """Waits longer each time, says so, and gives up at last."""

    def __init__(self, *, sleep: Callable[[float], None], progress: Progress) -> None:
        self._sleep, self._progress = sleep, progress

    def __call__(self, act: Callable[[], T]) -> T:
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


class Pace:
    """One rate for all workers of a rollout, found by trying: one waits for the next slot, and the rest wait behind it.

    Of calls, `at_once` are out at a time; workers beyond that do meanwhile what needs no answer.
    `renew` looks for credentials when those that worked have expired; until it succeeds all wait, and no call fails.
    After `stop` nobody waits for that any more, and after `break_off` nobody calls any more.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        progress: Progress,
        renew: Callable[[], object],
        at_once: int,
    ) -> None:
        self._out = threading.Semaphore(at_once)
        self._clock, self._sleep, self._progress, self._renew = clock, sleep, progress, renew
        self._lock, self._turnstile, self._signing_in = threading.Lock(), threading.Lock(), threading.Lock()
        self._slot = self._grew = self._cut = self._accepted = self._signed_in = clock()
        self._asked = self._slot
        self._found = self._stopped = self._broken = self._ever = False
        self.rate = self._sound = FIRST_RATE
        self.paused = False

    def stop(self) -> None:
        """Wait no more for credentials that work again."""
        self._stopped = True

    def break_off(self) -> None:
        """Let KeyboardInterrupt come out of each turn instead of a call; what is half-made is left to the next run."""
        self._stopped = self._broken = True

    def __call__(self, act: Callable[[], T]) -> T:
        busy = iter(BUSY)
        self._begin()
        while True:
            began = self._clock()
            try:
                with self._out:
                    waited = self._wait()
                    began = self._clock()
                    done = act()
            except Throttled as error:
                self._throttled(began, error)
            except Expired as error:
                self._sign_in(began, error)
            except Busy:
                pause = next(busy, None)
                if pause is None:
                    raise
                self._sleep(pause)
            else:
                self._grow(waited=waited)
                return done

    def _begin(self) -> None:
        """Count anew how long nothing was accepted, where nothing was asked: at a desk people take their time."""
        with self._lock:
            now = self._clock()
            if now - self._asked > IDLE:
                self._accepted = now
            self._asked = now

    def _wait(self) -> bool:
        """Wait for the next slot; whether there was anything to wait for."""
        waited = False
        with self._turnstile:
            while (pause := self._due()) > 0:
                waited = True
                self._sleep(pause)
        return waited

    def _due(self) -> float:
        """Take the slot that is due, or return the seconds until one is, by the rate of this moment."""
        if self._broken:
            raise KeyboardInterrupt
        with self._lock:
            now = self._clock()
            if now < self._slot:
                return self._slot - now
            self._slot = max(self._slot, now - LATE) + 1 / self.rate
            return 0.0

    def _grow(self, *, waited: bool) -> None:
        """Note an accepted call. A rate that is not used up proves nothing, so it stays."""
        with self._lock:
            now = self._clock()
            since, self._grew, self._accepted, self._ever = now - self._grew, now, now, True
            if waited and self._found and not self._quiet(now):
                self.rate = self._sound = self.rate + min(GAIN * since, self.rate / 50)
            elif waited:
                self.rate *= 2 ** min(since, 1.0)

    def _throttled(self, began: float, error: Throttled) -> None:
        """Slow down, once for all calls that left before that. Raise when nothing was accepted for long."""
        with self._lock:
            now = self._clock()
            if now - self._accepted > GIVE_UP:
                raise Throttled(
                    f"AWS accepted nothing for {GIVE_UP / 60:.0f} minutes: {error}", "run the same command again later"
                )
            if began >= self._cut:
                self.rate = self._sound = max(LEAST_RATE, self._slower(now))
                self._found, self._cut, self._grew = True, now, now
                self._slot = now + 1 / self.rate

    def _slower(self, now: float) -> float:
        if not self._found:
            return self.rate * FIRST_CUT
        return self._sound if self._quiet(now) else self.rate * CUT

    def _quiet(self, now: float) -> bool:
        """Whether nothing was refused for some seconds, and as many calls."""
        return now - self._cut >= max(QUIET, QUIET_CALLS / self._sound)

    def _sign_in(self, began: float, error: Expired) -> None:
        """Wait until somebody's credentials work, one worker for all. Raise the error where none worked ever."""
        with self._signing_in:
            if not self._ever:
                raise error
            if self._signed_in > began:
                return
            self.paused = True
            self._progress.note(f"{error}; waiting: {error.hint}")
            try:
                while True:
                    if self._stopped:
                        raise error
                    try:
                        self._renew()
                    except MfaKitError:
                        self._sleep(SIGNED_OUT)
                    else:
                        break
            finally:
                self.paused = False
            with self._lock:
                self._signed_in = self._accepted = self._grew = self._slot = self._clock()
            self._progress.note("the credentials work again")
