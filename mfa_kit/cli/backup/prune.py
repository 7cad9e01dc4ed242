"""`mfa-kit backup prune`: remove backups that are no longer needed."""

from collections.abc import Sequence

import click

from mfa_kit import wiring
from mfa_kit.backups.pruning import Why, find_prunable
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.models import Backup, BackupLocation
from mfa_kit.wiring.settings import Settings

DAY = 86400.0


@click.command(cls=Verb)
@click.option(
    "--days",
    type=click.IntRange(1, 36500),
    metavar="N",
    help="Also remove backups over N days old whose device was deleted.",
)
@BACKUP_DIR
def prune(*, days: int | None, backup_dir: BackupLocation | None, settings: Settings, output: Output) -> int:
    """Remove the backups of users who no longer exist in IAM. Existing devices keep their backup."""
    store = wiring.stores.open_backup_store(settings, backup_dir)
    with wiring.ports.open_ports(settings, store=store) as (ports, caller):
        prunable_backups = list(
            find_prunable(
                wiring.stores.stored_backups(settings, backup_dir, own=True),
                account=caller.account,
                older=None if days is None else days * DAY,
                iam_reader=ports.iam_reader,
            )
        )
    if prunable_backups and not (settings.dry_run or settings.yes):
        _confirm(prunable_backups, settings.interaction)
    faults = (
        {}
        if settings.dry_run
        else wiring.backups.remove_backups(settings, backup_dir, [backup for backup, _ in prunable_backups])
    )
    rows = [_row(backup, why, faults.get(backup.path), planned=settings.dry_run) for backup, why in prunable_backups]
    output.many("backup-prune", rows, empty="nothing to remove", narrow=("outcome", "user", "device", "why", "fault"))
    return IntegrityFault.exit_code if faults else 0


def _confirm(prunable_backups: Sequence[tuple[Backup, Why]], person: Interaction) -> None:
    """List the backups, and ask the user to confirm their removal. Raise Declined if the user does not."""
    for backup, why in prunable_backups:
        person.say(f"{backup.path}: {why}")
    person.confirm(f"this removes {len(prunable_backups)} backups permanently", typed="prune")


def _row(backup: Backup, why: Why, fault: str | None, *, planned: bool) -> ResultRow:
    return {
        "outcome": "planned" if planned else "failed" if fault else "removed",
        "user": backup.user,
        "device": backup.device,
        "why": why,
        "file": str(backup.path),
        "fault": fault,
    }
