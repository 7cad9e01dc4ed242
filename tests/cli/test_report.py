"""Results on stdout, in each output form."""

import csv
import io
import json
import re
import sys
from typing import Any

import click
import pexpect
import pytest

from mfa_kit.cli.output import FORMS, Output
from mfa_kit.cli.results import Results
from mfa_kit.cli.rollout.results import AccountWork, show_results
from mfa_kit.cli.value_types import Age, Moment
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.text import ResultRow
from mfa_kit.organization.accounts import OrgAccount
from tests.conftest import MfaKit, bare
from tests.terminal.spawn import MFA_KIT, spawn

ROW: dict[str, Any] = {"user": "alice", "last_seen": None, "fine": True, "devices": ("a", "b"), "days": 3}
HOSTILE = ("=cmd()", "+1", "-1", "@x", "\x1b[2J", "a\nb", "\u202e", "a\tb")


def test_a_table_of_one_result_has_a_line_per_field(capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown and empty fields are omitted, and do not make the table wider."""
    Output("table").one("x", {**ROW, "backups_of_all_devices": ()})
    assert capsys.readouterr().out.splitlines() == [
        "user     alice",
        "fine     yes",
        "devices  a, b",
        "days     3",
    ]


def test_a_table_of_many_results_has_columns(capsys: pytest.CaptureFixture[str]) -> None:
    """It has headings, and no trailing spaces."""
    Output("table").many("x", [ROW, {**ROW, "user": "b", "fine": False}], empty="none")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "USER   FINE  DEVICES  DAYS",
        "alice  yes   a, b     3",
        "b      no    a, b     3",
    ]


def test_empty_columns_are_omitted(capsys: pytest.CaptureFixture[str]) -> None:
    """A column is shown if at least one row has a value in it."""
    Output("table").many("x", [ROW, {**ROW, "last_seen": "now"}], empty="none")
    assert capsys.readouterr().out.splitlines()[0] == "USER   LAST SEEN  FINE  DEVICES  DAYS"


def at_a_terminal(kit: MfaKit, *words: str, columns: int) -> list[str]:
    """Return the lines that a command writes to a terminal, without control sequences."""
    env = {**bare(), **kit.env, "MFA_KIT_HOME": str(kit.home), "TERM": "xterm-256color"}
    with spawn([*MFA_KIT, "--plain", *words], env=env, timeout=120, dimensions=(40, columns)) as child:
        said = child.read().replace("\r", "")
        child.wait()
    assert "\x1b" not in said
    return str(said).splitlines()


@pytest.mark.parametrize(("columns", "names"), [(500, ("STATE", "FOUND", "HINT")), (60, ("STATE", "FOUND"))])
def test_a_table_fits_the_window(columns: int, names: tuple[str, ...], mfa_kit: MfaKit) -> None:
    """A cell that is too long for its column continues on the next line. A hint is then printed below its row."""
    head, *lines = at_a_terminal(mfa_kit, "doctor", columns=columns)
    assert head.split() == ["CHECK", *names]
    assert max(map(len, lines)) <= columns
    rows = [line for line in lines if not re.match(r"    HINT  | {10}\S", line)]
    assert any(line.startswith("    HINT  ") for line in lines) is (len(rows) < len(lines)) is ("HINT" not in names)
    for name in names:
        at = head.index(name)
        assert {line[at - 2 : at].strip() for line in rows} == {""}
        assert any(line[at : at + 1].strip() for line in rows)
    assert any(line.split() == ["extra", "oath", "ok", "installed"] for line in rows)
    assert any(line.startswith(" ") for line in rows) is (columns == 60)


def test_the_first_line_names_the_caller(mfa_kit: MfaKit) -> None:
    """On a terminal it has the caller's name, so that it fits 80 columns. In a pipe or with --wide, it has the ARN."""
    as_whom, arn = "account 000000000000 (LAB, nothing here is real) as ", "arn:aws:iam::000000000000:user/lab-admin"
    first, *_ = at_a_terminal(mfa_kit, "status", columns=80)
    assert first == as_whom + "lab-admin"
    whole, *_ = at_a_terminal(mfa_kit, "status", "--wide", columns=200)
    assert whole.startswith(as_whom + arn)
    assert mfa_kit.process("status").err.startswith(as_whom + arn)


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Each verb has its own sentence. The forms for scripts print nothing."""
    for output, said in (("table", "none\n"), ("csv", ""), ("jsonl", "")):
        Output(output).many("x", [], empty="none")
        assert capsys.readouterr().out == said


def test_json_names_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """Objects in JSON and JSON Lines begin with the schema and its version."""
    Output("json").one("x", ROW)
    one = json.loads(capsys.readouterr().out)
    assert one == {"schema": "mfa-kit/x", "version": 1, **ROW, "devices": ["a", "b"]}
    Output("jsonl").many("x", [ROW, ROW], empty="")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [one, one]
    Output("json").many("x", [ROW], empty="")
    row = {name: value for name, value in one.items() if name not in {"schema", "version"}}
    assert json.loads(capsys.readouterr().out) == {"schema": "mfa-kit/x", "version": 1, "rows": [row]}


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("output", ["table", "csv", "json", "jsonl"])
def test_values_cannot_control_a_terminal_or_spreadsheet(
    value: str, output: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names may come from anywhere."""
    Output(output).many("x", [{"a": value}], empty="")
    Output(output).one("x", {"a": value})
    out = capsys.readouterr().out
    assert all(char == "\n" or char.isprintable() for char in out)
    if output == "csv":
        for row in csv.DictReader(io.StringIO(out)):
            assert row["a"][0] not in "=+-@"
            assert "\n" not in row["a"]


def upper(results: Results) -> None:
    print(results.schema.upper(), *(each for row in results.rows for each in row.values()))  # noqa: T201 - a form


def test_a_table_in_a_pipe_fits_the_window(mfa_kit: MfaKit) -> None:
    """A pager shows it in the same window. In a file, and with `--wide`, the table is as wide as it needs."""
    command = f"{sys.executable} -m mfa_kit --plain doctor"
    env = {**bare(), **mfa_kit.env, "MFA_KIT_HOME": str(mfa_kit.home), "TERM": "xterm-256color"}
    widths = []
    for line in (f"{command} | cat", f"{command} --wide | cat", f"{command} > doctor.txt; cat doctor.txt"):
        shell = pexpect.spawn(
            "/bin/sh", ["-c", line], env=env, cwd=mfa_kit.home.parent, dimensions=(40, 60), encoding="utf-8"
        )
        lines = str(shell.read()).replace("\r", "").splitlines()
        widths.append(max(map(len, lines[lines.index(next(line for line in lines if "CHECK" in line)) :])))
        shell.close()
    assert widths[0] <= 60 < widths[1] == widths[2]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("2026-11-30T06:18:09Z", "30 Nov 2026, 06:18 UTC"),
        ("2026-02-03", "3 Feb 2026"),
        ("2026-05-02 or later", "2 May 2026 or later"),
        ("read until 2026-11-30T16:50:53Z, 17 of 18 Regions", "read until 30 Nov 2026, 16:50 UTC, 17 of 18 Regions"),
        ("no use seen since 2026-09-01 (from files)", "no use seen since 1 Sep 2026 (from files)"),
        ("2026-13-30T06:18:09Z", "2026-13-30T06:18:09Z"),
        ("audit-2026-11-30.csv, on 2026-11-30.csv", "audit-2026-11-30.csv, on 2026-11-30.csv"),
        ('aws iam x --since 2026-09-01 --policy "2026-11-30T06:18:09Z"',) * 2,
        (
            suggest("used on 2026-09-01", "ledger show --since 2026-09-01"),
            "used on 1 Sep 2026: mfa-kit ledger show --since 2026-09-01",
        ),
    ],
)
def test_dates_in_tables_are_for_people(cell: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The other forms keep ISO 8601, and so do commands and names."""
    Output("table").one("x", {"a": cell})
    Output("table").many("x", [{"a": cell, "user": "2026-09-01"}], empty="")
    assert capsys.readouterr().out.splitlines() == [f"a  {shown}", f"A{' ' * len(shown)} USER", f"{shown}  2026-09-01"]
    for form in ("json", "jsonl", "text"):
        Output(form).one("x", {"a": cell})
        assert (str(cell) if form == "text" else json.dumps(cell)) in capsys.readouterr().out


def test_dates_in_prose_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """The lines of an audit are such prose. A command stays as it is."""
    Output("table").prose("expired on 2026-11-30", suggest("since 2026-11-01", "ledger show --since 2026-11-01"))
    said = capsys.readouterr().out.splitlines()
    assert said == ["expired on 30 Nov 2026", "since 1 Nov 2026: mfa-kit ledger show --since 2026-11-01"]


def test_text_has_only_the_cells(capsys: pytest.CaptureFixture[str]) -> None:
    """The columns stay the same, also if one is empty in all rows, and the words are those of tables.

    Tabs and line breaks in cells become spaces.
    """
    rows: list[ResultRow] = [
        {"user": "al\tice", "none": None, "made": "this desk", "devices": ["a\n1", "b"], "active": True},
        {"user": "bob\r\n\u2028\x1b", "none": None, "made": 0, "devices": [], "active": False},
    ]
    found = Output.of("text", click.Context(click.Command("x")), own=())
    found.many("x", rows, empty="nobody", narrow=("active",))
    found.many("x", [], empty="nobody")
    found.one("x", rows[0])
    assert capsys.readouterr().out.splitlines() == [
        "al ice\t\tthis computer\ta 1, b\tyes",
        "bob   \\x1b\t\t0\t\tno",
        "al ice\t\tthis computer\ta 1, b\tyes",
    ]


def test_a_form_is_a_function_and_a_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With these, results can be printed in a new form, also by a command that chooses its rows by the form."""
    monkeypatch.setattr("mfa_kit.cli.output.FORMS", {**FORMS, "upper": f"{__name__}:upper"})
    found = Output.of("upper", click.Context(click.Command("x")), own=())
    found.one("x", {"a": 1})
    found.many("y", [{"a": 2}, {"a": 3}], empty="")
    assert capsys.readouterr().out == "X 1\nY 2 3\n"
    work = AccountWork(account=OrgAccount(id="123456789012", name="prod"), total=0)
    show_results("z", [work], output=found, head={})
    assert capsys.readouterr().out == "Z-ACCOUNT 123456789012 prod done None None None 0\n"


@pytest.mark.parametrize(("form", "html"), [("yaml", True), ("html", False)])
def test_html_is_refused_if_a_verb_has_no_page(form: str, html: bool) -> None:
    """Only some verbs can make a page."""
    forms = "table, json, jsonl, csv, text, html" if html else "table, json, jsonl, csv, text"
    with pytest.raises(click.UsageError, match=f"this command has no output form '{form}'; choose from {forms}\\."):
        Output.of(form, click.Context(click.Command("x")), own=["html"] if html else [])


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("30m", 1800), ("24h", 86400), ("7d", 604800)])
def test_an_age_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    """It is converted to seconds. A value that is already converted is unchanged."""
    assert Age().convert(text, None, None) == seconds
    assert Age().convert(seconds + 0.5, None, None) == seconds + 0.5
    assert Moment().convert(seconds + 0.5, None, None) == seconds + 0.5


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-25", 1795564800),
        ("2026-11-25T10:00", 1795600800),
        ("2026-11-25T10:00:00Z", 1795600800),
        ("2026-11-25T10:00+02:00", 1795593600),
    ],
)
def test_a_time_without_an_offset_is_utc(text: str, at: float) -> None:
    """The format is ISO 8601."""
    assert Moment().convert(text, None, None) == at


@pytest.mark.parametrize("text", ["", "d", "7", "7w", "-7d", "1.5h", "²d", "yesterday"])
def test_an_invalid_length_of_time_is_refused(text: str) -> None:
    """The error says how to write one."""
    for kind in (Age(), Moment()):
        with pytest.raises(UsageFault) as caught:
            kind.convert(text, None, None)
        assert re.match(r"write (30s, 30m|2026)", caught.value.hint)
