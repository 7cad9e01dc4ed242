"""The computer that mfa-kit runs on: the folder for its files, and the memory of its process."""

import os
import sys
from pathlib import Path

from mfa_kit.wiring import config

PR_SET_DUMPABLE = 4


def home() -> Path:
    """Return the desk's own folder: `$MFA_KIT_HOME`, or the platform's data folder."""
    if own := os.environ.get("MFA_KIT_HOME"):
        return Path(own)
    import platformdirs

    return platformdirs.user_data_path("mfa-kit")


def harden() -> None:
    """Keep this process's memory from core dumps and from other processes of the same user, before the first secret.

    setrlimit(2), prctl(2): a process that is not dumpable cannot be attached to by ptrace(2) without privileges.
    """
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


def backup_dir(given: Path | None) -> Path:
    """Return the folder of backups: the given one, else the configured one, else `backups` in our own folder."""
    if given:
        return given
    said = config.load().backup_dir
    return Path(said).expanduser() if said else home() / "backups"
