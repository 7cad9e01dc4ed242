"""Rules about IAM users, which may be people or programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mfa_kit.account.evaluator import WITH_MFA, entity_policies, principals_let_in, trust_flaw, trust_text
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
from mfa_kit.core.message import Message, command, mfa_kit
from mfa_kit.core.models import DeviceType
from mfa_kit.core.text import few

if TYPE_CHECKING:
    from mfa_kit.account.users import AccountUser

KNOWN = (SnapshotPart.DETAILS, SnapshotPart.REPORT)
UNTOLD = "the MFA devices of this user could not be read"
UNJUDGED = "it depends on a condition that cannot be evaluated"


def _signs_in(user: AccountUser) -> bool:
    return user.password or bool(user.keys)


def _admins(context: RuleContext) -> Iterator[AccountUser | UnknownSubject]:
    """Yield each administrator who can sign in or call AWS, and an UnknownSubject for each possible one."""
    for user in context.users:
        if user.credentials is None or _signs_in(user):
            if user.admin:
                yield user
            elif user.admin is None:
                yield UnknownSubject(user.name, f"whether this user is an administrator is unknown: {_doubt(user)}")


def _doubt(user: AccountUser) -> str:
    """Return why it is unknown whether a user is an administrator."""
    path = user.administration
    return user.policies.why or (f"{path.how}: {UNJUDGED}" if path.how else path.later or UNJUDGED)


def _how(user: AccountUser) -> str:
    """Return how a user can become an administrator, as the end of a sentence, or "" if there is nothing to say."""
    path = user.administration
    return (f"; {path.how}" if path.how else "") + (f"; then, {path.later}" if path.later else "")


def _enroll(user: AccountUser) -> tuple[str, ...]:
    return (mfa_kit("enroll {} --with virtual", user.name),)


def _add(user: AccountUser, kind: str = "virtual") -> tuple[str, ...]:
    """Return the command that adds a device. Without --add, a user who already has a device would be skipped."""
    return (mfa_kit("enroll {} --with {} --add", user.name, kind),)


@audit_rule(
    "admins.exist",
    Severity.HIGH,
    "A user or role other than root administers the account",
    needs=(SnapshotPart.DETAILS,),
)
def admins_exist(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding if no user and no role can administer the account, or an UnknownSubject if that is unknown."""
    snapshot = context.snapshot
    if snapshot.hole(SnapshotPart.DETAILS):  # an unread page may contain an administrator
        return
    if any(user.admin for user in context.users):
        return
    doubts = [_doubt(user) for user in context.users if user.admin is None]
    for role in snapshot.roles:
        admin, why = _lets_people_administer(role, context)
        if admin:
            return
        doubts += [why] if admin is None else []
    if doubts:
        yield UnknownSubject(snapshot.account, f"whether there is an administrator is unknown: {doubts[0]}")
        return
    yield Finding(
        subject=snapshot.account,
        evidence="no user and no role can administer this account, only root",
        remedy=(mfa_kit("policy onboard"),),
    )


def _lets_people_administer(role: Entity, context: RuleContext) -> tuple[bool | None, str]:
    """Return a pair: whether a user or role may administer the account by assuming `role`, and a reason.

    If this is unknown, the first value is None, and the reason says why. AWS services that may assume the role do not
    count.
    """
    flaw = trust_flaw(role)
    if not flaw and not any(kind != "Service" for kind, _ in principals_let_in(trust_text(role), WITH_MFA)):
        return False, ""
    admin = context.administered[role.arn].admin
    return (None if flaw and admin else admin), flaw or entity_policies(role, context.snapshot.policies).why or UNJUDGED


@audit_rule("admins.mfa", Severity.CRITICAL, "Every administrator has MFA", needs=KNOWN)
def admins_mfa(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each administrator without an MFA device, and an UnknownSubject where that is unknown."""
    for admin in _admins(context):
        if isinstance(admin, UnknownSubject):
            yield admin
        elif admin.mfa is None:
            yield UnknownSubject(admin.name, UNTOLD)
        elif not admin.mfa:
            yield Finding(
                subject=admin.name,
                evidence=f"an administrator without an MFA device{_how(admin)}",
                remedy=_enroll(admin),
            )


@audit_rule("admins.phishing", Severity.MEDIUM, "Every administrator has a phishing-resistant device", needs=KNOWN)
def admins_phishing(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each administrator without a security key or passkey, or an UnknownSubject.

    A key without a certification in IAM passes with a FindingNote, because it may be a synced passkey.
    """
    plain = []
    for admin in _admins(context):
        if isinstance(admin, UnknownSubject):
            yield admin
        elif DeviceType.FIDO2 in admin.types:
            if not any(context.snapshot.certified.get(device.serial) for device in admin.devices):
                plain.append(admin.name)
        elif not admin.complete:
            yield UnknownSubject(admin.name, UNTOLD)
        else:
            kinds = ", ".join(sorted(admin.types)) or "none"
            yield Finding(
                subject=admin.name,
                evidence=f"an administrator without a security key or passkey; has: {kinds}{_how(admin)}",
                remedy=_add(admin, "fido2"),
            )
    if plain:
        yield FindingNote(f"IAM lists no certification for the keys of {few(plain)}: they may be synced passkeys")


@audit_rule("admins.spare", Severity.MEDIUM, "Every administrator has a second device", needs=KNOWN)
def admins_spare(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each administrator with fewer than two devices, or an UnknownSubject."""
    for admin in _admins(context):
        if isinstance(admin, UnknownSubject):
            yield admin
        elif not admin.complete and len(admin.devices) < 2:  # noqa: PLR2004 - a second device
            yield UnknownSubject(admin.name, UNTOLD)
        elif len(admin.devices) < 2:  # noqa: PLR2004
            clause = (
                f"only one device, {admin.devices[0].serial}: its loss would lock the user out"
                if admin.devices
                else "no device"
            )
            yield Finding(
                subject=admin.name,
                evidence=f"an administrator with {clause}{_how(admin)}",
                remedy=_add(admin, "fido2"),
            )


@audit_rule("users.mfa", Severity.HIGH, "Every user with a console password has MFA", needs=KNOWN)
def users_mfa(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each user with a console password and no MFA device.

    Yield an UnknownSubject for each user who is not in the credential report, or whose devices are unknown.
    """
    for user in context.users:
        if user.credentials is None and context.snapshot.report:
            yield UnknownSubject(
                user.name, "created after the credential report, so the report does not have this user"
            )
        elif user.password and user.mfa is None:
            yield UnknownSubject(user.name, UNTOLD)
        elif user.password and not user.mfa:
            yield Finding(subject=user.name, evidence="a console password and no MFA device", remedy=_enroll(user))


@audit_rule("users.all-mfa", Severity.MEDIUM, "Every user has MFA", needs=KNOWN)
def users_all_mfa(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each user without an MFA device, also without a password and access keys.

    Security Hub's IAM.19 is AWS Config's iam-user-mfa-enabled, which looks at all users.
    """
    for user in context.users:
        if user.mfa is None:
            yield UnknownSubject(user.name, UNTOLD)
        elif not user.mfa:
            yield Finding(subject=user.name, evidence="no MFA device", remedy=_enroll(user))


@audit_rule("users.sms", Severity.HIGH, "No user relies on text messages", needs=KNOWN)
def users_sms(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each user whose only MFA device is a phone number, or an UnknownSubject."""
    for user in context.users:
        if user.types == {DeviceType.SMS}:
            yield Finding(
                subject=user.name,
                evidence="the only MFA device is a phone number: AWS no longer supports MFA by text message",
                remedy=_add(user),
            )
        elif user.credentials is not None and user.mfa is not False and not user.devices:
            yield UnknownSubject(user.name, UNTOLD)


@audit_rule(
    "users.fido-keys", Severity.MEDIUM, "Every user with access keys has a device that works with them", needs=KNOWN
)
def users_fido_keys(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each user with access keys who has security keys and no device that shows codes.

    STS accepts only codes. Yield an UnknownSubject where the devices are unknown.
    """
    for user in context.users:
        if user.keys and user.types == {DeviceType.FIDO2}:
            yield Finding(
                subject=user.name,
                evidence="active access keys, and only security keys as devices: STS accepts only codes",
                remedy=_add(user),
            )
        elif user.keys and user.mfa is not False and not user.devices:
            yield UnknownSubject(user.name, UNTOLD)


@audit_rule("users.service", Severity.MEDIUM, "Users that are programs have no password", needs=(SnapshotPart.REPORT,))
def users_service(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each program that has a password.

    A user whose access keys were used and who has never signed in counts as a program.
    """
    for user in context.users:
        row = user.credentials
        if row and row.password and row.password_used is None and any(key.used for key in user.keys):
            yield Finding(
                subject=user.name,
                evidence="access keys are in use, and the console password was never used: a program with a password",
                remedy=(command("aws iam delete-login-profile --user-name {}", user.name),),
            )


@audit_rule("users.direct", Severity.LOW, "Permissions come through groups", needs=(SnapshotPart.DETAILS,))
def users_direct(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each user with a policy of their own, inline or attached."""
    for user in context.users:
        named = [*user.user.inline, *(arn.rpartition("/")[2] for arn in user.user.attached)]
        if named:
            yield Finding(
                subject=user.name,
                evidence=f"policies attached directly to the user: {', '.join(named)}",
                remedy=(
                    "# add the user to a group that has these policies, then:",
                    *(
                        command("aws iam delete-user-policy --user-name {} --policy-name {}", user.name, name)
                        for name in user.user.inline
                    ),
                    *(
                        command("aws iam detach-user-policy --user-name {} --policy-arn {}", user.name, arn)
                        for arn in user.user.attached
                    ),
                ),
            )


@audit_rule("users.groupless", Severity.LOW, "Every user is in a group", needs=(SnapshotPart.DETAILS,))
def users_groupless(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each user who is in no group."""
    if not context.users and not context.snapshot.hole(SnapshotPart.DETAILS):
        yield NotApplicable("there are no users")
    for user in context.users:
        if not user.user.groups:
            yield Finding(
                subject=user.name,
                evidence="in no group, so group policies do not apply to this user",
                remedy=(
                    Message(
                        "# GROUP is the group of the user's team",
                        command("aws iam add-user-to-group --user-name {} --group-name GROUP", user.name),
                    ),
                ),
            )
