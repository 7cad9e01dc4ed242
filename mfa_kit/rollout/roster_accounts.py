"""Finds the accounts that the rows of a roster name, for a roster of one account. For several: chosen_accounts.py."""

import re
from typing import Protocol

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import ACCOUNT_ID

# What a spreadsheet makes of an ID that begins with a zero.
SHORT = re.compile(r"[1-9][0-9]{1,10}")


class RosterAccounts(Protocol):
    """Finds the accounts that the rows of a roster name."""

    def find(self, cell: str) -> str | None:
        """Return the ID of the account in a cell; None if the cell is empty and this is allowed.

        Raise UsageFault for any other text.
        """
        ...

    def key(self, account: str | None) -> str | None:
        """Return the part of a row's identity that is its account.

        Rows with the same key and user name are duplicates.
        """
        ...


class OneAccount:
    """A rollout of one account, whose ID is not known yet. Rows with the same user name are duplicates."""

    def find(self, cell: str) -> str | None:
        """Return the account ID in a cell; None if the cell is empty.

        Rows of other accounts are blocked later, in the plan.
        """
        if not cell:
            return None
        if not ACCOUNT_ID.fullmatch(cell):
            raise UsageFault(f"{cell[:80]!a} is not the ID of an account", f"write its 12 digits{lost_zeros(cell)}")
        return cell

    def key(self, _: str | None) -> str | None:
        """Return None, because all rows are for one account."""
        return None


def lost_zeros(cell: str) -> str:
    """Return the end of a hint for a number that is too short for an account ID, or "" for other text."""
    return ", with the leading zeros, which spreadsheets remove" if SHORT.fullmatch(cell) else ""
