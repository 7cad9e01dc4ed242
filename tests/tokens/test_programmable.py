"""Tokens on their way to a user: the tokens that may be given, the room for AWS's seed, and the token of a probe."""

from dataclasses import dataclass, field

import pytest

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import DeviceSpec, JournalEntry, Method
from mfa_kit.core.otp import Created, KeyUri, Pair, Seed
from mfa_kit.enrollment.ports import DeviceBackend
from mfa_kit.tokens.aws_check import TokenWithCodes
from mfa_kit.tokens.backends import CheckedToken, ProgrammableToken
from tests.tokens.person import Person

INTENT = DeviceSpec(account="000000000000", partition="aws", user="alice", name="alice", method=Method("programmable"))
ENTRY = JournalEntry(run="20260101T000000Z-00000001", spec=INTENT)
CREATED = Created(Seed(bytes(40)), KeyUri("otpauth://totp/x"))


@dataclass
class Behind:
    """The wrapped carrier, which records its calls."""

    told: list[str] = field(default_factory=list)

    def check(self, spec: DeviceSpec, *, sealed: bool) -> DeviceSpec:
        self.told.append(f"check {sealed}")
        return spec

    def install(self, spec: DeviceSpec, created: Created) -> None:
        self.told.append("install")

    def codes(self, spec: DeviceSpec) -> Pair:
        return Pair("123456", "654321")

    def check_reachable(self, entry: JournalEntry) -> None:
        self.told.append("reach")

    def remove(self, entry: JournalEntry) -> None:
        self.told.append("remove")


def programmable(
    behind: DeviceBackend, *answers: str, serial: str = "8650012", capacity: int | None = 63
) -> ProgrammableToken:
    return ProgrammableToken(serial, behind, capacity=capacity, interaction=Person(answers))


def checked(behind: DeviceBackend) -> CheckedToken:
    def free(serial: str, user: str) -> None:
        assert (serial, user) == ("8650012", "alice")

    return CheckedToken("8650012", behind, check=free)


@pytest.mark.parametrize("front", [programmable, checked])
def test_the_wrapped_carrier_does_the_other_steps(front: type[CheckedToken]) -> None:
    behind = Behind()
    backend = front(behind)  # type: ignore[call-arg, arg-type]
    backend.check(INTENT, sealed=True)
    backend.install(INTENT, CREATED)
    assert backend.codes(INTENT) == Pair("123456", "654321")
    backend.remove(ENTRY)
    assert behind.told == ["check True", "install", "remove"]


def test_the_serial_is_recorded_with_the_device() -> None:
    """The serial is in the device's tags and in the ledger."""
    assert programmable(Behind()).check(INTENT, sealed=False).hardware == "8650012"


@pytest.mark.parametrize(("capacity", "answers"), [(39, ()), (None, ("32",))])
def test_a_model_that_is_too_small_is_refused(capacity: int | None, answers: tuple[str, ...]) -> None:
    """The error comes before anything is created."""
    behind = Behind()
    with pytest.raises(UsageFault, match="but AWS's have 40"):
        programmable(behind, *answers, capacity=capacity).check(INTENT, sealed=False)
    assert behind.told == []


def test_a_missing_capacity_is_requested() -> None:
    assert programmable(Behind(), "40", capacity=None).check(INTENT, sealed=False).hardware == "8650012"


@pytest.mark.parametrize("answer", ["", "many", "4000", "-1", "٤٠"])
def test_an_answer_that_is_not_a_number_is_an_error(answer: str) -> None:
    with pytest.raises(UsageFault, match="is not a number of bytes"):
        programmable(Behind(), answer, capacity=None).check(INTENT, sealed=False)


@pytest.mark.parametrize("serial", ["", "a,b", "x" * 65, "a\nb"])
def test_a_serial_that_no_tag_can_have_is_refused(serial: str) -> None:
    with pytest.raises(UsageFault, match="is not the serial number of a token"):
        programmable(Behind(), serial=serial).check(INTENT, sealed=False)


def test_a_blocked_token_is_refused_first() -> None:
    def no(serial: str, user: str) -> None:
        raise UsageFault(f"{serial} is not for {user}", "")

    behind = Behind()
    with pytest.raises(UsageFault, match="8650012 is not for alice"):
        CheckedToken("8650012", behind, check=no).check(INTENT, sealed=False)
    assert behind.told == []


def test_no_seed_is_written_to_a_token_that_aws_sold() -> None:
    """Its codes were already read, so no seed is written and no seed has to be removed."""
    token = TokenWithCodes("GAHT12345678", Pair("123456", "654321"))
    with pytest.raises(AssertionError):
        token.install(INTENT, CREATED)
    token.remove(ENTRY)
    assert token.check(INTENT, sealed=False).serial == "GAHT12345678"
