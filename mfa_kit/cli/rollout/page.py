"""The status of a rollout as an HTML page, which can be sent as a report."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mfa_kit import wiring
from mfa_kit.core.text import count_of
from mfa_kit.rollout.outcomes import RowOutcome, RowResult
from mfa_kit.rollout.plan import Plan

if TYPE_CHECKING:
    from mfa_kit.rollout.index import RolloutIndex

DONE = {RowOutcome.ENROLLED, RowOutcome.SKIPPED}
# The outcomes of rows that need action, which are listed first.
URGENT = (RowOutcome.FAILED, RowOutcome.BLOCKED, RowOutcome.HALF_MADE)


def status_page(plan: Plan, results: Sequence[RowResult], *, read_at: float, lab: bool) -> str:
    """Return the HTML page: how many users have a device, which rows are open and why, and which rows are done.

    A row of the plan is open while its user has no device. `read_at` is the time of the status in Unix seconds. `lab`
    says whether the account belongs to a lab.
    """
    failed = [result for result in results if result.outcome is RowOutcome.FAILED]
    first = {result.cause: result for result in reversed(failed)}
    open_ = [result for result in results if result.outcome not in DONE]
    open_.sort(key=lambda result: URGENT.index(result.outcome) if result.outcome in URGENT else len(URGENT))
    return _page(
        plan,
        results,
        subject=f"account {wiring.aws.account_label(plan.account, lab=lab)}",
        read_at=read_at,
        causes=[(first[cause], count) for cause, count in Counter(result.cause for result in failed).most_common()],
        open=open_,
        closed=[result for result in results if result.outcome in DONE],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountStatus:
    """The results of the users of an account.

    If the account could not be read, `results` is None, and `why` is the reason.
    """

    label: str
    results: Sequence[RowResult] | None
    why: str = ""

    @property
    def open(self) -> Sequence[RowResult]:
        """The results of users who have no device."""
        return [result for result in self.results or () if result.outcome not in DONE]


def index_page(index: "RolloutIndex", accounts: Sequence[AccountStatus], *, read_at: float, lab: bool) -> str:
    """Return the HTML page of a rollout in several accounts: how many users have a device, in total and per account.

    It also lists the open rows, whose users have no device. `read_at` is the time of the status in Unix seconds. `lab`
    says whether the accounts belong to a lab.
    """
    results = [result for account in accounts for result in account.results or ()]
    subject = f"{count_of(len(accounts), 'account')}{' (LAB, nothing here is real)' * lab}"
    return _page(index, results, subject=subject, read_at=read_at, accounts=accounts)


def _page(planned: "Plan | RolloutIndex", results: Sequence[RowResult], **values: object) -> str:
    counts = Counter(str(result.outcome) for result in results)
    done = sum(counts[outcome] for outcome in DONE)
    return wiring.files.html_page(
        "rollout.html", planned=planned, counts=counts, done=done, total=len(results), **values
    )
