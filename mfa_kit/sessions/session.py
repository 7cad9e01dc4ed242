"""Sessions with MFA for other programs, as values: the request for a session, and the session that AWS gave.

A cached session must be found in a few milliseconds, so this module imports little.
"""

import hashlib
import json
from typing import NamedTuple

from mfa_kit.core.otp import Secret
from mfa_kit.core.text import iso_time

# Seconds that a session must still be valid to be handed out. botocore renews one with less than 15 minutes left at
# each use.
FRESH = 20 * 60
# Seconds of the session of a user and of a role, unless others are requested; the minimum that mfa-kit accepts; and the
# maxima of GetSessionToken and AssumeRole (STS API reference). With 20 minutes needed, a shorter session is of no use.
USER_SECONDS, ROLE_SECONDS = 12 * 3600, 3600
SHORTEST, LONGEST, LONGEST_OF_ROLE = 30 * 60, 36 * 3600, 12 * 3600
# The names that AWS, the cache and credential_process give to the parts of a session's keys.
PARTS = ("AccessKeyId", "SecretAccessKey", "SessionToken")


class SessionRequest(NamedTuple):
    """A request for a session. `role` is the ARN of a role, or "" for the session of the user.

    `endpoint` has the settings that choose STS's address, or is "" for AWS's own. `device` is the serial or ARN of the
    MFA device of the access key's user.
    """

    endpoint: str
    access_key_id: str
    device: str
    role: str
    seconds: int

    @property
    def name(self) -> str:
        """The name of the session's file in the cache."""
        return _digest(*self) + ".json"

    @property
    def shared(self) -> str:
        """The start of the names of the lock and of the state that all requests with codes of the device share."""
        return _digest(self.endpoint, self.access_key_id, self.device)

    @property
    def of_user(self) -> "SessionRequest":
        """The request for the session of the user from which the role is assumed. Without a role, this request."""
        return self._replace(role="", seconds=USER_SECONDS) if self.role else self


def _digest(*parts: str | int) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class MfaSession(NamedTuple):
    """The credentials of a session. `expires` is in Unix seconds, and `offset` is AWS's time minus the local time."""

    keys: Secret[dict[str, str]]
    expires: float
    offset: float

    def is_fresh(self, now: float) -> bool:
        """Return whether the session is valid for long enough, at this local time in Unix seconds."""
        return FRESH <= self.expires - (now + self.offset) <= LONGEST + FRESH

    def entry(self, request: SessionRequest) -> Secret[bytes]:
        """Return the content of the session's file in the cache."""
        fields = {"request": request._asdict(), "expires": self.expires, "offset": self.offset}
        return Secret(json.dumps({**fields, **self.keys.reveal()}).encode())

    def answer(self, request: SessionRequest) -> Secret[str]:
        """Return the JSON that a program expects of its credential_process."""
        arn = (request.role or request.device).split(":")
        account = {"AccountId": arn[4]} if len(arn) > 4 else {}  # noqa: PLR2004 - the part of an ARN with the account
        return Secret(json.dumps({"Version": 1, **self.keys.reveal(), "Expiration": iso_time(self.expires), **account}))


def parse_entry(text: Secret[bytes], request: SessionRequest) -> MfaSession | None:
    """Return the session of a file in the cache. Return None if the file is damaged, or has another request."""
    try:
        entry = Secret(json.loads(text.reveal()))
        keys = Secret({part: entry.reveal()[part] for part in PARTS})
        if entry.reveal()["request"] != request._asdict() or {*map(type, keys.reveal().values())} != {str}:
            return None
        return MfaSession(keys, float(entry.reveal()["expires"]), float(entry.reveal()["offset"]))
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
        return None
