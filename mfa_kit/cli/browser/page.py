"""The page of a command with `--page`: how it opens and closes, its questions and messages, and its two views.

The admin's view has all questions and messages, and the queue. The colleague's view has only what the current user
needs. Only the colleague's view shows the QR code.

The command uses a PersonAtPage as its Interaction, and a PageProgress as its progress. The steps of an enrollment, and
the handling of errors, are the same as at a terminal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from mfa_kit import wiring
from mfa_kit.cli.browser.page_state import SHOWN, Asks, Ending, PageState, Question, Role
from mfa_kit.cli.messages import Redrawable
from mfa_kit.core.errors import Declined, MfaKitError, UsageFault
from mfa_kit.core.message import STOP, Message, UserAction, action_of, clauses
from mfa_kit.core.otp import Secret, Symbol
from mfa_kit.core.text import one_line

if TYPE_CHECKING:
    from mfa_kit.core.interaction import LiveProgress
    from mfa_kit.wiring.settings import Settings

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


# The characters that draw a QR code. Each draws two modules, one above the other. True means that a module is dark.
MODULES = {" ": (False, False), "▀": (True, False), "▄": (False, True), "█": (True, True)}
# The parts of each view, without the QR code: the blocks of view_parts.html.
PARTS = {
    Role.ADMIN: ("title", "owner", "said", "form", "controls", "stopping", "keys", "windows", "queue", "log", "end"),
    Role.COLLEAGUE: ("title", "owner", "calls", "said", "form", "end"),
}


def view_parts(state: PageState, role: Role) -> Mapping[str, Secret[str]]:
    """Return the parts of a view as HTML, by ID. The part `qr` contains the secret of a device."""
    with state.changed:
        action = action_of(state.question.text) if state.question else None
        parts = wiring.files.html_blocks(
            "view_parts.html",
            PARTS[role],
            state=state,
            role=role,
            sentence=lambda text: sentence(role.words(text)),
            pair=action in {UserAction.FIRST_CODE, UserAction.SECOND_CODE},
        )
        shown = {"qr": _qr(state)} if role is Role.COLLEAGUE else {}
        return {name: Secret(part) for name, part in parts.items()} | shown


def sentence(text: str) -> str:
    """Return a message with a capital letter and a final period.

    A message that ends with a question mark, exclamation mark or colon keeps it.
    """
    plain = one_line(text).strip()
    message = plain[:1].upper() + plain[1:]
    return message if not message or message.endswith((".", "?", "!", ":")) else f"{message}."


def _qr(state: PageState) -> Secret[str]:
    """Return the QR code, with its quiet zone, and the secrets as text."""
    lines = Secret(state.symbol.reveal().splitlines() if state.symbol else [])
    return Secret(
        wiring.files.html_page(
            "qr.html",
            expired=state.expired,
            seconds=int(SHOWN),
            rows=[row for line in lines.reveal() for row in zip(*map(MODULES.__getitem__, line), strict=True)],
            texts=[text.reveal() for text in state.texts],
        ).strip()
    )


STOPPED = "The enrollment was stopped. Please ask the admin."
FAILED = "Something went wrong. Please ask the admin."


@dataclass(slots=True, kw_only=True)
class OpenPage:
    """The page of a command. A command that uses `settings` asks its questions and shows its messages on the page."""

    state: PageState
    person: PersonAtPage
    settings: Settings

    def name(self, user: str, *, account: str) -> None:
        """Show the name of the user whose turn it is, and the account."""
        with self.state.change():
            self.state.user, self.state.account = user, account

    def finish(self, *, admin: str, colleague: str) -> None:
        """Show the last message in each of the two views. The page does not change after that."""
        self.state.end(Ending(admin=admin, colleague=colleague))


class PageViews:
    """The views of a PageState. Implements the port Views of the server."""

    def __init__(self, state: PageState, progress: LiveProgress) -> None:
        self._state, self._progress = state, progress
        self.print_address: Callable[[], None] = lambda: None
        self._was_open = False

    @property
    def roles(self) -> tuple[str, ...]:
        """The names of the views."""
        return tuple(Role)

    @property
    def ended(self) -> bool:
        """Whether the command has ended, so that the page will not change any more."""
        return self._state.ending is not None

    def document(self, role: str, *, nonce: str) -> str:
        """Return the HTML document of a view. Its parts are empty; the script fills them."""
        return wiring.files.html_page("view.html", role=Role(role), nonce=nonce)

    def entrance(self, role: str, *, nonce: str, key: Secret[str], proof: Secret[str]) -> Secret[str]:
        """Return the page at a one-time address, which gives its window the key and the proof of a session."""
        page = wiring.files.html_page(
            "enter.html", role=Role(role), nonce=nonce, key=key.reveal(), proof=proof.reveal()
        )
        return Secret(page)

    def parts(self, role: str) -> Mapping[str, Secret[str]]:
        """Return the parts of a view as HTML, by ID."""
        self._state.expire()
        return view_parts(self._state, Role(role))

    def act(self, role: str, request: Mapping[str, object]) -> str | None:
        """Carry out what a view requests: an answer or, in the admin's view only, Stop or opening the colleague's view.

        Return the name of the view to open, "" after other requests, or None if the request is refused.
        """
        match request, Role(role):
            case {"do": "answer", "number": int(number), "text": str(text)}, view:
                self._answer(view, number, Secret(text))
                return ""
            case {"do": "stop"}, Role.ADMIN:
                self._state.stop()
                return ""
            case {"do": "open"}, Role.ADMIN:
                return Role.COLLEAGUE
            case _:
                return None

    def _answer(self, role: Role, number: int, answer: Secret[str]) -> None:
        """Answer a question. An answer from the colleague's view is ignored if that view does not show the question."""
        with self._state.changed:  # without the lock, the question could change between the check and the answer
            question = self._state.question
            if role is Role.ADMIN or (question is not None and question.is_for_user):
                self._state.reply(number, answer)

    def windows(self, counts: Mapping[str, int]) -> None:
        """Store how many windows each view has. After the admin's window was closed, print a new address for it.

        The colleague's window is no substitute. If that window is closed, the admin's view says so.
        """
        self._state.note_windows(counts)
        is_open = counts[Role.ADMIN] > 0
        if self._was_open and not is_open and not self.ended:
            self._progress.alert("the admin's window is closed; Ctrl-C ends the command")
            self.print_address()
        self._was_open = is_open

    def reopened(self) -> None:
        """Warn at the terminal and on the page that an address was opened twice, perhaps by another user first."""
        said = Message("an address of the page was opened a second time; if you did not do that, ", STOP)
        self._progress.alert(said)
        self._state.report(said)  # a request on the page to touch the key stays

    def refused(self, user: int) -> None:
        """Say at the terminal why a window with a valid address got no answer."""
        self._progress.alert(
            f"a browser of the user with ID {user} has an address of the page, and was refused; "
            "use a browser of the user who logged in, or of the user who runs mfa-kit"
        )


@contextmanager
def open_page(settings: Settings, *, user: str, calls: str, browser: bool) -> Iterator[OpenPage]:
    """Serve the page until the context ends. At first, the page shows the name `user` and the text `calls`.

    Print the page's address. With `browser`, also open the page in a browser if this computer has a desktop. Raise
    UsageFault with --no-input, or if the extra `page` is not installed.
    """
    if settings.no_input:
        raise UsageFault("--page asks questions, which --no-input forbids", "omit --no-input or --page")
    wiring.settings.harden()
    state = PageState(company=settings.config.company or "", user=user, calls=calls)
    progress = PageProgress(settings.progress, state)
    views = PageViews(state, settings.progress)
    server = wiring.browser.serve(views)
    state.on_change = server.wake
    views.print_address = lambda: wiring.browser.print_address(server, Role.ADMIN, progress=settings.progress)
    person = PersonAtPage(state)
    try:
        with wiring.browser.announced(server, Role.ADMIN, progress=settings.progress, browser=browser):
            yield OpenPage(
                state=state, person=person, settings=replace(settings, interaction=person, progress=progress)
            )
    except MfaKitError as error:
        state.end(Ending(admin=clauses([str(error), error.hint]), colleague=FAILED))
        raise
    except BaseException:
        state.end(Ending(admin="The enrollment was stopped.", colleague=STOPPED))
        raise
    finally:
        state.end(Ending(admin="The command has ended.", colleague="The enrollment has ended."))
        server.stop()
