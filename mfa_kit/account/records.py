"""What IAM reports about an account: its users, groups and roles, their credentials, and the password policy.

None of these values is a secret.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """An access key of a user or of root, as the credential report describes it. The report does not have the key's ID.

    `rotated` is when it was created or last changed, and `used` when it was last used, in Unix seconds; None if unknown
    or never. `region` and `service` are those of the last use.
    """

    active: bool
    rotated: float | None = None
    used: float | None = None
    region: str | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The credentials of one user or of root, as a row of the credential report. Times are Unix seconds.

    mfa-kit adds rows for users whom IAM's report lacks. `password` says whether there is a console password. `mfa` says
    whether there is an MFA device. It is None in an added row, because only IAM's report shows it. `password_used` is
    None if the password was never used, or if the time of its last use is unknown.
    """

    arn: str
    created: float
    password: bool
    password_used: float | None = None
    password_changed: float | None = None
    password_expires: float | None = None
    mfa: bool | None = None
    keys: tuple[AccessKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialReport:
    """The credential report: the row of root, and the rows of users by name. IAM generated it at `made` (Unix seconds).

    `root` is None in GovCloud, where the report has no row for root.
    """

    made: float
    root: Credentials | None = None
    users: Mapping[str, Credentials] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """An IAM user, group or role.

    `inline` has the texts of its inline policies by name, and `attached` the ARNs of its attached policies. `groups`
    has the names of a user's groups. `boundary` is the ARN of the permissions boundary, and `trust` the text of a
    role's trust policy. `tags` has the values of the tags of a user or role by name. `created` is in Unix seconds.
    """

    name: str
    arn: str
    created: float | None = None
    inline: Mapping[str, str] = field(default_factory=dict)
    attached: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    boundary: str | None = None
    trust: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """A page of iam:GetAccountAuthorizationDetails, or all of its pages together.

    `policies` has the texts of managed policies (their default versions) by ARN. `other_versions` has the texts of the
    other versions of these policies, also by ARN.
    """

    users: tuple[Entity, ...] = ()
    groups: tuple[Entity, ...] = ()
    roles: tuple[Entity, ...] = ()
    policies: Mapping[str, str] = field(default_factory=dict)
    other_versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCertificate:
    """A TLS certificate that IAM stores. `expires` is a Unix time, or None if IAM does not report it."""

    name: str
    arn: str
    expires: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountPasswordPolicy:
    """The account's password policy. `custom` is false if the account has none, and IAM's default applies.

    The default requires 8 characters of at least three kinds: uppercase letters, lowercase letters, numbers and
    symbols. `length` is the minimum length. `upper`, `lower`, `numbers` and `symbols` say which kinds are required.
    `max_age` is in days, and 0 means no limit. `reuse` is the number of earlier passwords that users cannot choose
    again. `may_change` says whether users may change their own password, and `hard_expiry` whether only an
    administrator can replace an expired password.
    """

    length: int = 8
    upper: bool = False
    lower: bool = False
    numbers: bool = False
    symbols: bool = False
    max_age: int = 0
    reuse: int = 0
    may_change: bool = False
    hard_expiry: bool = False
    custom: bool = True
