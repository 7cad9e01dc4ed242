"""Tests, rotates and reseals break-glass identities, and returns their state."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from threading import Event
from typing import TYPE_CHECKING

from mfa_kit.adapters.files.age_calls import count_recipients
from mfa_kit.adapters.files.layers import GlassIdentity, exclusively, folders_beside
from mfa_kit.adapters.ledger.break_glass_records import BreakGlassRecords
from mfa_kit.backups.rekeying import KnownRecipients, Rekeyed, known_recipients
from mfa_kit.break_glass.custodians import Custodian, Glass, Group, Manifest
from mfa_kit.break_glass.drilling import PhoneCheck, Tested, concerned, drill_backups
from mfa_kit.break_glass.proof import choose_rotation, fault_of
from mfa_kit.break_glass.rotating import plan_rotation
from mfa_kit.break_glass.uses import Record, due, last
from mfa_kit.core.backup_location import BackupLocation
from mfa_kit.core.errors import IntegrityFault, UsageFault, WrongIdentityError
from mfa_kit.core.models import Backup, GlassAction, backup_name
from mfa_kit.wiring.backup_opening import backup_reader, open_opener_with
from mfa_kit.wiring.backup_recipients import read_recipients
from mfa_kit.wiring.backup_records import backup_records
from mfa_kit.wiring.break_glass import OpenGlass, accept_one, meet, new_folder, prove, record, records, write_glass
from mfa_kit.wiring.ledger import open_ledger
from mfa_kit.wiring.letters import NO_LETTERS, WriteLetters
from mfa_kit.wiring.read_ahead import ReadAhead
from mfa_kit.wiring.rekey import reencrypt
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.store import open_age_files, stored_backups

if TYPE_CHECKING:
    from mfa_kit.adapters.files.agefile import BackupOpener
    from mfa_kit.adapters.ledger.ledger import Ledger


def known_backups(settings: Settings, folder: BackupLocation | None, recipient: str) -> list[KnownRecipients]:
    """Return the backups in a folder that are, or may be, encrypted to a recipient, with their recorded recipients.

    Users' own copies of backups are left out.
    """
    with open_ledger(settings) as ledger:
        return concerned(_known(stored_backups(settings, folder), ledger), recipient)


def _known(backups: Iterable[Backup], ledger: "Ledger") -> list[KnownRecipients]:
    return known_recipients(backups, [seal for seal in backup_records(ledger).seals() if not seal.own])


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillResult:
    """The result of a drill.

    `tested` has a result for each backup, and `faults` a sentence for each problem. `compared` has the users who typed
    a code from their phone, which mfa-kit compared with the codes of a backup.
    """

    tested: Sequence[Tested]
    compared: tuple[str, ...]
    faults: Sequence[str]

    @property
    def good(self) -> int:
        """How many backups were tested without a fault."""
        return sum(outcome.fault is None for outcome in self.tested)

    @property
    def passed(self) -> bool:
        """Whether at least one backup was tested, and `faults` is empty."""
        return bool(self.tested) and not self.faults


def drill(
    settings: Settings,
    glass: Glass,
    opened: OpenGlass,
    known: Sequence[KnownRecipients],
    *,
    users: Sequence[str],
    counted: Callable[[Sequence[KnownRecipients]], Iterable[KnownRecipients]],
) -> DrillResult:
    """Decrypt the backups in `known` with an open identity, and record the drill in the ledger.

    For the backups of `users`, compare the codes with those on the users' phones. `counted` takes the
    backups, yields each of them, and shows the progress.
    """
    ahead = ReadAhead(backup_reader(settings))
    recipients = {entry.backup.path: entry for entry in known}
    with open_opener_with(settings, opened.identity.keys, read=ahead.read) as (opener, ledger):
        check = PhoneCheck(
            users={user.lower() for user in users},
            person=settings.interaction,
            now=time.time,
            record=lambda file, result: backup_records(ledger).record_drill(backup_name(file), result),
        )
        with ledger.without_fsync():
            files = (recipients[path] for path in ahead.prefetch(entry.backup.path for entry in counted(known)))
            tested = list(drill_backups(files, open_backup=opener.open, code_fault=check))
    unasked = [f"no backup of {user} was compared with a phone" for user in users if user.lower() not in check.asked]
    result = DrillResult(
        tested=tested,
        compared=tuple(user for user in users if check.asked.get(user.lower())),
        faults=[*(outcome.fault for outcome in tested if outcome.fault), *unasked],
    )
    action = GlassAction.DRILLED if result.passed else GlassAction.FAILED
    record(settings, glass.manifest, action, opened.names, backups=result.good)
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The state of a break-glass identity.

    `backups` is the number of backups that are encrypted to the identity according to the ledger. `due` has a sentence
    for each task that is due.
    """

    last_drill: Record | None
    last_opened: Record | None
    backups: int
    due: list[str]


def state(settings: Settings, manifest: Manifest, folder: BackupLocation | None) -> State:
    """Return the state of a break-glass identity, according to the ledger and the folder of backups."""
    with open_ledger(settings) as ledger:
        uses = BreakGlassRecords(ledger).all()
        known = _known(stored_backups(settings, folder), ledger)
    sealed = [entry for entry in known if entry.recipients and manifest.recipient in entry.recipients]
    return State(
        last_drill=last(uses, manifest.recipient, GlassAction.DRILLED),
        last_opened=last(uses, manifest.recipient, GlassAction.OPENED, GlassAction.PASSED),
        backups=len(sealed),
        due=due(manifest, uses, now=time.time()),
    )


def reseal(
    settings: Settings, glass: Glass, opened: OpenGlass, group: Group, letters: WriteLetters = NO_LETTERS
) -> Glass:
    """Encrypt an open identity to another group of custodians. Return the new folder, which is beside the old one.

    Raise UsageFault if a rotation of this identity is not finished, because the new group could not finish it.
    """
    if _unfinished(settings, glass.manifest):
        raise UsageFault("a rotation of this identity is not finished", "finish it first: mfa-kit break-glass rotate")
    return write_glass(
        settings,
        new_folder(glass.folder.parent),
        group,
        opened.identity,
        former=former_custodians(glass.manifest, group),
        letters=letters,
    )


def former_custodians(manifest: Manifest, group: Group) -> list[Custodian]:
    """Return the current and former custodians of a manifest who are not in the new group."""
    everyone = dict.fromkeys((*manifest.former, *manifest.group.custodians))
    return [custodian for custodian in everyone if custodian not in group.custodians]


def _unfinished(settings: Settings, manifest: Manifest) -> bool:
    """Return whether the manifest's identity comes from a rotation that the ledger does not record as completed."""
    rotated = last(records(settings), manifest.recipient, GlassAction.ROTATED)
    return manifest.replaces is not None and rotated is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """The result of a rotation: the old and the new folder, and the results of re-encrypting the backups.

    `names` has the names of the custodians who opened the identity.
    """

    old: Glass
    new: Glass
    names: tuple[str, ...]
    backups: Rekeyed


def rotate(
    settings: Settings,
    glass: Glass,
    files: Sequence[Path],
    backups: BackupLocation | None,
    *,
    accept: bool,
    until: Callable[[Event], AbstractContextManager[object]],
    counted: Callable[[Sequence[Backup]], Iterable[Backup]],
) -> Rotated:
    """Make a new identity for the same custodians, and re-encrypt the old identity's backups to the new identity.

    If an earlier rotation was interrupted, continue it. `glass` is then the old or the new folder of that rotation. The
    new folder is written before the first backup is changed. `files` and the errors are as in `meet`, and `until` and
    `counted` as in `rekey`. `backups` is the folder of backups. `accept` is as in `prove`. Also raise UsageFault if the
    identity was rotated already, and IntegrityFault if another process is rotating it, if the old folder is missing, or
    if a folder says that it replaces the old identity and is not proven.
    """
    with _rotation(settings, glass) as (old, later):
        if not later:
            prove(settings, old, accept=accept)
        waiting = iter(files)  # if the custodians changed after the rotation began, the second meeting needs others
        opened = meet(old, waiting, settings.interaction)
        before = opened.identity
        if begun := _choose_begun(settings, later, before, accept=accept):
            opened = meet(begun, waiting, settings.interaction, present=opened.keys)
            new, after = begun, opened.identity
        else:
            place, earlier, after = new_folder(old.folder.parent), old.manifest, GlassIdentity.new()
            new = write_glass(settings, place, earlier.group, after, former=earlier.former, replaced=before)
        done = _reencrypt_all(settings, before, after, backups, until=until, counted=counted)
    if not done.failed:
        record(settings, new.manifest, GlassAction.ROTATED, opened.names, backups=len(done.done))
    return Rotated(old=old, new=new, names=opened.names, backups=done)


def _choose_begun(settings: Settings, later: Sequence[Glass], before: GlassIdentity, *, accept: bool) -> Glass | None:
    """Return the folder in `later` with which to continue a rotation of the identity `before`, or None to begin one.

    Print the folders that are not used. Raise IntegrityFault if no folder is proven, and no person accepts one.
    """
    begun, doubts = choose_rotation(later, records(settings), confirm=before.confirm)
    if begun is None and doubts:
        begun = accept_one(settings, doubts, accept=accept)
    for doubt in doubts:
        if doubt.glass is not begun:
            settings.progress.alert(f"{doubt.glass.folder} is not used for the rotation: {doubt.fault}")
    return begun


def old_glass(settings: Settings, glass: Glass) -> Glass:
    """Return the folder of the identity that a rotation replaces: `glass`, or if this is the new folder, the old one.

    Of several folders of this identity, prefer the one that the ledger proves. Raise IntegrityFault if it is missing.
    """
    if not _unfinished(settings, glass.manifest):
        return glass
    earlier = [
        sibling for sibling in folders_beside(glass.folder) if sibling.manifest.recipient == glass.manifest.replaces
    ]
    if not earlier:
        raise IntegrityFault(
            f"the rotation to {glass.folder} is not finished, and the folder of the earlier identity is missing",
            f"put that folder back into {glass.folder.parent}",
        )
    uses = records(settings)
    return max(reversed(earlier), key=lambda candidate: fault_of(candidate, uses) is None)


@contextmanager
def _rotation(settings: Settings, glass: Glass) -> Iterator[tuple[Glass, list[Glass]]]:
    """Yield the old folder of a rotation, and the folders that say that they replace its identity.

    The old folder is locked until the context ends. Raise UsageFault if a rotation of the old folder's identity was
    completed already. Raise IntegrityFault if another process is rotating this identity, or if the old folder of an
    unfinished rotation is missing.
    """
    old = old_glass(settings, glass)
    with exclusively(old.folder):
        later = [
            sibling for sibling in folders_beside(old.folder) if sibling.manifest.replaces == old.manifest.recipient
        ]
        recorded = {use.recipient for use in records(settings) if use.own and use.action is GlassAction.SEALED}
        for new in later[::-1]:
            if new.manifest.recipient in recorded and not _unfinished(settings, new.manifest):
                raise UsageFault(
                    f"the identity in {old.folder} was rotated already",
                    f"name the new folder: --dir {quote(str(new.folder))}",
                )
        yield old, later


def _reencrypt_all(
    settings: Settings,
    before: "GlassIdentity",
    after: "GlassIdentity",
    folder: BackupLocation | None,
    *,
    until: Callable[[Event], AbstractContextManager[object]],
    counted: Callable[[Sequence[Backup]], Iterable[Backup]],
) -> Rekeyed:
    """Re-encrypt the backups of the identity `before` to the identity `after`. The other recipients stay."""
    total = Rekeyed()
    backups = stored_backups(settings, folder)
    if not backups:
        return total
    with (
        open_opener_with(settings, before.keys) as (opener, ledger),
        open_age_files(settings, folder, ()).exclusively(),
    ):
        plan = plan_rotation(_known(backups, ledger), old=before.recipient, new=after.recipient)
        groups = {recipients: [*members] for recipients, members in plan.groups.items()}
        for backup in plan.unknown:
            result = _only_ours(settings, backup, opener)
            if isinstance(result, IntegrityFault):
                total.failed.append((backup, str(result)))
            elif result:
                groups.setdefault((after.recipient,), []).append(KnownRecipients(backup=backup, recipients=None))
        for recipients, members in groups.items():
            store = open_age_files(settings, folder, read_recipients(recipients))
            done = reencrypt(
                members, store=store, secrets=before.keys_with(after), ledger=ledger, until=until, counted=counted
            )
            total.done += done.done
            total.already_done += done.already_done
            total.failed += done.failed
    total.failed.sort(key=lambda failure: str(failure[0].path))
    total.found = total.finished
    return total


def _only_ours(settings: Settings, backup: Backup, opener: "BackupOpener") -> bool | IntegrityFault:
    """Return whether a backup without recorded recipients is encrypted to the identity of `opener`, and only to it.

    Return an error if the backup has other recipients too, because re-encrypting would remove them. Also return an
    error if the backup is damaged or cannot be read.
    """
    try:
        opener.picture(backup.path)
        if count_recipients(backup_reader(settings)(backup.path)) == 1:
            return True
    except WrongIdentityError:
        return False
    except IntegrityFault as fault:
        return fault
    return IntegrityFault(
        f"{backup.path} has other recipients, which the ledger does not name",
        "encrypt it again: mfa-kit backup rekey -i IDENTITY -r RECIPIENT",
    )
