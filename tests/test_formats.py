"""docs/formats.md tells all that others may read: each result, each error, each table, column and state."""

import ast
import re
import sqlite3
from contextlib import closing
from dataclasses import fields
from pathlib import Path

from mfa_kit import errors, models
from mfa_kit.adapters.ledger import Ledger
from tests.conftest import ROOT

PAGE = (ROOT / "docs/formats.md").read_text("utf-8")
# What prints a result; the first word that it is given, apart from the result itself, is the name of the schema.
PRINTS = {"one", "many", "_tell", "tallied", "_with_dropped"}
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def schemas() -> set[str]:
    """Read the names of all results out of the code."""
    found: set[str] = set()
    for file in (ROOT / "mfa_kit/cli").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            words = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            if name in PRINTS and words and NAME.fullmatch(words[0]):
                found.add(f"mfa-kit/{words[0]}")
    return found


def section(title: str) -> str:
    """Return the text below a heading, up to the next of its kind or a higher one."""
    level, _, _ = title.partition(" ")
    after = PAGE.partition(f"\n{title}\n")[2]
    assert after, title
    return re.split(rf"^#{{2,{len(level)}}} ", after, maxsplit=1, flags=re.MULTILINE)[0]


def test_every_result_has_a_heading() -> None:
    """By its whole name, and no heading is left of a result that is gone."""
    headings = re.findall(r"^### (mfa-kit/.+)$", PAGE, re.MULTILINE)
    told = [name for heading in headings for name in heading.split(", ")]
    assert len(told) > 40
    assert sorted(told) == sorted(schemas())


def test_every_error_is_in_the_table_with_its_exit_code() -> None:
    """But for the base of all, which is never raised."""
    rows = re.findall(r"^\| ([\w, ]+) \| (\d+) \|", section("## Errors"), re.MULTILINE)
    told = {name: int(code) for names, code in rows for name in names.split(", ") if name[0].isupper()}
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    found = {each.__name__: each.exit_code for each in classes if issubclass(each, errors.MfaKitError)}
    assert told == {name: code for name, code in found.items() if name != "MfaKitError"}


def test_every_table_and_column_of_the_ledger_is_told(tmp_path: Path) -> None:
    """As a new ledger has them."""
    text = section("## The ledger")
    parts = dict(re.findall(r"^\*\*`(\w+)`\*\*(.*?)(?=^\*\*`|\Z)", text, re.MULTILINE | re.DOTALL))
    Ledger(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        tables = {name for (name,) in db.execute("select name from sqlite_schema where type = 'table'")}
        columns = {table: {row[1] for row in db.execute(f"pragma table_info({table})")} for table in tables}
    assert set(parts) == set(columns)
    for table, names in columns.items():
        assert [name for name in sorted(names) if f"`{name}`" not in parts[table]] == [], table


def test_every_state_verb_and_field_of_the_journal_is_told() -> None:
    """So that who reads the file knows all that may stand there."""
    for word in (*models.Reached, *models.Verb, *(each.name for each in fields(models.Intent))):
        assert f"`{word}`" in section("## The ledger"), word


def test_every_tag_is_told() -> None:
    """IAM is shared: other tools and desks see them."""
    tags = {value for name, value in vars(models).items() if name.endswith("_TAG")}
    assert tags == set(re.findall(r"^\| `(mfa-kit:\w+)` \|", section("## Tags"), re.MULTILINE))
