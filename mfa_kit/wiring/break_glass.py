"""Makes and opens break-glass identities.

The files of an identity are in a folder of their own, by default below the folder that `base` returns.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from threading import Event
from typing import TYPE_CHECKING

from mfa_kit.adapters.files.age_calls import count_recipients
from mfa_kit.adapters.files.layers import (
    RecoveryIdentity,
    exclusively,
    folders_beside,
    newest_folder,
    open_set,
    owner_test,
    read_file,
    read_manifest,
    remove_outer_layer,
    write_folder,
)
from mfa_kit.adapters.files.local_store import backup_at
from mfa_kit.adapters.ledger.break_glass_records import BreakGlassRecords
from mfa_kit.backups.contents import Opened
from mfa_kit.backups.opening import ReadAhead
from mfa_kit.backups.rekeying import KnownRecipients, Rekeyed, known_recipients
from mfa_kit.break_glass.custodians import FILE, Custodian, CustodianSet, Group, Manifest, RecoveryKey, set_of_file
from mfa_kit.break_glass.drilling import PhoneCheck, Tested, concerned, drill_backups
from mfa_kit.break_glass.meeting import Meeting, hold
from mfa_kit.break_glass.proof import Doubt, accept_folder, choose_rotation, fault_of
from mfa_kit.break_glass.rotating import plan_rotation
from mfa_kit.break_glass.uses import Record, due, last
from mfa_kit.core.errors import IntegrityFault, UsageFault, WrongIdentityError
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.models import Backup, BackupLocation, RecoveryKeyAction, backup_name, run_id, run_time
from mfa_kit.core.otp import Seed
from mfa_kit.enrollment.backends import SECRET
from mfa_kit.wiring.age_keys import Identities, open_plugins, read_recipients
from mfa_kit.wiring.backups import backup_reader, backup_records, open_and_note, open_opener_with, reencrypt
from mfa_kit.wiring.files import check_new, write_new_file
from mfa_kit.wiring.ledger import open_ledger
from mfa_kit.wiring.letters import NO_LETTERS, WriteLetters
from mfa_kit.wiring.qr_codes import draw
from mfa_kit.wiring.settings import Settings, harden, home
from mfa_kit.wiring.stores import open_age_files, stored_backups

if TYPE_CHECKING:
    from mfa_kit.adapters.files.plugins import Identity
    from mfa_kit.core.otp import Secret, Symbol


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRecoveryKey:
    """An open break-glass identity, and the custodians who opened it.

    `names` has the names of these custodians in the order of their CustodianSet. `keys` has the private keys of all
    custodians who were present, by name.
    """

    identity: "RecoveryIdentity"
    names: tuple[str, ...]
    keys: "Mapping[str, Secret[list[Identity]]]"


def base() -> Path:
    """Return the folder in which new folders of break-glass files are made."""
    return home() / "break-glass"


def locate_recovery_key(folder: Path | None) -> RecoveryKey:
    """Return a folder of break-glass files, by default the newest one. Its manifest is not compared with the ledger.

    Raise UsageFault if there is no such folder, and IntegrityFault if its manifest is damaged.
    """
    path = folder or newest_folder(base())
    if path is None or not path.is_dir():
        raise UsageFault(
            f"there is no folder {path}" if path else "this computer has no break-glass identity",
            "name the folder: --dir DIR, or make an identity: mfa-kit break-glass create",
        )
    return RecoveryKey(path.absolute(), read_manifest(path))


def records(settings: Settings) -> list[Record]:
    """Return the ledger's records of the uses of break-glass identities, oldest first."""
    with open_ledger(settings) as ledger:
        return BreakGlassRecords(ledger).all()


def find_recovery_key(settings: Settings, folder: Path | None) -> RecoveryKey:
    """Return a folder as `locate_recovery_key` does. Print a warning if the ledger does not prove its custodians."""
    recovery_key = locate_recovery_key(folder)
    if fault := fault_of(recovery_key, records(settings)):
        settings.progress.alert(
            f"{fault}, so check them yourself: mfa-kit break-glass status --dir {quote(str(recovery_key.folder))}"
        )
    return recovery_key


def prove(settings: Settings, recovery_key: RecoveryKey, *, accept: bool) -> None:
    """Raise IntegrityFault unless the ledger proves who the custodians of a folder are.

    If `accept`, a person may accept a folder that the ledger does not prove, except in a dry run.
    """
    if fault := fault_of(recovery_key, records(settings)):
        accept_one(settings, [Doubt(recovery_key, fault)], accept=accept)


def accept_one(settings: Settings, doubts: Sequence[Doubt], *, accept: bool) -> RecoveryKey:
    """Let a person accept one of the folders, and record its custodians in the ledger. Return the folder.

    Raise the error of the first doubt if not `accept`, or in a dry run. Also raise the errors of `accept_folder`.
    """
    if not accept or settings.dry_run:
        raise doubts[0].fault
    recovery_key = accept_folder(doubts, settings.interaction)
    record(settings, recovery_key.manifest, RecoveryKeyAction.SEALED, recovery_key.manifest.group.names)
    return recovery_key


def find_recovery_key_of(settings: Settings, file: BackupLocation, folder: Path | None) -> RecoveryKey:
    """Return a folder of break-glass files, by default the newest folder whose identity can open the backup `file`.

    According to the ledger, this identity is a recipient of the backup. If there is no such folder, the default is the
    newest folder. The errors are those of `find_recovery_key`.
    """
    if folder is None and (newest := newest_folder(base())):
        with open_ledger(settings) as ledger:
            seals = backup_records(ledger).seals()
        to = {seal.recipient for seal in seals if seal.backup == backup_name(file) and seal.until is None}
        folder = next(
            (
                recovery_key.folder
                for recovery_key in folders_beside(newest)[::-1]
                if recovery_key.manifest.recipient in to
            ),
            None,
        )
    return find_recovery_key(settings, folder)


def plan(group: Group) -> Mapping[CustodianSet, int]:
    """Return the sets of a group, each with the size of its file in octets. Nothing is written.

    The sizes are those of the files of a new identity, which is then discarded. age adds some random octets, so the
    final files may have slightly other sizes.
    """
    identity = RecoveryIdentity.new()
    files = identity.files(Manifest(recipient=identity.recipient, made=time.time(), group=group), open_plugins())
    return {custodian_set: len(files[custodian_set.file]) for custodian_set in group.sets()}


def create(settings: Settings, group: Group, folder: Path | None, letters: WriteLetters = NO_LETTERS) -> RecoveryKey:
    """Make a break-glass identity, and return its folder. `group` has its custodians.

    Record the custodians in the ledger, then write the letters to custodians, and then write the folder. `folder` is
    the path of the new folder, by default a new path in `base()`. Raise UsageFault for a public key that cannot be
    used, and IntegrityFault if the folder exists or cannot be written.
    """
    harden()
    return write_recovery_key(settings, folder or new_folder(base()), group, RecoveryIdentity.new(), letters=letters)


def new_folder(parent: Path) -> Path:
    """Return the path for a new folder in `parent`. Its name is a run ID, later than the other names."""
    newest = newest_folder(parent)
    return parent / run_id(max(time.time(), run_time(newest.name) + 1 if newest else 0), os.urandom(4))


def write_recovery_key(
    settings: Settings,
    folder: Path,
    group: Group,
    identity: "RecoveryIdentity",
    *,
    former: Sequence[Custodian] = (),
    replaced: "RecoveryIdentity | None" = None,
    letters: WriteLetters = NO_LETTERS,
) -> RecoveryKey:
    """Record the custodians of an identity in the ledger, then write their letters, and then the identity's folder.

    `former` is as in Manifest, and `replaced` is the identity before the rotation. Raise the errors of `create`.
    """
    manifest = Manifest(recipient=identity.recipient, made=int(time.time()), group=group, former=tuple(former))
    if replaced:
        manifest = replace(manifest, replaces=replaced.recipient)
        manifest = replace(manifest, hmac=replaced.confirm(manifest))
    files = identity.files(manifest, open_plugins(settings.interaction))
    record(settings, manifest, RecoveryKeyAction.SEALED, group.names)
    with letters(manifest, folder.absolute()):
        write_folder(folder.absolute(), files)
    return RecoveryKey(folder.absolute(), manifest)


def record(
    settings: Settings, manifest: Manifest, action: RecoveryKeyAction, names: Sequence[str], *, backups: int = 0
) -> None:
    """Record in the ledger what these custodians did with an identity."""
    group = manifest.group
    with open_ledger(settings) as ledger:
        BreakGlassRecords(ledger).add(
            Record(
                at=time.time(),
                recipient=manifest.recipient,
                action=action,
                custodians={name: group.key_of(name) for name in names},
                threshold=group.threshold if action is RecoveryKeyAction.SEALED else 0,
                backups=backups,
            )
        )


def meet(
    recovery_key: RecoveryKey,
    files: Iterable[Path],
    person: Interaction,
    *,
    only: Path | None = None,
    present: "Mapping[str, Secret[list[Identity]]] | None" = None,
) -> OpenRecoveryKey:
    """Hold a meeting of custodians, and return the open identity.

    `files` are identity files of custodians. If they are not enough, other custodians enter the paths of their files at
    the terminal. `only` is the only break-glass file to open; some custodians may already have removed their layers
    from it. `present` has the private keys of custodians who are present from an earlier meeting, by name. Raise
    Declined if too few custodians came, and IntegrityFault if the break-glass identity cannot be decrypted. Raise
    UsageFault for an identity in `files` that belongs to no current custodian, or to a custodian who is already
    present.
    """
    harden()
    manifest = recovery_key.manifest

    def read(file: Path) -> "Secret[list[Identity]]":
        return Identities([file], passphrase_fd=None, person=person).read()

    def open_one(custodian_set: CustodianSet, keys: "Mapping[str, Secret[list[Identity]]]") -> "RecoveryIdentity":
        return open_set(
            only or recovery_key.folder / custodian_set.file, custodian_set, keys, recipient=manifest.recipient
        )

    meeting = Meeting(
        manifest=manifest,
        sets=manifest.group.sets() if only is None else rest_of(_set_of(only, manifest)),
        owners=owner_test((*manifest.group.custodians, *manifest.former), open_plugins(person)),
        open_set=open_one,
        here=dict(present or {}),
    )
    identity, names = hold(meeting, files, read=read, person=person)
    return OpenRecoveryKey(identity=identity, names=names, keys=meeting.here)


def rest_of(custodian_set: CustodianSet) -> list[CustodianSet]:
    """Return a set of custodians, then the set without its first custodian, without its first two, and so on.

    The custodians of a set remove their layers from its file one after the other, the first custodian first. So each
    item of the result names the custodians whose layers may still be on the file.
    """
    return [CustodianSet(custodian_set.file, custodian_set.names[index:]) for index in range(len(custodian_set.names))]


def _set_of(file: Path, manifest: Manifest) -> CustodianSet:
    custodian_set = set_of_file(file.name, manifest.group.sets())
    if custodian_set is None:
        raise UsageFault(
            f"the name of {file} does not say which set of custodians the file is for",
            "restore the start of its name, such as set-01, and name the folder with the manifest: --dir DIR",
        )
    return custodian_set


def read_backup_early(settings: Settings, file: BackupLocation) -> None:
    """Raise IntegrityFault if a backup cannot be read. Call this before custodians are asked for their identities."""
    backup_reader(settings)(file)


def sample_symbol(file: BackupLocation) -> "Symbol":
    """Return a QR code without a secret, as large as the one in a backup, to check that it fits the window."""
    named = backup_at(file)
    return draw(Seed(bytes(SECRET)), *((named.device, named.account) if named else ("", "")))


def open_backup(settings: Settings, file: BackupLocation, opened: OpenRecoveryKey, *, accept_label: bool) -> Opened:
    """Decrypt a backup with an open identity. `accept_label` is as in PathCheck.

    Raise IntegrityFault if the backup cannot be decrypted or is in a wrong place.
    """
    with open_opener_with(settings, opened.identity.keys, accept_label=accept_label) as (opener, _):
        return open_and_note(settings, opener, file)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLayer:
    """A layer of the file of a set, and the name of the custodian who can remove it.

    `whole` is the set. `after` has the names of the custodians whose layers are inside this layer.
    """

    whole: CustodianSet
    name: str
    after: tuple[str, ...]


def pass_on(
    settings: Settings,
    recovery_key: RecoveryKey,
    file: Path,
    keys: Identities,
    out: Path,
    *,
    before: Callable[[OwnLayer], None],
) -> OwnLayer:
    """Use the identity in `keys` to remove the outermost layer of a file, and write the rest to the new file `out`.

    Return the layer that was removed. `before` is called with the layer before the layer is removed. A dry run writes
    nothing. Raise UsageFault if the name of `file` or `out` does not name the set, or if the identity belongs to no
    custodian of the set. Also raise UsageFault if the identity belongs to the set's last custodian, because without the
    last layer, the file would be the break-glass identity itself. Raise WrongIdentityError if the outermost layer
    belongs to another custodian.
    """
    harden()
    custodian_set = _set_of(file, recovery_key.manifest)
    if set_of_file(out.name, [custodian_set]) is None:
        start = "-".join(custodian_set.file.split("-")[:2])
        raise UsageFault(
            f"the name {out.name} does not say that the file is for {start}", f"begin the name with {start}"
        )
    check_new(out)
    secrets = keys.read()
    owners = {
        custodian.name for custodian in owner_test(recovery_key.manifest.group.custodians, open_plugins())(secrets)
    }
    mine = [name for name in custodian_set.names if name in owners]
    if not mine:
        raise UsageFault(
            f"this identity belongs to none of the custodians {', '.join(custodian_set.names)} of {file.name}",
            "give the identity of one of them: -i FILE",
        )
    index = custodian_set.names.index(mine[0])
    layer = OwnLayer(whole=custodian_set, name=mine[0], after=custodian_set.names[index + 1 :])
    if not layer.after:
        raise UsageFault(
            f"{layer.name} is the last custodian of {file.name}; without the last layer, the file would be the "
            "identity itself",
            f"open the backup: mfa-kit break-glass open --backup BACKUP --from {quote(str(file))}",
        )
    before(layer)
    inner_file = remove_outer_layer(read_file(file), secrets, where=str(file))
    if not settings.dry_run:
        record(settings, recovery_key.manifest, RecoveryKeyAction.PASSED, [layer.name])
        write_new_file(out, inner_file)
    return layer


def folder_beside(file: Path) -> Path | None:
    """Return the folder that contains a file if the folder has a manifest, else None."""
    return file.absolute().parent if (file.absolute().parent / FILE).is_file() else None


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
    recovery_key: RecoveryKey,
    opened: OpenRecoveryKey,
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
    action = RecoveryKeyAction.DRILLED if result.passed else RecoveryKeyAction.FAILED
    record(settings, recovery_key.manifest, action, opened.names, backups=result.good)
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
        last_drill=last(uses, manifest.recipient, RecoveryKeyAction.DRILLED),
        last_opened=last(uses, manifest.recipient, RecoveryKeyAction.OPENED, RecoveryKeyAction.PASSED),
        backups=len(sealed),
        due=due(manifest, uses, now=time.time()),
    )


def reseal(
    settings: Settings,
    recovery_key: RecoveryKey,
    opened: OpenRecoveryKey,
    group: Group,
    letters: WriteLetters = NO_LETTERS,
) -> RecoveryKey:
    """Encrypt an open identity to another group of custodians. Return the new folder, which is beside the old one.

    Raise UsageFault if a rotation of this identity is not finished, because the new group could not finish it.
    """
    if _unfinished(settings, recovery_key.manifest):
        raise UsageFault("a rotation of this identity is not finished", "finish it first: mfa-kit break-glass rotate")
    return write_recovery_key(
        settings,
        new_folder(recovery_key.folder.parent),
        group,
        opened.identity,
        former=former_custodians(recovery_key.manifest, group),
        letters=letters,
    )


def former_custodians(manifest: Manifest, group: Group) -> list[Custodian]:
    """Return the current and former custodians of a manifest who are not in the new group."""
    everyone = dict.fromkeys((*manifest.former, *manifest.group.custodians))
    return [custodian for custodian in everyone if custodian not in group.custodians]


def _unfinished(settings: Settings, manifest: Manifest) -> bool:
    """Return whether the manifest's identity comes from a rotation that the ledger does not record as completed."""
    rotated = last(records(settings), manifest.recipient, RecoveryKeyAction.ROTATED)
    return manifest.replaces is not None and rotated is None


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
    settings: Settings,
    recovery_key: RecoveryKey,
    files: Sequence[Path],
    backups: BackupLocation | None,
    *,
    accept: bool,
    until: Callable[[Event], AbstractContextManager[object]],
    counted: Callable[[Sequence[Backup]], Iterable[Backup]],
) -> Rotated:
    """Make a new identity for the same custodians, and re-encrypt the old identity's backups to the new identity.

    If an earlier rotation was interrupted, continue it. `recovery_key` is then its old or new folder. The new folder is
    written before the first backup is changed. `files` and the errors are as in `meet`, and `until` and `counted` as in
    `rekey`. `backups` is the folder of backups. `accept` is as in `prove`. Also raise UsageFault if the identity was
    rotated already, and IntegrityFault if another process is rotating it, if the old folder is missing, or if a folder
    says that it replaces the old identity and is not proven.
    """
    with _rotation(settings, recovery_key) as (old, later):
        if not later:
            prove(settings, old, accept=accept)
        waiting = iter(files)  # if the custodians changed after the rotation began, the second meeting needs others
        opened = meet(old, waiting, settings.interaction)
        before = opened.identity
        if begun := _choose_begun(settings, later, before, accept=accept):
            opened = meet(begun, waiting, settings.interaction, present=opened.keys)
            new, after = begun, opened.identity
        else:
            place, earlier, after = new_folder(old.folder.parent), old.manifest, RecoveryIdentity.new()
            new = write_recovery_key(settings, place, earlier.group, after, former=earlier.former, replaced=before)
        done = _reencrypt_all(settings, before, after, backups, until=until, counted=counted)
    if not done.failed:
        record(settings, new.manifest, RecoveryKeyAction.ROTATED, opened.names, backups=len(done.done))
    return Rotated(old=old, new=new, names=opened.names, backups=done)


def _choose_begun(
    settings: Settings, later: Sequence[RecoveryKey], before: RecoveryIdentity, *, accept: bool
) -> RecoveryKey | None:
    """Return the folder in `later` with which to continue a rotation of the identity `before`, or None to begin one.

    Print the folders that are not used. Raise IntegrityFault if no folder is proven, and no person accepts one.
    """
    begun, doubts = choose_rotation(later, records(settings), confirm=before.confirm)
    if begun is None and doubts:
        begun = accept_one(settings, doubts, accept=accept)
    for doubt in doubts:
        if doubt.recovery_key is not begun:
            settings.progress.alert(f"{doubt.recovery_key.folder} is not used for the rotation: {doubt.fault}")
    return begun


def old_recovery_key(settings: Settings, recovery_key: RecoveryKey) -> RecoveryKey:
    """Return the folder of the identity that a rotation replaces: the old one if `recovery_key` is the new one.

    Of several folders of this identity, prefer the one that the ledger proves. Raise IntegrityFault if it is missing.
    """
    if not _unfinished(settings, recovery_key.manifest):
        return recovery_key
    earlier = [
        sibling
        for sibling in folders_beside(recovery_key.folder)
        if sibling.manifest.recipient == recovery_key.manifest.replaces
    ]
    if not earlier:
        raise IntegrityFault(
            f"the rotation to {recovery_key.folder} is not finished, and the folder of the earlier identity is missing",
            f"put that folder back into {recovery_key.folder.parent}",
        )
    uses = records(settings)
    return max(reversed(earlier), key=lambda candidate: fault_of(candidate, uses) is None)


@contextmanager
def _rotation(settings: Settings, recovery_key: RecoveryKey) -> Iterator[tuple[RecoveryKey, list[RecoveryKey]]]:
    """Yield the old folder of a rotation, and the folders that say that they replace its identity.

    The old folder is locked until the context ends. Raise UsageFault if a rotation of the old folder's identity was
    completed already. Raise IntegrityFault if another process is rotating this identity, or if the old folder of an
    unfinished rotation is missing.
    """
    old = old_recovery_key(settings, recovery_key)
    with exclusively(old.folder):
        later = [
            sibling for sibling in folders_beside(old.folder) if sibling.manifest.replaces == old.manifest.recipient
        ]
        recorded = {use.recipient for use in records(settings) if use.own and use.action is RecoveryKeyAction.SEALED}
        for new in later[::-1]:
            if new.manifest.recipient in recorded and not _unfinished(settings, new.manifest):
                raise UsageFault(
                    f"the identity in {old.folder} was rotated already",
                    f"name the new folder: --dir {quote(str(new.folder))}",
                )
        yield old, later


def _reencrypt_all(
    settings: Settings,
    before: "RecoveryIdentity",
    after: "RecoveryIdentity",
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
