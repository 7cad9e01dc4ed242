"""Hex and base32 are never guessed. Debian's oathtool judges what is base32."""

import random
import re
import subprocess

import pytest

from mfa_kit.adapters.seedfiles.encoding import decode_base32_leniently
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.otp import Secret, Seed
from mfa_kit.tokens import matching
from mfa_kit.tokens.seeds import Encoding, TypedCodes
from tests.sizes import size
from tests.tokens import boxes

# From Entra's current sample, where 26 letters leave two bits that mean nothing.
SAMPLE = "2234567abcdef2234567abcdef"
TABLE = "upn,serial number,secret key,time interval,manufacturer,model\nu@example.com,{},{},30,Contoso,HardwareKey\n"
HEX = "0123456789abcdef0123456789abcdef"


def judged(text: str) -> bytes | None:
    """Return the seed that oathtool reads from base32, or None if oathtool refuses the text."""
    done = subprocess.run(
        ["oathtool", "-b", "-v", "--totp", "-"], input=text, capture_output=True, text=True, check=False
    )
    found = re.search(r"Hex secret: ([0-9a-f]*)$", done.stdout, re.MULTILINE)
    return bytes.fromhex(found[1]) if found else None


def some_texts(count: int) -> list[str]:
    """Return random texts of base32, hex and both. Some are padded or grouped, and some have an invalid letter."""
    dice = random.Random(2234567)
    texts = []
    for _ in range(count):
        letters = dice.choice(["ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "abcdef234567", "0123456789abcdef", "aAbB27"])
        text = "".join(dice.choices(letters, k=dice.randint(2, 42)))
        match dice.randrange(6):
            case 0:
                text += "=" * (-len(text) % 8)
            case 1:
                text = " ".join(re.findall(".{1,4}", text))
            case 2:
                at = dice.randrange(len(text))
                text = text[:at] + dice.choice(" =-18l\N{LATIN SMALL LETTER LONG S}") + text[at:]
            case _:
                pass
        texts.append(text)
    return texts


def test_base32_is_what_oathtool_accepts() -> None:
    """With --seed-encoding base32, each text that oathtool reads is read as the same seed."""
    texts = [SAMPLE, *some_texts(size(300, 10_000))]
    read = {text: seed for text in texts if (seed := judged(text))}
    assert read[SAMPLE]
    assert len(read) > len(texts) / 3
    assert [text for text in texts if text in read and decode_base32_leniently(Secret(text)) != Seed(read[text])] == []
    refused = [text for text in texts if text not in read and decode_base32_leniently(Secret(text)) is not None]
    assert [text for text in refused if not re.search("-|=$", text)] == []  # groups with hyphens, and wrong padding


def test_a_value_that_oathtool_reads_as_base32_is_not_hex() -> None:
    """Both readings are kept, unless the seed can only be one of them or the user gives the encoding."""
    tried = 0
    for text in some_texts(size(300, 10_000)):
        seed = judged(text)
        if not (seed and len(seed) >= 10 and re.fullmatch("([0-9a-f]{2}){10,}", text, re.IGNORECASE)):
            continue
        tried += 1
        found = boxes.read(TABLE.format("T1", text).encode())
        assert [reading.encoding for reading in found.readings] == [Encoding.HEX, Encoding.BASE32]
        (key,) = boxes.keys(TABLE.format("T1", text).encode(), wanted=Encoding.BASE32)
        assert key.seed == Seed(seed)
    assert tried > 10


def test_entras_sample_is_not_read_as_hex() -> None:
    """The codes decide: tokens with correct codes are accepted, and not stored as rejected."""
    seed = judged(SAMPLE)
    assert seed
    found = boxes.read(TABLE.format("T1", SAMPLE).encode())
    with pytest.raises(UsageFault, match="could be hex or base32"):
        matching.settled_reading(found)
    made = boxes.Made("T1", seed)
    typed = TypedCodes(codes=(made.shows(0), made.shows(30)), at=30)
    (reading,) = matching.settle_encoding(found, "T1", typed).readings
    assert [key.seed for key in reading.keys] == [Seed(seed)]


def test_base32_with_ignored_bits_requires_an_option() -> None:
    """A letter of such a text may be wrong or missing. The reason names the option that accepts the row."""
    rows = (
        TABLE.format("T1", "GEZDGNBVGY3TQOJQGE") + "u,T2,GEZDGNBVGY3TQOJQGF,30,a,b\nu,T3,GEZD GNBVGY3TQOJQGF,30,a,b\n"
    )
    (reading,) = boxes.read(rows.encode()).readings
    assert [key.token.serial for key in reading.keys] == ["T1"]
    assert [(each.where, "--seed-encoding base32" in each.reason) for each in reading.dropped] == [
        ("line 3", True),
        ("line 4", True),
    ]
    assert len(boxes.keys(rows.encode(), wanted=Encoding.BASE32)) == 3


def test_a_file_of_base32_with_ignored_bits_is_refused() -> None:
    """The text cannot be hex, so the reason does not mention hex."""
    with pytest.raises(IntegrityFault, match=r"not exactly base32.*--seed-encoding base32"):
        boxes.read(TABLE.format("T1", "GEZDGNBVGY3TQOJQGF").encode())


def test_one_seed_that_must_be_hex_decides_for_all() -> None:
    """All rows of a file have the same encoding."""
    rows = TABLE.format("T1", SAMPLE) + f"u,T2,{HEX},30,a,b\n"
    (reading,) = boxes.read(rows.encode()).readings
    assert (reading.encoding, len(reading.keys)) == (Encoding.HEX, 2)
