"""The rules about break-glass identities: on what the ledger has, on what it lacks, and on what could not be read."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from mfa_kit.account.device_backups import device_backups
from mfa_kit.account.snapshot import DeviceBackup, Snapshot, SnapshotPart, UnreadPart
from mfa_kit.adapters.files.local_store import new_backup
from mfa_kit.audit import registry
from mfa_kit.audit.finding import DAY, Limits, RuleAnswer, RuleResult
from mfa_kit.break_glass.uses import Record, identities_in_use
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import REPORTED_ROOT, Backup, Device, Seal
from mfa_kit.core.recovery_keys import CustodianKey, RecoveryKeyAction, RecoveryKeyUse, recommended
from tests.audit.conftest import sound, taken

SERIAL = "arn:aws:iam::000000000000:mfa/"
RULES = [f"break-glass.{name}" for name in ("sealed", "drilled", "unopened", "retired", "custodians", "people")]
USED = RULES[1:]
CUSTODIANS = (CustodianKey(name="alice", key="age1a"), CustodianKey(name="Lab-Admin", key="age1b"))


def recovery_key() -> RecoveryKeyUse:
    """Return an identity that is as it should be. Both custodians have a user."""
    drilled = time.time() - DAY
    return RecoveryKeyUse(
        recipient="age1x", threshold=2, custodians=CUSTODIANS, made=1.0, drilled=drilled, retired=False, own=True
    )


def backup(user: str, *recipients: str) -> DeviceBackup:
    """Return the backup of a device that has the name of its user."""
    return DeviceBackup(
        serial=f"{SERIAL}{user}", user=user, file="/b/a.png.age", there=True, made=1.0, recipients=recipients
    )


@pytest.fixture(scope="module")
def account() -> Snapshot:
    """Return an account in which lab-admin administers, alice does not, and both have a virtual device."""
    return taken(sound())[0]


@pytest.fixture
def good(account: Snapshot) -> Snapshot:
    return replace(account, backups=(backup("lab-admin", "age1me", "age1x"),), break_glass=(recovery_key(),))


def ask(snapshot: Snapshot, rule: str) -> RuleAnswer:
    (answer,) = registry.audit_snapshot(snapshot, registry.choose_rules([rule]), Limits())
    return answer


@pytest.mark.parametrize("rule", RULES)
def test_an_identity_as_it_should_be_passes(good: Snapshot, rule: str) -> None:
    """The administrator's backup is encrypted to it. Alice, who is none, has no backup, which is no problem."""
    answer = ask(good, rule)
    assert (answer.result, answer.findings, answer.unknown) == (RuleResult.PASS, (), ())


@pytest.mark.parametrize(
    ("rule", "change", "evidence"),
    [
        ("break-glass.drilled", {"drilled": None}, "with these custodians"),
        ("break-glass.drilled", {"drilled": time.time() - 181 * DAY}, "in the last 181 days"),
        ("break-glass.unopened", {"opened": 1.5e9}, "opened on 2017-07-14"),
        ("break-glass.retired", {"retired": True}, "a rotation replaced it, but backups are still encrypted to it"),
        (
            "break-glass.custodians",
            {"custodians": (CUSTODIANS[0], CustodianKey(name="erin", key="age1e"))},
            "erin has no",
        ),
        ("break-glass.people", {"threshold": 1}, "1 of 2 custodians are needed"),
        (
            "break-glass.people",
            {"custodians": (replace(CUSTODIANS[0], users=("lab-admin",)), CUSTODIANS[1])},
            "2 of 2 custodians are needed, and lab-admin has 2 of their keys",
        ),
    ],
)
def test_a_fault_of_an_identity_is_found(
    good: Snapshot, rule: str, change: Mapping[str, object], evidence: str
) -> None:
    """The finding names the identity's recipient and has a remedy. The other rules pass."""
    bad = replace(good, break_glass=(replace(recovery_key(), **change),))  # type: ignore[arg-type] # rows of a table
    [finding] = ask(bad, rule).findings
    assert (finding.subject, evidence in finding.evidence, bool(finding.remedy)) == ("age1x", True, True)
    assert {other: ask(bad, other).result for other in RULES if other != rule} == {
        other: RuleResult.PASS for other in RULES if other != rule
    }


def test_a_drill_counts_for_180_days(good: Snapshot) -> None:
    """The limit is that of `break-glass status`."""
    inside = replace(good, break_glass=(replace(recovery_key(), drilled=good.at - 179.9 * DAY),))
    assert ask(inside, "break-glass.drilled").result is RuleResult.PASS
    outside = replace(good, break_glass=(replace(recovery_key(), drilled=good.at - 180 * DAY),))
    assert ask(outside, "break-glass.drilled").result is RuleResult.FAIL


@pytest.mark.parametrize("identities", [(), (recovery_key(),)])
def test_backups_that_custodians_cannot_open(good: Snapshot, identities: tuple[RecoveryKeyUse, ...]) -> None:
    """Root and administrators are found, and other users are not. The remedy keeps the present recipients."""
    root = Device(f"{SERIAL}root-account-mfa-device", REPORTED_ROOT)
    backups = tuple(
        replace(backup(user, "age1me"), serial=serial)
        for user, serial in ((REPORTED_ROOT, root.serial), ("lab-admin", f"{SERIAL}lab-admin"), ("alice", "a"))
    )
    bad = replace(good, backups=backups, break_glass=identities, virtual=(*good.virtual, root))
    answer = ask(bad, "break-glass.sealed")
    assert [each.subject for each in answer.findings] == [root.serial, f"{SERIAL}lab-admin"]
    wanted = "-r age1me -r age1x" if identities else "-r age1me -r RECIPIENT"
    assert answer.findings[0].remedy[-1].endswith(wanted)
    assert (answer.findings[0].remedy[0].startswith("# M custodians")) is not bool(identities)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("part", [SnapshotPart.BACKUPS, SnapshotPart.BREAK_GLASS])
def test_an_unread_part_is_unknown(account: Snapshot, rule: str, part: SnapshotPart) -> None:
    """Neither backups nor identities that could not be read pass, or make a rule inapplicable."""
    unread = replace(
        account, break_glass=() if part is SnapshotPart.BACKUPS else None, holes=(UnreadPart(part, "the disk is full"),)
    )
    answer = ask(unread, rule)
    assert (answer.result, answer.unknown[0].why) == (RuleResult.UNKNOWN, "the disk is full")


@pytest.mark.parametrize("rule", RULES)
def test_a_snapshot_of_an_older_version_is_unknown(good: Snapshot, rule: str) -> None:
    """Such a snapshot has neither identities nor recipients."""
    older = replace(good, break_glass=None, backups=(replace(good.backups[0], recipients=None),))
    answer = ask(older, rule)
    assert answer.result is RuleResult.UNKNOWN
    assert "take a new one" in answer.unknown[0].why


@pytest.mark.parametrize("rule", RULES)
def test_without_break_glass_nothing_applies(account: Snapshot, rule: str) -> None:
    """The reason says what this computer does not have."""
    answer = ask(replace(account, break_glass=()), rule)
    assert (answer.result, "no backup" in answer.why) == (RuleResult.NOT_APPLICABLE, True)


@pytest.mark.parametrize("rule", USED)
def test_an_identity_without_backups_of_the_account_does_not_count(good: Snapshot, rule: str) -> None:
    """It may be an earlier one, whose backups were re-encrypted, or that of another account."""
    earlier = replace(recovery_key(), recipient="age1old", threshold=1, drilled=None, opened=1.0)
    assert ask(replace(good, break_glass=(earlier, recovery_key())), rule).result is RuleResult.PASS
    assert ask(replace(good, break_glass=(earlier,)), rule).result is RuleResult.NOT_APPLICABLE


def test_what_is_not_on_record_is_unknown(good: Snapshot) -> None:
    """The recipients may be unknown, the backup may be elsewhere, and the custodians may have other names."""
    nobody_knows = replace(good, backups=(replace(good.backups[0], recipients=None),))
    assert ask(nobody_knows, "break-glass.sealed").unknown[0].why.endswith("not on record")
    elsewhere = ask(replace(good, backups=()), "break-glass.sealed")
    assert [(each.subject, elsewhere.result) for each in elsewhere.unknown] == [
        (f"{SERIAL}lab-admin", RuleResult.UNKNOWN)
    ]
    strangers = tuple(replace(each, name=f"{each.name}-at-home") for each in CUSTODIANS)
    answer = ask(replace(good, break_glass=(replace(recovery_key(), custodians=strangers),)), "break-glass.custodians")
    assert (answer.result, answer.findings) == (RuleResult.UNKNOWN, ())
    assert "alice-at-home" in answer.unknown[0].why


def test_custodians_are_unknown_if_the_users_are(good: Snapshot) -> None:
    """Users who were not read have not left."""
    blind = replace(good, users=(), holes=(UnreadPart(SnapshotPart.DETAILS, "denied"),))
    answer = ask(blind, "break-glass.custodians")
    assert (answer.result, answer.findings, answer.unknown[0].why) == (RuleResult.UNKNOWN, (), "denied")


def test_what_the_ledger_has_about_identities() -> None:
    """The last group counts, and the last drill that passed with it. A user who keeps a custodian's key is named."""
    sealed = Record(
        at=1.0, recipient="age1x", action=RecoveryKeyAction.SEALED, custodians={"a": "age1a", "b": "age1b"}, threshold=1
    )
    records = [
        sealed,
        replace(sealed, at=2.0, recipient="age1y", action=RecoveryKeyAction.SEALED),
        replace(sealed, at=3.0, custodians={"a": "age1a", "c": "age1c"}, threshold=2),
        *(
            Record(at=at, recipient="age1x", action=action, custodians={})
            for at, action in (
                (4.0, RecoveryKeyAction.DRILLED),
                (5.0, RecoveryKeyAction.FAILED),
                (6.0, RecoveryKeyAction.PASSED),
            )
        ),
    ]
    first, second = identities_in_use(records, {"age1c": {"carol"}})
    assert first == RecoveryKeyUse(
        recipient="age1x",
        threshold=2,
        custodians=(CustodianKey(name="a", key="age1a"), CustodianKey(name="c", key="age1c", users=("carol",))),
        made=1.0,
        drilled=4.0,
        opened=6.0,
        retired=False,
        own=True,
    )
    assert (second.recipient, second.drilled, second.opened) == ("age1y", None, None)
    [after, _] = identities_in_use([*records, replace(sealed, at=7.0)], {})
    assert (after.drilled, after.opened) == (None, 6.0)  # a drill says nothing about custodians who came later


def use(recipient: str, *, replaces: str | None = None, own: bool = True) -> Record:
    action = RecoveryKeyAction.SEALED
    return Record(at=1.0, recipient=recipient, action=action, custodians={"a": "k"}, replaces=replaces, own=own)


@pytest.mark.parametrize(
    ("records", "retired", "named"),
    [
        ([use("a")], [False], "a"),
        ([use("a"), use("b", replaces="a")], [True, False], "b"),
        ([use("a"), use("b", replaces="a"), use("a")], [True, False], "b"),
        ([use("a"), use("eve", own=False)], [False, False], "a"),
        ([use("a"), use("eve", replaces="a", own=False)], [True, False], None),
        ([use("a", own=False), use("b", replaces="a", own=False)], [True, False], "b"),
    ],
)
def test_a_remedy_names_no_retired_identity(records: list[Record], retired: list[bool], named: str | None) -> None:
    """A record of another computer retires an identity of this one, and its own is not recommended instead."""
    identities = identities_in_use(records, {})
    assert [identity.retired for identity in identities] == retired
    identity = recommended(identities)
    assert (identity.recipient if identity else None) == named


def test_the_remedy_for_a_backup_goes_by_what_is_recommended(good: Snapshot) -> None:
    """Without such an identity, it has a placeholder."""
    backups = (backup("lab-admin", "age1me"),)
    for retired, named in ((False, "-r age1x"), (None, "-r age1x"), (True, "-r RECIPIENT")):
        identities = (replace(recovery_key(), retired=retired),)
        [finding] = ask(replace(good, backups=backups, break_glass=identities), "break-glass.sealed").findings
        assert str(finding.remedy[-1]).endswith(named)


def test_a_snapshot_of_1_1_0_does_not_say_what_is_retired(good: Snapshot) -> None:
    """Unknown never counts as a pass."""
    answer = ask(replace(good, break_glass=(replace(recovery_key(), retired=None),)), "break-glass.retired")
    assert (answer.result, [subject.subject for subject in answer.unknown]) == (RuleResult.UNKNOWN, ["age1x"])


class NoDevices:
    """A journal and a BackupStore without devices, and records of one backup of root."""

    def __init__(self, name: str) -> None:
        self._name = name

    def confirmed_devices(self) -> set[str]:
        return set()

    def last_opened(self) -> dict[str, float]:
        return {self._name.rpartition("/")[2]: 5.0}

    def drills(self) -> dict[str, float]:
        return {self._name: 6.0}

    def makers(self) -> dict[tuple[str, str], str]:
        return {}

    def seals(self) -> list[Seal]:
        rows = [("age1old", 9.0, False), ("age1x", None, False), ("age1own", None, True)]
        return [Seal(backup=self._name, recipient=to, since=1.0, until=until, own=own) for to, until, own in rows]


def test_backups_of_root_are_found_by_the_name_of_the_device() -> None:
    """Root has no entry in the journal. The newest backup counts, with its present recipients."""
    name = "root-account-mfa-device"
    runs = ("20260301T101500Z-5f0c9a1e", "20260302T101500Z-5f0c9a1e")
    kept = [new_backup(Path("/b"), account="0" * 12, user="root", device=name, run=run) for run in runs]
    other = new_backup(Path("/b"), account="1" * 12, user="root", device=name, run="20260303T101500Z-5f0c9a1e")
    asked: list[None] = []

    def stored() -> list[Backup]:
        asked.append(None)
        return [*kept, other]

    def found(*devices: Device) -> tuple[DeviceBackup, ...]:
        nothing = NoDevices(kept[1].name)
        port: Callable[..., tuple[DeviceBackup, ...]] = device_backups
        return port(devices, journal=nothing, store=nothing, records=nothing, stored=stored)

    assert found(Device(f"{SERIAL}alice", "alice"), Device(f"{SERIAL}nobody", None)) == ()
    assert not asked
    [one] = found(Device(f"{SERIAL}{name}", REPORTED_ROOT), Device(f"{SERIAL}other", REPORTED_ROOT))
    assert (one.user, one.file, one.made) == (REPORTED_ROOT, str(kept[1].path), kept[1].made)
    assert (one.opened, one.drilled, one.recipients) == (5.0, 6.0, ("age1x",))


def test_a_damaged_ledger_is_a_part_that_was_not_read() -> None:
    """The audit continues, and the rules are unknown."""

    def broken() -> tuple[RecoveryKeyUse, ...]:
        raise IntegrityFault("the ledger is damaged", "")

    snapshot, _ = taken(sound(), break_glass=broken)
    assert snapshot.hole(SnapshotPart.BREAK_GLASS) is not None
    assert {ask(snapshot, rule).result for rule in RULES} == {RuleResult.UNKNOWN}
