"""The users of an account, with the devices, credentials and policies of a snapshot.

A fact that could not be read is None, never True or False.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mfa_kit.account.escalation import Administration, administrations
from mfa_kit.account.evaluator import (
    EntityPolicies,
    RequestContext,
    about,
    control_levels,
    demands_mfa,
    entity_policies,
    group_policies,
    limited,
)
from mfa_kit.account.snapshot import AccessKey, Credentials, Entity, Snapshot
from mfa_kit.core.models import Device, DeviceType, devices_by_user

# How users with a password sign in, from best to worst.
WAYS = ("security key or passkey", "code from an app or a token", "kind unknown", "text message", "no MFA")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountUser:
    """A user of the account, with the user's devices, credentials and policies.

    `devices` has the known devices, and `complete` is true if the user is known to have no others. `mfa` says whether
    the user has a device, and is None if that is unknown. `credentials` is None if there is no credential report, or if
    the report has no row for the user. `administration` says whether the user is an administrator, and how. `at` is the
    time of the snapshot, in Unix seconds.
    """

    user: Entity
    credentials: Credentials | None
    devices: tuple[Device, ...]
    complete: bool
    mfa: bool | None
    policies: EntityPolicies
    administration: Administration
    at: float

    @property
    def name(self) -> str:
        """The name in IAM, without the path."""
        return self.user.name

    @property
    def admin(self) -> bool | None:
        """Whether the user is an administrator; None if that is unknown."""
        return self.administration.admin

    @property
    def has_path(self) -> bool:
        """Whether the ARN has a path before the name."""
        return not self.user.arn.endswith(f":user/{self.name}")

    @property
    def types(self) -> set[DeviceType]:
        """The types of the known devices."""
        return {device.type for device in self.devices}

    @property
    def password(self) -> bool:
        """Whether the credential report says that the user has a console password; False if there is no report."""
        return self.credentials is not None and self.credentials.password

    @property
    def keys(self) -> tuple[AccessKey, ...]:
        """The active access keys in the credential report; () if there is no report."""
        return tuple(key for key in self.credentials.keys if key.active) if self.credentials else ()

    @property
    def sign_in_way(self) -> str:
        """How the user signs in, as a value from WAYS. If several devices are known, the strongest one counts."""
        if DeviceType.FIDO2 in self.types:
            return WAYS[0]
        if self.types - {DeviceType.SMS}:
            return WAYS[1]
        if self.types:
            return WAYS[3]
        return WAYS[4] if self.mfa is False else WAYS[2]

    @property
    def about(self) -> RequestContext:
        """The condition keys, with their values, that describe this user in the user's own requests."""
        return about(self.user, self.at)

    @property
    def demands_mfa(self) -> bool | None:
        """Whether this user's policies deny all work without MFA and allow some work with MFA; None if that is unknown.

        Work means all actions except those for a user's own sign-in.
        """
        policies = self.policies
        demanded = demands_mfa(policies.documents, self.about, boundary=policies.boundary, levels=policies.levels)
        return None if policies.unread and not demanded else demanded


def account_users(snapshot: Snapshot, administered: Mapping[str, Administration] | None = None) -> list[AccountUser]:
    """Return the users of a snapshot, in the order in which IAM lists them.

    `administered` is the result of `administrations` for this snapshot, if the caller has it already.
    """
    groups = group_policies(snapshot.groups, snapshot.policies)
    administration_of = administrations(snapshot) if administered is None else administered
    virtual = devices_by_user(snapshot.virtual)
    levels, gap = control_levels(snapshot)

    def account_user(user: Entity) -> AccountUser:
        row = snapshot.report.users.get(user.name) if snapshot.report else None
        listed = snapshot.listed.get(user.name)
        devices = tuple(virtual.get(user.name, ())) if listed is None else listed
        complete = listed is not None or (row is not None and row.mfa is False and not devices)
        return AccountUser(
            user=user,
            credentials=row,
            devices=devices,
            complete=complete,
            mfa=_has_mfa(row, devices, complete=complete),
            policies=limited(entity_policies(user, snapshot.policies, groups), levels, gap),
            administration=administration_of[user.arn],
            at=snapshot.at,
        )

    return [account_user(user) for user in snapshot.users]


def _has_mfa(row: Credentials | None, devices: tuple[Device, ...], *, complete: bool) -> bool | None:
    if devices or (row is not None and row.mfa and not complete):
        return True
    return False if complete else None
