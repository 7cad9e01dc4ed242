"""Tests of the ledger's records of physical keys, in SQLite and in PostgreSQL."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from mfa_kit.adapters.ledger.postgresql.owning import OwnedLedger
from mfa_kit.adapters.ledger.seen_keys import SeenKeyRecords
from mfa_kit.adapters.ledger.sqlite_database import MIGRATIONS, sqlite_ledger
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import Device, DeviceSpec, JournalEntry, JournalState, Method, RunKind
from mfa_kit.core.recorded_keys import KeyDevice, KeyEvent, KeyFacts, KeysOfDevices, RecordedKey
from tests.ledgers import Place
from tests.postgresql import Server

ACCOUNT, RUN, SINCE = "000000000000", "20261125T000000Z-00000001", 1_795_000_000.0
FIDO = KeyFacts(
    model="YubiKey 5 Series with NFC",
    firmware="5.4.3",
    aaguid="2fc0579f-8113-47ea-b116-bb5a8db9202a",
    certifications=("FIDO_CERTIFIED_L1",),
    certificate="ab" * 32,
    attested=frozenset({"model", "firmware", "aaguid", "certifications", "certificate"}),
)
OATH = KeyFacts(serial="12345678", model="YubiKey 5 NFC", firmware="5.4.3", card="card-1", vendor="yubico")
SPEC = DeviceSpec(account=ACCOUNT, partition="aws", user="alice", name="alice", method=Method("oath"))
ENTRY = JournalEntry(run=RUN, spec=SPEC.on(hardware="12345678", card="card-1"), since=SINCE)
PASSKEY = KeyDevice(account=ACCOUNT, user="alice", serial="arn:aws:iam::000000000000:u2f/user/alice/k-A", since=SINCE)


def record(
    place: Place, *sightings: tuple[KeyFacts, KeyEvent, KeyDevice | None], first: float = SINCE
) -> list[RecordedKey]:
    with place.open() as ledger:
        for number, (facts, event, device) in enumerate(sightings):
            SeenKeyRecords(ledger).add(facts, event, now=first + number, device=device)
    with place.open() as ledger:
        return SeenKeyRecords(ledger).all()


def test_everything_known_of_a_key_and_its_device_is_read_back(place: Place) -> None:
    [key] = record(place, (replace(FIDO, label="desk 7"), KeyEvent.ENROLLED, replace(PASSKEY, run=RUN)))
    assert key.facts == replace(FIDO, label="desk 7")
    [device] = key.devices
    assert replace(device, at=0.0) == replace(PASSKEY, run=RUN)
    assert bool(key.computers) is (place.kind == "postgresql")


def test_a_confirmed_device_is_on_the_key_with_its_applet(place: Place) -> None:
    """Also if another process, or a later run, confirms it. Before that, the key has no device."""
    [key] = record(place, (OATH, KeyEvent.ENROLLED, None))
    assert not key.devices
    with place.open() as ledger:
        for entry in (ENTRY.at(JournalState.CREATED), *[ENTRY.at(JournalState.CONFIRMED)] * 2):
            ledger.record(entry)
        [key] = SeenKeyRecords(ledger).all()
        [device] = key.devices
        assert replace(device, at=0.0) == KeyDevice(
            account=ACCOUNT, user="alice", serial=SPEC.serial, run=RUN, since=SINCE, card="card-1"
        )
        assert ledger.find(SPEC.serial) == ENTRY.at(JournalState.CONFIRMED)


def test_a_reset_counts_until_the_key_is_seen_again(place: Place) -> None:
    """The reset of a station shows that no device was made since, so that it need not ask."""
    reset = (FIDO, KeyEvent.RESET, None)
    key = replace(OATH, serial=None)
    assert [seen.reset_here for seen in record(place, (key, KeyEvent.RESET, None))] == [True]
    assert [seen.reset_here for seen in record(place, (key, KeyEvent.ENROLLED, PASSKEY), first=SINCE + 9)] == [False]
    assert [seen.reset_here for seen in record(place, reset, reset, first=SINCE + 19)] == [False, True, True]


def test_a_reset_by_another_computer_does_not_count_here(postgresql: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both share a ledger. What the other one enrolled is known, and its reset says nothing about what it did then."""
    place, key = Place("postgresql", postgresql.address(postgresql.new_database())), replace(OATH, serial=None)
    with monkeypatch.context() as patch:
        patch.setattr("socket.gethostname", lambda: "the-other-desk")
        [there] = record(place, (key, KeyEvent.ENROLLED, PASSKEY), (key, KeyEvent.RESET, None))
    with place.open() as ledger:
        [here] = SeenKeyRecords(ledger).all()
    assert (there.reset_here, here.reset_here) == (True, False)
    assert [device.user for device in here.devices] == ["alice"]


@pytest.mark.parametrize("purpose", [RunKind.REVOKE, RunKind.LOST, RunKind.ADD])
def test_only_an_enrollment_puts_a_device_on_a_key(place: Place, purpose: RunKind) -> None:
    record(place, (OATH, KeyEvent.VERIFIED, None))
    with place.open() as ledger:
        ledger.record(replace(ENTRY, purpose=purpose, reached=JournalState.CONFIRMED))
        [key] = SeenKeyRecords(ledger).all()
    assert not key.devices


def test_fido_and_oath_are_one_key_by_serial_or_by_applet(place: Place) -> None:
    """An attested fact is not replaced by a later claim, and FIDO without a serial is known by the applet beside it."""
    [key] = record(
        place,
        (replace(FIDO, card="card-1"), KeyEvent.ENROLLED, PASSKEY),
        (replace(FIDO, serial="12345678", vendor="yubico"), KeyEvent.VERIFIED, None),
        (replace(OATH, firmware="5.7.4"), KeyEvent.VERIFIED, None),
    )
    assert (key.facts.serial, key.facts.model, key.facts.firmware) == ("12345678", FIDO.model, "5.4.3")
    assert key.facts.attested == FIDO.attested
    assert key.facts.name == "YubiKey 5 Series with NFC 12345678"


def test_keys_that_nothing_joins_are_two(place: Place) -> None:
    """Two keys without a serial, one serial of two vendors, and two cards."""
    keys = record(
        place,
        (FIDO, KeyEvent.VERIFIED, None),
        (FIDO, KeyEvent.VERIFIED, None),
        (OATH, KeyEvent.VERIFIED, None),
        (replace(OATH, model="Nitrokey 3", card="card-2", vendor="nitrokey"), KeyEvent.VERIFIED, None),
        (KeyFacts(card="card-3"), KeyEvent.VERIFIED, None),
        (KeyFacts(card="card-4"), KeyEvent.VERIFIED, None),
    )
    assert len({key.identity for key in keys}) == 6
    assert [key.facts.model for key in keys if key.answers_to("12345678")] == ["YubiKey 5 NFC", "Nitrokey 3"]


def test_a_reset_erases_the_devices_of_its_applet_only(place: Place) -> None:
    """A reset of OATH is seen by the applet's new identity, and a reset of FIDO is recorded."""
    oath_device = KeyDevice(account=ACCOUNT, user="alice", serial=SPEC.serial, since=SINCE)
    both = [
        (replace(FIDO, serial="12345678", vendor="yubico"), KeyEvent.ENROLLED, PASSKEY),
        (OATH, KeyEvent.VERIFIED, oath_device),
    ]
    [key] = record(place, *both)
    assert [device.erased for device in key.devices] == [False, False]
    [key] = record(place, (replace(OATH, card="card-2"), KeyEvent.VERIFIED, None), first=SINCE + 10)
    assert [device.erased for device in key.devices] == [False, True]
    [key] = record(place, (OATH, KeyEvent.RESET, None), first=SINCE + 20)
    assert [device.erased for device in key.devices] == [True, True]


def test_a_device_created_again_with_the_same_arn_is_on_no_key(place: Place) -> None:
    """Its EnableDate differs. Another user's device, and one without an EnableDate, do not count either."""
    known = KeysOfDevices.of(record(place, (OATH, KeyEvent.ENROLLED, PASSKEY)))
    device = Device(PASSKEY.serial, "Alice", SINCE)
    found = known.find(ACCOUNT, device)
    assert found is not None
    assert found.key.facts.serial == "12345678"
    others = (replace(device, since=SINCE + 60), replace(device, since=None), replace(device, user="bob"))
    assert [known.find(ACCOUNT, other) for other in others] == [None] * 3
    assert known.find("111111111111", device) is None


@pytest.mark.parametrize(
    "change", ["event = 'x'", "attested = '{}'", "certifications = '[1]'", "key_id = x'00'", "at = 'x'", "since = 'x'"]
)
def test_a_row_that_mfa_kit_did_not_write_is_an_integrity_fault(tmp_path: Path, change: str) -> None:
    record(Place("sqlite", str(tmp_path)), (OATH, KeyEvent.VERIFIED, PASSKEY))
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        db.execute(f"update seen_keys set {change}")
        db.commit()
    with sqlite_ledger(tmp_path) as ledger, pytest.raises(IntegrityFault):
        SeenKeyRecords(ledger).all()


def test_the_devices_of_an_older_ledger_are_on_no_known_key(tmp_path: Path) -> None:
    """Until the key is seen with the device, because the journal has neither its model nor its EnableDate."""
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as db:
        for sql in MIGRATIONS[:10]:
            db.executescript(sql)
        db.execute("pragma user_version = 10")
    (tmp_path / "ledger.sqlite").chmod(0o600)
    with sqlite_ledger(tmp_path) as ledger:
        ledger.record(ENTRY.at(JournalState.CONFIRMED))
        assert not SeenKeyRecords(ledger).all()


def test_a_copy_has_the_keys_once(tmp_path: Path, postgresql: Server) -> None:
    """With their times, in which the copy is the same as the original. A second copy adds nothing."""
    keys = record(Place("sqlite", str(tmp_path)), (FIDO, KeyEvent.ENROLLED, PASSKEY), (OATH, KeyEvent.VERIFIED, None))
    address = postgresql.address(postgresql.new_database())
    copied = [OwnedLedger(address).copy_from(tmp_path)["seen_keys"] for _ in range(2)]
    assert copied == [2, 0]
    with Place("postgresql", address).open() as ledger:
        assert [replace(key, computers=()) for key in SeenKeyRecords(ledger).all()] == keys
