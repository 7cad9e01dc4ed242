"""`mfa-kit backup show`: write the QR code of a backup to a file. The picture is never written to stdout."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import ACCEPT_LABEL, PASSPHRASE_FD, identity
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.value_types import PlaceType
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import BackupLocation
from mfa_kit.wiring.settings import Settings


@click.command("show", cls=Verb, needs_config=False, acts_at_once=True)
@click.argument("file", type=PlaceType())
@identity(required=True)
@PASSPHRASE_FD
@ACCEPT_LABEL
@click.option(
    "-o", "--out", required=True, type=Path, metavar="FILE", help="New file for the picture; only you can read it."
)
def show_backup(
    *,
    file: BackupLocation,
    keys: tuple[Path, ...],
    passphrase_fd: int | None,
    accept_label: bool,
    out: Path,
    settings: Settings,
    output: Output,
) -> None:
    """Decrypt FILE and write its QR code, unencrypted, to a new file."""
    if str(out) == "-":
        raise UsageFault("a QR code is a secret and is not written to stdout", "name a new file: -o qr.png")
    wiring.backups.show_backup(
        settings,
        file,
        wiring.age_keys.Identities(keys, passphrase_fd=passphrase_fd, person=settings.interaction),
        out,
        accept_label=accept_label,
    )
    settings.progress.alert(f"{out} contains the secret unencrypted; delete it after scanning")
    output.one("backup-show", {"backup": str(file), "picture": str(out)})
