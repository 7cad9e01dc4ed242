"""Rules about the root user."""

from collections.abc import Iterator

from mfa_kit.account.snapshot import Credentials, OrganizationPlace, RootVerdict, SnapshotPart
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
from mfa_kit.core.message import command, suggest
from mfa_kit.core.models import REPORTED_ROOT, DeviceType

SUBJECT = "root"
IN_CONSOLE = "# sign in as root; AWS has no API for this: Security credentials page, {}"
# The remedy is a step in the console, because the console deletes all credentials at once. With the API, this takes a
# session of sts:AssumeRoot and one request for each credential.
DELETE_CREDENTIALS = (
    "# sign in to the management account: IAM console, Root access management, {}, Delete root user credentials"
)
ENABLE_MANAGEMENT = command("aws iam enable-organizations-root-credentials-management")
# Why root has no password, by whether the organization manages root credentials centrally. The key None means that this
# account cannot see whether the organization does so.
WITHOUT_PASSWORD = {
    True: "root has no password, and centralized root access prevents its recovery",
    False: "root has no password; it can be recovered by email, because centralized root access is off",
    None: "root of this member account has no password: the organization removed it (centralized root access)",
}
OUTSIDE = {
    OrganizationPlace.ALONE: "the account is in no organization",
    OrganizationPlace.MEMBER: "a member account cannot see this setting: audit the management account",
    OrganizationPlace.ADMINISTRATOR: "this is the management account or a delegated administrator for IAM",
}
NO_ROOT = "accounts in this partition have no root user that can sign in"


def why_no_root(context: RuleContext) -> str | None:
    """Return why root cannot sign in, or None if root can sign in.

    The reasons are a partition without root users, and a root user without a password.
    """
    if not context.snapshot.has_root:
        return NO_ROOT
    if context.snapshot.root.password is not False:
        return None
    central = context.snapshot.central_root
    if central is None or central.place is not OrganizationPlace.MEMBER:
        return "root has no password: its credentials were removed"
    return WITHOUT_PASSWORD[central.manages_credentials]


def _reported(context: RuleContext) -> Credentials | None:
    """Return root's row of the credential report, or None if there is no report or no row."""
    return context.snapshot.report.root if context.snapshot.report else None


def _has_mfa(context: RuleContext) -> bool | None:
    """Whether root has MFA, from the account summary or else the credential report. None if neither could be read."""
    has_mfa, row = context.snapshot.root.mfa, _reported(context)
    return row.mfa if has_mfa is None and row else has_mfa


def _has_keys(context: RuleContext) -> bool | None:
    """Whether root has access keys, from the account summary or else the credential report. None means unknown."""
    has_keys, row = context.snapshot.root.access_keys, _reported(context)
    return any(key.active for key in row.keys) if has_keys is None and row else has_keys


@audit_rule("root.mfa", Severity.CRITICAL, "Root signs in with MFA", needs=())
def root_mfa(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding if root has no MFA device, or an UnknownSubject if that could not be read."""
    if why := why_no_root(context):
        yield NotApplicable(why)
        return
    has_mfa = _has_mfa(context)
    if has_mfa is None:
        yield UnknownSubject(SUBJECT, "neither the account summary nor the credential report could be read")
    elif not has_mfa:
        yield Finding(
            subject=SUBJECT,
            evidence="root has no MFA device: its password alone gives full access",
            remedy=(IN_CONSOLE.format("Assign MFA device, twice: two security keys, stored in different places"),),
        )


@audit_rule(
    "root.hardware", Severity.HIGH, "Root's MFA is a security key or a hardware token", needs=(SnapshotPart.VIRTUAL,)
)
def root_hardware(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding unless root has a security key or a hardware token.

    Only a session of root can list all of root's devices. Other sessions see only virtual devices. So in a
    snapshot from such a session, a virtual device is enough for a Finding.
    """
    if why := why_no_root(context):
        yield NotApplicable(why)
        return
    own = context.snapshot.root.devices
    virtual = [device.serial for device in context.snapshot.virtual if device.user == REPORTED_ROOT]
    key = "Assign MFA device: a security key"
    remedy = (IN_CONSOLE.format(f"{key}; then remove the virtual one"),)
    match _has_mfa(context):
        case None:
            yield UnknownSubject(SUBJECT, "whether root has MFA could not be read")
        case False:
            yield Finding(subject=SUBJECT, evidence="root has no MFA device", remedy=(IN_CONSOLE.format(key),))
        case True if own is not None:
            if not {device.type for device in own} & {DeviceType.FIDO2, DeviceType.HARDWARE_TOTP}:
                yield Finding(subject=SUBJECT, evidence="all of root's MFA devices are virtual", remedy=remedy)
        case True if virtual:
            yield Finding(
                subject=SUBJECT,
                evidence=f"root has the virtual device {virtual[0]}; only root can see its other devices",
                remedy=remedy,
            )
        case _:
            yield FindingNote(
                "root has a device that is not virtual: a security key or a token; AWS does not report which"
            )


@audit_rule("root.keys", Severity.CRITICAL, "Root has no access keys", needs=())
def root_keys(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding if root has access keys, or an UnknownSubject if that could not be read.

    In GovCloud, root cannot sign in, but AWS Support can create access keys for root (CIS AWS Foundations Benchmark,
    "Ensure no 'root' user account access key exists").
    """
    has_keys = _has_keys(context)
    if not context.snapshot.has_root and has_keys is False:
        yield NotApplicable("root users in this partition cannot sign in, and this root user has no access keys")
    elif has_keys is None:
        yield UnknownSubject(SUBJECT, "neither the account summary nor the credential report could be read")
    elif has_keys:
        yield Finding(
            subject=SUBJECT,
            evidence="root has access keys, which are neither limited by policies nor protected by MFA",
            remedy=(IN_CONSOLE.format("Access keys: deactivate them, and delete them if everything still works"),),
        )


@audit_rule("root.use", Severity.HIGH, "Root is not used for daily work", needs=(SnapshotPart.REPORT,))
def root_use(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each credential of root that was used in the last `limits.root_used` days.

    The credentials are the password and the access keys.
    """
    if why := why_no_root(context):
        yield NotApplicable(why)
        return
    row = _reported(context)
    if row is None:
        yield UnknownSubject(SUBJECT, "the credential report could not be read or has no row for root")
        return
    uses = [("password", row.password_used), *(("access key", key.used) for key in row.keys)]
    for credential, time in uses:
        if time is not None and context.days(time) < context.limits.root_used:
            yield Finding(
                subject=SUBJECT,
                evidence=f"root's {credential} was used {context.days(time)} days ago",
                remedy=(suggest("# do not use root; to create an administrator to use instead", "policy onboard"),),
            )


@audit_rule(
    "root.central",
    Severity.MEDIUM,
    "Root credentials of member accounts are managed centrally",
    needs=(SnapshotPart.CENTRAL_ROOT,),
)
def root_central(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding if the organization does not manage root credentials of its member accounts centrally.

    The rule applies only to the management account and to delegated administrators for IAM.
    """
    central = context.snapshot.central_root
    if not context.snapshot.has_root:
        yield NotApplicable(NO_ROOT)
    elif central is None:
        yield from _not_stored(context)
    elif central.place is not OrganizationPlace.ADMINISTRATOR:
        yield NotApplicable(OUTSIDE[central.place])
    elif not central.manages_credentials:
        why = f": {central.obstacle}" if central.obstacle else ""
        yield Finding(
            subject="organization",
            evidence=f"root credentials of member accounts are not managed centrally{why}",
            remedy=(*((central.first,) if central.first else ()), ENABLE_MANAGEMENT),
        )


def _not_stored(context: RuleContext) -> Iterator[Observation]:
    """Yield an UnknownSubject which says that the snapshot lacks the state of centralized root access.

    If reading this state failed, yield nothing, because the snapshot then has an UnreadPart that gives the reason.
    """
    if context.snapshot.hole(SnapshotPart.CENTRAL_ROOT) is None:
        why = "the snapshot has no data about centralized root access"
        yield UnknownSubject("organization", suggest(f"{why}; take a new one", "audit --snapshot NEW_FILE"))


@audit_rule(
    "root.credentials",
    Severity.MEDIUM,
    "Root of a member account has no credentials",
    needs=(SnapshotPart.CENTRAL_ROOT,),
)
def root_credentials(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding if root of a member account has a password, access keys or signing certificates.

    The rule applies only to member accounts of an organization.
    """
    central, posture = context.snapshot.central_root, context.snapshot.root
    if not context.snapshot.has_root:
        yield NotApplicable(NO_ROOT)
    elif central is None:
        yield from _not_stored(context)
    elif central.place is not OrganizationPlace.MEMBER:
        yield NotApplicable(OUTSIDE[central.place])
    elif posture.verdict is RootVerdict.UNKNOWN:
        yield UnknownSubject(SUBJECT, posture.why)
    elif posture.verdict is not RootVerdict.NO_CREDENTIALS:
        yield Finding(
            subject=SUBJECT,
            evidence=f"root has credentials: {', '.join(posture.credentials)}",
            remedy=(DELETE_CREDENTIALS.format(context.snapshot.account),),
        )
