"""Tests of `key list` and `key info` where one key has several applets, or several keys are plugged in."""

import hashlib
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fido2 import hid
from fido2.hid.base import HidDescriptor
from smartcard import scard

from mfa_kit.adapters.fido import hidraw
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.fidocard import FidoCard
from mfa_kit.lab.devices.oathcard import LIST, Quirks, YkoathCard
from mfa_kit.lab.devices.reader import YUBIKEY
from mfa_kit.lab.devices.securitykey import KeyModel, lab_key
from tests import pcsc
from tests.fido.conftest import LAB_AAGUID, Bus, Desk, Port, detail, publish, results
from tests.oath.test_maker import TwoApplets
from tests.oath.test_sharing import handle

FIDO = KeyModel(product="Maker Key")


def told(desk: Desk, *words: str) -> tuple[int, dict[str, object], str]:
    """Run `key info`. Return the exit code, the result and the messages."""
    done = desk.run("key", "info", "--no-input", "--output", "json", *words)
    return done.code, json.loads(done.out) if done.out else {}, done.err


def rows(desk: Desk) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(desk.run("key", "list", "--output", "json").out)["rows"]
    return found


def place(name: str) -> int:
    """Return the place of a field: those of every key come first, then those of FIDO, then those of OATH."""
    return ("fido_", "oath_").index(name[:5]) + 1 if name[:5] in ("fido_", "oath_") else 3 * (name == "credentials")


@pytest.mark.usefixtures("bus")
def test_a_key_with_an_oath_password_has_the_same_fields(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of free places is known as soon as the key is unlocked."""
    card = YkoathCard()
    pcsc.plug(card)
    _, without, _ = told(desk)
    card.password = hashlib.pbkdf2_hmac("sha1", b"password", card.identity, 1000, 16)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"password\n")))
    code, row, err = told(desk, "--password-stdin")
    assert (code, row["oath_free"], list(row)) == (0, without["oath_free"], list(without)), err
    assert row["oath_free"]


def test_a_reader_that_another_program_uses_may_have_the_other_half_of_the_key(
    bus: Bus, desk: Desk, maker: AttestationCa
) -> None:
    """The key on USB is printed, and the missing half is an error. A key of which both halves are known has none."""
    bus.plug(lab_key(maker, model=FIDO))
    pcsc.plug(YkoathCard(), YkoathCard(serial=2222))
    assert told(desk, "--key", "/dev/hidraw0")[0] == 0
    with handle(1):
        code, row, err = told(desk, "--key", "/dev/hidraw0")
        assert (code, row["where"]) == (3, ["/dev/hidraw0"])
        assert f"the card in {pcsc.reader(1)} is in use by another program" in err
        bus.plug(lab_key(maker, model=KeyModel(product=YUBIKEY)))
        code, row, err = told(desk, "--key", "/dev/hidraw1")
        assert (code, row["where"]) == (0, ["/dev/hidraw1", pcsc.reader(0)])


@pytest.mark.parametrize("gone", ["on USB", "in a reader"])
def test_a_key_that_is_removed_meanwhile_is_no_error_of_another_key(
    bus: Bus, desk: Desk, maker: AttestationCa, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """The key was listed, but is removed before it is read."""
    bus.plug(lab_key(maker, model=FIDO))
    pcsc.plug(YkoathCard(quirks=Quirks(pulled_by=LIST if gone == "in a reader" else 0)))
    connect = hid.open_connection

    def unplugged(descriptor: HidDescriptor) -> object:
        if descriptor.path == "/dev/hidraw1":
            bus.slots.pop("/dev/hidraw1")
            raise FileNotFoundError
        return connect(descriptor)  # type: ignore[no-untyped-call]

    if gone == "on USB":
        bus.plug(lab_key(maker))
        monkeypatch.setattr(hid, "open_connection", unplugged)
    code, row, err = told(desk, "--quiet", "--key", "/dev/hidraw0")
    assert (code, row["where"], err) == (0, ["/dev/hidraw0"], "")


def test_with_two_keys_one_must_be_chosen(bus: Bus, maker: AttestationCa, desk: Desk) -> None:
    """Without --key there is an error. Each name of a key selects that key alone."""
    bus.plug(lab_key(maker, model=FIDO))
    card = YkoathCard()
    pcsc.plug(card)
    code, row, err = told(desk)
    assert (code, row) == (8, {})
    assert "the key to use (2 are plugged in) must be chosen" in err
    assert "Maker Key, no serial, at /dev/hidraw0" in err
    assert f"YubiKey 5A, 12345678, at {pcsc.reader(0)}" in err
    code, row, err = told(desk, "--key", "/dev/hidraw0")
    assert (code, row["where"], "plugged in" in err) == (0, ["/dev/hidraw0"], False)
    assert not [name for name in row if name.startswith("oath_")]
    identity = ""
    for name in (pcsc.reader(0), "12345678"):
        code, row, err = told(desk, "--key", name)
        assert (code, row["where"], err) == (0, [pcsc.reader(0)], "")
        assert not [name for name in row if name.startswith("fido_")]
        identity = str(row["oath_identity"])
    assert told(desk, "--key", identity)[0] == 0
    code, row, err = told(desk, "--key", "9999")
    assert (code, row) == (3, {})
    assert "no key 9999 is plugged in" in err
    assert "plugged in: Maker Key, no serial, at /dev/hidraw0" in err


def test_a_key_with_one_failed_applet_is_shown_and_is_an_error(desk: Desk, bus: Bus, maker: AttestationCa) -> None:
    """The applet that answers is printed. The other applet may be in the same reader, locked, or on USB."""
    card = TwoApplets(FidoCard(lab_key(maker)))
    pcsc.plug(card)
    card.quirks = Quirks(stalls=frozenset({LIST}))
    for words in ((), ("--key", pcsc.reader(0))):
        code, row, err = told(desk, *words)
        assert (code, row["fido_versions"]) == (3, ["U2F_V2", "FIDO_2_0", "FIDO_2_1"])
        assert "sends an endless answer" in err
    card.quirks = Quirks()
    card.password = bytes(16)
    code, row, err = told(desk)
    assert (code, row["oath_password"]) == (8, True)
    assert row["fido_versions"]
    assert list(row) == sorted(row, key=place)
    assert "--password-stdin" in err
    pcsc.plug(YkoathCard(quirks=Quirks(stalls=frozenset({LIST}))))
    bus.plug(lab_key(maker, model=FIDO))
    code, row, err = told(desk)
    assert (code, row["where"]) == (3, ["/dev/hidraw0"])
    assert "sends an endless answer" in err
    code, row, err = told(desk, "--key", "/dev/hidraw0")
    assert (code, row["where"]) == (0, ["/dev/hidraw0"])
    assert "sends an endless answer" in err


@pytest.mark.usefixtures("bus")
def test_both_applets_of_a_card_are_one_row(desk: Desk, maker: AttestationCa) -> None:
    """Both applets are in one reader."""
    pcsc.plug(TwoApplets(FidoCard(lab_key(maker))))
    (row,) = rows(desk)
    assert (row["where"], row["serial"]) == ([pcsc.reader(0)], "12345678")
    assert (row["fido_pin"], row["oath_used"]) == (False, 0)
    code, row, _ = told(desk)
    assert (code, row["oath_used"], row["fido_pin"]) == (0, 0, False)


@pytest.fixture
def at_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Give a node an address on bus 3. The reader is at address 7."""

    def give(node: str, address: int) -> None:
        device = tmp_path / "devices" / node
        (device / "hid").mkdir(parents=True)
        (device / "busnum").write_text("3\n")
        (device / "devnum").write_text(f"{address}\n")
        (tmp_path / "class" / node).mkdir(parents=True)
        (tmp_path / "class" / node / "device").symlink_to(device / "hid")
        monkeypatch.setattr(hidraw, "SYSFS", tmp_path / "class")
        monkeypatch.setattr(scard, "SCardGetAttrib", lambda *_: (0, [7, 3, 0x20, 0]))

    return give


def test_a_key_on_usb_that_is_a_reader_too_is_one_row(
    bus: Bus, desk: Desk, maker: AttestationCa, at_address: Callable[[str, int], None]
) -> None:
    """The key and the reader have the same address on the bus."""
    pcsc.plug(YkoathCard())
    bus.plug(lab_key(maker, model=FIDO))
    at_address("hidraw0", 8)
    assert len(rows(desk)) == 2
    bus.plug(lab_key(maker, model=FIDO))
    at_address("hidraw1", 7)
    assert [row["where"] for row in rows(desk)] == [["/dev/hidraw0"], ["/dev/hidraw1", pcsc.reader(0)]]
    code, row, _ = told(desk, "--key", "12345678")
    assert (code, row["oath_used"], row["fido_pin"]) == (0, 0, False)


@pytest.mark.parametrize("reader", [0, 1])
def test_a_key_on_usb_is_matched_to_a_reader_by_name(reader: int, bus: Bus, desk: Desk, maker: AttestationCa) -> None:
    """The name is used only if no other key and no other reader has it."""
    pcsc.plug(*[None] * reader, YkoathCard())
    named = KeyModel(product=YUBIKEY)
    bus.plug(lab_key(maker, model=named))
    assert [row["where"] for row in rows(desk)] == (
        [["/dev/hidraw0"], [pcsc.reader(1)]] if reader else [["/dev/hidraw0", pcsc.reader(0)]]
    )
    bus.plug(lab_key(maker, model=named))
    assert len(rows(desk)) == 3


def test_messages_of_python_fido2_do_not_reach_the_user(tmp_path: Path, maker: AttestationCa) -> None:
    """A key that is busy for a moment is asked again. python-fido2 would print that on stderr."""
    port = Port(tmp_path / "0", lab_key(maker), busy=2)
    try:
        done = Desk(tmp_path / "desk", port.env).process("key", "list")
    finally:
        port.close()
    assert "/dev/hidraw0" in done.out
    assert "busy" not in done.err


def test_a_claimed_model_does_not_pass(bus: Bus, maker: AttestationCa, desk: Desk, tmp_path: Path) -> None:
    """A key of another manufacturer claims to be the model. The metadata of the model says nothing about this key."""
    other = AttestationCa(now=time.time())
    published = publish(tmp_path, maker, [maker.entry("model", aaguid=LAB_AAGUID)])
    bus.plug(lab_key(other))
    _, receipt = desk.verify(*published.options)
    assert (results(receipt)["genuine"], results(receipt)["status"]) == ("fail", "not applicable")
    assert detail(receipt, "status") == "the model is not proven; no security problem is published for model"
    assert "pass" not in [results(receipt)[name] for name in ("genuine", "status", "model", "advisories", "firmware")]
