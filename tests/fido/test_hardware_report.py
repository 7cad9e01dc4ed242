"""The report for owners of a real key, with the lab's key in place of a real one."""

import io
import re
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.securitykey import KeyModel, lab_key
from tests.conftest import MfaKit
from tests.fido.conftest import Bus, Hands, has
from tests.hardware.__main__ import Done, Run, ask_person, main, not_blank, public


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back the standard input that `on` replaces."""
    monkeypatch.setattr(sys, "stdin", sys.stdin)


def on(mfa_kit: MfaKit, sent: list[Sequence[str]]) -> Run:
    """Return a function that runs mfa-kit in this process, where the bus is, and notes the commands."""

    def run(arguments: Sequence[str], stdin: str) -> Done:
        sent.append(arguments)
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin.encode()))
        done = mfa_kit.run(*arguments)
        return Done(done.code, done.out, done.err)

    return run


def refuse(_: str) -> str:
    """Answer the warning with a word that is not the right one."""
    return "yes"


@pytest.mark.usefixtures("stdin")
def test_without_writes_the_report_only_reads(
    bus: Bus, maker: AttestationCa, mfa_kit: MfaKit, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report names the model, and hides the serial number."""
    key = lab_key(maker)
    bus.plug(key, serial="LAB-12345678")
    sent: list[Sequence[str]] = []
    main([], on(mfa_kit, sent), refuse)
    said = capsys.readouterr().out
    assert [words[:2] for words in sent] == [("key", "list"), ("key", "info")]
    assert "mfa-kit lab key" in said
    assert "12345678" not in said
    assert (bool(key.client_pin.hash), key.registered) == (False, 0)


def steps(report: str) -> list[tuple[str, str]]:
    """Return the first words and the exit code of each step in a report, without the two that only read."""
    return re.findall(r"### `mfa-kit (\w+ \w+).*exit code (\d+)", report)[2:]


@pytest.mark.slow
@pytest.mark.usefixtures("stdin")
def test_a_blank_key_gets_a_pin_is_touched_counted_and_erased(
    bus: Bus, maker: AttestationCa, mfa_kit: MfaKit, capsys: pytest.CaptureFixture[str], hands: Hands
) -> None:
    """All steps work with the lab's key, which is unplugged for the reset. Without metadata its maker is not proven."""
    key = lab_key(maker)
    bus.plug(key, serial="KEY-7")
    hands(bus, lambda: key)
    assert main(["--writes"], on(mfa_kit, []), lambda _: "ERASE") == 0
    assert steps(capsys.readouterr().out) == [
        ("key pin", "0"),
        ("key info", "0"),
        ("verify fido2", "1"),
        ("key pin", "0"),
        ("key info", "0"),
        ("key reset", "0"),
        ("key info", "0"),
    ]
    assert not key.client_pin.hash


@pytest.mark.parametrize("another", [{"pin": "48151623"}, {"model": KeyModel(firmware=(5, 4, 3))}], ids=["used", "new"])
@pytest.mark.usefixtures("stdin")
def test_a_key_that_is_exchanged_while_the_question_waits_is_left_as_it_is(
    bus: Bus, maker: AttestationCa, mfa_kit: MfaKit, capsys: pytest.CaptureFixture[str], another: dict[str, Any]
) -> None:
    """The key is read again after the answer. What was read before belongs to another key."""
    bus.plug(lab_key(maker))
    taken = lab_key(maker, **another)
    before = taken.client_pin.hash
    sent: list[Sequence[str]] = []

    def ask(_: str) -> str:
        bus.unplug()
        bus.plug(taken)
        return "ERASE"

    assert main(["--writes"], on(mfa_kit, sent), ask) == 2
    assert [words[:2] for words in sent] == [("key", "list"), ("key", "info"), ("key", "info")]
    assert taken.client_pin.hash == before
    assert "the key is left as it is" in capsys.readouterr().err


@pytest.mark.usefixtures("stdin")
def test_credentials_that_only_a_pin_shows_are_not_erased(
    bus: Bus, maker: AttestationCa, mfa_kit: MfaKit, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lab's key tells a number only with a PIN, as real keys do. The owner gets the PIN that was set."""
    key = lab_key(maker)
    key.resident.append(("example.org", b"id"))
    bus.plug(key)
    assert main(["--writes"], on(mfa_kit, []), lambda _: "ERASE") == 1
    said = capsys.readouterr()
    assert steps(said.out) == [("key pin", "0"), ("key info", "0")]
    assert "the key is not blank: fido_resident_used" in said.out
    assert key.resident
    [line] = [line for line in said.err.splitlines() if line.startswith("if the key has a PIN now")]
    assert has(key, line.split()[-3])


@pytest.mark.usefixtures("stdin")
def test_the_first_step_that_fails_is_the_last(
    bus: Bus, maker: AttestationCa, mfa_kit: MfaKit, capsys: pytest.CaptureFixture[str]
) -> None:
    """A key that is unplugged before the touch is not erased afterwards."""
    key = lab_key(maker)
    bus.plug(key)
    real = on(mfa_kit, [])

    def run(arguments: Sequence[str], stdin: str) -> Done:
        if arguments[:2] == ("verify", "fido2"):
            bus.unplug()
        return real(arguments, stdin)

    assert main(["--writes"], run, lambda _: "ERASE") == 1
    assert steps(capsys.readouterr().out) == [("key pin", "0"), ("key info", "0"), ("verify fido2", "3")]
    assert key.client_pin.hash


@pytest.mark.parametrize(
    ("info", "used"),
    [
        ('{"fido_pin": false, "fido_resident_used": 0, "oath_used": 0, "oath_password": false}', []),
        ('{"fido_pin": false}', []),
        ('{"fido_pin": true}', ["fido_pin"]),
        ('{"fido_pin": false, "oath_used": 3}', ["oath_used"]),
        (
            '{"fido_pin": false, "fido_resident_used": 1, "oath_password": true}',
            ["fido_resident_used", "oath_password"],
        ),
        ("{}", ["fido_pin"]),
        ("", ["key info"]),
    ],
)
def test_only_a_blank_key_may_be_erased(info: str, used: list[str]) -> None:
    """Whatever cannot be read counts as used."""
    assert not_blank(info) == used


@pytest.mark.parametrize(("pin", "answer"), [("true", "ERASE"), ("false", "yes")], ids=["used", "not confirmed"])
def test_a_key_is_left_as_it_is(pin: str, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A used key is refused before the question, and a blank one without the right word."""
    sent: list[Sequence[str]] = []
    asked: list[str] = []

    def run(arguments: Sequence[str], _: str) -> Done:
        sent.append(arguments)
        return Done(0, f'{{"fido_pin": {pin}}}', "")

    def ask(warning: str) -> str:
        asked.append(warning)
        return answer

    assert main(["--writes"], run, ask) == 2
    assert (len(sent), len(asked)) == (2, int(pin == "false"))
    assert "the key is left as it is" in capsys.readouterr().err


def test_no_pin_is_in_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    """The PINs go to standard input. A message that repeats one is masked."""
    inputs: list[str] = []

    def run(arguments: Sequence[str], stdin: str) -> Done:
        inputs.append(stdin)
        pin = "true" if "--count" in arguments else "false"
        return Done(0, f'{{"fido_pin": {pin}, "where": ["here"]}}', f"echo {stdin}")

    assert main(["--writes"], run, lambda _: "ERASE") == 0
    said = capsys.readouterr().out
    pins = {pin for each in inputs for pin in each.split()}
    assert len(pins) == 2
    assert not [pin for pin in pins if pin in said]
    assert public("serial 31234567") == "serial <number>"


def test_without_an_answer_nothing_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input is closed, as in a script."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert ask_person("Erase this key? ") == ""
