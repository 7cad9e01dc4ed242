"""Rules about break-glass identities: keys to backups that only several custodians can use together."""

from collections import Counter
from collections.abc import Iterator, Mapping

from mfa_kit.account.snapshot import DeviceBackup, SnapshotPart
from mfa_kit.audit.finding import Finding, NotApplicable, Observation, RuleContext, Severity, UnknownSubject, audit_rule
from mfa_kit.core.message import mfa_kit, suggest
from mfa_kit.core.models import REPORTED_ROOT
from mfa_kit.core.recovery_keys import RecoveryKeyUse, recommended
from mfa_kit.core.text import few, iso_time

NEEDS = (SnapshotPart.BACKUPS, SnapshotPart.BREAK_GLASS)
KNOWN = (SnapshotPart.DETAILS, SnapshotPart.REPORT, SnapshotPart.VIRTUAL, *NEEDS)
SUBJECT = "break-glass"
OLDER = suggest("the snapshot has no data about break-glass identities; take a new one", "audit --snapshot NEW_FILE")
CUSTODIANS = suggest(
    "# in a meeting of the current custodians, name the new ones",
    "break-glass custodians --threshold M --custodian NAME=KEY ...",
)
CREATE = suggest(
    "# M custodians together can open a backup", "break-glass create --threshold M --custodian NAME=KEY ..."
)
REKEY = "# IDENTITY is the file of your private key; this command encrypts all backups to these recipients"


def _unread(context: RuleContext, *parts: SnapshotPart) -> bool:
    """Return whether at least one of these parts of the account could not be read."""
    return any(context.snapshot.hole(part) for part in parts)


def _older(context: RuleContext) -> Iterator[UnknownSubject]:
    """Yield an UnknownSubject if the snapshot is of a version that did not read break-glass identities."""
    if context.snapshot.break_glass is None and not _unread(context, SnapshotPart.BREAK_GLASS):
        yield UnknownSubject(SUBJECT, OLDER)


def _in_use(context: RuleContext) -> list[RecoveryKeyUse]:
    """Return the break-glass identities to which a backup of this account is encrypted."""
    to = {recipient for backup in context.snapshot.backups if backup.there for recipient in backup.recipients or ()}
    return [identity for identity in context.snapshot.break_glass or () if identity.recipient in to]


def _identities(context: RuleContext) -> Iterator[RecoveryKeyUse | UnknownSubject | NotApplicable]:
    """Yield each break-glass identity to which a backup of this account is encrypted.

    If there is none, yield a NotApplicable. Do not yield it if a part of the account could not be read, or if the
    snapshot has no data about break-glass identities. In the latter case, yield an UnknownSubject.
    """
    yield from _older(context)
    identities = _in_use(context)
    if not identities and not _unread(context, *NEEDS) and context.snapshot.break_glass is not None:
        yield NotApplicable("no backup of this account is encrypted to a break-glass identity")
    yield from identities


@audit_rule(
    "break-glass.sealed",
    Severity.MEDIUM,
    "Backups of root and administrators are encrypted to a break-glass identity",
    needs=KNOWN,
)
def recovery_key_sealed(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each backup of root or an administrator if custodians cannot open the backup.

    Yield an UnknownSubject for a backup if its recipients are not on record. Also yield one if custodians cannot open
    the backup and it is unknown whether its user is an administrator. If a break-glass identity exists, yield an
    UnknownSubject for each virtual device of root or an administrator that has no backup on this computer.
    """
    yield from _older(context)
    admins: dict[str, bool | None] = {REPORTED_ROOT: True, **{user.name: user.admin for user in context.users}}
    backups = _of_admins(context, admins)
    identities = context.snapshot.break_glass
    if not backups and identities == () and not _unread(context, *KNOWN):
        yield NotApplicable("this computer has no backup of root or of an administrator, and no break-glass identity")
    for backup in backups:
        yield from _custodians_can_open(backup, admins.get(backup.user), identities or ())
    if identities:
        yield from _without_backup(context, {name for name, admin in admins.items() if admin}, backups)


def _of_admins(context: RuleContext, admins: Mapping[str, bool | None]) -> list[DeviceBackup]:
    """Return the existing backups of root, of administrators, and of users who may be administrators."""
    return [backup for backup in context.snapshot.backups if backup.there and admins.get(backup.user) is not False]


def _without_backup(context: RuleContext, admins: set[str], backups: list[DeviceBackup]) -> Iterator[UnknownSubject]:
    """Yield an UnknownSubject for each virtual device of root or an administrator that has no backup in `backups`."""
    known = {backup.serial for backup in backups}
    for device in context.snapshot.virtual:
        if device.user in admins and device.serial not in known:
            yield UnknownSubject(device.serial, "the backup of this device is not on this computer")


def _custodians_can_open(
    backup: DeviceBackup, admin: bool | None, identities: tuple[RecoveryKeyUse, ...]
) -> Iterator[Finding | UnknownSubject]:
    if backup.recipients is None:
        yield UnknownSubject(backup.serial, "the recipients of its backup are not on record")
        return
    if any(identity.recipient in backup.recipients for identity in identities):
        return
    if admin is None:
        yield UnknownSubject(
            backup.serial, "whether its user is an administrator is unknown, and custodians cannot open its backup"
        )
        return
    identity = recommended(identities)
    recipient = identity.recipient if identity else "RECIPIENT"
    to = [word for key in (*backup.recipients, recipient) for word in ("-r", key)]
    yield Finding(
        subject=backup.serial,
        evidence="its backup is not encrypted to a break-glass identity, so custodians cannot open it",
        remedy=(
            *(() if identities else (CREATE,)),
            suggest(REKEY, f"backup rekey -i IDENTITY{' {}' * len(to)}", *to),
        ),
    )


@audit_rule("break-glass.drilled", Severity.MEDIUM, "Custodians held a break-glass drill recently", needs=NEEDS)
def recovery_key_drilled(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each identity without a passed drill in the last `limits.recovery_key_drilled` days."""
    for identity in _identities(context):
        if not isinstance(identity, RecoveryKeyUse):
            yield identity
        elif identity.drilled is None or context.days(identity.drilled) >= context.limits.recovery_key_drilled:
            when = f"in the last {context.days(identity.drilled)} days" if identity.drilled else "with these custodians"
            yield Finding(
                subject=identity.recipient,
                evidence=f"no drill passed {when}, so it is unknown whether the custodians can open the identity",
                remedy=(mfa_kit("break-glass drill"),),
            )


@audit_rule("break-glass.unopened", Severity.HIGH, "No break-glass identity was opened since its rotation", needs=NEEDS)
def recovery_key_unopened(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each identity in use that was opened, completely or in part.

    An identity is opened in part when a custodian removes a layer of its encryption to pass a file on.
    """
    for identity in _identities(context):
        if not isinstance(identity, RecoveryKeyUse):
            yield identity
        elif identity.opened is not None:
            yield Finding(
                subject=identity.recipient,
                evidence=f"opened on {iso_time(identity.opened)[:10]}, at least in part: "
                "anyone who used the same computer could have copied it",
                remedy=(mfa_kit("break-glass rotate"),),
            )


@audit_rule("break-glass.retired", Severity.HIGH, "No backup is encrypted to a retired identity", needs=NEEDS)
def recovery_key_retired(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each identity in use that a rotation replaced, because it may be the reason for the rotation.

    Yield an UnknownSubject for an identity in a snapshot that does not say this.
    """
    for identity in _identities(context):
        if not isinstance(identity, RecoveryKeyUse):
            yield identity
        elif identity.retired is None:
            yield UnknownSubject(identity.recipient, OLDER)
        elif identity.retired:
            yield Finding(
                subject=identity.recipient,
                evidence="a rotation replaced it, but backups are still encrypted to it",
                remedy=(
                    suggest("# if the rotation is not finished, finish it", "break-glass rotate"),
                    suggest(REKEY, "backup rekey -i IDENTITY -r RECIPIENT"),
                ),
            )


@audit_rule(
    "break-glass.custodians",
    Severity.MEDIUM,
    "Every custodian of a break-glass identity has an IAM user",
    needs=(SnapshotPart.DETAILS, *NEEDS),
)
def recovery_key_custodians(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each custodian who has no IAM user of the same name.

    If no custodian has such a user, the custodians may have other names in IAM or users in another account. In this
    case, yield an UnknownSubject for the identity instead.
    """
    users = {user.name.lower() for user in context.users}
    for identity in _identities(context):
        if not isinstance(identity, RecoveryKeyUse):
            yield identity
            continue
        gone = (
            []
            if _unread(context, SnapshotPart.DETAILS)
            else [k.name for k in identity.custodians if k.name.lower() not in users]
        )
        if len(gone) == len(identity.custodians):
            yield UnknownSubject(
                identity.recipient, f"none of the custodians {few(gone)} has the name of a user of this account"
            )
            continue
        for name in gone:
            yield Finding(
                subject=identity.recipient,
                evidence=f"the custodian {name} has no user in this account",
                remedy=(CUSTODIANS,),
            )


@audit_rule("break-glass.people", Severity.HIGH, "No single person can open a break-glass identity", needs=NEEDS)
def recovery_key_people(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each identity that one person could open alone, with keys of several custodians.

    A key counts as a key of its custodian, and of each user whose own copies of backups are encrypted to it.
    """
    for identity in _identities(context):
        if not isinstance(identity, RecoveryKeyUse):
            yield identity
            continue
        owners = [{key.name.lower(), *(user.lower() for user in key.users)} for key in identity.custodians]
        [(name, count)] = Counter(sorted(owner for those in owners for owner in those)).most_common(1)
        if count >= identity.threshold:
            only = f"{identity.threshold} of {len(identity.custodians)} custodians are needed"
            yield Finding(
                subject=identity.recipient,
                evidence=f"{only}, and {name} has {count} of their keys",
                remedy=(CUSTODIANS,),
            )
