"""What the ledger records about FIDO keys: which facts the attestation proves, and the devices on the keys."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mfa_kit.adapters.ledger.seen_keys import SeenKeyRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.recorded_keys import RecordedKey
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
