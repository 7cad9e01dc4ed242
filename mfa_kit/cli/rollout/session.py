"""A session at the station: what it opens, and how a person works through a plan's steps.

The queue is in `mfa_kit.rollout.station`, and the options are in `mfa_kit.cli.rollout.station`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit import wiring
from mfa_kit.cli import messages
from mfa_kit.cli.browser.options import AtTerminal, asked_at
from mfa_kit.cli.output import Output, call_place
from mfa_kit.cli.rollout.profiles import KeyProfiles
from mfa_kit.cli.rollout.results import (
    AccountWork,
    Tally,
    exit_code,
    send_keys,
    show_results,
)
from mfa_kit.cli.rollout.running import look_up_results, name_next_command
from mfa_kit.core.device_records import DeviceState
from mfa_kit.core.errors import DeviceFault, MfaKitError, NoSuchEntity, UsageFault, notes_of, only_our_errors
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.message import ENTER, Message, Wording, clauses, suggest
from mfa_kit.core.models import (
    VIRTUAL,
    BackupLocation,
    Caller,
    DeviceSpec,
    DeviceType,
    Enrolled,
    JournalEntry,
    Outcome,
    Skipped,
)
from mfa_kit.core.stopping import INTERRUPTS
from mfa_kit.core.text import count_of
from mfa_kit.enrollment.making import preparing
from mfa_kit.enrollment.planning import look_up_serials
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts, EnrollmentProcedure
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.rollout.apply import check_backup_folder, result_files
from mfa_kit.rollout.execution import RowOutcome, RowResult, ends_rollout
from mfa_kit.rollout.key_slot import InsertedKey, KeyHolders, Notice, SlotWatch
from mfa_kit.rollout.plan import Plan, PlanStep, check_account
from mfa_kit.rollout.proven_devices import record_adopted
from mfa_kit.rollout.roster import RosterRow, keep_users
from mfa_kit.rollout.row_status import entries_by_serial, result_of_devices
from mfa_kit.rollout.station import DONE, StationMethods, StationQueue, StationRuns, enroll_in_person, station_steps
from mfa_kit.rollout.watching import Failure
from mfa_kit.security_keys.preparing import PreparedKey
from mfa_kit.wiring.methods.registry import METHODS, RowMethods

# The class that shows the queue on the page, as `module:class`. Its module is imported only if --page is given.
STATION_PAGE = "mfa_kit.cli.browser.station_page:StationPage"

if TYPE_CHECKING:
    from mfa_kit.cli.browser.page import OpenPage
    from mfa_kit.cli.browser.station_page import StationPage
    from mfa_kit.core.interaction import LiveProgress, Progress
    from mfa_kit.letters.sheet import Paper
    from mfa_kit.rollout.records import PlanRecords
    from mfa_kit.security_keys.profile import KeyProfile
    from mfa_kit.wiring.methods.method import Context
    from mfa_kit.wiring.settings import Settings
else:
    StationPage = partial(call_place, STATION_PAGE)

# The number of users that are looked up in parallel before the session begins.
WORKERS = 8
INSTEAD = suggest("a terminal; to enroll users who do not have to be present", "rollout apply PLAN")
WORDS = Wording("; s skip, b back, q quit")
# The page has buttons instead.
AT_END = Wording("; type b to go back, or press Enter to finish")
ANSWERS = Message("type s to skip, b to go back, q to quit, or ", ENTER, " to start")
SKIP, BACK, QUIT = {"s", "skip"}, {"b", "back"}, {"q", "quit"}
STOPPED = Message("the enrollment was stopped", Wording("", colleague="; please ask the admin"))
# The maximum number of names in a prompt.
SHOWN = 5


@dataclass(slots=True, kw_only=True)
class StationSession:
    """A session at the station, where users are enrolled in person. One person works through the queue of users.

    `record_device` writes a device without a backup into the record of its run, and `record_proof` records that two
    codes of a device were produced here. `holders` finds out which user a key
    already belongs to. `watches` has, by name of the enrollment method, the object that waits for inserted keys, or
    None if the method uses no keys. `reasons` says, by user name, why a step was skipped or interrupted. With --page,
    `show_error` shows an error on the page. Its arguments are what happened, what to try, and a sentence that tells the
    user what to do, or "" if the user can do nothing. `lacking` is true if an enrolled key lacks a certification that
    the key policy requires. `first_half` is the first half of a pair that was just made, and its key.
    `second_half` has what makes the second half of a pair, whose security key was examined before the first half.
    `profiles` prepares the keys of rows with a profile.
    """

    plan: Plan
    queue: StationQueue
    methods: StationMethods
    ports: EnrollmentPorts
    caller: Caller
    tally: Tally
    record_failure: Callable[[Failure], None]
    record_device: Callable[[JournalEntry], None]
    record_proof: Callable[[JournalEntry], None]
    person: Interaction
    holders: KeyHolders
    runs: StationRuns
    profiles: KeyProfiles
    watches: dict[str, SlotWatch | None] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    show_error: Callable[[str, str, str], None] = lambda *_: None
    lacking: bool = False
    first_half: tuple[PlanStep, InsertedKey] | None = None
    second_half: tuple[DeviceBackend, EnrollmentProcedure] | None = None

    def work(self) -> None:
        """Handle one step after another, until no step is left or the person quits."""
        while True:
            step = self.queue.call_next()
            if step is None and not self._go_back_from_end():
                return
            if step is None or self._end_without_work(step) or self._make_second_half(step):
                continue
            if not self._ask(step):
                return

    def close(self) -> None:
        """Add a result to the tally for each step that is not done: the last failure, or "not started" and why."""
        for step in self.queue.left:
            result = self.queue.results.get(step.key)
            not_started = RowResult(
                user=step.user, outcome=RowOutcome.NOT_STARTED, reason=self.reasons.get(step.key, "")
            )
            self.tally.keep(result or not_started.of_row(step.row))

    def _go_back_from_end(self) -> bool:
        """After the last step, ask whether to go back to a step that is not done. Return False to end the session."""
        users = [step.key for step in self.queue.left]
        shown = ", ".join(["…"] * (len(users) > SHOWN) + users[-SHOWN:])
        prompt = Message(f"end of the list, {count_of(len(users), 'user')} not done ({shown})", AT_END)
        answer = self.person.ask_unless(prompt, lambda: None, instead=INSTEAD) if users else ""
        if answer in BACK:
            self.queue.go_back()
        return answer not in {"", *QUIT}

    def _end_without_work(self, step: PlanStep) -> bool:
        """Return whether a step needs no work, because its device is there, or its user was deleted.

        If so, record the result.
        """
        try:
            has = look_up_serials(step.user, iam_reader=self.ports.iam_reader)
        except NoSuchEntity as gone:
            self._fail(step, gone)
            self.queue.skip()
            return True
        except MfaKitError as error:  # the person at the station sees the error, and can still enroll the user
            self._fail(step, error)
            return False
        devices = self.plan.devices_of(step.row, has)
        if devices and not self.profiles.is_unfinished(step):
            self._end(self._result_of(step, devices))
            return True
        return False

    def _result_of(self, step: PlanStep, has: tuple[str, ...]) -> RowResult:
        ours = entries_by_serial(self.plan.account, ports=self.ports)
        return result_of_devices(step, has, ours, ports=self.ports)

    def _ask(self, step: PlanStep) -> bool:
        """Ask for a step's key, token or phone, and act on the inserted key or the typed line. Return False to quit."""
        watch = self._watch(step.row)
        prompt = Message(self.methods.call(step.row), f" ({self.queue.place}", WORDS, ")")
        comes: Callable[[], InsertedKey | Notice | None] = self._looks(step, watch) if watch else lambda: None
        answer: InsertedKey | Notice | str = self.person.ask_unless(prompt, comes, instead=INSTEAD)
        if answer == "" and watch:
            answer = watch.take_only()
        self.second_half = None
        match answer:
            case InsertedKey() | "":
                self._make(step, answer or None, watch)
            case Notice(text):
                self.person.say(text)
            case str():
                return self._obey(step, answer)
        return True

    def _looks(self, step: PlanStep, watch: SlotWatch) -> Callable[[], InsertedKey | Notice | None]:
        """Return the function that looks for the key of a step.

        A key without a card interface is not seen where the OATH half of a pair looks for it, so such a key is looked
        for among the security keys, to tell the person why nothing happens.
        """
        other = self.queue.other_half(step)
        slot = self.methods.slot(other.row) if other and step.row.kind.is_virtual else None
        if other is None or slot is None:
            return watch.poll
        security_keys = SlotWatch(slot=slot)
        with suppress(MfaKitError):
            security_keys.begin()

        def poll() -> InsertedKey | Notice | None:
            answer, key = watch.poll(), security_keys.poll()
            if answer is None and isinstance(key, InsertedKey) and not self.methods.has_card(other.row, key):
                return Notice(f"{key.description} has no OATH, which a pair needs; insert another key for {step.user}")
            return answer

        return poll

    def _make_second_half(self, step: PlanStep) -> bool:
        """Make the second half of a pair on the key that has just got the first half. Return whether it was tried."""
        made, self.first_half = self.first_half, None
        if made is None or self.queue.other_half(step) is not made[0]:
            return False
        watch, key = self._watch(step.row), self.methods.find_same_key(step.row, made[1])
        if key is None and watch is not None:
            self.person.say("the key is no longer inserted, or cannot be found among the security keys")
            return False
        self._make(step, key, watch, prepared=True)
        return True

    def _obey(self, step: PlanStep, word: str) -> bool:
        """Skip the step, go back or quit, as the person typed. Return False to quit."""
        if word in SKIP:
            self.reasons.setdefault(step.key, "skipped at the station")
            self.queue.skip()
        elif word in BACK:
            if not self.queue.go_back():
                self.person.say("there is no earlier row to go back to")
        elif word in QUIT:
            return False
        else:
            self.person.say(Message(f"{word!a} is not a valid answer: ", ANSWERS))
        return True

    def _watch(self, row: RosterRow) -> SlotWatch | None:
        """Return the object that waits for the keys of a row's enrollment method; None if the method uses no keys.

        When an enrollment method is used for the first time, print a message about each key that is already inserted.
        Such a key is used only if the person at the station presses Enter, or inserts the key again.
        """
        method = row.kind.name
        if method not in self.watches:
            slot = self.methods.slot(row)
            self.watches[method] = watch = SlotWatch(slot=slot) if slot else None
            for key in watch.begin() if watch else ():
                self.tally.progress.alert(
                    Message(
                        f"{key.description} was already inserted, so it is not used; ",
                        "to use it, remove any other key and ",
                        ENTER,
                    )
                )
        return self.watches[method]

    def _make(
        self, step: PlanStep, key: InsertedKey | None, watch: SlotWatch | None, *, prepared: bool = False
    ) -> None:
        """Make the device of a step, on the inserted key if the enrollment method uses one, and record the result.

        `prepared` means that the key was prepared for its profile before it got the first half of a pair.
        """
        spec, ports = self.plan.intent_of(step.row), self.ports
        try:
            with only_our_errors():
                if not self._claim(key, watch, step, spec):
                    return
                kept = self._find_kept(step)
                if key and watch and not (kept or prepared):
                    key = self._prepare(step, key, watch)
                outcome = kept or self._enroll(step, spec, key)
        except MfaKitError as error:
            if ends_rollout(error):
                raise
            self.runs.keep_left(spec, ports=ports)
            self._fail(step, error)
        except KeyboardInterrupt as stop:
            INTERRUPTS.forget()
            self.runs.keep_left(spec, ports=ports)
            self.person.say("")
            self._report(f"{step.user}: interrupted", notes=notes_of(stop), to_user=STOPPED)
            self.reasons[step.key] = "interrupted at the station"
        else:
            self._take(step, outcome)
            self._finish_key(step, key)
        self._release(step, key, watch)

    def _release(self, step: PlanStep, key: InsertedKey | None, watch: SlotWatch | None) -> None:
        """Keep an inserted key for the second half of its pair, or say that it can be removed."""
        if key is None or watch is None or not watch.find_again(key):
            return
        if self.queue.is_done(step) and self._has_second_half(step):
            self.first_half = step, key
        else:
            self._say_remove(step)

    def _has_second_half(self, step: PlanStep) -> bool:
        """Return whether a step is the first half of a pair whose second half is not done."""
        other = self.queue.other_half(step)
        return step.row.kind.is_virtual and other is not None and not self.queue.is_done(other)

    def _claim(self, key: InsertedKey | None, watch: SlotWatch | None, step: PlanStep, spec: DeviceSpec) -> bool:
        """Settle earlier attempts on a key. Return whether the user of `spec` may get this key, if there is one.

        If the key is already used for another device, print a message and return False.
        """
        if key is None or watch is None:
            return True
        watch.used.add(key.identity)
        if self.runs.settle_left(spec, key.identity, ports=self.ports):
            key = watch.find_again(key) or key
        if holder := self.holders.find_holder(key, spec):
            self._report(
                f"{key.description} is already in use: {holder}",
                hint=f"remove it, and insert another key for {spec.user}",
                to_user="this key is already in use: remove it, and insert another key",
            )
            return False
        if self._is_other_key(key, step):
            self._report(
                f"{key.description} is not the key with the first half of the pair of {spec.user}",
                hint="remove it, and insert that key",
                to_user="this is another key: remove it, and insert your key",
            )
            return False
        self.tally.progress.alert(f"using {key.description} for {spec.user}; do not remove it yet")
        return True

    def _is_other_key(self, key: InsertedKey, step: PlanStep) -> bool:
        """Return whether the first half of a step's pair is certainly on another key than this one."""
        other = self.queue.other_half(step)
        if other is None or step.row.kind.is_virtual:
            return False
        serial, slot = self.plan.intent_of(other.row).serial, self.methods.slot(other.row)
        entry = entries_by_serial(self.plan.account, ports=self.ports).get(serial)
        first_on = entry.spec.card if entry else self.holders.card_of(serial)
        if slot is None or first_on is None:
            return False
        cards = [card.identity for card in slot.look()[0] if self.methods.find_same_key(step.row, card) == key]
        return first_on not in cards if cards else not self.methods.has_card(step.row, key)

    def _find_kept(self, step: PlanStep) -> Outcome | None:
        """Return Skipped if the device of a step is there, and only the last step of its key is missing."""
        if self.profiles.is_unfinished(step):
            has = look_up_serials(step.user, iam_reader=self.ports.iam_reader)
            if devices := self.plan.devices_of(step.row, has):
                return Skipped(user=step.user, reason="already enrolled", serials=devices)
        return None

    def _prepare(self, step: PlanStep, key: InsertedKey, watch: SlotWatch) -> InsertedKey:
        """Prepare a key for its profile, and return it, because a reset can change its identity."""
        self.profiles.forget_pin()
        return watch.follow(key) if self.profiles.prepare(step, key) else key

    def _finish_key(self, step: PlanStep, key: InsertedKey | None) -> None:
        """Do the last step of a profile once all devices of the key are made. If it fails, the step is asked again."""
        other = self.queue.other_half(step)
        if key is None or (other and not self.queue.is_done(other)):
            return
        try:
            with only_our_errors():
                self.profiles.finish(step, key)
        except (MfaKitError, KeyboardInterrupt) as error:
            INTERRUPTS.forget()
            self.queue.results.pop(step.key, None)
            message = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            self._report(
                f"{step.user}: the last step of the key is missing: {message}",
                hint="remove the key and insert it again",
                notes=notes_of(error),
            )

    def _enroll(self, step: PlanStep, spec: DeviceSpec, key: InsertedKey | None) -> Outcome:
        """Finish or undo what an earlier attempt left, enroll the user, and return the outcome."""
        ports, caller = self.ports, self.caller
        self.runs.settle_left(spec, None, ports=ports)
        if key and self._has_second_half(step):
            self.second_half = self._examine_second_half(step, key)
            backend, procedure = self.methods.equip(step.row, key)
        else:
            backend, procedure = self.second_half or self.methods.equip(step.row, key)
        run = self.runs.run_of_next_try(spec, ports=ports)
        return enroll_in_person(
            spec, backend, caller=caller, ports=ports, run=run, procedure=procedure, further=step.row.is_further
        )

    def _examine_second_half(
        self, step: PlanStep, key: InsertedKey
    ) -> tuple[DeviceBackend, EnrollmentProcedure] | None:
        """Examine the security key for the second half of a pair, before the first half is written to the same key.

        Return what makes the second half, or None if security keys are not examined. Raise DeviceFault if the security
        key is refused: the whole key is then refused, and another one gets both halves.
        """
        other = self.queue.other_half(step)
        if other is None or self.methods.slot(other.row) is None:
            return None
        security_key = self.methods.find_same_key(other.row, key)
        if security_key is None:
            raise DeviceFault(
                "the key is not found among the security keys, and a pair needs both",
                "insert the key again, or insert another key",
            )
        backend, procedure = self.methods.equip(other.row, security_key)
        backend.check(self.plan.intent_of(other.row), sealed=False)
        return backend, procedure

    def _take(self, step: PlanStep, outcome: Outcome) -> None:
        """End a step with the result of enrolling its user."""
        if isinstance(outcome, Enrolled):
            lacks = "; ".join(outcome.registered.missing) if outcome.registered else ""
            self.lacking = self.lacking or bool(lacks)
            entry = JournalEntry(run=outcome.run, spec=outcome.spec, backup=outcome.backup)
            if entry.backup is None:  # the store of backups has recorded the others
                self.record_device(entry)
            if entry.spec.staged:
                self._end(RowResult.of_entry(entry, RowOutcome.STAGED).of_row(step.row))
                return
            self.record_proof(entry)
            self._end(RowResult.of_entry(entry, reason=lacks).of_row(step.row))
        else:
            self._end(self._result_of(step, outcome.serials))

    def _say_remove(self, step: PlanStep) -> None:
        self.tally.progress.alert(
            "you can remove the key now"
            if self.queue.is_done(step)
            else Message(
                "remove the key, then insert it again or insert another key; or ", ENTER, " to try this key again"
            )
        )

    def _report(self, message: str, *, hint: str = "", notes: Sequence[str] = (), to_user: str = "") -> None:
        messages.print_error(message, hint=hint, notes=notes)
        self.show_error(message, clauses([hint, *notes]), to_user)

    def _end(self, result: RowResult) -> None:
        self.queue.record(result)
        self.tally.take(result)

    def _fail(self, step: PlanStep, error: MfaKitError) -> None:
        to_user = str(error) if isinstance(error, DeviceFault) else ""
        self._report(f"{step.user}: {error}", hint=error.hint, notes=notes_of(error), to_user=to_user)
        result = RowResult.of_error(self.plan.intent_of(step.row), error).of_row(step.row)
        self.queue.record(result)
        self.record_failure(result.failure)


def hold_session(
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
    """Do the work of `rollout station`, whose options are the parameters, and return the exit code."""
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
    if letters:
        wiring.files.check_output_folder(letters, settings.progress)
    if page and settings.dry_run:
        raise UsageFault(
            "--dry-run asks no questions, so there is nothing to show on a page", "omit --page or --dry-run"
        )


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
    shown = StationPage(
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
    """Show the last message of the page, and the words that say what is next, if any."""
    if following:
        progress.note(Message("next: ", following))
    place.finish(
        admin=f"The session has ended. Done: {queue.done} of {count_of(queue.total, 'user')}.",
        colleague="The session has ended. Thank you. You can close this window.",
    )


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


def _open_profiles(
    of_methods: Mapping[str, object],
    context: Context,
    *,
    plan: Plan,
    default: KeyProfile | None,
    folder: Path,
    letters: Path | None,
    paper: Paper,
) -> tuple[RowMethods, KeyProfiles]:
    """Return the enrollment methods and the profiles of a session. Both use the same prepared key."""
    prepared = PreparedKey(wiring.security_keys.SecurityKeys(context.settings).pins())
    methods = RowMethods(of_methods, context, prepared)
    profiles = KeyProfiles(
        plan=plan,
        settings=context.settings,
        keys=methods.security_keys,
        default=default,
        folder=folder,
        letters=letters,
        paper=paper,
        prepared=prepared,
    )
    methods.overrides = profiles.overrides
    return methods, profiles
