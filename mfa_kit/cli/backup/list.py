"""`mfa-kit backup list`, `recipients` and `exposed`: the backups, who can decrypt them, and which one a name means."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.backups.opening import MISSING, several_backups
from mfa_kit.backups.rekeying import Exposed, find_exposed, known_recipients
from mfa_kit.cli.backup_options import BACKUP_DIR, RECORD, of_user, without_copies
from mfa_kit.cli.options import Verb
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.message import Message, suggest
from mfa_kit.core.models import Backup, BackupLocation, backup_name, own_copy
from mfa_kit.core.text import Cell, ResultRow, iso_time

if TYPE_CHECKING:
    from mfa_kit.backups.opening import FilesAndCopies
    from mfa_kit.cli.output import Output
    from mfa_kit.core.device_records import RunRecords
    from mfa_kit.wiring.settings import Settings


@click.command("list", cls=Verb, needs_config=False)
@BACKUP_DIR
@RECORD
def list_backups(*, backup_dir: BackupLocation | None, record: RunRecords, settings: Settings, output: Output) -> int:
    """List the backups in the backup folder, and those that are missing there according to the ledger.

    The exit code is 1 if a backup is missing.
    """
    stored, missing = wiring.backups.stored_and_missing(settings, backup_dir, own=True, record=record)
    rows = [
        {**_row(backup, made=iso_time(backup.made), file=str(backup.path), copy=_copy(backup)), **state}
        for state, backups in (({"state": "stored"} if missing else {}, stored), ({"state": "missing"}, missing))
        for backup in backups
    ]
    output.many(
        "backup-list",
        rows,
        empty=f"no backups in {wiring.settings.backup_dir(backup_dir)}",
        narrow=("user", "device", "made", "copy", "state", "file"),
    )
    if missing:
        settings.progress.alert(Message("try: ", MISSING))
    return int(bool(missing))


def _copy(backup: Backup) -> str | None:
    """Return `user` for the copy that only the device's user can decrypt, else None."""
    return "user" if backup.path == own_copy(backup.path) else None


def _row(backup: Backup, computers: Mapping[str, str] | None = None, **columns: Cell) -> ResultRow:
    """Return the row of a backup. `computers` has the computer that recorded each backup, by the backup's name."""
    row = {"account": backup.account, "user": backup.user, "device": backup.device, **columns}
    return row if computers is None else {**row, "computer": computers.get(backup.name)}


UNKNOWN = (
    "an empty cell means that the recipients are not recorded: another computer or an earlier version of mfa-kit made "
    "the backup"
)


@click.command(cls=Verb, needs_config=False)
@click.argument("user", required=False)
@BACKUP_DIR
def recipients(*, user: str | None, backup_dir: BackupLocation | None, settings: Settings, output: Output) -> None:
    """Show who can decrypt which backup, as recorded in the ledger."""
    with wiring.backups.open_records(settings) as records:
        seals, computers = records.seals(), records.computers.of_backups()
    backups = of_user(user, without_copies(wiring.stores.stored_backups(settings, backup_dir, own=True)))
    rows = [
        _row(entry.backup, computers, made=iso_time(entry.backup.made), recipients=entry.recipients)
        for entry in known_recipients(backups, seals)
    ]
    if any(row["recipients"] is None for row in rows):
        settings.progress.alert(UNKNOWN)
    empty = f"no backups{f' of {user}' if user else ''} in {wiring.settings.backup_dir(backup_dir)}"
    output.many("backup-recipients", rows, empty=empty, narrow=("user", "device", "made", "recipients", "computer"))


@click.command(cls=Verb, needs_config=False)
@click.option(
    "-r",
    "--recipient",
    required=True,
    metavar="RECIPIENT",
    help="Public key of the lost private key: age1… or SSH.",
)
@BACKUP_DIR
def exposed(*, recipient: str, backup_dir: BackupLocation | None, settings: Settings, output: Output) -> None:
    """List the devices to replace after a private key was lost, even if their backups have been re-encrypted."""
    with wiring.backups.open_records(settings) as records:
        seals, gone = records.seals(), {backup_name(Path(path)) for path in records.gone()}
        computers = records.computers.of_backups()
    local_backups = without_copies(wiring.stores.stored_backups(settings, backup_dir, own=True))
    names = {backup.name for backup in local_backups}
    elsewhere = wiring.backups.backups_named(sorted({seal.backup for seal in seals} - names))
    text = wiring.age_keys.recipient_text(recipient)
    exposures = find_exposed(text, [*local_backups, *elsewhere], seals, gone=gone)
    if unknown := sum(exposure.since is None for exposure in exposures):
        settings.progress.alert(f"this computer has no record of the recipients of {unknown} of these backups")
    if exposures:
        settings.progress.note(suggest("replace each device", "replace USER --with KIND --mfa-device DEVICE"))
    rows = [_exposure_row(exposure, computers, names) for exposure in exposures]
    output.many(
        "backup-exposed",
        rows,
        empty="no backup was encrypted to this key",
        narrow=("user", "device", "since", "until", "recorded", "computer"),
    )


def _exposure_row(exposure: Exposed, computers: Mapping[str, str] | None, here: set[str]) -> ResultRow:
    """Return the row of an exposed backup. `here` has the names of the backups that are on this computer."""
    return _row(
        exposure.backup,
        computers,
        since=iso_time(exposure.since) if exposure.since else None,
        until=iso_time(exposure.until) if exposure.until else None,
        recorded=exposure.since is not None,
        file=str(exposure.backup.path) if exposure.backup.name in here else None,
    )


def backups_named(place: BackupLocation, settings: Settings, folder: BackupLocation | None = None) -> FilesAndCopies:
    """Return the backups that a name means: those of a user, or the one with a file name of `backup list`.

    `folder` is as in `wiring.stores.stored_backups`. If it is None, and its folder has none of them, the files count
    that the ledger names in other folders. If there is a file with this name, or if it is a path of several parts or a
    URL, return it as it is. Return the unknown name of a backup as it is too, so that the error is that of a missing
    file. Raise IntegrityFault for any other unknown name.
    """
    if not isinstance(place, Path) or len(place.parts) != 1 or _is_file(place):
        return {place: ()}
    named = _named(place.name, wiring.stores.stored_backups(settings, folder, own=True))
    if not named and folder is None:
        named = wiring.backups.recorded_backups(settings, partial(_named, place.name))
    if not named and place.suffix != ".age" and not os.path.lexists(place):
        raise IntegrityFault(
            f"there is no backup of a user {place} in {wiring.settings.backup_dir(folder)}, and no file with this name",
            suggest("name the file, or list the backups of its folder", "backup list --backup-dir DIR"),
        )
    return _files_and_copies(named) or {place: ()}


def _is_file(path: Path) -> bool:
    with suppress(OSError):  # no file can have this name, or the system cannot tell
        return path.is_file()
    return False


def _named(name: str, backups: Sequence[Backup]) -> list[Backup]:
    """Return the backups with a file name, else those of a user with this name."""
    return [backup for backup in backups if backup.path.name == name] or of_user(name, backups)


def _files_and_copies(backups: Iterable[Backup]) -> FilesAndCopies:
    """Return the first file of each name, with the other files of that name."""
    files: dict[str, list[BackupLocation]] = {}
    for backup in backups:
        files.setdefault(backup.name, []).append(backup.path)
    return {usual: tuple(copies) for usual, *copies in files.values()}


def all_named(
    places: Sequence[BackupLocation], settings: Settings, folder: BackupLocation | None
) -> tuple[list[BackupLocation], FilesAndCopies]:
    """Return the files of the backups that several names mean, and the copies of each, as `backups_named` does."""
    named = [backup for place in places for backup in backups_named(place, settings, folder).items()]
    return [file for file, _ in named], dict(named)


def backup_named(place: BackupLocation, settings: Settings) -> BackupLocation:
    """Return the only backup that a name means, as `backups_named` does. Raise UsageFault if it means several."""
    files = backups_named(place, settings)
    if len(files) > 1:
        raise several_backups(files)
    return next(iter(files))
