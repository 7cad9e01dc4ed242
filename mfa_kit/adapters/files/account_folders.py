"""Writes the results of a command to a folder with one subfolder per account.

A subfolder appears complete or not at all.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from mfa_kit.account.snapshot import Snapshot
from mfa_kit.adapters.files.snapshots import read_snapshot
from mfa_kit.core.errors import IntegrityFault, MfaKitError, UsageFault
from mfa_kit.disk.folders import make_folder, open_folder
from mfa_kit.disk.whole_files import create_file, replace_file

SNAPSHOT_FILE = "snapshot.json"
# A folder that is being written, or that was being replaced when its process was killed.
LEFT = re.compile(r"\.\d{12}\.(partial|old)", re.ASCII)


class AccountFolders:
    """The folder for a command's results, which contains one subfolder per account. Folders are 0700 and files 0600."""

    def __init__(self, base: Path) -> None:
        """Use an existing folder. Call `account_folders` to open it for this process alone."""
        self.base = base

    def write(self, account: str, files: Mapping[str, str]) -> None:
        """Write an account's subfolder, replacing an earlier one. `files` maps file names to their texts.

        Raise IntegrityFault if it cannot be written. The earlier subfolder then remains.
        """
        new, old, place = (self.base / name for name in (f".{account}.partial", f".{account}.old", account))
        with _writing(place):
            try:
                with make_folder(new) as folder:
                    for name, text in files.items():
                        create_file(folder, name, text.encode())
                with suppress(FileNotFoundError):
                    place.rename(old)
                new.rename(place)
                with open_folder(self.base) as folder:
                    os.fsync(folder)
            finally:
                for left in (new, old):
                    shutil.rmtree(left, ignore_errors=True)

    def write_file(self, name: str, text: str) -> None:
        """Write a file that covers all accounts, replacing an earlier one.

        Raise IntegrityFault if it cannot be written.
        """
        with _writing(self.base / name), open_folder(self.base) as folder:
            replace_file(folder, name, text.encode())

    def snapshot(self, account: str) -> Snapshot | None:
        """Return the snapshot of an account that an earlier run wrote, or None if there is no complete one."""
        file = self.base / account / SNAPSHOT_FILE
        if not file.is_file():
            return None
        try:
            found = read_snapshot(file)
        except MfaKitError:  # damaged or from another version, so the caller reads the account again
            return None
        return None if found.holes or found.account != account else found


@contextmanager
def account_folders(base: Path) -> Iterator[AccountFolders]:
    """Create or open the folder for this process alone, and remove what a killed process left incomplete.

    Raise UsageFault if it cannot be used, or if another process is using it.
    """
    place = base.resolve()
    try:
        with make_folder(place) as opened:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in [each for each in place.iterdir() if LEFT.fullmatch(each.name)]:
                shutil.rmtree(left)
            yield AccountFolders(place)
    except BlockingIOError:
        raise UsageFault(
            f"another process is writing to {base}", "wait until it ends, or name another folder"
        ) from None
    except OSError as error:
        raise UsageFault(
            f"the folder {base} cannot be used: {error.strerror}", "name a folder that you can write to"
        ) from None


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise IntegrityFault(
            f"{place} cannot be written: {error.strerror}", "check the free space, then run this again with --resume"
        ) from None
