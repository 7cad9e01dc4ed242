"""`mfa-kit rollout undo`: remove the devices that one run made."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.options import Verb
from mfa_kit.cli.rollout import options
from mfa_kit.cli.rollout.plans import planned_accounts, read_files, report_without_plan
from mfa_kit.cli.rollout.results import AccountWork, exit_code, is_alone
from mfa_kit.cli.rollout.running import OneByOne, OpenWork, Runner, open_for_changes, report_unknown
from mfa_kit.cli.value_types import Age
from mfa_kit.core.errors import Lockout, UsageFault
from mfa_kit.core.message import Message, suggest
from mfa_kit.core.models import RUN, BackupLocation, JournalEntry, JournalState
from mfa_kit.core.text import count_of
from mfa_kit.organization.accounts import AccountsChoice, accounts_in_words, by_reason
from mfa_kit.rollout.execution import RowOutcome, RowResult
from mfa_kit.rollout.records import SEE_RUNS, entries_of_runs
from mfa_kit.rollout.row_status import look_up_counted
from mfa_kit.rollout.undo import KEEPS_LAST, find_unrecorded, has_replaced, undo_devices

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.interaction import Progress
    from mfa_kit.rollout.plan import Plan, RolloutIndex
    from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb)
@click.argument("plan_or_run", metavar="PLAN|RUN")
@click.option("--leave-without-mfa", is_flag=True, help="Also remove a user's last device.")
@click.option(
    "--adopt-unrecorded",
    is_flag=True,
    help="Remove the staged and half-made devices of PLAN that neither the ledger nor a record has, and nothing else.",
)
@click.option(
    "--older-than",
    type=Age(),
    default="24h",
    show_default=True,
    help="Minimum age at which --adopt-unrecorded removes half-made devices.",
)
@BACKUP_DIR
@options.RECORD
@options.WORKERS
@account_options(role=None, workers=False, results=False)
def undo(
    *,
    plan_or_run: str,
    leave_without_mfa: bool,
    adopt_unrecorded: bool,
    older_than: float,
    backup_dir: BackupLocation | None,
    records: tuple[Path, ...],
    workers: int,
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """Remove the devices that RUN, or all runs of PLAN, created. PLAN may be an index of plans."""
    target = _read_target(plan_or_run, accounts, adopt_unrecorded=adopt_unrecorded)
    store = wiring.stores.open_backup_store(settings, backup_dir)
    record = wiring.rollout.read_run_records([Path(plan_or_run)] if target.index else [], records)
    with open_for_changes(settings, accounts, store=store, workers=workers, record=record) as rollouts:
        removal = _Removal(
            target=target,
            rollouts=rollouts,
            choice=accounts,
            settings=settings,
            workers=workers,
            older_than=older_than if adopt_unrecorded else None,
        )
        chosen = removal.choose()
        found = removal.find(chosen, unrecorded=adopt_unrecorded)
        unknown = bool(removal.young) if adopt_unrecorded else removal.report_unknown(chosen)
        if not found:
            if output.form == "json":
                output.one("rollout-undo", {"counts": {}, "rows": []})
            return 1 if unknown else removal.report_none(chosen, unrecorded=adopt_unrecorded)
        entries_by_account = {work.account.id: entries for work, entries in found}
        rollouts.report_computers(chain(*entries_by_account.values()), settings.progress)
        works = [work for work, _ in found]
        last, final = (0, 0) if adopt_unrecorded else removal.count_staying(found)
        last = 0 if leave_without_mfa else last
        _confirm(plan_or_run, works, last=last, final=final, settings=settings, always=adopt_unrecorded)
        runner = Runner(
            schema="rollout-undo",
            works=works,
            scheduler=OneByOne(works),
            enter=rollouts.enter,
            workers=workers,
            progress=settings.progress,
            output=output,
        )

        def act(opened: OpenWork) -> None:
            entries = entries_by_account[opened.work.account.id]
            opened.tally.listed = {*RowOutcome}
            outcomes = removal.remove(entries, opened, leave_without_mfa=leave_without_mfa)
            opened.take_all(outcomes, opened.tally.take)

        asked = runner.run(act, head=lambda: {"index": plan_or_run} if accounts else {})
        return 0 if settings.dry_run else max(exit_code(works, asked=asked), int(unknown or removal.leaves_any(chosen)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """What to undo: the run `name`, or all runs of the plan or index in the file `name`.

    `index` is None for a run. `plans` has the plans by account ID, as far as they were read.
    """

    name: str
    index: RolloutIndex | None
    plans: Mapping[str, Plan]


def _read_target(name: str, choice: AccountsChoice | None, *, adopt_unrecorded: bool) -> _Target:
    """Read the file that the command line names, unless it names a run.

    The plans of an index are read only for --adopt-unrecorded, because the index has their hashes, and the ledger and
    the records have the hash of each run's plan. Raise UsageFault if the file cannot be read.
    """
    is_run = RUN.fullmatch(name) is not None and choice is None
    if adopt_unrecorded and is_run:
        raise UsageFault("--adopt-unrecorded needs the plan, which names the devices", "give PLAN instead of RUN")
    if is_run:
        return _Target(name=name, index=None, plans={})
    if choice is not None and not adopt_unrecorded:
        return _Target(name=name, index=wiring.rollout.read_index(Path(name), expected=()), plans={})
    files = read_files([Path(name)], choice)
    return _Target(name=name, index=files.index, plans=files.plans)


Chosen = Sequence[tuple[AccountWork, set[str]]]
Found = list[tuple[AccountWork, list[JournalEntry]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Removal:
    """Finds the devices to remove. `workers` is the number of requests that are in progress at a time.

    `older_than` is the age of half-made devices that nothing proves, in seconds; None unless these are to be removed.
    `young` gets those that are left because they may be younger.
    """

    target: _Target
    rollouts: wiring.rollout.Rollouts
    choice: AccountsChoice | None
    settings: Settings
    workers: int
    older_than: float | None
    young: list[JournalEntry] = field(default_factory=list)

    def choose(self) -> Chosen:
        """Return the chosen accounts with the runs in each, according to the ledger and the records.

        In a shared ledger, these include the runs on other computers of the team.
        """
        target, rollouts, progress = self.target, self.rollouts, self.settings.progress
        if self.choice is None or target.index is None:
            [account] = rollouts.selection.chosen
            work = AccountWork(account=account, total=0, alone=True)
            if target.index is None:
                return [(work, {target.name})]
            [planned] = target.index.accounts
            if planned.id != account.id:
                raise UsageFault(
                    f"{target.name} is for account {planned.id}, and these credentials are for account {account.id}",
                    "use the credentials of the plan's account",
                )
            return [(work, rollouts.runs_of(planned.sha256))]
        accounts = planned_accounts(target.name, target.index, rollouts.selection, self.choice)
        report_without_plan(target.name, target.index, rollouts.selection, self.choice, progress)
        return [
            (AccountWork(account=account, total=0, why=why), rollouts.runs_of(planned.sha256))
            for planned, account, why in accounts
        ]

    def find(self, chosen: Chosen, *, unrecorded: bool) -> Found:
        """Return the accounts that have devices to remove, with the devices.

        With `unrecorded`, these are the devices that nothing proves, as `find_unrecorded` returns them.
        """
        found: Found = []
        for work, runs in chosen:
            entries = self._find_unrecorded(work) if unrecorded else self._entries(work, runs)
            work.total = len(entries)
            if entries:
                found.append((work, entries))
        return found

    def _entries(self, work: AccountWork, runs: set[str]) -> list[JournalEntry]:
        ledger, progress = self.rollouts.ledger, self.settings.progress
        made = ledger.made(work.account.id) if work.why else self.rollouts.made(work.account, progress=progress)
        entries = entries_of_runs(runs, made, account=work.account.id, journal=ledger)
        self.rollouts.check_ended(entries)
        return entries

    def _find_unrecorded(self, work: AccountWork) -> list[JournalEntry]:
        if work.why:
            return []
        progress = self.settings.progress
        with progress.showing("reading devices and their tags"):
            opened = self.rollouts.enter(work.account, progress=progress)
            proven = opened.prove(opened.execution(workers=1).list_holders())
            plan = self.target.plans[work.account.id]
            unrecorded = find_unrecorded(
                plan,
                proven,
                ports=opened.ports,
                workers=self.workers,
                older_than=self.older_than or 0,
                shared=wiring.rollout.is_shared(self.rollouts.ledger),
            )
        if why := unrecorded.why_left:
            progress.alert(why)
            self.young.extend(unrecorded.young)
        return [*unrecorded.entries]

    def report_unknown(self, chosen: Chosen) -> bool:
        """Print which devices of the plans stay, because their runs are unknown. Return whether there are any.

        The plans of an index are not read, so nothing is known about them.
        """
        progress, reported = self.settings.progress, False
        for work, _ in chosen:
            if not work.why and (plan := self.target.plans.get(work.account.id)):
                ports = self.rollouts.enter(work.account, progress=progress)
                reported |= report_unknown(plan, ports, workers=self.workers, progress=progress)
        return reported

    def count_staying(self, found: Found) -> tuple[int, int]:
        """Return how many of the devices are the last device of their user, and how many have replaced another device.

        They will be refused. Return zeros if no question will be asked, because then each refusal is printed instead.
        """
        last, final, progress = 0, 0, self.settings.progress
        for work, entries in () if self.settings.yes or self.settings.dry_run else found:
            if not work.why:
                ports = self.rollouts.enter(work.account, progress=progress).ports
                ours: dict[str, set[str]] = {}
                for entry in entries:
                    ours.setdefault(entry.spec.user, set()).add(entry.spec.serial)
                has = look_up_counted([*ours], ports, workers=self.workers, progress=progress)
                replaced = [entry.spec.user for entry in entries if has_replaced(entry.spec, has[entry.spec.user])]
                last += sum({*has[user]} <= ours[user] for user in ours.keys() - replaced if has[user])
                final += len(replaced)
        return last, final

    def leaves_any(self, chosen: Chosen) -> bool:
        """Return whether a run has a line about a device that exists and cannot be adopted. It was printed already."""
        refused = self.rollouts.refused
        return any(
            line.run.id in runs and line.spec.serial in refused
            for line in (self.rollouts.record.devices if refused else ())
            for _, runs in chosen
        )

    def remove(
        self, entries: Sequence[JournalEntry], opened: OpenWork, *, leave_without_mfa: bool
    ) -> Generator[RowResult, None, None]:
        """Remove the devices, and yield the result of each. In a dry run, remove nothing."""
        if self.settings.dry_run:
            return (RowResult.of_entry(entry, _outcome(entry), "would be removed") for entry in entries)
        ports, execution = opened.ports.ports, opened.execution
        return undo_devices(
            entries,
            leave_without_mfa=leave_without_mfa,
            ports=ports,
            execution=execution,
            unassigned_only=self.older_than is not None,
        )

    def report_none(self, chosen: Chosen, *, unrecorded: bool) -> int:
        """Print why there is nothing to remove. Return 0 if the runs are undone already, otherwise 1."""
        name, progress = self.target.name, self.settings.progress
        if unrecorded:
            progress.alert(
                f"IAM has no staged device of {name}, and no half-made one, that neither the ledger nor a record has"
            )
            return 1
        if self.leaves_any(chosen):
            return 1
        recorded = {line.run.id for line in self.rollouts.record.devices}
        revoked = {
            entry.run
            for work, _ in chosen
            for entry in self.rollouts.ledger.entries(work.account.id)
            if entry.reached is JournalState.REVOKED
        }
        if any(runs & (recorded | revoked) for _, runs in chosen):
            progress.note(f"{name} is already undone")
            return 0
        accounts = accounts_in_words([work.account for work, _ in chosen])
        progress.alert(f"neither the ledger nor a record has a device of {_in_words(name)} in {accounts}")
        progress.alert(Message("  try: ", SEE_RUNS))
        return 1


def _outcome(entry: JournalEntry) -> RowOutcome:
    if entry.reached is JournalState.STAGED:
        return RowOutcome.STAGED
    return RowOutcome.HALF_MADE if entry.is_half_made else RowOutcome.ENROLLED


def _in_words(name: str) -> str:
    return f"run {name}" if RUN.fullmatch(name) else name


def _confirm(
    name: str, works: Sequence[AccountWork], *, last: int, final: int, settings: Settings, always: bool
) -> None:
    """Ask for confirmation that the devices may be removed. With --dry-run, or --yes unless `always`, do not ask.

    `name` is the run, or the file of the plan or index. `last` is the number of devices that will be refused, because
    they are the last device of their user, and `final` of those that have replaced a device.

    Devices in accounts that cannot be used are not counted; these accounts are printed with the reason. Raise
    UsageFault if no account can be used, Lockout if each device is the last of its user, and Declined if the removal is
    not confirmed.
    """
    _report_unusable(works, settings.progress)
    usable = [work.total for work in works if not work.why]
    if not usable:
        raise UsageFault(
            f"all devices that runs of {name} created are in accounts that cannot be used now", "choose other accounts"
        )
    going = sum(usable) - last - final
    if not going:
        raise _all_stay(last, final)
    of_which = f"of {_in_words(name)}" if is_alone(works) else f"in {count_of(len(usable), 'account')}"
    devices = f"{count_of(going, 'device')} {of_which}"
    if settings.dry_run:
        settings.progress.note(f"{devices} would be removed")
    elif always or not settings.yes:
        staying = ((last, "the last device of their user"), (final, "in the place of a removed device"))
        stay = "".join(f", and {_stay(number)} {what}" for number, what in staying if number)
        only = "; confirm only if no other computer works on this plan" if always else ""
        settings.interaction.confirm(
            f"{devices} will be removed{stay}{only}",
            typed=str(going),
            instead="a terminal" if always else "--yes",
        )


def _all_stay(last: int, final: int) -> Lockout:
    """Return the error for devices of which none can be removed. The counts are those of `_confirm`."""
    if not final:
        return Lockout(f"all {count_of(last, 'device')} are the last MFA device of their user", KEEPS_LAST)
    return Lockout(
        f"{count_of(final, 'device')} have replaced other devices, which are removed and cannot come back"
        if final > 1
        else "the device has replaced another one, which is removed and cannot come back",
        suggest("to remove a device nevertheless", "revoke USER --mfa-device NAME"),
    )


def _stay(number: int) -> str:
    return f"{number} will stay, because it is" if number == 1 else f"{number} will stay, because they are"


def _report_unusable(works: Sequence[AccountWork], progress: Progress) -> None:
    unusable_works = [work for work in works if work.why]
    for accounts, why in by_reason((work.account, work.why) for work in unusable_works):
        devices = count_of(sum(work.total for work in unusable_works if work.account in accounts), "device")
        progress.alert(Message(f"will not be removed: {devices} in {accounts_in_words(accounts)}: ", why))
