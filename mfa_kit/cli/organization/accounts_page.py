"""Makes an HTML page of the audit of many accounts: what to fix first, the worst accounts, and a map of all checks."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from mfa_kit.account.account_users import WAYS
from mfa_kit.audit.finding import AuditRule, RuleResult, Severity
from mfa_kit.audit.overview import AuditOverview
from mfa_kit.audit.registry import RULES
from mfa_kit.cli.audit_charts import TONES, WAY_TONES, audit_figure, audit_mark, sign_in_chart
from mfa_kit.cli.html.chart import Bar, bar_chart, ring
from mfa_kit.cli.html.heat_map import MapColumn, heat_map, map_cell, map_style
from mfa_kit.cli.html.shell import Tone, html_mark, html_page, html_table, html_time, html_words
from mfa_kit.core.text import count_of
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.across import UNREAD, Visit, VisitState
from mfa_kit.organization.wording import by_reason

if TYPE_CHECKING:
    from mfa_kit.cli.organization.audited import Audited
    from mfa_kit.core.models import Caller

# The CSS of the page. The map of all checks is wide, but lines of text stay short.
STYLE = "body { max-width: 72rem } p, details { max-width: 60rem }\n"
# The table of the worst accounts has at most WORST accounts, and at most SHOWN checks in each row. A list of at
# most OPEN accounts is expanded from the start.
WORST, SHOWN, OPEN = 10, 3, 10
# The signs in the map. With them, the map can be read without colors.
SIGNS: Final = {
    "critical": "C",
    "high": "H",
    "medium": "M",
    "low": "L",
    "unknown": "?",
    "accepted": "A",
    "pass": "·",
    "not applicable": "-",
}
SHORT_WAYS: Final = dict(
    zip(WAYS, ("key or passkey", "app or token", "kind unknown", "text message", "no MFA"), strict=True)
)
# The ways to sign in that are, or may be, too weak. The map shows them in color.
WEAK_WAYS: Final = frozenset(WAYS[2:])
PASSED = "passed"


class ReadAccount(NamedTuple):
    """An account that was read, and a summary of its audit."""

    account: OrgAccount
    overview: AuditOverview


def organization_page(visits: "Sequence[Visit[Audited]]", *, caller: "Caller") -> str:
    """Return the HTML page of an audit of many accounts. Accounts with the worst results come first.

    `visits` has the audit of each account, or the reason why the account could not be read. `caller` is the identity of
    the credentials.
    """
    read = sorted(
        (ReadAccount(visit.account, visit.found.overview) for visit in visits if visit.found), key=_worst_first
    )
    rules = [rule for rule in RULES if any(rule.id in entry.overview.results for entry in read)]
    title = f"Sign-in audit of {count_of(len(visits), 'AWS account')}{' (LAB, nothing here is real)' * caller.lab}"
    columns = _columns(rules)
    body = [
        f"<h1>{title}</h1>",
        f'<p class="soft">{_times(read)}as {html_words(caller.arn)}</p>',
        f'<p class="lead">{_lead(visits, read)}</p>',
        *_reasons(visits, UNREAD, "could not be read"),
        *_reasons(visits, {VisitState.SKIPPED}, "skipped"),
        *(_results(visits, read, rules, columns) if read else ()),
    ]
    return html_page(title, body, style=STYLE + map_style(columns))


def _worst_first(entry: ReadAccount) -> tuple[object, ...]:
    bad = (*entry.overview.badness, entry.overview.without_mfa)
    return (*(-count for count in bad), entry.account.name.lower(), entry.account.id)


def _times(read: Sequence[ReadAccount]) -> str:
    if not read:
        return "Read "
    first, last = (bound(entry.overview.at for entry in read) for bound in (min, max))
    if last - first < 1:
        return f"Read {html_time(first)}, "
    return f"Read from {html_time(first)} to {html_time(last)}, "


def _worst_of(overview: AuditOverview) -> str:
    """Return the severity of the worst failed check. If no check failed, return "unknown" or "passed"."""
    failed = [severity for severity in Severity if overview.failed.get(severity)]
    return failed[0] if failed else RuleResult.UNKNOWN if overview.unknown else PASSED


def _lead(visits: "Sequence[Visit[Audited]]", read: Sequence[ReadAccount]) -> str:
    states, worst = (
        Counter(visit.state for visit in visits),
        Counter(_worst_of(entry.overview) for entry in read),
    )
    tried = count_of(len(visits) - states[VisitState.SKIPPED], "account")
    clauses = [f"<b>{worst[PASSED]} of {tried} passed every check</b>"]
    if severities := [severity for severity in Severity if worst[severity]]:
        failed = sum(worst[severity] for severity in severities)
        clauses.append(f"{failed} failed a check ({worst[severities[0]]} of them a {severities[0]} check)")
    if worst[RuleResult.UNKNOWN]:
        clauses.append(f"{worst[RuleResult.UNKNOWN]} had checks that could not be evaluated")
    if unread := sum(states[state] for state in UNREAD):
        clauses.append(f"{unread} could not be read and did not pass")
    return ", ".join(clauses)


def _reasons(visits: "Sequence[Visit[Audited]]", states: set[VisitState], predicate: str) -> Iterator[str]:
    """Yield the HTML of a list of the accounts in these states, with the reasons and what to do.

    The title of the list is the number of accounts and `predicate`. If there is no such account, yield nothing.
    """
    matching_visits = [visit for visit in visits if visit.state in states]
    if not matching_visits:
        return
    count = len(matching_visits)
    yield f"<details{' open' * (count <= OPEN)}><summary>{count_of(count, 'account')} {predicate}</summary><ul>"
    for accounts, why in by_reason((visit.account, visit.why) for visit in matching_visits):
        names = ", ".join(account.label for account in accounts)
        yield f"<li><b>{html_words(names)}</b>: {html_words(why)}</li>"
    yield "</ul>"
    for hint in dict.fromkeys(visit.hint for visit in matching_visits if visit.hint):
        yield f"<p>To do: {html_words(hint)}</p>"
    yield "</details>"


def _results(
    visits: "Sequence[Visit[Audited]]",
    read: Sequence[ReadAccount],
    rules: Sequence[AuditRule],
    columns: Sequence[MapColumn],
) -> Iterator[str]:
    yield '<div class="charts">'
    yield audit_figure("Accounts by their worst check", ring(_by_worst(visits, read)))
    yield audit_figure("Failed checks in all accounts", _by_severity(read))
    yield "</div>"
    yield from _coverage(read)
    yield from _checks(read, rules)
    yield from _worst(read, rules)
    yield from _map(read, rules, columns)


def _by_worst(visits: "Sequence[Visit[Audited]]", read: Sequence[ReadAccount]) -> list[Bar]:
    counts = Counter(_worst_of(entry.overview) for entry in read)
    counts[RuleResult.UNKNOWN] += sum(visit.state in UNREAD for visit in visits)
    tones = {**TONES, PASSED: Tone.GOOD}
    names = (*Severity, RuleResult.UNKNOWN, PASSED)
    return [Bar(f"{counts[name]} {name}", counts[name], tones[name]) for name in names if counts[name]]


def _by_severity(read: Sequence[ReadAccount]) -> str:
    counts = {severity: sum(entry.overview.failed.get(severity, 0) for entry in read) for severity in Severity}
    bars = [Bar(severity, count, TONES[severity], str(count)) for severity, count in counts.items()]
    return bar_chart(bars, full=max(counts.values()))


def _coverage(read: Sequence[ReadAccount]) -> Iterator[str]:
    """Yield the HTML of a chart: how users with a console password sign in, in all accounts together."""
    ways: Counter[str] = sum((Counter(entry.overview.ways) for entry in read), Counter())
    yield "<h2>How users sign in</h2>"
    if not ways:
        yield "<p>No user is known to have a console password.</p>"
        return
    yield f"<p>Users with a console password: {ways.total()}. A user with several devices is "
    yield "counted once, by the strongest device."
    yield "The map below has these numbers for each account.</p>"
    yield sign_in_chart(ways)


def _checks(read: Sequence[ReadAccount], rules: Sequence[AuditRule]) -> Iterator[str]:
    """Yield the HTML of a table: the checks that failed, and in how many accounts. If none failed, yield nothing."""
    failed = Counter(
        rule for entry in read for rule, result in entry.overview.results.items() if result is RuleResult.FAIL
    )
    failing = sorted(
        (rule for rule in rules if failed[rule.id]), key=lambda rule: (rule.severity.rank, -failed[rule.id])
    )
    if failing:
        yield "<h2>What to fix, worst first</h2>"
        yield html_table(
            ("Severity", "Check", "ID", "Fails in"),
            [
                (audit_mark(rule.severity), html_words(rule.title), rule.id, count_of(failed[rule.id], "account"))
                for rule in failing
            ],
            numbers=[3],
        )


def _worst(read: Sequence[ReadAccount], rules: Sequence[AuditRule]) -> Iterator[str]:
    """Yield the HTML of a table of the worst accounts with their worst checks. If no check failed, yield nothing."""
    listed = [entry for entry in read if _worst_of(entry.overview) in set(Severity)][:WORST]
    if listed:
        yield "<h2>Worst accounts first</h2>"
        yield "<p>To see the findings of an account and the commands that fix them, repeat the audit with "
        yield "<code>--include ID</code>.</p>"
        yield html_table(
            ("Account", "Failed", "Without MFA", "Worst checks"),
            [
                (
                    html_words(entry.account.label),
                    _counts(entry.overview),
                    f"{entry.overview.without_mfa} of {count_of(entry.overview.passwords, 'user')}",
                    _names(entry.overview, rules),
                )
                for entry in listed
            ],
        )


def _counts(overview: AuditOverview) -> str:
    counts = [(str(severity), overview.failed.get(severity, 0)) for severity in Severity]
    counts.append((RuleResult.UNKNOWN, overview.unknown))
    return " ".join(html_mark(f"{count} {name}", TONES[name]) for name, count in counts if count)


def _names(overview: AuditOverview, rules: Sequence[AuditRule]) -> str:
    failed = [rule for rule in rules if overview.results.get(rule.id) is RuleResult.FAIL]
    worst = sorted(failed, key=lambda rule: rule.severity.rank)
    more = f" and {len(worst) - SHOWN} more" if len(worst) > SHOWN else ""
    return ", ".join(rule.id for rule in worst[:SHOWN]) + more


def _columns(rules: Sequence[AuditRule]) -> list[MapColumn]:
    """Return the columns of the map: the account's ID, the ways to sign in, and the checks, grouped by subject."""
    before = ""
    columns = [MapColumn("ID", wide=True)]
    columns += [MapColumn(SHORT_WAYS[way], f"users by how they sign in: {way}", starts=way == WAYS[0]) for way in WAYS]
    for rule in rules:
        subject = rule.id.partition(".")[0]
        columns.append(MapColumn(rule.id, f"{rule.title} ({rule.severity})", starts=subject != before))
        before = subject
    return columns


def _map(read: Sequence[ReadAccount], rules: Sequence[AuditRule], columns: Sequence[MapColumn]) -> Iterator[str]:
    yield "<h2>All accounts and checks, worst first</h2>"
    yield "<p>Each number is a count of users with a console password. Each sign is the result of a check:</p>"
    marks = (html_mark(f"{SIGNS[name]} {name}", TONES[name]) for name in (*Severity, RuleResult.UNKNOWN))
    plain = (f"{SIGNS[result]} {result}" for result in (RuleResult.PASS, RuleResult.NOT_APPLICABLE))
    yield f"<p>{' '.join(marks)} {' &nbsp; '.join(plain)}</p>"
    # Accounts with the same result for a rule have identical cells, so each of these cells is made only once.
    cells = {(rule.id, result): _check_cell(rule, result) for rule in rules for result in RuleResult}
    yield heat_map(
        "Account",
        columns,
        (
            (
                html_words(entry.account.name or entry.account.id),
                (
                    map_cell(entry.account.id),
                    *(_way_cell(way, entry.overview.ways.get(way, 0)) for way in WAYS),
                    *(cells[rule.id, entry.overview.results.get(rule.id, RuleResult.NOT_APPLICABLE)] for rule in rules),
                ),
            )
            for entry in read
        ),
    )


def _way_cell(way: str, count: int) -> str:
    """Return the map's cell for a way to sign in: the number of users who use it, or nothing if there are none."""
    if not count:
        return map_cell()
    return map_cell(str(count), tone=WAY_TONES[way] if way in WEAK_WAYS else None)


def _check_cell(rule: AuditRule, result: RuleResult) -> str:
    """Return the map's cell for the result of a check.

    Cells of failed and unknown checks have a color, and the check's ID as their title.
    """
    match result:
        case RuleResult.FAIL:
            return map_cell(SIGNS[rule.severity], tone=TONES[rule.severity], title=rule.id)
        case RuleResult.UNKNOWN:
            return map_cell(SIGNS[result], tone=TONES[result], title=rule.id)
        case _:
            return map_cell("" if result is RuleResult.PASS else SIGNS[result])
