"""Tests of PIN commands: setting, changing and generating a PIN, PIN policies, and the reset that erases a key."""

import errno
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pexpect
import pyrage
import pytest
from fido2.ctap2.base import Info
from fido2.webauthn import Aaguid

from mfa_kit.adapters.fido.key import _info
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import DeviceFault
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.clientpin import ClientPin
from mfa_kit.lab.devices.ctap import Parameters
from mfa_kit.lab.devices.securitykey import KeyBehavior, KeyModel, SimulatedKey, lab_key
from mfa_kit.security_keys import pin
from mfa_kit.security_keys.authenticator import KeyInfo, Link, Pin, PluggedKey, check_reset
from mfa_kit.security_keys.pin import KeyReset, PipedPins
from tests.conftest import Result, bare
from tests.fido.conftest import Bus, Desk, Hands, Port, has
from tests.letters.judges import text_of
from tests.terminal.spawn import MFA_KIT, spawn

PIN, NEW = "pin-5839-canary", "new-7712-canary"


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answer each PIN prompt with the next element of this list."""
    answers: list[str] = []
    monkeypatch.setattr(PipedPins, "pin", lambda *_: Pin(answers.pop(0)))
    return answers


def test_a_new_pin_is_verified_with_one_attempt(bus: Bus, key: SimulatedKey, desk: Desk, typed: list[str]) -> None:
    """The key's own success message is not enough."""
    bus.plug(key)
    typed.append(NEW)
    done = desk.run("key", "pin", "set", "--pin-stdin", "--output", "json")
    row = json.loads(done.out)
    assert (done.code, row["outcome"], row["pin"], row["tries_left"]) == (0, "set", True, 8)
    assert has(key, NEW)
    assert key.client_pin.tries == 1
    assert NEW not in done.out + done.err


def test_a_pin_is_changed(bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str]) -> None:
    """The old PIN and the new PIN are read, one per line."""
    key = lab_key(maker, pin=PIN)
    bus.plug(key)
    typed += [PIN, NEW]
    done = desk.run("key", "pin", "change", "--pin-stdin")
    assert (done.code, has(key, NEW)) == (0, True), done.err


def test_a_wrong_old_pin_costs_one_try_and_changes_nothing(
    bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str]
) -> None:
    """The number of remaining tries is shown."""
    key = lab_key(maker, pin=PIN)
    bus.plug(key)
    typed += ["wrong-1", NEW]
    done = desk.run("key", "pin", "change", "--pin-stdin")
    assert (done.code, key.client_pin.tries, has(key, PIN)) == (3, 1, True)
    assert "the PIN is wrong; 7 tries are left" in done.err


@pytest.mark.parametrize(
    ("how", "verb", "what"),
    [
        ({"pin": PIN}, "set", "already has a PIN"),
        ({}, "change", "has no PIN yet"),
        ({"model": KeyModel(aaguid=None, versions=("U2F_V2",))}, "set", "does not support a PIN"),
        ({"model": KeyModel(aaguid=None, versions=("U2F_V2",))}, "change", "does not support a PIN"),
    ],
)
def test_a_command_that_the_key_cannot_do_asks_for_no_pin(
    bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str], how: dict[str, object], verb: str, what: str
) -> None:
    """Nothing is sent to the key."""
    key = SimulatedKey(maker.certificate(None), **how) if "model" in how else lab_key(maker, **how)  # type: ignore[arg-type]
    bus.plug(key)
    done = desk.run("key", "pin", verb, "--pin-stdin")
    assert (done.code, typed) == (3, [])
    assert what in done.err


@pytest.mark.parametrize("new", ["12345", "x" * 64])
def test_a_new_pin_that_the_key_cannot_have_is_not_sent(
    bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str], new: str
) -> None:
    """The new PIN is too short for this key, or too long for any key. The old PIN is not sent either."""
    key = lab_key(maker, pin=PIN, shortest_pin=6)
    bus.plug(key)
    typed += [PIN, new]
    done = desk.run("key", "pin", "change", "--pin-stdin")
    assert (done.code, key.client_pin.tries, has(key, PIN)) == (2, 0, True)
    assert "nothing was sent" in done.err


def test_the_same_pin_again_is_refused(bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str]) -> None:
    """A key that requires a new PIN would refuse the old one as well."""
    key = lab_key(maker, pin=PIN)
    bus.plug(key)
    typed += [PIN, PIN]
    assert desk.run("key", "pin", "change", "--pin-stdin").code == 2
    assert key.client_pin.tries == 0


def test_a_key_that_requires_a_new_pin_gets_one(bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str]) -> None:
    """With forcePINChange, the key rejects even the correct PIN for anything but the change."""
    key = lab_key(maker, pin="1234", force_change=True)
    key.client_pin.shortest = 8
    bus.plug(key)
    typed += ["1234", NEW]
    done = desk.run("key", "pin", "change", "--pin-stdin", "--output", "json")
    assert (done.code, json.loads(done.out)["force_pin_change"], has(key, NEW)) == (0, False, True), done.err
    assert key.client_pin.retries == 8


@pytest.mark.parametrize("left", [0, 1, 2])
def test_a_script_does_not_use_the_last_tries(
    bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str], left: int
) -> None:
    """With two tries left, a script may neither change the PIN nor set a PIN policy."""
    key = lab_key(maker, pin=PIN)
    key.client_pin.retries = left
    bus.plug(key)
    for verb in (("change",), ("policy", "--force-change")):
        typed[:] = [PIN, NEW]
        assert desk.run("key", "pin", *verb, "--pin-stdin").code == (8 if left else 3)
    assert (key.client_pin.tries, key.client_pin.retries) == (0, left)


def test_a_key_that_must_be_unplugged_gets_no_pin(
    bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After PIN_AUTH_BLOCKED there is no further try."""
    key = lab_key(maker, pin=PIN)
    bus.plug(key)
    monkeypatch.setattr(ClientPin, "power_up", lambda _: None)
    key.client_pin.wrong_in_a_row = 3
    typed += [PIN, NEW]
    done = desk.run("key", "pin", "change", "--pin-stdin")
    assert (done.code, key.client_pin.tries) == (3, 0)
    assert "until it is unplugged" in done.err


def test_a_new_pin_that_the_key_refuses_is_an_error(
    bus: Bus, key: SimulatedKey, desk: Desk, typed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key may require more than it reports."""
    bus.plug(key)
    monkeypatch.setattr(key.client_pin, "shortest", 4)
    real = key.client_pin.answer

    def stricter(request: Parameters, *, uv: bool) -> object:
        key.client_pin.shortest = 20 if request.need(2, int) == 3 else 4
        try:
            return real(request, uv=uv)
        finally:
            key.client_pin.shortest = 4

    monkeypatch.setattr(ClientPin, "answer", lambda _, request, *, uv: stricter(request, uv=uv))
    typed.append(NEW)
    done = desk.run("key", "pin", "set", "--pin-stdin")
    assert (done.code, key.client_pin.hash) == (3, None)
    assert "rejected the new PIN" in done.err


@pytest.mark.parametrize("kept", [None, b"\0" * 16], ids=["nothing", "another"])
def test_a_key_that_does_not_keep_the_new_pin_is_an_error(
    bus: Bus, key: SimulatedKey, desk: Desk, typed: list[str], monkeypatch: pytest.MonkeyPatch, kept: bytes | None
) -> None:
    """After the change, mfa-kit checks that the key has a PIN, and that it is the new one."""
    bus.plug(key)
    monkeypatch.setattr(ClientPin, "_set", lambda self, *_: setattr(self, "hash", kept))
    typed.append(NEW)
    done = desk.run("key", "pin", "set", "--pin-stdin")
    assert done.code == 3
    assert (
        "accepted the new PIN, but now reports no PIN" if kept is None else "the PIN is wrong; 7 tries are left"
    ) in done.err


def test_a_generated_pin_is_encrypted_to_a_file_first(
    bus: Bus, key: SimulatedKey, desk: Desk, tmp_path: Path, recipient: str, identity: pyrage.x25519.Identity
) -> None:
    """The PIN has only digits. It is in a new file of mode 0600, and in no other file or output."""
    bus.plug(key, serial="KEY-7")
    file = tmp_path / "pin.age"
    done = desk.run("key", "pin", "set", "--generate", "-r", recipient, "-o", file)
    assert done.code == 0, done.err
    pin, about, _ = pyrage.decrypt(file.read_bytes(), [identity]).decode().split("\n")
    assert re.fullmatch(r"\d{8}", pin)
    assert "KEY-7" in about
    assert (has(key, pin), file.stat().st_mode & 0o777) == (True, 0o600)
    assert pin not in done.out + done.err
    assert f"the key now has the PIN that is encrypted in {file}" in done.err
    assert not [each for each in desk.home.rglob("*") if each.is_file() and pin.encode() in each.read_bytes()]


def test_a_set_pin_is_reported_even_if_stdout_is_closed(
    bus: Bus, key: SimulatedKey, desk: Desk, tmp_path: Path, recipient: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code alone would suggest that the PIN was not set, and the user would delete the file with the PIN."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Output, "one", full)
    bus.plug(key)
    file = tmp_path / "pin.age"
    done = desk.run("key", "pin", "set", "--generate", "-r", recipient, "-o", file)
    assert (done.code != 0, key.client_pin.hash is not None) == (True, True)
    assert f"the key now has the PIN that is encrypted in {file}" in done.err


def test_a_refused_pin_is_not_reported_as_set(
    bus: Bus, maker: AttestationCa, desk: Desk, tmp_path: Path, recipient: str, typed: list[str]
) -> None:
    """The old PIN was wrong."""
    bus.plug(lab_key(maker, pin=PIN))
    typed.append("wrong-1")
    out = ("--generate", "-r", recipient, "-o", tmp_path / "pin.age", "--pin-stdin")
    done = desk.run("key", "pin", "change", *out)
    assert (done.code, "the key now has the PIN" in done.err) == (3, False)


def test_a_pin_that_cannot_be_encrypted_is_not_set(
    bus: Bus, key: SimulatedKey, desk: Desk, tmp_path: Path, recipient: str
) -> None:
    """An existing file is not overwritten."""
    bus.plug(key)
    (tmp_path / "pin.age").write_text("another's")
    done = desk.run("key", "pin", "set", "--generate", "-r", recipient, "-o", tmp_path / "pin.age")
    assert (done.code, key.client_pin.hash) == (5, None)


def test_a_generated_pin_is_as_long_as_the_key_requires(
    bus: Bus, maker: AttestationCa, desk: Desk, tmp_path: Path, recipient: str, identity: pyrage.x25519.Identity
) -> None:
    """A generated PIN has eight digits, or the key's minimum length if that is longer."""
    key = lab_key(maker, shortest_pin=12)
    bus.plug(key)
    assert desk.run("key", "pin", "set", "--generate", "-r", recipient, "-o", tmp_path / "pin.age").code == 0
    pin = pyrage.decrypt((tmp_path / "pin.age").read_bytes(), [identity]).decode().split("\n")[0]
    assert len(pin) == 12


@pytest.mark.parametrize(
    "options", [("-o", "x"), ("--generate", "-o", "x"), ("--generate", "-r", "R"), ("-r", "R", "-o", "x")]
)
def test_options_of_an_encrypted_pin_must_be_given_together(
    bus: Bus, key: SimulatedKey, desk: Desk, recipient: str, options: tuple[str, ...]
) -> None:
    """The error comes before any prompt and before any file is created."""
    bus.plug(key)
    done = desk.run("key", "pin", "set", *(recipient if each == "R" else each for each in options))
    assert (done.code, key.client_pin.hash) == (2, None)


def test_a_generated_pin_is_not_shown_without_a_terminal(bus: Bus, key: SimulatedKey, desk: Desk) -> None:
    """A test has no terminal."""
    bus.plug(key)
    done = desk.run("key", "pin", "set", "--generate")
    assert (done.code, key.client_pin.hash) == (8, None)


@pytest.mark.parametrize(
    "options", [("--letter", "x"), ("--generate", "--letter", "x", "-r", "R", "-o", "y"), ("--letter", "x", "-o", "y")]
)
def test_only_a_generated_pin_is_on_a_letter(
    bus: Bus, key: SimulatedKey, desk: Desk, recipient: str, options: tuple[str, ...]
) -> None:
    """It is not encrypted there, so recipients would be misunderstood."""
    bus.plug(key)
    done = desk.run("key", "pin", "set", *(recipient if each == "R" else each for each in options))
    assert (done.code, key.client_pin.hash, Path("x").exists()) == (2, None, False)


def test_a_letter_with_a_pin_is_confirmed_at_a_terminal(
    bus: Bus, key: SimulatedKey, desk: Desk, tmp_path: Path
) -> None:
    """A test has no terminal, and --yes does not confirm it."""
    bus.plug(key)
    done = desk.run("key", "pin", "set", "--generate", "--letter", tmp_path / "pin.pdf", "--yes")
    assert (done.code, key.client_pin.hash, (tmp_path / "pin.pdf").exists()) == (8, None, False)


def test_a_raised_minimum_length_forces_a_change_of_a_short_pin(
    bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str]
) -> None:
    """A script must name the key and pass --yes."""
    key = lab_key(maker, pin="1234")
    bus.plug(key, serial="KEY-7")
    typed.append("1234")
    policy = ("key", "pin", "policy", "--min-length", "8", "--pin-stdin", "--output", "json")
    done = desk.run(*policy, "--yes", "--key", "KEY-7")
    row = json.loads(done.out)
    assert (done.code, row["min_pin_length"], row["force_pin_change"]) == (0, 8, True)
    assert "the key now requires a new PIN: mfa-kit key pin change" in done.err


def test_an_irreversible_change_requires_a_confirmed_key(
    bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str]
) -> None:
    """`--yes` without `--key` is a usage error. Without both options, the user must type a confirmation."""
    key = lab_key(maker, pin=PIN)
    bus.plug(key)
    policy = ("key", "pin", "policy", "--min-length", "8", "--pin-stdin")
    typed.append(PIN)
    assert desk.run(*policy, "--yes").code == 2
    assert desk.run(*policy).code == 8
    unnamed = desk.run("key", "reset", "--yes")
    assert (unnamed.code, "will be erased" in unnamed.err, "nothing was done" in unnamed.err) == (2, False, True)
    assert desk.run("key", "reset").code == 8
    assert (key.client_pin.shortest, key.client_pin.tries, has(key, PIN)) == (4, 0, True)


def test_a_forced_change_needs_no_confirmation(bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str]) -> None:
    """A forced change can be undone by changing the PIN."""
    key = lab_key(maker, pin=PIN)
    bus.plug(key)
    typed.append(PIN)
    assert desk.run("key", "pin", "policy", "--force-change", "--pin-stdin").code == 0
    assert key.client_pin.force_change


def test_the_minimum_length_is_raised_on_a_key_without_a_pin(bus: Bus, key: SimulatedKey, desk: Desk) -> None:
    """No PIN is requested, and a change cannot be forced."""
    bus.plug(key, serial="KEY-7")
    assert desk.run("key", "pin", "policy", "--min-length", "6", "--yes", "--key", "KEY-7").code == 0
    assert key.client_pin.shortest == 6
    assert "has no PIN to change" in desk.run("key", "pin", "policy", "--force-change").err


@pytest.mark.parametrize("length", ["4", "63"])
def test_the_minimum_length_cannot_be_lowered(
    bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str], length: str
) -> None:
    """The error says that only a reset can lower the minimum length."""
    key = lab_key(maker, pin=PIN, shortest_pin=6)
    bus.plug(key, serial="KEY-7")
    typed.append(PIN)
    done = desk.run("key", "pin", "policy", "--min-length", length, "--pin-stdin", "--yes", "--key", "KEY-7")
    assert (done.code, key.client_pin.shortest) == ((2, 6) if length == "4" else (0, 63))


def test_a_key_without_a_pin_policy_is_an_error(bus: Bus, maker: AttestationCa, desk: Desk) -> None:
    """CTAP 2.0 has no PIN policy."""
    bus.plug(lab_key(maker, pin=PIN, behavior=KeyBehavior(configurable=False)))
    assert "does not support a PIN policy" in desk.run("key", "pin", "policy", "--force-change").err


def test_a_policy_that_the_key_ignores_is_an_error(
    bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key's success status is not trusted. The setting is read back."""
    bus.plug(lab_key(maker, pin=PIN))
    typed.append(PIN)
    monkeypatch.setattr(ClientPin, "configure", lambda *_, **__: None)
    done = desk.run("key", "pin", "policy", "--force-change", "--pin-stdin")
    assert done.code == 3
    assert "accepted the policy but did not apply it" in done.err


def test_a_policy_without_a_setting_is_an_error(bus: Bus, key: SimulatedKey, desk: Desk) -> None:
    """The command needs at least one option."""
    bus.plug(key)
    assert desk.run("key", "pin", "policy").code == 2


def reset(desk: Desk) -> Result:
    return desk.run("key", "reset", "--yes", "--erase-oath", "--key", "KEY-7", "--output", "json")


def test_a_key_is_erased_after_it_was_plugged_in_again(
    bus: Bus, maker: AttestationCa, desk: Desk, hands: Hands
) -> None:
    """Messages say the steps in order, and the result is read back from the key."""
    key = lab_key(maker, pin=PIN, shortest_pin=6)
    key.resident.append(("example.org", b"id"))
    bus.plug(key, serial="KEY-7")
    hands(bus, lambda: key)
    done = reset(desk)
    assert done.code == 0, done.err
    assert (json.loads(done.out)["outcome"], key.client_pin.hash, key.resident) == ("reset", None, [])
    said = [line for line in done.err.splitlines() if "plug" in line or "touch" in line]
    assert [line.split()[0] for line in said] == ["unplug", "plug", "touch"]
    assert "plug the key in again" in said[1]


def test_another_key_is_not_erased(bus: Bus, maker: AttestationCa, desk: Desk, hands: Hands) -> None:
    """The key that was plugged in instead of the confirmed key is not changed."""
    another = lab_key(maker, pin=NEW, model=KeyModel(firmware=(5, 4, 3)))
    bus.plug(lab_key(maker, pin=PIN), serial="KEY-7")
    hands(bus, lambda: another)
    done = reset(desk)
    assert (done.code, has(another, NEW)) == (3, True)
    assert "not the key that was unplugged" in done.err


def test_another_key_of_the_same_model_is_not_erased(bus: Bus, maker: AttestationCa, desk: Desk, hands: Hands) -> None:
    """Many keys have no serial. This key has a PIN, and the confirmed key has none."""
    another = lab_key(maker, pin=NEW)
    bus.plug(lab_key(maker), serial="KEY-7")
    hands(bus, lambda: another)
    done = reset(desk)
    assert (done.code, has(another, NEW)) == (3, True)
    assert "not the key that was unplugged" in done.err


def test_the_key_that_was_confirmed_is_the_one_to_be_unplugged(
    bus: Bus, maker: AttestationCa, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another key of the same kind, unplugged and plugged in meanwhile, is not erased."""
    twin = lab_key(maker, pin=PIN)
    bus.plug(lab_key(maker, pin=PIN))
    bus.plug(twin)
    both = {"/dev/hidraw0", "/dev/hidraw1"}
    looks = iter([both, {"/dev/hidraw0"}, {"/dev/hidraw0"}])
    monkeypatch.setattr(pin, "LOOK", 0.02)
    monkeypatch.setattr(pin, "PATIENCE", 0.5)
    monkeypatch.setattr(KeyReset, "_places", lambda _: next(looks, both))
    done = desk.run("key", "reset", "--yes", "--erase-oath", "--key", "/dev/hidraw0")
    assert (done.code, has(twin, PIN)) == (3, True)
    assert "the key was not unplugged" in done.err


def test_if_several_keys_are_plugged_in_none_is_erased(
    bus: Bus, maker: AttestationCa, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is unknown which of the keys was confirmed."""
    key = lab_key(maker, pin=PIN)
    bus.plug(key)
    looks: Iterator[set[str]] = iter([{"/dev/hidraw0"}, set()])
    monkeypatch.setattr(pin, "LOOK", 0.02)
    monkeypatch.setattr(pin, "PATIENCE", 0.5)
    monkeypatch.setattr(KeyReset, "_places", lambda _: next(looks, {"/dev/hidraw0", "/dev/hidraw1"}))
    done = desk.run("key", "reset", "--yes", "--erase-oath", "--key", "/dev/hidraw0")
    assert (done.code, has(key, PIN)) == (3, True)
    assert "several keys were plugged in" in done.err


def test_a_reset_that_comes_too_late_is_an_error(bus: Bus, maker: AttestationCa, desk: Desk, hands: Hands) -> None:
    """CTAP 2.1, 6.6: a reset must come within ten seconds of power-up."""
    key = lab_key(maker, pin=PIN, behavior=KeyBehavior(reset_within=-1))
    bus.plug(key, serial="KEY-7")
    hands(bus, lambda: key)
    done = reset(desk)
    assert (done.code, has(key, PIN)) == (3, True)
    assert "only in the first ten seconds" in done.err


def test_a_key_that_does_not_come_back_ends_the_wait(bus: Bus, maker: AttestationCa, desk: Desk, hands: Hands) -> None:
    """The key was not erased."""
    bus.plug(lab_key(maker, pin=PIN), serial="KEY-7")
    hands(bus, lambda: None)
    done = reset(desk)
    assert done.code == 3
    assert "no key was plugged in within" in done.err


def test_a_reset_that_did_not_happen_is_an_error(
    bus: Bus, maker: AttestationCa, desk: Desk, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key reports success, but its PIN is still set."""
    key = lab_key(maker, pin=PIN)
    monkeypatch.setattr(SimulatedKey, "reset", lambda _: None)
    bus.plug(key, serial="KEY-7")
    hands(bus, lambda: key)
    done = reset(desk)
    assert done.code == 3
    assert "still has a PIN" in done.err


def test_a_u2f_key_cannot_be_reset(bus: Bus, maker: AttestationCa, desk: Desk) -> None:
    """A U2F key stores nothing that could be erased."""
    bus.plug(SimulatedKey(maker.certificate(None), model=KeyModel(aaguid=None, versions=("U2F_V2",))), serial="KEY-7")
    done = reset(desk)
    assert done.code == 3
    assert "cannot be reset" in done.err


@pytest.fixture
def at_terminal(process_desk: Desk) -> Callable[..., "tuple[pexpect.spawn[str], io.StringIO]"]:
    """Run a command at a terminal."""

    def begin(*args: str) -> "tuple[pexpect.spawn[str], io.StringIO]":
        seen = io.StringIO()
        spawned = spawn(
            [*MFA_KIT, *args],
            env={**bare(), "MFA_KIT_HOME": str(process_desk.home), "TERM": "xterm", **process_desk.env},
            timeout=30,
            dimensions=(50, 160),
        )
        spawned.logfile_read = seen
        return spawned, seen

    return begin


@pytest.mark.slow
def test_pins_are_not_echoed_and_the_new_one_is_typed_twice(
    at_terminal: Callable[..., "tuple[pexpect.spawn[str], io.StringIO]"], key_at_process: SimulatedKey
) -> None:
    """The prompt shows the remaining tries, and the use of the last tries must be confirmed."""
    session, seen = at_terminal("key", "pin", "change")
    for prompt, answer in (
        ("type LAST to continue", "LAST"),
        ("PIN of the key, 2 tries left: ", PIN),
        ("new PIN of the key, at least 4 characters: ", NEW),
        ("type it again: ", NEW),
    ):
        session.expect(prompt)
        time.sleep(0.2)
        session.sendline(answer)
    session.expect("outcome +changed")
    session.expect(pexpect.EOF)
    session.wait()
    session.close()
    assert has(key_at_process, NEW)
    assert not [pin for pin in (PIN, NEW) if pin in seen.getvalue()]


@pytest.mark.slow
def test_a_generated_pin_is_shown_once_on_the_alternate_screen(
    at_terminal: Callable[..., "tuple[pexpect.spawn[str], io.StringIO]"], key_at_process: SimulatedKey
) -> None:
    """The PIN is shown before the key gets it. After Enter, the screen is cleared."""
    key_at_process.client_pin = ClientPin()
    session, seen = at_terminal("key", "pin", "set", "--generate")
    session.expect(re.escape("\x1b[?1049h"))
    session.expect(r"(\d{8})")
    pin = session.match[1]  # type: ignore[index]
    session.expect("then press Enter")
    assert key_at_process.client_pin.hash is None
    time.sleep(0.2)
    session.sendline("")
    session.expect("outcome +set")
    session.expect(pexpect.EOF)
    session.wait()
    session.close()
    assert has(key_at_process, pin)
    assert seen.getvalue().count(pin) == 1
    assert pin not in seen.getvalue().partition("\x1b[?1049l")[2]


@pytest.mark.slow
def test_a_generated_pin_is_on_a_letter(
    at_terminal: Callable[..., "tuple[pexpect.spawn[str], io.StringIO]"], key_at_process: SimulatedKey, tmp_path: Path
) -> None:
    """It is nowhere on the terminal. The letter is written before the key gets the PIN, with mode 0600."""
    key_at_process.client_pin = ClientPin()
    file = tmp_path / "pin.pdf"
    session, seen = at_terminal("key", "pin", "set", "--generate", "--letter", str(file), "--paper", "letter")
    session.expect("will contain the new PIN of the key")
    session.expect("type yes to continue: ")
    assert (file.exists(), key_at_process.client_pin.hash) == (False, None)
    time.sleep(0.2)
    session.sendline("yes")
    session.expect("outcome +set")
    session.expect(pexpect.EOF)
    session.wait()
    session.close()
    [groups] = re.findall(r"^ *(\d{4} \d{4}) +[0-9a-f]{4}$", text_of(file), re.MULTILINE)
    pin = groups.replace(" ", "")
    assert has(key_at_process, pin)
    assert file.stat().st_mode & 0o777 == 0o600
    assert not {pin, groups} & {each for each in (pin, groups) if each in seen.getvalue()}


@pytest.mark.slow
def test_a_reset_is_confirmed_by_the_keys_serial_or_place(
    at_terminal: Callable[..., "tuple[pexpect.spawn[str], io.StringIO]"], key_at_process: SimulatedKey, port: Port
) -> None:
    """A key without a serial is confirmed by its place. After any other input, nothing is done."""
    session, _ = at_terminal("key", "reset")
    session.expect("will be erased")
    session.expect("type /dev/hidraw0 to continue: ")
    time.sleep(0.2)
    session.sendline("yes")
    session.expect("nothing was done")
    session.expect(pexpect.EOF)
    session.wait()
    session.close()
    assert (session.exitstatus, has(key_at_process, PIN), port.path.exists()) == (8, True, True)


@pytest.mark.parametrize(
    ("link", "over", "possible"),
    [
        (Link.HID, (), True),
        (Link.HID, ("usb", "nfc"), True),
        (Link.HID, ("nfc",), False),
        (Link.PCSC, ("nfc",), True),
        (Link.PCSC, ("ble",), False),
    ],
)
def test_a_key_is_reset_only_where_it_allows_it(link: Link, over: tuple[str, ...], possible: bool) -> None:
    """A key with CTAP 2.3 names the transports. The error says which one to use, before anything is unplugged."""
    info = KeyInfo(plugged=PluggedKey(where="here", link=link), versions=("FIDO_2_3",), transports_for_reset=over)
    if possible:
        check_reset(info)
        return
    with pytest.raises(DeviceFault, match=f"only over {over[0]}"):
        check_reset(info)


def test_what_ctap_2_3_adds_is_read() -> None:
    """The members of authenticatorGetInfo about the reset and the PIN policy are shown. Older keys do not have them."""
    place = PluggedKey(where="here", link=Link.HID)
    old = Info(versions=["FIDO_2_1"], extensions=[], aaguid=Aaguid(b"\x01" * 16))
    new = replace(old, long_touch_for_reset=True, transports_for_reset=["usb"], pin_complexity_policy=True)
    found = [_info(place, each, u2f=(), device_version=None) for each in (old, new)]
    assert [(each.long_touch_for_reset, each.transports_for_reset, each.pin_complexity) for each in found] == [
        (False, (), None),
        (True, ("usb",), True),
    ]
