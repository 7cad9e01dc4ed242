"""`mfa-kit backup recipients`: show who can decrypt which backup."""

import click

from mfa_kit import wiring
from mfa_kit.backups.rekeying import known_recipients
from mfa_kit.cli.backup_options import BACKUP_DIR, of_user, without_copies
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.models import BackupLocation
from mfa_kit.core.text import iso_time
from mfa_kit.wiring.settings import Settings

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
        seals, computers = records.seals(), records.computers
        by = computers.of_backups()
    backups = of_user(user, without_copies(wiring.stores.stored_backups(settings, backup_dir, own=True)))
    rows: list[ResultRow] = [
        {
            "account": entry.backup.account,
            "user": entry.backup.user,
            "device": entry.backup.device,
            "made": iso_time(entry.backup.made),
            "recipients": entry.recipients,
        }
        for entry in known_recipients(backups, seals)
    ]
    if computers.shared:
        rows = [{**row, "computer": by.get(backup.name)} for row, backup in zip(rows, backups, strict=True)]
    if any(row["recipients"] is None for row in rows):
        settings.progress.alert(UNKNOWN)
    empty = f"no backups{f' of {user}' if user else ''} in {wiring.settings.backup_dir(backup_dir)}"
    output.many("backup-recipients", rows, empty=empty, narrow=("user", "device", "made", "recipients", "computer"))
