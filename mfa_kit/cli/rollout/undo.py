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
from mfa_kit.cli.rollout.plans import planned_accounts, report_without_plan
from mfa_kit.cli.rollout.results import AccountWork, Schemas, exit_code, is_alone
from mfa_kit.cli.rollout.running import OneByOne, OpenWork, Runner, name_next_command
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Progress
from mfa_kit.core.message import Message, mfa_kit
from mfa_kit.core.models import BackupLocation, JournalEntry
from mfa_kit.core.text import count_of
from mfa_kit.organization.accounts import AccountsChoice, accounts_in_words, by_reason
from mfa_kit.rollout.execution import RowResult
from mfa_kit.rollout.plan import RolloutIndex
from mfa_kit.rollout.records import entries_of_run
from mfa_kit.rollout.undo import undo_devices
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb)
@click.argument("run")
@click.option("--leave-without-mfa", is_flag=True, help="Also remove a user's last device.")
@BACKUP_DIR
@options.WORKERS
@account_options(role=None, workers=False, results=False)
def undo(
    *,
    run: str,
    leave_without_mfa: bool,
    backup_dir: BackupLocation | None,
    workers: int,
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """Remove the devices that RUN created.

    With --accounts or --org, RUN is an index file: remove the devices that all its runs created.
    """
    store = wiring.stores.open_backup_store(settings, backup_dir)
    index = wiring.rollout.read_index(Path(run), expected=()) if accounts else None
    with (
        name_next_command(),
        wiring.rollout.open_rollouts(settings, accounts, store=store, workers=workers) as rollouts,
    ):
        if accounts and index:
            chosen = _devices_of_index(run, index, rollouts, accounts, settings.progress)
        else:
            chosen = [_devices_of_run(run, rollouts)]
        works = [work for work, _ in chosen]
        _confirm(run, works, settings=settings)
        runner = Runner(
            schemas=Schemas("rollout-undo", "rollout-undo-index", "rollout-undo-account"),
            works=works,
            scheduler=OneByOne(works),
            enter=rollouts.enter,
            workers=workers,
            progress=settings.progress,
            output=output,
        )
        entries_by_account = {work.account.id: entries for work, entries in chosen}

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

        asked = runner.run(act, head=lambda: {"index": run} if accounts else {})
        return 0 if settings.dry_run else exit_code(works, asked=asked)


def _devices_of_run(run: str, rollouts: "wiring.rollout.Rollouts") -> tuple[AccountWork, list[JournalEntry]]:
    """Return the work in the caller's account, and the devices to remove. Raise UsageFault if there are none."""
    [account] = rollouts.selection.chosen
    entries = entries_of_run(run, account=account.id, journal=rollouts.ledger)
    return AccountWork(account=account, total=len(entries), alone=True), entries


def _devices_of_index(
    path: str,
    index: RolloutIndex,
    rollouts: "wiring.rollout.Rollouts",
    choice: AccountsChoice,
    progress: Progress,
) -> list[tuple[AccountWork, list[JournalEntry]]]:
    """Return the chosen accounts in which the ledger has devices of an index, and the devices to remove.

    In a shared ledger, these include the devices that other computers of the team made. The index contains the hashes
    of the plans, and the ledger has the hash of each run's plan. The plans themselves are therefore not read. Raise
    UsageFault if the ledger has no such device.
    """
    accounts = planned_accounts(path, index, rollouts.selection, choice)
    report_without_plan(path, index, rollouts.selection, choice, progress)
    chosen = [
        (AccountWork(account=account, total=len(entries), why=why), entries)
        for planned, account, why in accounts
        if (entries := wiring.rollout.plan_records(rollouts.ledger, planned.sha256).devices(planned.id))
    ]
    if not chosen:
        raise UsageFault(
            f"the ledger has no device in these accounts that a run of {path} created",
            Message(
                "see the runs", mfa_kit("ledger show"), "or undo with the ledger of the computer that applied the index"
            ),
        )
    return chosen


def _confirm(run: str, works: Sequence[AccountWork], *, settings: Settings) -> None:
    """Ask for confirmation that the devices may be removed. With --dry-run or --yes, do not ask.

    Devices in accounts that cannot be used are not counted; these accounts are printed with the reason. Raise
    UsageFault if no device can be removed, and Declined if the removal is not confirmed.
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
    of_which = f"of run {run}" if is_alone(works) else f"in {count_of(len(usable), 'account')}"
    devices = f"{count_of(sum(usable), 'device')} {of_which}"
    if settings.dry_run:
        settings.progress.note(f"{devices} would be removed")
    elif not settings.yes:
        settings.interaction.confirm(f"{devices} will be removed", typed=str(sum(usable)))
