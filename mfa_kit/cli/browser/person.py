"""Asks a command's questions and shows its messages on the page.

With `--page`, a command uses a PersonAtPage as its Interaction, and a PageProgress as its progress.
The steps of an enrollment, and the handling of errors, are the same as at a terminal.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TypeVar

from mfa_kit.cli.browser.page_state import Asks, PageState, Question
from mfa_kit.cli.messages import Redrawable
from mfa_kit.core.errors import Declined
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.core.message import UserAction, action_of
from mfa_kit.core.otp import Secret, Symbol

T = TypeVar("T")
CONTINUE = (("Continue", ""),)


class PersonAtPage:
    """Asks the questions of a command on the page, and waits for the answers.

    `buttons` returns the buttons that `ask_unless` shows instead of a line to type. `before_question` is called before
    each question, to update the queue, and `after_look` after each check for inserted keys.
    """

    def __init__(self, state: PageState) -> None:
        self._state = state
        self.buttons: Callable[[], Sequence[tuple[str, str]]] = lambda: CONTINUE
        self.before_question: Callable[[], None] = lambda: None
        self.after_look: Callable[[], None] = lambda: None

    def check(self, *parts: Secret[str], instead: str) -> None:
        """Wait until the admin has opened the page, because the command must not change anything in AWS before that."""
        self._state.wait_for_admin()

    def say(self, text: str) -> None:
        """Show a text to the user until the next answer."""
        self._state.say(text)

    def ask_code(self, prompt: str, *, instead: str, seconds_left: Callable[[], float] | None = None) -> str:
        """Return the typed code, stripped. The page counts down the seconds until the device's next code."""
        next_code = time.time() + seconds_left() if seconds_left else None
        question = Question(asks=Asks.CODE, text=prompt, next_code=next_code)
        return self._ask(question).reveal().strip()

    def ask_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        """Return what the admin typed into a password field."""
        return self._ask(Question(asks=Asks.SECRET, text=prompt))

    def ask_new_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        """Return a secret that the admin typed twice. Ask until both entries are the same and not empty."""
        while True:
            first = self.ask_secret(prompt, instead=instead)
            if first == Secret(""):
                self._state.report("nothing was typed", wrong=True)
            elif first == self.ask_secret(f"{prompt}, again", instead=instead):
                return first
            else:
                self._state.report("the two entries differ; type both again", wrong=True)

    def confirm(self, action: str, *, typed: str, instead: str = "--yes") -> None:
        """Raise Declined unless the admin types the word `typed`."""
        text = f"{action}; type {typed} to continue"
        if self._ask(Question(asks=Asks.TEXT, text=text)).reveal().strip() != typed:
            raise Declined(f"the answer was not {typed}, so nothing was done", f"type {typed}, or use {instead}")

    def choose(self, prompt: str, options: Sequence[str], *, instead: str) -> int:
        """Return the index of the option whose button the admin pressed. Raise Declined for any other answer."""
        buttons = [(option, str(number)) for number, option in enumerate(options)]
        answer = self._ask(Question(asks=Asks.BUTTONS, text=prompt, buttons=buttons)).reveal()
        if answer not in dict(buttons).values():
            raise Declined("nothing was chosen", f"press one of the buttons, or use {instead}")
        return int(answer)

    def pause(self, prompt: str, *, instead: str) -> None:
        """Wait until the admin presses the button."""
        self._ask(Question(asks=Asks.BUTTONS, text=prompt, buttons=CONTINUE))

    def ask_unless(self, prompt: str, comes: Callable[[], T | None], *, instead: str) -> T | str:
        """Call `comes` until it returns something, and return that.

        If the admin presses a button first, return the answer of that button.
        """
        arrivals: list[T] = []

        def look() -> bool:
            arrivals.extend(arrival for arrival in [comes()] if arrival is not None)
            self.after_look()
            return bool(arrivals)

        self.before_question()
        question = Question(asks=Asks.BUTTONS, text=prompt, buttons=self.buttons(), can_stop=False)
        answer = self._state.ask(question, look)
        with self._state.change():
            self._state.thanked, self._state.said = "", ()
        return arrivals[0] if answer is None else answer.reveal().strip()

    def show(self, *parts: Secret[str], instead: str) -> None:
        """Show secrets to the user. A Symbol is drawn as a QR code."""
        symbol = next((part for part in parts if isinstance(part, Symbol)), None)
        self._state.show(symbol, [part for part in parts if part is not symbol])

    def clear(self) -> None:
        """Remove the shown secrets from the page and from its state in memory."""
        self._state.hide()

    def _ask(self, question: Question) -> Secret[str]:
        self.before_question()
        answer = self._state.ask(question)
        return Secret("") if answer is None else answer


class PageProgress(Redrawable):
    """Prints messages with `inner`, and shows them in the admin's view."""

    def __init__(self, inner: LiveProgress, state: PageState) -> None:
        self._inner, self._state = inner, state

    def note(self, text: str) -> None:
        """Print a message, except with --quiet, and show it in the admin's view."""
        self._inner.note(text)
        self._show(text)

    def alert(self, text: str) -> None:
        """Print a message, even with --quiet, and show it in the admin's view."""
        self._inner.alert(text)
        self._show(text)

    def _show(self, text: str) -> None:
        self._state.report(text)
        with self._state.change():  # the page asks for a touch until the next message
            self._state.touch = action_of(text) is UserAction.TOUCH
            self._state.can_interrupt = self._state.can_interrupt or action_of(text) is UserAction.END_WAIT

    def showing(self, text: str | Callable[[], str]) -> AbstractContextManager[None]:
        """Show a text in the terminal's status line while the context is active. The page does not show the text."""
        return self._inner.showing(text)

    def refresh(self) -> bool:
        """Draw the terminal's status line now. Return whether there is one."""
        return isinstance(self._inner, Redrawable) and self._inner.refresh()
