"""The evaluation of policies: vectors from the user guide, and conditions that cannot be evaluated."""

import json
from typing import Any

import pytest

from mfa_kit.account.evaluator import (
    NEGATED,
    NO_MFA,
    PLAIN_KEYS,
    TESTS,
    UNREAD,
    WITH_MFA,
    Decision,
    RequestContext,
    actions_named,
    demands_mfa,
    denies_all_work,
    evaluate,
    principals_let_in,
    statements,
)
from mfa_kit.core.errors import UsageFault

ALLOW, DENY, NOTHING, UNKNOWN = Decision.ALLOW, Decision.EXPLICIT, Decision.IMPLICIT, Decision.UNKNOWN
ALICE = "arn:aws:iam::123456789012:user/alice"


def document(*rows: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **row} for row in rows]})


def judge(*rows: dict[str, Any], action: str = "iam:GetUser", on: str = ALICE, **context: str | None) -> Decision:
    known: RequestContext = {name.replace("__", ":"): value for name, value in context.items()}
    return evaluate([document(row) for row in rows], action, on, known)


EVERYTHING: dict[str, Any] = {"Action": "*", "Resource": "*"}


def test_deny_wins_and_the_default_is_deny() -> None:
    """Order of decisions: explicit deny, then allow, then the implicit deny. Source: "Policy evaluation logic"."""
    deny = {"Effect": "Deny", "Action": "iam:Get*", "Resource": "*"}
    assert [judge(EVERYTHING), judge(EVERYTHING, deny), judge()] == [ALLOW, DENY, NOTHING]


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"Action": "IAM:getuser", "Resource": "*"}, ALLOW),
        ({"Action": "iam:Get????", "Resource": "*"}, ALLOW),
        ({"Action": "iam:Get???", "Resource": "*"}, NOTHING),
        ({"NotAction": "iam:List*", "Resource": "*"}, ALLOW),
        ({"NotAction": ["iam:Get*"], "Resource": "*"}, NOTHING),
        ({"Action": "*", "NotResource": "arn:aws:iam::*:user/bob"}, ALLOW),
        ({"Action": "*", "NotResource": "*"}, NOTHING),
        ({"Action": "*", "Resource": "arn:aws:iam::123456789012:user/[a]lice"}, NOTHING),
        ({"Action": "*", "Resource": "arn:aws:iam::*:user/${aws:username}"}, ALLOW),
        ({"Action": "*", "Resource": "arn:aws:iam::*:user/${aws:none}"}, NOTHING),
        ({"Action": "*", "Resource": "arn:aws:iam::*:user/${aws:none}*"}, NOTHING),
        ({"Action": "*", "Resource": "arn:aws:iam::*:user/${aws:untold}"}, UNKNOWN),
        ({"Action": "*", "NotResource": "arn:aws:iam::*:user/${aws:untold}"}, UNKNOWN),
        ({"Action": "*", "NotResource": ["arn:aws:iam::*:user/${aws:untold}", "*:user/alice"]}, NOTHING),
        ({"Action": "*", "Resource": "arn:aws:iam::*:user/${aws:none, 'alice'}"}, ALLOW),
        ({"Action": "*", "Resource": "arn:aws:iam::*:user/al${*}ce"}, NOTHING),
        ({"Action": "*"}, NOTHING),
    ],
)
def test_elements(row: dict[str, Any], wanted: Decision) -> None:
    """Actions ignore case and resources do not. Only `*` and `?` are wildcards: "IAM JSON policy elements"."""
    assert judge(row, aws__username="alice", aws__none=None) is wanted


def test_a_star_in_the_value_of_a_variable_is_literal() -> None:
    """A policy variable is replaced with the literal characters of its value."""
    row = {"Action": "*", "Resource": "arn:aws:iam::*:user/${aws:username}"}
    assert judge(row, aws__username="al*") is NOTHING


@pytest.mark.parametrize(
    ("condition", "absent", "true", "false"),
    [
        ({"Bool": {"aws:MultiFactorAuthPresent": "true"}}, NOTHING, ALLOW, NOTHING),
        ({"Bool": {"aws:MultiFactorAuthPresent": False}}, NOTHING, NOTHING, ALLOW),
        ({"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}, ALLOW, NOTHING, ALLOW),
        ({"BoolIfExists": {"aws:multifactorauthpresent": "true"}}, ALLOW, ALLOW, NOTHING),
        ({"Null": {"aws:MultiFactorAuthPresent": "true"}}, ALLOW, NOTHING, NOTHING),
        ({"Null": {"aws:MultiFactorAuthPresent": False}}, NOTHING, ALLOW, ALLOW),
        ({"NumericLessThan": {"aws:MultiFactorAuthAge": "3600"}}, NOTHING, ALLOW, NOTHING),
        ({"NumericGreaterThanIfExists": {"aws:MultiFactorAuthAge": "3600"}}, ALLOW, NOTHING, ALLOW),
    ],
)
def test_mfa_conditions(condition: dict[str, Any], absent: Decision, true: Decision, false: Decision) -> None:
    """A request with long-term keys has no such key, and a session without MFA has false.

    Source: "Global condition context keys".
    """
    row = {**EVERYTHING, "Condition": condition}
    verdicts = [evaluate([document(row)], "iam:GetUser", ALICE, each) for each in (PLAIN_KEYS, WITH_MFA, NO_MFA)]
    assert verdicts == [absent, true, false]


# A condition, the value of the key `a` in the request, and whether an Allow with this condition allows it.
OPERATORS: list[tuple[dict[str, Any], str | None, Decision]] = [
    ({"StringEquals": {"a": ["x", "y"]}}, "y", ALLOW),
    ({"StringEquals": {"a": "Y"}}, "y", NOTHING),
    ({"StringEqualsIgnoreCase": {"a": "Y"}}, "y", ALLOW),
    ({"StringNotEquals": {"a": ["x", "y"]}}, "y", NOTHING),
    ({"StringNotEquals": {"a": "x"}}, None, ALLOW),
    ({"StringLike": {"a": "al*e"}}, "alice", ALLOW),
    ({"ArnLike": {"a": "arn:*:iam::*:user/al*"}}, ALICE, ALLOW),
    ({"ArnLike": {"a": "arn:*"}}, ALICE, NOTHING),
    ({"ArnLike": {"a": ALICE.replace("alice", "bob")}}, ALICE, NOTHING),
    ({"ArnEquals": {"a": ALICE.replace("alice", "bob")}}, ALICE, NOTHING),
    ({"ArnEquals": {"a": ALICE}}, ALICE, ALLOW),
    ({"NumericLessThanEquals": {"a": 2}}, "3", NOTHING),
    ({"NumericLessThanEquals": {"a": 2}}, "2", ALLOW),
    ({"StringNotEqualsIgnoreCase": {"a": "Y"}}, "y", NOTHING),
    ({"StringNotEqualsIgnoreCase": {"a": "Y"}}, "z", ALLOW),
    ({"ArnNotEquals": {"a": ALICE}}, ALICE, NOTHING),
    ({"NumericGreaterThanEquals": {"a": 3}}, "2", NOTHING),
    ({"NumericNotEquals": {"a": 2}}, "2.0", NOTHING),
    ({"NumericEquals": {"a": 2}}, "two", NOTHING),
    ({"StringLike": {"a": "al?e"}}, "alice", NOTHING),
    ({"StringNotLike": {"a": "al*e"}}, "alice", NOTHING),
    ({"StringNotLike": {"a": "al*e"}}, "bob", ALLOW),
    ({"StringNotEquals": {"a": "x"}}, "y", ALLOW),
    ({"StringEqualsIgnoreCase": {"a": "Y"}}, "z", NOTHING),
    ({"ArnNotEquals": {"a": ALICE.replace("alice", "bob")}}, ALICE, ALLOW),
    ({"ArnNotLike": {"a": "arn:*:iam::*:user/al*"}}, ALICE, NOTHING),
    ({"ArnNotLike": {"a": "arn:*:iam::*:user/b*"}}, ALICE, ALLOW),
    ({"Bool": {"a": "True"}}, "true", ALLOW),
    ({"Bool": {"a": "true"}}, "false", NOTHING),
    ({"NumericEquals": {"a": 2}}, "2.0", ALLOW),
    ({"NumericEquals": {"a": 2}}, "3", NOTHING),
    ({"NumericNotEquals": {"a": 2}}, "3", ALLOW),
    ({"NumericLessThan": {"a": 2}}, "1", ALLOW),
    ({"NumericLessThan": {"a": 2}}, "2", NOTHING),
    ({"NumericGreaterThan": {"a": 2}}, "3", ALLOW),
    ({"NumericGreaterThan": {"a": 2}}, "2", NOTHING),
    ({"NumericGreaterThanEquals": {"a": 2}}, "2", ALLOW),
    ({"ForAllValues:StringEquals": {"a": "x"}}, None, ALLOW),
    ({"ForAnyValue:StringEquals": {"a": "x"}}, None, NOTHING),
    ({"StringEquals": {"a": "x", "b": "y"}}, "x", NOTHING),
]


@pytest.mark.parametrize(("condition", "value", "wanted"), OPERATORS)
def test_operators(condition: dict[str, Any], value: str | None, wanted: Decision) -> None:
    """One of the values has to match, and all keys have to hold: "IAM JSON policy elements: Condition operators"."""
    assert judge({**EVERYTHING, "Condition": condition}, a=value, b="z") is wanted


def test_each_operator_is_tried_both_ways() -> None:
    """A value that matches, and one that does not."""
    for decision in (ALLOW, NOTHING):
        tried = {operator for row, value, wanted in OPERATORS if wanted is decision and value for operator in row}
        assert {*TESTS, *NEGATED} <= tried


@pytest.mark.parametrize(
    "condition",
    [
        {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}},
        {"BinaryEquals": {"a": "eA=="}},
        {"StringEquals": {"a": "${aws:PrincipalTag/team}"}},
    ],
)
def test_what_cannot_be_evaluated_is_unknown(condition: dict[str, Any]) -> None:
    """A key with an unknown value or an unsupported operator neither matches nor fails."""
    allow, deny = {**EVERYTHING, "Condition": condition}, {**EVERYTHING, "Effect": "Deny", "Condition": condition}
    assert judge(allow, a="x") is UNKNOWN
    assert judge(EVERYTHING, deny, a="x") is UNKNOWN
    assert judge(deny, EVERYTHING, a="x") is UNKNOWN


CALLER = {"aws:PrincipalArn": ALICE, "aws:PrincipalTag/": None, "aws:PrincipalTag/team": "red"}
PAST, COMING = "2020-01-01T00:00:00Z", "2099-12-31"
NOW = "2026-11-30T12:00:00Z"


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ({"StringEquals": {"aws:PrincipalAccount": ALICE.split(":")[4]}}, ALLOW),
        ({"StringEquals": {"aws:PrincipalAccount": "999999999999"}}, NOTHING),
        ({"StringNotLike": {"aws:userid": ["AROAEXAMPLE:*", "123456789012"]}}, ALLOW),
        ({"StringLike": {"aws:userid": "AROAEXAMPLE:*"}}, NOTHING),
        ({"StringEquals": {"aws:userid": "AIDAEXAMPLE"}}, UNKNOWN),
        ({"StringEquals": {"aws:userid": "${aws:other}"}}, UNKNOWN),
        ({"Null": {"aws:userid": "true"}}, NOTHING),
        ({"StringEquals": {"aws:RequestedRegion": ["eu-west-1", "us-east-1"]}}, ALLOW),
        ({"StringNotEquals": {"aws:RequestedRegion": "us-east-1"}}, NOTHING),
        ({"Bool": {"aws:SecureTransport": "false"}}, NOTHING),
        ({"Bool": {"aws:PrincipalIsAWSService": "false"}}, ALLOW),
        ({"ForAnyValue:StringEquals": {"aws:CalledVia": "athena.amazonaws.com"}}, NOTHING),
        ({"Null": {"aws:CalledViaFirst": "true"}}, ALLOW),
        ({"StringEquals": {"iam:ResourceTag/team": "red"}}, ALLOW),
        ({"StringEquals": {"aws:ResourceTag/team": "blue"}}, NOTHING),
        ({"Null": {"iam:ResourceTag/cost": "true"}}, ALLOW),
        ({"DateLessThan": {"aws:CurrentTime": PAST}}, NOTHING),
        ({"DateGreaterThan": {"aws:CurrentTime": PAST}}, ALLOW),
        ({"DateNotEquals": {"aws:CurrentTime": "2020-01-01"}}, ALLOW),
        ({"DateGreaterThan": {"aws:CurrentTime": COMING}}, UNKNOWN),
        ({"DateLessThan": {"aws:CurrentTime": COMING}}, UNKNOWN),
        ({"DateLessThan": {"aws:CurrentTime": "soon"}}, UNKNOWN),
        ({"StringEquals": {"aws:CurrentTime": PAST}}, UNKNOWN),
        ({"NumericGreaterThanEquals": {"aws:EpochTime": "1577836800"}}, ALLOW),
        ({"DateLessThan": {"aws:TokenIssueTime": PAST}}, NOTHING),
    ],
)
def test_keys_that_follow_from_the_caller(condition: dict[str, Any], wanted: Decision) -> None:
    """A user's own request to IAM has a known account, region and transport, and no service in between.

    A time in the policy that is past stays past. One that is to come would change the decision.
    """
    row = document({**EVERYTHING, "Condition": condition})
    context = {**CALLER, **WITH_MFA, "aws:CurrentTime": NOW}
    assert evaluate([row], "iam:GetUser", ALICE, context) is wanted
    assert evaluate([row], "iam:GetUser", ALICE, {}) is UNKNOWN


def test_the_region_is_known_for_iam_alone() -> None:
    """Other services have many regions. Plain access keys have no token, and a role's ID has the session's name."""
    region = document({**EVERYTHING, "Condition": {"StringEquals": {"aws:RequestedRegion": "us-gov-west-1"}}})
    gov = {"aws:PrincipalArn": ALICE.replace("arn:aws:", "arn:aws-us-gov:")}
    assert [evaluate([region], action, "*", gov) for action in ("iam:GetUser", "s3:x")] == [ALLOW, UNKNOWN]
    nowhere = {"aws:PrincipalArn": ALICE.replace("arn:aws:", "arn:aws-iso:")}
    assert evaluate([region], "iam:GetUser", "*", nowhere) is UNKNOWN
    token = document({**EVERYTHING, "Condition": {"DateGreaterThan": {"aws:TokenIssueTime": PAST}}})
    assert evaluate([token], "iam:GetUser", ALICE, {**CALLER, **PLAIN_KEYS}) is NOTHING
    role = {"aws:PrincipalArn": "arn:aws:iam::123456789012:role/web"}
    own = document({**EVERYTHING, "Condition": {"StringNotLike": {"aws:userid": "AIDA*"}}})
    assert evaluate([own], "iam:GetUser", ALICE, role) is ALLOW
    path = {**EVERYTHING, "Resource": "arn:aws:iam::*:user/${aws:userid}"}
    assert evaluate([document(path)], "iam:GetUser", ALICE, CALLER) is UNKNOWN


def test_an_unknown_statement_does_not_matter_if_another_decides() -> None:
    """A separate allow still counts, an explicit deny wins, and a failed condition in the same statement decides."""
    maybe = {**EVERYTHING, "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}
    never = {**EVERYTHING, "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}, "StringEquals": {"a": "x"}}}
    assert judge(maybe, EVERYTHING) is ALLOW
    assert judge(EVERYTHING, maybe) is ALLOW
    assert judge(maybe, {**EVERYTHING, "Effect": "Deny"}) is DENY
    assert judge(never, a="y") is NOTHING


FORCE = {
    "Effect": "Deny",
    "NotAction": ["iam:EnableMFADevice", "sts:GetSessionToken"],
    "Resource": "*",
    "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}},
}


def test_a_policy_that_demands_mfa_is_recognized_by_its_denials() -> None:
    """Plain keys and console sessions without MFA are denied, and sessions with MFA are not."""
    assert denies_all_work([document(FORCE)], PLAIN_KEYS) is True
    assert denies_all_work([document(FORCE)], WITH_MFA) is False
    assert demands_mfa([document(EVERYTHING), document(FORCE)], {}) is True


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({**FORCE, "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"}}}, False),
        ({**FORCE, "NotAction": ["s3:*"]}, False),
        ({"Effect": "Deny", "Action": "*", "Resource": "*"}, False),
        ({**FORCE, "Condition": {**FORCE["Condition"], "IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}, None),  # type: ignore[dict-item]
    ],
    ids=["Bool", "a hole for S3", "denies all", "an address"],
)
def test_policies_that_only_seem_to_demand_mfa(row: dict[str, Any], wanted: bool | None) -> None:
    """Bool lets plain keys through. A deny of everything does not demand MFA. A further condition leaves it unknown."""
    assert demands_mfa([document(row)], {}) is wanted


MAYBE: dict[str, Any] = {**EVERYTHING, "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}


@pytest.mark.parametrize(
    ("row", "boundary", "wanted"),
    [
        (EVERYTHING, EVERYTHING, ALLOW),
        (EVERYTHING, {"Action": "iam:*", "Resource": "*"}, ALLOW),
        (EVERYTHING, {"Action": "s3:*", "Resource": "*"}, NOTHING),
        (EVERYTHING, {**EVERYTHING, "Effect": "Deny"}, DENY),
        ({"Action": "s3:*", "Resource": "*"}, EVERYTHING, NOTHING),
        ({**EVERYTHING, "Effect": "Deny"}, EVERYTHING, DENY),
        (EVERYTHING, MAYBE, UNKNOWN),
        ({"Action": "s3:*", "Resource": "*"}, MAYBE, NOTHING),
        (MAYBE, EVERYTHING, UNKNOWN),
        (MAYBE, {"Action": "s3:*", "Resource": "*"}, NOTHING),
    ],
)
def test_an_allow_counts_within_the_boundary(row: dict[str, Any], boundary: dict[str, Any], wanted: Decision) -> None:
    """A boundary grants nothing by itself: "Permissions boundaries for IAM entities"."""
    assert evaluate([document(row)], "iam:GetUser", ALICE, {}, boundary=document(boundary)) is wanted


def test_an_unread_boundary_makes_allowed_actions_unknown() -> None:
    """Actions that the policies deny or do not allow stay denied, whatever the boundary says."""
    assert evaluate([document(EVERYTHING)], "iam:GetUser", ALICE, {}, boundary=UNREAD) is UNKNOWN
    assert evaluate([document()], "iam:GetUser", ALICE, {}, boundary=UNREAD) is NOTHING
    assert demands_mfa([document(FORCE)], {}, boundary=UNREAD) is None
    assert demands_mfa([document(EVERYTHING)], {}, boundary=UNREAD) is None


WITHIN: dict[str, Any] = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}


@pytest.mark.parametrize(
    ("row", "boundary", "wanted"),
    [
        (EVERYTHING, {**EVERYTHING, "Condition": WITHIN}, True),
        (EVERYTHING, EVERYTHING, False),
        (FORCE, {"Action": "dynamodb:*", "Resource": "*"}, True),
        (EVERYTHING, {"Action": ["dynamodb:*", "iam:ListMFADevices"], "Resource": "*"}, False),
        (EVERYTHING, {"Action": "dynamodb:*", "Resource": "*", "Condition": WITHIN}, True),
        (EVERYTHING, {**EVERYTHING, "Effect": "Deny"}, False),
    ],
)
def test_a_boundary_may_demand_mfa(row: dict[str, Any], boundary: dict[str, Any], wanted: bool) -> None:
    """Only what the boundary allows with MFA counts.

    Actions that the boundary never allows are not counted as denied without MFA.
    """
    assert demands_mfa([document(row)], {}, boundary=document(boundary)) is wanted


def test_the_actions_that_a_policy_names() -> None:
    """Actions are returned as written: one per service and resource for an Allow, and all of them for a Deny."""
    row = {"Action": ["s3:Get*", "s3:List*", "ec2:*", "iam:ListMFADevices"], "Resource": "*"}
    own = {"Action": "s3:*", "Resource": "arn:aws:s3:::home/${aws:username}/*"}
    assert actions_named(document(row, own), allow=True) == (("s3:Get*", "*"), ("ec2:*", "*"))
    assert actions_named(document(row, {**row, "Effect": "Deny"}), allow=False) == (
        ("s3:Get*", "*"),
        ("s3:List*", "*"),
        ("ec2:*", "*"),
    )


def test_the_principals_that_a_trust_policy_allows() -> None:
    """Principals can be a single value, a list or an object by type.

    A deny removes its own principals, or everyone. A condition that cannot be evaluated counts as met.
    """
    mfa = {"Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}}
    assume = {"Action": "sts:AssumeRole"}
    trust = document(
        {**assume, "Principal": {"AWS": [ALICE, "123456789012"], "Service": "ec2.amazonaws.com"}, **mfa},
        {**assume, "Principal": "*", "Condition": {"StringEquals": {"sts:ExternalId": "x"}}},
    )
    assert principals_let_in(trust, NO_MFA) == [("AWS", "*")]
    assert ("Service", "ec2.amazonaws.com") in principals_let_in(trust, WITH_MFA)
    without = document(
        {**assume, "Principal": {"AWS": [ALICE, "b"]}}, {**assume, "Effect": "Deny", "Principal": {"AWS": ALICE}}
    )
    assert principals_let_in(without, {}) == [("AWS", "b")]
    nobody = document({**assume, "Principal": {"AWS": ALICE}}, {**assume, "Effect": "Deny", "Principal": "*"})
    assert principals_let_in(nobody, {}) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1 is not valid JSON"),
        ('{"Statement": [\n1,,', "line 2 is not valid JSON"),
        ("[]", "a part of it does not follow"),
        ("[" * 100_000, "it is nested too deep"),
        ("{}", "it has no Statement"),
        ('{"Statement": [1]}', "a part of it does not follow"),
        ('{"Statement": {"Action": "*"}}', "a statement has no Effect"),
    ],
    ids=range(7),
)
def test_a_text_that_is_not_a_policy_is_refused(text: str, why: str) -> None:
    """The error is a message of one sentence."""
    with pytest.raises(UsageFault, match=f"this is not an IAM policy: {why}"):
        statements(text)


def test_variables_came_with_the_version_of_2012() -> None:
    """In an older policy, `${aws:username}` is literal text: "IAM JSON policy elements: Version"."""
    row = {"Effect": "Allow", "Action": "*", "Resource": "arn:aws:iam::*:user/${aws:username}"}
    told = [
        evaluate([json.dumps({**version, "Statement": row})], "iam:GetUser", ALICE, {"aws:username": "alice"})
        for version in ({"Version": "2012-10-17"}, {"Version": "2008-10-17"}, {})
    ]
    assert told == [ALLOW, NOTHING, NOTHING]


@pytest.mark.parametrize(
    ("operator", "wanted", "verdict"),
    [
        ("StringNotEquals", ["x"], DENY),
        ("ForAnyValue:StringNotEquals", ["x"], NOTHING),
        ("ForAllValues:StringNotEquals", ["x"], DENY),
        ("ForAnyValue:StringNotEqualsIfExists", ["x"], DENY),
        ("ForAnyValue:StringEquals", ["x"], NOTHING),
        ("Null", [], NOTHING),
        ("Null", ["false", "true"], DENY),
    ],
)
def test_conditions_on_a_key_that_a_request_lacks(operator: str, wanted: list[str], verdict: Decision) -> None:
    """An absent key satisfies negated operators: "Set operators for multi-valued context keys"."""
    row = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {operator: {"aws:none": wanted}}}
    assert judge(row, aws__none=None) is verdict


def test_a_pattern_with_many_stars_is_evaluated_fast() -> None:
    """Trying each position for each star would take years."""
    many = {"Action": "*", "Resource": "*a" * 25 + "*b"}
    assert judge(many, on="a" * 200) is NOTHING
    assert judge(many, on="a" * 200 + "b") is ALLOW
    assert judge({"Action": "*", "Resource": "a**b*c?*d"}, on="a-b-b-cc-cd-d") is ALLOW
    assert judge({"Action": "*", "Resource": "a*b"}, on="a-b-") is NOTHING


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"Statement": {"Effect": "allow", "Action": "*", "Resource": "*"}}', "no valid Effect"),
        ('{"Statement": {"Effect": "Deny", "Actions": "*", "Resource": "*"}}', "no Action"),
        (f'{{"Statement": [], "Id": {"1" * 5000}}}', "too long"),
    ],
)
def test_a_policy_with_a_typing_error_is_refused(text: str, why: str) -> None:
    """IAM refuses such a policy, so it must not be reported as denying anything."""
    with pytest.raises(UsageFault, match=why):
        statements(text)
