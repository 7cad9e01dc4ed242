"""The lines of the table of `mfa-kit doctor`, and the facts that they are about."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """The result of a check. The value is the word that the table shows.

    NOTED is for facts that are neither good nor bad. UNKNOWN is for something that could not be checked. If any result
    is BAD, `doctor` exits with 1.
    """

    GOOD = "ok"
    NOTED = "-"
    UNKNOWN = "unknown"
    BAD = "wrong"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One line of the table of `mfa-kit doctor`: `what` was checked, what was `found`, and a hint on how to fix it."""

    what: str
    health: Health
    found: str
    hint: str = ""


def good(what: str, found: str) -> Diagnosis:
    """Return a line for something that is as it should be."""
    return Diagnosis(what, Health.GOOD, found)


def noted(what: str, found: str, hint: str = "") -> Diagnosis:
    """Return a line for a fact that is neither good nor bad."""
    return Diagnosis(what, Health.NOTED, found, hint)


def bad(what: str, found: str, hint: str) -> Diagnosis:
    """Return a line for a fault, with a hint on how to fix it."""
    return Diagnosis(what, Health.BAD, found, hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """The facts about the file or folder at `path`.

    `fault` is the reason why it cannot be examined, or "". `mode` is its permissions, or None if it does not exist.
    `owner` and `group` are the IDs of its user and group.
    """

    path: str
    fault: str = ""
    mode: int | None = None
    owner: int = -1
    group: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerConditions:
    """The conditions under which a session uses a ledger in PostgreSQL.

    `owner` says whether the role owns the ledger, `may_write` whether the role may record runs, and `any_lock` whether
    the role may take any lock, including those of other teams. `settings` has the values of the server's settings in
    this session, by name, and `required` has those that mfa-kit asks for. Timeouts are in milliseconds, and times of
    keepalives in seconds. `socket` says whether the session uses a Unix socket. `ahead` is how many seconds the
    server's clock is ahead of this computer's clock, and `accuracy` is the largest possible error of `ahead`, in
    seconds.
    """

    owner: bool
    may_write: bool
    any_lock: bool
    settings: Mapping[str, str]
    required: Mapping[str, str]
    socket: bool
    ahead: float
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalLedgerState:
    """The state of a ledger in a file. `address` is its path, and `now` this computer's Unix time.

    The other fields are as in LedgerState.
    """

    address: str
    now: float
    unfinished: int
    oldest_unfinished_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerState:
    """The state of a ledger in PostgreSQL, as the role of the session sees it.

    `sees_all` says whether the role is exempt from row level security, and so sees the rows of all teams. `now` is the
    server's Unix time. `unfinished` is the number of unfinished journal entries, and `oldest_unfinished_s` the seconds
    since the oldest of them advanced (None without one). `sessions` is the number of sessions of mfa-kit with this
    database. `grace` is how many seconds a run stays reserved for its process after a restart of the server, or None if
    the role may not read this setting.
    """

    address: str
    server: str
    schema_version: int
    role: str
    team: str
    auditor: bool
    sees_all: bool
    tls: bool
    now: float
    unfinished: int
    sessions: int
    grace: float | None
    oldest_unfinished_s: int | None


# The mode of a lock that nobody can remove before it ends.
COMPLIANCE = "COMPLIANCE"


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketState:
    """The properties of a bucket. A property is None if it could not be read, usually for lack of a permission.

    `blocked` says whether all four settings of Block Public Access are on. `public` says whether everyone has access
    through the policy or the ACL. `versioning` says whether versioning is enabled. `lock` is the mode of the default
    retention, with which S3 locks new objects, or "" if there is no default retention.
    """

    blocked: bool | None
    public: bool | None
    versioning: bool | None
    lock: str | None


@dataclass(frozen=True, slots=True)
class RuleState:
    """The state of the udev rule: its path ("" if it is not installed), the members of its group, and the keys.

    `current` says whether the installed rule is that of this version of mfa-kit. `members` is None if the group does
    not exist. `keys` has the device nodes of the connected keys to which the rule gave its group and mode. `other_keys`
    has those of the other connected keys.
    """

    rule: str
    current: bool
    members: list[str] | None
    keys: list[str]
    other_keys: list[str]

    @property
    def works(self) -> bool:
        """Whether the installed rule is current and was applied to all connected keys, and its group exists."""
        return self.current and self.members is not None and not self.other_keys
