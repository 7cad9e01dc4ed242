"""Prints the rows of commands that work in many accounts, for example a row for each device of each user."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mfa_kit import wiring
from mfa_kit.cli.organization import visits as shared
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.organization.across import Visit, VisitState
from mfa_kit.organization.wording import accounts_in_words, by_reason


class AccountRows(NamedTuple):
    """The rows of one account. If `unread` has texts, about parts that could not be read, rows may be missing."""

    rows: Sequence[ResultRow]
    unread: Sequence[str] = ()


class RowsOfAccounts(NamedTuple):
    """How to print rows from many accounts: their schema, and the columns to show in a narrow window.

    `fields` are the names of the cells of a row. `empty` is the text to print if no account has any rows.
    """

    schema: str
    fields: Sequence[str]
    narrow: Sequence[str]
    empty: str


def print_rows(
    organization: "wiring.organization.Organization",
    read: "Callable[[wiring.organization.OpenAccount], AccountRows]",
    form: RowsOfAccounts,
    *,
    progress: LiveProgress,
    output: Output,
) -> list[Visit[AccountRows]]:
    """Read each account with `read`, and print the rows of all accounts.

    Each row begins with the account's ID and name. An account that could not be read, or that is not active, gets one
    row with its state. If a part of an account could not be read, print the reason, and also a row with the reason.
    Return a Visit for each account, with its rows or with the reason why there are none. Raise AwsFault if no account
    could be read.
    """
    with shared.visiting(
        organization,
        lambda account: read(organization.enter(account)),
        progress=progress,
        is_whole=lambda account_rows: not account_rows.unread,
    ) as visits:
        done = shared.in_order(visits)
    shared.report_unread(done, progress, home=organization.caller.account)
    gaps = ((visit.account, "; ".join(visit.found.unread)) for visit in done if visit.found and visit.found.unread)
    for accounts, unread in by_reason(gaps):
        progress.alert(f"{VisitState.PARTLY}: {accounts_in_words(accounts)}: {unread}")
    rows = [row for visit in done for row in _rows(visit, form.fields)]
    narrow = (*shared.account_columns(rows), *form.narrow, "state")
    output.many(form.schema, rows, empty=form.empty, narrow=narrow)
    return done


def _rows(visit: Visit[AccountRows], fields: Sequence[str]) -> list[ResultRow]:
    """Return the rows of an account, each with the columns in `fields`, the account, its state and the cell `why`.

    If the account was not read, return one row, with the reason in `why`. If only a part was not read, the last row has
    the reason. In other rows, `why` has the value that `read` gave it, or None.
    """
    names = [name for name in fields if name != "why"]

    def row(cells: ResultRow) -> ResultRow:
        named = {name: cells.get(name) for name in names}
        return {**shared.account_cells(visit), **named, "state": shared.state_of(visit), "why": cells.get("why")}

    if visit.found is None:
        return [row({"why": visit.why})]
    unread = "; ".join(visit.found.unread)
    return [*(row(cells) for cells in visit.found.rows), *([row({"why": f"not read: {unread}"})] if unread else ())]
