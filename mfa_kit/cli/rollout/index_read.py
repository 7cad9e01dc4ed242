"""Calls a function for each chosen account that has a plan in a rollout index."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mfa_kit import wiring
from mfa_kit.cli.organization.visits import UNKNOWN, exit_code, in_order, report_unread, visiting
from mfa_kit.cli.rollout.account_progress import AccountProgress
from mfa_kit.cli.rollout.index_work import PlannedWork, planned_works, report_without_plan
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.across import Visit
from mfa_kit.organization.selecting import AccountsChoice
from mfa_kit.organization.wording import accounts_in_words, by_reason
from mfa_kit.rollout.index import RolloutIndex
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexReading(Generic[T]):
    """What was read in the accounts of an index.

    `visits` are in the order of the accounts' names. `missing` says whether a chosen account is no longer listed in
    Organizations or in the accounts file. `at` is the Unix time of the reading by AWS's clock. `lab` says whether the
    accounts belong to a lab, and `shared` whether several computers share the ledger.
    """

    index: RolloutIndex
    visits: Sequence[Visit[T]]
    missing: bool
    at: float
    lab: bool
    shared: bool

    @property
    def exit_code(self) -> int:
        """1 if an account could not be read or is not listed any more; otherwise 0."""
        return exit_code(self.visits, findings=self.missing)


def read_index_accounts(
    plan_file: Path,
    look: "Callable[[wiring.rollout.RolloutPorts, PlannedWork, LiveProgress], T]",
    opened: "AbstractContextManager[wiring.rollout_accounts.AccountRollouts]",
    *,
    accounts: AccountsChoice,
    settings: Settings,
) -> IndexReading[T]:
    """Call `look` for each chosen account of an index, and return the results. Print the accounts that cannot be read.

    `opened` opens the accounts, after the index has been read. Raise UsageFault if the file is not an index, or if a
    plan has changed since the index was written. Raise AwsFault if no account can be read.
    """
    index = wiring.plan_files.read_index(plan_file, expected=())
    plans = wiring.plan_files.read_plans(plan_file, index, METHODS)
    with opened as rollouts:
        selection = rollouts.organization.selection
        planned = {
            planned_work.planned.id: planned_work
            for planned_work in planned_works(plan_file, index, plans, selection, accounts)
        }
        report_without_plan(plan_file, index, selection, accounts, settings.progress)

        def enter(account: OrgAccount) -> T:
            progress = AccountProgress(progress=settings.progress, id=account.id, label=account.label)
            return look(rollouts.enter(account, progress=progress), planned[account.id], progress)

        ready = [planned_work.work.account for planned_work in planned.values() if not planned_work.work.why]
        with visiting(rollouts.organization, enter, progress=settings.progress, accounts=ready) as unordered_visits:
            visits = in_order(visit for visit in unordered_visits if visit.account.id in planned)
        now, lab = rollouts.organization.home.now(), rollouts.organization.caller.lab
    report_unread(visits, settings.progress)
    missing = [
        planned_work.work
        for planned_work in planned.values()
        if planned_work.work.why and planned_work.work.account.state is None
    ]
    for gone, why in by_reason((work.account, work.why) for work in missing):
        settings.progress.alert(f"{UNKNOWN}: {accounts_in_words(gone)}: {why}")
    return IndexReading(index=index, visits=visits, missing=bool(missing), at=now, lab=lab, shared=rollouts.shared)
