"""Random combinations of rights: each path that is found is carried out in the lab, with the user's keys.

For a user without a path, the lab's own evaluator decides every sequence of two steps, and none of them works.
"""

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from mfa_kit.account.escalation import Administration, PathStep, administrations
from mfa_kit.lab.aws.policies import EvalDecision, decide
from mfa_kit.lab.aws.server import Lab
from tests.audit.conftest import ADMINISTRATOR, taken
from tests.conftest import COUNTED
from tests.sizes import size

START = "arn:aws:iam::000000000000"
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
# The rights of which users have two or three. `{}` is the number of the user's own victim, role, group and policy.
RIGHTS = (
    ("iam:CreateAccessKey", "user/v{}"),
    ("iam:PutUserPolicy", "user/v{}"),
    ("iam:AttachUserPolicy", "user/v{}"),
    ("iam:AddUserToGroup", "group/g{}"),
    ("iam:PutGroupPolicy", "group/g{}"),
    ("iam:AttachGroupPolicy", "group/g{}"),
    ("iam:PutRolePolicy", "role/r{}"),
    ("iam:AttachRolePolicy", "role/r{}"),
    ("sts:AssumeRole", "role/r{}"),
    ("iam:UpdateAssumeRolePolicy", "role/r{}"),
    ("iam:CreatePolicyVersion", "policy/p{}"),
    ("iam:CreateUser", "user/n{}-*"),
    ("iam:AttachUserPolicy", "user/n{}-*"),
    ("iam:CreateAccessKey", "user/n{}-*"),
    ("iam:CreateRole", "role/n{}-*"),
    ("iam:PutRolePolicy", "role/n{}-*"),
    ("iam:CreateGroup", "group/n{}-*"),
    ("iam:AddUserToGroup", "group/n{}-*"),
    ("iam:PutGroupPolicy", "group/n{}-*"),
)
USERS = size(100, 300)


def rows(*statements: tuple[str, str]) -> dict[str, Any]:
    allowed = [{"Effect": "Allow", "Action": action, "Resource": f"{START}:{name}"} for action, name in statements]
    return {"Version": "2012-10-17", "Statement": allowed}


def described(random_rights: random.Random) -> dict[str, Any]:
    """Describe users with random rights, each with a victim, a role, a group and a policy of its own."""
    read = rows(("iam:GetUser", "user/nobody"))
    trust = {"Effect": "Allow", "Principal": {"AWS": f"{START}:root"}, "Action": "sts:AssumeRole"}
    account: dict[str, Any] = {"version": 1, "users": [], "groups": [], "roles": [], "policies": []}
    account["users"].append({"name": "lab-admin", "attached": [ADMINISTRATOR]})
    for number in range(USERS):
        rights = random_rights.sample(RIGHTS, random_rights.choice((2, 3)))
        policy = rows(*((action, name.format(number)) for action, name in rights))
        if number % 5 == 0:  # a Deny of one of them closes some paths
            policy["Statement"].append({"Effect": "Deny", "Action": rights[0][0], "Resource": "*"})
        keys = [{"id": f"AKIA{number:016}", "secret": "s"}]
        shared = [f"{START}:policy/p{number}"]
        account["users"] += [
            {"name": f"u{number}", "policies": {"p": policy}, "keys": keys},
            {"name": f"v{number}", "groups": [f"g{number}"]},
        ]
        account["groups"].append({"name": f"g{number}", "attached": shared})
        account["roles"].append({"name": f"r{number}", "attached": shared, "trust": {**read, "Statement": [trust]}})
        account["policies"].append({"name": f"p{number}", "document": read})
    return account


class Attack:
    """Carries out steps in the lab, and holds the credentials that they give, by ARN."""

    def __init__(self, lab: Lab, start: str, key: str) -> None:
        self.endpoint = lab.env["AWS_ENDPOINT_URL"]
        self.sessions = {start: boto3.Session(key, "s", region_name="us-east-1")}

    def client(self, arn: str, service: str = "iam") -> Any:
        session: Any = self.sessions[arn]
        return session.client(service, endpoint_url=self.endpoint)

    def run(self, step: PathStep) -> None:
        """Carry out a step. Raise ClientError if the lab refuses it."""
        iam, name = self.client(step.caller), step.target.rpartition("/")[2]
        subject = step.subject.rpartition("/")[2]
        text = json.dumps(ALLOW)
        everyone = {"Effect": "Allow", "Principal": {"AWS": step.caller}, "Action": "sts:AssumeRole"}
        trust = json.dumps({"Version": "2012-10-17", "Statement": [everyone]})
        kind = step.target.rpartition(":")[2].partition("/")[0].title()
        verb = step.actions[0].partition(":")[2]
        calls: dict[str, Callable[[], object]] = {
            "CreateUser": lambda: iam.create_user(UserName=name),
            "CreateGroup": lambda: iam.create_group(GroupName=name),
            "CreateRole": lambda: iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust),
            "AddUserToGroup": lambda: iam.add_user_to_group(GroupName=name, UserName=subject),
            "CreateAccessKey": lambda: self._take_key(iam, step),
            "AssumeRole": lambda: self._assume(step),
            "UpdateAssumeRolePolicy": lambda: self._assume(
                step, iam.update_assume_role_policy(RoleName=name, PolicyDocument=trust)
            ),
            "CreatePolicyVersion": lambda: iam.create_policy_version(
                PolicyArn=step.target, PolicyDocument=text, SetAsDefault=True
            ),
        }
        named = {f"{kind}Name": name}
        if verb.startswith("Put"):
            getattr(iam, f"put_{kind.lower()}_policy")(**named, PolicyName="all", PolicyDocument=text)
        elif verb.startswith("Attach"):
            getattr(iam, f"attach_{kind.lower()}_policy")(**named, PolicyArn=ADMINISTRATOR)
        else:
            calls[verb]()

    def _take_key(self, iam: Any, step: PathStep) -> None:
        key = iam.create_access_key(UserName=step.target.rpartition("/")[2])["AccessKey"]
        self.sessions[step.target] = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name="us-east-1")

    def _assume(self, step: PathStep, _: object = None) -> None:
        answer = self.client(step.caller, "sts").assume_role(RoleArn=step.target, RoleSessionName="attack")[
            "Credentials"
        ]
        self.sessions[step.target] = boto3.Session(
            answer["AccessKeyId"], answer["SecretAccessKey"], answer["SessionToken"], region_name="us-east-1"
        )

    def administers(self) -> bool:
        """Return whether one of the held credentials can attach a policy to itself, which needs an administrator."""
        return any(self._attaches(arn) for arn in self.sessions)

    def _attaches(self, arn: str) -> bool:
        kind, _, name = arn.rpartition(":")[2].partition("/")
        attach = getattr(self.client(arn), f"attach_{kind}_policy")
        try:
            attach(**{f"{kind.title()}Name": name}, PolicyArn=ADMINISTRATOR)
        except ClientError:
            return False
        return True


@pytest.fixture(scope="module")
def carried() -> Iterator[tuple[Lab, dict[str, Administration]]]:
    description = described(random.Random(35))
    snapshot, _ = taken(description)
    with Lab(description=description) as lab:
        yield lab, administrations(snapshot)


@pytest.mark.slow
def test_each_path_can_be_carried_out(
    carried: tuple[Lab, dict[str, Administration]], record_property: Callable[[str, object], None]
) -> None:
    """With the user's keys, the steps end with the rights of an administrator."""
    lab, answers = carried
    done = 0
    for number in range(USERS):
        arn = f"{START}:user/u{number}"
        if answers[arn].admin and answers[arn].steps:
            attack = Attack(lab, arn, f"AKIA{number:016}")
            for step in answers[arn].steps:
                attack.run(step)
            assert attack.administers(), answers[arn].how
            done += 1
    assert done >= USERS // 20
    record_property(COUNTED, ("escalation paths carried out", done))


# Two calls that end with the credentials of an administrator: one changes what a principal may do, the other gives its
# credentials, or puts the caller into the group. `{}` is as in RIGHTS.
WRITES = {
    "v": (
        "iam:PutUserPolicy user/v{}",
        "iam:AttachUserPolicy user/v{}",
        "iam:PutGroupPolicy group/g{}",
        "iam:AttachGroupPolicy group/g{}",
        "iam:CreatePolicyVersion policy/p{}",
    ),
    "g": ("iam:PutGroupPolicy group/g{}", "iam:AttachGroupPolicy group/g{}", "iam:CreatePolicyVersion policy/p{}"),
    "r": ("iam:PutRolePolicy role/r{}", "iam:AttachRolePolicy role/r{}", "iam:CreatePolicyVersion policy/p{}"),
    "n": ("iam:PutRolePolicy role/n{}-x", "iam:AttachRolePolicy role/n{}-x"),
}
TAKES = {
    "v": ("iam:CreateAccessKey user/v{}",),
    "g": ("iam:AddUserToGroup group/g{}",),
    "r": ("sts:AssumeRole role/r{}", "iam:UpdateAssumeRolePolicy role/r{}"),
    "n": ("iam:CreateRole role/n{}-x",),
}
PAIRS = [(write, take) for target, writes in WRITES.items() for write in writes for take in TAKES[target]]


def test_users_without_a_path_have_none_of_two_steps(
    carried: tuple[Lab, dict[str, Administration]], record_property: Callable[[str, object], None]
) -> None:
    """The lab's evaluator decides both calls of each pair. It allows none of the pairs to a user without a path."""
    _, answers = carried
    documents = {
        user["name"]: json.dumps(user.get("policies", {}).get("p")) for user in described(random.Random(35))["users"]
    }
    pairs = 0
    for number in range(USERS):
        if not answers[f"{START}:user/u{number}"].admin:
            for pair in PAIRS:
                calls = [call.format(number).split() for call in pair]
                allowed = [decide([documents[f"u{number}"]], action, f"{START}:{name}", {}) for action, name in calls]
                assert allowed != [EvalDecision.ALLOW] * 2, (number, pair)
                pairs += 1
    record_property(COUNTED, ("pairs of steps that lead nowhere", pairs))
