"""Sends requests to IAM and STS with boto3. Reads may be retried; a write is attempted once.

Secrets of virtual devices enter the program here.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from botocore.model import OperationModel
from botocore.parsers import ResponseParserError

from mfa_kit.adapters.aws.answers import (
    NOT_IAM,
    PAGE,
    SIGN_IN,
    Retry,
    clock_offset,
    is_wrong_code,
    our_errors,
    pages,
    read,
    refused_role,
    wrong_clock,
)
from mfa_kit.adapters.aws.clients import (
    Clients,
    Connection,
    identify,
    is_aws,
    open_clients,
    open_service,
)
from mfa_kit.core import otp
from mfa_kit.core.errors import (
    AccessDenied,
    AwsFault,
    Expired,
    IntegrityFault,
    InvalidValue,
    MfaKitError,
    NoSuchEntity,
    NoSuchOperation,
    UsageFault,
    name_in_ledgers,
)
from mfa_kit.core.models import RUN, RUN_TAG, Call, Caller, Device, DeviceSpec, Registered, RunTag
from mfa_kit.core.otp import Created, Pair, Png, Secret
from mfa_kit.core.stopping import Stop, sleep
from mfa_kit.core.text import CLOCK_LIMIT, one_line
from mfa_kit.network.http import ended_by
from mfa_kit.qr_codes import key_uri, symbol

if TYPE_CHECKING:
    from mypy_boto3_iam import IAMClient
    from mypy_boto3_iam.type_defs import (
        ContextEntryTypeDef,
        SimulatePrincipalPolicyRequestTypeDef,
        TagTypeDef,
        VirtualMFADeviceTypeDef,
    )
    from mypy_boto3_organizations import OrganizationsClient
    from mypy_boto3_sts.type_defs import AssumeRoleRequestTypeDef

T = TypeVar("T")
log = logging.getLogger(__name__)

# A clock offset below this many seconds is within the resolution of the Date header and the network delay.
RESOLUTION = 2.0
# The duration of a console session in seconds, which is the shortest that AWS allows.
CONSOLE = 900
# The ARN of a user, of root, or of a session of a role or federated user.
CALLER = re.compile(r"arn:[\w-]+:(iam|sts)::\d{12}:.+", re.ASCII)
# The condition key that simulations set to represent a session with MFA.
MFA_PRESENT: "ContextEntryTypeDef" = {
    "ContextKeyName": "aws:MultiFactorAuthPresent",
    "ContextKeyType": "boolean",
    "ContextKeyValues": ["true"],
}


class Iam:
    """Implements IamReader and DeviceWriter for one account.

    One IAM client and one STS client serve up to `connection.workers` threads. `check` is called before each write, and
    `observe` after it, even if the write failed. `turn`, if given, performs each attempt of a read. It may wait before
    the attempt and retry it, so that a command for many users can limit the rate of its requests. `clients` creates the
    two clients, and creates them again after credentials have expired. After `stop` is set, a thread that waits for a
    response raises KeyboardInterrupt.
    """

    def __init__(
        self,
        *,
        observe: Callable[[Call], None],
        check: Callable[[], None] = lambda: None,
        connection: Connection | None = None,
        sleep: Callable[[float], None] = sleep,
        turn: Retry | None = None,
        clients: Callable[[Connection], Clients] = open_clients,
        stop: Stop | None = None,
    ) -> None:
        self._observe, self._check, self._sleep, self._turn = observe, check, sleep, turn
        self._stop = stop or Stop()
        self._offset = 0.0
        self._last = threading.local()
        self._opening = threading.Lock()
        self._wanted = connection or Connection()
        self._connect = clients
        self._clients = self._open()
        self._others: dict[tuple[str, str | None], Any] = {}

    def _open(self) -> Clients:
        """Load the credentials, and create clients with them."""
        clients = self._connect(self._wanted)
        clients.watch(self._answered)
        return clients

    def renew(self, account: str) -> None:
        """Load the credentials again, and create clients with them.

        Raise Expired if the new credentials do not belong to `account`, or the error of a call that failed.
        """
        opened = self._open()
        with our_errors():
            owner, _ = identify(opened)
        if owner != account:
            raise Expired(f"the credentials now belong to account {owner}, not to {account}", SIGN_IN)
        # Other threads may use the clients at any moment, so the new clients are only set after the check.
        self._clients, self._others = opened, {}

    @property
    def endpoint_url(self) -> str:
        """The URL of IAM, such as `https://iam.amazonaws.com`."""
        return str(self._clients.iam.meta.endpoint_url)

    @property
    def is_aws(self) -> bool:
        """Whether both IAM and STS are AWS's own, and not those of another server."""
        return all(is_aws(client.meta.endpoint_url) for client in (self._clients.iam, self._clients.sts))

    def _answered(
        self, *, http_response: AWSResponse, parsed: Mapping[str, Mapping[str, str]], model: OperationModel, **_: object
    ) -> None:
        """Store the clock offset and the request ID from a response."""
        # Keep only the metadata, before anything else, because the rest of a response may contain a secret.
        parsed = {"": parsed.get("ResponseMetadata", {})}
        self._last.request_id = parsed[""].get("RequestId")
        log.debug("%s answered %s, request %s", model.name, http_response.status_code, self._last.request_id)
        offset = clock_offset(http_response.headers.get("Date"))
        if offset is not None:
            self._offset = offset if abs(offset) > RESOLUTION else 0.0

    def _read(self, act: Callable[[], T]) -> T:
        """Make a read call, and retry it if it is throttled or gets no response. Reading twice is harmless."""
        return read(partial(self._once, act), sleep=self._sleep, turn=self._turn)

    def _once(self, act: Callable[[], T]) -> T:
        with ended_by(self._stop), our_errors():
            return act()

    @contextmanager
    def _write(self, operation: str, *, user: str | None, serial: str | None) -> Iterator[None]:
        """Run the `with` block as one attempt to write. Then pass its result and request ID to `observe` as a Call."""
        self._check()
        self._last.request_id = None
        answer = "Unclear"
        try:
            with ended_by(self._stop), our_errors():
                yield
            answer = "OK"
        except MfaKitError as error:
            answer = name_in_ledgers(error)
            raise
        finally:
            request_id = self._last.request_id
            self._observe(Call(operation=operation, user=user, serial=serial, request_id=request_id, answer=answer))

    def caller(self) -> Caller:
        """Return the caller's identity from STS. The response also gives AWS's time, which `now` and `offset` use.

        Raise AwsFault if this computer's clock and AWS's clock differ so much that AWS would refuse requests, or if the
        response has an invalid ARN.
        """
        account, arn = self._read(lambda: identify(self._clients))
        if abs(self._offset) > CLOCK_LIMIT:
            raise wrong_clock(self._offset)
        if not CALLER.fullmatch(arn) or arn.split(":")[4] != account:
            raise AwsFault(f"AWS returned an invalid ARN for the caller: {one_line(arn)[:80]}", NOT_IAM)
        return Caller(account, arn)

    def now(self) -> float:
        """Return AWS's time in Unix seconds: the local time plus the offset that the last response showed."""
        return time.time() + self._offset

    def offset(self) -> float:
        """Return how many seconds AWS's clock is ahead of the local clock. Differences too small to measure are 0."""
        return self._offset

    def ask(self, call: Callable[["IAMClient"], T]) -> T:
        """Make a read call with the IAM client and return its result. Retry it if it is throttled or gets no response.

        This method implements `pages.Ask`.
        """
        return self._read(lambda: call(self._clients.iam))

    def ask_organizations(self, call: Callable[["OrganizationsClient"], T]) -> T:
        """Make a read call with the Organizations client, with the retries of `ask`."""
        return self.ask_service("organizations", None, call)

    def ask_service(self, service: str, region: str | None, call: Callable[[Any], T]) -> T:
        """Make a read call with the client of another service, with the retries of `ask`.

        `region` is None for the configured Region. Each client is created once.
        """
        with self._opening:
            if (service, region) not in self._others:
                client = open_service(self._clients, self._wanted, service, region)
                client.meta.events.register("after-call", self._answered)
                self._others[service, region] = client
        client = self._others[service, region]
        return self._read(lambda: call(client))

    def _ask_once(self, call: Callable[["IAMClient"], T]) -> T:
        return self._once(lambda: call(self._clients.iam))

    def devices(self, user: str | None, *, patient: bool = True) -> list[Device]:
        """Return the devices of a user, or of the caller if `user` is None. `patient` allows retries."""
        listed = pages(
            self.ask if patient else self._ask_once,
            lambda iam, start: iam.list_mfa_devices(UserName=user, **start) if user else iam.list_mfa_devices(**start),
        )
        rows = [row for page in listed for row in page["MFADevices"]]
        return [Device(row["SerialNumber"], row["UserName"], row["EnableDate"].timestamp()) for row in rows]

    def name_in_iam(self, user: str) -> str:
        """Return a user's name as IAM spells it. Raise NoSuchEntity if there is no such user.

        If the caller may not look up users, the name is returned unchanged.
        """
        try:
            return str(self.ask(lambda iam: iam.get_user(UserName=user)["User"]["UserName"]))
        except AccessDenied:
            return user

    def registered(self, user: str, serial: str) -> Registered:
        """Return when a user's security key was registered, and its certifications (iam:GetMFADevice)."""
        device = self.ask(lambda iam: iam.get_mfa_device(UserName=user, SerialNumber=serial))
        return Registered(since=device["EnableDate"].timestamp(), certifications=device.get("Certifications", {}))

    def active_keys(self, user: str) -> int:
        """Return the number of active access keys of a user."""
        listed = pages(self.ask, lambda iam, start: iam.list_access_keys(UserName=user, **start))
        return sum(row["Status"] == "Active" for page in listed for row in page["AccessKeyMetadata"])

    def root_has_mfa(self) -> bool:
        """Whether the account's root user has MFA (iam:GetAccountSummary). The call is attempted once."""
        return bool(self._ask_once(lambda iam: iam.get_account_summary()["SummaryMap"]["AccountMFAEnabled"]))

    def users(self) -> list[str]:
        """Return the names of all users."""
        listed = pages(self.ask, lambda iam, start: iam.list_users(MaxItems=PAGE, **start))
        return [row["UserName"] for page in listed for row in page["Users"]]

    def allowed(self, actions: Mapping[str, str]) -> dict[str, bool | None]:
        """Return, for each action, whether the caller's own policies allow it, or None if that is unknown.

        `actions` maps each action to its resource.
        """
        caller = self.caller()
        role = re.fullmatch(r"(arn:[^:]+):sts::(\d+):assumed-role/([^/]+)/.*", caller.arn)
        who = f"{role[1]}:iam::{role[2]}:role/{role[3]}" if role else caller.arn
        verdicts: dict[str, bool | None] = dict.fromkeys(actions)
        with suppress(AwsFault):
            for resource in sorted(set(actions.values())):
                verdicts |= self._simulated(who, [name for name, on in actions.items() if on == resource], resource)
        return verdicts

    def _simulated(self, who: str, names: list[str], resource: str) -> dict[str, bool | None]:
        """Simulate actions of the principal `who` on a resource. Return, for each action, whether it is allowed.

        The result is None for a denial that depends on a condition such as MFA, because the simulation does not know
        the values of the condition's keys.
        """
        asked: SimulatePrincipalPolicyRequestTypeDef = {
            "PolicySourceArn": who,
            "ResourceArns": [resource],
            "ActionNames": names,
        }
        rows = self.ask(lambda iam: iam.simulate_principal_policy(**asked))["EvaluationResults"]
        verdicts: dict[str, bool | None] = {row["EvalActionName"]: row["EvalDecision"] == "allowed" for row in rows}
        lifted = [
            row["EvalActionName"]
            for row in rows
            if row.get("MissingContextValues") and not verdicts[row["EvalActionName"]]
        ]
        if lifted:
            again: SimulatePrincipalPolicyRequestTypeDef = {
                **asked,
                "ActionNames": lifted,
                "ContextEntries": [MFA_PRESENT],
            }
            with_mfa = self.ask(lambda iam: iam.simulate_principal_policy(**again))["EvaluationResults"]
            verdicts |= {
                row["EvalActionName"]: None
                for row in with_mfa
                if row["EvalDecision"] == "allowed" or row.get("MissingContextValues")
            }
        return verdicts

    def run_of(self, serial: str) -> str | RunTag:
        """Return the ID of the mfa-kit run that created a virtual device, from the device's tag.

        Return RunTag.UNTAGGED if the device has no such tag, or if the caller may not read tags. Return RunTag.ABSENT
        if the device does not exist.
        """
        try:
            run = self.tags(serial).get(RUN_TAG, "")
        except NoSuchEntity:
            return RunTag.ABSENT
        except AccessDenied:
            return RunTag.UNTAGGED
        return run if RUN.fullmatch(run) else RunTag.UNTAGGED

    def tags(self, serial: str) -> dict[str, str]:
        """Return the tags of a virtual device.

        Raise AccessDenied if the caller may not read tags, or if the server does not support ListMFADeviceTags. Return
        no tags if ListMFADeviceTags rejects the ARN. Some paths that CreateVirtualMFADevice accepts contain characters
        that ListMFADeviceTags rejects. mfa-kit never uses these characters, so it did not create the device.
        """

        def ask(iam: "IAMClient") -> "list[TagTypeDef]":
            try:
                return iam.list_mfa_device_tags(SerialNumber=serial)["Tags"]
            except ResponseParserError:
                if self.is_aws:
                    raise
                # moto answers a request for an operation that it lacks with a page of HTML and HTTP 500.
                raise NoSuchOperation("the response cannot be parsed", NOT_IAM) from None

        try:
            rows = self.ask(ask)
        except InvalidValue:
            return {}
        except NoSuchOperation as error:
            raise AccessDenied(f"tags cannot be read: {error}", error.hint) from None
        return {row["Key"]: row["Value"] for row in rows}

    def unassigned(self) -> list[str]:
        """Return the serials of all virtual devices that are not assigned to a user."""
        listed = pages(
            self.ask,
            lambda iam, start: iam.list_virtual_mfa_devices(AssignmentStatus="Unassigned", MaxItems=PAGE, **start),
        )
        return [row["SerialNumber"] for page in listed for row in page["VirtualMFADevices"]]

    def accepts(self, serial: str, code: str) -> bool:
        """Whether STS accepts a code of the caller's device. Each code can be used only once."""
        with self._write("GetSessionToken", user=None, serial=serial):
            try:
                self._clients.sts.get_session_token(SerialNumber=serial, TokenCode=code)
            except ClientError as error:
                if is_wrong_code(error):
                    return False
                raise
        return True

    def console_session(self, *, user: str, policy: Mapping[str, object], role: str | None) -> Secret[str]:
        """Create credentials for the console, as the JSON that AWS's federation endpoint accepts.

        `policy` limits what the credentials allow. `role` is the ARN of a role to assume, or None to request the
        credentials with GetFederationToken. That call requires a user's own long-term keys, so raise UsageFault if the
        caller has none and `role` is None. `user` becomes part of the name of the session.

        If the caller has long-term keys, the credentials are valid for 15 minutes. If the caller has session
        credentials, the new credentials are valid for an hour, the default of AssumeRole. No other duration is
        requested, because AWS's federation endpoint would then refuse the session (STS API reference, AssumeRole).
        """
        own_keys = self._clients.own_keys
        name = re.sub(r"[^\w+=,.@-]", "-", f"mfa-kit-{user}", flags=re.ASCII)
        document = json.dumps(policy)
        if role:
            request: AssumeRoleRequestTypeDef = {
                "RoleArn": role,
                "RoleSessionName": name[:64],
                "Policy": document,
            }
            if own_keys:
                request["DurationSeconds"] = CONSOLE
            with self._write("AssumeRole", user=user, serial=None):
                try:
                    keys = Secret(self._clients.sts.assume_role(**request)["Credentials"])
                except ClientError as error:
                    raise refused_role(error, role) from None
        elif own_keys:
            with self._write("GetFederationToken", user=user, serial=None):
                keys = Secret(
                    self._clients.sts.get_federation_token(Name=name[:32], Policy=document, DurationSeconds=CONSOLE)[
                        "Credentials"
                    ]
                )
        else:
            raise UsageFault(
                "session credentials cannot open the console without a role",
                "name a role that you may assume: --open-role ARN",
            )
        return Secret(
            json.dumps(
                {
                    "sessionId": keys.reveal()["AccessKeyId"],
                    "sessionKey": keys.reveal()["SecretAccessKey"],
                    "sessionToken": keys.reveal()["SessionToken"],
                }
            )
        )

    def create(self, spec: DeviceSpec, tags: dict[str, str]) -> Created:
        """Create a virtual device (CreateVirtualMFADevice). Return its secret and AWS's key URI."""
        with self._write("CreateVirtualMFADevice", user=spec.user, serial=spec.serial):
            device = Secret(
                self._clients.iam.create_virtual_mfa_device(
                    Path=spec.path,
                    VirtualMFADeviceName=spec.name,
                    Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
                )["VirtualMFADevice"]
            )
        return _created(device, label=f"{spec.name}@{spec.account}")

    def enable(self, spec: DeviceSpec, codes: Callable[[], Pair]) -> None:
        """Assign a device to its user (EnableMFADevice).

        `codes` returns two consecutive codes, and is called just before the request is sent.
        """
        self._send_codes("EnableMFADevice", self._clients.iam.enable_mfa_device, spec.user, spec.serial, codes)

    def resync(self, user: str, serial: str, codes: Callable[[], Pair]) -> None:
        """Have IAM measure the clock offset of a device again (ResyncMFADevice).

        `codes` returns two consecutive codes, and is called just before the request is sent.
        """
        self._send_codes("ResyncMFADevice", self._clients.iam.resync_mfa_device, user, serial, codes)

    def _send_codes(
        self, operation: str, send: Callable[..., object], user: str, serial: str, codes: Callable[[], Pair]
    ) -> None:
        pair = codes()
        with self._write(operation, user=user, serial=serial):
            send(UserName=user, SerialNumber=serial, AuthenticationCode1=pair.first, AuthenticationCode2=pair.second)

    def deactivate(self, user: str, serial: str) -> None:
        """Remove a device from its user (DeactivateMFADevice)."""
        with self._write("DeactivateMFADevice", user=user, serial=serial):
            self._clients.iam.deactivate_mfa_device(UserName=user, SerialNumber=serial)

    def delete(self, serial: str) -> None:
        """Delete an unassigned virtual device (DeleteVirtualMFADevice)."""
        with self._write("DeleteVirtualMFADevice", user=None, serial=serial):
            self._clients.iam.delete_virtual_mfa_device(SerialNumber=serial)

    def tag(self, serial: str, tags: dict[str, str]) -> None:
        """Add tags to a virtual device (TagMFADevice)."""
        with self._write("TagMFADevice", user=None, serial=serial):
            self._clients.iam.tag_mfa_device(
                SerialNumber=serial, Tags=[{"Key": key, "Value": value} for key, value in tags.items()]
            )


def _created(device: Secret["VirtualMFADeviceTypeDef"], *, label: str) -> Created:
    """Return the secret of a device, and the key URI from AWS's QR code.

    If there is no readable QR code, the key URI is made from the secret and `label`. Raise IntegrityFault if the secret
    is not base32, or differs from the secret in the QR code.
    """
    try:
        seed = otp.from_base32(Secret(device.reveal()["Base32StringSeed"]))
    except ValueError:
        raise IntegrityFault(
            "the secret in AWS's response is not base32", "check --endpoint-url, because AWS's secrets are base32"
        ) from None
    try:
        uri = symbol.read(Png(device.reveal()["QRCodePNG"]))
    except IntegrityFault:
        # A server that is not AWS may send no QR code. A URI made from the secret is equivalent.
        return Created(seed, key_uri.otpauth(seed, label=label))
    if key_uri.seed_of(uri) != seed:
        raise IntegrityFault(
            "AWS's response has one secret as text and another in the QR code",
            "try again; report it if it happens again",
        )
    return Created(seed, uri)
