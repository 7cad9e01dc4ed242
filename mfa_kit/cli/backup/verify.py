"""`mfa-kit backup verify` and `drill`: check that backups can be decrypted, and test them with codes of devices."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.backups import drill as use_case
from mfa_kit.backups.drill import KeyDrill, PhoneDrill
from mfa_kit.backups.opening import Verified, missing_backup
from mfa_kit.cli.backup.list import all_named
from mfa_kit.cli.backup_options import (
    ACCEPT_LABEL,
    BACKUP_DIR,
    PASSPHRASE_FD,
    PASSWORD_STDIN,
    RECORD,
    WHICH,
    check_accepted,
    identity,
    of_user,
)
from mfa_kit.cli.options import Verb
from mfa_kit.cli.value_types import PlaceType
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.interaction import Progress, counted
from mfa_kit.core.message import Message
from mfa_kit.oath_keys.choosing import code_on_key

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.device_records import RunRecords
    from mfa_kit.core.models import BackupLocation
    from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
@click.argument("files", metavar="[USER|FILE]...", type=PlaceType(), nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All backups in the backup folder.")
@RECORD
@BACKUP_DIR
@identity(required=True)
@PASSPHRASE_FD
@ACCEPT_LABEL
def verify(
    *,
    files: tuple[BackupLocation, ...],
    everything: bool,
    record: RunRecords,
    backup_dir: BackupLocation | None,
    keys: tuple[Path, ...],
    passphrase_fd: int | None,
    accept_label: bool,
    settings: Settings,
    output: Output,
) -> int:
    """Check that backups can be decrypted and contain a QR code for AWS. The exit code is 5 if one fails the check.

    Each FILE is a path, or a file name of `backup list`. USER stands for all backups of a user. With the identity of
    the user, the copies that only the user can open are checked instead.

    With --all, a backup that should be in the folder according to the ledger, and is missing, fails too.
    """
    if everything == bool(files):
        raise UsageFault("give either FILES or --all", "name the files, or use --all for the whole backup folder")
    named, copies = all_named(files, settings, backup_dir)
    check_accepted(named, accept_label=accept_label)
    stored, missing = (
        wiring.backups.stored_and_missing(settings, backup_dir, own=False, record=record) if everything else ([], [])
    )
    chosen = named or [backup.path for backup in stored]
    tried = wiring.backups.verify_backups(
        settings,
        counted(chosen, progress=settings.progress, doing="checking backups"),
        wiring.age_keys.Identities(keys, passphrase_fd=passphrase_fd, person=settings.interaction),
        accept_label=accept_label,
        copies=copies,
    )
    tried += map(missing_backup, missing)
    _print_notes(tried, settings.progress)
    rows = [asdict(result.checked) for result in tried]
    output.many(
        "backup-verify",
        rows,
        empty="" if files else f"no backups in {wiring.settings.backup_dir(backup_dir)}",
        narrow=("file", "opens", "remarks", "fault"),
    )
    return IntegrityFault.exit_code if any(result.fault for result in tried) else 0


def _print_notes(tried: Sequence[Verified], progress: Progress) -> None:
    """Print the notes of each file, and after them each hint once."""
    for result in tried:
        for note in result.notes:
            progress.alert(f"note: {result.file}: {note}")
    for hint in dict.fromkeys(result.hint for result in tried if result.hint):
        progress.alert(Message("try: ", hint))


@click.command(cls=Verb, needs_config=False)
@click.argument("files", type=PlaceType(), nargs=-1)
@click.option("--user", metavar="USER", help="Test only the backups of this user.")
@BACKUP_DIR
@identity(required=True)
@PASSPHRASE_FD
@ACCEPT_LABEL
@click.option(
    "--from",
    "source",
    type=click.Choice(["phone", "oath"]),
    default="phone",
    show_default=True,
    help="The device that shows the codes: a phone or an OATH key.",
)
@WHICH
@PASSWORD_STDIN
def drill(
    *,
    files: tuple[BackupLocation, ...],
    user: str | None,
    backup_dir: BackupLocation | None,
    keys: tuple[Path, ...],
    passphrase_fd: int | None,
    accept_label: bool,
    source: str,
    wanted: str | None,
    password_stdin: bool,
    settings: Settings,
    output: Output,
) -> int:
    """Test FILES, or all backups: compare a code from each device with its backup. The ledger records the results.

    The exit code is 5 if the path of a backup names another device than its label, 0 if at least one backup passes and
    no backup differs from its device, otherwise 1.
    """
    check_accepted(files, accept_label=accept_label)
    judge: PhoneDrill | KeyDrill
    if source == "phone":
        settings.interaction.check(instead=use_case.INSTEAD)
        judge = PhoneDrill(person=settings.interaction, now=time.time)
    else:
        oath_keys = wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin)
        judge = KeyDrill(
            code_of=lambda spec, code_time: code_on_key(oath_keys, spec.label, wanted, time=code_time),
            now=time.time,
        )
    chosen = files or [backup.path for backup in of_user(user, wiring.stores.stored_backups(settings, backup_dir))]
    drilled = wiring.backups.drill_backups(
        settings,
        chosen,
        wiring.age_keys.Identities(keys, passphrase_fd=passphrase_fd, person=settings.interaction),
        judge,
        accept_label=accept_label,
    )
    rows = [
        {"file": str(drilled_backup.file), "result": drilled_backup.result, "fault": drilled_backup.fault}
        for drilled_backup in drilled
    ]
    output.many("backup-drill", rows, empty="no backups to test")
    return use_case.exit_code_of(drilled)
