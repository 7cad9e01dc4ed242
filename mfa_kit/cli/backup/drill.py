"""`mfa-kit backup drill`: test backups with codes of their devices."""

import time
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.backups import drill as use_case
from mfa_kit.backups.drill import KeyDrill, PhoneDrill
from mfa_kit.cli.backup_options import (
    ACCEPT_LABEL,
    BACKUP_DIR,
    PASSPHRASE_FD,
    PASSWORD_STDIN,
    WHICH,
    check_accepted,
    identity,
    of_user,
)
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.value_types import PlaceType
from mfa_kit.core.models import BackupLocation
from mfa_kit.oath_keys.choosing import code_on_key
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
@click.argument("files", type=PlaceType(), nargs=-1)
@click.option("--user", metavar="USER", help="Test only the backups of this user.")
@BACKUP_DIR
@identity(required=True)
@PASSPHRASE_FD
@ACCEPT_LABEL
@click.option(
    "--from",
    "source",
    type=click.Choice(["phone", "oath"]),
    default="phone",
    show_default=True,
    help="The device that shows the codes: a phone or an OATH key.",
)
@WHICH
@PASSWORD_STDIN
def drill(
    *,
    files: tuple[BackupLocation, ...],
    user: str | None,
    backup_dir: BackupLocation | None,
    keys: tuple[Path, ...],
    passphrase_fd: int | None,
    accept_label: bool,
    source: str,
    wanted: str | None,
    password_stdin: bool,
    settings: Settings,
    output: Output,
) -> int:
    """Test FILES, or all backups: compare a code from each device with its backup. The ledger records the results.

    The exit code is 5 if the path of a backup names another device than its label, 0 if at least one backup passes and
    no backup differs from its device, otherwise 1.
    """
    check_accepted(files, accept_label=accept_label)
    judge: PhoneDrill | KeyDrill
    if source == "phone":
        settings.interaction.check(instead=use_case.INSTEAD)
        judge = PhoneDrill(person=settings.interaction, now=time.time)
    else:
        oath_keys = wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin)
        judge = KeyDrill(
            code_of=lambda spec, code_time: code_on_key(oath_keys, spec.label, wanted, time=code_time),
            now=time.time,
        )
    chosen = files or [backup.path for backup in of_user(user, wiring.stores.stored_backups(settings, backup_dir))]
    drilled = wiring.backups.drill_backups(
        settings,
        chosen,
        wiring.age_keys.Identities(keys, passphrase_fd=passphrase_fd, person=settings.interaction),
        judge,
        accept_label=accept_label,
    )
    rows = [
        {"file": str(drilled_backup.file), "result": drilled_backup.result, "fault": drilled_backup.fault}
        for drilled_backup in drilled
    ]
    output.many("backup-drill", rows, empty="no backups to test")
    return use_case.exit_code_of(drilled)
