"""Rules about groups and roles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mfa_kit.account.evaluator import (
    NO_MFA,
    PLAIN_KEYS,
    WITH_MFA,
    RequestContext,
    ValuePattern,
    principals_let_in,
    trust_flaw,
    trust_text,
)
from mfa_kit.account.snapshot import AccessKey, Entity, SnapshotPart
from mfa_kit.audit.finding import Finding, NotApplicable, Observation, RuleContext, Severity, UnknownSubject, audit_rule
from mfa_kit.core.message import ShellText, command, mfa_kit, suggest
from mfa_kit.core.models import is_root
from mfa_kit.core.text import few

if TYPE_CHECKING:
    from mfa_kit.account.users import AccountUser

EC2 = {"ec2.amazonaws.com", "ec2.amazonaws.com.cn"}


@audit_rule(
    "groups.enforcement",
    Severity.HIGH,
    "Groups with console users require MFA",
    needs=(SnapshotPart.DETAILS, SnapshotPart.REPORT),
)
def groups_enforcement(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each group with a console user whom no policy requires to use MFA.

    The user's own policies and those of the user's other groups count too. If there is no such user, but this is
    unknown for some user, yield an UnknownSubject for the group.
    """
    members = _console_members(context)
    if not any(members.values()) and not context.snapshot.hole(SnapshotPart.DETAILS, SnapshotPart.REPORT):
        yield NotApplicable("no group has a user with a console password")
    for name, users in members.items():
        demanded = {user.name: user.demands_mfa for user in users}
        free = [user for user, demands in demanded.items() if demands is False]
        if free:
            yield Finding(
                subject=name,
                evidence=f"{len(free)} of {len(users)} console users are not required to use MFA: {few(free)}",
                remedy=_enforce(name, user_paths=any(user.has_path for user in users)),
            )
        elif None in demanded.values():
            unknown = [user for user in users if demanded[user.name] is None]
            yield UnknownSubject(name, f"whether its policies require MFA is unknown: {_why_unknown(unknown)}")


def _why_unknown(users: Sequence[AccountUser]) -> str:
    """Return why it is unknown whether these users must use MFA.

    Either a policy could not be read, or the result depends on a condition that cannot be evaluated.
    """
    gaps = [user.policies.why for user in users if user.policies.why]
    return gaps[0] if gaps else "it depends on a condition that cannot be evaluated"


def _console_members(context: RuleContext) -> dict[str, list[AccountUser]]:
    """Return the users with a console password, by group name. The list of a group may be empty."""
    members: dict[str, list[AccountUser]] = {group.name: [] for group in context.snapshot.groups}
    for user in context.users:
        if user.password:
            for name in user.user.groups:
                members.setdefault(name, []).append(user)
    return members


def _enforce(group: str, *, user_paths: bool) -> tuple[str, ...]:
    """Return the commands that write a policy that requires MFA, test it, and add it to a group."""
    return (
        mfa_kit(f"policy show{' --user-paths' if user_paths else ''} {{}}", ShellText("> force-mfa.json")),
        mfa_kit("policy lockout --policy force-mfa.json --group {}", group),
        command(
            "aws iam put-group-policy --group-name {} --policy-name force-mfa --policy-document file://force-mfa.json",
            group,
        ),
    )


@audit_rule(
    "roles.trust", Severity.MEDIUM, "Roles for users of this account require MFA", needs=(SnapshotPart.DETAILS,)
)
def roles_trust(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each role that users of this account may assume without MFA.

    AWS services that may assume the role are ignored.
    """
    account = context.snapshot.account
    is_applicable = False
    for role in context.snapshot.roles:
        if flaw := trust_flaw(role):
            is_applicable = True
            yield UnknownSubject(role.name, flaw)
        with_mfa = _people(role, account, mfa=True)
        is_applicable = is_applicable or bool(with_mfa)
        without = _people(role, account, mfa=False)
        if without:
            yield Finding(
                subject=role.name,
                evidence=f"can be assumed without MFA by {few(sorted(without))}",
                remedy=(
                    command("aws iam get-role --role-name {}", role.name)
                    + " --query Role.AssumeRolePolicyDocument > trust.json",
                    '# add to the statement in the file: "Condition": {"Bool": {"aws:MultiFactorAuthPresent": "true"}}',
                    command("aws iam update-assume-role-policy --role-name {}", role.name)
                    + " --policy-document file://trust.json",
                ),
            )
    if not is_applicable and not context.snapshot.hole(SnapshotPart.DETAILS):
        yield NotApplicable("no role can be assumed by users of this account")


def _people(role: Entity, account: str, *, mfa: bool) -> set[str]:
    """Return the principals that include users of this account and may assume a role.

    `mfa` says whether they assume it with MFA or without.
    """
    user: RequestContext = {
        "aws:PrincipalArn": ValuePattern(f"arn:*:iam::{account}:user/*"),
        "aws:PrincipalType": "User",
    }
    contexts = (WITH_MFA,) if mfa else (PLAIN_KEYS, NO_MFA)
    principals = {who for context in contexts for who in principals_let_in(trust_text(role), {**user, **context})}
    return {name for kind, name in principals if kind == "AWS" and _is_of_people(name, account)}


def _is_of_people(principal: str, account: str) -> bool:
    """Whether a principal includes users of this account: it is `*`, the account's number or ARN, or a user's ARN."""
    if principal in {"*", account}:
        return True
    return f"::{account}:user/" in principal or (f"::{account}:" in principal and is_root(principal))


@audit_rule(
    "roles.ec2",
    Severity.LOW,
    "Instances use roles instead of access keys of users",
    needs=(SnapshotPart.DETAILS, SnapshotPart.REPORT),
)
def roles_ec2(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each access key that a program used recently, if no role for EC2 instances exists.

    IAM does not report where the program runs, so it may run outside EC2.
    """
    used = list(_program_keys_in_use(context))
    if context.snapshot.hole(
        SnapshotPart.DETAILS, SnapshotPart.REPORT
    ):  # a page that was not read may contain such a role or key
        return
    if not used:
        yield NotApplicable("no program uses an access key")
    if any(_is_for_ec2(role) for role in context.snapshot.roles):
        return
    flaws = [UnknownSubject(role.name, flaw) for role in context.snapshot.roles if (flaw := trust_flaw(role))]
    if flaws:
        yield from flaws
        return
    for name, key in used:
        where = f"for {key.service or 'an unknown service'} in {key.region or 'an unknown region'}"
        yield Finding(
            subject=name,
            evidence=f"a program uses a long-lived access key {where}, and no role for EC2 instances exists; "
            "IAM does not report where the program runs",
            remedy=(suggest("# if the program runs on EC2, give the instance a role", "policy onboard"),),
        )


def _program_keys_in_use(context: RuleContext) -> Iterator[tuple[str, AccessKey]]:
    """Yield each active access key that was used in the last `limits.unused` days, if its user has no password.

    Yield a pair: the user's name and the key.
    """
    for user in context.users:
        if user.credentials is not None and not user.password:
            for key in user.keys:
                if key.used is not None and context.days(key.used) < context.limits.unused:
                    yield user.name, key


def _is_for_ec2(role: Entity) -> bool:
    return any(kind == "Service" and name in EC2 for kind, name in principals_let_in(trust_text(role), {}))
