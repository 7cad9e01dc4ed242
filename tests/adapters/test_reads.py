"""Reads that get no response."""

from collections.abc import Callable

import pytest

from mfa_kit.adapters.aws.answers import READ_PAUSES, T, read
from mfa_kit.core.errors import OutcomeUnknownError


def test_every_attempt_waits_for_its_turn() -> None:
    """The pacing of a rollout also covers the last attempt, after which the error is raised."""
    attempts = 0

    def attempt() -> None:
        nonlocal attempts
        attempts += 1
        raise OutcomeUnknownError("no answer", "try again")

    turns: list[int] = []

    def turn(act: Callable[[], T]) -> T:
        turns.append(attempts)
        return act()

    with pytest.raises(OutcomeUnknownError):
        read(attempt, sleep=lambda _: None, turn=turn)
    assert turns == [*range(len(READ_PAUSES) + 1)]
