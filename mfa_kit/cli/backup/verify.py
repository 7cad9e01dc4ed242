"""`mfa-kit backup verify`."""

from pathlib import Path

import click

from mfa_kit.cli import messages
from mfa_kit.cli.key_options import PASSPHRASE_FD
from mfa_kit.cli.options import BACKUP_DIR, Verb, identity
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.wiring import backup as backups
from mfa_kit.wiring.identities import Identities
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.this_computer import backup_dir as place_of


@click.command(cls=Verb, needs_config=False)
@click.argument("files", type=Path, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All backups of this desk.")
@BACKUP_DIR
@identity(required=True)
@PASSPHRASE_FD
def verify(
    *,
    files: tuple[Path, ...],
    everything: bool,
    backup_dir: Path | None,
    keys: tuple[Path, ...],
    passphrase_fd: int | None,
    settings: Settings,
    output: Output,
) -> int:
    """Show that FILES open and hold a QR code for AWS. All are tried; ends with 5 when one is no good."""
    if everything == bool(files):
        raise UsageFault("which backups are meant is not clear", "name FILES, or give --all for all of this desk")
    chosen = [each.path for each in backups.list_backups(backup_dir)] if everything else files
    tried = backups.verify_backups(
        messages.with_bar(chosen, "verify", plain=settings.plain),
        Identities(keys, passphrase_fd=passphrase_fd, person=settings.interaction),
    )
    for each in tried:
        for note in each.notes:
            settings.progress.note(f"note: {each.file}: {note}")
    rows = [
        {"file": str(each.file), "opens": each.fault is None, "label": each.label, "fault": each.fault}
        for each in tried
    ]
    output.many("backup-verify", rows, empty="" if files else f"no backups in {place_of(backup_dir)}")
    return IntegrityFault.exit_code if any(each.fault for each in tried) else 0
