"""Key URIs: AWS's form, read back by pyotp, and texts that are not key URIs."""

import base64

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import KeyUri, Seed
from mfa_kit.qr_codes import key_uri

SEED = Seed(bytes(range(40)))
SECRET = base64.b32encode(bytes(range(40))).decode()


def test_a_uri_is_written_as_aws_writes_it() -> None:
    """The issuer is in front of the label and in a parameter.

    As in AWS's URIs, parameters with default values are left out.
    """
    assert key_uri.otpauth(SEED, label="alice@123456789012").reveal() == (
        f"otpauth://totp/Amazon%20Web%20Services:alice%40123456789012?secret={SECRET}&issuer=Amazon%20Web%20Services"
    )


@given(st.binary(min_size=14, max_size=64))
def test_the_seed_is_read_back_from_the_uri(seed: bytes) -> None:
    """Secrets of any length, and so with any padding, are read back."""
    assert key_uri.seed_of(key_uri.otpauth(Seed(seed), label="a@1")) == Seed(seed)


def test_pyotp_gives_the_codes_of_the_seed() -> None:
    """A phone that scans the URI computes the same codes as mfa-kit."""
    parsed = pyotp.parse_uri(key_uri.otpauth(SEED, label="a@1").reveal())
    assert isinstance(parsed, pyotp.TOTP)
    assert parsed.at(59) == pyotp.TOTP(SECRET).at(59)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not contain a usable otpauth URI"),
        ("https://example.com", "not contain a usable otpauth URI"),
        ("otpauth://totp/a", "not contain a usable otpauth URI"),
        (f"otpauth://totp/a?secret={SECRET}&digits=x", "not contain a usable otpauth URI"),
        ("otpauth://[", "not contain a usable otpauth URI"),
        (f"otpauth://hotp/a?secret={SECRET}&counter=1", "not for an AWS device"),
        (f"otpauth://totp/a?secret={SECRET}&digits=8", "not for an AWS device"),
        (f"otpauth://totp/a?secret={SECRET}&period=60", "not for an AWS device"),
        (f"otpauth://totp/a?secret={SECRET}&algorithm=SHA256", "not for an AWS device"),
        (f"otpauth://totp/a?secret={SECRET}&encoder=steam", "not for an AWS device"),
        ("otpauth://totp/a?secret=18901890189018901890189018901890", "not contain a usable otpauth URI"),
        ("otpauth://totp/a?secret=A", "not contain a usable otpauth URI"),
    ],
)
def test_a_uri_that_aws_cannot_use_is_refused(text: str, said: str) -> None:
    """The error says what the URI is and what to do, and contains no part of the secret."""
    with pytest.raises(IntegrityFault, match=said) as caught:
        key_uri.seed_of(KeyUri(text))
    assert caught.value.hint
    assert SECRET not in str(caught.value) + caught.value.hint


@given(st.text() | st.text().map("otpauth://totp/".__add__) | st.text().map("otpauth://totp/a?secret=".__add__))
def test_any_text_is_read_or_refused(text: str) -> None:
    """A QR code may hold any text."""
    try:
        key_uri.parse(KeyUri(text))
    except IntegrityFault:
        return


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (
            f"otpauth://totp/Amazon%20Web%20Services:a@1?secret={SECRET}&issuer=Amazon%20Web%20Services",
            "Amazon Web Services:a@1",
        ),
        (f"otpauth://totp/a@1?secret={SECRET}", "a@1"),
    ],
)
def test_the_label_is_returned_without_the_secret(text: str, label: str) -> None:
    """The label is the issuer and the name, if the URI has them."""
    assert key_uri.parse(KeyUri(text)).label == label


EIGHTY = base64.b32encode(bytes(range(10))).decode()
GROUPED = " ".join(SECRET[at : at + 4] for at in range(0, len(SECRET), 4))


@pytest.mark.parametrize(
    "text",
    [
        f"otpauth://totp/a?secret={SECRET}&counter=1",
        f"otpauth://totp/a?secret={SECRET}&image=https://example.com/a.png&color=red&foo",
        *(f"otpauth://totp/a?secret={SECRET}&algorithm={each}" for each in ("sha1", "SHA-1", "HmacSHA1", "HMAC-SHA-1")),
        f"otpauth://totp/a?secret={SECRET.lower()}",
        f"otpauth://totp/a?secret={GROUPED.replace(' ', '+')}",
        f"otpauth://totp/a?secret={GROUPED.replace(' ', '%20').lower()}",
        f"otpauth://totp/a?secret={GROUPED.replace(' ', '-')}",
        f"otpauth://totp/a?secret={SECRET}%3D%3D%3D%3D",
        f"otpauth://TOTP/a?SECRET={SECRET}&Digits=6&Period=30",
        f"otpauth://totp/?secret={SECRET}",
    ],
)
def test_differences_that_change_no_code_are_accepted(text: str) -> None:
    """Unknown parameters, common spellings, and secrets in groups or in lower case are all read."""
    assert key_uri.parse(KeyUri(text)).seed == SEED


def test_two_values_of_a_parameter_are_refused() -> None:
    """It would be unknown which of the two values counts."""
    with pytest.raises(IntegrityFault, match="not contain a usable"):
        key_uri.parse(KeyUri(f"otpauth://totp/a?secret={SECRET}&secret={EIGHTY}"))


def test_an_issuer_that_differs_is_noted() -> None:
    """If the two issuers differ, apps show the one in the parameter."""
    found = key_uri.parse(KeyUri(f"otpauth://totp/AWS:a@1?secret={SECRET}&issuer=Amazon%20Web%20Services"))
    assert found.label == "Amazon Web Services:a@1"
    assert found.notes == ("the label names the issuer 'AWS', but the issuer parameter is 'Amazon Web Services'",)


def test_a_short_secret_is_noted() -> None:
    """Secrets of 80 bits are in use, but RFC 4226 requires 128."""
    assert key_uri.parse(KeyUri(f"otpauth://totp/a?secret={EIGHTY}")).notes == (
        "the secret has only 80 bits; RFC 4226 requires 128 or more",
    )
    with pytest.raises(IntegrityFault, match="not contain a usable"):
        key_uri.parse(KeyUri("otpauth://totp/a?secret=GEZDGNBV"))
