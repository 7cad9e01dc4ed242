"""The card readers and the states of their cards, as the smart card service (PC/SC) reports them.

No command is sent to a card. The libraries for smart cards are optional; without them, call nothing here.
"""

import socket
import sys
import time
from contextlib import suppress
from typing import NamedTuple

if sys.platform == "win32":
    raise ImportError("not on Windows")

with suppress(ImportError):
    from smartcard import scard

# How many seconds a program may keep a card open before the card counts as in use, and the time between two checks. A
# desktop looks at each new card, and the service notices only after a moment that a program has ended.
PATIENCE, TICK = 0.5, 0.05

# The names of the readers whose cards this process has open, once for each connection.
opened: list[str] = []


class CardReader(NamedTuple):
    """A reader: its name, whether it has a card, and whether only other programs have this card open."""

    name: str
    present: bool
    in_use: bool


def listens(path: str) -> bool:
    """Return whether a program listens on the Unix socket with this path, unix(7)."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def card_readers() -> list[CardReader]:
    """Return all readers, or an empty list if PC/SC is not available."""
    status, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    # After a failure, there is no PC/SC context to release.
    if status != scard.SCARD_S_SUCCESS:
        return []
    try:
        _, names = scard.SCardListReaders(context, [])
        # pyscard 2.3.1 accepts only ASCII names in this call.
        plain_names = [(name, scard.SCARD_STATE_UNAWARE) for name in names if name.isascii()]
        _, states = scard.SCardGetStatusChange(context, 0, plain_names)
        flags = {name: state for name, state, _ in states}
        held = scard.SCARD_STATE_INUSE | scard.SCARD_STATE_EXCLUSIVE
        return [
            CardReader(
                name,
                present=bool(flags.get(name, 0) & scard.SCARD_STATE_PRESENT),
                in_use=bool(flags.get(name, 0) & held) and name not in opened,
            )
            for name in names
        ]
    finally:
        scard.SCardReleaseContext(context)


def is_empty(name: str) -> bool:
    """Return whether a reader has no card, or was removed itself. The service notices that only after a moment.

    Return False if the name is not ASCII, because the state of such a reader is unknown.
    """
    until = time.monotonic() + PATIENCE
    while any(reader.present or not name.isascii() for reader in card_readers() if reader.name == name):
        if time.monotonic() > until:
            return False
        time.sleep(TICK)
    return True


def readers_in_use() -> list[str]:
    """Return the names of the readers whose cards only other programs have open, for longer than a moment."""
    until = time.monotonic() + PATIENCE
    while (names := [reader.name for reader in card_readers() if reader.in_use]) and time.monotonic() < until:
        time.sleep(TICK)
    return names
