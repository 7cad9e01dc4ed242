"""The accounts that the rows of a roster name: any ID in a rollout of one account, else one of the chosen accounts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mfa_kit.core.errors import UsageFault
from mfa_kit.organization.accounts import ACCOUNT_ID, OrgAccount

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
            raise UsageFault(f"{cell[:80]!a} is not the ID of an account", f"write its 12 digits{_lost_zeros(cell)}")
        return cell

    def key(self, _: str | None) -> str | None:
        """Return None: all rows are for one account."""
        return None


@dataclass(frozen=True, slots=True)
class ChosenAccounts:
    """The accounts that --accounts or --org chose, and the selected ones that cannot be used now."""

    chosen: Sequence[OrgAccount]
    skipped: Sequence[OrgAccount] = ()

    def find(self, cell: str) -> str:
        """Return the ID of the chosen account with this ID or name; of the only one if the cell is empty."""
        if not cell:
            if len(self.chosen) == 1:
                return self.chosen[0].id
            raise UsageFault("the cell is empty", "write the ID or the name of an account")
        found = [account for account in self.chosen if account.is_called(cell)]
        if len(found) == 1:
            return found[0].id
        if found:
            raise UsageFault(f"{len(found)} accounts are named {cell[:80]!a}", "write the ID instead")
        for account in self.skipped:
            if account.is_called(cell):
                raise UsageFault(f"account {account.label} is {account.state}", "remove the row")
        raise UsageFault(
            f"{cell[:80]!a} is not one of the chosen accounts", f"check the ID or the name{_lost_zeros(cell)}"
        )

    def key(self, account: str | None) -> str | None:
        """Return the account: users of different accounts may have the same name."""
        return account


def _lost_zeros(cell: str) -> str:
    """Return a hint for digits that are too few for an ID."""
    return ", with the leading zeros, which spreadsheets remove" if SHORT.fullmatch(cell) else ""
