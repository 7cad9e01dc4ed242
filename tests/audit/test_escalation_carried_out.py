"""Random combinations of rights: each path that is found is carried out in the lab, with the user's keys.

For a user without a path, every sequence of three calls that the lab's own evaluator allows is tried in a model of the
account, and none of them makes an administrator.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from mfa_kit.account.escalation import Administration, administrations
from mfa_kit.account.escalation_rules import PathStep
from mfa_kit.lab.aws.policies import EvalDecision, decide
from mfa_kit.lab.aws.server import Lab
from tests.audit.conftest import ADMINISTRATOR, taken
from tests.conftest import COUNTED
from tests.sizes import size

START = "arn:aws:iam::000000000000"
ALLOW = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
# The rights of which users have two or three. `{}` is the number of the user, and of the user's own victim, role, group
# and policy. The role t administers the account, and admits users with a tag.
RIGHTS = (
    ("iam:DeleteUserPermissionsBoundary", "user/u{}"),
    ("iam:PutUserPermissionsBoundary", "user/u{}"),
    ("iam:TagUser", "user/u{}"),
    ("sts:AssumeRole", "role/t{}"),
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
    """Describe users with random rights, each with a victim, two roles, a group and policies of its own.

    One in three has a permissions boundary, which allows some of the rights.
    """
    read = rows(("iam:GetUser", "user/nobody"))
    trust = {"Effect": "Allow", "Principal": {"AWS": f"{START}:root"}, "Action": "sts:AssumeRole"}
    account: dict[str, Any] = {"version": 1, "users": [], "groups": [], "roles": [], "policies": []}
    account["users"].append({"name": "lab-admin", "attached": [ADMINISTRATOR]})
    for number in range(USERS):
        rights = random_rights.sample(RIGHTS, random_rights.choice((2, 3)))
        policy = rows(*((action, name.format(number)) for action, name in rights))
        if number % 5 == 0:  # a Deny of one of them closes some paths
            policy["Statement"].append({"Effect": "Deny", "Action": rights[0][0], "Resource": "*"})
        allowed = [row for row in policy["Statement"][: len(rights)] if random_rights.random() < 0.7]
        limits = [{"name": f"b{number}", "document": {**read, "Statement": [*read["Statement"], *allowed]}}]
        limited = {"boundary": f"{START}:policy/b{number}"} if number % 3 == 0 else {}
        keys = [{"id": f"AKIA{number:016}", "secret": "s"}]
        shared = [f"{START}:policy/p{number}"]
        account["users"] += [
            {"name": f"u{number}", "policies": {"p": policy}, "keys": keys, **limited},
            {"name": f"v{number}", "groups": [f"g{number}"]},
        ]
        account["groups"].append({"name": f"g{number}", "attached": shared})
        account["roles"].append({"name": f"r{number}", "attached": shared, "trust": {**read, "Statement": [trust]}})
        tagged = {**read, "Statement": [{**trust, "Condition": {"StringEquals": {"aws:PrincipalTag/team": "ops"}}}]}
        account["roles"].append({"name": f"t{number}", "attached": [ADMINISTRATOR], "trust": tagged})
        account["policies"] += [{"name": f"p{number}", "document": read}, *limits]
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
            "DeleteUserPermissionsBoundary": lambda: iam.delete_user_permissions_boundary(UserName=name),
            "PutUserPermissionsBoundary": lambda: iam.put_user_permissions_boundary(
                UserName=name, PermissionsBoundary=ADMINISTRATOR
            ),
            "TagUser": lambda: iam.tag_user(UserName=name, Tags=[{"Key": "team", "Value": "ops"}]),
            "CreatePolicyVersion": lambda: iam.create_policy_version(
                PolicyArn=step.target, PolicyDocument=text, SetAsDefault=True
            ),
        }
        named = {f"{kind}Name": name}
        if verb in calls:
            calls[verb]()
        elif verb.startswith("Put"):
            getattr(iam, f"put_{kind.lower()}_policy")(**named, PolicyName="all", PolicyDocument=text)
        else:
            getattr(iam, f"attach_{kind.lower()}_policy")(**named, PolicyArn=ADMINISTRATOR)

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


@dataclass(frozen=True)
class World:
    """What one user can reach. Names are those of ARNs, such as `user/v7`.

    `texts` has the policies of users, groups, roles and managed policies, and `joined` the groups and managed policies
    that they have. `admits` has the roles that admit the account, with the tags that they demand. `open` has the roles
    that name the callers. `limits` has the boundaries, and `held` the users and roles whose credentials are held.
    """

    texts: Mapping[str, tuple[str, ...]]
    joined: Mapping[str, tuple[str, ...]]
    admits: Mapping[str, Mapping[str, str]]
    limits: Mapping[str, str]
    held: tuple[str, ...]
    open: frozenset[str] = frozenset()
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def policies(self, name: str) -> list[str]:
        """Return the policies of a user, role or group, with those of its groups."""
        more = (text for other in self.joined.get(name, ()) for text in self.policies(other))
        return [*self.texts.get(name, ()), *more]

    def decide(self, caller: str, action: str, name: str) -> EvalDecision:
        """Return the decision about a call, by the caller's policies and boundary."""
        context = {f"aws:PrincipalTag/{key}": value for key, value in self.tags.get(caller, {}).items()}
        decision = decide(self.policies(caller), action, f"{START}:{name}", context)
        if decision is EvalDecision.ALLOW and caller in self.limits:
            return decide([self.limits[caller]], action, f"{START}:{name}", context)
        return decision

    def administers(self, name: str) -> bool:
        """Return whether a held user or role may attach a policy to itself, and no boundary limits it."""
        attach = f"iam:Attach{name.partition('/')[0].title()}Policy"
        return name not in self.limits and self.decide(name, attach, name) is EvalDecision.ALLOW

    def allows(self, caller: str, action: str, name: str) -> bool:
        """Return whether a caller may carry out a call. What the call makes must not exist, and all else must."""
        decision = self.decide(caller, action, name)
        if action == "sts:AssumeRole" and name in self.open:
            return decision is not EvalDecision.EXPLICIT
        tagged = action != "sts:AssumeRole" or self.admits[name].items() <= self.tags.get(caller, {}).items()
        makes = action in {"iam:CreateUser", "iam:CreateGroup", "iam:CreateRole"}
        return decision is EvalDecision.ALLOW and tagged and (name in self.texts) != makes

    def after(self, action: str, name: str) -> "World":
        """Return what can be reached after a call. The first held user joins groups."""
        verb = action.partition(":")[2]
        joined = (*self.joined.get(self.held[0], ()), name)
        writes = {**self.texts, name: (*self.texts.get(name, ()), json.dumps(ALLOW))}
        effects: dict[str, dict[str, Any]] = {
            "CreateUser": {"texts": {**self.texts, name: ()}},
            "CreateGroup": {"texts": {**self.texts, name: ()}},
            "CreateRole": {"texts": {**self.texts, name: ()}, "open": self.open | {name}},
            "UpdateAssumeRolePolicy": {"open": self.open | {name}},
            "CreateAccessKey": {"held": (*self.held, name)},
            "AssumeRole": {"held": (*self.held, name)},
            "AddUserToGroup": {"joined": {**self.joined, self.held[0]: joined}},
            "TagUser": {"tags": {**self.tags, name: {"team": "ops"}}},
        }
        if verb.endswith("PermissionsBoundary"):
            return replace(self, limits={user: text for user, text in self.limits.items() if user != name})
        return replace(self, **effects.get(verb, {"texts": writes}))


def reach(world: World, calls: list[tuple[str, str]], depth: int) -> Iterator[World]:
    """Yield what can be reached with a number of calls, or fewer."""
    yield world
    if depth:
        for caller in world.held:
            for action, name in calls:
                if world.allows(caller, action, name):
                    yield from reach(world.after(action, name), calls, depth - 1)


def test_users_without_a_path_have_none_of_three_calls(
    carried: tuple[Lab, dict[str, Administration]], record_property: Callable[[str, object], None]
) -> None:
    """No sequence of calls that the lab's evaluator allows makes an administrator of a user without a path."""
    _, answers = carried
    account = described(random.Random(35))
    users = {user["name"]: user for user in account["users"]}
    limits = {policy["name"]: json.dumps(policy["document"]) for policy in account["policies"]}
    worlds = found = 0
    for number in range(USERS):
        own = f"user/u{number}"
        names = {name.format(number).replace("*", "x") for _, name in RIGHTS if "n{}" not in name}
        world = World(
            texts={
                **dict.fromkeys(names, ()),
                own: (json.dumps(users[f"u{number}"]["policies"]["p"]),),
                f"role/t{number}": (json.dumps(ALLOW),),
            },
            joined={
                f"user/v{number}": (f"group/g{number}",),
                f"group/g{number}": (f"policy/p{number}",),
                f"role/r{number}": (f"policy/p{number}",),
            },
            admits={f"role/r{number}": {}, f"role/t{number}": {"team": "ops"}},
            limits={own: limits[f"b{number}"]} if "boundary" in users[f"u{number}"] else {},
            held=(own,),
        )
        calls = [(action, name.format(number).replace("*", "x")) for action, name in RIGHTS]
        reached = list(reach(world, calls, 3))
        worlds += len(reached)
        admin = any(later.administers(name) for later in reached for name in later.held)
        found += admin
        assert not admin or answers[f"{START}:{own}"].admin, users[f"u{number}"]
    assert found >= USERS // 20
    record_property(COUNTED, ("sequences of three calls tried", worlds))
