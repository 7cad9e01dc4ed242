"""`mfa-kit rollout apply` and `work` for the plans of an index, in several accounts at the same time."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from mfa_kit import wiring
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout.account_results import (
    counts_of,
    exit_code,
    report_blocked,
    report_failed,
    show_accounts,
    show_users,
)
from mfa_kit.cli.rollout.account_work import AccountWork
from mfa_kit.cli.rollout.apply_options import ApplyOptions
from mfa_kit.cli.rollout.index_work import PlannedWork, check_file, planned_works, report_without_plan
from mfa_kit.cli.rollout.next_step import UNDONE, next_step
from mfa_kit.cli.rollout.plan_run import PlanRun
from mfa_kit.cli.rollout.running import name_next_command
from mfa_kit.cli.rollout.side_by_side import OpenWork, SideBySide
from mfa_kit.cli.rollout.tally import check_backup_folder
from mfa_kit.cli.rollout.turns import AccountScheduler, OneByOne, SharedTurns
from mfa_kit.core.interaction import Progress
from mfa_kit.enrollment.ports import BackupStore
from mfa_kit.organization.selecting import AccountsChoice
from mfa_kit.rollout.apply import check_copies
from mfa_kit.rollout.outcomes import RowOutcome, RowResult
from mfa_kit.rollout.plan import check_account
from mfa_kit.rollout.row_status import look_up_status
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings


def apply_in_accounts(*, options: ApplyOptions, accounts: AccountsChoice, settings: Settings, output: Output) -> int:
    """Enroll the users of the plan files in the chosen accounts, and return the exit code.

    Before any work begins, check that no plan has changed since its index was written, and that no user would be locked
    out. If a chosen account could not be read when the index was made, the exit code is at least 1, except in a dry
    run.
    """
    store = options.store(settings)
    read = wiring.plan_files.read_plan_files(
        options.plan_files, METHODS, expected=options.expected, plans_too=options.at_once is not None
    )
    with (
        name_next_command(),
        wiring.rollout_accounts.open_account_rollouts(
            settings, METHODS, accounts, store=store, workers=options.workers
        ) as rollouts,
    ):
        selection = rollouts.organization.selection
        planned = planned_works(read.label, read.index, read.plans, selection, accounts)
        check_file(read.label, read.index, selection, accounts)
        _check_all(planned, options, store)
        unplanned = report_without_plan(read.label, read.index, selection, accounts, settings.progress)
        side = SideBySide(
            schema="rollout-apply-index",
            works=[planned_work.work for planned_work in planned],
            turns=_turns(planned, rollouts, None if settings.dry_run else options.at_once, settings.progress),
            enter=rollouts.enter,
            accounts=options.at_once or wiring.rollout_accounts.ACCOUNTS,
            workers=options.workers,
            progress=settings.progress,
            output=output,
            max_failures=options.max_failures,
        )
        by_account = {planned_work.planned.id: planned_work for planned_work in planned}
        bases = _results_folders(planned, read.files, options, dry=settings.dry_run)

        def act(opened: OpenWork) -> None:
            planned_work = by_account[opened.work.account.id]
            check_account(planned_work.plan, opened.ports.caller)
            if settings.dry_run:
                _foresee(planned_work, opened)
            else:
                path = read.files[planned_work.planned.id]
                folder = bases[path] / planned_work.planned.id
                _apply_in(planned_work, opened, folder=folder, source=path, staged=options.staged)

        try:
            asked = side.do(act)
        finally:
            head = {"index": read.label, "results": ", ".join({str(base): None for base in bases.values()})}
            show_users("rollout-apply-index", side.works, output=output, head=head)
            show_accounts("rollout-apply-account", side.works, output=output)
        report_failed(side.works, settings.progress)
        report_blocked(counts_of(side.works)[RowOutcome.BLOCKED], settings.progress)
        side.report_denied()
        if settings.dry_run:
            return 0
        code = max(exit_code(side.works, asked=asked), int(unplanned))
        settings.progress.note(_next_step(planned, bases, read.files))
        return code


def _next_step(planned: list[PlannedWork], bases: Mapping[Path, Path], sources: Mapping[str, Path]) -> str:
    """Return the message that says what to do next. If users failed, it names the first file with such a user.

    `bases` maps each file on the command line to its folder for results, and `sources` maps each account ID to the file
    with the account's plan.
    """
    results = [result for planned_work in planned for result in planned_work.work.found]
    failed = [
        planned_work for planned_work in planned if any(result.outcome in UNDONE for result in planned_work.work.found)
    ]
    index = sources[(failed or planned)[0].planned.id]
    plans = [planned_work.plan for planned_work in planned]
    plan = str(wiring.plan_files.plans_folder(index) / "FILE")  # in printed commands, FILE stands for an account's plan
    return next_step(results, plans=plans, plan=plan, index=str(index), folder=f"{bases[index]}/ACCOUNT")


def _results_folders(
    planned: list[PlannedWork], sources: Mapping[str, Path], options: ApplyOptions, *, dry: bool
) -> dict[Path, Path]:
    """Return a mapping from each file on the command line to its folder for results. Create the folders, unless `dry`.

    `sources` maps each account ID to the file with the account's plan. Raise UsageFault if a folder has the results of
    another file.
    """
    bases = {path: wiring.rollout.results_folder(options.results, path) for path in options.plan_files}
    for planned_work in planned:
        path = sources[planned_work.planned.id]
        wiring.rollout.check_results(bases[path] / planned_work.planned.id, path)
    for path, base in bases.items():
        if not dry:
            wiring.rollout.open_results_folder(base, path)
    return bases


def _check_all(planned: list[PlannedWork], options: ApplyOptions, store: BackupStore) -> None:
    """Raise Lockout or UsageFault if the rollout must not start.

    Raise Lockout if users would be locked out because they would get no copy of their secret, unless --accept-lockout
    was given. Raise UsageFault if no one could decrypt a user's backup, if only the user could decrypt the backup of a
    staged device, or if backups cannot be written.
    """
    usable = [planned_work for planned_work in planned if not planned_work.work.why]
    check_copies(
        [
            f"{user} in {planned_work.work.account.label}"
            for planned_work in usable
            for user in planned_work.plan.shut_out
        ],
        staged=options.staged,
        accept_lockout=options.accept_lockout,
        sealed=bool(store.recipients()),
    )
    check_backup_folder(store, [step for planned_work in usable for step in planned_work.plan.steps])


def _turns(
    planned: list[PlannedWork],
    rollouts: "wiring.rollout_accounts.AccountRollouts",
    at_once: int | None,
    progress: Progress,
) -> AccountScheduler:
    """Return SharedTurns for a worker, or OneByOne if `at_once` is None, as for `rollout apply` and in a dry run."""
    works = [planned_work.work for planned_work in planned]
    if at_once is None:
        return OneByOne(works)
    by_account = {planned_work.planned.id: planned_work for planned_work in planned}
    began = rollouts.now()

    def claim(work: AccountWork) -> AbstractContextManager[bool]:
        planned_work = by_account[work.account.id]
        return rollouts.turn(planned_work.planned, planned_work.plan)

    def look(work: AccountWork) -> Sequence[RowResult] | None:
        planned_work = by_account[work.account.id]
        return rollouts.done_by_others(planned_work.planned, planned_work.plan, since=began)

    return SharedTurns(works=works, claim=claim, look=look, progress=progress)


def _foresee(planned_work: PlannedWork, opened: OpenWork) -> None:
    """For --dry-run, look up the state of each user, and add the state to the results of `opened`. Change nothing."""
    results = look_up_status(
        planned_work.plan,
        holders=opened.execution.list_holders(),
        look=lambda _: {},
        failures={},
        ports=opened.ports.ports,
    )
    opened.take_all((result for result in results), opened.tally.take)


def _apply_in(planned_work: PlannedWork, opened: OpenWork, *, folder: Path, source: Path, staged: bool) -> None:
    """Carry out the plan of an account, and write the results to `folder`.

    `source` is the path of the index or the plan on the command line.
    """
    ports = opened.ports
    wiring.rollout.open_results_folder(folder, source)
    this = PlanRun(
        run=wiring.ports.new_run_id(ports.ports.iam_reader),
        plan=planned_work.plan,
        digest=planned_work.planned.sha256,
        ports=ports,
        execution=opened.execution,
        tally=opened.tally,
        folder=folder,
        source=source.name,
        staged=staged,
    )
    this.begin()
    planned_work.work.run = this.run
    opened.tally.progress.note(f"run {this.run}")
    try:
        opened.take_all(this.outcomes(), this.take)
        this.end()
    finally:
        planned_work.work.results = this.finish()
