"""The authenticator's other half: which codes IAM takes for a device, and which STS takes.

pyotp judges the codes, not the product's own otp, or a shared mistake would pass. IAM and STS keep separate books, as
recorded against the service: IAM remembers the last pair it took, STS the single codes, and STS learns of IAM's changes
some seconds late.
"""

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field

import pyotp

from mfa_kit.lab.aws.wire import IamError

PERIOD = 30
UNABLE = (
    "MultiFactorAuthentication failed, unable to validate MFA code.  "
    "Please verify your MFA serial number is valid and associated with this user."
)
# What may be set as the answer to a token that AWS does not know.
UNKNOWN_SERIAL = {400: "ValidationError", 403: "InvalidAuthenticationCode", 404: "NoSuchEntity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSettings:
    """What was recorded on one account on a few days, so settings and no rules. Windows in steps, times in seconds.

    `unknown_serial`: the HTTP status with which a token that AWS does not know is refused, for its answer is unknown.
    Raise ValueError for what cannot be.
    """

    pair_behind: int = 998
    pair_ahead: int = 1000
    sts_window: int = 2
    sts_attempts: int = 9
    sts_span: int = 180
    propagation: float = 12.0
    devices_per_user: int = 8
    users_quota: int = 5000
    report_age: float = 4.0 * 3600
    clock_tolerance: float = 300.0
    unknown_serial: int = 404

    def __post_init__(self) -> None:
        if not all(0 <= value < math.inf for value in astuple(self)):
            raise ValueError(self)
        if self.sts_span == 0 or self.unknown_serial not in UNKNOWN_SERIAL:
            raise ValueError(self)


def nearest_first(middle: int, *, behind: int, ahead: int) -> Iterator[int]:
    """Count away from the middle on both sides, as far as each goes."""
    yield middle
    for distance in range(1, max(behind, ahead) + 1):
        if distance <= behind:
            yield middle - distance
        if distance <= ahead:
            yield middle + distance


def code(secret: str, counter: int) -> str:
    return pyotp.HOTP(secret).at(counter)


@dataclass(slots=True)
class DeviceCodes:
    """IAM's book of one device. Counters are RFC 6238's T; the skew is the offset that the last pair was found at."""

    secret: str
    skew: int = 0
    last: int = -1

    def pair(self, first: str, second: str, *, now: float, settings: LabSettings) -> None:
        """Take two consecutive codes wholly above the last pair, and keep their offset. Raise IAM's one error.

        The search goes round the device's adjusted time, nearest first; a refused attempt spends nothing.
        """
        here = int(now) // PERIOD
        for offset in nearest_first(self.skew, behind=settings.pair_behind, ahead=settings.pair_ahead):
            at = here + offset
            if at - 1 > self.last and at > 0 and code(self.secret, at) == second and code(self.secret, at - 1) == first:
                self.skew, self.last = offset, at
                return
        raise IamError("InvalidAuthenticationCode", "Authentication code for device is not valid.")


@dataclass(frozen=True, slots=True)
class Binding:
    """From when on a device belonged to a user, or to nobody."""

    at: float
    user: str | None
    secret: str
    skew: int


@dataclass(slots=True)
class StsCodes:
    """STS's book of all devices of an account."""

    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    used: set[tuple[str, int]] = field(default_factory=set)
    tries: dict[str, tuple[int, int]] = field(default_factory=dict)

    def bind(self, serial: str, user: str | None, codes: DeviceCodes, *, now: float) -> None:
        """Note what IAM just did. STS will see it later."""
        self.bindings.setdefault(serial, []).append(Binding(now, user, codes.secret, codes.skew))

    def check(self, serial: str, given: str, *, user: str, now: float, settings: LabSettings) -> None:
        """Take a code, each once, round the skew. Raise AccessDenied: too many attempts look like an unknown device."""
        seen = [one for one in self.bindings.get(serial, []) if one.at <= now - settings.propagation]
        window = int(now) // settings.sts_span
        start, count = self.tries.get(serial, (window, 0))
        count = count if start == window else 0
        if not seen or seen[-1].user != user or count >= settings.sts_attempts:
            raise IamError("AccessDenied", UNABLE)
        self.tries[serial] = (window, count + 1)
        secret, here = seen[-1].secret, int(now) // PERIOD + seen[-1].skew
        for at in range(here - settings.sts_window, here + settings.sts_window + 1):
            if (secret, at) not in self.used and code(secret, at) == given:
                self.used.add((secret, at))
                return
        raise IamError("AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code. ")
