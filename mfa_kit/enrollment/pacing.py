"""Timing and retries of calls to IAM: `Backoff` for one user, `RateLimiter` for the many users of a rollout.

Both implement `CallPolicy`: they decide when to send a request, and retry it if IAM refused it for the moment. They
never repeat a request with an unclear result, because the request may have taken effect. Codes are computed within the
attempt, so they are fresh when they are sent. Another RateLimiter is for the calls to S3.
"""

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from mfa_kit.core.errors import BusyError, Expired, MfaKitError, Throttled
from mfa_kit.core.interaction import Progress
from mfa_kit.core.message import Message
from mfa_kit.core.models import DeviceSpec
from mfa_kit.core.otp import Created, Pair
from mfa_kit.enrollment.ports import DeviceWriter

T = TypeVar("T")

# The pauses before each retry, in seconds. AWS asks to wait "several minutes" after ConcurrentModification and
# EntityTemporarilyUnmodifiable, which raise BusyError.
THROTTLED = (1, 2, 4, 8, 15, 30)
BUSY = (5, 10, 20, 40, 60)
# Rates are in calls per second. AWS publishes no rate for IAM, so the rate begins with FIRST_RATE and doubles each
# second until the first Throttling, which multiplies it by FIRST_CUT. Afterwards the rate grows by GAIN each second,
# but by at most a fiftieth per call. Each further Throttling multiplies the rate by CUT. The minimum is LEAST_RATE.
# The rate doubles each second again after QUIET seconds without a Throttling, or after the time that QUIET_CALLS calls
# take if that is longer, because other processes may have ended, or AWS may allow a burst of calls again. If a call is
# then throttled, the rate returns to its value before this doubling.
FIRST_RATE = 10.0
LEAST_RATE = 0.2
GAIN = 0.4
FIRST_CUT, CUT = 0.5, 0.75
QUIET, QUIET_CALLS = 4.0, 10
# Threads may wake up late. A call that is up to this many seconds late does not delay the calls after it.
LATE = 0.25
# The seconds without an accepted call after which a throttled rollout ends.
GIVE_UP = 600.0
# After this many seconds without any call, the next call restarts the count up to GIVE_UP.
IDLE = 60.0
# Seconds between checks whether the credentials work again.
SIGNED_OUT = 5.0


class CallPolicy(Protocol):
    """A function that decides when a call to IAM is made.

    It may wait, then calls `act`, and returns the result of `act`. It calls `act` again only after an error that proves
    that IAM changed nothing.
    """

    def __call__(self, act: Callable[[], T]) -> T: ...


class InTurn:
    """A DeviceWriter that makes each call of another DeviceWriter through a CallPolicy, which waits and may retry."""

    def __init__(self, inner: DeviceWriter, turn: CallPolicy) -> None:
        self._inner, self._turn = inner, turn

    def create(self, spec: DeviceSpec, tags: dict[str, str]) -> Created:
        """Create a virtual device through the wrapped DeviceWriter. The Turn may wait first, and may retry."""
        return self._turn(lambda: self._inner.create(spec, tags))

    def enable(self, spec: DeviceSpec, codes: Callable[[], Pair]) -> None:
        """Assign a device to its user through the wrapped DeviceWriter. The Turn may wait first, and may retry."""
        self._turn(lambda: self._inner.enable(spec, codes))

    def resync(self, user: str, serial: str, codes: Callable[[], Pair]) -> None:
        """Resynchronize a device through the wrapped DeviceWriter. The Turn may wait first, and may retry."""
        self._turn(lambda: self._inner.resync(user, serial, codes))

    def deactivate(self, user: str, serial: str) -> None:
        """Deactivate a device through the wrapped DeviceWriter. The Turn may wait first, and may retry."""
        self._turn(lambda: self._inner.deactivate(user, serial))

    def delete(self, serial: str) -> None:
        """Delete a virtual device through the wrapped DeviceWriter. The Turn may wait first, and may retry."""
        self._turn(lambda: self._inner.delete(serial))

    def tag(self, serial: str, tags: dict[str, str]) -> None:
        """Add tags to a virtual device through the wrapped DeviceWriter. The Turn may wait first, and may retry."""
        self._turn(lambda: self._inner.tag(serial, tags))


class Backoff:
    """The CallPolicy for one user: retries a call that raises Throttled or Busy.

    The pauses before the retries increase. Each pause is printed. If the call still fails after the last pause, its
    error is raised.
    """

    def __init__(self, *, sleep: Callable[[float], None], progress: Progress) -> None:
        self._sleep, self._progress = sleep, progress

    def __call__(self, act: Callable[[], T]) -> T:
        throttled, busy = iter(THROTTLED), iter(BUSY)
        while True:
            try:
                return act()
            except (Throttled, BusyError) as error:
                pause = next(throttled if isinstance(error, Throttled) else busy, None)
                if pause is None:
                    raise
                self._progress.note(f"{error}; trying again in {pause} s")
                self._sleep(pause)


class RateLimiter:
    """The Turn that all worker threads of a rollout share: limits their calls to IAM to one common rate.

    The rate grows while IAM accepts the calls, and falls when IAM throttles one. At most `at_once` calls are in
    progress at any time. When credentials that worked before expire, all workers wait while one of them calls `renew`,
    again and again, until `renew` raises no error. After `stop`, expired credentials are an error instead. After
    `break_off`, every call raises KeyboardInterrupt. `break_off` also calls `on_break`. `rate` is the rate at first.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        progress: Progress,
        renew: Callable[[], object],
        at_once: int,
        on_break: Callable[[], object] = lambda: None,
        rate: float = FIRST_RATE,
    ) -> None:
        self._on_break = on_break
        self._out = threading.Semaphore(at_once)
        self._clock, self._sleep, self._progress, self._renew = clock, sleep, progress, renew
        self._lock, self._turnstile, self._signing_in = threading.Lock(), threading.Lock(), threading.Lock()
        self._slot = self._grew = self._cut = self._accepted = self._signed_in = clock()
        self._asked = self._slot
        self._found = self._stopped = self._broken = self._ever = False
        self.rate = self._sound = rate
        self.paused = False

    def stop(self) -> None:
        """From now on, raise Expired instead of waiting for new credentials."""
        self._stopped = True

    def break_off(self) -> None:
        """From now on, raise KeyboardInterrupt instead of making a call.

        The next run finishes or removes the half-made devices.
        """
        self._stopped = self._broken = True
        self._on_break()

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
            except BusyError:
                pause = next(busy, None)
                if pause is None:
                    raise
                self._sleep(pause)
            else:
                self._grow(waited=waited)
                return done

    def _begin(self) -> None:
        """Restart the count of seconds without an accepted call if there was no call for IDLE seconds.

        There are such pauses when a station waits for users. GIVE_UP is the limit of the count.
        """
        with self._lock:
            now = self._clock()
            if now - self._asked > IDLE:
                self._accepted = now
            self._asked = now

    def _wait(self) -> bool:
        """Wait until the rate allows the next call, and return whether a wait was necessary."""
        waited = False
        with self._turnstile:
            while (pause := self._due()) > 0:
                waited = True
                self._sleep(pause)
        return waited

    def _due(self) -> float:
        """Return the seconds until the rate allows the next call. If a call is allowed now, reserve it and return 0.

        Raise KeyboardInterrupt if `break_off` was called.
        """
        if self._broken:
            raise KeyboardInterrupt
        with self._lock:
            now = self._clock()
            if now < self._slot:
                return self._slot - now
            self._slot = max(self._slot, now - LATE) + 1 / self.rate
            return 0.0

    def _grow(self, *, waited: bool) -> None:
        """Record an accepted call, and raise the rate if the call had to wait (`waited`).

        Without a wait the rate was not fully used, so the accepted call does not show that AWS accepts that rate.
        """
        with self._lock:
            now = self._clock()
            since, self._grew, self._accepted, self._ever = now - self._grew, now, now, True
            if waited and self._found and not self._quiet(now):
                self.rate = self._sound = self.rate + min(GAIN * since, self.rate / 50)
            elif waited:
                self.rate *= 2 ** min(since, 1.0)

    def _throttled(self, began: float, error: Throttled) -> None:
        """Lower the rate, unless it was already lowered after this call began.

        Raise Throttled if no call was accepted for GIVE_UP seconds.
        """
        with self._lock:
            now = self._clock()
            if now - self._accepted > GIVE_UP:
                raise Throttled(
                    f"AWS accepted no call for {GIVE_UP / 60:.0f} minutes: {error}", "run the same command again later"
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
        """Return whether there was no Throttling for QUIET seconds, and for the time that QUIET_CALLS calls take."""
        return now - self._cut >= max(QUIET, QUIET_CALLS / self._sound)

    def _sign_in(self, began: float, error: Expired) -> None:
        """Wait until the credentials work again. One worker checks this for all workers.

        Raise `error` at once if no call ever succeeded, or if `stop` was called. `began` is when the failed call began.
        """
        with self._signing_in:
            if not self._ever or self._stopped:
                raise error
            if self._signed_in > began:
                return
            self.paused = True
            self._progress.alert(Message(f"{error}; waiting: ", error.hint))
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
