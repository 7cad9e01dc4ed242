"""Rosters as people write them, as Excel saves them, and as an attacker would write them."""

import csv
import io
import json
import string
import unicodedata
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.file_formats import csv_table
from mfa_kit.core.models import RosterMethod
from mfa_kit.rollout import roster, roster_files
from mfa_kit.rollout.roster import COLUMNS, SELF, VIRTUAL, RosterRow
from mfa_kit.rollout.roster_files import Roster, faults_table
from mfa_kit.wiring.methods.oath import OATH
from mfa_kit.wiring.methods.registry import METHODS

OATH_KIND = next(method for method in METHODS.in_rosters() if method.name == "oath")


def key(text: str) -> str:
    """Parse a public key; a stand-in for the real parser."""
    if not text.startswith("age1"):
        raise UsageFault("this is not a recipient", "give an age recipient")
    return text.split(maxsplit=1)[0]


def read(text: str) -> Roster:
    return roster_files.parse_roster(text, methods=METHODS.in_rosters(), parse_key=key)


def wrong(text: str) -> list[tuple[int, str | None]]:
    return [(one.line, one.column) for one in read(text).faults]


def test_a_list_of_names_is_a_roster() -> None:
    """Every column except `user` may be omitted."""
    assert read("user\nalice\nbob\n").rows == [RosterRow(user="alice"), RosterRow(user="bob")]


def test_every_column_is_read() -> None:
    """The result is the same for CSV and JSON Lines."""
    row = RosterRow(
        user="alice",
        kind=RosterMethod(method=OATH),
        name="alice-key",
        path="/desk/",
        recipient="age1abc",
        serial="GAHT12345678",
        asset="K 12",
        tags=(("team", "a b"), ("cost", "1")),
        email="alice+aws@example.com",
    )
    cells = roster.row_cells(row)
    text = csv_table(COLUMNS, [cells])
    assert read(text).rows == [row]
    assert read(json.dumps(cells) + "\n").rows == [row]
    assert read(json.dumps({**cells, "tags": dict(row.tags)})).rows == [row]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_files_saved_by_excel_are_read(separator: str) -> None:
    """A BOM, other separators, CRLF, trailing spaces, empty rows, capitals in the header, quoted line breaks."""
    lines = ["User,Device name,Remark ", "alice , a1,", ",,", '"bob",b1,"two\r\nlines"', "carol,c1,x", ",,"]
    text = "\ufeff" + "\r\n".join(lines).replace(",", separator) + "\r\n"
    assert [(row.user, row.name) for row in read(text).rows] == [("alice", "a1"), ("bob", "b1"), ("carol", "c1")]
    assert wrong(text.replace("carol", "ca rol")) == [(6, "user")]


def test_every_wrong_cell_is_named_by_line_and_column() -> None:
    """All faults are reported at once, so that all can be fixed at once."""
    text = (
        "user,kind,device_name,path,recipient,serial,asset,tags,email\n"
        "al ice,phone,a b,x,nokey,short,\u202eevil,nokey,alice@example.com bob@example.com\n"
        "bob,hardware-totp,,,,,,\n"
        "carol,,,,,,,mfa-kit:run=x\n"
        "dave,,,,,,,aws:x=1\n"
        "erin,,,,,,,a=1;A=2\n"
        "root,,,,,,,\n"
        "frank,,,,,,,,,surplus\n"
    )
    assert wrong(text) == [*((2, column) for column in COLUMNS), (3, "serial"), *((n, "tags") for n in (4, 5, 6)),
                           (7, "user"), (8, None)]  # fmt: skip
    assert read(text).rows == []
    assert all(str(one).startswith(f"line {one.line}") and one.what.isprintable() for one in read(text).faults)


def test_duplicate_users_are_found_ignoring_case() -> None:
    """IAM ignores case, so they would be one user. They are found even if one of the rows has another fault."""
    assert wrong("user,kind\nalice,phone\nALICE,\n") == [(2, "kind"), (3, "user")]
    found = read("user\nalice\nbob\nalice\nAlice\narn:aws:iam::123456789012:user/team/BOB\n").faults
    assert [(one.line, one.what) for one in found] == [
        (4, "'alice' is a duplicate of line 2"),
        (5, "'Alice' is a duplicate of 'alice' on line 2, because IAM ignores case"),
        (6, "'BOB' is a duplicate of 'bob' on line 3, because IAM ignores case"),
    ]


def test_a_user_may_be_given_as_an_arn() -> None:
    """The row's account is then known too."""
    (row,) = read("user\narn:aws:iam::123456789012:user/team/alice\n").rows
    assert (row.user, row.account) == ("alice", "123456789012")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        ("name\nalice\n", "has no column 'user'"),
        ("user,user\na,b\n", "two columns of the roster mean user: user, user"),
    ],
)
def test_text_that_is_not_a_roster_is_refused(text: str, said: str) -> None:
    """The error names no row."""
    with pytest.raises(UsageFault, match=said):
        read(text)


def test_broken_csv_is_read_up_to_the_fault() -> None:
    """The rows before the fault are read. With --skip-bad, a message says that more rows may be missing."""
    found = read('user\nalice\n"bo"b\ncarol\n')
    assert [row.user for row in found.rows] == ["alice"]
    assert [one.line for one in found.faults] == [3]
    assert "all rows after it were not read" in found.faults[0].what


@pytest.mark.parametrize("line", ["[1]", "{", '{"user": 3}', '{"user": "a", "tags": [1]}', '{"user": "a b"}'])
def test_wrong_json_is_named_by_line(line: str) -> None:
    """The lines before and after it are read."""
    text = f'{{"user": "alice"}}\n\n{line}\n{{"user": "bob"}}'
    assert [row.user for row in read(text).rows] == ["alice", "bob"]
    assert [number for number, _ in wrong(text)] == [3]


def test_unknown_columns_are_dropped() -> None:
    """The console's file of new credentials contains passwords and secret keys."""
    text = "User,Password,Secret access key,Kind\nal ice,hunter2,wJalr,\nbob,hunter3,bPxRf,\n"
    found = read(text)
    assert "hunter" not in f"{found!r}"
    assert "bPxRf" not in f"{found!r}"
    assert "hunter" not in faults_table(found.faults)


@pytest.mark.parametrize(
    ("names", "unread"),
    [
        ("user,Emial,Team", "not read: Emial (did you mean email?), Team"),
        ("user,recipent_key,serail", "not read: recipent_key (did you mean recipient?), serail (did you mean serial?)"),
        ("user,Serial number", "not read: Serial number (did you mean serial?)"),
        ("user,E-mail address", "not read: E-mail address (did you mean email?)"),
        ("user,User ID,Users,mail,E-mail address", "not read: User ID, Users, E-mail address"),
        ("user,name,device_name", "not read: name"),
        ("user,person,wrong,surplus,recipient_source,recipient_fetched,recipient_fingerprint,", ""),
        ("user,a\u202e" + "b" * 60, "not read: a\\u202e" + "b" * 38),
        ("user," + ",".join("zzz" + letter for letter in "abcdefghijkl"),
         "not read: " + ", ".join("zzz" + letter for letter in "abcdefghij") + " and 2 more"),
    ],
)  # fmt: skip
def test_columns_that_are_not_read_are_named(names: str, unread: str) -> None:
    """The sentence has the nearest name of a column. It is the same for CSV and JSON."""
    assert read(f"{names}\nalice\n").unread == unread
    columns = [name for name in names.split(",") if name]
    assert read(json.dumps({name: "alice" if name == "user" else "" for name in columns})).unread == unread


def test_other_names_of_columns_are_understood() -> None:
    """Directories and inventories export these names, in any case and with any separators."""
    row = RosterRow(user="alice", kind=OATH_KIND, name="a1", recipient="age1abc", email="a@example.com")
    for names in (
        "User Name,Type,Device Name,Public key,E-Mail",
        "username,kind,device-name,ssh_key,mail",
        "USER,TYPE,DeviceName,SSH-Key,e_mail",
        "user,kind,device_name,recipient,email",
    ):
        cells = "alice,oath,a1,age1abc,a@example.com"
        assert read(f"{names}\n{cells}\n") == Roster(rows=[row], faults=[])
        assert read(json.dumps(dict(zip(names.split(","), cells.split(","), strict=True)))).rows == [row]
    with pytest.raises(UsageFault, match="two columns of the roster mean email: mail, E-Mail"):
        read("user,mail,E-Mail\na,b,c\n")
    (fault,) = read('{"user": "a", "mail": "b@c", "E-Mail": "d@e"}').faults
    assert fault.what == "two of its fields mean email: mail, E-Mail"


@pytest.mark.parametrize("text", ["user,name\nalice,Peter\n", '{"user": "alice", "name": "Peter"}', "USER;Name\na;b\n"])
def test_a_column_that_may_be_the_users_own_name_is_refused(text: str) -> None:
    """Two users of the same first name would get devices of the same name."""
    with pytest.raises(UsageFault, match="the roster's column 'name' could be") as caught:
        read(text)
    assert caught.value.hint == "rename the column to device_name, or to person if it is the user's name"
    for column, name in (("device_name", "Peter"), ("person", None)):
        assert read(f"user,{column}\nalice,Peter\n") == Roster(rows=[RosterRow(user="alice", name=name)], faults=[])


@pytest.mark.parametrize(
    "serial", ["1.23457E+14", "1,23457E+14", "1.23457e+14", "1E+14", "123456789012.0", "123456789,00"]
)
def test_a_serial_that_a_spreadsheet_rounded_is_refused(serial: str) -> None:
    """Its last digits are lost. Serials with an E or a fraction of other digits are not changed."""
    (fault,) = read(f"user;serial\nalice;{serial}\n").faults
    assert (fault.column, fault.what.partition(";")[0]) == (
        "serial", f"a spreadsheet rounded the serial number to {serial!r}"
    )  # fmt: skip
    for other in ("12345678E14", "123456789.05", "1.2.3456789.0.1", "00001234567890"):
        assert [row.serial for row in read(f"user;serial\nalice;{other}\n").rows] == [other]


def test_the_consoles_file_of_new_users_is_a_roster() -> None:
    """Its column is called `User name`. It may have keys. An additional column `user` is an error."""
    for rest in ("Password,Console sign-in URL", "Password,Access key ID,Secret access key,Console login link"):
        assert [row.user for row in read(f"\ufeffUser name,{rest}\r\nalice,hunter2,x\r\n").rows] == ["alice"]
    with pytest.raises(UsageFault, match="two columns of the roster mean user: User name, user"):
        read("User name,user\nalice,bob\n")


def test_bad_rows_are_written_as_a_roster_to_correct() -> None:
    """Their faults are in a column that is ignored. After the corrections, the file is a valid roster."""
    text = faults_table(read("user,device_name,kind\nal ice,a,nokind\nbob,b,\ncarol,b b,\n").faults)
    assert [number for number, _ in wrong(text)] == [2, 2, 3]
    corrected = text.replace("al ice", "alice").replace("nokind", "").replace("b b", "bb")
    assert [(row.user, row.name) for row in read(corrected).rows] == [("alice", "a"), ("carol", "bb")]


@pytest.mark.parametrize(
    "text",
    [
        "user,recipient\nalice,{},surplus\n",
        '{{"user": "alice", "recipient": "{}", "kind": 5}}\n',
        "user,recipient,kind\nalice,{},phone\n",
        "user,recipient\nal ice,{}\n",
    ],
)
def test_a_private_key_in_a_faulty_row_is_not_copied(text: str) -> None:
    """A public key is copied."""
    assert "SECRET" not in faults_table(read(text.format("AGE-SECRET-KEY-1ABC")).faults)
    assert "unclear" not in faults_table(read(text.format("unclear")).faults)
    assert "age1abc" in faults_table(read(text.format("age1abc")).faults)


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("user,recipient\nal ice,ssh-ed25519 AAAA me@home\n", {"recipient": "ssh-ed25519 AAAA me@home"}),
        ("user,tags\nalice,a=1,b=2\n", {"tags": "a=1", "surplus": "b=2"}),
        ('{"user": "alice", "serial": 123456789}', {"serial": "123456789"}),
        ('{"user": "alice", "tags": [1, "x"]}', {"tags": '[1, "x"]'}),
        ("user,kind,device_name\nsecretary,Phone, A b \n", {"kind": "Phone", "device_name": "A b"}),
    ],
)
def test_faulty_rows_keep_their_original_cells(text: str, cells: dict[str, str]) -> None:
    """The admin corrects the original text, even if a cell was not text or did not fit the header."""
    (row,) = csv.DictReader(io.StringIO(faults_table(read(text).faults)))
    assert {name: row[name] for name in cells} == cells


def test_passwords_in_surplus_cells_are_not_copied() -> None:
    """A row of the console's file may be shifted, so its surplus cells may be passwords."""
    (fault,) = read("User name,Password\nalice,x,hunter2\n").faults
    assert "hunter2" not in faults_table([fault])


def test_kinds_ignore_case() -> None:
    """Spreadsheets capitalize the first letter of a cell."""
    assert [row.kind for row in read("user,kind\na,Virtual\nb,OATH\nc,Self\n").rows] == [VIRTUAL, OATH_KIND, SELF]


@pytest.mark.parametrize("line", ["sep=;\n", '"sep=;"\r\n', "SEP=;;;\n"])
def test_excels_separator_line_is_used(line: str) -> None:
    """The line counts in line numbers. Its separator is used even if another one is more frequent in the header."""
    found = read(f"\ufeff{line}user;remark,a,b,c\nal ice;\nbob;\n")
    assert [row.user for row in found.rows] == ["bob"]
    assert [fault.line for fault in found.faults] == [3]


@pytest.mark.parametrize("cell", ['="0123456789"', '"=""0123456789"""'])
def test_a_number_kept_as_text_has_its_leading_zero(cell: str) -> None:
    """Excel writes such a cell as a formula."""
    (row,) = read(f"user,serial\nalice,{cell}\n").rows
    assert row.serial == "0123456789"


def test_only_keeps_the_users_that_are_named() -> None:
    """A name that is missing in the roster is an error."""
    rows = read("user\nalice\nbob\n").rows
    assert [row.user for row in roster.keep_users(rows, ["ALICE"])] == ["alice"]
    with pytest.raises(UsageFault, match="not in the roster, plan or selection: dave"):
        roster.keep_users(rows, ["dave"])


NAMES = st.text(string.ascii_letters + string.digits + "_+=,.@-", min_size=1, max_size=64).filter(
    lambda name: name != "root"
)
LABELS = st.text(string.ascii_letters + " .:/=+@-_", min_size=1, max_size=64).map(str.strip).filter(bool)
WORDS = st.text(string.ascii_letters + " .:/+@-_", min_size=1, max_size=20).map(str.strip).filter(bool)
ROWS = st.builds(
    RosterRow,
    user=NAMES,
    kind=st.sampled_from([*METHODS.in_rosters(), SELF]),
    name=st.none() | NAMES,
    path=st.sampled_from(["/", "/a/", "/=1/b/"]),
    recipient=st.none() | st.just("age1xyz"),
    serial=st.text(string.ascii_letters + "+=@-", min_size=9, max_size=20),
    asset=st.none() | LABELS,
    email=st.none() | st.emails().filter(roster_files.EMAIL.fullmatch),
    tags=st.dictionaries(WORDS.filter(lambda k: not k.lower().startswith(roster_files.TAKEN)), WORDS, max_size=3)
    .filter(lambda tags: len({key.lower() for key in tags}) == len(tags))
    .map(lambda tags: tuple(tags.items())),
)


def apart(rows: Iterable[RosterRow]) -> list[RosterRow]:
    return list({row.user.lower(): row for row in rows}.values())


@given(st.lists(ROWS, min_size=1).map(apart))
def test_a_written_roster_reads_back_and_runs_no_formula(rows: list[RosterRow]) -> None:
    """`failed.csv` gives the same rows when it is read, although cells that look like formulas were escaped."""
    text = csv_table(COLUMNS, [roster.row_cells(row) for row in rows])
    assert read(text).rows == rows
    cells = [cell for line in csv.reader(io.StringIO(text)) for cell in line]
    assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in cells)


@given(
    st.text()
    | st.lists(st.lists(st.text())).map(lambda lines: "user,device_name,tags\n" + "\n".join(map(",".join, lines)))
)
def test_any_text_gives_printable_rows_and_messages(text: str) -> None:
    """Fuzzed: whatever the input is, rows and messages contain only printable text."""
    try:
        found = read(text)
    except UsageFault as error:
        said = [str(error)]
    else:
        said = [str(one) for one in found.faults]
        said += [value for row in found.rows for value in roster.row_cells(row).values()]
        said += faults_table(found.faults).splitlines()
    assert not [char for line in said for char in line if unicodedata.category(char).startswith("C")]
