"""Finds the accounts for which a command has a plan, and reads in each of them that it can use."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mfa_kit import wiring
from mfa_kit.cli.rollout.results import AccountWork
from mfa_kit.cli.visits import (
    UNKNOWN,
    account_columns,
    exit_code,
    in_order,
    report_unread,
    visiting,
)
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import LiveProgress, Progress
from mfa_kit.core.message import Message
from mfa_kit.core.text import ResultRow, count_of
from mfa_kit.organization.accounts import (
    AccountsChoice,
    AccountSelection,
    OrgAccount,
    accounts_in_words,
    by_reason,
    labels,
)
from mfa_kit.organization.across import Visit, VisitState
from mfa_kit.rollout.plan import Plan, PlanFiles, PlannedAccount, RolloutIndex, check_account

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class PlannedWork(AccountWork):
    """The work in one account that a plan describes. `sha256` is the SHA-256 of the plan's file in hex."""

    plan: Plan
    sha256: str


def read_files(
    paths: Sequence[Path], choice: AccountsChoice | None, *, expected: Sequence[str] = (), plans_too: bool = False
) -> PlanFiles:
    """Read indexes of the chosen accounts, with `plans_too` also plans. Without a choice, read the plan of one account.

    Raise the errors of `read_plan_files`.
    """
    plans, indexes = choice is None or plans_too, choice is not None
    return wiring.rollout.read_plan_files(paths, expected=expected, plans=plans, indexes=indexes)


def planned_works(
    files: PlanFiles, rollouts: "wiring.rollout.Rollouts", choice: AccountsChoice | None
) -> list[PlannedWork]:
    """Return the chosen accounts that have a plan in the files, each with its plan.

    Without a choice, this is the caller's account. Raise UsageFault if the plan is for another account, and in the same
    cases as `chosen_works`.
    """
    if choice is None:
        [planned], [account] = files.index.accounts, rollouts.selection.chosen
        check_account(files.plans[planned.id], rollouts.caller)
        accounts = [(planned, account, "")]
    else:
        accounts = planned_accounts(files.label, files.index, rollouts.selection, choice)
    return [
        PlannedWork(
            account=account, total=len(plan.steps), why=why, alone=choice is None, plan=plan, sha256=planned.sha256
        )
        for planned, account, why in accounts
        for plan in [files.plans[planned.id]]
    ]


def planned_accounts(
    path: Path | str, index: RolloutIndex, selection: AccountSelection, choice: AccountsChoice
) -> list[tuple[PlannedAccount, OrgAccount, str]]:
    """Return the chosen accounts of an index, each with the reason why it cannot be used, or "".

    Raise UsageFault if --include names an account without a plan in the index, or if no chosen account that can be used
    has a plan.
    """
    selected = {account.id: account for account in (*selection.chosen, *selection.skipped)}
    if choice.include:
        _refuse(path, [account for account in selected.values() if index.find(account.id) is None])
    usable = {account.id for account in selection.chosen}
    accounts = [
        (planned, account, _why_not(account, usable))
        for planned, account in _pairs(index, selected, narrowed=is_narrowed(choice))
    ]
    if all(why for _, _, why in accounts):
        raise UsageFault(
            f"{path} has no plan for any chosen account that is active and still listed",
            "choose other accounts, or plan again",
        )
    return accounts


def check_file(
    path: Path | str, index: RolloutIndex, selection: AccountSelection, choice: AccountsChoice | None
) -> None:
    """Raise UsageFault if a chosen account in the file of --accounts is not in the index."""
    if choice and choice.file:
        _refuse(path, _not_in(index, selection))


def report_without_plan(
    path: Path | str,
    index: RolloutIndex,
    selection: AccountSelection,
    choice: AccountsChoice | None,
    progress: Progress,
) -> bool:
    """Print the chosen accounts without a plan, and those that the index does not mention.

    Return whether users may be missing from the rollout. This is so if an account could not be read when the index was
    made, unless the account is known to be inactive now. If the options choose all accounts, this also covers accounts
    of the index that Organizations or the accounts file no longer lists.
    """
    closed = {account.id for account in selection.skipped}
    chosen = {account.id for account in selection.chosen} | closed
    unplanned = [account for account in index.unplanned if account.id in chosen or not is_narrowed(choice)]
    reasons = ((OrgAccount(id=account.id, name=account.name), account.why) for account in unplanned)
    for accounts, why in by_reason(reasons):
        progress.alert(f"no plan for {accounts_in_words(accounts)}, which rollout plan could not read: {why}")
    if others := _not_in(index, selection):
        progress.note(f"{count_of(len(others), 'account')} not in {path}: {labels(others)}")
    return any(account.id not in closed for account in unplanned)


def _not_in(index: RolloutIndex, selection: AccountSelection) -> list[OrgAccount]:
    """Return the chosen accounts that the index does not mention, not even as an account without a plan."""
    known = {account.id for account in index.accounts} | {account.id for account in index.unplanned}
    return [account for account in (*selection.chosen, *selection.skipped) if account.id not in known]


def _refuse(path: Path | str, accounts: Sequence[OrgAccount]) -> None:
    if accounts:
        raise UsageFault(
            f"{path} has no plan for account {labels(accounts)}",
            "leave the account out, for example with --exclude, or plan again with rows for it",
        )


def is_narrowed(choice: AccountsChoice | None) -> bool:
    """Return whether the options choose only some of the listed accounts."""
    return choice is not None and bool(choice.include or choice.exclude or choice.tags or choice.ou)


def _pairs(
    index: RolloutIndex, selected: dict[str, OrgAccount], *, narrowed: bool
) -> Iterator[tuple[PlannedAccount, OrgAccount]]:
    """Yield a pair for each selected account of an index: its entry in the index, and the account as it is listed now.

    If the options choose all accounts, also yield accounts of the index that are not listed any more.
    """
    for planned in index.accounts:
        account = selected.get(planned.id)
        if account is None and not narrowed:
            account = OrgAccount(id=planned.id, name=planned.name)
        if account is not None:
            yield planned, account


def _why_not(account: OrgAccount, usable: set[str]) -> str:
    if account.id in usable:
        return ""
    return f"the account is {account.state}" if account.state else "the account is not listed any more"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[T]):
    """What was read in the accounts of a rollout.

    `works` are the accounts by ID, and `visits` what was read there, in the order of the accounts' names. `missing`
    says whether a chosen account is no longer listed in Organizations or in the accounts file.
    """

    works: Mapping[str, AccountWork]
    visits: Sequence[Visit[T]]
    missing: bool = False

    @property
    def exit_code(self) -> int:
        """1 if an account could not be read or is not listed any more; otherwise 0."""
        return exit_code(self.visits, findings=self.missing)

    def rows(
        self,
        make: Callable[[T, AccountWork], Sequence[ResultRow]],
        *,
        unread: Callable[[Visit[T]], ResultRow] | None = None,
    ) -> list[ResultRow]:
        """Return the rows that `make` returns for each account that was read, with the cells that name the account.

        `unread` returns the row of an account that was not read. If it is None, such accounts have no row.
        """
        rows: list[ResultRow] = []
        for visit in self.visits:
            work = self.works[visit.account.id]
            made = [unread(visit)] if unread and visit.found is None else []
            made = made if visit.found is None else [*make(visit.found, work)]
            rows += [{**work.cells, **row} for row in made]
        return rows

    def narrow(self, rows: Sequence[ResultRow], *names: str) -> tuple[str, ...]:
        """Return the columns of a narrow table of rows with these columns: those that name the account come first."""
        alone = any(work.alone for work in self.works.values())
        return names if alone else (*account_columns(rows), *names)


def read_accounts(
    files: PlanFiles,
    look: "Callable[[wiring.rollout.RolloutPorts, PlannedWork, LiveProgress], T]",
    rollouts: "wiring.rollout.Rollouts",
    choice: AccountsChoice | None,
    *,
    progress: LiveProgress,
) -> Reading[T]:
    """Call `look` for each chosen account that has a plan, and return the results. Print accounts that cannot be read.

    Raise AwsFault if no account can be read. Without a choice, raise the errors of the only account.
    """
    works = {work.account.id: work for work in planned_works(files, rollouts, choice)}

    def enter(account: OrgAccount) -> T:
        of_account = works[account.id].progress(progress)
        return look(rollouts.enter(account, progress=of_account), works[account.id], of_account)

    if rollouts.organization is None:
        [account] = rollouts.selection.chosen
        with progress.showing("reading users and devices"):
            return Reading(works=works, visits=[Visit(account=account, state=VisitState.READ, found=enter(account))])
    report_without_plan(files.label, files.index, rollouts.selection, choice, progress)
    ready = [work.account for work in works.values() if not work.why]
    with visiting(rollouts.organization, enter, progress=progress, accounts=ready) as unordered_visits:
        visits = in_order(visit for visit in unordered_visits if visit.account.id in works)
    report_unread(visits, progress)
    missing = [work for work in works.values() if work.why and work.account.state is None]
    for gone, why in by_reason((work.account, work.why) for work in missing):
        progress.alert(Message(f"{UNKNOWN}: {accounts_in_words(gone)}: ", why))
    return Reading(works=works, visits=visits, missing=bool(missing))
