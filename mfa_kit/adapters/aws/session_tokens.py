"""Gets sessions with MFA from STS with a user's long-term access keys. Each request is sent once, as codes are."""

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from mfa_kit.adapters.aws.answers import clock_offset, is_wrong_code, our_errors, refused_role
from mfa_kit.adapters.aws.clients import OWN_KEYS, Connection, open_session, open_sts
from mfa_kit.core.errors import AwsFault, UsageFault
from mfa_kit.core.otp import PERIOD, Secret
from mfa_kit.core.text import clock_difference
from mfa_kit.sessions.session import PARTS, MfaSession, SessionRequest

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient

# STS accepts the codes of this many seconds before and after its own time.
ACCEPTED = 2 * PERIOD
# An offset below this many seconds is within the resolution of the Date header.
RESOLUTION = 2.0
OTHERS = (
    "wait for the next code; STS accepts each only once, also from another program such as aws-vault, "
    "and refuses all codes for some seconds after a device was enabled"
)


class SessionTokens:
    """STS with the access keys of a profile. This class implements `renewing.SessionIssuer`."""

    def __init__(self, profile: str | None, region: str | None, endpoint_url: str | None) -> None:
        self._connection = Connection(profile=profile, region=region, endpoint_url=endpoint_url)
        self.offset: float | None = None

    @cached_property
    def _session(self) -> boto3.Session:
        return open_session(self._connection)

    def _client(self, session: boto3.Session) -> "STSClient":
        sts = open_sts(session, self._connection)
        sts.meta.events.register("after-call.sts", self._answered)
        return sts

    @cached_property
    def _sts(self) -> "STSClient":
        return self._client(self._session)

    def _answered(self, *, http_response: Any, parsed: object, **_: object) -> None:
        del parsed  # it has the session, so forget it before anything else
        offset = clock_offset(http_response.headers.get("Date"))
        if offset is not None:
            self.offset = offset if abs(offset) > RESOLUTION else 0.0

    def is_root(self) -> bool:
        """Return whether the access keys belong to root."""
        with our_errors():
            return self._sts.get_caller_identity()["Arn"].endswith(":root")

    def user_session(self, request: SessionRequest, code: str) -> MfaSession:
        """Return a new session with MFA (GetSessionToken). Raise UsageFault if boto3 uses other keys."""
        credentials = self._session.get_credentials()
        if credentials is None or credentials.method not in OWN_KEYS or credentials.access_key != request.access_key_id:
            raise UsageFault(
                f"boto3 does not use the access key {request.access_key_id} of profile {self._connection.profile}",
                "keep the access keys in one place, and nothing else in that profile",
            )
        with our_errors():
            try:
                return self._issued(
                    Secret(
                        self._sts.get_session_token(
                            SerialNumber=request.device, TokenCode=code, DurationSeconds=request.seconds
                        )["Credentials"]
                    )
                )
            except ClientError as error:
                if not is_wrong_code(error):
                    raise
        if self.offset and abs(self.offset) > ACCEPTED:
            raise AwsFault(
                f"AWS refused the code, because {clock_difference(self.offset)}",
                "set it: timedatectl set-ntp true; mfa-kit takes the difference into account next time",
            )
        raise AwsFault(f"AWS refused the code of {request.device}", OTHERS)

    def role_session(self, request: SessionRequest, user: MfaSession) -> MfaSession:
        """Return a new session of a role, from a session of the user (AssumeRole)."""
        name = re.sub(r"[^\w+=,.@-]", "-", request.device.rpartition("/")[2], flags=re.ASCII)[:64]
        key, secret, token = PARTS
        sts = self._client(
            boto3.Session(
                aws_access_key_id=user.keys.reveal()[key],
                aws_secret_access_key=user.keys.reveal()[secret],
                aws_session_token=user.keys.reveal()[token],
                region_name=self._session.region_name,
            )
        )
        with our_errors():
            try:
                return self._issued(
                    Secret(
                        sts.assume_role(
                            RoleArn=request.role, RoleSessionName=f"{name:->2}", DurationSeconds=request.seconds
                        )["Credentials"]
                    )
                )
            except ClientError as error:
                raise refused_role(error, request.role) from None

    def _issued(self, credentials: Secret[Any]) -> MfaSession:
        keys = Secret({part: credentials.reveal()[part] for part in PARTS})
        return MfaSession(keys, credentials.reveal()["Expiration"].timestamp(), self.offset or 0.0)
