"""`mfa-kit rollout station`: enroll the users of a plan who have to be present, one after another."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import BACKUP_DIR, KEY_PROFILE, LOCAL_BACKUPS, RECIPIENT, RECIPIENTS_FILE
from mfa_kit.cli.browser.options import AtTerminal, asked_at, page_options
from mfa_kit.cli.letters import PAPER
from mfa_kit.cli.method_verb import built, click_options, single
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output, load_place
from mfa_kit.cli.rollout import options
from mfa_kit.cli.rollout.profiles import KeyProfiles
from mfa_kit.cli.rollout.results import (
    AccountWork,
    Tally,
    exit_code,
    send_keys,
    show_results,
)
from mfa_kit.cli.rollout.running import look_up_results, name_next_command
from mfa_kit.cli.rollout.session import INSTEAD, StationSession
from mfa_kit.core.device_records import DeviceState
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import ENTER, fill, suggest
from mfa_kit.core.models import VIRTUAL, BackupLocation, DeviceType, JournalEntry
from mfa_kit.core.text import count_of
from mfa_kit.enrollment.making import preparing
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.rollout.apply import check_backup_folder, result_files
from mfa_kit.rollout.execution import RowOutcome, RowResult
from mfa_kit.rollout.key_slot import InsertedKey, KeyHolders, KeySlot
from mfa_kit.rollout.plan import Plan, PlanStep, check_account
from mfa_kit.rollout.proven_devices import record_adopted
from mfa_kit.rollout.roster import RosterRow, keep_users
from mfa_kit.rollout.station import DONE, StationQueue, StationRuns, station_steps
from mfa_kit.security_keys.preparing import PreparedKey
from mfa_kit.wiring.methods.registry import METHODS

if TYPE_CHECKING:
    from mfa_kit.cli.browser.page import OpenPage
    from mfa_kit.cli.browser.station_page import StationPage
    from mfa_kit.core.interaction import LiveProgress, Progress
    from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentProcedure
    from mfa_kit.letters.sheet import Paper
    from mfa_kit.rollout.records import PlanRecords
    from mfa_kit.security_keys.profile import KeyProfile
    from mfa_kit.wiring.methods.method import Context, Options
    from mfa_kit.wiring.settings import Settings

# The number of users that are looked up in parallel before the session begins.
WORKERS = 8
# The class that shows the queue on the page, as `module:class`. Its module is imported only if --page is given.
STATION_PAGE = "mfa_kit.cli.browser.station_page:StationPage"


class StationVerb(Verb):
    """The command `rollout station`, with its own options and those of all enrollment methods that it supports.

    Options whose values come from the roster row or from the inserted key are left out.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own options, then those of the enrollment methods, then --help."""
        *own, page = super().get_params(ctx)
        return [*own, *self._of_methods, page]

    @cached_property
    def _of_methods(self) -> list[click.Option]:
        """The options of the enrollment methods that the station supports.

        They are cached, because click asks for the parameters several times.
        """
        of_method: dict[str | None, click.Option] = {}
        for method in METHODS.values():
            for option in click_options(method.options) if method.call else ():
                if option.name not in single(method.options):
                    # Of two options with one name, the first one is for phones, and more people use it.
                    of_method.setdefault(option.name, option)
        return [*of_method.values()]


@click.command(cls=StationVerb)
@options.PLAN_FILE
@click.option(
    "--with",
    "kinds",
    multiple=True,
    type=click.Choice([name for name, method in METHODS.items() if method.call]),
    help="Only rows of this kind [all except virtual]. With virtual, users enroll their phones at the station.",
)
@options.ONLY
@click.option(
    "--stage", is_flag=True, help="Prepare the keys that are sent by post, and enable nothing. Leave out all others."
)
@RECIPIENT
@RECIPIENTS_FILE
@BACKUP_DIR
@LOCAL_BACKUPS
@options.EXPECTED
@options.RESULTS
@options.RECORD
@KEY_PROFILE
@click.option(
    "--letters",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Also write each random PIN of a profile to a letter in this folder, as PDF and unencrypted.",
)
@PAPER
@page_options
def station(
    *,
    plan_file: Path,
    kinds: tuple[str, ...],
    only: tuple[str, ...],
    stage: bool,
    to: tuple[str, ...],
    to_files: tuple[Path, ...],
    backup_dir: BackupLocation | None,
    local_backups: bool,
    expected: tuple[str, ...],
    results: Path | None,
    records: tuple[Path, ...],
    key_profile: str | None,
    letters: Path | None,
    paper: Paper,
    page: bool,
    no_browser: bool,
    settings: Settings,
    output: Output,
    **of_methods: object,
) -> int:
    """Enroll users of PLAN in person, one after another. Run the same command again to continue."""
    if click.get_current_context().info_name == bench.name:
        settings.progress.alert("note: rollout bench is deprecated; use mfa-kit rollout station")
    settings, profile = wiring.settings.take_key_profile(settings, key_profile)
    plan, digest = wiring.rollout.read_plan(plan_file, expected=expected)
    steps = _chosen_steps(plan, set(kinds), only, stage=stage, progress=settings.progress)
    store = wiring.stores.open_backup_store(settings, backup_dir, to=to, to_files=to_files, local_backups=local_backups)
    _check_options(settings, page=page, stage=stage, letters=letters)
    with name_next_command(), asked_at(settings, page=page, browser=not no_browser) as place:
        settings = place.settings
        if not settings.dry_run:
            settings.interaction.check(instead=INSTEAD)
            check_backup_folder(store, steps)
            _check_recipients(settings, to, to_files, stage=stage)
        wiring.settings.harden()
        progress = settings.progress
        folder = wiring.rollout.results_folder(results, plan_file)
        oath_keys = wiring.oath_keys.OathKeys(settings, set_here=wiring.rollout.secrets_folder(folder))
        record = wiring.rollout.read_run_records([plan_file], records, results=results)
        with wiring.rollout.open_rollouts(
            settings, None, store=store, workers=WORKERS, oath_keys=oath_keys, record=record
        ) as rollouts:
            ports = rollouts.enter(rollouts.selection.chosen[0], progress=progress)
            check_account(plan, ports.caller)
            if not settings.dry_run:  # so that unfinished keys can be settled, and no key is given away twice
                wiring.rollout.record_lost_hashes(rollouts.ledger, record)
                record_adopted(ports.prove().settled, journal=ports.ports.journal)
            ledger = ports.records(digest)
            before = _look_up_results(plan, steps, ledger, ports, progress=progress)
            tally = Tally("rollout-bench", total=len(steps), progress=progress, output=output, pace=ports.pace)
            work = AccountWork(account=OrgAccount(id=plan.account), total=len(steps), alone=True, tally=tally)
            methods, profiles = _open_profiles(
                of_methods,
                wiring.ports.method_context(settings, ports.ports.iam_reader, oath_keys, own_keys=True),
                plan=plan,
                default=profile,
                folder=wiring.rollout.secrets_folder(folder),
                letters=letters,
                paper=paper,
            )
            queue = _queue_of(steps, before, profiles)
            _keep_known(steps, queue, before, tally=tally, dry=settings.dry_run)
            if settings.dry_run:
                show_results("rollout-bench", [work], output=output, head={})
                return 0
            wiring.rollout.open_results_folder(results, plan_file)
            with ports.recording(folder, plan=digest) as recording:
                methods.prepare = lambda row: _preparation(
                    folder, recording, oath_keys, *_recipients_of(profiles.of(row), settings, to, to_files)
                )
                _greet(queue, progress)
                session = StationSession(
                    plan=plan,
                    queue=queue,
                    methods=methods,
                    profiles=profiles,
                    ports=recording.ports,
                    caller=ports.caller,
                    tally=tally,
                    record_failure=lambda failure: ledger.fail(failure, now=ports.ports.iam_reader.now()),
                    record_device=recording.add,
                    record_proof=lambda entry: _record_proof(entry, of_methods, recording),
                    person=settings.interaction,
                    holders=_holders_of(plan, steps, ports),
                    runs=StationRuns(new_id=lambda: _begin_run(ports, recording)),
                )
                _show_on_page(session, place)
                profiles.begin((step.row for step in queue.left), session.holders)
                try:
                    session.work()
                finally:
                    session.close()
                    run = session.runs.ids[0] if session.runs.ids else None
                    wiring.rollout.write_files(
                        folder,
                        result_files(
                            plan,
                            before | tally.by_row,
                            source=plan_file.name,
                            run=run,
                            called={step.key for step in steps},
                        ),
                    )
                    show_results("rollout-bench", [work], output=output, head={"run": run, "results": str(folder)})
            _finish(place, queue, send_keys(_posted_rows(steps, tally), str(plan_file)), progress)
            return exit_code([work], asked=False) or int(session.lacking)


def _check_options(settings: Settings, *, page: bool, stage: bool, letters: Path | None) -> None:
    """Raise UsageFault if options contradict each other."""
    if stage and letters:
        raise UsageFault(
            "the secrets of keys that are sent by post are printed after the arrival",
            suggest("omit --letters; after the arrival", "rollout post PLAN --secrets DIR -i IDENTITY"),
        )
    if page and settings.dry_run:
        raise UsageFault(
            "--dry-run asks no questions, so there is nothing to show on a page", "omit --page or --dry-run"
        )


def _open_profiles(
    of_methods: Mapping[str, object],
    context: Context,
    *,
    plan: Plan,
    default: KeyProfile | None,
    folder: Path,
    letters: Path | None,
    paper: Paper,
) -> tuple[_Methods, KeyProfiles]:
    """Return the enrollment methods and the profiles of a session. Both use the same prepared key."""
    methods = _Methods(of_methods, context)
    profiles = KeyProfiles(
        plan=plan,
        settings=context.settings,
        keys=methods.security_keys,
        default=default,
        folder=folder,
        letters=letters,
        paper=paper,
        prepared=methods.prepared,
    )
    methods.overrides = profiles.overrides
    return methods, profiles


def _chosen_steps(
    plan: Plan, kinds: set[str], only: Sequence[str], *, stage: bool, progress: Progress
) -> list[PlanStep]:
    """Return the steps for the station, and print how many are left out because their kinds are not in `kinds`."""
    users, all_kinds = _users(plan, only), {step.row.kind.name for step in plan.steps}
    if kinds and all_kinds - kinds and (others := station_steps(plan, all_kinds - kinds, users, by_post=stage)):
        names = ", ".join(sorted({step.row.kind.name for step in others}))
        progress.note(f"left out because of --with: {count_of(len(others), 'row')} of other kinds ({names})")
    return station_steps(plan, kinds, users, by_post=stage)


def _check_recipients(settings: Settings, to: Sequence[str], to_files: Sequence[Path], *, stage: bool) -> None:
    """Raise UsageFault if the passwords of the keys to `stage` could not be encrypted to anyone."""
    if stage and not (to or to_files or settings.config.recipients):
        raise UsageFault(
            "a key that is sent by post is enabled later from its backup, and its password must be encrypted",
            "add a recipient: -r age1… or -R FILE",
        )


def _recipients_of(
    profile: KeyProfile | None, settings: Settings, to: Sequence[str], to_files: Sequence[Path]
) -> tuple[Sequence[str], Sequence[Path]]:
    """Return the recipients of OATH passwords, and files of recipients: those of the profile, else of the options."""
    if profile and profile.recipients:
        return profile.recipients, ()
    return to or settings.config.recipients, to_files


def _preparation(
    results: Path,
    recording: wiring.rollout.Recording,
    oath_keys: wiring.oath_keys.OathKeys,
    to: Sequence[str],
    to_files: Sequence[Path],
) -> EnrollmentProcedure:
    """Return the procedure that prepares a key or token to be sent by post.

    OATH passwords are encrypted to the recipients in `to` and in the files `to_files`.
    """
    passwords = wiring.oath_keys.PasswordFiles(wiring.rollout.secrets_folder(results), to=to, to_files=to_files)

    def record(entry: JournalEntry) -> None:
        recording.add_state(entry.spec.serial, entry.spec.user, DeviceState.PREPARED, "at the station")

    return preparing(lock=lambda entry: passwords.lock_key(oath_keys, entry), record=record)


def _begin_run(ports: wiring.rollout.RolloutPorts, recording: wiring.rollout.Recording) -> str:
    """Begin the record of a new run, and return the run's ID."""
    run = wiring.ports.new_run_id(ports.ports.iam_reader)
    recording.begin(run)
    return run


def _record_proof(entry: JournalEntry, of_methods: Mapping[str, object], recording: wiring.rollout.Recording) -> None:
    """Record that a device was enabled with two codes that it showed here, if so.

    A security key has no codes. Those of a phone may be from mfa-kit itself (--codes generated).
    """
    spec = entry.spec
    typed = spec.method.name != VIRTUAL.name or of_methods["codes"] == "typed"
    if typed and spec.method.device_type is not DeviceType.FIDO2:
        recording.add_state(spec.serial, spec.user, DeviceState.PROVEN, "two codes at the desk")


def _show_on_page(session: StationSession, place: OpenPage | AtTerminal) -> None:
    """Show the queue of a session on the page. Without --page, do nothing."""
    if isinstance(place, AtTerminal):
        return
    shown: StationPage = load_place(STATION_PAGE)(
        state=place.state,
        queue=session.queue,
        call_user=lambda step: METHODS[step.row.kind.name].call_user.format(user=step.user, serial=step.row.serial),
        watches=session.watches,
        reasons=session.reasons,
    )
    place.name("", account=wiring.aws.account_label(session.caller.account, lab=session.caller.lab))
    shown.attach(place)
    session.show_error = shown.show_error


def _posted_rows(steps: Sequence[PlanStep], tally: Tally) -> Iterator[tuple[RowResult, PlanStep]]:
    return ((tally.by_row[step.key], step) for step in steps if step.row.by_post and step.key in tally.by_row)


def _finish(place: OpenPage | AtTerminal, queue: StationQueue, following: str, progress: Progress) -> None:
    """Show the last message of the page, and what is next."""
    if following:
        progress.note(following)
    place.finish(
        admin=f"The session has ended. Done: {queue.done} of {count_of(queue.total, 'user')}.",
        colleague="The session has ended. Thank you. You can close this window.",
    )


class _Methods:
    """Implements `StationMethods`: prepares the device of a row, with the row's enrollment method and the options.

    Options for a single device, such as its name, get their values from the row and the inserted key. `prepare` returns
    the procedure for a key that is sent by post, and `overrides` the options that the profile of a row decides.
    `prepared` has the PIN of the key that was prepared for its profile.
    """

    def __init__(self, options: Mapping[str, object], context: Context) -> None:
        pins = wiring.security_keys.SecurityKeys(context.settings).pins()
        self.prepared = PreparedKey(pins)
        self._options = options
        self._context = replace(context, security_keys=partial(context.security_keys, prepared=self.prepared))
        self.overrides: Callable[[RosterRow], Mapping[str, object]] = lambda _row: {}
        self.prepare: Callable[[RosterRow], EnrollmentProcedure] = lambda row: METHODS[row.kind.name].procedure

    @property
    def security_keys(self) -> wiring.security_keys.SecurityKeys:
        """The connected security keys, with the metadata that the options name."""
        names = ("mds", "mds_root", "allow_older")
        return self._context.security_keys(**{name: self._options[name] for name in names if name in self._options})

    def call(self, row: RosterRow) -> str:
        """Return the prompt that names the user and asks for the key, token or phone of the row."""
        return fill(METHODS[row.kind.name].call, user=row.user, serial=row.serial, enter=ENTER)

    def slot(self, row: RosterRow) -> KeySlot | None:
        """Return the readers or USB ports for the keys of a row's enrollment method; None if it needs no key."""
        return self._options_of(row, None).slot(self._context)

    def find_same_key(self, row: RosterRow, key: InsertedKey) -> InsertedKey | None:
        """Return the key for the FIDO half of a pair (`row`) that is the same device as an OATH key, or None."""
        options = self._options_of(row, None)
        slot, identity = options.slot(self._context), options.find_same_device(self._context, key.where)
        keys = slot.look()[0] if slot and identity else ()
        return next((same for same in keys if same.identity == identity), None)

    def has_card(self, row: RosterRow, key: InsertedKey) -> bool:
        """Return whether the inserted key of a FIDO half is a smart card too."""
        return self._options_of(row, None).has_card(self._context, key.identity)

    def equip(self, row: RosterRow, key: InsertedKey | None) -> tuple[DeviceBackend, EnrollmentProcedure]:
        """Return the DeviceBackend and the EnrollmentProcedure of a row's device. `key` is the inserted key, or None.

        The DeviceBackend works with the phone, key or token: it stores the secret and gives codes, or examines a
        security key. The EnrollmentProcedure is the procedure that creates and enables the device in IAM.
        """
        procedure = self.prepare(row) if row.by_post else METHODS[row.kind.name].procedure
        return self._options_of(row, key, self.overrides(row)).backend(self._context), procedure

    def _options_of(
        self, row: RosterRow, key: InsertedKey | None, overrides: Mapping[str, object] = MappingProxyType({})
    ) -> Options:
        single = {"key": key.identity if key else None, "serial": row.serial, "asset": row.asset}
        return built(METHODS[row.kind.name].options, {**self._options, **overrides, **single})


# `bench` is the deprecated name of this command. The help does not list it.
bench = copy.copy(station)
bench.name, bench.hidden = "bench", True


def _users(plan: Plan, only: Sequence[str]) -> set[str]:
    rows = [step.row for step in plan.steps]
    return {row.user for row in (keep_users(rows, only) if only else rows)}


def _look_up_results(
    plan: Plan,
    steps: Sequence[PlanStep],
    records: PlanRecords,
    ports: wiring.rollout.RolloutPorts,
    *,
    progress: LiveProgress,
) -> dict[str, RowResult]:
    """Return the status of each row of the plan, by the key of its step.

    Only the users of `steps` are looked up one by one. For the others, IAM's list of virtual devices is used.
    """
    users = {step.user for step in steps}
    results = look_up_results(plan, records, ports, workers=WORKERS, progress=progress, only=users)
    return {result.key: result for result in results}


def _holders_of(plan: Plan, steps: Sequence[PlanStep], ports: wiring.rollout.RolloutPorts) -> KeyHolders:
    return KeyHolders(
        ports=ports.ports,
        virtual=ports.account.virtual,
        users={step.user for step in steps},
        posted={plan.intent_of(step.row).serial for step in plan.steps if step.row.by_post},
    )


def _queue_of(steps: Sequence[PlanStep], before: dict[str, RowResult], profiles: KeyProfiles) -> StationQueue:
    """Return a StationQueue of these steps. `before` has the status of each row, by the key of its step.

    The queue already has the results of the steps that are done, or that failed in an earlier run. A step is not done
    if the last step of its key's profile is missing.
    """
    ended_outcomes = {*DONE, RowOutcome.FAILED, RowOutcome.STAGED}
    ended = [
        before[step.key]
        for step in steps
        if before[step.key].outcome in ended_outcomes and not profiles.is_unfinished(step)
    ]
    return StationQueue(steps=steps, results={result.key: result for result in ended})


def _keep_known(
    steps: Sequence[PlanStep], queue: StationQueue, before: dict[str, RowResult], *, tally: Tally, dry: bool
) -> None:
    """Add the results of steps that are already done to the tally. In a `dry` run, add and print those of all steps."""
    for step in steps:
        if dry:
            tally.take(before[step.key])
        elif queue.is_done(step):
            tally.keep(before[step.key])
    if dry:
        tally.report_together()


def _greet(queue: StationQueue, progress: Progress) -> None:
    """Print a note if the queue is empty. Otherwise print how many users are already done, if there are any."""
    if not queue.steps:
        progress.note("there is no user to enroll in person; to enroll phone users in person, add --with virtual")
    elif queue.done:
        progress.note(f"already done: {queue.done} of {count_of(queue.total, 'user')}")
