"""Exceptions that nothing foresaw, raised at the methods of the page's ports: no text of them gets out."""

from typing import NoReturn

import pytest

from mfa_kit.cli.browser.page import PageProgress, PageViews, PersonAtPage
from mfa_kit.cli.browser.page_state import Asks, PageState, Question, Role
from mfa_kit.core.errors import InternalError
from mfa_kit.core.otp import Secret
from mfa_kit.lab.aws.server import Lab
from tests.conftest import ACCOUNT, MfaKit
from tests.page.conftest import nothing_is_half_made, shown_codes
from tests.page.served import Page, served_page

SECRET = "canary-7731"
AT_PERSON = [
    *((PersonAtPage, name) for name in ("check", "show", "say", "ask_code", "clear")),
    (PageProgress, "note"),
]


def fail(*_: object, **__: object) -> NoReturn:
    raise ZeroDivisionError(SECRET)


@pytest.mark.parametrize(("owner", "name"), AT_PERSON)
def test_a_failure_of_the_page_settles_as_at_the_terminal(
    mfa_kit: MfaKit,
    at_lab: Lab,
    user: str,
    owner: type[object],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The command reports a bug without the text of the exception, and nothing half-made is left."""

    def answer(_: PageState, question: Question, __: object = None) -> Secret[str]:
        assert question.asks is Asks.CODE
        return Secret(shown_codes(at_lab, user)[question.second])

    monkeypatch.setattr(PageState, "wait_for_admin", lambda _: None)
    monkeypatch.setattr(PageState, "ask", answer)
    words = ("enroll", user, "--with", "virtual", "--page", "--no-browser")
    with monkeypatch.context() as broken:
        broken.setattr(owner, name, fail)
        done = mfa_kit.run(*words)
    assert done.code == InternalError.exit_code, done.err
    assert "ZeroDivisionError" in done.err
    assert SECRET not in done.out + done.err + "".join(capfd.readouterr())
    again = mfa_kit.run(*words)
    assert again.code == 0, again.err
    assert at_lab.assigned(f"arn:aws:iam::{ACCOUNT}:mfa/{user}") == user
    nothing_is_half_made(mfa_kit)


def ask_all(page: Page) -> str:
    """Send each kind of request of a window, also those that fail. Return all that came back."""
    window, answers = page.enter(Role.ADMIN), []
    path = page.server.new_address(Role.COLLEAGUE).reveal().removeprefix(f"http://{page.host}")
    for method, where, headers in (
        ("GET", "/admin", {"Host": page.host, "Cookie": window.cookie}),
        ("GET", "/admin/news", window.own),
        ("GET", path, {"Host": page.host}),
        ("GET", path, {"Host": page.host}),
    ):
        try:
            answers.append(page.ask(method, where, headers).text)
        except OSError:
            answers.append("the connection was closed")
    answers.append(page.post(window, page.reply()).text)
    return "\n".join(answers)


@pytest.mark.parametrize("name", ["roles", "ended", "document", "parts", "act", "windows", "reopened"])
def test_a_failure_in_the_server_is_not_sent(
    name: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither a response nor stderr has the text of the exception, and the server still works afterwards."""
    with served_page() as page:
        with monkeypatch.context() as broken:
            broken.setattr(PageViews, name, property(fail) if name in {"roles", "ended"} else fail)
            said = ask_all(page)
        assert SECRET not in said + "".join(capfd.readouterr())
        window = page.enter(Role.ADMIN)
        assert page.ask("GET", "/admin/news", window.own).status == 200
