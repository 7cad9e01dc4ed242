"""The folders for mfa-kit's files on this computer."""

import os
from pathlib import Path

from mfa_kit.core.hardening import harden as harden  # noqa: PLC0414 - verbs take it from here
from mfa_kit.wiring import config


def home() -> Path:
    """Return the folder for mfa-kit's files: `$MFA_KIT_HOME`, or the platform's data folder."""
    if own := os.environ.get("MFA_KIT_HOME"):
        return Path(own)
    import platformdirs

    return platformdirs.user_data_path("mfa-kit")


def backup_dir(given: Path | None) -> Path:
    """Return the given folder of backups, else the configured folder, else `backups` in mfa-kit's folder."""
    if given:
        return given
    said = config.load().backup_dir
    return Path(said).expanduser() if said else home() / "backups"
