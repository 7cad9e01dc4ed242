"""Service control policies that require MFA, with their usual conditions and exceptions, and an account to try them on.

The patterns are those of public SCPs, such as ScaleSec/terraform_aws_scp, cloudposse's catalog, Tamnoon's playbooks and
AWS's own sample (awsdocs/aws-organizations-docs).
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from itertools import product
from typing import Any

from mfa_kit.account.evaluator import MFA, MFA_AGE
from mfa_kit.account.snapshot import ControlLevel, ControlPolicy, Snapshot
from mfa_kit.organization.control_policies import FULL_ACCESS, FULL_ACCESS_TEXT
from mfa_kit.policy.lockout import may_have_to_change
from mfa_kit.policy.texts import PolicyChoices, control_policy
from tests.audit.conftest import MEMBER_KEY, ago, taken
from tests.lab.client import document

MEMBER, UNIT, ROOT = "000000000001", "ou-lab0-00000001", "r-lab0"
LEVELS = (ROOT, UNIT, MEMBER)
ENROLL = [
    "iam:CreateVirtualMFADevice",
    "iam:EnableMFADevice",
    "iam:ListMFADevices",
    "iam:GetUser",
    "sts:GetSessionToken",
]
ACTIONS: tuple[dict[str, Any], ...] = (
    {"NotAction": ENROLL},
    {"Action": "*"},
    {"Action": ["ec2:StopInstances", "iam:CreateUser", "iam:ListRoles"]},
    {"Action": "iam:*"},
    {"NotAction": ["iam:*", "sts:*", "organizations:*"]},
)
WITHOUT_MFA: tuple[dict[str, Any], ...] = (
    {},
    {"BoolIfExists": {MFA: "false"}},
    {"Bool": {MFA: "false"}},
    {"Null": {MFA: "true"}},
    {"NumericGreaterThan": {MFA_AGE: "3600"}},
    {"NumericGreaterThanIfExists": {MFA_AGE: "3600"}},
)
USERS, OURS = "arn:aws:iam::*:user/*", "arn:aws:iam::*:role/mfa-kit-*"
EXCEPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"ArnLike": {"aws:PrincipalArn": USERS}},
    {"ArnNotLike": {"aws:PrincipalArn": OURS}},
    {"Bool": {"aws:ViaAWSService": "false"}},
    {"Null": {"aws:AssumedRoot": "true"}},
    {"ArnLike": {"aws:PrincipalArn": USERS}, "StringNotEquals": {"aws:PrincipalTag/team": "red"}},
    {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:root"}},
    {"StringNotEquals": {"aws:RequestedRegion": ["us-east-1"]}},
    {"StringNotEquals": {"aws:RequestedRegion": ["eu-west-1"]}},
    {"ArnNotLike": {"aws:PrincipalArn": ["arn:aws:iam::*:role/*", "arn:aws:iam::*:user/team/*"]}},
)


def joined(*conditions: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return conditions as one, with the keys of the same operator together."""
    whole: dict[str, dict[str, Any]] = {}
    for condition in conditions:
        for operator, keys in condition.items():
            whole.setdefault(operator, {}).update(keys)
    return whole


def policy(*rows: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(rows)})


# 300 texts that are attached beside FullAWSAccess, and three that are also tried in its place.
DENIES = [
    policy({"Effect": "Deny", **actions, "Resource": "*", "Condition": joined(mfa, exception)})
    for actions, mfa, exception in product(ACTIONS, WITHOUT_MFA, EXCEPTIONS)
]
INSTEAD = [
    policy({"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {MFA: "true"}}}),
    policy({"Effect": "Allow", "Action": ["iam:*", "sts:*"], "Resource": "*"}),
    policy({"Effect": "Allow", "NotAction": ["ec2:*"], "Resource": "*"}),
]
SHOWN = json.dumps(control_policy(PolicyChoices())[0])
TRIALS = [(SHOWN, False), *((text, False) for text in DENIES), *((text, True) for text in INSTEAD)]

EVERYTHING = {"all": json.loads(document({"Action": "*", "Resource": "*"}))}
READING = {"read": json.loads(document({"Action": ["iam:Get*", "iam:List*"], "Resource": "*"}))}
CONSOLE = {"password": True, "password_last_used": ago(1)}
SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def virtual(name: str) -> dict[str, Any]:
    return {"devices": [{"kind": "virtual", "name": name, "seed": SEED}]}


def keys(number: int) -> dict[str, Any]:
    return {"keys": [{"id": f"AKIAMEMBER{number:010}", "secret": "s", "last_used": ago(1), "service": "s3"}]}


# With the roles and root, 12 kinds of principals.
PEOPLE: list[dict[str, Any]] = [
    {"name": "boss", "policies": EVERYTHING, "keys": [MEMBER_KEY]},
    {"name": "alice", "policies": EVERYTHING, **CONSOLE, **virtual("alice")},
    {"name": "bob", "policies": EVERYTHING, **CONSOLE},
    {"name": "carol", "policies": EVERYTHING, **keys(1), **virtual("carol")},
    {"name": "dave", "policies": EVERYTHING, **keys(2)},
    {"name": "erin", "policies": EVERYTHING, **CONSOLE, **keys(3), "devices": [{"kind": "fido", "name": "blue"}]},
    {"name": "frank", "policies": READING, **CONSOLE, **virtual("frank")},
    {"name": "grace", "path": "/team/", "policies": EVERYTHING, **CONSOLE, **keys(4), **virtual("grace")},
    {"name": "heidi", "policies": EVERYTHING, **CONSOLE, "tags": {"team": "red"}},
    {
        "name": "ivan",
        "policies": EVERYTHING,
        **CONSOLE,
        **virtual("ivan"),
        "boundary": f"arn:aws:iam::{MEMBER}:policy/iam",
    },
]
TRUST = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": MEMBER}, "Action": "sts:AssumeRole"}],
}
ROLES = [
    {"name": "ci", "trust": TRUST, "policies": EVERYTHING},
    {"name": "mfa-kit-audit", "trust": TRUST, "policies": READING},
]
DESCRIPTION: dict[str, Any] = {
    "version": 1,
    "organization": {
        "units": [{"name": "production", "id": UNIT}],
        "accounts": [
            {
                "id": MEMBER,
                "name": "shop",
                "parent": "production",
                "policies": [{"name": "iam", "document": json.loads(document({"Action": "iam:*", "Resource": "*"}))}],
                "users": PEOPLE,
                "roles": ROLES,
            }
        ],
    },
}


FULL = ControlPolicy(id=FULL_ACCESS, name="FullAWSAccess", text=FULL_ACCESS_TEXT)


def full_levels() -> tuple[ControlLevel, ...]:
    return tuple(ControlLevel(target=target, name="", policies=(FULL,)) for target in LEVELS)


@lru_cache
def member() -> Snapshot:
    """Return the account with FullAWSAccess at its three levels."""
    return taken(DESCRIPTION, control=full_levels, passwords_of=may_have_to_change)[0]
