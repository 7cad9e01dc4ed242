"""Sealed backups, for the verbs that open them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.cli.kit.desk import backup_dir, harden

if TYPE_CHECKING:
    from mfa_kit.adapters.agefile import Backup


def list_backups(folder: Path | None) -> list["Backup"]:
    from mfa_kit.adapters import agefile

    return list(agefile.backups(backup_dir(folder)))


def show_backup(file: Path, keys: Sequence[Path], out: Path) -> None:
    """Open a backup and write its picture to a new file, 0600."""
    from mfa_kit.adapters import agefile

    harden()
    agefile.write_new(out.absolute(), agefile.open_backup(file, agefile.identities(keys)).reveal())


def verify_backup(file: Path, keys: Sequence[Path]) -> str:
    """Open a backup, read its QR code, and return the label in it: proof that it can be used, and no secret."""
    from mfa_kit import keyuri, qr
    from mfa_kit.adapters import agefile

    harden()
    return keyuri.label_of(qr.read(agefile.open_backup(file, agefile.identities(keys))))
