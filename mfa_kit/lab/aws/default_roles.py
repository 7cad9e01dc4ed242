"""The default roles of a new account in an organization: two that mfa-kit assumes, and one that AWS adds."""

import json
from functools import cache

from mfa_kit.lab.aws.account import ADMINISTRATOR, LabAccount

# The role that AWS adds to each account that an organization creates (Organizations user guide).
ACCESS_ROLE = "OrganizationAccountAccessRole"
# The names of the two roles that mfa-kit assumes, and the IAM operations that each may call (docs/permissions.md).
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
    "ListServerCertificates",
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


def add_default_roles(account: LabAccount, management: LabAccount) -> None:
    """Add three roles that trust the management account: the two that mfa-kit assumes, and the one that AWS adds."""
    trust = _trust(management.partition, management.id)
    for name, policy in ((AUDIT_ROLE, _allow(AUDIT)), (ENROLL_ROLE, _allow(ENROLL)), (ACCESS_ROLE, ADMINISTRATOR)):
        role = account.backend.create_role(name, trust, "/", None, "", [], "3600")
        role.policies["allow"] = policy


@cache
def _trust(partition: str, management: str) -> str:
    """Return a trust policy, as JSON, that lets principals of the management account assume a role.

    They may also set a source identity. The policy is cached because all accounts of a lab get the same one.
    """
    who = {"AWS": f"arn:{partition}:iam::{management}:root"}
    statement = {"Effect": "Allow", "Principal": who, "Action": ["sts:AssumeRole", "sts:SetSourceIdentity"]}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@cache
def _allow(operations: tuple[str, ...]) -> str:
    """Return a policy, as JSON, that allows these IAM operations on all resources."""
    statement = {"Effect": "Allow", "Action": [f"iam:{name}" for name in operations], "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
