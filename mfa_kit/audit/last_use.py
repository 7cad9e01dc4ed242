"""Rules about when MFA devices were last used. Without data about the uses, their results are unknown."""

from collections.abc import Iterator, Sequence

from mfa_kit.account.last_use import LastUse
from mfa_kit.account.snapshot import SnapshotPart
from mfa_kit.account.users import AccountUser
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
from mfa_kit.audit.root import SUBJECT, why_no_root
from mfa_kit.core.message import mfa_kit, suggest
from mfa_kit.core.models import Device
from mfa_kit.core.text import few

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
