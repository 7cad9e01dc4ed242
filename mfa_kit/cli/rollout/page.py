"""The status of a rollout as an HTML page, as a report to send."""

from collections import Counter
from collections.abc import Sequence

from mfa_kit.cli.html.chart import Bar, bar_chart
from mfa_kit.cli.html.shell import html_page, html_text
from mfa_kit.core.timestamps import iso_time
from mfa_kit.rollout.outcomes import RowOutcome, RowResult
from mfa_kit.rollout.plan import Plan
from mfa_kit.wiring.aws import account_label

# People with any kind of color blindness can tell these colors apart (Okabe and Ito, 2008). Each bar also has a label.
COLORS = {
    RowOutcome.ENROLLED: "#009e73",
    RowOutcome.STAGED: "#56b4e9",
    RowOutcome.SKIPPED: "#999999",
    RowOutcome.WAITING: "#f0e442",
    RowOutcome.NOT_STARTED: "#cccccc",
    RowOutcome.HALF_MADE: "#cc79a7",
    RowOutcome.BLOCKED: "#e69f00",
    RowOutcome.FAILED: "#d55e00",
}
MEANS = {
    RowOutcome.ENROLLED: "have a device now",
    RowOutcome.STAGED: "made and sealed, not enabled yet",
    RowOutcome.SKIPPED: "had one before",
    RowOutcome.WAITING: "by themselves or at a desk, and not yet",
    RowOutcome.NOT_STARTED: "not begun",
    RowOutcome.HALF_MADE: "being made, or interrupted",
    RowOutcome.BLOCKED: "cannot be begun as it is",
    RowOutcome.FAILED: "failed",
}
# Rows that need action are listed first.
URGENT = (RowOutcome.FAILED, RowOutcome.BLOCKED, RowOutcome.HALF_MADE)
STYLE = """
  td:first-child { overflow-wrap: break-word; max-width: 16rem } td:last-child { overflow-wrap: anywhere }
  .n, .state { white-space: nowrap } summary { margin: 1rem 0 }
"""


def status_page(plan: Plan, results: Sequence[RowResult], *, at: float) -> str:
    """Return the page: how many users have a device, which rows are open and why, and which are done."""
    counts = Counter(result.outcome for result in results)
    failed = [result for result in results if result.outcome is RowOutcome.FAILED]
    open_ = [result for result in results if result.outcome not in {RowOutcome.ENROLLED, RowOutcome.SKIPPED}]
    open_.sort(key=lambda result: URGENT.index(result.outcome) if result.outcome in URGENT else len(URGENT))
    closed = [result for result in results if result.outcome in {RowOutcome.ENROLLED, RowOutcome.SKIPPED}]
    done = counts[RowOutcome.ENROLLED] + counts[RowOutcome.SKIPPED]
    body = [
        f"<h1>MFA rollout, account {html_text(account_label(plan.account))}</h1>",
        f"<p>{done} of {len(results)} users have an MFA device.</p>",
        f"<p>As of {iso_time(at)}; planned {iso_time(plan.planned_at)} by {html_text(plan.by)}.</p>",
        _chart(counts, len(results)),
        _causes(failed),
        f"<h2>Still open: {len(open_)}</h2>{_table(open_)}",
        f"<details><summary>Done: {len(closed)}</summary>{_table(closed)}</details>",
    ]
    return html_page("MFA rollout", filter(None, body), style=STYLE)


def _chart(counts: Counter[RowOutcome], total: int) -> str:
    bars = []
    for outcome, color in COLORS.items():
        if count := counts[outcome]:
            share = f"{count} ({_percent(count, total)})"
            bars.append(Bar(outcome, count, share, color, f"{share} {MEANS[outcome]}"))
    return bar_chart(bars, full=total)


def _percent(part: int, total: int) -> str:
    """Format a share as a percentage; less than one percent is not shown as zero."""
    return "<1 %" if 100 * part < total else f"{100 * part / total:.0f} %"


def _causes(failed: Sequence[RowResult]) -> str:
    """Count the failures by cause, each with the message of its first failure."""
    if not failed:
        return ""
    first = {one.cause: one for one in reversed(failed)}
    rows = "".join(
        f'<tr><td>{html_text(cause)}</td><td class="n">{number}</td>'
        f"<td>{html_text(first[cause].user)}: {html_text(first[cause].reason)}</td></tr>"
        for cause, number in Counter(one.cause for one in failed).most_common()
    )
    return f"<h2>Failed, by reason</h2><table><tr><th>Reason</th><th>Users</th><th>The first</th></tr>{rows}</table>"


def _table(results: Sequence[RowResult]) -> str:
    if not results:
        return "<p>Nobody.</p>"
    rows = "".join(
        f'<tr><td>{html_text(one.user)}</td><td class="state">{one.outcome}</td>'
        f"<td>{html_text(one.reason or MEANS.get(one.outcome, ''))}</td></tr>"
        for one in results
    )
    return f"<table><tr><th>User</th><th>State</th><th>Why</th></tr>{rows}</table>"
