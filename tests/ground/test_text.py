"""Foreign text in lines and in CSV files."""

import csv
import io
import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mfa_kit.adapters.fido.links import shortened
from mfa_kit.cli.messages import StderrProgress, print_error
from mfa_kit.cli.token import acceptance_sheet
from mfa_kit.core.file_formats import csv_lines, original_cell
from mfa_kit.core.text import is_control, one_line
from mfa_kit.tokens.acceptance import TokenBatch
from mfa_kit.tokens.seeds import Sighting, Token, TokenVerdict
from mfa_kit.wiring.aws import OneLineFormatter

ROW = [
    "plain",
    "",
    "-1",
    "=1+1",
    "a;=1+1",
    "tab\t@SUM(A1)",
    'quote"=1',
    "new\nline",
    "\x1b[2J",
    "+49 30",
    "x;;-2",
    "a,=b",
]


def fields(text: str, separator: str) -> list[str]:
    """Split a line like a spreadsheet with one separator: a quotation mark counts only at the start of a cell."""
    return [cell for row in csv.reader(io.StringIO(text), delimiter=separator) for cell in row]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_no_cell_is_a_formula_in_any_locale(separator: str) -> None:
    """Excel separates cells at semicolons in locales with a decimal comma."""
    assert not [
        cell for cell in fields(csv_lines([ROW, ROW[::-1]]), separator) if cell.startswith(("=", "+", "-", "@"))
    ]


def test_every_cell_is_quoted() -> None:
    """So a program with the simplest CSV parser finds the cells too."""
    assert csv_lines([["a", "", "b,c"]]) == '"a","","b,c"\n'


@given(st.lists(st.text() | st.text("'=+;\ta"), min_size=1))
@example(["'=1+1"])
def test_cells_are_restored(row: list[str]) -> None:
    """A cell is read back unchanged, also an apostrophe before a formula. Control characters are escaped."""
    [read] = csv.reader(io.StringIO(csv_lines([row])))
    assert [original_cell(cell) for cell in read] == [one_line(cell) for cell in row]


def test_foreign_text_on_the_sheet_of_a_box_is_escaped() -> None:
    """The file name, the serials and the reasons come from other programs or people."""
    foreign = "<b>\x1b[2J\n\u202e\u2028" + "x" * 60
    seen = Sighting(serial=foreign, at=0.0, verdict=TokenVerdict.REJECTED, reason=foreign)
    page = acceptance_sheet(TokenBatch(tokens=((Token(serial=foreign), seen),)), name=foreign, reported_at=0.0)
    plain = acceptance_sheet(TokenBatch(tokens=((Token(serial="T1"), seen),)), name="a", reported_at=0.0)
    assert [char for char in page if is_control(char) and char != "\n"] == []
    assert page.count("\n") == plain.count("\n")
    assert page.count("<b>") == plain.count("<b>")
    assert page.count("&lt;b&gt;") > plain.count("&lt;b&gt;") > 0


def test_a_log_record_is_one_line() -> None:
    """A request ID may come from a server that is not AWS."""
    record = logging.makeLogRecord({"msg": "request %s", "args": ("a\nmfa-kit: all is well\x1b[2J",)})
    assert OneLineFormatter().format(record) == r"request a\nmfa-kit: all is well\x1b[2J"


def test_names_that_a_key_reports_are_one_line() -> None:
    """USB descriptors contain any UTF-16."""
    assert shortened("AB\n12\u202e\x1b[2J") == "AB12[2J"


def test_a_message_with_foreign_text_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """With a line break, a name could look like another message."""
    print_error("no user bob\n  try: give the seed to eve", hint="a\rb", notes=["c\n\nd"])
    StderrProgress().note("key \x1b[2J\nmfa-kit: done")
    assert capsys.readouterr().err.splitlines() == [
        r"mfa-kit: no user bob\n  try: give the seed to eve",
        r"  try: a\rb",
        r"  note: c\n\nd",
        r"key \x1b[2J\nmfa-kit: done",
    ]


@given(st.text())
def test_one_line_is_one_line_for_every_reader(text: str) -> None:
    """Unicode has line and paragraph separators too, at which editors and browsers break a line."""
    assert one_line(f"a{text}").splitlines() == [one_line(f"a{text}")]
    assert one_line("a\u2028b\u2029c\x85d") == r"a\u2028b\u2029c\x85d"
