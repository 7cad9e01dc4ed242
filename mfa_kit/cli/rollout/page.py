"""The status of a rollout as one page, for the person who asked for it: no script, nothing from elsewhere."""

from collections import Counter
from collections.abc import Sequence
from html import escape

from mfa_kit.cli.options import written
from mfa_kit.core.text import one_line
from mfa_kit.rollout.outcomes import RowOutcome, RowResult
from mfa_kit.rollout.plan import Plan
from mfa_kit.wiring.aws import account_label

# Colors that people with each kind of color blindness tell apart (Okabe and Ito, 2008); each bar has its word too.
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
# What somebody has to do something about stands first.
URGENT = (RowOutcome.FAILED, RowOutcome.BLOCKED, RowOutcome.HALF_MADE)
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222;
  background: #fff }
svg { width: 100%; height: auto } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top }
td:first-child { overflow-wrap: break-word; max-width: 16rem } td:last-child { overflow-wrap: anywhere }
.n, .state { white-space: nowrap } .n { text-align: right } summary { cursor: pointer; margin: 1rem 0 }
"""
WIDTH, ROW, LABEL, NUMBER = 720, 30, 120, 110


def status_page(plan: Plan, results: Sequence[RowResult], *, at: float) -> str:
    """Return the page. Whatever stands in a roster is escaped."""
    counts = Counter(result.outcome for result in results)
    failed = [result for result in results if result.outcome is RowOutcome.FAILED]
    open_ = [result for result in results if result.outcome not in {RowOutcome.ENROLLED, RowOutcome.SKIPPED}]
    open_.sort(key=lambda result: URGENT.index(result.outcome) if result.outcome in URGENT else len(URGENT))
    closed = [result for result in results if result.outcome in {RowOutcome.ENROLLED, RowOutcome.SKIPPED}]
    done = counts[RowOutcome.ENROLLED] + counts[RowOutcome.SKIPPED]
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width"><title>MFA rollout</title>',
        f"<style>{STYLE}</style></head><body>",
        f"<h1>MFA rollout, account {_text(account_label(plan.account))}</h1>",
        f"<p>{done} of {len(results)} users have an MFA device.</p>",
        f"<p>As of {written(at)}; planned {written(plan.planned_at)} by {_text(plan.by)}.</p>",
        _chart(counts, len(results)),
        _causes(failed),
        f"<h2>Still open: {len(open_)}</h2>{_table(open_)}",
        f"<details><summary>Done: {len(closed)}</summary>{_table(closed)}</details>",
        "</body></html>\n",
    ]
    return "\n".join(filter(None, parts))


def _text(text: str) -> str:
    return escape(one_line(text))


def _chart(counts: Counter[RowOutcome], total: int) -> str:
    shown = [outcome for outcome in COLORS if counts[outcome]]
    bars = []
    for number, outcome in enumerate(shown):
        y, wide = number * ROW, max(2, round((WIDTH - LABEL - NUMBER) * counts[outcome] / max(total, 1)))
        share = f"{counts[outcome]} ({_percent(counts[outcome], total)})"
        bars.append(
            f'<g><title>{share} {MEANS[outcome]}</title><text x="0" y="{y + 20}">{outcome}</text>'
            f'<rect x="{LABEL}" y="{y + 4}" width="{wide}" height="{ROW - 8}" fill="{COLORS[outcome]}"/>'
            f'<text x="{LABEL + wide + 8}" y="{y + 20}">{share}</text></g>'
        )
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in shown)
    return (
        f'<svg viewBox="0 0 {WIDTH} {max(1, len(shown)) * ROW}" font-size="15" role="img" '
        f'aria-label="{told}">{"".join(bars)}</svg>'
    )


def _percent(part: int, total: int) -> str:
    """Write a share; the few that are less than a hundredth are not none."""
    return "&lt;1 %" if 100 * part < total else f"{100 * part / total:.0f} %"


def _causes(failed: Sequence[RowResult]) -> str:
    """Count the failures by their cause, each with the sentence of the first."""
    if not failed:
        return ""
    first = {one.cause: one for one in reversed(failed)}
    rows = "".join(
        f'<tr><td>{_text(cause)}</td><td class="n">{number}</td>'
        f"<td>{_text(first[cause].user)}: {_text(first[cause].reason)}</td></tr>"
        for cause, number in Counter(one.cause for one in failed).most_common()
    )
    return f"<h2>Failed, by reason</h2><table><tr><th>Reason</th><th>Users</th><th>The first</th></tr>{rows}</table>"


def _table(results: Sequence[RowResult]) -> str:
    if not results:
        return "<p>Nobody.</p>"
    rows = "".join(
        f'<tr><td>{_text(one.user)}</td><td class="state">{one.outcome}</td>'
        f"<td>{_text(one.reason or MEANS.get(one.outcome, ''))}</td></tr>"
        for one in results
    )
    return f"<table><tr><th>User</th><th>State</th><th>Why</th></tr>{rows}</table>"
