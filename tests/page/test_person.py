"""The questions of commands on the page that an enrollment with a phone does not ask: the admin answers them."""

from collections.abc import Callable

import pytest

from mfa_kit.cli.browser.page import PersonAtPage
from mfa_kit.cli.browser.page_state import Asks, PageState, Question
from mfa_kit.core.errors import Declined
from mfa_kit.core.otp import Secret

INSTEAD = "--yes"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Question]]:
    """Return a function that takes the answers to give, and returns the list of the questions that are asked."""

    def give(*texts: str) -> list[Question]:
        asked, left = list[Question](), list(texts)

        def ask(_: PageState, question: Question, __: object = None) -> Secret[str]:
            asked.append(question)
            return Secret(left.pop(0))

        monkeypatch.setattr(PageState, "ask", ask)
        return asked

    return give


def test_a_confirmation_is_the_exact_word(answers: Callable[..., list[Question]]) -> None:
    """Any other text declines."""
    asked = answers("yes ", "no")
    person = PersonAtPage(PageState())
    person.confirm("a file will contain the secret", typed="yes", instead=INSTEAD)
    with pytest.raises(Declined) as refused:
        person.confirm("a file will contain the secret", typed="yes", instead=INSTEAD)
    assert INSTEAD in refused.value.hint
    assert [question.asks for question in asked] == [Asks.TEXT] * 2


def test_a_choice_is_one_of_the_buttons(answers: Callable[..., list[Question]]) -> None:
    """An answer that no button gives declines."""
    asked = answers("1", "7")
    person = PersonAtPage(PageState())
    assert person.choose("key", ["one", "two"], instead=INSTEAD) == 1
    with pytest.raises(Declined):
        person.choose("key", ["one", "two"], instead=INSTEAD)
    assert list(asked[0].buttons) == [("one", "0"), ("two", "1")]


def test_a_new_secret_is_typed_twice(answers: Callable[..., list[Question]]) -> None:
    """It is asked for until both entries match and are not empty. The admin reads why it is asked again."""
    asked = answers("", "a", "b", "a", "a")
    state = PageState()
    assert PersonAtPage(state).ask_new_secret("password", instead=INSTEAD) == Secret("a")
    assert {question.asks for question in asked} == {Asks.SECRET}
    assert [message.text for message in state.log] == ["nothing was typed", "the two entries differ; type both again"]


def test_a_pause_is_a_button(answers: Callable[..., list[Question]]) -> None:
    """The admin presses it when the user is ready."""
    asked = answers("")
    PersonAtPage(PageState()).pause("insert the key", instead=INSTEAD)
    assert (asked[0].asks, list(asked[0].buttons)) == (Asks.BUTTONS, [("Continue", "")])
