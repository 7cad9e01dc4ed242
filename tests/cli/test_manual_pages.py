"""`mfa-kit help`: the pages of the documentation in a terminal, and the search for them."""

import ast
import json
import re
from pathlib import Path

import pexpect
import pytest

from mfa_kit.cli.help import find_sections, find_topic, render_page, sections_of
from mfa_kit.wiring.files import manual_pages
from tests.conftest import ROOT, MfaKit, bare
from tests.terminal.spawn import MFA_KIT
from tests.terminal.window import Window

PAGES, TOPICS = manual_pages(), manual_pages(by_name=True)


def texts_of(file: Path) -> list[str]:
    """Return the texts in a module that are not docstrings."""
    tree = ast.parse(file.read_text("utf-8"))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, documented)}
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return [text for text in constants if isinstance(text, str) and text not in docstrings]


TEXTS = {text for file in (ROOT / "mfa_kit").rglob("*.py") for text in texts_of(file)}


def test_no_message_names_a_page_that_may_not_be_installed() -> None:
    """An installation from a wheel has no folder docs/."""
    assert [text for text in TEXTS if re.search(r"docs/[a-z-]+\.md", text)] == []


def test_every_page_that_a_message_names_is_there() -> None:
    """So is the part of a page that it names after a slash."""
    named = {name for text in TEXTS for name in re.findall(r"(?:^|mfa-kit )help ([a-z0-9/-]+)", text)}
    assert len(named) > 8
    assert [name for name in named if find_topic(name, PAGES) is None] == []


def test_all_pages_are_listed_with_their_titles(mfa_kit: MfaKit) -> None:
    """Without those for people who change mfa-kit, and in the order of the index."""
    rows = json.loads(mfa_kit.run("help", "--output", "json").out)["rows"]
    assert {row["topic"]: row["heading"] for row in rows} == {
        name: next(sections_of(name, text)).heading for name, text in PAGES.items()
    }
    assert "development" not in PAGES
    assert [row["topic"] for row in rows][:3] == ["what-now", "your-mfa-device", "install"]


@pytest.mark.parametrize("name", sorted(PAGES))
@pytest.mark.parametrize("columns", [40, 80])
def test_a_page_fits_the_terminal(name: str, columns: int) -> None:
    """Only code and single words are wider. No mark of a link, a table or a comment is left."""
    lines = list(render_page(PAGES[name], columns))
    wide = [line for line in lines if len(line) > columns and not line.startswith("    ")]
    assert [line for line in wide if " " in line.strip()] == []
    prose = [line for line in lines if not line.startswith("    ")]
    assert [line for line in prose if "](" in line or re.match(r"\|.*\|$|<!--|```", line)] == []


def test_links_to_other_pages_are_commands_that_show_them() -> None:
    """The text of a link alone would not say where to read on. A link within the page is text."""
    text = "[a](keys.md#the-udev-rule), [b](#here), [c](install.md), [d](commands.md), [e](https://example.com/)\n"
    assert list(render_page(text, 100)) == [
        "a (help keys/the-udev-rule), b, c (help install), d (help commands), e (https://example.com/)"
    ]
    named = {
        name for page in PAGES.values() for name in re.findall(r"\(help ([^)]+)\)", " ".join(render_page(page, 1000)))
    }
    assert len(named) > 100
    assert [name for name in named if find_topic(name, TOPICS) is None] == []


def test_a_table_becomes_paragraphs(mfa_kit: MfaKit) -> None:
    done = mfa_kit.run("help", "permissions.md")
    assert done.code == 0
    assert done.out.startswith("Permissions\n===========\n")
    assert "\nrevoke, replace, rollout undo, finish\n    action: iam:DeactivateMFADevice on user/*\n" in done.out


def test_the_lines_of_a_paragraph_and_of_an_item_are_joined() -> None:
    page = "# Title\n\none\ntwo [link](other.md) `code`\n- item\n  goes on\n1. first\n\n```bash\na  |  b\n\nc\n```\n"
    assert list(render_page(page, 30)) == [
        *("Title", "=====", "", "one two link (help other) code", "- item goes on", "1. first", ""),
        *("    a  |  b", "    ", "    c"),
    ]


QUESTIONS = [
    [part.strip() for part in line.split("|")]
    for line in (ROOT / "docs/questions.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
]


@pytest.mark.parametrize(("question", "page", "heading"), QUESTIONS)
def test_the_words_of_a_question_find_the_heading_with_the_answer(question: str, page: str, heading: str) -> None:
    """It is among the first two, or the first if something happened. `help` with its name shows this part alone."""
    found = [(part.page, part.heading) for part in find_sections(question.split(), PAGES)]
    assert (page, heading) in found[: 1 if page == "what-now" else 2]
    shown = find_topic(f"{page}/{heading}", PAGES)
    assert shown is not None
    assert shown.startswith(f"# {heading}\n")


@pytest.mark.parametrize(
    ("words", "hint"), [((), "help what-now"), (("lost", "phone"), "or a part of it: mfa-kit help TOPIC/HEADING")]
)
def test_a_small_window_shows_where_to_begin(words: tuple[str, ...], hint: str, tmp_path: Path) -> None:
    """The list of pages is longer than the window, so its last line names the first page."""
    window = Window([*MFA_KIT, "help", *words], env=bare(), cwd=tmp_path, size=(80, 24), apart=False)
    window.child.expect(pexpect.EOF)
    shown = str(window.child.before)
    assert window.end() == 0
    assert hint in " ".join(shown.split())


def test_every_letter_to_a_user_names_the_page_for_users() -> None:
    """They name its address, if it is configured, and no command of mfa-kit, which users need not have.

    A custodian's letter and the protocol of a drill are not for users.
    """
    letters = {*(ROOT / "mfa_kit/rollout").glob("*_letter.md"), *(ROOT / "mfa_kit/letters").glob("*.md")}
    assert len(letters) >= 5
    title = next(sections_of("your-mfa-device", PAGES["your-mfa-device"])).heading
    lines = [f'[help_page] * Read more: "{title}", $help_page\n', f'[no help_page] * Read more: "{title}", a page that']
    texts = {file.name: file.read_text("utf-8") for file in letters}
    assert [name for name, text in texts.items() if not all(line in text for line in lines)] == []
    assert [name for name, text in texts.items() if "mfa-kit" in text] == []


def test_a_question_is_answered_by_the_command(mfa_kit: MfaKit) -> None:
    rows = json.loads(mfa_kit.run("help", "lost", "phone", "--output", "json").out)["rows"]
    assert rows[0] == {"topic": "what-now", "heading": "A phone is lost"}


@pytest.mark.parametrize(("name", "title"), [("commands", "Commands"), ("changelog", "Changelog")])
def test_long_references_are_shown_by_their_names_only(mfa_kit: MfaKit, name: str, title: str) -> None:
    """The list and the search leave them out, because almost any words are in them."""
    assert mfa_kit.run("help", name).out.startswith(f"{title}\n==")
    assert name not in PAGES
    assert "what changed (help changelog)" in mfa_kit.run("help", "what-now/upgrade-mfa-kit").out


def test_words_that_no_page_has_are_one_sentence(mfa_kit: MfaKit) -> None:
    done = mfa_kit.run("help", "xyzzy")
    assert done.code == 2
    assert done.err == "mfa-kit: no page is about 'xyzzy'\n  try: list the pages: mfa-kit help\n"


def test_only_the_parts_with_most_of_the_words_are_found() -> None:
    """A word in a heading counts more than one below it."""
    pages = {"one": "# Lost\n\nphone key\n## Phones\n\na key\n", "two": "# Phones\n\nnothing\n"}
    assert [(part.page, part.heading) for part in find_sections(["phone", "key"], pages)] == [
        ("one", "Phones"),
        ("one", "Lost"),
    ]


@pytest.mark.parametrize(
    ("topic", "first"),
    [
        ("keys/udev", "The udev rule\n============="),
        ("keys/The udev rule", "The udev rule\n============="),
        ("keys.md/udev", "The udev rule\n============="),
        ("organizations/accounts-file", "The accounts file\n================="),
        ("keys/recall", "An advisory names a key model\n============================="),
    ],
)
def test_a_part_of_a_page_is_shown_with_what_is_below_it(mfa_kit: MfaKit, topic: str, first: str) -> None:
    """A few words of the heading are enough. The next part is not shown."""
    done = mfa_kit.run("help", topic)
    assert done.out.startswith(f"{first}\n")
    headings = re.findall(r"^(.+)\n[-=]+$", done.out, re.MULTILINE)
    assert len(headings) > 2
    assert "Display tokens" not in done.out
    assert "The policy file" not in headings


# Names of pages that are now a part of another page.
EARLIER = {
    "install": "quickstart other-systems uninstall",
    "troubleshooting": "doctor",
    "enroll": "desk enroll-virtual desk-page",
    "keys": "oath-keys security-keys udev verify-fido2 policy-file recalls",
    "tokens": "hardware-tokens tokens-reference",
    "handover": "letters open-your-backup",
    "how-it-works": "half-made ledger compared-with-the-aws-cli",
    "organizations": "accounts-file",
    "status": "last-use",
    "audit": "evidence",
    "rollout": "public-keys",
    "shared-state": "schedulers",
    "formats": "exit-codes",
    "lab": "lab-reference",
}


@pytest.mark.parametrize(("name", "page"), [(name, page) for page, names in EARLIER.items() for name in names.split()])
def test_earlier_names_of_pages_find_the_page_that_has_their_text(name: str, page: str) -> None:
    assert page in [section.page for section in find_sections([name], PAGES)[:5]]
