"""Names of backup files: `ACCOUNT/USER/DEVICE-RUN.png.age` below the folder of backups, and what such a path tells."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import Backup, run_time

SUFFIX = ".png.age"
# Within the folder of backups: a copy for each user who has a recipient of his own, sealed to nobody else.
OWN = "users"
NAME_MAX = 255
NAME = re.compile(r"(?P<device>.+)-(?P<run>\d{8}T\d{6}Z-[0-9a-f]{8})\.png\.age")


def encoded(text: str) -> str:
    """One safe part of a path: all but a-z, 0-9, _ and - percent-encoded, so `..` and case twins stay apart."""
    return "".join(char if re.fullmatch(r"[a-z0-9_-]", char) else f"%{ord(char):02X}" for char in text)


def new_backup(folder: Path, *, account: str, user: str, device: str, run: str) -> Backup:
    """Return where a backup will be. Raise UsageFault for a name that no file can have."""
    path = folder / encoded(account) / encoded(user) / f"{encoded(device)}-{run}{SUFFIX}"
    if len(path.name) > NAME_MAX:
        raise UsageFault(f"{device} is too long for the name of a backup file", "choose a shorter --name")
    return Backup(account=account, user=user, device=device, run=run, path=path)


def backup_at(path: Path) -> Backup | None:
    """Read what the path of a backup tells; None when it is not the name of one."""
    name = NAME.fullmatch(path.name)
    if name is None:
        return None
    try:
        run_time(name["run"])
    except ValueError:  # anybody may name a file like this: no month has 99 days
        return None
    user, account = (unquote(above.name) for above in path.absolute().parents[:2])
    return Backup(account=account, user=user, device=unquote(name["device"]), run=name["run"], path=path)


def find_backups(folder: Path) -> Iterator[Backup]:
    """Yield the backups below a folder, by account and user; files of other names are passed over."""
    for path in sorted(folder.glob(f"*/*/*{SUFFIX}")):
        if (backup := backup_at(path)) and not path.is_symlink():
            yield backup


def own_copy(path: Path) -> Path:
    """Return where a user's own copy of a backup is; the path itself where that is it."""
    base = path.parents[2]
    return path if base.name == OWN else base.joinpath(OWN, *path.parts[-3:])
