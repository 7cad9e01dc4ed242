"""The report for owners of a real key, with the lab's key in place of a real one."""

import io
import re
import sys
from collections.abc import Sequence

import pytest

from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.securitykey import lab_key
from tests.conftest import MfaKit
from tests.fido.conftest import Bus
from tests.hardware.__main__ import Done, Run, main, not_blank, public


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


def test_without_writes_the_report_only_reads(
    bus: Bus, maker: AttestationCa, mfa_kit: MfaKit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report names the model, and hides the serial number."""
    monkeypatch.setattr(sys, "stdin", sys.stdin)
    key = lab_key(maker)
    bus.plug(key, serial="LAB-12345678")
    sent: list[Sequence[str]] = []
    main([], on(mfa_kit, sent), refuse)
    said = capsys.readouterr().out
    assert [words[:2] for words in sent] == [("key", "list"), ("key", "info")]
    assert "mfa-kit lab key" in said
    assert "12345678" not in said
    assert (bool(key.client_pin.hash), key.registered) == (False, 0)


@pytest.mark.slow
def test_a_blank_key_gets_a_pin_is_touched_and_counted(
    bus: Bus, maker: AttestationCa, mfa_kit: MfaKit, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps but the last work with the lab's key. Without metadata its maker is not proven.

    The last step, which is left out, waits for a person who unplugs the key.
    """
    monkeypatch.setattr(sys, "stdin", sys.stdin)
    key = lab_key(maker)
    bus.plug(key)
    sent: list[Sequence[str]] = []
    real = on(mfa_kit, sent)

    def run(arguments: Sequence[str], stdin: str) -> Done:
        return Done(0, "", "") if "reset" in arguments else real(arguments, stdin)

    main(["--writes"], run, lambda _: "ERASE")
    codes = re.findall(r"### `mfa-kit (\w+ \w+).*exit code (\d+)", capsys.readouterr().out)
    assert codes[2:] == [
        ("key pin", "0"),
        ("verify fido2", "1"),
        ("key pin", "0"),
        ("key info", "0"),
        ("key reset", "0"),
    ]
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

    def run(_: Sequence[str], stdin: str) -> Done:
        inputs.append(stdin)
        return Done(0, '{"fido_pin": false}', f"echo {stdin}")

    assert main(["--writes"], run, lambda _: "ERASE") == 0
    said = capsys.readouterr().out
    pins = {pin for each in inputs for pin in each.split()}
    assert len(pins) == 2
    assert not [pin for pin in pins if pin in said]
    assert public("serial 31234567") == "serial <number>"
