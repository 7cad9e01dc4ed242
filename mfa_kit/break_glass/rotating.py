"""Replaces a break-glass identity with a new one, and re-encrypts its backups."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from mfa_kit.backups.rekeying import KnownRecipients, Rekeyed
from mfa_kit.break_glass.creating import write
from mfa_kit.break_glass.custodians import RecoveryKey
from mfa_kit.break_glass.meeting import meet
from mfa_kit.break_glass.ports import BreakGlassPorts, K, V
from mfa_kit.break_glass.proof import accept_one, choose_rotation, fault_of, prove
from mfa_kit.break_glass.uses import Record, is_unfinished
from mfa_kit.core.errors import IntegrityFault, UsageFault, WrongIdentityError
from mfa_kit.core.message import suggest
from mfa_kit.core.models import Backup
from mfa_kit.core.recovery_keys import RecoveryKeyAction


@dataclass(frozen=True, slots=True)
class Rotation:
    """The backups that a rotation concerns.

    `groups` maps each tuple of recipients to the backups to re-encrypt to exactly these recipients. `unknown` has the
    backups whose recipients are not on record; the caller finds out which of them to re-encrypt.
    """

    groups: Mapping[tuple[str, ...], Sequence[KnownRecipients]]
    unknown: Sequence[Backup]


def plan_rotation(known: Iterable[KnownRecipients], *, old: str, new: str) -> Rotation:
    """Return a Rotation that replaces the recipient `old` with `new` in each backup that is encrypted to `old`.

    The other recipients of a backup stay. A backup for which both `old` and `new` are on record is included, because an
    earlier run may have been killed before it re-encrypted this backup.
    """
    groups: defaultdict[tuple[str, ...], list[KnownRecipients]] = defaultdict(list)
    unknown: list[Backup] = []
    for entry in known:
        if entry.recipients is None:
            unknown.append(entry.backup)
        elif old in entry.recipients:
            groups[(*sorted({*entry.recipients} - {old, new}), new)].append(entry)
    return Rotation(groups, unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedBackups:
    """A locked folder of backups, with the identity before a rotation and the one after it.

    `known` returns backups with their recipients on record, without users' own copies. `check_opens` raises
    WrongIdentityError if the earlier identity does not decrypt a backup. `count_recipients` returns the number of
    recipients of a backup. Both raise IntegrityFault if the backup is damaged or cannot be read. `reencrypt` encrypts
    backups to exactly these recipients.
    """

    known: Callable[[Sequence[Backup]], list[KnownRecipients]]
    check_opens: Callable[[Backup], object]
    count_recipients: Callable[[Backup], int]
    reencrypt: Callable[[Sequence[KnownRecipients], Sequence[str]], Rekeyed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """The result of a rotation: the old and the new folder, and the results of re-encrypting the backups.

    `names` has the names of the custodians who opened the identity.
    """

    old: RecoveryKey
    new: RecoveryKey
    names: tuple[str, ...]
    backups: Rekeyed


def rotate(
    recovery_key: RecoveryKey,
    files: Sequence[Path],
    *,
    accept: bool,
    ports: BreakGlassPorts[K, V],
    stored: Callable[[], Sequence[Backup]],
    open_backups: Callable[[V, V], AbstractContextManager[RotatedBackups]],
) -> Rotated:
    """Make a new identity for the same custodians, and re-encrypt the old identity's backups to the new identity.

    If an earlier rotation was interrupted, continue it. `recovery_key` is then its old or new folder. The new folder is
    written before the first backup is changed. `files` and the errors are as in `meet`, and `accept` is as in `prove`.
    `stored` lists the backups, and `open_backups` opens them for the old and the new identity. Also raise UsageFault if
    the identity was rotated already, and IntegrityFault if another process is rotating it, if the old folder is
    missing, or if a folder says that it replaces the old identity and is not proven.
    """
    old = old_key(recovery_key, ports)
    with ports.folders.exclusively(old.folder):
        later = [
            sibling
            for sibling in ports.folders.beside(old.folder)
            if sibling.manifest.replaces == old.manifest.recipient
        ]
        _check_not_rotated(old, later, ports.records())
        if not later:
            prove(old, ports, accept=accept)
        waiting = iter(files)  # if the custodians changed after the rotation began, the second meeting needs others
        opened = meet(old, waiting, ports)
        before = opened.identity
        if begun := _choose_begun(later, before, ports, accept=accept):
            opened = meet(begun, waiting, ports, present=opened.keys)
            new, after = begun, opened.identity
        else:
            place, after = ports.folders.new(old.folder.parent, now=ports.now()), ports.new_identity()
            earlier = old.manifest
            new = write(place, earlier.group, after, ports=ports, former=earlier.former, replaced=before)
        done = _reencrypt_all(stored(), before, after, open_backups)
    if not done.failed:
        count, replaced = len(done.done), before.recipient
        ports.record(new.manifest, RecoveryKeyAction.ROTATED, opened.names, backups=count, replaces=replaced)
    return Rotated(old=old, new=new, names=opened.names, backups=done)


def old_key(recovery_key: RecoveryKey, ports: BreakGlassPorts[K, V]) -> RecoveryKey:
    """Return the folder of the identity that a rotation replaces: the old one if `recovery_key` is the new one.

    Of several folders of this identity, prefer the one that the ledger proves. Raise IntegrityFault if it is missing.
    """
    records = ports.records()
    if not is_unfinished(recovery_key.manifest, records):
        return recovery_key
    earlier = [
        sibling
        for sibling in ports.folders.beside(recovery_key.folder)
        if sibling.manifest.recipient == recovery_key.manifest.replaces
    ]
    if not earlier:
        raise IntegrityFault(
            f"the rotation to {recovery_key.folder} is not finished, and the folder of the earlier identity is missing",
            f"put that folder back into {recovery_key.folder.parent}",
        )
    return max(reversed(earlier), key=lambda candidate: fault_of(candidate, records) is None)


def _check_not_rotated(old: RecoveryKey, later: Sequence[RecoveryKey], records: Sequence[Record]) -> None:
    """Raise UsageFault if a rotation of the old identity to one of the folders in `later` was completed already."""
    recorded = {use.recipient for use in records if use.own and use.action is RecoveryKeyAction.SEALED}
    for new in later[::-1]:
        if new.manifest.recipient in recorded and not is_unfinished(new.manifest, records):
            raise UsageFault(
                f"the identity in {old.folder} was rotated already",
                f"name the new folder: --dir {quote(str(new.folder))}",
            )


def _choose_begun(
    later: Sequence[RecoveryKey], before: V, ports: BreakGlassPorts[K, V], *, accept: bool
) -> RecoveryKey | None:
    """Return the folder in `later` with which to continue a rotation of the identity `before`, or None to begin one.

    Print the folders that are not used. Raise IntegrityFault if no folder is proven, and no person accepts one.
    """
    begun, doubts = choose_rotation(later, ports.records(), confirm=before.hmac_of)
    if begun is None and doubts:
        begun = accept_one(doubts, ports, accept=accept)
    for doubt in doubts:
        if doubt.recovery_key is not begun:
            ports.progress.alert(f"{doubt.recovery_key.folder} is not used for the rotation: {doubt.fault}")
    return begun


def _reencrypt_all(
    stored: Sequence[Backup],
    before: V,
    after: V,
    open_backups: Callable[[V, V], AbstractContextManager[RotatedBackups]],
) -> Rekeyed:
    """Re-encrypt the backups of the identity `before` to the identity `after`. The other recipients stay."""
    if not stored:  # the folder may not exist
        return Rekeyed()
    with open_backups(before, after) as backups:
        total = _reencrypt(stored, before.recipient, after.recipient, backups)
    total.failed.sort(key=lambda failure: str(failure[0].path))
    total.found = total.finished
    return total


def _reencrypt(stored: Sequence[Backup], before: str, after: str, backups: RotatedBackups) -> Rekeyed:
    total = Rekeyed()
    plan = plan_rotation(backups.known(stored), old=before, new=after)
    groups = {recipients: [*members] for recipients, members in plan.groups.items()}
    for backup in plan.unknown:
        try:
            if _is_only_recipient(backup, backups):
                groups.setdefault((after,), []).append(KnownRecipients(backup=backup, recipients=None))
        except IntegrityFault as fault:
            total.failed.append((backup, str(fault)))
    for recipients, members in groups.items():
        done = backups.reencrypt(members, recipients)
        total.done += done.done
        total.already_done += done.already_done
        total.failed += done.failed
    return total


def _is_only_recipient(backup: Backup, backups: RotatedBackups) -> bool:
    """Return whether a backup without recorded recipients is encrypted to the earlier identity, and only to it.

    Raise IntegrityFault if the backup has other recipients too, because re-encrypting would remove them. Also raise it
    if the backup is damaged or cannot be read.
    """
    try:
        backups.check_opens(backup)
    except WrongIdentityError:
        return False
    if backups.count_recipients(backup) == 1:
        return True
    raise IntegrityFault(
        f"{backup.path} has other recipients, which the ledger does not name",
        suggest("encrypt it again", "backup rekey -i IDENTITY -r RECIPIENT"),
    )
