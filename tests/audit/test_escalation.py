"""Users who can make themselves administrators: each path is tried open, closed, and under an unknown condition."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from mfa_kit.account.escalation import Administration, administrations
from mfa_kit.account.escalation_rules import ACTIONS, PASSING, RHINO, SERVICES
from mfa_kit.account.snapshot import CredentialReport, Credentials, Entity, Snapshot
from mfa_kit.account.users import account_users
from mfa_kit.audit import registry
from mfa_kit.audit.finding import Limits, RuleResult
from tests.audit.conftest import changed, taken

NUMBER = "000000000000"
START = f"arn:aws:iam::{NUMBER}"
EVE, BOSS, OPS = f"{START}:user/eve", f"{START}:user/boss", f"{START}:role/ops"
TEAM, ADMINS = f"{START}:group/team", f"{START}:group/admins"
OWN_POLICY = f"{START}:policy/own"
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
READ = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
UNKNOWABLE = {"StringEquals": {"aws:SourceVpc": "vpc-1"}}


def policy(*rows: Mapping[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": rows})


def trusts(**principal: str) -> str:
    return policy({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"})


def may(actions: str | list[str], resource: str = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resource, **more}


@dataclass(frozen=True)
class Path:
    """A path: Eve's rights, what her evidence says, and the account around her."""

    says: str
    rights: tuple[dict[str, Any], ...]
    role_trust: str = field(default_factory=lambda: trusts(Service="ec2.amazonaws.com"))
    role_is_admin: bool = True
    versions: tuple[str, ...] = ()


def account(path: Path, rights: tuple[dict[str, Any], ...]) -> Snapshot:
    eve = Entity(name="eve", arn=EVE, inline={"p": policy(*rights)}, groups=("team",), attached=(OWN_POLICY,))
    boss = Entity(name="boss", arn=BOSS, groups=("admins",))
    return Snapshot(
        at=0.0,
        account=NUMBER,
        caller=BOSS,
        users=(eve, boss, Entity(name="carol", arn=f"{START}:user/carol")),
        groups=(
            Entity(name="team", arn=TEAM),
            Entity(name="admins", arn=ADMINS, inline={"all": policy(EVERYTHING)}),
            Entity(name="others", arn=f"{START}:group/others", inline={"read": policy(READ)}),
        ),
        roles=(
            Entity(
                name="ops",
                arn=OPS,
                trust=path.role_trust,
                inline={"p": policy(EVERYTHING if path.role_is_admin else READ)},
            ),
            Entity(name="reader", arn=f"{START}:role/reader", trust=trusts(AWS=EVE), inline={"p": policy(READ)}),
        ),
        policies={OWN_POLICY: policy(READ)},
        other_versions={OWN_POLICY: path.versions},
        report=CredentialReport(made=0.0, users={"boss": Credentials(arn=BOSS, created=0.0, password=True)}),
    )


def services() -> list[Path]:
    return [
        Path(
            f"may run code with role ops (iam:PassRole, {', '.join(actions)})",
            (may("iam:PassRole", OPS), *(may(action, f"arn:aws:{action.partition(':')[0]}:*") for action in actions)),
            role_trust=trusts(Service=f"{service}.amazonaws.com"),
        )
        for service, sets in SERVICES.items()
        for actions in sets
    ]


PATHS = [
    Path("may join group admins (iam:AddUserToGroup)", (may("iam:AddUserToGroup", ADMINS),)),
    Path("may change the policies of its group team (iam:PutGroupPolicy)", (may("iam:PutGroupPolicy", TEAM),)),
    Path("may change the policies of its group team (iam:AttachGroupPolicy)", (may("iam:AttachGroupPolicy", TEAM),)),
    Path("new version of policy own (iam:CreatePolicyVersion)", (may("iam:CreatePolicyVersion", OWN_POLICY),)),
    Path(
        "another version of policy own (iam:SetDefaultPolicyVersion)",
        (may("iam:SetDefaultPolicyVersion", OWN_POLICY),),
        versions=(policy(READ), policy(EVERYTHING)),
    ),
    Path("may create an access key for boss (iam:CreateAccessKey)", (may("iam:CreateAccessKey", BOSS),)),
    Path("may set the password of boss (iam:UpdateLoginProfile)", (may("iam:UpdateLoginProfile", BOSS),)),
    Path("may let itself assume role ops (iam:UpdateAssumeRolePolicy)", (may("iam:UpdateAssumeRolePolicy", OPS),)),
    Path("may assume role ops (sts:AssumeRole)", (may("sts:AssumeRole", OPS),), role_trust=trusts(AWS=f"{START}:root")),
    Path("may assume role ops (sts:AssumeRole)", (may("sts:AssumeRole", OPS),), role_trust=trusts(AWS=NUMBER)),
    Path(
        "may change the policies of role ops (iam:PutRolePolicy) and assume it",
        (may(["iam:PutRolePolicy", "sts:AssumeRole"], OPS),),
        role_trust=trusts(AWS=f"{START}:root"),
        role_is_admin=False,
    ),
    Path(
        "may change the policies of role ops (iam:AttachRolePolicy) and assume it",
        (may(["iam:AttachRolePolicy", "iam:UpdateAssumeRolePolicy"], OPS),),
        role_is_admin=False,
    ),
    *services(),
]
each_path = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.says.partition("(")[2].rstrip(")"))


def eve(snapshot: Snapshot) -> Administration:
    return administrations(snapshot)[EVE]


@each_path
def test_each_path_makes_an_administrator(path: Path) -> None:
    """A user with the actions of a path is an administrator, and the path is named."""
    found = eve(account(path, path.rights))
    assert found.admin is True
    assert path.says in found.how


@each_path
def test_a_path_that_a_condition_may_block_is_unknown(path: Path) -> None:
    """With a condition that cannot be evaluated, it is unknown whether the user is an administrator."""
    found = eve(account(path, tuple({**row, "Condition": UNKNOWABLE} for row in path.rights)))
    assert found.admin is None
    assert path.says in found.how


@each_path
def test_a_path_without_one_of_its_actions_leads_nowhere(path: Path) -> None:
    """A user who lacks an action of a path, or may use it only on another resource, is no administrator."""
    rights = path.rights
    lacking = [rights[:at] + rights[at + 1 :] for at in range(len(rights))] if len(rights) > 1 else []
    elsewhere = tuple({**row, "Resource": f"{START}:nothing/else"} for row in rights[:1]) + rights[1:]
    for less in (*lacking, elsewhere):
        assert eve(account(path, less)) == Administration(False)


@each_path
def test_a_denied_path_leads_nowhere(path: Path) -> None:
    """An explicit deny of a path's actions, or a permissions boundary without them, closes the path."""
    denied = {"Effect": "Deny", "Action": sorted(ACTIONS), "Resource": "*"}
    assert eve(account(path, (*path.rights, denied))) == Administration(False)
    found = account(path, path.rights)
    bounded = replace(found.users[0], boundary=f"{START}:policy/limit")
    limited = {**found.policies, f"{START}:policy/limit": policy(READ)}
    assert eve(replace(found, users=(bounded, *found.users[1:]), policies=limited)) == Administration(False)


def test_a_role_that_names_a_user_needs_no_permission_of_the_user() -> None:
    """A trust policy that names the user suffices, unless the user's policies deny the action."""
    path = Path("may assume role ops", (), role_trust=trusts(AWS=EVE))
    assert eve(account(path, (READ,))).admin is True
    assert eve(account(path, ({"Effect": "Deny", "Action": "sts:*", "Resource": "*"},))).admin is False


def test_paths_are_followed_through_other_principals() -> None:
    """Whoever reaches a user who can become an administrator can become one too."""
    path = Path("", (may("iam:CreateAccessKey", f"{START}:user/dan"),))
    found = account(path, path.rights)
    dan = Entity(name="dan", arn=f"{START}:user/dan", inline={"p": policy(may("iam:AddUserToGroup", ADMINS))})
    found = replace(found, users=(*found.users, dan))
    assert eve(found).how == "may create an access key for dan (iam:CreateAccessKey), who administers the account"


def test_other_versions_that_were_not_read_are_unknown() -> None:
    """If the other versions of a policy are not in the snapshot, returning to one of them is an unknown path."""
    path = Path("", (may("iam:SetDefaultPolicyVersion", OWN_POLICY),))
    assert eve(replace(account(path, path.rights), other_versions={})).admin is None


def test_managing_only_oneself_makes_no_administrator() -> None:
    """A policy for the user's own password, keys and devices opens no path."""
    own = may(
        ["iam:CreateAccessKey", "iam:UpdateLoginProfile", "iam:DeactivateMFADevice"],
        f"{START}:user/${{aws:username}}",
    )
    assert eve(account(Path("", ()), (own,))) == Administration(False)


def test_aws_policies_cannot_be_rewritten() -> None:
    """A right to new versions of all policies does not reach the policies of AWS."""
    path = Path("", (may("iam:CreatePolicyVersion"),))
    found = account(path, path.rights)
    attached = replace(found.users[0], attached=("arn:aws:iam::aws:policy/ReadOnlyAccess",))
    texts = {"arn:aws:iam::aws:policy/ReadOnlyAccess": policy(READ)}
    assert eve(replace(found, users=(attached, *found.users[1:]), policies=texts)).admin is False


def test_an_audit_of_the_lab_names_the_path() -> None:
    """The versions of policies are read from IAM, and the evidence names the path."""

    def change(found: dict[str, Any]) -> None:
        rights = may("iam:AddUserToGroup", f"{START}:group/programs")
        found["users"].append(
            {"name": "eve", "groups": ["people"], "password": True, "policies": {"p": json.loads(policy(rights))}}
        )

    snapshot, _ = taken(changed(change))
    assert {one.name for one in account_users(snapshot) if one.admin} == {"lab-admin", "eve"}
    (answer,) = registry.audit_snapshot(snapshot, registry.choose_rules(["admins.mfa"]), Limits())
    assert answer.result is RuleResult.FAIL
    (finding,) = answer.findings
    path = "may join group programs (iam:AddUserToGroup), which administers the account"
    assert finding.evidence == f"an administrator without an MFA device; {path}"


def test_a_path_to_a_user_or_role_that_may_be_an_administrator_is_unknown() -> None:
    """If it is unknown whether the user or role at the end of a path administers the account, so is the path."""
    perhaps = policy({**EVERYTHING, "Condition": UNKNOWABLE})
    rights = (may("iam:CreateAccessKey", BOSS),)
    found = account(Path("", rights), rights)
    team = replace(found.groups[1], inline={"all": perhaps})
    said = "may create an access key for boss (iam:CreateAccessKey), who may administer the account"
    assert eve(replace(found, groups=(found.groups[0], team))) == Administration(None, said)
    runs = (may("iam:PassRole", OPS), may("ec2:RunInstances"))
    found = account(Path("", runs), runs)
    ops = replace(found.roles[0], inline={"p": perhaps})
    assert eve(replace(found, roles=(ops,))).admin is None


@pytest.mark.parametrize(
    ("action", "on"),
    [
        ("iam:DeleteUserPermissionsBoundary", EVE),
        ("iam:PutUserPermissionsBoundary", f"{START}:user/${{aws:username}}"),
        ("iam:CreatePolicyVersion", f"{START}:policy/limit"),
    ],
)
def test_a_boundary_that_its_user_may_lift_limits_nothing(action: str, on: str) -> None:
    """The path is open only if the user's own policies allow more than the boundary, and unknown with a condition."""
    limit = f"{START}:policy/limit"

    def bounded(rights: dict[str, Any], **more: Any) -> Administration:
        found = account(Path("", ()), (rights,))
        one = replace(found.users[0], boundary=limit)
        text = policy(READ, may(action, on, **more))
        return eve(replace(found, users=(one, *found.users[1:]), policies={**found.policies, limit: text}))

    found = bounded(EVERYTHING)
    assert found.admin is True
    assert f"may lift its permissions boundary ({action})" in found.how
    assert bounded(EVERYTHING, Condition=UNKNOWABLE).admin is None
    assert bounded(may([action, "s3:*"], on)) == Administration(False)


def test_a_resource_with_the_name_of_the_user_is_a_resource() -> None:
    """Functions whose names begin with the user's name are enough to run code with a role."""
    own = f"arn:aws:lambda:*:{NUMBER}:function:${{aws:username}}-*"
    rights = (may("iam:PassRole", OPS), may(["lambda:CreateFunction", "lambda:InvokeFunction"], own))
    path = Path("", rights, role_trust=trusts(Service="lambda.amazonaws.com"))
    assert eve(account(path, rights)).admin is True


@pytest.mark.parametrize(
    ("trusted", "passed"),
    [
        ("tasks.apprunner.amazonaws.com", "tasks.apprunner.amazonaws.com"),
        ("ec2.amazonaws.com.cn", "ec2.amazonaws.com.cn"),
        ("states.us-east-1.amazonaws.com", "states.amazonaws.com"),
    ],
)
def test_a_condition_names_the_service_as_the_trust_policy_does(trusted: str, passed: str) -> None:
    """Services have names of several parts, other names in China, and sometimes a region in a trust policy."""
    actions = ["apprunner:CreateService", "ec2:RunInstances", "states:CreateStateMachine", "states:StartExecution"]
    for service, admin in ((passed, True), ("lambda.amazonaws.com", False)):
        only = {"StringEquals": {"iam:PassedToService": service}}
        rights = (may("iam:PassRole", OPS, Condition=only), may(actions, "*"))
        assert eve(account(Path("", rights, role_trust=trusts(Service=trusted)), rights)).admin is admin


def test_a_trust_policy_that_denies_the_account_denies_its_users() -> None:
    """A Deny of the account's principal concerns each of its users, also one that an Allow names."""
    let_in = {"Effect": "Allow", "Principal": {"AWS": EVE}, "Action": "sts:AssumeRole"}
    denied = {**let_in, "Effect": "Deny", "Principal": {"AWS": f"{START}:root"}}
    assert eve(account(Path("", (), role_trust=policy(let_in)), (READ,))).admin is True
    assert eve(account(Path("", (), role_trust=policy(let_in, denied)), (READ,))).admin is False


def entity(kind: str, name: str, *rights: dict[str, Any], **fields: Any) -> Entity:
    return Entity(name=name, arn=f"{START}:{kind}/{name}", inline={"p": policy(*rights)} if rights else {}, **fields)


def lone(
    *rights: dict[str, Any],
    more: tuple[Entity, ...] = (),
    policies: Mapping[str, str] | None = None,
    **fields: Any,
) -> Snapshot:
    """Return an account of Eve, who has these rights, and more users, groups and roles, without administrators."""
    kinds = {kind: tuple(one for one in more if f":{kind}/" in one.arn) for kind in ("user", "group", "role")}
    return Snapshot(
        at=0.0,
        account=NUMBER,
        caller=BOSS,
        users=(entity("user", "eve", *rights, **fields), *kinds["user"]),
        groups=kinds["group"],
        roles=kinds["role"],
        policies=policies or {},
    )


VICTIM, SHARED, LIMIT = f"{START}:user/victim", f"{START}:policy/shared", f"{START}:policy/limit"
PUT_AND_KEY = ["iam:PutUserPolicy", "iam:CreateAccessKey"]
TAG = {"StringEquals": {"aws:PrincipalTag/team": "ops"}}
ROOT = {"Effect": "Allow", "Principal": {"AWS": f"{START}:root"}, "Action": "sts:AssumeRole"}
TAGGED = policy({**ROOT, "Condition": TAG})
FEDERATED = {"Principal": {"Federated": f"{START}:saml-provider/idp"}, "Action": "sts:AssumeRoleWithSAML"}
SAML = policy({**ROOT, **FEDERATED})
SEVERAL_STEPS: dict[str, tuple[Snapshot, str]] = {
    "put and key": (lone(may(PUT_AND_KEY, VICTIM), more=(entity("user", "victim"),)), "victim"),
    "attach and password": (
        lone(may(["iam:AttachUserPolicy", "iam:CreateLoginProfile"], VICTIM), more=(entity("user", "victim"),)),
        "set the password of",
    ),
    "version and assume": (
        lone(
            may("iam:CreatePolicyVersion", SHARED),
            may("sts:AssumeRole", f"{START}:role/r"),
            more=(entity("role", "r", trust=trusts(AWS=NUMBER), attached=(SHARED,)),),
            policies={SHARED: policy(READ)},
        ),
        "may write a new version of policy shared",
    ),
    "version and trust": (
        lone(
            may("iam:CreatePolicyVersion", SHARED),
            may("iam:UpdateAssumeRolePolicy", f"{START}:role/r"),
            more=(entity("role", "r", trust=trusts(Service="ec2.amazonaws.com"), attached=(SHARED,)),),
            policies={SHARED: policy(READ)},
        ),
        "iam:UpdateAssumeRolePolicy",
    ),
    "version and join": (
        lone(
            may("iam:CreatePolicyVersion", SHARED),
            may("iam:AddUserToGroup", f"{START}:group/g"),
            more=(entity("group", "g", attached=(SHARED,)),),
            policies={SHARED: policy(READ)},
        ),
        "join group g",
    ),
    "write a group and join": (
        lone(may(["iam:PutGroupPolicy", "iam:AddUserToGroup"], f"{START}:group/g"), more=(entity("group", "g"),)),
        "join group g",
    ),
    "make a group": (lone(may(["iam:CreateGroup", "iam:PutGroupPolicy", "iam:AddUserToGroup"])), "create group new"),
    "write the group of another": (
        lone(
            may("iam:AttachGroupPolicy", f"{START}:group/g"),
            may("iam:CreateAccessKey", VICTIM),
            more=(entity("group", "g"), entity("user", "victim", groups=("g",))),
        ),
        "create an access key for victim",
    ),
    "join a group of key makers": (
        lone(
            may("iam:AddUserToGroup", f"{START}:group/g"),
            more=(entity("group", "g", may("iam:CreateAccessKey", BOSS)), entity("user", "boss", EVERYTHING)),
        ),
        "create an access key for boss",
    ),
    "pass a changed role": (
        lone(
            may(["iam:PutRolePolicy", "iam:PassRole"], f"{START}:role/r"),
            may("ec2:RunInstances"),
            more=(entity("role", "r", trust=trusts(Service="ec2.amazonaws.com")),),
        ),
        "run code with it",
    ),
    "make a role": (lone(may(["iam:CreateRole", "iam:PutRolePolicy"], f"{START}:role/new-*")), "create role new-new"),
    "make a user": (
        lone(may(["iam:CreateUser", "iam:AttachUserPolicy", "iam:CreateAccessKey"], f"{START}:user/new-*")),
        "create an access key for",
    ),
    "detach the own Deny": (
        lone(
            may(["iam:DetachUserPolicy", "iam:PutUserPolicy"], EVE),
            attached=(SHARED,),
            policies={SHARED: policy({"Effect": "Deny", "Action": "iam:PutUserPolicy", "Resource": "*"})},
        ),
        "remove a Deny from eve",
    ),
    "leave a group with a Deny": (
        lone(
            may("iam:RemoveUserFromGroup", f"{START}:group/g"),
            may("iam:PutUserPolicy", EVE),
            more=(entity("group", "g", {"Effect": "Deny", "Action": "iam:Put*", "Resource": "*"}),),
            groups=("g",),
        ),
        "leave group g",
    ),
    "tag oneself": (
        lone(may("iam:TagUser", EVE), may("sts:AssumeRole"), more=(entity("role", "ops", EVERYTHING, trust=TAGGED),)),
        "tag eve",
    ),
    "tag another, whose tag is demanded": (
        lone(
            may("iam:TagUser"),
            may("iam:CreateAccessKey", Condition={"StringEquals": {"iam:ResourceTag/team": "ops"}}),
            more=(entity("user", "boss", EVERYTHING),),
        ),
        "may tag boss (iam:TagUser) and create an access key for boss",
    ),
    "tag a role": (
        lone(
            may("iam:TagRole"),
            may("sts:AssumeRole", Condition={"StringEquals": {"aws:ResourceTag/team": "ops"}}),
            more=(entity("role", "ops", EVERYTHING, trust=trusts(AWS=NUMBER)),),
        ),
        "may tag role ops (iam:TagRole) and assume it",
    ),
    "tag oneself with the only tag": (
        lone(
            may("iam:TagUser", EVE, Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}),
            may("sts:AssumeRole"),
            more=(entity("role", "ops", EVERYTHING, trust=TAGGED),),
        ),
        "tag eve",
    ),
    "make a role with the boundary that is demanded": (
        lone(
            may(
                ["iam:CreateRole", "iam:PutRolePolicy"],
                f"{START}:role/new-*",
                Condition={"StringEquals": {"iam:PermissionsBoundary": LIMIT}},
            ),
            policies={LIMIT: policy(EVERYTHING, {"Effect": "Deny", "Action": "iam:CreateUser", "Resource": "*"})},
        ),
        "create role new-new",
    ),
    "return to a wider boundary": (
        replace(
            lone(EVERYTHING, boundary=LIMIT, policies={LIMIT: policy(READ, may("iam:SetDefaultPolicyVersion", LIMIT))}),
            other_versions={LIMIT: (policy(EVERYTHING),)},
        ),
        "may lift its permissions boundary (iam:SetDefaultPolicyVersion), and then administers the account",
    ),
    "open a role and pass it": (
        lone(
            may(["iam:UpdateAssumeRolePolicy", "iam:PassRole", "ec2:RunInstances"]),
            {"Effect": "Deny", "Action": "sts:AssumeRole", "Resource": "*"},
            more=(entity("role", "ops", EVERYTHING, trust=trusts(AWS=BOSS)),),
        ),
        "run code with it",
    ),
    "rewrite a SAML provider": (
        lone(may("iam:UpdateSAMLProvider"), more=(entity("role", "ops", EVERYTHING, trust=SAML),)),
        "iam:UpdateSAMLProvider",
    ),
}


@pytest.mark.parametrize(("snapshot", "says"), SEVERAL_STEPS.values(), ids=SEVERAL_STEPS)
def test_paths_of_several_steps(snapshot: Snapshot, says: str) -> None:
    """Each step uses the rights of the steps before it, and has a source. A Deny of all steps closes the path."""
    found = eve(snapshot)
    assert found.admin is True
    assert says in found.how
    assert all(step.source.startswith("https://") for step in found.steps)
    denied = {"Effect": "Deny", "Action": sorted(ACTIONS), "Resource": "*"}
    person = replace(snapshot.users[0], inline={**snapshot.users[0].inline, "no": policy(denied)})
    assert eve(replace(snapshot, users=(person, *snapshot.users[1:]))).admin is False


def test_a_help_desk_that_deactivates_devices_administers_nothing() -> None:
    """Without a password or a key, a deactivated device opens nothing."""
    assert eve(lone(may("iam:DeactivateMFADevice"), more=(entity("user", "boss", EVERYTHING),))) == Administration(
        False
    )


def test_a_boundary_limits_what_a_new_policy_gives() -> None:
    """A boundary of a user or role stays, also if its policies can be changed."""
    limit = {LIMIT: policy(READ, may("iam:PutUserPolicy", EVE))}
    assert eve(lone(may("iam:PutUserPolicy", EVE), boundary=LIMIT, policies=limit)) == Administration(False)
    role = entity("role", "r", trust=trusts(AWS=NUMBER), boundary=LIMIT)
    rights = may(["iam:PutRolePolicy", "sts:AssumeRole"], role.arn)
    limit = {LIMIT: policy(READ, may("iam:PutRolePolicy", role.arn))}
    assert eve(lone(rights, more=(role,), policies=limit)) == Administration(False)
    assert eve(lone(rights, more=(replace(role, boundary=None),))).admin is True


def test_a_chain_of_400_users_takes_less_than_two_seconds() -> None:
    """The last one administers the account, writes the policies of an earlier one, or neither."""
    back = may(["iam:PutUserPolicy", "iam:CreateAccessKey"], f"{START}:user/u3")
    for last, admins in ((EVERYTHING, 401), (back, 401), (READ, 0)):
        links = [entity("user", f"u{at}", may("iam:CreateAccessKey", f"{START}:user/u{at + 1}")) for at in range(400)]
        before = time.process_time()
        answers = administrations(lone(more=(*links, entity("user", "u400", last))))
        assert time.process_time() - before < 2
        assert sum(answer.admin is True for answer in answers.values()) == admins


@pytest.mark.parametrize(("day", "admin"), [("2025-01-01T00:00:00Z", True), ("2035-01-01T00:00:00Z", None)])
def test_a_right_since_a_past_day_is_a_right(day: str, admin: bool | None) -> None:
    """A day before the snapshot is past, also for later requests. Whether a later day has come is unknown."""
    since = {"DateGreaterThan": {"aws:CurrentTime": day}}
    snapshot = lone(may("iam:CreateAccessKey", BOSS, Condition=since), more=(entity("user", "boss", EVERYTHING),))
    assert eve(replace(snapshot, at=1.8e9)).admin is admin


def test_a_boundary_that_may_only_be_set_again_stays() -> None:
    """AWS's sample for delegated administrators: they may set a boundary, but only the one that they have."""
    only = {"StringEquals": {"iam:PermissionsBoundary": LIMIT}}
    rights = may(["iam:PutUserPermissionsBoundary", "iam:PutUserPolicy"], Condition=only)
    assert eve(lone(rights, boundary=LIMIT, policies={LIMIT: policy(READ, rights)})) == Administration(False)
    limit = {LIMIT: policy(READ, rights, may("iam:DeleteUserPermissionsBoundary"))}
    assert eve(lone(rights, boundary=LIMIT, policies=limit)).admin is True


def test_each_service_cites_a_source_of_its_own() -> None:
    """The general page about passing roles, and a list without the service, are no source."""
    assert {PASSING, RHINO}.isdisjoint(source for rows in SERVICES.values() for source in rows.values())


def test_a_boundary_limits_a_role_that_a_trust_policy_names_but_no_user() -> None:
    """A boundary that does not mention sts:AssumeRole stops a role, also if the trust policy names it."""
    ops = entity("role", "ops", EVERYTHING, trust=trusts(AWS=EVE))
    assert eve(lone(READ, more=(ops,), boundary=LIMIT, policies={LIMIT: policy(READ)})).admin is True
    middle = entity("role", "middle", READ, trust=trusts(AWS=EVE), boundary=LIMIT)
    ops = replace(ops, trust=trusts(AWS=middle.arn))
    for limit, admin in ((READ, False), (may("sts:AssumeRole"), True)):
        assert eve(lone(READ, more=(middle, ops), policies={LIMIT: policy(limit)})).admin is admin


def test_the_states_of_a_user_are_few() -> None:
    """The order of groups and tags does not matter, nor does a Deny of requests without MFA."""
    without = {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}
    force = {"Effect": "Deny", "NotAction": "iam:*MFA*", "Resource": "*", "Condition": without}
    teams = [entity("group", f"g{at}", may("ec2:*"), force) for at in range(20)]
    demands = [{"StringEquals": {f"aws:PrincipalTag/t{at}": "x"}} for at in range(20)]
    roles = [entity("role", f"r{at}", READ, trust=policy({**ROOT, "Condition": tag})) for at, tag in enumerate(demands)]
    before = time.process_time()
    assert eve(lone(may("iam:AddUserToGroup"), more=tuple(teams))) == Administration(False)
    assert eve(lone(may("iam:TagUser"), more=tuple(roles))) == Administration(False)
    assert time.process_time() - before < 2


def test_more_states_than_are_tried_are_unknown() -> None:
    """If not all combinations of groups with a Deny were tried, the result is not that there is no path."""
    denied = {"Effect": "Deny", "Action": "ec2:RunInstances", "Resource": "*"}
    same = tuple(entity("group", f"g{at}", may("glue:*"), denied) for at in range(20))
    teams = tuple(entity("group", f"g{at}", may("glue:*"), {**denied, "Sid": f"s{at}"}) for at in range(20))
    before = time.process_time()
    assert eve(lone(may("iam:AddUserToGroup"), more=teams[:5])) == Administration(False)
    assert eve(lone(may("iam:AddUserToGroup"), more=same)) == Administration(False)
    cut = eve(lone(may("iam:AddUserToGroup"), more=teams))
    assert cut == Administration(None)
    assert "not all were tried" in cut.later
    assert time.process_time() - before < 4


def test_a_deny_of_a_group_that_was_joined_stays() -> None:
    """What a user may do as a member does not change the user as they were before."""
    first = (
        may("iam:AddUserToGroup", f"{START}:group/h"),
        {"Effect": "Deny", "NotAction": "iam:Add*", "Resource": "*"},
    )
    groups = (entity("group", "g", *first), entity("group", "h", EVERYTHING))
    assert eve(lone(may("iam:AddUserToGroup", f"{START}:group/g"), more=groups)) == Administration(False)


@pytest.mark.parametrize(
    "rights",
    [
        may(
            "iam:AttachUserPolicy", EVE, Condition={"ArnEquals": {"iam:PolicyARN": "arn:aws:iam::aws:policy/ReadOnly"}}
        ),
        may("iam:CreateAccessKey", BOSS, Condition={"StringEquals": {"aws:ResourceTag/team": "dev"}}),
        may("iam:TagUser", EVE, Condition={"StringEquals": {"aws:RequestTag/team": "dev"}}),
        may("iam:TagUser", EVE, Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["cost"]}}),
    ],
)
def test_a_right_whose_condition_excludes_the_step_opens_no_path(rights: dict[str, Any]) -> None:
    """The policy that is attached, the tags of the target and the tags that are set are known."""
    boss, ops = entity("user", "boss", EVERYTHING, tags={"team": "hr"}), entity("role", "ops", EVERYTHING, trust=TAGGED)
    assert eve(lone(rights, may("sts:AssumeRole"), more=(boss, ops))) == Administration(False)
