"""Random users and policies: the evaluator and lockout agree with iam-simulate, which others wrote in TypeScript."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from pathlib import Path
from random import Random
from subprocess import run
from typing import Any

import pytest

from mfa_kit.account.evaluator import (
    MFA,
    MFA_AGE,
    NO_MFA,
    PLAIN_KEYS,
    WITH_MFA,
    Decision,
    EntityPolicies,
    RequestContext,
    about,
    control_levels,
    entity_policies,
    evaluate,
    limited,
)
from mfa_kit.account.snapshot import ControlLevel, ControlPolicy, Entity, Snapshot
from mfa_kit.account.users import account_users
from mfa_kit.core.text import iso_time
from mfa_kit.organization.control_policies import with_policy
from mfa_kit.policy.lockout import AccessState, access_under, access_with, control_trial
from tests.audit.conftest import changed, taken
from tests.audit.test_rules import KEY, user
from tests.conftest import COUNTED
from tests.policy import scps
from tests.sizes import FULL, sample, size

# A folder beside that of the tests' environment. Only `.ci/run full` makes it.
FOLDER = Path(f"{sys.prefix}-iam-simulate/node_modules")
pytestmark = pytest.mark.skipif(not (FULL or FOLDER.exists()), reason="iam-simulate is installed by .ci/run full")

ALICE = "arn:aws:iam::000000000000:user/alice"
OWN = "arn:aws:iam::*:user/${aws:username}"
REQUESTS = (
    ("s3:GetObject", "arn:aws:s3:::b/k"),
    ("s3:PutObject", "arn:aws:s3:::b/k"),
    ("s3:GetObject", "arn:aws:s3:::c/k"),
    ("ec2:DescribeInstances", "*"),
    ("iam:CreateUser", "arn:aws:iam::000000000000:user/new"),
    ("iam:GetUser", ALICE),
    ("iam:EnableMFADevice", ALICE),
    ("iam:CreateVirtualMFADevice", "arn:aws:iam::000000000000:mfa/alice"),
    ("sts:GetSessionToken", "*"),
)
ACTIONS = ("*", "s3:*", "s3:Get*", "s3:*Object", "s3:PutObject", "ec2:*", "iam:*", "iam:*MFA*", "iam:Create*", "sts:*")
RESOURCES = ("*", "*", "*", "arn:aws:s3:::b/*", "arn:aws:s3:::c/*", OWN, "arn:aws:iam::*:mfa/*")
CONDITIONS: tuple[dict[str, Any], ...] = (
    {"BoolIfExists": {MFA: "false"}},
    {"Bool": {MFA: "true"}},
    {"Bool": {MFA: "false"}},
    {"Null": {MFA: "true"}},
    {"NumericGreaterThanIfExists": {MFA_AGE: "3600"}},
    {"StringEquals": {"aws:PrincipalAccount": "000000000000"}},
    {"StringNotEquals": {"aws:PrincipalAccount": "000000000000"}},
    {"StringNotLike": {"aws:userid": "AROAEXAMPLE:*"}},
    {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/al*"}},
    {"StringEquals": {"aws:RequestedRegion": "us-east-1"}},
    {"Bool": {"aws:SecureTransport": "false"}},
    {"Bool": {"aws:PrincipalIsAWSService": "false"}},
    {"ForAnyValue:StringEquals": {"aws:CalledVia": "athena.amazonaws.com"}},
    {"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}},
    {"NumericLessThan": {"aws:EpochTime": "1577836800"}},
    {"StringEquals": {"aws:PrincipalTag/team": "red"}},
    {"StringNotEquals": {"aws:PrincipalTag/cost": "1"}},
    {"StringLike": {"aws:PrincipalTag/team": "b*"}},
    {"DateLessThan": {"aws:TokenIssueTime": "2020-01-01T00:00:00Z"}},
)


def policy(random: Random, effects: Sequence[str]) -> dict[str, Any]:
    """Return a policy of one to three statements with these effects."""
    rows = []
    for _ in range(random.randint(1, 3)):
        actions = random.choice(["Action", "Action", "NotAction"])
        resources = random.choice(["Resource", "Resource", "Resource", "NotResource"])
        row = {
            "Effect": random.choice(effects),
            actions: random.sample(ACTIONS[actions == "NotAction" :], random.randint(1, 3)),
            resources: random.choice(RESOURCES if resources == "Resource" else RESOURCES[3:]),
        }
        rows.append({**row, "Condition": random.choice(CONDITIONS)} if random.random() < 0.6 else row)
    return {"Version": "2012-10-17", "Statement": rows}


@lru_cache
def alice() -> Snapshot:
    """Return an account with the user alice, who has access keys, a tag, and no device."""
    snapshot = taken(changed(user("alice", groups=[], password=False, keys=[KEY], tags={"team": "red"}, devices=[])))[0]
    return replace(snapshot, users=tuple(one for one in snapshot.users if one.name == "alice"), roles=())


def sent(about: RequestContext, action: str) -> dict[str, str]:
    """Return the condition keys that AWS would send with a request of alice."""
    now = iso_time(alice().at)
    keys: RequestContext = {
        "aws:PrincipalAccount": "000000000000",
        "aws:userid": "AIDAEXAMPLE",
        "aws:RequestedRegion": "us-east-1" if action.startswith("iam:") else "eu-west-1",
        "aws:SecureTransport": "true",
        "aws:PrincipalIsAWSService": "false",
        "aws:EpochTime": str(int(alice().at)),
        "aws:TokenIssueTime": now,
        **about,
    }
    return {name: value for name, value in keys.items() if value is not None}


def judged(requests: Sequence[dict[str, Any]]) -> list[str]:
    """Return the decisions of iam-simulate, from one process."""
    script = Path(__file__).with_name("iam_simulate.mjs")
    done = run(["node", script, FOLDER], input=json.dumps(requests), capture_output=True, text=True, check=True)
    answers: list[str] = json.loads(done.stdout)
    return answers


@pytest.mark.slow
def test_iam_simulate_and_the_evaluator_agree(record_property: Any) -> None:
    """Wherever mfa-kit's decision is definite, iam-simulate decides the same, also within a boundary."""
    random = Random(35)
    (person,) = account_users(alice())
    cases, ours = [], []
    for _ in range(size(150, 1500)):
        documents = [policy(random, ("Allow", "Allow", "Deny")) for _ in range(2)]
        boundary = policy(random, ("Allow", "Allow", "Deny")) if random.random() < 0.3 else None
        for way, (action, resource) in product((PLAIN_KEYS, NO_MFA, WITH_MFA), REQUESTS):
            context = {**person.about, **way}
            texts, limit = [json.dumps(one) for one in documents], json.dumps(boundary) if boundary else None
            ours.append(evaluate(texts, action, resource, context, boundary=limit))
            request = {"action": action, "resource": resource, "context": sent(context, action)}
            cases.append({"documents": documents, "boundary": boundary, **request})
    definite = [pair for pair in zip(cases, ours, strict=True) if pair[1] is not Decision.UNKNOWN]
    theirs = judged([case for case, _ in definite])
    differing = [(case, str(our), their) for (case, our), their in zip(definite, theirs, strict=True) if our != their]
    record_property(COUNTED, ("decisions compared with iam-simulate", len(definite)))
    assert differing == []
    assert len(definite) > len(cases) * 0.7


@pytest.mark.slow
def test_iam_simulate_and_lockout_agree(record_property: Any) -> None:
    """Access keys are fine only if no request is denied that was allowed, and locked out only if no work is left."""
    random = Random(53)
    cases, states = [], []
    for _ in range(size(100, 1000)):
        own, more = policy(random, ("Allow",)), policy(random, ("Deny", "Deny", "Allow"))
        snapshot = alice()
        person = replace(snapshot.users[0], inline={"own": json.dumps(own)})
        (access,) = access_with(replace(snapshot, users=(person,)), json.dumps(more))
        states.append(access.state)
        about = {**account_users(snapshot)[0].about, **PLAIN_KEYS}
        for documents, (action, resource) in product(([own], [own, more]), REQUESTS[:5]):
            request = {"action": action, "resource": resource, "context": sent(about, action)}
            cases.append({"documents": documents, "boundary": None, **request})
    answers = judged(cases)
    differing = []
    for number, state in enumerate(states):
        start = number * 10
        before, after = answers[start : start + 5], answers[start + 5 : start + 10]
        lost = any(was == "allow" != now for was, now in zip(before, after, strict=True))
        # What the new policy allows is not counted: it is there to require MFA.
        kept = any(was == now == "allow" for was, now in zip(before, after, strict=True))
        wrong = {AccessState.FINE: lost, AccessState.LOCKED: kept}
        if wrong.get(state):
            differing.append((str(state), cases[start + 5]["documents"], before, after))
    record_property(COUNTED, ("results of lockout compared with iam-simulate", len(states)))
    assert differing == []
    assert {AccessState.FINE, AccessState.LOCKED, AccessState.CHANGES} <= set(states)


# All that differs between the statements of `bucket_policy`.
BUCKET_ACTIONS = ("s3:*", "s3:Get*", "s3:*Object", "s3:PutObject", "s3:GetObjectAcl")
BUCKET_RESOURCES = ("*", "arn:aws:s3:::b*", "arn:aws:s3:::*k", "arn:aws:s3:::b/*", "arn:aws:s3:::c/*")
BUCKET_REQUESTS = tuple(
    product(
        ("s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:GetObjectAcl", "s3:GetThis", "s3:That"),
        [f"arn:aws:s3:::{bucket}/{key}" for bucket in ("b", "bb", "c", "d") for key in "kl"],
    )
)


def bucket_policy(random: Random) -> dict[str, Any]:
    """Return a policy that allows actions on buckets."""
    rows = [
        {
            "Effect": "Allow",
            "Action": random.sample(BUCKET_ACTIONS, random.randint(1, 2)),
            **(
                {"NotResource": BUCKET_RESOURCES[3]}
                if random.random() < 0.1
                else {"Resource": random.choice(BUCKET_RESOURCES)}
            ),
        }
        for _ in range(random.randint(1, 2))
    ]
    return {"Version": "2012-10-17", "Statement": rows}


@pytest.mark.slow
def test_iam_simulate_and_lockout_agree_about_allow_lists(record_property: Any) -> None:
    """Allow-lists at two levels of SCPs, and as boundary: whoever is locked out has no work left, and others have."""
    random, snapshot = Random(59), alice()
    (person,) = account_users(snapshot)
    about = {**person.about, **PLAIN_KEYS}
    arn = "arn:aws:iam::000000000000:policy/within"
    cases, states = [], []
    for _ in range(size(150, 1500)):
        own, boundary, upper, tried = (bucket_policy(random) for _ in range(4))
        within = random.random() < 0.4
        limited_user = replace(snapshot.users[0], inline={"own": json.dumps(own)}, boundary=arn if within else None)
        account = replace(
            snapshot,
            users=(limited_user,),
            policies={**snapshot.policies, arn: json.dumps(boundary)},
            control=(
                ControlLevel(
                    target="r-1", name="", policies=(ControlPolicy(id="p-1", name="", text=json.dumps(upper)),)
                ),
                ControlLevel(target="1", name="", policies=(scps.FULL,)),
            ),
        )
        trial = control_trial(account, json.dumps(tried), target="1", instead=True)
        assert trial is not None
        (access,) = (each for each in access_under(account, trial) if each.user == "alice")
        states.append(access.state)
        cases += [
            {
                "documents": [own],
                "boundary": boundary if within else None,
                "levels": [[upper], [tried]],
                "action": action,
                "resource": resource,
                "context": sent(about, action),
            }
            for action, resource in BUCKET_REQUESTS
        ]
    answers, differing = judged(cases), []
    for number, state in enumerate(states):
        start = number * len(BUCKET_REQUESTS)
        kept = "allow" in answers[start : start + len(BUCKET_REQUESTS)]
        if {AccessState.LOCKED: kept, AccessState.CHANGES: not kept}.get(state):
            differing.append((str(state), {**cases[start], "context": {}}))
    record_property(COUNTED, ("results about allow-lists compared with iam-simulate", len(states)))
    assert differing == []
    assert {AccessState.FINE, AccessState.CHANGES, AccessState.LOCKED} <= set(states)


VIA: RequestContext = {**NO_MFA, "aws:ViaAWSService": "true"}
ABSENT: RequestContext = {MFA: None, MFA_AGE: None}
# The requests that a user or role could send, by the way to work.
CONTEXTS = {
    "console": (WITH_MFA, VIA),
    "console without a device": (NO_MFA,),
    "access keys": (PLAIN_KEYS,),
    "role session": (NO_MFA, ABSENT),
}


def control_requests(entity: Entity) -> list[tuple[str, str]]:
    """Return requests of a user or role of the account in tests/policy/scps.py: enrolling, and all kinds of work."""
    start = f"arn:aws:iam::{scps.MEMBER}"
    return [
        ("iam:ListUsers", "*"),
        ("iam:CreateUser", f"{start}:user/new"),
        ("iam:GetAccountSummary", "*"),
        ("iam:ListRoles", "*"),
        ("ec2:DescribeInstances", "*"),
        ("ec2:StopInstances", f"arn:aws:ec2:eu-west-1:{scps.MEMBER}:instance/i-1"),
        ("s3:ListAllMyBuckets", "*"),
        *(
            [("iam:EnableMFADevice", entity.arn), ("iam:CreateVirtualMFADevice", f"{start}:mfa/{entity.name}")]
            if ":user/" in entity.arn
            else []
        ),
    ]


def sent_by(about: RequestContext, action: str) -> dict[str, str | list[str]]:
    """Return the condition keys that AWS would send with a request of a principal in the member account."""
    role = ":role/" in (about["aws:PrincipalArn"] or "")
    keys = {
        **sent(about, action),
        "aws:PrincipalAccount": scps.MEMBER,
        "aws:userid": "AROAEXAMPLE:session" if role else "AIDAEXAMPLE",
    }
    return {**keys, **({"aws:CalledVia": ["athena.amazonaws.com"]} if keys["aws:ViaAWSService"] == "true" else {})}


def principals() -> list[tuple[Entity, EntityPolicies, RequestContext, tuple[str, ...]]]:
    """Return each user and role with its policies, its condition keys, and its ways to work."""
    snapshot = scps.member()
    found: list[tuple[Entity, EntityPolicies, RequestContext, tuple[str, ...]]] = []
    for person in account_users(snapshot):
        console = "console" if person.devices else "console without a device"
        ways = (*([console] if person.password else []), *(["access keys"] if person.keys else []))
        found.append((person.user, person.policies, person.about, ways))
    return found + [
        (role, entity_policies(role, snapshot.policies), about(role, snapshot.at), ("role session",))
        for role in snapshot.roles
    ]


def levels_of(snapshot: Snapshot) -> list[list[Any]]:
    return [[json.loads(policy.text or "") for policy in level.policies] for level in snapshot.control or ()]


@pytest.mark.slow
def test_iam_simulate_and_the_evaluator_agree_about_scps(record_property: Any) -> None:
    """Three levels, and at one of them each of the public patterns with its conditions: the same definite decisions."""
    random, snapshot, cases, ours = Random(40), scps.member(), [], []
    trials = sample(scps.TRIALS, 30)
    for number, (text, instead) in enumerate(trials):
        after = with_policy(snapshot.control or (), text, target=scps.LEVELS[number % 3], instead=instead)
        tried = replace(snapshot, control=after)
        levels, _ = control_levels(tried)
        for entity, policies, keys, _ in principals():
            ways = (NO_MFA, ABSENT) if ":role/" in entity.arn else (PLAIN_KEYS, NO_MFA, WITH_MFA, VIA)
            for way, (action, resource) in product(ways, random.sample(control_requests(entity), 3)):
                context = {**keys, **way}
                ours.append(limited(policies, levels, "").decide(action, resource, context))
                cases.append(
                    {
                        "documents": [json.loads(one) for one in policies.documents],
                        "boundary": json.loads(policies.boundary) if policies.boundary else None,
                        "levels": levels_of(tried),
                        "action": action,
                        "resource": resource,
                        "context": sent_by(context, action),
                    }
                )
    definite = [pair for pair in zip(cases, ours, strict=True) if pair[1] is not Decision.UNKNOWN]
    theirs = judged([case for case, _ in definite])
    # Without an Allow of the user's own, an SCP that may deny changes the kind of the denial only.
    same = {**{str(one): {str(one)} for one in Decision}, str(Decision.IMPLICIT): {"implicit deny", "explicit deny"}}
    differing = [
        (case, str(our), their)
        for (case, our), their in zip(definite, theirs, strict=True)
        if their not in same[str(our)]
    ]
    record_property(COUNTED, ("decisions about SCPs compared with iam-simulate", len(definite)))
    assert differing == []
    assert len(definite) > len(cases) * 0.7


@pytest.mark.slow
def test_nobody_is_called_fine_whom_an_scp_denies_something(record_property: Any) -> None:
    """Whoever is fine under an SCP can still send every request that was allowed before, by iam-simulate's judgment."""
    snapshot, cases, fine = scps.member(), [], []
    people = {entity.name: (entity, policies, keys, ways) for entity, policies, keys, ways in principals()}
    for number, (text, instead) in enumerate(sample(scps.TRIALS, 30)):
        target = scps.LEVELS[number % 3]
        trial = control_trial(snapshot, text, target=target, instead=instead)
        assert trial is not None
        after = with_policy(snapshot.control or (), text, target=target, instead=instead)
        for access in access_under(snapshot, trial):
            name = access.user.removeprefix("role/")
            if name not in people or access.state not in {AccessState.FINE, AccessState.RISKS}:
                continue
            entity, policies, keys, ways = people[name]
            ((way, contexts),) = [(way, CONTEXTS[way]) for way in ways if way.startswith(access.way)]
            for context, (action, resource) in product(contexts, control_requests(entity)):
                case = {
                    "documents": [json.loads(one) for one in policies.documents],
                    "boundary": json.loads(policies.boundary) if policies.boundary else None,
                    "action": action,
                    "resource": resource,
                    "context": sent_by({**keys, **context}, action),
                }
                fine.append((access, way, text))
                cases += [case, {**case, "levels": levels_of(replace(snapshot, control=after))}]
    answers = judged(cases)
    wrong = [
        (*person, case["action"], case["context"], after)
        for person, case, before, after in zip(fine, cases[::2], answers[::2], answers[1::2], strict=True)
        if before == "allow" != after
    ]
    record_property(COUNTED, ("requests of users who are fine under an SCP, judged by iam-simulate", len(fine)))
    assert wrong == []
    assert len({access.user for access, *_ in fine}) > 5
