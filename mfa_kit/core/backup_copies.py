"""The two files of a device's backup: one for the administrators, and one that only the device's user can decrypt."""

from typing import NamedTuple

from mfa_kit.core.backup_location import BackupLocation
from mfa_kit.core.models import JournalEntry, backup_name
from mfa_kit.core.place_text import recorded_place

# The subfolder of the backup folder with the users' own copies. Each copy is encrypted only to its user.
OWN = "users"


class Copies(NamedTuple):
    """The paths or URLs of a device's backup: the administrators' file and the user's own copy.

    None means no such file.
    """

    admin: str | None = None
    user: str | None = None


def own_copy(path: BackupLocation) -> BackupLocation:
    """Return the path of the user's own copy of a backup. If `path` is already such a path, return it unchanged."""
    base = path.parents[2]
    return path if base.name == OWN else base.joinpath(OWN, *path.parts[-3:])


def recorded_name(path: BackupLocation) -> str:
    """Return the name of a backup's file in the ledger: `ACCOUNT/USER/FILE`, after `users/` for the user's own copy."""
    absolute_path = path.absolute()
    return f"{OWN}/{backup_name(path)}" if absolute_path == own_copy(absolute_path) else backup_name(path)


def copies_of(entry: JournalEntry) -> Copies:
    """Return the paths or URLs of the backup that the entry's run wrote, or will write, for the entry's device."""
    if entry.backup is None:
        return Copies()
    if entry.spec.recipient is None:
        return Copies(admin=entry.backup)
    own = str(own_copy(recorded_place(entry.backup)))
    return Copies(admin=None if own == entry.backup else entry.backup, user=own)
