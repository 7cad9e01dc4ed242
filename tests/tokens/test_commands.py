"""`mfa-kit token` and `mfa-kit verify token`, used by scripts and in person, with the lab in place of AWS."""

import base64
import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.disk import files
from mfa_kit.lab.aws.server import Lab
from tests.conftest import MfaKit, Result, bare
from tests.tokens import boxes
from tests.tokens.boxes import Made
from tests.tokens.person import Person

T30, T60 = Made("10001002"), Made("10001001", period=60)
BOX = [T60, T30, Made("10001003")]
SOLD = "GAHT12345678"
NUMBERS = count(1)
# The time on this computer's clock, at which displays are read.
NOW = 1_800_000_012.0


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock of this computer. AWS's clock continues."""
    monkeypatch.setattr("mfa_kit.wiring.seed_files.time", SimpleNamespace(time=lambda: NOW))
    monkeypatch.setattr("mfa_kit.cli.token.time", SimpleNamespace(time=lambda: NOW))


@pytest.fixture
def box(tmp_path: Path) -> Path:
    file = tmp_path / "box.csv"
    file.write_bytes(boxes.entra(BOX))
    return file


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write codes to stdin."""

    def put(*given: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(given) + "\n"))

    return put


def said(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.out)
    return found


def two(made: Made, *, ahead: int = 0, at: float = NOW) -> tuple[str, str]:
    return made.shows(at, ahead=ahead - made.period), made.shows(at, ahead=ahead)


def test_an_import_says_what_the_file_holds_and_what_aws_can_use(mfa_kit: MfaKit, box: Path) -> None:
    result = mfa_kit.run("token", "import", box, "--output", "json")
    assert result.code == 0
    row = said(result)
    assert (row["outcome"], row["format"], row["encoding"], row["tokens"]) == (
        "imported",
        "CSV with a header",
        "base32",
        3,
    )
    assert (row["usable_with_aws"], row["new"], row["known"], row["not_taken"]) == (0, 3, 0, [])
    assert row["not_usable"] == ["3: AWS accepts only hardware tokens sold for AWS and cannot import seeds"]


def test_skipped_rows_are_reported_and_make_the_exit_code_1(mfa_kit: MfaKit, box: Path) -> None:
    box.write_bytes(boxes.entra(BOX) + b"u@example.com,9,bad!,30,Acme,D1\n")
    table = mfa_kit.run("token", "import", box)
    assert table.code == 1
    assert "line 5  its seed is not base32" in table.out
    row = said(mfa_kit.run("token", "import", box, "--output", "json"))
    assert row["not_taken"] == [{"where": "line 5", "reason": "its seed is not base32"}]
    assert (row["new"], row["known"]) == (0, 3)


def test_a_dry_run_imports_nothing(mfa_kit: MfaKit, box: Path) -> None:
    row = said(mfa_kit.run("token", "import", box, "--dry-run", "--output", "json"))
    assert (row["outcome"], row["new"]) == ("planned", None)
    assert "the inventory is empty" in mfa_kit.run("token", "list").out


def test_tokens_that_can_be_programmed_are_usable(mfa_kit: MfaKit, box: Path, codes: Callable[..., None]) -> None:
    """Programmable tokens stay usable, whatever codes their displays show."""
    row = said(mfa_kit.run("token", "import", box, "--programmable", "63", "--output", "json"))
    assert row["usable_with_aws"] == 3
    listed = said(mfa_kit.run("token", "list", "--output", "json"))
    assert {each["aws"] for each in listed["rows"]} == {"virtual"}
    codes(T30.shows(NOW))
    row = said(mfa_kit.run("verify", "token", T30.serial, "--seeds", box, "--codes-stdin", "--output", "json"))
    assert row["aws"] == "programmable: AWS creates the seed, and you write it to the token"


def test_no_seed_is_stored(mfa_kit: MfaKit, box: Path, codes: Callable[..., None]) -> None:
    """No seed is in the ledger, in another file or in the output.

    The secret of the fingerprints stays on this computer.
    """
    codes(T30.shows(NOW))
    printed = [
        mfa_kit.run("token", "import", box),
        mfa_kit.run("verify", "token", T30.serial, "--seeds", box, "--codes-stdin"),
    ]
    kept = b"".join(path.read_bytes() for path in mfa_kit.home.rglob("*") if path.is_file())
    kept += "".join(each.out + each.err for each in printed).encode()
    for made in BOX:
        for form in (made.octets, made.hex.encode(), made.base32.encode(), base64.b64encode(made.octets)):
            assert form not in kept
    key = mfa_kit.home / "fingerprint.key"
    assert (key.stat().st_mode & 0o777, key.stat().st_size) == (0o600, 32)


@pytest.mark.parametrize("steps", [0, -3, 12])
def test_a_code_proves_a_token_and_its_clock(
    mfa_kit: MfaKit, box: Path, codes: Callable[..., None], steps: int
) -> None:
    codes(T30.shows(NOW, ahead=30 * steps))
    result = mfa_kit.run("verify", "token", T30.serial, "--seeds", box, "--codes-stdin", "--output", "json")
    row = said(result)
    assert (result.code, row["outcome"]) == (0, "proved")
    assert row["offset_steps"] == steps


def test_a_code_that_is_wrong_is_explained(mfa_kit: MfaKit, box: Path, codes: Callable[..., None]) -> None:
    codes(*two(BOX[2]))
    result = mfa_kit.run("verify", "token", T30.serial, "--seeds", box, "--codes-stdin", "--output", "json")
    assert result.code == 1
    assert said(result)["reason"] == "this is the code of another token of this file: 10001003"


def test_the_token_of_two_codes_is_named(mfa_kit: MfaKit, box: Path, codes: Callable[..., None]) -> None:
    codes(*two(T60))
    result = mfa_kit.run("verify", "token", "--find", "--seeds", box, "--codes-stdin", "--output", "json")
    assert [row["serial"] for row in said(result)["rows"]] == [T60.serial]


def test_codes_of_no_token_name_none(mfa_kit: MfaKit, box: Path, codes: Callable[..., None]) -> None:
    codes(*two(Made("x")))
    result = mfa_kit.run("verify", "token", "--find", "--seeds", box, "--codes-stdin")
    assert (result.code, result.out) == (
        1,
        "no token of this file shows these codes, even if its clock is off by up to 20 steps\n",
    )
    codes("123456", "123456")
    assert "typed twice" in mfa_kit.run("verify", "token", "--find", "--seeds", box, "--codes-stdin").out


def test_two_readings_give_the_drift(mfa_kit: MfaKit, box: Path, tmp_path: Path, codes: Callable[..., None]) -> None:
    """The first reading was recorded a hundred days earlier."""
    then = NOW - 100 * 86400
    table = tmp_path / "readings.csv"
    table.write_text(f"{T30.serial},{T30.shows(then)},,{int(then)}\n")
    mfa_kit.run("token", "accept", box, "--readings", table)
    codes(T30.shows(NOW, ahead=-300))
    row = said(mfa_kit.run("verify", "token", T30.serial, "--seeds", box, "--codes-stdin", "--output", "json"))
    assert -3.4 < row["drift_s_per_day"] < -2.9
    assert row["drift_within"] == 0.3


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ((), "either SERIAL or --find is required"),
        (("T1", "--find"), "either SERIAL or --find is required"),
        (("--find",), "--find needs a seed file"),
        (("T1", "--seeds", "{box}", "--codes-stdin"), "T1 is not in box.csv"),
        (("T1", "--seeds", "{box}", "--codes-stdin", "--unlock-stdin"), "cannot both be read from stdin"),
        (("T1", "--seeds", "{box}", "--codes-stdin", "--probe-user", "p"), "--probe-user is for tokens that AWS sold"),
        (("10001002", "--seeds", "{box}", "--codes-stdin", "--two"), "stdin has 1 code"),
        (("10001002", "--seeds", "{box}", "--window", "9999d"), "is more than"),
        (("10001002", "--seeds", "{box}", "--window", "much"), "write a number of steps"),
        (("10001002", "--seeds", "{box}.gone", "--codes-stdin"), "box.csv.gone cannot be read"),
    ],
)  # fmt: skip
def test_impossible_options_are_refused(
    mfa_kit: MfaKit, box: Path, codes: Callable[..., None], words: tuple[str, ...], what: str
) -> None:
    codes("123456")
    result = mfa_kit.run("verify", "token", *(word.format(box=box) for word in words))
    assert result.code == 2
    assert what in result.err


def test_a_window_is_also_shown_as_a_time(mfa_kit: MfaKit, box: Path, codes: Callable[..., None]) -> None:
    codes(*two(T30, ahead=-2 * 86400))
    result = mfa_kit.run(
        "verify", "token", T30.serial, "--seeds", box, "--codes-stdin", "--two", "--window", "3d", "--output", "json"
    )
    assert said(result)["offset_steps"] == -5760


BOTH = bytes.fromhex("aabbccddee2233445566aabbccddee2233445566")


@pytest.fixture
def undecided(tmp_path: Path) -> Path:
    file = tmp_path / "undecided.csv"
    file.write_bytes(boxes.linotp([Made("T1", BOTH)]))
    return file


def test_the_encoding_must_be_given_if_both_are_possible(mfa_kit: MfaKit, undecided: Path) -> None:
    result = mfa_kit.run("token", "import", undecided)
    assert result.code == 2
    assert "could be hex or base32" in result.err


def test_the_encoding_is_given_by_an_option(mfa_kit: MfaKit, undecided: Path) -> None:
    row = said(mfa_kit.run("token", "import", undecided, "--seed-encoding", "base32", "--output", "json"))
    assert row["encoding"] == "base32"


def test_the_encoding_is_decided_by_codes(mfa_kit: MfaKit, undecided: Path, codes: Callable[..., None]) -> None:
    codes(*two(Made("T1", BOTH)))
    row = said(mfa_kit.run("token", "import", undecided, "--prove", "T1", "--codes-stdin", "--output", "json"))
    assert row["encoding"] == "hex"
    codes(*two(Made("T1", BOTH)))
    verified = mfa_kit.run("verify", "token", "T1", "--seeds", undecided, "--codes-stdin", "--output", "json")
    assert said(verified)["outcome"] == "proved"
    codes(*two(Made("T1", BOTH)))
    assert "T1" in mfa_kit.run("verify", "token", "--find", "--seeds", undecided, "--codes-stdin").out


def test_an_unknown_serial_is_refused_before_codes_are_read(mfa_kit: MfaKit, undecided: Path) -> None:
    done = mfa_kit.run("token", "import", undecided, "--prove", "T9")
    assert done.code == 2
    assert "this file has no seed for T9" in done.err


@pytest.mark.parametrize("how", ["passphrase", "pre-shared key"])
def test_the_secret_of_a_file_is_read_from_stdin_or_a_descriptor(mfa_kit: MfaKit, tmp_path: Path, how: str) -> None:
    """The secret is never an argument, because other users can read the arguments."""
    file, secret = tmp_path / "box.xml", tmp_path / "secret"
    file.write_bytes(boxes.pskc(BOX, how=how))
    secret.write_text(boxes.unlock(how).reveal() + "\n")
    env = {**bare(), "MFA_KIT_HOME": str(mfa_kit.home)}
    command = [sys.executable, "-m", "mfa_kit", "token", "import", str(file), "--output", "json"]
    with secret.open() as stdin:
        done = subprocess.run(
            [*command, "--unlock-stdin"], stdin=stdin, env=env, capture_output=True, text=True, check=True
        )
    assert json.loads(done.stdout)["format"] == f"PSKC, encrypted with a {how}"
    descriptor = os.open(secret, os.O_RDONLY)
    done = subprocess.run(
        [*command, "--unlock-fd", str(descriptor)],
        pass_fds=[descriptor],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    os.close(descriptor)
    assert json.loads(done.stdout)["known"] == 3


def test_a_descriptor_that_is_not_open_is_an_error(mfa_kit: MfaKit, tmp_path: Path) -> None:
    file = tmp_path / "box.xml"
    file.write_bytes(boxes.pskc(BOX, how="passphrase"))
    assert mfa_kit.run("token", "import", file, "--unlock-fd", "-1").code == 2
    result = mfa_kit.run("token", "import", file, "--unlock-fd", "999")
    assert (result.code, "file descriptor 999" in result.err) == (2, True)


def test_without_a_terminal_the_hint_names_an_option(mfa_kit: MfaKit, tmp_path: Path) -> None:
    file = tmp_path / "box.xml"
    file.write_bytes(boxes.pskc(BOX, how="passphrase"))
    result = mfa_kit.run("token", "import", file, "--no-input")
    assert (result.code, "use --unlock-fd N" in result.err) == (8, True)


def test_a_box_is_accepted_from_a_table_in_several_runs(mfa_kit: MfaKit, box: Path, tmp_path: Path) -> None:
    """An accepted token stays accepted until another reading rejects it."""
    now = NOW
    first, second = tmp_path / "monday.csv", tmp_path / "tuesday.csv"
    first.write_text(f"serial,code\n{T30.serial},{T30.shows(now)}\n{T60.serial},000000,111111\n77,123456\n,,\nbad\n")
    second.write_text(f"{T60.serial};{T60.shows(now, ahead=-60)}\n{BOX[2].serial};{BOX[2].shows(now)};;{int(now)}\n")
    monday = mfa_kit.run("token", "accept", box, "--readings", first, "--output", "json")
    assert monday.err.startswith("AWS cannot use 3 tokens of this box: AWS accepts only hardware tokens sold for AWS")
    row = said(monday)
    assert (monday.code, row["accepted"], row["rejected"], row["untested"]) == (1, 1, 1, 1)
    assert row["not_taken"] == [
        {"where": "line 4", "reason": "serial 77 is not in this box"},
        {"where": "line 6", "reason": "it needs a serial number and a code"},
    ]
    tuesday = mfa_kit.run("token", "accept", box, "--readings", second, "--output", "json")
    row = said(tuesday)
    assert (tuesday.code, row["accepted"], row["drift"]["clocks"]) == (0, 3, 3)
    assert row["drift"]["slowest_s"] == -60


def test_a_dry_run_stores_no_reading(mfa_kit: MfaKit, box: Path, codes: Callable[..., None]) -> None:
    mfa_kit.run("token", "import", box)
    codes(T30.shows(NOW))
    tried = mfa_kit.run("verify", "token", T30.serial, "--seeds", box, "--codes-stdin", "--dry-run")
    assert tried.code == 0
    assert {row["verdict"] for row in said(mfa_kit.run("token", "list", "--output", "json"))["rows"]} == {"untested"}
    assert mfa_kit.run("token", "accept", box, "--dry-run").code == 2


def test_a_box_is_reported_without_prompts(mfa_kit: MfaKit, box: Path) -> None:
    result = mfa_kit.run("token", "accept", box, "--no-input", "--output", "csv")
    assert result.code == 1
    assert [row["verdict"] for row in csv.DictReader(io.StringIO(result.out))] == ["untested"] * 3


def test_the_first_correct_codes_decide_the_encoding_of_a_box(mfa_kit: MfaKit, undecided: Path, tmp_path: Path) -> None:
    table = tmp_path / "readings.csv"
    made = Made("T1", BOTH)
    table.write_text("T1,123456\nT1," + ",".join(two(made)) + "\n")
    result = mfa_kit.run("token", "accept", undecided, "--readings", table, "--output", "json")
    row = said(result)
    assert row["accepted"] == 1
    assert row["not_taken"][0]["where"] == "line 1"


def test_the_list_shows_the_state_of_each_token(mfa_kit: MfaKit, box: Path, tmp_path: Path) -> None:
    table = tmp_path / "readings.csv"
    table.write_text(f"{T30.serial},{T30.shows(NOW)}\n{T60.serial},000000,111111\n")
    mfa_kit.run("token", "accept", box, "--readings", table)
    rows = said(mfa_kit.run("token", "list", "--output", "json"))["rows"]
    assert [row["verdict"] for row in rows] == ["rejected", "accepted", "untested"]
    rejected = said(mfa_kit.run("token", "list", "--verdict", "rejected", "--output", "json"))["rows"]
    assert [row["serial"] for row in rejected] == [T60.serial]
    assert "the code does not match the seed of" in rejected[0]["why"]


@pytest.fixture
def sold(at_lab: Lab) -> Made:
    """Return a token that AWS sold and whose seed AWS has."""
    made = Made(f"GAHT{next(NUMBERS):08}")
    at_lab.add_token(made.serial, base64.b32encode(made.octets).decode())
    return made


def test_a_token_that_aws_sold_is_judged_by_its_display(mfa_kit: MfaKit, codes: Callable[..., None]) -> None:
    codes("123456", "654321")
    result = mfa_kit.run("verify", "token", SOLD, "--codes-stdin", "--output", "json")
    row = said(result)
    assert (result.code, row["outcome"], row["checked"]) == (
        0,
        "display-only",
        "the token shows two different codes of six digits",
    )
    assert "only AWS has the seed" in row["not_checked"]
    codes("123456", "123456")
    again = mfa_kit.run("verify", "token", SOLD, "--codes-stdin", "--output", "json")
    assert (again.code, said(again)["outcome"]) == (1, "undecided")


def test_a_token_of_another_maker_is_not_judged_by_its_display(mfa_kit: MfaKit, codes: Callable[..., None]) -> None:
    """Any two numbers would pass, so mfa-kit requires the seed file before the first code."""
    codes("123456", "654321")
    result = mfa_kit.run("verify", "token", T30.serial, "--codes-stdin")
    assert (result.code, result.out) == (2, "")
    assert "add --seeds FILE, or let AWS check the token: --probe-user USER" in result.err


def test_a_probe_tests_the_token_at_aws_and_leaves_nothing(
    mfa_kit: MfaKit, at_lab: Lab, sold: Made, user: str, codes: Callable[..., None]
) -> None:
    codes(*two(sold, at=time.time()))
    result = mfa_kit.run("verify", "token", sold.serial, "--codes-stdin", "--probe-user", user, "--output", "json")
    assert (result.code, said(result)["aws"]) == (0, "AWS knows this token and accepted its codes")
    assert at_lab.assigned(sold.serial) is None


def test_a_probe_that_aws_refuses_has_exit_code_1(
    mfa_kit: MfaKit, sold: Made, user: str, codes: Callable[..., None]
) -> None:
    codes("123456", "654321")
    result = mfa_kit.run("verify", "token", sold.serial, "--codes-stdin", "--probe-user", user, "--output", "json")
    assert (result.code, said(result)["outcome"]) == (1, "refused")
    codes("123456", "654321")
    unknown = mfa_kit.run("verify", "token", "GAHT99999999", "--codes-stdin", "--probe-user", user, "--output", "json")
    assert "has no token with the serial GAHT99999999" in said(unknown)["reason"]


def test_a_probe_with_a_user_who_has_a_device_is_refused(
    mfa_kit: MfaKit, user: str, codes: Callable[..., None], recipient: str
) -> None:
    """Such a user is not one that exists only for probes."""
    mfa_kit.run("enroll", user, "--with", "virtual", "--codes", "generated", "-r", recipient)
    codes("123456", "654321")
    result = mfa_kit.run("verify", "token", SOLD, "--codes-stdin", "--probe-user", user)
    assert result.code == 2
    assert f"{user} has MFA devices" in result.err
    codes("123456", "654321")


@pytest.mark.parametrize("serial", ["x", "arn:aws:iam::000000000000:mfa/alice"])
def test_a_probe_of_an_invalid_serial_is_refused(
    mfa_kit: MfaKit, user: str, codes: Callable[..., None], serial: str
) -> None:
    codes("123456", "654321")
    result = mfa_kit.run("verify", "token", serial, "--codes-stdin", "--probe-user", user)
    assert result.code == 2
    assert "is not the serial number of a token" in result.err


def test_a_probe_that_cannot_remove_the_token_says_how(
    mfa_kit: MfaKit, at_lab: Lab, sold: Made, user: str, codes: Callable[..., None]
) -> None:
    """The message has the AWS CLI command. A later probe also removes the token."""
    at_lab.faults.add("DeactivateMFADevice", "denied")
    codes(*two(sold, at=time.time(), ahead=-30))
    failed = mfa_kit.run("verify", "token", sold.serial, "--codes-stdin", "--probe-user", user)
    assert failed.code == 4
    assert f"aws iam deactivate-mfa-device --user-name {user} --serial-number {sold.serial}" in failed.err
    assert at_lab.assigned(sold.serial) == user
    at_lab.faults.clear()
    codes(*two(sold, at=time.time(), ahead=30))
    again = mfa_kit.run("verify", "token", sold.serial, "--codes-stdin", "--probe-user", user)
    assert (again.code, at_lab.assigned(sold.serial)) == (0, None)


@pytest.mark.parametrize("kind", ["programmable", "hardware-totp"])
def test_a_token_that_was_rejected_is_not_enrolled(
    mfa_kit: MfaKit, box: Path, tmp_path: Path, user: str, kind: str
) -> None:
    table = tmp_path / "readings.csv"
    table.write_text(f"{T30.serial},000000,111111\n")
    mfa_kit.run("token", "accept", box, "--readings", table)
    capacity = ["--capacity", "63"] if kind == "programmable" else []
    result = mfa_kit.run("enroll", user, "--with", kind, "--serial", T30.serial, *capacity)
    assert result.code == 2
    assert f"token {T30.serial} was rejected" in result.err


def test_a_list_of_serials_is_accepted_by_two_codes_each(mfa_kit: MfaKit, tmp_path: Path) -> None:
    """mfa-kit has no seeds of tokens that AWS sold."""
    file, table = tmp_path / "serials.txt", tmp_path / "readings.csv"
    file.write_text("GAHT12345678\nGAHT12345679\n")
    table.write_text("GAHT12345678,123456,654321\nGAHT12345679,123456,123456\n")
    row = said(mfa_kit.run("token", "accept", file, "--readings", table, "--output", "json"))
    assert (row["accepted"], row["rejected"], row["untested"]) == (1, 0, 1)
    assert row["not_taken"][0]["reason"].startswith("not decided: the same code was typed twice")
    imported = said(mfa_kit.run("token", "import", file, "--output", "json"))
    assert (imported["tokens"], imported["usable_with_aws"]) == (2, 2)


def test_the_sheet_is_one_file_that_loads_nothing(mfa_kit: MfaKit, box: Path, tmp_path: Path) -> None:
    """The sheet has no scripts and no external pictures or styles, and names are not treated as markup."""
    out = tmp_path / "sheet.html"
    table = tmp_path / "readings.csv"
    table.write_text(f"{T30.serial},{T30.shows(NOW)}\n{T60.serial},000000,111111\n")
    hostile = tmp_path / "<b>box&.csv"
    hostile.write_bytes(box.read_bytes())
    mfa_kit.run("token", "accept", hostile, "--readings", table, "--sheet", out)
    page = out.read_text("utf-8")
    assert "&lt;b&gt;box&amp;.csv" in page
    assert "<b>box" not in page
    assert not any(word in page for word in ("http:", "https:", "//", "<script", "<img", "<link", "url("))
    assert page.count("<tr><td") == 3
    assert 'data-head="Why">the code does not match the seed of 10001001' in page
    assert page.count("<i style=") == 3 + 1
    assert out.stat().st_mode & 0o777 == 0o600
    again = mfa_kit.run("token", "accept", hostile, "--no-input", "--sheet", out)
    assert again.code == 5
    assert "already exists" in again.err


def test_a_box_with_skipped_rows_is_reported_as_incomplete(
    mfa_kit: MfaKit, box: Path, tmp_path: Path, codes: Callable[..., None]
) -> None:
    """No result has the tokens of these rows, so stderr, JSON, the sheet and the exit code all report the rows."""
    box.write_bytes(boxes.entra([T30]) + b"u@example.com,9,bad!,30,Acme,D1\n")
    out = tmp_path / "sheet.html"
    table = _readings(tmp_path, T30)
    done = mfa_kit.run("token", "accept", box, "--readings", table, "--sheet", out, "--output", "json")
    row = said(done)
    assert (done.code, row["accepted"], row["untested"], row["not_in_box"]) == (1, 1, 0, ["line 3"])
    assert "rows of the seed file that cannot be used: 1; line 3: its seed is not base32" in done.err
    assert "could not be imported and are not listed below: 1." in out.read_text("utf-8")
    codes("123456")
    asked = mfa_kit.run("verify", "token", "9", "--seeds", box, "--codes-stdin")
    assert "9 is not in box.csv; rows that cannot be used: line 3: its seed is not base32" in asked.err


def test_the_sheet_shows_gaps_between_clocks(mfa_kit: MfaKit, box: Path, tmp_path: Path) -> None:
    """A gap is one line with the offsets between which no clock is."""
    out, table = tmp_path / "sheet.html", tmp_path / "readings.csv"
    table.write_text(f"{T30.serial},{T30.shows(NOW, ahead=-270)}\n{BOX[2].serial},{BOX[2].shows(NOW, ahead=480)}\n")
    mfa_kit.run("token", "accept", box, "--readings", table, "--sheet", out)
    page = out.read_text("utf-8")
    clocks = re.findall(r"<span>([^<]*)</span><span class=\"n\">(\d+)</span>", page.partition("<h2>Clocks")[2])
    assert clocks == [("-270", "1"), ("-240 to +450", "0"), ("+480", "1")]


def test_a_sheet_is_written_even_if_stdout_is_closed(mfa_kit: MfaKit, box: Path, tmp_path: Path) -> None:
    """`| head` closes the pipe before the end of the report."""
    read, write = os.pipe()
    os.close(read)
    out = tmp_path / "sheet.html"
    with os.fdopen(write, "w") as pipe:
        mfa_kit.process("token", "accept", box, "--no-input", "--sheet", out, stdout=pipe)
    assert T30.serial in out.read_text("utf-8")


def test_a_sheet_without_a_reading_says_so(mfa_kit: MfaKit, box: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.html"
    mfa_kit.run("token", "accept", box, "--no-input", "--sheet", out)
    assert "No clock was read." in out.read_text("utf-8")


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Person]:
    """Answer the prompts at the terminal."""

    def sit(*answers: str) -> Person:
        person = Person(answers)
        monkeypatch.setattr("mfa_kit.cli.terminal.find_person", lambda **_: person)
        return person

    return sit


def test_a_session_accepts_a_box(mfa_kit: MfaKit, box: Path, person: Callable[..., Person]) -> None:
    """The prompts follow the order serial, code, result, next.

    An earlier reading determines where the search begins.
    """
    at = NOW
    code, again = T30.shows(at), T30.shows(at, ahead=-30)
    desk = person("nothing", T30.serial, code, T60.serial, "123456", T30.serial, again, "")
    result = mfa_kit.run("token", "accept", box, "--output", "json")
    row = said(result)
    assert (result.code, row["accepted"], row["rejected"], row["untested"]) == (1, 1, 1, 1)
    assert desk.told[0] == "serial nothing is not in this box"
    assert desk.told[1].startswith("accepted: its clock is")
    assert desk.told[2].startswith("rejected: ")
    assert desk.asked[:3] == ["serial (0 of 3 accepted)", "serial (0 of 3 accepted)", "code"]


def test_a_session_with_a_box_of_unknown_encoding(
    mfa_kit: MfaKit, undecided: Path, person: Callable[..., Person]
) -> None:
    """Each prompt asks for two codes until the codes of one token decide the encoding."""
    made = Made("T1", BOTH)
    desk = person("T1", "123456", "654321", "T1", *two(made), "")
    row = said(mfa_kit.run("token", "accept", undecided, "--output", "json"))
    assert row["accepted"] == 1
    assert desk.asked[1:3] == ["first code", "next code"]
    assert "do not show whether the seeds are hex or base32" in desk.told[0]


def test_a_session_with_tokens_that_aws_sold(mfa_kit: MfaKit, tmp_path: Path, person: Callable[..., Person]) -> None:
    file = tmp_path / "serials.txt"
    file.write_text("GAHT12345678\n")
    desk = person("GAHT12345678", "123456", "654321", "")
    assert mfa_kit.run("token", "accept", file).code == 0
    assert desk.told == ["accepted: the display works; to check that AWS knows the token, use --probe-user"]


def test_a_passphrase_is_asked_for(mfa_kit: MfaKit, tmp_path: Path, person: Callable[..., Person]) -> None:
    file = tmp_path / "box.xml"
    file.write_bytes(boxes.pskc(BOX, how="passphrase"))
    desk = person(boxes.PASSPHRASE)
    assert mfa_kit.run("token", "import", file).code == 0
    assert desk.asked == ["the passphrase of box.xml"]


def test_a_damaged_fingerprint_secret_is_an_error(mfa_kit: MfaKit, box: Path) -> None:
    mfa_kit.run("token", "import", box)
    (mfa_kit.home / "fingerprint.key").write_bytes(b"short")
    result = mfa_kit.run("token", "import", box)
    assert (result.code, "fingerprint.key is damaged" in result.err) == (5, True)


def test_a_fingerprint_secret_that_cannot_be_used_is_an_error(
    mfa_kit: MfaKit, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No token is imported with another secret."""
    key = mfa_kit.home / "fingerprint.key"
    key.mkdir(parents=True, mode=0o700)
    mfa_kit.home.chmod(0o700)
    result = mfa_kit.run("token", "import", box)
    assert (result.code, "fingerprint.key cannot be read" in result.err) == (5, True)
    key.rmdir()

    def fails(*_: Any, **__: Any) -> None:
        raise IntegrityFault("the disk is full")

    monkeypatch.setattr(files, "write_new", fails)
    assert (mfa_kit.run("token", "import", box).code, "the inventory is empty" in mfa_kit.run("token", "list").out) == (
        5,
        True,
    )


def test_two_processes_create_one_fingerprint_secret(
    mfa_kit: MfaKit, box: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second process uses the secret of the first one."""
    write = files.write_new

    def second(path: Path, octets: bytes, **how: Any) -> None:
        write(path, b"\1" * len(octets), **how)
        write(path, octets, **how)

    monkeypatch.setattr(files, "write_new", second)
    assert mfa_kit.run("token", "import", box).code == 0
    assert (mfa_kit.home / "fingerprint.key").read_bytes() == b"\1" * 32


def test_a_missing_library_is_named(mfa_kit: MfaKit, box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """python-pskc is an optional dependency."""
    for name in [name for name in sys.modules if name.startswith("mfa_kit.adapters.seedfiles")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pskc", None)
    result = mfa_kit.run("token", "import", box)
    assert (result.code, "pip install 'mfa-kit[tokens]'" in result.err) == (2, True)


def verdicts(mfa_kit: MfaKit) -> dict[str, str]:
    return {row["serial"]: row["verdict"] for row in said(mfa_kit.run("token", "list", "--output", "json"))["rows"]}


@pytest.mark.parametrize("days", [0, 3])
def test_one_right_code_in_a_wide_window_is_no_rejection(mfa_kit: MfaKit, box: Path, tmp_path: Path, days: int) -> None:
    """A code near its expected step proves the token.

    A code that is days away may be a coincidence, so a second code is needed.
    """
    table, now = tmp_path / "readings.csv", NOW
    table.write_text(f"{T30.serial},{T30.shows(now, ahead=-days * 86400)},,{now:.0f}\n")
    arguments: list[str | Path] = ["token", "accept", box, "--readings", table, "--window", "4d", "--output", "json"]
    row = said(mfa_kit.run(*arguments))
    assert (row["accepted"], row["rejected"]) == (0 if days else 1, 0)
    if days:
        assert row["not_taken"][0]["where"] == "line 1"
        assert row["not_taken"][0]["reason"].startswith(
            "not decided: its clock is 8640 steps (3 days) behind, or the match is a coincidence"
        )
        assert row["not_taken"][0]["reason"].endswith("type a second code, the next one on the display")
        codes = [T30.shows(now, ahead=-days * 86400 - off) for off in (30, 0)]
        table.write_text(f"{T30.serial},{','.join(codes)},{now:.0f}\n")
        assert said(mfa_kit.run(*arguments))["accepted"] == 1


def test_at_a_terminal_a_second_code_is_requested_if_needed(
    mfa_kit: MfaKit, box: Path, person: Callable[..., Person]
) -> None:
    """The user does not type the first code again."""
    first, second = two(T30, ahead=-3 * 86400)
    desk = person(T30.serial, first, second, "")
    row = said(mfa_kit.run("token", "accept", box, "--window", "4d", "--output", "json"))
    assert (row["accepted"], row["rejected"]) == (1, 0)
    assert desk.asked[1:3] == ["code", "next code"]
    assert desk.told[0].startswith("not decided: its clock is")


def test_a_mistyped_code_is_reported_and_requested_again(
    mfa_kit: MfaKit, box: Path, person: Callable[..., Person]
) -> None:
    """Codes that are too short, equal or not consecutive do not reject the token. An empty line skips the token."""
    first, second = two(T60)
    before, _ = two(T60, ahead=-60)
    desk = person(T60.serial, "1", "2", first, first, before, second, first, second, BOX[2].serial, "123456", "", "")
    row = said(mfa_kit.run("token", "accept", box, "--two", "--output", "json"))
    assert [told.partition(";")[0] for told in desk.told[:3]] == [
        "not decided: that is not a code",
        "not decided: the same code was typed twice",
        "not decided: both codes are right, but the token showed other codes in between",
    ]
    assert (row["accepted"], row["rejected"], row["untested"]) == (1, 0, 2)


def test_at_a_terminal_a_code_is_requested_until_it_is_valid(
    mfa_kit: MfaKit, box: Path, person: Callable[..., Person]
) -> None:
    desk = person(T30.serial, "12345", "12345678", "abcdef", T30.shows(NOW), BOX[2].serial, "1", "", "")
    row = said(mfa_kit.run("token", "accept", box, "--output", "json"))
    assert (row["accepted"], row["rejected"], row["untested"]) == (1, 0, 2)
    assert [told.partition(":")[0] for told in desk.told] == ["not decided"] * 3 + ["accepted", "not decided"]
    assert desk.asked.count("code") == 6


def test_a_person_verifies_one_token(mfa_kit: MfaKit, box: Path, person: Callable[..., Person]) -> None:
    """After a typing error the prompt is repeated, and an empty line means that no display was read."""
    desk = person("12345", T30.shows(NOW))
    assert mfa_kit.run("verify", "token", T30.serial, "--seeds", box).code == 0
    assert desk.told[0].startswith("not decided: that is not a code")
    person("")
    assert mfa_kit.run("verify", "token", T30.serial, "--seeds", box).code == 8


def test_a_person_chooses_hex_or_base32(mfa_kit: MfaKit, undecided: Path, person: Callable[..., Person]) -> None:
    desk = person("1", "2", *two(Made("T1", BOTH)))
    row = said(mfa_kit.run("token", "import", undecided, "--prove", "T1", "--output", "json"))
    assert row["encoding"] == "hex"
    assert desk.asked == ["first code", "next code"] * 2


def test_a_session_counts_only_its_own_box(
    mfa_kit: MfaKit, box: Path, tmp_path: Path, person: Callable[..., Person]
) -> None:
    """Other tokens of the inventory are not counted."""
    mfa_kit.run("token", "accept", box, "--readings", _readings(tmp_path, T30))
    other = tmp_path / "other.csv"
    other.write_bytes(boxes.entra([Made("20001")]))
    desk = person("")
    mfa_kit.run("token", "accept", other)
    assert desk.asked == ["serial (0 of 1 accepted)"]


def _readings(folder: Path, *made: Made) -> Path:
    table, now = folder / "right.csv", NOW
    table.write_text("".join(f"{one.serial},{one.shows(now)},,{now:.0f}\n" for one in made))
    return table


def test_an_older_reading_does_not_replace_a_newer_one(mfa_kit: MfaKit, box: Path, tmp_path: Path) -> None:
    mfa_kit.run("token", "accept", box, "--readings", _readings(tmp_path, T30))
    table, then = tmp_path / "old.csv", NOW - 86400
    table.write_text(f"{T30.serial},000000,111111,{then:.0f}\n")
    row = said(mfa_kit.run("token", "accept", box, "--readings", table, "--output", "json"))
    assert (row["accepted"], row["rejected"], verdicts(mfa_kit)[T30.serial]) == (1, 0, "accepted")


def test_a_failed_token_is_blocked_until_a_correct_code(
    mfa_kit: MfaKit, box: Path, user: str, codes: Callable[..., None]
) -> None:
    """Until then, the token is given to no user, however its serial is typed."""
    made = Made("AB 10001007")
    box.write_bytes(boxes.entra([made]))
    verify: list[str | Path] = ["verify", "token", "ab10001007", "--seeds", box, "--codes-stdin", "--output", "json"]
    enroll = ["enroll", user, "--with", "hardware-totp", "--serial", "ab10001007"]
    codes("000000", "111111")
    failed = said(mfa_kit.run(*verify))
    assert (failed["outcome"], failed["kept"], verdicts(mfa_kit)) == ("refused", True, {made.serial: "rejected"})
    assert "token ab10001007 was rejected" in mfa_kit.run(*enroll).err
    codes("12345")
    assert said(mfa_kit.run(*verify))["outcome"] == "undecided"
    assert verdicts(mfa_kit) == {made.serial: "rejected"}
    codes(made.shows(NOW))
    assert said(mfa_kit.run(*verify))["kept"]
    assert verdicts(mfa_kit) == {made.serial: "accepted"}
    assert "was rejected" not in mfa_kit.run(*enroll).err


def test_a_reading_of_another_seed_is_not_stored(mfa_kit: MfaKit, box: Path, codes: Callable[..., None]) -> None:
    mfa_kit.run("token", "import", box)
    box.write_bytes(boxes.entra([Made(T30.serial, b"another seed of twenty")]))
    codes("000000", "111111")
    result = mfa_kit.run("verify", "token", T30.serial, "--seeds", box, "--codes-stdin", "--output", "json")
    assert (said(result)["kept"], verdicts(mfa_kit)[T30.serial]) == (False, "untested")


def test_the_result_of_a_probe_is_kept(
    mfa_kit: MfaKit, at_lab: Lab, user: str, tmp_path: Path, codes: Callable[..., None]
) -> None:
    """A correct code does not change AWS's result. Only another probe changes it."""
    serial = "GAHT00990099"
    probe = ["verify", "token", serial, "--codes-stdin", "--probe-user", user]
    codes("123456", "654321")
    assert mfa_kit.run(*probe).code == 1
    assert verdicts(mfa_kit) == {serial: "rejected"}
    file, table = tmp_path / "serials.txt", tmp_path / "readings.csv"
    file.write_text(f"{serial}\n")
    table.write_text(f"{serial},123456,654321\n")
    row = said(mfa_kit.run("token", "accept", file, "--readings", table, "--output", "json"))
    assert (row["rejected"], row["not_taken"][0]["reason"].startswith("not decided: AWS rejected this token")) == (
        1,
        True,
    )
    refused = mfa_kit.run("enroll", user, "--with", "hardware-totp", "--serial", serial)
    assert f"mfa-kit verify token {serial} --probe-user USER" in refused.err
    made = Made(serial)
    at_lab.add_token(serial, made.base32 + "=" * (-len(made.base32) % 8))
    codes(*two(made, at=time.time()))
    assert mfa_kit.run(*probe).code == 0
    assert verdicts(mfa_kit) == {serial: "accepted"}


def test_a_file_of_serials_cannot_be_verified_by_codes(mfa_kit: MfaKit, tmp_path: Path) -> None:
    file = tmp_path / "serials.txt"
    file.write_text(f"{SOLD}\n")
    result = mfa_kit.run("verify", "token", SOLD, "--seeds", file, "--codes-stdin")
    assert (result.code, "has no seed of" in result.err) == (2, True)


@pytest.mark.parametrize("window", ["9" * 5000, "9" * 5000 + "d", "175201", "-1", "61d", "1e9d"])
def test_an_impossible_window_is_a_usage_error(mfa_kit: MfaKit, box: Path, window: str) -> None:
    assert mfa_kit.run("verify", "token", T30.serial, "--seeds", box, "--window", window).code == 2


def test_an_unwritable_sheet_is_refused_first(mfa_kit: MfaKit, box: Path, tmp_path: Path) -> None:
    """The error comes before codes are read, and no folder is created."""
    table = _readings(tmp_path, T30)
    result = mfa_kit.run("token", "accept", box, "--readings", table, "--sheet", tmp_path / "new" / "sheet.html")
    assert (result.code, result.out, (tmp_path / "new").exists()) == (2, "", False)
    (tmp_path / "there.html").write_text("mine")
    result = mfa_kit.run("token", "accept", box, "--readings", table, "--sheet", tmp_path / "there.html")
    assert (result.code, result.out, verdicts(mfa_kit) if result.out else {}) == (5, "", {})
    assert "the inventory is empty" in mfa_kit.run("token", "list").out


def test_a_sheet_is_written_through_a_link_to_a_folder(mfa_kit: MfaKit, box: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    mfa_kit.run("token", "accept", box, "--no-input", "--sheet", tmp_path / "link" / "sheet.html")
    assert (tmp_path / "real" / "sheet.html").exists()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"", "no codes can be read from readings.csv: this file is empty"),
        (b"\0", "this file is not text"),
        (b"# nothing\n", "readings.csv has no usable codes: it has no rows"),
        (b"serial,code\n", "readings.csv has no usable codes: it has no rows"),
        (
            b"T1\nT2,123456,,1999-01-01\nT3,123456,,2999-01-01\nT4,123456,,soon\n",
            (
                "line 1: it needs a serial number and a code; line 2: its time is before 2005; line 3: its time is in"
                " the future; line 4: the value after its serial number is neither a code nor a time"
            ),
        ),
    ],
)  # fmt: skip
def test_a_table_without_readings_is_an_error_with_reasons(
    mfa_kit: MfaKit, box: Path, tmp_path: Path, text: bytes, what: str
) -> None:
    """Each row has its reason, and the error names the required columns."""
    table = tmp_path / "readings.csv"
    table.write_bytes(text)
    result = mfa_kit.run("token", "accept", box, "--readings", table)
    assert result.code in {2, 5}
    assert what in result.err
    assert "serial, code[, second code][, time]" in result.err


@pytest.mark.parametrize("output", ["table", "json", "jsonl", "csv"])
def test_skipped_readings_are_reported_in_every_format(mfa_kit: MfaKit, box: Path, tmp_path: Path, output: str) -> None:
    table = tmp_path / "readings.csv"
    table.write_text(f"{T30.serial},{T30.shows(NOW)}\n77,123456\nbad\n")
    result = mfa_kit.run("token", "accept", box, "--readings", table, "--output", output)
    assert result.code == 1
    everything = result.out + result.err
    assert "line 2" in everything
    assert "77 is not in this box" in everything
    assert "line 3" in everything


def test_skipped_rows_are_reported_on_stderr_for_csv(mfa_kit: MfaKit, box: Path) -> None:
    box.write_bytes(boxes.entra(BOX) + b"u@example.com,9,bad!,30,Acme,D1\n")
    assert "line 5: its seed is not base32" in mfa_kit.run("token", "import", box, "--output", "csv").err


@pytest.mark.parametrize("capacity", [[], ["--capacity", "63"]])
def test_a_programmable_token_without_a_terminal_says_what_to_do(
    mfa_kit: MfaKit, user: str, capacity: list[str]
) -> None:
    result = mfa_kit.run("enroll", user, "--with", "programmable", "--serial", "8650012345", *capacity)
    assert result.code == 8
    assert "use a terminal: you scan a QR code with the token's app" in result.err


def test_a_table_can_require_two_codes(mfa_kit: MfaKit, box: Path, tmp_path: Path) -> None:
    """The option --two makes the second code necessary."""
    table = _readings(tmp_path, T30)
    row = said(mfa_kit.run("token", "accept", box, "--two", "--readings", table, "--output", "json"))
    assert (row["accepted"], row["rejected"]) == (0, 0)
    assert row["not_taken"][0]["reason"].startswith("not decided: --two requires two codes")


def test_exit_codes_at_a_terminal_are_the_same(mfa_kit: MfaKit, box: Path, person: Callable[..., Person]) -> None:
    person(*two(T60))
    assert T60.serial in mfa_kit.run("verify", "token", "--find", "--seeds", box).out
    person("1", "2", "123456", "654321")
    result = mfa_kit.run("verify", "token", SOLD)
    assert (result.code, "display-only" in result.out) == (0, True)
