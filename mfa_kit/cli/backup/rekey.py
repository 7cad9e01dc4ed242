"""`mfa-kit backup rekey`, `passphrase` and `prune`: change who can decrypt backups, and remove backups."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.backups.own_identity import PROTECTING
from mfa_kit.backups.pruning import Why, find_prunable
from mfa_kit.backups.rekeying import Rekeyed, choose_backups
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
from mfa_kit.cli.shutdown import stop_on_signals
from mfa_kit.cli.value_types import LocalPath, PlaceType
from mfa_kit.core.errors import Declined, IntegrityFault, UsageFault
from mfa_kit.core.interaction import Interaction, Progress, counted
from mfa_kit.core.message import suggest

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.models import Backup, BackupLocation
    from mfa_kit.core.text import ResultRow
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
@click.option("--unproven", is_flag=True, help="Do not ask about new recipients that none of the identities can open.")
def rekey(
    *,
    file: BackupLocation | None,
    backup_dir: BackupLocation | None,
    keys: tuple[Path, ...],
    passphrase_fd: int | None,
    to: tuple[str, ...],
    to_files: tuple[Path, ...],
    accept_label: bool,
    unproven: bool,
    settings: Settings,
    output: Output,
) -> int:
    """Re-encrypt all backups, or only FILE, to these recipients only. If the command is interrupted, run it again.

    Older copies of the files can still be opened with the old key.
    """
    if not (to or to_files):
        raise UsageFault("no recipient was given, so no one could open the backups", "use -r RECIPIENT or -R FILE")
    check_accepted([file] if file else [], accept_label=accept_label)
    recipients = wiring.age_keys.read_recipients(to, to_files)
    wiring.stores.check_not_retired(settings, [recipient.text for recipient in recipients])
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
        confirm=(lambda _: None) if unproven else partial(_confirm_unproven, person=settings.interaction),
        until=partial(stop_on_signals, break_off=settings.stop.set),
        counted=partial(counted, progress=settings.progress, doing="encrypting backups"),
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


def _confirm_unproven(recipients: Sequence[str], *, person: Interaction) -> None:
    """Ask whether the user wants recipients that none of the given identities opens. Raise Declined otherwise."""
    person.confirm(
        f"none of your identities opens what is encrypted to {', '.join(recipients)}; with a mistake there, nobody can "
        "open the backups",
        typed="rekey",
        instead="--unproven, or -i with an identity of the new recipient",
    )


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


@click.command(cls=Verb, needs_config=False, acts_at_once=True)
@click.argument("file", type=LocalPath(), required=False)
def passphrase(*, file: Path | None, settings: Settings, output: Output) -> None:
    """Change the passphrase of this computer's identity, or of the identity FILE. No backup is changed."""
    identity = wiring.age_keys.existing_identity(file)
    person = settings.interaction
    try:
        unlocked = wiring.age_keys.unlock(identity, person)
        new = wiring.age_keys.new_passphrase(person)
    except Declined as declined:
        declined.hint = "run this at a terminal, where you can type the new passphrase"
        raise
    person.say(PROTECTING)
    unlocked.reencrypt(new)
    settings.progress.note(
        f"the old passphrase still decrypts older copies of {identity}; replace them with the new file"
    )
    output.one("backup-passphrase", {"identity": str(identity), "outcome": "changed"})
