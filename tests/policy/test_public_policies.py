"""Policies that AWS published: lint, lockout and the evaluator agree with MiniStack's evaluator and the lab's."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import pytest
from moto.iam.aws_managed_policies import aws_managed_policies_data

from mfa_kit.account import evaluator
from mfa_kit.account.evaluator import MFA, MFA_AGE, NO_MFA, PLAIN_KEYS, WITH_MFA, WORK, Decision, RequestContext
from mfa_kit.lab.aws import policies as lab
from mfa_kit.lab.aws.wire import IamError
from mfa_kit.policy.lint import find_traps
from mfa_kit.policy.lockout import AccessState, access_with
from tests.audit.conftest import ADMINISTRATOR, ago, changed, taken
from tests.audit.test_rules import user
from tests.conftest import ROOT
from tests.sizes import FULL, size

ministack = pytest.importorskip("ministack.core.iam_evaluator", reason="ministack is not installed")

ALICE = "arn:aws:iam::000000000000:user/alice"
ANY = "arn:aws:s3:::bucket/key"
WAYS = (PLAIN_KEYS, NO_MFA, WITH_MFA)
MFA_KEYS = {key.lower() for key in WITH_MFA}
# MiniStack derives these keys from the request, so each evaluator gets the values that it derives.
DERIVED: RequestContext = {
    "aws:PrincipalArn": ALICE,
    "aws:PrincipalAccount": "000000000000",
    "aws:PrincipalType": "User",
    "aws:RequestedRegion": "us-east-1",
    "aws:SecureTransport": "true",
}
TIMES = {"aws:currenttime", "aws:epochtime"}  # derived too, and unknown to mfa-kit
FROM_RESOURCE = ("aws:ResourceAccount", "s3:ResourceAccount")
# MiniStack 1.5.33 does not support policy variables. The lab judges those policies alone.
VARIABLE = "${"


def each(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@lru_cache
def published() -> dict[str, dict[str, Any]]:
    """Return the policies by name: of the AWS CLI's documentation, and AWS's managed policies as moto ships them.

    There are 50: those of the documentation, and every seventh of those that have more than an Allow of actions.
    `.ci/run full` takes all.
    """
    documentation = json.loads((ROOT / "tests/data/policies/aws-cli.json").read_text())
    managed = {name: row["Document"] for name, row in sorted(json.loads(aws_managed_policies_data).items())}
    special = ('"Deny"', '"NotAction"', '"NotResource"', '"Condition"')
    order = sorted(managed, key=lambda name: -sum(word in json.dumps(managed[name]) for word in special))
    chosen = order if FULL else order[1 : 7 * (50 - len(documentation)) : 7]
    return {**documentation, **{name: managed[name] for name in chosen}}


def sample(pattern: str, whole: str) -> str:
    """Return a text that a pattern matches."""
    return whole if pattern == "*" else pattern.replace("*", "x").replace("?", "y")


def requests(document: Mapping[str, Any], *, of: Sequence[str] = ("Allow", "Deny")) -> list[tuple[str, str]]:
    """Return pairs of an action and a resource that the statements with these effects name, and samples of all work."""
    found = [
        (sample(action, "ec2:DescribeInstances"), sample(resource, ANY))
        for row in each(document["Statement"])
        if row["Effect"] in of
        for action in each(row.get("Action", row.get("NotAction")))[:12]
        for resource in each(row.get("Resource", row.get("NotResource", "*")))[:4]
    ]
    return list(dict.fromkeys([*found[:60], *((action, "*") for action in WORK)]))


def contexts(document: Mapping[str, Any]) -> Iterator[RequestContext]:
    """Yield values of a policy's condition keys in a request: none, the first of each, and others."""
    first: dict[str, str] = {}
    for row in each(document["Statement"]):
        for operator, line in row.get("Condition", {}).items():
            for key, values in line.items():
                value = "something" if operator == "Null" else str(each(values)[0])
                value = value.lower() if value in {"True", "False"} else value
                first.setdefault(key, value.replace("*", "x").replace("?", "y").replace(VARIABLE, "("))
    free = [key for key in first if key.lower() not in MFA_KEYS | TIMES]
    yield dict.fromkeys(free)
    if free:
        yield {key: first[key] for key in free}
        yield dict.fromkeys(free, "other")


def request(about: RequestContext, way: RequestContext, resource: str) -> RequestContext:
    """Return all condition keys of a request."""
    owner = resource.split(":")[4] if resource.count(":") > 4 else ""
    account = owner if len(owner) == 12 and owner.isdigit() else "000000000000"
    derived = {**DERIVED, **dict.fromkeys(FROM_RESOURCE, account)}
    fixed = {key.lower() for key in derived}
    return {**{key: value for key, value in about.items() if key.lower() not in fixed}, **derived, **way, **USER}


USER: RequestContext = {"aws:username": "alice"}


def by_ministack(documents: Sequence[str], action: str, resource: str, context: RequestContext) -> str:
    given = {key.lower(): value for key, value in context.items()}
    made = ministack.EvalContext(
        principal_arn=ALICE,
        principal_type="User",
        principal_account="000000000000",
        action=action,
        resource_arn=resource,
        region="us-east-1",
        secure_transport=True,
        source_ip="192.0.2.1",
        principal_keys={key: value for key, value in given.items() if value is not None},
        service_context={
            key: value for key, value in given.items() if key.startswith(("aws:tagkeys", "aws:requesttag/"))
        },
    )
    words = {"Allow": "allow", "Deny": "explicit deny", "ImplicitDeny": "implicit deny"}
    return words[ministack.evaluate(made, [ministack.parse_policy_document(text) for text in documents]).decision]


def by_lab(documents: Sequence[str], action: str, resource: str, context: RequestContext) -> str | None:
    """Return the lab's decision, or None for a condition operator that it does not know."""
    try:
        given = {key.lower(): value for key, value in context.items() if value is not None}
        return str(lab.decide(documents, action, resource, given).value)
    except IamError:
        return None


@pytest.mark.slow
@pytest.mark.timeout(size(900, 3600))
def test_the_evaluators_agree() -> None:
    """Wherever mfa-kit's decision is definite, the lab's evaluator decides the same, and MiniStack's too.

    The lab's is not asked where it does not know an operator, and MiniStack's not about policies with variables.
    """
    asked = dict.fromkeys(("lab", "ministack"), 0)
    differences = []
    for name, document in published().items():
        text = json.dumps(document)
        for about, way, (action, resource) in product(contexts(document), WAYS, requests(document)):
            context = request(about, way, resource)
            ours = evaluator.evaluate([text], action, resource, context)
            if ours is Decision.UNKNOWN:
                continue
            theirs = {"lab": by_lab([text], action, resource, context)}
            if VARIABLE not in text:
                theirs["ministack"] = by_ministack([text], action, resource, context)
            for judge, decision in theirs.items():
                asked[judge] += decision is not None
                if decision not in {None, str(ours)}:
                    differences.append((judge, name, action, resource, str(ours), decision))
    assert differences == []
    assert len(published()) >= size(50, 1000)
    assert min(asked.values()) > size(3_000, 20_000), asked


def test_lint_finds_nothing_about_mfa_in_policies_without_it() -> None:
    """No policy has a condition about MFA. The only trap in them is a resource that matches no user with a path."""
    found = {trap.name for document in published().values() for trap in find_traps(json.dumps(document))}
    assert found == {"paths"}


# Conditions of a Deny of all work, some of which lint must call a trap.
CONDITIONS: list[dict[str, Any]] = [
    {"BoolIfExists": {MFA: "false"}},
    {"BoolIfExists": {MFA: False}},
    {"Bool": {MFA: "false"}},
    {"Bool": {MFA: "true"}},
    {"Null": {MFA: "true"}},
    {"Null": {MFA: "false"}},
    {"Null": {MFA_AGE: "true"}},
    {"StringNotEquals": {MFA: "true"}},
    {"NumericGreaterThan": {MFA_AGE: "3600"}},
    {"NumericGreaterThanIfExists": {MFA_AGE: "3600"}},
    {"ForAnyValue:Bool": {MFA: "false"}},
]


@pytest.mark.slow
@pytest.mark.timeout(size(180, 3600))
def test_lint_and_ministack_agree_on_what_requires_mfa() -> None:
    """With a Deny added, lint finds a trap exactly where MiniStack lets a request without MFA pass, or denies one with.

    Policies that themselves deny a sample of work are left out.
    """
    compared = 0
    open_traps = {"bool", "null", "inverted", "age"}
    for document, condition in product(published().values(), CONDITIONS):
        text = json.dumps(document)
        if any(by_ministack([text], action, "*", WITH_MFA) == "explicit deny" for action in WORK):
            continue
        deny = {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}
        both = json.dumps({"Version": "2012-10-17", "Statement": [*each(document["Statement"]), deny]})
        denied = [by_ministack([both], WORK[0], "*", way) == "explicit deny" for way in WAYS]
        found = {trap.name for trap in find_traps(both)} & open_traps
        assert (not found) is (denied == [True, True, False]), (condition, found, denied)
        compared += 1
    assert compared > size(450, 1_800)


ALL = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
# Where lockout is more careful than the probes. The first two deny a request that has a certain tag and lacks a header.
# That of CloudWatch denies all resources but some, and the probes ask for these. The others leave only actions of IAM,
# or only some resources, and lockout does not count that as work.
CAREFUL = {
    "AmazonRDSCustomPreviewServiceRolePolicy",
    "AmazonRDSCustomServiceRolePolicy",
    "AmazonSecurityLakePermissionsBoundary",
    "CloudWatchOmniSpaceAccessPolicy",
    "IAMAuditRootUserCredentials",
    "IAMCreateRootUserPassword",
    "IAMDeleteRootUserCredentials",
}


def denials(document: Mapping[str, Any], way: RequestContext) -> set[str]:
    """Return the distinct decisions on what an administrator may still do if the policy is attached too."""
    judge: Callable[..., str | None] = by_lab if VARIABLE in json.dumps(document) else by_ministack
    spared = [
        (sample(action, "s3:x"), "*")
        for row in each(document["Statement"])
        if row["Effect"] == "Deny"
        for action in each(row.get("NotAction", []))[:60]
    ]
    texts = [ALL, json.dumps(document)]
    return {
        str(judge(texts, action, resource, request(about, way, resource)))
        for about in contexts(document)
        for action, resource in [*requests(document, of=("Deny",)), *spared]
    }


@pytest.mark.slow
@pytest.mark.timeout(size(900, 3600))
def test_lockout_and_the_evaluators_agree() -> None:
    """An administrator is locked out exactly where all probes are denied, and unaffected exactly where none is."""
    states = {
        frozenset({"explicit deny"}): AccessState.LOCKED,
        frozenset({"explicit deny", "allow"}): AccessState.CHANGES,
        frozenset({"allow"}): AccessState.FINE,
    }
    key = {"id": "AKIAAAAAAAAAAAAAAAAA", "secret": "s", "created": ago(9), "last_used": ago(1)}
    snapshot, _ = taken(changed(user("alice", groups=[], attached=[ADMINISTRATOR], keys=[key])))
    differing, seen = set(), set()
    for name, document in published().items():
        for access in access_with(snapshot, json.dumps(document)):
            if access.user == "alice":
                found = states[frozenset(denials(document, WITH_MFA))]
                seen.add(found)
                if access.state is not found:
                    differing.add(name)
    assert differing == CAREFUL & published().keys()
    assert seen == set(states.values())
