"""Extends moto's IAM backend: more of IAM's checks, case-insensitive names, and devices whose codes are checked.

moto keeps its backends in a process-wide dictionary. A lab's account has a backend of its own instead, so each lab
starts empty. moto's users look up their tags and groups in that dictionary. The lab's users look up their tags in the
account's own backend, and store their groups themselves.
"""

import json
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any, ClassVar, TypeVar, overload

from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import AccessKey, AWSManagedPolicy, Certificate, Group, IAMBackend, ManagedPolicy, Role, User

from mfa_kit.lab.aws.mfa_devices import BASE32, DeviceCodes, HardwareToken, VirtualDevice
from mfa_kit.lab.aws.wire import IamError

ACCOUNT = "000000000000"
# The region of IAM's endpoint in each partition.
HOME_REGION = {"aws": "us-east-1", "aws-us-gov": "us-gov-west-1", "aws-cn": "cn-north-1"}

V = TypeVar("V")
D = TypeVar("D")


@cache
def aws_managed_policies() -> Mapping[str, dict[str, object]]:
    """Read moto's copy of AWS's managed policies. Return, by name, the data from which moto creates each policy."""
    policies_by_name: dict[str, dict[str, object]] = json.loads(aws_managed_policies_data)
    return policies_by_name


# How long a certificate is valid if its dates are unknown. The lab does not read the dates in the certificate itself.
VALID = timedelta(days=365)


class LabCertificate(Certificate):
    """A certificate from a description, with its dates."""

    def __init__(self, account: str, region: str, *, name: str, path: str, dates: tuple[datetime, datetime]) -> None:
        super().__init__(account, region, name, "", "", None, path)
        self.uploaded, self.expires = dates


class CaseInsensitiveDict(dict[str, V]):
    """A dictionary with the names of IAM entities as keys.

    IAM ignores the case of these names (IAM user guide, "IAM and STS quotas").
    """

    def __getitem__(self, key: str) -> V:
        return super().__getitem__(key.lower())

    def __setitem__(self, key: str, value: V) -> None:
        super().__setitem__(key.lower(), value)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key.lower())

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and super().__contains__(key.lower())

    @overload
    def get(self, key: str, default: None = None, /) -> V | None: ...
    @overload
    def get(self, key: str, default: V | D, /) -> V | D: ...
    def get(self, key: str, default: object = None, /) -> object:
        """Return the value of a name, or the default."""
        return super().get(key.lower(), default)

    @overload
    def pop(self, key: str, /) -> V: ...
    @overload
    def pop(self, key: str, default: V | D, /) -> V | D: ...
    def pop(self, key: str, /, *default: object) -> object:
        """Remove a name and return its value, or the default."""
        return super().pop(key.lower(), *default)


def new_id(prefix: str) -> str:
    """Return a unique ID in IAM's form: a prefix (AIDA for a user) and 17 characters of base32."""
    return prefix + "".join(secrets.choice(BASE32) for _ in range(17))


def sign_in_session(role: Role) -> int | None:
    """Return the longest sign-in session of a role in seconds, or None if it is not set."""
    seconds = vars(role).get("max_signin_session_duration")
    return seconds if isinstance(seconds, int) else None


def set_sign_in_session(role: Role, seconds: int | None) -> None:
    """Set or reset the longest sign-in session of a role, in the attribute that moto's serializer puts into answers."""
    vars(role)["max_signin_session_duration"] = seconds


class LabUser(User):
    """A moto user that needs no entry in moto's dictionary of backends."""

    class Meta:
        """Names for moto's serializer, which would otherwise derive them from the name of this class."""

        serialization_aliases: ClassVar = {"UserName": "name", "UserId": "id"}

    def __init__(self, backend: "LabBackend", name: str, path: str) -> None:
        super().__init__(backend.account_id, HOME_REGION[backend.partition], name, path)
        self.id = new_id("AIDA")
        self.backend = backend
        self.groups: dict[str, Group] = {}
        self.permissions_boundary_arn: str | None = None
        self.sign_in_session: int | None = None
        self.password_changed: datetime | None = None
        self.password_last_used: datetime | None  # type: ignore[assignment] # moto never sets it

    @property
    def group_list(self) -> list[str]:
        """Names of the user's groups."""
        return [group.name for group in self.groups.values()]

    @property
    def permissions_boundary(self) -> dict[str, str] | None:
        """The user's permissions boundary as the API returns it, or None if the user has no boundary."""
        if self.permissions_boundary_arn is None:
            return None
        return {
            "PermissionsBoundaryType": "PermissionsBoundaryPolicy",
            "PermissionsBoundaryArn": self.permissions_boundary_arn,
        }

    @property
    def tags(self) -> list[dict[str, str]] | None:
        """The user's tags as `Key` and `Value`, or None if the user has no tags."""
        tags: list[dict[str, str]] = self.backend.tagger.list_tags_for_resource(self.arn)["Tags"]
        return tags or None


class LabBackend(IAMBackend):
    """A moto backend with the lab's users and tokens.

    Virtual devices stay in moto's dictionary, because moto's account summary counts them.
    """

    def __init__(self, partition: str, account: str = ACCOUNT) -> None:
        super().__init__(partition, account)
        self.users: CaseInsensitiveDict[Any] = CaseInsensitiveDict()
        self.groups: CaseInsensitiveDict[Group] = CaseInsensitiveDict()
        self.roles: CaseInsensitiveDict[Role] = CaseInsensitiveDict()
        self.tokens: dict[str, HardwareToken] = {}

    @property
    def entities(self) -> Mapping[str, Mapping[str, LabUser | Group | Role]]:
        """The users, groups and roles, by the word for their kind in an ARN and then by name."""
        return {"user": self.users, "group": self.groups, "role": self.roles}

    def create_user(
        self, region_name: str, user_name: str, path: str | None = "/", tags: list[dict[str, str]] | None = None
    ) -> LabUser:
        """Create a user. Names that differ only in case are the same name (API CreateUser).

        Raise IamError with the code EntityAlreadyExists if the name is taken.
        """
        if user_name in self.users:
            raise IamError("EntityAlreadyExists", f"User with name {user_name} already exists.")
        user = LabUser(self, user_name, path or "/")  # type: ignore[abstract] # moto never calls the abstract methods
        if tags:
            self.tagger.tag_resource(user.arn, tags)
        self.users[user_name] = user
        return user

    def delete_user(self, user_name: str) -> None:
        """Delete a user.

        Raise IamError with the code DeleteConflict while the user has devices, keys, a password or groups; moto does
        not check this. It is unknown which of several conflicts IAM reports first.
        """
        user = self.get_user(user_name)
        for conflict, first in (
            (user.mfa_devices, "remove tokens from principal"),
            (user.access_keys, "delete access keys"),
            (user.password, "delete login profile"),
            (user.groups, "remove users from group"),
        ):
            if conflict:
                raise IamError("DeleteConflict", f"Cannot delete entity, must {first} first.")
        super().delete_user(user_name)

    def update_user(self, user_name: str, new_path: str | None = None, new_user_name: str | None = None) -> None:
        """Rename a user, and update the owner of the user's access keys."""
        user = self.get_user(user_name)
        super().update_user(user_name, new_path, new_user_name)
        for key in user.access_keys:
            key.user_name = user.name

    def add_user_to_group(self, group_name: str, user_name: str) -> None:
        """Add a user to a group. Adding a member again changes nothing (API AddUserToGroup)."""
        user, group = self.get_user(user_name), self.get_group(group_name)
        if group.name not in user.groups:
            user.groups[group.name] = group
            group.users.append(user)

    def remove_user_from_group(self, group_name: str, user_name: str) -> None:
        """Remove a user from a group. Raise moto's error with the code NoSuchEntity if the user is not a member."""
        super().remove_user_from_group(group_name, user_name)
        self.get_user(user_name).groups.pop(self.get_group(group_name).name)

    def get_groups_for_user(self, user_name: str) -> list[Group]:
        """Return the groups of a user."""
        return list(self.get_user(user_name).groups.values())

    def get_policy(self, policy_arn: str) -> ManagedPolicy:
        """Return a managed policy of the account or of AWS.

        Raise moto's error with the code NoSuchEntity if it does not exist.
        """
        self._load_aws_policy(policy_arn)
        return super().get_policy(policy_arn)

    def checked_boundary(self, arn: str | None) -> str | None:
        """Return the ARN of a permissions boundary unchanged, or None if there is no boundary.

        Raise IamError with the code NoSuchEntity if no managed policy has this ARN.
        """
        if arn is not None:
            self._load_aws_policy(arn)
            if arn not in self.managed_policies:
                raise IamError("NoSuchEntity", f"Scope ARN: {arn} does not exist or is not attachable.")
        return arn

    def delete_policy(self, policy_arn: str) -> None:
        """Delete a managed policy.

        Raise IamError with the code DeleteConflict while the policy is attached, or has a version other than its
        default (API DeletePolicy); moto does not check this.
        """
        policy = self.get_policy(policy_arn)
        holders: tuple[LabUser | Group | Role, ...]
        holders = (*self.all_users(), *self.groups.values(), *self.roles.values())
        if any(policy.arn in holder.managed_policies for holder in holders):
            raise IamError("DeleteConflict", "Cannot delete a policy attached to entities.")
        if len(policy.versions) > 1:
            raise IamError(
                "DeleteConflict",
                "This policy has more than one version. Before you delete a policy, you must delete the policy's "
                "versions. The default version is deleted with the policy.",
            )
        super().delete_policy(policy_arn)

    def attach_user_policy(self, policy_arn: str, user_name: str) -> None:
        """Attach a managed policy of the account or of AWS to a user."""
        self._load_aws_policy(policy_arn)
        super().attach_user_policy(policy_arn, user_name)

    def attach_group_policy(self, policy_arn: str, group_name: str) -> None:
        """Attach a managed policy of the account or of AWS to a group."""
        self._load_aws_policy(policy_arn)
        super().attach_group_policy(policy_arn, group_name)

    def attach_role_policy(self, policy_arn: str, role_name: str) -> None:
        """Attach a managed policy of the account or of AWS to a role."""
        self._load_aws_policy(policy_arn)
        super().attach_role_policy(policy_arn, role_name)

    def _load_aws_policy(self, arn: str) -> None:
        """Load one of AWS's policies when a request names it, because loading all of them would take seconds."""
        start, _, name = arn.rpartition("/")
        if start.startswith(f"arn:{self.partition}:iam::aws:policy") and arn not in self.managed_policies:
            policy = aws_managed_policies().get(name)
            if policy is not None:
                managed_policy = AWSManagedPolicy.from_data(name, self.account_id, self.region_name, policy)
                self.managed_policies[managed_policy.arn] = managed_policy
                self.aws_managed_policies.append(managed_policy)

    def get_user(self, name: str) -> LabUser:
        """Return a user. Raise moto's error with the code NoSuchEntity if no user has this name."""
        super().get_user(name)
        user: LabUser = self.users[name]
        return user

    def all_users(self) -> list[LabUser]:
        """Return all users, in the order in which they were created."""
        return list(self.users.values())

    def get_all_access_keys_for_all_users(self) -> list[AccessKey]:
        """Return the access keys of all users."""
        return [key for user in self.all_users() for key in user.access_keys]

    def device(self, serial: str) -> VirtualDevice:
        """Return a virtual device. Raise IamError with the code NoSuchEntity if no device has this ARN."""
        device = self.virtual_mfa_devices.get(serial)
        if not isinstance(device, VirtualDevice):
            raise IamError("NoSuchEntity", f"VirtualMFADevice with serial number {serial} does not exist.")
        return device

    def codes(self, serial: str) -> DeviceCodes:
        """Return the DeviceCodes of a virtual device or a hardware token.

        Raise IamError with the code NoSuchEntity if there is no such device.
        """
        token = self.tokens.get(serial)
        return token.codes if token else self.device(serial).codes

    def holder(self, serial: str) -> LabUser | None:
        """Return the user who has the device, or None if it is unassigned."""
        return next((user for user in self.all_users() if serial in user.mfa_devices), None)
