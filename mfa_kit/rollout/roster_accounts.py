"""The accounts that the rows of a roster name, and a roster of one account. chosen_accounts.py is for several."""

import re
from typing import Protocol

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import ACCOUNT_ID

# What a spreadsheet makes of an ID that begins with a zero.
SHORT = re.compile(r"[1-9][0-9]{1,10}")


class RosterAccounts(Protocol):
    """The accounts of a roster."""

    def find(self, cell: str) -> str | None:
        """Return the ID of the account in a cell; None if the cell is empty and this is allowed.

        Raise UsageFault for any other text.
        """
        ...

    def key(self, account: str | None) -> str | None:
        """Return the part of a user's identity that is their account. Two rows of the same user are a fault."""
        ...


class OneAccount:
    """A rollout of one account, whose ID is not known yet. Each name is one user."""

    def find(self, cell: str) -> str | None:
        """Return the ID in a cell. The plan blocks the rows of other accounts."""
        if not cell:
            return None
        if not ACCOUNT_ID.fullmatch(cell):
            raise UsageFault(f"{cell[:80]!a} is not the ID of an account", f"write its 12 digits{lost_zeros(cell)}")
        return cell

    def key(self, _: str | None) -> str | None:
        """Return None: all rows are for one account."""
        return None


def lost_zeros(cell: str) -> str:
    """Return a hint for digits that are too few for an ID."""
    return ", with the leading zeros, which spreadsheets remove" if SHORT.fullmatch(cell) else ""
