"""The catalog of controls, and the verdict on each control."""

import re
from typing import Any

import pytest

from mfa_kit.account.snapshot import Snapshot
from mfa_kit.audit import registry
from mfa_kit.audit.finding import Limits
from mfa_kit.audit.frameworks import (
    FRAMEWORKS,
    ControlResult,
    answer_controls,
    choose_framework,
    framework_rules,
    references,
)
from mfa_kit.core.errors import UsageFault
from tests.audit.conftest import MFA, Change, ago, changed, sound, taken
from tests.audit.test_rules import ALL, KEY, inline, passwords, root, user

# How a control's number looks in each framework.
NUMBERS = {
    "cis-3.0": r"1\.\d+",
    "cis-5.0": r"1\.\d+",
    "cis-7.0": r"2\.\d+(\.\d)?",
    "security-hub": r"IAM\.\d+",
    "fsbp": r"IAM\.\d+",
    "pci-dss-4.0.1": r"8\.[345]\.\d+(\.1)?",
    "nist-800-53-r5": r"IA-2\([1268]\)",
    "nist-800-63b-4": r"3\.[\d.]+",
    "fedramp-20x": r"KSI-IAM-[A-Z]{3}",
}


def verdicts(snapshot: Snapshot, name: str) -> dict[str, ControlResult]:
    framework = choose_framework(name)
    answers = registry.audit_snapshot(snapshot, framework_rules(framework, registry.ALL_RULES), Limits())
    return {each.control.id: each.result for each in answer_controls(framework, answers)}


@pytest.fixture(scope="module")
def nothing_wrong() -> Snapshot:
    return taken(sound())[0]


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_each_framework_is_complete_data(name: str) -> None:
    """It has a source, a version and a date. Each control has a rule that exists, or says why it has none."""
    framework = FRAMEWORKS[name]
    known = {rule.id for rule in registry.ALL_RULES}
    assert framework.source
    assert framework.version
    assert re.fullmatch(r"2026-\d\d-\d\d", framework.read)
    numbers = [control.id for control in framework.controls]
    assert len(set(numbers)) == len(numbers)
    assert all(re.fullmatch(NUMBERS[name], number) for number in numbers)
    for control in framework.controls:
        assert set(control.rules) <= known, control.id
        assert control.rules or control.gap, control.id


def test_a_user_in_no_group_has_no_permissions_of_its_own() -> None:
    """CIS asks for policies of users, not for groups. Whether a device belongs to one person is not in IAM."""
    snapshot = taken(changed(user("dora", groups=[])))[0]
    assert verdicts(snapshot, "cis-5.0")["1.14"] is ControlResult.PASS
    assert verdicts(snapshot, "pci-dss-4.0.1")["8.3.11"] is ControlResult.NOT_COVERED


def test_the_sections_of_cis_are_complete() -> None:
    """No recommendation of the sections is left out, also those that mfa-kit does not check."""
    ids = {name: {control.id for control in FRAMEWORKS[name].controls} for name in ("cis-3.0", "cis-5.0", "cis-7.0")}
    assert ids["cis-3.0"] == {f"1.{number}" for number in range(1, 23)}
    assert ids["cis-5.0"] == {f"1.{number}" for number in range(1, 22)}
    assert ids["cis-7.0"] == {f"2.1.{one}" for one in range(1, 7)} | {f"2.{number}" for number in range(2, 22)}


def test_fsbp_has_no_root_mfa() -> None:
    """FSBP contains IAM.1 to IAM.8 and IAM.21. IAM.9, MFA of root, is in CIS and PCI DSS only."""
    assert [control.id for control in FRAMEWORKS["fsbp"].controls] == [*(f"IAM.{n}" for n in range(1, 9)), "IAM.21"]
    assert "Security Hub IAM.9" in references("root.mfa")
    assert "Security Hub IAM.5 (FSBP)" in references("users.mfa")


def test_each_rule_of_a_control_is_used() -> None:
    """A rule that is only for controls belongs to at least one."""
    assert all(references(rule.id) for rule in registry.CONTROL_RULES)


def test_45_days_are_not_90_days() -> None:
    """IAM.8 asks for credentials used in 90 days, and IAM.22 for 45."""
    unused = changed(user("alice", password_last_used="2026-01-01T00:00:00+00:00"))
    assert references("users.unused")[0] == "CIS 3.0 1.12"
    assert "Security Hub IAM.22" in references("users.unused")
    assert "Security Hub IAM.8 (FSBP)" not in references("users.unused")
    assert verdicts(taken(unused)[0], "security-hub")["IAM.8"] is ControlResult.FAIL


def test_a_sound_account_fails_no_control_of_cis_but_one(nothing_wrong: Snapshot) -> None:
    """Administrators have AWS's AdministratorAccess, which CIS does not allow to attach."""
    found = verdicts(nothing_wrong, "cis-5.0")
    assert {number for number, result in found.items() if result is ControlResult.FAIL} == {"1.15"}
    assert {number for number, result in found.items() if result is ControlResult.NOT_COVERED} == {
        "1.1",
        "1.2",
        "1.19",
        "1.20",
    }
    assert found["1.17"] is ControlResult.UNKNOWN  # checked in part never counts as a pass


@pytest.mark.parametrize(
    ("change", "framework", "control"),
    [
        (root(mfa=False), "cis-5.0", "1.4"),
        (root(keys=1), "fsbp", "IAM.4"),
        (user("bob", keys=[KEY]), "security-hub", "IAM.19"),
        (user("bob"), "security-hub", "IAM.19"),
        (user("alice", keys=[{**KEY, "created": ago(20)}]), "cis-3.0", "1.11"),
        (user("alice", keys=[{**KEY, "created": ago(20)}]), "cis-5.0", "1.10"),
        (inline(ALL, Condition=MFA), "fsbp", "IAM.1"),
        (inline({"NotAction": "iam:CreateUser", "Resource": "*"}), "security-hub", "IAM.1"),
        (user("bob", keys=[KEY, {**KEY, "id": "AKIABBBBBBBBBBBBBBBB"}]), "cis-3.0", "1.13"),
        (user("bob", password=True), "pci-dss-4.0.1", "8.4.2"),
        (user("bob", password=True), "pci-dss-4.0.1", "8.3.9"),
        (passwords(password_reuse_prevention=3), "pci-dss-4.0.1", "8.3.7"),
        (passwords(password_reuse_prevention=23), "cis-7.0", "2.9"),
        (passwords(minimum_password_length=13), "cis-7.0", "2.8"),
        (passwords(minimum_password_length=7), "nist-800-63b-4", "3.1.1.2"),
        (user("boss", groups=["programs"], password=True), "nist-800-53-r5", "IA-2(1)"),
        (user("boss", groups=["programs"], password=True), "fedramp-20x", "KSI-IAM-APM"),
    ],
)
def test_a_fault_fails_its_control(nothing_wrong: Snapshot, change: Change, framework: str, control: str) -> None:
    """The control does not fail without the fault."""
    assert verdicts(taken(changed(change))[0], framework)[control] is ControlResult.FAIL
    assert verdicts(nothing_wrong, framework)[control] is not ControlResult.FAIL


@pytest.mark.parametrize(
    ("fields", "failing"),
    [
        ({}, {"IAM.7", "IAM.11", "IAM.12", "IAM.13", "IAM.14", "IAM.17"}),
        (
            {
                "require_uppercase_characters": True,
                "require_lowercase_characters": True,
                "require_numbers": True,
                "require_symbols": True,
                "max_password_age": 90,
            },
            set(),
        ),
    ],
)
def test_the_password_policy_in_security_hub(fields: dict[str, Any], failing: set[str]) -> None:
    """Its controls ask for kinds of characters, which NIST forbids to ask for."""
    found = verdicts(taken(changed(passwords(**fields)))[0], "security-hub")
    numbers = {f"IAM.{number}" for number in (7, 11, 12, 13, 14, 15, 16, 17)}
    assert {number for number in numbers if found[number] is ControlResult.FAIL} == failing


def test_mfa_of_a_user_whose_devices_are_unread_is_unknown() -> None:
    """Without the report, IAM is asked about each user who has no virtual device."""
    found = verdicts(taken(changed(user("bob")), "GetCredentialReport", "ListMFADevices")[0], "security-hub")
    assert found["IAM.19"] is ControlResult.UNKNOWN


def test_full_rights_under_a_condition_count_for_cis(nothing_wrong: Snapshot) -> None:
    """The recommendation asks only for Effect, Action and Resource."""
    policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", **ALL, "Condition": MFA}}

    def holders(snapshot: Snapshot) -> set[str]:
        answers = registry.audit_snapshot(snapshot, registry.CONTROL_RULES, Limits())
        (answer,) = (answer for answer in answers if answer.rule.id == "policies.administrator")
        return {finding.subject for finding in answer.findings}

    assert holders(taken(changed(user("alice", policies={"mine": policy})))[0]) == holders(nothing_wrong) | {"alice"}


def test_an_unread_part_never_passes_a_control(nothing_wrong: Snapshot) -> None:
    """Without the credential report, controls about users are unknown."""
    found = verdicts(taken(sound(), "GetCredentialReport")[0], "cis-5.0")
    assert found["1.9"] is found["1.11"] is ControlResult.UNKNOWN
    assert verdicts(nothing_wrong, "cis-5.0")["1.9"] is ControlResult.PASS


def test_an_unknown_framework_is_refused() -> None:
    """The hint has the list."""
    with pytest.raises(UsageFault, match=r"no framework 'cis-4'") as caught:
        choose_framework("cis-4")
    assert "cis-5.0" in caught.value.hint
