"""The snapshot of an account at one moment, and the records of IAM in it: users, groups, roles, policies, devices.

A snapshot contains no secret. `holes` lists the parts of the account that could not be read. What is known about root
comes from several parts, and from the organization if the account is a member.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum

from mfa_kit.core.firmware import DeviceRecall
from mfa_kit.core.models import REPORTED_ROOT, ROOTLESS, Device, DeviceType, DeviceUse, UseEvent
from mfa_kit.core.recovery_keys import RecoveryKeyUse

# The feature of centralized root access with which an organization removes the credentials of root users and prevents
# their recovery (IAM API reference, ListOrganizationsFeatures). The other feature, RootSessions, is for tasks in S3 and
# SQS, and is not needed here.
CREDENTIALS_MANAGEMENT = "RootCredentialsManagement"


class OrganizationPlace(StrEnum):
    """The role of an account in its organization, as far as the answer to ListOrganizationsFeatures shows it."""

    ALONE = "in no organization"
    MEMBER = "a member account"
    # One value for both, because IAM's response does not show which of the two the account is.
    ADMINISTRATOR = "the management account or an administrator of IAM"


# The default quota of users in an account. The quota of virtual devices is equal to it (IAM and STS quotas).
VIRTUAL_QUOTA = 5000


def virtual_quota(summary: Mapping[str, int]) -> int:
    """Return the quota of virtual devices in an account, from its summary (iam:GetAccountSummary: numbers by name)."""
    return summary.get("UsersQuota", VIRTUAL_QUOTA)


@dataclass(frozen=True, slots=True, kw_only=True)
class CentralRootAccess:
    """The state of centralized root access in the account's organization (iam:ListOrganizationsFeatures).

    `place` is the role of the account in the organization. `features` has the AWS names of the enabled features, or is
    None if the account may not list them. `obstacle` says why no feature can be enabled yet, and `first` is the command
    that removes the obstacle; both are "" if there is no obstacle.
    """

    place: OrganizationPlace
    features: tuple[str, ...] | None = None
    obstacle: str = ""
    first: str = ""

    @property
    def manages_credentials(self) -> bool | None:
        """Whether the organization manages the credentials of its member accounts' root users; None if unknown."""
        return None if self.features is None else CREDENTIALS_MANAGEMENT in self.features


def as_member(access: CentralRootAccess | None) -> CentralRootAccess:
    """Return the state of centralized root access for a member account.

    `access` is the state that an administrator of the organization has read, or None if it could not be read. The
    enabled features apply to each member account.
    """
    return CentralRootAccess(place=OrganizationPlace.MEMBER, features=access.features if access else None)


class RootVerdict(StrEnum):
    """How well the root user of an account is protected, from best to worst. UNKNOWN never counts as a pass."""

    NO_CREDENTIALS = "no root credentials"
    SECURITY_KEY = "security key"
    HARDWARE_TOTP = "hardware TOTP"
    NOT_VIRTUAL = "MFA that is not virtual"
    VIRTUAL = "virtual MFA"
    CERTIFICATES = "signing certificates"
    NO_MFA = "password without MFA"
    ACCESS_KEYS = "access keys"
    UNKNOWN = "unknown"

    @property
    def rank(self) -> int:
        """The position of this verdict among all verdicts; 0 is the best."""
        return list(RootVerdict).index(self)


# The verdict for each type of MFA device, strongest first. As in the rule root.hardware, root's strongest device
# counts.
KINDS = {
    DeviceType.FIDO2: RootVerdict.SECURITY_KEY,
    DeviceType.HARDWARE_TOTP: RootVerdict.HARDWARE_TOTP,
    DeviceType.VIRTUAL: RootVerdict.VIRTUAL,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RootPosture:
    """The credentials of an account's root user. A fact that could not be read is None.

    `password`, `mfa`, `access_keys` and `certificates` say whether root has these (iam:GetAccountSummary). `devices`
    has all MFA devices of root, which only a session of root can list. `virtual` says whether root has a virtual
    device. Other sessions can see this too. `unread` has the reasons why facts are missing.
    """

    account: str
    password: bool | None = None
    mfa: bool | None = None
    access_keys: bool | None = None
    certificates: bool | None = None
    devices: tuple[Device, ...] | None = None
    virtual: bool | None = None
    unread: tuple[str, ...] = ()

    @property
    def verdict(self) -> RootVerdict:
        """The verdict on the worst credential that root is known to have.

        It is UNKNOWN if no access key, password without MFA or certificate is known, and a fact is missing that could
        change the verdict.
        """
        if self.access_keys:
            return RootVerdict.ACCESS_KEYS
        if self.password and self.mfa is False:
            return RootVerdict.NO_MFA
        if self.certificates:
            return RootVerdict.CERTIFICATES
        if None in {self.access_keys, self.password, self.certificates}:
            return RootVerdict.UNKNOWN
        return self._kind() if self.password else RootVerdict.NO_CREDENTIALS

    @property
    def credentials(self) -> tuple[str, ...]:
        """The credentials that root is known to have, as words for a message, the worst first; () if there are none."""
        known = (
            (self.access_keys, "access keys"),
            (self.password, self._password),
            (self.certificates, "signing certificates"),
        )
        return tuple(words for is_present, words in known if is_present)

    @property
    def _password(self) -> str:
        return {True: "a password with MFA", False: "a password without MFA", None: "a password"}[self.mfa]

    def _kind(self) -> RootVerdict:
        """Return the verdict on a root user who has a password. It depends on the MFA devices."""
        if self.mfa is None:
            return RootVerdict.UNKNOWN
        if self.devices is None:
            by_list = {True: RootVerdict.VIRTUAL, False: RootVerdict.NOT_VIRTUAL, None: RootVerdict.UNKNOWN}
            return by_list[self.virtual]
        types = {device.type for device in self.devices}
        return next((verdict for kind, verdict in KINDS.items() if kind in types), RootVerdict.UNKNOWN)

    def completed_by(self, other: "RootPosture") -> "RootPosture":
        """Return a copy whose missing facts are taken from another posture of the same account."""
        missing = {fact.name: getattr(other, fact.name) for fact in fields(self) if getattr(self, fact.name) is None}
        return replace(self, **missing, unread=(*self.unread, *other.unread))

    @property
    def needs_session(self) -> bool:
        """Whether a session as root could show facts that change the verdict."""
        doubtful = {RootVerdict.UNKNOWN, RootVerdict.VIRTUAL, RootVerdict.NOT_VIRTUAL}
        return self.devices is None and self.verdict in doubtful

    @property
    def why(self) -> str:
        """The reasons for the verdict "unknown", as text for a message; "" for any other verdict."""
        if self.verdict is not RootVerdict.UNKNOWN:
            return ""
        if self.unread:
            return "; ".join(self.unread)
        if self.devices is not None:
            return "IAM reports that root has MFA, but lists no device of a known type"
        return "IAM did not report all facts about root"


def root_posture(
    account: str,
    summary: Mapping[str, int],
    *,
    devices: tuple[Device, ...] | None = None,
    virtual: bool | None = None,
    unread: tuple[str, ...] = (),
) -> RootPosture:
    """Return the posture of root that an account summary (iam:GetAccountSummary: numbers by name) shows.

    `summary` is empty if it could not be read. The other arguments are fields of RootPosture.
    """

    def fact(name: str) -> bool | None:
        return summary[name] > 0 if name in summary else None

    mfa = fact("AccountMFAEnabled")
    return RootPosture(
        account=account,
        password=fact("AccountPasswordPresent"),
        mfa=bool(devices) if mfa is None and devices is not None else mfa,
        access_keys=fact("AccountAccessKeysPresent"),
        certificates=fact("AccountSigningCertificatesPresent"),
        devices=devices,
        virtual=virtual,
        unread=unread,
    )


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
    role's trust policy. `tags` has the values of the tags of a user or role by name. `created` is in Unix seconds. `id`
    is the ID that IAM never uses twice, such as `AIDA...`, or "" if it is unknown.
    """

    name: str
    arn: str
    id: str = ""
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
class ControlPolicy:
    """A service control policy (SCP). `text` is its document in JSON. If it is None, `why` says why it was not read."""

    id: str
    name: str
    text: str | None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlLevel:
    """The root, a unit or an account of an organization, and the SCPs attached to it. At least one must allow a call.

    `target` is its ID.
    """

    target: str
    name: str
    policies: tuple[ControlPolicy, ...]

    @property
    def label(self) -> str:
        """The name and the ID, for messages."""
        return f"{self.name} ({self.target})" if self.name else self.target


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


class SnapshotPart(StrEnum):
    """A part of the account that is read separately. If it cannot be read, the snapshot has a `UnreadPart` for it."""

    REPORT = "credential report"
    SUMMARY = "account summary"
    DETAILS = "account authorization details"
    POLICIES = "policies"
    VIRTUAL = "virtual MFA devices"
    DEVICES = "MFA devices of users"
    KEYS = "certifications of security keys"
    PASSWORDS = "password policy"
    PROFILES = "required password changes"
    ROOT = "MFA devices of root"
    ROOT_CREDENTIALS = "credentials of root"
    CENTRAL_ROOT = "centralized root access"
    BACKUPS = "backups on this computer"
    BREAK_GLASS = "break-glass identities"
    CERTIFICATES = "server certificates"
    SESSIONS = "sign-in sessions of users"
    USAGE = "last uses of devices"
    RECORDED_KEYS = "recorded security keys"
    CONTROL = "service control policies"


@dataclass(frozen=True, slots=True)
class UnreadPart:
    """A part of the account that could not be read completely.

    `about` is the user, or the ARN of the role, if only this one is affected.
    """

    part: SnapshotPart
    why: str
    about: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBackup:
    """The backup of a device in the ledger, or of a virtual device of root. Times are Unix seconds.

    `file` is the path or URL where the backup is or should be, or None if the device was created without a backup.
    `there` says whether the backup exists. `made` is when the run that created the device or the backup started.
    `opened` is when the backup was last decrypted, and `drilled` is when it last passed a test; each is None if that
    never happened. `computer` is the computer that created the device, or None if the ledger is not shared.
    `recipients` has the public keys to which the backup is encrypted, or is None if they are not on record.

    For a virtual device of root, `user` is REPORTED_ROOT, and mfa-kit made the backup from an existing device.
    """

    serial: str
    user: str
    file: str | None
    there: bool
    made: float
    opened: float | None = None
    drilled: float | None = None
    computer: str | None = None
    recipients: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsRead:
    """The period, in Unix seconds, in which all events of one name in a Region were read.

    `since` and `until` are None if none was read completely. `why` says why the last attempt failed, or is "".
    """

    region: str
    event: UseEvent
    since: float | None = None
    until: float | None = None
    why: str = ""
    from_files: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether the period is known, and the last attempt did not fail."""
        return self.since is not None and self.until is not None and not self.why


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountUsage:
    """What the ledger knows of the uses of an account's devices, and which events were read. Both may be empty."""

    uses: tuple[DeviceUse, ...] = ()
    reads: tuple[EventsRead, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What was read about an account at the time `at`, in Unix seconds by AWS's clock.

    `caller` is the ARN of the identity that read the account. `holes` has the parts that could not be read. `policies`
    maps the ARN of each managed policy to the text of its default version, and `other_versions` to the texts of its
    other versions. `virtual` has the virtual devices; a device of root has REPORTED_ROOT as its user. `listed` has, by
    user name, all devices of the users whose devices were listed. `certified` has the certifications of security keys,
    by serial. `must_change` says, by user name, whether a user has to choose a new password at the next sign-in.
    `certificates` has the server certificates, or is None if they were not read. `sessions` has, by the
    name of a user or the ARN of a role, the maximum duration of a sign-in session in seconds, as far as it was read; 0
    means that no maximum is set. `passwords`
    is the password policy. `central_root` is the state of centralized root access, or None if it was not read. For a
    member account, `member_root` has what an administrator of the organization read about the root user. `break_glass`
    has the break-glass identities in the ledger, or is None if they were not read. `usage` has the last uses of devices
    in the ledger, and `recalls` the devices on recorded keys; each is None if they were not read. `control` has the
    levels of SCPs that apply to the account, the root of the organization first; None if they were not read, and () for
    a management account. `lab` says whether the account is in a lab.
    """

    at: float
    account: str
    caller: str
    lab: bool = False
    holes: tuple[UnreadPart, ...] = ()
    report: CredentialReport | None = None
    summary: Mapping[str, int] = field(default_factory=dict)
    users: tuple[Entity, ...] = ()
    groups: tuple[Entity, ...] = ()
    roles: tuple[Entity, ...] = ()
    policies: Mapping[str, str] = field(default_factory=dict)
    other_versions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    virtual: tuple[Device, ...] = ()
    listed: Mapping[str, tuple[Device, ...]] = field(default_factory=dict)
    certified: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    must_change: Mapping[str, bool] = field(default_factory=dict)
    passwords: AccountPasswordPolicy | None = None
    root_devices: tuple[Device, ...] | None = None
    backups: tuple[DeviceBackup, ...] = ()
    certificates: tuple[ServerCertificate, ...] | None = None
    sessions: Mapping[str, int] = field(default_factory=dict)
    central_root: CentralRootAccess | None = None
    member_root: RootPosture | None = None
    break_glass: tuple[RecoveryKeyUse, ...] | None = None
    usage: AccountUsage | None = None
    recalls: tuple[DeviceRecall, ...] | None = None
    control: tuple[ControlLevel, ...] | None = None

    @property
    def partition(self) -> str:
        """The AWS partition, such as `aws` or `aws-cn`."""
        return self.caller.split(":")[1]

    @property
    def has_root(self) -> bool:
        """Whether accounts in this partition have a root user that can sign in."""
        return self.partition not in ROOTLESS

    @property
    def root(self) -> RootPosture:
        """The posture of root, from what was read in the account itself and through its organization."""
        holes = [
            f"the {hole.part}: {hole.why}"
            for hole in self.holes
            if hole.part in {SnapshotPart.SUMMARY, SnapshotPart.VIRTUAL}
        ]
        own = root_posture(
            self.account,
            self.summary,
            devices=self.root_devices,
            virtual=None
            if self.hole(SnapshotPart.VIRTUAL)
            else any(device.user == REPORTED_ROOT for device in self.virtual),
            unread=tuple(holes),
        )
        return self.member_root.completed_by(own) if self.member_root else own

    def hole(self, *parts: SnapshotPart, about: str | None = None) -> UnreadPart | None:
        """Return the first hole in these parts that concerns all users or the user `about`, or None."""
        return next((hole for hole in self.holes if hole.part in parts and hole.about in {None, about}), None)

    @property
    def unread_users(self) -> list[str]:
        """The result of `unread_parts` for the parts that list users, and for the SCPs that limit all of them."""
        return unread_parts(self, SnapshotPart.DETAILS, SnapshotPart.REPORT, SnapshotPart.CONTROL)


def unread_parts(snapshot: Snapshot, *parts: SnapshotPart) -> list[str]:
    """Return a text of the form `the PART: REASON` for each of these parts that could not be read completely."""
    holes = [hole for hole in snapshot.holes if hole.part in parts]
    return list(dict.fromkeys(f"the {hole.part}: {hole.why}" for hole in holes))


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAudit:
    """The figures of an audit at the Unix time `at`.

    `results` has the number of rules by result, and `failed` the number of failed rules by severity. `rules` are the
    IDs of the rules that were applied.
    """

    at: float
    results: Mapping[str, int]
    failed: Mapping[str, int] = field(default_factory=dict)
    rules: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenFinding:
    """A finding that was open at the last audit: the ID of its rule, and when an audit first found it (Unix time)."""

    rule: str
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """One entry of a baseline. `subject` is the subject of the finding, or `*` for all findings of the rule.

    `account` is the ID of the account that the entry is about, or "" for all accounts. `day` is the last day of the
    acceptance, as an ISO date, and `until` the end of that day, in Unix seconds.
    """

    rule: str
    subject: str
    owner: str
    reason: str
    until: float
    day: str
    account: str = ""

    def covers(self, subject: str, *, known: bool) -> bool:
        """Return whether the entry accepts the finding of its rule about this subject.

        `known` is false for a subject that could not be evaluated. The entry must then name the subject. Otherwise `*`
        would also accept the result of an audit that could read nothing.
        """
        return self.subject == subject or (known and self.subject == "*")
