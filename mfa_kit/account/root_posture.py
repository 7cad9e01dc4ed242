"""What is known about an account's root user: its credentials, its MFA devices, and centralized root access."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.core.models import Device, DeviceType

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


def as_member(seen: CentralRootAccess | None) -> CentralRootAccess:
    """Return the state of centralized root access for a member account.

    `seen` is the state that an administrator of the organization has read, or None if it could not be read. The enabled
    features apply to each member account.
    """
    return CentralRootAccess(place=OrganizationPlace.MEMBER, features=seen.features if seen else None)


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
        return tuple(words for there, words in known if there)

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
        return RootPosture(
            account=self.account,
            password=other.password if self.password is None else self.password,
            mfa=other.mfa if self.mfa is None else self.mfa,
            access_keys=other.access_keys if self.access_keys is None else self.access_keys,
            certificates=other.certificates if self.certificates is None else self.certificates,
            devices=other.devices if self.devices is None else self.devices,
            virtual=other.virtual if self.virtual is None else self.virtual,
            unread=(*self.unread, *other.unread),
        )

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
