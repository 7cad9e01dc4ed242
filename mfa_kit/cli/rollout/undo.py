"""`mfa-kit rollout undo`: remove the devices that one run made."""

from collections.abc import Sequence
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout import options
from mfa_kit.cli.rollout.plans import planned_accounts, read_files, report_without_plan
from mfa_kit.cli.rollout.results import AccountWork, Schemas, exit_code, is_alone
from mfa_kit.cli.rollout.running import OneByOne, OpenWork, Runner, look_up_counted, name_next_command
from mfa_kit.core.errors import Lockout, UsageFault
from mfa_kit.core.interaction import LiveProgress, Progress
from mfa_kit.core.message import Message
from mfa_kit.core.models import RUN, BackupLocation, JournalEntry, JournalState
from mfa_kit.core.text import count_of
from mfa_kit.organization.accounts import AccountsChoice, accounts_in_words, by_reason
from mfa_kit.rollout.execution import RowResult
from mfa_kit.rollout.plan import Plan, RolloutIndex
from mfa_kit.rollout.records import SEE_RUNS, entries_of_runs
from mfa_kit.rollout.undo import KEEPS_LAST, find_unrecorded, undo_devices
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb)
@click.argument("plan_or_run", metavar="PLAN|RUN")
@click.option("--leave-without-mfa", is_flag=True, help="Also remove a user's last device.")
@click.option(
    "--adopt-unrecorded",
    is_flag=True,
    help="Remove the staged devices of PLAN that neither the ledger nor a record has, and nothing else.",
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
    backup_dir: BackupLocation | None,
    records: tuple[Path, ...],
    workers: int,
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """Remove the devices that RUN, or all runs of PLAN, created. PLAN may be an index of plans."""
    path = None if RUN.fullmatch(plan_or_run) and not accounts else Path(plan_or_run)
    if adopt_unrecorded and path is None:
        raise UsageFault("--adopt-unrecorded needs the plan, which names the devices", "give PLAN instead of RUN")
    store = wiring.stores.open_backup_store(settings, backup_dir)
    files = read_files([path], accounts) if path and (adopt_unrecorded or not accounts) else None
    index = files.index if files else wiring.rollout.read_index(path, expected=()) if path else None
    record = wiring.rollout.read_run_records([wiring.rollout.results_folder(None, path)] if path else [], records)
    with (
        name_next_command(),
        wiring.rollout.open_rollouts(settings, accounts, store=store, workers=workers, record=record) as rollouts,
    ):
        if index is None:
            [account] = rollouts.selection.chosen
            chosen = [(AccountWork(account=account, total=0, alone=True), {plan_or_run})]
        else:
            chosen = _works_of(plan_or_run, index, rollouts, accounts, settings.progress)
        found = []
        for work, runs in chosen:
            if adopt_unrecorded and files:
                entries = _unrecorded(
                    work, files.plans[work.account.id], rollouts, workers=workers, progress=settings.progress
                )
            else:
                made = (
                    rollouts.ledger.made(work.account.id)
                    if work.why
                    else rollouts.made(work.account, progress=settings.progress)
                )
                entries = entries_of_runs(runs, made, account=work.account.id, journal=rollouts.ledger)
            work.total = len(entries)
            if entries:
                found.append((work, entries))
        if not found:
            return _report_none(plan_or_run, chosen, rollouts, settings.progress)
        works = [work for work, _ in found]
        rollouts.report_computers([entry for _, entries in found for entry in entries], settings.progress)
        last = 0
        if not (leave_without_mfa or adopt_unrecorded or settings.yes or settings.dry_run):
            last = sum(_count_last(work, entries, rollouts, workers, settings.progress) for work, entries in found)
        _confirm(plan_or_run, works, last=last, settings=settings, always=adopt_unrecorded)
        runner = Runner(
            schemas=Schemas("rollout-undo", "rollout-undo-index", "rollout-undo-account"),
            works=works,
            scheduler=OneByOne(works),
            enter=rollouts.enter,
            workers=workers,
            progress=settings.progress,
            output=output,
        )
        entries_by_account = {work.account.id: entries for work, entries in found}

        def act(opened: OpenWork) -> None:
            entries = entries_by_account[opened.work.account.id]
            outcomes = (
                (RowResult.of_entry(entry, reason="would be removed") for entry in entries)
                if settings.dry_run
                else undo_devices(
                    entries,
                    leave_without_mfa=leave_without_mfa,
                    ports=opened.ports.ports,
                    execution=opened.execution,
                )
            )
            opened.take_all(outcomes, opened.tally.take)

        asked = runner.run(act, head=lambda: {"index": plan_or_run} if accounts else {})
        return 0 if settings.dry_run else exit_code(works, asked=asked)


def _works_of(
    path: str,
    index: RolloutIndex,
    rollouts: "wiring.rollout.Rollouts",
    choice: AccountsChoice | None,
    progress: Progress,
) -> list[tuple[AccountWork, set[str]]]:
    """Return the chosen accounts of an index or a plan, and the runs in each, according to the ledger and the records.

    In a shared ledger, these include the runs on other computers of the team. The index contains the hashes of the
    plans, and the ledger and the records have the hash of each run's plan. The plans themselves are therefore not read.
    """
    if choice is None:
        [account], [planned] = rollouts.selection.chosen, index.accounts
        if planned.id != account.id:
            raise UsageFault(
                f"{path} is for account {planned.id}, and these credentials are for account {account.id}",
                "use the credentials of the plan's account",
            )
        return [(AccountWork(account=account, total=0, alone=True), rollouts.runs_of(planned.sha256))]
    accounts = planned_accounts(path, index, rollouts.selection, choice)
    report_without_plan(path, index, rollouts.selection, choice, progress)
    return [
        (AccountWork(account=account, total=0, why=why), rollouts.runs_of(planned.sha256))
        for planned, account, why in accounts
    ]


def _unrecorded(
    work: AccountWork, plan: Plan, rollouts: "wiring.rollout.Rollouts", *, workers: int, progress: LiveProgress
) -> list[JournalEntry]:
    """Return the staged devices of a plan that nothing proves, as `find_unrecorded` does."""
    if work.why:
        return []
    with progress.showing("reading devices and their tags"):
        opened = rollouts.enter(work.account, progress=progress)
        return find_unrecorded(
            plan, opened.prove(opened.execution(workers=1).list_holders()), ports=opened.ports, workers=workers
        )


def _count_last(
    work: AccountWork,
    entries: Sequence[JournalEntry],
    rollouts: "wiring.rollout.Rollouts",
    workers: int,
    progress: LiveProgress,
) -> int:
    """Return how many of these devices are the only device of their user. They will be refused."""
    if work.why:
        return 0
    ports = rollouts.enter(work.account, progress=progress).ports
    users = {entry.spec.user: None for entry in entries}
    has = look_up_counted([*users], ports, workers=workers, progress=progress)
    return sum(has[entry.spec.user] == (entry.spec.serial,) for entry in entries)


def _report_none(
    path: str,
    chosen: Sequence[tuple[AccountWork, set[str]]],
    rollouts: "wiring.rollout.Rollouts",
    progress: Progress,
) -> int:
    """Print why there is nothing to remove. Return 0 if the runs are undone already, otherwise 1."""
    if any(
        entry.run in runs and entry.reached is JournalState.REVOKED
        for work, runs in chosen
        for entry in rollouts.ledger.entries(work.account.id)
    ) or any(line.run.id in runs for _, runs in chosen for line in rollouts.record.devices):
        progress.note(f"{path} is already undone")
        return 0
    accounts = accounts_in_words([work.account for work, _ in chosen])
    progress.alert(f"neither the ledger nor a record has a device of {path} in {accounts}")
    progress.alert(Message("  try: ", SEE_RUNS))
    return 1


def _confirm(run: str, works: Sequence[AccountWork], *, last: int, settings: Settings, always: bool) -> None:
    """Ask for confirmation that the devices may be removed. With --dry-run, or --yes unless `always`, do not ask.

    `last` is the number of devices that will be refused, because they are the last device of their user.

    Devices in accounts that cannot be used are not counted; these accounts are printed with the reason. Raise
    UsageFault if no account can be used, Lockout if each device is the last of its user, and Declined if the removal is
    not confirmed.
    """
    unusable_works = [work for work in works if work.why]
    for accounts, why in by_reason((work.account, work.why) for work in unusable_works):
        devices = count_of(sum(work.total for work in unusable_works if work.account in accounts), "device")
        settings.progress.alert(Message(f"will not be removed: {devices} in {accounts_in_words(accounts)}: ", why))
    usable = [work.total for work in works if not work.why]
    if not usable:
        raise UsageFault(
            f"all devices that runs of {run} created are in accounts that cannot be used now", "choose other accounts"
        )
    if last == sum(usable):
        raise Lockout(f"all {count_of(last, 'device')} are the last MFA device of their user", KEEPS_LAST)
    of_which = f"of run {run}" if is_alone(works) else f"in {count_of(len(usable), 'account')}"
    devices = f"{count_of(sum(usable) - last, 'device')} {of_which}"
    if settings.dry_run:
        settings.progress.note(f"{devices} would be removed")
    elif always or not settings.yes:
        stay = f", and {last} will stay, because they are the last device of their user" if last else ""
        settings.interaction.confirm(f"{devices} will be removed{stay}", typed=str(sum(usable) - last))
