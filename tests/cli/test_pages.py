"""The HTML pages, measured in Chromium: on a phone and a large screen, in light and dark mode."""

import base64
import re
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from jinja2 import DictLoader

from mfa_kit.adapters.templates import TEMPLATES, html_time, render
from mfa_kit.audit.registry import RULES
from mfa_kit.cli.audit_output import organization_page
from mfa_kit.cli.letters import letter_page, letter_text
from mfa_kit.core import otp
from mfa_kit.core.errors import InternalError
from mfa_kit.core.letter import Letter
from mfa_kit.core.models import DeviceSpec, JournalEntry
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import encoded
from mfa_kit.letters.sheet import Paper
from mfa_kit.rollout.handover_letter import letter_values, parcel_letter
from mfa_kit.rollout.plan import Action, Plan, PlanStep
from mfa_kit.rollout.posting import Parcel
from mfa_kit.rollout.roster import RosterAction, RosterRow
from mfa_kit.wiring.files import letter_printer, packaged_text
from mfa_kit.wiring.methods.oath import OATH
from mfa_kit.wiring.rollout import packaged_template
from tests.chromium import DESKTOP, PHONE, Browser, chromium
from tests.conftest import MfaKit
from tests.letters.judges import size_of
from tests.organization.visits import CALLER, made_visits

LONG = "arn:aws:iam::000000000000:mfa/a-department/" + "x" * 90
SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
STYLE = packaged_text("cli/html/page.css")
TONES = list(dict.fromkeys(re.findall(r"^\s*\.(\w+) \{\s*--tone:", STYLE, re.MULTILINE)))
EVERYTHING = """
{% for tone in tones %}{{ mark(tone, tone) }}{% endfor %}
{% set bars = [] %}
{% for tone in tones %}{% do bars.append(("as " ~ tone ~ " as can be", 1, tone, "10 (9 %)")) %}{% endfor %}
{{ bar_chart(bars, 2) }}
{% set shares = [] %}
{% for tone in tones %}{% do shares.append((tone, 1, tone)) %}{% endfor %}
{{ ring(shares) }}
<table>{{ heads(["User", "State", "Why"]) }}<tbody>
<tr>{{ cell("User", long) }}{{ cell("State", "staged") }}{{ cell("Why", "see " ~ long) }}</tr></tbody></table>
<p class="soft">{{ 0|time }} <b>{{ long|words }}</b></p><pre>{{ ("echo " ~ long)|words }}</pre>"""
# Each text of the page, with its size in pixels and its contrast with what is behind it (WCAG 2, 1.4.3). The relative
# luminance is that of 1.4.3's definition.
CONTRASTS = """(() => {
  const light = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number).map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (el) => { for (; el; el = el.parentElement) { const c = getComputedStyle(el).backgroundColor;
    if (c !== 'rgba(0, 0, 0, 0)') return c; } return 'rgb(255, 255, 255)'; };
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    if (!node.data.trim()) continue;
    const style = getComputedStyle(node.parentElement);
    const [a, b] = [light(style.color), light(behind(node.parentElement))].sort((x, y) => y - x);
    found.push([node.data.trim(), parseFloat(style.fontSize), (a + 0.05) / (b + 0.05)]);
  }
  return found; })()"""
# The contrast of each bar and share with the page (WCAG 2, 1.4.11), from the same function.
DRAWN = CONTRASTS.replace(
    CONTRASTS[CONTRASTS.index("  const walk") :],
    """  return [...document.querySelectorAll('.bar i, circle')].map((el) => { const style = getComputedStyle(el);
    const color = el.tagName === 'I' ? style.backgroundColor : style.stroke;
    const [a, b] = [light(color), light(behind(document.body))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05); }); })()""",
)
# Words of up to 20 characters that are on two lines.
SPLIT = """(() => {
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), split = [];
  for (let node = walk.nextNode(); node; node = walk.nextNode())
    for (const { 0: word, index } of node.data.matchAll(/(?<![\\p{L}\\d_])[\\p{L}\\d_]{2,20}(?![\\p{L}\\d_])/gu)) {
      const range = document.createRange(); range.setStart(node, index); range.setEnd(node, index + word.length);
      if (new Set([...range.getClientRects()].map((box) => box.top)).size > 1) split.push(word);
    }
  return split; })()"""


def page(body: str, **values: object) -> str:
    """Return a page with this body, which may use the macros of all pages."""
    start = '{% extends "page.html" %}{% from "parts.html" import bar_chart, cell, heads, mark, ring %}'
    return TEMPLATES.from_string(f"{start}{{% block body %}}{body}{{% endblock %}}").render(title="A page", **values)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def pages(mfa_kit: MfaKit, users: Callable[[], str], recipient: str, tmp_path: Path) -> dict[str, str]:
    """Make a page of each kind with the program."""
    name, table, plan, sheet = users(), tmp_path / "roster.csv", tmp_path / "plan.json", tmp_path / "sheet.html"
    table.write_text(f"user,kind,recipient\n{name},virtual,{recipient}\nghost-{'long-' * 8}name@example.com,virtual,\n")
    planned = mfa_kit.run("rollout", "plan", table, "-o", plan)
    assert planned.code == 0, planned.err
    mfa_kit.run("rollout", "apply", plan)
    box, readings = tmp_path / "box.csv", tmp_path / "readings.csv"
    box.write_text(f"serial number,secret key,time interval\n10001001,{SEED},30\n10001002,{SEED[::-1]},30\n")
    seed = otp.from_base32(otp.Secret(SEED))
    (code,) = otp.codes(seed, range(otp.step(time.time()), otp.step(time.time()) + 1))
    readings.write_text(f"10001001,{code}\n10001002,000000\n")
    mfa_kit.run("token", "accept", box, "--readings", readings, "--sheet", sheet)
    return {
        "audit": mfa_kit.run("audit", "--output", "html").out,
        "rollout": mfa_kit.run("rollout", "status", plan, "--output", "html").out,
        "tokens": sheet.read_text("utf-8"),
        "organization": organization_page(made_visits(100), RULES, caller=CALLER),
        "everything": page(EVERYTHING, tones=TONES, long=LONG),
    }


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_a_page_can_be_read(browser: Browser, pages: dict[str, str], width: int, dark: bool) -> None:
    """All content is inside the window, no word is split, and the contrast of text and charts meets WCAG 2, AA."""
    for name, page in pages.items():
        browser.show(page, width=width, dark=dark)
        browser.ask("document.querySelectorAll('details').forEach((each) => each.open = true)")
        assert browser.ask("document.documentElement.scrollWidth <= innerWidth"), name
        assert browser.ask(SPLIT) == [], name
        texts: list[tuple[str, float, float]] = browser.ask(CONTRASTS)
        assert len(texts) > 10, name
        assert [each for each in texts if each[1] < 13 or each[2] < 4.5] == [], name
        drawn: list[float] = browser.ask(DRAWN)
        assert drawn, name
        assert min(drawn) >= 3, name
        background = browser.ask("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(22, 24, 28)" if dark else "rgb(255, 255, 255)")


@pytest.mark.slow
def test_each_measure_fails_on_a_bad_page(browser: Browser) -> None:
    """The page of this test has each of the faults."""
    bad = '<p style="width:3em;word-break:break-all;color:#999;font-size:9px">incomprehensible</p>'
    chart = '<span class="bar"><i style="background:#eee;width:900px"></i></span>'
    browser.show(page(bad + chart), width=PHONE)
    assert browser.ask("document.documentElement.scrollWidth") > PHONE
    assert browser.ask(SPLIT) == ["incomprehensible"]
    ((_, size, contrast),) = browser.ask(CONTRASTS)
    assert (size, round(contrast, 1)) == (9, 2.8)
    assert max(browser.ask(DRAWN)) < 3


@pytest.mark.slow
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_heads_of_a_map_stay_in_view(browser: Browser, width: int) -> None:
    """The map of 1,000 accounts scrolls in its own box, and its headings of rows and columns do not scroll."""
    browser.show(organization_page(made_visits(1000), RULES, caller=CALLER), width=width)
    assert browser.ask("document.documentElement.scrollWidth <= innerWidth")
    corner = """((box) => { box.scrollTo(300, 9000);
      const [row, column] = [box.querySelectorAll('tbody th')[500], box.querySelectorAll('thead th')[20]];
      const at = (el, side) => Math.round(el.getBoundingClientRect()[side] - box.getBoundingClientRect()[side]);
      return [box.scrollTop, at(row, 'left'), at(column, 'top')]; })(document.querySelector('.map'))"""
    down, left, top = browser.ask(corner)
    assert down == 9000
    assert max(abs(left), abs(top)) <= 2


def test_a_template_that_fails_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the kind of the mistake, and the template. An object with a secret is never printed."""
    loader = DictLoader({"bad.html": "<p>{{ title }}{{ plain }}</p>{{ value.nothing }}", "secret.html": "{{ value }}"})
    monkeypatch.setattr(TEMPLATES, "loader", loader)
    for name, error in (("bad.html", "UndefinedError"), ("secret.html", "TypeError")):
        with pytest.raises(InternalError) as raised:
            render(name, title=LONG, value=Secret(SEED), plain=SEED)
        assert str(raised.value).startswith(f"internal error: {error} at ")
        assert raised.value.__notes__ == [f"it happened in the template {name}"]
        printed = "".join(traceback.format_exception(raised.value))
        assert not [text for text in (SEED, LONG) if text in printed]
        assert raised.value.__suppress_context__


def test_no_template_reveals_a_secret() -> None:
    """Only a function in REVEALS (tests/test_house.py) may do that. Every template can be parsed."""
    names = TEMPLATES.list_templates(["html"])
    assert {"page.html", "qr.html", "view_parts.html"} <= set(names)
    for name in names:
        TEMPLATES.get_template(name)
        assert "reveal" not in packaged_text(f"cli/html/{name}")


def test_an_undefined_name_is_an_error() -> None:
    """A page without a part would look complete."""
    with pytest.raises(InternalError, match="UndefinedError"):
        render("letter.html")


def test_paper_is_white() -> None:
    """Dark colors are for screens only."""
    assert re.findall(r"@media ([^{]*)\{", STYLE)[0] == "screen and (prefers-color-scheme: dark) "


@pytest.mark.parametrize(
    ("zone", "said"),
    [
        ("Asia/Kolkata", "1 Jan 1970, 05:30 IST (UTC+05:30), 1 Jan 1970, 00:00 UTC"),
        ("America/New_York", "31 Dec 1969, 19:00 EST (UTC-05:00), 1 Jan 1970, 00:00 UTC"),
        ("UTC", "1 Jan 1970, 00:00 UTC"),
    ],
)
def test_a_time_is_local_and_in_utc(monkeypatch: pytest.MonkeyPatch, zone: str, said: str) -> None:
    """Readers of a page may be in other time zones than its author."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert re.sub("<[^>]*>", "", html_time(0)) == said
    finally:
        monkeypatch.undo()
        time.tzset()


def test_each_list_of_checks_has_the_severity(pages: dict[str, str]) -> None:
    """A reader sees what is urgent without opening a check."""
    severity = "(critical|high|medium|low)"
    for line in re.findall("<summary>.*?</summary>", pages["audit"]):
        assert re.search(rf">{severity}</span>", line), line
    listed = pages["audit"].partition("worst first")[2].partition("</table>")[0]
    assert listed.count("<tr><td") == len(re.findall(rf'data-head="Severity"><[^>]*>{severity}<', listed)) > 0


def test_only_the_lab_token_marks_a_page_as_a_lab(
    mfa_kit: MfaKit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other simulators use the same account number. A stored snapshot says whether it was taken in a lab."""
    lab, other = tmp_path / "lab.json", tmp_path / "other.json"
    mfa_kit.run("audit", "--rule", "root", "--snapshot", lab)
    monkeypatch.delenv("MFA_KIT_LAB")
    mfa_kit.run("audit", "--rule", "root", "--snapshot", other)
    for file, found in ((lab, True), (other, False)):
        done = mfa_kit.run("audit", "--rule", "root", "--snapshot", file, "--output", "html")
        assert ("LAB" in done.out, "LAB" in done.err) == (found, found)


def user_letters(user: str) -> Iterator[tuple[str, Letter]]:
    """Yield each letter to a user, and what it is about. The sender and the names are long."""
    sender = {"company": "Example International Holdings Ltd", "contact": "it@example.com", "deadline": "1 Dec 2026"}
    sender["help_page"] = "https://intranet.international.example.com/it/aws/your-mfa-device"
    spec = DeviceSpec(account="123456789012", partition="aws", user=user, name=user)
    for recipient in (f"ssh-rsa {'A' * 72}", f"age1{'q' * 58}", ""):
        file = f"{encoded(user)}-20261125T011906Z-ddc94635.png.age" if recipient else f"{encoded(user)}-482913.png.age"
        for staged in (True, False):
            values = letter_values(
                replace(spec, recipient=recipient or None), file=file, staged=staged, email="", sender=sender
            )
            secret = {} if recipient else {"number": "482913", "passphrase": "-".join(["abandon"] * 8)}
            template = packaged_template("rollout/handover_letter.md")
            yield f"{recipient[:4]} {staged}", template.fill({**values, **secret})
    values = letter_values(spec, file="", staged=False, email="", sender=sender)
    yield "self", packaged_template("rollout/self_letter.md").fill(values)
    plan = Plan(account=spec.account, partition=spec.partition, by="", planned_at=0, steps=[])
    row = RosterRow(user=user, name=user, action=RosterAction.ADD, by_post=True, pair=True)
    on_key = replace(spec, method=OATH, hardware="12345678", card="card")
    for registered in (PlanStep(row=row, action=Action.SELF), None):
        entry = JournalEntry(run="run", spec=on_key)
        parcel = Parcel(step=PlanStep(row=row, action=Action.STATION), entry=entry, registered=registered)
        text = packaged_text("rollout/parcel_letter.md")
        yield f"parcel {registered is None}", parcel_letter(parcel, plan, text=text, sender=sender)


def test_each_letter_fits_on_one_page(browser: Browser, tmp_path: Path) -> None:
    """As HTML in Chromium and as PDF, on both sizes of paper, with the longest name of a user.

    Each has the sign-in address, and how to get codes for the command line.
    """
    pages: dict[str, list[int]] = {}
    for about, letter in user_letters("alexandra.von.und.zu.hohenstein.example@subsidiary.example.com-1"):
        text = letter_text(letter)
        assert "https://123456789012.signin.aws.amazon.com/console" in text, about
        assert "aws sts get-session-token --serial-number arn:aws:iam::123456789012:mfa/alexandra" in text, about
        browser.show(letter_page(letter), width=DESKTOP)
        for paper, wide, high in ((Paper.A4, 8.27, 11.69), (Paper.LETTER, 8.5, 11.0)):
            printed = browser.tab("Page.printToPDF", paperWidth=wide, paperHeight=high, preferCSSPageSize=False)
            for name, octets in (("html", base64.b64decode(printed["data"])), ("pdf", letter_printer(paper)(letter))):
                file = tmp_path / "letter.pdf"
                file.write_bytes(octets)
                pages.setdefault(f"{about} {paper} {name}", []).append(size_of(file)[0])
    assert len(pages) == 9 * 4
    assert {name: count for name, count in pages.items() if count != [1]} == {}
