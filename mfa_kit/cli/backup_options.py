"""Options for encrypted backups: their folder, their recipients, and the identities that decrypt them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from mfa_kit.cli.value_types import Age, PlaceType
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.places import Place

RECIPIENT = click.option(
    "-r",
    "--recipient",
    "to",
    multiple=True,
    metavar="RECIPIENT",
    help="Encrypt the backup to this age or SSH public key.",
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


def check_accepted(files: Sequence[Place], *, accept_label: bool) -> None:
    """Raise UsageFault if --accept-label was given, but not exactly one file."""
    if accept_label and len(files) != 1:
        raise UsageFault("--accept-label is for one named file", "name one FILE, and repeat this for each such file")


def identity(*, required: bool) -> Callable[[Any], Any]:
    """Return a decorator that adds the option for identities that decrypt backups. The values are passed as `keys`."""
    return click.option(
        "-i",
        "--identity",
        "keys",
        multiple=True,
        required=required,
        type=Path,
        metavar="FILE",
        help="age identity (with or without a passphrase) or SSH private key.",
    )
