"""Records the CloudTrail events of sign-ins to the console, and of the calls to IAM and STS that concern MFA devices.

Sources: CloudTrail user guide, "AWS Management Console sign-in events" and "CloudTrail userIdentity element"; IAM user
guide, "Logging IAM and AWS STS API calls with AWS CloudTrail". docs/not-verified.md lists the fields that neither page
shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab.aws.backend import HOME_REGION
from mfa_kit.lab.aws.history import Event, event_time
from mfa_kit.lab.aws.mfa_devices import FidoDevice
from mfa_kit.lab.aws.wire import OperationRequest, new_request_id

if TYPE_CHECKING:
    from mfa_kit.lab.aws.account import LabAccount, Principal

# How a sign-in ends. Someone who gives it up has typed the password, but no code.
ENDS = ("success", "failure", "given up")
# The name that a sign-in with an unknown user name has, because people type passwords there.
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
LOGIN_PAGE = {
    "LoginTo": "https://console.aws.amazon.com/console/home?state=hashArgs%23&isauthcode=true",
    "MobileVersion": "No",
}
# The MfaType of CheckMfa for each kind of device. That of hardware tokens is a guess.
MFA_TYPES = {
    "virtual": "Virtual MFA",
    "fido": "U2F MFA",
    "token": "Hardware MFA",
    "several": "Multiple MFA Devices",
}
ADDRESS = "192.0.2.10"
# The type of an identity for each kind of credentials that are not those of a user or of GetSessionToken.
KINDS = {"role": "AssumedRole", "federated": "FederatedUser", "root": "Root"}
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


def _event(
    name: str, account: LabAccount, *, source: str, region: str, at: float | None, **more: object
) -> dict[str, object]:
    """Return the fields that all events have, and `more`. `source` is the first part of `eventSource`."""
    return {
        "eventVersion": "1.11",
        "eventTime": event_time(account.now() if at is None else at),
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
    identity: dict[str, object] = {
        "type": KINDS.get(caller.kind, "IAMUser"),
        "principalId": caller.id,
        "arn": caller.arn,
        "accountId": account.id,
        **({"accessKeyId": key} if key else {}),
        **({"userName": caller.user.name} if caller.user and caller.kind not in KINDS else {}),
    }
    if caller.mfa is None:
        return identity
    began = account.sessions[key].issued if key else account.now()
    context: dict[str, object] = {
        "attributes": {"creationDate": event_time(began), "mfaAuthenticated": str(caller.mfa).lower()}
    }
    if (role := caller.role) is not None:
        issuer = {"type": "Role", "principalId": role.id, "arn": role.arn}
        context["sessionIssuer"] = {**issuer, "accountId": account.id, "userName": role.name}
    return identity | {"sessionContext": context}


def record_call(
    call: OperationRequest,
    account: LabAccount,
    identity: Mapping[str, object],
    *,
    result: Mapping[str, Any] | None = None,
    error: tuple[str, str] | None = None,
    target: LabAccount | None = None,
    agent: str = "lab",
    at: float | None = None,
) -> Event:
    """Record the event of a call whose name is in RECORDED, and return it.

    `result` has the fields of the answer, `error` its code and message. `target` is the account of an assumed role. If
    this is not the caller's account, it gets an event too. `at` is a Unix time, by default the present.
    """
    event = _event(
        call.action,
        account,
        source=call.service,
        region=call.region or HOME_REGION[account.partition],
        at=at,
        userIdentity=identity,
        userAgent=agent,
        requestID=new_request_id(),
        **_outcome(call, result or {}, error),
    )
    if target and target is not account and not error:
        event["sharedEventID"] = new_request_id()
        outside = {"type": "AWSAccount", "principalId": identity["principalId"], "accountId": account.id}
        more = {"eventID": new_request_id(), "userIdentity": outside, "recipientAccountId": target.id}
        target.history.add(event | more)
    return account.history.add(event)


def _outcome(call: OperationRequest, result: Mapping[str, Any], error: tuple[str, str] | None) -> dict[str, object]:
    """Return the fields of an event that tell what was asked, and what came of it."""
    shown = {_lower(name): call.params[name] for name in RECORDED[call.action] if name in call.params} or None
    if error:
        code, message = error
        params = None if code == "AccessDenied" else shown
        return {"errorCode": code, "errorMessage": message, "requestParameters": params}
    role = call.text("RoleArn")
    resources = [{"accountId": role.split(":")[4], "type": "AWS::IAM::Role", "ARN": role}] if role else []
    more = {"resources": resources} if resources else {}
    return {"requestParameters": shown, "responseElements": _response_elements(result), **more}


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


def sign_in(
    account: LabAccount, name: str, *, serial: str = "", region: str = "", end: str = "success", at: float | None = None
) -> list[Event]:
    """Sign someone in to the console with a password. Record CheckMfa if they have a device, then ConsoleLogin.

    Return the events. A success changes the date of the password's last use. `name` is a user's name, or `root`. An
    unknown name fails. `serial` is the device, by default the first. `region` is by default the one of the global
    sign-in page. `end` is one of ENDS. `at` is a Unix time, by default the present. Raise UsageFault if the user does
    not have the device, or for an unknown `end`.
    """
    kinds = _devices(account, name)
    if (serial and serial not in kinds) or end not in ENDS:
        raise UsageFault(
            f"{name} cannot sign in with {serial!r} and the end {end!r}",
            f"give a device that is enabled for the user, and {', '.join(ENDS)}",
        )
    how: dict[str, Any] = {"region": region, "at": at}
    recorded = []
    if kinds:
        kind = {"MfaType": MFA_TYPES["several" if len(kinds) > 1 else kinds[next(iter(kinds))]]}
        who = user_identity(account, name, arn=False)
        recorded.append(console_event("CheckMfa", account, who, state="Success", extra=kind, **how))
    if end != "given up":
        device = serial or next(iter(kinds), "")
        recorded.append(_log_in(account, name, device, accepted=end == "success", how=how))
    return recorded


def _log_in(account: LabAccount, name: str, device: str, *, accepted: bool, how: Mapping[str, Any]) -> Event:
    """Record ConsoleLogin, and the date of a success. `device` is "" without MFA."""
    extra = LOGIN_PAGE | {"MFAUsed": "Yes" if device else "No"}
    holder = account.root if name == "root" else account.backend.users.get(name)
    if not accepted or holder is None:
        who = user_identity(account, name, arn=False)
        return console_event("ConsoleLogin", account, who, state="Failure", extra=extra, **how)
    extra |= {"MFAIdentifier": device} if device else {}
    login = console_event("ConsoleLogin", account, user_identity(account, name), state="Success", extra=extra, **how)
    holder.password_last_used = datetime.fromisoformat(login["eventTime"])
    return login


def console_event(
    name: str,
    account: LabAccount,
    identity: Mapping[str, object],
    *,
    state: str,
    extra: Mapping[str, str],
    region: str = "",
    at: float | None = None,
) -> Event:
    """Record an event of the sign-in to the console, and return it. `extra` is the field additionalEventData.

    `state` is Success or Failure. `region` and `at` are those of sign_in.
    """
    unknown = identity.get("userName") == HIDDEN
    words = "No username found in supplied account" if unknown else "Failed authentication"
    event = _event(
        name,
        account,
        source="signin",
        region=region or HOME_REGION[account.partition],
        at=at,
        eventVersion="1.08",
        eventType="AwsConsoleSignIn",
        userIdentity=identity,
        userAgent=BROWSER,
        responseElements={name: state},
        additionalEventData=extra,
        **({"errorMessage": words} if state == "Failure" else {}),
    )
    return account.history.add(event)


def _devices(account: LabAccount, name: str) -> dict[str, str]:
    """Return the kinds of the devices of a user or root by serial, in the words of a description."""
    if name == "root":
        return {device.serial: device.kind for device in account.root_devices()}
    user = account.backend.users.get(name)
    return {
        serial: "fido" if isinstance(device, FidoDevice) else "virtual" if serial.startswith("arn:") else "token"
        for serial, device in (user.mfa_devices.items() if user else ())
    }
