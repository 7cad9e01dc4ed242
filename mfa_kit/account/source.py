"""How the account around the devices is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mfa_kit.account.evaluator import Decision, RequestContext
    from mfa_kit.account.snapshot import AccountPasswordPolicy, CredentialReport, Credentials, Details, Entity
    from mfa_kit.core.models import Device


class AccountSource(Protocol):
    """Reads the account around the devices, and writes nothing. An iterator raises at the page that fails."""

    def report(self, *, max_age: float) -> CredentialReport:
        """Return the credential report; IAM is asked for a new one when it is older than so many seconds."""
        ...

    def credentials(self, user: Entity) -> Credentials:
        """Return the password and the keys of a user as they are now, without when they were used."""
        ...

    def summary(self) -> Mapping[str, int]:
        """Return the numbers of the account summary by their names, such as `AccountMFAEnabled`."""
        ...

    def details(self) -> Iterator[Details]:
        """Yield users, groups, roles and their policies by pages."""
        ...

    def virtual(self) -> Iterator[Device]:
        """Yield every virtual device, root's with ROOT for its user."""
        ...

    def own_devices(self) -> list[Device]:
        """Return the caller's own devices. Only a session of root lists those of root."""
        ...

    def certifications(self, key: Device) -> tuple[str, ...]:
        """Return what a security key is certified for, such as `FIDO L1`."""
        ...

    def password_policy(self) -> AccountPasswordPolicy:
        """Return the password policy, or that of IAM where the account has none."""
        ...

    def must_change(self, user: str) -> bool:
        """Return whether a user has to choose a new password at the next sign-in."""
        ...

    def simulated(
        self, documents: Sequence[str], actions: Sequence[str], context: RequestContext
    ) -> dict[str, Decision]:
        """Return what SimulateCustomPolicy decides on each action. Raise AccessDenied, AwsFault."""
        ...
