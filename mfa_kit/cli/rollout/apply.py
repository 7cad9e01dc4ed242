"""`mfa-kit rollout apply` and `work`: enroll the users of plans, and write a result for each user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, replace
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import BACKUP_DIR, LOCAL_BACKUPS, RECIPIENT, RECIPIENTS_FILE
from mfa_kit.cli.messages import EVENTS, countdown_sleep
from mfa_kit.cli.options import Verb
from mfa_kit.cli.rollout import options as shared
from mfa_kit.cli.rollout.plans import PlannedWork, check_file, planned_works, read_files, report_without_plan
from mfa_kit.cli.rollout.results import (
    NOT_DONE,
    AccountWork,
    counts_of,
    exit_code,
    next_step,
    report_blocked,
)
from mfa_kit.cli.rollout.running import AccountScheduler, OneByOne, OpenWork, Runner, SharedTurns, open_for_changes
from mfa_kit.cli.value_types import LocalPath
from mfa_kit.core.errors import UsageFault
from mfa_kit.rollout.apply import PlanRun, check_backup_folder, check_copies
from mfa_kit.rollout.execution import RowOutcome, RowResult
from mfa_kit.rollout.plan import Plan, check_account
from mfa_kit.rollout.row_status import look_up_status
from mfa_kit.rollout.watching import claim_of

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.interaction import Progress
    from mfa_kit.core.models import BackupLocation
    from mfa_kit.enrollment.ports import BackupStore
    from mfa_kit.organization.accounts import AccountsChoice
    from mfa_kit.wiring.settings import Settings

F = TypeVar("F", bound=Callable[..., object])


# One plan, as a tuple with one path, for commands whose code also handles the several paths of PLAN_FILES.
ONE_PLAN_FILE = click.argument(
    "plan_files",
    metavar="PLAN",
    type=LocalPath(),
    callback=lambda *of_file: (shared.note_plan(*of_file),) if of_file[2] else (),
)
PLAN_FILES = click.argument("plan_files", metavar="PLAN...", nargs=-1, required=True, type=LocalPath())
STAGE = click.option("--stage", "staged", is_flag=True, help="Create devices; `rollout activate` enables them later.")
ACCEPT_LOCKOUT = click.option(
    "--accept-lockout",
    is_flag=True,
    help="Also enroll users who have no public key. You must give them their secrets.",
)
MAX_FAILURES = click.option(
    "--max-failures", type=click.IntRange(0), metavar="N", help="Stop when more than N users have failed."
)
LOG = click.option(
    "--log",
    type=click.Choice(["json"]),
    help="Print events instead of messages on stderr, as JSON Lines. They name no user and no device.",
)
AT_ONCE = click.option(
    "--at-once",
    type=click.IntRange(1, 32),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of accounts in which this process works at the same time.",
)
APPLY_OPTIONS = (
    RECIPIENT,
    RECIPIENTS_FILE,
    BACKUP_DIR,
    LOCAL_BACKUPS,
    STAGE,
    ACCEPT_LOCKOUT,
    MAX_FAILURES,
    shared.EXPECTED,
    shared.RESULTS,
    shared.RECORD,
    shared.WORKERS,
    LOG,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """The options of `rollout apply` and `rollout work`. A process of `rollout work` is called a worker.

    `plan_files` has one plan or index; a worker can have several. `to`, `to_files`, `backup_dir` and `local_backups`
    are as in `open_backup_store`. `results` is the folder for the files of results; for an index, each account gets a
    subfolder. `records` are further folders with records of runs. `workers` is not a number of processes, but the
    maximum number of calls to AWS in progress at a time in each account. `log` is the form of the log on stderr, or
    None for messages. `at_once` is the number of accounts in which a worker works at the same time. It is None for
    `apply`, which does not wait until other processes have left an account.
    """

    plan_files: tuple[Path, ...]
    to: tuple[str, ...]
    to_files: tuple[Path, ...]
    backup_dir: BackupLocation | None
    local_backups: bool
    staged: bool
    accept_lockout: bool
    max_failures: int | None
    expected: tuple[str, ...]
    results: Path | None
    records: tuple[Path, ...]
    workers: int
    log: str | None
    at_once: int | None = None


def apply_options(function: F) -> F:
    """Add the options of `apply` to a command. The command must add the argument `plan_files` itself.

    The command's function gets the values in one parameter, `options`, an ApplyOptions.
    """

    @wraps(function)
    def parse_options(**values: Any) -> Any:
        own = {field.name: values.pop(field.name) for field in fields(ApplyOptions) if field.name in values}
        return function(options=ApplyOptions(**own), **values)

    verb: Any = parse_options
    for option in reversed(APPLY_OPTIONS):
        verb = option(verb)
    command: F = verb
    return command


@click.command(cls=Verb)
@ONE_PLAN_FILE
@apply_options
@account_options(role=None, workers=False, results=False)
def apply(*, options: ApplyOptions, accounts: AccountsChoice | None, settings: Settings, output: Output) -> int:
    """Enroll the users of PLAN, or of an index of plans. Run the same command again to continue."""
    return apply_plans(options, accounts, settings=settings, output=output)


@click.command(cls=Verb)
@PLAN_FILES
@apply_options
@AT_ONCE
@account_options(role=None, workers=False, results=False)
def work(*, options: ApplyOptions, accounts: AccountsChoice | None, settings: Settings, output: Output) -> int:
    """Enroll the users of each PLAN, a plan or an index of plans, together with other processes.

    Start this command several times, on one or more computers that share the ledger. Each process takes an account in
    which no other process works, then the next account. A process ends when no account is left.
    """
    if accounts is None and len(set(options.plan_files)) > 1:
        raise UsageFault(
            "several plans can be used only with several accounts", "add --org or --accounts FILE, or give one plan"
        )
    return apply_plans(options, accounts, settings=settings, output=output)


def apply_plans(options: ApplyOptions, choice: AccountsChoice | None, *, settings: Settings, output: Output) -> int:
    """Enroll the users of the plan files in the chosen accounts, and return the exit code.

    Before any work begins, check that no plan has changed since its index was written, and that no user would be locked
    out. If a chosen account could not be read when the index was made, the exit code is at least 1, except in a dry
    run.
    """
    if options.log is not None:
        settings = _with_event_log(settings)
    progress, dry = settings.progress, settings.dry_run
    store = wiring.stores.open_backup_store(
        settings, options.backup_dir, to=options.to, to_files=options.to_files, local_backups=options.local_backups
    )
    files = read_files(options.plan_files, choice, expected=options.expected, plans_too=options.at_once is not None)
    record = wiring.rollout.read_run_records(options.plan_files, options.records, results=options.results)
    with open_for_changes(settings, choice, store=store, workers=options.workers, record=record) as rollouts:
        works = planned_works(files, rollouts, choice)
        check_file(files.label, files.index, rollouts.selection, choice)
        _check_all(works, options, store, writes=not dry or choice is not None)
        unplanned = report_without_plan(files.label, files.index, rollouts.selection, choice, progress)
        folders = _results_folders(works, files.files, options, dry=dry)
        by_account = {work.account.id: work for work in works}
        runner = Runner(
            schema="rollout-apply",
            works=works,
            scheduler=_scheduler(works, rollouts, None if dry else options.at_once, progress),
            enter=rollouts.enter,
            accounts=options.at_once,
            workers=options.workers,
            progress=progress,
            output=output,
            max_failures=options.max_failures,
        )

        def act(opened: OpenWork) -> None:
            work = by_account[opened.work.account.id]
            check_account(work.plan, opened.ports.caller)
            if dry:
                _foresee(work.plan, opened)
            else:
                _apply_in(work, opened, options, files.files[work.account.id])

        def head() -> dict[str, str | None]:
            if choice is None:
                return {"run": works[0].run, "results": _text(works[0].results)}
            return {"index": files.label, "results": ", ".join({str(folder): None for folder in folders.values()})}

        asked = runner.run(act, head=head)
        if choice is not None:
            report_blocked(counts_of(works)[RowOutcome.BLOCKED], progress)
        if dry:
            return 0
        code = max(exit_code(works, asked=asked), int(unplanned))
        progress.note(_next_step(works, folders, files.files))
        EVENTS.write("ended")
        return code


def _with_event_log(settings: Settings) -> Settings:
    """Turn on the log of events, and return settings that use it. Raise UsageFault if calls are to be printed too."""
    if settings.debug:
        raise UsageFault("--log json prints no text, but --verbose prints each call to AWS", "leave out --verbose")
    EVENTS.on = True
    EVENTS.write("started")
    return replace(settings, progress=EVENTS, sleep=countdown_sleep(plain=True))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _results_folders(
    works: Sequence[PlannedWork], sources: Mapping[str, Path], options: ApplyOptions, *, dry: bool
) -> dict[Path, Path]:
    """Return a mapping from each file on the command line to its folder for results. Create the folders, unless `dry`.

    `sources` maps each account ID to the file with the account's plan. Raise UsageFault if a folder has the results of
    another file.
    """
    bases = {path: wiring.rollout.results_folder(options.results, path) for path in options.plan_files}
    for work in works:
        path = sources[work.account.id]
        if not work.alone:
            wiring.rollout.check_results(bases[path] / work.account.id, path)
    for path, base in bases.items():
        if not dry:
            wiring.rollout.open_results_folder(base, path)
    return bases


def _check_all(works: Sequence[PlannedWork], options: ApplyOptions, store: BackupStore, *, writes: bool) -> None:
    """Raise Lockout or UsageFault if the rollout must not start.

    Raise Lockout if users would be locked out because they would get no copy of their secret, unless --accept-lockout
    was given. Raise UsageFault if no one could decrypt a user's backup, if only the user could decrypt the backup of a
    staged device, or if `writes` is true and backups cannot be written.
    """
    usable = [work for work in works if not work.why]
    check_copies(
        [work.name(user) for work in usable for user in work.plan.without_copy],
        [work.name(user) for work in usable for user in work.plan.shut_out],
        staged=options.staged,
        accept_lockout=options.accept_lockout,
        sealed=bool(store.recipients()),
    )
    if writes:
        check_backup_folder(store, [step for work in usable for step in work.plan.steps])


def _scheduler(
    works: Sequence[PlannedWork],
    rollouts: wiring.rollout.Rollouts,
    at_once: int | None,
    progress: Progress,
) -> AccountScheduler:
    """Return SharedTurns for a worker, or OneByOne if `at_once` is None, as for `rollout apply` and in a dry run."""
    if at_once is None:
        return OneByOne(works)
    began = rollouts.now()
    plans = {work.account.id: (work.plan, wiring.rollout.plan_records(rollouts.ledger, work.sha256)) for work in works}

    def claim(work: AccountWork) -> AbstractContextManager[bool]:
        plan, records = plans[work.account.id]
        return records.claim(plan)

    def look(work: AccountWork) -> Sequence[RowResult] | None:
        plan, records = plans[work.account.id]
        return None if work.alone else records.done_by_others(plan, since=began)

    claims = [claim_of(work.sha256, work.account.id) for work in works]
    return SharedTurns(
        works=works,
        claim=claim,
        look=look,
        count_busy=lambda: len(rollouts.ledger.workers(claims)),
        progress=progress,
    )


def _foresee(plan: Plan, opened: OpenWork) -> None:
    """For --dry-run, look up the state of each user, and add the state to the results of `opened`. Change nothing."""
    results = look_up_status(
        plan,
        holders=opened.execution.list_holders(),
        look=lambda _: {},
        failures={},
        record=opened.ports.record,
        ports=opened.ports.ports,
    )
    opened.take_all((result for result in results), opened.tally.take)


def _apply_in(work: PlannedWork, opened: OpenWork, options: ApplyOptions, source: Path) -> None:
    """Carry out the plan of an account, and write the results.

    `source` is the path of the index or the plan on the command line.
    """
    folder = wiring.rollout.results_folder(options.results, source)
    folder = folder if work.alone else folder / work.account.id
    wiring.rollout.open_results_folder(folder, source)
    ports = opened.ports
    with ports.recording(folder, plan=work.sha256) as recording:
        run = PlanRun(
            run=wiring.ports.new_run_id(ports.ports.iam_reader),
            plan=work.plan,
            records=ports.records(work.sha256),
            ports=recording.ports,
            folder=folder,
            source=source.name,
            write=partial(wiring.rollout.write_files, folder),
            keep=opened.tally.keep,
            log=EVENTS.write,
        )
        work.run = run.run
        opened.tally.progress.note(f"run {run.run}")

        def take(result: RowResult) -> None:
            run.take(result)
            opened.tally.take(result)

        try:
            with run.results(
                opened.execution, staged=options.staged, record=ports.record, begin=recording.begin
            ) as results:
                opened.take_all(results, take)
        finally:
            work.results = run.written


def _next_step(works: Sequence[PlannedWork], bases: Mapping[Path, Path], sources: Mapping[str, Path]) -> str:
    """Return the message that says what to do next. If users failed, it names the first file with such a user.

    `bases` maps each file on the command line to its folder for results, and `sources` maps each account ID to the file
    with the account's plan.
    """
    results = [result for work in works for result in work.found]
    failed = [work for work in works if any(result.outcome in NOT_DONE for result in work.found)]
    file, plans = sources[(failed or works)[0].account.id], [work.plan for work in works]
    if works[0].alone:
        return next_step(results, plans=plans, plan=str(file), folder=str(bases[file]))
    plan = wiring.rollout.plans_folder(file) / "FILE"  # in printed commands, FILE stands for an account's plan
    return next_step(results, plans=plans, plan=str(plan), index=str(file), folder=f"{bases[file]}/ACCOUNT")
