"""Opens the page of a command with `--page`, fills its two views, and closes it with the command.

The admin's view has all questions and messages, and the queue. The colleague's view has only what the current user
needs. Only the colleague's view shows the QR code.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

from mfa_kit import wiring
from mfa_kit.cli.browser.page_state import SHOWN, Ending, PageState, Role
from mfa_kit.cli.browser.person import PageProgress, PersonAtPage
from mfa_kit.core.errors import MfaKitError, UsageFault
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.core.message import UserAction, action_of, clauses
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import one_line
from mfa_kit.wiring.settings import Settings

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
        """Store how many windows each view has. After the last window was closed, print an address of the page."""
        self._state.note_windows(counts)
        is_open = any(counts.values())
        if self._was_open and not is_open and not self.ended:
            self._progress.alert("the page is closed; Ctrl-C ends the command")
            self.print_address()
        self._was_open = is_open

    def reopened(self) -> None:
        """Warn that an address was opened twice, because another user of this computer may have opened it first."""
        self._progress.alert("an address of the page was opened a second time; if you did not do that, press Ctrl-C")


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
