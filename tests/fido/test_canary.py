"""Canary tests of PINs: known PINs must not appear in output, logs, files or local variables of mfa-kit's frames."""

import io
import traceback
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.adapters.fido import key as fido
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.securitykey import KeyBehavior, SimulatedKey, lab_key
from mfa_kit.security_keys.authenticator import Pin
from tests.conftest import Result
from tests.fido.conftest import Bus, Desk, Published
from tests.fido.seam import Tamper
from tests.test_secrets import FOLDER, Frames, Watched

PIN, NEW, WRONG = "pin-5839-canary", "new-7712-canary", "bad-4410-canary"
VERBS: dict[str, tuple[str | None, tuple[str, ...]]] = {
    "verify": (PIN, ("verify", "fido2")),
    "count": (PIN, ("key", "info", "--count")),
    "set": (None, ("key", "pin", "set")),
    "change": (PIN, ("key", "pin", "change")),
    "policy": (PIN, ("key", "pin", "policy", "--force-change")),
}


class Canary:
    """Runs a command on a key, and searches its output for the PINs."""

    def __init__(
        self,
        desk: Desk,
        bus: Bus,
        maker: AttestationCa,
        published: Published,
        patch: pytest.MonkeyPatch,
        loud: Watched,
    ) -> None:
        self.desk, self.bus, self.maker, self.patch, self.loud = desk, bus, maker, patch, loud
        self.published = published

    def run(
        self, verb: str, *more: str | Path, told: tuple[bytes, ...] = (), **how: Any
    ) -> tuple[Result, SimulatedKey]:
        """Pass the PINs on standard input, in the order in which the command reads them."""
        pin, words = VERBS[verb]
        key = lab_key(self.maker, pin=pin, behavior=KeyBehavior(always_uv=verb == "verify"))
        self.bus.unplug()
        self.bus.plug(key, **how)
        lines = told or tuple(each.encode() for each in (pin, NEW) if each)
        self.patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\n".join(lines))))
        looks_up = self.published.options if verb in {"verify", "count"} else []
        return self.desk.run(*words, "--pin-stdin", "--debug", *looks_up, *more), key

    def check(self, done: Result) -> None:
        text = done.out + done.err + self.loud.text.getvalue()
        assert not [pin for pin in (PIN, NEW, WRONG) if pin in text]
        for file in self.desk.home.rglob("*"):
            assert not file.is_file() or not [pin for pin in (PIN, NEW, WRONG) if pin.encode() in file.read_bytes()]


@pytest.fixture
def canary(
    desk: Desk, bus: Bus, maker: AttestationCa, published: Published, monkeypatch: pytest.MonkeyPatch, loud: Watched
) -> Canary:
    return Canary(desk, bus, maker, published, monkeypatch, loud)


@pytest.mark.parametrize("verb", VERBS)
def test_a_run_prints_no_pin(canary: Canary, verb: str) -> None:
    """Searched: stdout in each form, stderr with --debug, every log record including python-fido2's, and every file."""
    for output in ("table", "json", "csv"):
        done, _ = canary.run(verb, "--output", output)
        assert done.code == 0, done.err
        canary.check(done)
    assert canary.loud.text.getvalue()


@pytest.mark.parametrize("verb", [verb for verb, (pin, _) in VERBS.items() if pin])
def test_a_wrong_pin_is_not_printed_either(canary: Canary, verb: str) -> None:
    """A PIN that is wrong for this key may be the PIN of another key."""
    done, key = canary.run(verb, told=(WRONG.encode(), NEW.encode()))
    assert (done.code, key.client_pin.tries) == (3, 1)
    canary.check(done)


@pytest.mark.parametrize("line", [b"\xffpin-5839-canary", b"pin-5839-canary" * 9, b"pin-5839-canary\xc3"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_line_that_is_not_a_pin_is_neither_printed_nor_tried(canary: Canary, verb: str, line: bytes) -> None:
    """Octets that are not text, or more than a PIN can have, are an error and are not sent to the key."""
    done, key = canary.run(verb, told=(line,))
    assert (done.code in {2, 3}, key.client_pin.tries) == (True, 0)
    canary.check(done)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("verb", VERBS)
def test_no_pin_is_printed_if_the_key_fails(canary: Canary, verb: str) -> None:
    """The key is unplugged after one packet, or a packet is replaced with random octets."""
    whole, _ = canary.run(verb)
    assert whole.code in {0, 1}
    [slot] = canary.bus.slots.values()
    for at in range(3, slot.sent, 4):
        for sent in (None, b"\xff" * 50):
            tamper = tampering(at, sent)
            done, _ = canary.run(verb, tamper=tamper)
            assert done.code in {0, 1, 3}, done.err
            canary.check(done)


def tampering(at: int, octets: bytes | None) -> Tamper:
    """Return a tamper function that puts octets into one packet, or unplugs the key there."""
    return lambda number, packet: packet if number != at else octets and packet[:14] + octets


@pytest.mark.parametrize("verb", VERBS)
def test_a_bug_prints_no_pin(canary: Canary, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception with the PIN in its message is raised during the run. Only its type and place are printed."""

    def broken(*_: object) -> None:
        raise RuntimeError(PIN + NEW)

    monkeypatch.setattr(fido, "ClientPin", broken)
    monkeypatch.setattr(fido, "Fido2Client", broken)
    done, _ = canary.run(verb)
    assert (done.code, "internal error: RuntimeError at test_canary.py" in done.err) == (70, True)
    canary.check(done)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["verify", "change"])
def test_no_local_variable_shows_a_pin(canary: Canary, verb: str) -> None:
    """Every executed line is checked, except where a value becomes a secret.

    So no traceback with local variables shows a PIN.
    """
    with Frames() as frames:
        done, _ = canary.run(verb)
    assert done.code in {0, 1}, done.err
    assert {"fido.py:pin", "files.py:read_secret_line"} & {
        where.removeprefix("first line of ") for where in frames.seen
    }
    shown = {where for where, said in frames.seen.items() for one in said if any(pin in one for pin in (PIN, NEW))}
    assert shown <= {"first line of otp.py:__init__"}


def test_a_traceback_with_locals_shows_no_pin(bus: Bus, maker: AttestationCa) -> None:
    """The frames are those of a key that is unplugged while it gets a new PIN."""
    for last in range(4, 12):
        bus.unplug()
        bus.plug(lab_key(maker, pin=PIN), tamper=lambda at, packet, last=last: packet if at < last else None)
        try:
            with fido.open_key(None, tell=lambda _: None) as opened:
                opened.change_pin(Pin(PIN), Pin(NEW))
        except Exception as error:  # noqa: BLE001 - the frames of any exception are searched
            trace = traceback.TracebackException.from_exception(error, capture_locals=True)
            ours = [frame.locals for frame in trace.stack if frame.filename.startswith(FOLDER)]
            assert ours
            assert not [pin for pin in (PIN, NEW) if pin in str(ours)]
