"""One AWS account: its users, devices, credentials and clock. List operations may show changes with a delay (lag)."""

import re
import secrets
import string
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol

from moto.iam.models import AccessKey, AccessKeyLastUsed, Role
from moto.utilities.utils import get_partition

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws.backend import ACCOUNT, HOME_REGION, LabBackend, LabUser, new_id
from mfa_kit.lab.aws.description import DescribedRoot, RootDevice
from mfa_kit.lab.aws.faults import Conditions, FaultRule
from mfa_kit.lab.aws.history import REGIONS, EventHistory
from mfa_kit.lab.aws.mfa_devices import LabSettings, StsCodes, root_serial, user_fields
from mfa_kit.lab.aws.wire import IamError

ADMIN = "lab-admin"
REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
ADMINISTRATOR = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'
SECRET_CHARACTERS = string.ascii_letters + string.digits
# The kinds of credentials that can sign a request: a user's access keys, and in this order the temporary credentials
# from GetSessionToken, GetFederationToken, AssumeRole and AssumeRoot.
CredentialKind = Literal["user", "session", "federated", "role", "root"]


class Membership(Protocol):
    """The organization of an account, and the account's path and service control policies in it."""

    @property
    def organization_id(self) -> str:
        """The ID of the organization."""
        ...

    @property
    def path(self) -> str:
        """The path of the root or OU that the account is in, as in aws:PrincipalOrgPaths."""
        ...

    @property
    def is_open(self) -> bool:
        """Whether the account is ACTIVE."""
        ...

    def control_policies(self) -> Sequence[Mapping[str, str]]:
        """Return, for each level from the root to the account, its service control policies: the documents by ARN.

        The list is empty for the management account, which these policies do not affect.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The principal that signed a request.

    `mfa` says whether the session has MFA. It is None for a user's own access keys, because requests with these do not
    have the condition key aws:MultiFactorAuthPresent. `mfa_at` is the Unix time at which STS accepted the MFA code.
    `policy` is the session policy.
    `user` is the owner of the access keys, or the user who called GetSessionToken or GetFederationToken.
    `source_identity` is the SourceIdentity of AssumeRole. In a chain of roles, all sessions have the same
    `source_identity`.
    """

    arn: str
    id: str
    user: LabUser | None = None
    mfa: bool | None = None
    mfa_at: float | None = None
    role: Role | None = None
    policy: str | None = None
    kind: CredentialKind = "user"
    source_identity: str | None = None


@dataclass(frozen=True, slots=True)
class TemporaryCredentials:
    """Credentials that STS issued. `caller` is the principal who signs with them. Times are Unix times."""

    secret: str
    token: str
    expires: float
    caller: Principal
    issued: float = 0.0


class Listings(NamedTuple):
    """The responses of ListVirtualMFADevices and ListMFADevices at one time.

    `virtual` has the rows of ListVirtualMFADevices. `assigned` maps each user ID to the serials of the user's devices
    and their enable dates.
    """

    virtual: list[dict[str, object]]
    assigned: dict[str, dict[str, datetime]]


def _enable_dates(user: LabUser) -> dict[str, datetime]:
    return {serial: device.enable_date for serial, device in user.mfa_devices.items()}


class LabAccount:
    """The state of one AWS account. Hold `lock` to read or change it. The accounts of a lab share one lock.

    `number` is the ID of the account.
    """

    def __init__(
        self, *, region: str, settings: LabSettings, number: str = ACCOUNT, lock: "threading.RLock | None" = None
    ) -> None:
        if not REGION.fullmatch(region) or get_partition(region) not in HOME_REGION:
            raise UsageFault(f"the lab has no region {region!r}", "use one such as us-east-1 or us-gov-west-1")
        self.region, self.settings = region, settings
        self.id, self.partition = number, get_partition(region)
        self.backend = LabBackend(self.partition, number)
        self.membership: Membership | None = None
        self.sessions: dict[str, TemporaryCredentials] = {}
        self.sts_codes = StsCodes()
        self.root = DescribedRoot()
        self.lock = lock or threading.RLock()
        self.offset = 0.0
        # The Unix time and the bytes of the latest credential report.
        self.report: tuple[float, bytes] | None = None
        self.history = EventHistory()
        # The enabled Regions, and the rate limit of LookupEvents in each of them.
        self.regions = [*REGIONS[self.partition]]
        rate = settings.lookup_rate
        self.lookups = FaultRule("LookupEvents", "bucket", "every", {"rate": rate, "burst": max(1.0, rate)})
        self.lag = 0.0
        self.views: list[tuple[float, Listings]] = []

    def sibling(self, number: str) -> "LabAccount":
        """Return an empty account of the same lab, with the same region, settings and lock."""
        return LabAccount(region=self.region, settings=self.settings, number=number, lock=self.lock)

    def now(self) -> float:
        """Return the current time of AWS's clock as a Unix time."""
        return time.time() + self.offset

    def today(self) -> datetime:
        """Return the current time of AWS's clock in whole seconds, as IAM stores dates."""
        return datetime.fromtimestamp(int(self.now()), UTC)

    def add_user(self, name: str, *, path: str = "/") -> LabUser:
        """Create a user. Raise IamError with the code EntityAlreadyExists if the name is taken."""
        return self.backend.create_user(self.region, name, path)

    def add_admin(self) -> None:
        """Create lab-admin, whose policy allows everything."""
        self.add_user(ADMIN).policies["everything"] = ADMINISTRATOR

    def admin_key(self) -> AccessKey:
        """Return an active access key of lab-admin. If there is none, create one."""
        keys = self.backend.get_user(ADMIN).access_keys
        return next((key for key in keys if key.status == "Active"), None) or self.backend.create_access_key(ADMIN)

    def issue(self, caller: Principal, seconds: float) -> tuple[str, TemporaryCredentials]:
        """Issue credentials for a principal, valid for `seconds` seconds.

        Return their access key ID and the credentials.
        """
        session = TemporaryCredentials(
            secret="".join(secrets.choice(SECRET_CHARACTERS) for _ in range(40)),
            token="lab" + "".join(secrets.choice(SECRET_CHARACTERS) for _ in range(200)),
            issued=self.now(),
            expires=self.now() + seconds,
            caller=caller,
        )
        key = new_id("ASIA")[:20]
        self.sessions[key] = session
        return key, session

    def issued(self, key: str) -> bool:
        """Return whether this account issued the access key with this ID."""
        return key in self.sessions or key in self.backend.access_keys

    def secret(self, key: str, token: str | None, *, service: str) -> tuple[str, Principal]:
        """Return the secret of an access key, and the principal who signs with it.

        `token` is the session token, if any. Raise IamError with the code ExpiredToken if the session expired. Raise
        IamError with the code InvalidClientTokenId if the key is inactive, the session token is wrong, the account is
        closed, or this account did not issue the key.
        """
        unknown = IamError("InvalidClientTokenId", "The security token included in the request is invalid.")
        if self.membership is not None and not self.membership.is_open:
            raise unknown
        if (session := self.sessions.get(key)) is not None and token == session.token:
            if self.now() >= session.expires:
                raise IamError("ExpiredToken", "The security token included in the request is expired")
            return session.secret, session.caller
        active_key = None if token else self._active_key(key)
        if active_key is None:
            raise unknown
        known, user = active_key
        known.last_used = AccessKeyLastUsed(self.today(), service, self.region)
        return known.secret_access_key, Principal(arn=user.arn, id=user.id, user=user)

    def _active_key(self, key: str) -> tuple[AccessKey, LabUser] | None:
        """Return an active access key and its user, or None if this account has no such active key."""
        known = self.backend.access_keys.get(key)
        user = self.backend.users.get(known.user_name or "") if known else None
        return (known, user) if known and user and known.status == "Active" else None

    # List operations return the state of `lag` seconds ago.

    def remember(self) -> None:
        """If a lag is set, save the current devices. After `lag` seconds, list operations return this saved state."""
        if self.lag:
            self.views.append((time.monotonic(), self._present()))

    def virtual_rows(self) -> list[dict[str, object]]:
        """Return the rows of ListVirtualMFADevices, which have neither secrets nor tags."""
        listings = self._seen()
        return self._virtual() if listings is None else listings.virtual

    def devices_of(self, user: LabUser) -> dict[str, datetime]:
        """Return the serials of a user's devices with their enable dates."""
        listings = self._seen()
        return _enable_dates(user) if listings is None else listings.assigned.get(user.id, {})

    def apply(self, conditions: Conditions) -> None:
        """Set the offset of AWS's clock, and the lag with which list operations show changes."""
        with self.lock:
            self.offset, self.lag = conditions.clock, conditions.lag
            if not self.lag:
                self.views.clear()
            elif not self.views:
                self.remember()

    def _seen(self) -> Listings | None:
        """Return the saved state that list operations return while a lag is set, or None if no lag is set."""
        if not self.lag:
            return None
        due = time.monotonic() - self.lag
        return next((view for saved_at, view in reversed(self.views) if saved_at <= due), self.views[0][1])

    def root_devices(self) -> list[RootDevice]:
        """Return the root user's MFA devices, each with a serial and a date."""
        return [
            replace(
                device,
                serial=device.serial or root_serial(device.kind, self.partition, self.id, number),
                enabled=device.enabled or self.root.created,
            )
            for number, device in enumerate(self.root.held())
        ]

    def _virtual(self) -> list[dict[str, object]]:
        root = f"arn:{self.partition}:iam::{self.id}:root"
        rows: list[dict[str, object]] = [
            {
                "SerialNumber": device.serial,
                "User": {"UserId": self.id, "Arn": root, "CreateDate": self.root.created},
                "EnableDate": device.enabled,
            }
            for device in self.root_devices()
            if device.kind == "virtual"
        ]
        for serial, device in self.backend.virtual_mfa_devices.items():
            holder = {"User": user_fields(device.user), "EnableDate": device.enable_date} if device.user else {}
            rows.append({"SerialNumber": serial, **holder})
        return rows

    def _present(self) -> Listings:
        return Listings(self._virtual(), {user.id: _enable_dates(user) for user in self.backend.all_users()})
