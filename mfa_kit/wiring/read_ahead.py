"""Reads backups from buckets in threads, while the caller decrypts backups that are already read."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from mfa_kit.core.backup_location import BackupLocation, S3Url
from mfa_kit.core.stopping import await_result

THREADS = 16
# The number of backups for which reading starts at the same time, before the first of them is decrypted.
BATCH = 4 * THREADS


class ReadAhead:
    """Reads backups from buckets in threads, before the caller asks for their content with the method `read`.

    Backups on this computer are read when the caller asks for them. The argument `read` is a function that returns the
    encrypted content of a backup.
    """

    def __init__(self, read: Callable[[BackupLocation], bytes]) -> None:
        self._read = read
        self._reading: dict[BackupLocation, Future[bytes]] = {}

    def prefetch(self, files: Iterable[BackupLocation]) -> Iterator[BackupLocation]:
        """Yield `files` unchanged. Before each batch of BATCH files, start to read its files that are in buckets."""
        remaining_files = iter(files)
        with ThreadPoolExecutor(THREADS, thread_name_prefix="read") as pool:
            while batch := list(islice(remaining_files, BATCH)):
                self._reading = {place: pool.submit(self._read, place) for place in batch if isinstance(place, S3Url)}
                yield from batch

    def read(self, place: BackupLocation) -> bytes:
        """Return the encrypted content of a backup. Raise IntegrityFault if it could not be read."""
        early = self._reading.pop(place, None)
        return await_result(early) if early else self._read(place)
