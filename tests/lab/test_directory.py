"""IAM's operations on a whole account: pages of users, details, the report, the summary, security keys, passwords."""

import csv
import io
from typing import Any

from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.aws.state import describe_account
from tests.lab.client import Aws, document, refused


def test_users_come_in_pages_without_case(lab: Lab, admin: Aws) -> None:
    """Users are listed by name regardless of case, each once, over the pages that botocore requests."""
    for name in ("Zoe", "anna", "Bert"):
        lab.add_user(name)
    pages = list(admin.iam.get_paginator("list_users").paginate(PaginationConfig={"PageSize": 2}))
    names = [user["UserName"] for page in pages for user in page["Users"]]
    assert (len(pages), names) == (3, ["alice", "anna", "Bert", "bob", "lab-admin", "Zoe"])


def test_users_by_path(lab: Lab, admin: Aws) -> None:
    """PathPrefix selects the users below it."""
    lab.add_user("zoe", path="/team/")
    (zoe,) = admin.iam.list_users(PathPrefix="/team/")["Users"]
    assert (zoe["Arn"], zoe["UserId"][:4]) == ("arn:aws:iam::000000000000:user/team/zoe", "AIDA")


def test_get_user_without_a_name_is_the_caller(admin: Aws) -> None:
    """GetUser and other operations on the caller need no user name."""
    assert admin.iam.get_user()["User"]["UserName"] == "lab-admin"
    admin.iam.tag_user(UserName="alice", Tags=[{"Key": "team", "Value": "red"}])
    assert admin.iam.get_user(UserName="alice")["User"]["Tags"] == [{"Key": "team", "Value": "red"}]


def test_the_whole_account_in_pages(admin: Aws) -> None:
    """GetAccountAuthorizationDetails lists users with groups, policies and tags, then groups, roles and policies."""
    admin.iam.create_group(GroupName="people")
    admin.iam.add_user_to_group(GroupName="people", UserName="alice")
    everything = document({"Action": "*", "Resource": "*"})
    arn = admin.iam.create_policy(PolicyName="all", PolicyDocument=everything)["Policy"]["Arn"]
    admin.iam.attach_group_policy(GroupName="people", PolicyArn=arn)
    admin.iam.create_role(RoleName="ops", AssumeRolePolicyDocument=document({"Action": "sts:AssumeRole"}))
    pages = list(
        admin.iam.get_paginator("get_account_authorization_details").paginate(PaginationConfig={"PageSize": 2})
    )
    whole: dict[str, list[Any]] = {
        name: [row for page in pages for row in page[name]]
        for name in ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")
    }
    assert len(pages) == 3
    assert [user["UserName"] for user in whole["UserDetailList"]] == ["alice", "bob", "lab-admin"]
    assert admin.iam.get_group(GroupName="people")["Users"][0]["UserName"] == "alice"
    assert whole["UserDetailList"][0]["GroupList"] == ["people"]
    (group,), (role,), (policy,) = whole["GroupDetailList"], whole["RoleDetailList"], whole["Policies"]
    assert group["AttachedManagedPolicies"] == [{"PolicyName": "all", "PolicyArn": arn}]
    assert (role["RoleName"], policy["PolicyName"]) == ("ops", "all")
    assert policy["PolicyVersionList"][0]["Document"]["Statement"][0]["Action"] == "*"


def test_details_by_filter(admin: Aws) -> None:
    """A filter selects the types of entities in the response."""
    found = admin.iam.get_account_authorization_details(Filter=["Group"])
    assert (found["UserDetailList"], found["GroupDetailList"]) == ([], [])


def _report(admin: Aws) -> list[dict[str, str]]:
    text = admin.iam.get_credential_report()["Content"].decode()
    assert not text.endswith("\n")
    return list(csv.DictReader(io.StringIO(text)))


def test_the_credential_report(admin: Aws) -> None:
    """Root comes first. The row of a user shows the password, keys and MFA. Dates are in UTC."""
    with refused("ReportNotPresent", "Unknown"):
        admin.iam.get_credential_report()
    admin.iam.create_login_profile(UserName="alice", Password="correct horse battery")
    admin.iam.update_account_password_policy(MaxPasswordAge=90)
    admin.enrolled("alice")
    alice = admin.user("alice")
    alice.sts.get_caller_identity()
    assert admin.iam.generate_credential_report()["State"] == "STARTED"
    assert admin.iam.generate_credential_report()["State"] == "COMPLETE"
    root, one, other, me = _report(admin)
    assert [row["user"] for row in (root, one, other, me)] == ["<root_account>", "alice", "bob", "lab-admin"]
    assert (root["arn"], root["mfa_active"], root["password_enabled"]) == (
        "arn:aws:iam::000000000000:root",
        "true",
        "not_supported",
    )
    assert (one["mfa_active"], one["password_enabled"], one["password_last_used"]) == ("true", "true", "no_information")
    assert one["password_next_rotation"] > one["password_last_changed"] > "2026"
    assert one["user_creation_time"][-1] == "Z"
    assert (one["access_key_1_active"], one["access_key_1_last_used_service"]) == ("true", "sts")
    assert (one["access_key_2_active"], one["access_key_2_last_rotated"]) == ("false", "N/A")
    assert (other["mfa_active"], other["password_enabled"], other["password_last_changed"]) == ("false", "false", "N/A")
    assert len(root) == 22


def test_the_report_is_a_snapshot_that_expires(lab: Lab, admin: Aws) -> None:
    """The report does not change for four hours. Then it has expired and must be generated again."""
    admin.iam.generate_credential_report()
    first = _report(admin)
    admin.enrolled("bob")
    admin.iam.generate_credential_report()
    assert _report(admin) == first
    assert lab.account.report is not None
    at, content = lab.account.report
    lab.account.report = (at - 4 * 3600 - 1, content)
    with refused("ReportExpired", "Unknown"):
        admin.iam.get_credential_report()
    assert admin.iam.generate_credential_report()["State"] == "STARTED"
    assert _report(admin) != first


def test_the_summary_counts_devices_and_shows_those_of_root(lab: Lab, admin: Aws) -> None:
    """The summary has virtual devices, assigned ones, and AccountMFAEnabled for root."""
    admin.enrolled("alice")
    admin.create("free")
    seen = admin.iam.get_account_summary()["SummaryMap"]
    assert (seen["Users"], seen["MFADevices"], seen["MFADevicesInUse"], seen["AccountMFAEnabled"]) == (3, 2, 1, 1)
    lab.account.root.mfa = False
    assert admin.iam.get_account_summary()["SummaryMap"]["AccountMFAEnabled"] == 0


def test_a_security_key_is_listed_described_and_removed(lab: Lab, admin: Aws) -> None:
    """IAM has no operation that registers a key, so the lab has a method for it. Deactivate deletes the key."""
    serial = lab.register_fido("alice", "blue-key")
    assert serial.startswith("arn:aws:iam::000000000000:u2f/user/alice/blue-key-")
    assert admin.iam.list_mfa_devices(UserName="alice")["MFADevices"][0]["SerialNumber"] == serial
    assert admin.iam.list_virtual_mfa_devices()["VirtualMFADevices"] == []
    found = admin.iam.get_mfa_device(UserName="alice", SerialNumber=serial)
    assert (found["UserName"], found["Certifications"]) == ("alice", {"FIDO": "L1"})
    with refused("NoSuchEntity"):
        admin.iam.get_mfa_device(UserName="bob", SerialNumber=serial)
    admin.iam.deactivate_mfa_device(UserName="alice", SerialNumber=serial)
    assert admin.iam.list_mfa_devices(UserName="alice")["MFADevices"] == []


def test_get_mfa_device_is_for_security_keys_only(admin: Aws) -> None:
    """For any serial other than a FIDO ARN, the error is ValidationError."""
    serial = admin.enrolled("alice")
    said = (
        "The MFA device serial number sent in the request is invalid or not supported by this API. "
        "Currently, only hardware FIDO security keys are supported. Please use the compatible device or API."
    )
    with refused("ValidationError", said):
        admin.iam.get_mfa_device(UserName="alice", SerialNumber=serial)


def test_a_security_key_counts_among_the_eight() -> None:
    """The quota of devices counts all kinds together."""
    with Lab(("alice",), settings=LabSettings(devices_per_user=1)) as lab:
        admin = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
        lab.register_fido("alice", "key")
        serial = admin.create("alice")
        with refused("LimitExceeded"):
            admin.enable("alice", serial)


def test_passwords(admin: Aws) -> None:
    """A login profile is created once, can require a new password, and blocks DeleteUser."""
    admin.iam.create_login_profile(UserName="bob", Password="correct horse battery", PasswordResetRequired=True)
    with refused("EntityAlreadyExists", "Login Profile for user bob already exists."):
        admin.iam.create_login_profile(UserName="bob", Password="correct horse battery")
    assert admin.iam.get_login_profile(UserName="bob")["LoginProfile"]["PasswordResetRequired"]
    with refused("DeleteConflict", "Cannot delete entity, must delete login profile first."):
        admin.iam.delete_user(UserName="bob")
    with refused("NoSuchEntity"):
        admin.iam.update_login_profile(UserName="alice", Password="correct horse battery")


def test_the_password_policy(admin: Aws) -> None:
    """An account has no password policy until it is set."""
    with refused("NoSuchEntity"):
        admin.iam.get_account_password_policy()
    admin.iam.update_account_password_policy(MinimumPasswordLength=14)
    assert admin.iam.get_account_password_policy()["PasswordPolicy"]["MinimumPasswordLength"] == 14


def test_a_renamed_user_keeps_device_and_keys(admin: Aws, lab: Lab) -> None:
    """Lists show the new name, and the access keys still work."""
    serial = admin.enrolled("alice")
    alice = admin.user("alice")
    admin.iam.update_user(UserName="alice", NewUserName="alicia", NewPath="/team/")
    assert lab.assigned(serial) == "alicia"
    assert admin.iam.list_virtual_mfa_devices()["VirtualMFADevices"][0]["User"]["UserName"] == "alicia"
    assert alice.sts.get_caller_identity()["Arn"] == "arn:aws:iam::000000000000:user/team/alicia"


def test_a_changed_password_and_a_policy_of_a_group(admin: Aws) -> None:
    """UpdateLoginProfile keeps the profile. AWS's policies can be read, and attached to groups and roles."""
    admin.iam.create_login_profile(UserName="bob", Password="correct horse battery")
    admin.iam.update_login_profile(UserName="bob", PasswordResetRequired=True)
    assert admin.iam.get_login_profile(UserName="bob")["LoginProfile"]["PasswordResetRequired"]
    arn = "arn:aws:iam::aws:policy/IAMReadOnlyAccess"
    assert admin.iam.get_policy(PolicyArn=arn)["Policy"]["PolicyName"] == "IAMReadOnlyAccess"
    admin.iam.create_group(GroupName="readers")
    admin.iam.attach_group_policy(GroupName="readers", PolicyArn=arn)
    for _ in range(2):
        admin.iam.add_user_to_group(GroupName="readers", UserName="bob")
    assert admin.user("bob").iam.list_users()["Users"]
    admin.iam.create_role(RoleName="ops", AssumeRolePolicyDocument=document({"Action": "sts:AssumeRole"}))
    admin.iam.attach_role_policy(RoleName="ops", PolicyArn=arn)
    assert admin.iam.list_attached_role_policies(RoleName="ops")["AttachedPolicies"][0]["PolicyArn"] == arn
    with refused("NoSuchEntity"):
        admin.iam.attach_role_policy(RoleName="ops", PolicyArn="arn:aws:iam::aws:policy/None")


def test_what_prevents_delete_user(admin: Aws) -> None:
    """Access keys and groups block DeleteUser, as devices and passwords do."""
    admin.iam.create_group(GroupName="people")
    admin.iam.add_user_to_group(GroupName="people", UserName="alice")
    with refused("DeleteConflict", "Cannot delete entity, must remove users from group first."):
        admin.iam.delete_user(UserName="alice")
    admin.iam.remove_user_from_group(GroupName="people", UserName="alice")
    assert admin.iam.list_groups_for_user(UserName="alice")["Groups"] == []
    key = admin.iam.create_access_key(UserName="alice")["AccessKey"]["AccessKeyId"]
    with refused("DeleteConflict", "Cannot delete entity, must delete access keys first."):
        admin.iam.delete_user(UserName="alice")
    admin.iam.delete_access_key(UserName="alice", AccessKeyId=key)
    admin.iam.delete_user(UserName="alice")


def test_what_is_reported_about_root() -> None:
    """Root's virtual device is listed with root's ARN and no name. Summary and report show keys and password."""
    described = {"root": {"virtual": True, "password": False, "keys": 1, "key_last_used": "2026-01-02T03:04:05+00:00"}}
    with Lab(description=described) as lab:
        admin = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))
        (device,) = admin.iam.list_virtual_mfa_devices()["VirtualMFADevices"]
        assert device["SerialNumber"] == "arn:aws:iam::000000000000:mfa/root-account-mfa-device"
        assert device["User"]["Arn"] == "arn:aws:iam::000000000000:root"
        assert "UserName" not in device["User"]
        assert admin.iam.get_account_summary()["SummaryMap"]["AccountPasswordPresent"] == 0
        admin.iam.generate_credential_report()
        row = admin.iam.get_credential_report()["Content"].decode().splitlines()[1].split(",")
    assert row[8:13] == ["true", "2020-01-02T03:04:05Z", "2026-01-02T03:04:05Z", "us-east-1", "iam"]
    assert row[13:15] == ["false", "N/A"]


def test_the_last_use_of_a_key_is_returned(admin: Aws) -> None:
    """GetAccessKeyLastUsed works for the access keys of any user."""
    alice = admin.user("alice")
    alice.sts.get_caller_identity()
    said = admin.iam.get_access_key_last_used(AccessKeyId=alice.keys[0])
    assert (said["UserName"], said["AccessKeyLastUsed"]["ServiceName"]) == ("alice", "sts")


def test_an_expired_certificate_is_listed() -> None:
    """Certificates of a description have their dates, and come in pages. The summary counts them."""
    rows = [{"name": "old", "expires": "2026-01-02T03:04:05+00:00"}, {"name": "new"}]
    with Lab(description={"version": 1, "certificates": rows}) as lab:
        iam = Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None)).iam
        assert iam.get_account_summary()["SummaryMap"]["ServerCertificates"] == 2
        pages = iam.get_paginator("list_server_certificates").paginate(PaginationConfig={"PageSize": 1})
        found = [row for page in pages for row in page["ServerCertificateMetadataList"]]
        assert [(row["ServerCertificateName"], row["Expiration"].year) for row in found][1] == ("old", 2026)
        assert describe_account(lab.account)["certificates"][0]["expires"] == rows[0]["expires"]  # type: ignore[index]


def test_a_role_keeps_the_longest_session(admin: Aws) -> None:
    """It is left out until it is set, and after it is reset. What UpdateRole does not name stays."""
    iam, trust = admin.iam, document({"Action": "sts:AssumeRole", "Principal": "*"})
    iam.create_role(RoleName="desk", AssumeRolePolicyDocument=trust, Description="d", MaxSigninSessionDuration=3600)
    iam.update_role(RoleName="desk", MaxSessionDuration=7200)
    role = iam.get_role(RoleName="desk")["Role"]
    assert (role["Description"], role["MaxSessionDuration"], role["MaxSigninSessionDuration"]) == ("d", 7200, 3600)
    assert describe_account(admin.lab.account)["roles"][0]["sign_in_session"] == 3600  # type: ignore[index]
    iam.update_role(RoleName="desk", ResetMaxSigninSessionDuration=True)
    assert "MaxSigninSessionDuration" not in iam.get_role(RoleName="desk")["Role"]


def test_a_login_profile_keeps_the_longest_session(admin: Aws) -> None:
    """It is left out until it is set, and after it is reset."""
    iam = admin.iam
    iam.create_login_profile(UserName="alice", Password="correct horse battery staple")
    assert "MaxSigninSessionDuration" not in iam.get_login_profile(UserName="alice")["LoginProfile"]
    iam.update_login_profile(UserName="alice", MaxSigninSessionDuration=7776000)
    assert iam.get_login_profile(UserName="alice")["LoginProfile"]["MaxSigninSessionDuration"] == 7776000
    iam.update_login_profile(UserName="alice", ResetMaxSigninSessionDuration=True)
    assert "MaxSigninSessionDuration" not in iam.get_login_profile(UserName="alice")["LoginProfile"]
    with refused("NoSuchEntity"):
        iam.get_login_profile(UserName="bob")
