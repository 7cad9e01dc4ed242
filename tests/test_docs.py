"""Checks of the documentation: commands run, links resolve, and reference pages are complete.

The info string of a fenced block says how it is checked:

    ```bash             run in an empty folder
    ```bash lab         run with the lab as AWS; the blocks of a page share one lab, one folder and one shell. The
                        first may add `accounts=N`: the lab is an organization with so many member accounts
    ```bash lab new     the rest of the page starts with a new lab, folder and shell: a part that is read by itself
    ```bash no: REASON  not run, with the reason
    ```console          a transcript, with `lab` or `no:` as above: `$ ` starts a command, `> ` continues it, and the
                        rest is its output, where a line `...` matches any lines, `...` in a line any text

Blocks in other languages (text, json, ini ...) are only shown.
"""

import ast
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core import errors, models
from tests.cheap_scrypt import cheap_scrypt
from tests.conftest import bare
from tests.fork_server import fork_server
from tests.sizes import FULL

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8") for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))
}
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
RUN = re.compile(r"(?:bash|console)(?P<lab> lab(?: accounts=(?P<accounts>\d+))?)?(?P<new> new)?")
REFUSED = re.compile(r"(bash|console) no: \S.*")
FORMATS = PAGES["docs/formats.md"]
# Functions and classes that get the names of results. A Runner also prints rows of accounts, named `-account`.
PRINTS = {"Results", "RowsForm", "Runner", "Tally", "many", "one", "_print_steps", "print_answer"}
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its place, its info string, and its lines."""

    place: str
    info: str
    lines: list[str]

    @property
    def script(self) -> str:
        """Return the commands without their output."""
        if self.info.startswith("bash"):
            return "\n".join(self.lines)
        return "\n".join(line[2:] for line in self.lines if line.startswith(("$ ", "> ")))

    @property
    def run(self) -> re.Match[str] | None:
        """Return how the block is run, including its lab. None for a block that is not run."""
        return RUN.fullmatch(self.info)

    @property
    def printed(self) -> re.Pattern[str] | None:
        """Return the expected output of a transcript. None for a block that is not a transcript."""
        if self.info.startswith("bash"):
            return None
        shown = [line for line in self.lines if not line.startswith(("$ ", "> "))]
        return re.compile("".join(r"(?:.*\n)*?" if line == "..." else wild(line) + r"\n" for line in shown))


def parts(page: str) -> Iterator[list[Block]]:
    """Yield the blocks that are run, apart for each part of a page that has its own lab and folder."""
    part: list[Block] = []
    for block in blocks(page):
        if block.run and block.run["new"] and part:
            yield part
            part = []
        part += [block] * bool(block.run)
    if part:
        yield part


def wild(line: str) -> str:
    """Make a pattern of a line in which `...` matches any text."""
    return ".*".join(re.escape(part) for part in line.split("..."))


def blocks(page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page that contain commands."""
    text = PAGES[page]
    for found in FENCE.finditer(text):
        place = f"{page}:{text.count(chr(10), 0, found.start()) + 1}"
        info = found["info"].strip()
        lines = [line.removeprefix(found["indent"]) for line in found["text"].splitlines()]
        if re.match(r"(bash|console|sh|shell|zsh)\b", info) or not info:
            yield Block(place, info, lines)


def slugs(text: str) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: str) -> Iterator[str]:
    """Yield the links of a page to files and headings that do not exist."""
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", PAGES[page])):
        if re.match(r"https?:|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        if not file.exists() or (anchor and anchor not in slugs(file.read_text("utf-8"))):
            yield target


def test_decisions_are_numbered_without_gaps() -> None:
    """Two decisions with one number, or a missing one, would make a reference to a number unclear."""
    numbers = sorted(path.name[:3] for path in (ROOT / "docs/decisions").glob("*.md"))
    assert numbers == [f"{number:03}" for number in range(1, len(numbers) + 1)]
    titles = {path: text.split(" ")[1] for path, text in PAGES.items() if path.startswith("docs/decisions/")}
    assert {path: Path(path).name[:3] for path in titles} == titles


def test_each_row_of_the_threat_model_names_an_existing_test() -> None:
    """A renamed or deleted test would leave a promise that nothing shows. Only root's row has no test."""
    table = PAGES["docs/security.md"].partition("## Threat model\n")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)` \|$", table, re.MULTILINE)
    assert len(named) == len(rows) - 1 > 0
    assert [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text("utf-8")] == []


def test_every_block_is_run_or_has_a_reason_not_to_be_run() -> None:
    """A misspelled tag is an error."""
    unknown = [block.place for page in PAGES for block in blocks(page) if not block.run]
    refused = [block.place for page in PAGES for block in blocks(page) if REFUSED.fullmatch(block.info)]
    assert unknown == refused


def in_lab(shown: Sequence[Block], program: Path) -> list[str]:
    """Return the command that runs another command in the lab of a page, or nothing if the page needs no lab.

    `program` is mfa-kit.
    """
    labs = [block.run for block in shown if block.run and block.run["lab"]]
    if not labs:
        return []
    assert not any(each["accounts"] for each in labs[1:]), "only the first block of a page sets the accounts of its lab"
    accounts = ["--accounts", labs[0]["accounts"]] if labs[0]["accounts"] else []
    return [str(program), "lab", "run", *accounts, "--"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("shown", [pytest.param(part, id=part[0].place) for page in PAGES for part in parts(page)])
def test_the_commands_of_a_page_run(shown: list[Block], tmp_path: Path) -> None:
    """The commands run in order, as a reader would type them, and print the output that the page shows."""
    script = tmp_path / "page.sh"
    script.write_text(
        "set -euo pipefail\n"
        'trap \'echo "failed in the block at $BLOCK"; cat "$PRINTED"\' ERR\n'
        + "".join(
            f"BLOCK={block.place} PRINTED={tmp_path}/{number}.txt\n{{\n{block.script}\n}} >$PRINTED 2>&1\n"
            for number, block in enumerate(shown)
        ),
        "utf-8",
    )
    here = tmp_path / "here"
    here.mkdir()
    programs = [Path(sys.executable).parent]
    if not FULL:
        programs.insert(0, fork_server().client(tmp_path / "bin"))
    done = subprocess.run(
        [*in_lab(shown, programs[0] / "mfa-kit"), "bash", script],
        cwd=here,
        env={
            **bare(),
            **cheap_scrypt(),
            "HOME": str(tmp_path),
            "PATH": ":".join([*map(str, programs), os.environ["PATH"]]),
        },
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # leaves the process without a terminal
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for number, block in enumerate(shown):
        printed = (tmp_path / f"{number}.txt").read_text("utf-8")
        assert block.printed is None or block.printed.fullmatch(printed), f"{block.place} printed\n{printed}"


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_resolve(page: str) -> None:
    """The target of a link is a file of this repository, and a heading in it if the link names one."""
    assert list(broken(page)) == []


def test_the_page_of_commands_is_up_to_date() -> None:
    """A script writes the page, so it cannot list an option that was removed."""
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/commands.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_file_that_the_page_for_developers_names_exists() -> None:
    """A name without its folder is that of a file anywhere in the repository, such as one beside another file."""
    folders = ("mfa_kit", "tests", "docs", "udev", ".ci")
    paths = [f"/{file.relative_to(ROOT)}" for folder in folders for file in (ROOT / folder).rglob("*.*")]
    named = set(re.findall(r"`([\w./-]+\.(?:py|html|css|js|sql))`", PAGES["docs/development.md"]))
    assert len(named) > 100
    assert {name for name in named if not any(path.endswith(f"/{name}") for path in paths)} == set()


def schemas() -> set[str]:
    """Read the names of all results from the source code."""
    found: set[str] = set()
    for file in (ROOT / "mfa_kit/cli").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in PRINTS:
                found.update(f"mfa-kit/{word}" for word in named_by(node))
                if name == "Runner":
                    found.update(f"mfa-kit/{word}-account" for word in named_by(node))
    return found


def named_by(node: ast.Call) -> Iterator[str]:
    """Yield the names that a call gets: its first text, and what its keywords name."""
    named = [keyword.value for keyword in node.keywords if keyword.arg in {"schema", "schema_in_many"}]
    texts = [arg for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    for part in [*texts[:1], *named]:
        if isinstance(part, ast.Constant) and NAME.fullmatch(str(part.value)):
            yield str(part.value)


def section(title: str) -> str:
    """Return the text below a heading, up to the next heading of the same or a higher level."""
    level, _, _ = title.partition(" ")
    after = FORMATS.partition(f"\n{title}\n")[2]
    assert after, title
    return re.split(rf"^#{{2,{len(level)}}} ", after, maxsplit=1, flags=re.MULTILINE)[0]


def test_every_result_has_a_heading() -> None:
    """The heading has the full name, and there is no heading without a result."""
    headings = re.findall(r"^### (mfa-kit/.+)$", FORMATS, re.MULTILINE)
    told = [name for heading in headings for name in heading.split(", ")]
    assert len(told) > 40
    assert sorted(told) == sorted(schemas())


def test_every_error_is_in_the_table_with_its_exit_code() -> None:
    """The base class is not in the table, because it is never raised."""
    rows = re.findall(r"^\| ([\w, ]+) \| (\d+) \|", section("## Errors"), re.MULTILINE)
    told = {name: int(code) for names, code in rows for name in names.split(", ") if name[0].isupper()}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.MfaKitError)]
    assert told == {
        errors.NAMES_IN_LEDGERS.get(kind.__name__, kind.__name__): kind.exit_code
        for kind in kinds
        if kind is not errors.MfaKitError
    }


def test_every_table_and_column_of_the_ledger_is_documented(tmp_path: Path) -> None:
    """The columns are those of a new ledger."""
    text = section("## The ledger")
    parts = dict(re.findall(r"^\*\*`(\w+)`\*\*(.*?)(?=^\*\*`|\Z)", text, re.MULTILINE | re.DOTALL))
    sqlite_ledger(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        tables = {name for (name,) in db.execute("select name from sqlite_schema where type = 'table'")}
        columns = {table: {row[1] for row in db.execute(f"pragma table_info({table})")} for table in tables}
    assert set(parts) == set(columns)
    for table, names in columns.items():
        assert [name for name in sorted(names) if f"`{name}`" not in parts[table]] == [], table


def test_every_state_verb_and_field_of_the_ledger_is_documented() -> None:
    """The page has each word that is in the file. In the JSON of an intent, the method has the name `kind`."""
    names = {each.name for each in fields(models.DeviceSpec)} - {"method"} | {"kind"}
    for word in (*models.JournalState, *models.RunKind, *names):
        assert f"`{word}`" in section("## The ledger"), word


def test_every_tag_is_documented() -> None:
    """IAM is shared, so other tools and computers see the tags."""
    tags = {value for name, value in vars(models).items() if name.endswith("_TAG")}
    assert tags == set(re.findall(r"^\| `(mfa-kit:\w+)` \|", section("## Tags"), re.MULTILINE))


def test_troubleshooting_quotes_messages_that_exist() -> None:
    """The text of each quoted message, between its variable parts, is in a string of the program."""
    strings = "\n".join(
        node.value
        for file in (ROOT / "mfa_kit").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    quoted = re.findall(r"^\| `([^`]*)` \|", PAGES["docs/troubleshooting.md"], re.MULTILINE)
    assert len(quoted) >= 30
    parts = [part for message in quoted for part in message.split("…")]
    assert [part for part in parts if part not in strings] == []


def test_each_page_is_in_one_group_of_the_index() -> None:
    """Pages of a folder, such as decisions, are found through the folder."""
    listed = re.findall(r"^\| \[[^]]*\]\(([^)]*\.md)\)", PAGES["docs/README.md"], re.MULTILINE)
    assert sorted(listed) == sorted({file.name for file in (ROOT / "docs").glob("*.md")} - {"README.md"})


# These pages state no facts about other products that a reader would want to look up. Their facts are about mfa-kit, or
# they are repeated from a page with sources, to which they lead.
WITHOUT_SOURCES = {
    *("README", "break-glass", "changelog", "commands", "configuration", "development", "formats", "glossary"),
    *("not-verified", "rollout-script", "rollout-station", "security", "sources", "troubleshooting", "what-now"),
}
OTHERS = re.compile(r"\b(?:AWS|IAM|STS|S3|FIDO2?|CTAP|GovCloud|NIST|YubiKey|PostgreSQL|GitHub|GitLab|c7n-org)\b")
SOURCES = dict(re.findall(r"^## (.+)\n\n((?:.+\n|\n(?!#))+)", PAGES["docs/sources.md"] + "\n", re.MULTILINE))


def test_pages_with_facts_about_others_have_sources() -> None:
    """The page of sources has a part for each page about AWS or keys. The list above has all exceptions."""
    pages = {file.stem: PAGES[f"docs/{file.name}"] for file in (ROOT / "docs").glob("*.md")}
    titles = {name: text.partition("\n")[0].removeprefix("# ") for name, text in pages.items()}
    missing = {name for name, text in pages.items() if OTHERS.search(text) and titles[name] not in SOURCES}
    assert missing == WITHOUT_SOURCES
    assert SOURCES.keys() <= set(titles.values())


def test_sources_are_lists_with_a_date() -> None:
    """The first paragraph says when the sources were read. A later date is in the line of the source."""
    assert re.search(r"read on \d{4}-\d\d-\d\d\b", PAGES["docs/sources.md"].partition("\n## ")[0])
    assert [title for title, text in SOURCES.items() if not text.rstrip().splitlines()[-1].startswith("- ")] == []
    dates = re.findall(r"\bRead on (\S+)", "".join(SOURCES.values()))
    assert len(dates) > 20
    assert [date for date in dates if not re.fullmatch(r"\d{4}-\d\d-\d\d\W*", date)] == []
