"""The texts of an account's policies, and why some of them cannot be evaluated.

IAM refuses a text that is not a policy. Such a text can still occur here, because another server may accept it, and
because another program may have written the snapshot.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mfa_kit.account.evaluator import NOBODY, policy_flaw
from mfa_kit.account.records import Entity


@dataclass(frozen=True, slots=True)
class PolicyText:
    """A policy: `text` is its document in JSON, or None if the document could not be read.

    `flaw` is a sentence that says why the policy cannot be evaluated. It is None if the policy can be evaluated.
    """

    text: str | None
    flaw: str | None


def own_policies(holder: Entity, managed: Mapping[str, str]) -> Iterator[PolicyText]:
    """Yield the inline policies of a user, group or role, and then its attached policies, without those of its groups.

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
    """Return a sentence that says why the trust policy of a role cannot be evaluated, or None if it can be evaluated.

    Return None for an entity without a trust policy.
    """
    return _described(f"the trust policy of {_named(role)}", role.trust or NOBODY)


def trust_text(role: Entity) -> str:
    """Return the text of a role's trust policy.

    If there is none, or if it cannot be evaluated, return the text of a policy that lets no principal assume the role.
    """
    return NOBODY if role.trust is None or trust_flaw(role) else role.trust


def flaws_of(entity: Entity, managed: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each policy of a user, group or role that cannot be evaluated because of its text.

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
