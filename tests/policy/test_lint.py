"""Traps in policies about MFA: each is found, and the output of `policy show` has none."""

import json
from typing import Any

import pytest

from mfa_kit.core.errors import UsageFault
from mfa_kit.policy.lint import TRAPS, Holder, find_traps, policies_about_mfa
from mfa_kit.policy.texts import PolicyChoices, control_policy, mfa_policy
from tests.audit.conftest import changed, taken
from tests.audit.test_rules import user
from tests.contract.test_permissions import WISHES

FORCE: dict[str, Any] = {
    "Sid": "Force",
    "Effect": "Deny",
    "NotAction": ["iam:EnableMFADevice", "iam:ChangePassword", "sts:GetSessionToken"],
    "Resource": "*",
    "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}},
}
OWN = "arn:aws:iam::*:user/${aws:username}"


def text(*rows: dict[str, Any], version: str | None = "2012-10-17") -> str:
    return json.dumps({**({"Version": version} if version else {}), "Statement": list(rows)})


def names(document: str, **how: Any) -> set[str]:
    return {trap.name for trap in find_traps(document, **how)}


def with_exceptions(*actions: str) -> dict[str, Any]:
    return {**FORCE, "NotAction": [*FORCE["NotAction"], *actions]}


def when(operator: str, value: str) -> dict[str, Any]:
    return {**FORCE, "Condition": {operator: {"aws:MultiFactorAuthPresent": value}}}


def allow(action: Any, resource: Any, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


MFA = {"aws:MultiFactorAuthPresent": "true"}
NONE = {"aws:MultiFactorAuthPresent": "false"}
AGE = {"aws:MultiFactorAuthAge": "true"}
WITHOUT_ENABLING = ["iam:ChangePassword", "sts:GetSessionToken"]
OWN_DEVICE = "arn:aws:iam::*:mfa/${aws:username}"
OWN_USERS = [OWN, "arn:aws:iam::*:user/*/${aws:username}"]
CREATE, ENABLE = "iam:CreateVirtualMFADevice", "iam:EnableMFADevice"
LISTS = ["iam:ListMFADevices", "iam:ListVirtualMFADevices"]
MISSPELLED = {"BoolIfExists": {"aws:MultiFactorAuthenticated": "false"}}
BUCKET = {**FORCE, "NotAction": [], "Action": "*", "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"]}
TWO = ["ec2:StartInstances", "ec2:StopInstances"]
OF_BOB = {**FORCE, "Condition": {"Bool": NONE, "StringEquals": {"aws:username": "bob"}}}
OF_OTHERS = {**FORCE, "Condition": {"BoolIfExists": NONE, "StringNotEquals": {"aws:username": "bob"}}}
ON_SCP = {"on": Holder.SCP}
USERS_ONLY = {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}
DIRECT = {"Bool": {"aws:ViaAWSService": "false"}}
WITHOUT_MFA = {"BoolIfExists": NONE}


def control(**condition: Any) -> dict[str, Any]:
    """Return the statement of `policy show --scp` with another condition."""
    (row,) = control_policy(PolicyChoices())[0]["Statement"]
    return {**row, "Condition": condition}


def deny(action: Any, **condition: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Action": action, "Resource": "*", **({"Condition": condition} if condition else {})}


CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("bool", text(when("Bool", "false")), {}),
    ("null", text(when("Null", "true")), {}),
    ("inverted", text(when("Bool", "true")), {}),
    ("inverted", text(when("Null", "false")), {}),
    ("inverted", text({**FORCE, "Action": "s3:*", "NotAction": [], "Condition": {"Null": NONE}}), {"on": Holder.ROLE}),
    ("inverted", text(allow("*", "*", Condition={"Null": MFA})), {}),
    ("inverted", text(allow("*", "*", Condition={"Bool": NONE})), {}),
    ("age", text({**FORCE, "Condition": {"NumericGreaterThan": {"aws:MultiFactorAuthAge": "3600"}}}), {}),
    ("if-exists", text(allow("*", "*", Condition={"NumericLessThanIfExists": {"aws:MultiFactorAuthAge": "3600"}})), {}),
    ("if-exists", text(allow("*", "*", Condition={"Null": NONE})), {}),
    ("operator", text(when("StringNotEquals", "true")), {}),
    ("operator", text(when("ForAllValues:Bool", "false")), {}),
    ("removal", text({**FORCE, "Resource": [], "NotResource": [OWN]}), {}),
    ("removal", text({**FORCE, "Resource": [], "NotResource": [OWN.replace("*", "111122223333")]}), {}),
    ("removal", text({**FORCE, "Resource": [], "NotResource": [OWN.replace("aws:", "aws-us-gov:", 1)]}), {}),
    ("enrolling", text(allow(["iam:*MFADevice"], "*"), {**FORCE, "NotAction": WITHOUT_ENABLING}), {}),
    ("bool", text(when("Bool", "false"), {**FORCE, "NotAction": [], "Action": "s3:*", "Condition": {"Null": MFA}}), {}),
    ("if-exists", text(allow("*", "*", Condition={"BoolIfExists": MFA})), {}),
    ("removal", text(with_exceptions("iam:DeleteVirtualMFADevice")), {}),
    ("removal", text(with_exceptions("iam:*MFA*")), {}),
    ("removal", text(with_exceptions("iam:DeactivateMFADevice")), {}),
    ("session", text({**FORCE, "NotAction": ["iam:ChangePassword"]}), {}),
    ("session", text({**FORCE, "NotAction": [], "Action": ["sts:*", "s3:*"]}), {}),
    ("enrolling", text(allow(["iam:CreateVirtualMFADevice"], "*"), FORCE), {}),
    ("password", text({**FORCE, "NotAction": ["sts:GetSessionToken"]}), {}),
    ("paths", text(allow("iam:GetUser", OWN)), {}),
    ("version", text(allow("iam:GetUser", [OWN, "arn:aws:iam::*:user/*/${aws:username}"]), version=None), {}),
    ("role", text(FORCE), {"on": Holder.ROLE}),
    ("device-names", text(allow(CREATE, OWN_DEVICE)), {}),
    ("device-names", text(allow([CREATE, ENABLE], [OWN_DEVICE, *OWN_USERS])), {}),
    ("resource", text(allow(CREATE, OWN_USERS)), {}),
    ("resource", text(allow([CREATE, ENABLE], "arn:aws:iam::*:mfa/*")), {}),
    ("resource", text(allow("iam:DeactivateMFADevice", "arn:aws:iam::111122223333:mfa/*")), {}),
    *(
        ("enrolling", text(allow(action, "*", Condition={"Bool": MFA})), {})
        for action in (CREATE, ENABLE, "iam:ListMFADevices")
    ),
    ("console", text(with_exceptions(CREATE)), {}),
    ("console", text(with_exceptions(CREATE, LISTS[0])), {}),
    *(
        ("exempt", text(with_exceptions(action)), {})
        for action in (
            "sts:AssumeRole",
            "iam:PutUserPolicy",
            "iam:DetachGroupPolicy",
            "iam:CreateLoginProfile",
            "iam:UpdateLoginProfile",
            "iam:CreateAccessKey",
        )
    ),
    ("key", text({**FORCE, "Condition": MISSPELLED}), {}),
    ("key", text(allow("*", "*", Condition={"Bool": {"aws:MFAPresent": "true"}})), {}),
    ("bool", text(OF_BOB, OF_OTHERS), {}),
    ("bool", text(when("Bool", "false"), {**BUCKET, "Resource": "arn:aws:s3:::b/*"}), {}),
    ("partition", text(allow("iam:GetUser", "arn:aws:iam::*:user/*")), {"partition": "aws-us-gov"}),
    ("roles", text(control(**WITHOUT_MFA, **DIRECT, Null={"aws:AssumedRoot": "true"})), ON_SCP),
    ("services", text(control(**WITHOUT_MFA, **USERS_ONLY)), ON_SCP),
    ("root-sessions", text(deny("*", ArnLike={"aws:PrincipalArn": "arn:aws:iam::*:root"})), ON_SCP),
    ("blocked", text(deny(CREATE)), ON_SCP),
    ("blocked", text(deny("iam:Enable*", StringNotEquals={"aws:RequestedRegion": "eu-west-1"})), ON_SCP),
    ("allow", text(allow("*", "*", Condition={"Bool": MFA})), ON_SCP),
    ("scp-grammar", text(deny("s3:*"), version=None), ON_SCP),
    ("scp-grammar", text({**deny("s3:*"), "Principal": "*"}), ON_SCP),
    ("scp-grammar", text(deny(["s3:*"] * 1500)), ON_SCP),
    ("session-arns", text(deny("s3:*", ArnNotLike={"aws:PrincipalArn": "arn:aws:sts::*:assumed-role/a/*"})), ON_SCP),
    ("multivalued", text(deny("s3:*", StringNotLike={"aws:PrincipalOrgPaths": "o-a/*"})), ON_SCP),
]


@pytest.mark.parametrize(("name", "document", "how"), CASES, ids=[f"{n}-{row[0]}" for n, row in enumerate(CASES)])
def test_a_trap_is_found(name: str, document: str, how: dict[str, Any]) -> None:
    """The message says what the trap leads to and what to write instead."""
    found = find_traps(document, **how)
    assert {trap.name for trap in found} == {name}
    assert all(trap.what and trap.instead for trap in found)


@pytest.mark.parametrize(("kind", "action"), [("mfa", "DeleteVirtualMFADevice"), ("user", "DeactivateMFADevice")])
def test_each_action_is_tested_on_its_own_resource(kind: str, action: str) -> None:
    """A virtual device is deleted as mfa/NAME, and taken from user/NAME. What NotResource leaves out is not denied."""
    found = find_traps(text({**FORCE, "Resource": [], "NotResource": [f"arn:aws:iam::*:{kind}/*"]}))
    assert [trap.what.partition(" ")[0] for trap in found if trap.name == "removal"] == [f"iam:{action}"]


@pytest.mark.parametrize(
    ("document", "how", "what"),
    [
        (text({**FORCE, "Condition": MISSPELLED}), {}, "applies to all requests, also with MFA"),
        (text(allow("*", "*", Condition={"Bool": {"aws:MFAPresent": "true"}})), {}, "applies to no request"),
        (text(with_exceptions("iam:*", "sts:*")), {}, "stolen access keys reach every role"),
        (text(with_exceptions("iam:*")), {}, "enough to remove this policy"),
        (text(with_exceptions("iam:*")), {}, "set a password"),
        (text(FORCE), {"on": Holder.ROLE}, "the role can no longer do anything"),
        (text({**FORCE, "NotAction": [], "Action": TWO}), {"on": Holder.ROLE}, f"can no longer use {', '.join(TWO)}"),
    ],
)
def test_the_message_says_what_a_trap_leads_to(document: str, how: dict[str, Any], what: str) -> None:
    """The message names the actions, and what somebody without MFA can do with them."""
    found = [trap.what for trap in find_traps(document, **how)]
    assert any(what in each for each in found), found


def test_every_trap_has_a_case() -> None:
    """A trap that no test ever matched may match nothing."""
    assert {row[0] for row in CASES} == set(TRAPS)


@pytest.mark.parametrize(
    ("document", "how"),
    [
        (text(FORCE), {"on": Holder.GROUP, "partition": "aws"}),
        (text(FORCE, allow("*", "*")), {}),
        (text(BUCKET), {}),
        (text({**FORCE, "Condition": {"NumericGreaterThanIfExists": {"aws:MultiFactorAuthAge": "3600"}}}), {}),
        (text(allow("*", "*", Condition={"NumericLessThan": {"aws:MultiFactorAuthAge": "3600"}})), {}),
        (text(FORCE, {**FORCE, "Condition": {"NumericGreaterThan": {"aws:MultiFactorAuthAge": "3600"}}}), {}),
        (text(when("Bool", "false"), when("Null", "true")), {}),
        (text(OF_BOB, FORCE), {}),
        (text(with_exceptions(CREATE, *LISTS), allow([CREATE, ENABLE], ["arn:aws:iam::*:mfa/*", *OWN_USERS])), {}),
        (text(with_exceptions("sts:AssumeRole"), {**FORCE, "Action": "sts:AssumeRole", "NotAction": []}), {}),
        (text(allow(CREATE, "*"), allow(CREATE, "*", Condition={"Bool": MFA})), {}),
        (text({**FORCE, "Condition": {"Null": AGE}}), {}),
        (text(allow("*", "*", Condition={"Bool": MFA})), {}),
        (text(allow("iam:GetUser", "arn:*:iam::*:user/*")), {"partition": "aws-us-gov"}),
        (text(allow("*", "*")), {"on": Holder.ROLE}),
        (text(allow("s3:*", "*", Condition={"StringEquals": {"aws:username": "bob"}}), version=None), {}),
        (text(control(**WITHOUT_MFA, **DIRECT, **USERS_ONLY)), ON_SCP),
        (
            text(deny("*", ArnLike={"aws:PrincipalArn": "arn:aws:iam::*:root"}, Null={"aws:AssumedRoot": "true"})),
            ON_SCP,
        ),
        (text(deny(CREATE, StringNotEquals={"aws:RequestedRegion": "us-east-1"})), ON_SCP),
        (text(deny("s3:*", **{"ForAllValues:StringNotLike": {"aws:PrincipalOrgPaths": "o-a/*"}})), ON_SCP),
        (text(control(**WITHOUT_MFA)), {}),
    ],
)
def test_correct_policies_have_no_traps(document: str, how: dict[str, Any]) -> None:
    """An administrator's `*` names no enrollment action. A role may have any policy that does not require MFA."""
    assert names(document, **how) == set()


@pytest.mark.parametrize("policy_request", WISHES, ids=str)
def test_printed_policies_have_only_the_chosen_traps(policy_request: Any) -> None:
    """Without --first-sign-in, users cannot change a password, and without --user-paths, paths do not match.

    With --own-names, users have one device. All three are reported.
    """
    document, _ = mfa_policy(policy_request)
    chosen = {"password"} if not policy_request.first_sign_in else set()
    if not policy_request.user_paths and (policy_request.variant == "self-managed" or policy_request.first_sign_in):
        chosen.add("paths")
    if policy_request.own_names and policy_request.variant == "self-managed":
        chosen.add("device-names")
    assert names(json.dumps(document), on=Holder.GROUP, partition="aws") == chosen


def test_a_statement_is_named_by_its_sid_or_its_number() -> None:
    """With either of them, a reader finds the statement."""
    bare = {name: value for name, value in FORCE.items() if name != "Sid"}
    found = find_traps(
        text(allow("s3:*", "*"), {**bare, "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "false"}}})
    )
    assert [trap.statement for trap in found] == ["statement 2"]
    assert find_traps(text(when("Bool", "false")))[0].statement == "Force"


def test_policies_about_mfa_in_an_account_are_checked() -> None:
    """Inline and attached policies of groups, users and roles are checked. AWS's managed policies are not.

    A condition key that AWS does not have counts as a mention of MFA.
    """

    def more(found: dict[str, Any]) -> None:
        found["policies"] = [{"name": "force", "document": json.loads(text(FORCE))}]
        found["roles"][0]["attached"] = ["arn:aws:iam::000000000000:policy/force"]
        wrong = json.loads(text({**FORCE, "Condition": MISSPELLED}))
        user(
            "alice",
            policies={"own": json.loads(text(FORCE)), "wrong": wrong, "dull": json.loads(text(allow("s3:*", "*")))},
        )(found)

    found = [(where, holder) for where, holder, _ in policies_about_mfa(taken(changed(more))[0])]
    assert found == [
        ("group people, policy force-mfa", Holder.GROUP),
        ("user alice, policy own", Holder.USER),
        ("user alice, policy wrong", Holder.USER),
        ("role web, policy arn:aws:iam::000000000000:policy/force", Holder.ROLE),
    ]


def test_a_text_that_is_not_a_policy_is_refused() -> None:
    """A text that was not checked never passes."""
    with pytest.raises(UsageFault, match="not an IAM policy"):
        find_traps("{}")
