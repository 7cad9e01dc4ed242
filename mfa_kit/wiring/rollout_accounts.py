"""Opens a rollout in several accounts, each with its own RateLimiter."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

from mfa_kit.adapters.aws.bounds import ended_by
from mfa_kit.adapters.ledger.rollout_runs import RolloutRuns
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Progress
from mfa_kit.core.models import JournalEntry
from mfa_kit.core.stopping import Stop
from mfa_kit.enrollment.ports import BackupStore
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.selecting import AccountsChoice
from mfa_kit.organization.slots import leaving_place
from mfa_kit.rollout.index import PlannedAccount
from mfa_kit.rollout.outcomes import RowResult
from mfa_kit.rollout.plan import Plan
from mfa_kit.rollout.undo import entries_of_runs
from mfa_kit.wiring.methods.registry import Methods
from mfa_kit.wiring.organization import Organization, open_organization
from mfa_kit.wiring.rollout import RolloutPorts, assemble_ports, new_pace
from mfa_kit.wiring.rollout_turns import done_by_others, turn_of_plan
from mfa_kit.wiring.settings import Settings

# The number of accounts to work in at the same time. Each account has its own threads.
ACCOUNTS = 32
# If AWS throttles an account, and its calls pause for at least this many seconds, work in another account can start.
THROTTLED = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRollouts:
    """The accounts of a rollout. In each account, up to `workers` calls are in progress at a time."""

    settings: Settings
    methods: Methods
    store: BackupStore
    workers: int
    organization: Organization

    def enter(self, account: OrgAccount, *, progress: Progress, entering: Stop | None = None) -> RolloutPorts:
        """Open an account, check its ID with AWS. Return its ports. A RateLimiter limits calls to it.

        To give up while the account is being opened, another thread sets `entering`, or if that is None, the
        organization's `stop`. Raise AccessDenied if no session can be opened, or UsageFault if the credentials belong
        to another account.
        """
        stop = self.organization.stop
        sleeping = (entering or stop).sleep

        def sleep(seconds: float) -> None:
            sleeping(seconds)

        pace = new_pace(
            lambda: opened.iam.renew(account.id),
            workers=self.workers,
            progress=progress,
            stop=stop,
            sleep=leaving_place(sleep, least=THROTTLED),
        )
        with ended_by(entering or stop):
            opened = self.organization.enter(account, turn=pace, entering=entering)
            caller = opened.iam.caller()
        sleeping = stop.sleep
        if caller.account != account.id:
            raise UsageFault(
                f"the credentials for account {account.label} belong to account {caller.account}",
                "correct the role or profile of this account in the accounts file",
            )
        return assemble_ports(
            self.settings,
            self.methods,
            iam=opened.iam,
            caller=replace(caller, lab=opened.caller.lab),
            ledger=self.organization.ledger,
            store=self.store,
            pace=pace,
            progress=progress,
            sleep=stop.sleep,
        )

    @property
    def shared(self) -> bool:
        """Whether several computers share the ledger."""
        return self.organization.ledger.shared

    def now(self) -> float:
        """Return the Unix time by AWS's clock."""
        return self.organization.home.now()

    def turn(self, account: PlannedAccount, plan: Plan) -> AbstractContextManager[bool]:
        """Return a context that yields True if this worker may carry out the account's plan now.

        No other worker may do so until the context ends.
        """
        return turn_of_plan(self.organization.ledger, plan, account.sha256)

    def done_by_others(self, account: PlannedAccount, plan: Plan, *, since: float) -> Sequence[RowResult] | None:
        """Return the results of all users of an account's plan, if other workers have completed the plan since `since`.

        `since` is a Unix time. Return None if no run of the plan began since then, or if the ledger lacks the result of
        a user.
        """
        return done_by_others(self.organization.ledger, plan, account.sha256, since=since)

    def devices(self, account: PlannedAccount) -> list[JournalEntry]:
        """Return the journal entries of the devices that the runs of an account's plan made and that still exist.

        Devices whose removal was interrupted are included.
        """
        ledger = self.organization.ledger
        runs = RolloutRuns(ledger, plan=account.sha256).all()
        return entries_of_runs(runs, account=account.id, journal=ledger) if runs else []


@contextmanager
def open_account_rollouts(
    settings: Settings, methods: Methods, choice: AccountsChoice, *, store: BackupStore, workers: int
) -> Iterator[AccountRollouts]:
    """Open the caller's account and the ledger, and yield one AccountRollouts for all selected accounts.

    Raise UsageFault if no account is selected, and the errors of `connect`.
    """
    with open_organization(settings, replace(choice, workers=ACCOUNTS * workers)) as organization:
        yield AccountRollouts(
            settings=settings,
            methods=methods,
            store=store,
            workers=workers,
            organization=replace(organization, workers=ACCOUNTS),
        )
