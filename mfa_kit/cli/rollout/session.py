"""A session at the station: a person works through a plan's steps. The queue is in `mfa_kit.rollout.station`."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from mfa_kit.cli import messages
from mfa_kit.cli.rollout.profiles import KeyProfiles
from mfa_kit.cli.rollout.results import Tally
from mfa_kit.core.errors import DeviceFault, MfaKitError, NoSuchEntity, notes_of, only_our_errors
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.message import ENTER, Message, Wording, clauses, suggest
from mfa_kit.core.models import Caller, DeviceSpec, Enrolled, JournalEntry, Outcome, Skipped
from mfa_kit.core.stopping import INTERRUPTS
from mfa_kit.core.text import count_of
from mfa_kit.enrollment.planning import look_up_serials
from mfa_kit.enrollment.ports import DeviceBackend, EnrollmentPorts, EnrollmentProcedure
from mfa_kit.rollout.execution import RowOutcome, RowResult, ends_rollout
from mfa_kit.rollout.key_slot import InsertedKey, KeyHolders, Notice, SlotWatch
from mfa_kit.rollout.plan import Plan, PlanStep
from mfa_kit.rollout.roster import RosterRow
from mfa_kit.rollout.row_status import entries_by_serial, result_of_devices
from mfa_kit.rollout.station import StationMethods, StationQueue, StationRuns, enroll_in_person
from mfa_kit.rollout.watching import Failure

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
                outcome = self._prepare(step, None if prepared else key) or self._enroll(step, spec, key)
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

    def _prepare(self, step: PlanStep, key: InsertedKey | None) -> Outcome | None:
        """Prepare a key for its profile. Return Skipped if its device is there and only its last step is missing."""
        if key is None:
            return None
        self.profiles.forget_pin()
        if self.profiles.is_unfinished(step):
            has = look_up_serials(step.user, iam_reader=self.ports.iam_reader)
            if devices := self.plan.devices_of(step.row, has):
                return Skipped(user=step.user, reason="already enrolled", serials=devices)
        self.profiles.prepare(step, key)
        return None

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
