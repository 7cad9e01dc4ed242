"""Tests of the pace of a rollout in simulated time: many workers, a throttle, and one clock that sleeps advance."""

import heapq
import threading
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace, TracebackType

import pytest

from mfa_kit.core.errors import BusyError, Expired, OutcomeUnknownError, Throttled
from mfa_kit.enrollment import pacing
from mfa_kit.enrollment.pacing import BUSY, GIVE_UP, RateLimiter

LATENCY, WORK, WORKERS = 0.04, 0.02, 8


class World:
    """Simulated time. One thread runs at a time. A thread that sleeps wakes the thread whose time comes next."""

    def __init__(self) -> None:
        self.now = 0.0
        self.notes: list[str] = []
        self._asleep: list[tuple[float, int, threading.Event]] = []
        self._order, self._over = count(), threading.Event()

    def clock(self) -> float:
        return self.now

    def note(self, text: str) -> None:
        self.notes.append(text)

    alert = note

    def waking(self, at: float, event: threading.Event) -> threading.Event:
        heapq.heappush(self._asleep, (at, next(self._order), event))
        return event

    def hand_on(self) -> None:
        if self._asleep:
            self.now, _, event = heapq.heappop(self._asleep)
            event.set()
        else:
            self._over.set()

    def sleep(self, seconds: float) -> None:
        event = self.waking(self.now + seconds, threading.Event())
        self.hand_on()
        event.wait()

    def start(self, work: Callable[[], None]) -> None:
        begun = self.waking(self.now, threading.Event())

        def run() -> None:
            begun.wait()
            try:
                work()
            finally:
                self.hand_on()

        threading.Thread(target=run, daemon=True).start()

    def run(self) -> float:
        """Let all threads finish, and return the time at the end."""
        self.hand_on()
        assert self._over.wait(60), "a thread waits for what is not in this world"
        return self.now


class Places:
    """A semaphore in simulated time. With one place, it is a lock."""

    def __init__(self, world: World, places: int = 1) -> None:
        self._world, self._free = world, places
        self._waiting: list[threading.Event] = []

    def __enter__(self) -> None:
        if self._free:
            self._free -= 1
            return
        event = threading.Event()
        self._waiting.append(event)
        self._world.hand_on()
        event.wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._waiting:
            self._world.waking(self._world.now, self._waiting.pop(0))
        else:
            self._free += 1


class Bucket:
    """A throttle with a number of calls per second, and a burst. It refuses further calls, which have no effect."""

    def __init__(self, world: World, rate: float, burst: float) -> None:
        self._world, self.rate, self._burst = world, rate, burst
        self._tokens, self._filled = burst, 0.0
        self.accepted: list[float] = []
        self.refused: list[float] = []

    def call(self) -> None:
        self._world.sleep(LATENCY / 2)
        now = self._world.now
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self.rate)
        self._filled = now
        taken = self._tokens >= 1
        self._tokens -= taken
        (self.accepted if taken else self.refused).append(now)
        self._world.sleep(LATENCY / 2)
        if not taken:
            raise Throttled("AWS answers Throttling: Rate exceeded")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    here = SimpleNamespace(Lock=lambda: Places(world), Semaphore=lambda places: Places(world, places))
    monkeypatch.setattr(pacing, "threading", here)
    return world


def pace(world: World, *, renew: Callable[[], object] = lambda: None, at_once: int = WORKERS) -> RateLimiter:
    return RateLimiter(
        clock=world.clock, sleep=world.sleep, progress=world, renew=renew, at_once=at_once, rate=pacing.FIRST_RATE
    )


def desk(world: World, bucket: Bucket, users: int) -> None:
    """Let eight workers make two calls for each of these users, with some work in between."""
    turn, todo = pace(world), iter(range(users))

    def work() -> None:
        for _ in todo:
            turn(bucket.call)
            world.sleep(WORK)
            turn(bucket.call)

    for _ in range(WORKERS):
        world.start(work)


def test_a_rollout_nearly_reaches_the_rate_of_a_throttle(world: World) -> None:
    """For 300 users at 20 calls per second and a burst of 40, it takes at most 1.1 times the ideal time.

    Below 5 % are refused.
    """
    bucket = Bucket(world, 20, 40)
    desk(world, bucket, 300)
    took = world.run()
    assert len(bucket.accepted) == 600
    assert took <= 1.1 * (600 - 40) / 20
    assert len(bucket.refused) < 0.05 * 600


def test_three_computers_share_a_throttle(world: World) -> None:
    """They notice each other only because IAM throttles them. When one ends, the others use its share."""
    bucket = Bucket(world, 20, 40)
    for _ in range(3):
        desk(world, bucket, 100)
    took = world.run()
    assert took <= 1.15 * (600 - 40) / 20
    assert len(bucket.refused) < 0.06 * 600


@pytest.mark.parametrize("rate", [5, 2, 0.5])
def test_a_lower_limit_is_followed(world: World, rate: float) -> None:
    """The limit drops to a quarter or less during the run. The rest is fully used, and few calls are refused."""
    bucket = Bucket(world, 20, 40)
    desk(world, bucket, 150)

    def tighten() -> None:
        world.sleep(8)
        bucket.rate = rate

    world.start(tighten)
    took = world.run()
    assert len(bucket.accepted) == 300
    assert took <= 8 + 1.1 * (300 - 40 - 8 * 20) / rate
    assert len([at for at in bucket.refused if at > 8]) < 0.5 * len([at for at in bucket.accepted if at > 8])


def test_a_higher_limit_is_found(world: World) -> None:
    """After some seconds without a refusal, the rate doubles again."""
    bucket = Bucket(world, 2, 4)
    desk(world, bucket, 300)

    def widen() -> None:
        world.sleep(10)
        bucket.rate = 100

    world.start(widen)
    assert world.run() < 60


def test_calls_in_progress_are_limited(world: World) -> None:
    """The number of workers does not matter."""
    turn, out, most = pace(world, at_once=3), 0, 0

    def call() -> None:
        nonlocal out, most
        out, most = out + 1, max(most, out + 1)
        world.sleep(1)
        out -= 1

    for _ in range(10):
        world.start(lambda: turn(call))
    world.run()
    assert most == 3


def test_an_iam_that_accepts_nothing_for_ten_minutes_ends_the_run(world: World) -> None:
    """The run does not end earlier, and the error is the Throttling."""
    bucket = Bucket(world, 0, 0)
    told: list[float] = []

    def work() -> None:
        with pytest.raises(Throttled, match="accepted no call for 10 minutes"):
            turn(bucket.call)
        told.append(world.now)

    turn = pace(world)
    world.start(work)
    world.run()
    assert GIVE_UP < told[0] < GIVE_UP + 10


def test_a_busy_call_is_retried_and_then_raised(world: World) -> None:
    """IAM says that the request had no effect, and asks to wait."""
    calls: list[float] = []

    def call() -> None:
        calls.append(world.now)
        raise BusyError("AWS answers ConcurrentModification")

    def work() -> None:
        with pytest.raises(BusyError):
            turn(call)

    turn = pace(world)
    world.start(work)
    world.run()
    assert len(calls) == 1 + len(BUSY)
    assert calls[-1] >= sum(BUSY)


def test_an_unclear_call_is_not_retried(world: World) -> None:
    """The call may have taken effect. The caller checks first."""
    turn, calls = pace(world), []

    def call() -> None:
        calls.append(world.now)
        raise OutcomeUnknownError("no answer from AWS")

    def work() -> None:
        with pytest.raises(OutcomeUnknownError):
            turn(call)

    world.start(work)
    world.run()
    assert len(calls) == 1


def test_one_worker_renews_credentials_for_all(world: World) -> None:
    """The expiry is reported once, new credentials are tried every few seconds, and no call fails."""
    until, tried, done = 60.0, [], []

    def renew() -> None:
        tried.append(world.now)
        if world.now < until:
            raise Expired("the credentials have expired", "sign in again")

    def call() -> None:
        began = world.now
        world.sleep(LATENCY)
        if 5 < began < until:
            raise Expired("AWS answers ExpiredToken", "sign in again")
        done.append(world.now)

    turn = pace(world, renew=renew)

    def work() -> None:
        for _ in range(100):
            turn(call)

    for _ in range(WORKERS):
        world.start(work)
    world.run()
    assert len(done) == 100 * WORKERS
    assert len(tried) == pytest.approx(55 / 5, abs=2)
    assert [note for note in world.notes if "waiting" in note] == ["AWS answers ExpiredToken; waiting: sign in again"]
    assert world.notes[-1] == "the credentials work again"


def test_no_worker_waits_for_credentials_after_a_stop(world: World) -> None:
    """Ctrl-C ends the pause. The row keeps its state."""

    def renew() -> None:
        raise Expired("the credentials have expired", "sign in again")

    def call() -> None:
        world.sleep(LATENCY)
        if world.now > 1:
            raise Expired("AWS answers ExpiredToken", "sign in again")

    def work() -> None:
        turn(call)
        world.sleep(2)
        with pytest.raises(Expired):
            turn(call)

    def stop() -> None:
        world.sleep(20)
        assert turn.paused
        turn.stop()

    turn = pace(world, renew=renew)
    world.start(work)
    world.start(stop)
    assert world.run() < 30
    assert not turn.paused


def test_no_worker_makes_calls_after_break_off(world: World) -> None:
    """Workers that wait for a slot, a place or a throttle stop too. Calls in progress are finished."""
    turn, calls, ends = pace(world, at_once=2), list[float](), list[str]()

    def call() -> None:
        calls.append(world.now)
        world.sleep(1)
        if len(calls) > 10:
            raise Throttled("AWS answers Throttling: Rate exceeded")

    def work() -> None:
        try:
            while True:
                turn(call)
        except KeyboardInterrupt:
            ends.append("broken off")

    def break_off() -> None:
        world.sleep(20)
        turn.break_off()

    for _ in range(WORKERS):
        world.start(work)
    world.start(break_off)
    world.run()
    assert ends == ["broken off"] * WORKERS
    assert len(calls) > 10
    assert max(calls) <= 20
