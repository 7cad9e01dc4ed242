"""The accounts of an organization: their IDs, names and states, and the roles that mfa-kit assumes in them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mfa_kit.core.models import ACCOUNT_ID

# The name of a role, with or without a path before the name (IAM API reference, CreateRole), and the ARN of a role.
ROLE_NAME = re.compile(r"(?!arn:)(?:[!-.0-~]+/){0,100}[\w+=,.@-]{1,64}", re.ASCII)
ROLE_ARN = re.compile(rf"arn:(?P<partition>aws[a-z-]*):iam::(?P<account>\d{{12}}):role/{ROLE_NAME.pattern}", re.ASCII)
# An external ID and a source identity (botocore's model of STS, AssumeRole). AWS raised the limit of the latter from
# 64 to 256.
EXTERNAL_ID = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
SOURCE_IDENTITY = re.compile(r"[\w+=,.@-]{2,256}", re.ASCII)


class AccountState(StrEnum):
    """The state of an account (Organizations API reference, Account: State).

    UNKNOWN is not a state of AWS. It means that Organizations returned no state, or a state that mfa-kit does not know.
    """

    PENDING_ACTIVATION = "PENDING_ACTIVATION"
    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    PENDING_CLOSURE = "PENDING_CLOSURE"
    CLOSED = "CLOSED"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class OrgAccount:
    """An account in which a command works.

    `state` is None if the account comes from a file. `roles` are names or ARNs of roles that are assumed one after the
    other. The last role must be in this account; the others may be in any account. `profile` is an AWS profile that is
    used instead of a role. If there is neither a role nor a profile, the command's default role is assumed.
    `external_id` is sent with AssumeRole. `tags` are texts such as `env:prod`, and `variables` are values for other
    programs; both are in the format of c7n-org.
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
        """Whether commands may work in the account: its state is ACTIVE, or the account comes from a file."""
        return self.state in {None, AccountState.ACTIVE}

    def is_called(self, name: str) -> bool:
        """Return whether `name` is the account's ID or its name. A text of 12 digits is always an ID, never a name."""
        return name == self.id or (name == self.name and not ACCOUNT_ID.fullmatch(name))

    @property
    def label(self) -> str:
        """The account's name in messages: `NAME (ID)`, or only the ID if it has no name."""
        return f"{self.name} ({self.id})" if self.name else self.id
