"""Tests of a Ctrl-C whose exception a library swallowed: it is raised again, with the notes of the error at hand."""

import pytest

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.stopping import Interrupts


def lose(interrupts: Interrupts) -> None:
    """Press Ctrl-C, and swallow the exception."""
    with pytest.raises(KeyboardInterrupt):
        interrupts.arrive(2, None)


def test_a_lost_interrupt_is_raised_again_until_it_is_known() -> None:
    interrupts = Interrupts()
    interrupts.check()
    interrupts.end()
    lose(interrupts)
    for again in (interrupts.check, interrupts.find_spec, interrupts.end):
        with pytest.raises(KeyboardInterrupt):
            again()
    interrupts.forget()
    interrupts.check()
    interrupts.find_spec()
    interrupts.end()


def test_a_lost_interrupt_gets_the_notes_of_the_error() -> None:
    """The notes of the error's cause count too."""
    interrupts = Interrupts()
    lose(interrupts)
    error, cause = UsageFault("second", "try"), UsageFault("first", "try")
    error.add_note("of the error")
    cause.add_note("of the cause")

    def fail() -> None:
        try:
            raise error from cause
        except UsageFault:
            interrupts.end()

    with pytest.raises(KeyboardInterrupt) as raised:
        fail()
    assert raised.value.__notes__ == ["of the error", "of the cause"]


def test_cleaning_up_is_not_ended_by_a_lost_interrupt() -> None:
    """It is raised afterward."""
    interrupts = Interrupts()
    lose(interrupts)
    with interrupts.settling():
        interrupts.check()
    with pytest.raises(KeyboardInterrupt):
        interrupts.check()
