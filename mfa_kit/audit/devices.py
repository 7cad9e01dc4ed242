"""Rules about MFA devices: virtual devices, their backups on this computer, and when devices were last used.

Without data about the uses, the results of the rules about them are unknown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mfa_kit.account.snapshot import DeviceBackup, SnapshotPart, virtual_quota
from mfa_kit.audit.finding import (
    DAY,
    Finding,
    FindingNote,
    NotApplicable,
    Observation,
    RuleContext,
    Severity,
    UnknownSubject,
    audit_rule,
)
from mfa_kit.audit.root import SUBJECT, why_no_root
from mfa_kit.core.firmware import DeviceRecall, Verdict
from mfa_kit.core.message import mfa_kit, suggest
from mfa_kit.core.models import Device, DeviceType
from mfa_kit.core.text import few

if TYPE_CHECKING:
    from mfa_kit.account.last_use import LastUse
    from mfa_kit.account.users import AccountUser

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


ACCOUNT = "account"
UPDATE = "usage update"


def _unread(context: RuleContext) -> Iterator[UnknownSubject]:
    """Yield an UnknownSubject if the ledger has no data about uses in this account."""
    if not context.last_uses.is_known and context.snapshot.hole(SnapshotPart.USAGE) is None:
        yield UnknownSubject(ACCOUNT, suggest("when devices were last used was not read; to read it", UPDATE))


def _of_devices(context: RuleContext, user: AccountUser) -> Sequence[tuple[Device, LastUse]]:
    return [(device, context.last_uses.of(device, user_id=user.user.id)) for device in user.devices]


@audit_rule("devices.unused", Severity.LOW, "Every MFA device is used", needs=(SnapshotPart.USAGE,))
def devices_unused(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each user's device that was not used in the last `limits.device_unused` days."""
    yield from _unread(context)
    if not context.last_uses.is_known:
        return
    by_files = []
    for user in context.users:
        for device, last in _of_devices(context, user):
            is_unused = last.is_unused(context.limits.device_unused, now=context.snapshot.at)
            if is_unused:
                yield _unused(user, device, last)
            elif is_unused is None:
                yield UnknownSubject(device.serial, f"events are {context.last_uses.coverage}")
            elif last.from_files:
                by_files.append(device.serial)
    if by_files:
        yield FindingNote(f"used according to log files alone, which can be forged: {few(by_files)}")


def _unused(user: AccountUser, device: Device, last: LastUse) -> Finding:
    line, which = ("revoke {} --mfa-device {}", [device.serial]) if len(user.devices) > 1 else ("revoke {}", [])
    return Finding(
        subject=device.serial,
        evidence=f"device of {user.name}: {_words(last)}",
        remedy=("# ask the user whether the device still exists; if not:", mfa_kit(line, user.name, *which)),
    )


@audit_rule("users.spare-untested", Severity.LOW, "Every spare MFA device was used once", needs=(SnapshotPart.USAGE,))
def users_spare_untested(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each device without a use, if its user has several devices."""
    yield from _unread(context)
    if not context.last_uses.is_known:
        return
    for user in context.users:
        for device, last in _of_devices(context, user) if len(user.devices) > 1 else ():
            if last.at is None and not (last.unseen_since and last.is_current):
                yield UnknownSubject(user.name, f"{device.serial}: events are {context.last_uses.coverage}")
            elif last.at is None:
                yield Finding(
                    subject=user.name,
                    evidence=f"{device.serial}: {last.text}, so nobody knows whether the spare device works",
                    remedy=("# ask the user to sign in with it once, then:", mfa_kit(UPDATE)),
                )


@audit_rule("root.device-used", Severity.LOW, "Nobody signs in with root's MFA device", needs=(SnapshotPart.USAGE,))
def root_device_used(context: RuleContext) -> Iterator[Observation]:
    """Yield a Finding for each device with which root signed in, in the last `limits.root_used` days."""
    if why := why_no_root(context):
        yield NotApplicable(why)
        return
    yield from _unread(context)
    if not context.last_uses.is_known:
        return
    of_root = [use for use in context.last_uses.uses if use.principal == context.snapshot.account]
    recent = [use for use in of_root if context.days(use.at) < context.limits.root_used]
    for use in recent:
        mark = " (from files)" if use.from_files else ""
        yield Finding(
            subject=SUBJECT,
            evidence=f"root used {use.serial or 'MFA, device not named,'} {context.days(use.at)} days ago{mark}",
            remedy=(suggest("# do not use root; to create an administrator to use instead", "policy onboard"),),
        )
    if not recent and not context.last_uses.covers(context.limits.root_used):
        yield UnknownSubject(SUBJECT, f"events are {context.last_uses.coverage}")


def _words(last: LastUse) -> str:
    return last.text if last.at is None else f"last used {last.text}"
