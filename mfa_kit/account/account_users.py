"""The users of an account, with all that a snapshot says about their devices, credentials and policies.

A fact that could not be read is None (unknown), never True or False.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mfa_kit.account.evaluator import UNREAD, WITH_MFA, Decision, RequestContext, demands_mfa, evaluate
from mfa_kit.account.policy_texts import managed_policy, own_policies
from mfa_kit.account.records import AccessKey, Credentials, Entity
from mfa_kit.account.snapshot import Snapshot
from mfa_kit.core.models import Device, DeviceType


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityPolicies:
    """The policies of a user, group or role.

    `documents` has the texts of the entity's own policies and of its groups' policies. `boundary` is the text of its
    permissions boundary, or None. `unread` is true if a policy is missing from `documents`, because the text could not
    be read or is not an IAM policy. `why` describes the first missing policy, or else what is wrong with the boundary.
    It is empty if nothing is wrong.
    """

    documents: tuple[str, ...]
    boundary: str | None
    unread: bool
    why: str = ""

    def decide(self, action: str, resource: str, context: RequestContext, *, more: tuple[str, ...] = ()) -> Decision:
        """Return the decision of these policies and of the policy texts in `more` on an action and a resource."""
        return evaluate((*self.documents, *more), action, resource, context, boundary=self.boundary)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountUser:
    """A user of the account, with the user's devices, credentials and policies.

    `devices` has the known devices, and `complete` is true if it is known that the user has no other device. `mfa` says
    whether the user has a device, and is None if that is unknown. `credentials` is None if there is no credential
    report, or none with a row for the user. `admin` says whether the user is an administrator (see `administers`), and
    is None if the policies cannot be evaluated.
    """

    user: Entity
    credentials: Credentials | None
    devices: tuple[Device, ...]
    complete: bool
    mfa: bool | None
    policies: EntityPolicies
    admin: bool | None

    @property
    def name(self) -> str:
        """The name in IAM, without the path."""
        return self.user.name

    @property
    def has_path(self) -> bool:
        """Whether the ARN has a path before the name."""
        return not self.user.arn.endswith(f":user/{self.name}")

    @property
    def types(self) -> set[DeviceType]:
        """The types of the known devices."""
        return {each.type for each in self.devices}

    @property
    def password(self) -> bool:
        """Whether the credential report says that the user has a console password; False if there is no report."""
        return self.credentials is not None and self.credentials.password

    @property
    def keys(self) -> tuple[AccessKey, ...]:
        """The active access keys in the credential report; () if there is no report."""
        return tuple(key for key in self.credentials.keys if key.active) if self.credentials else ()

    @property
    def about(self) -> RequestContext:
        """The condition keys about the caller, with their values, for requests of this user."""
        return about(self.user)

    @property
    def demands_mfa(self) -> bool | None:
        """Whether this user's policies deny all work without MFA and allow some with MFA; None if that is unknown."""
        policies = self.policies
        demanded = demands_mfa(policies.documents, self.about, boundary=policies.boundary)
        return None if policies.unread and not demanded else demanded


def account_users(snapshot: Snapshot) -> list[AccountUser]:
    """Return the users of a snapshot in IAM's order."""
    groups = {group.name: group for group in snapshot.groups}
    virtual: dict[str, list[Device]] = {}
    for device in snapshot.virtual:
        if device.user is not None:
            virtual.setdefault(device.user, []).append(device)
    return [_account_user(user, tuple(virtual.get(user.name, ())), groups, snapshot) for user in snapshot.users]


def _account_user(
    user: Entity, virtual: tuple[Device, ...], groups: Mapping[str, Entity], snapshot: Snapshot
) -> AccountUser:
    row = snapshot.report.users.get(user.name) if snapshot.report else None
    listed = snapshot.listed.get(user.name)
    devices = virtual if listed is None else listed
    complete = listed is not None or (row is not None and not row.mfa and not devices)
    policies = entity_policies(user, snapshot, groups=groups)
    return AccountUser(
        user=user,
        credentials=row,
        devices=devices,
        complete=complete,
        mfa=_has_mfa(row, devices, complete=complete),
        policies=policies,
        admin=administers(user, policies),
    )


def _has_mfa(row: Credentials | None, devices: tuple[Device, ...], *, complete: bool) -> bool | None:
    if devices or (row is not None and row.mfa and not complete):
        return True
    return False if complete else None


def about(user: Entity) -> RequestContext:
    """Return the condition keys about the caller, with their values, for requests of a user."""
    return {"aws:username": user.name, "aws:PrincipalArn": user.arn, "aws:PrincipalType": "User"}


def entity_policies(
    entity: Entity, snapshot: Snapshot, *, groups: Mapping[str, Entity] | None = None
) -> EntityPolicies:
    """Return the policies of a user, group or role, including those of a user's groups.

    `groups` has the known groups by name. If one of the user's groups is not in it, `unread` of the result is true.
    """
    holders = [entity, *(groups[name] for name in entity.groups if groups and name in groups)]
    policies = [policy for holder in holders for policy in own_policies(holder, snapshot.policies)]
    missing_group = [] if len(holders) > len(entity.groups) else ["a group of this user could not be read"]
    gaps = [*(policy.flaw for policy in policies if policy.flaw), *missing_group]
    boundary, flaw = _boundary(entity, snapshot)
    return EntityPolicies(
        documents=tuple(policy.text for policy in policies if policy.text is not None and not policy.flaw),
        boundary=boundary,
        unread=bool(gaps),
        why=[*gaps, flaw][0],
    )


def _boundary(entity: Entity, snapshot: Snapshot) -> tuple[str | None, str]:
    """Return a pair: the text of an entity's permissions boundary, and the reason why it cannot be evaluated.

    The text is None if there is no boundary. The reason is empty if the boundary can be evaluated.
    """
    if entity.boundary is None:
        return None, ""
    policy = managed_policy(entity.boundary, snapshot.policies)
    return (UNREAD, policy.flaw) if policy.flaw else (policy.text, "")


def administers(entity: Entity, policies: EntityPolicies) -> bool | None:
    """Return whether these policies let a user or role attach a policy to itself, or write an inline policy for itself.

    Return None if that is unknown. With this right, the user or role can give itself every other right, so it is an
    administrator. The policies are evaluated for a session with MFA, because an administrator whose policies demand MFA
    is still an administrator.
    """
    context = {**about(entity), **WITH_MFA}
    kind = "Role" if ":role/" in entity.arn else "User"
    answers = {policies.decide(f"iam:{verb}{kind}Policy", entity.arn, context) for verb in ("Attach", "Put")}
    if Decision.ALLOW in answers:
        return True
    return None if policies.unread or Decision.UNKNOWN in answers else False
