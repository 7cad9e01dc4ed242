"""The lab's CloudTrail: LookupEvents as its API reference describes it, and the events of sign-ins and calls.

The samples in this file were written from AWS's documentation (CloudTrail user guide, "AWS Management Console sign-in
events"; IAM user guide, "Logging IAM and AWS STS API calls with AWS CloudTrail"). They were not recorded.
"""

import gzip
import hashlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws import faults
from mfa_kit.lab.aws.description import RootDevice
from mfa_kit.lab.aws.history import REGIONS, event_time
from mfa_kit.lab.aws.log_files import log_files, write_log_files
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.aws.state import describe_lab
from tests.lab.client import Aws, code, document, refused, stop_the_clock

MEMBER = "000000000001"
DAY = 86400
SERIAL = "arn:aws:iam::000000000000:mfa/alice"
QUICK = LabSettings(propagation=0, lookup_rate=1e6)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """Run a lab with alice and bob, that allows any number of lookups a second. The clock stands still."""
    with Lab(("alice", "bob"), settings=QUICK) as running:
        stop_the_clock(running, monkeypatch)
        yield running


@pytest.fixture
def admin(lab: Lab) -> Aws:
    """Return a client of the lab with the access key of lab-admin."""
    return admin_of(lab)


def admin_of(lab: Lab) -> Aws:
    return Aws(lab, (lab.admin.access_key_id, lab.admin.secret_access_key, None))


def trail(admin: Aws, region: str = "us-east-1") -> Any:
    return admin.client("cloudtrail", region_name=region)


def event(lab: Lab, ago: float = 0, *, region: str = "us-east-1", name: str = "ConsoleLogin", **more: object) -> Any:
    """Return an event of `ago` seconds ago, with few fields."""
    start = {"eventTime": event_time(lab.account.now() - ago), "eventName": name, "awsRegion": region}
    return start | {"eventSource": "signin.amazonaws.com", "userIdentity": {"type": "IAMUser"}} | more


def contents(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(row["CloudTrailEvent"]) for row in answer["Events"]]


def all_contents(admin: Aws, name: str, region: str = "us-east-1") -> list[dict[str, Any]]:
    """Return the events with this name, the oldest first."""
    attributes = [{"AttributeKey": "EventName", "AttributeValue": name}]
    pages = trail(admin, region).get_paginator("lookup_events").paginate(LookupAttributes=attributes)
    return [content for page in pages for content in contents(page)][::-1]


def shape(value: object) -> object:
    """Return the names and types of a JSON value."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(inner) for inner in value] if isinstance(value, list) else type(value).__name__


def test_lookups_come_in_pages_of_at_most_50_with_the_newest_first(lab: Lab, admin: Aws) -> None:
    """API LookupEvents: MaxResults is 50 by default and at most, and the latest event is listed first."""
    lab.plant(*(event(lab, ago, eventID=f"e{ago}") for ago in (*range(0, 120, 2), *range(1, 120, 2))))
    pages = [*trail(admin).get_paginator("lookup_events").paginate()]
    assert [len(page["Events"]) for page in pages] == [50, 50, 20]
    assert [row["EventId"] for page in pages for row in page["Events"]] == [f"e{ago}" for ago in range(120)]
    assert len(trail(admin).lookup_events(MaxResults=7)["Events"]) == 7


def test_events_that_come_between_two_pages_move_nothing(lab: Lab, admin: Aws) -> None:
    """A reader that follows the tokens gets each event once."""
    lab.plant(*(event(lab, ago, eventID=f"e{ago}") for ago in range(10, 20)))
    first = trail(admin).lookup_events(MaxResults=5)
    lab.plant(event(lab, 1), event(lab, 12))
    second = trail(admin).lookup_events(MaxResults=5, NextToken=first["NextToken"])
    assert [row["EventId"] for row in (first["Events"] + second["Events"])] == [f"e{ago}" for ago in range(10, 20)]
    assert "NextToken" not in second


def test_the_event_is_a_string_that_contains_json(lab: Lab, admin: Aws) -> None:
    """API Event: CloudTrailEvent is a string, as is ReadOnly."""
    kept = event(lab, eventID="e", readOnly=True, userIdentity={"userName": "alice", "accessKeyId": "AKIA"})
    lab.plant(kept)
    [row] = trail(admin).lookup_events()["Events"]
    assert json.loads(row.pop("CloudTrailEvent")) == kept
    assert row.pop("EventTime").astimezone(UTC) == datetime.fromisoformat(kept["eventTime"])
    assert row == {
        "EventId": "e",
        "EventName": "ConsoleLogin",
        "ReadOnly": "true",
        "AccessKeyId": "AKIA",
        "EventSource": "signin.amazonaws.com",
        "Username": "alice",
        "Resources": [],
    }


def test_each_region_has_its_own_events(lab: Lab, admin: Aws) -> None:
    """API LookupEvents: it looks up events of the current Region."""
    lab.plant(event(lab, region="eu-north-1", eventID="north"), event(lab, eventID="east"))
    assert [row["EventId"] for row in trail(admin, "eu-north-1").lookup_events()["Events"]] == ["north"]
    assert [row["EventId"] for row in trail(admin).lookup_events()["Events"]] == ["east"]


def test_events_are_kept_for_90_days(lab: Lab, admin: Aws) -> None:
    """API LookupEvents: events of the last 90 days, also for a StartTime before that."""
    lab.plant(event(lab, 89.9 * DAY, eventID="kept"), event(lab, 90.1 * DAY))
    for more in ({}, {"StartTime": datetime.now(UTC) - timedelta(days=400)}):
        assert [row["EventId"] for row in trail(admin).lookup_events(**more)["Events"]] == ["kept"]


def test_both_ends_of_a_time_range_are_included(lab: Lab, admin: Aws) -> None:
    """API LookupEvents: events at or after StartTime, and before or at EndTime."""
    moments = [datetime.fromtimestamp(int(lab.account.now()) - ago, UTC) for ago in (100, 200, 300, 400)]
    lab.plant(*(event(lab, eventTime=event_time(at.timestamp()), eventID=str(at)) for at in moments))
    found = trail(admin).lookup_events(StartTime=moments[2], EndTime=moments[1])["Events"]
    assert [row["EventId"] for row in found] == [str(moments[1]), str(moments[2])]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("EventId", "wanted"),
        ("EventName", "GetSessionToken"),
        ("ReadOnly", "true"),
        ("Username", "alice"),
        ("ResourceType", "AWS::IAM::MfaDevice"),
        ("ResourceName", SERIAL),
        ("EventSource", "sts.amazonaws.com"),
        ("AccessKeyId", "AKIAALICE"),
    ],
)
def test_one_attribute_selects_events(lab: Lab, admin: Aws, key: str, value: str) -> None:
    """API LookupAttribute: the eight keys. Values are case-sensitive."""
    who = {"type": "IAMUser", "userName": "alice", "accessKeyId": "AKIAALICE"}
    more: dict[str, Any] = {"eventSource": "sts.amazonaws.com", "requestParameters": {"serialNumber": SERIAL}}
    lab.plant(event(lab, eventID="other"))
    lab.plant(event(lab, name="GetSessionToken", eventID="wanted", readOnly=True, userIdentity=who, **more))
    for text, found in ((value, ["wanted"]), (value.swapcase(), [])):
        answer = trail(admin).lookup_events(LookupAttributes=[{"AttributeKey": key, "AttributeValue": text}])
        assert [row["EventId"] for row in answer["Events"]] == found


def test_the_username_of_root_is_root(lab: Lab, admin: Aws) -> None:
    """CloudTrail user guide: even if the account has an alias, which is then the userName of the event."""
    admin.iam.create_account_alias(AccountAlias="acme")
    lab.sign_in("root")
    found = all_contents(admin, "ConsoleLogin")
    assert [
        row["Username"] for row in trail(admin).lookup_events()["Events"] if row["EventName"] == "ConsoleLogin"
    ] == ["root"]
    assert found[0]["userIdentity"]["userName"] == "acme"


ATTRIBUTE = {"AttributeKey": "EventName", "AttributeValue": "ConsoleLogin"}


@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({"LookupAttributes": [ATTRIBUTE, ATTRIBUTE]}, "InvalidLookupAttributesException"),
        ({"LookupAttributes": [ATTRIBUTE | {"AttributeKey": "Color"}]}, "InvalidLookupAttributesException"),
        ({"MaxResults": 51}, "InvalidMaxResultsException"),
        ({"StartTime": 2000, "EndTime": 1000}, "InvalidTimeRangeException"),
        ({"StartTime": 2 * 10**11, "EndTime": 2 * 10**11 + 1}, "InvalidTimeRangeException"),
        ({"EventCategory": "data"}, "InvalidEventCategoryException"),
        ({"NextToken": "?"}, "InvalidNextTokenException"),
        ({"NextToken": "bGFi"}, "InvalidNextTokenException"),
    ],
)
def test_lookups_that_the_model_refuses(admin: Aws, asked: dict[str, Any], refusal: str) -> None:
    """API LookupEvents, Errors. All have the status 400."""
    with pytest.raises(ClientError) as caught:
        trail(admin).lookup_events(**asked)
    answer = caught.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (refusal, 400)


def test_a_token_is_for_the_same_parameters_and_region(lab: Lab, admin: Aws) -> None:
    """API LookupEvents, NextToken: it must be passed with the parameters of the original call."""
    lab.plant(*(event(lab, ago) for ago in range(9)))
    asked = {"LookupAttributes": [ATTRIBUTE], "MaxResults": 4}
    token = trail(admin).lookup_events(**asked)["NextToken"]
    other = {"LookupAttributes": [ATTRIBUTE | {"AttributeValue": "AssumeRole"}], "MaxResults": 4}
    for client, params in ((trail(admin), other), (trail(admin, "us-west-2"), asked), (trail(admin), {})):
        with refused("InvalidNextTokenException"):
            client.lookup_events(NextToken=token, **params)
    assert len(trail(admin).lookup_events(NextToken=token, **asked)["Events"]) == 4


def test_insights_are_not_recorded(lab: Lab, admin: Aws) -> None:
    """API LookupEvents: the category `insight` is the only one, and the lab has no such events."""
    lab.plant(event(lab))
    assert trail(admin).lookup_events(EventCategory="insight")["Events"] == []


def test_two_lookups_a_second_in_each_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """API LookupEvents: the rate is limited to two per second, per account, per Region."""
    clock = SimpleNamespace(now=time.monotonic() + 60)  # later than the bucket was made
    monkeypatch.setattr(faults, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with Lab() as lab:
        east, west = trail(admin_of(lab)), trail(admin_of(lab), "us-west-2")
        for client in (east, east, west):
            client.lookup_events()
        with pytest.raises(ClientError) as caught:
            east.lookup_events()
        answer = caught.value.response
        assert answer["Error"] == {"Code": "ThrottlingException", "Message": "Rate exceeded"}
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
        clock.now += 0.5
        east.lookup_events()


def test_events_appear_after_the_delay(lab: Lab, admin: Aws) -> None:
    """The setting event_delay: AWS does not document how long an event takes."""
    lab.account.settings = replace(QUICK, event_delay=300)
    lab.plant(event(lab, 10), event(lab, 310, eventID="old"))
    assert [row["EventId"] for row in trail(admin).lookup_events()["Events"]] == ["old"]


def test_regions_that_are_not_enabled_refuse_calls(lab: Lab, admin: Aws) -> None:
    """Account management guide: a Region that is not enabled has no IAM data, so it does not know the keys."""
    with refused("UnrecognizedClientException"):
        trail(admin, "af-south-1").lookup_events()
    lab.account.regions.append("af-south-1")
    assert trail(admin, "af-south-1").lookup_events()["Events"] == []


def test_a_service_control_policy_can_refuse_a_region() -> None:
    """Organizations user guide, "Deny access to AWS based on the requested AWS Region"."""
    with Lab(accounts=1, settings=QUICK) as lab:
        deny = {"Effect": "Deny", "Action": "*", "Resource": "*"}
        where = {"StringNotEquals": {"aws:RequestedRegion": ["us-east-1"]}}
        lab.organization.attach("home", document({**deny, "Condition": where}), MEMBER)
        arn = f"arn:aws:iam::{MEMBER}:role/OrganizationAccountAccessRole"
        admin = admin_of(lab)
        member = admin.session(admin.sts.assume_role(RoleArn=arn, RoleSessionName="desk")["Credentials"])
        assert len(trail(member).lookup_events()["Events"]) == 1
        with refused("AccessDeniedException"):
            trail(member, "eu-west-1").lookup_events()


def test_a_user_needs_the_permission_to_look_events_up(admin: Aws) -> None:
    """Service Authorization Reference, CloudTrail: LookupEvents has no resource."""
    alice = admin.user("alice")
    with refused("AccessDeniedException"):
        trail(alice).lookup_events()
    allowed = document({"Action": "cloudtrail:LookupEvents", "Resource": "*"})
    admin.iam.put_user_policy(UserName="alice", PolicyName="read", PolicyDocument=allowed)
    assert trail(alice).lookup_events()["Events"] == []


@pytest.mark.parametrize(
    ("fault", "refusal"),
    [
        ("throttle", "ThrottlingException"),
        ("denied", "AccessDeniedException"),
        ("expired", "ExpiredTokenException"),
        ("error-before", "InternalFailure"),
    ],
)
def test_faults_of_lookups(lab: Lab, admin: Aws, fault: str, refusal: str) -> None:
    """A fault answers in the words of CloudTrail."""
    lab.faults.add("LookupEvents", fault)
    with refused(refusal):
        trail(admin).lookup_events()


def test_enabled_regions_are_listed(lab: Lab, admin: Aws) -> None:
    """EC2 API reference, DescribeRegions: the Regions that are enabled for the account."""
    ec2 = admin.client("ec2")
    assert [row["RegionName"] for row in ec2.describe_regions(AllRegions=False)["Regions"]] == [*REGIONS["aws"]]
    assert {row["OptInStatus"] for row in ec2.describe_regions()["Regions"]} == {"opt-in-not-required"}
    lab.faults.add("DescribeRegions", "throttle")
    with refused("RequestLimitExceeded"):
        ec2.describe_regions()
    with refused("UnauthorizedOperation"):
        admin.user("alice").client("ec2").describe_regions()
    with refused("AuthFailure"):
        admin.client("ec2", region_name="af-south-1").describe_regions()


def test_a_denial_of_ec2_is_encoded(admin: Aws) -> None:
    """Only sts:DecodeAuthorizationMessage reads who was denied what."""
    alice = admin.user("alice")
    with pytest.raises(ClientError) as caught:
        alice.client("ec2").describe_regions()
    encoded = caught.value.response["Error"]["Message"].partition("Encoded authorization failure message: ")[2]
    message = json.loads(admin.sts.decode_authorization_message(EncodedMessage=encoded)["DecodedMessage"])
    assert (message["allowed"], message["explicitDeny"]) == (False, False)
    assert message["context"]["action"] == "ec2:DescribeRegions"
    with refused("InvalidAuthorizationMessageException"):
        admin.sts.decode_authorization_message(EncodedMessage="unknown")
    with refused("AccessDenied"):
        alice.sts.decode_authorization_message(EncodedMessage=encoded)


def test_the_environment_of_a_lab_is_enough(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWS_ENDPOINT_URL is for all services."""
    for name, value in lab.env.items():
        monkeypatch.setenv(name, value)
    assert boto3.Session().client("cloudtrail", region_name="eu-west-1").lookup_events()["Events"] == []
    assert len(boto3.Session().client("ec2").describe_regions()["Regions"]) == 17


def test_lookups_need_a_signature(lab: Lab) -> None:
    """An unsigned request is refused, and another operation is unknown or not there."""
    for operation, refusal in (
        ("LookupEvents", "IncompleteSignatureException"),
        ("Look", "UnknownOperationException"),
        ("ListTrails", "NotImplemented"),
    ):
        headers = {"X-Amz-Target": f"com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101.{operation}"}
        request = urllib.request.Request(lab.url, method="POST", data=b"{}", headers=headers)
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request)
        with caught.value as answer:
            assert json.load(answer)["__type"] == refusal


# Written from the CloudTrail user guide, "AWS Management Console sign-in events". Not recorded.
SIGNED_IN = {
    "userIdentity": {
        "type": "IAMUser",
        "principalId": "AIDACKCEVSQ6C2EXAMPLE",
        "arn": "arn:aws:iam::111122223333:user/ana",
        "accountId": "111122223333",
        "userName": "ana",
    },
    "eventSource": "signin.amazonaws.com",
    "eventName": "ConsoleLogin",
    "requestParameters": None,
    "responseElements": {"ConsoleLogin": "Success"},
    "additionalEventData": {
        "LoginTo": "https://console.aws.amazon.com/console/home",
        "MobileVersion": "No",
        "MFAUsed": "Yes",
        "MFAIdentifier": "arn:aws:iam::111122223333:mfa/ana-phone",
    },
    "eventType": "AwsConsoleSignIn",
    "recipientAccountId": "111122223333",
}
REFUSED_IDENTITY = {
    "type": "IAMUser",
    "principalId": "AIDACKCEVSQ6C2EXAMPLE",
    "accountId": "111122223333",
    "accessKeyId": "",
    "userName": "ana",
}
REFUSED = SIGNED_IN | {
    "userIdentity": REFUSED_IDENTITY,
    "errorMessage": "Failed authentication",
    "responseElements": {"ConsoleLogin": "Failure"},
    "additionalEventData": {"LoginTo": "https://console.aws.amazon.com/", "MobileVersion": "No", "MFAUsed": "Yes"},
}
CHECKED = SIGNED_IN | {
    "userIdentity": REFUSED_IDENTITY,
    "eventName": "CheckMfa",
    "responseElements": {"CheckMfa": "Success"},
    "additionalEventData": {"MfaType": "Virtual MFA"},
}
ROOT_SIGNED_IN = SIGNED_IN | {
    "userIdentity": {
        "type": "Root",
        "principalId": "111122223333",
        "arn": "arn:aws:iam::111122223333:root",
        "accountId": "111122223333",
        "accessKeyId": "",
    }
}


def agrees(content: Mapping[str, Any], sample: Mapping[str, Any]) -> bool:
    """Return whether an event has the fields and types of a sample. It may have more fields at the top."""
    return {name: shape(content[name]) for name in sample if name in content} == shape(sample)


def test_a_sign_in_with_a_device_names_it(lab: Lab, admin: Aws) -> None:
    """CheckMfa, then ConsoleLogin with MFAIdentifier. IAM's date of the last use of the password changes too."""
    serial = admin.enrolled("alice")
    lab.sign_in("alice")
    [check], [login] = all_contents(admin, "CheckMfa"), all_contents(admin, "ConsoleLogin")
    assert agrees(login, SIGNED_IN)
    assert agrees(check, CHECKED)
    assert (login["responseElements"], check["responseElements"]) == (
        {"ConsoleLogin": "Success"},
        {"CheckMfa": "Success"},
    )
    assert login["additionalEventData"]["MFAIdentifier"] == serial
    assert check["additionalEventData"] == {"MfaType": "Virtual MFA"}
    user = admin.iam.get_user(UserName="alice")["User"]
    assert (login["userIdentity"]["principalId"], login["userIdentity"]["arn"]) == (user["UserId"], user["Arn"])
    assert user["PasswordLastUsed"] == datetime.fromisoformat(login["eventTime"])


def test_a_failed_sign_in_names_no_device(lab: Lab, admin: Aws) -> None:
    """Neither the device nor the ARN of the user is in the event."""
    admin.enrolled("alice")
    lab.sign_in("alice", end="failure")
    [login] = all_contents(admin, "ConsoleLogin")
    assert agrees(login, REFUSED)
    assert (login["errorMessage"], login["responseElements"]) == ("Failed authentication", {"ConsoleLogin": "Failure"})
    assert "PasswordLastUsed" not in admin.iam.get_user(UserName="alice")["User"]


def test_someone_may_stop_after_the_password(lab: Lab, admin: Aws) -> None:
    """Then CheckMfa is the only event."""
    admin.enrolled("alice")
    lab.sign_in("alice", end="given up")
    assert (len(all_contents(admin, "CheckMfa")), all_contents(admin, "ConsoleLogin")) == (1, [])


def test_the_name_of_an_unknown_user_is_hidden(lab: Lab, admin: Aws) -> None:
    """IAM user guide: the text is masked, and the event has neither ARN nor principal."""
    lab.sign_in("hunter2")
    [login] = all_contents(admin, "ConsoleLogin")
    assert login["userIdentity"] == {
        "type": "IAMUser",
        "accountId": "000000000000",
        "accessKeyId": "",
        "userName": "HIDDEN_DUE_TO_SECURITY_REASONS",
    }
    assert login["errorMessage"] == "No username found in supplied account"
    assert "hunter2" not in json.dumps(login)


def test_root_signs_in_with_one_of_its_devices(lab: Lab, admin: Aws) -> None:
    """The identifier is that of the device, and the identity is of the type Root, without a name."""
    lab.account.root.devices = [RootDevice(kind="virtual"), RootDevice(kind="fido")]
    serials = [device.serial for device in lab.account.root_devices()]
    lab.sign_in("root", serial=serials[1])
    lab.sign_in("root")
    logins = all_contents(admin, "ConsoleLogin")
    assert [login["additionalEventData"]["MFAIdentifier"] for login in logins] == [serials[1], serials[0]]
    assert agrees(logins[0], ROOT_SIGNED_IN)
    assert all_contents(admin, "CheckMfa")[0]["additionalEventData"] == {"MfaType": "Multiple MFA Devices"}


def test_a_sign_in_takes_a_time_a_region_and_an_account() -> None:
    """So that tests can plant uses of any time, also over the control endpoint."""
    with Lab(accounts=1, users_per_account=1, settings=QUICK) as lab:
        at = lab.account.now() - 60 * DAY
        lab.sign_in("alice", account=MEMBER, region="eu-north-1", at=at)
        ask(lab, "POST", "sign-in", {"user": "alice", "account": MEMBER, "at": "2026-01-02T03:04:05+00:00"})
        kept = ask(lab, "GET", "events", {"account": MEMBER})
        assert [(one["eventTime"], one["awsRegion"]) for one in kept] == [
            (event_time(at), "eu-north-1"),
            ("2026-01-02T03:04:05Z", "us-east-1"),
        ]
        assert ask(lab, "GET", "events", {}) == []


def ask(lab: Lab, method: str, path: str, payload: Mapping[str, object]) -> Any:
    """Send a request to the control endpoint."""
    request = urllib.request.Request(
        f"{lab.url}/lab/{path}",
        method=method,
        data=json.dumps(payload).encode(),
        headers={"X-Mfa-Kit-Lab": lab.admin.secret_access_key},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_events_of_any_time_can_be_planted(lab: Lab, admin: Aws) -> None:
    """The control endpoint takes events as they are, and gives those without an ID one."""
    ask(lab, "POST", "events", {"events": [event(lab, 60 * DAY, region="eu-west-3", odd=[1])]})
    [content] = contents(trail(admin, "eu-west-3").lookup_events())
    assert (content["odd"], len(content["eventID"])) == ([1], 36)


@pytest.mark.parametrize(
    ("path", "payload"),
    [
        ("events", {"events": [{}]}),
        ("events", {"events": ["x"]}),
        ("events", {"events": {}}),
        ("events", {"events": [{"eventTime": "noon", "eventName": "", "eventSource": "", "awsRegion": ""}]}),
        ("sign-in", {"user": "alice", "color": "red"}),
        ("sign-in", {"user": "alice", "serial": "arn:aws:iam::000000000000:mfa/none"}),
        ("sign-in", {"user": "alice", "end": "maybe"}),
    ],
)
def test_control_requests_about_events_that_are_refused(lab: Lab, path: str, payload: dict[str, object]) -> None:
    """The status is 400, and nothing is recorded."""
    with pytest.raises(urllib.error.HTTPError, match="400"):
        ask(lab, "POST", path, payload)
    assert lab.account.history.all() == []


def test_a_sign_in_with_the_device_of_someone_else_is_refused(lab: Lab, admin: Aws) -> None:
    """The lab signs nobody in with a device that is not theirs."""
    serial = admin.enrolled("bob")
    with pytest.raises(UsageFault, match="alice cannot sign in"):
        lab.sign_in("alice", serial=serial)


def test_the_types_of_devices_in_check_mfa(lab: Lab, admin: Aws) -> None:
    """CloudTrail user guide: `U2F MFA`. The text for a hardware token is a guess."""
    lab.register_fido("alice", "blue")
    lab.add_token("GAHT12345678", "A" * 32)
    admin.seeds["GAHT12345678"] = b"A" * 32
    admin.enable("bob", "GAHT12345678")
    for name in ("alice", "bob"):
        lab.sign_in(name)
    kinds = [one["additionalEventData"]["MfaType"] for one in all_contents(admin, "CheckMfa")]
    assert kinds == ["U2F MFA", "Hardware MFA"]
    assert all_contents(admin, "ConsoleLogin")[1]["additionalEventData"]["MFAIdentifier"] == "GAHT12345678"


# Written from the IAM user guide, "Example cross-account AWS STS API events". Not recorded.
ASSUMED = {
    "userIdentity": {
        "type": "IAMUser",
        "principalId": "AIDAQRSTUVWXYZEXAMPLE",
        "arn": "arn:aws:iam::777788889999:user/ana",
        "accountId": "777788889999",
        "accessKeyId": "AKIAQRSTUVWXYZEXAMPLE",
        "userName": "ana",
    },
    "eventSource": "sts.amazonaws.com",
    "eventName": "AssumeRole",
    "requestParameters": {
        "roleArn": "arn:aws:iam::111122223333:role/dev",
        "roleSessionName": "ana",
        "serialNumber": "arn:aws:iam::777788889999:mfa/ana-phone",
    },
    "responseElements": {
        "credentials": {
            "sessionToken": "token",
            "accessKeyId": "ASIAQRSTUVWXYZEXAMPLE",
            "expiration": "Jul 18, 2026 4:07:39 PM",
        },
        "assumedRoleUser": {
            "assumedRoleId": "AROAQRSTUVWXYZEXAMPLE:ana",
            "arn": "arn:aws:sts::111122223333:assumed-role/dev/ana",
        },
    },
    "resources": [{"ARN": "arn:aws:iam::111122223333:role/dev", "accountId": "111122223333", "type": "AWS::IAM::Role"}],
    "requestID": "4b0e8d11",
    "sharedEventID": "befea4a70",
    "eventID": "dac7f466c",
    "eventType": "AwsApiCall",
    "recipientAccountId": "777788889999",
}
ELSEWHERE = ASSUMED | {
    "userIdentity": {"type": "AWSAccount", "principalId": "AIDAQRSTUVWXYZEXAMPLE", "accountId": "777788889999"}
}
# Written from the parameters of the API, because no sample is public. Not recorded.
SESSION = {name: value for name, value in ASSUMED.items() if name not in ("resources", "sharedEventID")} | {
    "eventName": "GetSessionToken",
    "requestParameters": {"serialNumber": "arn:aws:iam::777788889999:mfa/ana-phone"},
    "responseElements": {"credentials": {"sessionToken": "t", "accessKeyId": "ASIA", "expiration": "Jul 18, 2026"}},
}


def test_a_session_with_a_code_names_the_device(admin: Aws) -> None:
    """GetSessionToken: the serial, never the code. The answer contains the session token, but no secret key."""
    serial = admin.enrolled("alice")
    alice = admin.user("alice")
    session = alice.mfa_session(serial, offset=1)
    [content] = all_contents(admin, "GetSessionToken")
    assert agrees(content, SESSION)
    assert content["requestParameters"] == {"serialNumber": serial}
    assert content["responseElements"]["credentials"]["sessionToken"] == session.keys[2]
    assert session.keys[1] not in json.dumps(content)
    assert (content["readOnly"], content["userIdentity"]["accessKeyId"]) == (False, alice.keys[0])
    assert "sessionContext" not in content["userIdentity"]


def test_a_session_without_a_code_names_no_device(admin: Aws) -> None:
    """GetSessionToken without a serial."""
    admin.user("alice").sts.get_session_token(DurationSeconds=900)
    [content] = all_contents(admin, "GetSessionToken")
    assert content["requestParameters"] == {"durationSeconds": 900}


def test_a_wrong_code_is_a_denied_call_without_parameters(admin: Aws) -> None:
    """In published logs, all denied calls of STS have no parameters. No event of a wrong code is known."""
    serial = admin.enrolled("alice")
    with refused("AccessDenied"):
        admin.user("alice").sts.get_session_token(SerialNumber=serial, TokenCode="000000")
    [content] = all_contents(admin, "GetSessionToken")
    assert (content["errorCode"], content["requestParameters"], content["responseElements"]) == (
        "AccessDenied",
        None,
        None,
    )
    assert "000000" not in content["errorMessage"]


def assumable(admin: Aws, principal: str) -> str:
    trust = document({"Action": "sts:AssumeRole", "Principal": {"AWS": principal}})
    return str(admin.iam.create_role(RoleName="dev", AssumeRolePolicyDocument=trust)["Role"]["Arn"])


def test_a_role_with_a_code_names_the_device(admin: Aws) -> None:
    """AssumeRole within an account makes one event, which is read-only."""
    serial = admin.enrolled("alice")
    alice = admin.user("alice")
    arn = assumable(admin, "arn:aws:iam::000000000000:user/alice")
    given = {"SerialNumber": serial, "TokenCode": code(admin.seeds[serial], admin.now() + 1)}
    alice.sts.assume_role(RoleArn=arn, RoleSessionName="ana", **given)
    alice.sts.assume_role(RoleArn=arn, RoleSessionName="ana")
    first, second = all_contents(admin, "AssumeRole")
    assert agrees(first, {name: value for name, value in ASSUMED.items() if name != "sharedEventID"})
    assert first["requestParameters"] == {"roleArn": arn, "roleSessionName": "ana", "serialNumber": serial}
    assert first["readOnly"] is True
    assert "sharedEventID" not in first
    assert "serialNumber" not in second["requestParameters"]


def test_a_role_in_another_account_makes_two_events() -> None:
    """The accounts' events share an ID. In the role's account, the user is only a principal of another account."""
    with Lab(accounts=1, settings=QUICK) as lab:
        admin = admin_of(lab)
        serial = admin.enrolled("lab-admin")
        given = {"SerialNumber": serial, "TokenCode": code(admin.seeds[serial], admin.now() + 1)}
        arn = f"arn:aws:iam::{MEMBER}:role/OrganizationAccountAccessRole"
        member = admin.session(admin.sts.assume_role(RoleArn=arn, RoleSessionName="ana", **given)["Credentials"])
        [ours], [theirs] = all_contents(admin, "AssumeRole"), all_contents(member, "AssumeRole")
    assert agrees(ours, ASSUMED)
    assert agrees(theirs, ELSEWHERE)
    assert ours["sharedEventID"] == theirs["sharedEventID"]
    assert ours["eventID"] != theirs["eventID"]
    assert (ours["recipientAccountId"], theirs["recipientAccountId"]) == ("000000000000", MEMBER)


def test_calls_of_a_session_say_that_it_has_mfa(admin: Aws) -> None:
    """CloudTrail user guide, userIdentity: `mfaAuthenticated` is the text true or false."""
    serial = admin.enrolled("alice")
    admin.iam.put_user_policy(
        UserName="alice", PolicyName="all", PolicyDocument=document({"Action": "*", "Resource": "*"})
    )
    admin.user("alice").mfa_session(serial, offset=1).create("spare")
    identity = all_contents(admin, "CreateVirtualMFADevice")[-1]["userIdentity"]
    attributes = identity["sessionContext"]["attributes"]
    assert attributes["mfaAuthenticated"] == "true"
    assert attributes["creationDate"] == event_time(admin.lab.account.now())
    assert identity["accessKeyId"].startswith("ASIA")


def test_calls_of_a_role_name_the_role(admin: Aws) -> None:
    """CloudTrail user guide, userIdentity: the session issuer is the role."""
    arn = assumable(admin, "arn:aws:iam::000000000000:user/lab-admin")
    admin.iam.put_role_policy(
        RoleName="dev", PolicyName="all", PolicyDocument=document({"Action": "*", "Resource": "*"})
    )
    admin.session(admin.sts.assume_role(RoleArn=arn, RoleSessionName="ana")["Credentials"]).create("spare")
    identity = all_contents(admin, "CreateVirtualMFADevice")[0]["userIdentity"]
    assert (identity["type"], identity["sessionContext"]["sessionIssuer"]["arn"]) == ("AssumedRole", arn)
    assert identity["sessionContext"]["attributes"]["mfaAuthenticated"] == "false"


def test_calls_of_assume_root_are_those_of_root() -> None:
    """Their events are of the type Root, in the member account, and no one used root's device."""
    with Lab(accounts=1, settings=QUICK) as lab:
        root = lab.organization[MEMBER].root
        root.devices = [RootDevice(kind="virtual")]
        admin = admin_of(lab)
        policy = {"arn": "arn:aws:iam::aws:policy/root-task/IAMDeleteRootUserCredentials"}
        made = admin.sts.assume_root(TargetPrincipal=MEMBER, TaskPolicyArn=policy)["Credentials"]
        [device] = lab.organization[MEMBER].root_devices()
        admin.session(made).iam.deactivate_mfa_device(SerialNumber=device.serial)
        [content] = lab.organization[MEMBER].history.all()
    assert (content["userIdentity"]["type"], content["eventName"]) == ("Root", "DeactivateMFADevice")
    assert content["userIdentity"]["sessionContext"]["attributes"]["mfaAuthenticated"] == "false"


def test_sts_events_are_in_the_region_that_was_called(admin: Aws) -> None:
    """IAM user guide: a regional endpoint writes to its Region. Events of IAM are in us-east-1."""
    admin.client("sts", region_name="eu-central-1").get_session_token()
    admin.client("iam", region_name="eu-central-1").create_virtual_mfa_device(VirtualMFADeviceName="a")
    assert (len(all_contents(admin, "GetSessionToken", "eu-central-1")), all_contents(admin, "GetSessionToken")) == (
        1,
        [],
    )
    assert all_contents(admin, "CreateVirtualMFADevice")[0]["awsRegion"] == "us-east-1"


def test_the_life_of_a_device_is_recorded(admin: Aws) -> None:
    """CloudTrail: creating, enabling, resynchronizing, deactivating and deleting, without seed and codes."""
    serial = admin.enrolled("alice")
    admin.iam.resync_mfa_device(UserName="alice", SerialNumber=serial, **admin.pair(admin.seeds[serial], 2))
    admin.iam.deactivate_mfa_device(UserName="alice", SerialNumber=serial)
    admin.iam.delete_virtual_mfa_device(SerialNumber=serial)
    both, one = {"userName": "alice", "serialNumber": serial}, {"serialNumber": serial}
    expected: Sequence[tuple[str, object, object]] = (
        ("CreateVirtualMFADevice", {"virtualMFADeviceName": "alice"}, {"virtualMFADevice": one}),
        ("EnableMFADevice", both, None),
        ("ResyncMFADevice", both, None),
        ("DeactivateMFADevice", both, None),
        ("DeleteVirtualMFADevice", one, None),
    )
    for name, params, answer in expected:
        [content] = all_contents(admin, name)
        assert (content["requestParameters"], content["responseElements"]) == (params, answer)
        assert (content["eventSource"], content["readOnly"]) == ("iam.amazonaws.com", False)


def test_a_refused_call_of_iam_has_an_error_code(admin: Aws) -> None:
    """The event of a failure has errorCode and errorMessage."""
    serial = admin.create("alice")
    with refused("InvalidAuthenticationCode"):
        admin.iam.enable_mfa_device(
            UserName="alice", SerialNumber=serial, AuthenticationCode1="000000", AuthenticationCode2="000000"
        )
    [content] = all_contents(admin, "EnableMFADevice")
    assert (content["errorCode"], content["responseElements"]) == ("InvalidAuthenticationCode", None)


def test_events_are_in_the_saved_state(lab: Lab, admin: Aws) -> None:
    """--state keeps the events and the enabled Regions."""
    admin.enrolled("alice")
    lab.sign_in("alice", region="eu-north-1")
    lab.account.regions.remove("us-west-1")
    described = json.loads(json.dumps(describe_lab(lab.organization)))
    with Lab(description=described, settings=QUICK) as again:
        assert again.account.history.all() == lab.account.history.all()
        assert again.account.regions == lab.account.regions
    with pytest.raises(UsageFault, match="an event of CloudTrail needs"):
        Lab(description={"events": [{}]})


def spread(lab: Lab, number: int = 40) -> list[Any]:
    """Return events of about three hours."""
    return [event(lab, 300 * ago, eventID=f"e{ago}", recipientAccountId=MEMBER) for ago in range(number)]


def records(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(gzip.decompress(path.read_bytes()))["Records"])


def test_log_files_have_the_names_of_a_trail(lab: Lab, tmp_path: Path) -> None:
    """CloudTrail user guide, "CloudTrail log file name format". The records are objects, not strings."""
    [login] = lab.sign_in("alice", region="eu-west-1", at=datetime(2026, 9, 14, 22, 1, 30, tzinfo=UTC).timestamp())
    log, digest = write_log_files(tmp_path, log_files([login], prefix="logs/"))
    assert log.parent == tmp_path / "logs/AWSLogs/000000000000/CloudTrail/eu-west-1/2026/09/14"
    assert log.name.startswith("000000000000_CloudTrail_eu-west-1_20260914T2205Z_")
    assert len(log.name) == len("000000000000_CloudTrail_eu-west-1_20260914T2205Z_0123456789ABCDEF.json.gz")
    assert records(log) == [login]
    assert digest.parent == tmp_path / "logs/AWSLogs/000000000000/CloudTrail-Digest/eu-west-1/2026/09/14"
    assert digest.name == "000000000000_CloudTrail-Digest_eu-west-1_lab_eu-west-1_20260914T230000Z.json.gz"


def test_an_organization_trail_has_a_folder_of_the_organization(lab: Lab) -> None:
    """CloudTrail user guide: AWSLogs/o-ID/account."""
    key, _ = next(log_files(spread(lab, 1), organization="o-lab0000000"))
    assert key.startswith(f"AWSLogs/o-lab0000000/{MEMBER}/CloudTrail/us-east-1/")


def test_digests_list_the_files_with_the_hash_of_their_content(lab: Lab, tmp_path: Path) -> None:
    """CloudTrail user guide, "CloudTrail digest file structure": the hash of the uncompressed content."""
    paths = write_log_files(tmp_path, log_files(spread(lab)))
    digests = [json.loads(gzip.decompress(path.read_bytes())) for path in paths if "CloudTrail-Digest" in path.parts]
    rows = [row for digest in digests for row in digest["logFiles"]]
    assert {row["s3Object"] for row in rows} == {
        str(path.relative_to(tmp_path)) for path in paths if "CloudTrail" in path.parts
    }
    for row in rows:
        content = gzip.decompress((tmp_path / row["s3Object"]).read_bytes())
        assert hashlib.sha256(content).hexdigest() == row["hashValue"]


def test_log_files_can_have_late_events_duplicates_and_no_order(lab: Lab, tmp_path: Path) -> None:
    """As in real trails: the files together have each event, some twice, some in a later file, unordered."""
    crowd = [*spread(lab), *(event(lab, 5000, eventID=f"x{n}", recipientAccountId=MEMBER) for n in range(30))]
    paths = write_log_files(tmp_path, log_files(crowd, late=7, duplicate=5))
    files = [records(path) for path in paths if "CloudTrail" in path.parts]
    ids = [record["eventID"] for file in files for record in file]
    assert set(ids) == {one["eventID"] for one in crowd}
    assert len(ids) == len(crowd) + len(crowd) // 5
    assert any(file != sorted(file, key=lambda record: str(record["eventID"])) for file in files)
    delays = [_delay(path, record) for path in paths if "CloudTrail" in path.parts for record in records(path)]
    assert max(delays) > 600
    assert min(delays) > 0
    assert [*log_files(crowd, late=7)] == [*log_files(crowd, late=7)]


def _delay(path: Path, record: Mapping[str, Any]) -> float:
    delivered = datetime.strptime(path.name.split("_")[3], "%Y%m%dT%H%MZ").replace(tzinfo=UTC)
    return (delivered - datetime.fromisoformat(record["eventTime"])).total_seconds()


def test_log_files_can_be_in_the_labs_s3(lab: Lab, admin: Aws) -> None:
    """The keys and bytes are those of objects in a bucket."""
    s3 = admin.client("s3")
    s3.create_bucket(Bucket="trail")
    for key, content in log_files(spread(lab, 3)):
        s3.put_object(Bucket="trail", Key=key, Body=content)
    found = s3.list_objects_v2(Bucket="trail", Prefix=f"AWSLogs/{MEMBER}/CloudTrail/")["Contents"]
    assert len(found) == 3
