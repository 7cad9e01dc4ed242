"""One AWS account: moto's IAM backend with what it lacks, the credentials that were issued, and the clock.

moto keeps its backends in a dictionary of the process. An account of the lab has a backend of its own, so each lab
starts fresh; moto's users look their tags and groups up in that dictionary, which is why ours carry them.
"""

import json
import re
import secrets
import string
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, ClassVar, NamedTuple, TypeVar

from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import (
    AccessKey,
    AccessKeyLastUsed,
    AWSManagedPolicy,
    Group,
    IAMBackend,
    ManagedPolicy,
    User,
)
from moto.utilities.utils import get_partition

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws.codes import DeviceCodes, LabSettings, StsCodes
from mfa_kit.lab.aws.devices import BASE32, HardwareToken, VirtualDevice, user_fields
from mfa_kit.lab.aws.wire import IamError

ACCOUNT = "000000000000"
ADMIN = "lab-admin"
HOME_REGION = {"aws": "us-east-1", "aws-us-gov": "us-gov-west-1", "aws-cn": "cn-north-1"}
REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
ADMINISTRATOR = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}'

V = TypeVar("V")


@cache
def aws_managed_policies() -> dict[str, Any]:
    """Read moto's copy of AWS's managed policies."""
    found: dict[str, Any] = json.loads(aws_managed_policies_data)
    return found


class CaseInsensitiveDict(dict[str, V]):
    """A dictionary whose keys are names of IAM, which are not distinguished by case."""

    def __getitem__(self, key: str) -> V:
        return super().__getitem__(key.lower())

    def __setitem__(self, key: str, value: V) -> None:
        super().__setitem__(key.lower(), value)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key.lower())

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and super().__contains__(key.lower())

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.lower(), default)

    def pop(self, key: str, *default: Any) -> Any:
        return super().pop(key.lower(), *default)


def new_id(prefix: str) -> str:
    """Make an id as IAM gives one, AIDA and so on."""
    return prefix + "".join(secrets.choice(BASE32) for _ in range(17))


class LabUser(User):
    """moto's user with its groups and tags at hand."""

    class Meta:
        """moto's serializer takes a field's name from the class, and ours has another."""

        serialization_aliases: ClassVar = {"UserName": "name", "UserId": "id"}

    def __init__(self, backend: "LabBackend", name: str, path: str) -> None:
        super().__init__(backend.account_id, HOME_REGION[backend.partition], name, path)
        self.id = new_id("AIDA")
        self.backend = backend
        self.groups: dict[str, Group] = {}
        self.password_changed: datetime | None = None
        self.password_last_used: datetime | None  # type: ignore[assignment] # moto never sets it

    @property
    def group_list(self) -> list[str]:
        return [group.name for group in self.groups.values()]

    @property
    def tags(self) -> list[dict[str, str]] | None:
        found: list[dict[str, str]] = self.backend.tagger.list_tags_for_resource(self.arn)["Tags"]
        return found or None


class LabBackend(IAMBackend):
    """moto's backend with our users in it. Devices stay in moto's dictionaries, where its account summary sees them."""

    def __init__(self, partition: str) -> None:
        super().__init__(partition, ACCOUNT)
        self.users: CaseInsensitiveDict[Any] = CaseInsensitiveDict()
        self.groups: CaseInsensitiveDict[Any] = CaseInsensitiveDict()
        self.roles: CaseInsensitiveDict[Any] = CaseInsensitiveDict()
        self.tokens: dict[str, HardwareToken] = {}

    def create_user(
        self, region_name: str, user_name: str, path: str | None = "/", tags: list[dict[str, str]] | None = None
    ) -> LabUser:
        if user_name in self.users:
            raise IamError("EntityAlreadyExists", f"User with name {user_name} already exists.")
        user = LabUser(self, user_name, path or "/")  # type: ignore[abstract] # moto's users are never asked it
        if tags:
            self.tagger.tag_resource(user.arn, tags)
        self.users[user_name] = user
        return user

    def delete_user(self, user_name: str) -> None:
        """Check what IAM checks and moto does not. Which of several conflicts IAM names first is unknown."""
        user = self.get_user(user_name)
        for held, first in (
            (user.mfa_devices, "remove tokens from principal"),
            (user.access_keys, "delete access keys"),
            (user.password, "delete login profile"),
            (user.groups, "remove users from group"),
        ):
            if held:
                raise IamError("DeleteConflict", f"Cannot delete entity, must {first} first.")
        super().delete_user(user_name)

    def update_user(self, user_name: str, new_path: str | None = None, new_user_name: str | None = None) -> None:
        """Rename; the user's keys go with him."""
        user = self.get_user(user_name)
        super().update_user(user_name, new_path, new_user_name)
        for key in user.access_keys:
            key.user_name = user.name

    def add_user_to_group(self, group_name: str, user_name: str) -> None:
        user, group = self.get_user(user_name), self.get_group(group_name)
        if group.name not in user.groups:
            user.groups[group.name] = group
            group.users.append(user)

    def remove_user_from_group(self, group_name: str, user_name: str) -> None:
        super().remove_user_from_group(group_name, user_name)
        self.get_user(user_name).groups.pop(self.get_group(group_name).name)

    def get_groups_for_user(self, user_name: str) -> list[Group]:
        return list(self.get_user(user_name).groups.values())

    def get_policy(self, policy_arn: str) -> ManagedPolicy:
        self._aws_managed(policy_arn)
        return super().get_policy(policy_arn)

    def attach_user_policy(self, policy_arn: str, user_name: str) -> None:
        self._aws_managed(policy_arn)
        super().attach_user_policy(policy_arn, user_name)

    def attach_group_policy(self, policy_arn: str, group_name: str) -> None:
        self._aws_managed(policy_arn)
        super().attach_group_policy(policy_arn, group_name)

    def attach_role_policy(self, policy_arn: str, role_name: str) -> None:
        self._aws_managed(policy_arn)
        super().attach_role_policy(policy_arn, role_name)

    def _aws_managed(self, arn: str) -> None:
        """Take one of AWS's own policies out of moto's copy when it is asked for; all of them would take seconds."""
        start, _, name = arn.rpartition("/")
        if start.startswith(f"arn:{self.partition}:iam::aws:policy") and arn not in self.managed_policies:
            policy = aws_managed_policies().get(name)
            if policy is not None:
                found = AWSManagedPolicy.from_data(name, self.account_id, self.region_name, policy)
                self.managed_policies[found.arn] = found
                self.aws_managed_policies.append(found)

    def get_user(self, name: str) -> Any:
        return super().get_user(name)

    def get_all_access_keys_for_all_users(self) -> list[AccessKey]:
        return [key for user in self.users.values() for key in user.access_keys]

    def device(self, serial: str) -> VirtualDevice:
        found = self.virtual_mfa_devices.get(serial)
        if not isinstance(found, VirtualDevice):
            raise IamError("NoSuchEntity", f"VirtualMFADevice with serial number {serial} does not exist.")
        return found

    def codes(self, serial: str) -> DeviceCodes:
        """Find the codes of a virtual device or a hardware token."""
        token = self.tokens.get(serial)
        return token.codes if token else self.device(serial).codes

    def holder(self, serial: str) -> Any:
        """Find the user who has a device, or None."""
        return next((user for user in self.users.values() if serial in user.mfa_devices), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who signed a request. `mfa` is None for long-term keys: the context has no such key then."""

    arn: str
    id: str
    user: Any = None
    mfa: bool | None = None
    mfa_at: float | None = None
    role: Any = None
    policy: str | None = None
    kind: str = "user"


@dataclass(frozen=True, slots=True)
class TemporaryCredentials:
    """Temporary credentials."""

    secret: str
    token: str
    expires: float
    caller: Principal


@dataclass(slots=True)
class RootPosture:
    """The root user's posture: read in the summary and the credential report, never to be changed by the API."""

    mfa: bool = True
    virtual: bool = False
    password: bool = True
    keys: int = 0
    key_last_used: datetime | None = None
    created: datetime = field(default_factory=lambda: datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC))
    password_last_used: datetime | None = None


class Listings(NamedTuple):
    """The listings of one moment."""

    virtual: list[dict[str, Any]]
    assigned: dict[str, dict[str, datetime]]


def _dates(user: Any) -> dict[str, datetime]:
    return {serial: device.enable_date for serial, device in user.mfa_devices.items()}


class LabAccount:
    """The state of a lab."""

    def __init__(self, *, region: str, settings: LabSettings) -> None:
        if not REGION.fullmatch(region) or get_partition(region) not in HOME_REGION:
            raise UsageFault(f"there is no region {region!r} in a lab", "name one such as us-east-1 or us-gov-west-1")
        self.region, self.settings = region, settings
        self.partition = get_partition(region)
        self.backend = LabBackend(self.partition)
        self.sessions: dict[str, TemporaryCredentials] = {}
        self.book = StsCodes()
        self.root = RootPosture()
        self.lock = threading.RLock()
        self.offset = 0.0
        self.report: tuple[float, bytes] | None = None
        self.lag = 0.0
        self.views: list[tuple[float, Listings]] = []

    def now(self) -> float:
        """AWS's time."""
        return time.time() + self.offset

    def today(self) -> datetime:
        """Give the same as a date; IAM counts in seconds."""
        return datetime.fromtimestamp(int(self.now()), UTC)

    def add_user(self, name: str, *, path: str = "/") -> LabUser:
        return self.backend.create_user(self.region, name, path)

    def add_admin(self) -> None:
        """Add the user who may do everything."""
        self.add_user(ADMIN).policies["everything"] = ADMINISTRATOR

    def admin_key(self) -> AccessKey:
        """Return a key of the admin's."""
        keys = self.backend.get_user(ADMIN).access_keys
        return next((key for key in keys if key.status == "Active"), None) or self.backend.create_access_key(ADMIN)

    def issue(self, caller: Principal, seconds: float) -> tuple[str, TemporaryCredentials]:
        """Make temporary credentials."""
        text = string.ascii_letters + string.digits
        session = TemporaryCredentials(
            secret="".join(secrets.choice(text) for _ in range(40)),
            token="lab" + "".join(secrets.choice(text) for _ in range(200)),
            expires=self.now() + seconds,
            caller=caller,
        )
        key = new_id("ASIA")[:20]
        self.sessions[key] = session
        return key, session

    def secret(self, key: str, token: str | None, *, service: str) -> tuple[str, Principal]:
        """Find the secret and the caller of an access key. Raise as the services do when it was not issued here."""
        if (session := self.sessions.get(key)) is not None and token == session.token:
            if self.now() >= session.expires:
                raise IamError("ExpiredToken", "The security token included in the request is expired")
            return session.secret, session.caller
        known = self.backend.access_keys.get(key)
        user = self.backend.users.get(known.user_name or "") if known else None
        if known is None or user is None or token or known.status != "Active":
            raise IamError("InvalidClientTokenId", "The security token included in the request is invalid.")
        known.last_used = AccessKeyLastUsed(self.today(), service, self.region)
        return known.secret_access_key, Principal(arn=user.arn, id=user.id, user=user)

    # what listings show: the state of `lag` seconds ago

    def remember(self) -> None:
        """Keep the present state for listings that lag."""
        if self.lag:
            self.views.append((time.monotonic(), self._view()))

    def virtual_rows(self) -> list[dict[str, Any]]:
        """List virtual devices as ListVirtualMFADevices shows them: never seeds, never tags."""
        seen = self._seen()
        return self._virtual() if seen is None else seen.virtual

    def devices_of(self, user: Any) -> dict[str, datetime]:
        """Map a user's devices, by serial, to their enable dates."""
        seen = self._seen()
        return _dates(user) if seen is None else seen.assigned.get(user.id, {})

    def _seen(self) -> Listings | None:
        if not self.lag:
            return None
        due = time.monotonic() - self.lag
        return next((view for at, view in reversed(self.views) if at <= due), self.views[0][1])

    def weather(self, *, offset: float, lag: float) -> None:
        """Set how far AWS's clock is off and how late listings are."""
        with self.lock:
            self.offset, self.lag = offset, lag
            if not lag:
                self.views.clear()
            elif not self.views:
                self.remember()

    def _virtual(self) -> list[dict[str, Any]]:
        root = f"arn:{self.partition}:iam::{self.backend.account_id}"
        own = {
            "SerialNumber": f"{root}:mfa/root-account-mfa-device",
            "User": {"UserId": self.backend.account_id, "Arn": f"{root}:root", "CreateDate": self.root.created},
            "EnableDate": self.root.created,
        }
        return [own for _ in range(self.root.virtual)] + [
            {"SerialNumber": serial}
            | ({"User": user_fields(device.user), "EnableDate": device.enable_date} if device.user else {})
            for serial, device in self.backend.virtual_mfa_devices.items()
        ]

    def _view(self) -> Listings:
        return Listings(self._virtual(), {user.id: _dates(user) for user in self.backend.users.values()})
