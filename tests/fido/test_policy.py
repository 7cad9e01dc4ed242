"""Tests of the policy file: every line is understood, or refused by name."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mfa_kit.core.checks import Check, Failed, Passed, Value, judged
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.firmware import Version
from mfa_kit.security_keys.key_policy import KeyPolicy, parse_policy
from tests.fido.conftest import Desk
from tests.sizes import size

WHOLE = """
models = ["D7781E5D-e353-46aa-afe2-3ca49f13332a", "a6b1ae0823a7e6a7b0e0a53f2b6a7db98848a61f"]
certification = "L1plus"
fips = 2
firmware = "5.7.0"
pin = true
user-verification = true
transports = ["usb", "nfc"]
signed-metadata = true
no-advisories = true
"""


def test_a_complete_policy_is_read() -> None:
    """The lines are those of docs/keys.md."""
    assert parse_policy(WHOLE) == KeyPolicy(
        models=("d7781e5d-e353-46aa-afe2-3ca49f13332a", "a6b1ae0823a7e6a7b0e0a53f2b6a7db98848a61f"),
        certification="FIDO_CERTIFIED_L1plus",
        fips=2,
        firmware=Version(5, 7, 0),
        pin=True,
        user_verification=True,
        transports=("usb", "nfc"),
        signed_metadata=True,
        no_advisories=True,
    )


@pytest.mark.parametrize(
    ("certified", "missing"),
    [
        ({"FIDO": "L1plus", "FIPS-140-3": "L2"}, 0),
        ({"FIDO": "L2", "FIPS-140-2": "L3"}, 0),
        ({"FIDO": "L1", "FIPS-140-3": "L2"}, 1),
        ({"FIDO": "L1plus", "FIPS-140-3": "L1"}, 1),
        ({}, 2),
    ],
)
def test_the_certification_in_iam_is_compared_with_the_policy(certified: dict[str, str], missing: int) -> None:
    """The requested level or a higher one is enough. A level that IAM does not report counts as missing."""
    assert len(parse_policy(WHOLE).lacking(certified)) == missing


def test_an_empty_policy_requires_only_a_genuine_key() -> None:
    """Without a policy file, the requirement is the same."""
    assert parse_policy("") == KeyPolicy()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("firmwares = 1", "unknown setting 'firmwares' in the policy"),
        ("models = []", "invalid value of models in the policy"),
        ('models = ["yubikey"]', "invalid value of models in the policy"),
        ("models = 7", "invalid value of models in the policy"),
        ('certification = "L9"', "invalid value of certification in the policy"),
        ("fips = 5", "invalid value of fips in the policy"),
        ("fips = true", "invalid value of fips in the policy"),
        ("firmware = 5.7", "invalid value of firmware in the policy"),
        ('firmware = "5.7"', "invalid value of firmware in the policy"),
        ('firmware = "5.7.0\\n"', "invalid value of firmware in the policy"),
        ('pin = "yes"', "invalid value of pin in the policy"),
        ("transports = [1]", "invalid value of transports in the policy"),
        ('transports = ["USB"]', "invalid value of transports in the policy"),
        ("models = [", "the policy is not valid TOML"),
        ("[" * 10_000, "the policy is not valid TOML"),
    ],
)
def test_unknown_settings_are_refused_by_name(text: str, said: str) -> None:
    """A policy that is only partly understood would accept unwanted keys."""
    with pytest.raises(UsageFault, match=said[:30]) as caught:
        parse_policy(text)
    assert said in str(caught.value)


values = st.recursive(
    st.text(max_size=50) | st.integers() | st.booleans() | st.floats(), lambda v: st.lists(v, max_size=3), max_leaves=5
)


@given(name=st.sampled_from([line.split(" ")[0] for line in WHOLE.split("\n") if line]), value=values)
@settings(max_examples=size(75, 300), deadline=None)
def test_no_value_causes_a_traceback(name: str, value: object) -> None:
    """Each value gives a policy or an error message."""
    with contextlib.suppress(UsageFault):
        assert isinstance(parse_policy(f"{name} = {value!r}"), KeyPolicy)


@given(text=st.text(max_size=200))
@settings(max_examples=size(50, 200), deadline=None)
def test_no_text_causes_a_traceback(text: str) -> None:
    """Each text gives a policy or an error message."""
    with contextlib.suppress(UsageFault):
        assert isinstance(parse_policy(text), KeyPolicy)


def test_a_file_that_cannot_be_read_is_a_usage_error(desk: Desk, tmp_path: Path) -> None:
    """Cases: a missing file, a folder, and a file that is not text."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for file in (tmp_path / "absent", tmp_path, tmp_path / "binary"):
        done = desk.run("verify", "fido2", "--require", file)
        assert (done.code, "cannot be read" in done.err) == (2, True)


def test_results_without_a_pass_are_no_proof() -> None:
    """A result without checks is not a proof. A warning is not a failure."""
    passed, warned, failed, other = (Check("c", value, "") for value in Value)
    assert judged([]) == Failed(())
    assert judged([warned, other]) == Failed((warned, other))
    assert judged([passed, warned, other]) == Passed((passed, warned, other))
    assert judged([passed, failed]) == Failed((passed, failed))
