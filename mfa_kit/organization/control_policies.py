"""The service control policies (SCPs) of an organization, and those that apply to an account, by level.

SCPs grant nothing. Each level from the root of the organization to the account must allow a request, and an explicit
deny at any level wins. They apply to all users, roles and root users of member accounts, except service-linked roles.
They do not apply to the management account (Organizations user guide, "Service control policies").
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from mfa_kit.account.snapshot import ControlLevel, ControlPolicy
from mfa_kit.core.errors import AwsFault
from mfa_kit.organization.accounts import OrgAccount

# The policy that AWS attaches to the root, to each unit and to each account, and its text (Organizations user guide,
# "SCP evaluation"). AWS owns it, so its text need not be read.
FULL_ACCESS = "p-FullAWSAccess"
FULL_ACCESS_TEXT = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
# The ID of a policy that is not in the organization yet.
NEW_POLICY = "new"


def units_of_path(path: str) -> tuple[str, ...]:
    """Return the IDs of the root and the units in the path of an account, the root first.

    The path has the form `o-exampleorgid/r-root/ou-unit/ACCOUNT/` (Organizations API reference, Account: Paths).
    """
    return tuple(part for part in path.split("/") if part.startswith(("r-", "ou-")))


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationPolicies:
    """All SCPs of an organization by ID, the IDs of their targets by policy ID, and the names of the targets by ID.

    `management` is the ID of the management account. If SCPs are not enabled in the organization, `is_enabled` is
    false, and there are no policies. AWS attaches FullAWSAccess to each target when they are enabled.
    """

    management: str
    policies: Mapping[str, ControlPolicy] = field(default_factory=dict)
    targets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    is_enabled: bool = True

    def levels(self, account: str, units: Sequence[str]) -> tuple[ControlLevel, ...]:
        """Return the levels of SCPs that apply to an account. `units` are the IDs of the root and of its units.

        Raise AwsFault if the root is not among them, or if no policy is attached to one of them. AWS always keeps one,
        so an answer was incomplete.
        """
        if account == self.management:
            return ()
        if not units or not units[0].startswith("r-"):
            raise AwsFault(f"Organizations does not say in which units account {account} is", "try again")
        levels = tuple(self._level(target) for target in (*units, account))
        for level in levels:
            if not level.policies:
                raise AwsFault(f"Organizations lists no service control policy of {level.label}", "try again")
        return levels

    def _level(self, target: str) -> ControlLevel:
        if not self.is_enabled:
            full = ControlPolicy(id=FULL_ACCESS, name="FullAWSAccess", text=FULL_ACCESS_TEXT)
            return ControlLevel(target=target, name=self.names.get(target, ""), policies=(full,))
        attached = (policy for number, policy in self.policies.items() if target in self.targets.get(number, ()))
        return ControlLevel(target=target, name=self.names.get(target, ""), policies=tuple(attached))


class ControlSource(Protocol):
    """Reads the SCPs of an organization. Its methods raise MfaKitError if something cannot be read."""

    def policies(self) -> OrganizationPolicies:
        """Return all SCPs with their targets."""
        ...

    def policy(self, number: str) -> tuple[ControlPolicy, tuple[str, ...]]:
        """Return one SCP, and the names of its targets, such as `the unit Production`."""
        ...

    def units(self, account: OrgAccount) -> tuple[str, ...]:
        """Return the IDs of the root and of the units above an account, the root first."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationControl:
    """What the caller's account can read of SCPs. `read` returns all policies, and `units` what is above an account.

    Both raise MfaKitError if that cannot be read.
    """

    read: Callable[[], OrganizationPolicies]
    units: Callable[[OrgAccount], tuple[str, ...]]

    def levels(self, account: OrgAccount) -> tuple[ControlLevel, ...]:
        """Return the levels of SCPs that apply to an account. Raise MfaKitError if they cannot be read."""
        policies = self.read()
        return () if account.id == policies.management else policies.levels(account.id, self.units(account))


def with_policy(
    levels: Sequence[ControlLevel], text: str, *, target: str, instead: bool
) -> tuple[ControlLevel, ...] | None:
    """Return the levels of an account after an SCP has been attached to a target, or None if that is not above it.

    With `instead`, FullAWSAccess is detached from the target.
    """
    if target not in {level.target for level in levels}:
        return None
    policy = ControlPolicy(id=NEW_POLICY, name="the new policy", text=text)
    return tuple(
        replace(level, policies=(*_remaining(level, instead=instead), policy)) if level.target == target else level
        for level in levels
    )


def _remaining(level: ControlLevel, *, instead: bool) -> tuple[ControlPolicy, ...]:
    return tuple(policy for policy in level.policies if not (instead and policy.id == FULL_ACCESS))
