"""Options of commands that make or decrypt backups: folder, recipients, identities, and the key that is used."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.backups.opening import FilesAndCopies, several_backups
from mfa_kit.cli.value_types import Age, F, PlaceType, add_options
from mfa_kit.core.device_records import NO_RECORDS
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.core.models import Backup, BackupLocation
from mfa_kit.wiring.settings import Settings


def identity(
    text: str = "age identity (with or without a passphrase) or SSH private key.", *, required: bool = False
) -> Callable[[F], F]:
    """Return a decorator that adds the option for identities that decrypt backups. The values are passed as `keys`."""
    return click.option(
        *("-i", "--identity", "keys"), multiple=True, required=required, type=Path, metavar="FILE", help=text
    )


KEY_PROFILE = click.option(
    "--key-profile",
    metavar="NAME",
    help="Profile for keys: a table [profile.NAME] in the configuration file. Also --profile NAME, if there is one.",
)
RECIPIENTS_FILE = click.option(
    "-R",
    "--recipients-file",
    "to_files",
    multiple=True,
    type=Path,
    metavar="FILE",
    help="File of recipients, one per line.",
)
PASSPHRASE = click.option(
    "--passphrase", is_flag=True, help="Encrypt the backup to this computer's identity, which a passphrase protects."
)
PASSPHRASE_FD = click.option(
    "--passphrase-fd",
    type=click.IntRange(min=0),
    metavar="N",
    help="Read an identity's passphrase from the first line of this file descriptor (0 is stdin).",
)
BACKUP_DIR = click.option(
    "--backup-dir",
    type=PlaceType(),
    metavar="DIR|URL",
    help="Folder of the encrypted backups, or s3://BUCKET/PREFIX.",
)
LOCAL_BACKUPS = click.option(
    "--local-backups",
    is_flag=True,
    help="Write backups to this computer, although other computers share the ledger.",
)
RECIPIENT = click.option(
    *("-r", "--recipient", "to"),
    multiple=True,
    metavar="RECIPIENT",
    help="Encrypt to this age or SSH public key. Repeatable.",
)
# The options of a command that makes a device, as in wiring.stores.NewBackupOptions.
new_backup_options = add_options(RECIPIENT, RECIPIENTS_FILE, PASSPHRASE, PASSPHRASE_FD, BACKUP_DIR, LOCAL_BACKUPS)

ACCEPT_LABEL = click.option(
    "--accept-label",
    is_flag=True,
    help="Accept this one FILE, although its path names another device or user than its label or the ledger.",
)
DRILLED_WITHIN = click.option(
    "--drilled-within",
    type=Age(),
    default="90d",
    show_default=True,
    metavar="AGE",
    help="Report devices whose backup was not tested in this time.",
)


RECORD = click.option(
    "--record",
    "record",
    multiple=True,
    type=Path,
    metavar="DIR",
    callback=lambda _ctx, _param, dirs: wiring.rollout.read_run_records((), dirs) if dirs else NO_RECORDS,
    help="Also compare with the records of runs in DIR, the results of a rollout. Repeatable.",
)


def check_accepted(files: Sequence[BackupLocation], *, accept_label: bool) -> None:
    """Raise UsageFault if --accept-label was given, but not exactly one file."""
    if accept_label and len(files) != 1:
        raise UsageFault("--accept-label is for one named file", "name one FILE, and repeat this for each such file")


WHICH = click.option("--key", "wanted", metavar="SERIAL|READER", help="The key to use, if several are plugged in.")
WHICH_FIDO = click.option("--key", "wanted", metavar="SERIAL|PLACE", help="The key to use, if several are plugged in.")
MDS = click.option("--mds", type=click.Path(path_type=Path), metavar="FILE", help="Signed FIDO metadata (blob.jwt).")
MDS_ROOT = click.option(
    "--mds-root",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Root certificate of the metadata, if it is not the FIDO Alliance's.",
)
ALLOW_OLDER = click.option(
    "--allow-older", is_flag=True, help="Accept metadata that is older than metadata used before."
)
metadata_options = add_options(MDS, MDS_ROOT, ALLOW_OLDER)
PIN_STDIN = click.option("--pin-stdin", is_flag=True, help="Read the key's PIN from stdin, one line.")
PASSWORD_STDIN = click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the key's OATH password from stdin (to change it: old, then new, one per line).",
)


def backups_named(place: BackupLocation, settings: Settings, folder: BackupLocation | None = None) -> FilesAndCopies:
    """Return the backups that a name means: those of a user, or the one with a file name of `backup list`.

    `folder` is as in `wiring.stores.stored_backups`. If there is a file with this name, or if it is a path of several
    parts or a URL, return it as it is. Return the unknown name of a backup as it is too, so that the error is that of a
    missing file. Raise IntegrityFault for any other unknown name.
    """
    if not isinstance(place, Path) or len(place.parts) != 1 or place.is_file():
        return {place: ()}
    stored = wiring.stores.stored_backups(settings, folder, own=True)
    named = [backup for backup in stored if backup.path.name == place.name] or of_user(place.name, stored)
    if not named and place.suffix != ".age" and not os.path.lexists(place):
        raise IntegrityFault(
            f"there is no backup of a user {place}, and no file with this name",
            suggest("list the backups", "backup list"),
        )
    files: dict[str, list[BackupLocation]] = {}
    for backup in named:
        files.setdefault(backup.name, []).append(backup.path)
    return {usual: tuple(copies) for usual, *copies in files.values()} or {place: ()}


def backup_named(place: BackupLocation, settings: Settings) -> BackupLocation:
    """Return the only backup that a name means, as `backups_named` does. Raise UsageFault if it means several."""
    files = backups_named(place, settings)
    if len(files) > 1:
        raise several_backups(files)
    return next(iter(files))


def of_user(user: str | None, backups: Sequence[Backup]) -> list[Backup]:
    """Return the backups of a user, ignoring the case of the name, or all backups if no user is given."""
    return [backup for backup in backups if user is None or backup.user.lower() == user.lower()]


def without_copies(backups: Sequence[Backup]) -> list[Backup]:
    """Return the backups without duplicates. If several backups have the same name, only the first one is returned."""
    first = {backup.name: backup for backup in reversed(backups)}
    return [backup for backup in backups if first[backup.name] is backup]
