"""Locks on files: one for each run, held for as long as the run's process lives, however that ends."""

import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import RUN

# The lock of who brings the ledger's file up to date.
MIGRATION = "migration"
# Seconds between two looks at a lock that somebody holds.
LOOK_AGAIN = 0.05


class RunLocks:
    """The locks of one folder, and those among them that this process holds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}

    @property
    def held(self) -> tuple[str, ...]:
        """The runs whose locks this process holds."""
        return tuple(self._held)

    def hold(self, run: str, *, wait: float, doing: str) -> None:
        """Hold a run's lock. Raise IntegrityFault, with who holds it, when it does not come free in so many seconds."""
        if run not in self._held:
            self._held[run] = self.wait_for(run, wait=wait, doing=doing)

    def try_to_hold(self, run: str) -> bool:
        """Hold the lock of a run that is not ours, unless its process lives, or we hold it already."""
        if run in self._held:
            return False
        try:
            self._held[run] = self._take(run, wait=0)
        except BlockingIOError:
            return False
        return True

    def release(self, run: str) -> None:
        """Let a run's lock go."""
        os.close(self._held.pop(run))

    def forget(self, run: str) -> None:
        """Remove the file of a lock that nobody will ask for again; it is let go afterwards."""
        (self._folder / run).unlink()

    def _take(self, name: str, *, wait: float) -> int:
        """Take a lock, and write our process id into its file. Raise BlockingIOError after so many seconds."""
        if name != MIGRATION and not RUN.fullmatch(name):  # it becomes the name of a file, which is removed one day
            raise IntegrityFault(f"{name!r} is no run id", "report this")
        path, until = self._folder / name, time.monotonic() + wait
        while True:
            lock = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Where its file was removed in between, whoever comes next would not meet this lock.
                with suppress(FileNotFoundError):
                    if os.fstat(lock).st_ino == path.stat().st_ino:
                        _sign(lock)
                        return lock
            except BlockingIOError:
                if time.monotonic() >= until:
                    os.close(lock)
                    raise
                time.sleep(LOOK_AGAIN)
            except BaseException:  # whatever it was, also Ctrl-C: nobody else knows this file to close it
                os.close(lock)
                raise
            os.close(lock)

    def wait_for(self, name: str, *, wait: float, doing: str) -> int:
        """Take a lock: an open file. Raise IntegrityFault, with its holder, when it stays held for `wait` seconds."""
        try:
            return self._take(name, wait=wait)
        except BlockingIOError:
            holder = ""
            with suppress(FileNotFoundError):
                holder = (self._folder / name).read_text("ascii").strip()
            raise IntegrityFault(
                f"process {holder or 'of another mfa-kit'} {doing}",
                f"let it come to its end, or end it{f': kill {holder}' if holder else ''}; then run this again",
            ) from None


def _sign(lock: int) -> None:
    """Tell in a lock's file who holds it; that it cannot be written is no reason not to hold it."""
    with suppress(OSError):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
