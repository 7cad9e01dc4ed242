"""The audit of one account: the rules' answers for its snapshot, after a baseline was applied."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mfa_kit.account.snapshot import Acceptance, Snapshot
from mfa_kit.audit.baseline import apply_baseline, entries_about, unused_entries
from mfa_kit.audit.finding import AuditRule, Limits, RuleAnswer, Severity
from mfa_kit.audit.registry import audit_snapshot, fails_at


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """The rules to apply, the limits that they check, and the accepted findings, which are those of a baseline.

    The audit fails if a rule of the severity `fail_on` or worse fails or is unknown.
    """

    rules: Sequence[AuditRule]
    limits: Limits
    fail_on: Severity
    accepted: Sequence[Acceptance]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountAudit:
    """The audit of one account.

    `raw_answers` are the answers of the rules before the baseline was applied, and `answers` those afterward. `unused`
    has the entries of the baseline whose findings this account no longer has.
    """

    snapshot: Snapshot
    raw_answers: Sequence[RuleAnswer]
    answers: Sequence[RuleAnswer]
    unused: tuple[Acceptance, ...]
    failed: bool


def audit_account(snapshot: Snapshot, options: AuditOptions) -> AccountAudit:
    """Apply the rules to a snapshot, and the baseline to their answers."""
    raw_answers = audit_snapshot(snapshot, options.rules, options.limits)
    entries = entries_about(snapshot.account, options.accepted)
    answers = apply_baseline(raw_answers, entries, time=snapshot.at)
    return AccountAudit(
        snapshot=snapshot,
        raw_answers=raw_answers,
        answers=answers,
        unused=tuple(unused_entries(answers, entries)),
        failed=fails_at(answers, options.fail_on),
    )


def unused_in_all(accepted: Sequence[Acceptance], unused: Mapping[str, Sequence[Acceptance]]) -> list[Acceptance]:
    """Return the entries of a baseline whose findings no longer exist in any of the accounts that they are about.

    `unused` has the unused entries of each audited account, by the account's ID.
    """

    def is_unused(entry: Acceptance) -> bool:
        about = [entries for account, entries in unused.items() if entry.account in {"", account}]
        return bool(about) and all(entry in entries for entries in about)

    return [entry for entry in accepted if is_unused(entry)]
