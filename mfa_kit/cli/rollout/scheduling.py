"""Decides in which account a rollout command works next, alone or as one of several workers."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from mfa_kit.cli.rollout.results import AccountWork, is_alone
from mfa_kit.core.errors import Expired, Throttled
from mfa_kit.core.interaction import Progress
from mfa_kit.core.stopping import sleep
from mfa_kit.core.text import count_of
from mfa_kit.rollout.outcomes import RowResult

# The seconds between two attempts to begin with a plan or an account on which another worker is working.
LOOK_AGAIN = 0.25
# If AWS throttles an account, or if its credentials expire: the number of attempts of a worker in the account, and the
# seconds between two attempts. In these seconds, another worker can take the account.
ATTEMPTS, PAUSE = 3, 5.0
# The errors after which another attempt, by this worker or another worker, may succeed.
PASSING = (Throttled, Expired)


class AccountScheduler(Protocol):
    """Decides in which account a command works next. While the command works in an account, it has the turn there."""

    @property
    def waits_for(self) -> int:
        """The number of accounts in which other workers work while this worker waits; 0 if it does not wait."""
        ...

    def todo(self, stopped: Callable[[], bool]) -> Iterator[AccountWork]:
        """Yield the next account to work in, until none is left or `stopped` returns True."""
        ...

    def turn(self, work: AccountWork) -> AbstractContextManager[bool]:
        """Return a context that yields whether this command may work in an account now."""
        ...

    def leave(self, work: AccountWork) -> None:
        """Record that the work in an account has ended, or did not begin."""
        ...


@dataclass(frozen=True, slots=True)
class OneByOne:
    """Turns of a command that works in each account once, even if other processes work there.

    An account whose `why` is not empty is skipped: `why` says why no work is possible there.
    """

    works: Sequence[AccountWork]
    waits_for: int = 0

    def todo(self, _: Callable[[], bool]) -> Iterator[AccountWork]:
        """Yield each account once, except accounts that are skipped."""
        return (work for work in self.works if not work.why)

    @contextmanager
    def turn(self, _: AccountWork) -> Iterator[bool]:
        """Yield True at once, without waiting for other processes."""
        yield True

    def leave(self, work: AccountWork) -> None:
        """Do nothing, because an account is never tried again."""


@dataclass(slots=True, kw_only=True)
class SharedTurns:
    """Turns of one worker that shares the accounts with other workers.

    `claim` returns a context that yields whether this worker has the turn in an account. `look` returns the results of
    all users of an account if other workers have completed the account since this worker began, otherwise None.
    """

    works: Sequence[AccountWork]
    claim: Callable[[AccountWork], AbstractContextManager[bool]]
    look: Callable[[AccountWork], Sequence[RowResult] | None]
    progress: Progress
    waits_for: int = 0
    _tries: Counter[str] = field(default_factory=Counter)
    _due: dict[str, float] = field(default_factory=dict)
    _busy: set[str] = field(default_factory=set)
    _ours: set[str] = field(default_factory=set)
    _closed: set[str] = field(default_factory=set)
    _claimed: int = 0

    def todo(self, stopped: Callable[[], bool]) -> Iterator[AccountWork]:
        """Yield the next account to try, until this worker can do nothing more in any account.

        Wait while other workers work in all remaining accounts.
        """
        while not stopped() and (open_works := self._left()):
            before = self._claimed
            for work in open_works:
                if stopped():
                    return
                if self._is_due(work):
                    self._busy.add(work.account.id)
                    yield work
            if self._claimed == before:
                self._wait()

    @contextmanager
    def turn(self, work: AccountWork) -> Iterator[bool]:
        """Return a context that yields whether this worker works in the account now.

        If so, no other worker works there until the context ends. If other workers have completed the account, keep
        their results and yield False.
        """
        with self.claim(work) as ours:
            self._claimed += ours
            self.waits_for = 0 if ours else self.waits_for
            if not ours:
                yield False
            elif (results := self.look(work)) is not None:
                self._take_over(work, results)
                yield False
            else:
                self._tries[work.account.id] += 1
                self._ours.add(work.account.id)
                work.tally, work.error, work.by_others = None, None, ()
                yield True

    def leave(self, work: AccountWork) -> None:
        """Record that the work in an account has ended, or did not begin.

        After an error in PASSING, this worker tries the account again later, up to ATTEMPTS times in all.
        """
        number = work.account.id
        ours, passing = number in self._ours, isinstance(work.error, PASSING)
        self._ours.discard(number)
        if ours and passing and self._tries[number] < ATTEMPTS:
            self._due[number] = time.monotonic() + PAUSE
        elif ours or (work.error and not passing):  # an error is possible before this worker has the turn
            self._closed.add(number)
        self._busy.discard(number)

    def _left(self) -> list[AccountWork]:
        return [work for work in self.works if not work.why and work.account.id not in self._closed]

    def _is_due(self, work: AccountWork) -> bool:
        number = work.account.id
        closed_or_busy = number in self._closed or number in self._busy
        return not closed_or_busy and time.monotonic() >= self._due.get(number, 0.0)

    def _take_over(self, work: AccountWork, results: Sequence[RowResult]) -> None:
        work.tally, work.error, work.by_others = None, None, results
        self._closed.add(work.account.id)

    def _wait(self) -> None:
        """Wait LOOK_AGAIN seconds. If this begins a wait for other workers, print in how many accounts they work."""
        before, self.waits_for = self.waits_for, len([*filter(self._is_due, self._left())])
        if self.waits_for and not before:
            others = f"other workers are working in {count_of(self.waits_for, 'account')}"
            others = "another worker is working on this plan" if is_alone(self.works) else others
            self.progress.note(f"waiting, because {others}")
        sleep(LOOK_AGAIN)
