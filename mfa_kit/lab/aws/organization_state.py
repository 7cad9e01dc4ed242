"""Describes a lab with its organization, in the form that --state stores and that organization_builder.py reads."""

from mfa_kit.core.json_text import read_json
from mfa_kit.lab.aws.account import LabAccount
from mfa_kit.lab.aws.description_rows import OF_THE_FILE
from mfa_kit.lab.aws.organization import AccountRecord, ControlPolicy, LabOrganization, OrganizationalUnit
from mfa_kit.lab.aws.state import Row, date_text, describe_account, without_empty


def describe_lab(organization: LabOrganization) -> Row:
    """Return the description of a lab. If the lab has an organization, it is in the table `organization`."""
    found = describe_account(organization.management)
    if organization.records:
        found["organization"] = _organization(organization)
    return found


def _organization(organization: LabOrganization) -> Row:
    management = organization.records[organization.management.id]
    members = [_member(record) for record in organization.records.values() if record is not management]
    outside = [{**_account(account), "outside": True} for account in organization.outside.values()]
    more = {
        "name": management.name,
        "email": management.email,
        "delegated": organization.delegated,
        "restricted": sorted(organization.restricted),
        "units": [_unit(unit) for unit in organization.units.values()],
        "control_policies": [_policy(policy) for policy in organization.policies.values()],
        "accounts": [*members, *outside],
    }
    return {"features": sorted(organization.features), **without_empty(more)}


def _unit(unit: OrganizationalUnit) -> Row:
    return without_empty({"id": unit.id, "name": unit.name, "parent": unit.parent, "tags": unit.tags})


def _policy(policy: ControlPolicy) -> Row:
    return {
        "id": policy.id,
        "name": policy.name,
        "description": policy.description,
        "document": read_json(policy.document),
        "targets": policy.targets,
    }


def _account(account: LabAccount) -> Row:
    """Return the row of an account in the list `accounts` of the description.

    The row has the field `roles` even if the account has no roles. Without this field, the account would get the
    default roles when the description is read again.
    """
    found = {name: value for name, value in describe_account(account).items() if name not in OF_THE_FILE}
    return {"id": account.id, "roles": [], **found}


def _member(record: AccountRecord) -> Row:
    more: Row = {
        "name": record.name,
        "email": record.email,
        "state": record.state.value,
        "parent": record.parent,
        "tags": record.tags,
        "joined": date_text(record.joined),
        "method": record.method,
    }
    return {**_account(record.account), **without_empty(more)}
