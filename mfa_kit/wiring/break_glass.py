"""Makes and opens break-glass identities.

The files of an identity are in a folder of their own, by default below the folder that `base` returns.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from mfa_kit.adapters.files.layers import (
    GlassIdentity,
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
from mfa_kit.break_glass.custodians import FILE, Custodian, CustodianSet, Glass, Group, Manifest, set_of_file
from mfa_kit.break_glass.meeting import Meeting, hold
from mfa_kit.break_glass.proof import Doubt, accept_folder, fault_of
from mfa_kit.break_glass.uses import Record
from mfa_kit.core.backup_location import BackupLocation
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.models import GlassAction, backup_name, run_id, run_time
from mfa_kit.core.otp import Seed
from mfa_kit.enrollment.backends import SECRET
from mfa_kit.wiring.backup_opening import backup_reader, open_and_note, open_opener_with
from mfa_kit.wiring.backup_records import backup_records
from mfa_kit.wiring.files import check_new, write_new_file
from mfa_kit.wiring.identities import Identities
from mfa_kit.wiring.ledger import open_ledger
from mfa_kit.wiring.letters import NO_LETTERS, WriteLetters
from mfa_kit.wiring.plugins import open_plugins
from mfa_kit.wiring.qr_code import draw
from mfa_kit.wiring.settings import Settings, harden, home

if TYPE_CHECKING:
    from mfa_kit.adapters.files.plugins import Identity
    from mfa_kit.core.otp import Secret, Symbol


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenGlass:
    """An open break-glass identity, and the custodians who opened it.

    `names` has the names of these custodians in the order of their CustodianSet. `keys` has the private keys of all
    custodians who were present, by name.
    """

    identity: "GlassIdentity"
    names: tuple[str, ...]
    keys: "Mapping[str, Secret[list[Identity]]]"


def base() -> Path:
    """Return the folder in which new folders of break-glass files are made."""
    return home() / "break-glass"


def locate_glass(folder: Path | None) -> Glass:
    """Return a folder of break-glass files, by default the newest one. Its manifest is not compared with the ledger.

    Raise UsageFault if there is no such folder, and IntegrityFault if its manifest is damaged.
    """
    path = folder or newest_folder(base())
    if path is None or not path.is_dir():
        raise UsageFault(
            f"there is no folder {path}" if path else "this computer has no break-glass identity",
            "name the folder: --dir DIR, or make an identity: mfa-kit break-glass create",
        )
    return Glass(path.absolute(), read_manifest(path))


def records(settings: Settings) -> list[Record]:
    """Return the ledger's records of the uses of break-glass identities, oldest first."""
    with open_ledger(settings) as ledger:
        return BreakGlassRecords(ledger).all()


def find_glass(settings: Settings, folder: Path | None) -> Glass:
    """Return a folder as `locate_glass` does. Print a warning if the ledger does not prove who its custodians are."""
    glass = locate_glass(folder)
    if fault := fault_of(glass, records(settings)):
        settings.progress.alert(
            f"{fault}, so check them yourself: mfa-kit break-glass status --dir {quote(str(glass.folder))}"
        )
    return glass


def prove(settings: Settings, glass: Glass, *, accept: bool) -> None:
    """Raise IntegrityFault unless the ledger proves who the custodians of a folder are.

    If `accept`, a person may accept a folder that the ledger does not prove, except in a dry run.
    """
    if fault := fault_of(glass, records(settings)):
        accept_one(settings, [Doubt(glass, fault)], accept=accept)


def accept_one(settings: Settings, doubts: Sequence[Doubt], *, accept: bool) -> Glass:
    """Let a person accept one of the folders, and record its custodians in the ledger. Return the folder.

    Raise the error of the first doubt if not `accept`, or in a dry run. Also raise the errors of `accept_folder`.
    """
    if not accept or settings.dry_run:
        raise doubts[0].fault
    glass = accept_folder(doubts, settings.interaction)
    record(settings, glass.manifest, GlassAction.SEALED, glass.manifest.group.names)
    return glass


def find_glass_of(settings: Settings, file: BackupLocation, folder: Path | None) -> Glass:
    """Return a folder of break-glass files, by default the newest folder whose identity can open the backup `file`.

    According to the ledger, this identity is a recipient of the backup. If there is no such folder, the default is the
    newest folder. The errors are those of `find_glass`.
    """
    if folder is None and (newest := newest_folder(base())):
        with open_ledger(settings) as ledger:
            seals = backup_records(ledger).seals()
        to = {seal.recipient for seal in seals if seal.backup == backup_name(file) and seal.until is None}
        folder = next((glass.folder for glass in folders_beside(newest)[::-1] if glass.manifest.recipient in to), None)
    return find_glass(settings, folder)


def plan(group: Group) -> Mapping[CustodianSet, int]:
    """Return the sets of a group, each with the size of its file in octets. Nothing is written.

    The sizes are those of the files of a new identity, which is then discarded. age adds some random octets, so the
    final files may have slightly other sizes.
    """
    identity = GlassIdentity.new()
    files = identity.files(Manifest(recipient=identity.recipient, made=time.time(), group=group), open_plugins())
    return {custodian_set: len(files[custodian_set.file]) for custodian_set in group.sets()}


def create(settings: Settings, group: Group, folder: Path | None, letters: WriteLetters = NO_LETTERS) -> Glass:
    """Make a break-glass identity, and return its folder. `group` has its custodians.

    Record the custodians in the ledger, then write the letters to custodians, and then write the folder. `folder` is
    the path of the new folder, by default a new path in `base()`. Raise UsageFault for a public key that cannot be
    used, and IntegrityFault if the folder exists or cannot be written.
    """
    harden()
    return write_glass(settings, folder or new_folder(base()), group, GlassIdentity.new(), letters=letters)


def new_folder(parent: Path) -> Path:
    """Return the path for a new folder in `parent`. Its name is a run ID, later than the other names."""
    newest = newest_folder(parent)
    return parent / run_id(max(time.time(), run_time(newest.name) + 1 if newest else 0), os.urandom(4))


def write_glass(
    settings: Settings,
    folder: Path,
    group: Group,
    identity: "GlassIdentity",
    *,
    former: Sequence[Custodian] = (),
    replaced: "GlassIdentity | None" = None,
    letters: WriteLetters = NO_LETTERS,
) -> Glass:
    """Record the custodians of an identity in the ledger, then write their letters, and then the identity's folder.

    `former` is as in Manifest, and `replaced` is the identity before the rotation. Raise the errors of `create`.
    """
    manifest = Manifest(recipient=identity.recipient, made=int(time.time()), group=group, former=tuple(former))
    if replaced:
        manifest = replace(manifest, replaces=replaced.recipient)
        manifest = replace(manifest, hmac=replaced.confirm(manifest))
    files = identity.files(manifest, open_plugins(settings.interaction))
    record(settings, manifest, GlassAction.SEALED, group.names)
    with letters(manifest, folder.absolute()):
        write_folder(folder.absolute(), files)
    return Glass(folder.absolute(), manifest)


def record(
    settings: Settings, manifest: Manifest, action: GlassAction, names: Sequence[str], *, backups: int = 0
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
                threshold=group.threshold if action is GlassAction.SEALED else 0,
                backups=backups,
            )
        )


def meet(
    glass: Glass,
    files: Iterable[Path],
    person: Interaction,
    *,
    only: Path | None = None,
    present: "Mapping[str, Secret[list[Identity]]] | None" = None,
) -> OpenGlass:
    """Hold a meeting of custodians, and return the open identity.

    `files` are identity files of custodians. If they are not enough, other custodians enter the paths of their files at
    the terminal. `only` is the only break-glass file to open; some custodians may already have removed their layers
    from it. `present` has the private keys of custodians who are present from an earlier meeting, by name. Raise
    Declined if too few custodians came, and IntegrityFault if the break-glass identity cannot be decrypted. Raise
    UsageFault for an identity in `files` that belongs to no current custodian, or to a custodian who is already
    present.
    """
    harden()
    manifest = glass.manifest

    def read(file: Path) -> "Secret[list[Identity]]":
        return Identities([file], passphrase_fd=None, person=person).read()

    def open_one(custodian_set: CustodianSet, keys: "Mapping[str, Secret[list[Identity]]]") -> "GlassIdentity":
        return open_set(only or glass.folder / custodian_set.file, custodian_set, keys, recipient=manifest.recipient)

    meeting = Meeting(
        manifest=manifest,
        sets=manifest.group.sets() if only is None else rest_of(_set_of(only, manifest)),
        owners=owner_test((*manifest.group.custodians, *manifest.former), open_plugins(person)),
        open_set=open_one,
        here=dict(present or {}),
    )
    identity, names = hold(meeting, files, read=read, person=person)
    return OpenGlass(identity=identity, names=names, keys=meeting.here)


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


def open_backup(settings: Settings, file: BackupLocation, opened: OpenGlass, *, accept_label: bool) -> Opened:
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
    settings: Settings, glass: Glass, file: Path, keys: Identities, out: Path, *, before: Callable[[OwnLayer], None]
) -> OwnLayer:
    """Use the identity in `keys` to remove the outermost layer of a file, and write the rest to the new file `out`.

    Return the layer that was removed. `before` is called with the layer before the layer is removed. A dry run writes
    nothing. Raise UsageFault if the name of `file` or `out` does not name the set, or if the identity belongs to no
    custodian of the set. Also raise UsageFault if the identity belongs to the set's last custodian, because without the
    last layer, the file would be the break-glass identity itself. Raise WrongIdentityError if the outermost layer
    belongs to another custodian.
    """
    harden()
    custodian_set = _set_of(file, glass.manifest)
    if set_of_file(out.name, [custodian_set]) is None:
        start = "-".join(custodian_set.file.split("-")[:2])
        raise UsageFault(
            f"the name {out.name} does not say that the file is for {start}", f"begin the name with {start}"
        )
    check_new(out)
    secrets = keys.read()
    owners = {custodian.name for custodian in owner_test(glass.manifest.group.custodians, open_plugins())(secrets)}
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
        record(settings, glass.manifest, GlassAction.PASSED, [layer.name])
        write_new_file(out, inner_file)
    return layer


def folder_beside(file: Path) -> Path | None:
    """Return the folder that contains a file if the folder has a manifest, else None."""
    return file.absolute().parent if (file.absolute().parent / FILE).is_file() else None
