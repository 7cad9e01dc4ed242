"""docs/lab.md: each behavior has a row with a verdict and a test, and with a source if it is like IAM."""

import ast
import re
from pathlib import Path

from tests.contract.cases import reads, writes

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs/lab.md").read_text("utf-8").partition("## What it does")[2].splitlines()
    if re.match(r"\| [a-z]", line) and not line.startswith("| row ")
]
TESTS = {
    node.name
    for file in Path(__file__).parent.glob("test_*.py")
    for node in ast.parse(file.read_text("utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
}


def test_rows_are_complete_and_have_unique_names() -> None:
    """Each row has five cells, one of three verdicts, and a unique name."""
    assert [row for row in ROWS if len(row) != 5] == []
    assert {row[2] for row in ROWS} == {"like IAM", "not like IAM", "undocumented"}
    assert len({row[0] for row in ROWS}) == len(ROWS) > 60


def test_rows_that_are_like_iam_have_a_source() -> None:
    """The source says how the behavior of IAM is known."""
    assert [row[0] for row in ROWS if row[2] == "like IAM" and not row[3]] == []


def test_every_row_has_an_existing_test() -> None:
    """The last cell names a test in this folder."""
    assert [row[0] for row in ROWS if row[4].strip("`") not in TESTS] == []


def test_every_case_of_the_contract_is_about_a_row() -> None:
    """Each case of the contract is about a row of the table."""
    assert {case.row for case in (*reads, *writes)} <= {row[0] for row in ROWS}
