"""Finds the account that a row of a roster names. chosen_accounts.py does this for rollouts in several accounts."""

import re
from typing import Protocol

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import ACCOUNT_ID

# An account ID that has lost its leading zeros, because a spreadsheet took it for a number.
SHORT = re.compile(r"[1-9][0-9]{1,10}")


class RosterAccounts(Protocol):
    """Finds the accounts that the rows of a roster name."""

    def find(self, cell: str) -> str | None:
        """Return the ID of the account that a cell names; None for an empty cell in a rollout of one account.

        Raise UsageFault if the cell does not name an account of the rollout.
        """
        ...

    def key(self, account: str | None) -> str | None:
        """Return the account to compare when rows are checked for duplicates; None if only user names are compared.

        `account` is the account that the row names. Rows with the same result and the same user name are duplicates.
        """
        ...


class OneAccount:
    """Finds the account that a row names, in a rollout of one account.

    Only the form of the account ID is checked, because the ID of the caller's account is not known yet when the roster
    is parsed. When the plan is made, rows that name another account are blocked.
    """

    def find(self, cell: str) -> str | None:
        """Return the account ID in a cell; None if the cell is empty. Raise UsageFault for any other text."""
        if not cell:
            return None
        if not ACCOUNT_ID.fullmatch(cell):
            raise UsageFault(
                f"{cell[:80]!a} is not the ID of an account", f"write the account's 12 digits{lost_zeros(cell)}"
            )
        return cell

    def key(self, _: str | None) -> str | None:
        """Return None: all rows are for one account, so rows with the same user name are duplicates."""
        return None


def lost_zeros(cell: str) -> str:
    """Return the end of a hint about leading zeros if the cell is a number that is too short for an account ID.

    Return "" for any other text.
    """
    return ", with the leading zeros, which spreadsheets remove" if SHORT.fullmatch(cell) else ""
