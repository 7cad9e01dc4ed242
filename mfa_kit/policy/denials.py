"""Explains a denial: what the policies that its text names, or that apply to its account, say about the action."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from mfa_kit.account.snapshot import ControlPolicy
from mfa_kit.core.denials import Denial, PolicyType, decoded_denial
from mfa_kit.core.text import few
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.control_policies import ControlSource
from mfa_kit.policy.lint import denying


class Cause(NamedTuple):
    """What the texts of policies show about a denial.

    `policy` names the policy and where it is attached. `mfa` says whether a Deny of the action requires MFA, or is None
    if that is unknown. `why` says what is not known, or is "".
    """

    policy: str
    mfa: bool | None = None
    why: str = ""


def first_cause(denial: Denial) -> Cause:
    """Return what the text of a denial alone shows."""
    return Cause(denial.policy or "unknown", why="" if denial.type else "the text names no type of policy")


def needs_aws(denial: Denial) -> bool:
    """Return whether AWS can say more about a denial."""
    return bool(denial.encoded or denial.control_policy) or denial.type is PolicyType.CONTROL


def find_cause(denial: Denial, source: ControlSource, decode: Callable[[str], str]) -> tuple[Denial, Cause]:
    """Return a denial with what its encoded message says, and what the policies say about it.

    `decode` decodes an authorization message. Raise MfaKitError if something cannot be read.
    """
    if denial.encoded:
        denial = _decoded(denial, decode)
    if denial.control_policy:
        policy, targets = source.policy(denial.control_policy)
        attached = f", attached to {few(list(targets))}" if targets else ""
        return denial, _cause(policy, f"{denial.type} {policy.name} ({policy.id}){attached}", denial.action)
    if denial.type is PolicyType.CONTROL and denial.account:
        return denial, _probable(denial, source)
    return denial, first_cause(denial)


def _decoded(denial: Denial, decode: Callable[[str], str]) -> Denial:
    """Return the denial with what its encoded message says."""
    message = decoded_denial(decode(denial.encoded))
    if message is None:
        return denial
    return replace(
        denial,
        principal=denial.principal or message.principal,
        action=denial.action or message.action,
        resource=denial.resource or message.resource,
        is_explicit=message.is_explicit if denial.is_explicit is None else denial.is_explicit,
        mfa=message.mfa,
    )


def _cause(policy: ControlPolicy, words: str, action: str) -> Cause:
    """Return what the text of one policy shows about an action."""
    if policy.text is None or not action:
        return Cause(words, why="the text of the policy, or the action, is unknown")
    covering, forcing = denying(policy.text, action)
    if forcing:
        return Cause(f"{words}, which denies {action} without MFA ({few(forcing)})", mfa=True, why=UNPROVEN)
    if covering:
        return Cause(f"{words}, which denies {action} ({few(covering)})", mfa=False, why=UNPROVEN)
    return Cause(f"{words}, which does not deny {action}: perhaps a level allows too little", why=UNPROVEN)


UNPROVEN = "which statement denied the request is not proven"


def _probable(denial: Denial, source: ControlSource) -> Cause:
    """Compare a denial without the ARN of a policy with the policies of the account."""
    account = OrgAccount(id=denial.account)
    levels = source.policies().levels(account.id, source.units(account))
    found = [
        (policy, level.label)
        for level in levels
        for policy in level.policies
        if policy.text and denial.action and denying(policy.text, denial.action)[0]
    ]
    if not found:
        return Cause("a service control policy", why="no policy that could be read denies this action")
    policy, label = found[0]
    cause = _cause(policy, f"probably {denial.type} {policy.name} ({policy.id}), attached to {label}", denial.action)
    why = UNPROVEN if len(found) == 1 else f"{len(found)} policies deny this action; {UNPROVEN}"
    return cause._replace(mfa=cause.mfa or None, why=why)
