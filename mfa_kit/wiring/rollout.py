"""Opens the ports of a rollout, in one account or in several, and reads and writes its files.

These are rosters, plans and their indexes, proofs, results, and letters.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Protocol, TypeVar

from mfa_kit.adapters.aws.account import AccountReader, People
from mfa_kit.adapters.files import passphrase_files, rollout_files
from mfa_kit.adapters.files.local_store import backup_at, read_backup
from mfa_kit.adapters.forge import public_keys
from mfa_kit.adapters.ledger.records import (
    Computers,
    DeviceStates,
    Failures,
    RolloutRuns,
    created_since,
    progress_of_plans,
    runs_of_all_plans,
)
from mfa_kit.backups.opening import ReadAhead
from mfa_kit.core.device_records import (
    NO_RECORDS,
    DeviceState,
    RecordedDevice,
    RecordedRun,
    RecordedState,
    RunRecords,
    backups_of,
    newest_states,
)
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.interaction import LiveProgress, Progress
from mfa_kit.core.letter import LetterTemplate, parse_template
from mfa_kit.core.message import Message, mfa_kit, suggest
from mfa_kit.core.models import BackupLocation, Caller, Device, DeviceUse, JournalEntry, recorded_name, run_time
from mfa_kit.core.stopping import Stop
from mfa_kit.core.text import count_of, few
from mfa_kit.disk.files import MAGIC, create_whole_tree
from mfa_kit.enrollment.backends import BackupAlone
from mfa_kit.enrollment.pacing import RateLimiter
from mfa_kit.enrollment.ports import BackupStore, EnrollmentPorts
from mfa_kit.network.http import ended_by
from mfa_kit.organization.accounts import AccountsChoice, AccountSelection, OrgAccount, only_account
from mfa_kit.organization.slots import AccountSlots, leaving_place
from mfa_kit.rollout.execution import Execution, Workers
from mfa_kit.rollout.handover_letter import NAMES
from mfa_kit.rollout.plan import Plan, PlanFiles, PlannedAccount, RolloutIndex, index_of_plan
from mfa_kit.rollout.plan_files import (
    CREATE,
    REPLACED_PLAN,
    REPLACED_ROWS,
    is_index,
    merge_plan_files,
    parse_index,
    parse_plan,
    plan_digest,
)
from mfa_kit.rollout.plan_making import PlanOptions, PlanPorts, plan_users
from mfa_kit.rollout.proofs import ProofLine, read_proofs
from mfa_kit.rollout.proven_devices import ProvenDevices, prove_devices
from mfa_kit.rollout.recipient_choice import FoundKeys, by_lower_name, check_keys, parse_keys
from mfa_kit.rollout.records import PlanRecords
from mfa_kit.rollout.room import fit_plan
from mfa_kit.rollout.roster_files import (
    ReadRow,
    Roster,
    RosterAccounts,
    Shipping,
    parse_roster,
    parse_shipping,
    read_whole_rows,
)
from mfa_kit.rollout.watching import RolloutProgress, WatchedWork, why_unseen
from mfa_kit.usage.updating import UseHistory, UseSearch
from mfa_kit.wiring.age_keys import read_recipients
from mfa_kit.wiring.aws import connect, event_history
from mfa_kit.wiring.files import packaged_text
from mfa_kit.wiring.ledger import backup_records, open_ledger, recorded
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.oath_keys import OathKeys
from mfa_kit.wiring.organization import Organization, open_organization
from mfa_kit.wiring.ports import enrollment_ports, new_run_id
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.stores import AnyFileStore

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.iam import Iam
    from mfa_kit.adapters.files.passphrase_files import PassphraseFolders
    from mfa_kit.adapters.ledger.ledger import Ledger

T = TypeVar("T")

# For each group of this many threads, one more thread is started, so that encryption does not slow down AWS calls.
ENCRYPTING = 4
# The number of accounts to work in at the same time. Each account has its own threads.
ACCOUNTS = 32
# If AWS throttles an account, and its calls pause for at least this many seconds, work in another account can start.
THROTTLED = 1.0


def account_slots(
    work_in: Callable[[T], None], *, number: int | None, stopped: Callable[[], bool]
) -> AccountSlots[T, None]:
    """Return the slots for work in `number` accounts at the same time. The arguments are those of AccountSlots."""
    return AccountSlots(work_in, number=number or ACCOUNTS, stopped=stopped)


# The hint for a recorded run that is in progress.
UNTIL_END = (
    "wait until it ends, or stop it; then run this command again. A run on another computer may be at work for 15 "
    "minutes after the last line of its record"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPorts:
    """The ports of a command that processes many users. `pace` limits the rate of all AWS calls of `ports`.

    `record` is what the records of runs say, and `history` opens CloudTrail's event history.
    """

    ports: EnrollmentPorts
    caller: Caller
    people: "People"
    account: "AccountReader"
    pace: RateLimiter
    ledger: "Ledger"
    history: "Callable[[], UseHistory]"
    record: RunRecords = NO_RECORDS

    def plan_users(self, request: PlanOptions, *, progress: LiveProgress) -> Plan:
        """Compare users with IAM, and return the plan. Raise the errors of the use case."""
        ports = PlanPorts(
            ports=self.ports,
            account=self.account,
            list_users=self.people.users,
            caller=self.caller,
            record=self.record,
            fit=fit_plan,
        )
        return plan_users(request, ports, progress=progress)

    def records(self, digest: str) -> PlanRecords:
        """Return the ledger's records of a plan. `digest` is the SHA-256 of the plan's file in hex."""
        return plan_records(self.ledger, digest)

    def states(self, plan: str | None = None) -> dict[str, RecordedState]:
        """Return the newest state of each device by its serial, as `device_states` does."""
        return device_states(self.ledger, self.record, plan)

    def find_uses(
        self, devices: dict[str, Device], execution: Execution
    ) -> tuple[dict[str, DeviceUse], dict[str, str]]:
        """Search CloudTrail for a use of each of these devices (by serial), in several Regions at a time.

        Return a use of each device that was used, by serial, and why a Region could not be read, by Region.
        """
        search = UseSearch(
            account=self.caller.account,
            history=self.history(),
            now=self.ports.iam_reader.now,
            stopped=execution.stop.is_set,
            missing=devices,
        )
        self.ports.progress.note(f"reading CloudTrail for uses of {count_of(len(devices), 'new device')}")
        search.run(lambda act, regions: Workers(act=act, number=execution.workers, stop=Event()).work_through(regions))
        return search.uses, search.unread

    def prove(self, holders: Mapping[str, str | None] | None = None) -> ProvenDevices:
        """Return the devices of the account that the ledger or the record of runs proves.

        `holders` has the user of each virtual device by serial. If it is None, IAM's list is read, but only if the
        ledger lacks lines of the record.
        """
        account, record = self.caller.account, self.record
        if holders is None and record.lacking_in(account, self.ports.journal.recorded_devices):
            holders = self.execution(workers=1).list_holders()
        return prove_devices(account, holders=holders or {}, record=record, ports=self.ports)

    @contextmanager
    def recording(self, folder: Path | None, *, plan: str) -> Iterator["Recording"]:
        """Yield a Recording of this process's runs, in the folder for results.

        `plan` is the SHA-256 of the plan's file in hex. If the folder is None, states are written into the ledger only,
        and no run can begin.
        """
        files, computer = rollout_files.RecordFiles(folder) if folder else None, socket.gethostname()
        runs: dict[str, RecordedRun] = {}
        beginning = threading.Lock()

        def begin(run: str) -> None:
            runs[run] = RecordedRun(id=run, plan=plan, computer=computer)
            if files:
                files.begin(runs[run])

        def add(entry: JournalEntry, to: Sequence[str] = (), hashes: Mapping[str, str] | None = None) -> None:
            backups, now = backups_of(entry, hashes) if hashes else {}, self.ports.iam_reader.now()
            if files:
                files.add(RecordedDevice(run=runs[entry.run], at=now, spec=entry.spec, to=to, backups=backups))

        def add_state(serial: str, user: str, state: DeviceState, how: str) -> None:
            with beginning:
                if not runs:
                    begin(new_run_id(self.ports.iam_reader))
            run, now = next(iter(runs.values())), self.ports.iam_reader.now()
            recorded_state = RecordedState(run=run, at=now, serial=serial, user=user, state=state, how=how)
            if files:
                files.add(recorded_state)
            DeviceStates(self.ledger).record(recorded_state)

        store = recorded(self.ports.store, self.ledger, also=add)
        try:
            yield Recording(ports=replace(self.ports, store=store), begin=begin, add=add, add_state=add_state)
        finally:
            if files:
                files.close()

    @contextmanager
    def recording_proofs(self, folders: Sequence[Path]) -> Iterator[Callable[[JournalEntry], None]]:
        """Yield a function that records the proof of a device that a run of a plan has staged.

        The proof is recorded in the ledger, and in the first of `folders` in which files can be written. The ledger
        knows the plan of a key that is sent by post from its earlier states.
        """
        folder = next((folder for folder in folders if os.access(folder, os.W_OK)), None)
        plans = {run.id: run.plan for run in self.record.runs.values()} | runs_of_all_plans(self.ledger)
        states, recordings = self.states(), dict[str, Recording]()
        opening = threading.Lock()

        def record(entry: JournalEntry) -> None:
            state = states.get(entry.spec.serial)
            plan = plans.get(entry.run) or (state.run.plan if state else None)
            if plan is None:
                return
            with opening:
                if plan not in recordings:
                    recordings[plan] = stack.enter_context(self.recording(folder, plan=plan))
            recordings[plan].add_state(entry.spec.serial, entry.spec.user, DeviceState.PROVEN, "codes by activate")

        with ExitStack() as stack:
            yield record

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Writes records of runs. `ports` have a store that writes each device into the record before its backup.

    `begin` must be called with the ID of a run before the run creates a device. `add` writes a device without a backup.
    `add_state` writes a device's serial, its user, its state, and how the state was established, into the record and
    the ledger. Without a run, it begins one, so a command that creates no device can also record states.
    """

    ports: EnrollmentPorts
    begin: Callable[[str], None]
    add: Callable[[JournalEntry], None]
    add_state: Callable[[str, str, DeviceState, str], None]


def device_states(ledger: "Ledger", record: RunRecords, plan: str | None = None) -> dict[str, RecordedState]:
    """Return the newest state of each device by its serial, according to the ledger and the records of runs.

    `plan` is the SHA-256 of the file of the plan, in hex, in whose runs the states were recorded; None for all plans.
    """
    return newest_states([*record.states, *DeviceStates(ledger).all()], plan=plan)


def record_lost_states(ledger: "Ledger", record: RunRecords) -> None:
    """Write the states in the records of runs that the ledger lacks into the ledger."""
    known = {(state.run.id, state.serial, state.state) for state in DeviceStates(ledger).all()} if record.states else ()
    if lost := [state for state in record.states if (state.run.id, state.serial, state.state) not in known]:
        DeviceStates(ledger).record(*lost)


def is_shared(ledger: "Ledger") -> bool:
    """Return whether several computers share the ledger."""
    return Computers(ledger).recorders() is not None


def record_lost_runs(ledger: "Ledger", runs: Iterable[RecordedRun]) -> None:
    """Write the plans of these runs into the ledger, if it lacks them."""
    known = {*runs_of_all_plans(ledger)}
    for run in runs:
        if run.id not in known:
            RolloutRuns(ledger, plan=run.plan).record(run.id, now=run_time(run.id))


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
        failures=failures.by_row,
        runs_of_all_plans=lambda: {*runs_of_all_plans(ledger)},
        adopt_run=lambda run: RolloutRuns(ledger, plan=run.plan).record(run.id, now=run_time(run.id)),
        devices_made_on=computers.of_devices,
        failed_on=lambda: computers.of_failures(digest),
    )


def progress_of_works(ledger: "Ledger", works: Sequence[WatchedWork]) -> RolloutProgress:
    """Return the progress of several plans, and the workers that work on them now, from the ledger only."""
    digests = [work.digest for work in works]
    return RolloutProgress.of(
        works,
        plans=progress_of_plans(ledger, digests),
        claims=ledger.workers([work.claim for work in works]),
    )


def recent_rate(ledger: "Ledger", works: Sequence[WatchedWork], *, seconds: float) -> float:
    """Return how many devices per second the runs of several plans created in the last `seconds`."""
    return created_since(ledger, [work.digest for work in works], time.time() - seconds) / seconds


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
    None if the only account is the caller's, which is open already. `made` adds the serial of each device with lines of
    the record that cannot be adopted to `refused`.
    """

    selection: AccountSelection
    caller: Caller
    ledger: "Ledger"
    now: Callable[[], float]
    enter: EnterAccount
    organization: Organization | None
    record: RunRecords
    refused: set[str] = field(default_factory=set)

    def runs_of(self, digest: str) -> set[str]:
        """Return the runs of a plan, according to the ledger and the records. `digest` is the SHA-256 of its file."""
        recorded_runs = {run.id for run in self.record.runs.values() if run.plan == digest}
        return plan_records(self.ledger, digest).runs() | recorded_runs

    def states(self, plan: str | None = None) -> dict[str, RecordedState]:
        """Return the newest state of each device by its serial, as `device_states` does."""
        return device_states(self.ledger, self.record, plan)

    def check_ended(self, entries: Iterable[JournalEntry]) -> None:
        """Raise UsageFault if the run of one of these devices is recorded as in progress, and the ledger is older."""
        for entry in entries:
            run = self.record.runs.get(entry.run)
            if not (run and run.in_progress):
                continue
            known = self.ledger.find(entry.spec.serial, run=run.id)
            if known is None or known.is_half_made:
                raise UsageFault(
                    f"run {run.id} is still in progress on {run.computer}, according to its record", UNTIL_END
                )

    def report_computers(self, entries: Iterable[JournalEntry], progress: Progress) -> None:
        """Print the other computers that made these devices, according to the shared ledger."""
        if recorders := Computers(self.ledger).recorders():
            here, made_on = recorders.here, recorders.devices
            others = {made_on.get((entry.run, entry.spec.serial), here) for entry in entries} - {here}
            if others:
                progress.note(f"according to the shared ledger, devices were made on {few(sorted(others))}")

    def made_by_account(self, *, progress: Progress) -> dict[str, list[JournalEntry]]:
        """Return the entries of the devices in each chosen account, as `made` does, by account ID."""
        return {account.id: self.made(account, progress=progress) for account in self.selection.chosen}

    def made(self, account: OrgAccount, *, progress: Progress) -> list[JournalEntry]:
        """Return the entries of the devices in an account that the ledger or the record of runs proves.

        The account is opened only if the ledger lacks lines of the record. Print each device with lines that cannot be
        adopted.
        """
        if not self.record.lacking_in(account.id, self.ledger.recorded_devices):
            return self.ledger.made(account.id)
        proven = self.enter(account, progress=progress).prove()
        for serial, why in proven.refused.items():
            progress.alert(f"{serial} is left as it is: {why}")
        self.refused.update(proven.refused)
        return [*proven.entries.values()]


@contextmanager
def open_rollouts(
    settings: Settings,
    choice: AccountsChoice | None,
    *,
    store: BackupStore,
    workers: int,
    oath_keys: OathKeys | None = None,
    record: RunRecords = NO_RECORDS,
) -> Iterator[Rollouts]:
    """Open the caller's account and the ledger, and yield the accounts of `choice`, or the caller's if it is None.

    In each account, up to `workers` calls are in progress at a time, at a rate that one RateLimiter limits.
    `record` is what the records of runs say. Raise UsageFault if no account is selected, and the errors of
    `connect`.
    """
    entrance = _Entrance(settings=settings, store=store, workers=workers, oath_keys=oath_keys, record=record)
    if choice is None:
        stop, progress = settings.stop, settings.progress
        pace = entrance.pace(lambda: iam.renew(caller.account), progress, stop, stop.sleep)
        with connect(settings, workers=workers, turn=pace, stop=stop) as (iam, ledger, caller):
            ports = entrance.ports(iam, caller, ledger, pace=pace, progress=progress, stop=stop)
            yield Rollouts(
                selection=only_account(caller.account),
                caller=caller,
                ledger=ledger,
                now=iam.now,
                enter=lambda *_, **__: ports,
                organization=None,
                record=record,
            )
        return
    with open_organization(settings, replace(choice, workers=ACCOUNTS * workers)) as organization:
        yield Rollouts(
            selection=organization.selection,
            caller=organization.caller,
            ledger=organization.ledger,
            now=organization.home.now,
            enter=partial(entrance.enter, organization),
            organization=replace(organization, workers=ACCOUNTS),
            record=record,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entrance:
    """Opens accounts, each with its own RateLimiter."""

    settings: Settings
    store: BackupStore
    workers: int
    oath_keys: OathKeys | None
    record: RunRecords

    def enter(
        self, organization: Organization, account: OrgAccount, *, progress: Progress, entering: Stop | None = None
    ) -> RolloutPorts:
        """Open an account, and check its ID with AWS. Return its ports. A RateLimiter limits the calls to it.

        To give up while the account is being opened, another thread sets `entering`, or if that is None, the
        organization's `stop`. Raise AccessDenied if no session can be opened, or UsageFault if the credentials belong
        to another account.
        """
        stop = organization.stop
        sleeping = (entering or stop).sleep

        def sleep(seconds: float) -> None:
            sleeping(seconds)

        pauses = leaving_place(sleep, least=THROTTLED)
        pace = self.pace(lambda: opened.iam.renew(account.id), progress, stop, pauses)
        with ended_by(entering or stop):
            opened = organization.enter(account, turn=pace, entering=entering)
            caller = opened.iam.caller()
        sleeping = stop.sleep
        if caller.account != account.id:
            raise UsageFault(
                f"the credentials for account {account.label} belong to account {caller.account}",
                "correct the role or profile of this account in the accounts file",
            )
        caller = replace(caller, lab=opened.caller.lab)
        return self.ports(opened.iam, caller, organization.ledger, pace=pace, progress=progress, stop=stop)

    def pace(
        self, renew: Callable[[], object], progress: Progress, stop: Stop, sleep: Callable[[float], None]
    ) -> RateLimiter:
        """Return the RateLimiter of an account. `renew` looks for new credentials after the old ones have expired.

        `break_off` of the RateLimiter sets `stop`, which ends all pauses. `sleep` waits for a number of seconds.
        """
        return RateLimiter(
            clock=time.monotonic,
            sleep=sleep,
            progress=progress,
            renew=renew,
            at_once=self.workers,
            on_break=stop.set,
        )

    def ports(
        self, iam: "Iam", caller: Caller, ledger: "Ledger", *, pace: RateLimiter, progress: Progress, stop: Stop
    ) -> RolloutPorts:
        """Return the ports of an account. `pace` must also be the `turn` of `iam`, to limit its read calls."""
        ports = enrollment_ports(
            self.settings,
            iam=iam,
            ledger=ledger,
            store=self.store,
            oath_keys=self.oath_keys,
            policy=pace,
            progress=progress,
            sleep=stop.sleep,
        )
        account = AccountReader(iam.ask, now=iam.now)
        return RolloutPorts(
            ports=ports,
            caller=caller,
            people=People(iam.ask),
            account=account,
            pace=pace,
            ledger=ledger,
            history=partial(event_history, iam, stop),
            record=self.record,
        )


def parse_public_key(text: str) -> str:
    """Return a public key without its comment. Raise UsageFault if the text is not a public key.

    The message does not quote the text, because the text may be a private key.
    """
    key = " ".join(text.split()[:2]) if text.startswith("ssh-") else text
    read_recipients([key], source="it", quoted=False)
    return key


def read_roster(path: Path, *, accounts: RosterAccounts | None = None) -> Roster:
    """Read a roster file, for one account or for several `accounts`.

    Raise UsageFault if the file is not a roster.
    """
    text = rollout_files.read_text(path)
    return parse_roster(text, methods=METHODS.in_rosters(), parse_key=parse_public_key, accounts=accounts)


def read_proof_lines(path: Path) -> list[ProofLine]:
    """Return the lines of a file of proofs. Raise UsageFault if the file cannot be read or has no lines."""
    return read_proofs(rollout_files.read_text(path, hint="give a CSV file with the users' codes: --proofs FILE"))


def read_plan(path: Path, *, expected: Sequence[str]) -> tuple[Plan, str]:
    """Return a plan and the SHA-256 of its file in hex.

    Raise UsageFault if the file is not the plan of one account, and the errors of `read_reviewed`.
    """
    text, digest = read_reviewed(path, expected=expected)
    if is_index(text):
        raise UsageFault(
            f"{path} is an index of the plans of several accounts, not a plan",
            f"give the plan of one account from {path.name}-plans; apply, handover, remind, status and undo also take "
            "the index with --accounts FILE or --org",
        )
    return plan_of(text, name=str(path)), digest


def plan_of(text: str, *, name: str) -> Plan:
    """Parse a plan. If the text is not a plan, raise UsageFault with a message that begins with `name`."""
    return parse_plan(text, methods=METHODS.in_rosters(), parse_key=parse_public_key, name=name)


def read_reviewed(path: Path, *, expected: Sequence[str], kind: str = "plan", hint: str = CREATE) -> tuple[str, str]:
    """Return the text of a file and its SHA-256 in hex.

    Raise UsageFault if the file cannot be read (with the hint `hint`), or if `expected` is not empty and does not
    contain this SHA-256. `kind` names the kind of file in the error.
    """
    text = rollout_files.read_text(path, hint=hint)
    digest = plan_digest(text)
    if expected and digest not in {sha256.lower() for sha256 in expected}:
        raise UsageFault(f"{path} is not the expected {kind}: its SHA-256 is {digest}", f"review the {kind} again")
    return text, digest


def read_plan_files(
    paths: Sequence[Path], *, expected: Sequence[str], plans: bool = True, indexes: bool = True
) -> PlanFiles:
    """Read plans, if `plans` is true, and indexes, if `indexes` is true.

    Raise UsageFault if two files have a plan for the same account, and the errors of `read_plan`, `read_index` and
    `read_plans`.
    """

    def read(path: Path) -> tuple[RolloutIndex, dict[str, Plan]]:
        if not plans or (indexes and is_index(rollout_files.read_text(path, hint=CREATE))):
            index = read_index(path, expected=expected)
            return index, read_plans(path, index)
        plan, digest = read_plan(path, expected=expected)
        return index_of_plan(plan, name=path.name, sha256=digest), {plan.account: plan}

    return merge_plan_files([*dict.fromkeys(paths)], read)


def read_index(path: Path, *, expected: Sequence[str]) -> RolloutIndex:
    """Return an index. Raise UsageFault if the file is not an index, and the errors of `read_reviewed`."""
    text, _ = read_reviewed(path, expected=expected, kind="index")
    return parse_index(text, name=str(path))


def earlier_index(path: Path) -> RolloutIndex | None:
    """Return the index that a new index at this path would replace, or None if there is no index.

    Raise UsageFault if the file cannot be read, or if another version of mfa-kit made it.
    """
    if not path.is_file():
        return None
    try:
        text = rollout_files.read_text(path)
        return parse_index(text) if is_index(text) else None
    except UsageFault:
        raise UsageFault(
            f"{path} exists, and mfa-kit cannot read it, so it is not replaced",
            "write the index to another file: -o FILE",
        ) from None


def read_plans(path: Path, index: RolloutIndex) -> dict[str, Plan]:
    """Return all plans of an index by account ID. `path` is the path of the index.

    Raise UsageFault if a plan cannot be read, has changed since the index was written, or is for another account.
    """
    return {account.id: _read_planned(path, account) for account in index.accounts}


def _read_planned(path: Path, account: PlannedAccount) -> Plan:
    """Return the plan of an account. `path` is the path of the index.

    Raise UsageFault if the plan cannot be read, has changed since the index was written, or is for another account.
    """
    file = path.parent / account.plan
    text, digest = read_reviewed(
        file, expected=(), hint=f"restore the folder {file.parent}, which contains the plans of {path}, or plan again"
    )
    if digest != account.sha256:
        raise UsageFault(
            f"{file} has changed since {path} was written: its SHA-256 is {digest}", "plan again, and review the plans"
        )
    plan = plan_of(text, name=str(file))
    if plan.account != account.id:
        raise UsageFault(f"{file} is a plan for account {plan.account}, not for {account.id}", "plan again")
    return plan


def plans_folder(index: Path) -> Path:
    """Return the folder for the plans of an index. The folder is beside the index, and belongs to this index only."""
    return index.with_name(f"{index.name}-plans")


def check_replaced(out: Path, skip_bad: Path | None) -> None:
    """Raise UsageFault if `rollout plan` would replace a file that is no plan and no index, or no list of bad rows."""
    rollout_files.check_replaced(out, REPLACED_PLAN, kind="a plan")
    if skip_bad:
        rollout_files.check_replaced(skip_bad, REPLACED_ROWS, kind="a list of rows with errors")


def write_index(path: Path, text: str, plans: Mapping[str, str]) -> None:
    """Write the plans into the folder that belongs to the index, and then the index. Replace earlier files.

    `plans` maps file names to texts. If a write fails, raise UsageFault or IntegrityFault, and keep the earlier files.
    """
    rollout_files.write_set(path, text, folder=plans_folder(path), members=plans)


# The built-in template.
TEMPLATE = "rollout/handover_letter.md"
# The maximum number of octets of a template.
LARGEST = 1 << 20


def packaged_template(name: str) -> LetterTemplate:
    """Return a template of the package for letters to users."""
    return parse_template(packaged_text(name), names=NAMES, source="of mfa-kit")


def read_template(settings: Settings, named: Path | None) -> LetterTemplate:
    """Return the template in the file `named`, else in the configured file, else the built-in template.

    Raise UsageFault if the file cannot be read, is too large or has errors. The error has a note for each wrong line.
    """
    configured = settings.config.letter_template
    file = named or (Path(configured).expanduser() if configured else None)
    if file is None:
        return packaged_template(TEMPLATE)
    hint = "name a text file in UTF-8: --template FILE"
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
        text = content.decode("utf-8-sig") if len(content) <= LARGEST else None
    except OSError as error:
        raise UsageFault(f"the template {file} cannot be read: {error.strerror}", hint) from None
    except UnicodeDecodeError:
        raise UsageFault(f"the template {file} is not UTF-8", hint) from None
    if text is None:
        raise UsageFault(f"the template {file} is larger than {LARGEST >> 20} MiB", hint)
    return parse_template(text, names=NAMES, source=str(file))


def read_run_records(plans: Iterable[Path], more: Iterable[Path], *, results: Path | None = None) -> RunRecords:
    """Return what the records of runs say in the folders for the results of plans, of which some may not exist.

    `results` is the folder that --results names, or None for the default folders. `more` are the folders that --record
    names. Raise UsageFault if one of them has no record, and IntegrityFault if a record is damaged, or could have been
    changed by other users.
    """
    # A path without a name, such as `.`, is refused later.
    folders = [results_folder(results, plan) for plan in plans if plan.name]
    folders += map(rollout_files.check_records, more)
    return rollout_files.read_records(folders, computer=socket.gethostname())


def known_hashes(ledger: "Ledger", record: RunRecords) -> Callable[[str], Collection[str] | None]:
    """Return a function that returns the SHA-256 values that a file of a backup may have, by its `recorded_name`.

    It returns None if the file has none, but another file of its run has one. The records are read only for files that
    the ledger lacks.
    """

    @cache
    def in_records() -> dict[str, set[str]]:
        hashes: dict[str, set[str]] = {}
        for line in record.devices:
            for name, sha256 in line.hashes.items():
                hashes.setdefault(name, set()).add(sha256)
        return hashes

    @cache
    def runs() -> set[str]:
        backups = (backup_at(Path("/", name)) for name in (*in_ledger, *in_records()))
        return {backup.run for backup in backups if backup}

    def find(name: str) -> Collection[str] | None:
        known = in_ledger.get(name) or in_records().get(name)
        backup = None if known else backup_at(Path("/", name))
        return known or (None if backup and backup.run in runs() else ())

    in_ledger: dict[str, set[str]] = backup_records(ledger).hashes()
    return find


def record_lost_hashes(ledger: "Ledger", record: RunRecords) -> None:
    """Write the SHA-256 of each backup in lines of the record that the ledger lacks into the ledger.

    A command that will write the journal entries of these lines must call this function first. Otherwise, a later
    command without the record would accept any file as the backup.
    """
    if lost := record.lacking(ledger.recorded_devices):
        hashes = {name: sha256 for line in lost for name, sha256 in line.hashes.items()}
        backup_records(ledger).record_sealed((), (), hashes=hashes)


def read_ahead(settings: Settings, hashes: Callable[[str], Collection[str] | None]) -> ReadAhead:
    """Return a ReadAhead of encrypted files. The parameters are those of `checked_reader`."""
    return ReadAhead(checked_reader(settings, hashes), settings.stop)


def checked_reader(
    settings: Settings, hashes: Callable[[str], Collection[str] | None]
) -> Callable[[BackupLocation], bytes]:
    """Return a function that reads an encrypted file, from a folder or a bucket.

    The function raises IntegrityFault if the file is not an age file, so that nothing unencrypted is handed over, or if
    its SHA-256 is not among the `hashes` of its name, or is the only one of its run that is missing, because somebody
    else may then have written it.
    """
    import hashlib

    file_store = AnyFileStore(settings)

    def read(place: BackupLocation) -> bytes:
        sealed = read_backup(place, file_store)
        if not sealed.startswith(MAGIC):
            raise IntegrityFault(f"{place} is not an age file", suggest("see", "backup verify"))
        known = hashes(recorded_name(place))
        if known is None:
            raise IntegrityFault(
                f"{place} has no SHA-256 on record, although other files of its run have one",
                Message(
                    "compare it with the device, which records its SHA-256",
                    mfa_kit("backup drill FILE -i IDENTITY"),
                    "and adopt the device",
                    mfa_kit("ledger reconcile --adopt --record DIR"),
                    "or replace the device",
                    mfa_kit("replace USER --with KIND"),
                ),
            )
        if known and hashlib.sha256(sealed).hexdigest() not in known:
            raise IntegrityFault(
                f"{place} is not the file that mfa-kit wrote: its SHA-256 is another",
                Message(
                    "find out who replaced it. If backup rekey did, and the ledger was lost since, see",
                    mfa_kit("help operations"),
                    "otherwise use mfa-kit replace to give the user a device with a backup of your own",
                ),
            )
        return sealed

    return read


def check_handover(folder: Path) -> None:
    """Raise UsageFault if something exists at the path of the folder."""
    if folder.exists() or folder.is_symlink():
        raise UsageFault(f"{folder} already exists", "name a new folder: -o DIR")


def read_table(path: Path) -> str:
    """Return the text of the table of a hand-over. Raise UsageFault if it cannot be read."""
    return rollout_files.read_text(path, hint="name another folder: -o DIR")


def write_handover(folder: Path, folders: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Write the folder of a hand-over, complete or not at all, as `create_whole_tree` does.

    Raise UsageFault if something exists at its path, and IntegrityFault if it cannot be written.
    """
    try:
        create_whole_tree(folder.absolute(), folders)
    except FileExistsError:
        check_handover(folder)
        raise
    except OSError as error:
        raise IntegrityFault(
            f"{folder} cannot be written: {error.strerror}", "check the permissions and the free space"
        ) from None


def open_passphrase_folders(files: Path, letters: Path) -> "AbstractContextManager[PassphraseFolders]":
    """Open the folders for files that a passphrase opens and for their letters, as the adapter of this name does."""
    return passphrase_files.open_passphrase_folders(files, letters)


def secrets_folder(results: Path) -> Path:
    """Return the folder for the encrypted secrets of keys in a folder for results."""
    return results / "secrets"


def make_secret_folder(folder: Path) -> None:
    """Create a folder that only this user can read, unless it exists. Raise UsageFault if that fails."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise UsageFault(
            f"{folder} cannot be created: {error.strerror}", "name another folder: --secrets DIR"
        ) from None


def read_shipping(path: Path | None, progress: Progress) -> Shipping:
    """Return the columns of a roster that mfa-kit does not use; none without a file. Raise UsageFault if that fails.

    Print the columns that are left out because they may have a secret.
    """
    if path is None:
        return Shipping()
    shipping = parse_shipping(rollout_files.read_text(path), name=str(path))
    if shipping.unread:
        progress.note(shipping.unread)
    return shipping


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


# The number of requests to a forge that are in progress at a time.
AT_ONCE = 4


def read_roster_cells(path: Path, *, also: Collection[str]) -> list[ReadRow]:
    """Return the rows of a roster, as `read_whole_rows` does. Each has the known columns and the columns in `also`."""
    return read_whole_rows(rollout_files.read_text(path), also=also, name=str(path))


def fetch_all(base: str, logins: Sequence[str]) -> dict[str, FoundKeys]:
    """Return the keys of accounts on a forge, by login. Raise UsageFault if `base` is not the address of a forge."""
    address = public_keys.check_base(base)

    def act(login: str) -> tuple[str, FoundKeys]:
        return login, _fetch(address, login)

    return dict(Workers(act=act, number=AT_ONCE, stop=Event()).work_through(logins))


def _fetch(base: str, login: str) -> FoundKeys:
    try:
        source = public_keys.keys_address(base, login)
    except public_keys.FetchError as error:
        return FoundKeys(source="", fault=str(error))
    try:
        return _sorted(source, public_keys.fetch_keys(source))
    except public_keys.FetchError as error:
        return FoundKeys(source=source, fault=str(error))


def read_all(path: Path) -> dict[str, FoundKeys]:
    """Return the public keys in a file, by name, as `parse_keys` does. Raise UsageFault also if it cannot be read."""
    text = rollout_files.read_text(path, hint="give a file with a name and a public key on each line: --from FILE")
    return {name: _sorted(str(path), keys) for name, keys in parse_keys(text, source=str(path)).items()}


def _sorted(source: str, lines: Sequence[str]) -> FoundKeys:
    usable, skipped = public_keys.sort_keys(lines)
    return check_keys(source, usable, skipped, parse_key=parse_public_key)


def recipients_before(settings: Settings) -> Mapping[str, Mapping[str, str]]:
    """Return the latest recipient of each user's own copies, by user name in lower case and then by account."""
    with open_ledger(settings) as ledger:
        return by_lower_name(ledger.recipients_by_user().items())
