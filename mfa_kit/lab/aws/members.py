"""Makes an organization with member accounts: their names, OUs, tags and users, and the roles that each of them has."""

import json
from collections.abc import Sequence
from functools import cache

from mfa_kit.lab.aws.account import ADMINISTRATOR, LabAccount
from mfa_kit.lab.aws.description import DescribedRoot
from mfa_kit.lab.aws.organization import CREDENTIALS, SESSIONS, AccountRecord, LabOrganization

# The role of AWS in each account that an organization creates (Organizations user guide).
ACCESS_ROLE = "OrganizationAccountAccessRole"
# What the two roles of mfa-kit in each account may do (docs/permissions.md).
AUDIT_ROLE, ENROLL_ROLE = "mfa-kit-audit", "mfa-kit-enroll"
AUDIT = (
    "GenerateCredentialReport",
    "GetAccountAuthorizationDetails",
    "GetAccountPasswordPolicy",
    "GetAccountSummary",
    "GetCredentialReport",
    "GetLoginProfile",
    "GetMFADevice",
    "ListAccessKeys",
    "ListMFADeviceTags",
    "ListMFADevices",
    "ListOrganizationsFeatures",
    "ListUsers",
    "ListVirtualMFADevices",
)
ENROLL = (
    "CreateVirtualMFADevice",
    "DeactivateMFADevice",
    "DeleteVirtualMFADevice",
    "EnableMFADevice",
    "GenerateCredentialReport",
    "GetAccountAuthorizationDetails",
    "GetCredentialReport",
    "GetMFADevice",
    "GetUser",
    "ListMFADeviceTags",
    "ListMFADevices",
    "ListUsers",
    "ListVirtualMFADevices",
    "ResyncMFADevice",
    "TagMFADevice",
)
# The OUs of a new organization, each with its parent, and the tag of the accounts in those that have accounts.
UNITS = (("workloads", ""), ("sandbox", ""), ("production", "workloads"), ("development", "workloads"))
STAGES = ("production", "development", "sandbox")


def new_organization(management: LabAccount) -> LabOrganization:
    """Make an organization of one account, which manages root access centrally. Only its root is a parent."""
    organization = LabOrganization(management)
    organization.add(AccountRecord(account=management, name="management", email="management@example.com"))
    organization.features = {CREDENTIALS, SESSIONS}
    return organization


def add_members(organization: LabOrganization, count: int, *, users: Sequence[str]) -> None:
    """Add OUs, and accounts `member-001` and so on with IDs from 000000000001. Each gets these users and three roles.

    As AWS creates them, their root users have no credentials.
    """
    units = {"": organization.root_id}
    for name, parent in UNITS:
        units[name] = organization.add_unit(name, parent=units[parent])
    for number in range(1, count + 1):
        stage = STAGES[number % len(STAGES)]
        name = f"member-{number:03}"
        account = add_member(organization, f"{number:012}", name=name, parent=units[stage], tags={"stage": stage})
        add_default_roles(account, organization.management)
        for user in users:
            account.add_user(user)


def add_member(
    organization: LabOrganization, number: str, *, name: str, parent: str, tags: dict[str, str] | None = None
) -> LabAccount:
    """Add an empty account to the organization. Its root user has no credentials."""
    account = sibling(organization.management, number)
    account.root = without_credentials()
    email = f"{name}@example.com"
    return organization.add(AccountRecord(account=account, name=name, email=email, parent=parent, tags=tags or {}))


def without_credentials() -> DescribedRoot:
    """Make the root user of a new member account, which has no credentials at all."""
    return DescribedRoot(mfa=False, password=False)


def sibling(management: LabAccount, number: str) -> LabAccount:
    """Make an empty account of the same lab: with the same region, settings and lock."""
    return LabAccount(region=management.region, settings=management.settings, number=number, lock=management.lock)


def add_default_roles(account: LabAccount, management: LabAccount) -> None:
    """Add the roles that mfa-kit assumes and AWS's own, which trust the management account."""
    trust = _trust(management.partition, management.id)
    for name, policy in ((AUDIT_ROLE, _allow(AUDIT)), (ENROLL_ROLE, _allow(ENROLL)), (ACCESS_ROLE, ADMINISTRATOR)):
        role = account.backend.create_role(name, trust, "/", None, "", [], "3600")
        role.policies["allow"] = policy


@cache
def _trust(partition: str, management: str) -> str:
    """Return a trust policy for an account, as JSON. Accounts share the text, so it is parsed once."""
    who = {"AWS": f"arn:{partition}:iam::{management}:root"}
    statement = {"Effect": "Allow", "Principal": who, "Action": ["sts:AssumeRole", "sts:SetSourceIdentity"]}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@cache
def _allow(operations: tuple[str, ...]) -> str:
    """Return a policy that allows operations of IAM, as JSON."""
    statement = {"Effect": "Allow", "Action": [f"iam:{name}" for name in operations], "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
