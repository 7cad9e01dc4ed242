"""Finds the account that a row of a roster names, for rollouts in the accounts that --accounts or --org chooses."""

from collections.abc import Sequence
from dataclasses import dataclass

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import ACCOUNT_ID
from mfa_kit.organization.accounts import OrgAccount, names_of, nearest
from mfa_kit.rollout.roster_files import lost_zeros


@dataclass(frozen=True, slots=True)
class ChosenAccounts:
    """The accounts that --accounts or --org chose.

    `chosen` are the accounts in which mfa-kit can work. `skipped` are accounts that were chosen, but that are not
    active. `others` are the accounts that were not chosen.
    """

    chosen: Sequence[OrgAccount]
    skipped: Sequence[OrgAccount] = ()
    others: Sequence[OrgAccount] = ()

    def find(self, cell: str) -> str:
        """Return the ID of the chosen account whose ID or name is in the cell.

        If the cell is empty and only one account is chosen, return the ID of that account. Raise UsageFault if the
        cell does not name exactly one chosen account.
        """
        if not cell:
            if len(self.chosen) == 1:
                return self.chosen[0].id
            raise UsageFault("the cell is empty", "write the ID or the name of an account")
        accounts = [account for account in self.chosen if account.is_called(cell)]
        if len(accounts) == 1:
            return accounts[0].id
        if accounts:
            raise UsageFault(f"{len(accounts)} accounts are named {cell[:80]!a}", "write the ID instead")
        raise self._not_chosen(cell)

    def _not_chosen(self, cell: str) -> UsageFault:
        """Return the error for a cell that names none of the accounts in which mfa-kit can work."""
        for account in self.skipped:
            if account.is_called(cell):
                return UsageFault(f"account {account.label} is {account.state}", "remove the row")
        # For a complete account ID, or the name of an account that was not chosen, do not suggest a similar account. A
        # person who followed the suggestion would enroll users in the wrong account.
        if ACCOUNT_ID.fullmatch(cell) or any(account.is_called(cell) for account in self.others):
            hint = "check the ID or the name, or choose this account too, for example with --include"
        else:
            hint = nearest(cell, names_of(self.chosen)) or f"check the ID or the name{lost_zeros(cell)}"
        return UsageFault(f"{cell[:80]!a} is not one of the chosen accounts", hint)

    def key(self, account: str | None) -> str | None:
        """Return `account`, because rows with the same user name in different accounts are not duplicates."""
        return account
