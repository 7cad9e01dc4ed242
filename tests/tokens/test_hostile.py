"""Hostile and damaged seed files: they cause an error, but never a hang or a wrong seed.

`MFA_KIT_MUTATIONS` is the number of damaged files for each parser.
"""

import base64
import gzip
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from mfa_kit.adapters.seedfiles import files
from mfa_kit.core.errors import IntegrityFault, MfaKitError, UsageFault
from mfa_kit.core.otp import Secret
from mfa_kit.tokens.seeds import Encoding, WrittenReading
from tests.sizes import size
from tests.tokens import boxes
from tests.tokens.boxes import Made

MUTATIONS = size(2000, 10000, "MFA_KIT_MUTATIONS")
# CPU seconds. No file of a few kilobytes may keep a parser busy for longer, even on a slow machine.
SECONDS = 10.0
NOW = 1_800_000_000.0


def sealed(made: list[Made], how: str) -> bytes:
    """Write a container whose salts and initialization vectors are the same in each run."""
    with patch("os.urandom", random.Random(how).randbytes):
        return boxes.pskc(made, how=how)


TOTP = [Made(f"100{at}", period=30 + 30 * (at % 2)) for at in range(4)]
HOTP = [Made(f"200{at}", factor="hotp", counter=at) for at in range(4)]
SLOTS = [Made(f"cccccccccc{at}:1", factor="hotp") for at in "bcde"]
FILES: dict[str, tuple[bytes, Encoding]] = {
    "pskc": (boxes.pskc(TOTP + HOTP), Encoding.BASE64),
    "pskc with a passphrase": (sealed(TOTP, "passphrase"), Encoding.BASE64),
    "pskc with a pre-shared key": (sealed(HOTP, "pre-shared key"), Encoding.BASE64),
    "entra": (boxes.entra(TOTP), Encoding.BASE32),
    "linotp": (boxes.linotp(TOTP + HOTP), Encoding.HEX),
    "yubico, traditional": (boxes.yubico(SLOTS), Encoding.HEX),
    "yubico, own": (boxes.yubico_short(HOTP), Encoding.HEX),
    "safenet": (boxes.safenet(HOTP), Encoding.HEX),
    "key URIs": (boxes.uris(TOTP + HOTP), Encoding.BASE32),
}
AUTHENTIC = {name for name in FILES if name.startswith("pskc with")}
MADE = {one.octets for one in TOTP + HOTP + SLOTS}


def mutations(content: bytes, *, count: int, seed: str) -> Iterator[bytes]:
    """Yield damaged copies: bits flipped, octets removed, doubled or moved, or text that confuses parsers inserted."""
    dice = random.Random(seed)
    words = (b"<", b"&", b'"', b",", b"\n", b"=", b"\xff", b"\0", b"]]>", b"<!--", b"9" * 400, b"-1", b"&#0;", b"\xc3")
    for _ in range(count):
        data = bytearray(content)
        for _ in range(dice.randint(1, 3)):
            at, long = dice.randrange(len(data)), dice.randint(1, 40)
            match dice.randrange(6):
                case 0:
                    data[at] ^= 1 << dice.randrange(8)
                case 1:
                    data[at] = dice.randrange(256)
                case 2:
                    del data[at : at + long]
                case 3:
                    data[at:at] = data[at : at + long]
                case 4:
                    data[at:at] = dice.choice(words)
                case _:
                    piece = bytes(data[at : at + long])
                    del data[at : at + long]
                    to = dice.randrange(len(data) + 1)
                    data[to:to] = piece
            if not data:
                data = bytearray(b"x")
        yield bytes(data)


def name_in_iam(octets: bytes, content: bytes, encoding: Encoding) -> bool:
    """Return whether a file contains a seed as text, ignoring spaces and hyphens: every program would read the same."""
    text = re.sub(rb"[\s\0]", b"", content).upper()
    match encoding:
        case Encoding.HEX:
            return octets.hex().upper().encode() in text
        case Encoding.BASE32:
            # The last letter may have bits that mean nothing.
            return base64.b32encode(octets).rstrip(b"=")[:-1] in text
        case Encoding.BASE64:
            return base64.b64encode(octets).upper().rstrip(b"=")[:-1] in text


def judge(content: bytes, *, name: str, encoding: Encoding) -> str:
    """Read a damaged file and return the outcome. It must be an error of mfa-kit or genuine seeds."""
    began = time.thread_time()
    try:
        found = boxes.read(content)
    except (IntegrityFault, UsageFault):
        outcome = "refused"
    else:
        outcome = "read"
        for reading in found.readings:
            if len(found.readings) == 1:
                assert reading.encoding is encoding or not name.startswith(("entra", "linotp")), (
                    "the encoding was guessed"
                )
            for key in reading.keys:
                octets = key.seed.reveal()
                if name in AUTHENTIC:
                    assert octets in MADE, "a seed was taken that nobody made"
                else:
                    assert octets in MADE or name_in_iam(octets, content, reading.encoding), (
                        "a seed the file does not spell"
                    )
                assert not key.token.wrong()
    assert time.thread_time() - began < SECONDS
    return outcome


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_refused_or_read_literally(name: str) -> None:
    """The random numbers have a fixed seed, so that a failure can be repeated."""
    content, encoding = FILES[name]
    outcomes = [
        judge(damaged, name=name, encoding=encoding) for damaged in mutations(content, count=MUTATIONS, seed=name)
    ]
    assert {"refused", "read"} >= set(outcomes)
    assert len(outcomes) >= 1000


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_refused_or_read_to_its_end(name: str) -> None:
    """The file is cut after each tenth of its length, and before its last octet."""
    content, encoding = FILES[name]
    for end in [*range(1, len(content), max(1, len(content) // 40)), len(content) - 1]:
        judge(content[:end], name=name, encoding=encoding)


def test_damaged_readings_are_reported_by_line() -> None:
    """The table of readings is also untrusted input."""
    table = b"serial,code,second,time\n1000,123456,234567,2026-01-02T03:04:05\n1001,123456,,\n1002,654321\n"
    for damaged in mutations(table, count=MUTATIONS, seed="readings"):
        try:
            text = files.decode_text(damaged)
        except IntegrityFault:
            continue
        lines = ["", *re.split(r"\r\n|[\r\n]", text)]
        for reading in files.read_written(text, now=NOW):
            line = lines[int(reading.where.removeprefix("line "))]
            if isinstance(reading, WrittenReading):
                assert reading.serial in line
                assert set(reading.typed.codes) <= {"".join(cell.split()) for cell in line.replace('"', "").split(",")}
            else:
                assert reading.reason


BILLION = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">
<!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]>
<KeyContainer>&c;</KeyContainer>"""
EXTERNAL = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]>
<Tokens><Token serial="&a;"><Seed>00112233445566778899</Seed></Token></Tokens>"""
REMOTE = b'<?xml version="1.0"?><!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><KeyContainer/>'
PARAMETER = b'<!DOCTYPE x [<!ENTITY % a SYSTEM "file:///etc/hostname"> %a;]><KeyContainer/>'


@pytest.mark.parametrize(
    "content", [BILLION, EXTERNAL, REMOTE, PARAMETER], ids=["billion laughs", "file", "net", "parameter"]
)
def test_entities_and_document_types_are_refused(content: bytes) -> None:
    """No seed file needs them."""
    with pytest.raises(IntegrityFault, match="has a declaration that is not allowed"):
        boxes.read(content)


def test_xml_that_is_nested_without_end_is_refused() -> None:
    deep = b"<KeyContainer>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</KeyContainer>"
    with pytest.raises(IntegrityFault, match="nested more than"):
        boxes.read(deep)


@pytest.mark.parametrize(
    "content",
    [
        lambda: b"<KeyContainer>" + b"<a/>" * 2_100_000,
        lambda: b"<KeyContainer " + b"".join(b"a%d='' " % number for number in range(2_100_000)),
    ],
    ids=["elements", "attributes"],
)
def test_xml_of_too_many_parts_is_refused_before_it_is_parsed(content: Callable[[], bytes]) -> None:
    with pytest.raises(IntegrityFault, match="too many elements"):
        boxes.read(content())


def test_xml_in_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(IntegrityFault, match="not well-formed"):
        boxes.read(b'<?xml version="1.0" encoding="x-none"?><KeyContainer/>')


def test_xml_with_another_declared_encoding_is_read_or_refused() -> None:
    """The checks apply to the text that expat decodes."""
    content = boxes.pskc(TOTP).replace(b"UTF-8", b"UTF-16", 1)
    with pytest.raises(IntegrityFault, match="not well-formed"):
        boxes.read(content)


def test_python_pskc_never_chooses_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """python-pskc would prefer lxml, if installed, and lxml supports entities."""
    monkeypatch.setattr("pskc.xml.xml_parse", None)
    assert len(boxes.keys(FILES["pskc"][0])) == len(TOTP + HOTP)


def test_an_endless_line_and_one_column_are_not_tables() -> None:
    for content in (b"a" * 3_000_000, b"x," * 200_000, b'"' + b"a,\n" * 60_000):
        with pytest.raises(IntegrityFault):
            boxes.read(content)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    large = tmp_path / "seeds.csv"
    with large.open("wb") as file:
        file.truncate(files.LARGEST + 1)
    with pytest.raises(UsageFault, match="larger than 64 MiB"):
        files.load_file(large)


def _fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("make", [_fifo, Path.mkdir, lambda _: None], ids=["fifo", "folder", "nothing"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "seeds")
    with pytest.raises(UsageFault, match=r"is not a file|cannot be read"):
        files.load_file(tmp_path / "seeds")


def test_a_packed_bomb_is_not_unpacked() -> None:
    with pytest.raises(UsageFault, match="gzip"):
        boxes.read(gzip.compress(bytes(1_000_000)))


def test_errors_do_not_contain_the_seed() -> None:
    """Neither the message, nor the hint, nor the cause of the error contains the seed."""
    told = []
    for name, (content, _) in FILES.items():
        for damaged in mutations(content, count=50, seed=f"{name} told"):
            try:
                found = boxes.read(damaged)
            except MfaKitError as error:
                told.append(f"{error} {error.hint} {error.__cause__}")
            else:
                told.append(f"{found!r} {found.notes}")
    everything = "\n".join(told)
    for one in TOTP + HOTP + SLOTS:
        assert one.hex not in everything
        assert one.base32 not in everything
        assert base64.b64encode(one.octets).decode() not in everything
    assert boxes.PASSPHRASE not in everything


MEMORY = """
import resource, sys
from tests.tokens import boxes
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    boxes.read(open(sys.argv[1], "rb").read())
except Exception as error:
    print(type(error).__name__, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", [b"<a/>", b"<a b='' c='' d=''/>"])
def test_the_largest_xml_is_parsed_within_the_memory_limit(tmp_path: Path, part: bytes) -> None:
    """XML with the largest number of parts takes less than half a GiB, whatever the parts are."""
    marks = part.count(b"<") + part.count(b"=")
    file = tmp_path / "large.xml"
    file.write_bytes(b"<KeyContainer>" + part * (1_990_000 // marks) + b"</KeyContainer>")
    done = subprocess.run([sys.executable, "-c", MEMORY, file], capture_output=True, text=True, check=True)
    name, mebibytes = done.stdout.split()
    assert name == "IntegrityFault"
    assert int(mebibytes) < 512


def test_a_wrong_secret_is_requested_once() -> None:
    """mfa-kit does not guess passphrases."""
    asked = []

    def unlock(what: str) -> Secret[str]:
        asked.append(what)
        return Secret("wrong")

    with pytest.raises((UsageFault, IntegrityFault)):
        files.read_seed_file(FILES["pskc with a passphrase"][0], unlock, now=0.0)
    assert asked == ["passphrase"]
