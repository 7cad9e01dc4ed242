"""`mfa-kit backup exposed`: list the devices to replace after a private key was lost."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.backups.rekeying import Exposed, find_exposed
from mfa_kit.cli.backup_options import BACKUP_DIR, without_copies
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.message import suggest
from mfa_kit.core.models import BackupLocation, backup_name
from mfa_kit.core.text import iso_time
from mfa_kit.wiring.settings import Settings


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
        computers = records.computers
        by = computers.of_backups()
    local_backups = without_copies(wiring.stores.stored_backups(settings, backup_dir, own=True))
    names = {backup.name for backup in local_backups}
    elsewhere = wiring.backups.backups_named(sorted({seal.backup for seal in seals} - names))
    text = wiring.age_keys.recipient_text(recipient)
    exposures = find_exposed(text, [*local_backups, *elsewhere], seals, gone=gone)
    if unknown := sum(exposure.since is None for exposure in exposures):
        settings.progress.alert(f"this computer has no record of the recipients of {unknown} of these backups")
    if exposures:
        settings.progress.note(suggest("replace each device", "replace USER --with KIND --mfa-device DEVICE"))
    rows = [_row(exposure, is_here=exposure.backup.name in names) for exposure in exposures]
    if computers.shared:
        rows = [
            {**row, "computer": by.get(exposure.backup.name)} for row, exposure in zip(rows, exposures, strict=True)
        ]
    output.many(
        "backup-exposed",
        rows,
        empty="no backup was encrypted to this key",
        narrow=("user", "device", "since", "until", "recorded", "computer"),
    )


def _row(exposure: Exposed, *, is_here: bool) -> ResultRow:
    return {
        "account": exposure.backup.account,
        "user": exposure.backup.user,
        "device": exposure.backup.device,
        "since": iso_time(exposure.since) if exposure.since else None,
        "until": iso_time(exposure.until) if exposure.until else None,
        "recorded": exposure.since is not None,
        "file": str(exposure.backup.path) if is_here else None,
    }
