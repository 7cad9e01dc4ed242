"""The work of a rollout in one of several accounts, and its results so far."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.rollout.account_progress import account_words
from mfa_kit.cli.rollout.tally import Tally
from mfa_kit.core.errors import MfaKitError
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.rollout.outcomes import RowResult


@dataclass(slots=True, kw_only=True)
class AccountWork:
    """The work in one account, and its results so far.

    `total` is the number of the account's users or devices to process. If no work is attempted in the account,
    `why` is the reason. `tally` is None until the account is open. `by_others` are the results that other workers
    recorded. `error` is the error that ended the work early. `run` is the ID of the run, and `results` the folder of
    the results; only `rollout apply` and `rollout work` set these two.
    """

    account: OrgAccount
    total: int
    why: str = ""
    tally: Tally | None = None
    by_others: Sequence[RowResult] = ()
    error: MfaKitError | None = None
    run: str | None = None
    results: Path | None = None

    @property
    def cells(self) -> ResultRow:
        """The cells with which each row of this account begins."""
        return {"account": self.account.id, "account_name": self.account.name or None}

    @property
    def found(self) -> Sequence[RowResult]:
        """The results of the users so far."""
        return self.tally.results if self.tally else self.by_others

    @property
    def left(self) -> int:
        """The number of users without a result."""
        return self.total - len(self.found)

    def in_words(self, text: str) -> str:
        """Return a message with --account and this account's ID added to its commands, as `account_words` does."""
        return account_words(text, self.account.id)
