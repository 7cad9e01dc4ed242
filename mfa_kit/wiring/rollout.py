"""Opens the ports of a rollout, and reads and writes rosters, plans and results."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.adapters.aws.account import People
from mfa_kit.adapters.files import rollout_files
from mfa_kit.adapters.ledger.computers import Computers
from mfa_kit.adapters.ledger.rollout_runs import Failures
from mfa_kit.core.interaction import Progress
from mfa_kit.core.models import Caller
from mfa_kit.core.stopping import Stop
from mfa_kit.enrollment.backends import BackupAlone
from mfa_kit.enrollment.pacing import RateLimiter
from mfa_kit.enrollment.ports import BackupStore, EnrollmentPorts
from mfa_kit.rollout.execution import Execution
from mfa_kit.rollout.outcomes import RowOutcome, RowResult
from mfa_kit.wiring.aws import connect
from mfa_kit.wiring.methods.registry import Methods
from mfa_kit.wiring.oath_keys import OathKeys
from mfa_kit.wiring.ports import enrollment_ports
from mfa_kit.wiring.settings import Settings

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.account import AccountReader
    from mfa_kit.adapters.aws.iam import Iam
    from mfa_kit.adapters.ledger.ledger import Ledger

# For each group of this many threads, one more thread is started, so that encryption does not slow down AWS calls.
ENCRYPTING = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPorts:
    """The ports of a command that processes many users. `pace` limits the rate of all AWS calls of `ports`."""

    ports: EnrollmentPorts
    caller: Caller
    people: "People"
    account: "AccountReader"
    pace: RateLimiter
    ledger: "Ledger"

    def failures(self, digest: str) -> Failures:
        """Return the ledger's records of a plan's failures. `digest` is the SHA-256 of the plan's file in hex."""
        return Failures(self.ledger, plan=digest)

    @property
    def shared(self) -> bool:
        """Whether several computers share the ledger."""
        return self.ledger.shared

    def with_computers(self, results: Sequence[RowResult], digest: str) -> list[RowResult]:
        """Return the results of a plan, each with the computer that the shared ledger recorded for it.

        `digest` is the SHA-256 of the plan's file in hex. Without a shared ledger, return the results unchanged.
        """
        computers = Computers(self.ledger)
        computer_of_device, computer_of_user = (
            computers.of_devices({result.run for result in results if result.run}),
            computers.of_failures(digest),
        )
        return [
            replace(
                result,
                computer=computer_of_user.get(result.user)
                if result.outcome is RowOutcome.FAILED
                else computer_of_device.get((result.run or "", result.device or "")),
            )
            for result in results
        ]

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


def open_results_folder(named: Path | None, plan: Path) -> Path:
    """Create the folder for results if it does not exist, and return it. Its default path is beside the plan.

    Raise UsageFault if the folder cannot be created, or if it has the results of another plan.
    """
    folder = results_folder(named, plan)
    check_results(folder, plan)
    rollout_files.make_results_folder(folder)
    return folder


def results_folder(named: Path | None, plan: Path) -> Path:
    """Return `named`, or if it is None, the default folder for results, which is beside the plan or index."""
    return named or plan.with_name(f"{plan.stem}-results")


def check_results(folder: Path, plan: Path) -> None:
    """Raise UsageFault if the folder has the results of a plan or index with another file name than `plan`."""
    rollout_files.check_results(folder, plan=plan.name)


def write_files(folder: Path, texts: Mapping[str, str]) -> None:
    """Write each text to the file with its name, as `write_file` does."""
    for name, text in texts.items():
        write_file(folder / name, text)


def write_file(path: Path, text: str) -> None:
    """Write a whole file with mode 0600, replacing an earlier file. Raise UsageFault or IntegrityFault on failure."""
    rollout_files.write_text(path, text)
