"""Tests of `key reset`: what it says about the OATH credentials of the key, and what happens after the key's answer."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from fido2 import hid
from smartcard import scard

from mfa_kit.adapters.fido import hidraw
from mfa_kit.adapters.fido.key import FidoKey
from mfa_kit.adapters.ledger.seen_keys import SeenKeyRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.models import DeviceSpec, JournalEntry, JournalState, Method
from mfa_kit.core.recorded_keys import KeyDevice, KeyEvent, KeyFacts, vendor_of
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.fidocard import FidoCard
from mfa_kit.lab.devices.oathcard import Credential, YkoathCard
from mfa_kit.lab.devices.reader import YUBIKEY, SimulatedCard
from mfa_kit.lab.devices.securitykey import KeyBehavior, KeyModel, SimulatedKey, lab_key
from mfa_kit.security_keys.authenticator import KeyInfo
from mfa_kit.security_keys.pin import KeyReset
from tests import pcsc
from tests.conftest import ACCOUNT, Result
from tests.fido.conftest import Bus, Desk, Hands
from tests.oath.test_maker import TwoApplets
from tests.oath.test_sharing import handle

PIN = "pin-5839-canary"
RESET = "the key reports that it was reset"
Replug = Callable[[SimulatedCard], None]


@pytest.fixture
def replug(monkeypatch: pytest.MonkeyPatch) -> Replug:
    """Return a function that inserts a card. The user takes it out and inserts it again when mfa-kit waits for that."""

    def insert(card: SimulatedCard) -> None:
        moves = iter((pcsc.plug, lambda: pcsc.plug(card)))
        real = KeyReset.wait_for

        def wait_for(reset: KeyReset, look: Callable[[], object], late: str) -> object:
            next(moves)()
            return real(reset, look, late)

        monkeypatch.setattr(KeyReset, "wait_for", wait_for)
        pcsc.plug(card)

    return insert


def test_a_reset_is_recorded_for_a_key_that_can_be_recognized(
    bus: Bus, desk: Desk, maker: AttestationCa, hands: Hands
) -> None:
    """The devices of FIDO that were on it are gone from it."""
    pcsc.plug()
    key = lab_key(maker, pin=PIN)
    bus.plug(key, serial="KEY-7")
    hands(bus, lambda: key)
    facts = KeyFacts(serial="KEY-7", vendor=vendor_of(key.model.product))
    device = KeyDevice(account=ACCOUNT, user="alice", serial=f"arn:aws:iam::{ACCOUNT}:u2f/user/alice/k-A", since=1.0)
    with sqlite_ledger(desk.home) as ledger:
        SeenKeyRecords(ledger).add(facts, KeyEvent.ENROLLED, now=1.0, device=device)
    assert desk.run("key", "reset", "--yes", "--key", "KEY-7").code == 0
    with sqlite_ledger(desk.home) as ledger:
        [recorded] = SeenKeyRecords(ledger).all()
    assert [device.erased for device in recorded.devices] == [True]


@pytest.mark.usefixtures("bus")
def test_an_applet_that_must_be_selected_again_after_a_reset_is_reset(
    desk: Desk, maker: AttestationCa, replug: Replug
) -> None:
    """FIDO2Applet refuses every command between the reset and the next SELECT. mfa-kit opens the key again."""
    key = lab_key(maker, pin=PIN)
    replug(FidoCard(key, reset_deselects=True))
    done = desk.run("key", "reset", "--yes", "--erase-oath", "--key", pcsc.reader(0), "--output", "json")
    assert done.code == 0, done.err
    assert (key.client_pin.hash, json.loads(done.out)["outcome"], json.loads(done.out)["pin"]) == (None, "reset", False)


def test_a_reset_is_reported_if_the_key_cannot_be_read_afterward(
    bus: Bus, maker: AttestationCa, desk: Desk, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is removed as soon as it has answered."""
    key = lab_key(maker, pin=PIN)
    bus.plug(key, serial="KEY-7")
    hands(bus, lambda: key)
    erase = SimulatedKey.reset

    def erase_and_vanish(erased: SimulatedKey) -> None:
        erase(erased)
        monkeypatch.setattr(hid, "list_descriptors", list)

    monkeypatch.setattr(SimulatedKey, "reset", erase_and_vanish)
    done = desk.run("key", "reset", "--yes", "--erase-oath", "--key", "KEY-7")
    assert (done.code, done.out, key.client_pin.hash) == (3, "", None)
    assert "the key reported that it was reset, but it cannot be read now: there is no FIDO key" in done.err
    assert "repeat the command" not in done.err


def test_a_reset_is_reported_before_an_interrupt(
    bus: Bus, maker: AttestationCa, desk: Desk, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user presses Ctrl-C while the key is read again."""
    key = lab_key(maker, pin=PIN)
    bus.plug(key, serial="KEY-7")
    hands(bus, lambda: key)
    read = FidoKey.info

    def info(opened: FidoKey) -> KeyInfo:
        if key.client_pin.hash is None:
            raise KeyboardInterrupt
        return read(opened)

    monkeypatch.setattr(FidoKey, "info", info)
    done = desk.run("key", "reset", "--yes", "--erase-oath", "--key", "KEY-7")
    assert (done.code, RESET in done.err) == (130, True)


ALICE, BOB = (f"AWS:{user}@{ACCOUNT}" for user in ("alice", "bob"))
NOTHING_ERASED = "the reset may erase OATH credentials, so nothing was erased"


@dataclass
class Key:
    """A key on USB that is a smart card reader with an OATH applet too. The user plugs it in again when asked."""

    fido: SimulatedKey
    oath: YkoathCard
    desk: Desk

    def reset(self, *options: str) -> Result:
        return self.desk.run("key", "reset", "--yes", "--key", "KEY-7", *options)

    @property
    def erased(self) -> bool:
        return self.fido.client_pin.hash is None


@pytest.fixture(params=[True, False], ids=["erases OATH", "keeps OATH"])
def erases(request: pytest.FixtureRequest) -> bool:
    """Return whether a reset of the key also erases its OATH credentials, as that of pico-fido does."""
    return bool(request.param)


@pytest.fixture
def both(bus: Bus, maker: AttestationCa, desk: Desk, hands: Hands, erases: bool) -> Key:
    """Plug in a key with two AWS credentials and one of another service. Its reader has the name of the key."""
    oath = YkoathCard()
    for label in (ALICE, BOB, "Example:carol"):
        oath.credentials[label.encode()] = Credential(0x21, 6, bytes(20), touch=False)
    behavior = KeyBehavior(erases=oath.erase) if erases else None
    fido = lab_key(maker, model=KeyModel(product=YUBIKEY), pin=PIN, behavior=behavior)
    bus.plug(fido, serial="KEY-7")
    pcsc.plug(oath)
    hands(bus, lambda: fido)
    return Key(fido, oath, desk)


def record(desk: Desk, user: str, reached: JournalState, **key: Any) -> None:
    """Write into this computer's ledger that a key has the device of a user."""
    spec = DeviceSpec(account=ACCOUNT, partition="aws", user=user, name=user, method=Method("oath"), **key)
    with sqlite_ledger(desk.home) as ledger:
        ledger.record(JournalEntry(run=f"20261125T000000Z-{crc32(user.encode()):08x}", spec=spec, reached=reached))


def test_a_reset_names_the_oath_credentials_before_and_after(both: Key, erases: bool) -> None:
    """It names the users in the ledger too. A script must accept the loss."""
    known = json.loads(both.desk.run("key", "info", "--output", "json").out)
    record(both.desk, "alice", JournalState.CONFIRMED, card=known["oath_identity"])
    record(both.desk, "bob", JournalState.CONFIRMED, hardware="12345678")
    record(both.desk, "carol", JournalState.REVOKED, hardware="12345678")
    refused = both.reset()
    assert (refused.code, both.erased, len(both.oath.credentials)) == (6, False, 3)
    listed = f"{ALICE}, {BOB}, 1 credential of other services"
    assert f"this key has OATH credentials: {listed}; on some keys, such as pico-fido, a reset erases" in refused.err
    assert "users of this key, according to the ledger: alice, bob\n" in refused.err
    assert NOTHING_ERASED in refused.err
    assert "--erase-oath" in refused.err
    done = both.reset("--erase-oath")
    assert (done.code, both.erased, len(both.oath.credentials)) == (0, True, 0 if erases else 3), done.err
    after = "the reset also erased OATH credentials" if erases else "after the reset, the key has OATH credentials"
    assert f"{after}: {listed}" in done.err
    assert ("mfa-kit replace USER" in done.err) == erases


def test_a_locked_oath_applet_may_have_credentials(both: Key, erases: bool) -> None:
    """Its password is not asked for. After the reset, an applet without a password and credentials lost what it had."""
    both.oath.password = bytes(16)
    refused = both.reset()
    assert (refused.code, both.erased) == (6, False)
    assert "this key may have OATH credentials (it is locked with a password)" in refused.err
    done = both.reset("--erase-oath")
    assert (done.code, both.erased) == (0, True)
    assert (
        "the key now has no OATH credentials; if it had any, they are gone" in done.err
        if erases
        else "after the reset, the key may have OATH credentials (it is locked with a password)" in done.err
    )


@pytest.mark.parametrize("erases", [True], indirect=True)
def test_an_unreachable_oath_applet_may_have_credentials(both: Key) -> None:
    """Another program has exclusive access to the reader."""
    with handle(mode=scard.SCARD_SHARE_EXCLUSIVE):
        refused = both.reset()
    assert (refused.code, both.erased) == (6, False)
    assert "this key may have OATH credentials (" in refused.err
    assert "another program" in refused.err


@pytest.mark.parametrize("erases", [True], indirect=True)
@pytest.mark.parametrize(
    ("product", "serial"), [("Maker Key", None), (YUBIKEY, "12345678")], ids=["no match", "a match with two keys"]
)
def test_an_oath_key_that_cannot_be_matched_may_be_the_same_key(
    both: Key, bus: Bus, maker: AttestationCa, product: str, serial: str | None
) -> None:
    """The reader has another name than the key, or two keys have the serial number of the OATH key."""
    bus.unplug()
    if serial:
        bus.plug(lab_key(maker, model=KeyModel(product="A twin")), serial=serial)
    bus.plug(lab_key(maker, model=replace(both.fido.model, product=product), pin=PIN), serial=serial or "KEY-7")
    reset = ("key", "reset", "--yes", "--key", "/dev/hidraw1" if serial else "KEY-7")
    done = both.desk.run(*reset)
    assert done.code == 6
    doubt = f"the OATH key in {pcsc.reader(0)} may be the same device"
    listed = f"{ALICE}, {BOB}, 1 credential of other services"
    assert f"this key may have OATH credentials ({doubt}): {listed}; on some keys" in done.err
    both.oath.password = bytes(16)
    assert f"({doubt}; it is locked with a password); on some keys" in both.desk.run(*reset).err


@pytest.mark.parametrize("erases", [True], indirect=True)
def test_an_oath_key_that_was_not_matched_is_read_after_the_reset_too(both: Key) -> None:
    """Credentials that vanish with the reset were those of this key."""
    both.fido.model = replace(both.fido.model, product="Maker Key")
    done = both.reset("--erase-oath")
    assert done.code == 0, done.err
    assert f"the reset also erased OATH credentials: {ALICE}, {BOB}, 1 credential of other services" in done.err
    assert "mfa-kit replace USER --with KIND" in done.err


@pytest.mark.parametrize("erases", [True], indirect=True)
@pytest.mark.parametrize("interface", ["0b", "03"])
def test_a_key_with_a_card_interface_but_no_reader_may_have_credentials(
    both: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interface: str
) -> None:
    """PC/SC does not know every key as a reader. The kernel lists the interfaces of a USB device."""
    pcsc.plug()
    device = tmp_path / "usb"
    (device / "1-1:1.0").mkdir(parents=True)
    (device / "busnum").write_text("3\n")
    (device / "1-1:1.0" / "bInterfaceClass").write_text(f"{interface}\n")
    (device / "1-1:1.1" / "hid").mkdir(parents=True)
    (tmp_path / "class" / "hidraw0").mkdir(parents=True)
    (tmp_path / "class" / "hidraw0" / "device").symlink_to(device / "1-1:1.1" / "hid")
    monkeypatch.setattr(hidraw, "SYSFS", tmp_path / "class")
    done = both.reset()
    assert (done.code, both.erased) == ((6, False) if interface == "0b" else (0, True)), done.err
    assert ("PC/SC does not list the key as a smart card reader" in done.err) == (interface == "0b")


@pytest.mark.usefixtures("bus")
def test_a_key_in_a_reader_has_its_oath_credentials_there(desk: Desk, maker: AttestationCa, replug: Replug) -> None:
    """An OATH key in another reader is another key."""
    card = TwoApplets(FidoCard(lab_key(maker, pin=PIN)))
    card.fido.key.behavior = KeyBehavior(erases=card.erase)
    reset = ("key", "reset", "--yes", "--key", pcsc.reader(0))
    card.credentials[ALICE.encode()] = Credential(0x21, 6, bytes(20), touch=False)
    replug(card)
    assert desk.run(*reset).code == 6
    done = desk.run(*reset, "--erase-oath")
    assert (done.code, card.credentials) == (0, {})
    assert f"the reset also erased OATH credentials: {ALICE}" in done.err


@pytest.mark.usefixtures("bus")
def test_a_script_needs_no_option_for_a_key_without_oath_credentials(
    desk: Desk, maker: AttestationCa, replug: Replug
) -> None:
    """The OATH applet in the key's own reader is empty."""
    replug(TwoApplets(FidoCard(lab_key(maker, pin=PIN))))
    done = desk.run("key", "reset", "--yes", "--key", pcsc.reader(0))
    assert done.code == 0, done.err
    assert "OATH" not in done.err
