"""Code for commands that work in one or many accounts: progress, reports of unread accounts, rows, and exit codes."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from typing import NamedTuple, TypeVar

from mfa_kit import wiring
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import AwsFault, Declined
from mfa_kit.core.interaction import LiveProgress, Progress, counting
from mfa_kit.core.message import Message, suggest
from mfa_kit.core.permissions import running_job
from mfa_kit.core.text import ResultRow, count_of, counts_of
from mfa_kit.organization.accounts import ACCOUNT, OrgAccount, accounts_in_words, by_reason, in_account
from mfa_kit.organization.across import UNREAD, Visit, VisitState, all_denied, skipped, visit_accounts

T = TypeVar("T")

# The state of an account that could not be read, in rows, totals and messages.
UNKNOWN = "unknown"
# A phrase in the reason why a part of an account could not be read, if the caller lacks a permission.
NOT_ALLOWED = "AWS answers AccessDenied"


class AccountRows(NamedTuple):
    """The rows of one account. If `unread` has texts, about parts that could not be read, rows may be missing.

    `empty` is the text to print if there are no rows. Without it, the text of the command's RowsForm is printed.
    """

    rows: Sequence[ResultRow]
    unread: Sequence[str] = ()
    empty: str = ""


class RowsForm(NamedTuple):
    """How to print rows from one or many accounts.

    `schema` is the schema of the rows, and `schema_in_many` that of rows from many accounts if they lack a field, or a
    field has another meaning. `empty` is the text to print if there are no rows. `fields` are the names of the cells in
    rows from many accounts. `narrow` and `narrow_in_many` are the columns to show in a narrow window, and `below` those
    whose cells are then printed below their row, which is done for one account only.
    """

    schema: str
    fields: Sequence[str]
    empty: str
    narrow_in_many: Sequence[str]
    narrow: Sequence[str] = ()
    below: Sequence[str] = ()
    schema_in_many: str = ""


@contextmanager
def visiting(
    organization: "wiring.organization.Organization | wiring.audit.AccountSnapshots",
    work: Callable[[OrgAccount], T],
    *,
    progress: LiveProgress,
    accounts: Sequence[OrgAccount] | None = None,
    is_whole: Callable[[T], bool] = lambda _: True,
) -> Iterator[Iterator[Visit[T]]]:
    """Work in each account, and yield an iterator over the Visits. A Visit is the outcome of the work in one account.

    The Visits of skipped accounts come first, then those of the chosen accounts as they finish. If `accounts` is given,
    work in these accounts instead of the chosen accounts. `is_whole` returns False for a result from which a part of
    the account is missing, because the part could not be read. All work ends when the context ends.

    If the command works in one account, the work is done in this thread, and its errors are raised.
    """
    if not organization.selection.is_many:
        yield iter(
            [
                Visit(account=account, state=VisitState.READ, found=work(account))
                for account in organization.selection.chosen
            ]
        )
        return
    chosen = organization.selection.chosen if accounts is None else accounts
    visits = visit_accounts(chosen, work, run_each=organization.each, is_whole=is_whole)
    with closing(visits), counting(progress, "reading accounts", visits, len(chosen)) as counted:
        yield chain(skipped(organization.selection.skipped), counted)


def print_rows(
    organization: "wiring.organization.Organization | wiring.audit.AccountSnapshots",
    read: Callable[[OrgAccount], AccountRows],
    form: RowsForm,
    *,
    progress: LiveProgress,
    output: Output,
) -> list[Visit[AccountRows]]:
    """Read each account with `read`, and print the rows of all accounts.

    If the command works in many accounts, each row begins with the account's ID and name. An account that could not be
    read, or that is not active, gets one row with its state. If a part of an account could not be read, print the
    reason, and also a row with the reason. Raise AwsFault if no account could be read.

    Return a Visit for each account, with its rows or with the reason why there are none.
    """
    with visiting(
        organization, read, progress=progress, is_whole=lambda account_rows: not account_rows.unread
    ) as visits:
        done = in_order(visits)
    if not organization.selection.is_many:
        account_rows = done[0].found or AccountRows(())
        alert_unread(account_rows.unread, progress)
        empty = f"{form.empty}, of what could be read" if account_rows.unread else form.empty
        output.many(
            form.schema, account_rows.rows, empty=account_rows.empty or empty, narrow=form.narrow, below=form.below
        )
        return done
    report_unread(done, progress, home=organization.home_account)
    report_gaps(((visit.account, visit.found.unread) for visit in done if visit.found), progress)
    rows = [row for visit in done for row in _rows(visit, form.fields)]
    narrow = (*account_columns(rows), *form.narrow_in_many, "state")
    output.many(form.schema_in_many or form.schema, rows, empty=form.empty, narrow=narrow)
    return done


def _rows(visit: Visit[AccountRows], fields: Sequence[str]) -> list[ResultRow]:
    """Return the rows of an account, each with the columns in `fields`, the account, its state and the cell `why`.

    If the account was not read, return one row, with the reason in `why`. If only a part was not read, the last row has
    the reason. In other rows, `why` has the value that `read` gave it, or None.
    """
    names = [name for name in fields if name != "why"]

    def row(cells: ResultRow) -> ResultRow:
        named = {name: cells.get(name) for name in names}
        return {**account_cells(visit), **named, "state": state_of(visit), "why": cells.get("why")}

    if visit.found is None:
        return [row({"why": visit.why})]
    unread = "; ".join(visit.found.unread)
    return [*(row(cells) for cells in visit.found.rows), *([row({"why": f"not read: {unread}"})] if unread else ())]


def account_cells(visit: Visit[T]) -> dict[str, str | None]:
    """Return the account's ID and name. They begin every row that a command prints when it works in many accounts."""
    return {"account": visit.account.id, "account_name": visit.account.name or None}


def account_columns(rows: Sequence[Mapping[str, object]]) -> tuple[str, ...]:
    """Return the columns that name the account in a narrow table of rows that begin with `account_cells`.

    If each account has a different name, the column of the names is enough. Otherwise the column of the IDs is added:
    Organizations allows several accounts with the same name, and an accounts file may omit names.
    """
    accounts = {(row["account"], row["account_name"]) for row in rows}
    names = {name for _, name in accounts if name}
    return ("account_name",) if len(names) == len(accounts) else ("account", "account_name")


def state_of(visit: Visit[T]) -> str:
    """Return the state of an account for its row, or `unknown` if the account could not be read."""
    return UNKNOWN if visit.state in UNREAD else visit.state


def in_order(visits: Iterable[Visit[T]]) -> list[Visit[T]]:
    """Return visits in the order of the accounts' names."""
    return sorted(visits, key=lambda visit: (visit.account.name.lower(), visit.account.id))


def report_unread(visits: Sequence[Visit[T]], progress: Progress, *, home: str | None = None) -> None:
    """Print how many accounts are in each state, and each account that could not be read, with the reason.

    `home` is the ID of the caller's own account, which needs no role. Raise AwsFault if no account could be read.
    """
    counts = Counter(visit.state for visit in visits)
    failed = [visit for visit in visits if visit.state in UNREAD]
    if failed and len(failed) == len(visits) - counts[VisitState.SKIPPED]:
        raise _none_read(failed)
    if all_denied([visit for visit in visits if visit.account.id != home]):
        progress.alert(
            "access was denied in every account except the caller's own, so the cause is most likely the caller's "
            "permissions or the role's name"
        )
    _alert_failed(failed, progress)
    states = dict.fromkeys([*(state for state in VisitState if state not in UNREAD), UNKNOWN])
    progress.note(f"{count_of(len(visits), 'account')}: {counts_of(states, map(state_of, visits))}")


def report_gaps(gaps: Iterable[tuple[OrgAccount, Sequence[str]]], progress: Progress) -> None:
    """Print which parts of accounts could not be read. Parts that are unread in several accounts are printed once."""
    reasons = by_reason((account, "; ".join(texts)) for account, texts in gaps if texts)
    for accounts, unread in reasons:
        progress.alert(f"{VisitState.PARTLY}: {accounts_in_words(accounts)}: {unread}")
    _alert_denied((unread for _, unread in reasons), progress)


def alert_unread(texts: Sequence[str], progress: Progress) -> None:
    """Print each part of an account that could not be read, because users may be missing from the result."""
    for text in texts:
        progress.alert(f"not read: {text}")
    _alert_denied(texts, progress)


def _alert_denied(texts: Iterable[str], progress: Progress) -> None:
    """If AWS denied one of the calls, print how to see the permissions of the running command's job."""
    if any(NOT_ALLOWED in text for text in texts):
        line = f"policy show --for {running_job()}"
        progress.alert(suggest("ask an administrator for the permissions that this job needs", line))


def _alert_failed(failed: Sequence[Visit[T]], progress: Progress) -> None:
    """Print the reasons why accounts could not be read. Each reason is printed once, with all its accounts.

    A hint with a command of mfa-kit or the AWS CLI is printed below its reason, and names the account. Each other hint
    is printed once, at the end.
    """
    hints = {visit.account.id: visit.hint for visit in failed}
    general: dict[str, None] = {}
    for accounts, why in by_reason((visit.account, visit.why) for visit in failed):
        progress.alert(Message(f"{UNKNOWN}: {accounts_in_words(accounts)}: ", why))
        for hint in dict.fromkeys(hints[account.id] for account in accounts):
            named = in_account(hint, accounts[0].id if len(accounts) == 1 else ACCOUNT)
            if named != hint:
                progress.alert(Message("  try: ", named))
            elif hint:
                general[hint] = None
    for hint in general:
        progress.alert(Message("  try: ", hint))


def _none_read(failed: Sequence[Visit[T]]) -> AwsFault:
    first = failed[0]
    (accounts, why), *others = by_reason((visit.account, visit.why) for visit in failed)
    if all_denied(failed):
        message = f"access was denied in every account, so the cause is most likely the caller's permissions: {why}"
    else:
        message = f"none of the accounts could be read; {accounts_in_words(accounts)}: {why}"
    error = AwsFault(message, in_account(first.hint, first.account.id))
    if {visit.code for visit in failed} == {Declined.exit_code}:
        error.exit_code = Declined.exit_code
    for accounts, why in others:
        error.add_note(Message(f"{accounts_in_words(accounts)}: ", why))
    return error


def exit_code(visits: Iterable[Visit[T]], *, findings: bool) -> int:
    """Return 1 if there are findings, or if an active account could not be read; otherwise 0."""
    return int(findings or any(visit.state in UNREAD for visit in visits))
