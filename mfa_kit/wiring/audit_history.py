"""Compares an audit with the ledger's records of earlier audits, and reads the file of accepted findings."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from mfa_kit.account.past_audits import Acceptance
from mfa_kit.account.snapshot import Snapshot
from mfa_kit.adapters.files.baselines import read_baseline
from mfa_kit.adapters.ledger.audit_records import AuditRecords
from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.audit.finding import AuditRule, RuleAnswer
from mfa_kit.audit.records import AuditHistory, EarlierAudits, figures, finding_records, record_audit
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.wiring.ledger import open_ledger
from mfa_kit.wiring.settings import Settings

# The result for an audit that is not compared with earlier audits, such as the audit of a stored snapshot.
NOTHING_BEFORE = EarlierAudits()


def open_baseline(file: Path | None, rules: Iterable[AuditRule]) -> Sequence[Acceptance]:
    """Return the accepted findings in a baseline file, or () if `file` is None.

    Raise UsageFault if the file is not a baseline, or if an entry names a rule that is not in `rules`.
    """
    return read_baseline(file, {rule.id for rule in rules}) if file else ()


def compare_with_ledger(
    settings: Settings,
    snapshot: Snapshot,
    answers: Sequence[RuleAnswer],
    *,
    ledger: Ledger | None = None,
    records: bool = True,
) -> EarlierAudits:
    """Compare an audit with the ledger's records of the account's last audit. With `records`, also record this audit.

    With --dry-run, nothing is recorded. If the ledger cannot be used, or if this audit cannot be recorded because the
    PostgreSQL role may only read the ledger, print an alert and return NOTHING_BEFORE. If `ledger` is None, open the
    ledger, and close it afterward.
    """
    findings = finding_records(snapshot, answers, {})
    try:
        with open_audit_history(settings) if ledger is None else nullcontext(AuditRecords(ledger)) as history:
            past, known = history.last(snapshot.account), history.open_findings(snapshot.account)
            if records and not settings.dry_run:
                record_audit(history, snapshot.account, answers, findings, time=snapshot.at)
    except IntegrityFault as error:
        settings.progress.alert(f"the ledger could not be used for this audit: {error}")
        return NOTHING_BEFORE
    since = {record.id: known[record.id].since if record.id in known else snapshot.at for record in findings}
    return EarlierAudits(past=past, now=figures(answers, time=snapshot.at), since=since)


@contextmanager
def open_audit_history(settings: Settings) -> Iterator[AuditHistory]:
    """Yield the ledger's records about audits. Close the ledger afterward."""
    with open_ledger(settings) as ledger:
        yield AuditRecords(ledger)
