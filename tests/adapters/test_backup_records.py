"""Tests of the ledger's records of backups: recipients with their dates, tests of backups, and losses."""

from collections.abc import Iterator

import pytest

from mfa_kit.adapters.ledger.ledger import Ledger
from mfa_kit.adapters.ledger.records import BackupRecords
from mfa_kit.core.models import DeviceSpec, JournalEntry, JournalState, RunKind, Seal
from tests.ledgers import Place


@pytest.fixture
def ledger(place: Place) -> Iterator[Ledger]:
    with place.open() as ledger:
        yield ledger


def test_a_backup_is_recorded_once(ledger: Ledger) -> None:
    """Recording the same backup again changes nothing."""
    BackupRecords(ledger, now=1.0).record_sealed(["x", "y"], ["a"])
    BackupRecords(ledger, now=2.0).record_sealed(["x"], ["a", "b"])
    assert BackupRecords(ledger, now=3.0).seals() == [
        Seal(backup="x", recipient="a", since=1.0),
        Seal(backup="x", recipient="b", since=2.0),
        Seal(backup="y", recipient="a", since=1.0),
    ]


def test_a_removed_recipient_stays_recorded(ledger: Ledger) -> None:
    """A recipient that is added again gets a second row."""
    BackupRecords(ledger, now=1.0).record_sealed(["x", "y"], ["a", "b"])
    BackupRecords(ledger, now=2.0).record_only(["x"], ["b"])
    BackupRecords(ledger, now=3.0).record_sealed(["x"], ["a"])
    assert [each for each in BackupRecords(ledger, now=4.0).seals() if each.backup == "x"] == [
        Seal(backup="x", recipient="a", since=1.0, until=2.0),
        Seal(backup="x", recipient="a", since=3.0),
        Seal(backup="x", recipient="b", since=1.0),
    ]


def test_records_of_unwritten_backups_are_removed(ledger: Ledger) -> None:
    """Records of backups that were not written after all are removed; earlier records stay."""
    BackupRecords(ledger, now=1.0).record_sealed(["x"], ["a"])
    later = BackupRecords(ledger, now=2.0)
    later.record_sealed(["x", "y"], ["a", "b"])
    later.withdraw_sealed(["x"])
    assert [(each.backup, each.recipient) for each in later.seals()] == [("x", "a"), ("y", "a"), ("y", "b")]


def test_a_users_own_copy_is_a_separate_file(ledger: Ledger) -> None:
    """Encrypting the backup again does not remove a recipient from the user's own copy."""
    BackupRecords(ledger, now=1.0).record_sealed(["x"], ["a"], own="alice")
    BackupRecords(ledger, now=2.0).record_sealed(["x"], ["b"])
    BackupRecords(ledger, now=2.0).record_only(["x"], ["b"])
    assert BackupRecords(ledger, now=3.0).seals() == [
        Seal(backup="x", recipient="alice", since=1.0, own=True),
        Seal(backup="x", recipient="a", since=1.0, until=2.0),
        Seal(backup="x", recipient="b", since=2.0),
    ]


def test_only_a_correct_code_counts_as_a_drill(ledger: Ledger) -> None:
    """Of several tests that succeeded, the last one counts."""
    for at, result in ((1.0, "proved"), (2.0, "proved"), (3.0, "differs")):
        BackupRecords(ledger, now=at).record_drill("x", result)
    BackupRecords(ledger, now=4.0).record_drill("y", "differs")
    assert BackupRecords(ledger, now=5.0).drills() == {"x": 2.0}


def test_the_ledger_lists_lost_and_removed_devices(ledger: Ledger) -> None:
    """Losses are found by device name, and by account if the account is known.

    The IAM path of an own device is found too.
    """
    spec = DeviceSpec(account="000000000000", partition="aws", user="alice", name="phone", path="/desk/")
    run = "20261125T000000Z-0a1b2c3d"
    entry = JournalEntry(run=run, spec=spec, reached=JournalState.CONFIRMED, backup="/b/x.png.age")
    ledger.record(entry)
    records = BackupRecords(ledger, now=1.0)
    assert (records.losses("000000000000", {"phone"}), records.gone()) == ([], set())
    ledger.record(JournalEntry(run=run, spec=spec, purpose=RunKind.LOST, reached=JournalState.REVOKED))
    assert records.losses("000000000000", {"phone"}) == records.losses(None, {"phone", "x"}) == [run]
    assert records.losses("111111111111", {"phone"}) == records.losses(None, {"x"}) == []
    assert records.gone() == {"/b/x.png.age"}
    assert (records.path(run, "phone"), records.path(run, "other")) == ("/desk/", "/")


OLD, NEW, OTHER = "1" * 64, "2" * 64, "3" * 64


def test_the_old_and_the_new_hash_are_current_until_the_replacement_is_complete(ledger: Ledger) -> None:
    """Then only the new one is. A copy in another folder that is encrypted again gets a hash of its own."""
    BackupRecords(ledger, now=1.0).record_sealed(["x"], ["a"], hashes={"x": OLD, "users/x": OTHER})
    records = BackupRecords(ledger, now=2.0)
    records.record_replacement("x", OLD, NEW)
    assert records.hashes() == {"x": {OLD, NEW}, "users/x": {OTHER}}
    records.record_only(["x"], ["a"])
    assert records.hashes() == {"x": {NEW}, "users/x": {OTHER}}
    later = BackupRecords(ledger, now=3.0)
    later.record_replacement("x", OLD, OTHER)
    later.record_only(["x"], ["a"])
    assert later.hashes()["x"] == {NEW, OTHER}


def test_the_hash_of_an_older_file_is_recorded_when_it_is_replaced(ledger: Ledger) -> None:
    """Otherwise, the file of an interrupted replacement would not have the hash on record."""
    records = BackupRecords(ledger, now=1.0)
    assert records.hashes() == {}
    records.record_replacement("x", OLD, NEW)
    assert records.hashes() == {"x": {OLD, NEW}}
