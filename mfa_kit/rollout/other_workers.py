"""Results that other workers recorded in a shared ledger for the same plan."""

from collections.abc import Mapping, Sequence

from mfa_kit.core.models import Entry, Reached
from mfa_kit.rollout.outcomes import Failure, RowOutcome, RowResult
from mfa_kit.rollout.plan import Action, Plan, PlanStep
from mfa_kit.rollout.row_status import STANDS


def results_of_others(
    plan: Plan, *, entries: Sequence[Entry], failures: Mapping[str, Failure]
) -> list[RowResult] | None:
    """Return the results of all users of a plan, or None if the ledger lacks the result of at least one user.

    `entries` has the last journal entry of each device in the account. `failures` has the failures that were
    recorded after this worker began, by user name.
    """
    by_serial = {entry.intent.serial: entry for entry in entries}
    found = []
    for step in plan.steps:
        result = _result_of(step, by_serial.get(plan.intent_of(step.row).serial), failures.get(step.user))
        if result is None:
            return None
        found.append(result)
    return found


def _result_of(step: PlanStep, entry: Entry | None, failure: Failure | None) -> RowResult | None:
    if entry and entry.reached in STANDS:
        return RowResult.of_entry(entry, reason=f"by run {entry.run}")
    if entry and entry.reached is Reached.STAGED:
        return RowResult.of_entry(entry, RowOutcome.STAGED)
    if failure:
        return RowResult(user=step.user, outcome=RowOutcome.FAILED, cause=failure.cause, reason=failure.reason)
    if entry or step.action is not Action.SKIP:
        return None  # only IAM shows whether this user has a device
    device = step.devices[0] if step.devices else None
    return RowResult(user=step.user, outcome=RowOutcome.SKIPPED, reason=step.reason, device=device)
