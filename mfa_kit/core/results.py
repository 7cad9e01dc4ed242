"""The results that commands print as JSON, and that `mfa_kit.api` returns.

The fields are those of the schemas in docs/formats.md, which says what they mean. Times are ISO 8601 in UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

# The value of a cell. Nested values are for JSON. None means that the cell is empty.
Cell: TypeAlias = "str | float | Sequence[Cell] | Mapping[str, Cell] | None"
ResultRow: TypeAlias = "Mapping[str, Cell]"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolledUser:
    """The new device of a user, in the schema mfa-kit/enroll. `outcome` is `enrolled`."""

    outcome: str
    user: str
    device: str
    kind: str
    hardware: str | None
    backup: str | None
    run: str
    listed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedUser:
    """A user who has a device already, in the schema mfa-kit/enroll. `outcome` is `skipped`."""

    outcome: str
    user: str
    reason: str
    devices: tuple[str, ...]
    backups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedDevice:
    """A new device in place of an old one, in the schema mfa-kit/replace. `outcome` is `replaced`.

    `end_sessions` has commands if the old device was lost.
    """

    outcome: str
    user: str
    device: str
    kind: str
    revoked: str | None
    backup: str | None
    run: str
    listed: bool
    end_sessions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedDevice:
    """A removed device, in the schema mfa-kit/revoke. `outcome` is `revoked`.

    `end_sessions` has commands if the device was lost.
    """

    outcome: str
    user: str
    device: str
    backup: str | None
    end_sessions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDevice:
    """A device of a user, or a user without a device, in the schema mfa-kit/status.

    `computer` and `drilled_on` are None if the ledger is not shared.
    """

    user: str
    kind: str
    device: str | None
    since: str | None
    last_used: str | None
    last_used_at: str | None
    no_use_since: str | None
    use_from_files: bool | None
    uses_read: str | None
    made: str | None
    backup: str | None
    drilled: str | None
    drill_due: bool | None
    certifications: tuple[str, ...] | None
    key: str | None
    key_serial: str | None
    key_model: str | None
    key_firmware: str | None
    key_aaguid: str | None
    key_certifications: tuple[str, ...] | None
    key_certificate: str | None
    key_card: str | None
    key_label: str | None
    key_attested: tuple[str, ...] | None
    key_erased: bool | None
    computer: str | None = None
    drilled_on: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupCheck:
    """The result of decrypting a backup, in the schema mfa-kit/backup-verify."""

    file: str
    opens: bool
    label: str | None
    remarks: tuple[str, ...] | None
    fault: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserResult:
    """The result of one user of a plan, in the schema mfa-kit/rollout-apply."""

    user: str
    outcome: str
    cause: str | None
    reason: str | None
    device: str | None
    backup: str | None
    user_backup: str | None
    admin_backup: str | None
    run: str | None
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceChange:
    """The names of a user's devices before a plan, and after its end."""

    user: str
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary:
    """A plan for one account, in the schema mfa-kit/rollout-plan-summary. `plan` is the path of its file."""

    plan: str
    sha256: str
    account: str
    enroll: int
    bench: int
    self: int
    staged: int
    skip: int
    blocked: int
    no_own_copy: tuple[str, ...]
    no_admin_backup: str | None
    keys_changed: tuple[str, ...] | None
    report_age_s: int | None
    api_calls: int
    estimated_s: int
    users: tuple[DeviceChange, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedFinding:
    """What a rule found about a subject, and the commands that fix it."""

    subject: str
    evidence: str
    remedy: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedAcceptance:
    """A finding that the baseline accepts."""

    subject: str
    evidence: str
    owner: str
    reason: str
    until: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedUnknown:
    """A subject that a rule could not evaluate."""

    subject: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleReport:
    """The result of one rule of an audit."""

    rule: str
    title: str
    severity: str
    references: tuple[str, ...]
    result: str
    why: str | None
    findings: tuple[ReportedFinding, ...]
    accepted: tuple[ReportedAcceptance, ...]
    unknown: tuple[ReportedUnknown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedHole:
    """A part of the account that could not be read."""

    part: str
    about: str | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """The audit of one account, in the schema mfa-kit/audit."""

    account: str
    caller: str
    at: str
    report_made: str | None
    holes: tuple[ReportedHole, ...]
    rules: tuple[RuleReport, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessAfterPolicy:
    """The access of one user if a policy were attached, in the schema mfa-kit/policy-lockout."""

    user: str
    way: str
    standing: str
    why: str
    first: str | None
    already: bool
