"""Questions at a pseudo-terminal, and the implementation for processes without a terminal."""

import os
import pty
import select
import signal
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.cli import messages, terminal
from mfa_kit.cli.terminal import Terminal
from mfa_kit.core.errors import Declined, UsageFault
from mfa_kit.core.interaction import Interaction, Nobody
from mfa_kit.core.otp import Secret, Symbol

SECRET = Secret("to be shown")
MARK = "\x00all of it\x00"
QUESTIONS: dict[str, Callable[[Interaction], object]] = {
    "check": lambda who: who.check(instead="-x"),
    "ask_code": lambda who: who.ask_code("code", instead="-x"),
    "ask_secret": lambda who: who.ask_secret("PIN", instead="-x"),
    "ask_new_secret": lambda who: who.ask_new_secret("PIN", instead="-x"),
    "confirm": lambda who: who.confirm("it goes", typed="alice", instead="-x"),
    "choose": lambda who: who.choose("one", ["a", "b"], instead="-x"),
    "ask_unless": lambda who: who.ask_unless("a key", lambda: None, instead="-x"),
    "pause": lambda who: who.pause("then Enter", instead="-x"),
    "show": lambda who: who.show(SECRET, instead="-x"),
}


@dataclass
class Sat:
    """A terminal with a simulated user, and the test's end of the terminal."""

    ours: int
    theirs: int
    plain: bool = False

    @property
    def terminal(self) -> Terminal:
        return Terminal(self.theirs, plain=self.plain)

    def type(self, *lines: str) -> None:
        """Type an answer when its question is printed."""

        def answer() -> None:
            for line in lines:
                self.seen += self.until(": ")
                os.write(self.ours, line.encode())

        self.seen = ""
        threading.Thread(target=answer, daemon=True).start()

    def until(self, end: str) -> str:
        """Read the output up to these characters, in any number of reads."""
        read = b""
        while not read.endswith(end.encode()):
            read += os.read(self.ours, 1)
        return read.decode()

    def written(self) -> str:
        """Return all output that was not read yet, up to a marker that only this function writes."""
        os.write(self.theirs, MARK.encode())
        return self.until(MARK).removesuffix(MARK)


@pytest.fixture
def sat(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sat]:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 80))
    monkeypatch.setenv("TERM", "xterm")
    yield Sat(ours, theirs)
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("question", QUESTIONS)
def test_without_a_terminal_every_question_is_declined(question: str) -> None:
    """The hint names the option with the same meaning, and the exit code is 8."""
    with pytest.raises(Declined, match="but there is nobody") as caught:
        QUESTIONS[question](Nobody("there is nobody"))
    assert caught.value.hint == "use -x"
    assert caught.value.exit_code == 8


def test_without_a_terminal_say_and_clear_do_nothing() -> None:
    """`say` prints nothing, and there is nothing to clear."""
    nobody = Nobody("there is nobody")
    nobody.say("hello")
    nobody.clear()


def test_no_input_declines_questions_at_a_terminal_too() -> None:
    """The option takes precedence over a terminal."""
    with pytest.raises(Declined, match="--no-input"):
        terminal.find_person(plain=False, no_input=True).check(instead="-x")


def test_a_process_without_a_terminal_declines_questions(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cron job has no terminal."""
    monkeypatch.setattr(terminal, "TTY", str(tmp_path / "none"))
    with pytest.raises(Declined, match="no terminal"):
        terminal.find_person.__wrapped__(plain=False, no_input=False).check(instead="-x")


def test_a_dry_run_asks_nobody_and_needs_no_terminal() -> None:
    """`check` passes, because nothing will be asked. Everything else raises Declined, even at a terminal."""
    nobody = terminal.find_person(plain=False, no_input=False, dry=True)
    nobody.check(Secret("a secret"), instead="-x")
    questions: list[Callable[[], object]] = [
        lambda: nobody.ask_code("a code", instead="-x"),
        lambda: nobody.ask_secret("a PIN", instead="-x"),
        lambda: nobody.ask_new_secret("a PIN", instead="-x"),
        lambda: nobody.confirm("this is removed", typed="yes"),
        lambda: nobody.choose("one", ["a", "b"], instead="-x"),
        lambda: nobody.pause("press Enter", instead="-x"),
        lambda: nobody.ask_unless("press Enter", lambda: None, instead="-x"),
        lambda: nobody.show(Secret("a secret"), instead="-x"),
    ]
    for ask in questions:
        with pytest.raises(Declined, match="--dry-run asks no questions"):
            ask()


def test_an_option_is_chosen_by_its_number(sat: Sat) -> None:
    """For any other input, the question is repeated."""
    sat.type("0\n", "x\n", "2\n")
    assert sat.terminal.choose("one", ["a", "b"], instead="-x") == 1


def test_a_value_can_replace_a_typed_line(sat: Sat, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source of values is polled. When it returns a value, a partly typed line is discarded."""
    monkeypatch.setattr(terminal, "LOOK", 0.01)
    sat.type(" s \n")
    assert sat.terminal.ask_unless("a key", lambda: None, instead="-x") == "s"
    looks = iter([None, None, "a key"])
    os.write(sat.ours, b"half")
    assert sat.terminal.ask_unless("a key", lambda: next(looks), instead="-x") == "a key"


def test_ctrl_c_ends_the_line_of_the_prompt(sat: Sat, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next message starts on a new line."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(terminal, "LOOK", 0.01)
    with pytest.raises(KeyboardInterrupt):
        sat.terminal.ask_unless("a key", interrupt, instead="-x")
    assert sat.written() == "a key: \r\n"


def test_three_invalid_answers_end_a_choice(sat: Sat) -> None:
    """mfa-kit does not guess."""
    sat.type("0\n", "3\n", "\n")
    with pytest.raises(Declined, match="nothing was chosen") as caught:
        sat.terminal.choose("one", ["a", "b"], instead="-x")
    assert caught.value.hint == "type a number from 1 to 2, or use -x"


def test_a_new_secret_is_typed_twice_and_not_empty(sat: Sat) -> None:
    """The question is repeated until both entries match."""
    sat.type("\n", "one\n", "two\n", "three\n", "three\n")
    assert sat.terminal.ask_new_secret("PIN", instead="-x") == Secret("three")


def test_a_secret_is_not_echoed(sat: Sat) -> None:
    """The terminal's previous settings are restored afterwards."""
    before = termios.tcgetattr(sat.theirs)
    sat.type("hunter2\n")
    assert sat.terminal.ask_secret("PIN", instead="-x") == Secret("hunter2")
    assert "hunter2" not in sat.written()
    assert termios.tcgetattr(sat.theirs) == before


def test_the_end_of_input_is_an_interrupt(sat: Sat) -> None:
    """Ctrl-D at the start of a line ends the input."""
    sat.type("\x04")
    with pytest.raises(KeyboardInterrupt):
        sat.terminal.ask_code("code", instead="-x")


def test_a_code_can_be_asked_for_without_a_countdown(sat: Sat) -> None:
    """The time may be unknown. Spaces around the code are removed."""
    sat.type(" 123456 \n")
    assert sat.terminal.ask_code("code", instead="-x") == "123456"


def test_a_prompt_beside_a_symbol_is_printed_once(sat: Sat) -> None:
    """It is printed after keys that were typed earlier are discarded, so a script that waits for it loses no key."""
    shown = sat.terminal
    shown.show(Symbol("█" * 30), instead="-x")
    sat.type("123456\n")
    assert shown.ask_code("code", instead="-x", seconds_left=lambda: 7) == "123456"
    shown.say("that is the same code again: wait until the next code is shown")
    assert shown.ask_unless("insert a key", lambda: "a key", instead="-x") == "a key"
    shown.say("remove it")
    written = sat.seen + sat.written()
    assert [written.count(prompt) for prompt in ("code:", "insert a key:")] == [1, 1]


def test_plain_prints_the_seconds_once(sat: Sat) -> None:
    """It prints one line, without control sequences."""
    sat.plain = True
    sat.type("123456\n")
    assert sat.terminal.ask_code("code", instead="-x", seconds_left=lambda: 12.3) == "123456"
    assert "next code in 13 s\r\n" in sat.seen
    assert "\x1b" not in sat.seen


@pytest.mark.parametrize(("prompt", "redrawn"), [("code", 2), ("code of " + "x" * 80, 0)])
def test_the_countdown_is_redrawn_for_one_line_prompts_only(
    prompt: str, redrawn: int, sat: Sat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line above a wrapped prompt is part of the prompt."""
    looks, wait = iter(range(2)), select.select

    def nothing_at_first(*given: Any) -> Any:
        return ([], [], []) if next(looks, None) is not None else wait(*given)

    monkeypatch.setattr("mfa_kit.cli.terminal.select.select", nothing_at_first)
    sat.type("123456\n")
    assert sat.terminal.ask_code(prompt, instead="-x", seconds_left=lambda: 7) == "123456"
    assert (sat.seen + sat.written()).count("next code in  7 s") == 1 + redrawn


def test_a_secret_that_does_not_fit_is_not_shown(sat: Sat) -> None:
    """The error has the required size."""
    with pytest.raises(UsageFault, match="a window of 100x6 "):
        sat.terminal.show(Secret("x" * 100), instead="-x")
    with pytest.raises(UsageFault, match="a window of 1x45 "):
        sat.terminal.check(Secret("\n".join("x" * 40)), instead="-x")


def test_clear_without_a_secret_does_nothing(sat: Sat) -> None:
    """If no secret is shown, nothing is written."""
    shown = sat.terminal
    shown.show(SECRET, instead="-x")
    shown.clear()
    assert sat.written().endswith(messages.BACK)
    shown.clear()
    assert sat.written() == ""


@pytest.fixture
def told(sat: Sat) -> Iterator[list[object]]:
    """Handle SIGTERM as a rollout does, and record the terminal's settings at that moment."""
    modes: list[object] = []
    before = signal.signal(signal.SIGTERM, lambda *_: modes.append(termios.tcgetattr(sat.theirs)))
    yield modes
    signal.signal(signal.SIGTERM, before)


def test_after_clear_signals_have_their_former_handlers(sat: Sat, told: list[object]) -> None:
    """A rollout continues to handle them and stops in order."""
    shown = sat.terminal
    shown.show(SECRET, instead="-x")
    shown.show(SECRET, instead="-x")
    shown.clear()
    signal.raise_signal(signal.SIGTERM)
    assert len(told) == 1


def test_a_signal_first_erases_the_secret(sat: Sat, told: list[object]) -> None:
    """The signal then has its former effect."""
    sat.terminal.show(SECRET, instead="-x")
    signal.raise_signal(signal.SIGTERM)
    assert sat.written().endswith(messages.BACK)
    assert len(told) == 1


def test_a_signal_at_a_prompt_restores_the_terminal(
    sat: Sat, told: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next program on the terminal echoes input and can be suspended."""
    before = termios.tcgetattr(sat.theirs)
    monkeypatch.setattr(terminal, "LOOK", 0.01)

    def end() -> str:
        signal.raise_signal(signal.SIGTERM)
        return "ended"

    assert sat.terminal.ask_unless("a key", end, instead="-x") == "ended"
    assert told == [before]


def test_ignored_signals_stay_ignored(sat: Sat) -> None:
    """For example, nohup makes a process ignore SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    shown = sat.terminal
    shown.show(SECRET, instead="-x")
    heard = signal.getsignal(signal.SIGHUP)
    shown.clear()
    signal.signal(signal.SIGHUP, before)
    assert heard is signal.SIG_IGN


def test_a_prompt_in_a_thread_does_not_change_signal_handlers(sat: Sat, told: list[object]) -> None:
    """Only the main thread can handle signals."""
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(sat.terminal.ask_code("code", instead="-x")))
    asking.start()
    sat.until(": ")
    os.write(sat.ours, b"123456\n")
    asking.join(60)
    signal.raise_signal(signal.SIGTERM)
    assert answers == ["123456"]
    assert len(told) == 1


def test_sentences_are_wrapped_at_words(sat: Sat) -> None:
    """Narrow windows are tested too. A long ARN is not split."""
    termios.tcsetwinsize(sat.theirs, (30, 20))
    sat.terminal.say("a sentence of some words arn:aws:iam::000000000000:mfa/alice")
    assert sat.written().split("\r\n")[:2] == ["a sentence of some", "words"]


def test_prompts_are_wrapped_at_words(sat: Sat) -> None:
    """The user types the answer after the last word."""
    termios.tcsetwinsize(sat.theirs, (30, 20))
    sat.type("x\n")
    assert sat.terminal.ask_code("a prompt of some more words", instead="-x") == "x"
    assert sat.seen.split("\r\n") == ["a prompt of some", "more words: "]


@pytest.mark.parametrize("text", ["\x1b[31mred", "\u202eabc", "\x07"])
def test_messages_cannot_control_the_terminal(text: str, sat: Sat) -> None:
    """Control and bidirectional characters are escaped, in prompts and in messages."""
    sat.terminal.say(text)
    sat.type("x\n")
    sat.terminal.ask_code(text, instead="-x")
    assert not set(sat.seen + sat.written()) & {"\x1b", "\u202e", "\x07"}
