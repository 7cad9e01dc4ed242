"""The folders for mfa-kit's files on this computer."""

import os
from pathlib import Path

from mfa_kit.core.backup_location import BackupLocation
from mfa_kit.core.place_text import parse_place
from mfa_kit.posix.hardening import harden as harden  # noqa: PLC0414 - other modules import it from here
from mfa_kit.wiring import config


def home() -> Path:
    """Return the folder for mfa-kit's files: `$MFA_KIT_HOME`, or the platform's data folder."""
    if own := os.environ.get("MFA_KIT_HOME"):
        return Path(own)
    import platformdirs

    return platformdirs.user_data_path("mfa-kit")


def backup_dir(folder: BackupLocation | None) -> BackupLocation:
    """Return the folder of backups: `folder`, else the configured folder, else `backups` in `home()`.

    Raise UsageFault if the configured folder is an invalid S3 URL.
    """
    if folder:
        return folder
    configured_folder = config.load().backup_dir
    if configured_folder is None:
        return home() / "backups"
    place = parse_place(configured_folder)
    return place.expanduser() if isinstance(place, Path) else place
