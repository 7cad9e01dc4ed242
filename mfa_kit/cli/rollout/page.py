"""The status of a rollout as an HTML page, which can be sent as a report."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mfa_kit import wiring
from mfa_kit.cli.html.chart import Bar, bar_chart
from mfa_kit.cli.html.shell import Tone, html_mark, html_page, html_table, html_text, html_time, html_words
from mfa_kit.core.text import count_of
from mfa_kit.rollout.outcomes import RowOutcome, RowResult
from mfa_kit.rollout.plan import Plan

if TYPE_CHECKING:
    from mfa_kit.rollout.index import RolloutIndex

TONES = {
    RowOutcome.ENROLLED: Tone.GOOD,
    RowOutcome.STAGED: Tone.FAIR,
    RowOutcome.SKIPPED: Tone.OFF,
    RowOutcome.WAITING: Tone.MILD,
    RowOutcome.NOT_STARTED: Tone.CALM,
    RowOutcome.HALF_MADE: Tone.ODD,
    RowOutcome.BLOCKED: Tone.WARN,
    RowOutcome.FAILED: Tone.BAD,
}
# The words that follow an outcome in the chart, to explain it. Other outcomes need no explanation.
MEANS = {
    RowOutcome.ENROLLED: ", has a device now",
    RowOutcome.STAGED: ", device created but not enabled yet",
    RowOutcome.SKIPPED: ", already had a device",
    RowOutcome.WAITING: " for the user, or to be enrolled in person",
    RowOutcome.HALF_MADE: ", in progress or interrupted",
    RowOutcome.BLOCKED: ", cannot start",
}
DONE = {RowOutcome.ENROLLED, RowOutcome.SKIPPED}
# The outcomes of rows that need action, which are listed first.
URGENT = (RowOutcome.FAILED, RowOutcome.BLOCKED, RowOutcome.HALF_MADE)


def status_page(plan: Plan, results: Sequence[RowResult], *, read_at: float, lab: bool) -> str:
    """Return the HTML page: how many users have a device, which rows are open and why, and which rows are done.

    A row of the plan is open while its user has no device. `read_at` is the time of the status in Unix seconds. `lab`
    says whether the account belongs to a lab.
    """
    counts = Counter(result.outcome for result in results)
    failed = [result for result in results if result.outcome is RowOutcome.FAILED]
    open_ = [result for result in results if result.outcome not in DONE]
    open_.sort(key=lambda result: URGENT.index(result.outcome) if result.outcome in URGENT else len(URGENT))
    closed = [result for result in results if result.outcome in DONE]
    done = counts[RowOutcome.ENROLLED] + counts[RowOutcome.SKIPPED]
    body = [
        f"<h1>MFA rollout, account {html_text(wiring.aws.account_label(plan.account, lab=lab))}</h1>",
        f'<p class="soft">As of {html_time(read_at)}</p>',
        f'<p class="soft">Planned {html_time(plan.planned_at)}, by {html_words(plan.by)}</p>',
        f'<p class="lead"><b>{done} of {len(results)} users have an MFA device</b></p>',
        _chart(counts, len(results)),
        _causes(failed),
        f"<h2>Still open: {len(open_)}</h2>{_table(open_)}",
        f"<details><summary>Done: {len(closed)}</summary>{_table(closed)}</details>",
    ]
    return html_page("MFA rollout", filter(None, body))


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
    every = [result for account in accounts for result in account.results or ()]
    done = sum(result.outcome in DONE for result in every)
    real = " (LAB, nothing here is real)" if lab else ""
    body = [
        f"<h1>MFA rollout, {count_of(len(accounts), 'account')}{real}</h1>",
        f'<p class="soft">As of {html_time(read_at)}</p>',
        f'<p class="soft">Planned {html_time(index.planned_at)}, by {html_words(index.by)}</p>',
        f'<p class="lead"><b>{done} of {len(every)} users have an MFA device</b></p>',
        _chart(Counter(result.outcome for result in every), len(every)),
        "<h2>Accounts</h2>",
        html_table(("Account", "Users", "Open", "Not read"), map(_account_cells, accounts), numbers=[1, 2]),
    ]
    body += map(_open_rows, accounts)
    return html_page("MFA rollout", filter(None, body))


def _account_cells(account: AccountStatus) -> tuple[str, str, str, str]:
    numbers = str(len(account.results or ())), str(len(account.open))
    return html_words(account.label), *numbers, html_words(account.why)


def _open_rows(account: AccountStatus) -> str:
    if not account.open:
        return ""
    return f"<h2>Still open in {html_words(account.label)}: {len(account.open)}</h2>{_table(account.open)}"


def _chart(counts: Counter[RowOutcome], total: int) -> str:
    bars = (
        Bar(f"{outcome}{MEANS.get(outcome, '')}", count, tone, f"{count} ({_percent(count, total)})")
        for outcome, tone in TONES.items()
        if (count := counts[outcome])
    )
    return bar_chart(bars, full=total)


def _percent(part: int, total: int) -> str:
    """Return a share as a percentage. A share below one percent is shown as `<1 %`."""
    return "<1 %" if 100 * part < total else f"{100 * part / total:.0f} %"


def _causes(failed: Sequence[RowResult]) -> str:
    """Return a table of the failures by cause as HTML, or "" if there are none.

    A row has a cause, the number of users who failed for this cause, and the name and the error of the first such user.
    """
    if not failed:
        return ""
    first = {result.cause: result for result in reversed(failed)}
    rows = [
        (html_words(cause), str(number), html_words(first[cause].user), html_words(first[cause].reason))
        for cause, number in Counter(result.cause for result in failed).most_common()
    ]
    return "<h2>Failed, by reason</h2>" + html_table(("Reason", "Users", "First user", "Message"), rows, numbers=[1])


def _table(results: Sequence[RowResult]) -> str:
    """Return a table of users as HTML. It has a column for the computer if at least one result names a computer."""
    if not results:
        return "<p>No one.</p>"
    named = any(result.computer for result in results)
    rows = [
        (
            html_words(result.user),
            html_mark(result.outcome, TONES.get(result.outcome, Tone.OFF)),
            html_words(result.reason),
            *([html_words(result.computer or "")] if named else ()),
        )
        for result in results
    ]
    return html_table(("User", "State", "Why", *(("Computer",) if named else ())), rows)
