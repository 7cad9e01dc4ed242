"""The service control policies of an organization: how they are read, and for which account and user they count."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.account.snapshot import ControlLevel
from mfa_kit.adapters.aws.clients import Connection
from mfa_kit.adapters.aws.iam import Iam
from mfa_kit.adapters.aws.organizations import OrganizationReader
from mfa_kit.lab.aws.organization import ROOT
from mfa_kit.lab.aws.server import Lab
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.control_policies import OrganizationControl, OrganizationPolicies, with_policy
from tests.conftest import ACCOUNT, MfaKit
from tests.lab.client import document
from tests.organization.conftest import MEMBERS

MFA_ONLY = {
    "Effect": "Deny",
    "NotAction": ["iam:*MFA*", "iam:GetUser", "sts:GetSessionToken"],
    "Resource": "*",
    "Condition": {
        "BoolIfExists": {"aws:MultiFactorAuthPresent": "false"},
        "ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"},
    },
}


@contextmanager
def attached(lab: Lab, *policies: tuple[str, dict[str, Any], str]) -> Iterator[list[str]]:
    """Attach policies (name, statement and target) until the context ends, and yield their IDs."""
    numbers = [lab.organization.attach(name, document(row), target) for name, row, target in policies]
    yield numbers
    for number in numbers:
        lab.organization.policies.pop(number)


def control_of(lab: Lab) -> tuple[OrganizationControl, dict[str, OrgAccount]]:
    """Return what the management account reads of the policies and the accounts."""
    iam = Iam(observe=lambda _: None, sleep=lambda _: None, connection=Connection(endpoint_url=lab.url))
    reader = OrganizationReader(iam.ask_organizations)
    return OrganizationControl(read=reader.policies, units=reader.units), {one.id: one for one in reader.accounts()}


def ids(levels: tuple[ControlLevel, ...]) -> list[tuple[str, list[str]]]:
    return [(level.target, [policy.id for policy in level.policies]) for level in levels]


@pytest.mark.usefixtures("org_kit")
def test_the_levels_of_an_account(org_lab: Lab) -> None:
    """Each level from the root to the account has the policies that are attached to it. Management has no level."""
    unit = org_lab.organization.records[MEMBERS[0]].parent
    with attached(org_lab, ("guard", MFA_ONLY, unit), ("own", MFA_ONLY, MEMBERS[0])) as (guard, own):
        control, accounts = control_of(org_lab)
        full = "p-FullAWSAccess"
        levels = control.levels(accounts[MEMBERS[0]])
        upper = org_lab.organization.units[unit].parent
        assert ids(levels) == [(ROOT, [full]), (upper, [full]), (unit, [full, guard]), (MEMBERS[0], [full, own])]
        assert levels[2].label == f"{org_lab.organization.units[unit].name} ({unit})"
        assert levels[2].policies[1].text == document(MFA_ONLY)
        assert control.levels(accounts[ACCOUNT]) == ()
        # A server that lists no paths is asked for each parent.
        assert ids(control.levels(OrgAccount(id=MEMBERS[0]))) == ids(levels)


@pytest.fixture(scope="module", autouse=True)
def staff(org_lab: Lab) -> None:
    """Put alice of the first member, who has a password, into a group with full rights."""
    backend = org_lab.organization[MEMBERS[0]].backend
    group = backend.create_group("staff", "/")
    group.put_policy("all", document({"Action": "*", "Resource": "*"}))
    backend.add_user_to_group("staff", "alice")


def enforcement(kit: MfaKit) -> dict[str, tuple[str, str, str]]:
    """Return the state, the result of the rule about groups, and the cell `why` of each account."""
    result = kit.run("audit", "--org", "--rule", "groups.enforcement", "--output", "json")
    found = json.loads(result.out)["rows"]
    return {row["account"]: (row["state"], row["audit"]["rules"][0]["result"], row["why"] or "") for row in found}


def test_an_audit_counts_the_policies(org_kit: MfaKit, org_lab: Lab) -> None:
    """An account whose users must use MFA because of an SCP passes the rule that groups require MFA."""
    before = enforcement(org_kit)
    assert before[MEMBERS[0]] == ("read", "fail", "")
    with attached(org_lab, ("guard", MFA_ONLY, MEMBERS[0])):
        assert enforcement(org_kit) == {**before, MEMBERS[0]: ("read", "pass", "")}
    with attached(org_lab, ("guard", MFA_ONLY, MEMBERS[1])):
        assert enforcement(org_kit) == before


def test_policies_that_cannot_be_listed_are_unknown(org_kit: MfaKit, org_lab: Lab) -> None:
    """If the policies cannot be listed, a result that they could change is unknown, and the reason is printed."""
    org_lab.faults.add("ListPolicies", "denied", at="every")
    state, result, why = enforcement(org_kit)[MEMBERS[0]]
    assert (state, result) == ("partly read", "unknown")
    assert why.startswith("not read: the service control policies: AWS answers AccessDenied")
    found = lockout(org_kit)
    assert {row["standing"] for row in found[MEMBERS[0]] if row["way"] == "console"} == {"unknown"}
    assert "the service control policies could not be read" in json.dumps(found[MEMBERS[0]])


def test_a_text_that_cannot_be_read_counts_only_where_it_is_attached(org_kit: MfaKit, org_lab: Lab) -> None:
    """DescribePolicy can be denied for one policy. Accounts without this policy are judged as before."""
    backend = org_lab.organization[MEMBERS[1]].backend
    backend.get_user("alice").password = "set"
    before = lockout(org_kit)
    with attached(org_lab, ("guard", MFA_ONLY, MEMBERS[0])) as (guard,):
        org_lab.faults.add("DescribePolicy", "denied", at="every")
        found = lockout(org_kit)
    backend.get_user("alice").password = None
    (alice, *_) = found[MEMBERS[0]]
    assert alice["standing"] == "unknown"
    assert f"the service control policy {guard} could not be read" in alice["why"]
    assert {number: rows for number, rows in found.items() if number != MEMBERS[0]} == {
        number: rows for number, rows in before.items() if number != MEMBERS[0]
    }


def lockout(kit: MfaKit, *args: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of `policy lockout` in all accounts, by account."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in json.loads(kit.run("policy", "lockout", "--org", "--all", "--output", "json", *args).out)["rows"]:
        found.setdefault(row["account"], []).append(row)
    return found


def test_100_accounts_need_at_most_50_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each policy and its targets are read once for all accounts, and paths come with the list of accounts."""
    with Lab(accounts=100) as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        organization = lab.organization
        units = [organization.add_unit(f"unit-{number}") for number in range(20 - len(organization.units))]
        targets = [*units, *organization]
        for number in range(15):
            organization.attach(f"policy-{number}", document(MFA_ONLY), *targets[number::15][:20])
        del lab.calls[:]
        control, accounts = control_of(lab)
        policies = control.read()
        once = OrganizationControl(read=lambda: policies, units=control.units)
        levels = {number: once.levels(account) for number, account in accounts.items()}
        calls = Counter(call.operation for call in lab.calls)
    assert len(accounts) == 101
    assert min(len(level) for number, level in levels.items() if number != ACCOUNT) >= 2
    assert calls["DescribePolicy"] == 15
    assert calls.total() <= 50, calls


def test_a_policy_is_tried_in_the_accounts_below_its_target(org_kit: MfaKit, org_lab: Lab, tmp_path: Path) -> None:
    """--at chooses the accounts: all members, those of a unit, or one account. The management account is exempt."""
    file = tmp_path / "scp.json"
    file.write_text(document(MFA_ONLY))
    unit = org_lab.organization.records[MEMBERS[0]].parent
    below = {number for number in MEMBERS if org_lab.organization.records[number].parent == unit}
    found: dict[str, list[dict[str, Any]]] = {}
    for target, accounts in (("root", {*MEMBERS}), (unit, below), (MEMBERS[0], {MEMBERS[0]})):
        found = lockout(org_kit, "--scp", str(file), "--at", target)
        assert {*found} == accounts
        states = {(row["user"], row["way"]): row["standing"] for row in found[MEMBERS[0]]}
        assert states["role/mfa-kit-audit", "role session"] == "fine"
        assert states["alice", "console"].startswith("locked out")
    result = org_kit.run("policy", "lockout", "--scp", str(file), "--at", MEMBERS[0])
    assert (result.code, "1 principal in 1 account would (or might) be locked out" in result.err) == (6, True)
    with attached(org_lab, ("guard", MFA_ONLY, MEMBERS[0])):
        now = lockout(org_kit, "--attached")
    assert {*now} == {MEMBERS[0]}
    assert now[MEMBERS[0]] == found[MEMBERS[0]]


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--at", "root"), "--at and --instead-of-full-access need --scp"),
        (("--scp", "{file}"), "--scp needs --at, and no --attached"),
        (("--scp", "{file}", "--at", "root", "--group", "x"), "--scp and --attached try no other policy and no group"),
        (("--scp", "{file}", "--at", "o-1"), "root, a unit or an account"),
        (("--attached",), "service control policies need the accounts of an organization"),
        (("--org", "--attached", "--policy", "{file}"), "--scp and --attached try no other policy and no group"),
        (("--scp", "{file}", "--at", MEMBERS[0], "--ou", "r-lab0", "--org"), "--scp cannot be used with --ou"),
    ],
)
def test_options_that_do_not_fit(org_kit: MfaKit, tmp_path: Path, args: tuple[str, ...], why: str) -> None:
    """The error says which option is missing or too much."""
    file = tmp_path / "scp.json"
    file.write_text(document(MFA_ONLY))
    result = org_kit.run("policy", "lockout", *(arg.format(file=file) for arg in args))
    assert (result.code, why in result.err) == (2, True), result.err


def test_a_policy_can_be_tried_before_policies_are_enabled() -> None:
    """AWS then attaches FullAWSAccess to each target, so the new policy alone denies."""
    policies = OrganizationPolicies(management=ACCOUNT, is_enabled=False)
    levels = policies.levels(MEMBERS[0], ("r-lab0", "ou-lab0-00000001"))
    full = ["p-FullAWSAccess"]
    assert ids(levels) == [("r-lab0", full), ("ou-lab0-00000001", full), (MEMBERS[0], full)]
    assert with_policy(levels, document(MFA_ONLY), target="r-lab0", instead=False) is not None
    assert policies.levels(ACCOUNT, ("r-lab0",)) == ()


def test_a_trial_on_the_management_account_says_that_it_is_exempt(org_kit: MfaKit, tmp_path: Path) -> None:
    """The list is empty because no policy applies there, not because nobody uses what the policy denies."""
    file = tmp_path / "scp.json"
    file.write_text(document(MFA_ONLY))
    result = org_kit.run("policy", "lockout", "--scp", str(file), "--at", ACCOUNT)
    assert (result.code, "the management account is exempt" in result.err) == (0, True)
