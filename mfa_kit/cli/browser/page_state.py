"""The state of the page: what it shows, and the answer to the current question.

The command's thread changes the state and waits for answers. The server's thread reads the state and stores answers.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from mfa_kit.core.message import Message, UserAction, Wording, action_of, parts_of
from mfa_kit.core.otp import Secret, Symbol
from mfa_kit.core.stopping import INTERRUPTS
from mfa_kit.posix.processes import interrupt_main_thread, uptime


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The last message on the page: a text for each of the two views."""

    admin: str
    colleague: str


# Seconds after which a QR code is removed, even if the user has not scanned it yet.
SHOWN = 600.0
# Seconds between two checks for an event that can end a question without an answer, such as an inserted key.
LOOK = 0.3
# The number of recent messages that the admin's view shows.
LOG = 40


class Role(StrEnum):
    """A view of the page."""

    ADMIN = "admin"
    COLLEAGUE = "colleague"

    def words(self, text: str) -> str:
        """Return a message in the words of this view."""
        return str(Message(*(getattr(part, self) if isinstance(part, Wording) else part for part in parts_of(text))))


class Asks(StrEnum):
    """The kind of a question."""

    CODE = "code"
    SECRET = "secret"  # noqa: S105 - a kind of question
    TEXT = "text"
    BUTTONS = "buttons"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question. `buttons` are pairs of a button's label and the answer that the button gives.

    `next_code` is the Unix time at which the device shows its next code. `can_stop` is false if the question has its
    own buttons to skip and to quit, as in a queue.
    """

    asks: Asks
    text: str
    buttons: Sequence[tuple[str, str]] = ()
    next_code: float | None = None
    can_stop: bool = True

    @property
    def second(self) -> bool:
        """Whether the first of two codes is already accepted."""
        return action_of(self.text) is UserAction.SECOND_CODE

    @property
    def is_for_user(self) -> bool:
        """Whether the user answers this question. The admin answers all other questions."""
        return self.asks is Asks.CODE


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """A row of the queue: a user, the outcome so far and its reason (`state`), and whether it is the user's turn."""

    user: str
    state: str
    current: bool = False


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A message for the admin, with its number. `wrong` means that something failed."""

    text: str
    wrong: bool = False
    number: int = 1


@dataclass(slots=True, kw_only=True)
class PageState:
    """The state of the page. The lock of `changed` protects the other fields. `changed` also wakes waiting threads.

    `company` and `account` say who the page is from. `user` is the user whose turn it is. `calls` tells the user what
    to do during a question, and `busy` while no question is asked. `keys` are the inserted keys. `said` are the
    messages to the user about the last answer, `scan` tells the user what to do with the QR code, and `touch` means
    that a key waits for a touch. `thanked` is a sentence that thanks the previous user. `number` is the number of the
    current question; an answer with another number is refused. `can_interrupt` means that the command is waiting but
    asks no question, and that Stop calls `interrupt` to end the wait. `windows` has the number of windows of each view.
    """

    on_change: Callable[[], None] = lambda: None
    clock: Callable[[], float] = uptime
    interrupt: Callable[[], None] = interrupt_main_thread
    changed: threading.Condition = field(default_factory=threading.Condition)
    company: str = ""
    account: str = ""
    user: str = ""
    calls: str = ""
    queue: Sequence[QueueRow] = ()
    log: list[LogEntry] = field(default_factory=list)
    said: Sequence[str] = ()
    scan: str = ""
    touch: bool = False
    busy: str = "Please wait."
    keys: Sequence[str] = ()
    thanked: str = ""
    symbol: Symbol | None = None
    texts: Sequence[Secret[str]] = ()
    shown_at: float = 0.0
    expired: bool = False
    question: Question | None = None
    number: int = 0
    answer: Secret[str] | None = None
    stopped: bool = False
    can_interrupt: bool = False
    ending: Ending | None = None
    windows: Mapping[str, int] = field(default_factory=dict)

    @contextmanager
    def change(self) -> Iterator[None]:
        """Hold the lock until the context ends, and then tell the server that the state has changed."""
        with self.changed:
            yield
        self.on_change()

    def report(self, text: str, *, wrong: bool = False) -> None:
        """Add a message for the admin."""
        with self.change():
            number = self.log[-1].number + 1 if self.log else 1
            self.log = [*self.log, LogEntry(text, wrong, number)][-LOG:]

    def show(self, symbol: Symbol | None, texts: Sequence[Secret[str]]) -> None:
        """Show a QR code and secrets as text, until `hide` is called or SHOWN seconds are over."""
        with self.change():
            self.symbol, self.texts, self.shown_at, self.expired = symbol, texts, self.clock(), False
            self.scan, self.said = "", ()

    def hide(self) -> None:
        """Forget the QR code and the secrets."""
        with self.change():
            self.symbol, self.texts, self.expired = None, (), False

    def say(self, text: str) -> None:
        """Show a text to the user until the next answer.

        The first text after a QR code was shown stays as long as the QR code, because it explains the QR code.
        """
        with self.change():
            if self.symbol and not self.scan and text:
                self.scan = text
            elif text:
                self.said = [*self.said, text]

    def expire(self) -> None:
        """Forget the QR code and the secrets if they were shown for SHOWN seconds."""
        if (self.symbol or self.texts) and self.clock() - self.shown_at >= SHOWN:
            with self.change():
                self.symbol, self.texts, self.expired = None, (), True

    def end(self, ending: Ending) -> None:
        """Show the last message of the session. After this call, the page does not change any more."""
        with self.change():
            self.symbol, self.texts, self.question, self.can_interrupt = None, (), None, False
            self.ending = self.ending or ending

    def reply(self, number: int, answer: Secret[str]) -> bool:
        """Store the answer to the question with this number.

        Return False if that question is not the current one, or already has an answer.
        """
        with self.changed:
            if self.question is None or number != self.number or self.answer is not None:
                return False
            self.answer, self.said = answer, ()
            self.changed.notify_all()
        return True

    def stop(self) -> bool:
        """Make `ask` raise KeyboardInterrupt. If no question is asked, end the command's wait as Ctrl-C does.

        Return False if `can_stop` is false.
        """
        with self.change():
            if not self.can_stop:
                return False
            if self.question is None:
                self.can_interrupt = False  # a second click must not interrupt what the command does after the first
                self.interrupt()
            else:
                self.stopped = True
                self.changed.notify_all()
        return True

    @property
    def can_stop(self) -> bool:
        """Whether Stop has an effect now."""
        return self.can_interrupt if self.question is None else self.question.can_stop

    def note_windows(self, counts: Mapping[str, int]) -> None:
        """Store how many windows each view has."""
        with self.change():
            self.windows = counts
            self.changed.notify_all()

    def wait_for_admin(self) -> None:
        """Wait until a window of the admin is open."""
        with self.changed:
            INTERRUPTS.check()
            while not self.windows.get(Role.ADMIN):
                self.changed.wait(LOOK)
                INTERRUPTS.check()

    def ask(self, question: Question, until: Callable[[], bool] | None = None) -> Secret[str] | None:
        """Ask a question and return the answer, or None if `until` returned true first.

        `until` is called every LOOK seconds. Raise KeyboardInterrupt if the admin stops.
        """
        with self.change():
            self.question, self.answer, self.stopped, self.can_interrupt = question, None, False, False
            self.number += 1
        try:
            while not self._is_answered():
                if until and until():
                    return None
                self.expire()
            return self.answer
        finally:
            with self.change():
                self.question = self.answer = None

    def _is_answered(self) -> bool:
        """Wait up to LOOK seconds for an answer. Return whether there is one, or raise KeyboardInterrupt after Stop."""
        with self.changed:
            INTERRUPTS.check()
            if self.answer is None and not self.stopped:
                self.changed.wait(LOOK)
            INTERRUPTS.check()
            if self.stopped:
                raise KeyboardInterrupt
            return self.answer is not None
