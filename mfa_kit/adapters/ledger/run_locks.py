"""Locks runs, with one lock file per run. When a process ends, even if it is killed, its locks are released."""

import os
import time
from contextlib import suppress
from pathlib import Path

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import RUN, WORK
from mfa_kit.core.stopping import sleep
from mfa_kit.posix.open_files import NO_LINK, check_unlocked, try_to_lock

# The name of the lock that a process holds while it migrates the ledger's file.
MIGRATION = "migration"
# Seconds between attempts to take a lock that another process holds.
LOOK_AGAIN = 0.05


class RunLocks:
    """The locks of runs in one folder, and which of these locks this process holds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}

    @property
    def held(self) -> tuple[str, ...]:
        """The IDs of the runs whose locks this process holds."""
        return tuple(self._held)

    def hold(self, run: str, *, wait: float, doing: str) -> None:
        """Take a run's lock.

        Raise IntegrityFault if the lock is not free within `wait` seconds. With `doing`, for example "is
        working on ARN", the message becomes "process 123 is working on ARN".
        """
        if run not in self._held:
            self._held[run] = self.wait_for(run, wait=wait, doing=doing)

    def try_to_hold(self, run: str) -> bool:
        """Try to take a run's lock without waiting.

        Return False if another process or this process already holds the lock.
        """
        if run in self._held:
            return False
        try:
            self._held[run] = self._take(run, wait=0)
        except BlockingIOError:
            return False
        return True

    def holder(self, name: str) -> tuple[str, float] | None:
        """Return the ID of the process that holds a lock, and when it took the lock, in Unix seconds.

        Return None if the lock is free.
        """
        try:
            lock = os.open(self._folder / name, os.O_RDONLY | NO_LINK)
        except FileNotFoundError:
            return None
        try:
            check_unlocked(lock)
        except BlockingIOError:
            return os.read(lock, 20).decode("ascii", "replace").strip(), os.fstat(lock).st_mtime
        finally:
            os.close(lock)
        return None

    def release(self, run: str) -> None:
        """Release a run's lock."""
        os.close(self._held.pop(run))

    def forget(self, run: str) -> None:
        """Remove the lock file of a finished run. The caller must then release the lock."""
        (self._folder / run).unlink()

    def _take(self, name: str, *, wait: float) -> int:
        """Take a lock, and write this process's ID into the lock's file.

        Raise BlockingIOError if the lock is not free within `wait` seconds.
        """
        # Check the name, because it can come from the ledger's file, and a file with this name is created and removed.
        if name != MIGRATION and not RUN.fullmatch(name) and not WORK.fullmatch(name):
            raise IntegrityFault(f"{name!r} is not a run ID", "report this")
        path, until = self._folder / name, time.monotonic() + wait
        while True:
            lock = os.open(path, os.O_CREAT | os.O_RDWR | NO_LINK, 0o600)
            try:
                try_to_lock(lock)
                # If another process removed the file before this process locked it, this lock has no effect: the next
                # process would create and lock a new file. So try again.
                with suppress(FileNotFoundError):
                    if os.fstat(lock).st_ino == path.stat().st_ino:
                        _sign(lock)
                        return lock
            except BlockingIOError:
                if time.monotonic() >= until:
                    os.close(lock)
                    raise
                sleep(LOOK_AGAIN)
            except BaseException:
                # Close the file on any exception, including Ctrl-C, because the caller has no reference to it yet.
                os.close(lock)
                raise
            os.close(lock)

    def wait_for(self, name: str, *, wait: float, doing: str) -> int:
        """Take a lock and return the descriptor of its file.

        Raise IntegrityFault if the lock is not free within `wait` seconds. With `doing`, for example "is
        working on ARN", the message becomes "process 123 is working on ARN".
        """
        try:
            return self._take(name, wait=wait)
        except BlockingIOError:
            holder = ""
            with suppress(FileNotFoundError):
                holder = (self._folder / name).read_text("ascii").strip()
            raise IntegrityFault(
                f"{f'process {holder}' if holder else 'another mfa-kit process'} {doing}",
                f"wait until it ends, or end it{f': kill {holder}' if holder else ''}; then run this again",
            ) from None


def _sign(lock: int) -> None:
    """Write this process's ID into the file of a lock. Ignore a failure, because the lock works without the ID."""
    with suppress(OSError):
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
