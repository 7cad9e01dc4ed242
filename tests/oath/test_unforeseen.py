"""Exceptions that nothing foresees, at the ports of OATH keys: nothing quotes them."""

import io
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from mfa_kit.adapters.oath.applet import Applet
from mfa_kit.lab.devices.oathcard import YkoathCard
from tests import pcsc
from tests.conftest import MfaKit, Result
from tests.faults.unforeseen import SECRET, Place, called_places, ending, places, spread
from tests.sizes import size

PORTS = ("mfa_kit.oath_keys.applet", "mfa_kit.enrollment.ports", "mfa_kit.cli.key.sources")
# Only these classes: tests/faults has the other implementations of the ports of enrollment.
CLASSES = {"Applet", "OathKeys", "OathCard", "OathSource", "FidoSource"}
PASSWORD = "a password"
# The words of each command, those of what is done before, and the lines on stdin.
COMMANDS: dict[str, tuple[str, list[str], str]] = {
    "list": ("key list", [], ""),
    "info": ("key info", [], ""),
    "verify": ("verify oath", [], ""),
    "enroll": ("enroll USER --with oath --no-touch", [], ""),
    "verify a user": ("verify user USER", ["enroll USER --with oath --no-touch"], ""),
    "revoke": ("revoke USER --yes --leave-without-mfa", ["enroll USER --with oath --no-touch"], ""),
    "replace": ("replace USER --with oath --no-touch --yes", ["enroll USER --with oath --no-touch"], ""),
    "orphans": ("orphans list", [], ""),
    "set a password": ("key password set --password-stdin", [], f"{PASSWORD}\n"),
}


@pytest.fixture
def commands(
    mfa_kit: MfaKit, users: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Callable[[], Result]]:
    """Return a function that inserts a key and prepares a command, and returns what runs it."""
    numbers = count()

    def make(name: str) -> Callable[[], Result]:
        words, before, lines = COMMANDS[name]
        user = users()
        pcsc.plug(YkoathCard())
        monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / str(next(numbers))))
        for each in before:
            assert mfa_kit.run(*each.replace("USER", user).split()).code == 0
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
        return lambda: mfa_kit.run(*words.replace("USER", user).split())

    return make


@pytest.mark.slow
def test_an_exception_at_a_port_of_an_oath_key_ends_at_the_one_exit_and_quotes_nothing(
    commands: Callable[[str], Callable[[], Result]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each method that a command calls, each class of exceptions: 100 in a full run."""
    everywhere = [place for place in places(PORTS) if place.owner.__name__ in CLASSES]
    pairs: list[tuple[str, Place]] = []
    for name in COMMANDS:
        pairs += [(name, place) for place in called_places(everywhere, commands(name))]
    flaws = [
        (name, ending(place, error, commands(name), tmp_path, card=place.owner is Applet))
        for name, place, error in spread(size(30, 100), pairs)
    ]
    assert [flaw for flaw in flaws if flaw[1]] == []
    assert SECRET not in "".join(capfd.readouterr())
    assert {str(place).partition(" ")[0] for _, place in pairs} >= {
        *("OathApplet.code", "OathApplet.delete", "OathApplet.held", "OathApplet.names", "OathApplet.put"),
        *("Carrier.check", "Carrier.codes", "Carrier.install", "Carrier.remove", "PasswordApplet.set_key"),
    }
