"""Reads what the caller's account can see of the root users in the other accounts of its organization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mfa_kit.account.snapshot import CentralRootAccess, OrganizationPlace, RootPosture, as_member
from mfa_kit.adapters.aws.reads import read
from mfa_kit.adapters.aws.refusals import our_errors
from mfa_kit.core.errors import MfaKitError
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.slots import leaving_place

if TYPE_CHECKING:
    from collections.abc import Callable

    from mfa_kit.adapters.aws.iam import Iam
    from mfa_kit.adapters.aws.member_sessions import MemberRootReader, MemberSessions
    from mfa_kit.adapters.aws.reads import Ask

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationRoot:
    """What the caller's account can see of the root users of all accounts.

    `home` is the ID of the caller's account. `ask` reads the state of centralized root access from an account's IAM.
    `seen` is this state for the caller's account, or None if it could not be read. `reader` reads an account's root
    user in a session of sts:AssumeRoot; it is None if such root sessions are not possible.
    """

    home: str
    ask: Callable[[Ask], CentralRootAccess]
    seen: CentralRootAccess | None
    reader: MemberRootReader | None

    def central(self, account: OrgAccount, iam: Iam) -> CentralRootAccess:
        """Return what is known about centralized root access for an account.

        If the caller's account is the management account or a delegated administrator for IAM, the state that it sees
        applies to each account that Organizations listed (`account.state` is not None). An account from a file may be
        in another organization, so IAM is asked with credentials of that account.

        Raise AccessDenied or another AwsFault if IAM refuses this request.
        """
        if self.seen is not None and account.id == self.home:
            return self.seen
        listed = account.state is not None
        if self.seen is not None and listed and self.seen.place is OrganizationPlace.ADMINISTRATOR:
            return as_member(self.seen)
        return self.ask(iam.ask)

    def can_read(self, account: str) -> bool:
        """Return whether root sessions are possible in the account with this ID."""
        return self.reader is not None and account != self.home

    def posture(self, account: str) -> RootPosture | None:
        """Return which credentials an account's root user has, or None if root sessions are not possible there.

        mfa-kit needs no role in the account for this.
        """
        return self.reader.posture(account) if self.reader is not None and self.can_read(account) else None


def open_organization_root(home: str, iam: Iam, sessions: MemberSessions) -> OrganizationRoot:
    """Ask IAM whether the organization manages root access centrally, and return the OrganizationRoot.

    `home` is the ID of the caller's account, and `iam` its IAM client. `sessions` opens root sessions. If the request
    fails, `seen` and `reader` of the result are None.
    """
    from mfa_kit.adapters.aws import member_sessions

    ask = member_sessions.read_central_root_access
    try:
        root_access = ask(iam.ask)
    except MfaKitError:
        return OrganizationRoot(home=home, ask=ask, seen=None, reader=None)

    def attempt(act: Callable[[], T]) -> T:
        def once() -> T:
            with our_errors():
                return act()

        return read(once, sleep=leaving_place(sessions.stop.sleep))

    reader = member_sessions.MemberRootReader(sessions, attempts=attempt)
    return OrganizationRoot(
        home=home, ask=ask, seen=root_access, reader=reader if root_access.manages_credentials else None
    )
