"""The policies of the users, groups and roles in a snapshot, and why some of them cannot be evaluated."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mfa_kit.account.evaluator import (
    NOBODY,
    UNREAD,
    Decision,
    RequestContext,
    evaluate,
    policy_flaw,
    statements,
)
from mfa_kit.account.snapshot import Entity
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


def about(entity: Entity, time: float) -> RequestContext:
    """Return the condition keys, with their values, that describe a user or role in its own requests at a time.

    The time is in Unix seconds. aws:ViaAWSService is false, because the caller sends the request itself. A user's
    requests have the tags of the user and no others. A session of a role may have more tags than the role.
    """
    tags = {f"aws:PrincipalTag/{name}": value for name, value in entity.tags.items()}
    always = {"aws:PrincipalArn": entity.arn, "aws:ViaAWSService": "false", "aws:CurrentTime": iso_time(time)}
    if ":role/" in entity.arn:
        return {"aws:username": None, "aws:PrincipalType": "AssumedRole", **always, **tags}
    return {"aws:username": entity.name, "aws:PrincipalType": "User", "aws:PrincipalTag/": None, **always, **tags}


def entity_policies(
    entity: Entity, managed: Mapping[str, str], groups: Mapping[str, EntityPolicies] | None = None
) -> EntityPolicies:
    """Return the policies of a user, group or role, including those of a user's groups.

    `managed` has the texts of managed policies by ARN, and `groups` the policies of the known groups by name. If one of
    the user's groups is not in `groups`, `unread` of the result is true.
    """
    own = list(own_policies(entity, managed))
    joined = [groups[name] for name in entity.groups if groups and name in groups]
    gaps = [*(policy.flaw for policy in own if policy.flaw), *(group.why for group in joined if group.unread)]
    if len(joined) < len(entity.groups):
        gaps.append("a group of this user could not be read")
    boundary, flaw = _boundary(entity, managed)
    return EntityPolicies(
        documents=(
            *(policy.text for policy in own if policy.text is not None and not policy.flaw),
            *(text for group in joined for text in group.documents),
        ),
        boundary=boundary,
        unread=bool(gaps),
        why=[*gaps, flaw][0],
    )


def group_policies(groups: Iterable[Entity], managed: Mapping[str, str]) -> dict[str, EntityPolicies]:
    """Return the policies of groups by name. `managed` has the texts of managed policies by ARN."""
    return {group.name: entity_policies(group, managed) for group in groups}


def _boundary(entity: Entity, managed: Mapping[str, str]) -> tuple[str | None, str]:
    """Return a pair: the text of an entity's permissions boundary, and the reason why it cannot be evaluated.

    The text is None if there is no boundary, and UNREAD if the boundary cannot be evaluated. The reason is "" if there
    is nothing wrong.
    """
    if entity.boundary is None:
        return None, ""
    policy = managed_policy(entity.boundary, managed)
    return (UNREAD, policy.flaw) if policy.flaw else (policy.text, "")


def administers(entity: Entity, policies: EntityPolicies, context: RequestContext) -> bool | None:
    """Return whether these policies let a user or role attach a policy to itself, or write an inline policy for itself.

    Return None if that is unknown. With either right, the user or role can give itself every other right, so it is an
    administrator. `context` has the condition keys of the request. It should be one with MFA, because an administrator
    whose policies demand MFA is still an administrator.
    """
    kind = "Role" if ":role/" in entity.arn else "User"
    known = {**context, "iam:PermissionsBoundary": entity.boundary}
    answers = {policies.decide(f"iam:{verb}{kind}Policy", entity.arn, known) for verb in ("Attach", "Put")}
    if Decision.ALLOW not in answers:
        return None if policies.unread or Decision.UNKNOWN in answers else False
    # A new policy gives no more than the boundary allows.
    limit = Decision.ALLOW if policies.boundary is None else evaluate((policies.boundary,), "*", "*", context)
    return None if limit is Decision.UNKNOWN else limit is Decision.ALLOW


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
        flaw = policy_flaw(text)
        yield PolicyText(text, flaw and _not_a_policy(f"policy {name} of {_named(holder)}", flaw))
    for arn in holder.attached:
        yield managed_policy(arn, managed)


def managed_policy(arn: str, managed: Mapping[str, str]) -> PolicyText:
    """Return the managed policy with this ARN, such as a permissions boundary. `managed` has the texts by ARN."""
    text = managed.get(arn)
    if text is None:
        return PolicyText(None, f"the text of policy {arn} could not be read")
    flaw = policy_flaw(text)
    return PolicyText(text, flaw and _not_a_policy(f"policy {arn}", flaw))


def trust_flaw(role: Entity) -> str | None:
    """Return a sentence that says why the trust policy of a role cannot be evaluated.

    Return None if it can be evaluated, or if the entity has no trust policy.
    """
    flaw = policy_flaw(role.trust or NOBODY)
    return flaw and _not_a_policy(f"the trust policy of {_named(role)}", flaw)


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


def _not_a_policy(policy: str, flaw: str) -> str:
    return f"{policy} is not an IAM policy: {flaw}"


def _named(entity: Entity) -> str:
    """Return the kind and the name of an entity, such as `user alice`."""
    return f"{entity.arn.rpartition(':')[2].partition('/')[0]} {entity.name}"
