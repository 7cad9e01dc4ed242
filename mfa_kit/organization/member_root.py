"""What the caller's account can see of the root users in the other accounts of its organization."""

from collections.abc import Callable
from dataclasses import dataclass

from mfa_kit.account.snapshot import CentralRootAccess, OrganizationPlace, RootPosture, as_member
from mfa_kit.organization.accounts import OrgAccount


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationRoot:
    """What the caller's account can see of the root users of all accounts.

    `home` is the ID of the caller's account. `seen` is the state of centralized root access in the caller's account, or
    None if it could not be read. `read` returns which credentials the root user of the account with an ID has; it is
    None if root sessions (sts:AssumeRoot) are not possible.
    """

    home: str
    seen: CentralRootAccess | None = None
    read: Callable[[str], RootPosture] | None = None

    def central(self, account: OrgAccount, ask: Callable[[], CentralRootAccess]) -> CentralRootAccess:
        """Return what is known about centralized root access for an account.

        If the caller's account is the management account or a delegated administrator for IAM, the state that it sees
        applies to each account that Organizations listed (`account.state` is not None). An account from a file may be
        in another organization, so `ask` asks IAM with credentials of that account. Errors of `ask` are raised.
        """
        if self.seen is not None and account.id == self.home:
            return self.seen
        listed = account.state is not None
        if self.seen is not None and listed and self.seen.place is OrganizationPlace.ADMINISTRATOR:
            return as_member(self.seen)
        return ask()

    def can_read(self, account: str) -> bool:
        """Return whether root sessions are possible in the account with this ID."""
        return self.read is not None and account != self.home

    def posture(self, account: str) -> RootPosture | None:
        """Return which credentials an account's root user has, or None if root sessions are not possible there.

        mfa-kit needs no role in the account for this.
        """
        return self.read(account) if self.read is not None and self.can_read(account) else None
