"""Makes the CloudTrail events of sign-ins to the console, and of the calls to IAM and STS that concern MFA devices.

Sources: CloudTrail user guide, "AWS Management Console sign-in events" and "CloudTrail userIdentity element"; IAM user
guide, "Logging IAM and AWS STS API calls with AWS CloudTrail". docs/not-verified.md lists the fields that neither page
shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws.backend import HOME_REGION
from mfa_kit.lab.aws.history import Event, event_time
from mfa_kit.lab.aws.mfa_devices import FidoDevice
from mfa_kit.lab.aws.wire import OperationRequest, new_request_id

if TYPE_CHECKING:
    from mfa_kit.lab.aws.account import LabAccount, Principal

# How a sign-in ends. Someone who gives it up has typed the password, but no code.
SignInEnd = Literal["success", "failure", "given up"]
ENDS = ("success", "failure", "given up")
# The name that a sign-in with an unknown user name has, because people type passwords there.
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
HOME_PAGE = "https://console.aws.amazon.com/console/home?state=hashArgs%23&isauthcode=true"
ADDRESS = "192.0.2.10"
# The calls that are recorded, and the parameters that their events show. Codes are never shown.
RECORDED: Mapping[str, Sequence[str]] = {
    "AssumeRole": ("RoleArn", "RoleSessionName", "SourceIdentity", "SerialNumber", "DurationSeconds"),
    "GetSessionToken": ("SerialNumber", "DurationSeconds"),
    "CreateVirtualMFADevice": ("Path", "VirtualMFADeviceName"),
    "EnableMFADevice": ("UserName", "SerialNumber"),
    "DeactivateMFADevice": ("UserName", "SerialNumber"),
    "DeleteVirtualMFADevice": ("SerialNumber",),
    "ResyncMFADevice": ("UserName", "SerialNumber"),
}


def _lower(name: str) -> str:
    return name[0].lower() + name[1:]


def _event(name: str, account: LabAccount, *, source: str, region: str, at: float, **more: object) -> dict[str, object]:
    """Return the fields that all events have, and `more`. `source` is the first part of `eventSource`."""
    return {
        "eventVersion": "1.11",
        "eventTime": event_time(at),
        "eventSource": f"{source}.amazonaws.com",
        "eventName": name,
        "awsRegion": region,
        "sourceIPAddress": ADDRESS,
        "requestParameters": None,
        "responseElements": None,
        "eventID": new_request_id(),
        "readOnly": name == "AssumeRole",
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account.id,
        "eventCategory": "Management",
        **more,
    }


def identity_of(caller: Principal, account: LabAccount, key: str) -> dict[str, object]:
    """Return the `userIdentity` of a principal, who signed with the access key `key`, or signed in if it is ""."""
    kinds = {"role": "AssumedRole", "federated": "FederatedUser", "root": "Root"}
    start: dict[str, object] = {
        "type": kinds.get(caller.kind, "IAMUser"),
        "principalId": caller.id,
        "arn": caller.arn,
        "accountId": account.id,
    }
    identity = start | ({"accessKeyId": key} if key else {})
    if start["type"] == "IAMUser" and caller.user is not None:
        identity["userName"] = caller.user.name
    if caller.mfa is None:
        return identity
    session = account.sessions.get(key)
    issuer = caller.role or (caller.user if caller.kind == "federated" else None)
    attributes = {
        "creationDate": event_time(session.issued if session else account.now()),
        "mfaAuthenticated": str(caller.mfa).lower(),
    }
    context: dict[str, object] = {"attributes": attributes}
    if issuer is not None:
        context["sessionIssuer"] = {
            "type": "Role" if caller.role else "IAMUser",
            "principalId": issuer.id,
            "arn": issuer.arn,
            "accountId": account.id,
            "userName": issuer.name,
        }
    return identity | {"sessionContext": context}


def call_events(
    call: OperationRequest,
    account: LabAccount,
    identity: Mapping[str, object],
    *,
    result: Mapping[str, Any] | None = None,
    error: tuple[str, str] | None = None,
    target: LabAccount | None = None,
    agent: str = "lab",
    at: float | None = None,
) -> list[tuple[LabAccount, Event]]:
    """Return the events of a call, each with the account that gets it. The list is empty for most operations.

    `result` has the fields of the answer, `error` its code and message. `target` is the account of an assumed role. If
    this is not the caller's account, both accounts get an event. `at` is a Unix time, by default the present.
    """
    if call.action not in RECORDED:
        return []
    shown = {_lower(name): call.params[name] for name in RECORDED[call.action] if name in call.params}
    failed = {"errorCode": error[0], "errorMessage": error[1]} if error else {}
    denied = error is not None and error[0] == "AccessDenied"
    event = _event(
        call.action,
        account,
        source=call.service,
        region=HOME_REGION[account.partition] if call.service == "iam" else call.region,
        at=account.now() if at is None else at,
        userIdentity=identity,
        userAgent=agent,
        requestID=new_request_id(),
        requestParameters=None if denied or not shown else shown,
        responseElements=_response_elements(result or {}),
        **failed,
    )
    if call.action == "AssumeRole" and result is not None:
        role = call.text("RoleArn")
        event["resources"] = [{"accountId": role.split(":")[4], "type": "AWS::IAM::Role", "ARN": role}]
    if target is None or target is account or error:
        return [(account, event)]
    event["sharedEventID"] = new_request_id()
    outside = {"type": "AWSAccount", "principalId": identity["principalId"], "accountId": account.id}
    theirs = event | {"eventID": new_request_id(), "userIdentity": outside, "recipientAccountId": target.id}
    return [(account, event), (target, theirs)]


def _response_elements(result: Mapping[str, Any]) -> dict[str, object] | None:
    """Return the parts of an answer that events show. As in AWS, they include session tokens, but no secret."""
    shown: dict[str, object] = {}
    if credentials := result.get("Credentials"):
        expires = datetime.fromtimestamp(credentials["Expiration"], UTC)
        shown["credentials"] = {
            "accessKeyId": credentials["AccessKeyId"],
            "sessionToken": credentials["SessionToken"],
            "expiration": f"{expires:%b} {expires.day}, {expires.year} {expires:%I:%M:%S %p}".replace(" 0", " "),
        }
    if user := result.get("AssumedRoleUser"):
        shown["assumedRoleUser"] = {"assumedRoleId": user["AssumedRoleId"], "arn": user["Arn"]}
    if source := result.get("SourceIdentity"):
        shown["sourceIdentity"] = source
    if device := result.get("VirtualMFADevice"):
        shown["virtualMFADevice"] = {"serialNumber": device["SerialNumber"]}
    return shown or None


def user_identity(account: LabAccount, name: str, *, arn: bool = True) -> dict[str, object]:
    """Return the `userIdentity` of someone who signs in as a user of the account, or as root if the name is `root`.

    With `arn` false, it is the identity of a user who has failed, or not signed in yet.
    """
    if name == "root":
        alias = next(iter(account.backend.account_aliases), None)
        root = {"type": "Root", "principalId": account.id, "arn": f"arn:{account.partition}:iam::{account.id}:root"}
        return {**root, "accountId": account.id, "accessKeyId": "", **({"userName": alias} if alias else {})}
    user = account.backend.users.get(name)
    if user is None:
        return {"type": "IAMUser", "accountId": account.id, "accessKeyId": "", "userName": HIDDEN}
    start = {"type": "IAMUser", "principalId": user.id, "accountId": account.id, "userName": user.name}
    return start | ({"arn": user.arn} if arn else {"accessKeyId": ""})


def sign_in_events(
    account: LabAccount, name: str, *, serial: str = "", region: str = "", end: str = "success", at: float | None = None
) -> list[Event]:
    """Return the events of a sign-in with a password: CheckMfa if the user has a device, then ConsoleLogin.

    `name` is a user's name, or `root`. An unknown name fails. `serial` is the device, by default the user's first.
    `region` is by default the one of the global sign-in page. `at` is a Unix time, by default the present. Raise
    UsageFault if the user does not have the device, or for an unknown `end`.
    """
    user = account.backend.users.get(name)
    kinds = {device.serial: device.kind for device in account.root_devices()} if name == "root" else _kinds(user)
    if (serial and serial not in kinds) or end not in ENDS:
        raise UsageFault(
            f"{name} cannot sign in with {serial!r} and the end {end!r}",
            f"give a device that is enabled for the user, and {', '.join(ENDS)}",
        )
    end = end if kinds or user or name == "root" else "failure"
    device, moment = serial or next(iter(kinds), ""), account.now() if at is None else at
    steps = []
    if kinds:
        steps.append(("CheckMfa", "Success", {"MfaType": mfa_type([*kinds.values()])}))
    if end != "given up":
        used = {"MFAIdentifier": device} if device and end == "success" else {}
        page = {"LoginTo": HOME_PAGE, "MobileVersion": "No", "MFAUsed": "Yes" if kinds else "No"}
        steps.append(("ConsoleLogin", end.title(), page | used))
    return [
        console_event(
            step,
            account,
            identity=user_identity(account, name, arn=(step, state) == ("ConsoleLogin", "Success")),
            state=state,
            region=region or HOME_REGION[account.partition],
            at=moment,
            extra=extra,
        )
        for step, state, extra in steps
    ]


def sign_in(account: LabAccount, name: str, **how: Any) -> list[Event]:
    """Sign someone in to the console: record the events, and the date of a success. Return the events.

    The parameters and errors are those of sign_in_events.
    """
    recorded = [account.history.add(event) for event in sign_in_events(account, name, **how)]
    for event in recorded:
        if event["responseElements"].get("ConsoleLogin") == "Success":
            who = account.root if name == "root" else account.backend.get_user(name)
            who.password_last_used = datetime.fromisoformat(event["eventTime"])
    return recorded


def console_event(
    name: str,
    account: LabAccount,
    *,
    identity: Mapping[str, object],
    state: str,
    region: str,
    at: float,
    extra: Mapping[str, str],
) -> Event:
    """Return an event of the sign-in to the console. `state` is Success or Failure; `extra` additionalEventData."""
    unknown = identity.get("userName") == HIDDEN
    words = "No username found in supplied account" if unknown else "Failed authentication"
    return _event(
        name,
        account,
        source="signin",
        region=region,
        at=at,
        eventVersion="1.08",
        eventType="AwsConsoleSignIn",
        userIdentity=identity,
        userAgent=BROWSER,
        responseElements={name: state},
        additionalEventData=extra,
        **({"errorMessage": words} if state == "Failure" else {}),
    )


def _kinds(user: Any) -> dict[str, str]:
    """Return the kinds of a user's devices by serial, in the words of a description. `user` is None or a LabUser."""
    devices = user.mfa_devices.items() if user else ()
    return {
        serial: "fido" if isinstance(device, FidoDevice) else "virtual" if serial.startswith("arn:") else "token"
        for serial, device in devices
    }


def mfa_type(kinds: Sequence[str]) -> str:
    """Return the MfaType of CheckMfa for the kinds of a user's devices. That of hardware tokens is a guess."""
    if len(kinds) > 1:
        return "Multiple MFA Devices"
    return {"virtual": "Virtual MFA", "fido": "U2F MFA"}.get(kinds[0], "Hardware MFA")
