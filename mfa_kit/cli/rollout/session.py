"""One person at a station, who works through the rows of a plan. The rules of the queue are rollout.station's."""

from collections.abc import Callable
from dataclasses import dataclass, field

from mfa_kit.cli import messages
from mfa_kit.cli.rollout.tally import Tally
from mfa_kit.core.errors import MfaKitError, NoSuchEntity
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.models import Enrolled, Entry, Intent, Outcome
from mfa_kit.rollout import apply
from mfa_kit.rollout import station as rules
from mfa_kit.rollout.apply import FATAL, End, Result
from mfa_kit.rollout.plan import Plan, Step
from mfa_kit.rollout.roster import Failure, Row
from mfa_kit.rollout.station import Holders, Queue, Runs, Said, Thing, Watch
from mfa_kit.wiring.methods.recipe import Context, Options
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.rollout import RolloutPorts

INSTEAD = "a terminal; mfa-kit rollout apply makes what needs nobody"
WORDS = "s skips, b goes back, q quits"
SKIP, BACK, QUIT = {"s", "skip"}, {"b", "back"}, {"q", "quit"}
# How many names of a long list stand in a prompt.
SHOWN = 5


@dataclass(slots=True, kw_only=True)
class StationSession:
    """One person working through a queue.

    `options_of` returns the options of a row's method, for the key with this identity. `why` says of rows that are left
    why. `lacking`: IAM does not tell of some key what a policy asks for.
    """

    plan: Plan
    queue: Queue
    options_of: Callable[[Row, str | None], Options]
    context: Context
    ports: RolloutPorts
    tally: Tally
    record_failure: Callable[[Failure], None]
    person: Interaction
    holders: Holders
    runs: Runs
    watches: dict[str, Watch | None] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    lacking: bool = False

    def work(self) -> None:
        """Call one row after another, until none is left or the person quits."""
        while True:
            step = self.queue.call_next()
            if step is None and not self._go_back_from_the_end():
                return
            if step is not None and not self._end_without_work(step) and not self._ask(step):
                return

    def _go_back_from_the_end(self) -> bool:
        """After the last row, ask whether to go back to a row that is left; False to end."""
        left = [step.user for step in self.queue.left]
        shown = ", ".join(["…"] * (len(left) > SHOWN) + left[-SHOWN:])
        prompt = f"the end; {len(left)} not done ({shown}): b goes back to the last, Enter ends"
        answer = self.person.ask_unless(prompt, lambda: None, instead=INSTEAD) if left else ""
        if answer in BACK:
            self.queue.back()
        return answer not in {"", *QUIT}

    def _end_without_work(self, step: Step) -> bool:
        """End a row for which nothing is to be done: its user has a device by now, or is gone. Whether it was so."""
        try:
            has = tuple(device.serial for device in self.ports.desk.inventory.devices(step.user))
        except NoSuchEntity as gone:
            self._fail(step, gone)
            self.queue.skip()
            return True
        except MfaKitError as error:  # whoever is at the station sees what can be done, and asks again
            self._fail(step, error)
            return False
        if has:
            self._end(self._result_of(step, has))
        return bool(has)

    def _result_of(self, step: Step, has: tuple[str, ...]) -> Result:
        ours = {entry.intent.serial: entry for entry in self.ports.desk.journal.made(self.plan.account)}
        return apply.owned(step, has, ours, desk=self.ports.desk)

    def _ask(self, step: Step) -> bool:
        """Call a row, and do what the person answers by a line, or by a key that is inserted; False to quit."""
        watch = self._watch(step.row)
        calls = METHODS[step.row.kind.name].call.format(user=step.user, serial=step.row.serial)
        prompt = f"{calls} ({self.queue.place}); {WORDS}"
        comes: Callable[[], Thing | Said | None] = watch.news if watch else lambda: None
        answer: Thing | Said | str = self.person.ask_unless(prompt, comes, instead=INSTEAD)
        if answer == "" and watch:
            answer = watch.only()
        match answer:
            case Thing() | "":
                self._make(step, answer or None)
            case Said(text):
                self.person.say(text)
            case str():
                return self._obey(step, answer)
        return True

    def _obey(self, step: Step, word: str) -> bool:
        """Do what a word says: skip, go back, or quit; False to quit."""
        if word in SKIP:
            self.why.setdefault(step.user, "skipped at the desk")
            self.queue.skip()
        elif word in BACK:
            if not self.queue.back():
                self.person.say("no row before this one is left")
        elif word in QUIT:
            return False
        else:
            self.person.say(f"what is {word}? {WORDS}; Enter takes what is here")
        return True

    def _watch(self, row: Row) -> Watch | None:
        """Return what watches for the keys of a row's method; None where nothing is inserted."""
        method = row.kind.name
        if method not in self.watches:
            slot = self.options_of(row, None).slot(self.context)
            self.watches[method] = watch = Watch(slot=slot) if slot else None
            for thing in watch.begin() if watch else ():
                self.tally.progress.note(
                    f"{thing.told} is plugged in already and is left alone; Enter takes it where no other is in"
                )
        return self.watches[method]

    def _make(self, step: Step, thing: Thing | None) -> None:
        """Make the device of a row, on the key that is in, if it is made on one."""
        intent, desk = self.plan.intent(step.row), self.ports.desk
        watch = self.watches[intent.method.name]
        try:
            if thing and watch and not self._claim(thing, watch, intent):
                return
            outcome = self._attempt(step, intent, thing)
        except FATAL:
            raise
        except MfaKitError as error:
            self.runs.failed(intent, desk=desk)
            self._fail(step, error)
        except KeyboardInterrupt as stop:
            self.runs.failed(intent, desk=desk)
            self.person.say("")
            messages.complain(f"{step.user}: interrupted", notes=getattr(stop, "__notes__", []))
            self.why[step.user] = "interrupted at the desk"
        else:
            self._take(step, outcome)
        if thing and watch and watch.still(thing):
            self.tally.progress.note(
                "remove it; next"
                if self.queue.done(step)
                else "remove it, and insert it again or another; Enter tries with this one"
            )

    def _attempt(self, step: Step, intent: Intent, thing: Thing | None) -> Outcome:
        """Settle what an earlier try left, and enroll the user."""
        desk = self.ports.desk
        self.runs.settle(intent, None, desk=desk)
        run = self.runs.run()
        equipment = self.options_of(step.row, thing.identity if thing else None).equip(self.context)
        return rules.attempt(
            intent, equipment.carrier, caller=self.ports.caller, desk=desk, run=run, maker=equipment.maker
        )

    def _take(self, step: Step, outcome: Outcome) -> None:
        """End a row by what enrolling its user came to."""
        if isinstance(outcome, Enrolled):
            lacks = "; ".join(outcome.registered.missing) if outcome.registered else ""
            self.lacking = self.lacking or bool(lacks)
            entry = Entry(run=outcome.run, intent=outcome.intent, backup=outcome.backup)
            self._end(Result.stands(entry, reason=lacks))
        else:
            self._end(self._result_of(step, outcome.serials))

    def _claim(self, thing: Thing, watch: Watch, intent: Intent) -> bool:
        """Take a key for a user, and settle what is left on it. False where somebody else has it."""
        watch.old.add(thing.identity)
        if self.runs.settle(intent, thing.identity, desk=self.ports.desk):
            thing = watch.still(thing) or thing
        if holder := self.holders.of(thing, intent):
            messages.complain(
                f"{thing.told} is not free: {holder}", hint=f"remove it, and take another for {intent.user}"
            )
            return False
        self.tally.progress.note(f"{thing.told} for {intent.user}; leave it in")
        return True

    def _end(self, result: Result) -> None:
        self.queue.end(result)
        self.tally.take(result)

    def _fail(self, step: Step, error: MfaKitError) -> None:
        messages.complain(f"{step.user}: {error}", hint=error.hint, notes=getattr(error, "__notes__", []))
        result = Result.failed(self.plan.intent(step.row), error)
        self.queue.end(result)
        self.record_failure(Failure(user=result.user, cause=result.cause, reason=result.reason))

    def close(self) -> None:
        """Count each row that is left, with its last failure or with why it is left."""
        for step in self.queue.left:
            result = self.queue.results.get(step.user)
            why = self.why.get(step.user, "")
            self.tally.keep(result or Result(user=step.user, outcome=End.NOT_STARTED, reason=why))
