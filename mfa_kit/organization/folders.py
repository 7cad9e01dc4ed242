"""The port (Protocol) through which an audit of many accounts writes its results, and reads those of an earlier run."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from mfa_kit.account.snapshot import Snapshot


class AccountFolders(Protocol):
    """The folder with the results of a command that works in many accounts. It has a subfolder for each account."""

    def write(self, account: str, files: Mapping[str, str]) -> None:
        """Write the subfolder of the account with this ID. `files` maps file names to their texts.

        An earlier subfolder of the account is replaced. If the new subfolder cannot be written, the earlier subfolder
        is kept, and IntegrityFault is raised.
        """
        ...

    def write_file(self, name: str, text: str) -> None:
        """Write a file about all accounts, and replace an earlier file of this name.

        Raise IntegrityFault if the file cannot be written.
        """
        ...

    def begin(self, at: float, options: Mapping[str, Sequence[str]]) -> None:
        """Record the start of a run that reads every account. `at` is the start time in Unix seconds by AWS's clock.

        `options` maps the names of command-line options to their values. A command that continues this run must have
        the same options.
        """
        ...

    def began(self, options: Mapping[str, Sequence[str]]) -> float | None:
        """Return the start time, in Unix seconds, of the earlier run that this command can continue.

        Return None if no earlier run is recorded. Raise UsageFault if the options of that run differ from `options`.
        """
        ...

    def snapshot(self, account: str) -> Snapshot | None:
        """Return the snapshot that an earlier run took of the account with this ID.

        Return None if there is no snapshot, or if it is damaged or incomplete.
        """
        ...
