"""The diagnosis of a typed code: every mistake that people make has its own sentence. pyotp computes the codes."""

import base64

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfa_kit.core import otp, wrong_codes
from mfa_kit.core.otp import Seed
from mfa_kit.core.wrong_codes import Mistake

SEED = Seed(b"a seed of forty octets, as AWS makes them")
PHONE = pyotp.HOTP(base64.b32encode(SEED.reveal()).decode())
STEP = 58_000_000
AT = STEP * otp.PERIOD + 7.0


def typed(step: int) -> str:
    return PHONE.at(STEP + step)


def said(code: str, *, after: int | None = None) -> str:
    """Return the message and the hint."""
    found = wrong_codes.diagnose(code, SEED, time=AT, after=None if after is None else STEP + after)
    assert isinstance(found, Mistake)
    return f"{found.what}: {found.hint}"


@pytest.mark.parametrize("step", [-1, 0, 1])
@pytest.mark.parametrize("form", ["{}", " {}\n", "{0[0]}{0[1]}{0[2]} {0[3]}{0[4]}{0[5]}"])
def test_a_code_of_a_neighboring_step_is_right(step: int, form: str) -> None:
    """RFC 6238, 5.2 allows one step of delay. Spaces that apps show and people type are ignored."""
    assert wrong_codes.diagnose(form.format(typed(step)), SEED, time=AT) == STEP + step


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("", "nothing was typed"),
        ("  ", "nothing was typed"),
        ("12345", "not 6 digits"),
        ("1234567", "not 6 digits"),
        ("12345a", "not 6 digits"),
        ("١٢٣٤٥٦", "not 6 digits"),
        ("cccccbgjhbulhnicrgflngeddnrthkjbtrhvjkljtdhd", "a YubiKey when it was touched"),
        ("CCCCCBGJHBULHNICRGFLNGEDDNRTHKJBTRHVJKLJTDHD", "a YubiKey when it was touched"),
    ],
)
def test_text_that_is_not_a_code_is_described(code: str, sentence: str) -> None:
    """The text is diagnosed before any code is computed."""
    assert sentence in said(code)


@pytest.mark.parametrize(
    ("step", "about"),
    [
        (-2, "60 s behind"),
        (-3, "90 s behind"),
        (-20, "10 minutes behind"),
        (2, "60 s ahead"),
        (120, "60 minutes ahead"),
    ],
)
def test_a_wrong_clock_is_reported_with_its_offset(step: int, about: str) -> None:
    """The reference is AWS's clock, because IAM and STS use it.

    A clock that is two steps wrong works today and fails later.
    """
    assert f"the clock of the phone is about {about}" in said(typed(step))


def test_a_code_of_no_near_step_may_be_from_another_device() -> None:
    """A clock that is off by more than an hour, another device and a typing error cannot be told apart."""
    assert "does not match this device: the phone does not show it" in said(typed(wrong_codes.LOOKED_FOR + 1))


def test_the_first_code_again_is_not_a_second_one() -> None:
    """IAM would answer InvalidAuthenticationCode, as it does for every other mistake."""
    assert "the same code again" in said(typed(0), after=0)


def test_a_code_older_than_the_first_is_reported() -> None:
    """Both codes are correct, but in the wrong order."""
    assert "older than the previous code" in said(typed(-1), after=0)


@pytest.mark.parametrize("late", [0, 1, 2, 40])
def test_the_next_code_is_right_however_late(late: int) -> None:
    """The first code already proved that the clock is right."""
    assert wrong_codes.diagnose(typed(1 - late), SEED, time=AT, after=STEP - late) == STEP + 1 - late


def test_a_gap_between_the_codes_is_not_an_error() -> None:
    """The caller can then use this code as the first one."""
    assert wrong_codes.diagnose(typed(1), SEED, time=AT, after=STEP - 1) == STEP + 1


def test_the_message_can_name_another_clock() -> None:
    """A token has a clock, as a phone does."""
    found = wrong_codes.diagnose(typed(9), SEED, time=AT, shown_by="the token")
    assert isinstance(found, Mistake)
    assert "the clock of the token" in found.what


@given(st.binary(min_size=16, max_size=64), st.integers(0, 2**33), st.integers(-1, 1))
def test_codes_of_a_phone_with_a_right_clock_are_accepted(octets: bytes, at: int, step: int) -> None:
    """The test covers all times from 1970 on."""
    now = max(otp.step(at), 1)
    code = next(otp.codes(Seed(octets), range(now + step, now + step + 1)))
    assert isinstance(wrong_codes.diagnose(code, Seed(octets), time=now * otp.PERIOD), int)


def test_a_seed_is_grouped_as_people_type_it() -> None:
    """Letters come in groups of four, eight groups per line: 64 letters for a secret of AWS."""
    lines = otp.grouped(Seed(bytes(range(40)))).reveal().splitlines()
    assert [len(line.split()) for line in lines] == [8, 8]
    assert base64.b32decode("".join(lines).replace(" ", "")) == bytes(range(40))
