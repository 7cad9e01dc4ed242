"""Tests of a box of keys in this process: messages between two keys, and readers with held or foreign cards."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from smartcard.Exceptions import CardConnectionException

from mfa_kit.adapters.fido import hidraw, links
from mfa_kit.adapters.fido.key import open_key
from mfa_kit.cli.environment import given
from mfa_kit.cli.settings import read_settings
from mfa_kit.core.errors import DeviceFault
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.securitykey import KeyBehavior, SimulatedKey, lab_key
from mfa_kit.security_keys import attestation as boxes
from mfa_kit.security_keys.attestation import KeyExaminer
from mfa_kit.security_keys.authenticator import Link, PluggedKey
from mfa_kit.security_keys.key_policy import KeyPolicy
from mfa_kit.wiring.security_keys import SecurityKeys
from tests.fido import slot
from tests.fido.conftest import Bus, Desk, Published, detail, results
from tests.fido.test_mutations import DESCRIPTOR

Box = Callable[..., None]


@pytest.fixture
def box(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> Box:
    """Plug in the keys of a box one after another, and then stop."""

    def of(*keys: SimulatedKey) -> None:
        left = iter(keys)

        def following(*_: object) -> PluggedKey:
            bus.unplug()
            key = next(left, None)
            if key is None:
                raise KeyboardInterrupt
            bus.plug(key)
            return PluggedKey(where="/dev/hidraw0", link=Link.HID)

        monkeypatch.setattr(KeyExaminer, "next", following)

    return of


def test_a_box_gives_a_line_for_each_key_and_a_count(
    box: Box, maker: AttestationCa, desk: Desk, published: Published
) -> None:
    """A repeated key is reported but not counted again, and a key that needs a PIN is not judged.

    A refused key makes the exit code 1.
    """
    good, bad = lab_key(maker), lab_key(maker, behavior=KeyBehavior(attestation="self"))
    box(good, bad, good, lab_key(maker, behavior=KeyBehavior(always_uv=True)))
    done = desk.run("verify", "fido2", "--watch", "--output", "jsonl", "--asset", "BOX", *published.options)
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert [(row["verdict"], row["asset"]) for row in rows] == [("proof", "BOX-1"), ("refused", "BOX-2")]
    assert (done.code, good.registered) == (1, 1)
    assert "this key was already checked, so it is not counted again" in done.err
    assert "set a PIN first" in done.err
    assert "1 not judged, 1 proof, 1 refused" in done.err


@pytest.mark.parametrize(("output", "lines"), [("csv", 3), ("table", 2)])
def test_a_box_of_passing_keys_is_exit_0(
    box: Box, maker: AttestationCa, desk: Desk, published: Published, output: str, lines: int
) -> None:
    """A spreadsheet has one header, and a table has one line per key."""
    box(lab_key(maker), lab_key(maker))
    done = desk.run("verify", "fido2", "--watch", "--output", output, *published.options)
    assert (done.code, len(done.out.splitlines())) == (0, lines)


def test_a_key_that_was_not_judged_uses_no_label(
    box: Box, maker: AttestationCa, desk: Desk, published: Published
) -> None:
    """Labels are assigned in the order of the output lines, and a spreadsheet begins with its header."""
    wants_pin = lab_key(maker, behavior=KeyBehavior(always_uv=True))
    box(wants_pin, lab_key(maker), wants_pin, lab_key(maker))
    done = desk.run("verify", "fido2", "--watch", "--output", "csv", "--asset", "BOX", *published.options)
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [(row["verdict"], row["asset"]) for row in rows] == [("proof", "BOX-1"), ("proof", "BOX-2")]
    assert (done.code, "2 not judged, 2 proof" in done.err) == (1, True)


def examiner() -> KeyExaminer:
    """Return an examiner without metadata, with the settings of the current command line."""
    return SecurityKeys(read_settings(given())).examiner(None, KeyPolicy())


def test_messages_say_what_to_do_between_two_keys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The messages ask for a key, for its removal, and for one key at a time.

    A key at the same place is the next key.
    """
    one, other = (PluggedKey(where=f"/dev/hidraw{number}", link=Link.HID) for number in (0, 1))
    looks: Iterator[list[PluggedKey]] = iter([[one], [], [one, other], [other]])
    now: list[list[PluggedKey]] = []

    def state() -> object:
        now[:] = [next(looks)]
        return [each.where for each in now[0]]

    monkeypatch.setattr(links, "attached_names", state)
    monkeypatch.setattr(links, "find_keys", lambda _: (now[0], []))
    monkeypatch.setattr(boxes, "LOOK", 0.0)
    with click.Context(click.Command("verify")):
        assert examiner().next(one) == other
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "remove this key, then insert the next one",
        "insert a key, or press Ctrl-C to end",
        "several keys are plugged in: insert one at a time",
    ]


def test_a_key_that_cannot_be_opened_is_reported_during_a_watch(
    bus: Bus, key: SimulatedKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without this message, plugging in a key without the udev rule would show nothing."""
    sysfs = tmp_path / "hidraw7" / "device"
    monkeypatch.setattr(hidraw, "SYSFS", tmp_path)
    monkeypatch.setattr(boxes, "LOOK", 0.0)

    def barred() -> None:
        sysfs.mkdir(parents=True)
        (sysfs / "report_descriptor").write_bytes(DESCRIPTOR)

    moves: Iterator[Callable[[], object]] = iter([lambda: None, barred, lambda: bus.plug(key)])
    real = links.attached_names

    def state() -> list[str]:
        next(moves)()
        return real()

    monkeypatch.setattr(links, "attached_names", state)
    with click.Context(click.Command("verify")):
        assert examiner().next(None).where == "/dev/hidraw0"
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "insert a key, or press Ctrl-C to end"
    assert told[1].startswith("there is a key, but you have no permission to open /dev/hidraw7; install the udev rule")


class Held(slot.Reader):
    """A reader whose card another program holds exclusively."""

    def createConnection(self) -> slot.Connection:  # noqa: N802 - pyscard's name
        raise CardConnectionException(hresult=links.BUSY)


def test_a_card_held_by_another_program_is_reported(
    bus: Bus, key: SimulatedKey, maker: AttestationCa, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there is no other key, the fault is the result of the command."""
    monkeypatch.setattr(links, "_holder", lambda: None)
    slot.seen(Held(lab_key(maker)), monkeypatch)
    bus.plug(key)
    done = desk.run("key", "list", "--output", "json")
    assert done.code == 0, done.err
    assert [row["where"] for row in json.loads(done.out)["rows"]] == [["/dev/hidraw0"]]
    assert "Contactless reader 00 00: another program is using the card" in done.err
    bus.unplug()
    done = desk.run("verify", "fido2")
    assert (done.code, "another program is using the card" in done.err) == (3, True)


@pytest.mark.parametrize("answer", [b"\x6a\x82", b"\x6d\x00"])
def test_a_card_of_another_kind_is_not_a_key(
    bus: Bus, key: SimulatedKey, desk: Desk, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """The card has no FIDO applet."""
    assert not bus.slots
    slot.seen(slot.Reader(key, tamper=lambda *_: answer), monkeypatch)
    done = desk.run("verify", "fido2")
    assert (done.code, "there is no security key" in done.err) == (3, True)


def test_a_card_that_disappears_during_the_search_is_not_a_key(
    bus: Bus, key: SimulatedKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other keys are not affected."""
    assert not bus.slots
    slot.seen(slot.Reader(key, pulled_at=1), monkeypatch)
    assert links.find_keys() == ([], [])


def test_a_key_in_a_reader_is_verified_after_a_late_touch(
    bus: Bus, maker: AttestationCa, desk: Desk, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key in a reader behaves as over USB. tests/fido/test_reader.py tests the same with pcscd."""
    assert not bus.slots
    slot.seen(slot.Reader(lab_key(maker, behavior=KeyBehavior(touch=0.3))), monkeypatch)
    done, receipt = desk.verify(*published.options)
    assert (done.code, receipt["place"], results(receipt)["genuine"]) == (0, "Contactless reader 00 00", "pass")
    assert detail(receipt, "genuine") == "mfa-kit lab key"


def test_an_unknown_program_is_described_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong name would be worse than no name."""
    monkeypatch.setattr(links, "HOLDERS", set())
    assert str(links.card_fault(CardConnectionException(hresult=links.BUSY))) == "another program is using the card"


def test_only_a_registered_key_is_asked_to_sign(bus: Bus, key: SimulatedKey) -> None:
    """Another order of calls is a bug in mfa-kit and raises an error."""
    bus.plug(key)
    with open_key(None, tell=lambda _: None) as one, pytest.raises(TypeError, match="register first"):
        one.assertion(verify=False, pin=None)


def test_a_key_without_authenticator_config_has_no_pin_policy(bus: Bus, maker: AttestationCa) -> None:
    """Its list of options does not matter."""
    bus.plug(lab_key(maker, behavior=KeyBehavior(configurable=False)))
    with open_key(None, tell=lambda _: None) as one, pytest.raises(DeviceFault, match="cannot be configured"):
        one.set_pin_policy(None, shortest=8, force_change=False)
