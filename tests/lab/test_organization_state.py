"""An organization that is made from a description and kept between runs."""

from pathlib import Path
from typing import Any

import pytest

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab import session
from mfa_kit.lab.aws import description
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.aws.state import describe_lab
from mfa_kit.organization.accounts import AccountState
from tests.lab.client import Aws, document, refused

SEED = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" * 2
DESCRIBED = f"""
version = 1

[root]
devices = [{{ kind = "token", serial = "GAHT00000009" }}]

[organization]
name = "hub"
email = "hub@example.com"
features = ["RootSessions"]
restricted = ["000000000003"]

[organization.delegated]
"000000000003" = ["iam.amazonaws.com"]

[[organization.units]]
name = "shops"
tags = {{ cost = "12" }}

[[organization.units]]
name = "old"
parent = "shops"

[[organization.accounts]]
id = "000000000003"
name = "shop"
email = "shop@example.com"
parent = "shops"
tags = {{ team = "red" }}
joined = "2024-05-06T07:08:09+00:00"
method = "INVITED"

[[organization.accounts.users]]
name = "zoe"
devices = [{{ name = "zoe", seed = "{SEED}" }}]

[[organization.accounts.roles]]
name = "ops"
max_session_duration = 7200
policies = {{ all = {{ Version = "2012-10-17", Statement = [{{ Effect = "Allow", Action = "*", Resource = "*" }}] }} }}

[organization.accounts.roles.trust]
Version = "2012-10-17"
Statement = [{{ Effect = "Allow", Principal = {{ AWS = "000000000000" }}, Action = "sts:AssumeRole" }}]

[[organization.accounts]]
id = "000000000004"
parent = "old"
state = "PENDING_CLOSURE"
root = {{ devices = [{{ kind = "virtual" }}], password = true }}

[[organization.accounts]]
id = "999999999999"
outside = true
roles = []

[[organization.control_policies]]
name = "reads"
targets = ["000000000003", "root"]
document = {{ Version = "2012-10-17", Statement = [{{ Effect = "Allow", Action = "iam:List*", Resource = "*" }}] }}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write the description DESCRIBED to a file, and return its path."""
    written = tmp_path / "organization.toml"
    written.write_text(DESCRIBED, "utf-8")
    return written


def _admin(lab: Lab) -> Aws:
    return Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))


def test_a_described_organization_has_the_described_entities(file: Path) -> None:
    """Cases: accounts, OUs, states, tags, roles, policies, features, administrators and the devices of root."""
    with Lab(description=description.read_description(file)) as lab:
        admin = _admin(lab)
        organizations = admin.client("organizations")
        found = {each["Id"]: each for each in organizations.list_accounts()["Accounts"]}
        assert {number: each["State"] for number, each in found.items()} == {
            "000000000000": "ACTIVE",
            "000000000003": "ACTIVE",
            "000000000004": "PENDING_CLOSURE",
        }
        shop = found["000000000003"]
        assert (shop["Name"], shop["Email"], shop["JoinedMethod"]) == ("shop", "shop@example.com", "INVITED")
        assert shop["JoinedTimestamp"].isoformat() == "2024-05-06T07:08:09+00:00"
        unit = "o-lab0000000/r-lab0/ou-lab0-00000001"
        assert shop["Paths"] == [f"{unit}/000000000003/"]
        assert found["000000000004"]["Paths"] == [f"{unit}/ou-lab0-00000002/000000000004/"]
        assert organizations.list_tags_for_resource(ResourceId="ou-lab0-00000001")["Tags"] == [
            {"Key": "cost", "Value": "12"}
        ]
        assert admin.iam.list_organizations_features()["EnabledFeatures"] == ["RootSessions"]
        given = {"RoleArn": "arn:aws:iam::000000000003:role/ops", "RoleSessionName": "desk"}
        member = admin.session(admin.sts.assume_role(**given, DurationSeconds=7200)["Credentials"])
        assert [user["UserName"] for user in member.iam.list_users()["Users"]] == ["zoe"]
        assert member.iam.list_mfa_devices(UserName="zoe")["MFADevices"]
        with refused("AccessDenied"):
            member.iam.get_account_summary()
        with refused("AccessDenied"):
            admin.sts.assume_role(
                RoleArn="arn:aws:iam::000000000004:role/OrganizationAccountAccessRole", RoleSessionName="desk"
            )
        assert lab.organization.outside["999999999999"].backend.roles == {}
        assert lab.organization["000000000004"].root.password


def test_an_organization_is_saved_and_restored(file: Path, tmp_path: Path) -> None:
    """The restored lab has the same accounts, and their access keys still work."""
    options = session.LabOptions(source=file, folder=tmp_path / "kept")
    with session.running_lab(options) as (lab, _):
        shop = lab.organization["000000000003"]
        key = shop.backend.create_access_key("zoe")
        lab.organization.records["000000000004"].state = AccountState.CLOSED
        lab.organization.attach("other", document({"Effect": "Deny", "Action": "iam:*", "Resource": "*"}), "r-lab0")
        before = describe_lab(lab.organization)
    with session.running_lab(session.LabOptions(folder=tmp_path / "kept")) as (lab, _):
        assert describe_lab(lab.organization) == before
        zoe = Aws(lab, (key.access_key_id, key.secret_access_key, None))
        assert zoe.sts.get_caller_identity()["Account"] == "000000000003"
        assert len(lab.organization) == 2


def test_a_new_organization_is_saved_and_restored(tmp_path: Path) -> None:
    """`--state` saves the organization that `--accounts` creates.

    If the folder already has an account, `--accounts` is refused.
    """
    options = session.LabOptions(accounts=3, users=2, folder=tmp_path)
    with session.running_lab(options) as (lab, _):
        before = describe_lab(lab.organization)
        assert [user.name for user in lab.organization["000000000003"].backend.all_users()] == ["alice", "bob"]
    with session.running_lab(session.LabOptions(folder=tmp_path)) as (lab, _):
        assert describe_lab(lab.organization) == before
    with pytest.raises(UsageFault, match="already contains an account"), session.running_lab(options):
        pass
    both = session.LabOptions(accounts=3, source=tmp_path / "account.json")
    with pytest.raises(UsageFault, match="--accounts makes an organization"), session.running_lab(both):
        pass


def test_a_single_account_is_kept_without_an_organization() -> None:
    """The description of a lab with one account has no table for an organization."""
    lab = Lab()
    lab.server.server_close()
    assert "organization" not in describe_lab(lab.organization)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"account": []}, "organization: unknown field 'account'"),
        ({"units": [{"name": "a", "parent": "b"}]}, "no OU of this organization has the name or ID 'b'"),
        ({"units": [{}]}, "one of the units has no 'name'"),
        (
            {"units": [{"name": "a"}, {"name": "a"}], "restricted": ["a"]},
            "more than one OU of this organization is named 'a'",
        ),
        ({"units": [{"name": "a", "id": "ou-lab0-00000009"}] * 2}, "the ID 'ou-lab0-00000009' is used twice"),
        ({"units": [{"name": "a", "id": "r-lab0"}]}, "the ID 'r-lab0' is used twice, or has the wrong form"),
        ({"accounts": [{"name": "a"}]}, "one of the accounts has no 'id'"),
        ({"accounts": [{"id": "12"}]}, "'12' is not an account ID"),
        ({"accounts": [{"id": "000000000000"}]}, "the account 000000000000 is described twice"),
        ({"accounts": [{"id": "000000000001"}] * 2}, "the account 000000000001 is described twice"),
        ({"accounts": [{"id": "000000000001", "state": "OPEN"}]}, "'OPEN' is not a valid AccountState"),
        ({"accounts": [{"id": "000000000001", "method": "BOUGHT"}]}, "'BOUGHT' is not one of CREATED, INVITED"),
        ({"accounts": [{"id": "000000000001", "users": [{"name": "a b"}]}]}, "account 000000000001: one of the users"),
        ({"accounts": [{"id": "000000000001", "root": {"devices": [{"kind": "x"}]}}]}, "device of root: 'x'"),
        ({"features": ["Root"]}, "'Root' is not one of RootCredentialsManagement, RootSessions"),
        ({"control_policies": [{"name": "p", "document": {}}]}, "Statement"),
        ({"delegated": {"000000000001": []}}, "'000000000001' is not a member account"),
        ([], "the field 'organization' is of type list, not dict"),
    ],
)
def test_invalid_descriptions_of_organizations(found: Any, said: str) -> None:
    """The error names the value that is unknown, duplicate or missing, and its account."""
    with pytest.raises(UsageFault) as caught:
        Lab(description={"version": 1, "organization": found})
    assert said in str(caught.value)
