"""Tests of a key's manufacturer, which the OATH applet cannot prove but the FIDO attestation of the same key can."""

import json
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from smartcard import scard

from mfa_kit.adapters.fido import hidraw, links
from mfa_kit.adapters.fido.links import find_same_device
from mfa_kit.lab.devices.apdu import ATR_NFC, Apdu, StatusWord
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.fidocard import FidoCard
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.lab.devices.securitykey import KeyBehavior, lab_key
from mfa_kit.security_keys.authenticator import Link, PluggedKey
from tests import pcsc
from tests.conftest import MfaKit

AAGUID = "6d66616b-6974-0000-0000-000000000001"
NOT_SELECTED = StatusWord.NOT_FOUND.to_bytes(2)


class TwoApplets(YkoathCard):
    """A card with an OATH and a FIDO applet, such as a YubiKey on a contactless reader."""

    def __init__(self, fido: FidoCard) -> None:
        super().__init__(atr=ATR_NFC)
        self.fido, self._selected = fido, False

    def power(self) -> None:
        super().power()
        self.fido.power()
        self._selected = False

    def answer(self, octets: bytes) -> bytes:
        if Apdu.parse(octets).selects:
            reply = super().answer(octets)
            self._selected = reply == NOT_SELECTED
            return self.fido.answer(octets) if self._selected else reply
        return self.fido.answer(octets) if self._selected else super().answer(octets)


@pytest.fixture(scope="module")
def maker() -> AttestationCa:
    return AttestationCa(now=time.time())


@pytest.fixture
def published(maker: AttestationCa, tmp_path: Path) -> list[str]:
    """Publish the metadata of the lab's model, and return the options that name it."""
    blob, root = tmp_path / "blob.jwt", tmp_path / "root.der"
    entries = [maker.entry("mfa-kit lab key", aaguid=AAGUID)]
    blob.write_bytes(maker.blob(entries, next_update=date(2100, 1, 1)))
    root.write_bytes(maker.root.der)
    return ["--mds", str(blob), "--mds-root", str(root)]


def checked(mfa_kit: MfaKit, *more: str) -> tuple[int, dict[str, str]]:
    done = mfa_kit.run("verify", "oath", "--output", "json", *more)
    assert done.out, done.err
    checks = {check["check"]: check for check in json.loads(done.out)["checks"]}
    return done.code, checks["maker"]


def test_a_maker_is_proven_by_the_fido_attestation_of_the_same_card(
    mfa_kit: MfaKit, maker: AttestationCa, published: list[str]
) -> None:
    """Without the attestation the maker is not proven, whatever the key reports about itself."""
    pcsc.plug(TwoApplets(FidoCard(lab_key(maker))))
    assert checked(mfa_kit)[1]["detail"].startswith("not proven: OATH has no attestation")
    code, told = checked(mfa_kit, "--maker", *published)
    assert (code, told["result"]) == (0, "pass")
    assert told["detail"] == "mfa-kit lab key, by the FIDO attestation of the same key"


def test_an_attestation_that_proves_nothing_proves_no_maker(
    mfa_kit: MfaKit, maker: AttestationCa, published: list[str]
) -> None:
    """Any key can sign an attestation with its own certificate."""
    pcsc.plug(TwoApplets(FidoCard(lab_key(maker, behavior=KeyBehavior(attestation="self")))))
    code, told = checked(mfa_kit, "--maker", *published)
    assert (code, told["result"]) == (1, "fail")
    assert told["detail"].startswith("not proven: ")


def test_the_attestation_of_another_key_does_not_count(
    mfa_kit: MfaKit, maker: AttestationCa, published: list[str]
) -> None:
    """A FIDO key in another reader proves nothing about this key."""
    pcsc.plug(YkoathCard(), TwoApplets(FidoCard(lab_key(maker))))
    code, told = checked(mfa_kit, "--maker", "--key", pcsc.reader(0), *published)
    assert (code, told["result"]) == (1, "fail")
    assert "no FIDO applet found on the same card or USB device" in told["detail"]


def test_firmware_passes_only_with_a_proven_manufacturer(
    mfa_kit: MfaKit, maker: AttestationCa, published: list[str]
) -> None:
    """What a key reports about itself is only a claim."""
    pcsc.plug(TwoApplets(FidoCard(lab_key(maker))))
    for more, result in (((), "not applicable"), (("--maker", *published), "pass")):
        done = mfa_kit.run("verify", "oath", "--output", "json", *more)
        checks = {check["check"]: check for check in json.loads(done.out)["checks"]}
        assert (done.code, checks["firmware"]["result"]) == (0, result)
        assert "the key claims to be YubiKey" in checks["applet"]["detail"]


@pytest.fixture
def on_usb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Add FIDO keys on USB to sysfs, by node, each with its bus and address. The reader is at bus 3, address 7."""

    def make(**nodes: tuple[int, int]) -> None:
        for number, (node, (bus, address)) in enumerate(nodes.items()):
            device = tmp_path / "devices" / f"{number}"
            (device / "interface" / "hid").mkdir(parents=True)
            (device / "busnum").write_text(f"{bus}\n")
            (device / "devnum").write_text(f"{address}\n")
            (tmp_path / "class" / node).mkdir(parents=True)
            (tmp_path / "class" / node / "device").symlink_to(device / "interface" / "hid")
        found = [PluggedKey(where=f"/dev/{node}", link=Link.HID) for node in (*nodes, "gone")]
        monkeypatch.setattr(links, "find_keys", lambda _: (found, []))
        monkeypatch.setattr(hidraw, "SYSFS", tmp_path / "class")
        monkeypatch.setattr(scard, "SCardGetAttrib", lambda *_: (0, [7, 3, 0x20, 0]))

    return make


@pytest.mark.usefixtures("card")
def test_a_key_on_usb_is_identified_by_bus_and_address(on_usb: Callable[..., None]) -> None:
    """A name or a serial does not count, because another key may have the same one."""
    on_usb(hidraw0=(3, 8), hidraw1=(3, 7))
    assert find_same_device(pcsc.reader(0)) == "/dev/hidraw1"


@pytest.mark.usefixtures("card")
def test_a_device_with_two_fido_keys_proves_nothing(on_usb: Callable[..., None]) -> None:
    """If a device has two FIDO keys, neither is taken for the OATH key's."""
    on_usb(hidraw0=(3, 7), hidraw1=(3, 7))
    assert find_same_device(pcsc.reader(0)) is None


@pytest.mark.usefixtures("card")
def test_a_reader_without_an_address_matches_no_key(
    on_usb: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such readers are vpcd's, and those whose card was removed."""
    on_usb(hidraw0=(3, 7))
    monkeypatch.setattr(scard, "SCardGetAttrib", lambda *_: (1, []))
    assert find_same_device(pcsc.reader(0)) is None
    assert find_same_device("no such reader") is None
