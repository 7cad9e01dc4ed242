"""`mfa-kit backup list`: list the backups in the backup folder."""

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.models import BackupLocation
from mfa_kit.core.text import iso_time
from mfa_kit.wiring.settings import Settings


@click.command("list", cls=Verb, needs_config=False)
@BACKUP_DIR
def list_backups(*, backup_dir: BackupLocation | None, settings: Settings, output: Output) -> None:
    """List the backups in the backup folder."""
    rows = [
        {
            "account": backup.account,
            "user": backup.user,
            "device": backup.device,
            "made": iso_time(backup.made),
            "file": str(backup.path),
        }
        for backup in wiring.stores.stored_backups(settings, backup_dir, own=True)
    ]
    output.many(
        "backup-list",
        rows,
        empty=f"no backups in {wiring.settings.backup_dir(backup_dir)}",
        narrow=("user", "device", "made", "file"),
    )
