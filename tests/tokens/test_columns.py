"""The columns of a table: each is understood, or named, or the file is refused. python-pskc's pskc2csv judges."""

import csv
import io
import itertools
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pskc import PSKC
from pskc.scripts import pskc2csv

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Seed
from mfa_kit.tokens.seeds import Encoding, Factor, SeededToken, Token
from tests.sizes import sample
from tests.tokens import boxes
from tests.tokens.boxes import URN, Made

SEED = "0f" * 20
# Each of these changes what is imported; any of the others may be beside them.
READ = (
    *("serial", "id", "secret", "algorithm", "algorithm_suite", "response_length", "time_interval", "time_drift"),
    *("counter", "manufacturer"),
)
OTHERS = (
    *("issuer", "time_offset", "model", "response_encoding", "response_check", "crypto_module", "device_userid"),
    *("challenge_encoding", "challenge_min_length", "challenge_check", "friendly_name", "key_profile", "expiry_date"),
    *("policy", "userid", "issue_no", "device_binding", "start_date", "key_reference", "key_userid"),
)
DEFAULTS = Token(serial="")


def container() -> bytes:
    """Write keys of both types with unusual parameters, and one key with as few parameters as possible."""
    made = PSKC()
    for at, (factor, suite, digits, period) in enumerate(
        [("totp", "HMAC-SHA256", 8, 60), ("hotp", None, 8, None), ("totp", None, None, None), ("totp", "SHA1", 6, 30)]
    ):
        made.add_key(
            id=f"K{at}", serial=f"T{at}", manufacturer="Acme", model="Display, 1", issuer="Issuer",
            secret=bytes([at] * 20), algorithm=URN + factor, algorithm_suite=suite, response_length=digits,
            time_interval=period,
            response_encoding="DECIMAL" if digits else None, counter=2**64 - 1 if factor == "hotp" else None,
            time_drift=-7 if factor == "totp" and at else None, time_offset=5 if factor == "totp" else None,
            crypto_module="module", friendly_name="Ada's", challenge_encoding="DECIMAL", challenge_min_length=4,
        )  # fmt: skip
    out = io.BytesIO()
    made.write(out)
    return out.getvalue()


def expected(token: Token, columns: Sequence[str]) -> Token:
    """Return a token with only the fields that these columns have. The other fields have their defaults."""
    fields: dict[str, dict[str, Any]] = {
        "algorithm_suite": {"digest": token.digest},
        "response_length": {"digits": token.digits},
        "time_interval": {"period": token.period},
        "time_drift": {"drift": token.drift},
        "counter": {"counter": token.counter},
        "manufacturer": {"maker": token.maker},
        "model": {"model": token.model},
    }
    known: dict[str, Any] = {"octets": token.octets, "factor": token.factor}
    for column in columns:
        known |= fields.get(column, {})
    return replace(DEFAULTS, serial=token.serial if "serial" in columns else f"K{token.serial[1:]}", **known)


def choices() -> list[tuple[str, ...]]:
    """Return all combinations of the columns that are read, in any order, each with some of the other columns."""
    dice = random.Random("columns")
    chosen = []
    for count in range(1, len(READ) + 1):
        for columns in itertools.combinations(READ, count):
            mixed = [*columns, *dice.sample(OTHERS, dice.randrange(5))]
            dice.shuffle(mixed)
            chosen.append(tuple(mixed))
    return chosen


def exported(columns: Sequence[str], encoding: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    source, table = folder / "seeds.xml", folder / "seeds.csv"
    source.write_bytes(container())
    arguments = ["pskc2csv", "-e", encoding, "-c", ",".join(columns), "-o", str(table), str(source)]
    monkeypatch.setattr("sys.argv", arguments)
    pskc2csv.main()
    return table.read_bytes()


def test_any_choice_of_pskc2csvs_columns_is_imported_correctly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CSV gives the same tokens as the container, or lacks a necessary column and is refused."""
    made = {key.token.serial: key for key in boxes.keys(container())}
    assert len(made) == 4
    read = 0
    for at, columns in enumerate(sample(choices(), 400)):
        encoding = ("hex", "base32")[at % 2]
        content = exported(columns, encoding, tmp_path, monkeypatch)
        complete = {"secret"} <= set(columns) and {"serial", "id"} & set(columns)
        if not complete or not {"algorithm", "time_interval"} & set(columns):
            with pytest.raises(IntegrityFault):
                boxes.read(content, wanted=Encoding(encoding))
            continue
        (reading,) = boxes.read(content, wanted=Encoding(encoding)).readings
        wanted = [
            (expected(key.token, columns), key.seed)
            for key in made.values()
            if "algorithm" in columns or (key.token.factor is Factor.TOTP and key.token.serial != "T2")
        ]
        assert [(key.token, key.seed) for key in reading.keys] == wanted, columns
        assert len(reading.dropped) == len(made) - len(wanted)
        read += 1
    assert read > 30


def test_the_default_columns_of_pskc2csv_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The column `algorithm` has the type of the token, with the name of RFC 6030."""
    columns = pskc2csv.parser.get_default("columns").split(",")
    content = exported(columns, "hex", tmp_path, monkeypatch)
    keys = boxes.keys(content, wanted=Encoding.HEX)
    assert [str(key.token.factor) for key in keys] == ["totp", "hotp", "totp", "totp"]
    assert [key.token.digits for key in keys] == [8, 8, 6, 6]


def one(header: str, row: str) -> SeededToken:
    (key,) = boxes.keys(f"serial,secret,{header}\nT1,{SEED},{row}\n".encode(), wanted=Encoding.HEX)
    return key


@pytest.mark.parametrize(
    ("header", "row", "token"),
    [
        ("type,response_length", "totp,8", Token(serial="T1", digits=8)),
        ("type,otp digits", "totp,8", Token(serial="T1", digits=8)),
        ("type,algo", "totp,SHA256", Token(serial="T1", digest="sha256")),
        ("type,crypto", "totp,HmacSHA512", Token(serial="T1", digest="sha512")),
        ("type,Hash Type", "totp,sha-256", Token(serial="T1", digest="sha256")),
        ("mode", "HOTP", Token(serial="T1", factor=Factor.HOTP)),
        ("algorithm", "HOTP", Token(serial="T1", factor=Factor.HOTP)),
        ("algorithm,step", "HMAC-SHA256,60", Token(serial="T1", digest="sha256", period=60)),
        ("algorithm,type", "HMAC-SHA256,totp", Token(serial="T1", digest="sha256")),
        ("type,refresh interval", "totp,60", Token(serial="T1", period=60)),
    ],
)
def test_columns_with_other_names_are_understood(header: str, row: str, token: Token) -> None:
    assert one(header, row).token == replace(token, octets=20)


@pytest.mark.parametrize(
    "name",
    [
        *("Digits shown", "code length (digits)", "TOTP seconds", "pass len", "my hash", "sha256?", "HMAC", "my mode"),
        *("kind of algorithm", "card type", "refresh", "window step", "token factor", "seed encoding", "event counter"),
        *("alg", "time", "otp time", "OTP_Time", "t0", "T0"),
    ],
)  # fmt: skip
def test_a_column_that_may_change_the_codes_is_understood_or_the_file_is_refused(name: str) -> None:
    with pytest.raises(IntegrityFault, match="has columns that could change how codes are computed") as error:
        boxes.read(f"serial,secret,type,{name}\nT1,{SEED},totp,8\n".encode())
    assert name in str(error.value)


def test_other_columns_that_are_not_understood_are_named() -> None:
    """A header cell that is long or has many letters and digits may be a seed, so it is named by its position."""
    names = ["e-mail", "Model Name", "last time seen", "JBSWY3DPEHPK3PXP2", "shape\x1b[1m", "o" * 24]
    header = ",".join(["serial", "secret", "type", *names])
    found = boxes.read(f"{header}\nT1,{SEED},totp\n".encode(), wanted=Encoding.HEX)
    (note,) = found.notes
    assert note == (
        r"columns that are not understood: e-mail, Model Name, last time seen, column 7, shape\x1b[1m, column 9"
    )


@pytest.mark.parametrize(
    ("header", "row", "reason"),
    [
        ("type,algorithm", "totp,urn:ietf:params:xml:ns:keyprov:pskc:hotp", "two of its cells contradict each other"),
        ("type,hash,algo", "totp,sha1,sha256", "two of its cells contradict each other"),
        ("algorithm", "urn:ietf:params:xml:ns:keyprov:pskc:pin", "the type is missing"),
        ("algorithm,step", "ocra,30", "its hash is not one of sha1, sha256, sha512"),
        ("type,response_encoding", "totp,ALPHANUMERIC", "its codes are not plain digits"),
        ("type,response_check", "totp,True", "its codes are not plain digits"),
        ("type,time_drift", "totp,fast", "its clock drift is not a number"),
        ("type,time_drift", "totp,999999999", "its clock drift is out of range"),
        ("step", "", "the time interval is missing"),
    ],
)
def test_cells_that_make_other_codes_are_refused(header: str, row: str, reason: str) -> None:
    table = f"serial,secret,{header}\nT0,{SEED[2:]}0e,{row}\nT1,{SEED},{row}\n"
    with pytest.raises(IntegrityFault, match=reason):
        boxes.read(table.encode(), wanted=Encoding.HEX)


def test_an_unknown_column_causes_only_a_note() -> None:
    """All rows are imported."""
    rows = csv.writer(out := io.StringIO())
    rows.writerows([["serial", "secret", "type", "comment"], ["T1", SEED, "totp", 'for "Ada", new']])
    (reading,) = boxes.read(out.getvalue().encode()).readings
    assert (len(reading.keys), reading.dropped) == (1, ())


def test_each_column_of_entras_table_is_known() -> None:
    """The column for the user is not read, and causes no note."""
    found = boxes.read(boxes.entra([Made("T1")]), wanted=Encoding.BASE32)
    assert found.notes == ()


@pytest.mark.parametrize("cell", ['="{}"', '"=""{}"""', "'{}", "{}"])
@pytest.mark.parametrize("line", ["", "sep=;\n", '"sep=;"\r\n', "SEP=;;;\n"])
def test_what_excel_keeps_as_text_is_read_as_text(cell: str, line: str) -> None:
    """A serial number keeps its zero. In a line `sep=;`, Excel gives the separator, and the line counts."""
    serials, seeds = ["0010001001", "10001002"], [SEED, SEED[:-1] + "e"]
    rows = [f"{cell.format(serial)};{cell.format(seed)};" for serial, seed in zip(serials, seeds, strict=True)]
    for text in (
        "\n".join(f"{row}totp;6;30" for row in rows),
        "serial;secret;type;a,b,c,d,e,f\n" + "\n".join(f"{row}totp" for row in rows),
    ):
        if line or "," not in text:  # without the line, the comma is more frequent
            (reading,) = boxes.read(f"{line}{text}\nT3;;totp\n".encode(), wanted=Encoding.HEX).readings
            assert [(key.token.serial, key.seed) for key in reading.keys] == [
                (serial, Seed(bytes.fromhex(seed))) for serial, seed in zip(serials, seeds, strict=True)
            ]
            assert [row.where for row in reading.dropped] == [f"line {text.count(chr(10)) + 2 + bool(line)}"]


@pytest.mark.parametrize("serial", ["1.23457E+14", "1.23457e+14", "123456789012.0"])
def test_a_serial_with_a_fraction_or_an_exponent_was_rounded(serial: str) -> None:
    with pytest.raises(IntegrityFault, match="a spreadsheet rounded a number in this row"):
        boxes.read(f"serial,secret,type\n{serial},{SEED},totp\n".encode(), wanted=Encoding.HEX)


def test_a_row_with_an_empty_type_is_not_taken_for_an_event_token() -> None:
    """Only a time token has a time interval. Without one, the type is unknown."""
    rows = f"serial,secret,type,time interval\nT1,{SEED},,60\nT2,{SEED[:-1]}e,hotp,\nT3,{SEED[:-1]}d,,\n"
    (reading,) = boxes.read(rows.encode(), wanted=Encoding.HEX).readings
    assert [(key.token.factor, key.token.period) for key in reading.keys] == [(Factor.TOTP, 60), (Factor.HOTP, 30)]
    assert [(row.where, row.reason) for row in reading.dropped] == [("line 4", "the type is missing")]
