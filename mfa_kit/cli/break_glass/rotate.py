"""`mfa-kit break-glass rotate`: replace an identity with a new one, and re-encrypt its backups."""

from functools import partial
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.break_glass import rotating
from mfa_kit.break_glass.drilling import concerned
from mfa_kit.break_glass.proof import locate, prove
from mfa_kit.cli import messages
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.break_glass.options import ACCEPT, PRESENT, RECOVERY_KEY_DIR
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.shutdown import stop_on_signals
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import BackupLocation
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
@PRESENT
@RECOVERY_KEY_DIR
@BACKUP_DIR
@ACCEPT
def rotate(
    *,
    keys: tuple[Path, ...],
    folder: Path | None,
    backup_dir: BackupLocation | None,
    accept: bool,
    settings: Settings,
    output: Output,
) -> int:
    """Make a new identity for the same custodians, and re-encrypt all backups of the old identity to the new one.

    The custodians hold a meeting for this. If the command is interrupted, run it again. The other recipients of the
    backups stay.
    """
    ports = wiring.break_glass.open_ports(settings)
    recovery_key = locate(folder, ports)
    if settings.dry_run:
        prove(recovery_key, ports, accept=accept)
        old = rotating.old_key(recovery_key, ports)
        known = concerned(wiring.backups.known_backups(settings, backup_dir), old.manifest.recipient)
        output.one("break-glass-rotate", {"outcome": "planned", "backups": len(known)})
        return 0
    done = rotating.rotate(
        recovery_key,
        keys,
        accept=accept,
        ports=ports,
        stored=lambda: wiring.stores.stored_backups(settings, backup_dir),
        open_backups=partial(
            wiring.break_glass.open_rotated,
            settings,
            backup_dir,
            until=stop_on_signals,
            counted=partial(messages.counted, progress=settings.progress, doing="encrypting backups"),
        ),
    )
    old, new, backups = done.old, done.new, done.backups
    settings.progress.alert(f"encrypt new backups to {new.manifest.recipient}, not to {old.manifest.recipient}")
    settings.progress.alert(f"older copies of the backups can still be opened with the files in {old.folder}")
    output.one(
        "break-glass-rotate",
        {
            "outcome": "unfinished" if backups.failed else "rotated",
            "recipient": new.manifest.recipient,
            "replaces": old.manifest.recipient,
            "custodians": done.names,
            "folder": str(new.folder),
            "backups": backups.found,
            "rekeyed": len(backups.done),
            "already_done": len(backups.already_done),
            "failed": len(backups.failed),
            "faults": [reason for _, reason in backups.failed] or None,
        },
    )
    return IntegrityFault.exit_code if backups.failed else 0
