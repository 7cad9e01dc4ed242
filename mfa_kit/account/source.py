"""How the account around the devices is read."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from mfa_kit.account.evaluator import Context, Verdict
from mfa_kit.account.snapshot import CredentialReport, Credentials, Details, Entity, PasswordPolicy
from mfa_kit.core.models import Device


class AccountSource(Protocol):
    """Reads the account around the devices, as harmlessly as Inventory. An iterator raises at the page that fails."""

    def report(self, *, max_age: float) -> CredentialReport:
        """Return the credential report; IAM is asked for a new one when it is older than so many seconds."""
        ...

    def credentials(self, user: Entity) -> Credentials:
        """Return what the report does not have yet of a user: password and keys, without their use."""
        ...

    def summary(self) -> Mapping[str, int]: ...

    def details(self) -> Iterator[Details]:
        """Yield users, groups, roles and their policies by pages."""
        ...

    def virtual(self) -> Iterator[Device]:
        """Yield every virtual device, root's with ROOT for its user."""
        ...

    def own_devices(self) -> list[Device]:
        """Return the caller's own devices: the only way to those of root, with a session of root's."""
        ...

    def certifications(self, key: Device) -> tuple[str, ...]:
        """Return what a security key is certified for, such as `FIDO L1`."""
        ...

    def password_policy(self) -> PasswordPolicy: ...

    def must_change(self, user: str) -> bool:
        """Whether a user has to choose a new password when he signs in."""
        ...

    def simulated(self, documents: Sequence[str], actions: Sequence[str], context: Context) -> dict[str, Verdict]:
        """Let IAM judge policies that nobody has yet (SimulateCustomPolicy). Raise AccessDenied, AwsFault."""
        ...
