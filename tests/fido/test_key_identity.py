"""What the ledger records about FIDO keys: which facts the attestation proves, and the devices on the keys."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.adapters.ledger.seen_keys import SeenKeyRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.cli.key.sources import KeyRow, join_rows
from mfa_kit.core.recorded_keys import KeyDevice, KeyFacts, RecordedKey, vendor_of
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.lab.devices.securitykey import KeyBehavior, SimulatedKey, lab_key
from mfa_kit.wiring.security_keys import SecurityKeys
from tests import pcsc
from tests.fido.conftest import LAB_AAGUID, Bus, Desk, Published, publish
from tests.fido.test_console import enroll, registers

__all__ = ["registers"]
PAST = "2020-01-01"


def recorded(desk: Desk) -> list[RecordedKey]:
    with sqlite_ledger(desk.home) as ledger:
        return SeenKeyRecords(ledger).all()


def test_an_enrolled_key_is_recorded_with_its_device(
    bus: Bus,
    key: SimulatedKey,
    desk: Desk,
    published: Published,
    users: Callable[[], str],
    registers: Callable[[str], list[str]],
) -> None:
    """`status` then names the key."""
    bus.plug(key, serial="KEY-7")
    user = users()
    registers(user)
    code, row, err = enroll(desk, user, published)
    assert code == 0, err
    [found] = recorded(desk)
    assert (found.facts.serial, found.facts.model, found.facts.aaguid) == ("KEY-7", "mfa-kit lab key", LAB_AAGUID)
    assert [(device.user, device.serial) for device in found.devices] == [(user, row["device"])]
    [status] = json.loads(desk.run("status", user, "--output", "json").out)["rows"]
    assert (status["key"], "model" in status["key_attested"]) == ("mfa-kit lab key KEY-7", True)


def test_a_key_that_was_not_examined_is_known_by_its_label(
    desk: Desk, published: Published, users: Callable[[], str], registers: Callable[[str], list[str]]
) -> None:
    """Nothing else is known about it, so it is unknown whether an advisory names it. Without a label it has no name."""
    user, other = users(), users()
    registers(user)
    assert enroll(desk, user, published, "--skip-key-check", "--asset", "BOX-7")[0] == 0
    registers(other)
    assert enroll(desk, other, published, "--skip-key-check")[0] == 0
    [status] = json.loads(desk.run("status", "--key", "BOX-7", "--output", "json").out)["rows"]
    assert (status["user"], status["key"], status["key_model"]) == (user, "key BOX-7", None)
    [row] = json.loads(desk.run("key", "recall", "--output", "json").out)["rows"]
    assert (row["user"], row["key"], row["verdict"]) == (user, "BOX-7", "unknown")


def test_an_inserted_key_is_recorded_although_it_was_not_examined(
    bus: Bus,
    key: SimulatedKey,
    desk: Desk,
    published: Published,
    users: Callable[[], str],
    registers: Callable[[str], list[str]],
) -> None:
    """Nothing of it is attested. If it is not certain which key is meant, none is recorded, and the user is told."""
    users_of = {"one": users(), "two": users(), "none": users()}
    for case, user in users_of.items():
        bus.unplug()
        for serial in {"one": ["KEY-7"], "two": ["KEY-8", "KEY-9"], "none": []}[case]:
            bus.plug(key, serial=serial)
        registers(user)
        code, row, err = enroll(desk, user, published, "--skip-key-check")
        assert code == 0, err
        assert (f"the ledger does not know on which key {row['device']} is" in err) is (case != "one"), err
    [found] = recorded(desk)
    assert (found.facts.serial, found.facts.aaguid, found.facts.attested) == ("KEY-7", LAB_AAGUID, frozenset())
    assert [device.user for device in found.devices] == [users_of["one"]]


def test_two_keys_without_a_serial_are_two(bus: Bus, maker: AttestationCa, desk: Desk, published: Published) -> None:
    """As Security Keys are. They have the same certificate, which does not identify a key."""
    for key in (lab_key(maker), lab_key(maker)):
        bus.unplug()
        bus.plug(key)
        assert desk.verify(*published.options)[0].code == 0
    first, second = recorded(desk)
    assert first.identity != second.identity
    told = desk.run("key", "info", "--output", "json")
    assert json.loads(told.out)["devices"] is None
    assert "this key reports no serial, so the ledger cannot show whose key it is" in told.err


@pytest.mark.parametrize("attestation", ["self", "none"])
def test_a_key_that_proves_nothing_only_claims(
    bus: Bus, maker: AttestationCa, desk: Desk, published: Published, attestation: str
) -> None:
    """Its model is the one that it claims to be. It has no certification."""
    bus.plug(lab_key(maker, behavior=KeyBehavior(attestation=attestation)), serial="KEY-7")
    assert desk.verify(*published.options)[0].code == 1
    [found] = recorded(desk)
    assert (found.facts.attested, found.facts.serial) == (frozenset(), "KEY-7")


def test_a_chain_to_an_unlisted_root_proves_nothing(bus: Bus, desk: Desk, published: Published) -> None:
    """Anybody can issue a certificate. Its hash is recorded nevertheless."""
    bus.plug(lab_key(AttestationCa("stranger", now=1.7e9)), serial="KEY-7")
    assert desk.verify(*published.options)[0].code == 1
    [found] = recorded(desk)
    assert found.facts.attested == frozenset()
    assert found.facts.certificate is not None


@pytest.mark.parametrize(
    ("statuses", "attested", "levels"),
    [
        (
            [("FIDO_CERTIFIED_L2", PAST), ("FIPS140_CERTIFIED_L2", PAST)],
            True,
            ("FIDO_CERTIFIED_L2", "FIPS140_CERTIFIED_L2"),
        ),
        ([("FIDO_CERTIFIED_L1", PAST), ("NOT_FIDO_CERTIFIED", PAST)], True, ()),
        ([("FIDO_CERTIFIED_L1", PAST), ("REVOKED", PAST)], True, ("FIDO_CERTIFIED_L1",)),
        ([("FIDO_CERTIFIED_L1", PAST), ("ATTESTATION_KEY_COMPROMISE", PAST)], False, ()),
    ],
)
def test_certifications_are_those_of_the_attested_model(
    bus: Bus,
    key: SimulatedKey,
    maker: AttestationCa,
    desk: Desk,
    tmp_path: Path,
    statuses: list[tuple[str, str]],
    attested: bool,
    levels: tuple[str, ...],
) -> None:
    """If its private key was compromised, an attestation proves nothing. A revoked model is still the proven model."""
    bus.plug(key, serial="KEY-7")
    reports = [{"status": status, "effectiveDate": since} for status, since in statuses]
    entry = maker.entry("mfa-kit lab key", aaguid=LAB_AAGUID)
    desk.verify(*publish(tmp_path, maker, [{**entry, "statusReports": reports}]).options)
    [found] = recorded(desk)
    assert (bool(found.facts.attested), found.facts.certifications) == (attested, levels)


def test_a_key_on_usb_is_the_oath_key_of_the_same_device(
    bus: Bus, key: SimulatedKey, desk: Desk, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIDO reports no serial there, and OATH does. Without the same USB device they are two keys."""
    bus.plug(key)
    pcsc.plug(YkoathCard())
    monkeypatch.setattr(SecurityKeys, "is_card", lambda *_: True)
    assert desk.verify(*published.options)[0].code == 0
    monkeypatch.setattr(SecurityKeys, "find_same_device", lambda *_: "/dev/hidraw0")
    assert desk.verify(*published.options)[0].code == 0
    assert desk.run("verify", "oath").code == 0
    told = json.loads(desk.run("key", "info", "--key", pcsc.reader(0), "--output", "json").out)
    alone, same = recorded(desk)
    assert (alone.facts.serial, alone.cards) == (None, ())
    assert (same.facts.serial, same.cards, same.facts.model) == (
        "12345678",
        (told["oath_identity"],),
        "mfa-kit lab key",
    )


# What identifies a key, one fact at a time.


def test_a_key_is_known_by_its_vendor_and_serial_or_else_by_its_card() -> None:
    """Two vendors can use the same serial."""
    assert KeyFacts(serial="77", vendor="yubico", card="c").identity == "serial:yubico:77"
    assert KeyFacts(card="c").identity == "card:c"
    assert KeyFacts(model="a key", label="BOX-7").identity is None


@pytest.mark.parametrize(
    ("attested", "others", "model"),
    [
        ((), (), "mine"),
        (("model",), (), "mine"),
        ((), ("model",), "theirs"),
        (("model",), ("model",), "mine"),
        ((), ("card",), "mine"),
    ],
)
def test_an_attested_fact_counts_more_than_a_claim(
    attested: tuple[str, ...], others: tuple[str, ...], model: str
) -> None:
    """Of two facts of one kind, the first counts. What only one of them knows is kept."""
    mine = KeyFacts(model="mine", firmware="1", attested=frozenset(attested))
    theirs = KeyFacts(model="theirs", card="c", attested=frozenset(others))
    joined = mine.joined(theirs)
    assert (joined.model, joined.firmware, joined.card) == (model, "1", "c")
    assert joined.attested == {*attested, *others}


def test_the_vendor_is_that_of_the_serial() -> None:
    """Without a serial, it is the other one. The serial that OATH reports is the printed one."""
    usb, oath, bare = (
        KeyFacts(serial="0042", vendor="acme"),
        KeyFacts(serial="77", vendor="yubico"),
        KeyFacts(vendor="card maker"),
    )
    assert usb.joined(oath).identity == "serial:acme:0042"
    assert bare.joined(oath).identity == "serial:yubico:77"
    assert usb.beside(oath).identity == "serial:yubico:77"
    assert usb.beside(bare).identity == "serial:acme:0042"


@pytest.mark.parametrize(
    ("product", "vendor"),
    [("YubiKey OTP+FIDO+CCID", "yubico"), ("Yubico YK4", "yubico"), ("ACME Key 2", "acme"), ("", ""), (None, "")],
)
def test_the_vendor_is_the_first_word_of_the_product(product: str | None, vendor: str) -> None:
    """The names of Yubico's keys begin with the model."""
    assert vendor_of(product) == vendor


def test_a_device_is_another_one_if_it_was_enabled_or_made_at_another_time() -> None:
    """A serial can be used again. The EnableDate counts more than the run."""
    device = KeyDevice(account="1", user="alice", serial="s", run="r", since=5.0)
    assert device.made_as == ("1", "s", "alice", "5.0")
    assert replace(device, since=None).made_as == ("1", "s", "alice", "r")


def test_a_reset_erases_the_devices_of_its_applet() -> None:
    """A device with a card is in OATH. One that was erased or revoked is in use no more."""
    fido = KeyDevice(account="1", user="alice", serial="s")
    oath = replace(fido, card="c")
    assert [device.after_reset(is_oath=True).erased for device in (fido, oath)] == [False, True]
    assert [device.after_reset(is_oath=False).erased for device in (fido, oath)] == [True, False]
    assert [device.is_in_use for device in (fido, replace(fido, erased=True), replace(fido, revoked=True))] == [
        True,
        False,
        False,
    ]


def row(key: str, *where: str, serial: str | None = None, beside: str | None = None, **own: Any) -> KeyRow:
    return KeyRow(
        key=key, serial=serial, firmware=None, transports=("usb",), where=where, own=own, beside=lambda: beside
    )


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ([row("a", "usb1")], [row("b", "usb1")], [("usb1",)]),
        ([row("a", "usb1", serial="77")], [row("b", "r1", serial="77")], [("usb1", "r1")]),
        ([row("a", "usb1")], [row("b", "r1")], [("usb1",), ("r1",)]),
        ([row("a", "usb1", serial="77")], [row("b", "r1", serial="78")], [("usb1",), ("r1",)]),
        ([row("x", "usb1"), row("a", "usb2")], [row("b", "r1", beside="usb2")], [("usb1",), ("usb2", "r1")]),
        ([row("a", "usb1")], [row("b", "a r1")], [("usb1", "a r1")]),
        ([row("a", "usb1"), row("a", "usb2")], [row("b", "a r1")], [("usb1",), ("usb2",), ("a r1",)]),
        ([row("a", "usb1")], [row("b", "a r1"), row("b", "a r2")], [("usb1",), ("a r1",), ("a r2",)]),
        ([row("x", "usb2"), row("a", "usb1")], [row("b", "a r1")], [("usb2",), ("usb1", "a r1")]),
        ([row("a", "usb1")], [row("b", "r1 a")], [("usb1",), ("r1 a",)]),
        (
            [row("a", "usb1", serial="7")],
            [row("b", "r1", serial="7"), row("b", "r2", serial="7")],
            [("usb1", "r1"), ("r2",)],
        ),
        ([row("a", "usb1"), row("x", "usb2", serial="7")], [row("b", "usb1", serial="7")], [("usb1",), ("usb2",)]),
        ([row("y", "usb2"), row("a", "usb1")], [row("b", "a r1", beside="usb2")], [("usb2", "a r1"), ("usb1",)]),
        ([], [row("b", "r1", beside="r1")], [("r1",)]),
    ],
)
def test_two_rows_are_one_key_by_place_serial_device_or_name(
    first: list[KeyRow], second: list[KeyRow], joined: list[tuple[str, ...]]
) -> None:
    """The place counts most. Rows of one source are never one key, and a name must be the only one."""
    assert [each.where for each in join_rows(first, second)] == joined


def test_a_joined_row_has_what_either_knows() -> None:
    """The first counts. An empty firmware is a fact, and an unknown cell is none."""
    first = replace(row("a", "usb1", pin=None, level="L1"), firmware="", names=("n1",))
    second = replace(
        row("b", "r1", serial="77", pin=True, level="L2"), firmware="5", names=("n2",), transports=("nfc",)
    )
    both = first.joined(second)
    assert (both.key, both.serial, both.firmware, both.transports) == ("a", "77", "", ("usb", "nfc"))
    assert (both.own, both.names) == ({"pin": True, "level": "L1"}, ("n1", "n2"))
    assert second.joined(first).firmware == "5"
    assert replace(first, firmware=None).joined(second).firmware == "5"
    assert replace(first, serial="1").joined(second).serial == "1"
    oath: Any = (object(), object())
    assert replace(first, oath=oath[0]).joined(replace(second, oath=oath[1])).oath is oath[0]
    assert first.joined(replace(second, oath=oath[1])).oath is oath[1]


def test_the_first_keys_are_not_asked_for_their_other_half() -> None:
    """There is none to be joined with, and an answer needs access to the key."""

    def beside() -> str:
        raise AssertionError

    first = replace(row("a", "usb1"), beside=beside)
    assert join_rows([], [first]) == [first]


def test_a_key_is_named_by_its_serial_place_or_names() -> None:
    """A key without a serial is not that of an empty name."""
    named = replace(row("a", "usb1", serial="77"), names=("card-1",))
    assert [named.answers_to(name) for name in ("77", "usb1", "card-1", "a", "usb2")] == [True] * 3 + [False] * 2
