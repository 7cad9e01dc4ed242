"""The accounts of an organization: their IDs, names and states, and the roles that mfa-kit assumes in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class AccountState(StrEnum):
    """The state of an account (Organizations API reference, Account: State)."""

    PENDING_ACTIVATION = "PENDING_ACTIVATION"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    PENDING_CLOSURE = "PENDING_CLOSURE"
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgAccount:
    """An account that a command is to work in.

    `state` is None if Organizations was not asked. `roles` are names or ARNs of roles that are assumed one after the
    other, where only the last must be in this account; if empty, the command's default role is assumed. `profile` is
    the AWS profile that is used instead of a role. `tags` are texts such as `env:prod`, and `variables` are values that
    mfa-kit only carries along, both as in the file format of c7n-org.
    """

    id: str
    name: str = ""
    state: AccountState | None = None
    email: str | None = None
    roles: tuple[str, ...] = ()
    profile: str | None = None
    external_id: str | None = None
    tags: tuple[str, ...] = ()
    variables: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Whether calls to the account can succeed, as far as is known."""
        return self.state in {None, AccountState.ACTIVE}

    @property
    def label(self) -> str:
        """The account for messages: `NAME (ID)`, or the ID if it has no name."""
        return f"{self.name} ({self.id})" if self.name else self.id
