"""The interfaces for storing backups: a folder of backups, and one backup in it.

`local_store` implements these interfaces for folders on this computer, and `adapters/aws/s3_store` for Amazon S3. The
implementations do not know what a backup contains.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from mfa_kit.core.places import Place


class StoredFile(Protocol):
    """One backup. The file need not exist. Methods raise IntegrityFault if they fail."""

    def is_taken(self) -> bool:
        """Whether something exists at this place, even if it is not a file."""
        ...

    def is_there(self) -> bool:
        """Whether a file exists at this place."""
        ...

    def read(self, most: int) -> bytes:
        """Return the content of the file, but at most `most` octets."""
        ...

    def create(self, sealed: bytes) -> None:
        """Write a new file durably. Raise IntegrityFault if the file exists, because `create` never overwrites a file.

        An object in S3 that already has exactly this content is not an error.
        """
        ...

    def replace(self, change: Callable[[bytes], bytes], check: Callable[[bytes], bool], *, most: int) -> bool:
        """Replace the content by `change(content)`. Return the result of `check` for the new content as read back.

        At most `most` octets of the old content are read. The file is not replaced if `check` raises an exception, or
        if another process changed the file. If this process is killed, the old or the new content remains.
        """
        ...

    def discard(self) -> None:
        """Remove the file permanently. Raise IntegrityFault if it does not exist."""
        ...

    def remove(self, *, sealed: bool) -> None:
        """Remove the file and its incomplete copies permanently, if they exist.

        `sealed` is true if the file was once written completely. Then a missing folder or bucket raises
        IntegrityFault.
        """
        ...


class StoredFolder(Protocol):
    """A folder of backups. The folder need not exist. Methods raise an MfaKitError if they fail."""

    def check(self) -> None:
        """Raise UsageFault if backups cannot be written to the folder. Nothing is changed."""
        ...

    def is_there(self) -> bool:
        """Whether the folder exists."""
        ...

    def files(self) -> Iterator[Place]:
        """Yield the files `ACCOUNT/USER/FILE` below the folder, sorted."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Lock the folder until the context ends, if this kind of storage has locks.

        Raise IntegrityFault if another process holds the lock.
        """
        ...


class Stores(Protocol):
    """Gives access to backups by their places. A place is a path on this computer or an S3 URL."""

    def folder(self, place: Place) -> StoredFolder:
        """Return the folder of backups at a place. Nothing is read yet."""
        ...

    def file(self, place: Place, folder: Place | None = None) -> StoredFile:
        """Return the backup at a place. Nothing is read yet.

        `folder` is the folder of backups that contains the backup.
        """
        ...
