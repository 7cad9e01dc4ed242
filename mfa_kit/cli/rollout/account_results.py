"""The results of a rollout in several accounts: a row per account, the rows of all users, and the exit code."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.rollout.account_work import AccountWork
from mfa_kit.cli.rollout.tally import FAULTY, TO_RETRY, outcome_name, result_row
from mfa_kit.core.errors import AwsFault, IntegrityFault, InternalError, Lockout
from mfa_kit.core.interaction import Progress
from mfa_kit.core.text import count_of
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.wording import accounts_in_words, by_reason
from mfa_kit.rollout.outcomes import RowOutcome, RowResult

# The output forms in which `show_users` prints the whole result at the end.
DOCUMENTS = {"json", "csv"}
# The outcomes of users for whom the command has not completed its work.
NOT_DONE = {*TO_RETRY, RowOutcome.NOT_STARTED}


def state_of(work: AccountWork) -> str:
    """Return the state of the work in an account: skipped, failed, stopped, not started, partly done or done.

    If all users of an account are "not started", for example in a dry run, the account is "not started" too.
    """
    if work.why:
        return "skipped"
    if work.error:
        return "failed"
    if work.left:
        return "stopped" if work.tally else RowOutcome.NOT_STARTED
    if work.found and all(result.outcome is RowOutcome.NOT_STARTED for result in work.found):
        return RowOutcome.NOT_STARTED
    faulty = sum(result.outcome in NOT_DONE for result in work.found)
    if faulty:
        return "failed" if faulty == len(work.found) else "partly done"
    return "done"


def why_not_done(work: AccountWork) -> str | None:
    """Return why the work in an account failed or was skipped, or None."""
    if work.error:
        return work.in_words("; ".join(filter(None, [str(work.error), work.error.hint])))
    return work.why or None


def account_row(work: AccountWork) -> ResultRow:
    """Return the row of an account, without the counts per outcome."""
    return {
        **work.cells,
        "state": state_of(work),
        "why": why_not_done(work),
        "run": work.run,
        "results": str(work.results) if work.results else None,
        "users": work.total,
    }


def user_rows(work: AccountWork) -> Iterator[ResultRow]:
    """Yield the rows of the users of an account."""
    for result in work.found:
        yield {**work.cells, **result_row(result)}


def counts_of(works: Iterable[AccountWork]) -> Counter[RowOutcome]:
    """Return the number of users per outcome. A user without a result counts as not started."""
    counts: Counter[RowOutcome] = Counter()
    for work in works:
        counts.update(result.outcome for result in work.found)
        counts[RowOutcome.NOT_STARTED] += work.left
    return +counts


def show_accounts(schema: str, works: Sequence[AccountWork], *, output: Output) -> None:
    """Print a row per account. In JSON and CSV, print nothing, because `show_users` prints the result."""
    shown = _shown(works)
    rows = [_counted_row(work, shown) for work in works]
    if output.form == "jsonl":
        for row in rows:
            output.one(schema, row)
    elif output.form not in DOCUMENTS:
        narrow = ["account_name", "account", "state", *map(outcome_name, shown)]
        output.many(schema, rows, empty="there are no accounts", narrow=narrow)


def show_users(schema: str, works: Sequence[AccountWork], *, output: Output, head: ResultRow) -> None:
    """In JSON and CSV, print the rows of all users. JSON also has `head`, the counts, and a row per account.

    In CSV, an account without results of users has one row. In JSON Lines, print only the results that other workers
    recorded, because those of this worker were printed as they arrived. In other forms, print nothing.
    """
    if output.form == "json":
        total, shown = counts_of(works), _shown(works)
        counts = {outcome_name(outcome): total[outcome] for outcome in shown}
        accounts = [_counted_row(work, shown) for work in works]
        users = [row for work in works for row in user_rows(work)]
        output.one(schema, {**head, "counts": counts, "accounts": accounts, "rows": users})
    elif output.form == "csv":
        output.many(schema, [*_csv_rows(works)], empty="")
    elif output.form == "jsonl":
        _print_by_others(schema, works, output=output)


def _csv_rows(works: Iterable[AccountWork]) -> Iterator[ResultRow]:
    for work in works:
        yield from [*user_rows(work)] or [_empty(work)]


def _print_by_others(schema: str, works: Iterable[AccountWork], *, output: Output) -> None:
    for work in works:
        for result in work.by_others:
            output.one(schema, {**work.cells, **result_row(result)})


def _shown(works: Iterable[AccountWork]) -> list[RowOutcome]:
    """Return the outcomes that at least one user has, in the order of RowOutcome."""
    total = counts_of(works)
    return [outcome for outcome in RowOutcome if total[outcome]]


def _counted_row(work: AccountWork, shown: Iterable[RowOutcome]) -> ResultRow:
    counts = counts_of([work])
    return {**account_row(work), **{outcome_name(outcome): counts[outcome] for outcome in shown}}


def _empty(work: AccountWork) -> ResultRow:
    """Return the CSV row of an account without results of users, with the reason."""
    state = RowResult(user="", outcome=RowOutcome.NOT_STARTED, reason=why_not_done(work) or "")
    return {**work.cells, **result_row(state)}


def report_failed(works: Iterable[AccountWork], progress: Progress) -> None:
    """Print each reason why work failed or was skipped, with the accounts to which the reason applies."""
    by_state: dict[str, list[tuple[OrgAccount, str]]] = {}
    for work in works:
        if reason := why_not_done(work):
            by_state.setdefault(state_of(work), []).append((work.account, reason))
    for state, reasons in by_state.items():
        for accounts, reason in by_reason(reasons):
            progress.alert(f"{state}: {accounts_in_words(accounts)}: {reason}")


def report_blocked(number: int, progress: Progress) -> None:
    """If users are blocked, print how many, and what to do about it."""
    if number:
        progress.alert(f'{count_of(number, "user")} cannot be enrolled, because the plan says "blocked"')
        progress.alert("  try: correct their rows in the roster, and plan again")


def exit_code(works: Sequence[AccountWork], *, asked: bool) -> int:
    """Return the exit code.

    It is 6 if a change was refused because it could lock a user out. Otherwise it is 1 if an account failed, or if a
    user failed, is blocked or was not started. Otherwise it is 0.

    If a signal ended the command early (`asked`) and users have no result yet, raise KeyboardInterrupt. Raise OSError
    if results could not be printed, IntegrityFault if this computer's disk failed, and the error of
    `_raise_if_none_worked` if all accounts failed.
    """
    _raise_first_grave(works)
    if asked and any(work.left for work in works):
        raise KeyboardInterrupt
    _raise_if_none_worked([work for work in works if not work.why])
    counts = counts_of(works)
    if counts[RowOutcome.REFUSED]:
        return Lockout.exit_code
    failed = any(work.error for work in works)
    return int(failed or bool(counts.keys() & {*FAULTY, RowOutcome.NOT_STARTED}))


def _raise_first_grave(works: Iterable[AccountWork]) -> None:
    """Raise the first error that concerns all accounts, if any: an error of the output, or of this computer's disk."""
    for work in works:
        if work.tally and work.tally.unheard:
            raise work.tally.unheard
        if isinstance(work.error, IntegrityFault):
            raise work.error


def _raise_if_none_worked(works: Sequence[AccountWork]) -> None:
    """If the work failed in all accounts, raise one error with the reason of the first account.

    If the errors of all accounts have the same class, the new error has this class too. If the classes differ, or if
    an account could not be opened, the new error is an AwsFault, as in commands that only read.
    """
    errors = [work.error for work in works if work.error]
    if not errors or len(errors) < len(works):
        return
    known = [work.error if work.tally or isinstance(work.error, InternalError) else None for work in works]
    kinds = {type(error) if error else AwsFault for error in known}
    kind = kinds.pop() if len(kinds) == 1 else AwsFault
    first = works[0]
    message = f"all accounts failed; {first.account.label}: {errors[0]}" if len(works) > 1 else str(errors[0])
    raise kind(message, first.in_words(errors[0].hint))
