"""Orderly stop on a signal."""

import signal
from threading import Event

import pytest

from mfa_kit.cli.shutdown import ENDING, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_finishes_and_the_second_stops_now(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    """The work may already have been stopped for another reason. The message is printed once."""
    stop, told, broken = Event(), Event(), Event()
    stop.set()
    before = signal.getsignal(number)
    with stop_on_signals(stop, told.set, break_off=broken.set) as asked:
        assert not asked.is_set()
        signal.raise_signal(number)
        assert asked.is_set()
        assert told.is_set()
        assert not broken.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert broken.is_set()
    assert signal.getsignal(number) is before
    assert capfd.readouterr().err == f"{ENDING.format('what is in progress')}\n"
