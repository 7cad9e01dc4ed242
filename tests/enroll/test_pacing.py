"""Tests of waiting before a write: requests that certainly had no effect are repeated, unclear requests never."""

from collections.abc import Iterable

import pytest

from mfa_kit.core.errors import BusyError, MfaKitError, OutcomeUnknownError, Throttled
from mfa_kit.core.models import DeviceSpec
from mfa_kit.core.otp import Created, KeyUri, Pair, Seed
from mfa_kit.enrollment.pacing import BUSY, THROTTLED, Backoff, InTurn
from tests.enroll.conftest import Person

INTENT = DeviceSpec(account="000000000000", partition="aws", user="alice", name="alice")
CREATED = Created(Seed(b""), KeyUri(""))


class Scripted:
    """A DeviceWriter that raises the given errors, then succeeds."""

    def __init__(self, errors: Iterable[MfaKitError]) -> None:
        self.errors, self.asked = list(errors), []  # type: tuple[list[MfaKitError], list[str]]

    def _act(self, what: str) -> None:
        self.asked.append(what)
        if self.errors:
            raise self.errors.pop(0)

    def create(self, spec: DeviceSpec, tags: dict[str, str]) -> Created:
        self._act(f"create {spec.name} {tags}")
        return CREATED

    def enable(self, spec: DeviceSpec, codes: object) -> None:
        assert callable(codes)
        self._act(f"enable {spec.name} {codes().first}")

    def resync(self, user: str, serial: str, codes: object) -> None:
        assert callable(codes)
        self._act(f"resync {user} {serial} {codes().first}")

    def deactivate(self, user: str, serial: str) -> None:
        self._act(f"deactivate {user} {serial}")

    def delete(self, serial: str) -> None:
        self._act(f"delete {serial}")

    def tag(self, serial: str, tags: dict[str, str]) -> None:
        self._act(f"tag {serial} {tags}")


def each_call(patient: InTurn) -> None:
    numbers = iter(range(100))
    assert patient.create(INTENT, {"a": "b"}) is CREATED
    patient.enable(INTENT, lambda: Pair(str(next(numbers)), ""))
    patient.resync("alice", "s", lambda: Pair(str(next(numbers)), ""))
    patient.deactivate("alice", "s")
    patient.delete("s")
    patient.tag("s", {"a": "b"})


def test_a_call_that_succeeds_does_not_wait() -> None:
    """Each call is passed on unchanged."""
    inner, person = Scripted([]), Person()
    each_call(InTurn(inner, Backoff(sleep=person.sleep, progress=person)))
    assert inner.asked == [
        "create alice {'a': 'b'}",
        "enable alice 0",
        "resync alice s 1",
        "deactivate alice s",
        "delete s",
        "tag s {'a': 'b'}",
    ]
    assert person.slept == []


@pytest.mark.parametrize(("kind", "pauses"), [(Throttled, THROTTLED), (BusyError, BUSY)])
def test_throttled_and_busy_calls_are_retried_with_messages(kind: type[MfaKitError], pauses: tuple[int, ...]) -> None:
    """The pauses get longer. Finally the error is raised."""
    inner, person = Scripted([kind("wait", "a while")] * (len(pauses) + 1)), Person()
    with pytest.raises(kind, match="wait"):
        InTurn(inner, Backoff(sleep=person.sleep, progress=person)).delete("s")
    assert person.slept == list(pauses)
    assert person.said == [f"wait; trying again in {pause} s" for pause in pauses]


def test_codes_are_computed_after_the_wait() -> None:
    """Old codes are never sent again."""
    inner, person = Scripted([Throttled("wait", ""), BusyError("wait", "")]), Person()
    numbers = iter(range(100))
    InTurn(inner, Backoff(sleep=person.sleep, progress=person)).enable(INTENT, lambda: Pair(str(next(numbers)), ""))
    assert inner.asked == ["enable alice 0", "enable alice 1", "enable alice 2"]
    assert person.slept == [THROTTLED[0], BUSY[0]]


def test_an_unclear_result_is_not_retried() -> None:
    """The request may have taken effect. The caller checks and decides."""
    inner, person = Scripted([OutcomeUnknownError("no answer", "")]), Person()
    with pytest.raises(OutcomeUnknownError):
        each_call(InTurn(inner, Backoff(sleep=person.sleep, progress=person)))
    assert len(inner.asked) == 1
    assert person.slept == []
