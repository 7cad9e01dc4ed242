"""Finds the chosen accounts that have a plan in a rollout index. A command works in each of them that it can use."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mfa_kit.cli.rollout.account_work import AccountWork
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Progress
from mfa_kit.core.text import count_of
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.selecting import AccountsChoice, AccountSelection, labels
from mfa_kit.organization.wording import accounts_in_words, by_reason
from mfa_kit.rollout.index import PlannedAccount, RolloutIndex
from mfa_kit.rollout.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenWork:
    """A chosen account of a rollout index, and the work in it.

    The plan of the account is not included (see PlannedWork).
    """

    planned: PlannedAccount
    work: AccountWork


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedWork:
    """A chosen account of a rollout index, its plan, and the work in this account."""

    planned: PlannedAccount
    plan: Plan
    work: AccountWork


def planned_works(
    path: Path | str,
    index: RolloutIndex,
    plans: Mapping[str, Plan],
    selection: AccountSelection,
    choice: AccountsChoice,
) -> list[PlannedWork]:
    """Return the chosen accounts of an index, each with its plan.

    Raise UsageFault in the same cases as `chosen_works`.
    """
    works = []
    for chosen_work in chosen_works(path, index, selection, choice):
        plan = plans[chosen_work.planned.id]
        chosen_work.work.total = len(plan.steps)
        works.append(PlannedWork(planned=chosen_work.planned, plan=plan, work=chosen_work.work))
    return works


def chosen_works(
    path: Path | str, index: RolloutIndex, selection: AccountSelection, choice: AccountsChoice
) -> list[ChosenWork]:
    """Return the chosen accounts of an index.

    If an account cannot be used, `work.why` is the reason, otherwise "". `work.total` is 0; the caller has to set it.
    Raise UsageFault if --include names an account without a plan in the index, or if no chosen account that can be used
    has a plan.
    """
    selected = {account.id: account for account in (*selection.chosen, *selection.skipped)}
    if choice.include:
        _refuse(path, [account for account in selected.values() if index.find(account.id) is None])
    usable = {account.id for account in selection.chosen}
    works = [
        ChosenWork(
            planned=planned,
            work=AccountWork(account=account, total=0, why=_why_not(account, usable)),
        )
        for planned, account in _pairs(index, selected, narrowed=is_narrowed(choice))
    ]
    if not any(chosen_work.planned.id in usable for chosen_work in works):
        raise UsageFault(
            f"{path} has no plan for any chosen account that is active and still listed",
            "choose other accounts, or plan again",
        )
    return works


def check_file(path: Path | str, index: RolloutIndex, selection: AccountSelection, choice: AccountsChoice) -> None:
    """Raise UsageFault if a chosen account in the file of --accounts is not in the index."""
    if choice.file:
        _refuse(path, _not_in(index, selection))


def report_without_plan(
    path: Path | str, index: RolloutIndex, selection: AccountSelection, choice: AccountsChoice, progress: Progress
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


def is_narrowed(choice: AccountsChoice) -> bool:
    """Return whether the options choose only some of the listed accounts."""
    return bool(choice.include or choice.exclude or choice.tags or choice.ou)


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
