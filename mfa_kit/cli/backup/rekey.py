"""`mfa-kit backup rekey`: encrypt all backups to other recipients."""

from functools import partial
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.backups.rekeying import Rekeyed, choose_backups
from mfa_kit.cli import messages
from mfa_kit.cli.backup_options import (
    ACCEPT_LABEL,
    BACKUP_DIR,
    PASSPHRASE_FD,
    RECIPIENT,
    RECIPIENTS_FILE,
    check_accepted,
    identity,
)
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.shutdown import stop_on_signals
from mfa_kit.cli.value_types import PlaceType
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.interaction import Progress
from mfa_kit.core.message import suggest
from mfa_kit.core.models import BackupLocation
from mfa_kit.wiring.settings import Settings

COPIES = "older copies of the backups can still be opened with the old key"


@click.command(cls=Verb, needs_config=False)
@click.argument("file", type=PlaceType(), required=False)
@BACKUP_DIR
@identity(required=True)
@PASSPHRASE_FD
@RECIPIENT
@RECIPIENTS_FILE
@ACCEPT_LABEL
def rekey(
    *,
    file: BackupLocation | None,
    backup_dir: BackupLocation | None,
    keys: tuple[Path, ...],
    passphrase_fd: int | None,
    to: tuple[str, ...],
    to_files: tuple[Path, ...],
    accept_label: bool,
    settings: Settings,
    output: Output,
) -> int:
    """Re-encrypt all backups, or only FILE, to these recipients only. If the command is interrupted, run it again.

    Older copies of the files can still be opened with the old key.
    """
    if not (to or to_files):
        raise UsageFault("no recipient was given, so no one could open the backups", "use -r RECIPIENT or -R FILE")
    check_accepted([file] if file else [], accept_label=accept_label)
    if settings.dry_run:
        planned = choose_backups(wiring.stores.stored_backups(settings, backup_dir), file)
        output.one("backup-rekey", {"outcome": "planned", "backups": len(planned)})
        return 0
    done = wiring.backups.rekey(
        settings,
        backup_dir,
        wiring.age_keys.Identities(keys, passphrase_fd=passphrase_fd, person=settings.interaction),
        to,
        to_files,
        only=file,
        accept_label=accept_label,
        until=stop_on_signals,
        counted=partial(messages.counted, progress=settings.progress, doing="encrypting backups"),
    )
    _warn(done, settings.progress)
    row: ResultRow = {
        "outcome": "rekeyed",
        "backups": done.found,
        "rekeyed": len(done.done),
        "already_done": len(done.already_done),
        "failed": len(done.failed),
        "faults": [reason for _, reason in done.failed] or None,
    }
    output.one("backup-rekey", row)
    return IntegrityFault.exit_code if done.failed else 0


def _warn(done: Rekeyed, progress: Progress) -> None:
    """Warn about new files that none of the given identities can decrypt, and about older copies of the files."""
    if done.unopened:
        progress.alert(
            suggest(
                f"none of your identities can open {done.unopened} of the new files, so mfa-kit did not check these "
                "files; to check them",
                "backup verify --all -i IDENTITY",
            )
        )
    if done.done:
        progress.alert(suggest(f"{COPIES}; to list the devices to replace", "backup exposed -r OLD"))
