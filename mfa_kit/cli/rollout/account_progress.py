"""Messages about one account, for a rollout in several accounts.

Each message begins with the label of its account. The option --account is added to each command that a message
suggests, except to the commands in OF_ALL.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from mfa_kit.cli.status_line import Redrawable
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.organization.wording import in_account

# Commands that get no --account, because they work on the index of all accounts, or on the ledger.
OF_ALL = ("mfa-kit rollout apply", "mfa-kit rollout status", "mfa-kit rollout work", "mfa-kit ledger ")


def account_words(text: str, account: str) -> str:
    """Return a message with --account added to its commands, except to those in OF_ALL.

    A message can have several parts, separated by semicolons. Each part is changed separately.
    """
    named = f"--account {account}"
    return "; ".join(
        part if named in part or any(command in part for command in OF_ALL) else in_account(part, account)
        for part in text.split("; ")
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountProgress(Redrawable):
    """Prints the messages of one account. Each line begins with `label`, the account's label. `id` is its ID.

    Lines about other accounts can appear between the lines of this account.
    """

    progress: LiveProgress
    id: str
    label: str

    def note(self, text: str) -> None:
        """Print a line. With --quiet, print nothing."""
        self.progress.note(self._line(text))

    def alert(self, text: str) -> None:
        """Print a line even with --quiet."""
        self.progress.alert(self._line(text))

    def showing(self, _: str | Callable[[], str]) -> AbstractContextManager[None]:
        """Show nothing, because the status line is about all accounts."""
        return nullcontext()

    def refresh(self) -> bool:
        """Draw the status line of all accounts now. Return whether there is a status line."""
        return isinstance(self.progress, Redrawable) and self.progress.refresh()

    def _line(self, text: str) -> str:
        return f"{self.label}: {account_words(text, self.id)}"
