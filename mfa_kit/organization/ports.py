"""What the use cases for many accounts need from outside."""

from collections.abc import Mapping
from typing import Protocol

from mfa_kit.account.snapshot import Snapshot


class AccountFolders(Protocol):
    """The folder of a command's results, with a folder for each account."""

    def write(self, account: str, files: Mapping[str, str]) -> None:
        """Write the folder of an account with these texts by file name, in place of an earlier one.

        Raise IntegrityFault if it cannot be written; then an earlier one is still there.
        """
        ...

    def write_file(self, name: str, text: str) -> None:
        """Write a file about all accounts, in place of an earlier one. Raise IntegrityFault if that fails."""
        ...

    def begin(self, at: float) -> None:
        """Record that a run begins that reads every account. `at` is its time in Unix seconds by AWS's clock."""
        ...

    def began(self) -> float | None:
        """Return when the run began that the next one may continue, in Unix seconds; None without one."""
        ...

    def snapshot(self, account: str) -> Snapshot | None:
        """Return the snapshot of an account if an earlier run read it completely; otherwise None."""
        ...
