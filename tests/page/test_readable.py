"""The page can be read and used: by keyboard, with a screen reader, at 200 % zoom, on a narrow window, in dark mode.

The page is served by this process, and each test puts it into a state. `CONTRASTS` and `SPLIT` measure as for the other
pages (WCAG 2).
"""

import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.cli.browser.page_state import LOG, Asks, Ending, PageState, Question, QueueRow, Role
from mfa_kit.core.otp import Seed, Symbol
from mfa_kit.enrollment.backends import FIRST_CODE, SECOND_CODE
from mfa_kit.qr_codes.symbol import device_symbol
from mfa_kit.wiring.files import packaged_text
from tests.chromium import DESKTOP, PHONE, Browser
from tests.cli.test_pages import CONTRASTS, SPLIT
from tests.conftest import ACCOUNT
from tests.letters.judges import codes_in
from tests.page.conftest import LIMIT
from tests.page.served import USER, Page, served_page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(LIMIT)]
# The width in CSS pixels of a window of 1280 pixels at 200 % zoom (WCAG 2, 1.4.4).
ZOOMED = DESKTOP // 2
LONG = "a-department-" * 4 + "user@example.com"
# The contrast of the border of each field and button (WCAG 2, 1.4.11), and its smaller side in pixels (2.5.8).
CONTROLS = CONTRASTS.replace(
    CONTRASTS[CONTRASTS.index("  const walk") :],
    """  return [...document.querySelectorAll('input, button:enabled')].map((el) => {
    const [a, b] = [light(getComputedStyle(el).borderTopColor), light(behind(document.body))].sort((x, y) => y - x);
    const box = el.getBoundingClientRect();
    return [(a + 0.05) / (b + 0.05), Math.min(box.width, box.height)]; }); })()""",
)


def scan(state: PageState) -> None:
    state.show(Symbol("\n".join(["█▀▄ " * 10] * 20)), [])
    state.say(f"scan it with {LONG}'s authenticator app, then type what the app shows for {LONG}")
    state.question = Question(asks=Asks.CODE, text=FIRST_CODE, next_code=time.time() + 20)


def make_mistake(state: PageState) -> None:
    scan(state)
    state.say("that code does not match this device: check that it is not another device's code")


def second(state: PageState) -> None:
    scan(state)
    state.question = Question(asks=Asks.CODE, text=SECOND_CODE, next_code=time.time() + 20)


def expire(state: PageState) -> None:
    scan(state)
    state.hide()
    state.expired = True


def call_next(state: PageState) -> None:
    state.queue = [QueueRow(user=USER, state="enrolled"), QueueRow(user=LONG, state="not started", current=True)]
    state.user, state.calls, state.thanked = LONG, "Insert your key.", f"{USER} is done. Thank you."
    state.keys = ["YubiKey 5A 1001"]
    state.report("ada: the key was removed; insert it again", wrong=True)
    buttons = (("Start", ""), ("Skip", "s"), ("Back", "b"), ("Quit", "q"))
    state.question = Question(asks=Asks.BUTTONS, text=f"insert the key for {LONG} (2 of 2)", buttons=buttons)


def ask_password(state: PageState) -> None:
    state.question = Question(asks=Asks.SECRET, text="password of YubiKey 5A 1001")


def end(state: PageState) -> None:
    state.ending = Ending(admin=f"{LONG} is enrolled", colleague="Done. You can close this window.")


# How the changes of an element with this role are announced.
LIVE = {"alert": "assertive", "status": "polite", "timer": "off"}
STATES: dict[str, Callable[[PageState], None]] = {
    "scan": scan,
    "mistake": make_mistake,
    "second": second,
    "expired": expire,
    "next": call_next,
    "password": ask_password,
    "end": end,
}


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with served_page() as made:
        yield made


def put(page: Page, name: str) -> None:
    """Put the page into a state. The question that waits in the background stays the same."""
    state = page.state
    with state.change():
        state.queue, state.keys, state.said, state.scan, state.thanked, state.log = (), (), (), "", "", []
        state.symbol, state.expired, state.ending, state.user = None, False, None, USER
        STATES[name](state)


def opened(page: Page, browser: Browser, role: Role) -> Browser:
    browser.go(page.server.new_address(role).reveal())
    browser.see("document.querySelector('#title').textContent")
    return browser


@pytest.mark.parametrize("role", Role)
def test_a_view_can_be_read(page: Page, browser: Browser, role: Role) -> None:
    """In each state, all is inside the window, no word is split, and the contrast meets WCAG 2, AA."""
    put(page, "scan")
    opened(page, browser, role)
    for name in STATES:
        put(page, name)
        mark = f"State {time.monotonic():.0f} {name}."
        with page.state.change():
            page.state.said = [*page.state.said, mark]
        if name != "end":
            browser.see(f"document.querySelector('#said').textContent.includes({mark!r})")
        else:
            browser.see("document.querySelector('#end').textContent")
        for width in (PHONE, ZOOMED, DESKTOP):
            for dark in (False, True):
                browser.size(width=width, dark=dark)
                where = (name, width, dark)
                assert browser.ask("document.documentElement.scrollWidth <= innerWidth"), where
                assert browser.ask(SPLIT) == [], where
                texts: list[tuple[str, float, float]] = browser.ask(CONTRASTS)
                assert [each for each in texts if each[1] < 13 or each[2] < 4.5] == [], where
                controls: list[tuple[float, float]] = browser.ask(CONTROLS)
                assert [each for each in controls if each[0] < 3 or each[1] < 24] == [], where


# The sides of the QR code and of the fields, in CSS pixels.
BOXES = """['#qr svg', '#form form'].map((place) => {
  const box = document.querySelector(place).getBoundingClientRect();
  return [box.left, box.right, box.top, box.bottom]; })"""


def test_the_qr_code_is_left_of_the_fields_on_a_wide_window(page: Page, browser: Browser) -> None:
    """Both are on the screen of a laptop at once. On a phone, the QR code is above the fields."""
    put(page, "scan")
    opened(page, browser, Role.COLLEAGUE)
    browser.see("document.querySelector('#qr svg') && document.querySelector('#form form')")
    browser.size(width=DESKTOP)
    symbol, form = browser.ask(BOXES)
    assert symbol[1] < form[0]
    assert symbol[2] < form[2] < form[3] < symbol[3] < 720
    browser.size(width=PHONE)
    symbol, form = browser.ask(BOXES)
    assert symbol[3] < form[2]


# The width, height and scale of the windows of a laptop, of the laptop at 200 % zoom, of an old screen and of a phone.
WINDOWS = [(DESKTOP, 720, 1), (ZOOMED, 360, 2), (1024, 768, 1), (PHONE, 844, 3)]


@pytest.mark.parametrize(("width", "height", "scale"), WINDOWS)
def test_a_phone_scans_the_qr_code_from_the_visible_window(
    page: Page, browser: Browser, tmp_path: Path, width: int, height: int, scale: int
) -> None:
    """Nobody has to scroll: the whole QR code is in the window, also after the window got another size."""
    put(page, "scan")
    with page.state.change():
        page.state.symbol = device_symbol(Seed(b"0123456789" * 2), USER, ACCOUNT)
        page.state.scan = f"scan it with your authenticator app, then type what the app shows for {USER}"
    opened(page, browser, Role.COLLEAGUE)
    browser.see("document.querySelector('#qr svg') && document.querySelector('#form form')")
    browser.size(width=width, height=height, scale=scale)
    browser.see(f"document.querySelector('#qr svg').getBoundingClientRect().bottom <= {height}")
    symbol, _ = browser.ask(BOXES)
    assert symbol[2] >= 0
    assert symbol[1] - symbol[0] >= 200
    file = tmp_path / "window.png"
    file.write_bytes(browser.picture(visible=True))
    [code] = codes_in(file)
    assert base64.b32encode(b"0123456789" * 2).decode() in code


def test_on_a_tiny_window_the_qr_code_keeps_200_pixels(page: Page, browser: Browser) -> None:
    """Below that, a phone may not read it. The window can be scrolled."""
    put(page, "scan")
    opened(page, browser, Role.COLLEAGUE)
    browser.size(width=320, height=180)
    browser.see("document.querySelector('#qr svg').getBoundingClientRect().width === 200")


def test_texts_have_the_size_that_the_browser_is_set_to(page: Page, browser: Browser) -> None:
    """All sizes grow together, and all stays inside the window."""
    put(page, "next")
    opened(page, browser, Role.ADMIN)
    browser.see("document.querySelector('#log li') && document.querySelector('#form button')")
    texts: list[tuple[str, float, float]] = browser.ask(CONTRASTS)
    browser.tab("Page.setFontSizes", fontSizes={"standard": 32, "fixed": 26})
    try:
        larger: list[tuple[str, float, float]] = browser.ask(CONTRASTS)
        assert [(text, 2 * size) for text, size, _ in texts] == [(text, size) for text, size, _ in larger]
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
    finally:
        browser.tab("Page.setFontSizes", fontSizes={"standard": 16, "fixed": 13})


def test_new_lines_of_the_log_are_added(page: Page, browser: Browser) -> None:
    """A screen reader reads each new element, so the lines before it stay the same elements. Old lines are removed."""
    put(page, "next")
    opened(page, browser, Role.ADMIN)
    browser.see("document.querySelector('#log li')")
    browser.ask(
        """void (window.added = [], window.kept = document.querySelector('#log li'),
        new MutationObserver((changes) => changes.forEach(({addedNodes}) => addedNodes.forEach((node) =>
        window.added.push(node.textContent)))).observe(document.querySelector('#log'),
        {childList: true, subtree: true}))"""
    )
    for number in range(3):
        page.state.report(f"the same message {number // 2}")
    browser.see("document.querySelectorAll('#log li').length === 4")
    assert browser.ask("window.added") == ["the same message 0", "the same message 0", "the same message 1"]
    assert browser.ask("window.kept.isConnected")
    for number in range(LOG):
        page.state.report(f"message {number}")
    browser.see(f"document.querySelector('#log li:last-child').textContent === 'message {LOG - 1}'")
    assert browser.ask("[...document.querySelectorAll('#log li')].map((line) => line.textContent)") == [
        f"message {number}" for number in range(LOG)
    ]
    assert browser.ask("window.added.length") == 3 + LOG


@pytest.mark.parametrize("role", Role)
def test_a_second_window_says_that_another_has_the_page(page: Page, browser: Browser, role: Role) -> None:
    """It has the cookie, but not the key, which is in the storage of the other window. That window goes on."""
    put(page, "scan")
    opened(page, browser, role)
    second = browser.new_tab()
    second.go(f"http://{page.host}/{role}")
    second.see("document.querySelector('#connection').textContent.startsWith('Another window has this page.')")
    assert "lost" not in second.ask("document.body.innerText")
    assert not second.ask("document.querySelector('#title').textContent")
    page.state.say("still here")
    browser.see("document.querySelector('#said').textContent.includes('Still here.')")
    second.close()


@pytest.mark.parametrize("role", Role)
def test_a_view_names_the_company_and_the_account(page: Page, browser: Browser, role: Role) -> None:
    """A user sees who asks for the codes, and for what. Before the account is known, there is the company alone."""
    put(page, "scan")
    opened(page, browser, role)
    with page.state.change():
        page.state.company = "Example <Ltd>"
    browser.see("document.querySelector('#owner').textContent.trim() === 'Example <Ltd>'")
    with page.state.change():
        page.state.account = "123456789012"
    browser.see("document.querySelector('#owner').textContent.includes('Example <Ltd>, AWS account 123456789012')")
    with page.state.change():
        page.state.company = page.state.account = ""


def tree(browser: Browser) -> list[dict[str, Any]]:
    """Return the nodes of the page as a screen reader gets them."""
    nodes: list[dict[str, Any]] = browser.tab("Accessibility.getFullAXTree")["nodes"]
    return [node for node in nodes if not node.get("ignored")]


def named(browser: Browser) -> set[tuple[str, str]]:
    """Return the role and the name of each node."""
    return {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree(browser)}


def test_a_screen_reader_gets_names_and_live_regions(page: Page, browser: Browser) -> None:
    """Fields, buttons and the picture have names. Messages interrupt, the countdown does not, and focus moves along."""
    put(page, "mistake")
    opened(page, browser, Role.COLLEAGUE)
    browser.see("document.activeElement.id === 'code0'")
    found = named(browser)
    assert {
        ("heading", USER),
        ("textbox", "First code"),
        ("textbox", "Second code"),
        ("image", "QR code for your authenticator app"),
        ("button", "Send"),
    } <= found
    roles = {node["role"]["value"]: node for node in tree(browser)}
    live = {name: {each["name"]: each["value"]["value"] for each in roles[name]["properties"]} for name in LIVE}
    assert {name: live[name].get("live", "off") for name in LIVE} == LIVE
    (field,) = [
        node for node in tree(browser) if (node["role"]["value"], node["name"]["value"]) == ("textbox", "First code")
    ]
    assert "does not match this device" in field["description"]["value"]
    assert browser.ask("document.documentElement.lang") == "en"
    put(page, "second")
    browser.see("document.activeElement.id === 'code1'")


def test_the_admin_needs_no_mouse(page: Page, browser: Browser) -> None:
    """Tab reaches every button in the order of the page, each has a name, and the focus is visible."""
    put(page, "next")
    opened(page, browser, Role.ADMIN)
    browser.see("document.querySelectorAll('#form button').length === 4")
    browser.ask("document.activeElement.blur()")
    reached = []
    for _ in range(7):
        browser.press("Tab", code=9)
        reached.append(browser.ask("document.activeElement.textContent.slice(0, 26)"))
        assert browser.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert browser.ask("parseFloat(getComputedStyle(document.activeElement).outlineWidth)") >= 2
    assert reached[:6] == ["Start", "Skip", "Back", "Quit", "Open the colleague's view", "Stop"]
    assert reached[6].startswith("ada: the key was removed")
    assert all(name for role, name in named(browser) if role in {"button", "textbox", "log", "heading"})


def test_a_user_of_the_keyboard_answers(browser: Browser) -> None:
    """Enter presses the button that has the focus. A code is pasted with spaces, and the next field has the focus."""
    with served_page() as page:
        opened(page, browser, Role.COLLEAGUE)
        browser.see("document.activeElement.id === 'code0'")
        browser.paste(" 123 456 ")
        browser.see("document.activeElement.id === 'code0' && document.activeElement.value === ''")
        assert page.answers == [" 123 456 "]
        browser.paste("12345")
        browser.press("Enter", code=13, text="\r")
        browser.see("document.querySelector('form').dataset.number === '3'")
        assert page.answers == [" 123 456 ", "12345"]


def test_nothing_moves() -> None:
    """There is nothing to reduce for people who asked their system for reduced motion."""
    for word in ("animation", "transition", "@keyframes", "scrollIntoView", "smooth"):
        assert word not in packaged_text("cli/html/view.css") + packaged_text("cli/html/view.js")


def test_a_hostile_name_is_only_text(page: Page, browser: Browser) -> None:
    """The script of a name does not run, and its markup makes no element."""
    put(page, "next")
    with page.state.change():
        page.state.user = '<img src=x onerror="window.hit = 1"><script>window.hit = 1</script>'
        page.state.said = ["<b id=evil>bold</b>"]
    opened(page, browser, Role.ADMIN)
    browser.see("document.querySelector('#said').textContent.includes('bold')")
    assert browser.ask("document.querySelector('#title').textContent.startsWith('<img src=x')")
    assert browser.ask("[window.hit, document.querySelector('#evil'), document.querySelector('h1 img')]") == [None] * 3


def test_the_browser_keeps_nothing(page: Page, browser: Browser) -> None:
    """The history has the view without the one-time address, which cannot be opened again. The title has no name."""
    put(page, "scan")
    address = page.server.new_address(Role.COLLEAGUE).reveal()
    browser.go(address)
    browser.see("document.querySelector('#qr svg')")
    history = browser.tab("Page.getNavigationHistory")["entries"]
    assert [each["url"] for each in history if "/open/" in each["url"]] == []
    assert browser.ask("document.title") == "MFA enrollment"
    assert browser.ask("document.cookie") == ""
    assert browser.ask("Object.keys(localStorage).length") == 0
    browser.go(address)
    browser.see("document.body.innerText.includes('can be opened only once')")
