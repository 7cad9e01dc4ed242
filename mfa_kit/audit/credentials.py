"""Rules about access keys, unused passwords and keys, sign-in sessions, and Identity Center."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from mfa_kit.account.evaluator import lets_people_in
from mfa_kit.account.snapshot import Credentials, Entity, SnapshotPart, UnreadPart
from mfa_kit.audit.finding import Finding, NotApplicable, Observation, RuleContext, Severity, UnknownSubject, audit_rule
from mfa_kit.core.message import Message, command, mfa_kit, suggest
from mfa_kit.core.text import few

if TYPE_CHECKING:
    from mfa_kit.account.users import AccountUser

LONG_UNUSED = 90
# Part of the ARN of each role that IAM Identity Center creates (its user guide, "Referencing permission sets").
RESERVED = ":role/aws-reserved/sso.amazonaws.com/"
MAX_SESSION = "audit --max-session 12h"


@audit_rule(
    "users.keys-mfa",
    Severity.MEDIUM,
    "Users with only access keys have MFA",
    needs=(SnapshotPart.DETAILS, SnapshotPart.REPORT),
)
def users_keys_mfa(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each user with active access keys, no console password and no MFA device."""
    for user in context.users:
        if user.keys and not user.password:
            if user.mfa is None:
                yield UnknownSubject(user.name, "the MFA devices of this user could not be read")
            elif not user.mfa:
                yield Finding(
                    subject=user.name,
                    evidence="active access keys, no console password and no MFA device: the keys alone give access",
                    remedy=(
                        "# for a program, a role is better than a user; for a person:",
                        mfa_kit("enroll {} --with virtual", user.name),
                    ),
                )


@audit_rule("users.initial-keys", Severity.LOW, "Access keys are made only when needed", needs=(SnapshotPart.REPORT,))
def users_initial_keys(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each console user with an active access key that was never used (CIS 3.0 1.11, 5.0 1.10).

    Yield an UnknownSubject if the key is newer than the credential report, because only the report shows its use.
    """
    report = context.snapshot.report
    for user in context.users:
        unused = [key for key in user.keys if user.password and key.used is None]
        if report and any((key.rotated or 0) <= report.made for key in unused):
            yield Finding(
                subject=user.name,
                evidence="an active access key of this console user was never used",
                remedy=deactivate_keys(user),
            )
        elif unused:
            yield UnknownSubject(
                user.name, "an access key was created after the credential report, which shows its use"
            )


@audit_rule("users.two-keys", Severity.LOW, "Each user has at most one active access key", needs=(SnapshotPart.REPORT,))
def users_two_keys(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each user with more than one active access key."""
    for user in context.users:
        if len(user.keys) > 1:
            yield Finding(
                subject=user.name, evidence=f"{len(user.keys)} active access keys", remedy=deactivate_keys(user)
            )


@audit_rule("users.unused", Severity.MEDIUM, "Passwords and access keys are in use", needs=(SnapshotPart.REPORT,))
def users_unused(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each console password or active access key not used in the last `limits.unused` days."""
    yield from unused_credentials(context, context.limits.unused)


def unused_credentials(context: RuleContext, days: int) -> Iterator[Finding]:
    """Yield a Finding for each console password or active access key not used in the last `days` days."""
    for user in context.users:
        if user.credentials is not None:
            yield from _unused_password(user, user.credentials, context, days=days)
            yield from _unused_keys(user, user.credentials, context, days=days)


def _unused_password(user: AccountUser, row: Credentials, context: RuleContext, *, days: int) -> Iterator[Finding]:
    since = row.password_used or row.password_changed or row.created
    if row.password and context.days(since) >= days:
        how = "not used for" if row.password_used else "never used in"
        yield Finding(
            subject=user.name,
            evidence=f"a console password {how} {context.days(since)} days",
            remedy=(command("aws iam delete-login-profile --user-name {}", user.name),),
        )


def _unused_keys(user: AccountUser, row: Credentials, context: RuleContext, *, days: int) -> Iterator[Finding]:
    for key in user.keys:
        since = key.used or key.rotated or row.created
        if context.days(since) >= days:
            how = "not used for" if key.used else "never used in"
            yield Finding(
                subject=user.name,
                evidence=f"an active access key {how} {context.days(since)} days",
                remedy=deactivate_keys(user),
            )


def deactivate_keys(user: AccountUser) -> tuple[str, ...]:
    """Return the commands that list a user's access keys and deactivate one of them."""
    return (
        command("aws iam list-access-keys --user-name {}", user.name),
        Message(
            "# with the ID of the key from this list",
            command("aws iam update-access-key --user-name {} --status Inactive --access-key-id ID", user.name),
        ),
    )


@audit_rule("users.old-keys", Severity.MEDIUM, "Access keys are rotated", needs=(SnapshotPart.REPORT,))
def users_old_keys(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each active access key that is at least `limits.rotated` days old."""
    for user in context.users:
        for key in user.keys:
            if key.rotated is not None and context.days(key.rotated) >= context.limits.rotated:
                yield Finding(
                    subject=user.name,
                    evidence=f"an active access key that is {context.days(key.rotated)} days old",
                    remedy=(
                        "# a role is better than a key; otherwise create a new key, and then deactivate the old one:",
                        command("aws iam create-access-key --user-name {}", user.name),
                        *deactivate_keys(user),
                    ),
                )


@audit_rule(
    "users.unused-90", Severity.MEDIUM, "Credentials were used in the last 90 days", needs=(SnapshotPart.REPORT,)
)
def users_unused_90(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each console password or active access key not used in the last 90 days."""
    yield from unused_credentials(context, LONG_UNUSED)


@audit_rule(
    "users.identity-center", Severity.LOW, "The MFA of Identity Center users is known", needs=(SnapshotPart.DETAILS,)
)
def users_identity_center(context: RuleContext) -> Iterator[Observation]:
    """Yield an UnknownSubject if IAM Identity Center is in use: IAM does not show the MFA of its users."""
    roles = [role.name for role in context.snapshot.roles if RESERVED in role.arn]
    if roles:
        yield UnknownSubject(
            "Identity Center",
            f"its users sign in with {few(roles)}, and IAM does not show their MFA: "
            "look in the console, IAM Identity Center, Settings, Authentication",
        )
    elif not context.snapshot.hole(SnapshotPart.DETAILS):
        yield NotApplicable("no role of Identity Center is in this account")


@audit_rule("sessions.duration", Severity.MEDIUM, "Sign-in sessions are short enough", needs=(SnapshotPart.SESSIONS,))
def sessions_duration(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each user or role whose sign-in sessions may last longer than `limits.session`.

    The setting (MaxSigninSessionDuration, 1 hour to 90 days) is part of a login profile or role. If AWS does not return
    it, it is not set, so nothing that IAM shows limits the session. Roles for AWS services are left out.
    """
    sessions = context.snapshot.sessions
    unread = [hole for hole in context.snapshot.holes if hole.part is SnapshotPart.SESSIONS]
    roles = {role.arn: role for role in context.snapshot.roles if lets_people_in(role)}
    if not sessions and not unread:
        yield _no_sessions(people=bool(roles) or _may_have_password(context))
        return
    limit = context.limits.session
    long = {key: seconds for key, seconds in sessions.items() if not 0 < seconds <= limit}
    yield from (_long_session(key, seconds, roles.get(key), limit) for key, seconds in long.items())
    yield from _unread_sessions(unread, [role for arn, role in roles.items() if arn not in sessions])


def _no_sessions(*, people: bool) -> NotApplicable:
    unchecked = suggest("not checked; a check makes one request per console user and role", MAX_SESSION)
    return NotApplicable(unchecked if people else "no user has a console password")


def _unread_sessions(unread: Sequence[UnreadPart], others: Iterable[Entity]) -> Iterator[UnknownSubject]:
    """Yield an UnknownSubject for what was not read, and for each role whose session an older version did not read."""
    yield from (UnknownSubject(hole.about or "sign-in sessions", hole.why) for hole in unread)
    for role in others:
        if all(hole.about != role.arn for hole in unread):
            why = suggest("the snapshot lacks this role; take a new one", MAX_SESSION)
            yield UnknownSubject(role.name, why, role.arn)


def _long_session(name: str, seconds: int, role: Entity | None, limit: float) -> Finding | UnknownSubject:
    """Return a Finding about the sign-in sessions of `role`, or of the user `name` if `role` is None.

    Return an UnknownSubject for a role of IAM Identity Center without a setting: its permission set limits the session,
    and only AWS can change the role.
    """
    if role and RESERVED in role.arn and not seconds:
        return UnknownSubject(role.name, "its permission set in Identity Center, which IAM does not show", role.arn)
    duration = f"a sign-in session may last {seconds / 3600:g} h" if seconds else "no longest sign-in session is set"
    update = (
        command("aws iam update-role --role-name {}", role.name)
        if role
        else command("aws iam update-login-profile --user-name {}", name)
    )
    return Finding(
        subject=role.name if role else name,
        arn=role.arn if role else "",
        evidence=f"{duration}; the limit is {limit / 3600:g} h",
        remedy=(f"{update} --max-signin-session-duration {limit:.0f}",),
    )


def _may_have_password(context: RuleContext) -> bool:
    return bool(context.snapshot.hole(SnapshotPart.REPORT)) or any(user.password for user in context.users)
