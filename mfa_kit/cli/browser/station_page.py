"""Shows the queue of a station on the page, and buttons for the answers that a terminal user would type.

`cli.rollout.session` asks the questions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mfa_kit.cli.browser.page_state import PageState, QueueRow
from mfa_kit.core.message import Message, Wording, clauses
from mfa_kit.rollout.execution import RowOutcome
from mfa_kit.rollout.key_slot import SlotWatch
from mfa_kit.rollout.plan import PlanStep
from mfa_kit.rollout.station import StationQueue

if TYPE_CHECKING:
    from mfa_kit.cli.browser.page import OpenPage

BACK = ("Back", "b")
TO_ANSWER = (("Start", ""), ("Skip", "s"), BACK, ("Quit", "q"))
AT_END = (("Finish", ""), BACK)
BUSY_WITH_KEY = "Please wait, and do not remove the key."
BUSY = "Please wait."
ASK = Message("That did not work.", Wording("", colleague=" Please ask the admin."))


@dataclass(slots=True, kw_only=True)
class StationPage:
    """Keeps the page of a station current.

    `call_user` returns a sentence that tells the user of a step what to do. `watches` and `reasons` are those of the
    StationSession. `done` has the keys of the steps that are known to be done, so that no user is thanked twice.
    """

    state: PageState
    queue: StationQueue
    call_user: Callable[[PlanStep], str]
    watches: Mapping[str, SlotWatch | None]
    reasons: Mapping[str, str]
    done: set[str] = field(default_factory=set)

    def attach(self, page: "OpenPage") -> None:
        """Make the page update the queue before each question, and show the inserted keys while it waits."""
        self.done.update(step.key for step in self._done())
        page.person.before_question, page.person.after_look = self.update, self.show_keys
        page.person.buttons = self.buttons
        self.update()

    def _done(self) -> list[PlanStep]:
        return [step for step in self.queue.steps if self.queue.is_done(step)]

    def buttons(self) -> Sequence[tuple[str, str]]:
        """Return the buttons for the session's question. Back is left out if there is no step to go back to."""
        buttons = TO_ANSWER if self._step else AT_END
        return [button for button in buttons if button != BACK or self.queue.can_go_back]

    def update(self) -> None:
        """Show the queue and the current user. If users were done since the last call, thank the last of them."""
        step, thanked = self._step, self._thank_new()
        with self.state.change():
            self.state.queue = [self._row(queued_step, current=queued_step is step) for queued_step in self.queue.steps]
            if step is None or self.state.user != step.user:
                self.state.said = ()  # these messages were for the previous user
            self.state.user = step.user if step else ""
            self.state.calls = self.call_user(step) if step else ""
            self.state.busy = BUSY_WITH_KEY if step and self.watches.get(step.row.kind.name) else BUSY
            self.state.touch = False
            self.state.thanked = thanked or self.state.thanked

    def _thank_new(self) -> str:
        """Return thanks to the last user who was done since the last call, or ""."""
        new = [step for step in self._done() if step.key not in self.done]
        self.done.update(step.key for step in new)
        return f"{new[-1].user} is done. Thank you." if new else ""

    def show_keys(self) -> None:
        """Show which keys are inserted."""
        keys = [key.description for watch in self.watches.values() if watch for key in watch.inside]
        if keys != self.state.keys:
            with self.state.change():
                self.state.keys = keys

    def show_error(self, message: str, hint: str, to_user: str) -> None:
        """Show an error to the admin, and a sentence about it to the user."""
        self.state.report(clauses([message, hint]), wrong=True)
        with self.state.change():
            self.state.said = ()  # these messages were about the step that failed
        self.state.say(to_user or ASK)

    @property
    def _step(self) -> PlanStep | None:
        return self.queue.steps[self.queue.at] if self.queue.at < len(self.queue.steps) else None

    def _row(self, step: PlanStep, *, current: bool) -> QueueRow:
        result = self.queue.results.get(step.key)
        outcome = result.outcome if result else RowOutcome.NOT_STARTED
        words = [outcome.value, result.reason if result else self.reasons.get(step.key, "")]
        return QueueRow(user=step.key, state=": ".join(filter(None, words)), current=current)
