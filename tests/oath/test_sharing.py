"""Tests that other programs keep their sessions with a card, and that no card stays unlocked.

The test's own handle is that of another program, because mfa-kit did not open it.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from smartcard import scard
from smartcard.pcsc.PCSCCardConnection import PCSCCardConnection

from mfa_kit.adapters.fido.key import open_key
from mfa_kit.adapters.oath import pcsc as wire
from mfa_kit.adapters.oath.applet import Keys
from mfa_kit.core.otp import Secret
from mfa_kit.lab.devices.apdu import SELECT, Apdu
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.fidocard import FidoCard
from mfa_kit.lab.devices.oathcard import LIST, YkoathCard
from mfa_kit.lab.devices.securitykey import lab_key
from tests import pcsc
from tests.conftest import MfaKit
from tests.oath.conftest import Person, only

PIV = bytes.fromhex("a000000308")
VERIFY = 0x20
IN_USE = f"the card in {pcsc.reader(0)} is in use by another program"


class PivCard(YkoathCard):
    """A key that also has an applet with a PIN. VERIFY without data asks whether the PIN was verified."""

    def __init__(self) -> None:
        super().__init__()
        self.selected = self.verified = False

    def power(self) -> None:
        self.selected = self.verified = False
        super().power()

    def answer(self, octets: bytes) -> bytes:
        apdu = Apdu.parse(octets)
        if apdu.selects:
            self.selected, self.verified = apdu.data == PIV, False
        if not self.selected:
            return super().answer(octets)
        self.verified |= apdu.ins == VERIFY and apdu.data == b"123456"
        return b"\x90\0" if apdu.selects or self.verified else b"\x63\xc3"


@contextmanager
def handle(reader: int = 0, *, mode: int = scard.SCARD_SHARE_SHARED) -> Iterator[PCSCCardConnection]:
    """Open a card as another program does."""
    card = PCSCCardConnection(pcsc.reader(reader))
    card.connect(mode=mode, disposition=scard.SCARD_LEAVE_CARD)
    try:
        yield card
    finally:
        card.release()


def status(card: PCSCCardConnection, ins: int, p1: int = 0, data: bytes = b"") -> int:
    """Send a command, and return the status word of the response."""
    _, sw1, sw2 = card.transmit([0, ins, p1, 0, *([len(data), *data] if data else [])])
    return int(sw1 << 8 | sw2)


@pytest.mark.parametrize(
    "words",
    [
        ("key", "list"),
        ("key", "info"),
        ("verify", "oath"),
        ("key", "info", "--key", pcsc.reader(1)),
        ("verify", "oath", "--key", pcsc.reader(1)),
        ("verify", "oath", "--key", "2222"),
    ],
    ids=" ".join,
)
def test_another_program_keeps_its_session(words: tuple[str, ...], mfa_kit: MfaKit) -> None:
    """The PIN of another applet is still verified after the command, which used the other key."""
    pcsc.plug(PivCard(), YkoathCard(serial=2222))
    with handle() as other:
        assert status(other, SELECT, 4, PIV) == status(other, VERIFY, data=b"123456") == 0x9000
        done = mfa_kit.run(*words)
        assert status(other, VERIFY) == 0x9000
    assert "2222" in done.out, done.err
    assert done.err.count(IN_USE) == (pcsc.reader(1) not in words and "2222" not in words)


@pytest.mark.parametrize("mode", [scard.SCARD_SHARE_SHARED, scard.SCARD_SHARE_EXCLUSIVE])
def test_a_card_in_use_is_said_to_be_in_use(mode: int, mfa_kit: MfaKit) -> None:
    """No command is sent to the card. When the other program ends, a station and a watch see a change."""
    card = YkoathCard()
    pcsc.plug(card)
    with handle(mode=mode):
        card.log.clear()
        for words in (("key", "list"), ("verify", "oath"), ("key", "info")):
            done = mfa_kit.run(*words)
            assert (done.code, done.err.count(IN_USE)) == (3, 1), done.err
        busy = Keys.state()
        assert card.log == []
    assert Keys.state() != busy
    assert mfa_kit.run("key", "list").code == 0


def test_a_card_is_shared_if_its_reader_is_named(keys: Keys) -> None:
    """The other program is told of no reset. A program that only looks at the card is waited for."""
    pcsc.plug(YkoathCard())
    with handle() as other:
        ((key,), wrong) = keys.look(pcsc.reader(0))
        assert wrong == []
        with keys.open(key) as applet:
            applet.names()
        assert scard.SCardStatus(other.hcard)[0] == scard.SCARD_S_SUCCESS
        threading.Timer(0.2, other.release).start()
        assert only(keys) == key


def test_a_card_that_mfa_kit_unlocked_is_locked_again(keys: Keys, person: Person) -> None:
    """Another program that does not select the applet again finds it locked: after the password is set, and used."""
    pcsc.plug(YkoathCard())
    key = only(keys)
    with keys.open(key) as applet:
        applet.names()
    with handle() as other:
        assert status(other, LIST) == 0x9000
    with keys.open(key) as applet:
        applet.set_key(applet.derive_key(Secret("one")))
    with handle() as other:
        assert status(other, LIST) != 0x9000
    person.passwords += ["one"]
    with keys.open(key) as applet:
        assert applet.names() == []
    with handle() as other:
        assert status(other, LIST) != 0x9000
    assert person.passwords == []


def test_handles_of_mfa_kit_itself_do_not_count() -> None:
    """A reader that this process has open is not in use by another program, also if a thread opened it."""
    pcsc.plug(YkoathCard(), FidoCard(lab_key(AttestationCa(now=time.time()))))

    def states() -> dict[str, bool]:
        return {state.name: state.in_use for state in wire.reader_states() if state.present}

    free = dict.fromkeys((pcsc.reader(0), pcsc.reader(1)), False)
    card = wire.Wire(pcsc.reader(0))
    with open_key(pcsc.reader(1), tell=print):
        assert states() == free
        with handle(1):
            assert states() == free
    card.close()
    with handle(1):
        assert states() == {**free, pcsc.reader(1): True}
    assert states() == free
