"""Rules about policies that allow too much, the role for AWS Support, and server certificates."""

from collections.abc import Iterator, Sequence

from mfa_kit.account.evaluator import covers_action, covers_resource, own_policies, statements
from mfa_kit.account.snapshot import Entity, SnapshotPart
from mfa_kit.audit.finding import (
    Finding,
    FindingNote,
    NotApplicable,
    Observation,
    RuleContext,
    Severity,
    UnknownSubject,
    audit_rule,
)
from mfa_kit.core.message import Message, command, suggest
from mfa_kit.core.text import few, iso_time

ALL = {"*", "*:*"}
CLOUDSHELL, SUPPORT = ":iam::aws:policy/AWSCloudShellFullAccess", ":iam::aws:policy/AWSSupportAccess"
OLDER = suggest("the snapshot has no data about server certificates; take a new one", "audit --snapshot NEW_FILE")


def _holders(context: RuleContext) -> Sequence[Entity]:
    return (*context.snapshot.users, *context.snapshot.groups, *context.snapshot.roles)


def _kind(holder: Entity) -> str:
    """Return the kind of an entity as in the names of AWS's commands: user, group or role."""
    return holder.arn.rpartition(":")[2].partition("/")[0]


def _named(holders: Sequence[Entity]) -> str:
    return few([f"{_kind(holder)} {holder.name}" for holder in holders])


def _detach(holder: Entity, arn: str) -> str:
    kind = _kind(holder)
    return command(f"aws iam detach-{kind}-policy --{kind}-name {{}} --policy-arn {{}}", holder.name, arn)


def _everything(document: str, context: RuleContext) -> str | None:
    """Return what a policy allows if that is everything, as the end of a sentence, or None if it allows less.

    A condition does not count, because Security Hub's IAM.1 and the CIS benchmarks ask only for Effect, Action and
    Resource. A NotAction or NotResource that does not name all of IAM allows everything too, because who may write
    policies may allow themselves the rest.
    """
    iam = f"arn:{context.snapshot.partition}:iam::{context.snapshot.account}:*"
    for statement in statements(document):
        actions = ALL & set(statement.actions) or (statement.but_actions and covers_action(statement, "iam:*"))
        resources = "*" in statement.resources or (statement.but_resources and covers_resource(statement, iam, {}))
        if statement.allow and actions and resources:
            condition = ", under a condition" * bool(statement.lines)
            but_actions, but_resources = _except(statement.but_actions), _except(statement.but_resources)
            return f"allows every action{but_actions} on every resource{but_resources}{condition}"
    return None


def _except(names: Sequence[str]) -> str:
    return f" except {few(names)}" if names else ""


def _unread(context: RuleContext) -> Iterator[UnknownSubject]:
    """Yield an UnknownSubject for each policy that could not be evaluated."""
    for holder in _holders(context):
        for policy in own_policies(holder, context.snapshot.policies):
            if policy.flaw:
                yield UnknownSubject(holder.name, policy.flaw, holder.arn)


@audit_rule("policies.full", Severity.HIGH, "No policy of the account allows everything", needs=(SnapshotPart.DETAILS,))
def policies_full(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each managed or inline policy of the account that allows everything (Security Hub, IAM.1).

    AWS managed policies, such as AdministratorAccess, are left out, because an account needs administrators.
    """
    yield from _full_managed(context)
    for holder in _holders(context):
        yield from _full_inline(holder, context)
    yield from _unread(context)


def _full_managed(context: RuleContext) -> Iterator[Finding]:
    """Yield a Finding for each managed policy of the account that allows everything."""
    account = f"::{context.snapshot.account}:"
    boundaries = {holder.boundary for holder in _holders(context)}
    for arn, text in context.snapshot.policies.items():
        if account in arn and not _flawed(text) and (everything := _everything(text, context)):
            holders = [holder for holder in _holders(context) if arn in holder.attached]
            if arn in boundaries and not holders:  # a boundary grants nothing, so Security Hub's IAM.1 also ignores it
                continue
            yield _full_policy(arn, holders, everything)


def _full_policy(arn: str, holders: Sequence[Entity], everything: str) -> Finding:
    """Return the Finding for a managed policy that allows everything.

    `holders` has the users, groups and roles to which the policy is attached. `everything` is as in `_everything`.
    """
    where = f"attached to {_named(holders)}" if holders else "attached to no one"
    return Finding(
        subject=arn,
        evidence=f"{everything}; {where}",
        remedy=(
            "# write a policy that allows only what is needed (administrators: AdministratorAccess); then:",
            *(_detach(holder, arn) for holder in holders),
            command("aws iam delete-policy --policy-arn {}", arn),
        ),
    )


def _full_inline(holder: Entity, context: RuleContext) -> Iterator[Finding]:
    """Yield a Finding for each inline policy of a user, group or role that allows everything."""
    for name, text in holder.inline.items():
        if not _flawed(text) and (everything := _everything(text, context)):
            yield Finding(
                subject=holder.name,
                arn=holder.arn,
                evidence=f"inline policy {name} of {_kind(holder)} {holder.name} {everything}",
                remedy=(
                    "# attach a policy that allows only what is needed (administrators: AdministratorAccess); then:",
                    command(
                        f"aws iam delete-{_kind(holder)}-policy --{_kind(holder)}-name {{}} --policy-name {{}}",
                        holder.name,
                        name,
                    ),
                ),
            )


def _flawed(text: str) -> bool:
    return next(iter(own_policies(Entity(name="", arn="", inline={"": text}), {}))).flaw is not None


@audit_rule(
    "policies.administrator",
    Severity.HIGH,
    "No policy that allows everything is attached",
    needs=(SnapshotPart.DETAILS,),
)
def policies_administrator(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each user, group or role with a policy that allows everything, once for each such policy.

    Inline policies and AWS managed policies count too.
    """
    for holder in _holders(context):
        for policy in own_policies(holder, context.snapshot.policies):
            if policy.flaw:
                yield UnknownSubject(holder.name, policy.flaw, holder.arn)
            elif policy.text and (everything := _everything(policy.text, context)):
                yield Finding(
                    subject=holder.name,
                    arn=holder.arn,
                    evidence=f"{_kind(holder)} {holder.name} has a policy that {everything}",
                    remedy=("# attach a policy that allows only what is needed, and detach this one",),
                )


@audit_rule(
    "policies.cloudshell", Severity.MEDIUM, "No one has full access to CloudShell", needs=(SnapshotPart.DETAILS,)
)
def policies_cloudshell(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each user, group or role with AWSCloudShellFullAccess."""
    for holder in _holders(context):
        for arn in holder.attached:
            if arn.endswith(CLOUDSHELL):
                yield Finding(
                    subject=holder.name,
                    arn=holder.arn,
                    evidence=f"{_kind(holder)} {holder.name} has AWSCloudShellFullAccess, which allows file transfer",
                    remedy=(_detach(holder, arn),),
                )


@audit_rule("roles.support", Severity.LOW, "A role can work with AWS Support", needs=(SnapshotPart.DETAILS,))
def roles_support(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding if no role has AWSSupportAccess."""
    snapshot = context.snapshot
    if snapshot.hole(SnapshotPart.DETAILS) or any(_has_support(role) for role in snapshot.roles):
        return
    others = [holder for holder in _holders(context) if _has_support(holder)]
    instead = f" or {_named(others)}" if others else ""
    yield Finding(
        subject=snapshot.account,
        evidence=f"no role has AWSSupportAccess: in an incident, only an administrator{instead} can call AWS Support",
        remedy=(
            Message(
                "# ROLE is a new or existing role of your team",
                command(
                    "aws iam attach-role-policy --policy-arn {} --role-name ROLE", f"arn:{snapshot.partition}{SUPPORT}"
                ),
            ),
        ),
    )


def _has_support(holder: Entity) -> bool:
    return any(arn.endswith(SUPPORT) for arn in holder.attached)


@audit_rule(
    "certificates.expired",
    Severity.MEDIUM,
    "No expired server certificate is stored",
    needs=(SnapshotPart.CERTIFICATES,),
)
def certificates_expired(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each server certificate in IAM that has expired."""
    certificates = context.snapshot.certificates
    if certificates is None:
        if context.snapshot.hole(SnapshotPart.CERTIFICATES) is None:
            yield UnknownSubject("server certificates", OLDER)
        return
    if not certificates:
        yield NotApplicable("IAM stores no server certificate")
    unknown = [certificate.name for certificate in certificates if certificate.expires is None]
    if unknown:
        yield FindingNote(f"IAM reports no expiry for {few(unknown)}")
    for certificate in certificates:
        if certificate.expires is not None and certificate.expires <= context.snapshot.at:
            yield Finding(
                subject=certificate.arn,
                evidence=f"expired on {(iso_time(certificate.expires) or '')[:10]}",
                remedy=(command("aws iam delete-server-certificate --server-certificate-name {}", certificate.name),),
            )
