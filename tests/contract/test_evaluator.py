"""Compares the lab's policy evaluator with MiniStack's, which others wrote from the same pages of AWS."""

import json
from typing import Any

import pytest

from mfa_kit.lab.aws.policies import EvalDecision
from tests.lab.client import document
from tests.lab.test_policies import ALICE, ELEMENTS, FORCE, MANAGE, MFA, OPERATORS

other = pytest.importorskip("ministack.core.iam_evaluator", reason="ministack is not installed")
WORDS = {"Allow": EvalDecision.ALLOW, "Deny": EvalDecision.EXPLICIT, "ImplicitDeny": EvalDecision.IMPLICIT}
# MiniStack 1.5.33 does not support policy variables, and matches an ARN as one string.
KNOWN = ("${", 'arn:*"')


def _verdict(policy: str, context: dict[str, Any], *, action: str = "iam:GetUser", on: str = ALICE) -> EvalDecision:
    made = other.EvalContext(
        principal_arn=ALICE,
        principal_type="User",
        principal_account="000000000000",
        action=action,
        resource_arn=on,
        region="us-east-1",
        principal_keys={name.lower(): value for name, value in context.items()},
    )
    return WORDS[other.evaluate(made, [other.parse_policy_document(policy)]).decision]


def _comparable(rows: tuple[Any, ...]) -> list[Any]:
    return [row for row in rows if not any(part in json.dumps(row[0]) for part in KNOWN)]


@pytest.mark.parametrize(("statement", "wanted"), _comparable(ELEMENTS))
def test_elements(statement: dict[str, Any], wanted: EvalDecision) -> None:
    """Both evaluators agree on actions, resources and their negations."""
    assert _verdict(document(statement), {"aws:username": "alice"}) is wanted


@pytest.mark.parametrize(("condition", "wanted"), _comparable(MFA))
def test_mfa_conditions(condition: dict[str, Any], wanted: dict[str, EvalDecision]) -> None:
    """Both evaluators agree on Bool, BoolIfExists and Null, for requests with long-term keys and with a session."""
    policy = document({"Action": "*", "Resource": "*", "Condition": condition})
    for value, verdict in wanted.items():
        context = {} if value == "absent" else {"aws:MultiFactorAuthPresent": value}
        assert _verdict(policy, context) is verdict


@pytest.mark.parametrize(("condition", "context", "wanted"), _comparable(OPERATORS))
def test_operators(condition: dict[str, Any], context: dict[str, Any], wanted: EvalDecision) -> None:
    """Both evaluators agree on operators, set operators and their negations."""
    assert _verdict(document({"Action": "*", "Resource": "*", "Condition": condition}), context) is wanted


def test_the_force_mfa_policy() -> None:
    """Both deny ListUsers with plain keys, but not EnableMFADevice, and deny nothing in a session with MFA."""
    everything = {"Action": "iam:*", "Resource": "*"}
    policy = document(FORCE, everything)
    assert json.loads(policy)["Statement"][0]["Effect"] == "Deny"
    assert _verdict(policy, {}, action="iam:ListUsers", on="*") is EvalDecision.EXPLICIT
    assert _verdict(policy, {}, action="iam:EnableMFADevice") is EvalDecision.ALLOW
    assert (
        _verdict(policy, {"aws:MultiFactorAuthPresent": "true"}, action="iam:ListUsers", on="*") is EvalDecision.ALLOW
    )
    assert _verdict(document(*MANAGE), {}, action="iam:ListVirtualMFADevices", on="*") is EvalDecision.ALLOW
