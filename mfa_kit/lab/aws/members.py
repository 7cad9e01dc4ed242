"""Adds member accounts to an organization: their names, OUs, tags and users."""

from collections.abc import Sequence

from mfa_kit.lab.aws.account import LabAccount
from mfa_kit.lab.aws.default_roles import add_default_roles
from mfa_kit.lab.aws.description import DescribedRoot
from mfa_kit.lab.aws.organization import AccountRecord, LabOrganization

# UNITS are the OUs of a new organization, each with its parent ("" means the root). STAGES are the OUs that have
# accounts; their names are also the values of the accounts' tag `stage`.
UNITS = (("workloads", ""), ("sandbox", ""), ("production", "workloads"), ("development", "workloads"))
STAGES = ("production", "development", "sandbox")


def add_members(organization: LabOrganization, count: int, *, users: Sequence[str]) -> None:
    """Add the OUs of UNITS and `count` member accounts to an organization.

    The first account has the name `member-001` and the ID 000000000001. Each account gets the users
    named in `users` and the default roles. Its root user has no credentials, as in accounts that AWS creates.
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
    account = organization.management.sibling(number)
    account.root = DescribedRoot.without_credentials()
    email = f"{name}@example.com"
    return organization.add(AccountRecord(account=account, name=name, email=email, parent=parent, tags=tags or {}))
