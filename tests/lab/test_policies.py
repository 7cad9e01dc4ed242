"""Policies: the evaluator against the user guide, and AWS's two MFA policies enforced by a running lab."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mfa_kit.lab.aws.policies import EvalDecision, decide
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.aws.state import describe_account
from mfa_kit.lab.aws.wire import IamError
from tests.lab.client import Aws, document, refused

ALLOW, DENY, NOTHING = EvalDecision.ALLOW, EvalDecision.EXPLICIT, EvalDecision.IMPLICIT
# AWS's sample for users who manage their own MFA devices, "AWS: Allows MFA-authenticated IAM users to manage their own
# MFA device on the Security credentials page", 2023 text.
MANAGE = (
    {"Action": "iam:ListVirtualMFADevices", "Resource": "*"},
    {"Action": "iam:CreateVirtualMFADevice", "Resource": "arn:aws:iam::*:mfa/*"},
    {
        "Action": [
            "iam:DeactivateMFADevice",
            "iam:EnableMFADevice",
            "iam:GetUser",
            "iam:GetMFADevice",
            "iam:ListMFADevices",
            "iam:ResyncMFADevice",
        ],
        "Resource": "arn:aws:iam::*:user/${aws:username}",
    },
)
FORCE: dict[str, Any] = {
    "Effect": "Deny",
    "NotAction": [
        "iam:CreateVirtualMFADevice",
        "iam:EnableMFADevice",
        "iam:GetUser",
        "iam:GetMFADevice",
        "iam:ListMFADevices",
        "iam:ListVirtualMFADevices",
        "iam:ResyncMFADevice",
        "sts:GetSessionToken",
    ],
    "Resource": "*",
    "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}},
}
ALICE = "arn:aws:iam::000000000000:user/alice"


def _verdict(*statements: dict[str, Any], action: str = "iam:GetUser", on: str = ALICE, **context: Any) -> EvalDecision:
    found = {name.replace("__", ":"): value for name, value in context.items()}
    return decide([document(one) for one in statements], action, on, found)


def test_deny_wins_and_the_default_is_deny() -> None:
    """An explicit deny wins over an allow, and an allow over the implicit deny. Source: "Policy evaluation logic"."""
    allow: dict[str, Any] = {"Action": "iam:*", "Resource": "*"}
    deny = {"Effect": "Deny", "Action": "iam:Get*", "Resource": "*"}
    assert [_verdict(allow), _verdict(allow, deny), _verdict()] == [ALLOW, DENY, NOTHING]


ELEMENTS: tuple[Any, ...] = (
    ({"Action": "IAM:getuser", "Resource": "*"}, ALLOW),
    ({"Action": "iam:Get????", "Resource": "*"}, ALLOW),
    ({"Action": "iam:Get???", "Resource": "*"}, NOTHING),
    ({"NotAction": "iam:List*", "Resource": "*"}, ALLOW),
    ({"NotAction": ["iam:Get*"], "Resource": "*"}, NOTHING),
    ({"Action": "*", "Resource": ALICE}, ALLOW),
    ({"Action": "*", "Resource": "arn:aws:iam::000000000000:user/[a]lice"}, NOTHING),
    ({"Action": "*", "NotResource": "arn:aws:iam::*:user/bob"}, ALLOW),
    ({"Action": "*", "Resource": "arn:aws:iam::*:user/${aws:username}"}, ALLOW),
    ({"Action": "*", "Resource": "arn:aws:iam::*:user/${aws:nothing}"}, NOTHING),
    ({"Action": "*", "Resource": "arn:aws:iam::*:user/${aws:nothing, 'alice'}"}, ALLOW),
    ({"Action": "*", "Resource": "arn:aws:iam::*:user/al${*}ce"}, NOTHING),
)


@pytest.mark.parametrize(("statement", "wanted"), ELEMENTS)
def test_elements(statement: dict[str, Any], wanted: EvalDecision) -> None:
    """Actions ignore case, resources do not. Only `*` and `?` are wild. A variable without value matches nothing."""
    assert _verdict(statement, aws__username="alice") is wanted


MFA: tuple[Any, ...] = (
    ({"Bool": {"aws:MultiFactorAuthPresent": "true"}}, {"absent": NOTHING, "true": ALLOW, "false": NOTHING}),
    ({"Bool": {"aws:MultiFactorAuthPresent": "false"}}, {"absent": NOTHING, "true": NOTHING, "false": ALLOW}),
    ({"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}, {"absent": ALLOW, "true": NOTHING, "false": ALLOW}),
    ({"BoolIfExists": {"aws:multifactorauthpresent": "true"}}, {"absent": ALLOW, "true": ALLOW, "false": NOTHING}),
    ({"Null": {"aws:MultiFactorAuthPresent": "true"}}, {"absent": ALLOW, "true": NOTHING, "false": NOTHING}),
    ({"Null": {"aws:MultiFactorAuthPresent": False}}, {"absent": NOTHING, "true": ALLOW, "false": ALLOW}),
)


@pytest.mark.parametrize(("condition", "wanted"), MFA)
def test_mfa_conditions(condition: dict[str, Any], wanted: dict[str, EvalDecision]) -> None:
    """Without aws:MultiFactorAuthPresent, as with long-term keys, Bool does not match, and BoolIfExists does."""
    statement = {"Action": "*", "Resource": "*", "Condition": condition}
    for value, verdict in wanted.items():
        context = {} if value == "absent" else {"aws__MultiFactorAuthPresent": value}
        assert _verdict(statement, **context) is verdict


OPERATORS: tuple[Any, ...] = (
    ({"StringEquals": {"a": ["x", "y"]}}, {"a": "y"}, ALLOW),
    ({"StringEquals": {"a": "Y"}}, {"a": "y"}, NOTHING),
    ({"StringEqualsIgnoreCase": {"a": "Y"}}, {"a": "y"}, ALLOW),
    ({"StringNotEquals": {"a": ["x", "y"]}}, {"a": "y"}, NOTHING),
    ({"StringNotEquals": {"a": "x"}}, {}, ALLOW),
    ({"StringLike": {"a": "al*e"}}, {"a": "alice"}, ALLOW),
    ({"StringNotLike": {"a": "al*"}}, {"a": "alice"}, NOTHING),
    ({"ArnLike": {"a": "arn:*:iam::*:user/al*"}}, {"a": ALICE}, ALLOW),
    ({"ArnLike": {"a": "arn:*"}}, {"a": ALICE}, NOTHING),
    ({"ArnNotEquals": {"a": ALICE}}, {"a": ALICE}, NOTHING),
    ({"NumericLessThan": {"a": "3600"}}, {"a": "3599"}, ALLOW),
    ({"NumericLessThanEquals": {"a": "3600"}}, {"a": "3601"}, NOTHING),
    ({"NumericGreaterThan": {"a": 1}}, {"a": "2"}, ALLOW),
    ({"NumericGreaterThanEquals": {"a": 3}}, {"a": "2"}, NOTHING),
    ({"NumericNotEquals": {"a": 2}}, {"a": "2.0"}, NOTHING),
    ({"DateGreaterThan": {"a": "2026-01-01T00:00:00Z"}}, {"a": "2026-01-02"}, ALLOW),
    ({"DateLessThan": {"a": "1767225600"}}, {"a": "2026-01-02"}, NOTHING),
    ({"DateEquals": {"a": "2026-01-02"}}, {"a": "2026-01-02T00:00:00Z"}, ALLOW),
    ({"DateNotEquals": {"a": "2026-01-02"}}, {"a": "2026-01-02T00:00:00Z"}, NOTHING),
    ({"DateNotEquals": {"a": "2026-01-02"}}, {}, ALLOW),
    ({"DateLessThanEquals": {"a": "2026-01-02"}}, {"a": "2026-01-02T00:00:00Z"}, ALLOW),
    ({"DateGreaterThanEquals": {"a": "2026-01-02"}}, {"a": "2026-01-01"}, NOTHING),
    ({"IpAddress": {"a": "127.0.0.0/8"}}, {"a": "127.0.0.1"}, ALLOW),
    ({"NotIpAddress": {"a": "127.0.0.0/8"}}, {"a": "127.0.0.1"}, NOTHING),
    ({"ForAllValues:StringEquals": {"a": ["x", "y"]}}, {"a": ["x", "y"]}, ALLOW),
    ({"ForAllValues:StringEquals": {"a": ["x"]}}, {"a": ["x", "y"]}, NOTHING),
    ({"ForAllValues:StringEquals": {"a": ["x"]}}, {}, ALLOW),
    ({"ForAnyValue:StringEquals": {"a": ["x"]}}, {"a": ["x", "y"]}, ALLOW),
    ({"ForAnyValue:StringEquals": {"a": ["x"]}}, {}, NOTHING),
    ({"StringEquals": {"a": "x", "b": "y"}}, {"a": "x", "b": "z"}, NOTHING),
    ({"StringEquals": {"a": "x"}, "Bool": {"b": "true"}}, {"a": "x", "b": "true"}, ALLOW),
    ({"StringEquals": {"a": "${b}"}}, {"a": "x*", "b": "x*"}, ALLOW),
    ({"StringLike": {"a": "${b}"}}, {"a": "xy", "b": "x*"}, NOTHING),
)


@pytest.mark.parametrize(("condition", "context", "wanted"), OPERATORS)
def test_operators(condition: dict[str, Any], context: dict[str, Any], wanted: EvalDecision) -> None:
    """Values are alternatives. All keys and operators must match: "IAM JSON policy elements: Condition operators"."""
    assert _verdict({"Action": "*", "Resource": "*", "Condition": condition}, **context) is wanted


def test_a_list_operation_needs_a_policy_on_its_resource_type(admin: Aws) -> None:
    """A policy on all users, also on all users below a path, allows ListUsers, and no other list operation."""
    allow = document({"Action": "iam:List*", "Resource": "arn:aws:iam::*:user/*"})
    admin.iam.put_user_policy(UserName="alice", PolicyName="p", PolicyDocument=allow)
    alice = admin.user("alice").iam
    assert alice.list_users()["Users"]
    assert alice.list_users(PathPrefix="/team/")["Users"] == []
    start = "User: arn:aws:iam::000000000000:user/alice is not authorized to perform: iam"
    for call, what in (
        (alice.list_groups, "ListGroups on resource: arn:aws:iam::000000000000:group/"),
        (alice.list_roles, "ListRoles on resource: arn:aws:iam::000000000000:role/"),
        (alice.list_virtual_mfa_devices, "ListVirtualMFADevices on resource: arn:aws:iam::000000000000:mfa/"),
        (alice.get_account_summary, "GetAccountSummary on resource: *"),
    ):
        operation = what.partition(" ")[0]
        with refused(
            "AccessDenied", f"{start}:{what} because no identity-based policy allows the iam:{operation} action"
        ):
            call()


def test_a_denied_resource_is_named_as_in_iam(admin: Aws) -> None:
    """The error has the type and the name if the request has a name, and the ARN for a new entity."""
    alice = admin.user("alice").iam
    arn = "arn:aws:iam::000000000000"
    trust = document({"Action": "sts:AssumeRole", "Principal": "*"})
    asked: list[tuple[Callable[..., object], dict[str, str], str]] = [
        (alice.get_user, {"UserName": "bob"}, "user bob"),
        (alice.get_group, {"GroupName": "people"}, "group people"),
        (alice.get_role, {"RoleName": "ops"}, "role ops"),
        (alice.get_policy, {"PolicyArn": f"{arn}:policy/p"}, f"policy {arn}:policy/p"),
        (alice.create_user, {"UserName": "zoe", "Path": "/team/"}, f"{arn}:user/team/zoe"),
        (alice.create_group, {"GroupName": "people"}, f"{arn}:group/people"),
        (alice.create_role, {"RoleName": "ops", "AssumeRolePolicyDocument": trust}, f"{arn}:role/ops"),
        (alice.delete_virtual_mfa_device, {"SerialNumber": f"{arn}:mfa/x"}, f"{arn}:mfa/x"),
    ]
    for call, given, what in asked:
        with pytest.raises(ClientError, match=rf"\(AccessDenied\).* on resource: {what} because"):
            call(**given)


def test_policies_of_a_role_are_simulated(admin: Aws) -> None:
    """The context of a role has no aws:username."""
    trust = document({"Action": "sts:AssumeRole", "Principal": {"AWS": "000000000000"}})
    arn = admin.iam.create_role(RoleName="ops", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    allow = document({"Action": "iam:GetUser", "Resource": "arn:aws:iam::*:user/${aws:username}"})
    admin.iam.put_role_policy(RoleName="ops", PolicyName="p", PolicyDocument=allow)
    asked = {"PolicySourceArn": arn, "ActionNames": ["iam:GetUser"], "ResourceArns": ["arn:aws:iam::0:user/ops"]}
    [row] = admin.iam.simulate_principal_policy(**asked)["EvaluationResults"]
    assert (row["EvalDecision"], row["MissingContextValues"]) == ("implicitDeny", ["aws:username"])


def test_policies_that_are_not_attached_are_simulated(admin: Aws) -> None:
    """SimulateCustomPolicy evaluates each action on each resource, in the context of the request."""

    def judged(**context: Any) -> list[str]:
        entries = [
            {"ContextKeyName": name.replace("__", ":"), "ContextKeyValues": [value], "ContextKeyType": "boolean"}
            for name, value in context.items()
        ]
        found = admin.iam.simulate_custom_policy(
            PolicyInputList=[document(FORCE, {"Action": "ec2:*", "Resource": "*"})],
            ActionNames=["ec2:RunInstances", "iam:ListMFADevices"],
            ContextEntries=entries,
        )
        return [row["EvalDecision"] for row in found["EvaluationResults"]]

    assert judged() == ["explicitDeny", "implicitDeny"]
    assert judged(aws__MultiFactorAuthPresent="true") == ["allowed", "implicitDeny"]


@pytest.mark.parametrize("operator", ["BinaryEquals", "BinaryEqualsIfExists", "ForSomeValues:StringEquals"])
@pytest.mark.parametrize("context", [{"a": "x"}, {}])
def test_an_operator_that_the_lab_does_not_know_is_an_error(operator: str, context: dict[str, Any]) -> None:
    """A condition that the lab cannot evaluate never counts as met, also not if the request lacks its key."""
    with pytest.raises(IamError, match=operator):
        _verdict({"Action": "*", "Resource": "*", "Condition": {operator: {"a": "x"}}}, **context)


def test_a_statement_without_a_resource_allows_nothing() -> None:
    """Statements of trust policies have no Resource. In a user's own policy, such a statement allows nothing."""
    assert _verdict({"Action": "*"}) is NOTHING


def test_an_absent_key_satisfies_negated_operators() -> None:
    """An absent key satisfies ForAllValues and IfExists, but not ForAnyValue. Null accepts a list of values.

    Source: user guide, "Set operators for multi-valued context keys".
    """
    for operator, wanted, held in (
        ("ForAnyValue:StringNotEquals", ["x"], False),
        ("ForAllValues:StringNotEquals", ["x"], True),
        ("ForAnyValue:StringNotEqualsIfExists", ["x"], True),
        ("Null", [], False),
        ("Null", ["false", "true"], True),
    ):
        row = {"Action": "*", "Resource": "*", "Condition": {operator: {"aws:none": wanted}}}
        assert decide([document(row)], "iam:GetUser", ALICE, {}) is (ALLOW if held else NOTHING), operator


def test_variables_came_with_the_version_of_2012() -> None:
    """In a policy of an older version, `${aws:username}` is literal text (user guide, "Version")."""
    row = {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:iam::*:user/${aws:username}"}
    told = [
        decide([json.dumps({**version, "Statement": row})], "iam:GetUser", ALICE, {"aws:username": "alice"})
        for version in ({"Version": "2012-10-17"}, {"Version": "2008-10-17"}, {})
    ]
    assert told == [ALLOW, NOTHING, NOTHING]


def test_a_pattern_with_many_stars_is_evaluated_fast() -> None:
    """Trying every position for each star would take years and block all other requests."""
    for pattern, on, wanted in (
        ("*a" * 25 + "*b", "a" * 200, NOTHING),
        ("*a" * 25 + "*b", "a" * 200 + "b", ALLOW),
        ("a**b*c?*d", "a-b-b-cc-cd-d", ALLOW),
        ("a*b", "a-b-", NOTHING),
    ):
        assert decide([document({"Action": "*", "Resource": pattern})], "iam:GetUser", on, {}) is wanted


def test_one_statement_needs_no_list() -> None:
    """Statement can be a list or a single statement."""
    bare = json.dumps({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}})
    assert decide([bare], "iam:GetUser", ALICE, {}) is ALLOW


@pytest.fixture
def alice(admin: Aws) -> Aws:
    """Return a client of the lab with alice's access key. She has the self-manage policy."""
    admin.iam.put_user_policy(UserName="alice", PolicyName="manage", PolicyDocument=document(*MANAGE))
    return admin.user("alice")


def _said(action: str, on: str, why: str) -> str:
    return f"User: {ALICE} is not authorized to perform: {action} on resource: {on} {why}"


def test_the_self_manage_policy_allows_enrolling_an_own_device(alice: Aws) -> None:
    """The user may create, enable, list and resync the device."""
    serial = alice.enrolled("alice")
    assert alice.iam.list_mfa_devices()["MFADevices"][0]["SerialNumber"] == serial
    alice.iam.resync_mfa_device(UserName="alice", SerialNumber=serial, **alice.pair(alice.seeds[serial], 2))


def test_the_self_manage_policy_does_not_reach_further(alice: Aws) -> None:
    """The policy does not allow another user's device, tags, or the deletion of a device."""
    serial = alice.create("alice")
    bob = "user bob"
    why = "because no identity-based policy allows the {} action"
    with refused("AccessDenied", _said("iam:EnableMFADevice", bob, why.format("iam:EnableMFADevice"))):
        alice.enable("bob", serial)
    tag = why.format("iam:TagMFADevice")
    with refused("AccessDenied", _said("iam:TagMFADevice", "arn:aws:iam::000000000000:mfa/tagged", tag)):
        alice.create("tagged", Tags=[{"Key": "k", "Value": "v"}])
    with refused("AccessDenied"):
        alice.iam.delete_virtual_mfa_device(SerialNumber=serial)


def test_a_user_with_a_device_needs_mfa_to_change_it(alice: Aws, admin: Aws, lab: Lab) -> None:
    """Without MFA, a user with a device can neither enable nor deactivate one (AWS security bulletin AWS-2023-001)."""
    first = alice.enrolled("alice")
    second = alice.create("second")
    said = (
        "To complete this action, please ensure that you are authenticated with an MFA device that is enabled for "
        "this user."
    )
    for serial in (first, second):
        with refused("AccessDenied", said):
            alice.enable("alice", serial, 2)
    for serial in (first, f"{first}-none"):
        with refused("AccessDenied", said):
            alice.iam.deactivate_mfa_device(UserName="alice", SerialNumber=serial)
    session = alice.mfa_session(first)
    session.enable("alice", second)
    session.iam.deactivate_mfa_device(UserName="alice", SerialNumber=first)
    session.iam.deactivate_mfa_device(UserName="alice", SerialNumber=second)
    alice.enable("alice", first, 2)
    admin.iam.deactivate_mfa_device(UserName="alice", SerialNumber=first)
    assert lab.assigned(first) is None


def test_the_force_mfa_policy_denies_requests_without_mfa(alice: Aws, admin: Aws) -> None:
    """BoolIfExists also denies requests with access keys, except those for enrolling.

    A session with MFA is not affected.
    """
    more = {"Action": ["iam:ListUsers", "iam:DeactivateMFADevice"], "Resource": "*"}
    group = {"GroupName": "people"}
    admin.iam.create_group(**group)
    admin.iam.put_group_policy(**group, PolicyName="force", PolicyDocument=document(FORCE, more))
    admin.iam.add_user_to_group(**group, UserName="alice")
    users = "arn:aws:iam::000000000000:user/"
    with refused("AccessDenied", _said("iam:ListUsers", users, "with an explicit deny in an identity-based policy")):
        alice.iam.list_users()
    serial = alice.enrolled("alice")
    with refused("AccessDenied"):
        alice.iam.list_users()
    assert alice.mfa_session(serial).iam.list_users()["Users"]


def test_policies_of_a_principal_are_simulated(alice: Aws, admin: Aws) -> None:
    """Inline and group policies are evaluated on each resource. The result lists missing context keys."""
    admin.iam.create_group(GroupName="people")
    admin.iam.put_group_policy(GroupName="people", PolicyName="force", PolicyDocument=document(FORCE))
    admin.iam.add_user_to_group(GroupName="people", UserName="alice")
    admin.iam.put_user_policy(UserName="alice", PolicyName="manage", PolicyDocument=document(*MANAGE))
    bob = "arn:aws:iam::000000000000:user/bob"
    asked = {
        "PolicySourceArn": ALICE,
        "ActionNames": ["iam:EnableMFADevice", "iam:DeactivateMFADevice"],
        "ResourceArns": [ALICE, bob],
    }
    rows = admin.iam.simulate_principal_policy(**asked)["EvaluationResults"]
    assert [(row["EvalActionName"][4:10], row["EvalResourceName"], row["EvalDecision"]) for row in rows] == [
        ("Enable", ALICE, "allowed"),
        ("Enable", bob, "implicitDeny"),
        ("Deacti", ALICE, "explicitDeny"),
        ("Deacti", bob, "explicitDeny"),
    ]
    assert {tuple(row["MissingContextValues"]) for row in rows} == {("aws:MultiFactorAuthPresent",)}
    key = {"ContextKeyName": "aws:MultiFactorAuthPresent", "ContextKeyType": "boolean", "ContextKeyValues": ["true"]}
    rows = admin.iam.simulate_principal_policy(**asked, ContextEntries=[key])["EvaluationResults"]
    assert [row["EvalDecision"] for row in rows] == ["allowed", "implicitDeny"] * 2
    assert not any(row["MissingContextValues"] for row in rows)
    with refused("NoSuchEntity"):
        admin.iam.simulate_principal_policy(PolicySourceArn=f"{bob}by", ActionNames=["iam:GetUser"])
    with refused("AccessDenied"):
        alice.iam.simulate_principal_policy(PolicySourceArn=ALICE, ActionNames=["iam:GetUser"])


def test_bool_instead_of_boolifexists_does_not_deny_plain_keys(alice: Aws, admin: Aws) -> None:
    """Bool does not match an absent key, so the deny never applies."""
    trap = FORCE | {"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"}}}
    allow = document(trap, {"Action": "iam:ListUsers", "Resource": "*"})
    admin.iam.put_user_policy(UserName="alice", PolicyName="trap", PolicyDocument=allow)
    assert alice.iam.list_users()["Users"]


def test_the_self_manage_policy_does_not_match_a_user_with_a_path(admin: Aws, lab: Lab) -> None:
    """`user/${aws:username}` does not match `user/team/zoe`."""
    lab.add_user("zoe", path="/team/")
    admin.iam.put_user_policy(UserName="zoe", PolicyName="manage", PolicyDocument=document(*MANAGE))
    zoe = admin.user("zoe")
    with refused("AccessDenied"):
        zoe.enable("zoe", zoe.create("zoe"))


def test_managed_policies_are_evaluated_too(admin: Aws) -> None:
    """Attached policies are evaluated like inline policies. The text of AWS's policies comes from moto."""
    bob = admin.user("bob")
    with refused("AccessDenied"):
        bob.iam.list_users()
    for name in ("IAMReadOnlyAccess", "AWSDenyAll"):
        admin.iam.attach_user_policy(UserName="bob", PolicyArn=f"arn:aws:iam::aws:policy/{name}")
        if name == "IAMReadOnlyAccess":
            assert bob.iam.list_users()["Users"]
    with refused("AccessDenied"):
        bob.iam.list_users()


def test_get_caller_identity_is_always_allowed(admin: Aws) -> None:
    """GetCallerIdentity needs no permission, and no deny stops it."""
    deny = document({"Effect": "Deny", "Action": "*", "Resource": "*"})
    admin.iam.put_user_policy(UserName="bob", PolicyName="deny", PolicyDocument=deny)
    bob = admin.user("bob")
    assert bob.sts.get_caller_identity()["Arn"].endswith("user/bob")
    with refused("AccessDenied"):
        bob.sts.get_session_token()


def test_tags_in_a_request_can_be_a_condition(admin: Aws) -> None:
    """A policy can require a tag, or a value of a tag, in create requests."""
    wanted = {"StringEquals": {"aws:RequestTag/team": "red"}, "ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}
    create = {"Action": ["iam:CreateVirtualMFADevice", "iam:TagMFADevice"], "Resource": "*", "Condition": wanted}
    admin.iam.put_user_policy(UserName="bob", PolicyName="p", PolicyDocument=document(create))
    bob = admin.user("bob")
    assert bob.create("red", Tags=[{"Key": "team", "Value": "red"}])
    for tags in ([], [{"Key": "team", "Value": "blue"}], [{"Key": "team", "Value": "red"}, {"Key": "x", "Value": "y"}]):
        with refused("AccessDenied"):
            bob.create("other", Tags=tags)


def _simulated(client: Any, **more: Any) -> str:
    """Simulate GetUser on alice with a policy on users' own names. Return the decision."""
    own = document({"Action": "iam:GetUser", "Resource": "arn:aws:iam::*:user/${aws:username}"})
    given = {"PolicyInputList": [own], "ActionNames": ["iam:GetUser"], "ResourceArns": [ALICE], **more}
    [row] = client.simulate_custom_policy(**given)["EvaluationResults"]
    return str(row["EvalDecision"])


@pytest.mark.parametrize("key", ["iam:ResourceTag/team", "aws:ResourceTag/team"])
def test_tags_of_the_target_are_no_condition_keys(admin: Aws, key: str) -> None:
    """IAM would allow it. The lab denies, because its requests do not have these keys."""
    admin.iam.tag_user(UserName="bob", Tags=[{"Key": "team", "Value": "blue"}])
    policy = document({"Action": "iam:CreateAccessKey", "Resource": "*", "Condition": {"StringEquals": {key: "blue"}}})
    admin.iam.put_user_policy(UserName="alice", PolicyName="own", PolicyDocument=policy)
    with refused("AccessDenied"):
        admin.user("alice").iam.create_access_key(UserName="bob")


def test_a_simulation_fills_policy_variables(admin: Aws) -> None:
    """The value of aws:username comes from ContextEntries, or else from the CallerArn, which must be a user's."""

    def name(user: str) -> list[dict[str, Any]]:
        return [{"ContextKeyName": "aws:username", "ContextKeyValues": [user], "ContextKeyType": "string"}]

    bob = "arn:aws:iam::000000000000:user/bob"
    assert _simulated(admin.iam) == "implicitDeny"
    assert _simulated(admin.iam, ContextEntries=name("alice")) == "allowed"
    assert _simulated(admin.iam, CallerArn=ALICE) == "allowed"
    assert _simulated(admin.iam, CallerArn=bob) == "implicitDeny"
    assert _simulated(admin.iam, CallerArn=bob, ContextEntries=name("alice")) == "allowed"
    with refused("InvalidInput"):
        _simulated(admin.iam, CallerArn=f"{bob}-nobody")


def test_a_list_in_a_simulation_fills_no_variable(admin: Aws) -> None:
    """A key of type stringList has several values, and no policy variable can be replaced with it."""
    entry = {"ContextKeyName": "aws:username", "ContextKeyValues": ["alice"], "ContextKeyType": "stringList"}
    assert _simulated(admin.iam, ContextEntries=[entry]) == "implicitDeny"


def test_a_permissions_boundary_limits_a_user(admin: Aws) -> None:
    """A user may do what both the policy and the boundary allow. Lists show the boundary, except ListUsers."""
    iam = admin.iam
    everything = document({"Action": "*", "Resource": "*"})
    reads = document({"Action": "iam:Get*", "Resource": "*"})
    arn = iam.create_policy(PolicyName="reads", PolicyDocument=reads)["Policy"]["Arn"]
    made = iam.create_user(UserName="carol", PermissionsBoundary=arn)["User"]
    held = {"PermissionsBoundaryType": "PermissionsBoundaryPolicy", "PermissionsBoundaryArn": arn}
    assert made["PermissionsBoundary"] == iam.get_user(UserName="carol")["User"]["PermissionsBoundary"] == held
    assert not any("PermissionsBoundary" in user for user in iam.list_users()["Users"])
    details = iam.get_account_authorization_details(Filter=["User"])["UserDetailList"]
    assert [row.get("PermissionsBoundary") for row in details if row["UserName"] == "carol"] == [held]
    iam.put_user_policy(UserName="carol", PolicyName="p", PolicyDocument=everything)
    carol = admin.user("carol").iam
    assert carol.get_user()["User"]["UserName"] == "carol"
    source = {"PolicySourceArn": made["Arn"], "ActionNames": ["iam:GetUser", "iam:ListUsers"]}
    rows = iam.simulate_principal_policy(**source)["EvaluationResults"]
    assert [row["EvalDecision"] for row in rows] == ["allowed", "implicitDeny"]
    user = "arn:aws:iam::000000000000:user"
    why = "because no permissions boundary allows the iam:ListUsers action"
    with refused(
        "AccessDenied", f"User: {user}/carol is not authorized to perform: iam:ListUsers on resource: {user}/ {why}"
    ):
        carol.list_users()
    iam.delete_user_permissions_boundary(UserName="carol")
    assert carol.list_users()["Users"]
    with refused("NoSuchEntity", f"Scope ARN: {arn}x does not exist or is not attachable."):
        iam.put_user_permissions_boundary(UserName="carol", PermissionsBoundary=arn + "x")


def test_a_boundary_outlives_the_lab(admin: Aws, lab: Lab) -> None:
    """The state of a lab has the boundaries of users and roles, and a lab that is built from it enforces them."""
    arn = admin.iam.create_policy(PolicyName="none", PolicyDocument=document({"Action": "s3:*", "Resource": "*"}))
    boundary = arn["Policy"]["Arn"]
    admin.iam.put_user_permissions_boundary(UserName="alice", PermissionsBoundary=boundary)
    trust = document({"Action": "sts:AssumeRole", "Principal": {"AWS": "000000000000"}})
    admin.iam.create_role(RoleName="ops", AssumeRolePolicyDocument=trust)
    admin.iam.put_role_permissions_boundary(RoleName="ops", PermissionsBoundary=boundary)
    found = describe_account(lab.account)
    with Lab(description=found) as again:
        assert describe_account(again.account) == found
        assert again.account.backend.get_user("alice").permissions_boundary_arn == boundary
        assert again.account.backend.get_role("ops").permissions_boundary_arn == boundary


def test_an_attached_policy_is_not_deleted(admin: Aws) -> None:
    """DeletePolicy needs a policy that is attached nowhere, and that has its default version only."""
    iam = admin.iam
    one = document({"Action": "s3:*", "Resource": "*"})
    arn = iam.create_policy(PolicyName="p", PolicyDocument=one)["Policy"]["Arn"]
    iam.attach_user_policy(UserName="alice", PolicyArn=arn)
    with refused("DeleteConflict", "Cannot delete a policy attached to entities."):
        iam.delete_policy(PolicyArn=arn)
    iam.detach_user_policy(UserName="alice", PolicyArn=arn)
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=one)
    with refused("DeleteConflict"):
        iam.delete_policy(PolicyArn=arn)
    iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
    iam.delete_policy(PolicyArn=arn)
    with refused("NoSuchEntity"):
        iam.get_policy(PolicyArn=arn)


def test_dates_have_whole_seconds(admin: Aws) -> None:
    """IAM's dates have no fraction of a second. A tag that looks like one is not changed."""
    iam = admin.iam
    text = "2026-01-02T03:04:05.678Z"
    trust = document({"Action": "sts:AssumeRole", "Principal": {"AWS": "000000000000"}})
    iam.tag_user(UserName="alice", Tags=[{"Key": "since", "Value": text}])
    policy = iam.create_policy(PolicyName="p", PolicyDocument=document({"Action": "s3:*", "Resource": "*"}))["Policy"]
    dates = [
        policy["CreateDate"],
        policy["UpdateDate"],
        iam.create_group(GroupName="g")["Group"]["CreateDate"],
        iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust)["Role"]["CreateDate"],
        iam.create_access_key(UserName="alice")["AccessKey"]["CreateDate"],
        iam.get_user(UserName="alice")["User"]["CreateDate"],
    ]
    assert [at.microsecond for at in dates] == [0] * len(dates)
    assert iam.get_user(UserName="alice")["User"]["Tags"][0]["Value"] == text


@pytest.mark.parametrize(
    ("operator", "wanted"),
    [("NumericGreaterThan", "1"), ("NumericNotEquals", "1"), ("DateLessThan", "2030-01-01T00:00:00Z")],
)
def test_a_value_of_another_type_meets_no_condition(operator: str, wanted: str) -> None:
    """A request may have any text for a condition key."""
    row = {"Action": "*", "Resource": "*", "Condition": {operator: {"s3:max-keys": wanted}}}
    assert decide([document(row)], "iam:GetUser", ALICE, {"s3:max-keys": "other"}) is NOTHING
