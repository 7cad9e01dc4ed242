"""RFC 4226 and RFC 6238 checked with their own vectors, pyotp and Debian's oathtool; secrets that do not show."""

import base64
import copy
import json
import pickle
import subprocess
import traceback
from collections.abc import Callable
from datetime import UTC, datetime

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfa_kit.core import otp
from mfa_kit.core.otp import KeyUri, Pair, Png, Secret, Seed
from tests.conftest import judge

RFC_SEED = Seed(b"12345678901234567890")
# RFC 4226, appendix D.
HOTP = ("755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489")
# RFC 6238, appendix B, SHA-1. Its eight-digit codes end in these six digits.
TOTP = {
    59: "94287082",
    1111111109: "07081804",
    1111111111: "14050471",
    1234567890: "89005924",
    2000000000: "69279037",
    20000000000: "65353130",
}
HIDDEN = b"\x01\xfeHIDDEN-SEED-OCTETS"
SECRETS: list[Secret[bytes] | Secret[str]] = [Seed(HIDDEN), Png(HIDDEN), KeyUri("otpauth://HIDDEN-SEED")]
PAIR = Pair("HIDDEN", "HIDDEN")
SHOWN: list[Callable[[object], str]] = [
    repr,
    str,
    "{}".format,
    "{!r}".format,
    "%s".__mod__,
    lambda secret: str([secret]),
    lambda secret: f"{secret}",
]


def test_the_codes_are_those_of_rfc_4226() -> None:
    """The codes of counters 0 to 9 are those of appendix D."""
    assert tuple(otp.codes(RFC_SEED, range(10))) == HOTP


@pytest.mark.parametrize(("at", "code"), TOTP.items())
def test_the_codes_are_those_of_rfc_6238(at: int, code: str) -> None:
    """The second code of the pair for a time is that of appendix B."""
    assert otp.pair(RFC_SEED, at).second == code[-6:]


@given(st.binary(min_size=14, max_size=64), st.integers(0, 2**62))
def test_pyotp_computes_the_same(seed: bytes, counter: int) -> None:
    """An independent implementation agrees for any secret and any counter."""
    assert list(otp.codes(Seed(seed), range(counter, counter + 1))) == [
        pyotp.HOTP(base64.b32encode(seed).decode()).at(counter)
    ]


@pytest.mark.parametrize("at", [59, 1111111109, 1764032400, 4102444799])
def test_oathtool_computes_the_same(at: int) -> None:
    """Debian's oathtool agrees for secrets of 40 octets, the length that AWS uses."""
    seed = bytes(range(200, 240))
    now = f"{datetime.fromtimestamp(at - 30, UTC):%Y-%m-%d %H:%M:%S} UTC"
    done = subprocess.run(
        [judge("oathtool"), "--totp", "--base32", "--window=1", f"--now={now}", "-"],
        input=base64.b32encode(seed),
        capture_output=True,
        check=True,
    )
    assert tuple(done.stdout.decode().split()) == otp.pair(Seed(seed), at)


@given(st.floats(30, 2**40))
def test_a_pair_has_the_codes_of_the_last_and_the_current_step(at: float) -> None:
    """The fraction of the second makes no difference."""
    now = int(at // 30)
    assert otp.pair(RFC_SEED, at) == tuple(otp.codes(RFC_SEED, range(now - 1, now + 1)))


@pytest.mark.parametrize(("at", "step"), [(0, 0), (29.999, 0), (30, 1), (59.5, 1), (60, 2)])
def test_a_step_is_thirty_seconds(at: float, step: int) -> None:
    """RFC 6238, 4.2: T0 = 0, X = 30."""
    assert otp.step(at) == step


@given(st.binary(min_size=1, max_size=64))
def test_base32_is_read_with_and_without_padding(seed: bytes) -> None:
    """Both text and octets are read, because boto3 returns octets and a URI contains text."""
    padded = base64.b32encode(seed)
    for written in (padded, padded.rstrip(b"=")):
        assert otp.from_base32(Secret(written.decode())) == Seed(seed)
        assert otp.from_base32(Secret(written)) == Seed(seed)


@pytest.mark.parametrize(
    ("text", "seed"),
    [
        ("MY======", b"f"),
        ("MZXQ====", b"fo"),
        ("MZXW6===", b"foo"),
        ("MZXW6YQ=", b"foob"),
        ("MZXW6YTB", b"fooba"),
        ("MZXW6YTBOI======", b"foobar"),
    ],
)
def test_base32_is_that_of_rfc_4648(text: str, seed: bytes) -> None:
    """The vectors of section 10, without the empty one, which is no secret."""
    assert otp.from_base32(Secret(text)) == Seed(seed)


@pytest.mark.parametrize("text", ["A", "ABC", "abcdefgh", "A1======", "é", "AAAA AAAA"])
def test_text_that_is_not_base32_is_refused(text: str) -> None:
    """RFC 4648 does not allow lower case, the digit 1, or spaces."""
    with pytest.raises(ValueError, match=r"[Pp]add|Non-base32|ASCII|alphabet|number of data"):
        otp.from_base32(Secret(text))


@pytest.mark.parametrize("secret", SECRETS, ids=repr)
@pytest.mark.parametrize("show", SHOWN)
def test_a_secret_shows_its_name_only(secret: Secret[bytes], show: Callable[[object], str]) -> None:
    """No way to print the object in a log line or report shows the secret."""
    assert show(secret).strip("[]") == f"{type(secret).__name__}(…)"


@pytest.mark.parametrize("secret", SECRETS, ids=repr)
@pytest.mark.parametrize(
    "take", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps, hash, vars, "{:>40}".format, "%d".__mod__]
)
def test_a_secret_cannot_be_copied_or_serialized(secret: Secret[bytes], take: Callable[[object], object]) -> None:
    """Pickle, copy, JSON, hash and vars raise errors, which contain no part of the secret."""
    with pytest.raises(TypeError) as caught:
        take(secret)
    assert "HIDDEN" not in str(caught.value)


def test_a_traceback_with_locals_shows_no_secret() -> None:
    """A crash reporter would collect this from a frame that holds secrets."""

    def broken(*secrets: object) -> None:
        raise RuntimeError(f"{secrets}")

    with pytest.raises(RuntimeError) as caught:
        broken(*SECRETS, PAIR)
    said = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert said.count("Seed(…), Png(…), KeyUri(…), Pair(…)") >= 2
    assert "HIDDEN" not in said


def test_secrets_with_the_same_type_and_value_are_equal() -> None:
    """Only secrets of the same kind are equal: a PNG is never a seed."""
    assert Seed(b"a") == Seed(b"a")
    assert Seed(b"a") != Seed(b"b")
    assert Seed(b"a") != Png(b"a")
    assert Seed(b"a") != b"a"
    assert KeyUri("a") == KeyUri("a")


def test_only_text_and_octets_are_compared() -> None:
    """A list of identities cannot be compared in constant time."""
    with pytest.raises(TypeError, match="only text and octets"):
        assert Secret([1]) == Secret([1])
