"""What the views show in moments that the tests with a browser do not reach."""

import threading

import pytest

from mfa_kit.cli.browser.page import PageProgress, PageViews, view_parts
from mfa_kit.cli.browser.page_state import SHOWN, Asks, PageState, Question, Role
from mfa_kit.cli.messages import StderrProgress
from mfa_kit.cli.rollout.session import STOPPED
from mfa_kit.core import message
from mfa_kit.core.message import ENTER, STOP, Message, UserAction, Wording
from mfa_kit.core.otp import Symbol
from tests.cli.test_manual_pages import texts_of
from tests.conftest import ROOT
from tests.page.served import CODE


def part(state: PageState, role: Role, name: str) -> str:
    return view_parts(state, role)[name].reveal()


def test_messages_are_in_order() -> None:
    """The numbered instructions for the console can be read from the top."""
    state = PageState()
    for text in ("1  open the console", "2  choose Assign MFA device"):
        state.report(text)
    log = part(state, Role.ADMIN, "log")
    assert log.index("1  open") < log.index("2  choose")


def test_messages_name_the_button(capfd: pytest.CaptureFixture[str]) -> None:
    """The terminal still prints the message as it is."""
    state = PageState()
    PageProgress(StderrProgress(quiet=True), state).alert(Message(ENTER, " to try this key again"))
    assert "press Start to try this key again" in part(state, Role.ADMIN, "log")
    assert "press Enter to try this key again" in capfd.readouterr().err


def test_a_second_use_of_an_address_is_shown_on_the_page(capfd: pytest.CaptureFixture[str]) -> None:
    """The admin's view names its button, the terminal its keys. A key that waits for a touch still waits for it."""
    state = PageState(touch=True)
    PageViews(state, StderrProgress(quiet=True)).reopened()
    said = "an address of the page was opened a second time; if you did not do that, press "
    assert f"{said}Stop" in part(state, Role.ADMIN, "log")
    assert f"{said}Ctrl-C\n" in capfd.readouterr().err
    assert state.touch


def test_only_the_colleague_is_told_to_ask_the_admin() -> None:
    """The admin has the button."""
    state = PageState(said=[Message("to start over, ", STOP), STOPPED])
    assert part(state, Role.COLLEAGUE, "said").count("ask the admin") == 2
    assert part(state, Role.ADMIN, "said") == "To start over, press Stop. The enrollment was stopped."


# What only a terminal shows: the address and the windows of the page, a drill on the phone, prompts without a page, the
# end of a worker, and the help of commands.
AT_TERMINAL = {
    *("cli/browser/page.py", "cli/key/list.py", "cli/main.py", "cli/shutdown.py", "cli/verify/fido2.py"),
    *("core/wrong_codes.py", "core/message.py", "security_keys/attestation.py"),
}


def test_no_message_of_the_page_names_a_key_of_the_terminal() -> None:
    """A text with Ctrl-C is a Wording, which has other words for the page, or it is for a terminal alone."""
    files = {
        str(file.relative_to(ROOT / "mfa_kit"))
        for file in (ROOT / "mfa_kit").rglob("*.py")
        if any("Ctrl-C" in text for text in texts_of(file))
    }
    assert files == AT_TERMINAL
    assert [name for name, words in vars(message).items() if isinstance(words, Wording) and "Ctrl" in words.admin] == []
    assert not any("Ctrl-C" in file.read_text("utf-8") for file in (ROOT / "mfa_kit/cli/html").glob("view*"))


@pytest.mark.parametrize("asks", list(Asks))
def test_a_question_is_text(asks: Asks) -> None:
    """Markup in a question, such as in the name of a token, is displayed and not interpreted."""
    question = Question(asks=asks, text="code of <b>x</b>")
    form = part(PageState(question=question, number=1), Role.ADMIN, "form")
    assert "<b>" not in form
    assert "Code of &lt;b&gt;x&lt;/b&gt;" in form


def test_a_qr_code_is_removed_together_with_the_reason() -> None:
    """No window gets a view that has neither of them."""
    state, got = PageState(clock=lambda: 0.0), list[str]()
    state.show(Symbol("█▀"), [])
    state.clock = lambda: SHOWN
    state.on_change = lambda: got.append(part(state, Role.COLLEAGUE, "qr"))
    state.expire()
    assert ["was removed after 10 minutes" in each for each in got] == [True]


def test_the_question_stays_while_an_answer_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the colleague's view could answer the admin's next question, if it came just then."""
    state, got = PageState(question=CODE, number=1), list[bool]()

    def reply(*_: object) -> bool:
        other = threading.Thread(target=lambda: got.append(state.changed.acquire(timeout=0.1)))
        other.start()
        other.join()
        return True

    monkeypatch.setattr(PageState, "reply", reply)
    PageViews(state, StderrProgress(quiet=True)).act(Role.COLLEAGUE, {"do": "answer", "number": 1, "text": "123456"})
    assert got == [False]


def test_the_page_does_not_read_words() -> None:
    """What a message asks for is a value. The same words without it change nothing, and other words with it do."""
    state = PageState(user="ada", calls="wait")
    progress = PageProgress(StderrProgress(quiet=True), state)
    for english in ("touch your key now (30 s)", "touch the key now", "waiting; press Ctrl-C to stop"):
        progress.alert(english)
    assert (state.touch, state.can_interrupt) == (False, False)
    progress.alert(Message("bitte warten", action=UserAction.END_WAIT))
    progress.alert(Message("Taste!", action=UserAction.TOUCH))
    assert (state.touch, state.can_interrupt) == (True, True)
    for prompt, fields in (("second code", 1), (Message("erster", action=UserAction.FIRST_CODE), 2)):
        state.question = Question(asks=Asks.CODE, text=prompt)
        assert part(state, Role.COLLEAGUE, "form").count("<input") == fields
    state.question = Question(asks=Asks.CODE, text=Message("zweiter", action=UserAction.SECOND_CODE))
    assert 'value="accepted"' in part(state, Role.COLLEAGUE, "form")
    state.said = [Message("oder ", Wording("Strg-C", admin="Halt", colleague="frag"))]
    assert part(state, Role.ADMIN, "said") == "Oder Halt."
    assert part(state, Role.COLLEAGUE, "said") == "Oder frag."
