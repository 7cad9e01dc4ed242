"""Writes the files of sessions, and locks them, in a folder of this computer that only this user can open."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mfa_kit.adapters.files.session_cache import read_private
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.message import Message, command
from mfa_kit.core.otp import Secret
from mfa_kit.disk.files import faults_of, make_folder, replace_file
from mfa_kit.posix.open_files import NO_LINK, is_private, lock
from mfa_kit.posix.processes import file_system

# The types of network file systems, proc(5). Their files are readable elsewhere, and their locks may have no effect.
NETWORK = frozenset(
    (
        *("9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "glusterfs", "lustre"),
        *("ncpfs", "nfs", "nfs4", "smb2", "smb3", "smbfs"),
    )
)
ELSEWHERE = "set XDG_CACHE_HOME to a folder on a disk of this computer, or in memory, such as /dev/shm"


class SessionFolder:
    """The folder of sessions. This class implements `renewing.SessionFiles`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> Secret[bytes] | None:
        """Return the content of a file, or None if there is none that only this user can change."""
        return read_private(self._folder, name)

    def write(self, name: str, content: Secret[bytes]) -> None:
        """Create or replace a file as a whole. Raise IntegrityFault if this fails."""
        with self._opened() as folder, faults_of(self._folder / name):
            replace_file(folder, name, content)

    @contextmanager
    def hold(self, name: str) -> Iterator[None]:
        """Wait for the lock with this name, and hold it. Raise IntegrityFault if the folder cannot be used."""
        with self._opened() as folder:
            with faults_of(self._folder):
                file = os.open(f"{name}.lock", os.O_RDWR | os.O_CREAT | NO_LINK, 0o600, dir_fd=folder)
            try:
                lock(file)
                yield
            finally:
                os.close(file)

    def remove_sessions(self) -> int:
        """Delete the files of all sessions, and return their number. Locks and used time steps stay."""
        names = [path.name for path in self._folder.glob("*.json")]
        if names:
            with self._opened() as folder, faults_of(self._folder, "removed"):
                for name in names:
                    os.unlink(name, dir_fd=folder)
                os.fsync(folder)
        return len(names)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the folder, which is created if it is missing.

        Raise IntegrityFault if it is on a network file system, or if other users can open it.
        """
        place = file_system(self._folder)
        if place in NETWORK:
            raise IntegrityFault(
                f"{self._folder} is on a network file system ({place}), where no session is kept", ELSEWHERE
            )
        with ExitStack() as stack:
            with faults_of(self._folder):
                folder = stack.enter_context(make_folder(self._folder))
            if not is_private(folder):
                raise IntegrityFault(
                    f"{self._folder} is not yours alone, so no session is kept there",
                    Message("make it private", command("chmod 700 {}", str(self._folder))),
                )
            yield folder
