"""Tests of what is published about a model: by date, and by each entry that is for it."""

from pathlib import Path
from typing import Any

import pytest

from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.securitykey import KeyBehavior, KeyModel, SimulatedKey
from tests.fido.conftest import LAB_AAGUID, NOW, Bus, Desk, detail, publish, results
from tests.fido.test_verify import policy

PAST, LATE, FUTURE = "2020-01-01", "2024-01-01", "2100-01-01"


def entry(maker: AttestationCa, *reports: tuple[str, str | None], **how: Any) -> dict[str, Any]:
    """Return the entry of the lab's model with these status reports."""
    dated = [
        {"status": status} if since is None else {"status": status, "effectiveDate": since} for status, since in reports
    ]
    return {**maker.entry(how.pop("name", "m"), **{"aaguid": LAB_AAGUID, **how}), "statusReports": dated}


@pytest.mark.parametrize(
    ("reports", "wanted", "failed"),
    [
        ([("REVOKED", FUTURE)], None, []),
        ([("REVOKED", PAST)], None, ["status"]),
        ([("REVOKED", None)], None, ["status"]),
        ([("REVOKED", PAST), ("FIDO_CERTIFIED_L1", LATE)], None, ["status"]),
        ([("FIDO_CERTIFIED_L2", PAST)], "L2", []),
        ([("FIDO_CERTIFIED_L1", PAST), ("FIDO_CERTIFIED_L2", FUTURE)], "L2", ["certification"]),
        ([("FIDO_CERTIFIED_L2", PAST), ("NOT_FIDO_CERTIFIED", LATE)], "L1", ["certification"]),
        ([("FIDO_CERTIFIED_L2", LATE), ("NOT_FIDO_CERTIFIED", PAST)], "L2", []),
        ([("FIDO_CERTIFIED_L2", PAST), ("NOT_FIDO_CERTIFIED", FUTURE)], "L2", []),
        ([("NOT_FIDO_CERTIFIED", None), ("FIDO_CERTIFIED_L1", PAST)], "L1", []),
    ],
)
def test_a_status_report_applies_from_its_date(
    bus: Bus,
    key: SimulatedKey,
    maker: AttestationCa,
    desk: Desk,
    tmp_path: Path,
    reports: list[tuple[str, str | None]],
    wanted: str | None,
    failed: list[str],
) -> None:
    """A report without a date applies at once. The order is that of the dates, not that of the file."""
    bus.plug(key)
    asked = policy(tmp_path, f'certification = "{wanted}"') if wanted else []
    done, receipt = desk.verify(*publish(tmp_path, maker, [entry(maker, *reports)]).options, *asked)
    assert (receipt["failed"], done.code) == (failed, int(bool(failed)))


def test_a_revocation_with_a_future_date_is_shown(
    bus: Bus, key: SimulatedKey, maker: AttestationCa, desk: Desk, tmp_path: Path
) -> None:
    """The revocation does not apply yet."""
    bus.plug(key)
    _, receipt = desk.verify(*publish(tmp_path, maker, [entry(maker, ("REVOKED", FUTURE))]).options)
    assert detail(receipt, "status") == f"REVOKED from {FUTURE}"


GOOD, BAD = ("FIDO_CERTIFIED_L2", PAST), ("REVOKED", PAST)


@pytest.mark.parametrize("bad_first", [True, False])
@pytest.mark.parametrize("attestation", ["packed", "self", "fido-u2f"])
def test_each_entry_for_a_model_is_judged(
    bus: Bus, maker: AttestationCa, desk: Desk, tmp_path: Path, attestation: str, bad_first: bool
) -> None:
    """A revocation in either entry counts, in either order, also for keys that only claim the model."""
    issued = maker.certificate(None if attestation == "fido-u2f" else bytes.fromhex(LAB_AAGUID.replace("-", "")))
    naming: dict[str, Any] = (
        {"aaguid": None, "identifiers": [issued.identifier]} if attestation == "fido-u2f" else {"aaguid": LAB_AAGUID}
    )
    pair = [entry(maker, GOOD, name="good", **naming), entry(maker, BAD, name="bad", **naming)]
    bus.plug(SimulatedKey(issued, behavior=KeyBehavior(attestation=attestation)))
    done, receipt = desk.verify(*publish(tmp_path, maker, pair[:: -1 if bad_first else 1]).options)
    assert (done.code, results(receipt)["status"], detail(receipt, "status")) == (1, "fail", "bad: REVOKED")


def test_the_lower_certification_of_two_entries_counts(
    bus: Bus, key: SimulatedKey, maker: AttestationCa, desk: Desk, tmp_path: Path
) -> None:
    """It is unknown which of the two entries describes the key."""
    bus.plug(key)
    entries = [entry(maker, GOOD), entry(maker, ("FIDO_CERTIFIED_L1", PAST))]
    options = publish(tmp_path, maker, entries).options
    assert desk.verify(*options, *policy(tmp_path, 'certification = "L2"'))[1]["failed"] == ["certification"]
    assert desk.verify(*options, *policy(tmp_path, 'certification = "L1"'))[1]["failed"] == []


@pytest.mark.parametrize("ours_first", [True, False])
def test_a_root_of_one_of_two_entries_makes_a_key_genuine(
    bus: Bus, maker: AttestationCa, desk: Desk, tmp_path: Path, ours_first: bool
) -> None:
    """A maker may list later root certificates in a separate entry. One that is in neither entry proves nothing."""
    other, stranger = AttestationCa("other", now=NOW), AttestationCa("stranger", now=NOW)
    entries = [entry(maker, GOOD, name="ours"), entry(other, GOOD, name="theirs")][:: 1 if ours_first else -1]
    options = publish(tmp_path, maker, entries).options
    aaguid = bytes.fromhex(LAB_AAGUID.replace("-", ""))
    for ca, model in ((maker, "ours"), (other, "theirs"), (stranger, None)):
        bus.unplug()
        bus.plug(SimulatedKey(ca.certificate(aaguid), model=KeyModel(aaguid=aaguid)))
        assert desk.verify(*options)[1]["model"] == model
