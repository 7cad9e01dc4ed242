"""`mfa-kit rollout finish`: remove the old devices of users whose new device is proven."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.options import Verb
from mfa_kit.cli.rollout import options
from mfa_kit.cli.rollout.plans import PlannedWork, planned_works, read_files, report_without_plan
from mfa_kit.cli.rollout.results import exit_code
from mfa_kit.cli.rollout.running import (
    OneByOne,
    OpenWork,
    Runner,
    confirm_at_terminal,
    is_asked,
    open_for_changes,
    report_unknown,
)
from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.text import count_of
from mfa_kit.rollout.execution import TO_RETRY, RowOutcome
from mfa_kit.rollout.finish import Exchange, Finishing, exchanges_of
from mfa_kit.rollout.roster import keep_users

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.models import BackupLocation, Device, DeviceUse
    from mfa_kit.organization.accounts import AccountsChoice
    from mfa_kit.rollout.execution import Execution
    from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb)
@options.PLAN_FILE
@options.ONLY
@BACKUP_DIR
@options.EXPECTED
@options.RECORD
@options.WORKERS
@account_options(role=None, workers=False, results=False)
def finish(
    *,
    plan_file: Path,
    only: tuple[str, ...],
    backup_dir: BackupLocation | None,
    expected: tuple[str, ...],
    records: tuple[Path, ...],
    workers: int,
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """Remove the old devices of the users of PLAN whose new device is proven. PLAN may be an index of plans.

    A new device is proven by two codes at the station, by `rollout activate --proofs`, or by a sign-in that this
    command finds in CloudTrail. The other users keep their old device, and are named. Run the command again later. At a
    terminal, it asks before it removes anything.
    """
    files = read_files([plan_file], accounts, expected=expected)
    store = wiring.stores.open_backup_store(settings, backup_dir)
    record = wiring.rollout.read_run_records([plan_file], records)
    with open_for_changes(settings, accounts, store=store, workers=workers, record=record) as rollouts:
        works = planned_works(files, rollouts, accounts)
        exchanges = _choose_exchanges(works, only)
        if accounts:
            report_without_plan(files.label, files.index, rollouts.selection, accounts, settings.progress)
        if not any(exchanges.values()):
            settings.progress.note(f"{plan_file} replaces no device of these users")
        by_account = {work.account.id: work for work in works if work.total or work.alone}

        def finishing(work: PlannedWork, ports: wiring.rollout.RolloutPorts, execution: Execution) -> Finishing:
            find = partial(ports.find_uses, execution=execution)
            return Finishing(
                plan=work.plan,
                states=ports.states(work.sha256),
                find_uses=partial(_find_once, uses.setdefault(work.account.id, []), find),
                caller=ports.caller,
                ports=ports.ports,
                execution=execution,
                run=wiring.ports.new_run_id(ports.ports.iam_reader),
                counted=counted.get(work.account.id, ()) if asks else None,
            )

        uses: dict[str, list[Uses]] = {}
        counted: dict[str, Collection[tuple[str, str]]] = {}
        asks = settings.yes or is_asked(settings)
        for work in works if asks and not settings.dry_run else ():
            if exchanges[work.account.id] and not work.why:
                with suppress(MfaKitError):  # the runner reports it
                    ports = rollouts.enter(work.account, progress=settings.progress)
                    check = finishing(work, ports, ports.execution(workers=workers))
                    counted[work.account.id] = check.count(exchanges[work.account.id])
        if total := sum(map(len, counted.values())):
            confirm_at_terminal(f"{count_of(total, 'old device')} will be removed", typed=str(total), settings=settings)
            if settings.yes:
                settings.progress.note(f"{count_of(total, 'old device')} will be removed")
        runner = Runner(
            schema="rollout-finish",
            works=[*by_account.values()],
            scheduler=OneByOne([*by_account.values()]),
            enter=rollouts.enter,
            workers=workers,
            progress=settings.progress,
            output=output,
        )

        def act(opened: OpenWork) -> None:
            work, ports, execution = by_account[opened.work.account.id], opened.ports, opened.execution
            opened.tally.named = {*TO_RETRY, RowOutcome.WAITING}
            opened.tally.listed = {RowOutcome.REVOKED, RowOutcome.ENROLLED}
            results = finishing(work, ports, execution).work_through(exchanges[work.account.id])
            opened.take_all(results, opened.tally.take)
            if any(result.outcome is RowOutcome.WAITING for result in work.found):
                report_unknown(work.plan, ports, workers=workers, progress=settings.progress)

        asked = runner.run(act, head=lambda: {"index": str(plan_file)} if accounts else {})
        waiting = any(result.outcome is RowOutcome.WAITING for work in runner.works for result in work.found)
        return exit_code(runner.works, asked=asked) or int(waiting)


Uses: TypeAlias = "tuple[Mapping[str, DeviceUse], Mapping[str, str]]"


def _find_once(found: list[Uses], find: Callable[[dict[str, Device]], Uses], devices: dict[str, Device]) -> Uses:
    """Return what `find` found the first time, so that CloudTrail is read once, and the count is that of the check."""
    if not found:
        found.append(find(devices))
    return found[0]


def _choose_exchanges(works: Sequence[PlannedWork], only: Sequence[str]) -> dict[str, list[Exchange]]:
    """Return the exchanges of each account, by its ID, and set the accounts' totals. `only` names users, or none.

    Raise UsageFault for a user in `only` who is in no plan.
    """
    rows = [step.row for work in works for step in work.plan.steps]
    users = {row.user for row in (keep_users(rows, only) if only else rows)}
    exchanges: dict[str, list[Exchange]] = {}
    for work in works:
        chosen = [exchange for exchange in exchanges_of(work.plan) if exchange.user in users]
        exchanges[work.account.id], work.total = chosen, len(chosen)
    return exchanges
