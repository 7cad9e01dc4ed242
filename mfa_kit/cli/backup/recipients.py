"""`mfa-kit backup recipients`: show who can decrypt which backup."""

import click

from mfa_kit import wiring
from mfa_kit.backups.rekeying import known_recipients
from mfa_kit.cli.backup_options import BACKUP_DIR, of_user, without_copies
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.backup_location import Place
from mfa_kit.core.timestamps import iso_time
from mfa_kit.wiring.settings import Settings

UNKNOWN = (
    "an empty cell means that the recipients are not recorded: another computer or an earlier version of mfa-kit made "
    "the backup"
)


@click.command(cls=Verb, needs_config=False)
@click.argument("user", required=False)
@BACKUP_DIR
def recipients(*, user: str | None, backup_dir: Place | None, settings: Settings, output: Output) -> None:
    """Show who can decrypt which backup, as recorded in the ledger."""
    with wiring.backup.open_records(settings) as records:
        seals, computers = records.seals(), records.computers
        by = computers.of_backups()
    found = of_user(user, without_copies(wiring.vault.stored_backups(settings, backup_dir, own=True)))
    rows: list[ResultRow] = [
        {
            "account": each.backup.account,
            "user": each.backup.user,
            "device": each.backup.device,
            "made": iso_time(each.backup.made),
            "recipients": each.recipients,
        }
        for each in known_recipients(found, seals)
    ]
    if computers.shared:
        rows = [{**row, "computer": by.get(each.name)} for row, each in zip(rows, found, strict=True)]
    if any(row["recipients"] is None for row in rows):
        settings.progress.alert(UNKNOWN)
    empty = f"no backups{f' of {user}' if user else ''} in {wiring.this_computer.backup_dir(backup_dir)}"
    output.many("backup-recipients", rows, empty=empty, narrow=("user", "device", "made", "recipients", "computer"))
