"""The ports of the use cases for many accounts."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from mfa_kit.account.snapshot import Snapshot


class AccountFolders(Protocol):
    """The folder of a command's results, with a folder for each account."""

    def write(self, account: str, files: Mapping[str, str]) -> None:
        """Write the folder of an account, replacing an earlier folder. `files` maps file names to their texts.

        Raise IntegrityFault if the folder cannot be written; an earlier folder is then kept.
        """
        ...

    def write_file(self, name: str, text: str) -> None:
        """Write a file about all accounts, replacing an earlier file. Raise IntegrityFault if that fails."""
        ...

    def begin(self, at: float, options: Mapping[str, Sequence[str]]) -> None:
        """Record that a run begins, which reads every account. `at` is its time in Unix seconds by AWS's clock.

        `options` are the command-line options. A command that continues this run must have the same options.
        """
        ...

    def began(self, options: Mapping[str, Sequence[str]]) -> float | None:
        """Return when the earlier run began that this command can continue, in Unix seconds.

        Return None if there is no earlier run. Raise UsageFault if its options differ from `options`.
        """
        ...

    def snapshot(self, account: str) -> Snapshot | None:
        """Return the snapshot of an account if an earlier run read it completely; otherwise None."""
        ...
