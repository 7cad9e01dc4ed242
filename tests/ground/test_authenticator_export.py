"""Exports of Google Authenticator: published examples are read, and damaged ones are reported."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import KeyUri, Seed, from_base32
from mfa_kit.core.otp import Secret as Opaque
from mfa_kit.qr_codes import key_uri, reading

# The example in the README of github.com/dim13/otpauth, which others repeat. Its secret is JBSWY3DPEHPK3PXP.
ALICE = "CjEKCkhlbGxvId6tvu8SGEV4YW1wbGU6YWxpY2VAZ29vZ2xlLmNvbRoHRXhhbXBsZTAC"
# github.com/scito/extract_otp_secrets, example_export.txt, made by the app. Its secret is 7KSQL2JTUDIS5EF65KLMRQIIGY.
TWO = (
    "CigKEPqlBekzoNEukL7qlsjBCDYSDnBpQHJhc3BiZXJyeXBpIAEoATACCjUKEPqlBekzoNEukL7qlsjBCDYSDnBpQHJhc3BiZXJyeXBp"
    "GgtyYXNwYmVycnlwaSABKAEwAhABGAEgACiQ7OOa%2Bf%2F%2F%2F%2F8B"
)
HOTP = "CiUKEPqlBekzoNEukL7qlsjBCDYSCWhvdHAgZGVtbyABKAEwATgEEAEYASAAKNuv15j6%2F%2F%2F%2F%2FwE%3D"
WORDS = (
    "CjYKEPqlBekzoNEukL7qlsjBCDYSHGVuY29kaW5nOiDCv8Okw4TDqcOJPyAoZGVtbykg"
    "ASgBMAIQARgBIAAorfCurv%2F%2F%2F%2F%2F%2FAQ%3D%3D"
)
# The same project, tests/data/test_plus_problem_export.txt, with `+`, `/` and `=` not escaped.
PLUS = (
    "ClEKFAciUeGF4aS6IDCvMv99ySZ1ekKsEiVTZXJlbml0eUxhYnM6dGVzdDFAc2VyZW5pdHlsYWJzLmNvLnVrGgxTZXJlbml0eUxhYnMgASgB"
    "MAIKUQoUkIY8/fbrHZWTb4CBln18lvqt0HcSJVNlcmVuaXR5TGFiczp0ZXN0MkBzZXJlbml0eWxhYnMuY28udWsaDFNlcmVuaXR5TGFicyAB"
    "KAEwAgpRChScf+1/Ua4d4gCY0W/7fj9VBkM9PBIlU2VyZW5pdHlMYWJzOnRlc3QzQHNlcmVuaXR5bGFicy5jby51axoMU2VyZW5pdHlMYWJz"
    "IAEoATACClEKFG6Qu0ryTSFA/l5rmvTIXtNeb5LtEiVTZXJlbml0eUxhYnM6dGVzdDRAc2VyZW5pdHlsYWJzLmNvLnVrGgxTZXJlbml0eUxh"
    "YnMgASgBMAIQARgBIAAogtTa1vz/////AQ=="
)


def uri(payload: str | bytes) -> KeyUri:
    text = payload if isinstance(payload, str) else base64.b64encode(payload).decode()
    return KeyUri(f"otpauth-migration://offline?data={text}")


def of_pi() -> Seed:
    return from_base32(Opaque("7KSQL2JTUDIS5EF65KLMRQIIGY"))


@pytest.mark.parametrize(
    ("payload", "labels", "seed", "picture"),
    [
        (ALICE, ["Example:Example:alice@google.com"], from_base32(Opaque("JBSWY3DPEHPK3PXP")), "1 of 1"),
        (TWO, ["pi@raspberrypi", "raspberrypi:pi@raspberrypi"], of_pi(), "1 of 1"),
        (WORDS, ["encoding: ¿äÄéÉ? (demo)"], of_pi(), "1 of 1"),
    ],
    ids=["alice", "two", "words"],
)
def test_exports_of_apps_are_read(payload: str, labels: list[str], seed: Seed, picture: str) -> None:
    """Labels and secrets are in the order of the export."""
    moved, which = reading.read_export(uri(payload))
    assert [each.label for each in moved] == labels
    assert all(each.seed == seed and each.for_aws for each in moved)
    assert which == picture


def test_an_export_without_escapes_is_read() -> None:
    """A plus sign is not read as a space."""
    moved, _ = reading.read_export(uri(PLUS))
    assert len(moved) == 4
    assert moved[2].seed == Seed(base64.b64decode("nH/tf1GuHeIAmNFv+34/VQZDPTw="))


def test_an_hotp_entry_is_not_for_aws() -> None:
    moved, _ = reading.read_export(uri(HOTP))
    assert [(each.label, each.for_aws) for each in moved] == [("hotp demo", False)]


@pytest.mark.parametrize("field", [b"\x20\x02", b"\x28\x02", b"\x30\x01", b"\x30\x00"])
def test_other_digests_digits_and_types_are_not_for_aws(field: bytes) -> None:
    """Cases: SHA-256, eight digits, HOTP and a missing type. If a field is repeated, the last value counts."""
    account = b"\x0a\x01K\x12\x01a\x20\x01\x28\x01\x30\x02" + field
    [moved], _ = reading.read_export(uri(b"\x0a" + bytes([len(account)]) + account))
    assert not moved.for_aws


def test_the_number_of_the_picture_is_returned() -> None:
    """An export of many accounts consists of several QR codes."""
    assert reading.read_export(uri(b"\x10\x01\x18\x03\x20\x01"))[1] == "2 of 3"


def test_fields_of_a_later_version_are_ignored() -> None:
    """Unknown fields of all four current wire types are skipped."""
    later = b"\x09" + bytes(8) + b"\x0d" + bytes(4) + b"\x7a\x02xx" + b"\xf8\x01\x01"
    account = b"\x0a\x01K" + later
    [moved], _ = reading.read_export(uri(later + b"\x0a" + bytes([len(account)]) + account))
    assert moved.seed == Seed(b"K")


def test_the_uri_is_as_aws_writes_it() -> None:
    """The issuer is AWS, whatever the app stored."""
    account = b"\x0a\x28" + bytes(range(40)) + b"\x12\x19Amazon:alice@000000000000\x30\x02"
    [moved], _ = reading.read_export(uri(b"\x0a" + bytes([len(account)]) + account))
    made = reading.uri_of(moved)
    assert key_uri.seed_of(made) == Seed(bytes(range(40)))
    assert key_uri.parse(made).label == "Amazon Web Services:alice@000000000000"


@pytest.mark.parametrize(
    "payload",
    [
        "!",
        "AAA",
        b"\x0a\x05abc",
        b"\x09\x00",
        b"\x0b",
        b"\x0a",
        b"\x80",
        b"\xff" * 11,
        b"\x0a\x02\x12\x00",
        b"\x0a\x02\x08\x01",
        b"\x0a\x06\x0a\x01K\x12\x01\xff",
    ],
    ids=[
        "base64",
        "padding",
        "short",
        "short-64",
        "group",
        "no-size",
        "no-end",
        "too-long",
        "no-seed",
        "number",
        "text",
    ],
)
def test_a_damaged_export_is_an_error(payload: str | bytes) -> None:
    """The error is one sentence and contains no part of the export."""
    with pytest.raises(IntegrityFault, match="export is damaged") as caught:
        reading.read_export(uri(payload))
    assert caught.value.hint


def test_an_address_with_another_host_is_not_an_export() -> None:
    """The scheme alone does not make an export."""
    other = KeyUri("otpauth-migration://online?data=AAAA")
    assert reading.is_export(other)
    assert not reading.is_export(KeyUri("otpauth://totp/a?secret=AAAA"))
    with pytest.raises(IntegrityFault):
        reading.read_export(other)


@given(st.binary(max_size=200))
def test_no_octets_crash_it(payload: bytes) -> None:
    """Any octets are either read or reported."""
    with suppress(IntegrityFault):
        reading.read_export(uri(payload))
