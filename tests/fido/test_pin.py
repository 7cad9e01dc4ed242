"""Tests that the PIN is left to the user: requested once, never repeated by the program, and never shown or stored."""

import io
import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pexpect
import pytest

from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.clientpin import ClientPin
from mfa_kit.lab.devices.ctap import CtapRefusal, CtapStatus
from mfa_kit.lab.devices.securitykey import KeyBehavior, KeyModel, SimulatedKey, lab_key
from mfa_kit.security_keys.authenticator import Pin
from mfa_kit.security_keys.pin import PipedPins
from tests.conftest import bare
from tests.fido.conftest import Bus, Desk, Published, detail, results
from tests.terminal.spawn import MFA_KIT, spawn

PIN = "pin-5839-canary"


def wants_pin(maker: AttestationCa, **how: Any) -> SimulatedKey:
    """Make a key that registers only with its PIN."""
    how = {"pin": PIN, "behavior": KeyBehavior(uv_not_required=False), **how}
    return lab_key(maker, **how)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Answer each PIN prompt with the next element of this list."""
    answers: list[str] = []
    monkeypatch.setattr(PipedPins, "pin", lambda *_: Pin(answers.pop(0)))
    return answers


@pytest.mark.parametrize("protocols", [(1,), (2,), (2, 1)], ids=str)
def test_one_pin_prompt_is_enough_for_two_signatures(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk, typed: list[str], protocols: tuple[int, ...]
) -> None:
    """Tested with both PIN protocols. A key that always verifies the user needs the PIN for both signatures."""
    key = wants_pin(maker, model=KeyModel(protocols=protocols), behavior=KeyBehavior(always_uv=True))
    bus.plug(key)
    typed.append(PIN)
    done, receipt = desk.verify(*published.options, "--pin-stdin")
    assert (done.code, results(receipt)["user verification"], typed) == (0, "pass", [])
    assert key.client_pin.retries == 8


def test_a_pin_that_is_set_but_not_needed_is_not_asked_for(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk
) -> None:
    """CTAP 2.1: makeCredUvNotRqd. The test has no terminal, so a prompt would fail."""
    bus.plug(lab_key(maker, pin=PIN))
    assert desk.verify(*published.options, "--no-input")[0].code == 0


def test_a_wrong_pin_uses_one_try_and_shows_the_remaining_ones(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk, typed: list[str]
) -> None:
    """One run sends the PIN once."""
    key = wants_pin(maker)
    bus.plug(key)
    typed.append("wrong-1")
    done = desk.run("verify", "fido2", *published.options, "--pin-stdin")
    assert (done.code, key.client_pin.tries, key.client_pin.retries) == (3, 1, 7)
    assert "the PIN is wrong; 7 tries are left" in done.err
    assert "touch your key" not in done.err  # the key is never asked for a touch


@pytest.mark.parametrize("status", [CtapStatus.OTHER, CtapStatus.PIN_AUTH_INVALID, CtapStatus.INVALID_PARAMETER])
@pytest.mark.parametrize("verb", ["verify", "change", "count"])
def test_a_wrong_pin_with_another_error_is_detected_by_the_tries(
    bus: Bus,
    maker: AttestationCa,
    published: Published,
    desk: Desk,
    typed: list[str],
    status: CtapStatus,
    verb: str,
) -> None:
    """The key's counter before and after shows that a try was used."""
    key = wants_pin(maker)
    key.client_pin.wrong_pin = status
    bus.plug(key)
    typed += ["wrong-1", "wrong-2"]
    words = {
        "verify": ("verify", "fido2", *published.options),
        "change": ("key", "pin", "change"),
        "count": ("key", "info", "--count"),
    }[verb]
    done = desk.run(*words, "--pin-stdin")
    assert (done.code, key.client_pin.tries) == (3, 1)
    assert "the key counted a wrong PIN; 7 tries are left" in done.err


def test_another_error_after_a_right_pin_is_not_a_wrong_pin(
    bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key's counter of tries did not change."""

    def refuse(*_: object) -> None:
        raise CtapRefusal(CtapStatus.OTHER)

    key = lab_key(maker, pin=PIN)
    bus.plug(key)
    monkeypatch.setattr(ClientPin, "_issue_token", refuse)
    typed.append(PIN)
    done = desk.run("key", "info", "--count", "--pin-stdin")
    assert "the key rejected the command" in done.err
    assert "wrong PIN" not in done.err


def test_after_three_wrong_pins_the_key_must_be_unplugged(
    bus: Bus,
    maker: AttestationCa,
    published: Published,
    desk: Desk,
    typed: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After PIN_AUTH_BLOCKED some firmware counts each further try, so no further try is made."""
    key = wants_pin(maker)
    slot = bus.plug(key)
    # All runs are within the same power cycle.
    monkeypatch.setattr(type(key.client_pin), "power_up", lambda _: None)
    for _ in range(2):
        typed.append("wrong-1")
        desk.run("verify", "fido2", *published.options, "--pin-stdin")
    typed.append("wrong-1")
    done = desk.run("verify", "fido2", *published.options, "--pin-stdin")
    assert (done.code, key.client_pin.tries) == (3, 3)
    assert "the key accepts no PIN until it is unplugged; 5 tries are left" in done.err
    typed.append(PIN)
    done = desk.run("verify", "fido2", *published.options, "--pin-stdin")
    assert (done.code, key.client_pin.tries, typed) == (3, 3, [PIN])
    assert "until it is unplugged" in done.err
    assert slot.key is key


def test_with_two_tries_left_a_script_is_declined(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk, typed: list[str]
) -> None:
    """Even a right PIN is not tried, because the user must decide."""
    key = wants_pin(maker)
    key.client_pin.retries = 2
    bus.plug(key)
    typed.append(PIN)
    done = desk.run("verify", "fido2", *published.options, "--pin-stdin")
    assert (done.code, key.client_pin.tries) == (8, 0)
    assert "2 PIN tries left, so a person has to confirm the next try" in done.err


@pytest.mark.parametrize("left", range(9))
def test_a_script_never_locks_a_pin(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk, typed: list[str], left: int
) -> None:
    """Many runs with a wrong PIN leave two tries, and no key gets locked."""
    key = wants_pin(maker)
    key.client_pin.retries = left
    bus.plug(key)
    for _ in range(10):
        typed.append("wrong-1")
        assert desk.run("verify", "fido2", *published.options, "--pin-stdin").code in (3, 8)
    assert key.client_pin.retries == min(left, 2)


def test_a_locked_pin_is_not_tried(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk, typed: list[str]
) -> None:
    """The error says what the user can still do."""
    key = wants_pin(maker)
    key.client_pin.retries = 0
    bus.plug(key)
    typed.append(PIN)
    done = desk.run("verify", "fido2", *published.options, "--pin-stdin")
    assert (done.code, key.client_pin.tries) == (3, 0)
    assert "locked for good" in done.err


@pytest.mark.parametrize(
    "status", [CtapStatus.PIN_INVALID, CtapStatus.OTHER, CtapStatus.PIN_AUTH_BLOCKED], ids=["wrong", "other", "replug"]
)
@pytest.mark.parametrize("left", [1, 0])
def test_the_hint_after_one_of_the_last_wrong_pins_says_what_the_next_one_costs(
    bus: Bus,
    maker: AttestationCa,
    desk: Desk,
    typed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    left: int,
    status: CtapStatus,
) -> None:
    """The user must not simply repeat the command, whatever error the key reports."""
    key = wants_pin(maker)
    key.client_pin.retries, key.client_pin.wrong_pin = left + 1, status
    bus.plug(key)
    monkeypatch.setattr(PipedPins, "risk", lambda *_: None)
    typed.append("wrong-1")
    done = desk.run("key", "info", "--count", "--pin-stdin")
    assert (done.code, key.client_pin.retries) == (3, left)
    if left:
        assert "1 try is left" in done.err
        assert "look the PIN up first: one more wrong PIN locks the key, and only a reset unlocks it" in done.err
    else:
        assert "the PIN of this key is locked for good" in done.err
        assert "use another key, or reset this one" in done.err
    assert "a reset erases the PIN and the credentials for every site and account" in done.err
    assert "repeat the command" not in done.err
    assert ("mfa-kit key reset" in done.err) == (left == 0)  # whoever can look the PIN up should not paste it


def test_a_locked_pin_is_shown_as_locked(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk, tmp_path: Path
) -> None:
    """A key with a locked PIN can still register without its PIN. A policy that requires a PIN refuses it."""
    key = lab_key(maker, pin=PIN)
    bus.plug(key)
    policy = tmp_path / "policy.toml"
    policy.write_text("pin = true\n")
    for retries, shown, values, code in ((8, True, ["not applicable", "pass"], 0), (0, "locked", ["warn", "fail"], 1)):
        key.client_pin.retries = retries
        [row] = json.loads(desk.run("key", "list", "--output", "json").out)["rows"]
        assert row["fido_pin"] == shown
        assert ("locked" in desk.run("key", "info").out) == (shown == "locked")
        (_, plain), (done, strict) = (
            desk.verify(*published.options, *more) for more in ((), ("--require", str(policy)))
        )
        assert [results(receipt)["pin"] for receipt in (plain, strict)] == values
        assert (done.code, detail(plain, "pin").startswith("locked; a reset erases")) == (code, retries == 0)


def test_a_pin_that_must_be_changed_is_not_tried(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk, typed: list[str]
) -> None:
    """With forcePINChange the key would reject the right PIN."""
    key = wants_pin(maker, force_change=True)
    bus.plug(key)
    typed.append(PIN)
    done = desk.run("verify", "fido2", *published.options, "--pin-stdin")
    assert (done.code, key.client_pin.tries) == (3, 0)
    assert "requires a new PIN" in done.err


@pytest.mark.parametrize("pin", ["12345", "x" * 64, ""])
def test_a_pin_that_cannot_be_right_is_not_tried(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk, typed: list[str], pin: str
) -> None:
    """The PIN is shorter than this key's minimum, or longer than any PIN."""
    key = wants_pin(maker, shortest_pin=6)
    bus.plug(key)
    typed.append(pin)
    done = desk.run("verify", "fido2", *published.options, "--pin-stdin")
    assert (done.code, key.client_pin.tries) == (3, 0)
    assert "at least 6 characters" in done.err


@pytest.mark.parametrize("how", [{"behavior": KeyBehavior(always_uv=True)}, {}], ids=["always-uv", "policy"])
def test_a_key_that_needs_a_pin_first_is_not_judged(
    bus: Bus, maker: AttestationCa, published: Published, desk: Desk, tmp_path: Path, how: dict[str, Any]
) -> None:
    """The exit code is 3 and there is no receipt."""
    (tmp_path / "policy.toml").write_text("user-verification = true")
    key = lab_key(maker, **how)
    bus.plug(key)
    done = desk.run("verify", "fido2", *published.options, "--require", tmp_path / "policy.toml")
    assert (done.code, done.out, key.registered) == (3, "", 0)
    assert "set a PIN first" in done.err


def test_a_u2f_key_without_user_verification_is_judged(
    bus: Bus, maker: AttestationCa, desk: Desk, published: Published, tmp_path: Path
) -> None:
    """A U2F key has no PIN, so the check of user verification fails."""
    (tmp_path / "policy.toml").write_text("user-verification = true\npin = true")
    bus.plug(SimulatedKey(maker.certificate(None), model=KeyModel(aaguid=None, versions=("U2F_V2",))))
    done, receipt = desk.verify(*published.options, "--require", tmp_path / "policy.toml")
    assert (done.code, receipt["failed"]) == (1, ["genuine", "pin", "user verification"])


def test_a_key_that_leaves_out_its_pin_protocols_is_still_described(bus: Bus, maker: AttestationCa, desk: Desk) -> None:
    """Without PIN protocols, the number of remaining tries is unknown."""
    bus.plug(lab_key(maker, pin=PIN, model=KeyModel(protocols=())))
    done = desk.run("key", "info", "--output", "json")
    assert (done.code, json.loads(done.out)["fido_pin"], json.loads(done.out)["fido_pin_tries_left"]) == (0, True, None)


def test_the_credentials_on_a_key_are_counted_with_its_pin(
    bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str]
) -> None:
    """`key info --count` requires the PIN. Without `--count`, only the free space is known."""
    key = lab_key(maker, pin=PIN)
    key.resident.append(("example.org", b"id"))
    bus.plug(key)
    typed.append(PIN)
    assert re.search(r"resident used +1\n.*resident free +24\n", desk.run("key", "info", "--pin-stdin").out)
    assert "resident used" not in desk.run("key", "info").out


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (KeyModel(), "the key requires a PIN, but has none"),
        (KeyModel(aaguid=None, versions=("U2F_V2",)), "this key does not support a PIN"),
    ],
    ids=["none-yet", "u2f"],
)
def test_a_key_without_a_pin_causes_no_prompt(
    bus: Bus, maker: AttestationCa, desk: Desk, typed: list[str], model: KeyModel, said: str
) -> None:
    """There is no PIN to type."""
    bus.plug(lab_key(maker, model=model))
    typed.append(PIN)
    done = desk.run("key", "info", "--pin-stdin")
    assert (done.code, typed) == (3, [PIN])
    assert said in done.err


def test_a_pin_is_not_echoed_and_the_last_tries_are_confirmed(
    session: "pexpect.spawn[str]", key_at_process: SimulatedKey
) -> None:
    """The prompt shows the remaining tries and does not echo the PIN.

    With two tries left, the user must type `LAST`.
    """
    assert session.expect("type LAST to continue") == 0
    session.sendline("LAST")
    session.expect("PIN of the key, 2 tries left: ")
    time.sleep(0.2)
    session.sendline(PIN)
    session.expect("verdict +\x1b\\[32mproof\x1b\\[0m")
    session.expect(pexpect.EOF)
    assert PIN not in session.seen.getvalue()  # type: ignore[attr-defined]
    assert key_at_process.client_pin.retries == 8


@pytest.mark.slow
def test_a_block_that_is_still_reported_can_be_confirmed_as_over(
    process_desk: Desk, key_at_process: SimulatedKey
) -> None:
    """Some firmware reports the block until it gets the correct PIN.

    A person may confirm that the key was unplugged, a script may not.
    """
    pin = key_at_process.client_pin
    pin.retries, pin.wrong_in_a_row, pin.stays_blocked = 5, 3, True
    script = process_desk.start("key", "info", "--count", "--pin-stdin", stdin=subprocess.PIPE)
    _, err = script.communicate(f"{PIN}\n", timeout=50)
    assert (script.returncode, pin.tries) == (3, 0)
    assert "the key accepts no PIN until it is unplugged" in err
    seen = at_terminal(process_desk, ("type REPLUGGED to continue", "no"), ("until it is unplugged", ""))
    assert pin.tries == 0
    seen += at_terminal(
        process_desk, ("type REPLUGGED to continue", "REPLUGGED"), ("PIN of the key, 5 tries left: ", "wrong-1")
    )
    assert (pin.tries, pin.retries) == (1, 4)
    assert "4 tries are left" in seen
    seen = at_terminal(
        process_desk, ("type REPLUGGED to continue", "REPLUGGED"), ("PIN of the key, 4 tries left: ", PIN)
    )
    assert (pin.tries, pin.retries) == (2, 8)
    assert "REPLUGGED" not in at_terminal(process_desk, ("PIN of the key, 8 tries left: ", PIN))


def at_terminal(desk: Desk, *answers: tuple[str, str]) -> str:
    """Run `key info --count` at a terminal and answer its prompts. Return all that it showed."""
    seen = io.StringIO()
    session = spawn(
        [*MFA_KIT, "key", "info", "--count"],
        env={**bare(), "MFA_KIT_HOME": str(desk.home), "TERM": "xterm", **desk.env},
        timeout=30,
        dimensions=(50, 160),
    )
    session.logfile_read = seen
    for prompt, answer in answers:
        session.expect(prompt)
        time.sleep(0.2)
        session.sendline(answer)
    session.expect(pexpect.EOF)
    session.close()
    return seen.getvalue()


def test_the_pin_is_only_in_the_key(
    key_at_process: SimulatedKey, published: Published, process_desk: Desk, tmp_path: Path
) -> None:
    """A test PIN must not be in the output, not even with --debug, nor in any file of mfa-kit's folder."""
    key_at_process.client_pin.retries = 8
    process = process_desk.start("verify", "fido2", "--debug", "--pin-stdin", *published.options, stdin=-1)
    out, err = process.communicate(PIN + "\n", timeout=50)
    assert process.returncode == 0, err
    assert PIN not in out + err
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if PIN.encode() in file.read_bytes()]
