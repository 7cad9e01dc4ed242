"""The users of an account, and the users and roles that administer it or can give themselves the right to do so.

A user has the devices, credentials and policies of a snapshot. A fact that could not be read is None, never True or
False.

A path is one way to get that right. The paths are from published research: "AWS IAM Privilege Escalation - Methods and
Mitigation" (Rhino Security Labs, 2018), "Privilege Escalation in AWS" (Bishop Fox, 2021) and pathfinding.cloud
(Datadog, 2025). One more path is from the IAM user guide, "Permissions boundaries for IAM entities": a user who may
remove their own boundary is no longer limited by it. Paths are evaluated for requests with MFA, because an
administrator whose policies demand MFA is still an administrator.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from mfa_kit.account.evaluator import (
    NOBODY,
    UNREAD,
    WITH_MFA,
    Decision,
    RequestContext,
    both,
    covers_action,
    demands_mfa,
    evaluate,
    filled_resource,
    holds,
    policy_flaw,
    principals_let_in,
    statements,
)
from mfa_kit.account.snapshot import AccessKey, Credentials, Entity, Snapshot
from mfa_kit.core.models import Device, DeviceType, devices_by_user
from mfa_kit.core.text import iso_time


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityPolicies:
    """The policies of a user, group or role.

    `documents` has the texts of the entity's own policies and of its groups' policies. `boundary` is the text of its
    permissions boundary, or None. `unread` is true if `documents` lacks a policy, because its text or a group could not
    be read, or because its text is not an IAM policy. `why` says why the first such policy is lacking, or else what
    is wrong with the boundary. It is "" if nothing is wrong.
    """

    documents: tuple[str, ...]
    boundary: str | None
    unread: bool
    why: str = ""

    def decide(self, action: str, resource: str, context: RequestContext, *, more: tuple[str, ...] = ()) -> Decision:
        """Return what these policies and the policy texts in `more` together decide about an action on a resource."""
        return evaluate((*self.documents, *more), action, resource, context, boundary=self.boundary)

    def with_documents(self, more: tuple[str, ...]) -> "EntityPolicies":
        """Return these policies with more documents."""
        return replace(self, documents=(*self.documents, *more))


def about(entity: Entity) -> RequestContext:
    """Return the condition keys, with their values, that describe a user or role in its own requests.

    aws:ViaAWSService is false, because the caller sends the request itself. A user's requests have the tags of the user
    and no others. A session of a role may have more tags than the role.
    """
    tags = {f"aws:PrincipalTag/{name}": value for name, value in entity.tags.items()}
    common_keys = {"aws:PrincipalArn": entity.arn, "aws:ViaAWSService": "false", **tags}
    if ":role/" in entity.arn:
        return {"aws:username": None, "aws:PrincipalType": "AssumedRole", **common_keys}
    return {"aws:username": entity.name, "aws:PrincipalType": "User", "aws:PrincipalTag/": None, **common_keys}


def entity_policies(
    entity: Entity, managed: Mapping[str, str], *, groups: Mapping[str, Entity] | None = None
) -> EntityPolicies:
    """Return the policies of a user, group or role, including those of a user's groups.

    `managed` has the texts of managed policies by ARN, and `groups` the known groups by name. If one of the user's
    groups is not in `groups`, `unread` of the result is true.
    """
    holders = [entity, *(groups[name] for name in entity.groups if groups and name in groups)]
    policies = [policy for holder in holders for policy in own_policies(holder, managed)]
    missing_group = [] if len(holders) > len(entity.groups) else ["a group of this user could not be read"]
    gaps = [*(policy.flaw for policy in policies if policy.flaw), *missing_group]
    boundary, flaw = _boundary(entity, managed)
    return EntityPolicies(
        documents=tuple(policy.text for policy in policies if policy.text is not None and not policy.flaw),
        boundary=boundary,
        unread=bool(gaps),
        why=[*gaps, flaw][0],
    )


def _boundary(entity: Entity, managed: Mapping[str, str]) -> tuple[str | None, str]:
    """Return a pair: the text of an entity's permissions boundary, and the reason why it cannot be evaluated.

    The text is None if there is no boundary, and UNREAD if the boundary cannot be evaluated. The reason is "" if there
    is nothing wrong.
    """
    if entity.boundary is None:
        return None, ""
    policy = managed_policy(entity.boundary, managed)
    return (UNREAD, policy.flaw) if policy.flaw else (policy.text, "")


def administers(entity: Entity, policies: EntityPolicies) -> bool | None:
    """Return whether these policies let a user or role attach a policy to itself, or write an inline policy for itself.

    Return None if that is unknown. With either right, the user or role can give itself every other right, so it is an
    administrator. The policies are evaluated for a session with MFA, because an administrator whose policies demand MFA
    is still an administrator.
    """
    context = {**about(entity), **WITH_MFA}
    kind = "Role" if ":role/" in entity.arn else "User"
    answers = {policies.decide(f"iam:{verb}{kind}Policy", entity.arn, context) for verb in ("Attach", "Put")}
    if Decision.ALLOW in answers:
        return True
    return None if policies.unread or Decision.UNKNOWN in answers else False


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy: `text` is its document in JSON, or None if the document could not be read.

    `flaw` is a sentence that says why the policy cannot be evaluated. It is None if the policy can be evaluated.
    """

    text: str | None
    flaw: str | None


def own_policies(holder: Entity, managed: Mapping[str, str]) -> Iterator[PolicyText]:
    """Yield the inline policies of a user, group or role, then its attached policies, without those of a user's groups.

    `managed` has the texts of managed policies by ARN.
    """
    for name, text in holder.inline.items():
        yield PolicyText(text, _described(f"policy {name} of {_named(holder)}", text))
    for arn in holder.attached:
        yield managed_policy(arn, managed)


def managed_policy(arn: str, managed: Mapping[str, str]) -> PolicyText:
    """Return the managed policy with this ARN, such as a permissions boundary. `managed` has the texts by ARN."""
    text = managed.get(arn)
    if text is None:
        return PolicyText(None, f"the text of policy {arn} could not be read")
    return PolicyText(text, _described(f"policy {arn}", text))


def trust_flaw(role: Entity) -> str | None:
    """Return a sentence that says why the trust policy of a role cannot be evaluated.

    Return None if it can be evaluated, or if the entity has no trust policy.
    """
    return _described(f"the trust policy of {_named(role)}", role.trust or NOBODY)


def trust_text(role: Entity) -> str:
    """Return the text of a role's trust policy.

    If there is none, or if it cannot be evaluated, return the text of a policy that lets no principal assume the role.
    """
    return NOBODY if role.trust is None or trust_flaw(role) else role.trust


def lets_people_in(role: Entity) -> bool:
    """Return whether a role's trust policy names others than AWS services. One that cannot be evaluated counts too."""
    allowed = (statement for statement in statements(trust_text(role)) if statement.allow)
    people = (kind for statement in allowed for kind, _ in statement.principals if kind != "Service")
    return trust_flaw(role) is not None or any(people)


def flaws_of(entity: Entity, managed: Mapping[str, str]) -> Iterator[str]:
    """Check all policies of a user, group or role. Yield a sentence for each text that is not an IAM policy.

    The permissions boundary and the trust policy are included. Policies whose text could not be read are left out.
    `managed` has the texts of managed policies by ARN.
    """
    boundary = [managed_policy(entity.boundary, managed)] if entity.boundary else []
    for policy in (*own_policies(entity, managed), *boundary):
        if policy.flaw and policy.text is not None:
            yield policy.flaw
    if flaw := trust_flaw(entity):
        yield flaw


def _described(policy: str, text: str) -> str | None:
    """Return a sentence that says why a text is not an IAM policy, or None if the text is a policy.

    `policy` names the policy, and the sentence begins with it.
    """
    flaw = policy_flaw(text)
    return f"{policy} is not an IAM policy: {flaw}" if flaw else None


def _named(entity: Entity) -> str:
    """Return the kind and the name of an entity, such as `user alice`."""
    return f"{entity.arn.rpartition(':')[2].partition('/')[0]} {entity.name}"


# REGION matches the region in a service's name, such as states.us-east-1.amazonaws.com, and DOMAIN the end of the name.
REGION = re.compile(r"\.[a-z]{2}(-[a-z]+)+-\d\.")
DOMAIN = re.compile(r"\.amazonaws\.com(\.cn)?\Z")
# Services that run code with a role that the caller passes. The keys are the services' names in trust policies, without
# the region and `.amazonaws.com`. Each set of actions, together with iam:PassRole, lets the caller run code with the
# role.
SERVICES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "tasks.apprunner": (("apprunner:CreateService",),),
    "cloudformation": (
        ("cloudformation:CreateStack",),
        ("cloudformation:UpdateStack",),
        ("cloudformation:CreateChangeSet", "cloudformation:ExecuteChangeSet"),
    ),
    "codebuild": (
        ("codebuild:CreateProject", "codebuild:StartBuild"),
        ("codebuild:UpdateProject", "codebuild:StartBuild"),
        ("codebuild:CreateProject", "codebuild:StartBuildBatch"),
    ),
    "datapipeline": (("datapipeline:CreatePipeline", "datapipeline:PutPipelineDefinition"),),
    "ec2": (("ec2:RunInstances",), ("ec2:AssociateIamInstanceProfile",)),
    "ecs-tasks": (
        ("ecs:RegisterTaskDefinition", "ecs:RunTask"),
        ("ecs:RegisterTaskDefinition", "ecs:StartTask"),
        ("ecs:RegisterTaskDefinition", "ecs:CreateService"),
        ("batch:RegisterJobDefinition", "batch:SubmitJob"),
    ),
    "glue": (
        ("glue:CreateDevEndpoint",),
        ("glue:CreateJob", "glue:StartJobRun"),
        ("glue:CreateJob", "glue:CreateTrigger"),
        ("glue:UpdateJob", "glue:StartJobRun"),
        ("glue:CreateSession", "glue:RunStatement"),
    ),
    "lambda": (
        ("lambda:CreateFunction", "lambda:InvokeFunction"),
        ("lambda:CreateFunction", "lambda:AddPermission"),
        ("lambda:CreateFunction", "lambda:CreateEventSourceMapping"),
    ),
    "sagemaker": (
        ("sagemaker:CreateNotebookInstance", "sagemaker:CreatePresignedNotebookInstanceUrl"),
        ("sagemaker:CreateTrainingJob",),
        ("sagemaker:CreateProcessingJob",),
    ),
    "ssm": (("ssm:StartAutomationExecution",),),
    "states": (("states:CreateStateMachine", "states:StartExecution"),),
}
# The actions of IAM and STS that the paths need on resources other than the principal itself. ACTIONS also has the
# actions of SERVICES.
IAM_ACTIONS = (
    *(f"iam:{verb}{kind}Policy" for verb in ("Attach", "Put") for kind in ("Group", "Role")),
    "iam:AddUserToGroup",
    "iam:CreateAccessKey",
    "iam:CreateLoginProfile",
    "iam:CreatePolicyVersion",
    "iam:DeactivateMFADevice",
    "iam:PassRole",
    "iam:SetDefaultPolicyVersion",
    "iam:UpdateAssumeRolePolicy",
    "iam:UpdateLoginProfile",
    "sts:AssumeRole",
)
ACTIONS = (*IAM_ACTIONS, *sorted({action for sets in SERVICES.values() for actions in sets for action in actions}))
# The actions with which a principal can give itself credentials of another user, or deactivate that user's MFA devices.
CREDENTIALS = frozenset(
    ("iam:CreateAccessKey", "iam:CreateLoginProfile", "iam:DeactivateMFADevice", "iam:UpdateLoginProfile")
)
# If a resource in a policy ends with this text, it is the calling user, or a device of this user. Policies that let
# users manage their own credentials have such resources.
OWN = "/${aws:username}"
SERVICE_LINKED = ":role/aws-service-role/"


@dataclass(frozen=True, slots=True)
class Administration:
    """Whether a user or role administers the account. `admin` is None if that is unknown.

    `how` names the path by which the user or role can become an administrator, such as `may create an access key for
    boss (iam:CreateAccessKey), ...`. It is "" if the user or role may write its own policies, or is no administrator.
    If `admin` is None, `how` names the path that cannot be evaluated, or is "".
    """

    admin: bool | None
    how: str = ""


# A path: whether it exists (None if that is unknown), and the words that name it.
_Path = tuple[bool | None, str]


@lru_cache(maxsize=4096)
def _reaching(document: str) -> frozenset[str]:
    """Return the actions in ACTIONS that a policy allows on a resource other than the caller."""
    allows = [
        statement
        for statement in statements(document)
        if statement.allow
        and not (statement.resources and all(resource.endswith(OWN) for resource in statement.resources))
    ]
    return frozenset(action for action in ACTIONS if any(covers_action(statement, action) for statement in allows))


@dataclass(frozen=True, kw_only=True)
class _Principal:
    """A user or role, with its policies. `context` has the condition keys of its requests with MFA."""

    entity: Entity
    policies: EntityPolicies
    context: RequestContext

    @cached_property
    def actions(self) -> frozenset[str]:
        """The actions in ACTIONS that an Allow statement has for a resource other than the principal itself.

        Deny statements and the boundary are not considered here, but in `may`.
        """
        return frozenset[str]().union(*(_reaching(document) for document in self.policies.documents))

    def may(self, action: str, resource: str, context: RequestContext | None = None) -> bool | None:
        """Return whether the policies allow an action on a resource, or None if that is unknown.

        `context` has further condition keys of the request.
        """
        if action not in self.actions:
            return False
        decision = self.policies.decide(action, resource, {**self.context, **(context or {})})
        return None if decision is Decision.UNKNOWN else decision is Decision.ALLOW

    def may_somewhere(self, action: str) -> bool | None:
        """Return whether the policies allow an action on at least one resource that they name, or None if unknown."""
        named = {
            filled_resource(statement, resource, self.context)
            for document in self.policies.documents
            for statement in statements(document)
            if statement.allow and covers_action(statement, action)
            for resource in statement.resources or ("*",)
        }
        answers = {self.may(action, resource) for resource in named}
        return True if True in answers else None if None in answers else False


@dataclass(frozen=True, kw_only=True)
class _Account:
    """The users, roles and groups of an account.

    `admins` says for each user and role, by ARN, whether it administers the account by the paths found so far. None
    means that this is unknown.
    """

    snapshot: Snapshot
    principals: Mapping[str, _Principal]
    groups: Mapping[str, Entity]
    admins: Mapping[str, bool | None]

    @cached_property
    def roles(self) -> tuple[Entity, ...]:
        """All roles except service-linked roles, which only AWS services can change and assume."""
        return tuple(role for role in self.snapshot.roles if SERVICE_LINKED not in role.arn)

    @cached_property
    def admin_roles(self) -> tuple[Entity, ...]:
        """The roles in `roles` that administer the account."""
        return tuple(role for role in self.roles if self.admins[role.arn])

    @cached_property
    def admin_users(self) -> tuple[Entity, ...]:
        """The users that administer the account."""
        return tuple(user for user in self.snapshot.users if self.admins[user.arn])

    @cached_property
    def perhaps_roles(self) -> tuple[Entity, ...]:
        """The roles in `roles` for which it is unknown whether they administer the account."""
        return tuple(role for role in self.roles if self.admins[role.arn] is None)

    @cached_property
    def perhaps_users(self) -> tuple[Entity, ...]:
        """The users for whom it is unknown whether they administer the account."""
        return tuple(user for user in self.snapshot.users if self.admins[user.arn] is None)

    def is_open(self, principal: "_Principal") -> bool:
        """Return whether a principal is not an administrator by the paths found so far.

        Only for such a principal does a path that may exist change the answer: from False to None.
        """
        return self.admins[principal.entity.arn] is False

    def through(self, arn: str, path: bool | None) -> bool | None:
        """Return whether both are true: a path to a user or role exists, and that user or role administers the account.

        `arn` is the user or role, and `path` says whether the path exists. Return None if the result is unknown.
        """
        return both(path, self.admins[arn])

    def said(self, arn: str) -> str:
        """Return words for a message: that a user or role administers the account, or that it may administer it."""
        return "administers the account" if self.admins[arn] else "may administer the account"


def administrations(snapshot: Snapshot) -> dict[str, Administration]:
    """Return for each user and role, by ARN, whether it administers the account.

    A path may lead through another administrator: a user who may create an access key for an administrator is also an
    administrator.
    """
    groups = {group.name: group for group in snapshot.groups}
    principals = {
        entity.arn: _Principal(
            entity=entity,
            policies=entity_policies(entity, snapshot.policies, groups=groups),
            context={**about(entity), **WITH_MFA},
        )
        for entity in (*snapshot.users, *snapshot.roles)
    }
    administration_of = {
        arn: Administration(administers(principal.entity, principal.policies)) for arn, principal in principals.items()
    }
    before: dict[str, bool | None] = {}
    while before != (admins := {arn: administration.admin for arn, administration in administration_of.items()}):
        before = admins
        account = _Account(snapshot=snapshot, principals=principals, groups=groups, admins=admins)
        others = [arn for arn, admin in admins.items() if not admin]
        administration_of |= {arn: _with_paths(principals[arn], account, administration_of[arn]) for arn in others}
    return {entity.arn: administration_of[entity.arn] for entity in (*snapshot.users, *snapshot.roles)}


def _with_paths(principal: _Principal, account: _Account, own: Administration) -> Administration:
    """Return whether a principal administers the account by one of the paths. `own` is the answer without the paths."""
    doubt = own
    for exists, how in _paths(principal, account):
        if exists:
            return Administration(True, how)
        if exists is None and doubt.admin is False:
            doubt = Administration(None, how)
    return doubt


def _paths(principal: _Principal, account: _Account) -> Iterator[_Path]:
    if principal.actions:
        yield from _through_policies(principal, account)
        yield from _through_groups(principal, account)
        yield from _through_users(principal, account)
    yield from _through_boundary(principal)
    yield from _through_roles(principal, account)


def _through_boundary(principal: _Principal) -> Iterator[_Path]:
    """Yield the paths through the removal, replacement or change of the principal's own permissions boundary."""
    arn = principal.entity.boundary
    gives = administers(principal.entity, replace(principal.policies, boundary=None)) if arn else False
    if arn is None or gives is False:
        return
    kind = "Role" if ":role/" in principal.entity.arn else "User"
    ways = [(f"iam:{verb}{kind}PermissionsBoundary", principal.entity.arn) for verb in ("Delete", "Put")]
    ways += [("iam:CreatePolicyVersion", arn)] if ":iam::aws:" not in arn else []
    for action, resource in ways:
        decision = principal.policies.decide(action, resource, principal.context)
        may = None if decision is Decision.UNKNOWN else decision is Decision.ALLOW
        yield both(may, gives), f"may lift its permissions boundary ({action}), and then change its own policies"


def _through_policies(principal: _Principal, account: _Account) -> Iterator[_Path]:
    """Yield the paths through a new default version, written or chosen, of a policy that applies to the principal."""
    holders = (principal.entity, *(account.groups[name] for name in principal.entity.groups if name in account.groups))
    for arn in dict.fromkeys(arn for holder in holders for arn in holder.attached if ":iam::aws:" not in arn):
        name = arn.rpartition("/")[2]
        yield (
            principal.may("iam:CreatePolicyVersion", arn),
            f"may write a new version of policy {name} (iam:CreatePolicyVersion)",
        )
        yield (
            both(principal.may("iam:SetDefaultPolicyVersion", arn), _better_version(principal, arn, account.snapshot)),
            f"may return to another version of policy {name} (iam:SetDefaultPolicyVersion)",
        )


def _better_version(principal: _Principal, arn: str, snapshot: Snapshot) -> bool | None:
    """Return whether a version of this policy, other than the default, would make the principal an administrator.

    Return None if that is unknown.
    """
    if (others := snapshot.other_versions.get(arn)) is None:
        return None
    return _any(_administers_with(principal, (text,)) for text in others)


def _administers_with(principal: _Principal, more: tuple[str, ...]) -> bool | None:
    """Return whether the principal would be an administrator if these policy texts also applied to it."""
    return administers(principal.entity, principal.policies.with_documents(more))


def _through_groups(principal: _Principal, account: _Account) -> Iterator[_Path]:
    """Yield the paths through the policies of the principal's groups, and through membership in other groups."""
    for group in account.snapshot.groups:
        if group.name in principal.entity.groups:
            for verb in ("Attach", "Put"):
                action = f"iam:{verb}GroupPolicy"
                yield principal.may(action, group.arn), f"may change the policies of its group {group.name} ({action})"
        elif "iam:AddUserToGroup" in principal.actions and ":user/" in principal.entity.arn:
            policies = entity_policies(group, account.snapshot.policies)
            gives = _administers_with(principal, policies.documents)
            yield (
                both(principal.may("iam:AddUserToGroup", group.arn), None if policies.unread and not gives else gives),
                f"may join group {group.name} (iam:AddUserToGroup), which administers the account",
            )


def _through_users(principal: _Principal, account: _Account) -> Iterator[_Path]:
    """Yield the paths through the credentials of other administrators, and of users who may be administrators."""
    if not CREDENTIALS & principal.actions:
        return
    for user in (*account.admin_users, *(account.perhaps_users if account.is_open(principal) else ())):
        if user.arn != principal.entity.arn:
            for action, phrase in (
                ("iam:CreateAccessKey", "create an access key for"),
                (_password_action(user, account.snapshot), "set the password of"),
                ("iam:DeactivateMFADevice", "deactivate the MFA devices of"),
            ):
                exists = account.through(user.arn, principal.may(action, user.arn))
                yield exists, f"may {phrase} {user.name} ({action}), who {account.said(user.arn)}"


def _password_action(user: Entity, snapshot: Snapshot) -> str:
    """Return the action that sets a user's password.

    It is UpdateLoginProfile if the user has a password according to the credential report, else CreateLoginProfile.
    """
    row = snapshot.report.users.get(user.name) if snapshot.report else None
    return f"iam:{'Update' if row and row.password else 'Create'}LoginProfile"


def _through_roles(principal: _Principal, account: _Account) -> Iterator[_Path]:
    """Yield the paths through roles that administer the account, or that the principal may change and assume."""
    for role in (*account.admin_roles, *(account.perhaps_roles if account.is_open(principal) else ())):
        if role.arn != principal.entity.arn:
            which, words = f"role {role.name}", account.said(role.arn)
            exists = account.through(role.arn, _may_assume(principal, role, account))
            yield exists, f"may assume {which} (sts:AssumeRole), which {words}"
            action = "iam:UpdateAssumeRolePolicy"
            exists = account.through(role.arn, principal.may(action, role.arn))
            yield exists, f"may let itself assume {which} ({action}), which {words}"
            yield from _through_services(principal, role, account)
    for verb in ("Attach", "Put"):
        action = f"iam:{verb}RolePolicy"
        for role in account.roles if action in principal.actions else ():
            changes = principal.may(action, role.arn)
            assumes = _any(
                (_may_assume(principal, role, account), principal.may("iam:UpdateAssumeRolePolicy", role.arn))
            )
            yield both(changes, assumes), f"may change the policies of role {role.name} ({action}) and assume it"


def _through_services(principal: _Principal, role: Entity, account: _Account) -> Iterator[_Path]:
    """Yield the paths through services that run code with a role that administers the account."""
    if "iam:PassRole" not in principal.actions:
        return
    trusted = {REGION.sub(".", name) for kind, name in principals_let_in(trust_text(role), {}) if kind == "Service"}
    for name in sorted(name for name in trusted if DOMAIN.sub("", name) in SERVICES):
        passes = principal.may("iam:PassRole", role.arn, {"iam:PassedToService": name})
        for actions in SERVICES[DOMAIN.sub("", name)] if passes is not False else ():
            runs: bool | None = passes
            for action in actions:
                runs = both(runs, principal.may_somewhere(action))
            needed = ", ".join(("iam:PassRole", *actions))
            exists = account.through(role.arn, runs)
            yield exists, f"may run code with role {role.name} ({needed}), which {account.said(role.arn)}"


def _may_assume(principal: _Principal, role: Entity, account: _Account) -> bool | None:
    """Return whether a principal may assume a role, or None if that is unknown.

    If the trust policy names the principal, the principal's own policies need not allow it. If the trust policy names
    the account, they must (IAM user guide, "Policy evaluation logic", for requests within an account).
    """
    number = account.snapshot.account
    account_names = {number, f"arn:{account.snapshot.partition}:iam::{number}:root"}
    named = {"*", principal.entity.arn}
    let_in = _trusts(role, named, principal.context, allow=True)
    if not let_in and "sts:AssumeRole" in principal.actions:
        through = _trusts(role, account_names, principal.context, allow=True)
        allowed = False if through is False else both(through, principal.may("sts:AssumeRole", role.arn))
        let_in = _any((let_in, allowed))
    if let_in is False or principal.policies.decide("sts:AssumeRole", role.arn, principal.context) is Decision.EXPLICIT:
        return False
    # If a Deny names the account, it applies to all users and roles of the account.
    denied = _trusts(role, named | account_names, principal.context, allow=False)
    return both(let_in, None if denied is None else not denied)


def _trusts(role: Entity, names: Collection[str], context: RequestContext, *, allow: bool) -> bool | None:
    """Return whether a role's trust policy has an Allow statement that lets one of these principals assume the role.

    If `allow` is false, look for a Deny statement instead. Return None if the result is unknown.
    """
    return _any(
        holds(statement, context)
        for statement in statements(trust_text(role))
        if statement.allow is allow
        and covers_action(statement, "sts:AssumeRole")
        and any(kind == "AWS" and name in names for kind, name in statement.principals)
    )


def _any(answers: "Iterator[bool | None] | tuple[bool | None, ...]") -> bool | None:
    """Return the logical OR of answers, each of which may be None (unknown)."""
    distinct_answers = set(answers)
    return True if True in distinct_answers else None if None in distinct_answers else False


# How users with a password sign in, from best to worst.
WAYS = ("security key or passkey", "code from an app or a token", "kind unknown", "text message", "no MFA")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountUser:
    """A user of the account, with the user's devices, credentials and policies.

    `devices` has the known devices, and `complete` is true if the user is known to have no others. `mfa` says whether
    the user has a device, and is None if that is unknown. `credentials` is None if there is no credential report, or if
    the report has no row for the user. `administration` says whether the user is an administrator, and how. `at` is the
    time of the snapshot, in Unix seconds.
    """

    user: Entity
    credentials: Credentials | None
    devices: tuple[Device, ...]
    complete: bool
    mfa: bool | None
    policies: EntityPolicies
    administration: Administration
    at: float

    @property
    def name(self) -> str:
        """The name in IAM, without the path."""
        return self.user.name

    @property
    def admin(self) -> bool | None:
        """Whether the user is an administrator; None if that is unknown."""
        return self.administration.admin

    @property
    def has_path(self) -> bool:
        """Whether the ARN has a path before the name."""
        return not self.user.arn.endswith(f":user/{self.name}")

    @property
    def types(self) -> set[DeviceType]:
        """The types of the known devices."""
        return {device.type for device in self.devices}

    @property
    def password(self) -> bool:
        """Whether the credential report says that the user has a console password; False if there is no report."""
        return self.credentials is not None and self.credentials.password

    @property
    def keys(self) -> tuple[AccessKey, ...]:
        """The active access keys in the credential report; () if there is no report."""
        return tuple(key for key in self.credentials.keys if key.active) if self.credentials else ()

    @property
    def sign_in_way(self) -> str:
        """How the user signs in, as a value from WAYS. If several devices are known, the strongest one counts."""
        if DeviceType.FIDO2 in self.types:
            return WAYS[0]
        if self.types - {DeviceType.SMS}:
            return WAYS[1]
        if self.types:
            return WAYS[3]
        return WAYS[4] if self.mfa is False else WAYS[2]

    @property
    def about(self) -> RequestContext:
        """The condition keys, with their values, that describe this user in the user's own requests."""
        return {**about(self.user), "aws:CurrentTime": iso_time(self.at)}

    @property
    def demands_mfa(self) -> bool | None:
        """Whether this user's policies deny all work without MFA and allow some work with MFA; None if that is unknown.

        Work means all actions except those for a user's own sign-in.
        """
        policies = self.policies
        demanded = demands_mfa(policies.documents, self.about, boundary=policies.boundary)
        return None if policies.unread and not demanded else demanded


def account_users(snapshot: Snapshot, administered: Mapping[str, Administration] | None = None) -> list[AccountUser]:
    """Return the users of a snapshot, in the order in which IAM lists them.

    `administered` is the result of `administrations` for this snapshot, if the caller has it already.
    """
    groups = {group.name: group for group in snapshot.groups}
    administration_of = administrations(snapshot) if administered is None else administered
    virtual = devices_by_user(snapshot.virtual)

    def account_user(user: Entity) -> AccountUser:
        row = snapshot.report.users.get(user.name) if snapshot.report else None
        listed = snapshot.listed.get(user.name)
        devices = tuple(virtual.get(user.name, ())) if listed is None else listed
        complete = listed is not None or (row is not None and row.mfa is False and not devices)
        return AccountUser(
            user=user,
            credentials=row,
            devices=devices,
            complete=complete,
            mfa=_has_mfa(row, devices, complete=complete),
            policies=entity_policies(user, snapshot.policies, groups=groups),
            administration=administration_of[user.arn],
            at=snapshot.at,
        )

    return [account_user(user) for user in snapshot.users]


def _has_mfa(row: Credentials | None, devices: tuple[Device, ...], *, complete: bool) -> bool | None:
    if devices or (row is not None and row.mfa and not complete):
        return True
    return False if complete else None
