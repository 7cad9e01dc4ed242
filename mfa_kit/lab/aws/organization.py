"""The accounts of one lab, and the organization that they belong to. A request's access key selects the account.

This module does not use moto, because moto keeps its organizations in a process-wide dictionary and gives accounts
random IDs. A lab without an organization also has a LabOrganization, but its `records` are empty.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count

from mfa_kit.lab.aws.account import LabAccount
from mfa_kit.organization.accounts import AccountState

# IDs that match the patterns of the service model. They are the same in each lab, so that tests and the documentation
# can name them.
ORGANIZATION, ROOT = "o-lab0000000", "r-lab0"
# AWS attaches this policy to each root, OU and account (Organizations user guide, "Service control policies").
FULL_ACCESS = "p-FullAWSAccess"
FULL_ACCESS_DOCUMENT = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
# The only type of organization policies in the lab, and its name in ARNs.
CONTROL_TYPE = "SERVICE_CONTROL_POLICY"
# The features of centralized root access (API ListOrganizationsFeatures). The management account and the delegated
# administrators of IAM may list these features and call AssumeRoot.
CREDENTIALS, SESSIONS = "RootCredentialsManagement", "RootSessions"
IAM_SERVICE = "iam.amazonaws.com"


@dataclass(slots=True, kw_only=True)
class OrganizationalUnit:
    """An OU. `parent` is the ID of the root or of another OU."""

    id: str
    name: str
    parent: str
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class ControlPolicy:
    """A service control policy: a JSON document, and the IDs of the root, OUs and accounts that have it attached."""

    id: str
    name: str
    document: str
    targets: list[str]
    description: str = ""


@dataclass(slots=True, kw_only=True)
class AccountRecord:
    """An account as its organization lists it. `parent` is the ID of the root or of an OU."""

    account: LabAccount
    name: str
    email: str
    parent: str = ROOT
    state: AccountState = AccountState.ACTIVE
    tags: dict[str, str] = field(default_factory=dict)
    joined: datetime = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    method: str = "CREATED"


class LabOrganization(Mapping[str, LabAccount]):
    """All accounts of a lab. It maps IDs to the member accounts, without the management account.

    `records` has each account of the organization, the management account first. It is empty if there is no
    organization. `outside` has accounts that are in no organization. `delegated` maps account IDs to the services that
    the account administers. `restricted` has the IDs of roots, OUs and accounts that FullAWSAccess was detached from.
    """

    def __init__(self, management: LabAccount) -> None:
        self.management = management
        self.id, self.root_id = ORGANIZATION, ROOT
        self.records: dict[str, AccountRecord] = {}
        self.outside: dict[str, LabAccount] = {}
        self.units: dict[str, OrganizationalUnit] = {}
        self.policies: dict[str, ControlPolicy] = {}
        self.restricted: set[str] = set()
        self.features: set[str] = set()
        self.delegated: dict[str, list[str]] = {}
        self._by_key: dict[str, LabAccount] = {}

    def __getitem__(self, number: str) -> LabAccount:
        if number == self.management.id:
            raise KeyError(number)
        return self.records[number].account

    def __iter__(self) -> Iterator[str]:
        return (number for number in self.records if number != self.management.id)

    def __len__(self) -> int:
        return max(0, len(self.records) - 1)

    def add(self, record: AccountRecord) -> LabAccount:
        """Add an account to the organization. Add the management account first."""
        self.records[record.account.id] = record
        record.account.membership = _Membership(self, record)
        return record.account

    def add_unit(self, name: str, *, parent: str = ROOT, number: str = "") -> str:
        """Add an OU with the ID `number`, or with a new ID if this is "". Return its ID."""
        unit = OrganizationalUnit(id=number or self._unused("ou-lab0-"), name=name, parent=parent)
        self.units[unit.id] = unit
        return unit.id

    def attach(self, name: str, document: str, *targets: str, number: str = "", description: str = "") -> str:
        """Create a service control policy and attach it to the targets, which are IDs of roots, OUs or accounts.

        Return the ID of the policy, which is `number`, or a new ID if `number` is "".
        """
        policy = ControlPolicy(
            id=number or self._unused("p-lab"),
            name=name,
            document=document,
            targets=[*targets],
            description=description,
        )
        self.policies[policy.id] = policy
        return policy.id

    def _unused(self, start: str) -> str:
        """Return an ID that begins with `start` and that no OU and no policy has."""
        candidates = (f"{start}{number:08}" for number in count(1))
        return next(
            candidate for candidate in candidates if candidate not in self.units and candidate not in self.policies
        )

    def accounts(self) -> Iterator[LabAccount]:
        """Yield all accounts of the lab, in or outside the organization, the management account first."""
        yield self.management
        yield from self.values()
        yield from self.outside.values()

    def find(self, number: str) -> LabAccount | None:
        """Return the account of the lab with this ID, or None if no account has it."""
        if number == self.management.id:
            return self.management
        return self.outside[number] if number in self.outside else self.get(number)

    def account_of(self, key: str) -> LabAccount | None:
        """Return the account that issued an access key, or None if no account of this lab issued it."""
        account = self._by_key.get(key)
        if account is None or not account.issued(key):
            account = next((account for account in self.accounts() if account.issued(key)), None)
            if account is not None:
                self._by_key[key] = account
        return account

    def is_open(self, account: LabAccount) -> bool:
        """Return whether an account accepts requests: it is ACTIVE, or in no organization."""
        return account.membership is None or account.membership.is_open

    def administers(self, account: LabAccount, service: str = "") -> bool:
        """Return whether an account is the management account or a delegated administrator.

        If `service` is not "", a delegated administrator must administer this service.
        """
        if account.id not in self.records:
            return False
        services = self.delegated.get(account.id, [])
        return account is self.management or (service in services if service else bool(services))

    def ancestors(self, parent: str) -> list[str]:
        """Return the IDs from the organization's root down to `parent`, which is an OU or the root itself."""
        ids = [parent]
        while ids[0] in self.units:
            ids.insert(0, self.units[ids[0]].parent)
        return ids

    def path(self, parent: str) -> str:
        """Return the path of a root or OU, as in aws:PrincipalOrgPaths."""
        return "/".join([self.id, *self.ancestors(parent), ""])

    def attached(self, target: str) -> list[ControlPolicy]:
        """Return the service control policies attached to a root, OU or account.

        FullAWSAccess, if attached, is the first.
        """
        policies = [policy for policy in self.policies.values() if target in policy.targets]
        return policies if target in self.restricted else [replace(FULL, targets=[target]), *policies]

    def targets(self) -> list[str]:
        """Return the IDs of everything that a service control policy can be attached to."""
        return [self.root_id, *self.units, *self.records]

    def all_policies(self) -> list[ControlPolicy]:
        """Return all service control policies with their targets, FullAWSAccess first."""
        full = replace(FULL, targets=[target for target in self.targets() if target not in self.restricted])
        return [full, *self.policies.values()]

    def arn(self, kind: str, *names: str) -> str:
        """Return the ARN of a part of the organization, such as an account."""
        account = self.management
        return f"arn:{account.partition}:organizations::{account.id}:{'/'.join([kind, self.id, *names])}"

    def policy_arn(self, number: str) -> str:
        """Return the ARN of a service control policy. ARNs of AWS's own policies contain no organization ID."""
        if number == FULL_ACCESS:
            return f"arn:{self.management.partition}:organizations::aws:policy/{CONTROL_TYPE.lower()}/{number}"
        return self.arn("policy", CONTROL_TYPE.lower(), number)


FULL = ControlPolicy(
    id=FULL_ACCESS,
    name="FullAWSAccess",
    document=FULL_ACCESS_DOCUMENT,
    targets=[],
    description="Allows access to every operation",
)


def new_organization(management: LabAccount) -> LabOrganization:
    """Return an organization with only the management account.

    The features of centralized root access are enabled, and there are no OUs.
    """
    organization = LabOrganization(management)
    organization.add(AccountRecord(account=management, name="management", email="management@example.com"))
    organization.features = {CREDENTIALS, SESSIONS}
    return organization


@dataclass(frozen=True, slots=True)
class _Membership:
    """The membership of an account in its organization, for request contexts and policy evaluation."""

    organization: LabOrganization
    record: AccountRecord

    @property
    def organization_id(self) -> str:
        """The ID of the organization, for aws:PrincipalOrgID."""
        return self.organization.id

    @property
    def path(self) -> str:
        """The path of the account's parent, for aws:PrincipalOrgPaths."""
        return self.organization.path(self.record.parent)

    @property
    def is_open(self) -> bool:
        """Whether the account is ACTIVE."""
        return self.record.state is AccountState.ACTIVE

    def control_policies(self) -> Sequence[Mapping[str, str]]:
        """Return the documents of the service control policies by ARN, for each level from the root to the account.

        The list is empty for the management account, which SCPs do not affect (Organizations user guide).
        """
        if self.record.account is self.organization.management:
            return []
        levels = [*self.organization.ancestors(self.record.parent), self.record.account.id]
        organization = self.organization
        return [
            {organization.policy_arn(policy.id): policy.document for policy in organization.attached(level)}
            for level in levels
        ]
