"""An audit as an HTML page, for readers who do not use the command line: of one account, and of many accounts."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from mfa_kit import wiring
from mfa_kit.account.snapshot import Snapshot
from mfa_kit.account.users import WAYS, account_users
from mfa_kit.audit.baseline import AuditOverview
from mfa_kit.audit.finding import AuditRule, RuleAnswer, RuleResult, Severity
from mfa_kit.audit.records import EarlierAudits
from mfa_kit.audit.registry import RULES
from mfa_kit.core.models import Caller
from mfa_kit.core.text import count_of
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.across import UNREAD, Visit, VisitState
from mfa_kit.organization.wording import by_reason

# The maximum number of accounts in the table of the worst accounts.
WORST = 10
PASSED = "passed"


def audit_page(snapshot: Snapshot, answers: Sequence[RuleAnswer], before: EarlierAudits | None = None) -> str:
    """Return the HTML page: a summary, charts, the failures, and every rule with its findings.

    `before` compares this audit with the last audit in the ledger. The page shows the change if both audits applied the
    same rules.
    """
    failed = [answer for answer in answers if answer.result is RuleResult.FAIL]
    return wiring.files.html_page(
        "audit.html",
        account=wiring.aws.account_label(snapshot.account, lab=snapshot.lab),
        snapshot=snapshot,
        answers=answers,
        before=before,
        failed=failed,
        results=_counted(RuleResult, (answer.result for answer in answers)),
        severities=_counted(Severity, (answer.rule.severity for answer in failed)),
        worst=min((answer.rule.severity for answer in failed), key=lambda severity: severity.rank, default=None),
        ways=_counted(WAYS, (user.sign_in_way for user in account_users(snapshot) if user.password)),
    )


def _counted(names: Iterable[str], entries: Iterable[str]) -> dict[str, int]:
    """Return how often each of the names is in `entries`."""
    counts = Counter(entries)
    return {name: counts[name] for name in names}


class AuditedAccount(Protocol):
    """The audit of an account, as far as the page shows it."""

    @property
    def overview(self) -> AuditOverview:
        """The figures of the account."""
        ...


A = TypeVar("A", bound=AuditedAccount)


class ReadAccount(NamedTuple):
    """An account that was read, and a summary of its audit."""

    account: OrgAccount
    overview: AuditOverview

    @property
    def worst(self) -> str:
        """The severity of the worst failed check. If no check failed, "unknown" or PASSED."""
        failed = [severity for severity in Severity if self.overview.failed.get(severity)]
        return failed[0] if failed else RuleResult.UNKNOWN if self.overview.unknown else PASSED

    @property
    def rank(self) -> tuple[object, ...]:
        """The position among the accounts. Those with the worst results come first."""
        bad = (*self.overview.badness, self.overview.without_mfa)
        return (*(-count for count in bad), self.account.name.lower(), self.account.id)


def organization_page(visits: Sequence[Visit[A]], *, caller: Caller) -> str:
    """Return the HTML page of an audit of many accounts. Accounts with the worst results come first.

    `visits` has the audit of each account, or the reason why the account could not be read. `caller` is the identity of
    the credentials.
    """
    read = sorted(
        (ReadAccount(visit.account, visit.found.overview) for visit in visits if visit.found),
        key=lambda entry: entry.rank,
    )
    return wiring.files.html_page(
        "organization.html",
        title=f"Sign-in audit of {count_of(len(visits), 'AWS account')}{' (LAB, nothing here is real)' * caller.lab}",
        caller=caller.arn,
        read=read,
        tried=sum(visit.state is not VisitState.SKIPPED for visit in visits),
        unread=_reasons(visits, UNREAD),
        skipped=_reasons(visits, {VisitState.SKIPPED}),
        **_figures(read),
        **_checks(read),
    )


def _figures(read: Sequence[ReadAccount]) -> Mapping[str, object]:
    """Return the figures of all accounts together."""
    times = [entry.overview.at for entry in read]
    worst = _counted((*Severity, RuleResult.UNKNOWN, PASSED), (entry.worst for entry in read))
    return {
        "first": min(times, default=0),
        "last": max(times, default=0),
        "worst": worst,
        "severity": next(filter(worst.get, Severity), None),
        "failed": sum(map(worst.__getitem__, Severity)),
        "severities": {name: sum(entry.overview.failed.get(name, 0) for entry in read) for name in Severity},
        "ways": {way: sum(entry.overview.ways.get(way, 0) for entry in read) for way in WAYS},
    }


def _checks(read: Sequence[ReadAccount]) -> Mapping[str, object]:
    """Return the rules, the accounts in which each rule failed, and the failed rules of the worst accounts."""
    rules = [rule for rule in RULES if any(rule.id in entry.overview.results for entry in read)]
    counts = Counter(rule.id for entry in read for rule in _failed_rules(entry, rules))
    failing = [(rule, counts[rule.id]) for rule in rules if counts[rule.id]]
    failing.sort(key=lambda entry: (entry[0].severity.rank, -entry[1]))
    worst = [entry for entry in read if entry.worst in set(Severity)][:WORST]
    return {
        "rules": rules,
        "failing": failing,
        "worst_accounts": [(entry, [rule.id for rule in _failed_rules(entry, rules)]) for entry in worst],
    }


def _reasons(visits: Sequence[Visit[A]], states: set[VisitState]) -> Mapping[str, object]:
    """Return how many accounts are in these states, their names by the reason, and what to do."""
    chosen = [visit for visit in visits if visit.state in states]
    reasons = by_reason((visit.account, visit.why) for visit in chosen)
    return {
        "count": len(chosen),
        "reasons": [(", ".join(account.label for account in accounts), why) for accounts, why in reasons],
        "hints": list(dict.fromkeys(visit.hint for visit in chosen if visit.hint)),
    }


def _failed_rules(entry: ReadAccount, rules: Sequence[AuditRule]) -> list[AuditRule]:
    """Return the rules that failed in an account, worst first."""
    failed = [rule for rule in rules if entry.overview.results.get(rule.id) is RuleResult.FAIL]
    return sorted(failed, key=lambda rule: rule.severity.rank)
