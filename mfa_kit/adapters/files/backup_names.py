"""Builds and parses the paths of backup files: `ACCOUNT/USER/DEVICE-RUN.png.age` below the folder of backups."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from mfa_kit.adapters.files.stores import Stores
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import ACCOUNT_ID, Backup, run_time
from mfa_kit.core.places import Place

SUFFIX = ".png.age"
# The maximum length of a file name in octets on common file systems.
NAME_MAX = 255
UNSAFE = re.compile(r"[^a-z0-9_-]")
NAME = re.compile(r"(?P<device>.+)-(?P<run>\d{8}T\d{6}Z-[0-9a-f]{8})\.png\.age")


def encoded(text: str) -> str:
    """Percent-encode all characters of a text except a-z, 0-9, _ and -, so that the result can be part of a path.

    The result is never `..`. Names that differ only in case remain different, even on file systems that ignore case.
    """
    return UNSAFE.sub(lambda char: f"%{ord(char[0]):02X}", text)


def new_backup(folder: Place, *, account: str, user: str, device: str, run: str) -> Backup:
    """Return a Backup with the path for its new file. Raise UsageFault if the file name would be too long."""
    path = folder / encoded(account) / encoded(user) / f"{encoded(device)}-{run}{SUFFIX}"
    if len(path.name) > NAME_MAX:
        raise UsageFault(
            f"the device name {device} is too long for the name of a backup file", "choose a shorter --name"
        )
    return Backup(account=account, user=user, device=device, run=run, path=path)


def backup_at(path: Place) -> Backup | None:
    """Return the backup with this path, or None if the path does not end with `ACCOUNT/USER/DEVICE-RUN.png.age`."""
    name = NAME.fullmatch(path.name)
    user, account = ([unquote(folder.name) for folder in path.absolute().parents[:2]] + ["", ""])[:2]
    if name is None or not ACCOUNT_ID.fullmatch(account):
        return None
    try:
        run_time(name["run"])
    except ValueError:  # an impossible date, such as day 99
        return None
    return Backup(account=account, user=user, device=unquote(name["device"]), run=name["run"], path=path)


def find_backups(folder: Place, stores: Stores) -> Iterator[Backup]:
    """Yield the backups below a folder, sorted by account and user. Files with other names are skipped."""
    for path in stores.folder(folder).files():
        if backup := backup_at(path):
            yield backup
