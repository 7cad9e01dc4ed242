"""Tests that unplug a key after any packet or APDU of every operation, including PIN changes and the reset."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from mfa_kit.adapters.fido import key as fido
from mfa_kit.core.errors import DeviceFault, LostError
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.clientpin import RETRIES, digest
from mfa_kit.lab.devices.securitykey import KeyBehavior, KeyModel, SimulatedKey, lab_key
from mfa_kit.security_keys import attestation
from mfa_kit.security_keys import pin as keypin
from mfa_kit.security_keys.authenticator import Pin
from mfa_kit.security_keys.key_policy import KeyPolicy
from tests.fido import slot
from tests.fido.conftest import Bus

PIN, NEW = "pin-5839-canary", "new-7712-canary"
U2F = KeyModel(aaguid=None, versions=("U2F_V2",))


class Pins:
    """Supplies the PIN, and never agrees to a risk."""

    def pin(self, tries_left: int | None) -> Pin:
        return Pin(PIN)

    def replugged(self, tries_left: int | None) -> bool:
        return False

    def risk(self, tries_left: int) -> None:
        raise AssertionError(tries_left)


def verify(key: fido.FidoKey, **policy: Any) -> object:
    return attestation.examine(key, None, KeyPolicy(**policy), pins=Pins(), now=0, advisories=())


def new(_: int) -> Pin:
    return Pin(NEW)


def raised(_: str) -> None:
    pass


Act = Callable[[fido.FidoKey], object]
# The operations, each with the kind of key and the PINs that the key may have after an interruption.
ACTS: dict[str, tuple[dict[str, Any], Act, tuple[str | None, ...]]] = {
    "verify": ({}, verify, (None,)),
    "verify-u2f": ({"model": U2F}, verify, (None,)),
    "verify-pin": ({"pin": PIN}, lambda key: verify(key, user_verification=True), (PIN,)),
    "verify-always-uv": ({"pin": PIN, "behavior": KeyBehavior(always_uv=True)}, verify, (PIN,)),
    "count": ({"pin": PIN}, lambda key: key.residents(Pin(PIN)), (PIN,)),
    "set": ({}, lambda key: keypin.set_pin(key, new), (None, NEW)),
    "change": ({"pin": PIN}, lambda key: keypin.change_pin(key, Pins(), new), (PIN, NEW)),
    "policy": (
        {"pin": PIN},
        lambda key: keypin.set_pin_policy(key, Pins(), shortest=8, force_change=True, confirm=raised),
        (PIN,),
    ),
    "policy-without-pin": (
        {},
        lambda key: keypin.set_pin_policy(key, Pins(), shortest=8, force_change=False, confirm=raised),
        (None,),
    ),
    "reset": ({"pin": PIN}, keypin.reset_key, (PIN, None)),
}


def made(maker: AttestationCa, how: dict[str, Any]) -> SimulatedKey:
    return SimulatedKey(maker.certificate(None), **how) if "model" in how else lab_key(maker, **how)


def state(key: SimulatedKey) -> tuple[object, ...]:
    return key.client_pin.hash, key.client_pin.shortest, key.client_pin.force_change


def done(act: Act) -> DeviceFault | None:
    """Run the operation with the only key, and return the fault that interrupted it."""
    try:
        with fido.open_key(None, tell=lambda _: None) as opened:
            act(opened)
    except DeviceFault as fault:
        return fault
    return None


def check(key: SimulatedKey, before: tuple[object, ...], fault: DeviceFault, has: tuple[str | None, ...]) -> None:
    """Check that nothing is half done, no PIN try was used and no credential is on the key.

    If the key changed, the fault must say that the outcome is unknown.
    """
    assert isinstance(fault, LostError) or "there is no security key" in str(fault)
    assert key.client_pin.hash in {pin and digest(pin.encode()) for pin in has}
    assert (key.client_pin.retries, key.resident) == (RETRIES, [])
    assert key.client_pin.tries <= 2
    if state(key) != before:
        assert "is not known" in fault.__notes__[0]


# Runs an operation with a key that answers so many times and is then removed. Returns the fault, the key, its state
# before, and the number of answers that it began.
Once = Callable[[int], tuple[DeviceFault | None, SimulatedKey, tuple[object, ...], int]]


def cut_until_done(once: Once, has: tuple[str | None, ...]) -> int:
    """Remove the key after each of its answers, until the operation ends before that. Return the number of answers.

    The number is not the same in each run: a DER signature has 68 to 72 octets, so its message may need another packet.
    """
    for last in count():
        fault, key, before, answers = once(last)
        if answers <= last:
            assert fault is None
            return answers
        assert fault
        check(key, before, fault, has)
    raise AssertionError


@pytest.mark.parametrize("name", ACTS)
def test_removal_from_usb_leaves_nothing_half_done(bus: Bus, maker: AttestationCa, name: str) -> None:
    """The key is unplugged after each of its packets, until it is no longer needed."""
    how, act, has = ACTS[name]

    def once(last: int) -> tuple[DeviceFault | None, SimulatedKey, tuple[object, ...], int]:
        bus.unplug()
        key = made(maker, how)
        before = state(key)
        plug = bus.plug(key, tamper=lambda number, packet: packet if number < last else None)
        return done(act), key, before, plug.sent

    assert cut_until_done(once, has) > 3


@pytest.mark.parametrize("name", ACTS)
def test_removal_from_a_reader_leaves_nothing_half_done(
    maker: AttestationCa, monkeypatch: pytest.MonkeyPatch, bus: Bus, name: str
) -> None:
    """The card is removed at each command, until it is no longer needed, including the search for the key."""
    assert not bus.slots
    how, act, has = ACTS[name]

    def once(last: int) -> tuple[DeviceFault | None, SimulatedKey, tuple[object, ...], int]:
        key = made(maker, how)
        before = state(key)
        reader = slot.Reader(key, pulled_at=last + 1)
        slot.seen(reader, monkeypatch)
        return done(act), key, before, reader.card.count

    assert cut_until_done(once, has) > 5
