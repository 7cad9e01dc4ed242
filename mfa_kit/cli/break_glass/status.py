"""`mfa-kit break-glass status`: show the custodians of an identity, when it was used, and what is due."""

from collections.abc import Sequence
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.backups.rekeying import KnownRecipients
from mfa_kit.break_glass.proof import locate, prove
from mfa_kit.break_glass.uses import Record, due, last
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.break_glass.options import ACCEPT, RECOVERY_KEY_DIR
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.message import clauses
from mfa_kit.core.models import BackupLocation, RecoveryKeyAction
from mfa_kit.core.text import iso_time
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
@RECOVERY_KEY_DIR
@BACKUP_DIR
@click.option("--ask-iam", is_flag=True, help="Also ask IAM whether the custodians still have users with their names.")
@ACCEPT
def status(
    *,
    folder: Path | None,
    backup_dir: BackupLocation | None,
    ask_iam: bool,
    accept: bool,
    settings: Settings,
    output: Output,
) -> int:
    """Show the custodians and their keys, the last drill and opening, and what is due.

    If this computer did not record the custodians, the recipient is not shown, and the exit code is 5.
    """
    ports = wiring.break_glass.open_ports(settings)
    recovery_key = locate(folder, ports)
    manifest, recorded = recovery_key.manifest, True
    try:
        prove(recovery_key, ports, accept=accept)
    except IntegrityFault as fault:
        recorded = False
        settings.progress.alert(clauses([str(fault), fault.hint]))
    names = _without_user(manifest.group.names, backup_dir, settings) if ask_iam else []
    known, records = wiring.backups.known_backups(settings, backup_dir), ports.records()
    leaving = [f"replace {name}, who has no user in this account: break-glass custodians" for name in names]
    row: ResultRow = {
        "folder": str(recovery_key.folder),
        "recorded": recorded,
        "recipient": manifest.recipient if recorded else None,
        "made": iso_time(manifest.made),
        "threshold": manifest.group.threshold,
        "custodians": manifest.group.names,
        "keys": [f"{custodian.name} {custodian.fingerprint}" for custodian in manifest.group.custodians],
        "removed": [custodian.name for custodian in manifest.former] or None,
        "last_drill": _time(last(records, manifest.recipient, RecoveryKeyAction.DRILLED)),
        "last_opened": _time(last(records, manifest.recipient, RecoveryKeyAction.OPENED, RecoveryKeyAction.PASSED)),
        "backups": _count_sealed(known, manifest.recipient),
        "due": [*due(manifest, records, now=ports.now()), *leaving] or None,
    }
    output.one("break-glass-status", row)
    return 0 if recorded else IntegrityFault.exit_code


def _without_user(names: Sequence[str], backup_dir: BackupLocation | None, settings: Settings) -> list[str]:
    """Return the custodians in `names` who have no IAM user of the same name. The comparison ignores case."""
    with wiring.ports.open_ports(settings, store=wiring.stores.open_backup_store(settings, backup_dir)) as (ports, _):
        users = {name.lower() for name in ports.iam_reader.users()}
    return [name for name in names if name.lower() not in users]


def _count_sealed(known: Sequence[KnownRecipients], recipient: str) -> int:
    return sum(recipient in (entry.recipients or ()) for entry in known)


def _time(record: Record | None) -> str | None:
    return iso_time(record.at) if record else None
