"""The port through which the users, policies, credentials and devices of an account are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mfa_kit.account.evaluator import Decision, RequestContext
    from mfa_kit.account.snapshot import (
        AccountPasswordPolicy,
        CredentialReport,
        Credentials,
        Details,
        Entity,
        ServerCertificate,
    )
    from mfa_kit.core.models import Device


class AccountSource(Protocol):
    """Reads the parts of an account's snapshot. Nothing in the account is changed.

    Each method may raise MfaKitError. An iterator raises the error when it reaches a page that cannot be read.
    """

    def report(self, *, max_age: float) -> CredentialReport:
        """Return the credential report. If it is missing or older than `max_age` seconds, request a new report.

        Raise Outdated if there is only an older report.
        """
        ...

    def credentials(self, user: Entity) -> Credentials:
        """Return the current state of a user's password and access keys, without the times of last use.

        Raise NoSuchEntity if the user does not exist.
        """
        ...

    def summary(self) -> Mapping[str, int]:
        """Return the account summary (iam:GetAccountSummary): numbers by name, such as `AccountMFAEnabled`."""
        ...

    def details(self) -> Iterator[Details]:
        """Yield users, groups, roles and their policies, page by page."""
        ...

    def virtual(self) -> Iterator[Device]:
        """Yield every virtual device. `user` is None for an unassigned device, REPORTED_ROOT for a device of root."""
        ...

    def own_devices(self) -> list[Device]:
        """Return the caller's own devices, with REPORTED_ROOT as their user. The caller must be root."""
        ...

    def certifications(self, key: Device) -> tuple[str, ...]:
        """Return the certifications of a security key, such as `FIDO L1`."""
        ...

    def password_policy(self) -> AccountPasswordPolicy:
        """Return the password policy, or IAM's default if the account has none."""
        ...

    def certificates(self) -> Iterator[ServerCertificate]:
        """Yield the server certificates that IAM stores."""
        ...

    def sign_in_session(self, user: str) -> int:
        """Return the maximum duration of a user's sign-in session in seconds, or 0 if none is set for the user."""
        ...

    def must_change(self, user: str) -> bool:
        """Return whether a user has to choose a new password at the next sign-in."""
        ...

    def simulated(
        self, documents: Sequence[str], actions: Sequence[str], context: RequestContext
    ) -> dict[str, Decision]:
        """Return the decision of iam:SimulateCustomPolicy on each action. Raise AccessDenied or AwsFault on failure."""
        ...
