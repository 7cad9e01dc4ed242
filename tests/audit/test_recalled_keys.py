"""The rule devices.recalled: devices on recorded keys, from the ledger of a desk to the answer."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.account.snapshot import Snapshot, SnapshotPart, UnreadPart
from mfa_kit.adapters.files.snapshots import read_snapshot, write_snapshot
from mfa_kit.audit.finding import RuleAnswer, RuleResult
from mfa_kit.core.firmware import DeviceRecall, Verdict
from tests.audit.conftest import known_keys, sound, taken
from tests.audit.test_rules import ask

RULE = "devices.recalled"
PLACE = "arn:aws:iam::000000000000:"


@pytest.fixture(scope="module")
def account() -> Snapshot:
    """Return an account in which lab-admin has a virtual device and a security key, and alice a virtual device."""
    snapshot, _ = taken(sound())
    return snapshot


@pytest.fixture
def key(account: Snapshot) -> DeviceRecall:
    """Return the record of lab-admin's key."""
    [known] = known_keys(account)
    names = ("YSA-2024-03",)
    return replace(known, verdict=Verdict.AFFECTED, advisories=names)


def answer(account: Snapshot, *recalls: DeviceRecall, **changes: Any) -> RuleAnswer:
    return ask(replace(account, recalls=recalls, **changes), RULE)


def test_an_affected_device_is_found(account: Snapshot, key: DeviceRecall) -> None:
    told = answer(account, key)
    [finding] = told.findings
    facts = "lab-admin's key, YubiKey 5 NFC with firmware 5.4.3,"
    assert (finding.subject, finding.evidence) == (key.serial, f"{facts} is affected by YSA-2024-03")
    assert finding.remedy == (
        "mfa-kit key recall",
        "# give the user another key:",
        "mfa-kit replace lab-admin --with KIND",
    )
    [finding] = answer(account, replace(key, user="LAB-ADMIN", verdict=Verdict.PROBABLY)).findings
    assert finding.evidence == f"{facts} claims facts by which it is affected by YSA-2024-03"


def test_a_key_that_is_not_listed_passes(account: Snapshot, key: DeviceRecall) -> None:
    assert answer(account, replace(key, verdict=Verdict.NOT_LISTED)).result is RuleResult.PASS


def test_an_unknown_key_never_passes(account: Snapshot, key: DeviceRecall) -> None:
    told = answer(account, replace(key, verdict=Verdict.UNKNOWN))
    assert told.result is RuleResult.UNKNOWN
    assert told.unknown[0].why.endswith("firmware 5.4.3, may be affected: facts are missing, or only claimed")


def test_without_recorded_keys_it_is_unknown(account: Snapshot) -> None:
    told = answer(account)
    assert (told.result, told.unknown[0].subject) == (RuleResult.UNKNOWN, account.account)
    hole = UnreadPart(SnapshotPart.RECORDED_KEYS, "the ledger is locked")
    assert ask(replace(account, holes=(hole,)), RULE).unknown[-1].why == "the ledger is locked"


def test_a_security_key_that_the_ledger_lacks_is_unknown(account: Snapshot, key: DeviceRecall) -> None:
    """Also a device that was created again with the same ARN: only the record with its EnableDate counts."""
    alice = replace(key, serial=PLACE + "mfa/alice", user="alice", verdict=Verdict.NOT_LISTED)
    earlier = replace(key, since=(key.since or 0) - 60)
    for recalls in ((alice,), (earlier,)):
        told = answer(account, *recalls)
        assert (told.result, told.findings) == (RuleResult.UNKNOWN, ())
        assert [(about.subject, about.why) for about in told.unknown] == [
            (key.serial, "the ledger does not know the key of lab-admin")
        ]


def test_a_device_counts_until_iam_is_known_to_lack_it(account: Snapshot, key: DeviceRecall) -> None:
    """All devices of lab-admin were listed. Those of alice were not, so the ledger counts."""
    known = replace(key, verdict=Verdict.NOT_LISTED)
    gone = replace(key, serial=PLACE + "u2f/user/lab-admin/old-A")
    assert answer(account, known, gone).result is RuleResult.PASS
    unlisted = replace(key, serial=PLACE + "u2f/user/alice/spare-A", user="alice")
    assert [finding.subject for finding in answer(account, known, unlisted).findings] == [unlisted.serial]


def test_a_stored_snapshot_has_the_recorded_keys(account: Snapshot, key: DeviceRecall, tmp_path: Path) -> None:
    file = tmp_path / "snapshot.json"
    write_snapshot(replace(account, recalls=(key,)), file)
    assert read_snapshot(file).recalls == (key,)
