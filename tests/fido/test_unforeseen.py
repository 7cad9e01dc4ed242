"""Exceptions that nothing foresees, at the ports of security keys: nothing quotes them."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.securitykey import lab_key
from tests.conftest import Result
from tests.faults.unforeseen import SECRET, Place, called_places, ending, places, spread
from tests.fido.conftest import Bus, Desk, Published
from tests.sizes import size

PORTS = ("mfa_kit.security_keys.ports",)
PIN = "pin-5839"
# The words of each command, its lines on stdin, and whether the key has a PIN before.
COMMANDS: dict[str, tuple[tuple[str, ...], str, bool]] = {
    "list": (("key", "list"), "", False),
    "info": (("key", "info"), "", False),
    "metadata": (("key", "metadata", "lab"), "", False),
    "verify": (("verify", "fido2"), "", False),
    "verify with a PIN": (("verify", "fido2", "--pin-stdin"), f"{PIN}\n", True),
    "set": (("key", "pin", "set", "--pin-stdin"), f"{PIN}\n", False),
    "change": (("key", "pin", "change", "--pin-stdin"), f"{PIN}\n{PIN}0\n", True),
}


@pytest.fixture
def commands(
    bus: Bus, maker: AttestationCa, desk: Desk, published: Published, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Callable[[], Result]]:
    """Return a function that plugs in a key for a command, and returns what runs it."""

    def make(name: str) -> Callable[[], Result]:
        words, lines, has_pin = COMMANDS[name]
        bus.unplug()
        bus.plug(lab_key(maker, pin=PIN) if has_pin else lab_key(maker))
        more: Sequence[str] = published.options if words[0] == "verify" or words[1] in ("info", "metadata") else ()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        return lambda: desk.run(*words, *more)

    return make


@pytest.mark.slow
def test_an_exception_at_a_port_of_a_key_ends_at_the_one_exit_and_quotes_nothing(
    commands: Callable[[str], Callable[[], Result]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each method that a command calls, each class of exceptions: 100 in a full run."""
    everywhere = places(PORTS)
    pairs: list[tuple[str, Place]] = []
    for name in COMMANDS:
        pairs += [(name, place) for place in called_places(everywhere, commands(name))]
    flaws = [
        (name, ending(place, error, commands(name), tmp_path)) for name, place, error in spread(size(25, 100), pairs)
    ]
    assert [flaw for flaw in flaws if flaw[1]] == []
    assert SECRET not in "".join(capfd.readouterr())
    assert {place.port for _, place in pairs} >= {"Authenticator", "PluggedKeys", "PinEntry"}
