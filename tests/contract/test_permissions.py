"""Compares mfa-kit's policy evaluator, on which lockout depends, with MiniStack's, which others wrote."""

import json
from typing import Any

import pytest

from mfa_kit.account.evaluator import NO_MFA, PLAIN_KEYS, WITH_MFA, Decision, RequestContext, evaluate
from mfa_kit.policy.texts import PolicyChoices, Variant, mfa_policy
from tests.ground.test_permissions import ALICE, document

other = pytest.importorskip("ministack.core.iam_evaluator", reason="ministack is not installed")
WORDS = {"Allow": Decision.ALLOW, "Deny": Decision.EXPLICIT, "ImplicitDeny": Decision.IMPLICIT}
ACTIONS = (
    "ec2:DescribeInstances",
    "iam:ChangePassword",
    "iam:CreateVirtualMFADevice",
    "iam:DeactivateMFADevice",
    "iam:DeleteVirtualMFADevice",
    "iam:EnableMFADevice",
    "iam:GetAccountPasswordPolicy",
    "iam:ListVirtualMFADevices",
    "iam:ResyncMFADevice",
    "s3:GetObject",
    "sts:GetSessionToken",
)
WISHES = [
    PolicyChoices(variant=variant, first_sign_in=first, own_names=own, user_paths=paths)
    for variant in Variant
    for first in (False, True)
    for own in (False, True)
    for paths in (False, True)
]


def theirs(
    policies: list[str], context: RequestContext, *, action: str, on: str, boundary: str | None = None
) -> Decision:
    made = other.EvalContext(
        principal_arn=ALICE,
        principal_type="User",
        principal_account="123456789012",
        action=action,
        resource_arn=on,
        region="us-east-1",
        principal_keys={name.lower(): value for name, value in context.items() if value is not None},
    )
    limits = [[other.parse_policy_document(boundary)]] if boundary else []
    return WORDS[other.evaluate(made, [other.parse_policy_document(each) for each in policies], *limits).decision]


@pytest.mark.parametrize("policy_request", WISHES, ids=str)
@pytest.mark.parametrize("context", [PLAIN_KEYS, NO_MFA, WITH_MFA], ids=["keys", "console", "MFA"])
def test_the_force_mfa_policies(policy_request: PolicyChoices, context: RequestContext) -> None:
    """Both evaluators decide alike on each action with an added policy that allows all, and deny alike without it."""
    text = json.dumps(mfa_policy(policy_request)[0])
    every = document({"Action": "*", "Resource": "*"})
    for action in ACTIONS:
        ours = evaluate([every, text], action, ALICE, context)
        assert ours is theirs([every, text], context, action=action, on=ALICE), action
        # MiniStack does not support policy variables, so only the denial can be compared for a statement with one.
        bare = evaluate([text], action, ALICE, context) is Decision.EXPLICIT
        assert bare is (theirs([text], context, action=action, on=ALICE) is Decision.EXPLICIT), action


TRAPS: list[dict[str, Any]] = [
    {"Bool": {"aws:MultiFactorAuthPresent": "false"}},
    {"BoolIfExists": {"aws:MultiFactorAuthPresent": "true"}},
    {"Null": {"aws:MultiFactorAuthAge": "true"}},
    {"NumericGreaterThanIfExists": {"aws:MultiFactorAuthAge": "3600"}},
    {"NumericLessThan": {"aws:MultiFactorAuthAge": "3600"}},
    {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}, "StringNotEquals": {"aws:PrincipalType": "AssumedRole"}},
]


@pytest.mark.parametrize("condition", TRAPS, ids=json.dumps)
def test_conditions_that_are_traps(condition: dict[str, Any]) -> None:
    """Both evaluators decide alike on each trap, with Allow or Deny and with Action or NotAction."""
    for effect in ("Allow", "Deny"):
        for actions in ({"Action": "iam:*"}, {"NotAction": ["iam:EnableMFADevice", "sts:GetSessionToken"]}):
            row = {"Effect": effect, **actions, "Resource": "*", "Condition": condition}
            texts = [document({"Action": "*", "Resource": "*"}), document(row)] if effect == "Deny" else [document(row)]
            for context in (PLAIN_KEYS, NO_MFA, WITH_MFA):
                found = {**context, "aws:PrincipalType": "User"}
                for action in ACTIONS:
                    ours = evaluate(texts, action, ALICE, found)
                    assert ours is theirs(texts, found, action=action, on=ALICE), (row, found, action)


@pytest.mark.parametrize("condition", TRAPS, ids=json.dumps)
def test_boundaries(condition: dict[str, Any]) -> None:
    """Each trap is in the boundary of users with all rights, some or none, with Allow or Deny, Action or NotAction."""
    for effect in ("Allow", "Deny"):
        for actions in ({"Action": "iam:*"}, {"NotAction": ["iam:EnableMFADevice", "sts:GetSessionToken"]}):
            row = {"Effect": effect, **actions, "Resource": "*", "Condition": condition}
            boundary = document({"Action": "*", "Resource": "*"}, row) if effect == "Deny" else document(row)
            for rights in ({"Action": "*"}, {"Action": "iam:*"}, {"Effect": "Deny", "Action": "iam:Get*"}):
                texts = [document({**rights, "Resource": "*"})]
                for context in (PLAIN_KEYS, NO_MFA, WITH_MFA):
                    found = {**context, "aws:PrincipalType": "User"}
                    for action in ACTIONS:
                        ours = evaluate(texts, action, ALICE, found, boundary=boundary)
                        assert ours is theirs(texts, found, action=action, on=ALICE, boundary=boundary), (row, action)
