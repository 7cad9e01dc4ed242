"""Decides whether a folder of break-glass files is the one that mfa-kit wrote. Anyone can put a folder beside another.

This computer's records prove who the custodians of an identity are. The HMAC of a manifest proves that the custodians
of the earlier identity made it. If the records are on another computer, a person can accept a folder.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mfa_kit.break_glass.custodians import FILE, Manifest, RecoveryKey
from mfa_kit.break_glass.ports import BreakGlassPorts, K, V
from mfa_kit.break_glass.retired import current_recipient, fault_of_retired, retirement_of
from mfa_kit.break_glass.uses import Record
from mfa_kit.core.errors import IntegrityFault, Unrecorded, UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.models import BackupLocation, Seal, backup_name
from mfa_kit.core.otp import Secret
from mfa_kit.core.recovery_keys import RecoveryKeyAction

ACCEPT = "accept the folder with --accept-unrecorded, which asks for its whole recipient"
FIND_MAKER = f"find out who made the folder, and if it is good, {ACCEPT}"
FIND_GROUP = f"use the folder with the right custodians, or if this is the one, {ACCEPT}"
READ = (
    "read the recipient with `mfa-kit break-glass status` on the computer that made the folder, or in manifest.json in "
    "the copies of two other custodians, and compare the custodians there too"
)


@dataclass(frozen=True, slots=True)
class Doubt:
    """A folder that is not proven, and the error that says why. A person may accept it if this is Unrecorded."""

    recovery_key: RecoveryKey
    fault: IntegrityFault


def fault_of(recovery_key: RecoveryKey, records: Iterable[Record]) -> Unrecorded | None:
    """Return None if the last SEALED record of this role and computer has the custodians of a folder, else an error.

    Records of others prove nothing, because each computer that shares the ledger can write them. But a later one with
    another group is an error too, until this computer records the group again. `records` are in the order of time.
    """
    own, other = _last_sealed(records, recovery_key.manifest.recipient)
    where, group = recovery_key.folder / FILE, recovery_key.manifest.group
    written = (group.threshold, {custodian.name: custodian.key for custodian in group.custodians})
    if own and other:
        return Unrecorded(
            f"{_writer(other)} recorded other custodians or another threshold for the identity in {where} than "
            f"{_writer(own)} before",
            FIND_GROUP,
        )
    if (recorded := own or other) and _group(recorded) != written:
        writer = "this computer" if own else _writer(recorded)
        return Unrecorded(f"{where} has other custodians or another threshold than {writer} recorded last", FIND_GROUP)
    if own is None:
        return Unrecorded(f"this computer did not record who the custodians in {where} are", FIND_MAKER)
    return None


def _last_sealed(records: Iterable[Record], recipient: str) -> tuple[Record | None, Record | None]:
    """Return the last SEALED record of an identity by this role and computer, and the last one of others that counts.

    Without an own record, each of the others' records counts. Otherwise only those count that are later than the own
    record and have another group.
    """
    own: Record | None = None
    other: Record | None = None
    for record in records:
        if record.recipient == recipient and record.action is RecoveryKeyAction.SEALED:
            if record.own:
                own, other = record, None
            elif own is None or _group(record) != _group(own):
                other = record
    return own, other


def _group(record: Record) -> tuple[int, dict[str, str]]:
    return record.threshold, dict(record.custodians)


def _writer(record: Record) -> str:
    return f"{record.role} on {record.computer}"


def choose_rotation(
    later: Sequence[RecoveryKey], records: Sequence[Record], *, confirm: Callable[[Manifest], str]
) -> tuple[RecoveryKey | None, list[Doubt]]:
    """Return the folder with which to continue a rotation, or None, and a Doubt for each folder that is not proven.

    `later` has the folders that say that they replace the old identity. A folder is proven if its HMAC is the one that
    `confirm` returns for its manifest, and if `fault_of` returns None. Raise IntegrityFault if two are proven.
    """
    doubts: list[Doubt] = []
    proven: list[RecoveryKey] = []
    for recovery_key in later:
        if fault := _fault_of_rotation(recovery_key, records, confirm(recovery_key.manifest)):
            fault.hint += (
                f"; to begin anew, move {recovery_key.folder} elsewhere, and do not delete it, because backups may "
                "already be encrypted to it"
            )
            doubts.append(Doubt(recovery_key, fault))
        else:
            proven.append(recovery_key)
    if len(proven) > 1:
        raise IntegrityFault(
            f"{proven[0].folder} and {proven[1].folder} are both rotations of the same identity",
            "move the one to which no backup is encrypted elsewhere, and do not delete it",
        )
    return (proven[0] if proven else None), doubts


def _fault_of_rotation(recovery_key: RecoveryKey, records: Sequence[Record], hmac: str) -> IntegrityFault | None:
    where, written = recovery_key.folder / FILE, recovery_key.manifest.hmac
    if written is None:
        unconfirmed = Unrecorded(f"{where} has no HMAC, so mfa-kit 1.0.0 or someone else wrote it", FIND_MAKER)
        return fault_of(recovery_key, records) or unconfirmed
    if Secret(written) != Secret(hmac):  # compared in constant time
        return IntegrityFault(
            f"the HMAC in {where} is wrong, so the file was changed or forged", "find out who wrote the folder"
        )
    return fault_of(recovery_key, records)


def locate(folder: Path | None, ports: BreakGlassPorts[K, V]) -> RecoveryKey:
    """Return a folder of break-glass files, by default the newest one. Its manifest is not compared with the ledger.

    If a rotation replaced its identity, print this: in an emergency, the folder must work all the same. Raise
    UsageFault if there is no such folder, and IntegrityFault if its manifest is damaged.
    """
    path = folder or ports.folders.newest()
    if path is None or not ports.folders.is_there(path):
        raise UsageFault(
            f"there is no folder {path}" if path else "this computer has no break-glass identity",
            suggest("name the folder: --dir DIR, or make an identity", "break-glass create"),
        )
    recovery_key = ports.folders.read(path)
    recipient = recovery_key.manifest.recipient
    if record := retirement_of(recipient, ports.records()):
        ports.progress.alert(f"note: {path}: {fault_of_retired(recipient, record)}")
    return recovery_key


def find_current(ports: BreakGlassPorts[K, V]) -> RecoveryKey:
    """Return the folder of the current identity: the last one that this computer recorded and that was not replaced.

    If this computer recorded none, return the newest folder. The folder is not proven yet. A folder that says that it
    replaces the current identity is never chosen if it is proven, and returned if it is not. Raise IntegrityFault if
    the folder is missing, if others recorded that its identity was replaced, or if such a folder is proven.
    """
    records, newest = ports.records(), ports.folders.newest()
    siblings = ports.folders.beside(newest) if newest else []
    current = current_recipient(records)
    folders = [sibling for sibling in siblings if sibling.manifest.recipient == current]
    if current is None:
        folders = [locate(None, ports)]
    elif not folders:
        raise IntegrityFault(
            f"the folder of the current identity, {current}, is missing",
            suggest("name it: --dir DIR, or put it back; if a rotation failed to write it", "break-glass rotate"),
        )
    recovery_key = next((key for key in reversed(folders) if fault_of(key, records) is None), folders[-1])
    recipient = recovery_key.manifest.recipient
    if record := retirement_of(recipient, records):
        raise fault_of_retired(recipient, record)
    for claim in siblings:
        if claim.manifest.replaces == recipient:
            if fault_of(claim, records):
                return claim
            raise IntegrityFault(
                f"{claim.folder} says that its identity replaced {recipient}, but this computer recorded that later",
                "find out which of the two is in use, and name its folder: --dir DIR",
            )
    return recovery_key


def find(folder: Path | None, ports: BreakGlassPorts[K, V]) -> RecoveryKey:
    """Return a folder as `locate` does. Print a warning if the ledger does not prove who its custodians are."""
    recovery_key = locate(folder, ports)
    if fault := fault_of(recovery_key, ports.records()):
        ports.progress.alert(
            suggest(f"{fault}, so check them yourself", "break-glass status --dir {}", str(recovery_key.folder))
        )
    return recovery_key


def find_for_backup(
    file: BackupLocation, folder: Path | None, ports: BreakGlassPorts[K, V], *, seals: Callable[[], Iterable[Seal]]
) -> RecoveryKey:
    """Return a folder of break-glass files, by default the newest folder whose identity can open the backup `file`.

    According to `seals`, the ledger's records of recipients, this identity is a recipient of the backup. If there is no
    such folder, the default is the newest folder. The errors are those of `find`.
    """
    if folder is None and (newest := ports.folders.newest()):
        name = backup_name(file)
        recipients = {seal.recipient for seal in seals() if seal.backup == name and seal.until is None}
        beside = ports.folders.beside(newest)[::-1]
        folder = next((sibling.folder for sibling in beside if sibling.manifest.recipient in recipients), None)
    return find(folder, ports)


def prove(recovery_key: RecoveryKey, ports: BreakGlassPorts[K, V], *, accept: bool) -> None:
    """Raise IntegrityFault unless the ledger proves who the custodians of a folder are.

    If `accept`, a person may accept a folder that the ledger does not prove, except in a dry run.
    """
    if fault := fault_of(recovery_key, ports.records()):
        accept_one([Doubt(recovery_key, fault)], ports, accept=accept)


def accept_one(doubts: Sequence[Doubt], ports: BreakGlassPorts[K, V], *, accept: bool) -> RecoveryKey:
    """Ask for the whole recipient of a folder, which is not shown. Return the folder with this recipient.

    The ledger then records its custodians. Raise the error of the first doubt if not `accept`, in a dry run, or if none
    of the folders can be accepted. Raise IntegrityFault if the answer is not the recipient of such a folder, and
    Declined if there is no terminal.
    """
    acceptable = [doubt for doubt in doubts if isinstance(doubt.fault, Unrecorded)]
    if not (accept and acceptable) or ports.dry_run:
        raise doubts[0].fault
    person = ports.person
    for doubt in acceptable:
        group = doubt.recovery_key.manifest.group
        keys = ", ".join(f"{custodian.name} {custodian.fingerprint}" for custodian in group.custodians)
        person.say(f"{doubt.fault}")
        person.say(f"its identity can be opened by {group.threshold} of these custodians: {keys}")
    person.say(READ)
    answer = person.ask_code("the whole recipient", instead="a terminal; no option answers this question")
    for doubt in acceptable:
        manifest = doubt.recovery_key.manifest
        if answer == manifest.recipient:
            ports.record(manifest, RecoveryKeyAction.SEALED, manifest.group.names)
            return doubt.recovery_key
    raise IntegrityFault(f"that is not the recipient of {acceptable[0].recovery_key.folder}", acceptable[0].fault.hint)
