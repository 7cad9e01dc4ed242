"""Collects the results of a rollout, prints them, and makes the texts of the result files."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import KW_ONLY, dataclass, field
from itertools import chain
from pathlib import Path

from mfa_kit.cli.messages import EVENTS, Redrawable
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import AwsFault, IntegrityFault, InternalError, Lockout, MfaKitError
from mfa_kit.core.interaction import LiveProgress, Progress
from mfa_kit.core.message import Message, clauses, mfa_kit, suggest
from mfa_kit.core.text import ResultRow, count_of, few
from mfa_kit.enrollment.pacing import RateLimiter
from mfa_kit.organization.accounts import OrgAccount, accounts_in_words, by_reason, in_account
from mfa_kit.rollout.execution import COLUMNS, FAULTY, TO_RETRY, RowOutcome, RowResult
from mfa_kit.rollout.plan import Action, Plan, PlanStep

MADE = {RowOutcome.ENROLLED, RowOutcome.STAGED, RowOutcome.REVOKED}


@dataclass(slots=True)
class Tally:
    """The results of one command that works on `total` rows.

    `made` counts the rows whose device this command made, enabled or removed, and `failed` the rows that failed.
    `began` is the time at which the command began, on the monotonic clock. In JSON Lines, `cells` are the first cells
    of each row. If a result cannot be printed, `unheard` is the error, and `stop` is set so that no further row is
    started. When the rows in progress are finished, `exit_code` raises `unheard`. `named` are the outcomes that need
    attention, and `listed` those whose users are always named. `more` names fields of RowResult that only the rows of
    this command have.
    """

    schema: str
    _: KW_ONLY
    total: int
    progress: Progress
    output: Output
    pace: RateLimiter
    stop: threading.Event | None = None
    cells: ResultRow = field(default_factory=dict)
    more: Sequence[str] = ()
    named: Collection[RowOutcome] = frozenset(TO_RETRY)
    listed: Collection[RowOutcome] = frozenset()
    unheard: OSError | None = None
    results: list[RowResult] = field(default_factory=list)
    failed: int = 0
    began: float = field(default_factory=time.monotonic)
    made: int = 0

    @property
    def left(self) -> int:
        """The number of rows without a result."""
        return self.total - len(self.results)

    @property
    def by_row(self) -> dict[str, RowResult]:
        """The last result of each row, by the key of its step."""
        return {result.key: result for result in self.results}

    def row(self, result: RowResult) -> ResultRow:
        """Return a result as a row for output."""
        return {**result_row(result), **{name: getattr(result, name) for name in self.more}}

    def keep(self, result: RowResult) -> None:
        """Count a result without reporting progress. In JSON Lines, print the result at once.

        Raise OSError if the result cannot be printed and there is no `stop`.
        """
        self.results.append(result)
        self.failed += result.outcome is RowOutcome.FAILED
        self.made += result.outcome in MADE and not result.reason
        if self.output.form == "jsonl" and self.unheard is None:
            try:
                self.output.one(self.schema, {**self.cells, **self.row(result)})
            except OSError as error:
                if self.stop is None:
                    raise
                self.unheard = error
                self.stop.set()

    def take(self, result: RowResult) -> None:
        """Count a result, and show it on stderr.

        A result that needs attention is printed on a separate line. Other results only change the status line, or are
        printed if there is no status line. Refusals, and users whom an earlier run enrolled, are printed together at
        the end, by `report_together`. In JSON Lines, no result is printed on stderr.
        """
        self.keep(result)
        if result.earlier or result.outcome is RowOutcome.REFUSED:
            return
        wrong = result.outcome in self.named
        counted = isinstance(self.progress, Redrawable) and self.progress.refresh()
        if (wrong or not counted or result.outcome in self.listed) and self.output.form != "jsonl" and not EVENTS.on:
            show = self.progress.alert if wrong else self.progress.note
            show(": ".join(filter(None, [result.key, result.outcome.value, result.reason])))

    def report_together(self) -> None:
        """Print the refusals, each reason once with its users, and how many users an earlier run enrolled."""
        if self.output.form == "jsonl":
            return
        refused: dict[str, list[RowResult]] = {}
        for result in self.results:
            if result.outcome is RowOutcome.REFUSED:
                refused.setdefault(result.common or result.reason, []).append(result)
        for reason, results in refused.items():
            users = few([result.user for result in results])
            self.progress.alert(
                Message(f"{users}: {RowOutcome.REFUSED}: ", reason if results[1:] else results[0].reason)
            )
        if earlier := sum(result.earlier for result in self.results):
            self.progress.note(f"{count_of(earlier, 'user')} enrolled by earlier runs")

    def line(self) -> str:
        """Return the status line: the number of results and failures, the rate, and the estimated time left."""
        rate = self.made / max(time.monotonic() - self.began, 0.001)
        seconds_left = self.left / rate if rate else 0
        pace = "waiting for credentials" if self.pace.paused else f"at most {self.pace.rate:.0f} calls/s"
        return (
            f"{len(self.results)} of {self.total}, {self.failed} failed, {rate:.1f} users/s, "
            f"{int(seconds_left // 60)}:{int(seconds_left % 60):02} left, {pace}"
        )


def outcome_name(outcome: RowOutcome) -> str:
    """Return the name of the column that has the count of an outcome, such as `half_made`."""
    return outcome.value.replace("-", "_").replace(" ", "_")


def result_row(result: RowResult, *, shared: bool = False) -> dict[str, str | None]:
    """Return a result as a row for output. Empty cells are None. With `shared`, the row has the computer too."""
    return {name: getattr(result, name) or None for name in columns_of(shared=shared)}


def columns_of(*, shared: bool) -> Sequence[str]:
    """Return the columns of the users' results. If the ledger is `shared`, one of them has the computer."""
    return (*COLUMNS, "computer") if shared else COLUMNS


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountProgress(Redrawable):
    """Prints the messages of one account. Each line begins with `label`, the account's label. `id` is its ID.

    Lines about other accounts can appear between the lines of this account.
    """

    progress: LiveProgress
    id: str
    label: str

    def note(self, text: str) -> None:
        """Print a line. With --quiet, print nothing."""
        self.progress.note(self._line(text))

    def alert(self, text: str) -> None:
        """Print a line even with --quiet."""
        self.progress.alert(self._line(text))

    def showing(self, _: str | Callable[[], str]) -> AbstractContextManager[None]:
        """Show nothing, because the status line is about all accounts."""
        return nullcontext()

    def refresh(self) -> bool:
        """Draw the status line of all accounts now. Return whether there is a status line."""
        return isinstance(self.progress, Redrawable) and self.progress.refresh()

    def _line(self, text: str) -> str:
        return Message(f"{self.label}: ", in_account(text, self.id))


@dataclass(slots=True, kw_only=True)
class AccountWork:
    """The work in one account, and its results so far.

    `total` is the number of the account's users or devices to process. If no work is attempted in the account,
    `why` is the reason. If `alone` is true, the command works in the caller's account only, so no row and no message
    names the account. `tally` is None until the account is open. `by_others` are the results that other workers
    recorded. `error` is the error that ended the work early. `run` is the ID of the run, and `results` the folder of
    the results; only `rollout apply` and `rollout work` set these two.
    """

    account: OrgAccount
    total: int
    why: str = ""
    alone: bool = False
    tally: Tally | None = None
    by_others: Sequence[RowResult] = ()
    error: MfaKitError | None = None
    run: str | None = None
    results: Path | None = None

    @property
    def cells(self) -> ResultRow:
        """The cells with which each row of this account begins."""
        return {} if self.alone else {"account": self.account.id, "account_name": self.account.name or None}

    @property
    def found(self) -> Sequence[RowResult]:
        """The results of the users so far."""
        return self.tally.results if self.tally else self.by_others

    @property
    def left(self) -> int:
        """The number of users without a result."""
        return self.total - len(self.found)

    @property
    def rows(self) -> Sequence[ResultRow]:
        """The rows of the users so far."""
        row = self.tally.row if self.tally else result_row
        return [{**self.cells, **row(result)} for result in self.found]

    def in_words(self, text: str) -> str:
        """Return a message with --account and this account's ID added to its commands, as `in_account` does."""
        return text if self.alone else in_account(text, self.account.id)

    def name(self, user: str) -> str:
        """Return a user's name for a message, with the account if the command works in several accounts."""
        return user if self.alone else f"{user} in {self.account.label}"

    def progress(self, progress: LiveProgress) -> LiveProgress:
        """Return an object that prints the messages of this account with `progress`."""
        if self.alone:
            return progress
        return AccountProgress(progress=progress, id=self.account.id, label=self.account.label)


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
    outcomes = {result.outcome for result in work.found}
    if outcomes == {RowOutcome.NOT_STARTED}:
        return RowOutcome.NOT_STARTED
    if outcomes and outcomes <= NOT_DONE:
        return "failed"
    return "partly done" if outcomes & NOT_DONE else "done"


def why_not_done(work: AccountWork) -> str | None:
    """Return why the work in an account failed or was skipped, or None."""
    if work.error:
        return work.in_words(clauses([str(work.error), work.error.hint]))
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


def counts_of(works: Iterable[AccountWork]) -> Counter[RowOutcome]:
    """Return the number of users per outcome. A user without a result counts as not started."""
    counts: Counter[RowOutcome] = Counter()
    for work in works:
        counts.update(result.outcome for result in work.found)
        counts[RowOutcome.NOT_STARTED] += work.left
    return +counts


def show_results(schema: str, works: Sequence[AccountWork], *, output: Output, head: ResultRow) -> None:
    """Print the results. `head` has fields that precede the counts in JSON, and in the table of one account.

    In JSON, CSV and text, print the rows of all users. JSON also has the counts, and a row per account if there are
    several; in CSV and text, an account without results of users then has one row. In JSON Lines, print only the
    results that other workers recorded, because those of this worker were printed as they arrived, and the rows of the
    accounts. In other forms, print the number of rows per outcome. If the only account was not opened, print nothing.
    """
    alone = is_alone(works)
    if alone and works[0].tally is None:
        return
    match output.form:
        case "json":
            output.one(schema, _document(works, head))
        case "csv" | "text":
            output.many(schema, [*_csv_rows(works)], empty="")
        case "jsonl":
            _print_lines(schema, works, output)
        case _ if alone:
            output.one(schema, {**head, **(_names_and_counts(works) or {"users": 0})})
        case _:
            narrow = ["account_name", "account", "state", *_names_and_counts(works)]
            rows = _account_rows(works)
            output.many(f"{schema}-account", rows, empty="there are no accounts", narrow=narrow)


def _csv_rows(works: Sequence[AccountWork]) -> Iterator[ResultRow]:
    for work in works:
        yield from work.rows or _empty(work)


def _document(works: Sequence[AccountWork], head: ResultRow) -> ResultRow:
    accounts: ResultRow = {} if is_alone(works) else {"accounts": _account_rows(works)}
    rows = [row for work in works for row in work.rows]
    return {**head, "counts": _names_and_counts(works), **accounts, "rows": rows}


def _print_lines(schema: str, works: Sequence[AccountWork], output: Output) -> None:
    if is_alone(works):
        return
    for row in [row for work in works if not work.tally for row in work.rows]:
        output.one(schema, row)
    for row in _account_rows(works):
        output.one(f"{schema}-account", row)


def _account_rows(works: Sequence[AccountWork]) -> Sequence[ResultRow]:
    """Return a row per account, with its counts of the outcomes that at least one user has."""
    names = _names_and_counts(works)
    return [{**account_row(work), **dict.fromkeys(names, 0), **_names_and_counts([work])} for work in works]


def is_alone(works: Sequence[AccountWork]) -> bool:
    """Return whether the command works in the caller's account only."""
    return any(work.alone for work in works)


def _names_and_counts(works: Iterable[AccountWork]) -> dict[str, int]:
    """Return the number of users per outcome, in the order of RowOutcome, without outcomes that no user has."""
    counts = counts_of(works)
    return {outcome_name(outcome): counts[outcome] for outcome in RowOutcome if counts[outcome]}


def _empty(work: AccountWork) -> Sequence[ResultRow]:
    """Return the CSV row of an account without results of users, with the reason; [] for the only account."""
    state = RowResult(user="", outcome=RowOutcome.NOT_STARTED, reason=why_not_done(work) or "")
    return [] if work.alone else [{**work.cells, **result_row(state)}]


def report_failed(works: Iterable[AccountWork], progress: Progress) -> None:
    """Print each reason why work failed or was skipped, with the accounts to which the reason applies."""
    by_state: dict[str, list[tuple[OrgAccount, str]]] = {}
    for work in works:
        if reason := why_not_done(work):
            by_state.setdefault(state_of(work), []).append((work.account, reason))
    for state, reasons in by_state.items():
        for accounts, reason in by_reason(reasons):
            progress.alert(Message(f"{state}: {accounts_in_words(accounts)}: ", reason))


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
    kinds = {_class_of_error(work) for work in works}
    kind = kinds.pop() if len(kinds) == 1 else AwsFault
    first = works[0]
    message = f"all accounts failed; {first.account.label}: {errors[0]}" if len(works) > 1 else str(errors[0])
    raise kind(message, first.in_words(errors[0].hint))


def _class_of_error(work: AccountWork) -> type[MfaKitError]:
    return type(work.error) if work.error and (work.tally or isinstance(work.error, InternalError)) else AwsFault


def _next(words: str, line: str, plan: str, index: str) -> Message:
    """Return a sentence with a command for the plan file, or for the file of the index, or "" without one."""
    return Message(
        words,
        mfa_kit(line, *[index or plan] * line.count("{}")),
        "with the options for accounts, such as --org" if index else "",
    )


def next_step(
    results: Sequence[RowResult], *, plans: Collection[Plan], plan: str, folder: str = "", index: str = ""
) -> str:
    """Return one sentence that says what to do after a run with these results.

    `plans` are the plans that were carried out. `plan` is the plan file to name in commands. `folder` is the folder
    with the files of results after a run, and "" for a command that only reads. If the plans are from an index, `index`
    is the file of the index.
    """
    failed = [result for result in results if result.outcome in NOT_DONE]
    if failed and not folder:
        words = f"next: {count_of(len(failed), 'user')} not enrolled; read the reasons, then"
        return _next(words, "rollout apply {}", plan, index)
    if failed:
        again = f"read the reasons in {folder}/results.csv, then run this command again"
        return f"next: {count_of(len(failed), 'user')} not enrolled: {again}"
    successes = [result for result in results if result.outcome in MADE]
    return _next_of_done(results, successes, plans=plans, plan=plan, folder=folder, index=index)


def _next_of_done(
    results: Sequence[RowResult],
    successes: Sequence[RowResult],
    *,
    plans: Collection[Plan],
    plan: str,
    folder: str,
    index: str,
) -> str:
    """Return what to do after a run in which no row failed. The parameters are those of `next_step`."""
    posted = {step.key: step for step in _steps_of(plans) if step.row.by_post}
    others = [result for result in successes if result.key not in posted]
    if not folder and (later := _finish_exchanges(results, plan, index)):
        return later
    sent = send_keys([(result, posted[result.key]) for result in results if result.key in posted], plan)
    desk = _give_files(others, plan, index) or _wait_for_users(
        [result for result in results if result.key not in posted], plans, plan, index, done="" if sent else ALL_DONE
    )
    return clauses([desk, sent if desk or not sent else Message("next: ", sent)])


def _steps_of(plans: Iterable[Plan]) -> Iterator[PlanStep]:
    return chain.from_iterable(plan.steps for plan in plans)


def _finish_exchanges(results: Sequence[RowResult], plan: str, index: str) -> str:
    """Return the sentence about old devices, if all new ones are enabled and an old one is there. Otherwise ""."""
    if any(result.outcome is RowOutcome.STAGED for result in results):
        return ""
    if not any(result.old_left for result in results):
        return ""
    return _next("next: remove the old devices of users whose new device is proven", "rollout finish {}", plan, index)


def send_keys(rows: Iterable[tuple[RowResult, PlanStep]], plan: str) -> str:
    """Return the words that say what to do next with keys that are sent by post, or "" if nothing is open."""
    open_rows = [(result, step) for result, step in rows if result.outcome in {RowOutcome.STAGED, RowOutcome.WAITING}]
    if any(result.outcome is RowOutcome.WAITING and step.action is Action.STATION for result, step in open_rows):
        return suggest("prepare the keys that are sent by post", "rollout station {} --stage", plan)
    return suggest("see what to do with the keys by post", "rollout post {}", plan) if open_rows else ""


ALL_DONE = "next: nothing is left to do, because every user has a device"


def _give_files(successes: Sequence[RowResult], plan: str, index: str) -> str:
    """Return the sentence that says how to give the users their secrets, or "" if there is nothing to give."""
    staged = [result for result in successes if result.outcome is RowOutcome.STAGED]
    if any(result.user_backup for result in successes):
        letters = _next("next: write a letter and a folder for each user", "rollout handover {} -o DIR", plan, index)
        if any(result.user_backup for result in staged):
            proofs = "rollout activate --proofs FILE -i IDENTITY"
            return clauses([letters, _next("when the users have sent two codes", proofs, plan, index)])
        return letters
    if staged:
        activate = "rollout activate -i IDENTITY"
        return _next("next: give the users their secrets, then enable the devices", activate, plan, index)
    if without := [result for result in successes if result.admin_backup and not result.reason]:
        users = count_of(len(without), "user")
        return suggest(
            f"next: give {users} their secrets before they sign in", "backup show FILE -i IDENTITY -o FILE.png"
        )
    return ""


def _wait_for_users(results: Sequence[RowResult], plans: Collection[Plan], plan: str, index: str, *, done: str) -> str:
    """Return the sentence that says who still has to be enrolled: users in person, or by themselves. Else `done`."""
    waiting = {result.key for result in results if result.outcome is RowOutcome.WAITING}
    if waiting & {step.key for step in _steps_of(plans) if step.action is Action.STATION}:
        return suggest("next: enroll the other users in person", "rollout station {}", plan)
    if waiting:
        return _next("next: list the users that the rollout still waits for", "rollout remind {}", plan, index)
    return done
