"""Every rule, on accounts in the lab: a sound one, one with the rule's fault, and one that cannot be read."""

import copy
import json
import time
from dataclasses import replace
from typing import Any

import boto3
import pytest

from mfa_kit.account.snapshot import (
    CentralRootAccess,
    DeviceBackup,
    OrganizationPlace,
    RootPosture,
    Snapshot,
    SnapshotPart,
    as_member,
)
from mfa_kit.adapters.aws import account as reader
from mfa_kit.adapters.aws.member_sessions import read_central_root_access
from mfa_kit.audit import registry
from mfa_kit.audit.finding import DAY, Limits, Profile, RuleAnswer, RuleResult, Severity
from mfa_kit.core.errors import AwsFault, IntegrityFault, UsageFault
from mfa_kit.core.models import REPORTED_ROOT, Device
from mfa_kit.core.recovery_keys import CustodianKey, RecoveryKeyUse
from mfa_kit.lab.aws.server import Lab
from tests.audit.conftest import (
    ADMINISTRATOR,
    FORCE,
    MFA,
    Change,
    ago,
    changed,
    known_keys,
    member,
    organization,
    sound,
    taken,
    trust,
    usage,
)

ALICE = "arn:aws:iam::000000000000:mfa/alice"
DETAILS, REPORT = "GetAccountAuthorizationDetails", "GetCredentialReport"
VIRTUAL, DEVICES, SUMMARY = "ListVirtualMFADevices", "ListMFADevices", "GetAccountSummary"
FEATURES = "ListOrganizationsFeatures"
# Rules that apply to accounts of an organization only.
ORGANIZATION = {"root.central", "root.credentials"}
# Rules about what the sound account does not have.
ABSENT = {"certificates.expired", "sessions.duration", "users.identity-center"}
ADMINISTERED = CentralRootAccess(place=OrganizationPlace.ADMINISTRATOR, features=("RootCredentialsManagement",))


def ours(_: tuple[Device, ...]) -> tuple[DeviceBackup, ...]:
    backup = DeviceBackup(serial=ALICE, user="alice", file="/b/alice.png.age", there=True, made=time.time(), opened=1.0)
    boss = replace(backup, serial="arn:aws:iam::000000000000:mfa/lab-admin", user="lab-admin", recipients=("age1x",))
    return (backup, boss)


def recovery_key() -> tuple[RecoveryKeyUse, ...]:
    """Return an identity whose custodians are the users of the sound account."""
    custodians = (
        CustodianKey(name="alice", key="age1a", users=("alice",)),
        CustodianKey(name="lab-admin", key="age1b"),
    )
    drilled = time.time()
    return (
        RecoveryKeyUse(recipient="age1x", threshold=2, custodians=custodians, made=1.0, drilled=drilled, retired=False),
    )


def gone(_: tuple[Device, ...]) -> tuple[DeviceBackup, ...]:
    lost = DeviceBackup(serial=ALICE, user="alice", file="/b/alice.png.age", there=False, made=1.0)
    return (lost, DeviceBackup(serial=ALICE + "2", user="alice", file=None, there=False, made=1.0))


def unopened(_: tuple[Device, ...]) -> tuple[DeviceBackup, ...]:
    return (DeviceBackup(serial=ALICE, user="alice", file="/b/it's.png.age", there=True, made=time.time()),)


def undrilled(_: tuple[Device, ...]) -> tuple[DeviceBackup, ...]:
    """Return one fresh backup, one tested recently, one tested long ago and one never tested."""
    now, old = time.time(), time.time() - 100.5 * DAY
    ages = [(now, None), (old, now - DAY), (old, old + DAY), (old, None)]
    return tuple(
        DeviceBackup(
            serial=f"{ALICE}{at}", user="alice", file="/b/it's.png.age", there=True, made=made, drilled=drilled
        )
        for at, (made, drilled) in enumerate(ages)
    )


def broken(_: tuple[Device, ...]) -> tuple[DeviceBackup, ...]:
    raise IntegrityFault("the ledger is damaged", "")


def ask(snapshot: Snapshot, rule: str, **limits: Any) -> RuleAnswer:
    (answer,) = registry.audit_snapshot(snapshot, registry.choose_rules([rule]), Limits(**limits))
    return answer


@pytest.fixture(scope="module")
def nothing_wrong() -> Snapshot:
    snapshot, _ = taken(sound(), backups=ours, break_glass=recovery_key, usage=usage)
    return replace(snapshot, recalls=known_keys(snapshot))


@pytest.mark.parametrize("rule", [rule.id for rule in registry.RULES if rule.id not in ORGANIZATION | ABSENT])
def test_a_sound_account_passes_every_rule(nothing_wrong: Snapshot, rule: str) -> None:
    """In a sound account every rule passes, and none is inapplicable."""
    answer = ask(nothing_wrong, rule)
    assert (answer.result, answer.findings, answer.unknown) == (RuleResult.PASS, (), ())


def root(**fields: Any) -> Change:
    return lambda found: found["root"].update(fields)


def user(name: str, **fields: Any) -> Change:
    def change(found: dict[str, Any]) -> None:
        known = next((each for each in found["users"] if each["name"] == name), None)
        if known is None:
            found["users"].append({"name": name, "groups": ["people"], **fields})
        else:
            known.update(fields)

    return change


def group(name: str, **fields: Any) -> Change:
    return lambda found: next(each for each in found["groups"] if each["name"] == name).update(fields)


def role(name: str, **fields: Any) -> Change:
    return lambda found: next(each for each in found["roles"] if each["name"] == name).update(fields)


def passwords(**fields: Any) -> Change:
    return lambda found: found["password_policy"].update(fields)


def without_administrator(found: dict[str, Any]) -> None:
    """Leave the lab's admin only the permissions that reading the account needs."""
    rights = {"Effect": "Allow", "Action": ["iam:Get*", "iam:List*", "iam:Generate*"], "Resource": "*"}
    group("programs", attached=[], policies={"read": {"Version": "2012-10-17", "Statement": [rights]}})(found)


def without_instances(found: dict[str, Any]) -> None:
    found["roles"] = [each for each in found["roles"] if each["name"] != "web"]


def orphaned(found: dict[str, Any]) -> None:
    found["devices"] = [{"name": "half-made"}]


def both(*changes: Change) -> Change:
    def change(found: dict[str, Any]) -> None:
        for each in changes:
            each(found)

    return change


def owned(groups: list[str]) -> Change:
    """Add a managed policy that allows everything, attached to these groups."""

    def change(found: dict[str, Any]) -> None:
        found["policies"] = [{"name": "mine", "document": EVERYTHING}]
        for name in groups:
            group(name, attached=[f"{POLICY}/mine"])(found)

    return change


def inline(*statements: dict[str, Any], **more: Any) -> Change:
    """Give the group people an inline policy that allows what these statements say, each with these elements."""
    rows = [{"Effect": "Allow", **statement, **more} for statement in statements]
    return group("people", policies={"force-mfa": FORCE, "mine": {"Version": "2012-10-17", "Statement": rows}})


ALL = {"Action": "*", "Resource": "*"}
EVERYTHING = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", **ALL}}
POLICY = "arn:aws:iam::000000000000:policy"
CLOUDSHELL = "arn:aws:iam::aws:policy/AWSCloudShellFullAccess"
SUPPORT = "arn:aws:iam::aws:policy/AWSSupportAccess"
KEY = {"id": "AKIAAAAAAAAAAAAAAAAA", "secret": "s"}
SMS = {"kind": "token", "serial": "arn:aws:iam::000000000000:sms-mfa/bob"}
FIDO = {"kind": "fido", "name": "blue"}
BOSS = {"groups": ["programs"], "password": True, "password_last_used": ago(1)}
# Rule, fault, expected subject, and expected evidence.
FAULTS: list[tuple[str, Change, str, str]] = [
    ("root.mfa", root(mfa=False), "root", "no MFA device"),
    ("root.hardware", root(mfa=False), "root", "no MFA device"),
    ("root.hardware", root(virtual=True), "root", "only root can see"),
    ("root.keys", root(keys=1), "root", "access keys"),
    ("root.use", root(password_last_used=ago(2)), "root", "password was used 2 days ago"),
    ("root.use", root(keys=1, key_last_used=ago(3)), "root", "access key was used 3 days ago"),
    ("root.central", organization(features=["RootSessions"]), "organization", "not managed centrally"),
    ("root.credentials", member(mfa=True), "root", "a password with MFA"),
    ("root.credentials", member(keys=1, password=False), "root", "access keys"),
    ("admins.exist", without_administrator, "000000000000", "only root"),
    ("admins.mfa", user("boss", **BOSS), "boss", "without an MFA device"),
    ("admins.phishing", user("boss", **BOSS, devices=[{"name": "boss"}]), "boss", "has: virtual"),
    ("admins.spare", user("boss", **BOSS, devices=[{"name": "boss"}]), "boss", "only one device, arn:"),
    ("admins.spare", user("boss", **BOSS), "boss", "no device"),
    ("users.mfa", user("bob", password=True), "bob", "no MFA device"),
    ("users.sms", user("bob", password=True, devices=[SMS]), "bob", "phone number"),
    ("users.fido-keys", user("bob", keys=[KEY], devices=[FIDO]), "bob", "only security keys as devices"),
    ("users.unused", user("alice", password_last_used=ago(46)), "alice", "not used for 46 days"),
    ("users.unused", user("bob", created=ago(90), password=True), "bob", "never used in 90 days"),
    ("users.unused", user("bob", keys=[{**KEY, "created": ago(70)}]), "bob", "key never used in 70 days"),
    ("users.unused", user("bob", keys=[{**KEY, "last_used": ago(50)}]), "bob", "key not used for 50 days"),
    ("users.old-keys", user("bob", keys=[{**KEY, "created": ago(90)}]), "bob", "90 days old"),
    ("users.service", user("bob", password=True, keys=[{**KEY, "last_used": ago(1)}]), "bob", "was never used"),
    ("users.direct", user("alice", policies={"own": {"Statement": []}}), "alice", "own"),
    ("users.direct", user("alice", attached=[ADMINISTRATOR]), "alice", "AdministratorAccess"),
    ("users.groupless", user("alice", groups=[]), "alice", "in no group"),
    (
        "groups.enforcement",
        group("people", policies={}),
        "people",
        "1 of 1 console users are not required to use MFA: alice",
    ),
    ("roles.trust", role("ops", trust=trust({"AWS": "000000000000"})), "ops", "000000000000"),
    ("roles.trust", role("ops", trust=trust({"AWS": "*"})), "ops", "*"),
    ("roles.trust", role("ops", trust=trust({"AWS": "arn:aws:iam::000000000000:user/alice"})), "ops", "user/alice"),
    ("roles.ec2", without_instances, "lab-admin", "no role for EC2 instances exists"),
    (
        "passwords.policy",
        both(passwords(minimum_password_length=14), user("bob", password=True)),
        "password policy",
        "is 14: NIST requires 15 if the password is the only factor, as for bob",
    ),
    ("passwords.policy", passwords(minimum_password_length=7), "password policy", "is 7: NIST requires 15"),
    ("passwords.policy", passwords(require_symbols=True), "password policy", "symbols: NIST"),
    ("passwords.policy", passwords(max_password_age=90), "password policy", "expire after 90 days"),
    (
        "passwords.policy",
        lambda found: found.pop("password_policy"),
        "password policy",
        "three of four character classes: NIST",
    ),
    ("users.keys-mfa", user("bob", keys=[KEY]), "bob", "no console password and no MFA device"),
    (
        "users.initial-keys",
        user("alice", created=ago(300), keys=[{**KEY, "created": ago(20)}]),
        "alice",
        "was never used",
    ),
    ("policies.full", group("people", policies={"force-mfa": FORCE, "all": EVERYTHING}), "people", "inline policy all"),
    ("policies.full", inline(ALL, Condition=MFA), "people", "on every resource, under a condition"),
    (
        "policies.full",
        inline({"NotAction": "iam:CreateUser", "Resource": "*"}),
        "people",
        "every action except iam:CreateUser on every resource",
    ),
    (
        "policies.full",
        inline({"Action": "*", "NotResource": ["arn:aws:s3:::logs", "arn:aws:s3:::logs/*"]}),
        "people",
        "on every resource except arn:aws:s3:::logs, arn:aws:s3:::logs/*",
    ),
    ("policies.full", owned(["people"]), f"{POLICY}/mine", "attached to group people"),
    ("policies.full", owned([]), f"{POLICY}/mine", "attached to no one"),
    ("policies.cloudshell", role("web", attached=[CLOUDSHELL]), "web", "role web has AWSCloudShellFullAccess"),
    ("roles.support", lambda found: found["roles"].pop(), "000000000000", "no role has AWSSupportAccess"),
    (
        "roles.support",
        both(lambda found: found["roles"].pop(), user("alice", attached=[SUPPORT])),
        "000000000000",
        "only an administrator or user alice can call",
    ),
    (
        "certificates.expired",
        lambda found: found.update(certificates=[{"name": "old", "expires": ago(1)}, {"name": "new"}]),
        "arn:aws:iam::000000000000:server-certificate/old",
        "expired on",
    ),
    ("devices.orphans", orphaned, "arn:aws:iam::000000000000:mfa/half-made", "unassigned"),
]


@pytest.mark.parametrize(("rule", "fault", "subject", "evidence"), FAULTS, ids=[f"{row[0]}-{row[3]}" for row in FAULTS])
def test_a_fault_is_found(rule: str, fault: Change, subject: str, evidence: str) -> None:
    """The rule for the fault finds it, with the subject, the evidence and a remedy."""
    snapshot, _ = taken(changed(fault))
    answer = ask(snapshot, rule)
    assert answer.result is RuleResult.FAIL
    named = {each.subject: each for each in answer.findings}
    assert set(named) == {subject}
    assert any(evidence in each.evidence for each in answer.findings)
    assert all(each.remedy for each in answer.findings)


@pytest.mark.parametrize(
    ("rule", "fault", "device"),
    [
        ("admins.phishing", user("boss", **BOSS, devices=[{"name": "boss"}]), "fido2"),
        ("admins.spare", user("boss", **BOSS, devices=[{"name": "boss"}]), "fido2"),
        ("users.sms", user("boss", **BOSS, devices=[SMS]), "virtual"),
        ("users.fido-keys", user("boss", groups=["people"], keys=[KEY], devices=[FIDO]), "virtual"),
    ],
)
def test_the_remedy_for_a_user_with_a_device_adds_another_one(rule: str, fault: Change, device: str) -> None:
    """Without --add in the remedy, enroll would skip the user."""
    [finding] = ask(taken(changed(fault))[0], rule).findings
    assert finding.remedy == (f"mfa-kit enroll boss --with {device} --add",)


def certified(found: dict[str, Any]) -> None:
    found["certificates"] = [{"name": "new"}]


# Rule, denied operations, and a further change without which the account would pass the rule.
SILENT: list[tuple[str, tuple[str, ...], Change | None]] = [
    ("root.mfa", (SUMMARY, REPORT), None),
    ("root.hardware", (VIRTUAL,), None),
    ("root.hardware", (SUMMARY, REPORT), None),
    ("root.keys", (SUMMARY, REPORT), None),
    ("root.use", (REPORT,), None),
    ("root.central", (FEATURES,), organization()),
    ("root.credentials", (FEATURES,), member(password=False)),
    ("root.credentials", (SUMMARY,), member(password=False)),
    ("admins.exist", (DETAILS,), None),
    ("admins.mfa", (DETAILS,), None),
    ("admins.mfa", (REPORT, DEVICES, VIRTUAL), None),
    ("admins.phishing", (DEVICES,), None),
    ("admins.spare", (DEVICES,), None),
    ("users.mfa", (REPORT,), None),
    ("users.mfa", (DETAILS,), None),
    ("users.sms", (DEVICES,), user("bob", password=True, devices=[FIDO])),
    ("users.fido-keys", (DEVICES,), user("bob", keys=[KEY], devices=[FIDO, {"kind": "token", "serial": "GAHT1"}])),
    ("users.unused", (REPORT,), None),
    ("users.old-keys", (REPORT,), None),
    ("users.service", (REPORT,), None),
    ("users.direct", (DETAILS,), None),
    ("users.groupless", (DETAILS,), None),
    ("groups.enforcement", (REPORT,), None),
    ("groups.enforcement", (DETAILS,), None),
    ("roles.trust", (DETAILS,), None),
    ("roles.ec2", (DETAILS,), None),
    ("roles.ec2", (REPORT,), without_instances),
    ("passwords.policy", ("GetAccountPasswordPolicy",), None),
    ("passwords.policy", (REPORT,), passwords(minimum_password_length=10)),
    ("users.keys-mfa", (REPORT,), None),
    ("users.initial-keys", (REPORT,), None),
    ("policies.full", (DETAILS,), None),
    ("policies.cloudshell", (DETAILS,), None),
    ("roles.support", (DETAILS,), None),
    ("users.identity-center", (DETAILS,), None),
    ("certificates.expired", ("ListServerCertificates",), certified),
    ("devices.orphans", (VIRTUAL,), None),
    ("devices.quota", (VIRTUAL,), None),
]


@pytest.mark.parametrize(("rule", "denied", "change"), SILENT, ids=[f"{row[0]}-{'-'.join(row[1])}" for row in SILENT])
def test_an_unread_part_never_passes(rule: str, denied: tuple[str, ...], change: Change | None) -> None:
    """The result is unknown, and the reason is given."""
    snapshot, _ = taken(changed(change), *denied)
    answer = ask(snapshot, rule)
    assert answer.result is RuleResult.UNKNOWN
    assert answer.unknown
    assert all(each.why for each in answer.unknown)


@pytest.mark.parametrize(
    ("rule", "backups", "result"),
    [
        ("backups.there", gone, RuleResult.FAIL),
        ("backups.there", broken, RuleResult.UNKNOWN),
        ("backups.there", lambda _: (), RuleResult.NOT_APPLICABLE),
        ("backups.verified", unopened, RuleResult.FAIL),
        ("backups.verified", broken, RuleResult.UNKNOWN),
        ("backups.verified", lambda _: (), RuleResult.NOT_APPLICABLE),
        ("backups.drilled", undrilled, RuleResult.FAIL),
        ("backups.drilled", gone, RuleResult.PASS),
        ("backups.drilled", broken, RuleResult.UNKNOWN),
        ("backups.drilled", lambda _: (), RuleResult.NOT_APPLICABLE),
    ],
)
def test_backups_of_this_computer(rule: str, backups: Any, result: RuleResult) -> None:
    """Missing backups, unread backups and devices from elsewhere give different findings.

    File names are quoted for a shell.
    """
    answer = ask(taken(sound(), backups=backups)[0], rule)
    assert answer.result is result
    if backups is unopened:
        assert answer.findings[0].remedy[0].endswith("""-i IDENTITY '/b/it'"'"'s.png.age'""")
    if backups is undrilled:
        assert [(each.subject[-1], each.evidence) for each in answer.findings] == [
            ("2", "its backup was not tested for 99 days"),
            ("3", "its backup was never tested in 100 days"),
        ]
        assert answer.findings[0].remedy[0].endswith("""drill -i IDENTITY '/b/it'"'"'s.png.age'""")
    if backups is gone and rule == "backups.there":
        assert [each.subject for each in answer.findings] == [ALICE, ALICE + "2"]


def test_findings_about_backups_name_the_computer_that_made_the_device() -> None:
    """A snapshot has it only if computers share the ledger."""

    def shared(devices: tuple[Device, ...]) -> tuple[DeviceBackup, ...]:
        return tuple(replace(each, computer="desk-a") for each in unopened(devices))

    snapshot, _ = taken(sound(), backups=shared)
    [finding, *_] = ask(snapshot, "backups.verified").findings
    assert finding.evidence.startswith("its backup from desk-a was never decrypted on any computer")
    lost = replace(snapshot, backups=tuple(replace(each, there=False) for each in snapshot.backups))
    [finding, *_] = ask(lost, "backups.there").findings
    assert finding.evidence.startswith("its backup from desk-a is not at ")


def test_every_rule_was_seen_to_fail_and_to_pass() -> None:
    """A rule that was never seen to fail may check nothing."""
    rules = {rule.id for rule in registry.RULES}
    apart = {"backups.there", "backups.verified", "backups.drilled", "sessions.duration"}
    # These are in another file, test_break_glass_rules.
    apart |= {"root.device-used", "users.spare-untested", "devices.unused"}  # in test_last_use_rules
    apart.add("devices.recalled")  # in test_recalled_keys
    apart |= {f"break-glass.{name}" for name in ("sealed", "drilled", "unopened", "retired", "custodians", "people")}
    assert {row[0] for row in FAULTS} | apart | {"devices.quota", "users.identity-center"} == rules
    assert {row[0] for row in SILENT} | apart == rules


def test_near_the_quota_of_virtual_devices() -> None:
    """The rule fails from 80 % on."""
    snapshot, _ = taken(sound())
    assert ask(snapshot, "devices.quota", quota=2 / 5000).result is RuleResult.FAIL
    assert ask(snapshot, "devices.quota", quota=3 / 5000).result is RuleResult.PASS


def to_govcloud(found: dict[str, Any]) -> None:
    moved = json.loads(json.dumps(found).replace("arn:aws:", "arn:aws-us-gov:"))
    found.update(moved, region="us-gov-west-1")


def test_access_keys_of_root_are_found_in_govcloud() -> None:
    """Root cannot sign in there, but AWS Support can give it access keys. If that is unknown, it is not a pass."""
    described = changed(both(root(keys=1), to_govcloud))
    snapshot, _ = taken(described)
    assert ask(snapshot, "root.keys").result is RuleResult.FAIL
    assert ask(snapshot, "root.mfa").result is RuleResult.NOT_APPLICABLE
    assert (
        ask(taken(described, "GetAccountSummary", "GetCredentialReport")[0], "root.keys").result is RuleResult.UNKNOWN
    )


def test_govcloud_has_no_root() -> None:
    """Rules about root do not apply there, and the other rules do."""
    snapshot, _ = taken(changed(to_govcloud), usage=usage)
    known = replace(snapshot, recalls=known_keys(snapshot))
    answers = registry.audit_snapshot(known, registry.RULES, Limits())
    told = {answer.rule.id: answer.result for answer in answers}
    assert {told[name] for name in told if name.startswith("root.")} == {RuleResult.NOT_APPLICABLE}
    others = {name for name in told if not name.startswith(("root.", "backups.", "break-"))} - ABSENT
    assert {told[name] for name in others} == {RuleResult.PASS}


def test_root_whose_credentials_were_removed_needs_no_mfa() -> None:
    """With centrally managed root access there is no password to protect. Access keys would still be a finding."""
    snapshot, _ = taken(changed(root(mfa=False, password=False)))
    assert ask(snapshot, "root.mfa").result is RuleResult.NOT_APPLICABLE
    assert ask(snapshot, "root.keys").result is RuleResult.PASS


@pytest.mark.parametrize(
    ("change", "rule", "result", "why"),
    [
        (None, "root.central", RuleResult.NOT_APPLICABLE, "in no organization"),
        (None, "root.credentials", RuleResult.NOT_APPLICABLE, "in no organization"),
        (organization(), "root.central", RuleResult.PASS, ""),
        (organization(), "root.credentials", RuleResult.NOT_APPLICABLE, "the management account"),
        (member(password=False), "root.central", RuleResult.NOT_APPLICABLE, "audit the management account"),
        (member(password=False), "root.credentials", RuleResult.PASS, ""),
    ],
)
def test_which_account_each_organization_rule_checks(
    change: Change | None, rule: str, result: RuleResult, why: str
) -> None:
    """One rule checks the management account, and the other one checks member accounts."""
    answer = ask(taken(changed(change))[0], rule)
    assert (answer.result, answer.findings, answer.unknown) == (result, (), ())
    assert why in answer.why


@pytest.mark.parametrize("rule", ["root.mfa", "root.hardware", "root.use"])
def test_centralized_root_access_makes_rules_about_root_inapplicable(rule: str) -> None:
    """The result gives the reason if ListOrganizationsFeatures shows it.

    If that call is denied, the rule is evaluated as usual.
    """
    snapshot, _ = taken(changed(member(password=False)))
    known = ask(snapshot, rule)
    denied = ask(taken(changed(member(password=False)), FEATURES)[0], rule)
    managed = ask(replace(snapshot, central_root=as_member(ADMINISTERED)), rule)
    off = ask(replace(snapshot, central_root=as_member(replace(ADMINISTERED, features=()))), rule)
    assert {each.result for each in (known, denied, managed, off)} == {RuleResult.NOT_APPLICABLE}
    assert "centralized root access" in known.why
    assert denied.why == "root has no password: its credentials were removed"
    assert "prevents its recovery" in managed.why
    assert "recovered by email" in off.why


@pytest.mark.parametrize("error", ["ServiceAccessNotEnabledException", "OrganizationNotInAllFeaturesModeException"])
def test_an_obstacle_of_centralized_root_access_is_a_finding(error: str) -> None:
    """These errors of AWS say that no feature can be enabled yet.

    The remedy begins with what has to be enabled first.
    """

    def refuse(_: Any) -> Any:
        raise AwsFault(f"AWS answers {error}: no", "")

    source: Any = refuse
    snapshot, _ = taken(sound(), central_root=lambda: read_central_root_access(source))
    answer = ask(snapshot, "root.central")
    assert answer.result is RuleResult.FAIL
    assert len(answer.findings[0].remedy) == 2
    assert ask(snapshot, "root.credentials").result is RuleResult.NOT_APPLICABLE


@pytest.mark.parametrize("rule", sorted(ORGANIZATION))
def test_a_snapshot_without_centralized_root_access_never_passes(rule: str) -> None:
    """Older versions did not store whether centralized root access is enabled."""
    snapshot, _ = taken(sound(), central_root=None)
    answer = ask(snapshot, rule)
    assert (answer.result, snapshot.holes) == (RuleResult.UNKNOWN, ())
    assert "take a new one" in answer.unknown[0].why


def test_what_an_organization_sees_of_root_counts() -> None:
    """A session of AssumeRoot shows root's devices, and facts that the account's own session could not read."""
    fido = Device("arn:aws:iam::000000000001:u2f/root-account/blue-AAAAAAAAAA", REPORTED_ROOT)
    seen = RootPosture(
        account="000000000001", password=True, mfa=True, access_keys=False, certificates=False, devices=(fido,)
    )
    snapshot, _ = taken(changed(member(mfa=True)), SUMMARY, REPORT, member_root=lambda: seen)
    assert {rule: ask(snapshot, rule).result for rule in ("root.mfa", "root.hardware", "root.keys")} == {
        "root.mfa": RuleResult.PASS,
        "root.hardware": RuleResult.PASS,
        "root.keys": RuleResult.PASS,
    }
    assert ask(snapshot, "root.credentials").findings[0].evidence == "root has credentials: a password with MFA"
    unread = RootPosture(account="000000000001", unread=("no root session: denied",))
    snapshot, _ = taken(changed(member(mfa=True)), member_root=lambda: unread)
    assert [(hole.part, hole.why) for hole in snapshot.holes] == [(SnapshotPart.ROOT_CREDENTIALS, unread.unread[0])]
    assert ask(snapshot, "root.credentials").result is RuleResult.FAIL


def test_an_unknown_type_of_root_device_is_reported_as_unknown() -> None:
    """AWS lists only the virtual devices of root."""
    answer = ask(taken(sound())[0], "root.hardware")
    assert (answer.result, "does not report which" in answer.why) == (RuleResult.PASS, True)


@pytest.mark.parametrize(
    ("fault", "rule"), [(root(mfa=False), "root.mfa"), (root(keys=1), "root.keys"), (root(mfa=False), "root.hardware")]
)
def test_the_report_has_facts_about_root_that_the_summary_lacks(fault: Change, rule: str) -> None:
    """Either the account summary or the credential report is enough."""
    assert ask(taken(changed(fault), SUMMARY)[0], rule).result is RuleResult.FAIL
    assert ask(taken(changed(fault), REPORT)[0], rule).result is RuleResult.FAIL


def test_a_role_for_a_service_is_not_an_administrator() -> None:
    """A service is not a person.

    A role for people may have administrators. If that cannot be evaluated, the result is unknown.
    """

    def handed_over(found: dict[str, Any]) -> None:
        without_administrator(found)
        role("web", attached=[ADMINISTRATOR])(found)

    assert ask(taken(changed(handed_over))[0], "admins.exist").result is RuleResult.FAIL

    def to_people(found: dict[str, Any]) -> None:
        without_administrator(found)
        role("ops", attached=[ADMINISTRATOR])(found)

    snapshot, _ = taken(changed(to_people))
    assert ask(snapshot, "admins.exist").result is RuleResult.PASS
    blind = Snapshot(**{name: getattr(snapshot, name) for name in Snapshot.__slots__} | {"policies": {}})
    assert ask(blind, "admins.exist").result is RuleResult.UNKNOWN


def test_an_administrator_without_credentials_needs_no_device() -> None:
    """Without a password or a key, no one can act as this user."""
    snapshot, _ = taken(changed(user("boss", groups=["programs"])))
    for rule in ("admins.mfa", "admins.phishing", "admins.spare"):
        assert ask(snapshot, rule).result is RuleResult.PASS


def test_enforcement_that_depends_on_an_address_is_unknown() -> None:
    """The account does not show the addresses that users come from."""
    force = copy.deepcopy(sound()["groups"][1]["policies"]["force-mfa"])
    force["Statement"][-1]["Condition"]["NotIpAddress"] = {"aws:SourceIp": "192.0.2.0/24"}
    snapshot, _ = taken(changed(group("people", policies={"force-mfa": force})))
    answer = ask(snapshot, "groups.enforcement")
    assert (answer.result, answer.unknown[0].subject) == (RuleResult.UNKNOWN, "people")


def test_a_security_key_without_certifications_is_reported() -> None:
    """Such a key protects against phishing, but it may be a passkey that can be copied."""
    described = sound()
    described["users"][0]["devices"][1]["certifications"] = {}
    answer = ask(taken(described)[0], "admins.phishing")
    assert (answer.result, "IAM lists no certification for the keys of lab-admin" in answer.why) == (
        RuleResult.PASS,
        True,
    )


def test_a_remedy_for_users_with_a_path() -> None:
    """Users with a path need a different policy."""
    free = changed(group("people", policies={}))
    assert ask(taken(free)[0], "groups.enforcement").findings[0].remedy[0] == "mfa-kit policy show > force-mfa.json"
    user("alice", path="/team/")(free)
    assert "--user-paths" in ask(taken(free)[0], "groups.enforcement").findings[0].remedy[0]


def test_passwords_by_cis() -> None:
    """CIS requires 14 characters and that the last 24 passwords are not reused."""
    snapshot, _ = taken(changed(passwords(minimum_password_length=14)))
    assert ask(snapshot, "passwords.policy", profile=Profile.CIS).result is RuleResult.PASS
    snapshot, _ = taken(changed(passwords(password_reuse_prevention=None, minimum_password_length=13)))
    said = [each.evidence for each in ask(snapshot, "passwords.policy", profile=Profile.CIS).findings]
    assert said == [
        "the minimum length is 13: CIS requires 14",
        "no earlier password is blocked from reuse: CIS requires 24",
    ]


def test_rules_about_missing_entities_do_not_apply() -> None:
    """For example, without users there is nothing for a rule about users to check."""

    def bare(found: dict[str, Any]) -> None:
        found["users"], found["roles"] = found["users"][:1], []
        group("people", policies={})(found)

    snapshot, _ = taken(changed(bare))
    told = {answer.rule.id: answer.result for answer in registry.audit_snapshot(snapshot, registry.RULES, Limits())}
    assert told["groups.enforcement"] is told["roles.trust"] is RuleResult.NOT_APPLICABLE
    alone = Snapshot(**{name: getattr(snapshot, name) for name in Snapshot.__slots__} | {"users": ()})
    told = {answer.rule.id: answer.result for answer in registry.audit_snapshot(alone, registry.RULES, Limits())}
    assert told["users.groupless"] is told["roles.ec2"] is RuleResult.NOT_APPLICABLE


ACCOUNT_ROOT = "arn:aws:iam::000000000000:root"


@pytest.mark.parametrize(
    ("principal", "condition", "result"),
    [
        ("*", {"StringEquals": {"aws:PrincipalAccount": "999999999999"}}, RuleResult.NOT_APPLICABLE),
        ("*", {"StringEquals": {"aws:PrincipalAccount": "000000000000"}}, RuleResult.FAIL),
        (ACCOUNT_ROOT, {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/*"}}, RuleResult.NOT_APPLICABLE),
        (ACCOUNT_ROOT, {"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/*"}}, RuleResult.FAIL),
        (ACCOUNT_ROOT, {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/team/*"}}, RuleResult.FAIL),
        (ACCOUNT_ROOT, {"StringEquals": {"aws:PrincipalType": "AssumedRole"}}, RuleResult.NOT_APPLICABLE),
    ],
)
def test_a_trust_that_excludes_users_needs_no_mfa(principal: str, condition: Any, result: RuleResult) -> None:
    """A condition on the account or the ARN of the caller may leave no user of this account."""
    trusted = trust({"AWS": principal}, Condition=condition)
    snapshot, _ = taken(changed(lambda found: found.update(roles=[{"name": "ops", "trust": trusted}])))
    assert ask(snapshot, "roles.trust").result is result


def test_an_unread_part_does_not_hide_a_finding() -> None:
    """A hole does not cancel a finding."""
    snapshot, _ = taken(changed(user("bob", password=True)), DEVICES)
    answer = ask(snapshot, "users.mfa")
    assert (answer.result, answer.findings[0].subject) == (RuleResult.FAIL, "bob")


def test_a_doubt_about_who_is_an_administrator_is_unknown() -> None:
    """If a condition on the permissions cannot be evaluated, the result is unknown."""
    row = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.1"}}}
    policies = {"some": {"Version": "2012-10-17", "Statement": [row]}}
    snapshot, _ = taken(changed(user("bob", policies=policies, password=True, devices=[{"name": "bob"}])))
    for rule in ("admins.mfa", "admins.phishing", "admins.spare"):
        answer = ask(snapshot, rule)
        assert (answer.result, [each.subject for each in answer.unknown]) == (RuleResult.UNKNOWN, ["bob"])


def test_users_created_after_the_report_are_named() -> None:
    """A report is up to four hours old, so newer users are missing from it."""
    snapshot, _ = taken(sound())
    assert snapshot.report
    report = type(snapshot.report)(made=snapshot.report.made, root=snapshot.report.root, users={})
    later = Snapshot(**{name: getattr(snapshot, name) for name in Snapshot.__slots__} | {"report": report})
    assert {each.subject for each in ask(later, "users.mfa").unknown} == {"alice", "lab-admin"}


def test_a_gate_fails_on_an_unknown_result() -> None:
    """At or above the chosen severity, an unknown result counts as a failure."""
    snapshot, _ = taken(sound(), "GetAccountPasswordPolicy")
    answers = registry.audit_snapshot(snapshot, registry.RULES, Limits())
    assert registry.fails_at(answers, Severity.MEDIUM)
    assert not registry.fails_at(answers, Severity.HIGH)


def test_an_unknown_rule_is_refused() -> None:
    """The error has the unknown name and the list of the rules."""
    with pytest.raises(UsageFault, match=r"there is no rule 'root\.mf'"):
        registry.choose_rules(["root.mf"])
    assert [rule.id for rule in registry.choose_rules(["devices", "root.mfa"])] == [
        "root.mfa",
        "devices.orphans",
        "devices.quota",
        "devices.recalled",
        "devices.unused",
    ]


def test_references_come_from_the_catalog() -> None:
    """No rule contains the number of a control. What a rule stands for follows the profile of the password policy."""
    snapshot, _ = taken(sound())
    assert set(ask(snapshot, "root.mfa").references) == {
        "CIS 3.0 1.5",
        "CIS 5.0 1.4",
        "CIS 7.0 2.5",
        "Security Hub IAM.9",
        "PCI DSS 4.0.1 8.4.1",
        "PCI DSS 4.0.1 8.4.2",
        "PCI DSS 4.0.1 8.4.3",
        "NIST SP 800-53 r5 IA-2(1)",
    }
    nist = ask(snapshot, "passwords.policy").references
    cis = ask(snapshot, "passwords.policy", profile=Profile.CIS).references
    assert (nist[0], cis[0]) == ("NIST SP 800-63B-4 3.1.1.2", "CIS 3.0 1.8")
    assert not set(nist) & set(cis)


def test_a_failed_page_keeps_the_pages_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Findings on the earlier pages are reported, and nothing that may be on a later page is called missing."""
    monkeypatch.setattr(reader, "PAGE", 2)

    def unsafe(found: dict[str, Any]) -> None:
        user("alice", policies={"own": {"Statement": []}})(found)
        without_instances(found)

    snapshot, _ = taken(changed(unsafe), failing={DETAILS: 3})
    assert ([len(snapshot.users), len(snapshot.groups), len(snapshot.roles)]) == [2, 2, 0]
    told = {answer.rule.id: answer.result for answer in registry.audit_snapshot(snapshot, registry.RULES, Limits())}
    assert told["users.direct"] is RuleResult.FAIL
    for rule in ("admins.exist", "users.groupless", "groups.enforcement", "roles.ec2", "roles.trust"):
        assert told[rule] is RuleResult.UNKNOWN


def test_eight_characters_are_enough_beside_mfa() -> None:
    """NIST SP 800-63B-4 requires 15 characters of a password alone, and 8 of a password beside MFA."""
    snapshot, _ = taken(changed(passwords(minimum_password_length=8)))
    assert ask(snapshot, "passwords.policy").result is RuleResult.PASS
    [finding] = ask(snapshot, "passwords.policy", profile=Profile.CIS).findings
    assert finding.evidence == "the minimum length is 8: CIS requires 14"


def test_nobody_with_a_password_needs_the_longer_one() -> None:
    """Before the first user has a password, MFA beside it cannot be presumed."""
    alone = changed(both(passwords(minimum_password_length=8), user("alice", password=False)))
    [finding] = ask(taken(alone)[0], "passwords.policy").findings
    assert finding.evidence == "the minimum length is 8: NIST requires 15"


def test_mfa_of_identity_center_is_unknown() -> None:
    """Its roles show that it is in use. IAM does not show whether its users have MFA."""
    path = "/aws-reserved/sso.amazonaws.com/eu-central-1/"
    name = "AWSReservedSSO_Admin_0123456789abcdef"
    reserved = {"name": name, "path": path, "trust": trust({"AWS": "000000000000"})}
    snapshot, _ = taken(changed(lambda found: found["roles"].append(reserved)))
    answer = ask(snapshot, "users.identity-center")
    assert answer.result is RuleResult.UNKNOWN
    assert name in answer.unknown[0].why
    assert ask(taken(sound())[0], "users.identity-center").result is RuleResult.NOT_APPLICABLE


def test_sign_in_sessions_are_read_on_request() -> None:
    """The rule reports users and roles whose session may last longer than the limit. An unread one makes it unknown."""
    long = changed(both(short_roles, user("alice", sign_in_session=90 * 86400)))
    assert ask(taken(long)[0], "sessions.duration").result is RuleResult.NOT_APPLICABLE
    snapshot, lab = taken(long, sessions=True)
    assert [call.operation for call in lab.calls].count("GetRole") == len(snapshot.roles) - 1  # not for EC2's role
    [finding] = ask(snapshot, "sessions.duration", session=12 * 3600.0).findings
    assert (finding.subject, finding.evidence) == ("alice", "a sign-in session may last 2160 h; the limit is 12 h")
    assert ask(snapshot, "sessions.duration", session=91 * DAY).result is RuleResult.PASS
    for operation, subject in (("GetLoginProfile", "alice"), ("GetRole", "arn:aws:iam::000000000000:role/ops")):
        answer = ask(taken(long, operation, sessions=True)[0], "sessions.duration", session=91 * DAY)
        assert answer.result is RuleResult.UNKNOWN
        assert subject in {each.subject for each in answer.unknown}
    nobody, _ = taken({"version": 1, "users": [{"name": "program"}]}, sessions=True)
    assert ask(nobody, "sessions.duration").why == "no user has a console password"


def short_roles(found: dict[str, Any]) -> None:
    """Limit the sign-in sessions of all roles to an hour."""
    for each in found["roles"]:
        each["sign_in_session"] = 3600


def test_a_sign_in_session_without_a_limit_is_found() -> None:
    """AWS leaves the setting out while it is not set."""
    unset = changed(both(short_roles, role("ops", sign_in_session=0), user("bob", password=True)))
    snapshot, _ = taken(unset, sessions=True)
    findings = ask(snapshot, "sessions.duration", session=12 * 3600.0).findings
    why = "no longest sign-in session is set; the limit is 12 h"
    ops = "arn:aws:iam::000000000000:role/ops"
    assert sorted((each.subject, each.arn, each.evidence) for each in findings) == [
        *(("alice", "", why), ("bob", "", why), ("ops", ops, why))
    ]
    remedies = {each.subject: each.remedy for each in findings}
    assert remedies["alice"] == ("aws iam update-login-profile --user-name alice --max-signin-session-duration 43200",)
    assert remedies["ops"] == ("aws iam update-role --role-name ops --max-signin-session-duration 43200",)


def test_a_password_that_was_deleted_has_no_sign_in_session() -> None:
    """The credential report may still have it."""
    limited = changed(both(short_roles, user("alice", sign_in_session=3600)))

    def without_password(lab: Lab) -> None:
        iam = boto3.Session().client("iam", region_name="us-east-1")
        iam.generate_credential_report()
        lab.account.backend.users["alice"].password = None

    snapshot, _ = taken(limited, first=without_password, sessions=True)
    assert snapshot.report is not None
    assert (snapshot.report.users["alice"].password, "alice" in snapshot.sessions) == (True, False)
    assert ask(snapshot, "sessions.duration").result is RuleResult.PASS


def test_a_role_whose_session_is_not_known_never_passes() -> None:
    """A snapshot of an older version has no roles. Identity Center limits the sessions of its own roles."""
    snapshot, _ = taken(changed(both(short_roles, user("alice", sign_in_session=3600))), sessions=True)
    assert ask(snapshot, "sessions.duration").result is RuleResult.PASS
    older = ask(replace(snapshot, sessions={"alice": 3600}), "sessions.duration")
    assert {each.subject for each in older.unknown} == {"ops", "support"}
    name = "AWSReservedSSO_Admin_0123456789abcdef"
    saml = trust({"Federated": "arn:aws:iam::000000000000:saml-provider/AWSSSO"}, Action="sts:AssumeRoleWithSAML")
    reserved = {"name": name, "path": "/aws-reserved/sso.amazonaws.com/", "trust": saml}
    limited = both(
        short_roles, both(user("alice", sign_in_session=3600), lambda found: found["roles"].append(reserved))
    )
    answer = ask(taken(changed(limited), sessions=True)[0], "sessions.duration")
    assert (answer.result, [each.subject for each in answer.unknown]) == (RuleResult.UNKNOWN, [name])


def test_a_snapshot_without_certificates_never_passes() -> None:
    """Older versions did not store server certificates."""
    answer = ask(replace(taken(sound())[0], certificates=None), "certificates.expired")
    assert (answer.result, answer.unknown[0].why[:12]) == (RuleResult.UNKNOWN, "the snapshot")


@pytest.mark.parametrize(
    "statement",
    [
        {"NotAction": ["iam:*", "organizations:*"], "Resource": "*"},  # as in AWS's PowerUserAccess
        {"Action": "*", "NotResource": "arn:aws:iam::*"},
        {"Action": "iam:*", "Resource": "*"},
        {"Action": "*", "Resource": "arn:aws:s3:::logs"},
        {**ALL, "Effect": "Deny"},
    ],
)
def test_a_policy_that_leaves_out_a_service_does_not_allow_everything(statement: dict[str, Any]) -> None:
    """A NotAction or NotResource that names all of IAM leaves no way to the rest."""
    assert ask(taken(changed(inline(statement)))[0], "policies.full").result is RuleResult.PASS


def test_a_key_in_use_is_no_initial_key() -> None:
    """CIS asks whether a key was used, not when it was made. The report cannot know the use of a newer key."""
    used = changed(user("alice", created=ago(300), keys=[{**KEY, "created": ago(300), "last_used": ago(1)}]))
    assert ask(taken(used)[0], "users.initial-keys").result is RuleResult.PASS
    snapshot, _ = taken(changed(user("alice", keys=[KEY])))
    assert snapshot.report is not None
    earlier = replace(snapshot, report=replace(snapshot.report, made=snapshot.report.made - DAY))
    [unknown] = ask(earlier, "users.initial-keys").unknown
    assert (unknown.subject, "after the credential report" in unknown.why) == ("alice", True)


def test_a_permissions_boundary_gives_no_permission() -> None:
    """A policy that allows everything may be a boundary. If it is also attached, it counts."""
    bounded = both(owned([]), user("zoe", boundary=f"{POLICY}/mine"))
    for change, result in ((bounded, RuleResult.PASS), (both(bounded, owned(["people"])), RuleResult.FAIL)):
        (answer,) = registry.audit_snapshot(
            taken(changed(change))[0], registry.choose_rules(["policies.full"]), Limits()
        )
        assert answer.result is result
