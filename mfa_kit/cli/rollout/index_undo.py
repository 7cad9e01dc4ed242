"""`mfa-kit rollout undo` for an index: remove the devices of the index's runs, in several accounts at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mfa_kit import wiring
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout.account_results import exit_code, report_failed, show_accounts, show_users
from mfa_kit.cli.rollout.account_work import AccountWork
from mfa_kit.cli.rollout.index_work import chosen_works, report_without_plan
from mfa_kit.cli.rollout.running import name_next_command
from mfa_kit.cli.rollout.side_by_side import OpenWork, SideBySide
from mfa_kit.cli.rollout.turns import OneByOne
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import BackupLocation
from mfa_kit.core.text import count_of
from mfa_kit.enrollment.ports import BackupStore
from mfa_kit.organization.selecting import AccountsChoice
from mfa_kit.organization.wording import accounts_in_words, by_reason
from mfa_kit.rollout.outcomes import RowResult
from mfa_kit.rollout.undo import undo_devices
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoOptions:
    """The options of `undo` for an index, which lists one plan for each account."""

    index_file: Path
    store: BackupStore
    leave_without_mfa: bool
    workers: int


def undo_in_accounts(
    *,
    run: str,
    leave_without_mfa: bool,
    backup_dir: BackupLocation | None,
    workers: int,
    accounts: AccountsChoice,
    settings: Settings,
    output: Output,
) -> int:
    """Remove the devices of all runs of the index at the path `run`. Return the exit code."""
    options = UndoOptions(
        index_file=Path(run),
        store=wiring.stores.open_vault(settings, backup_dir),
        leave_without_mfa=leave_without_mfa,
        workers=workers,
    )
    return undo_index(options, accounts, settings=settings, output=output)


def undo_index(options: UndoOptions, choice: AccountsChoice, *, settings: Settings, output: Output) -> int:
    """Remove the devices that the ledger has for the plans of an index, and return the exit code.

    In a shared ledger, these include the devices that other computers of the team made.
    The index contains the hashes of the plans, and the ledger has the hash of each run's plan. The plans themselves are
    therefore not read.
    """
    path = options.index_file
    index = wiring.plan_files.read_index(path, expected=())
    with (
        name_next_command(),
        wiring.rollout_accounts.open_account_rollouts(
            settings, METHODS, choice, store=options.store, workers=options.workers
        ) as rollouts,
    ):
        selection = rollouts.organization.selection
        chosen = chosen_works(path, index, selection, choice)
        report_without_plan(path, index, selection, choice, settings.progress)
        entries = {chosen_work.planned.id: rollouts.devices(chosen_work.planned) for chosen_work in chosen}
        for chosen_work in chosen:
            chosen_work.work.total = len(entries[chosen_work.planned.id])
        works = [chosen_work.work for chosen_work in chosen if chosen_work.work.total]
        _confirm(path, works, settings=settings)
        side = SideBySide(
            schema="rollout-undo-index",
            works=works,
            turns=OneByOne(works),
            enter=rollouts.enter,
            accounts=wiring.rollout_accounts.ACCOUNTS,
            workers=options.workers,
            progress=settings.progress,
            output=output,
        )

        def act(opened: OpenWork) -> None:
            mine = entries[opened.work.account.id]
            if settings.dry_run:
                foreseen = (RowResult.of_entry(entry, reason="would be removed") for entry in mine)
                return opened.take_all(foreseen, opened.tally.take)
            outcomes = undo_devices(
                mine,
                leave_without_mfa=options.leave_without_mfa,
                ports=opened.ports.ports,
                execution=opened.execution,
            )
            return opened.take_all(outcomes, opened.tally.take)

        try:
            asked = side.do(act)
        finally:
            show_users("rollout-undo-index", side.works, output=output, head={"index": str(path)})
            show_accounts("rollout-undo-account", side.works, output=output)
        report_failed(side.works, settings.progress)
        side.report_denied()
        return 0 if settings.dry_run else exit_code(side.works, asked=asked)


def _confirm(path: Path, works: Sequence[AccountWork], *, settings: Settings) -> None:
    """Ask for confirmation that the devices may be removed. With --dry-run or --yes, do not ask.

    Devices in accounts that cannot be used are not counted; these accounts are printed with the reason. Raise
    UsageFault if no device can be removed, and Declined if the removal is not confirmed.
    """
    if not works:
        raise UsageFault(
            f"the ledger has no device in these accounts that a run of {path} created",
            "see the runs: mfa-kit ledger show; or undo with the ledger of the computer that applied the index",
        )
    unusable_works = [work for work in works if work.why]
    for accounts, why in by_reason((work.account, work.why) for work in unusable_works):
        devices = count_of(sum(work.total for work in unusable_works if work.account in accounts), "device")
        settings.progress.alert(f"will not be removed: {devices} in {accounts_in_words(accounts)}: {why}")
    usable = [work.total for work in works if not work.why]
    if not usable:
        raise UsageFault(
            f"all devices that runs of {path} created are in accounts that cannot be used now", "choose other accounts"
        )
    devices = f"{count_of(sum(usable), 'device')} in {count_of(len(usable), 'account')}"
    if settings.dry_run:
        settings.progress.note(f"{devices} would be removed")
    elif not settings.yes:
        settings.interaction.confirm(f"{devices} will be removed", typed=str(sum(usable)))
