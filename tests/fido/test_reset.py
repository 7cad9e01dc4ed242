"""Tests of `key reset` after the key has answered: the key is opened again, and the reset is reported in any case."""

import json
from collections.abc import Callable

import pytest
from fido2 import hid

from mfa_kit.adapters.fido.key import FidoKey
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.fidocard import FidoCard
from mfa_kit.lab.devices.reader import SimulatedCard
from mfa_kit.lab.devices.securitykey import SimulatedKey, lab_key
from mfa_kit.security_keys.authenticator import KeyInfo
from mfa_kit.security_keys.replug import KeyReset
from tests import pcsc
from tests.fido.conftest import Bus, Desk, Hands

PIN = "pin-5839-canary"
RESET = "the key reports that it was reset"
Replug = Callable[[SimulatedCard], None]


@pytest.fixture
def replug(monkeypatch: pytest.MonkeyPatch) -> Replug:
    """Return a function that inserts a card. The user takes it out and inserts it again when mfa-kit waits for that."""

    def insert(card: SimulatedCard) -> None:
        moves = iter((pcsc.plug, lambda: pcsc.plug(card)))
        real = KeyReset.wait_for

        def wait_for(reset: KeyReset, look: Callable[[], object], late: str) -> object:
            next(moves)()
            return real(reset, look, late)

        monkeypatch.setattr(KeyReset, "wait_for", wait_for)
        pcsc.plug(card)

    return insert


@pytest.mark.usefixtures("bus")
def test_an_applet_that_must_be_selected_again_after_a_reset_is_reset(
    desk: Desk, maker: AttestationCa, replug: Replug
) -> None:
    """FIDO2Applet refuses every command between the reset and the next SELECT. mfa-kit opens the key again."""
    key = lab_key(maker, pin=PIN)
    replug(FidoCard(key, reset_deselects=True))
    done = desk.run("key", "reset", "--yes", "--key", pcsc.reader(0), "--output", "json")
    assert done.code == 0, done.err
    assert (key.client_pin.hash, json.loads(done.out)["outcome"], json.loads(done.out)["pin"]) == (None, "reset", False)


def test_a_reset_is_reported_if_the_key_cannot_be_read_afterward(
    bus: Bus, maker: AttestationCa, desk: Desk, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is removed as soon as it has answered."""
    key = lab_key(maker, pin=PIN)
    bus.plug(key, serial="KEY-7")
    hands(bus, lambda: key)
    erase = SimulatedKey.reset

    def erase_and_vanish(erased: SimulatedKey) -> None:
        erase(erased)
        monkeypatch.setattr(hid, "list_descriptors", list)

    monkeypatch.setattr(SimulatedKey, "reset", erase_and_vanish)
    done = desk.run("key", "reset", "--yes", "--key", "KEY-7")
    assert (done.code, done.out, key.client_pin.hash) == (3, "", None)
    assert "the key reported that it was reset, but it cannot be read now: there is no FIDO key" in done.err
    assert "repeat the command" not in done.err


def test_a_reset_is_reported_before_an_interrupt(
    bus: Bus, maker: AttestationCa, desk: Desk, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user presses Ctrl-C while the key is read again."""
    key = lab_key(maker, pin=PIN)
    bus.plug(key, serial="KEY-7")
    hands(bus, lambda: key)
    read = FidoKey.info

    def info(opened: FidoKey) -> KeyInfo:
        if key.client_pin.hash is None:
            raise KeyboardInterrupt
        return read(opened)

    monkeypatch.setattr(FidoKey, "info", info)
    done = desk.run("key", "reset", "--yes", "--key", "KEY-7")
    assert (done.code, RESET in done.err) == (130, True)
