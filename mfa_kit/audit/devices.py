"""Rules about virtual devices and about the backups on this computer."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from mfa_kit.account.snapshot import DeviceBackup, SnapshotPart, virtual_quota
from mfa_kit.account.users import AccountUser
from mfa_kit.audit.finding import (
    DAY,
    Finding,
    NotApplicable,
    Observation,
    RuleContext,
    Severity,
    UnknownSubject,
    audit_rule,
)
from mfa_kit.core.firmware import DeviceRecall, Verdict
from mfa_kit.core.message import mfa_kit, suggest
from mfa_kit.core.models import DeviceType

IDENTITY = "# IDENTITY is the file of your private key"


@audit_rule(
    "devices.orphans", Severity.LOW, "Every virtual device is assigned to a user", needs=(SnapshotPart.VIRTUAL,)
)
def devices_orphans(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each virtual device that is not assigned to a user."""
    for device in context.snapshot.virtual:
        if device.user is None:
            yield Finding(
                subject=device.serial,
                evidence="unassigned virtual device, usually left by an interrupted enrollment",
                remedy=(mfa_kit("orphans list"),),
            )


@audit_rule("devices.quota", Severity.MEDIUM, "There is room for more virtual devices", needs=(SnapshotPart.VIRTUAL,))
def devices_quota(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding if virtual devices use at least the share `limits.quota` of the account's quota."""
    limit = virtual_quota(context.snapshot.summary)
    count = len(context.snapshot.virtual)
    if count >= context.limits.quota * limit:
        yield Finding(
            subject=context.snapshot.account,
            evidence=f"{count} of at most {limit} virtual devices exist, unassigned ones included",
            remedy=(
                mfa_kit("orphans clean"),
                "# or request a higher quota of users, which limits devices too: AWS console, Service Quotas, IAM",
            ),
        )


@audit_rule(
    "devices.recalled",
    Severity.MEDIUM,
    "No MFA device is on a key that an advisory names",
    needs=(SnapshotPart.RECORDED_KEYS,),
)
def devices_recalled(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each device on a recorded key that is affected, at least probably.

    Yield an UnknownSubject for each device whose key is unknown.
    """
    by_user: defaultdict[str, list[DeviceRecall]] = defaultdict(list)
    for recall in context.snapshot.recalls or ():
        by_user[recall.user.casefold()].append(recall)
    if not by_user:
        yield UnknownSubject(context.snapshot.account, "the ledger has no key on which a device of this account is now")
    for user in context.users if by_user else ():
        recalls = _current(user, by_user[user.name.casefold()])
        for recall in recalls:
            yield from _recalled(user.name, recall)
        keys = {device.serial for device in user.devices if device.type is DeviceType.FIDO2}
        for serial in sorted(keys - {recall.serial for recall in recalls}):
            yield UnknownSubject(serial, f"the ledger does not know the key of {user.name}")


def _current(user: AccountUser, recalls: Sequence[DeviceRecall]) -> list[DeviceRecall]:
    """Return the records of a user's devices that are in IAM, or that may be if not all were listed.

    ARNs are used again, so the EnableDate has to be the same.
    """
    since = {device.serial: device.since for device in user.devices}
    return [
        recall
        for recall in recalls
        if (recall.since == since[recall.serial] is not None if recall.serial in since else not user.complete)
    ]


def _recalled(user: str, recall: DeviceRecall) -> Iterator[Observation]:
    if recall.verdict.is_affected:
        verdict = "is" if recall.verdict is Verdict.AFFECTED else "claims facts by which it is"
        yield Finding(
            subject=recall.serial,
            evidence=f"{user}'s key, {recall.key}, {verdict} affected by {', '.join(recall.advisories)}",
            remedy=(mfa_kit("key recall"), "# give the user another key:", mfa_kit("replace {} --with KIND", user)),
        )
    elif recall.verdict is Verdict.UNKNOWN:
        yield UnknownSubject(
            recall.serial, f"{user}'s key, {recall.key}, may be affected: facts are missing, or only claimed"
        )


def _not_applicable(context: RuleContext) -> Iterator[NotApplicable]:
    if not context.snapshot.backups and not context.snapshot.hole(SnapshotPart.BACKUPS):
        yield NotApplicable("this computer created none of the devices")


def _made_on(backup: DeviceBackup) -> str:
    """Return " from " and the computer that created the device of a backup, or "" if the ledger is not shared."""
    return f" from {backup.computer}" if backup.computer else ""


def _where(backup: DeviceBackup) -> str:
    return "any computer" if backup.computer else "this computer"


@audit_rule(
    "backups.there",
    Severity.HIGH,
    "Every device created on this computer has its backup",
    needs=(SnapshotPart.BACKUPS,),
)
def backups_there(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each device without a backup, and for each device whose backup is gone.

    Only devices that were created on this computer, or on the computers that share the ledger, are checked.
    """
    yield from _not_applicable(context)
    for backup in context.snapshot.backups:
        if not backup.there:
            where = (
                f"its backup{_made_on(backup)} is not at {backup.file}"
                if backup.file
                else "it was created without a backup"
            )
            yield Finding(
                subject=backup.serial,
                evidence=f"{where}: if {backup.user} loses the device, the secret cannot be restored",
                remedy=(
                    suggest("# look for the backup in another folder", "status --backup-dir DIR"),
                    "# if it is nowhere, replace the device:",
                    mfa_kit("replace {} --with virtual", backup.user),
                ),
            )


@audit_rule(
    "backups.verified",
    Severity.LOW,
    "Every backup on this computer was decrypted at least once",
    needs=(SnapshotPart.BACKUPS,),
)
def backups_verified(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each backup that, according to the ledger, was never decrypted."""
    yield from _not_applicable(context)
    for backup in context.snapshot.backups:
        if backup.there and backup.opened is None and backup.file:
            yield Finding(
                subject=backup.serial,
                evidence=f"its backup{_made_on(backup)} was never decrypted on {_where(backup)}, so it is unknown "
                "whether the backup works",
                remedy=(suggest(IDENTITY, "backup verify -i IDENTITY {}", backup.file),),
            )


@audit_rule(
    "backups.drilled", Severity.LOW, "Every backup on this computer was tested recently", needs=(SnapshotPart.BACKUPS,)
)
def backups_drilled(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each backup that was neither made nor tested within the last `limits.drilled` days."""
    yield from _not_applicable(context)
    for backup in context.snapshot.backups:
        since = max(backup.made, backup.drilled or backup.made)
        if backup.there and backup.file and context.snapshot.at - since > context.limits.drilled * DAY:
            how = "not tested for" if backup.drilled else "never tested in"
            yield Finding(
                subject=backup.serial,
                evidence=f"its backup{_made_on(backup)} was {how} {context.days(since)} days",
                remedy=(suggest(IDENTITY, "backup drill -i IDENTITY {}", backup.file),),
            )
