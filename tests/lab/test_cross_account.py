"""AssumeRole between accounts: who may, how long a session lasts, and what the next session of a chain keeps."""

from collections.abc import Iterator
from typing import Any

import pytest

from mfa_kit.lab.aws.mfa_devices import UNABLE, LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.organization.accounts import AccountState
from tests.lab.client import Aws, code, document, refused, stop_the_clock

MEMBER, OTHER = "000000000001", "000000000002"
INVALID = "MultiFactorAuthentication failed with invalid MFA one time pass code. "
CHAINED = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
TOO_LONG = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
HUB = {"AWS": "arn:aws:iam::000000000000:root"}


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Run a lab with an organization of two members, and alice in each account. The clock of STS stands still."""
    with Lab(accounts=2, users_per_account=1, settings=LabSettings(propagation=0)) as running:
        stop_the_clock(running, monkeypatch)
        yield running


def role(lab: Lab, number: str, name: str, **trust: Any) -> str:
    """Create a role with the permission for everything. Return its ARN.

    `trust` has elements that replace those of the statement in its trust policy.
    """
    text = document({"Action": "sts:AssumeRole", "Principal": HUB, **trust})
    made = lab.organization[number].backend.create_role(name, text, "/", None, "", [], "3600")
    made.policies["all"] = document({"Action": "*", "Resource": "*"})
    return str(made.arn)


def assume(aws: Aws, arn: str, **more: Any) -> Aws:
    """Assume a role, and return a client of the lab with the credentials of the session."""
    return aws.session(aws.sts.assume_role(RoleArn=arn, RoleSessionName="desk", **more)["Credentials"])


def denied(arn: str, who: str = "arn:aws:iam::000000000000:user/alice", action: str = "AssumeRole") -> str:
    """Return the message with which STS denies `action` on the role `arn` to the principal `who`."""
    return f"User: {who} is not authorized to perform: sts:{action} on resource: {arn}"


def allowed(admin: Aws, user: str = "alice", **statement: Any) -> Aws:
    """Allow a user of the management account all actions of STS, or what the elements in `statement` say.

    Return a client of the lab with a new access key of the user.
    """
    policy = document({"Action": "sts:*", "Resource": "*", **statement})
    admin.iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=policy)
    return admin.user(user)


def test_both_accounts_must_allow(lab: Lab, admin: Aws) -> None:
    """The role must trust the caller.

    The caller's own policies must allow the call too, even if the role names the caller.
    """
    arn = role(lab, MEMBER, "ops", Principal={"AWS": "arn:aws:iam::000000000000:user/alice"})
    with refused("AccessDenied", denied(arn)):
        assume(admin.user("alice"), arn)
    alice = allowed(admin)
    assert assume(alice, arn).sts.get_caller_identity()["Arn"] == f"arn:aws:sts::{MEMBER}:assumed-role/ops/desk"
    foreign = role(lab, MEMBER, "foreign", Principal={"AWS": OTHER})
    with refused("AccessDenied", denied(foreign)):
        assume(alice, foreign)


def test_a_session_policy_of_the_caller_counts(lab: Lab, admin: Aws) -> None:
    """If the session policy does not allow AssumeRole, the session cannot assume a role in another account."""
    narrow = document({"Action": "iam:*", "Resource": "*"})
    first = f"arn:aws:iam::{MEMBER}:role/OrganizationAccountAccessRole"
    second = role(lab, OTHER, "ops", Principal={"AWS": MEMBER})
    assume(assume(admin, first), second)
    with refused("AccessDenied"):
        assume(assume(admin, first, Policy=narrow), second)


def test_one_denial_has_many_causes(lab: Lab, admin: Aws) -> None:
    """The message is the same for a missing role, a closed account, missing MFA and a wrong external ID."""
    alice = allowed(admin)
    wants_mfa = role(lab, MEMBER, "mfa", Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}})
    wants_id = role(lab, MEMBER, "id", Condition={"StringEquals": {"sts:ExternalId": "x1"}})
    closed = role(lab, OTHER, "ops")
    lab.organization.records[OTHER].state = AccountState.SUSPENDED
    missing = (f"arn:aws:iam::{MEMBER}:role/none", "arn:aws:iam::999999999999:role/none")
    for arn in (*missing, wants_mfa, wants_id, closed):
        with refused("AccessDenied", denied(arn)):
            assume(alice, arn)
    with refused("AccessDenied", denied(wants_id)):
        assume(alice, wants_id, ExternalId="x2")
    assume(alice, wants_id, ExternalId="x1")


def test_a_code_counts_for_one_call(lab: Lab, admin: Aws) -> None:
    """One code in AssumeRole is enough for one account.

    The same code again is refused, and nine attempts lock the device.
    """
    roles = [
        role(lab, number, "mfa", Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}})
        for number in lab.organization
    ]
    serial = admin.enrolled("alice")
    alice = allowed(admin)
    proof = {"SerialNumber": serial, "TokenCode": code(admin.seeds[serial], admin.now())}
    first = assume(alice, roles[0], **proof)
    for said in (*[INVALID] * 8, UNABLE):
        with refused("AccessDenied", said):
            assume(alice, roles[1], **proof)
    with refused("AccessDenied"):
        assume(first, roles[1])


def test_a_session_with_mfa_can_assume_roles_in_all_accounts(lab: Lab, admin: Aws) -> None:
    """One code in GetSessionToken is enough for AssumeRole in every account. The sessions of the roles have no MFA."""
    condition = {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    roles = [role(lab, number, "mfa", Condition=condition) for number in lab.organization]
    serial = admin.enrolled("alice")
    session = allowed(admin).mfa_session(serial)
    for arn in roles:
        assume(session, arn)
    chained = role(lab, OTHER, "chained", Principal={"AWS": MEMBER}, Condition=condition)
    with refused("AccessDenied"):
        assume(assume(session, roles[0]), chained)


def test_a_chained_session_lasts_one_hour(lab: Lab, admin: Aws) -> None:
    """In a call with a role's credentials, a duration of more than an hour is refused, whatever the new role allows."""
    arn = role(lab, OTHER, "ops", Principal={"AWS": MEMBER})
    lab.organization[OTHER].backend.update_role("ops", "", "43200")
    first = assume(admin, f"arn:aws:iam::{MEMBER}:role/OrganizationAccountAccessRole")
    with refused("ValidationError", CHAINED):
        assume(first, arn, DurationSeconds=3601)
    assume(first, arn, DurationSeconds=3600)


def test_a_role_limits_the_duration_of_its_sessions(lab: Lab, admin: Aws) -> None:
    """MaxSessionDuration limits DurationSeconds, and is one hour unless it is set."""
    arn = role(lab, MEMBER, "ops")
    with refused("ValidationError", TOO_LONG):
        assume(admin, arn, DurationSeconds=3601)
    admin_there = assume(admin, arn)
    admin_there.iam.update_role(RoleName="ops", MaxSessionDuration=7200)
    before = lab.organization[MEMBER].now()  # the clock of the other account does not stand still
    made = admin.sts.assume_role(RoleArn=arn, RoleSessionName="desk", DurationSeconds=7200)["Credentials"]
    assert made["Expiration"].timestamp() > before + 7190
    with refused("ValidationError", TOO_LONG):
        assume(admin, arn, DurationSeconds=7201)


def test_a_source_identity_is_kept_in_a_chain(lab: Lab, admin: Aws) -> None:
    """Each role of the chain must allow sts:SetSourceIdentity, and no role can change the value."""
    both = ["sts:AssumeRole", "sts:SetSourceIdentity"]
    first = role(lab, MEMBER, "ops", Action=both)
    second = role(lab, OTHER, "ops", Action=both, Principal={"AWS": MEMBER})
    closed = role(lab, OTHER, "closed", Principal={"AWS": MEMBER})
    session = assume(admin, first, SourceIdentity="alice")
    made = session.sts.assume_role(RoleArn=second, RoleSessionName="desk")
    assert made["SourceIdentity"] == "alice"
    who = f"arn:aws:sts::{MEMBER}:assumed-role/ops/desk"
    with refused("AccessDenied", denied(closed, who, "SetSourceIdentity")):
        assume(session, closed)
    with refused("AccessDenied", denied(second, who, "SetSourceIdentity")):
        assume(session, second, SourceIdentity="bob")
    assume(assume(admin, first), closed)


def test_a_source_identity_is_a_condition_key(lab: Lab, admin: Aws) -> None:
    """A trust policy can require sts:SourceIdentity, and a role's policies see aws:SourceIdentity."""
    both = ["sts:AssumeRole", "sts:SetSourceIdentity"]
    arn = role(lab, MEMBER, "ops", Action=both, Condition={"StringLike": {"sts:SourceIdentity": "a*"}})
    with refused("AccessDenied"):
        assume(admin, arn)
    with refused("AccessDenied"):
        assume(admin, arn, SourceIdentity="bob")
    session = assume(admin, arn, SourceIdentity="alice")
    only = document(
        {"Action": "iam:List*", "Resource": "*", "Condition": {"StringEquals": {"aws:SourceIdentity": "alice"}}}
    )
    session.iam.put_role_policy(RoleName="ops", PolicyName="all", PolicyDocument=only)
    assert session.iam.list_users()["Users"]


def test_the_callers_policies_must_allow_a_source_identity(lab: Lab, admin: Aws) -> None:
    """The caller needs sts:SetSourceIdentity too."""
    arn = role(lab, MEMBER, "ops", Action=["sts:AssumeRole", "sts:SetSourceIdentity"])
    alice = allowed(admin, Action="sts:AssumeRole")
    assume(alice, arn)
    with refused("AccessDenied", denied(arn, action="SetSourceIdentity")):
        assume(alice, arn, SourceIdentity="alice")
