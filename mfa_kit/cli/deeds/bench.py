"""What `mfa-kit rollout bench` does: the talk at the desk. Which row is up and whose a key is are bench's."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mfa_kit.cli import messages, options
from mfa_kit.cli.deeds.rollout import check_folder
from mfa_kit.cli.deeds.tally import Tally, ended, tallied, write_results
from mfa_kit.cli.messages import Talk
from mfa_kit.cli.method_options import built
from mfa_kit.core.errors import MfaKitError, NoSuchEntity
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.models import Enrolled, Entry, Intent
from mfa_kit.rollout import apply, roster
from mfa_kit.rollout import station as rules
from mfa_kit.rollout.apply import FATAL, End, Result
from mfa_kit.rollout.plan import Plan, Step
from mfa_kit.rollout.roster import Failure
from mfa_kit.rollout.station import Holders, Queue, Runs, Said, Thing, Watch
from mfa_kit.wiring import rollout as kit
from mfa_kit.wiring.desk import run_id
from mfa_kit.wiring.methods.recipe import Context, Options
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.this_computer import harden

INSTEAD = "a terminal; mfa-kit rollout apply makes what needs nobody"
WORDS = "s skips, b goes back, q quits"
SKIP, BACK, QUIT = {"s", "skip"}, {"b", "back"}, {"q", "quit"}
# How many names of a long list stand in a prompt.
SHOWN = 5
# How many users are looked up at once, before the first is called.
WORKERS = 8


@dataclass(slots=True, kw_only=True)
class Sitting:
    """One person working through a queue. `own` are the options of the methods; `why` says it of rows that are left.

    `lacking`: IAM does not tell of some key what a policy asks for.
    """

    plan: Plan
    queue: Queue
    own: Mapping[str, object]
    settings: Settings
    rig: kit.Rig
    tally: Tally
    failed: Callable[[Failure], None]
    person: Interaction
    holders: Holders
    runs: Runs
    watches: dict[str, Watch | None] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)
    lacking: bool = False

    def work(self) -> None:
        """Call a row after the other, until none is left or the person has had enough."""
        while True:
            step = self.queue.up
            if step is None and not self._again():
                return
            if step is not None and not self._looked(step) and not self._answered(step):
                return

    def _again(self) -> bool:
        """Behind the last row: whether to go back to what was left."""
        left = [step.user for step in self.queue.left]
        shown = ", ".join(["…"] * (len(left) > SHOWN) + left[-SHOWN:])
        prompt = f"the end; {len(left)} not done ({shown}): b goes back to the last, Enter ends"
        answer = self.person.ask_unless(prompt, lambda: None, instead=INSTEAD) if left else ""
        if answer in BACK:
            self.queue.back()
        return answer not in {"", *QUIT}

    def _looked(self, step: Step) -> bool:
        """Whether nothing is to be done for a user: he has a device by now, or is no more."""
        try:
            has = tuple(device.serial for device in self.rig.desk.inventory.devices(step.user))
        except NoSuchEntity as gone:
            self._failed(step, gone)
            self.queue.skip()
            return True
        except MfaKitError as error:  # whoever is at the desk sees what can be done, and asks again
            self._failed(step, error)
            return False
        if has:
            self._ended(self._owned(step, has))
        return bool(has)

    def _owned(self, step: Step, has: tuple[str, ...]) -> Result:
        ours = {entry.intent.serial: entry for entry in self.rig.desk.journal.made(self.plan.account)}
        return apply.owned(step, has, ours, desk=self.rig.desk)

    def _answered(self, step: Step) -> bool:
        """Call a row and do what is answered, by hand or by a key that comes; False to quit."""
        watch = self._watch(step)
        calls = METHODS[step.row.kind.name].call.format(user=step.user, serial=step.row.serial)
        prompt = f"{calls} ({self.queue.place}); {WORDS}"
        came = self.person.ask_unless(prompt, watch.news if watch else lambda: None, instead=INSTEAD)
        if came == "" and watch:
            came = watch.only()
        match came:
            case Thing() | "":
                self._make(step, came or None)
            case Said(text):
                self.person.say(text)
            case _ if came in SKIP:
                self.why.setdefault(step.user, "skipped at the desk")
                self.queue.skip()
            case _ if came in BACK:
                if not self.queue.back():
                    self.person.say("no row before this one is left")
            case _ if came in QUIT:
                return False
            case _:
                self.person.say(f"what is {came}? {WORDS}; Enter takes what is here")
        return True

    def _options(self, step: Step, *, key: str | None = None) -> Options:
        """Return the options of a row's method; those about one device are as the row and what is plugged in say."""
        recipe = METHODS[step.row.kind.name]
        return built(recipe.options, {**self.own, "key": key, "serial": step.row.serial, "asset": step.row.asset})

    @property
    def _context(self) -> Context:
        return Context(settings=self.settings, inventory=self.rig.desk.inventory)

    def _watch(self, step: Step) -> Watch | None:
        method = step.row.kind.name
        if method not in self.watches:
            slot = self._options(step).slot(self._context)
            self.watches[method] = watch = Watch(slot=slot) if slot else None
            for thing in watch.begin() if watch else ():
                self.tally.talk.note(
                    f"{thing.told} is plugged in already and is left alone; Enter takes it where no other is in"
                )
        return self.watches[method]

    def _make(self, step: Step, thing: Thing | None) -> None:
        intent, desk = self.plan.intent(step.row), self.rig.desk
        watch = self.watches[intent.method.name]
        try:
            if thing and watch and not self._free(thing, watch, intent):
                return
            self.runs.settle(intent, None, desk=desk)
            run = self.runs.run()
            chosen = self._options(step, key=thing.identity if thing else None)
            equipment = chosen.equip(self._context)
            outcome = rules.attempt(
                intent, equipment.carrier, caller=self.rig.caller, desk=desk, run=run, maker=equipment.maker
            )
        except FATAL:
            raise
        except MfaKitError as error:
            self.runs.failed(intent, desk=desk)
            self._failed(step, error)
        except KeyboardInterrupt as stop:
            self.runs.failed(intent, desk=desk)
            self.person.say("")
            messages.complain(f"{step.user}: interrupted", notes=getattr(stop, "__notes__", []))
            self.why[step.user] = "interrupted at the desk"
        else:
            if isinstance(outcome, Enrolled):
                lacks = "; ".join(outcome.registered.missing) if outcome.registered else ""
                self.lacking = self.lacking or bool(lacks)
                entry = Entry(run=outcome.run, intent=outcome.intent, backup=outcome.backup)
                self._ended(Result.stands(entry, reason=lacks))
            else:
                self._ended(self._owned(step, outcome.serials))
        if thing and watch and watch.still(thing):
            self.tally.talk.note(
                "remove it; next"
                if self.queue.done(step)
                else "remove it, and insert it again or another; Enter tries with this one"
            )

    def _free(self, thing: Thing, watch: Watch, intent: Intent) -> bool:
        """Take a key for a user, and settle what is left on it. False where somebody else has it."""
        watch.old.add(thing.identity)
        if self.runs.settle(intent, thing.identity, desk=self.rig.desk):
            thing = watch.still(thing) or thing
        if holder := self.holders.of(thing, intent):
            messages.complain(
                f"{thing.told} is not free: {holder}", hint=f"remove it, and take another for {intent.user}"
            )
            return False
        self.tally.talk.note(f"{thing.told} for {intent.user}; leave it in")
        return True

    def _ended(self, result: Result) -> None:
        self.queue.end(result)
        self.tally.take(result)

    def _failed(self, step: Step, error: MfaKitError) -> None:
        messages.complain(f"{step.user}: {error}", hint=error.hint, notes=getattr(error, "__notes__", []))
        result = Result.failed(self.plan.intent(step.row), error)
        self.queue.end(result)
        self.failed(Failure(user=result.user, cause=result.cause, reason=result.reason))

    def close(self) -> None:
        """Say of each row that is left how it stands."""
        for step in self.queue.left:
            result = self.queue.results.get(step.user)
            why = self.why.get(step.user, "")
            self.tally.keep(result or Result(user=step.user, outcome=End.NOT_STARTED, reason=why))


def bench(
    plan: Path,
    own: Mapping[str, object],
    *,
    kinds: Sequence[str],
    only: str | None,
    sealing: tuple[Sequence[str], Sequence[Path], Path | None],
    expected: str | None,
    results: Path | None,
) -> int:
    """Work through the rows of a plan that are made at a desk; write the results, whatever ends it.

    Return the exit code.
    """
    common = options.common()
    made, digest = kit.plan(plan, expected=expected)
    steps = rules.rows(made, set(kinds), _users(made, only))
    vault, sealed = kit.vault(*sealing)
    talk = Talk()
    person = common.interaction
    if not common.dry_run:
        person.check(instead=INSTEAD)
        check_folder(vault, steps, sealed=sealed)
    harden()
    with kit.rig(common, vault=vault, workers=WORKERS, talk=talk) as rig:
        apply.of_account(made, rig.caller)
        users = {step.user for step in steps}
        failures = rig.failures(digest)
        before = {
            result.user: result
            for result in apply.standing(
                made,
                holders={device.serial: device.user for device in rig.account.virtual()},
                look=lambda named: rig.look(
                    [user for user in named if user in users], workers=WORKERS, stop=threading.Event()
                ),
                failures=failures.all(),
                desk=rig.desk,
            )
        }
        tally = tallied(rig, "rollout-bench", talk, len(steps))
        ended_before = [before[step.user] for step in steps if before[step.user].outcome in {*rules.DONE, End.FAILED}]
        queue = Queue(steps=steps, results={result.user: result for result in ended_before})
        for step in steps:
            if common.dry_run or queue.done(step):
                tally.keep(before[step.user])
        if common.dry_run:
            tally.show()
            return 0
        folder = kit.results(results, plan)
        _greet(queue, talk)
        sitting = Sitting(
            plan=made,
            queue=queue,
            own=own,
            settings=common,
            rig=rig,
            tally=tally,
            failed=lambda failure: failures.note(failure, at=rig.desk.inventory.now()),
            person=person,
            holders=Holders(desk=rig.desk, virtual=rig.account.virtual, rows=users),
            runs=Runs(new=lambda: run_id(rig.desk.inventory)),
        )
        try:
            sitting.work()
        finally:
            sitting.close()
            run = sitting.runs.ids[0] if sitting.runs.ids else None
            write_results(made, before | tally.by_user, folder, run=run)
            tally.show(run=run, results=str(folder))
        return ended(tally) or int(sitting.lacking)


def _users(made: Plan, only: str | None) -> set[str]:
    rows = [step.row for step in made.steps]
    if only:
        rows = roster.only(rows, [name.strip() for name in only.split(",") if name.strip()])
    return {row.user for row in rows}


def _greet(queue: Queue, talk: Talk) -> None:
    done = len(queue.steps) - len(queue.left)
    if not queue.steps:
        talk.note("no row of this plan is made at a desk; with --with virtual those of phones are")
    elif done:
        talk.note(f"{done} of {len(queue.steps)} are done already")
