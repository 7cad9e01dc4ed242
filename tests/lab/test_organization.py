"""The lab's organization: its accounts and how they are listed, its policies, and the root users of its members."""

import base64
import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab import remote
from mfa_kit.lab.aws.description import RootDevice
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.organization import IAM_SERVICE
from mfa_kit.lab.aws.server import Lab
from mfa_kit.organization.accounts import AccountState
from tests.lab.client import Aws, document, refused
from tests.policy.test_org_role import READ, WRITE, actions

MEMBER, OTHER = "000000000001", "000000000002"
TASK = {"arn": "arn:aws:iam::aws:policy/root-task/IAMAuditRootUserCredentials"}
NO_RIGHTS = "You don't have permissions to access this resource."


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Run a lab with an organization of 24 members, each with alice and bob."""
    with Lab(accounts=24, users_per_account=2, settings=LabSettings(propagation=0)) as running:
        yield running


@pytest.fixture
def organizations(admin: Aws) -> Any:
    """Return a client of Organizations with the keys of lab-admin."""
    return admin.client("organizations")


def in_member(admin: Aws, number: str = MEMBER, role: str = "OrganizationAccountAccessRole") -> Aws:
    """Return a client of the lab with a session of a role in a member account."""
    arn = f"arn:aws:iam::{number}:role/{role}"
    return admin.session(admin.sts.assume_role(RoleArn=arn, RoleSessionName="desk")["Credentials"])


def root_of(admin: Aws, number: str = MEMBER, task: str = "IAMAuditRootUserCredentials") -> Aws:
    """Return a client of the lab with a session of AssumeRoot as the root user of a member account."""
    policy = {"arn": f"arn:aws:iam::aws:policy/root-task/{task}"}
    return admin.session(admin.sts.assume_root(TargetPrincipal=number, TaskPolicyArn=policy)["Credentials"])


def test_each_account_has_its_own_entities(lab: Lab, admin: Aws) -> None:
    """The access key of a request chooses the account, and a change in one account shows in no other."""
    member = in_member(admin)
    member.create("alice")
    assert [user["UserName"] for user in member.iam.list_users()["Users"]] == ["alice", "bob"]
    assert list(lab.organization[MEMBER].backend.virtual_mfa_devices) == [f"arn:aws:iam::{MEMBER}:mfa/alice"]
    assert admin.iam.list_virtual_mfa_devices()["VirtualMFADevices"] == []
    assert in_member(admin, OTHER).iam.list_virtual_mfa_devices()["VirtualMFADevices"] == []
    assert member.sts.get_caller_identity()["Account"] == MEMBER


def test_a_users_key_belongs_to_its_account(admin: Aws) -> None:
    """A user of a member has ARNs and access keys of that account."""
    member = in_member(admin)
    alice = member.user("alice")
    assert alice.sts.get_caller_identity()["Arn"] == f"arn:aws:iam::{MEMBER}:user/alice"
    member.iam.delete_access_key(UserName="alice", AccessKeyId=alice.keys[0])
    with refused("InvalidClientTokenId"):
        alice.sts.get_caller_identity()


def test_accounts_are_listed_in_pages_of_twenty(organizations: Any) -> None:
    """A page has at most 20 accounts, and the paginator finds them all, the management account first."""
    first = organizations.list_accounts()
    assert len(first["Accounts"]) == 20
    pages = organizations.get_paginator("list_accounts").paginate()
    assert [each["Id"] for page in pages for each in page["Accounts"]] == [f"{number:012}" for number in range(25)]
    with refused("InvalidInputException"):
        organizations.list_accounts(NextToken="other")
    with refused("InvalidInputException"):
        organizations.list_accounts(MaxResults=21)


def test_an_account_has_state_and_status(lab: Lab, organizations: Any) -> None:
    """State and Status are both returned. Status has no value for a closed account, so the lab returns SUSPENDED."""
    lab.organization.records[MEMBER].state = AccountState.CLOSED
    found = organizations.describe_account(AccountId=MEMBER)["Account"]
    assert (found["State"], found["Status"]) == ("CLOSED", "SUSPENDED")
    assert (found["Name"], found["Email"]) == ("member-001", "member-001@example.com")
    assert found["Arn"] == f"arn:aws:organizations::000000000000:account/o-lab0000000/{MEMBER}"
    assert found["JoinedTimestamp"] < datetime.now(UTC)
    with refused("AccountNotFoundException"):
        organizations.describe_account(AccountId="999999999999")
    with refused("InvalidInputException", "You provided a value that does not match the required pattern."):
        organizations.describe_account(AccountId="member-001")


def test_the_tree_of_ous(organizations: Any) -> None:
    """Roots, OUs, parents, children and the accounts of a parent make the same tree."""
    [root] = organizations.list_roots()["Roots"]
    units = organizations.list_organizational_units_for_parent(ParentId=root["Id"])["OrganizationalUnits"]
    assert [unit["Name"] for unit in units] == ["workloads", "sandbox"]
    workloads = units[0]["Id"]
    inner = organizations.list_children(ParentId=workloads, ChildType="ORGANIZATIONAL_UNIT")["Children"]
    names = [
        organizations.describe_organizational_unit(OrganizationalUnitId=each["Id"])["OrganizationalUnit"]["Name"]
        for each in inner
    ]
    assert names == ["production", "development"]
    [parent] = organizations.list_parents(ChildId=inner[0]["Id"])["Parents"]
    assert parent == {"Id": workloads, "Type": "ORGANIZATIONAL_UNIT"}
    for unit in inner:
        below = [each["Id"] for each in organizations.list_accounts_for_parent(ParentId=unit["Id"])["Accounts"]]
        children = organizations.list_children(ParentId=unit["Id"], ChildType="ACCOUNT")["Children"]
        assert below == [each["Id"] for each in children]
        assert organizations.list_parents(ChildId=below[0])["Parents"][0]["Id"] == unit["Id"]
    [account] = organizations.list_accounts_for_parent(ParentId=root["Id"])["Accounts"]
    assert account["Id"] == "000000000000"
    for ask in (organizations.list_accounts_for_parent, organizations.list_organizational_units_for_parent):
        with refused("ParentNotFoundException"):
            ask(ParentId="ou-lab0-99999999")
    with refused("ChildNotFoundException"):
        organizations.list_parents(ChildId="999999999999")
    with refused("OrganizationalUnitNotFoundException"):
        organizations.describe_organizational_unit(OrganizationalUnitId="ou-lab0-99999999")


def test_accounts_have_tags(organizations: Any) -> None:
    """Tags are listed for an account, an OU or the root."""
    assert organizations.list_tags_for_resource(ResourceId=MEMBER)["Tags"] == [{"Key": "stage", "Value": "development"}]
    assert organizations.list_tags_for_resource(ResourceId="r-lab0")["Tags"] == []
    with refused("TargetNotFoundException"):
        organizations.list_tags_for_resource(ResourceId="999999999999")


def test_policies_of_a_target(lab: Lab, organizations: Any) -> None:
    """FullAWSAccess is attached everywhere unless it was detached."""
    lab.organization.attach("guard", document({"Effect": "Deny", "Action": "iam:*", "Resource": "*"}), MEMBER)
    lab.organization.restricted.add(OTHER)
    given = {"Filter": "SERVICE_CONTROL_POLICY"}
    found = organizations.list_policies_for_target(TargetId=MEMBER, **given)["Policies"]
    assert {policy["Name"]: policy["AwsManaged"] for policy in found} == {"FullAWSAccess": True, "guard": False}
    assert organizations.list_policies_for_target(TargetId=OTHER, **given)["Policies"] == []
    assert organizations.list_policies_for_target(TargetId=MEMBER, Filter="TAG_POLICY")["Policies"] == []
    with refused("TargetNotFoundException"):
        organizations.list_policies_for_target(TargetId="999999999999", **given)


def test_all_policies_are_listed_with_their_targets(lab: Lab, organizations: Any) -> None:
    """The text of a policy and the names of its targets are read separately. Targets come in pages of 20."""
    unit = lab.organization.records[MEMBER].parent
    text = document({"Effect": "Deny", "Action": "iam:*", "Resource": "*"})
    number = lab.organization.attach("guard", text, unit, MEMBER)
    listed = organizations.list_policies(Filter="SERVICE_CONTROL_POLICY")["Policies"]
    assert [(policy["Id"], policy["Arn"]) for policy in listed] == [
        ("p-FullAWSAccess", "arn:aws:organizations::aws:policy/service_control_policy/p-FullAWSAccess"),
        (number, f"arn:aws:organizations::000000000000:policy/o-lab0000000/service_control_policy/{number}"),
    ]
    assert organizations.list_policies(Filter="RESOURCE_CONTROL_POLICY")["Policies"] == []
    described = organizations.describe_policy(PolicyId=number)["Policy"]
    assert (described["Content"], described["PolicySummary"]) == (text, listed[1])
    targets = organizations.list_targets_for_policy(PolicyId=number)["Targets"]
    name = lab.organization.units[unit].name
    assert {(target["TargetId"], target["Type"], target["Name"]) for target in targets} == {
        (MEMBER, "ACCOUNT", "member-001"),
        (unit, "ORGANIZATIONAL_UNIT", name),
    }
    everywhere = organizations.get_paginator("list_targets_for_policy").paginate(PolicyId="p-FullAWSAccess")
    pages = [page["Targets"] for page in everywhere]
    assert len(pages[0]) == 20
    assert sum(map(len, pages)) == 1 + len(lab.organization.units) + 25
    with refused("PolicyNotFoundException"):
        organizations.describe_policy(PolicyId="p-missing00")


def test_members_may_not_list_accounts(lab: Lab, admin: Aws) -> None:
    """A member may only describe its organization, unless it is a delegated administrator of any service."""
    member = in_member(admin).client("organizations")
    assert member.describe_organization()["Organization"]["MasterAccountId"] == "000000000000"
    with refused("AccessDeniedException", NO_RIGHTS):
        member.list_accounts()
    lab.organization.delegated[MEMBER] = ["access-analyzer.amazonaws.com"]
    assert member.list_accounts()["Accounts"]


def test_the_callers_policies_must_allow_organizations(admin: Aws) -> None:
    """Identity-based policies decide about Organizations as they do about IAM."""
    auditor = in_member(admin, role="mfa-kit-audit").client("organizations")
    said = (
        f"User: arn:aws:sts::{MEMBER}:assumed-role/mfa-kit-audit/desk is not authorized to perform: "
        "organizations:DescribeOrganization on resource: * "
        "because no identity-based policy allows the organizations:DescribeOrganization action"
    )
    with refused("AccessDeniedException", said):
        auditor.describe_organization()


def test_an_account_without_an_organization_gets_an_error() -> None:
    """A lab with one account has no organization, so Organizations returns AWSOrganizationsNotInUseException."""
    with Lab() as single:
        admin = Aws(single, (single.admin.access_key_id, single.admin.secret_access_key, None))
        for ask in ("describe_organization", "list_accounts", "list_roots"):
            with refused("AWSOrganizationsNotInUseException", "Your account is not a member of an organization."):
                getattr(admin.client("organizations"), ask)()
        with refused("OrganizationNotFoundException"):
            admin.iam.list_organizations_features()
        assert len(single.organization) == 0


def test_errors_of_organizations_are_json(lab: Lab, admin: Aws, organizations: Any) -> None:
    """Each error has the code of the JSON protocol: for keys, signatures, faults and missing operations."""
    key, secret, _ = admin.keys
    for keys, code in (
        (("AKIAAAAAAAAAAAAAAAAA", secret, None), "UnrecognizedClientException"),
        ((key, "other", None), "InvalidSignatureException"),
    ):
        with refused(code):
            Aws(lab, keys).client("organizations").list_accounts()
    with refused("NotImplemented"):
        organizations.create_organization()
    for fault, code in (
        ("throttle", "TooManyRequestsException"),
        ("denied", "AccessDeniedException"),
        ("expired", "ExpiredTokenException"),
        ("error-before", "ServiceException"),
    ):
        lab.faults.add("ListAccounts", fault)
        with refused(code):
            organizations.list_accounts()
        assert lab.calls[-1].error == code


def test_boto3_finds_organizations_by_the_environment(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_ENDPOINT_URL is enough for any SDK, because the lab serves all its services at one endpoint."""
    for name, value in lab.env.items():
        monkeypatch.setenv(name, value)
    session = boto3.Session()
    assert session.client("organizations").describe_account(AccountId=MEMBER)["Account"]["Name"] == "member-001"
    assert session.client("sts").get_caller_identity()["Account"] == "000000000000"


# Service control policies.


def test_an_scp_denies_and_is_named_in_the_error(lab: Lab, admin: Aws) -> None:
    """An explicit deny at any level wins over the account's own policies, and affects no other account."""
    unit = lab.organization.records[MEMBER].parent
    deny = {"Effect": "Deny", "Action": "iam:ListUsers", "Resource": "*"}
    lab.organization.attach("guard", document(deny), unit)
    said = (
        f"User: arn:aws:sts::{MEMBER}:assumed-role/OrganizationAccountAccessRole/desk is not authorized to perform: "
        f"iam:ListUsers on resource: arn:aws:iam::{MEMBER}:user/ with an explicit deny in a service control policy: "
        "arn:aws:organizations::000000000000:policy/o-lab0000000/service_control_policy/p-lab00000001"
    )
    member = in_member(admin)
    with refused("AccessDenied", said):
        member.iam.list_users()
    assert member.iam.list_roles()["Roles"]
    assert in_member(admin, OTHER).iam.list_users()["Users"]
    with refused("AccessDenied"):
        root_of(admin).iam.list_users()


def test_each_level_must_allow(lab: Lab, admin: Aws) -> None:
    """If FullAWSAccess is detached at one level, another policy at that level must allow an action."""
    lab.organization.restricted.add(MEMBER)
    lab.organization.attach("some", document({"Action": "iam:List*", "Resource": "*"}), MEMBER)
    member = in_member(admin)
    assert member.iam.list_users()["Users"]
    said = "because no service control policy allows the iam:GetAccountSummary action"
    with pytest.raises(member.iam.exceptions.ClientError, match=said):
        member.iam.get_account_summary()


def test_an_scp_decides_about_assume_role(lab: Lab, admin: Aws) -> None:
    """AssumeRole needs no permission within the account, but an SCP can still forbid it."""
    lab.organization.attach("guard", document({"Effect": "Deny", "Action": "sts:*", "Resource": "*"}), MEMBER)
    said = "with an explicit deny in a service control policy"
    member = in_member(admin)
    with pytest.raises(member.sts.exceptions.ClientError, match=said):
        in_member(member, OTHER)


def test_a_deny_in_another_policy_is_named_before_a_missing_allow(lab: Lab, admin: Aws) -> None:
    """IAM looks for explicit denies in all policies first."""
    lab.organization.restricted.add("r-lab0")
    unit = lab.organization.records[MEMBER].parent
    lab.organization.attach("guard", document({"Effect": "Deny", "Action": "iam:ListUsers", "Resource": "*"}), unit)
    member = in_member(admin)
    with pytest.raises(member.iam.exceptions.ClientError, match="with an explicit deny in a service control policy"):
        member.iam.list_users()
    with pytest.raises(member.iam.exceptions.ClientError, match="because no service control policy allows"):
        member.iam.list_roles()


def test_a_policy_can_spare_root_sessions_and_services(lab: Lab, admin: Aws) -> None:
    """Only AssumeRoot sessions have aws:AssumedRoot, and no request of the lab comes from a service."""
    deny = {"Effect": "Deny", "Action": "iam:*", "Resource": "*"}
    lab.organization.attach("root", document({**deny, "Condition": {"Null": {"aws:AssumedRoot": "true"}}}), MEMBER)
    direct = {"Bool": {"aws:ViaAWSService": "false"}}
    lab.organization.attach("direct", document({**deny, "Condition": direct}), OTHER)
    assert root_of(admin).iam.list_mfa_devices()["MFADevices"] == []
    for refused_caller in (in_member(admin), in_member(admin, OTHER), root_of(admin, OTHER)):
        with refused("AccessDenied"):
            refused_caller.iam.get_account_summary()


def test_scps_do_not_apply_to_the_management_account(lab: Lab, admin: Aws) -> None:
    """A policy at the root of the organization affects members only."""
    lab.organization.attach("guard", document({"Effect": "Deny", "Action": "*", "Resource": "*"}), "r-lab0")
    assert admin.iam.list_users()["Users"]
    with refused("AccessDenied"):
        in_member(admin).iam.list_users()


# Centralized root access.


def test_root_of_a_member_is_audited(lab: Lab, admin: Aws) -> None:
    """A session of AssumeRoot is the root user, and can list root's devices, keys and password."""
    lab.organization[MEMBER].root.devices = [
        RootDevice(kind="virtual"),
        RootDevice(kind="fido"),
        RootDevice(kind="token"),
    ]
    root = root_of(admin)
    assert root.sts.get_caller_identity()["Arn"] == f"arn:aws:iam::{MEMBER}:root"
    held = [device["SerialNumber"] for device in root.iam.list_mfa_devices()["MFADevices"]]
    assert held[0] == f"arn:aws:iam::{MEMBER}:mfa/root-account-mfa-device"
    assert held[1].startswith(f"arn:aws:iam::{MEMBER}:u2f/root/")
    assert held[2].startswith("GAHT")
    summary = root.iam.get_account_summary()["SummaryMap"]
    assert (summary["AccountMFAEnabled"], summary["AccountPasswordPresent"]) == (1, 0)
    assert root.iam.list_access_keys()["AccessKeyMetadata"] == []
    assert root.iam.list_signing_certificates()["Certificates"] == []
    assert root.iam.get_user()["User"]["Arn"] == f"arn:aws:iam::{MEMBER}:root"
    with refused("NoSuchEntity"):
        root.iam.get_login_profile()


def test_the_task_policy_limits_a_root_session(admin: Aws) -> None:
    """Only the operations of the task are allowed, and only on the root user."""
    root = root_of(admin)
    said = (
        f"User: arn:aws:iam::{MEMBER}:root is not authorized to perform: iam:ListUsers "
        f"on resource: arn:aws:iam::{MEMBER}:user/ with an explicit deny in a session policy"
    )
    with refused("AccessDenied", said):
        root.iam.list_users()
    with refused("AccessDenied"):
        root.iam.list_mfa_devices(UserName="alice")
    with refused("AccessDenied"):
        root.iam.delete_login_profile()
    with refused("AccessDenied"):
        root.iam.create_user(UserName="eve")


def test_root_credentials_are_deleted(lab: Lab, admin: Aws) -> None:
    """The task for deletion removes devices, keys and the password. Another task allows a new password."""
    posture = lab.organization[MEMBER].root
    posture.password, posture.keys, posture.devices = True, 1, [RootDevice(), RootDevice(kind="fido")]
    root = root_of(admin, task="IAMDeleteRootUserCredentials").iam
    held = root.list_mfa_devices()["MFADevices"]
    root.deactivate_mfa_device(SerialNumber=held[0]["SerialNumber"])
    with refused("NoSuchEntity"):
        root.deactivate_mfa_device(SerialNumber=held[0]["SerialNumber"])
    assert [each["SerialNumber"] for each in root.list_mfa_devices()["MFADevices"]] == [held[1]["SerialNumber"]]
    [key] = root.list_access_keys()["AccessKeyMetadata"]
    root.delete_access_key(AccessKeyId=key["AccessKeyId"])
    root.delete_login_profile()
    assert (posture.keys, posture.password) == (0, False)
    with refused("NoSuchEntity"):
        root.delete_access_key(AccessKeyId=key["AccessKeyId"])
    again = root_of(admin, task="IAMCreateRootUserPassword").iam
    assert again.create_login_profile()["LoginProfile"]
    with refused("EntityAlreadyExists"):
        again.create_login_profile()


def test_assume_root_is_for_members_of_the_callers_organization(lab: Lab, admin: Aws) -> None:
    """The error is the same for the management account, a closed account and a target that is not an account."""
    lab.organization.records[OTHER].state = AccountState.SUSPENDED
    for target in ("000000000000", OTHER, "999999999999"):
        arn = f"arn:aws:iam::{target}:root"
        who = "User: arn:aws:iam::000000000000:user/lab-admin"
        said = f"{who} is not authorized to perform: sts:AssumeRoot on resource: {arn}"
        with refused("AccessDenied", said):
            admin.sts.assume_root(TargetPrincipal=target, TaskPolicyArn=TASK)
    with refused("AccessDenied"):
        admin.sts.assume_root(TargetPrincipal=f"arn:aws:iam::{MEMBER}:user/alice", TaskPolicyArn=TASK)
    assert admin.sts.assume_root(TargetPrincipal=f"arn:aws:iam::{MEMBER}:root", TaskPolicyArn=TASK)


def test_assume_root_is_for_administrators(lab: Lab, admin: Aws) -> None:
    """A member may call AssumeRoot only as the delegated administrator for IAM."""
    member = in_member(admin)
    with refused("AccessDenied"):
        root_of(member, OTHER)
    lab.organization.delegated[MEMBER] = [IAM_SERVICE]
    assert root_of(member, OTHER).iam.list_mfa_devices()["MFADevices"] == []


def test_assume_root_refuses_sessions_of_users(admin: Aws) -> None:
    """Credentials of GetSessionToken, even with MFA, may not call AssumeRoot. Those of a role may."""
    session = admin.mfa_session(admin.enrolled("lab-admin", "admin"))
    with refused("AccessDenied", "Cannot call AssumeRoot with session credentials"):
        root_of(session)
    hub = document({"Action": "sts:AssumeRole", "Principal": {"AWS": "arn:aws:iam::000000000000:root"}})
    admin.iam.create_role(RoleName="hub", AssumeRolePolicyDocument=hub)
    everything = document({"Action": "*", "Resource": "*"})
    admin.iam.put_role_policy(RoleName="hub", PolicyName="p", PolicyDocument=everything)
    root_of(in_member(session, "000000000000", role="hub"))


def test_assume_root_has_its_own_condition_key_and_limits(lab: Lab, admin: Aws) -> None:
    """A policy can name the task by sts:TaskPolicyArn, sessions last 900 s at most, and AWS's five tasks exist."""
    allow = {"Action": "sts:AssumeRoot", "Resource": f"arn:aws:iam::{MEMBER}:root"}
    only = {"StringEquals": {"sts:TaskPolicyArn": TASK["arn"]}}
    lab.account.backend.get_user("alice").policies["p"] = document({**allow, "Condition": only})
    alice = admin.user("alice")
    root_of(alice)
    with refused("AccessDenied"):
        root_of(alice, OTHER)
    with refused("AccessDenied"):
        root_of(alice, task="IAMDeleteRootUserCredentials")
    for wrong in ("arn:aws:iam::aws:policy/AdministratorAccess", "arn:aws:iam::aws:policy/root-task/Other"):
        with refused("ValidationError"):
            admin.sts.assume_root(TargetPrincipal=MEMBER, TaskPolicyArn={"arn": wrong})
    client = admin.client("sts")
    with pytest.raises(client.exceptions.ClientError, match="less than or equal to 900"):
        client.assume_root(TargetPrincipal=MEMBER, TaskPolicyArn=TASK, DurationSeconds=901)


def test_a_feature_must_be_enabled(admin: Aws) -> None:
    """Tasks on root's credentials need RootCredentialsManagement. Tasks that unlock policies need RootSessions."""
    admin.iam.disable_organizations_root_credentials_management()
    with refused("AccessDenied"):
        root_of(admin)
    root_of(admin, task="S3UnlockBucketPolicy")
    admin.iam.enable_organizations_root_credentials_management()
    found = admin.iam.disable_organizations_root_sessions()
    assert (found["OrganizationId"], found["EnabledFeatures"]) == ("o-lab0000000", ["RootCredentialsManagement"])
    with refused("AccessDenied"):
        root_of(admin, task="SQSUnlockQueuePolicy")
    root_of(admin)
    assert admin.iam.enable_organizations_root_sessions()["EnabledFeatures"] == [
        "RootCredentialsManagement",
        "RootSessions",
    ]


def test_features_are_for_administrators(lab: Lab, admin: Aws) -> None:
    """A delegated administrator for IAM may list features, and only the management account may change them."""
    member = in_member(admin).iam
    with refused("AccountNotManagementOrDelegatedAdministratorException"):
        member.list_organizations_features()
    lab.organization.delegated[MEMBER] = [IAM_SERVICE]
    assert member.list_organizations_features()["EnabledFeatures"] == ["RootCredentialsManagement", "RootSessions"]
    with refused("CallerIsNotManagementAccountException"):
        member.enable_organizations_root_sessions()


# Faults and calls.


def test_faults_and_calls_of_one_account(lab: Lab, admin: Aws) -> None:
    """A rule may be for one account, and each call is logged with its caller's account."""
    first, second = in_member(admin), in_member(admin, OTHER)
    lab.faults.add("ListUsers", "denied", at="every", account=OTHER)
    assert first.iam.list_users()["Users"]
    with refused("AccessDenied"):
        second.iam.list_users()
    assert [(call.account, call.error) for call in lab.calls[-2:]] == [(MEMBER, ""), (OTHER, "AccessDenied")]
    assert lab.faults.rules()[0].row()["account"] == OTHER


def test_the_control_endpoint_knows_accounts(lab: Lab, admin: Aws) -> None:
    """The endpoint lists the account of each call, takes rules for one account, and registers keys in any account."""
    member = in_member(admin)
    member.iam.list_users()
    assert remote.ask_lab("GET", "calls", {}, env=lab.env)[-1]["account"] == MEMBER
    rule = {"operation": "ListUsers", "fault": "denied", "account": MEMBER}
    remote.ask_lab("POST", "faults", rule, env=lab.env)
    assert admin.iam.list_users()["Users"]
    with refused("AccessDenied"):
        member.iam.list_users()
    remote.ask_lab("POST", "fido", {"user": "alice", "name": "blue", "account": MEMBER}, env=lab.env)
    assert len(member.iam.list_mfa_devices(UserName="alice")["MFADevices"]) == 1
    remote.ask_lab("POST", "token", {"serial": "GAHT12345678", "seed": "A" * 64, "account": MEMBER}, env=lab.env)
    member.iam.enable_mfa_device(UserName="alice", SerialNumber="GAHT12345678", **member.pair(b"A" * 64))
    with pytest.raises(UsageFault, match="no account '12'"):
        remote.ask_lab("POST", "fido", {"user": "alice", "name": "blue", "account": "12"}, env=lab.env)
    with pytest.raises(UsageFault, match="'12' is not an account ID"):
        remote.ask_lab("POST", "faults", {**rule, "account": "12"}, env=lab.env)


def test_a_device_of_a_member_is_found_by_its_arn(lab: Lab, admin: Aws) -> None:
    """A test can read the seed and the user of a device in any account."""
    member = in_member(admin)
    serial = member.enrolled("bob")
    assert lab.assigned(serial) == "bob"
    assert base64.b32encode(lab.seed(serial)) == member.seeds[serial]


def test_a_bucket_throttles_each_account_separately(lab: Lab, admin: Aws) -> None:
    """Calls of one account do not reduce the bucket of another account."""
    first, second = in_member(admin).iam, in_member(admin, OTHER).iam
    lab.faults.add("*", "bucket", rate=1 / 3600, burst=1)
    first.list_users()
    with refused("Throttling"):
        first.list_users()
    second.list_users()


def test_a_closed_account_accepts_no_credentials(lab: Lab, admin: Aws) -> None:
    """Sessions and keys of an account end when it is closed."""
    member = in_member(admin)
    alice = member.user("alice")
    lab.organization.records[MEMBER].state = AccountState.PENDING_CLOSURE
    for each in (member, alice):
        with refused("InvalidClientTokenId"):
            each.sts.get_caller_identity()


def test_the_organization_of_the_caller_is_a_condition_key(lab: Lab, admin: Aws) -> None:
    """aws:PrincipalOrgID is that of the caller's account. An account outside the organization has none."""
    organization = lab.organization
    outsider = organization.management.sibling("999999999999")
    organization.outside[outsider.id] = outsider
    outsider.add_user("mallory").policies["all"] = document({"Action": "*", "Resource": "*"})
    key = outsider.backend.create_access_key("mallory")
    mallory = Aws(lab, (key.access_key_id, key.secret_access_key, None))
    same = {"StringEquals": {"aws:PrincipalOrgID": "o-lab0000000"}}
    path = {"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-lab0000000/r-lab0/*"}}
    for name, condition in (("open", {}), ("same", same), ("path", path)):
        trust = {
            "Action": "sts:AssumeRole",
            "Principal": {"AWS": "*"},
            **({"Condition": condition} if condition else {}),
        }
        organization[MEMBER].backend.create_role(name, document(trust), "/", None, "", [], "3600")
    in_member(mallory, role="open")
    for name in ("same", "path"):
        with refused("AccessDenied"):
            in_member(mallory, role=name)
        in_member(admin, role=name)
    with refused("AWSOrganizationsNotInUseException"):
        mallory.client("organizations").list_accounts()


def test_an_organization_needs_little_memory() -> None:
    """The lab of 100 accounts with 20 users each takes less than 40 MB."""
    tracemalloc.start()
    try:
        Lab(accounts=100, users_per_account=20).server.server_close()
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


def test_members_have_the_roles_that_mfa_kit_assumes(lab: Lab) -> None:
    """Two of the roles allow the actions of the template that `policy org-role` prints."""
    roles = {role.name: role for role in lab.organization[MEMBER].backend.roles.values()}
    assert set(roles) == {"mfa-kit-audit", "mfa-kit-enroll", "OrganizationAccountAccessRole"}
    for name, resource in (("mfa-kit-audit", READ), ("mfa-kit-enroll", WRITE)):
        [statement] = json.loads(roles[name].policies["allow"])["Statement"]
        assert set(statement["Action"]) == set(actions(resource))
