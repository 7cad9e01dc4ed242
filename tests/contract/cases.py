"""The answers that IAM is expected to give, one case for each row of docs/lab.md that AWS can be asked about.

Each case has a request and the words of the answer. `reads` query existing entities and change nothing. `writes` create
users, keys and devices whose names share a prefix, and remove them afterwards. They are for an account made for tests.
"""

import contextlib
import io
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import botocore.session
import pyotp
import zxingcpp
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from PIL import Image

PERIOD = 30
PREFIX = "mfa-kit-contract-"
# Error codes with which an emulator answers an operation that it does not have.
LACKS = ("InvalidAction", "NotImplemented", "UnsupportedOperation")


@dataclass
class Desk:
    """The endpoint that the cases are sent to, and the entities that they created there."""

    endpoint_url: str | None = None
    region: str = "us-east-1"
    keys: dict[str, str] = field(default_factory=dict)
    patience: float = 0
    name: str = field(default_factory=lambda: PREFIX + secrets.token_hex(4))
    seeds: dict[str, str] = field(default_factory=dict)
    session: botocore.session.Session = field(default_factory=botocore.session.get_session)

    def client(self, service: str, keys: dict[str, str] | None = None, *, checked: bool = True) -> Any:
        given = self.keys if keys is None else keys
        return self.session.create_client(
            service,
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=given.get("aws_access_key_id"),
            aws_secret_access_key=given.get("aws_secret_access_key"),
            config=Config(retries={"total_max_attempts": 1}, parameter_validation=checked),
        )

    @property
    def iam(self) -> Any:
        return self.client("iam")

    @property
    def account(self) -> str:
        """Return the ID of the account at the endpoint."""
        return str(self.client("sts").get_caller_identity()["Account"])

    def user(self, name: str = "") -> str:
        """Create a user, or return the existing one."""
        whole = self.name + name
        with contextlib.suppress(self.iam.exceptions.EntityAlreadyExistsException):
            self.iam.create_user(UserName=whole)
        return whole

    def device(self, name: str, **more: Any) -> str:
        """Create a device, and keep its secret in memory."""
        made = self.iam.create_virtual_mfa_device(VirtualMFADeviceName=f"{self.name}-{name}", **more)[
            "VirtualMFADevice"
        ]
        self.seeds[made["SerialNumber"]] = made["Base32StringSeed"].decode()
        return str(made["SerialNumber"])

    def pair(self, serial: str, offset: int = 0) -> dict[str, str]:
        """Compute two codes. If an emulator's secret is not base32, return two fixed codes."""
        step = int(time.time()) // PERIOD + offset
        try:
            codes = [pyotp.HOTP(self.seeds[serial]).at(at) for at in (step - 1, step)]
        except ValueError:
            codes = ["000000", "000001"]
        return {"SerialNumber": serial, "AuthenticationCode1": codes[0], "AuthenticationCode2": codes[1]}

    def enabled(self, name: str, user: str) -> str:
        serial = self.device(name)
        self.iam.enable_mfa_device(UserName=user, **self.pair(serial))
        return serial

    def as_user(self, user: str, statement: dict[str, str] | None = None) -> dict[str, str]:
        """Give a user an access key and a policy, by default for changing devices. Wait until they take effect."""
        policy = statement or {"Effect": "Allow", "Action": "iam:*MFADevice", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [policy]})
        self.iam.put_user_policy(UserName=user, PolicyName="contract", PolicyDocument=document)
        key = self.iam.create_access_key(UserName=user)["AccessKey"]
        time.sleep(self.patience)
        return {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}

    def session_of(self, made: dict[str, Any]) -> Any:
        """Return a client of IAM with credentials of STS."""
        return self.session.create_client(
            "iam",
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=made["AccessKeyId"],
            aws_secret_access_key=made["SecretAccessKey"],
            aws_session_token=made["SessionToken"],
        )

    def clear(self) -> None:
        """Remove all users and devices that this desk created."""
        iam = self.iam
        for page in iam.get_paginator("list_users").paginate():
            for user in page["Users"]:
                if user["UserName"].startswith(self.name):
                    self._clear(user["UserName"])
        for page in iam.get_paginator("list_virtual_mfa_devices").paginate():
            for device in page["VirtualMFADevices"]:
                if f"/{self.name}-" in device["SerialNumber"]:
                    iam.delete_virtual_mfa_device(SerialNumber=device["SerialNumber"])

    def _clear(self, user: str) -> None:
        iam = self.iam
        for device in iam.list_mfa_devices(UserName=user)["MFADevices"]:
            iam.deactivate_mfa_device(UserName=user, SerialNumber=device["SerialNumber"])
        for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]:
            iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
        for policy in iam.list_user_policies(UserName=user)["PolicyNames"]:
            iam.delete_user_policy(UserName=user, PolicyName=policy)
        iam.delete_user(UserName=user)


Ask = Callable[[Desk], object]


@dataclass(frozen=True, slots=True)
class Case:
    """One request, its row in docs/lab.md, and the expected answer."""

    row: str
    says: str
    ask: Ask

    def answer(self, desk: Desk) -> str:
        """Send the request. Return the response, or the code and message of an error."""
        try:
            return str(self.ask(desk))
        except ClientError as error:
            return _said(error)
        except (BotoCoreError, ResponseParserError) as error:
            return f"unreadable: {type(error).__name__}"


def _said(error: ClientError) -> str:
    said = error.response["Error"]
    return f"{said['Code']}: {said.get('Message', '')}".strip()


def _code(ask: Callable[[], object]) -> str:
    """Return the code of the error that the call raises, or "accepted"."""
    try:
        ask()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "accepted"


reads: list[Case] = []
writes: list[Case] = []


def case(part: list[Case], row: str, says: str) -> Callable[[Ask], Ask]:
    """Add a function to a part of the contract."""

    def add(ask: Ask) -> Ask:
        part.append(Case(row, says, ask))
        return ask

    return add


# reads


@case(reads, "unknown-user", "NoSuchEntity: The user with name mfa-kit-contract-nobody cannot be found.")
def _(desk: Desk) -> object:
    return desk.iam.get_user(UserName=f"{PREFIX}nobody")


@case(reads, "marker", "ValidationError: Invalid Marker.")
def _(desk: Desk) -> object:
    return desk.iam.list_virtual_mfa_devices(Marker="nothing")


@case(reads, "lists-hold-no-seed", "no seeds, no tags")
def _(desk: Desk) -> object:
    found = desk.iam.list_virtual_mfa_devices()["VirtualMFADevices"]
    more = {name for row in found for name in row} - {"SerialNumber", "User", "EnableDate"}
    return sorted(more) or "no seeds, no tags"


@case(reads, "get-mfa-device", "ValidationError")
def _(desk: Desk) -> object:
    serial = f"arn:aws:iam::{desk.account}:mfa/{PREFIX}none"
    return _code(lambda: desk.iam.get_mfa_device(SerialNumber=serial, UserName=f"{PREFIX}nobody"))


@case(reads, "max-items", "ValidationError")
def _(desk: Desk) -> object:
    return _code(lambda: desk.client("iam", checked=False).list_users(MaxItems=1001))


@case(reads, "date-header", "a date and a request id")
def _(desk: Desk) -> object:
    meta = desk.iam.list_account_aliases()["ResponseMetadata"]
    has = "date" in meta["HTTPHeaders"] and meta["RequestId"] == meta["HTTPHeaders"].get("x-amzn-requestid")
    return "a date and a request id" if has else "no date, or no request id"


@case(reads, "account-summary", "AccountMFAEnabled is 0 or 1")
def _(desk: Desk) -> object:
    seen = desk.iam.get_account_summary()["SummaryMap"]
    return "AccountMFAEnabled is 0 or 1" if seen.get("AccountMFAEnabled") in (0, 1) else "no AccountMFAEnabled"


@case(reads, "unknown-key", "InvalidClientTokenId: The security token included in the request is invalid.")
def _(desk: Desk) -> object:
    keys = {"aws_access_key_id": "AKIAIOSFODNN7EXAMPLE", "aws_secret_access_key": "x"}
    return desk.client("iam", keys).list_users(MaxItems=1)["Users"][:0] or "answered"


@case(reads, "unknown-device", "NoSuchEntity: VirtualMFADevice with serial number <serial> does not exist.")
def _(desk: Desk) -> object:
    serial = f"arn:aws:iam::{desk.account}:mfa/{PREFIX}none"
    try:
        return desk.iam.list_mfa_device_tags(SerialNumber=serial)["Tags"]
    except ClientError as error:
        return _said(error).replace(serial, "<serial>")


# writes


@case(writes, "create", "64 characters and a PNG")
def _(desk: Desk) -> object:
    name = f"{desk.name}-create"
    made = desk.iam.create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]
    png = bytes(made["QRCodePNG"]).startswith(b"\x89PNG")
    return f"{len(made['Base32StringSeed'])} characters and {'a PNG' if png else 'no PNG'}"


@case(writes, "label", "Amazon Web Services:<user>-label@<alias or account>")
def _(desk: Desk) -> object:
    made = desk.iam.create_virtual_mfa_device(VirtualMFADeviceName=f"{desk.name}-label")["VirtualMFADevice"]
    try:
        found = zxingcpp.read_barcode(Image.open(io.BytesIO(made["QRCodePNG"])))
    except OSError:
        found = None
    label = unquote(urlsplit(found.text).path.lstrip("/")) if found else "no picture"
    for holder in (desk.account, *desk.iam.list_account_aliases()["AccountAliases"]):
        label = label.replace(f"@{holder}", "@<alias or account>")
    return label


@case(writes, "create-taken", "EntityAlreadyExists: MFA device already exists.")
def _(desk: Desk) -> object:
    desk.device("taken")
    return desk.device("taken")


@case(writes, "patterns", "ValidationError")
def _(desk: Desk) -> object:
    return _code(lambda: desk.device("a/b"))


@case(writes, "tags", "kept")
def _(desk: Desk) -> object:
    serial = desk.device("tags", Tags=[{"Key": "k", "Value": "v"}])
    found = desk.iam.list_mfa_device_tags(SerialNumber=serial)["Tags"]
    return "kept" if found == [{"Key": "k", "Value": "v"}] else "lost"


@case(writes, "tag-characters", "ValidationError")
def _(desk: Desk) -> object:
    return _code(lambda: desk.device("comma", Tags=[{"Key": "k", "Value": "a,b"}]))


@case(writes, "enable", "previous and current code at once")
def _(desk: Desk) -> object:
    desk.enabled("enable", desk.user())
    return "previous and current code at once"


@case(writes, "wrong-code", "InvalidAuthenticationCode: Authentication code for device is not valid.")
def _(desk: Desk) -> object:
    serial = desk.device("wrong")
    codes = desk.pair(serial)
    codes["AuthenticationCode1"] = codes["AuthenticationCode2"]
    return desk.iam.enable_mfa_device(UserName=desk.user(), **codes)["ResponseMetadata"] and "accepted"


@case(writes, "enabled-here", "EntityAlreadyExists: MFA Device for user <user> already exists.")
def _(desk: Desk) -> object:
    user = desk.user()
    serial = desk.enabled("here", user)
    desk.iam.enable_mfa_device(UserName=user, **desk.pair(serial, 2))
    return "accepted"


@case(writes, "enabled-elsewhere", "EntityAlreadyExists: MFA Device is already in use.")
def _(desk: Desk) -> object:
    serial = desk.enabled("elsewhere", desk.user())
    desk.iam.enable_mfa_device(UserName=desk.user("-other"), **desk.pair(serial, 2))
    return "accepted"


@case(writes, "monotonic-pairs", "InvalidAuthenticationCode: Authentication code for device is not valid.")
def _(desk: Desk) -> object:
    serial = desk.enabled("monotonic", desk.user())
    desk.iam.deactivate_mfa_device(UserName=desk.user(), SerialNumber=serial)
    desk.iam.enable_mfa_device(UserName=desk.user(), **desk.pair(serial))
    return "accepted"


@case(writes, "pair-window", "accepted")
def _(desk: Desk) -> object:
    serial = desk.device("window")
    desk.iam.enable_mfa_device(UserName=desk.user("-window"), **desk.pair(serial, 990))
    return "accepted"


@case(writes, "resync-skew", "accepted")
def _(desk: Desk) -> object:
    user = desk.user("-window")
    serial = desk.device("skew")
    desk.iam.enable_mfa_device(UserName=user, **desk.pair(serial, 900))
    desk.iam.resync_mfa_device(UserName=user, **desk.pair(serial, 1800))
    return "accepted"


@case(writes, "unknown-token", "NoSuchEntity: MFA device with serial number MFAKITCONTRACT0 does not exist.")
def _(desk: Desk) -> object:
    codes = {"AuthenticationCode1": "000000", "AuthenticationCode2": "000001"}
    desk.iam.enable_mfa_device(UserName=desk.user(), SerialNumber="MFAKITCONTRACT0", **codes)
    return "accepted"


@case(writes, "resync-unassigned", "NoSuchEntity: MFA Device invalid for user.")
def _(desk: Desk) -> object:
    serial = desk.device("resync")
    desk.iam.resync_mfa_device(UserName=desk.user(), **desk.pair(serial))
    return "accepted"


@case(writes, "deactivate-unassigned", "NoSuchEntity: MFA Device invalid for user.")
def _(desk: Desk) -> object:
    serial = desk.device("deactivate")
    desk.iam.deactivate_mfa_device(UserName=desk.user(), SerialNumber=serial)
    return "accepted"


@case(writes, "delete-assigned", "DeleteConflict: MFA VirtualDevice in use. Must deactivate first.")
def _(desk: Desk) -> object:
    serial = desk.enabled("delete", desk.user())
    desk.iam.delete_virtual_mfa_device(SerialNumber=serial)
    return "accepted"


@case(writes, "delete-user", "DeleteConflict: Cannot delete entity, must remove tokens from principal first.")
def _(desk: Desk) -> object:
    user = desk.user("-leaver")
    desk.enabled("leaver", user)
    desk.iam.delete_user(UserName=user)
    return "accepted"


@case(writes, "names-without-case", "EntityAlreadyExists")
def _(desk: Desk) -> object:
    return _code(lambda: desk.iam.create_user(UserName=desk.user().upper()))


@case(
    writes,
    "self-management",
    "AccessDenied: To complete this action, please ensure that you are authenticated with an MFA device that is "
    "enabled for this user.",
)
def _(desk: Desk) -> object:
    user = desk.user("-self")
    serial = desk.enabled("self", user)
    desk.client("iam", desk.as_user(user)).deactivate_mfa_device(UserName=user, SerialNumber=serial)
    return "accepted"


@case(writes, "lookup-without-case", "found")
def _(desk: Desk) -> object:
    return "found" if desk.iam.get_user(UserName=desk.user().upper())["User"]["UserName"] == desk.name else "another"


@case(writes, "pages", "one, and a marker to the next")
def _(desk: Desk) -> object:
    desk.user()
    desk.user("-other")
    first = desk.iam.list_users(MaxItems=1)
    then = desk.iam.list_users(MaxItems=1, Marker=first["Marker"]) if first["IsTruncated"] else {"Users": []}
    names = {row["UserName"] for page in (first, then) for row in page["Users"]}
    return "one, and a marker to the next" if len(names) == 2 else sorted(names)


@case(
    writes,
    "deny-words",
    "AccessDenied: User: <arn> is not authorized to perform: iam:GetUser on resource: user <user>-other "
    "because no identity-based policy allows the iam:GetUser action",
)
def _(desk: Desk) -> object:
    user = desk.user("-lean")
    try:
        desk.client("iam", desk.as_user(user)).get_user(UserName=desk.user("-other"))
    except ClientError as error:
        return re.sub(r"arn:\S+:user/\S+-lean", "<arn>", _said(error))
    return "accepted"


@case(writes, "lists-of-a-kind", "ListUsers; ListGroups is on arn:aws:iam::<account>:group/")
def _(desk: Desk) -> object:
    user = desk.user("-lister")
    keys = desk.as_user(user, {"Effect": "Allow", "Action": "iam:List*", "Resource": "arn:aws:iam::*:user/*"})
    iam = desk.client("iam", keys)
    if (said := _code(iam.list_users)) != "accepted":
        return f"ListUsers: {said}"
    try:
        iam.list_groups()
    except ClientError as error:
        on = _said(error).partition("on resource: ")[2].partition(" because")[0]
        return f"ListUsers; ListGroups is on {on.replace(desk.account, '<account>')}"
    return "ListUsers and ListGroups"


@case(writes, "session-without-mfa", "InvalidClientTokenId")
def _(desk: Desk) -> object:
    made = desk.client("sts", desk.as_user(desk.user("-plain"))).get_session_token()["Credentials"]
    return _code(lambda: desk.session_of(made).get_user())


@case(writes, "sts-once", "a session, then AccessDenied")
def _(desk: Desk) -> object:
    user = desk.user("-sts")
    serial = desk.enabled("sts", user)
    sts = desk.client("sts", desk.as_user(user))
    proof = {"SerialNumber": serial, "TokenCode": desk.pair(serial)["AuthenticationCode2"]}
    sts.get_session_token(**proof)
    return f"a session, then {_code(lambda: sts.get_session_token(**proof))}"


def _ninth(desk: Desk) -> ClientError | None:
    user = desk.user("-full")
    for number in range(len(desk.iam.list_mfa_devices(UserName=user)["MFADevices"]), 8):
        desk.enabled(f"full{number}", user)
    try:
        desk.enabled(f"full-{secrets.token_hex(2)}", user)
    except ClientError as error:
        return error
    return None


@case(writes, "ninth-device", "LimitExceeded")
def _(desk: Desk) -> object:
    error = _ninth(desk)
    return error.response["Error"]["Code"] if error else "accepted"


@case(writes, "limit-words", "LimitExceeded: Cannot exceed quota for MFADevicesPerUser: 8")
def _(desk: Desk) -> object:
    error = _ninth(desk)
    return _said(error) if error else "accepted"


def differences(part: list[Case], desk: Desk) -> Iterator[tuple[Case, str]]:
    """Send every case of a part. Yield each case that has another response than expected, with that response."""
    for each in part:
        said = each.answer(desk).replace(desk.name, "<user>")
        if said != each.says:
            yield each, said
