"""MFA devices as AWS stores them, and which codes IAM and STS accept for a device.

A device is a virtual device, a hardware TOTP token or a FIDO security key.

pyotp computes the codes, not mfa-kit's own otp module. If the lab and mfa-kit shared code, both would have the same
bugs, and no test would fail. IAM and STS store used codes separately, as our recordings of AWS show: IAM stores the
last pair that it accepted, and STS stores each code that it accepted. STS sees changes in IAM about 12 s later.
"""

import base64
import io
import math
import secrets
from collections.abc import Iterator
from dataclasses import astuple, dataclass, field
from datetime import datetime
from urllib.parse import quote

import pyotp
import zxingcpp
from moto.iam.models import MFADevice, User, VirtualMfaDevice
from PIL import Image

PERIOD = 30
# The messages with which STS refuses a code.
WRONG = "MultiFactorAuthentication failed with invalid MFA one time pass code. "
UNABLE = (
    "MultiFactorAuthentication failed, unable to validate MFA code.  "
    "Please verify your MFA serial number is valid and associated with this user."
)
# The error codes for a serial that AWS does not know, by the HTTP status in the setting `unknown_serial`.
UNKNOWN_SERIAL = {400: "ValidationError", 403: "InvalidAuthenticationCode", 404: "NoSuchEntity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSettings:
    """The limits of IAM, STS and CloudTrail. Those of IAM and STS were recorded with one AWS account over a few days.

    Windows are in steps of 30 s, times in seconds. `unknown_serial` is the HTTP status of the error for a serial that
    AWS does not know. It is a setting because we do not know which status AWS uses. Raise ValueError for a value that
    is negative, not finite or otherwise impossible.
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
    event_delay: float = 0.0
    lookup_rate: float = 2.0

    def __post_init__(self) -> None:
        if not all(0 <= value < math.inf for value in astuple(self)):
            raise ValueError(self)
        if self.sts_span == 0 or self.unknown_serial not in UNKNOWN_SERIAL:
            raise ValueError(self)


def nearest_first(middle: int, *, behind: int, ahead: int) -> Iterator[int]:
    """Yield the integers from `middle - behind` to `middle + ahead`, nearest to the middle first."""
    yield middle
    for distance in range(1, max(behind, ahead) + 1):
        if distance <= behind:
            yield middle - distance
        if distance <= ahead:
            yield middle + distance


def code(secret: str, counter: int) -> str:
    """Return the six-digit code of a base32 secret for a counter value (RFC 4226, 5.3)."""
    return pyotp.HOTP(secret).at(counter)


@dataclass(slots=True)
class DeviceCodes:
    """What IAM remembers about the codes of one device.

    `last` is the counter (T in RFC 6238) of the last code that IAM accepted, or -1. `skew` is the number of 30 s steps
    by which the device's clock was ahead of AWS's clock when IAM last accepted a pair of codes.
    """

    secret: str
    skew: int = 0
    last: int = -1

    def accept_pair(self, first: str, second: str, *, now: float, settings: LabSettings) -> bool:
        """Accept two consecutive codes that are newer than the last accepted code, and return True.

        Store the new `skew` and `last`. Return False for any other pair, and change nothing. The search for the pair
        begins at the current step plus `skew`, and then alternates between earlier and later steps.
        """
        current_step = int(now) // PERIOD
        for offset in nearest_first(self.skew, behind=settings.pair_behind, ahead=settings.pair_ahead):
            counter = current_step + offset
            if (
                counter - 1 > self.last
                and counter > 0
                and code(self.secret, counter) == second
                and code(self.secret, counter - 1) == first
            ):
                self.skew, self.last = offset, counter
                return True
        return False


@dataclass(frozen=True, slots=True)
class Binding:
    """The assignment of a device, as STS sees it.

    `at` is the Unix time at which the assignment changed. `user` is a user ID, or None for an unassigned device.
    `secret` and `skew` are the device's values at that time.
    """

    at: float
    user: str | None
    secret: str
    skew: int


@dataclass(slots=True)
class StsCodes:
    """What STS remembers about the devices of one account.

    `used` holds the secret and counter of each code that STS accepted. `tries` holds two numbers for each
    serial: the number of the last span in which STS checked a code (Unix time divided by `sts_span`, rounded down), and
    the number of codes that STS checked in this span.
    """

    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    used: set[tuple[str, int]] = field(default_factory=set)
    tries: dict[str, tuple[int, int]] = field(default_factory=dict)

    def bind(self, serial: str, user: str | None, codes: DeviceCodes, *, now: float) -> None:
        """Record that IAM assigned or unassigned a device. STS sees the change `propagation` seconds later."""
        self.bindings.setdefault(serial, []).append(Binding(now, user, codes.secret, codes.skew))

    def refusal(self, serial: str, sent_code: str, *, user: str, now: float, settings: LabSettings) -> str:
        """Return STS's error message for a code that a user sent, or "" if STS accepts the code.

        STS accepts an unused code if its step is at most `sts_window` steps from AWS's step plus the device's `skew`.
        An accepted code is recorded as used. After `sts_attempts` codes within one span of `sts_span` seconds, every
        code gets the message for an unknown device.
        """
        bindings = [binding for binding in self.bindings.get(serial, []) if binding.at <= now - settings.propagation]
        window = int(now) // settings.sts_span
        start, count = self.tries.get(serial, (window, 0))
        count = count if start == window else 0
        if not bindings or bindings[-1].user != user or count >= settings.sts_attempts:
            return UNABLE
        self.tries[serial] = (window, count + 1)
        secret, device_step = bindings[-1].secret, int(now) // PERIOD + bindings[-1].skew
        for counter in range(device_step - settings.sts_window, device_step + settings.sts_window + 1):
            if (secret, counter) not in self.used and code(secret, counter) == sent_code:
                self.used.add((secret, counter))
                return ""
        return WRONG


BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
ISSUER = quote("Amazon Web Services")


def new_base32_seed() -> str:
    """Return a new secret as AWS makes it: 40 random octets, which are 64 characters of base32."""
    return base64.b32encode(secrets.token_bytes(40)).decode()


class VirtualDevice(VirtualMfaDevice):
    """moto's virtual device, extended with tags and with codes that the lab checks."""

    def __init__(self, account: str, region: str, *, path: str, name: str) -> None:
        super().__init__(account, region, path + name)
        self.name = name
        self.base32_string_seed = new_base32_seed()
        self.codes = DeviceCodes(self.base32_string_seed)
        self.tags: dict[str, str] = {}

    def qr(self, holder: str) -> bytes:
        """Return the QR code of CreateVirtualMFADevice as a PNG. `holder` is the account's alias or ID."""
        label = f"{ISSUER}:{quote(self.name, safe='')}@{holder}"
        text = f"otpauth://totp/{label}?secret={self.base32_string_seed}&issuer={ISSUER}"
        symbol = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode, ec_level="M")
        picture = Image.fromarray(zxingcpp.write_barcode_to_image(symbol, scale=4))
        out = io.BytesIO()
        picture.convert("1", dither=Image.Dither.NONE).save(out, "PNG", compress_level=1)
        return out.getvalue()


@dataclass(slots=True)
class HardwareToken:
    """A hardware TOTP token whose seed AWS knows. Its serial is the number printed on it, not an ARN."""

    serial_number: str
    codes: DeviceCodes


@dataclass(frozen=True, slots=True)
class Display:
    """The display of a token whose clock is `ahead` seconds fast, or slow if the value is negative."""

    secret: str
    ahead: float = 0

    def shows(self, time: float) -> str:
        """Return the code on the display at a Unix time."""
        return code(self.secret, int(time + self.ahead) // PERIOD)


class FidoDevice(MFADevice):
    """A security key or passkey that the console registered. `certifications` is a field of GetMFADevice's response."""

    def __init__(self, serial: str, certifications: dict[str, str]) -> None:
        super().__init__(serial, "", "")
        self.certifications = certifications


def assigned_entry(serial: str, enable_date: datetime) -> MFADevice:
    """Return a new entry for the `mfa_devices` of a user, with the device's enable date."""
    device = MFADevice(serial, "", "")
    device.enable_date = enable_date
    return device


def u2f_serial(partition: str, account: str, *, user: str, name: str) -> str:
    """Return a new ARN for a FIDO key. Its last part is random, so two keys of a user may have the same name."""
    return f"arn:{partition}:iam::{account}:u2f/user/{user}/{name}-{''.join(secrets.choice(BASE32) for _ in range(26))}"


def root_serial(kind: str, partition: str, account: str, number: int) -> str:
    """Return the serial of the root user's device with this number. The first device has the number 0."""
    start = f"arn:{partition}:iam::{account}"
    match kind:
        case "virtual":
            return f"{start}:mfa/root-account-mfa-device" + (f"-{number + 1}" if number else "")
        case "fido":
            return f"{start}:u2f/root/key-{number + 1}-{'A' * 26}"
        case _:
            return f"GAHT{account[-6:]}{number:02}"


def user_fields(user: User) -> dict[str, object]:
    """Return a user in the form that list operations return (IAM API reference, User)."""
    return {
        "Path": user.path,
        "UserName": user.name,
        "UserId": user.id,
        "Arn": user.arn,
        "CreateDate": user.create_date,
        "PasswordLastUsed": user.password_last_used,
    }
