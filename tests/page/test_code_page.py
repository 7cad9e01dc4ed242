"""What the page shows while codes are typed: the seconds until the next code, and no QR code once it was scanned."""

from collections.abc import Callable

import pytest

from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.cli.browser.page import view_parts
from mfa_kit.cli.browser.page_state import Asks, PageState, Question, Role
from mfa_kit.core import otp
from mfa_kit.core.models import DeviceSpec
from mfa_kit.core.otp import Pair, Secret
from mfa_kit.lab.aws.server import Lab
from tests.chromium import Browser
from tests.conftest import ACCOUNT, MfaKit
from tests.page.conftest import LASTS, LIMIT, Start, open_admin, open_colleague, seed, shown_codes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LIMIT)]
# The shown seconds and AWS's time may differ by this: IAM's clock is read in whole seconds, and the page ticks.
EXACT = 1.6
# Seconds to move the clock of the browser, so that the countdown passes the end of a step more than once.
LATER = (0, 7, 16, 29, 31, 95)
# The document as text, without spaces: a secret is shown in groups.
WHOLE = "document.documentElement.outerHTML.replace(/\\s/g, '')"
HAS_QR = "!!document.querySelector('svg, path')"


@pytest.mark.parametrize("offset", [0, 45])
def test_the_countdown_is_that_of_aws_steps(start: Start, browser: Browser, lab: Lab, user: str, offset: float) -> None:
    """It shows the seconds that are left of the step, in both views, also if this computer's clock is wrong."""
    lab.faults.add("*", "clock", seconds=offset)
    command = start("enroll", user, "--with", "virtual", "--page", "--no-browser")
    admin = open_admin(browser, command)
    colleague = open_colleague(admin)
    for window in (colleague, admin):
        window.see("document.querySelector('[data-next]').textContent")
        window.ask("globalThis.realNow = Date.now.bind(Date), 0")
        for later in LATER:
            before = lab.account.now()
            window.ask(f"Date.now = () => realNow() + {1000 * later}, tick(), 0")
            shown = window.ask("document.querySelector('[data-next]').textContent")
            took = lab.account.now() - before
            expected = otp.PERIOD - (before + later) % otp.PERIOD
            number, unit = shown.split()
            assert unit == "s"
            assert 1 <= int(number) <= otp.PERIOD
            passed = (expected - int(number) + EXACT) % otp.PERIOD - EXACT
            assert passed <= took + EXACT, (later, shown, expected, took)
    lab.faults.clear()


def test_the_qr_code_is_gone_before_the_device_is_enabled(start: Start, browser: Browser, lab: Lab, user: str) -> None:
    """It leaves the colleague's window when the second code is accepted. The admin's window never has it."""
    command = start("enroll", user, "--with", "virtual", "--show-secret", "--page", "--no-browser")
    admin = open_admin(browser, command)
    colleague = open_colleague(admin)
    colleague.see("document.querySelector('#qr svg path')")
    text = seed(lab, user).rstrip("=")
    assert colleague.ask(f"{WHOLE}.includes({text!r})")
    lab.faults.add("EnableMFADevice", "latency", at="every", seconds=2 * LASTS)
    first, second = shown_codes(lab, user)
    colleague.paste(first)
    colleague.see("document.activeElement.id === 'code1'")
    colleague.paste(second)
    colleague.see("document.querySelector('#calls').textContent.includes('Please wait')")
    for window in (admin, colleague):
        assert not window.ask(f"{HAS_QR} || {WHOLE}.includes({text!r})")
    colleague.reload()
    colleague.see("document.querySelector('#calls').textContent.includes('Please wait')")
    assert not colleague.ask(f"{HAS_QR} || {WHOLE}.includes({text!r})")
    assert lab.assigned(f"arn:aws:iam::{ACCOUNT}:mfa/{user}") is None
    colleague.see("document.querySelector('#end').textContent.startsWith('Done.')")
    lab.faults.clear()
    for window in (admin, colleague):
        assert not window.ask(f"{HAS_QR} || {WHOLE}.includes({text!r})")
    assert command.end()[0] == 0, command.err


def test_the_page_forgets_the_qr_code_before_the_device_is_enabled(
    mfa_kit: MfaKit, at_lab: Lab, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the state nor a view has it during EnableMFADevice and at the end."""
    pages, held = list[PageState](), list[list[object]]()
    enable = Iam.enable

    def hold() -> list[object]:
        [page] = {id(each): each for each in pages}.values()
        shown = [view_parts(page, role).get("qr", Secret("")).reveal() for role in Role]
        return [page.symbol, list(page.texts), *shown]

    def answer(page: PageState, question: Question, _: object = None) -> Secret[str]:
        assert question.asks is Asks.CODE
        pages.append(page)
        symbol, texts, _admin, colleague = hold()
        assert (symbol is not None, bool(texts), "<svg" in str(colleague)) == (True, True, True)
        return Secret(shown_codes(at_lab, user)[question.second])

    def enable_and_note(iam: Iam, spec: DeviceSpec, codes: Callable[[], Pair]) -> None:
        def compute() -> Pair:  # the codes are computed just before the request is sent
            pair = codes()
            held.append(hold())
            return pair

        enable(iam, spec, compute)

    monkeypatch.setattr(PageState, "wait_for_admin", lambda _: None)
    monkeypatch.setattr(PageState, "ask", answer)
    monkeypatch.setattr(Iam, "enable", enable_and_note)
    done = mfa_kit.run("enroll", user, "--with", "virtual", "--show-secret", "--page", "--no-browser")
    assert done.code == 0, done.err
    assert [*held, hold()] == [[None, [], "", ""]] * 2
