"""Opens the ports of a rollout, in one account or in several."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from mfa_kit.adapters.aws.account import People
from mfa_kit.adapters.aws.refusals import ended_by
from mfa_kit.adapters.ledger.rollout_runs import Computers, Failures, RolloutRuns, progress_of_plans
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Progress
from mfa_kit.core.models import Caller
from mfa_kit.core.stopping import Stop
from mfa_kit.enrollment.backends import BackupAlone
from mfa_kit.enrollment.pacing import RateLimiter
from mfa_kit.enrollment.ports import BackupStore, EnrollmentPorts
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.selecting import AccountsChoice, AccountSelection, only_account
from mfa_kit.organization.slots import leaving_place
from mfa_kit.rollout.execution import Execution
from mfa_kit.rollout.records import PlanRecords
from mfa_kit.rollout.watching import RolloutProgress, WatchedWork, why_unseen
from mfa_kit.wiring.aws import connect
from mfa_kit.wiring.methods.registry import Methods
from mfa_kit.wiring.oath_keys import OathKeys
from mfa_kit.wiring.organization import Organization, open_organization
from mfa_kit.wiring.ports import enrollment_ports
from mfa_kit.wiring.settings import Settings

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.account import AccountReader
    from mfa_kit.adapters.aws.iam import Iam
    from mfa_kit.adapters.ledger.ledger import Ledger

# For each group of this many threads, one more thread is started, so that encryption does not slow down AWS calls.
ENCRYPTING = 4
# The number of accounts to work in at the same time. Each account has its own threads.
ACCOUNTS = 32
# If AWS throttles an account, and its calls pause for at least this many seconds, work in another account can start.
THROTTLED = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPorts:
    """The ports of a command that processes many users. `pace` limits the rate of all AWS calls of `ports`."""

    ports: EnrollmentPorts
    caller: Caller
    people: "People"
    account: "AccountReader"
    pace: RateLimiter
    ledger: "Ledger"

    def records(self, digest: str) -> PlanRecords:
        """Return the ledger's records of a plan. `digest` is the SHA-256 of the plan's file in hex."""
        return plan_records(self.ledger, digest)

    def execution(self, *, workers: int, max_failures: int | None = None) -> Execution:
        """Return an Execution with `workers` threads, plus some threads that encrypt while others wait for AWS.

        The Execution stops when more than `max_failures` users have failed.
        """
        return Execution(
            virtual=self.account.virtual,
            backend=lambda: BackupAlone(self.ports.iam_reader.now),
            stop=threading.Event(),
            workers=workers + workers // ENCRYPTING,
            max_failures=max_failures,
        )


@contextmanager
def open_rollout(
    settings: Settings,
    methods: Methods,
    *,
    store: BackupStore,
    workers: int,
    progress: Progress,
    oath_keys: OathKeys | None = None,
) -> Iterator[RolloutPorts]:
    """Connect to AWS, open the ledger, and yield the ports of a rollout in one account.

    One RateLimiter limits the rate of all AWS calls. Up to `workers` calls are in progress at a time. Raise the errors
    of `connect`.
    """
    stop = Stop()
    pace = new_pace(lambda: iam.renew(caller.account), workers=workers, progress=progress, stop=stop)
    with connect(settings, workers=workers, turn=pace, stop=stop) as (iam, ledger, caller):
        yield assemble_ports(
            settings,
            methods,
            iam=iam,
            caller=caller,
            ledger=ledger,
            store=store,
            pace=pace,
            oath_keys=oath_keys,
            progress=progress,
            sleep=stop.sleep,
        )


def new_pace(
    renew: Callable[[], object],
    *,
    workers: int,
    progress: Progress,
    stop: Stop,
    sleep: Callable[[float], None] | None = None,
) -> RateLimiter:
    """Return a RateLimiter, which limits the rate of the AWS calls in one account.

    Up to `workers` calls are in progress at a time. `renew` looks for new credentials after the old ones have expired.
    `break_off` of the RateLimiter sets `stop`, which ends all pauses. `sleep` waits for a number of seconds; its
    default is `stop.sleep`.
    """
    return RateLimiter(
        clock=time.monotonic,
        sleep=sleep or stop.sleep,
        progress=progress,
        renew=renew,
        at_once=workers,
        on_break=stop.set,
    )


def assemble_ports(
    settings: Settings,
    methods: Methods,
    *,
    iam: "Iam",
    caller: Caller,
    ledger: "Ledger",
    store: BackupStore,
    pace: RateLimiter,
    progress: Progress,
    sleep: Callable[[float], None],
    oath_keys: OathKeys | None = None,
) -> RolloutPorts:
    """Return the ports of a rollout in one account. `pace` must also be the `turn` of `iam`, to limit its read calls.

    `sleep` waits for a number of seconds.
    """
    from mfa_kit.adapters.aws.account import AccountReader

    ports = enrollment_ports(
        settings,
        iam=iam,
        ledger=ledger,
        store=store,
        oath_keys=oath_keys,
        methods=methods,
        policy=pace,
        progress=progress,
        sleep=sleep,
    )
    return RolloutPorts(
        ports=ports,
        caller=caller,
        people=People(iam.ask),
        account=AccountReader(iam.ask, now=iam.now),
        pace=pace,
        ledger=ledger,
    )


def plan_records(ledger: "Ledger", digest: str) -> PlanRecords:
    """Return the ledger's records of a plan. `digest` is the SHA-256 of the plan's file in hex."""
    runs, failures, computers = RolloutRuns(ledger, plan=digest), Failures(ledger, plan=digest), Computers(ledger)
    return PlanRecords(
        digest=digest,
        journal=ledger,
        release=ledger.end,
        begin=runs.record,
        end=runs.end,
        runs=runs.all,
        fail=failures.record,
        forget=failures.forget,
        failures=failures.by_user,
        devices_made_on=computers.of_devices,
        failed_on=lambda: computers.of_failures(digest),
    )


def progress_of_works(ledger: "Ledger", works: Sequence[WatchedWork]) -> RolloutProgress:
    """Return the progress of several plans, and the workers that work on them now, from the ledger only."""
    return RolloutProgress.of(
        works,
        plans=progress_of_plans(ledger, [work.digest for work in works]),
        claims=ledger.workers([work.claim for work in works]),
    )


def unseen_runs(ledger: "Ledger", digests: Sequence[str]) -> str | None:
    """Return why the ledger shows no run of these plans, as `why_unseen` does."""
    return why_unseen(Computers(ledger).team(), lambda: progress_of_plans(ledger, digests))


class EnterAccount(Protocol):
    """Opens an account, and returns the ports through which a rollout reads and writes there."""

    def __call__(self, account: OrgAccount, *, progress: Progress, entering: Stop | None = None) -> RolloutPorts:
        """Return the ports of an account. Raise KeyboardInterrupt once another thread calls `entering.set()`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """The accounts of a rollout, which `enter` opens.

    `caller` is the AWS identity of the credentials, and `now` returns the Unix time by AWS's clock. `organization` is
    None if the only account is the caller's, which is open already.
    """

    selection: AccountSelection
    caller: Caller
    ledger: "Ledger"
    now: Callable[[], float]
    enter: EnterAccount
    organization: Organization | None


@contextmanager
def open_rollouts(
    settings: Settings, methods: Methods, choice: AccountsChoice | None, *, store: BackupStore, workers: int
) -> Iterator[Rollouts]:
    """Open the caller's account and the ledger, and yield the accounts of `choice`, or the caller's if it is None.

    In each account, up to `workers` calls are in progress at a time. Raise UsageFault if no account is selected, and
    the errors of `connect`.
    """
    if choice is None:
        with open_rollout(settings, methods, store=store, workers=workers, progress=settings.progress) as ports:
            yield Rollouts(
                selection=only_account(ports.caller.account),
                caller=ports.caller,
                ledger=ports.ledger,
                now=ports.ports.iam_reader.now,
                enter=lambda *_, **__: ports,
                organization=None,
            )
        return
    with open_organization(settings, replace(choice, workers=ACCOUNTS * workers)) as organization:
        yield Rollouts(
            selection=organization.selection,
            caller=organization.caller,
            ledger=organization.ledger,
            now=organization.home.now,
            enter=_Entrance(
                settings=settings, methods=methods, store=store, workers=workers, organization=organization
            ).enter,
            organization=replace(organization, workers=ACCOUNTS),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entrance:
    """Opens the accounts of an organization, each with its own RateLimiter."""

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
