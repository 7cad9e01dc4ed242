"""Policies whose text is not a policy: each is a hole with its name, and what depends on it is unknown."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.account.snapshot import Entity, Snapshot, SnapshotPart, UnreadPart
from mfa_kit.account.users import account_users
from mfa_kit.adapters.files import snapshots
from mfa_kit.audit.finding import RuleAnswer, RuleResult
from mfa_kit.lab.aws.server import Lab
from mfa_kit.policy.lint import account_traps
from mfa_kit.policy.lockout import AccessState, access_with
from mfa_kit.policy.onboard import StepState, account_steps
from tests.audit.conftest import ADMINISTRATOR, ago, changed, taken
from tests.audit.test_rules import KEY, ask, role, user, without_administrator, without_instances
from tests.conftest import MfaKit
from tests.policy.test_lockout import SELF, SIGNED_IN

GRAMMAR = "a part of it does not follow the policy grammar"
# Texts that are no policies, each with the reason.
TEXTS = {
    "not JSON": ("Version: 2012-10-17", "line 1 is not valid JSON"),
    "a list": ('[{"Effect": "Deny", "Action": "*", "Resource": "*"}]', GRAMMAR),
    "null": ("null", GRAMMAR),
    "another Effect": (
        '{"Statement": {"Effect": "Permit", "Action": "*"}}',
        "a statement has no valid Effect (Allow or Deny)",
    ),
    "an object as an Action": ('{"Statement": {"Effect": "Deny", "Action": {"s3": 1}, "Resource": "*"}}', GRAMMAR),
    "a number as an Action": ('{"Statement": {"Effect": "Deny", "Action": ["*", 1], "Resource": "*"}}', GRAMMAR),
    "no Action": ('{"Statement": {"Effect": "Deny", "Action": null, "Resource": "*"}}', GRAMMAR),
    "no statements": ('{"Statement": null}', GRAMMAR),
    "an empty condition": (
        '{"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"Bool": {"x": null}}}}',
        GRAMMAR,
    ),
}
BROKEN = TEXTS["not JSON"][0]
BOB = {**SIGNED_IN, "devices": [{"name": "bob"}], "keys": [KEY]}
UNKNOWN = RuleResult.UNKNOWN


@pytest.fixture(scope="module")
def whole() -> Snapshot:
    """Return a snapshot of an account with bob, who has a password, a key and a device."""
    return taken(changed(user("bob", **BOB)))[0]


def with_entity(snapshot: Snapshot, kind: str, name: str, change: Callable[[Entity], Entity]) -> Snapshot:
    """Return a snapshot in which one entity of a kind (`users`, `groups` or `roles`) is changed."""
    entities = tuple(change(one) if one.name == name else one for one in getattr(snapshot, kind))
    changes: dict[str, Any] = {kind: entities}
    return replace(snapshot, **changes)


def with_own(snapshot: Snapshot, kind: str, name: str, text: str) -> Snapshot:
    """Return a snapshot in which one entity has an additional inline policy, `own`."""
    return with_entity(snapshot, kind, name, lambda one: replace(one, inline={**one.inline, "own": text}))


def reasons(answer: RuleAnswer) -> dict[str, str]:
    return {each.subject: each.why for each in answer.unknown}


@pytest.mark.parametrize(("text", "why"), TEXTS.values(), ids=TEXTS)
def test_an_invalid_policy_is_unread_and_named(text: str, why: str) -> None:
    """The rules about this user report the policy.

    The rules about other users and the rest of the account have results.
    """

    def store(lab: Lab) -> None:
        lab.account.backend.users["bob"].policies["own"] = text

    snapshot, _ = taken(changed(user("bob", **BOB)), first=store)
    said = f"policy own of user bob is not an IAM policy: {why}"
    assert snapshot.holes == (UnreadPart(SnapshotPart.POLICIES, said),)
    for rule in ("admins.mfa", "admins.phishing", "admins.spare"):
        answer = ask(snapshot, rule)
        assert answer.result is UNKNOWN
        assert reasons(answer) == {"bob": f"whether this user is an administrator is unknown: {said}"}
    assert ask(snapshot, "admins.exist").result is RuleResult.PASS
    # The group's policy demands MFA of bob, whatever else bob's policies say.
    assert ask(snapshot, "groups.enforcement").result is RuleResult.PASS


def test_a_text_that_botocore_cannot_parse_is_unread() -> None:
    """The policies of a page are parsed together, so all users on this page are unknown."""

    def store(lab: Lab) -> None:
        lab.account.backend.users["bob"].policies["own"] = "[" * 10_000

    snapshot, _ = taken(changed(user("bob", **BOB)), first=store)
    assert [hole.part for hole in snapshot.holes] == [SnapshotPart.DETAILS]
    assert ask(snapshot, "admins.mfa").result is UNKNOWN


def test_policies_of_a_group_concern_its_members(whole: Snapshot) -> None:
    """If a policy of a group is invalid, it is unknown whether the members' policies demand MFA."""
    snapshot = with_entity(whole, "groups", "people", lambda one: replace(one, inline={"own": BROKEN}))
    answer = ask(snapshot, "groups.enforcement")
    assert (answer.result, list(reasons(answer))) == (UNKNOWN, ["people"])
    assert "policy own of group people is not an IAM policy: line 1" in reasons(answer)["people"]
    assert set(reasons(ask(snapshot, "admins.mfa"))) == {"alice", "bob"}


@pytest.mark.parametrize("part", ["attached", "boundary"])
def test_a_managed_policy_is_named_by_its_arn(whole: Snapshot, part: str) -> None:
    """An invalid policy is listed once, although alice and bob both have it."""
    arn = "arn:aws:iam::000000000000:policy/p"
    field: Any = (arn,) if part == "attached" else arn
    snapshot = replace(whole, policies={**whole.policies, arn: BROKEN})
    snapshot = with_own(snapshot, "users", "bob", json.dumps({"Statement": {"Effect": "Allow", "Action": "*"}}))
    for name in ("alice", "bob"):
        snapshot = with_entity(snapshot, "users", name, lambda one: replace(one, **{part: field}))
    [why] = {access.why for access in access_with(snapshot, SELF) if access.state is AccessState.UNKNOWN}
    assert why == f"what the policies deny is unknown: policy {arn} is not an IAM policy: line 1 is not valid JSON"
    assert {one.name for one in account_users(snapshot) if one.policies.why} == {"alice", "bob"}


def test_an_invalid_policy_without_entities_does_not_matter(whole: Snapshot, tmp_path: Path) -> None:
    """No rule depends on a policy that is attached to no entity."""
    idle = replace(whole, policies={**whole.policies, "arn:aws:iam::000000000000:policy/idle": BROKEN})
    file = tmp_path / "account.json"
    snapshots.write_snapshot(idle, file)
    done = MfaKit(tmp_path / "desk").run("audit", "--snapshot", file, "--output", "json")
    assert json.loads(done.out)["holes"] == []


def test_no_user_passes_whose_policies_are_unknown(whole: Snapshot) -> None:
    """An unread policy may deny sts:GetSessionToken. So bob's keys may be useless although bob has a device."""
    snapshot = with_own(whole, "users", "bob", BROKEN)
    told = {access.way: access for access in access_with(snapshot, SELF) if access.user == "bob"}
    assert {way: access.state for way, access in told.items()} == dict.fromkeys(
        ("console", "access keys"), AccessState.UNKNOWN
    )
    assert all("policy own of user bob is not an IAM policy" in access.why for access in told.values())


def test_an_invalid_trust_policy_makes_rules_about_roles_unknown() -> None:
    """The role may be for people, for instances, or for an administrator."""

    def handed_over(found: dict[str, Any]) -> None:
        without_administrator(found)
        without_instances(found)
        role("ops", attached=[ADMINISTRATOR])(found)
        user("lab-admin", keys=[{**KEY, "last_used": ago(1)}])(found)

    snapshot = with_entity(taken(changed(handed_over))[0], "roles", "ops", lambda one: replace(one, trust="[]"))
    said = f"the trust policy of role ops is not an IAM policy: {GRAMMAR}"
    for rule, subject in (("roles.trust", "ops"), ("roles.ec2", "ops"), ("admins.exist", "000000000000")):
        answer = ask(snapshot, rule)
        assert (answer.result, list(reasons(answer))) == (UNKNOWN, [subject])
        assert reasons(answer)[subject].endswith(said)
    states = {step.what: step.state for step in account_steps(snapshot, admin="boss")}
    assert states["a role for EC2 instances, instead of access keys on them"] is StepState.UNKNOWN


def test_lint_reports_an_invalid_policy_about_mfa(whole: Snapshot) -> None:
    """Such a policy was not checked, so lint does not pass. The other policies are checked."""
    broken = json.dumps({"Statement": {"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}}})
    found = dict(account_traps(with_own(whole, "users", "bob", broken)))
    assert [trap.name for trap in found["user bob, policy own"]] == ["grammar"]
    assert "group people, policy force-mfa" in found


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MfaKit]:
    """Return a desk at a lab in which the group of alice and bob has an invalid policy."""
    description = changed(user("bob", **BOB))
    with Lab(description=description) as lab:
        lab.account.backend.groups["people"].policies["own"] = BROKEN
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path / "desk"))
        yield MfaKit(tmp_path / "desk")


WHY = "policy own of group people is not an IAM policy: line 1 is not valid JSON"


def test_no_command_fails_on_an_invalid_policy(broken: MfaKit, tmp_path: Path) -> None:
    """Audit and lockout give the results that they can, and do not pass. Other commands do not depend on policies."""
    file = tmp_path / "account.json"
    live = broken.run("audit", "--output", "json", "--snapshot", file)
    offline = broken.run("audit", "--output", "json", "--snapshot", file)
    for done in (live, offline):
        audited = json.loads(done.out)
        assert (done.code, audited["holes"]) == (1, [{"part": "policies", "about": None, "why": WHY}])
        assert f"not read: policies: {WHY}" in done.err
        unknown = {row["rule"] for row in audited["rules"] if row["result"] == "unknown"}
        # The last uses and the recorded keys are not read from IAM.
        unread = {"devices.unused", "users.spare-untested", "root.device-used", "devices.recalled"}
        assert unknown == {"admins.mfa", "admins.phishing", "admins.spare", "policies.full", *unread}
    locked = broken.run("policy", "lockout", "--output", "json")
    told = {(row["user"], row["way"]): row["standing"] for row in json.loads(locked.out)["rows"]}
    assert locked.code == 6
    assert told.items() >= {("bob", "console"): "unknown", ("bob", "access keys"): "unknown"}.items()
    assert broken.run("policy", "onboard").code == 0
    assert broken.run("policy", "lint").code in {0, 1}
    assert json.loads(broken.run("status", "--output", "json").out)["rows"]
    plan = ("rollout", "plan", "--group", "people", "--without-mfa", "-o", tmp_path / "plan.json")
    assert broken.run(*plan).code == 0


def test_invalid_policies_in_an_older_snapshot_are_found(whole: Snapshot, tmp_path: Path) -> None:
    """They are found when the file is read, and each is named once."""
    file = tmp_path / "account.json"
    snapshots.write_snapshot(with_own(whole, "users", "bob", BROKEN), file)
    done = MfaKit(tmp_path / "desk").run("audit", "--snapshot", file, "--output", "json")
    assert [hole["part"] for hole in json.loads(done.out)["holes"]] == ["policies"]
