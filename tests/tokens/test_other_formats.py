"""Files of other vendors: each is read, or refused with the true reason."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.tokens.seeds import DroppedRow, Encoding, Factor
from tests.tokens import boxes
from tests.tokens.boxes import Made

SEED = "0f" * 20


def graph(*tokens: object) -> bytes:
    return json.dumps({"@context": "#$delta", "value": tokens}).encode()


def token(serial: str, **more: object) -> dict[str, object]:
    """Return a token as in Microsoft Graph's documentation."""
    return {
        "@contentId": "1",
        "@odata.type": "#microsoft.graph.hardwareOathTokenAuthenticationMethodDevice",
        "serialNumber": serial,
        "manufacturer": "Thales",
        "model": "OTP 110 Token",
        "secretKey": Made(serial).base32,
        "timeIntervalInSeconds": 30,
        "assignTo": {"id": "0cadbf92-5e3d-4a2b-a2a4-1a2b3c4d5e6f"},
        **more,
    }


def test_entras_json_is_read() -> None:
    """Numbers in the file are JSON numbers, and the hash has the name hmacsha1 or hmacsha256."""
    content = graph(token("T1"), token("T2", timeIntervalInSeconds=60, hashFunction="hmacsha256"))
    found = boxes.read(content, wanted=Encoding.BASE32)
    (reading,) = found.readings
    first, second = reading.keys
    assert boxes.matches(first, Made("T1"))
    assert boxes.matches(second, Made("T2", period=60, digest="sha256"))
    assert (first.token.maker, first.token.model) == ("Thales", "OTP 110 Token")
    assert found.notes == ("columns that are not understood: assignTo",)


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: [one], lambda one: {"value": [one]}])
def test_one_token_and_a_list_of_them_are_read_too(wrap: object) -> None:
    assert callable(wrap)
    (key,) = boxes.keys(json.dumps(wrap(token("T1"))).encode(), wanted=Encoding.BASE32)
    assert key.where == "token 1"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[1", "this file is not JSON: line 1 is not valid JSON"),
        (b'{"serialNumber": "T1", "secretKey": "A", "secretKey": "B"}', "has the key 'secretKey' twice in one object"),
        (b"[]", "this JSON has no objects with a secretKey"),
        (b'{"value": 5}', "this JSON has no objects with a secretKey"),
        (b'{"value": ["secretKey"]}', "this JSON has no objects with a secretKey"),
        (graph({"secretKey": "A", "otpLength": 6, "digits": 8}), "more than one column for digits"),
        (graph({"secretKey": "A"}), "no column for serial"),
        (graph(token("T1", kindOfDigits=8)), "could change how codes are computed: kindOfDigits"),
    ],
)  # fmt: skip
def test_json_that_cannot_be_read_is_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(IntegrityFault, match=reason):
        boxes.read(content)


def test_a_token_of_json_that_cannot_be_used_is_reported_by_its_number() -> None:
    content = graph(token("T1"), "x", token("T3", timeIntervalInSeconds=30.5), token("T4", secretKey=None))
    (reading,) = boxes.read(content, wanted=Encoding.BASE32).readings
    assert [key.token.serial for key in reading.keys] == ["T1"]
    assert reading.dropped == (
        DroppedRow("token 2", "it is not a JSON object"),
        DroppedRow("token 3", "one of its numbers has a fraction"),
        DroppedRow("token 4", "the seed is missing"),
    )


def test_a_log_of_yubico_may_have_both_layouts() -> None:
    """The tool appends to its log, and the user may have changed the layout in between."""
    traditional = boxes.yubico([Made("cccccccccccb:1", factor="hotp")])
    short = boxes.yubico_short([Made("508326", factor="hotp")])
    for content in (traditional + short, short + traditional):
        (reading,) = boxes.read(content + f"YUBIHOTP1,{SEED},hotp,6\n".encode()).readings
        assert {key.token.serial for key in reading.keys} == {"cccccccccccb:1", "508326"}
        assert [each.reason for each in reading.dropped] == ["it fits neither of the two layouts of Yubico's log"]


SAFEWORD = b"""dn: sccAuthenticatorId=RAINER01
objectclass: sccCustomAuthenticator
sccAuthenticatorId: RAINER01
sccTokenType: OTP110
sccTokenData: sccKey=1C8D2D61B9A6F6C0F3DA8AD1A1E7A0D2B9F0E3C1;sccMode=T;sccPwLen=6;sccTick=30
"""


@pytest.mark.parametrize("content", [SAFEWORD, b"\n" + SAFEWORD.partition(b"\n")[2], SAFEWORD.replace(b"\n", b"\r\n")])
def test_a_safeword_dat_file_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(UsageFault, match="SafeWord") as error:
        boxes.read(content)
    assert "PSKC" in error.value.hint


def test_pings_file_does_not_state_the_type_of_its_tokens() -> None:
    """Two columns are read as HOTP, with a note. A number in the third column is refused, because it is not a type."""
    found = boxes.read(f"2308734700388,{SEED}\n".encode())
    assert found.readings[0].keys[0].token.factor is Factor.HOTP
    assert found.notes == (
        "rows without a type, such as line 1, are read as HOTP; for TOTP write serial,seed,totp,6,30",
    )
    with pytest.raises(IntegrityFault, match="its third value must be a type, not a number as in PingID's files"):
        boxes.read(f"2308734700388,{SEED},7\n".encode())
    assert boxes.read(f"2308734700388,{SEED},hotp,6,7\n".encode()).notes == ()


def test_armored_age_files_are_named() -> None:
    with pytest.raises(UsageFault, match="encrypted with age"):
        boxes.read(b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n")


@pytest.mark.parametrize("row", [f"T3,{SEED[2:]}0d", f"T3,{SEED[2:]}0d,,6", f"T3,{SEED[2:]}0d,"])
def test_a_row_without_a_type_is_reported_wherever_it_is(row: str) -> None:
    """The first rows have a type, and a dropped row does not count."""
    rows = f"# box 1\nT1,{SEED},totp,6,30\nT2,{SEED[2:]}0c,hotp\n"
    found = boxes.read(f"{rows}T9\n{row}\n".encode(), wanted=Encoding.HEX)
    assert found.notes == (
        "rows without a type, such as line 5, are read as HOTP; for TOTP write serial,seed,totp,6,30",
    )
    assert [key.token.factor for key in found.readings[0].keys] == [Factor.TOTP, Factor.HOTP, Factor.HOTP]
    assert boxes.read(f"{rows}T9\nT10,\n".encode(), wanted=Encoding.HEX).notes == ()


@pytest.mark.slow
@pytest.mark.parametrize("part", ["[],", "{},", "0,", '"",'])
def test_json_of_too_many_values_is_refused_before_it_is_parsed(part: str, tmp_path: Path) -> None:
    """57 MiB of empty lists took 1.5 GB. The process may use 500 MB."""
    (tmp_path / "box.json").write_text(f"[{part * (57 * 2**20 // len(part))}0]")
    program = f"""
import re
from pathlib import Path
from mfa_kit.adapters.seedfiles import files
content = files.load_file(Path({str(tmp_path / "box.json")!r}))
try:
    files.read_seed_file(content, lambda _: None, now=0)
except files.IntegrityFault as error:
    print(error)
# getrusage(2) would count the memory of the process that started this one.
print(int(re.search("VmHWM:\\\\s+(\\\\d+)", Path("/proc/self/status").read_text())[1]) < 500_000)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "this JSON has too many values\nTrue\n"


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("before", ["", "\r\n "])
def test_the_export_of_an_authenticator_app_is_named(coding: str, before: str) -> None:
    """Its text, as a scanner of QR codes shows it, is not a table. PowerShell writes UTF-16."""
    text = before + "otpauth-migration://offline?data=CjEKCkhlbGxvId6tvu8SGEV4YW1wbGU%3D\n"
    for content in (text.encode(coding), text.upper().encode(coding)):
        with pytest.raises(
            UsageFault, match="an export of an authenticator app, which has no display tokens"
        ) as caught:
            boxes.read(content)
        assert caught.value.hint.endswith("--image FILE")


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("Group,Title,Username,Password,URL,Notes,TOTP", "Root,AWS,alice,hunter2,,,{}"),  # KeePassXC
        ("folder,type,name,login_username,login_password,login_totp", ",login,AWS,alice,hunter2,{}"),  # Bitwarden
        ("url,username,password,totp,extra,name", "https://x,alice,hunter2,{},,AWS"),  # LastPass
    ],
)
def test_the_export_of_a_password_manager_is_named(header: str, row: str) -> None:
    """The seeds are in key URIs, which are another format."""
    row = row.format("otpauth://totp/AWS:alice?secret=JBSWY3DPEHPK3PXP")
    with pytest.raises(UsageFault, match="an export of a password manager, such as KeePassXC") as caught:
        boxes.read(f"{header}\n{row}\n".encode())
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"
    assert "otpauth://" in caught.value.hint
