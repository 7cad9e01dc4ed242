"""Which events of CloudTrail prove the use of a device. The events are written from AWS's documentation, not recorded.

Sources: CloudTrail user guide, "AWS Management Console sign-in events"; IAM user guide, "Logging IAM and AWS STS API
calls with AWS CloudTrail".
"""

from typing import Any

import pytest

from mfa_kit.core.models import DeviceUse, UseEvent
from mfa_kit.usage.events import UnreadableEvent, UseCollector, device_use

ACCOUNT = "111122223333"
PHONE = f"arn:aws:iam::{ACCOUNT}:mfa/ana-phone"
NOW = 1_790_000_000.0
USED = 1_789_423_290.0  # 2026-09-14T22:01:30Z


def login(**changes: Any) -> dict[str, Any]:
    """Return a successful sign-in to the console with MFA. A change of None removes a member."""
    event = {
        "eventVersion": "1.08",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "AIDAEXAMPLEANA",
            "arn": f"arn:aws:iam::{ACCOUNT}:user/ana",
            "accountId": ACCOUNT,
            "userName": "ana",
        },
        "eventTime": "2026-09-14T22:01:30Z",
        "eventSource": "signin.amazonaws.com",
        "eventName": "ConsoleLogin",
        "awsRegion": "us-east-2",
        "sourceIPAddress": "192.0.2.1",
        "userAgent": "Mozilla/5.0",
        "requestParameters": None,
        "responseElements": {"ConsoleLogin": "Success"},
        "additionalEventData": {"MFAUsed": "Yes", "MFAIdentifier": PHONE},
        "eventID": "11111111-1111-1111-1111-111111111111",
        "eventType": "AwsConsoleSignIn",
        "recipientAccountId": ACCOUNT,
    }
    return {**event, **changes}


def call(name: str, **changes: Any) -> dict[str, Any]:
    """Return a successful GetSessionToken or AssumeRole with a code, whose answer has a session token."""
    return login(
        eventSource="sts.amazonaws.com",
        eventName=name,
        requestParameters={"serialNumber": PHONE, "durationSeconds": 900},
        responseElements={"credentials": {"accessKeyId": "ASIAEXAMPLE", "sessionToken": "SESSION-TOKEN-CANARY"}},
        additionalEventData=None,
        **changes,
    )


def use_of(event: dict[str, Any]) -> DeviceUse | None:
    return device_use(event, ACCOUNT, now=NOW)


@pytest.mark.parametrize("event", [login(), call("GetSessionToken"), call("AssumeRole")])
def test_three_events_name_the_device(event: dict[str, Any]) -> None:
    assert use_of(event) == DeviceUse(
        serial=PHONE,
        principal="AIDAEXAMPLEANA",
        user="ana",
        at=USED,
        event=UseEvent(event["eventName"]),
        region="us-east-2",
    )


IDENTITY = login()["userIdentity"]


@pytest.mark.parametrize(
    "event",
    [
        login(responseElements={"ConsoleLogin": "Failure"}, errorMessage="Failed authentication"),
        login(errorMessage="Failed authentication"),
        login(additionalEventData={"MFAUsed": "No", "MFAIdentifier": PHONE}),
        login(additionalEventData={"MFAUsed": "No"}),
        login(additionalEventData={}),
        login(additionalEventData=None),  # left out, because it is too large
        login(eventName="CheckMfa", responseElements={"CheckMfa": "Success"}),
        login(eventName="SwitchRole", responseElements={"SwitchRole": "Success"}),
        login(eventSource="sts.amazonaws.com"),
        login(userIdentity={**IDENTITY, "type": "AssumedRole"}),
        login(userIdentity={**IDENTITY, "type": "IdentityCenterUser"}),
        login(recipientAccountId="999999999999"),
        call("AssumeRole", userIdentity={"type": "AWSAccount", "principalId": "AIDA", "accountId": ACCOUNT}),
        call("AssumeRole", userIdentity={**IDENTITY, "accountId": "999999999999"}),
        call("AssumeRole") | {"requestParameters": {"roleArn": "arn:aws:iam::1:role/x"}},
        call("GetSessionToken", errorCode="AccessDenied") | {"requestParameters": None},
        call("GetFederationToken"),
        call("AssumeRoot"),
    ],
)
def test_other_events_prove_no_use(event: dict[str, Any]) -> None:
    assert use_of(event) is None


def test_the_name_of_root_is_not_kept_because_it_is_the_alias_of_the_account() -> None:
    identity = {"type": "Root", "principalId": ACCOUNT, "accountId": ACCOUNT, "userName": "example-corp"}
    use = use_of(login(userIdentity=identity))
    assert use
    assert (use.principal, use.user) == (ACCOUNT, "")


def test_a_sign_in_before_november_2022_names_no_device() -> None:
    use = use_of(login(additionalEventData={"MFAUsed": "Yes"}))
    assert use
    assert (use.serial, use.principal) == ("", "AIDAEXAMPLEANA")


@pytest.mark.parametrize("used", ["Yes", "YES", "yes"])
def test_the_word_yes_is_compared_without_case(used: str) -> None:
    assert use_of(login(additionalEventData={"MFAUsed": used, "MFAIdentifier": PHONE}))


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (login(eventVersion="2.0"), "has another version than 1"),
        (login(eventVersion=None), "has another version than 1"),
        (login(eventTime="2038-01-01T00:00:00Z"), "is in the future"),
        (login(eventTime="14.09.2026"), "has no valid time"),
        (login(eventTime="2026-09-14T22:01:30"), "has no valid time"),
        (login(eventTime="1900-09-14T22:01:30Z"), "has no valid time"),
        (login(awsRegion="the moon"), "names no valid Region"),
        (login(additionalEventData={"MFAUsed": "Yes", "MFAIdentifier": "\x1b[2J"}), "names no valid device or user"),
        (login(additionalEventData={"MFAUsed": "Yes", "MFAIdentifier": 7}), "names no valid device or user"),
        (
            login(additionalEventData={"MFAUsed": "Yes"}, userIdentity={**IDENTITY, "principalId": None}),
            "names neither a device nor a user",
        ),
        (login(userIdentity="ana"), "has another userIdentity than documented"),
    ],
)
def test_what_is_not_as_documented_is_counted_and_not_guessed(event: dict[str, Any], why: str) -> None:
    with pytest.raises(UnreadableEvent, match=why):
        use_of(event)
    collector = UseCollector(ACCOUNT, now=NOW)
    collector.add(event)
    assert (collector.uses, dict(collector.problems)) == ([], {why: 1})


def test_nothing_of_an_answer_is_kept() -> None:
    collector = UseCollector(ACCOUNT, now=NOW)
    collector.add(call("AssumeRole"))
    assert collector.uses
    assert "CANARY" not in repr(collector.uses) + repr(collector.problems)


def test_the_last_use_of_each_device_and_user_is_kept() -> None:
    collector = UseCollector(ACCOUNT, now=NOW)
    for hour, principal in [(10, "AIDAOLD"), (12, "AIDANEW"), (11, "AIDANEW"), (9, "AIDAOLD")]:
        identity = {**IDENTITY, "principalId": principal}
        collector.add(login(eventTime=f"2026-09-14T{hour:02}:00:00Z", userIdentity=identity))
    assert {use.principal: use.at - USED for use in collector.uses} == {"AIDAOLD": -43290.0, "AIDANEW": -36090.0}
