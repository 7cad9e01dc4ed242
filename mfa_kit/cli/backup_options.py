"""Options of commands that make or decrypt backups: folder, recipients, identities, and the key that is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.environment import RETIRED
from mfa_kit.cli.output import load_place
from mfa_kit.cli.value_types import Age, F, LocalPath, PlaceType, add_options
from mfa_kit.core.errors import UsageFault

if TYPE_CHECKING:
    from mfa_kit.core.device_records import RunRecords
    from mfa_kit.core.models import Backup, BackupLocation


def identity(
    text: str = "age identity (with or without a passphrase) or SSH private key.", *, required: bool = False
) -> Callable[[F], F]:
    """Return a decorator that adds the option for identities that decrypt backups. The values are passed as `keys`."""
    return click.option(
        *("-i", "--identity", "keys"), multiple=True, required=required, type=LocalPath(), metavar="FILE", help=text
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
    type=LocalPath(),
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


def _allow_retired(ctx: click.Context, _param: click.Parameter, recipients: Sequence[str]) -> None:
    ctx.meta[RETIRED] = recipients


RECIPIENT = add_options(
    click.option(
        *("-r", "--recipient", "to"),
        multiple=True,
        metavar="RECIPIENT",
        help="Encrypt to this age or SSH public key. Repeatable.",
    ),
    click.option(
        "--retired-recipient",
        multiple=True,
        metavar="RECIPIENT",
        expose_value=False,
        callback=_allow_retired,
        help="Allow this recipient, although the ledger says that a break-glass rotation replaced it. Repeatable.",
    ),
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


# The records without any run, as `module:name`. Only a command with --record needs them.
NO_RECORDS_PLACE = "mfa_kit.core.device_records:NO_RECORDS"


def _read_records(_ctx: click.Context, _param: click.Parameter, dirs: Sequence[Path]) -> RunRecords:
    records: RunRecords = wiring.rollout.read_run_records((), dirs) if dirs else load_place(NO_RECORDS_PLACE)
    return records


RECORD = click.option(
    "--record",
    "record",
    multiple=True,
    type=LocalPath(),
    metavar="DIR",
    callback=_read_records,
    help="Also compare with the records of runs in DIR, the results of a rollout. Repeatable.",
)


def check_accepted(files: Sequence[BackupLocation], *, accept_label: bool) -> None:
    """Raise UsageFault if --accept-label was given, but not exactly one file."""
    if accept_label and len(files) != 1:
        raise UsageFault("--accept-label is for one named file", "name one FILE, and repeat this for each such file")


WHICH = click.option("--key", "wanted", metavar="SERIAL|READER", help="The key to use, if several are plugged in.")
WHICH_FIDO = click.option("--key", "wanted", metavar="SERIAL|PLACE", help="The key to use, if several are plugged in.")
MDS = click.option("--mds", type=LocalPath(), metavar="FILE", help="Signed FIDO metadata (blob.jwt).")
MDS_ROOT = click.option(
    "--mds-root",
    type=LocalPath(),
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


def of_user(user: str | None, backups: Sequence[Backup]) -> list[Backup]:
    """Return the backups of a user, ignoring the case of the name, or all backups if no user is given."""
    return [backup for backup in backups if user is None or backup.user.lower() == user.lower()]


def without_copies(backups: Sequence[Backup]) -> list[Backup]:
    """Return the backups without duplicates. If several backups have the same name, only the first one is returned."""
    first = {backup.name: backup for backup in reversed(backups)}
    return [backup for backup in backups if first[backup.name] is backup]
