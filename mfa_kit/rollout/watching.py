"""The progress of a rollout that workers carry out, as their shared ledger shows it."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mfa_kit.core.models import HeldWork


def claim_of(digest: str, account: str) -> str:
    """Return the name of the lock that the worker of an account holds. `digest` is the SHA-256 of the plan's file."""
    return f"{digest}-{account}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedWork:
    """The work in one account: its plan's SHA-256, and the number of users for whom `apply` makes a device."""

    account: str
    label: str
    digest: str
    total: int

    @property
    def claim(self) -> str:
        """The name of the lock that the account's worker holds."""
        return claim_of(self.digest, self.account)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanProgress:
    """What the ledger has about a plan: how many devices its runs made, and how many users failed, by cause.

    `complete` says whether the plan's last run has a result for each user, including users who enroll themselves.
    `unfinished_since` is the Unix time since which the oldest unfinished device has not advanced, or None.
    """

    made: int = 0
    causes: Mapping[str, int] = field(default_factory=dict)
    complete: bool = False
    unfinished_since: float | None = None

    @property
    def done(self) -> int:
        """The number of devices that were made, and of users who failed."""
        return self.made + sum(self.causes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The last failure of a row of a plan, as the ledger stores it.

    `key` identifies the row, as RosterRow.key. `cause` is the name of the error's class, and `reason` is its message,
    hint and notes.
    """

    key: str
    cause: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutProgress:
    """The progress of a rollout: numbers of users and accounts, and each worker by its account's label.

    `causes` has the number of failed users by cause. `unfinished_since` is as in PlanProgress, of all plans.
    """

    users: int
    done: int
    causes: Counter[str]
    accounts: int
    complete: int
    workers: Mapping[str, HeldWork]
    unfinished_since: float | None

    @classmethod
    def of(
        cls, works: Sequence[WatchedWork], *, plans: Mapping[str, PlanProgress], claims: Sequence[HeldWork]
    ) -> "RolloutProgress":
        """Add up the progress of all accounts. `plans` has the progress of each plan that was begun, by digest.

        An account is complete if its plan is complete and no worker holds its lock. Then all its users count as done.
        """
        by_work = {claim.work: claim for claim in claims}
        begun = [(work, plans[work.digest]) for work in works if work.digest in plans]
        ended = {work.claim: work.total for work, plan in begun if plan.complete and work.claim not in by_work}
        done = {work.claim: min(plan.done, work.total) for work, plan in begun} | ended
        return cls(
            users=sum(work.total for work in works),
            done=sum(done.values()),
            causes=sum((Counter(plan.causes) for _, plan in begun), Counter()),
            accounts=len(works),
            complete=len(ended),
            workers={work.label: by_work[work.claim] for work in works if work.claim in by_work},
            unfinished_since=min(
                (plan.unfinished_since for plan in plans.values() if plan.unfinished_since), default=None
            ),
        )

    @property
    def is_complete(self) -> bool:
        """Whether the work in all accounts is complete."""
        return self.complete == self.accounts


def users_per_second(samples: Sequence[tuple[float, int]]) -> float:
    """Return how many users per second were done from the first to the last sample.

    A sample is a time in seconds and the number of users who were done by then.
    """
    (began, before), (now, done) = samples[0], samples[-1]
    return max(done - before, 0) / (now - began) if now > began else 0.0


def why_unseen(team: str | None, find_plans: Callable[[], Mapping[str, PlanProgress]]) -> str | None:
    """If the ledger shows no run of the plans, return a sentence about whose runs it shows. Otherwise return None.

    `team` is the team of this PostgreSQL role, or "" if it is in no team. Return None also if `team` is None, because
    the ledger is not shared, or the role sees the runs of all teams.
    """
    if team is None or find_plans():
        return None
    clause = (
        f"your PostgreSQL role sees only the runs of team {team}"
        if team
        else "your PostgreSQL role belongs to no team, so it cannot see the runs of any team"
    )
    return f"the ledger shows no run of this rollout yet; {clause}"
