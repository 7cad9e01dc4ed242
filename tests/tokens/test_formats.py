"""Each format is recognized by its content and reads back as written. Rows that are rejected are reported by line."""

import codecs
import string

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mfa_kit.adapters.seedfiles import files
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import folded
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.tokens.seeds import TOLD, DroppedRow, Encoding, Factor, SeedFile, Token
from tests.tokens import boxes
from tests.tokens.boxes import Made

SERIALS = st.text(string.ascii_letters + string.digits, min_size=4, max_size=16)
OCTETS = st.binary(min_size=10, max_size=64)
TOTP = st.builds(
    Made,
    serial=SERIALS,
    octets=OCTETS,
    digest=st.sampled_from(["sha1", "sha256", "sha512"]),
    digits=st.sampled_from([6, 7, 8, 9]),
    period=st.sampled_from([30, 60]),
)
HOTP = st.builds(
    Made,
    serial=SERIALS,
    octets=OCTETS,
    factor=st.just("hotp"),
    digits=st.sampled_from([6, 8]),
    counter=st.integers(0, 2**64 - 1),
)
ENTRA = st.builds(Made, serial=SERIALS, octets=OCTETS, period=st.sampled_from([30, 60]))
YUBICO = st.builds(
    Made,
    serial=st.text("cbdefghijklnrtuv", min_size=6, max_size=12).map(lambda name: f"{name}:1"),
    octets=st.binary(min_size=20, max_size=20),
    factor=st.just("hotp"),
    digits=st.sampled_from([6, 8]),
    counter=st.integers(0, 65535),
)
SHORT = st.builds(
    Made,
    serial=st.integers(1, 10**8).map(str),
    octets=st.binary(min_size=20, max_size=20),
    factor=st.just("hotp"),
    counter=st.integers(0, 65535),
)
SIX = st.builds(Made, serial=SERIALS, octets=OCTETS, factor=st.just("hotp"), counter=st.integers(0, 2**64 - 1))


def some(made: st.SearchStrategy[Made]) -> st.SearchStrategy[list[Made]]:
    return st.lists(made, min_size=1, max_size=6, unique_by=lambda one: folded(one.serial))


def check(content: bytes, made: list[Made], encoding: Encoding) -> None:
    """Check that a file is read as it was made. If its rows fit both encodings, both readings are returned."""
    found = boxes.read(content)
    assert encoding in {reading.encoding for reading in found.readings}
    reading = next(each for each in found.readings if each.encoding is encoding)
    assert [boxes.matches(key, one) for key, one in zip(reading.keys, made, strict=True)] == [True] * len(made)
    assert not reading.dropped


@given(some(TOTP | HOTP), st.sampled_from(["plain", "passphrase", "pre-shared key"]))
@settings(max_examples=settings().max_examples // 2)
def test_pskc_round_trip(made: list[Made], how: str) -> None:
    """Tested: plain, PBKDF2 and pre-shared key (RFC 6030, 4 and 6)."""
    check(boxes.pskc(made, how=how), made, Encoding.BASE64)


@given(some(ENTRA), st.sampled_from(["base32", "hex"]))
def test_entra_round_trip(made: list[Made], encoding: str) -> None:
    """Entra's columns, as Token2 and Deepnet send them. Some vendors write hex where Entra requires base32."""
    check(boxes.entra(made, encoding=encoding), made, Encoding(encoding))


@given(some(TOTP | HOTP))
@example([Made("HEXKEY", bytes(range(10)))])
@example([Made("HEXKEY", bytes(10))])
@example([Made("secret", b"\xaa" * 10)])
@example([Made("1E23", b"\x5e" + b"\x12" * 19)])
def test_linotp_round_trip(made: list[Made]) -> None:
    """The columns are serial, hex, type, digits, step or counter, hash.

    A serial with a column's name is not a header.
    """
    check(boxes.linotp(made), made, Encoding.HEX)


@given(some(YUBICO))
def test_yubico_traditional_round_trip(made: list[Made]) -> None:
    """The log of Yubico's personalization tool has a public ID and a slot instead of a serial."""
    check(boxes.yubico(made), made, Encoding.HEX)


@given(some(SHORT))
def test_yubico_own_layout_round_trip(made: list[Made]) -> None:
    """The columns are serial, public ID, moving factor, key, access code and time."""
    check(boxes.yubico_short(made), made, Encoding.HEX)


@given(some(SIX))
def test_safenet_round_trip(made: list[Made]) -> None:
    """A file in the layout for SafeNet's eToken PASS gives the tokens that were written to it."""
    check(boxes.safenet(made), made, Encoding.HEX)


@given(some((TOTP | HOTP).filter(lambda one: len(one.octets) >= 14 and one.digits in {6, 7, 8})))
def test_key_uris_round_trip(made: list[Made]) -> None:
    """The URIs are written by pyotp, which accepts seeds of 112 bits or more."""
    check(boxes.uris(made), made, Encoding.BASE32)


def test_a_bare_list_of_serials_is_of_tokens_that_aws_sold() -> None:
    """Such a file has no seeds, so only a file with exactly this layout is read in this way."""
    found = boxes.read(b"# box 7\nGAHT12345678\nGAHT12345679\n")
    assert [token.serial for token in found.bare] == ["GAHT12345678", "GAHT12345679"]
    assert not any(token.octets for token in found.bare)


def test_serials_in_a_list_may_have_any_spelling() -> None:
    """A line with a typing error is skipped, and the other lines are read."""
    found = boxes.read(b"GAHT12345678\ngaht 12345678\n# the second box\nGAHT1234567\nGAHT12345679\n")
    assert [token.serial for token in found.bare] == ["GAHT12345678", "GAHT12345679"]
    (reading,) = found.readings
    assert [(each.where, each.reason) for each in reading.dropped] == [
        ("line 4", "it is not a serial number of a token that AWS sold")
    ]


def test_an_endless_cell_is_reported() -> None:
    with pytest.raises(IntegrityFault, match="line 1: a cell is too long"):
        boxes.read(b"T1," + b"a" * 200_000)


@pytest.mark.parametrize("serial", ["Secret Key", "hexkey", "Seed"])
def test_a_damaged_first_row_is_not_a_header(serial: str) -> None:
    """The row contains a value that looks like a seed, so it is a row. The other rows are read as usual."""
    for first in (f"{'0f' * 20},totp,5", "0f0f,totp", "0f0f,,6", "0f0f,,,,SHA-1"):
        (reading,) = boxes.read(f"{serial},{first}\nT1,{'0e' * 20},totp,6\n".encode()).readings
        assert [key.token.serial for key in reading.keys] == ["T1"]
        assert [each.where for each in reading.dropped] == ["line 1"]


@pytest.mark.parametrize("word", ["Time Interval In Seconds", "tokenenrolmentdate"])
def test_a_header_of_long_words_is_a_header(word: str) -> None:
    """Some words of sixteen or more letters are valid base32."""
    content = f"serial,{word},secret key,type\nT1,30,{'0f' * 20},totp\n".encode()
    assert [key.token.serial for key in boxes.keys(content)] == ["T1"]


def test_a_file_in_yubicos_flexible_layout_has_no_header() -> None:
    """The layout is `YUBIHOTP{serial}_{configSlot},{secretKeyTxt},hotp,{hotpDigits}`, as documented by privacyIDEA."""
    (key,) = boxes.keys(f"YUBIHOTP508326_1,{'0f' * 20},hotp,8\n".encode())
    assert (key.token.serial, key.token.factor, key.token.digits) == ("YUBIHOTP508326_1", Factor.HOTP, 8)


def test_a_table_without_header_and_type_has_hotp_tokens() -> None:
    """HOTP is the default of LinOTP and privacyIDEA."""
    (key,) = boxes.keys(f"T1,{'0f' * 20}\n".encode())
    assert key.token.factor is Factor.HOTP


def test_version_two_of_the_table_has_its_users_first() -> None:
    """The columns of privacyIDEA start with user, resolver and realm."""
    (key,) = boxes.keys(f"# version: 2\nalice,res,realm,T1,{'0f' * 20},totp,6,60\n".encode())
    assert (key.token.serial, key.token.period) == ("T1", 60)


TABLE = boxes.entra([Made("1", bytes(20))])


@pytest.mark.parametrize(
    "table",
    [
        codecs.BOM_UTF8 + TABLE,
        TABLE.replace(b",", b";"),
        TABLE.replace(b",", b"\t"),
        TABLE.replace(b"\n", b"\r\n"),
        TABLE.decode().encode("utf-16"),
        TABLE.replace(b",Acme", b'  ,"Acme, Inc"').replace(b"Display", b"D\xe9pot"),
        TABLE.replace(b"serial number", b"Serial_Number").replace(b"secret key", b"SecretKey"),
        TABLE.replace(b"u@example.com,", b"").replace(b"upn,", b""),
        TABLE + b"\n ; ;\n,,,,\n",
    ],
)  # fmt: skip
def test_variants_of_tables_are_read(table: bytes) -> None:
    """Tables may have a byte order mark, other delimiters and line ends, quotes, other spellings, and no upn."""
    (key,) = boxes.keys(table, wanted=Encoding.BASE32)
    assert (key.token.serial, key.seed) == ("1", Seed(bytes(20)))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1.23E+09,{hex},totp", "a spreadsheet rounded a number in this row"),
        ("T1,1.23E+39,totp", "a spreadsheet rounded a number in this row"),
        ("T1,{hex},ocra", "its type is neither hotp nor totp"),
        ("T1,{hex},totp,5", "its codes do not have 6 to 9 digits (RFC 6030)"),
        ("T1,{hex},totp,six", "its codes do not have 6 to 9 digits (RFC 6030)"),
        ("T1,{hex},totp,6,45", "its time step is neither 30 nor 60 s"),
        ("T1,{hex},hotp,6,18446744073709551616", "its counter is out of range"),
        ("T1,0f0f,totp", "its seed has 2 bytes; 10 to 128 are supported"),
        ("T1,{hex}g,totp", "its seed is not hex"),
        ("T1", "the seed is missing"),
        (",{hex},totp", "the serial number is missing"),
        ('"T1,{hex},totp', "a quotation mark is not closed"),
        ("T0,{hex},totp", "T0 is a duplicate of line 1, with a different seed or different parameters"),
        ("t 0,{hex},totp", "t 0 is a duplicate of line 1, with a different seed or different parameters"),
        ("{hex},{hex},totp", "its serial looks like a seed; check whether two columns were swapped"),
    ],
)
def test_a_skipped_row_is_reported_with_line_and_reason(row: str, reason: str) -> None:
    """The other rows are imported."""
    first = "T0,0123456789abcdef0123456789abcdef01234567,totp\n"
    last = "T9,89abcdef0123456789abcdef0123456789abcdef,totp\n"
    (reading,) = boxes.read((first + row.format(hex="0f" * 20) + "\n" + last).encode()).readings
    assert DroppedRow("line 2", reason) in reading.dropped
    assert "T9" in {key.token.serial for key in reading.keys}


@pytest.mark.parametrize(
    "content",
    [
        boxes.entra([Made("T1")]),
        boxes.linotp([Made("T1")]),
        boxes.yubico([Made("cccccccccccb:1", factor="hotp")]),
        boxes.yubico_short([Made("1", factor="hotp")]),
    ],
)
def test_an_unclosed_quotation_mark_affects_only_its_line(content: bytes) -> None:
    """The result is the same in each layout of a table."""
    reading, *_ = boxes.read(content + b'"2,rest\n').readings
    assert len(reading.keys) == 1
    assert [each.reason for each in reading.dropped] == ["a quotation mark is not closed"]


def test_a_serial_with_two_seeds_is_skipped() -> None:
    """It is unknown which of the rows is wrong."""
    rows = [Made("T1"), Made("T1", bytes(range(20))), Made("T2")]
    (reading,) = boxes.read(boxes.linotp(rows)).readings
    assert [key.token.serial for key in reading.keys] == ["T2"]
    assert [each.where for each in reading.dropped] == ["line 3", "line 2"]


def test_a_duplicate_row_is_imported_once() -> None:
    made = Made("T1")
    (reading,) = boxes.read(boxes.linotp([made, made])).readings
    assert len(reading.keys) == 1
    assert reading.dropped == (DroppedRow("line 3", "T1 is a duplicate of line 2"),)


def test_other_events_of_yubicos_log_are_reported() -> None:
    """Yubico OTP and static passwords are not OATH."""
    log = (
        boxes.yubico([Made("cccccccccccb:1", factor="hotp")]) + b"Yubico OTP,1/1/13,1,vv,ab,d26a7c0f85fdda28bd81,,,0\n"
    )
    (reading,) = boxes.read(log).readings
    assert reading.dropped == (DroppedRow("line 3", "it is not an OATH one-time password"),)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("otpauth://steam/x?secret=AAAAAAAAAAAAAAAA", "its type is neither totp nor hotp"),
        ("otpauth://totp/x?secret=AAAAAAAAAAAAAAAA&secret=BBBBBBBBBBBBBBBB", "a parameter occurs twice"),
        ("otpauth://totp/x?issuer=A", "it has no secret"),
        ("otpauth://totp/x?=&", "it has no secret"),
        ("otpauth://totp/x?secret=AAAAAAAAAAAAAAAA&Secret=BBBBBBBBBBBBBBBB", "a parameter occurs twice"),
        ("otpauth://totp/x?secret=AAAAAAAAAAAAAAAA&encoder=steam", "its codes are not plain digits"),
        ("otpauth://[", "it is not a key URI"),
        ("https://example.com/?secret=AAAAAAAAAAAAAAAA", "it is not a key URI"),
        ("otpauth://totp/?secret=AAAAAAAAAAAAAAAA", "the serial number is missing"),
        ("otpauth://totp/x?secret=01890189", "its seed is not base32"),
        ("otpauth://totp/x?secret=AAAAAAAAAAAAAAAA&algorithm=MD5", "its hash is not one of sha1, sha256, sha512"),
    ],
)
def test_a_skipped_key_uri_is_reported(line: str, reason: str) -> None:
    content = boxes.uris([Made("T1")]) + line.encode()
    (reading,) = boxes.read(content).readings
    assert reading.dropped == (DroppedRow("line 2", reason),)


@pytest.mark.parametrize(
    "parameters",
    [
        "secret={}&counter=1&image=https://example.com/a.png&foo&bar=",
        "SECRET={}&Digits=6&PERIOD=30",
        *(f"secret={{}}&algorithm={each}" for each in ("sha1", "SHA-1", "HmacSHA1", "HMAC-SHA-1")),
    ],
)
def test_differences_that_change_no_code_are_read(parameters: str) -> None:
    """Unknown parameters are ignored. The case of names and the spelling of the hash do not matter."""
    secret = Made("T1").base32
    grouped = "+".join(secret[at : at + 4] for at in range(0, len(secret), 4))
    for text in (secret, secret.lower(), grouped, grouped.lower(), f"{secret}%3D%3D"):
        (key,) = boxes.keys(f"otpauth://totp/Acme:T1?{parameters.format(text)}".encode())
        assert boxes.matches(key, Made("T1"))


BOTH = bytes.fromhex("aabbccddee2233445566aabbccddee2233445566")


def test_rows_that_fit_both_encodings_have_both_readings() -> None:
    """The same letters are valid hex and valid base32, so mfa-kit does not guess."""
    found = boxes.read(boxes.linotp([Made("T1", BOTH)]))
    assert {reading.encoding for reading in found.readings} == {Encoding.HEX, Encoding.BASE32}


def test_one_row_with_one_possible_encoding_decides_for_all() -> None:
    """All rows of a file use the same encoding."""
    found = boxes.read(boxes.linotp([Made("T1", BOTH), Made("T2", bytes(range(20)))]))
    assert [reading.encoding for reading in found.readings] == [Encoding.HEX]


def test_contradicting_rows_require_an_option() -> None:
    """One row can only be hex, another row only base32, so the user has to choose."""
    mixed = f"T1,{bytes(range(20)).hex()}\nT2,{Made('', b'~' * 20).base32}\n".encode()
    with pytest.raises(IntegrityFault, match="line 1 can only be hex and the seed at line 2 only base32"):
        boxes.read(mixed)
    (reading,) = boxes.read(mixed, wanted=Encoding.BASE32).readings
    assert [key.token.serial for key in reading.keys] == ["T2"]
    assert reading.dropped == (DroppedRow("line 1", "its seed is not base32"),)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "this file is empty"),
        (b"\0\1\2", "this file is not text"),
        (b"PK\x03\x04rest", "a spreadsheet or a ZIP archive"),
        (b"\x1f\x8brest", "compressed with gzip"),
        (b"-----BEGIN PGP MESSAGE-----\n", "encrypted with PGP"),
        (b"age-encryption.org/v1\n", "encrypted with age"),
        (b"<html><body/></html>", "neither PSKC nor SafeNet XML"),
        (b"dear helpdesk,\nfind enclosed the tokens\n", "no row of this file can be read|no token of this file"),
        (b"# only a comment\n", "this file has no rows"),
        (b"serial,secret key\nT1,aa\n", "the header of this table has no column for type or time interval"),
        (b"upn,secret key\nT1,aa\n", "the header of this table has no column for serial"),
        (b"serial,otp key,type\nT1,%s,totp\n" % (b"0f" * 20), "the header of this table has no column for seed"),
        # The largest counter could be a seed in hex.
        (b"crypto_module,counter\nmodule,18446744073709551615\n", "the header of this table has no column for seed"),
        (b"<Tokens><Token serial='1'/></Tokens>", "the seed is missing"),
        (b"<Tokens><Token serial='1'><Seed>00</Seed><Seed>00</Seed></Token></Tokens>", "it has more than one Seed"),
        (
            b"<Tokens><Token serial='1'><Seed>%s<x/>00</Seed></Token></Tokens>" % (b"0f" * 20),
            "one of its values contains an element",
        ),
        (b"serial,secret key,hexkey,type\nT1,aa,bb,totp\n", "has more than one column for seed"),
        (b"serial,secret key,type,digits,length\nT1,aa,totp,6,8\n", "has more than one column for digits"),
        (b"\n" * 500_001 + b"x,y", "more than 500000 rows"),
    ],
)
def test_a_file_that_is_not_a_seed_file_is_refused(content: bytes, what: str) -> None:
    with pytest.raises((IntegrityFault, UsageFault), match=what) as error:
        boxes.read(content)
    assert error.value.hint


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("0001 0203 0405 0607 0809 0a0b 0c0d 0e0f 1011 1213", True),
        ("000102-030405-060708-090a0b-0c0d0e-0f1011-1213", True),
        ("000102030405060708090a0b0c0d0e0f1011 1213", False),
        ("00010203 0405 0607 0809 0a0b 0c0d 0e0f 1011 1213", False),
    ],
)
def test_equal_groups_are_joined_and_a_single_space_is_refused(text: str, taken: bool) -> None:
    """A space in place of a letter would give a shorter seed."""
    reading, *_ = boxes.read(f"T1,{text}\nT2,{'0f' * 20}\n".encode()).readings
    assert ("T1" in {key.token.serial for key in reading.keys}) == taken


def test_a_shared_seed_is_noted() -> None:
    """Vendors have sold tokens that all had the same seed."""
    found = boxes.read(boxes.linotp([Made("T1", bytes(range(20))), Made("T2", bytes(range(20)))]))
    assert any("2 of its tokens share a seed" in note for note in found.notes)


def test_a_long_seed_without_a_hash_is_noted() -> None:
    """The hash is probably SHA-256, but mfa-kit does not assume that."""
    found = boxes.read(boxes.linotp([Made("T1", bytes(range(32)))]))
    assert any("1 of its seeds have the length for SHA-256" in note for note in found.notes)


SEED32 = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


@pytest.mark.parametrize(
    "text",
    [
        f"serial number,secret key,time interval,type\nT1,{SEED32},{SEED32},totp\n",
        f"serial number,secret key,time interval,type\nT1,{SEED32},30,{SEED32}\n",
        f"serial number,secret key,type,digits,hash\nT1,{SEED32},totp,{SEED32},{SEED32}\n",
        f"serial number,secret key,type,hash\nT1,{SEED32},totp,{SEED32}\n",
        f"serial number,secret key,type\n{SEED32},{SEED32},totp\n{SEED32},{SEED32},totp\n",
        f"serial number,secret key,type,model\nT1,{SEED32},totp,{SEED32}\n",
        f"{SEED32},{'0f' * 20},totp\n{SEED32},{'0e' * 20},totp\n",
        "0123456789,0123456789,totp,0123456789\n",
        f"JBSW-Y3DP-EHPK-3PXP-JBSW-Y3DP-EHPK-3PXP,{'0f' * 20},totp\n",
        f"LOGGING START,1\n{SEED32},1,1,T1,,{'0f' * 20}\n",
    ],
)  # fmt: skip
def test_no_cell_of_a_seed_file_is_quoted(text: str) -> None:
    """A cell in the wrong column may be a seed."""
    with pytest.raises(IntegrityFault) as error:
        boxes.read(text.encode())
    said = f"{error.value} {error.value.hint}"
    assert "line 2" in said or "line 1" in said
    assert SEED32 not in said
    assert SEED32[:4] not in said
    assert "0123456789" not in said


def test_serials_of_digits_and_few_letters_are_not_seeds() -> None:
    serials = ["1" * 40, "GAHT12345678", "FTK-2024-0001-AAAA", "abcdefabcdef0123"]
    rows = "".join(f"{serial},{at:040x},totp\n" for at, serial in enumerate(serials))
    assert [key.token.serial for key in boxes.keys(rows.encode(), wanted=Encoding.HEX)] == serials


def test_the_first_ten_invalid_rows_and_their_number_are_shown() -> None:
    rows = "".join(f"T{at},0f0f,totp\n" for at in range(TOLD + 3))
    with pytest.raises(IntegrityFault) as error:
        boxes.read(rows.encode(), wanted=Encoding.HEX)
    assert str(error.value).count("its seed has 2 bytes") == TOLD
    assert str(error.value).endswith("; and 3 more")


def test_a_new_format_is_a_module_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module reads files that it recognizes, and the other formats read the other files."""
    token = Token(serial="OURS1", maker="us")
    ours = files.SeedFormat(
        lambda contents: contents.first_line == "%ours",
        lambda contents: SeedFile(layout=f"ours, {len(contents.text)} letters", readings=(), bare=(token,)),
    )
    monkeypatch.setattr(files, "FORMATS", (ours, *files.FORMATS))
    found = files.read_seed_file(b"# a comment\n%ours\n", unlock=lambda _: Secret(""), now=0.0)
    assert (found.layout, found.bare) == ("ours, 18 letters", (token,))
    assert files.read_seed_file(b"T1,3132333435363738393031323334353637383930", lambda _: Secret(""), now=0.0).readings
