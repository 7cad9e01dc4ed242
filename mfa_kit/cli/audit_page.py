"""An audit as one HTML page, for readers who do not work with tables."""

from collections import Counter
from collections.abc import Iterator, Sequence

from mfa_kit.account.account_users import AccountUser, account_users
from mfa_kit.account.snapshot import Snapshot
from mfa_kit.audit.finding import RuleAnswer, RuleResult, Severity
from mfa_kit.cli.html.chart import Bar, bar_chart, ring
from mfa_kit.cli.html.shell import html_page, html_text
from mfa_kit.core.models import DeviceType
from mfa_kit.core.timestamps import iso_time
from mfa_kit.wiring.aws import account_label

STYLE = """
  .lead { font-size: 17px; margin: 1rem 0 } .soft { color: #595959 }
  .charts { display: flex; flex-wrap: wrap; gap: 2rem }
  figure { margin: 1rem 0; flex: 1 1 18rem } figcaption { font-weight: 600; margin-bottom: .4rem }
  details { border: 1px solid #d5d5d5; border-radius: 6px; margin: .6rem 0; padding: .5rem .9rem; break-inside: avoid }
  summary { font-weight: 600 } li { margin: .5rem 0 } td, li { overflow-wrap: anywhere }
  pre { background: #f4f4f4; padding: .5rem .7rem; margin: .3rem 0; white-space: pre-wrap; font-size: 13px }
  .mark { display: inline-block; min-width: 4.6rem; padding: 0 .5rem; border-radius: 4px; color: #fff; font-size: 13px;
    text-align: center; font-weight: 600 }
  @media print {
    details { break-inside: auto } summary { break-after: avoid } li, figure { break-inside: avoid }
    details::details-content { content-visibility: visible; block-size: auto }
  }
"""
# Colors that color-blind readers can tell apart. Each is dark enough for white text.
COLORS = {
    "critical": "#8b0a1a",
    "high": "#b8400c",
    "medium": "#8a6100",
    "low": "#4a5a6a",
    "fail": "#8b0a1a",
    "unknown": "#6b4fa0",
    "pass": "#1f6f8b",
    "not applicable": "#6b6b6b",
}
WAYS = (
    ("security key or passkey", "#1f6f8b"),
    ("code from an app or a token", "#4d9a6a"),
    ("kind unknown", "#6b4fa0"),
    ("text message", "#b8400c"),
    ("no MFA", "#8b0a1a"),
)
# The number of names in a row of the summary.
SHOWN = 3


def audit_page(snapshot: Snapshot, answers: Sequence[RuleAnswer]) -> str:
    """Return the page: a summary, charts, the failures, and every rule with its findings."""
    account = account_label(snapshot.account)
    read = f"Read {iso_time(snapshot.at)} as {snapshot.caller}"
    body = [
        f"<h1>Sign-in audit of AWS account {html_text(account)}</h1>",
        f'<p class="soft">{html_text(read)}; {_made(snapshot)}.</p>',
        f'<p class="lead">{_lead(answers)}</p>',
        *_holes(snapshot),
        '<div class="charts">',
        _figure("Results", ring(_by_result(answers))),
        _figure("Failures by severity", _by_severity(answers)),
        "</div>",
        *_coverage(account_users(snapshot)),
        *_first(answers),
        "<h2>All checks</h2>",
        *(line for one in answers for line in _details(one)),
    ]
    return html_page(f"Sign-in audit of account {account}", body, style=STYLE)


def _made(snapshot: Snapshot) -> str:
    if snapshot.report is None:
        return "the credential report could not be read"
    return f"credential report of {iso_time(snapshot.report.made)}"


def _lead(answers: Sequence[RuleAnswer]) -> str:
    count = Counter(one.result for one in answers)
    worst = next((one.rule.severity for one in answers if one.result is RuleResult.FAIL), None)
    applied = len(answers) - count[RuleResult.NOT_APPLICABLE]
    said = [f"<b>{count[RuleResult.PASS]} of {applied} checks passed.</b>"]
    if worst is not None:
        as_bad = sum(one.result is RuleResult.FAIL and one.rule.severity is worst for one in answers)
        said.append(f"{count[RuleResult.FAIL]} failed, {as_bad} of them {worst}.")
    if count[RuleResult.UNKNOWN]:
        said.append(f"{count[RuleResult.UNKNOWN]} could not be evaluated and do not count as passed.")
    return " ".join(said)


def _holes(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.holes:
        yield "<p><b>Could not be read:</b></p><ul>"
        for hole in snapshot.holes:
            about = f" of {html_text(hole.about)}" if hole.about else ""
            yield f"<li>{html_text(hole.part)}{about}: {html_text(hole.why)}</li>"
        yield "</ul>"


def _figure(title: str, chart: str) -> str:
    return f"<figure><figcaption>{title}</figcaption>{chart}</figure>"


def _by_result(answers: Sequence[RuleAnswer]) -> list[Bar]:
    counts = Counter(one.result for one in answers)
    return [Bar(f"{counts[result]} {result}", counts[result], color=COLORS[result]) for result in RuleResult]


def _by_severity(answers: Sequence[RuleAnswer]) -> str:
    counts = Counter(one.rule.severity for one in answers if one.result is RuleResult.FAIL)
    bars = [Bar(severity, counts[severity], str(counts[severity]), COLORS[severity]) for severity in Severity]
    return bar_chart(bars, full=max(counts.values(), default=0), width=340, labels=70, ends=50)


def _way(one: AccountUser) -> str:
    """Return how a user signs in, judged by the user's best device."""
    if DeviceType.FIDO2 in one.types:
        way = "security key or passkey"
    elif one.types - {DeviceType.SMS}:
        way = "code from an app or a token"
    elif one.types:
        way = "text message"
    else:
        way = "kind unknown" if one.mfa else "no MFA"
    return way


def _coverage(everybody: Sequence[AccountUser]) -> Iterator[str]:
    """Chart how users with a console password sign in."""
    ways = Counter(_way(one) for one in everybody if one.password)
    total = sum(ways.values())
    yield "<h2>How users sign in</h2>"
    if not total:
        yield "<p>No user is known to have a console password.</p>"
        return
    yield f"<p>{total} users have a console password. Each user is counted by the best known device.</p>"
    bars = [
        Bar(f"{ways[name]} {name} ({100 * ways[name] / total:.0f} %)", ways[name], color=color)
        for name, color in WAYS
        if ways[name]
    ]
    yield bar_chart(bars, full=total, labels=260, ends=0)


def _first(answers: Sequence[RuleAnswer]) -> Iterator[str]:
    """List the failures, worst first: the summary of the page."""
    failed = [one for one in answers if one.result is RuleResult.FAIL]
    if failed:
        yield "<h2>What to fix, worst first</h2><table><thead><tr><th>Severity</th><th>Check</th>"
        yield "<th>Fails for</th></tr></thead><tbody>"
        for one in failed:
            subjects = list(dict.fromkeys(each.subject for each in one.findings))
            names = ", ".join(map(html_text, subjects[:SHOWN]))
            title = html_text(one.rule.title)
            more = f" and {len(subjects) - SHOWN} more" if len(subjects) > SHOWN else ""
            yield f"<tr><td>{_mark(one.rule.severity)}</td><td>{title}</td><td>{names}{more}</td></tr>"
        yield "</tbody></table>"


def _mark(name: str) -> str:
    return f'<span class="mark" style="background:{COLORS[name]}">{name}</span>'


def _details(one: RuleAnswer) -> Iterator[str]:
    references = f" · {html_text(', '.join(one.rule.references))}" if one.rule.references else ""
    yield f"<details><summary>{_mark(one.result)} {html_text(one.rule.title)}</summary>"
    yield f'<p class="soft">{html_text(one.rule.id)} · {one.rule.severity}{references}</p>'
    if one.why:
        yield f"<p>{html_text(one.why)}</p>"
    if one.findings or one.unsure:
        yield "<ul>"
        for finding in one.findings:
            remedy = "\n".join(html_text(line) for line in finding.remedy)
            yield f"<li><b>{html_text(finding.subject)}</b>: {html_text(finding.evidence)}<pre>{remedy}</pre></li>"
        for unsure in one.unsure:
            yield f"<li><b>{html_text(unsure.subject)}</b>: {html_text(unsure.why)}</li>"
        yield "</ul>"
    yield "</details>"
