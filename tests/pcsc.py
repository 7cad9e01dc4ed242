"""One private pcscd for a test process: libpcsclite reads once where its daemon is, so all suites share it."""

import gc
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from mfa_kit.adapters.oath import pcsc
from mfa_kit.core.errors import DeviceFault
from mfa_kit.lab.devices.reader import YUBIKEY, Readers, SimulatedCard
from tests.conftest import without

# The third tries to drive the terminal that shows it; so does the fourth, whose cards pyscard's state does not tell.
NAMES = (YUBIKEY, "Nitrokey 3", "\x1b[31mEvil\x07 reader", "\u202eEvil reader")
TOLD = 3
NOTICED = 60.0
# Set for the whole session before anybody asks.
SOCKET = "PCSCLITE_CSOCK_NAME"


def reader(number: int) -> str:
    """Return the name under which PC/SC has a reader's first slot; the order of readers is nobody's promise."""
    return f"{NAMES[number]} 00 00"


@cache
def shared() -> Readers:
    """Start it, at the first need; it ends with the process."""
    readers = Readers(NAMES)
    try:
        readers.__enter__()
    except DeviceFault as fault:
        without(f"{fault}; {fault.hint}")
    Path(os.environ[SOCKET]).symlink_to(readers.env[SOCKET])
    return readers


def plug(*cards: SimulatedCard | None) -> Readers:
    """Let each reader have its card, and none where there is none; wait until PC/SC's clients see it."""
    readers = shared()
    wanted = [*cards, *[None] * (TOLD - len(cards))]
    for number, card in enumerate(wanted):
        if card is None:
            readers.remove(number)
        elif not readers.swap(card, number):
            readers.insert(card, number)
    until = time.monotonic() + NOTICED
    expected = {reader(number): card is not None for number, card in enumerate(wanted)}
    while not expected.items() <= dict(pcsc.reader_states()).items():
        assert time.monotonic() < until, pcsc.reader_states()
        time.sleep(0.01)
    return readers


def clear() -> None:
    """Take out what a test of cards has left in the readers, where there are any."""
    if shared.cache_info().currsize:
        plug()


@contextmanager
def stopped() -> Iterator[None]:
    """End the shared readers after a session."""
    try:
        yield
    finally:
        if shared.cache_info().currsize:
            gc.collect()  # what pyscard's objects still hold is given back while there is somebody to take it
            shared().__exit__(None, None, None)
            Path(os.environ[SOCKET]).unlink()
            shared.cache_clear()
