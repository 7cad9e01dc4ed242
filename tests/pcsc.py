"""A private pcscd for a test process. All suites share it, because libpcsclite reads its socket's address only once."""

import gc
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from mfa_kit.adapters.oath import pcsc
from mfa_kit.core.errors import DeviceFault
from mfa_kit.lab.devices.reader import YUBIKEY, Readers, SimulatedCard
from tests.conftest import without

# The third name tries to control the terminal that shows it. The fourth does too, and pyscard does not report the state
# of its cards.
NAMES = (YUBIKEY, "Nitrokey 3", "\x1b[31mEvil\x07 reader", "\u202eEvil reader")
TOLD = 3
NOTICED = 60.0
# If pcscd does not see a card within this time, it has given the card up, and the card is inserted again.
FORGOTTEN = 5.0
# Set for the whole session, before the first use of PC/SC.
SOCKET = "PCSCLITE_CSOCK_NAME"


def reader(number: int) -> str:
    """Return the name under which PC/SC lists a reader's first slot. The order of readers is not guaranteed."""
    return f"{NAMES[number]} 00 00"


@cache
def shared() -> Readers:
    """Start the private pcscd at first use. It ends with the process."""
    readers = Readers(NAMES)
    try:
        readers.__enter__()
    except DeviceFault as fault:
        without(f"{fault}; {fault.hint}")
    Path(os.environ[SOCKET]).symlink_to(readers.env[SOCKET])
    return readers


def plug(*cards: SimulatedCard | None) -> Readers:
    """Insert the given cards into the readers and empty the other readers.

    Return when the PC/SC clients see the change.
    """
    readers = shared()
    wanted = dict(enumerate([*cards, *[None] * (TOLD - len(cards))]))
    _insert(
        readers, {number: card for number, card in wanted.items() if card is None or not readers.swap(card, number)}
    )
    present = {number: card is not None for number, card in wanted.items()}
    if not _is_seen(present, within=FORGOTTEN):
        # pcscd may have given up the card whose place another one took, although it is still connected
        _insert(readers, wanted)
        assert _is_seen(present, within=NOTICED), pcsc.reader_states()
    return readers


def _insert(readers: Readers, cards: Mapping[int, SimulatedCard | None]) -> None:
    """Empty these readers, and insert their cards when pcscd has seen that: it may take a card for a pulled one."""
    for number in cards:
        readers.remove(number)
    assert _is_seen(dict.fromkeys(cards, False), within=NOTICED), pcsc.reader_states()
    for number, card in cards.items():
        if card:
            readers.insert(card, number)


def _is_seen(present: Mapping[int, bool], *, within: float) -> bool:
    """Wait until PC/SC clients see a card in each of these readers, or none. Return whether they did in time."""
    until = time.monotonic() + within
    expected = {reader(number): there for number, there in present.items()}
    while not expected.items() <= {state.name: state.present for state in pcsc.reader_states()}.items():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def clear() -> None:
    """Remove the cards that a test left in the readers, if there are any readers."""
    if shared.cache_info().currsize:
        plug()


@contextmanager
def stopped() -> Iterator[None]:
    """Stop the shared readers at the end of a session."""
    try:
        yield
    finally:
        if shared.cache_info().currsize:
            # The remaining objects of pyscard release their contexts here, while the service still runs.
            gc.collect()
            shared().__exit__(None, None, None)
            Path(os.environ[SOCKET]).unlink()
            shared.cache_clear()
