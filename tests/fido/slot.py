"""The seam of pyscard: readers in this process with a card of the lab in each, in place of pcscd's."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from smartcard import System
from smartcard.Exceptions import CardConnectionException

from mfa_kit.adapters.oath import pcsc
from mfa_kit.lab.devices.apdu import Pulled
from mfa_kit.lab.devices.fidocard import FidoCard
from mfa_kit.lab.devices.securitykey import SimulatedKey

# pcsclite.h: SCARD_W_REMOVED_CARD.
REMOVED = 0x80100069
Answer = Callable[[int, bytes], bytes]


class Connection:
    """One connection to a card."""

    def __init__(self, card: FidoCard, tamper: Answer | None) -> None:
        self._card, self._tamper = card, tamper

    def connect(self, **_: Any) -> None:
        if self._card.gone.is_set():
            raise CardConnectionException(hresult=REMOVED)
        self._card.power()

    def transmit(self, apdu: Sequence[int], _: int | None = None) -> tuple[list[int], int, int]:
        try:
            answer = self._card.answer(bytes(apdu))
        except Pulled:
            self._card.gone.set()
            raise CardConnectionException(hresult=REMOVED) from None
        if self._tamper:
            answer = self._tamper(self._card.count, answer)
        return list(answer[:-2]), answer[-2], answer[-1]

    def disconnect(self) -> None:
        pass

    def release(self) -> None:
        pass


class Reader:
    """A reader with a key in it.

    `tamper` gets each response and its number, from 1 on, and returns the response to send.
    """

    def __init__(self, key: SimulatedKey, *, tamper: Answer | None = None, pulled_at: int = 0) -> None:
        self.card = FidoCard(key, pulled_at=pulled_at)
        self._tamper = tamper

    def __str__(self) -> str:
        return "Contactless reader 00 00"

    def createConnection(self) -> Connection:  # noqa: N802 - pyscard's name
        return Connection(self.card, self._tamper)


def seen(reader: Reader, patch: pytest.MonkeyPatch) -> None:
    """Make this the only reader for FIDO, and leave no reader for OATH."""
    patch.setattr(System, "readers", lambda: [reader])
    patch.setattr(pcsc, "pcsc_readers", list)
