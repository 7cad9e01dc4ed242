"""`mfa-kit backup verify`: check that backups can be decrypted and contain a QR code for AWS."""

from collections.abc import Sequence
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.backups.opening import Verified
from mfa_kit.cli import messages
from mfa_kit.cli.backup_options import ACCEPT_LABEL, BACKUP_DIR, PASSPHRASE_FD, check_accepted, identity
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.value_types import PlaceType
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.interaction import Progress
from mfa_kit.core.message import Message
from mfa_kit.core.models import BackupLocation
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
@click.argument("files", type=PlaceType(), nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All backups in the backup folder.")
@BACKUP_DIR
@identity(required=True)
@PASSPHRASE_FD
@ACCEPT_LABEL
def verify(
    *,
    files: tuple[BackupLocation, ...],
    everything: bool,
    backup_dir: BackupLocation | None,
    keys: tuple[Path, ...],
    passphrase_fd: int | None,
    accept_label: bool,
    settings: Settings,
    output: Output,
) -> int:
    """Check that FILES can be decrypted and contain a QR code for AWS. The exit code is 5 if a file fails the check."""
    if everything == bool(files):
        raise UsageFault("give either FILES or --all", "name the files, or use --all for the whole backup folder")
    check_accepted(files, accept_label=accept_label)
    chosen = [backup.path for backup in wiring.stores.stored_backups(settings, backup_dir)] if everything else files
    tried = wiring.backups.verify_backups(
        settings,
        messages.counted(chosen, progress=settings.progress, doing="checking backups"),
        wiring.age_keys.Identities(keys, passphrase_fd=passphrase_fd, person=settings.interaction),
        accept_label=accept_label,
    )
    _print_notes(tried, settings.progress)
    rows = [
        {
            "file": str(result.file),
            "opens": result.fault is None,
            "label": result.label,
            "remarks": result.remarks or None,
            "fault": result.fault,
        }
        for result in tried
    ]
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
