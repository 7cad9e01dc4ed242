"""What the ledger records about a plan: its runs, their devices, and the users who failed."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from mfa_kit.core.device_records import RecordedRun
from mfa_kit.core.message import Message, mfa_kit
from mfa_kit.core.models import JournalEntry, JournalState, RunKind
from mfa_kit.enrollment.ports import Journal
from mfa_kit.rollout.execution import RowOutcome, RowResult
from mfa_kit.rollout.plan import Plan
from mfa_kit.rollout.row_status import results_of_others
from mfa_kit.rollout.watching import Failure, claim_of

SEE_RUNS = Message(
    "see the runs in the ledger",
    mfa_kit("ledger show"),
    "or name the results of the computer that made the devices: --record DIR",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRecords:
    """The ledger's records of the plan whose file has the SHA-256 `digest`, in hex.

    `begin` and `end` record that a run of the plan begins, or that it has a result for each user. `fail` and `forget`
    record a user's failure, or that the user has succeeded since. The keyword argument `now` is the current Unix time
    by AWS's clock. `runs` returns the IDs of the plan's runs, and `failures` the last failure of each user. With the
    keyword argument `since`, they leave out what is older than this Unix time. `release` releases the lock of a run.
    `runs_of_all_plans` returns the IDs of the runs of all plans, and `adopt_run` records a run that the ledger lacks.
    `devices_made_on` returns the computer on which each device of some runs was made, by run and serial, and
    `failed_on` the computer on which each row failed. Both are empty if the ledger is not shared.
    """

    digest: str
    journal: Journal
    begin: Callable[..., None]
    end: Callable[..., None]
    runs: Callable[..., set[str]]
    release: Callable[[str], None]
    fail: Callable[..., None]
    forget: Callable[[str], None]
    failures: Callable[..., Mapping[str, Failure]]
    runs_of_all_plans: Callable[[], set[str]]
    adopt_run: Callable[[RecordedRun], None]
    devices_made_on: Callable[[set[str]], Mapping[tuple[str, str], str]]
    failed_on: Callable[[], Mapping[str, str]]

    @contextmanager
    def claim(self, plan: Plan) -> Iterator[bool]:
        """Yield True if this worker may carry out the plan now. No other worker may do so until the context ends.

        Yield False while another worker carries out the plan. Also yield False while a run of the plan is in progress:
        if a worker is killed, its lock on the plan may be released a moment before the lock of its run. At the end of
        the context, the locks of this worker's runs are released too, so that the next worker can clean up after these
        runs.
        """
        with self.journal.claimed(claim_of(self.digest, plan.account)) as ours:
            if not ours or any(self.journal.lives(run) for run in self.runs()):
                yield False
                return
            try:
                yield True
            finally:
                for run in self.runs():
                    self.release(run)

    def done_by_others(self, plan: Plan, *, since: float) -> Sequence[RowResult] | None:
        """Return the results of all users of the plan, if other workers have completed it since a Unix time.

        Return None if no run of the plan began since then, or if the ledger lacks the result of a user.
        """
        if not self.runs(since=since):
            return None
        return results_of_others(plan, entries=self.journal.made(plan.account), failures=self.failures(since=since))

    def with_computers(self, results: Sequence[RowResult]) -> list[RowResult]:
        """Return the results, each with the computer that the shared ledger recorded for it.

        Without a shared ledger, return the results unchanged.
        """
        of_device = self.devices_made_on({result.run for result in results if result.run})
        of_row = self.failed_on()
        return [
            replace(
                result,
                computer=of_row.get(result.key)
                if result.outcome is RowOutcome.FAILED
                else of_device.get((result.run or "", result.device or "")),
            )
            for result in results
        ]


def entries_of_runs(
    runs: Container[str], made: Iterable[JournalEntry], *, account: str, journal: Journal
) -> list[JournalEntry]:
    """Return the entries of these runs in `made`, and the entries of their devices whose removal was interrupted."""
    dead = journal.dead(account)
    leaving = (entry for entry in dead if (entry.purpose, entry.reached) == (RunKind.REVOKE, JournalState.REVOKING))
    return [entry for entry in (*made, *leaving) if entry.run in runs]
