"""The snapshot of an account at one moment: users, groups, roles and policies, and the users' credentials and devices.

A snapshot contains no secret. `holes` lists the parts of the account that could not be read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from mfa_kit.account.records import AccountPasswordPolicy, CredentialReport, Entity, ServerCertificate
from mfa_kit.account.root_posture import CentralRootAccess, RootPosture, root_posture
from mfa_kit.core.models import REPORTED_ROOT, ROOTLESS, Device


class Part(StrEnum):
    """A part of the account that is read separately. If it cannot be read, the snapshot has a `Hole` for it."""

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


@dataclass(frozen=True, slots=True)
class Hole:
    """A part of the account that could not be read completely. `about` is the user if only one user is affected."""

    part: Part
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
class GlassKey:
    """The public key of a custodian, with the custodian's name.

    `users` has the IAM users whose own copies of backups are encrypted to this key, so the key is also theirs.
    """

    name: str
    key: str
    users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GlassUse:
    """A break-glass identity according to the ledger: its recipient, its custodians, and when it was used.

    `threshold` is the number of custodians who are needed. `made` is when the identity was first encrypted to
    custodians, in Unix seconds. `drilled` is when a drill last passed with these custodians. `opened` is when the
    identity was last opened, or a custodian last removed a layer of encryption to pass a file on. `drilled` and
    `opened` are None if that never happened.
    """

    recipient: str
    threshold: int
    custodians: tuple[GlassKey, ...]
    made: float
    drilled: float | None = None
    opened: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What was read about an account at the time `at`, in Unix seconds by AWS's clock.

    `caller` is the ARN of the identity that read the account. `holes` has the parts that could not be read. `policies`
    maps the ARN of each managed policy to the text of its default version, and `other_versions` to the texts of its
    other versions. `virtual` has the virtual devices; a device of root has REPORTED_ROOT as its user. `listed` has, by
    user name, all devices of the users whose devices were listed. `certified` has the certifications of security keys,
    by serial. `must_change` says, by user name, whether a user has to choose a new password at the next sign-in.
    `certificates` has the server certificates, or is None if they were not read. `sessions` has, by user name, the
    maximum duration of a sign-in session in seconds, as far as it was read; 0 means that no maximum is set. `passwords`
    is the password policy. `central_root` is the state of centralized root access, or None if it was not read. For a
    member account, `member_root` has what an administrator of the organization read about the root user. `break_glass`
    has the break-glass identities in the ledger, or is None if they were not read. `lab` says whether the account is in
    a lab.
    """

    at: float
    account: str
    caller: str
    lab: bool = False
    holes: tuple[Hole, ...] = ()
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
    break_glass: tuple[GlassUse, ...] | None = None

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
        holes = [f"the {hole.part}: {hole.why}" for hole in self.holes if hole.part in {Part.SUMMARY, Part.VIRTUAL}]
        own = root_posture(
            self.account,
            self.summary,
            devices=self.root_devices,
            virtual=None if self.hole(Part.VIRTUAL) else any(each.user == REPORTED_ROOT for each in self.virtual),
            unread=tuple(holes),
        )
        return self.member_root.completed_by(own) if self.member_root else own

    def hole(self, *parts: Part, about: str | None = None) -> Hole | None:
        """Return the first hole in these parts that concerns all users or the user `about`, or None."""
        return next((each for each in self.holes if each.part in parts and each.about in {None, about}), None)


def unread_users(snapshot: Snapshot) -> list[str]:
    """Return `unread_parts` for the parts that list users."""
    return unread_parts(snapshot, Part.DETAILS, Part.REPORT)


def unread_parts(snapshot: Snapshot, *parts: Part) -> list[str]:
    """Return a text of the form `the PART: REASON` for each of these parts that could not be read completely."""
    holes = [hole for hole in snapshot.holes if hole.part in parts]
    return list(dict.fromkeys(f"the {hole.part}: {hole.why}" for hole in holes))
