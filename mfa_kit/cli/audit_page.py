"""An audit as one HTML page, for readers who do not use the command line."""

from collections import Counter
from collections.abc import Iterator, Sequence

from mfa_kit import wiring
from mfa_kit.account.account_users import AccountUser, account_users
from mfa_kit.account.snapshot import Snapshot
from mfa_kit.audit.finding import RuleAnswer, RuleResult, Severity
from mfa_kit.audit.records import EarlierAudits
from mfa_kit.cli.audit_charts import TONES, audit_figure, audit_mark, sign_in_chart
from mfa_kit.cli.html.chart import Bar, bar_chart, ring
from mfa_kit.cli.html.shell import Tone, html_page, html_table, html_text, html_time, html_words
from mfa_kit.core.text import count_of

# The maximum number of subjects, such as users, that a row of the table of failed rules names.
SHOWN = 3


def audit_page(snapshot: Snapshot, answers: Sequence[RuleAnswer], before: EarlierAudits | None = None) -> str:
    """Return the HTML page: a summary, charts, the failures, and every rule with its findings.

    `before` compares this audit with the last audit in the ledger. The page shows the change if both audits applied the
    same rules.
    """
    account = wiring.aws.account_label(snapshot.account, lab=snapshot.lab)
    body = [
        f"<h1>Sign-in audit of AWS account {html_text(account)}</h1>",
        f'<p class="soft">Read {html_time(snapshot.at)}, as {html_words(snapshot.caller)}</p>',
        f'<p class="soft">{_made(snapshot)}</p>',
        f'<p class="lead">{_lead(answers)}</p>',
        *_holes(snapshot),
        '<div class="charts">',
        audit_figure("Results", ring(_by_result(answers))),
        audit_figure("Failures by severity", _by_severity(answers)),
        *(_changes(before) if before else ()),
        "</div>",
        *_coverage(account_users(snapshot)),
        *_first(answers),
        "<h2>All checks</h2>",
        *(line for answer in answers for line in _details(answer)),
    ]
    return html_page(f"Sign-in audit of account {account}", body)


def _made(snapshot: Snapshot) -> str:
    if snapshot.report is None:
        return "The credential report could not be read."
    return f"Credential report of {html_time(snapshot.report.made)}"


def _lead(answers: Sequence[RuleAnswer]) -> str:
    count = Counter(answer.result for answer in answers)
    failed = [answer.rule.severity for answer in answers if answer.result is RuleResult.FAIL]
    applied = len(answers) - count[RuleResult.NOT_APPLICABLE]
    phrases = [f"<b>{count[RuleResult.PASS]} of {applied} checks passed</b>"]
    if failed:
        worst = min(failed, key=lambda severity: severity.rank)
        phrases.append(f"{len(failed)} failed ({failed.count(worst)} {worst})")
    if count[RuleResult.ACCEPTED]:
        phrases.append(f"{count[RuleResult.ACCEPTED]} accepted")
    if count[RuleResult.UNKNOWN]:
        phrases.append(f"{count[RuleResult.UNKNOWN]} could not be evaluated and did not pass")
    return ", ".join(phrases)


def _holes(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.holes:
        yield "<p><b>Could not be read:</b></p><ul>"
        for hole in snapshot.holes:
            about = f" of {html_words(hole.about)}" if hole.about else ""
            yield f"<li>{html_text(hole.part)}{about}: {html_words(hole.why)}</li>"
        yield "</ul>"


def _by_result(answers: Sequence[RuleAnswer]) -> list[Bar]:
    counts = Counter(answer.result for answer in answers)
    return [Bar(f"{counts[result]} {result}", counts[result], TONES[result]) for result in RuleResult]


def _by_severity(answers: Sequence[RuleAnswer]) -> str:
    counts = Counter(answer.rule.severity for answer in answers if answer.result is RuleResult.FAIL)
    bars = [Bar(severity, counts[severity], TONES[severity], str(counts[severity])) for severity in Severity]
    return bar_chart(bars, full=max(counts.values(), default=0))


def _changes(before: EarlierAudits) -> Iterator[str]:
    """Yield a chart that compares the failed rules of the last audit with those of this audit.

    Yield nothing if there was no earlier audit, or if the last audit applied other rules.
    """
    if before.past is None or not before.changes:
        return
    bars = []
    for severity, then, now in before.changes:
        bars.append(Bar(f"{severity} before", then, Tone.OFF, str(then)))
        bars.append(Bar(f"{severity} now", now, TONES[severity], str(now)))
    chart = bar_chart(bars, full=max((bar.value for bar in bars), default=0) or 1)
    yield audit_figure(f"Failures, compared with the audit of {html_time(before.past.at)}", chart)


def _coverage(everybody: Sequence[AccountUser]) -> Iterator[str]:
    """Yield the HTML of the chart that shows how users with a console password sign in."""
    ways = Counter(user.sign_in_way for user in everybody if user.password)
    total = sum(ways.values())
    yield "<h2>How users sign in</h2>"
    if not total:
        yield "<p>No user is known to have a console password.</p>"
        return
    yield f"<p>{count_of(total, 'user')} {'has' if total == 1 else 'have'} a console password. "
    yield "A user with several devices counts once, by the strongest device.</p>"
    yield sign_in_chart(ways)


def _first(answers: Sequence[RuleAnswer]) -> Iterator[str]:
    """Yield the HTML of a table of the rules that failed, worst first. If no rule failed, yield nothing."""
    failed = [answer for answer in answers if answer.result is RuleResult.FAIL]
    if failed:
        yield "<h2>What to fix, worst first</h2>"
        yield html_table(
            ("Severity", "Check", "Fails for"),
            [(audit_mark(answer.rule.severity), html_words(answer.rule.title), _names(answer)) for answer in failed],
        )


def _names(answer: RuleAnswer) -> str:
    subjects = list(dict.fromkeys(finding.subject for finding in answer.findings))
    more = f" and {len(subjects) - SHOWN} more" if len(subjects) > SHOWN else ""
    return ", ".join(map(html_words, subjects[:SHOWN])) + more


def _details(answer: RuleAnswer) -> Iterator[str]:
    references = f" · {html_text(', '.join(answer.references))}" if answer.references else ""
    failed, severity = answer.result is RuleResult.FAIL, answer.rule.severity
    severe = audit_mark(severity) if failed else f'<span class="soft">{severity}</span>'
    yield f"<details><summary>{audit_mark(answer.result)} {severe} {html_words(answer.rule.title)}</summary>"
    yield f'<p class="soft">{html_text(answer.rule.id)}{references}</p>'
    if answer.why:
        yield f"<p>{html_words(answer.why)}</p>"
    if answer.findings or answer.unknown or answer.accepted:
        yield "<ul>"
        for finding in answer.findings:
            remedy = "\n".join(html_words(line) for line in finding.remedy)
            yield f"<li><b>{html_words(finding.subject)}</b>: {html_words(finding.evidence)}<pre>{remedy}</pre></li>"
        for unknown in answer.unknown:
            yield f"<li><b>{html_words(unknown.subject)}</b>: {html_words(unknown.why)}</li>"
        yield from _accepted(answer)
        yield "</ul>"
    yield "</details>"


def _accepted(answer: RuleAnswer) -> Iterator[str]:
    """Yield an HTML list item for each finding that a baseline accepts."""
    for finding in answer.accepted:
        until = (
            f"accepted by {html_words(finding.owner)} until {html_text(finding.until)}: {html_words(finding.reason)}"
        )
        yield f"<li><b>{html_words(finding.subject)}</b>: {html_words(finding.evidence)}"
        yield f'<br><span class="soft">{until}</span></li>'
