"""MFA devices as AWS keeps them: a seed, the skew it was enabled with, the last step it spent. pyotp judges the codes, not the product's own otp."""

import io
import secrets
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pyotp
import zxingcpp
from moto.iam.models import MFADevice, VirtualMfaDevice
from PIL import Image

from mfa_kit.lab.wire import IamError

PERIOD = 30
BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
ISSUER = quote("Amazon Web Services")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What was recorded on one account on one day, so not a rule: windows in steps, times in seconds."""

    enable_window: int = 1000
    sts_window: int = 2
    sts_attempts: int = 9
    sts_span: float = 180
    propagation: float = 12
    devices_per_user: int = 8
    users_quota: int = 5000
    report_age: float = 4 * 3600
    clock_tolerance: float = 300


@dataclass(slots=True)
class Codes:
    """The authenticator's other half. Counters are RFC 6238's T."""

    secret: str
    skew: int = 0
    last: int = -1
    tries: list[float] = field(default_factory=list)
    changed: float = 0

    def _code(self, counter: int) -> str:
        return pyotp.HOTP(self.secret).at(counter)

    def pair(self, first: str, second: str, *, now: float, window: int) -> None:
        """Take two consecutive codes wholly above the last one taken, and keep their offset as the skew. Raise IAM's one error.

        The nearest match round `now`'s step decides; a refused attempt spends nothing.
        """
        here = int(now) // PERIOD
        for offset in sorted(range(-window, window + 1), key=abs):
            counter = here + offset
            if (
                counter - 1 > self.last
                and counter > 0
                and self._code(counter) == second
                and self._code(counter - 1) == first
            ):
                self.skew, self.last = offset, counter
                return
        raise IamError("InvalidAuthenticationCode", "Authentication code for device is not valid.")

    def single(self, code: str, *, now: float, settings: Settings) -> None:
        """Take one code for STS, each once, within the window round the skew. Raise AccessDenied, also for too many attempts."""
        self.tries = [at for at in self.tries if now - at < settings.sts_span]
        early = now - self.changed < settings.propagation
        if not early and len(self.tries) < settings.sts_attempts:
            self.tries.append(now)
            here = int(now) // PERIOD + self.skew
            for offset in sorted(range(-settings.sts_window, settings.sts_window + 1), key=abs):
                if here + offset > self.last and self._code(here + offset) == code:
                    self.last = here + offset
                    return
        raise IamError("AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code.")


class Device(VirtualMfaDevice):
    """moto's virtual device with codes that count, and tags."""

    def __init__(self, account: str, region: str, *, path: str, name: str) -> None:
        super().__init__(account, region, path + name)
        self.name = name
        self.base32_string_seed = "".join(secrets.choice(BASE32) for _ in range(64))
        self.codes = Codes(self.base32_string_seed)
        self.tags: dict[str, str] = {}

    def qr(self, holder: str) -> bytes:
        """The PNG that AWS draws; holder is the account's alias or id."""
        label = f"{ISSUER}:{quote(self.name, safe='')}@{holder}"
        text = f"otpauth://totp/{label}?secret={self.base32_string_seed}&issuer={ISSUER}"
        symbol = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode, ec_level="M")
        out = io.BytesIO()
        Image.fromarray(zxingcpp.write_barcode_to_image(symbol, scale=4)).save(out, "PNG", compress_level=1)
        return out.getvalue()


@dataclass(slots=True)
class Token:
    """A hardware TOTP token: AWS holds the seed, and it has no ARN."""

    serial_number: str
    codes: Codes


class Fido(MFADevice):
    """A security key or passkey as the console registers it."""

    def __init__(self, serial: str, certifications: dict[str, str]) -> None:
        super().__init__(serial, "", "")
        self.certifications = certifications


def assigned(serial: str, at: datetime) -> MFADevice:
    """The entry of a device in its user's list."""
    device = MFADevice(serial, "", "")
    device.enable_date = at
    return device


def u2f_serial(partition: str, account: str, *, user: str, name: str) -> str:
    return f"arn:{partition}:iam::{account}:u2f/user/{user}/{name}-{''.join(secrets.choice(BASE32) for _ in range(26))}"


def user_attribute(user: Any) -> dict[str, Any]:
    """The user as ListVirtualMFADevices shows one."""
    return {
        "Path": user.path,
        "UserName": user.name,
        "UserId": user.id,
        "Arn": user.arn,
        "CreateDate": user.create_date,
        "PasswordLastUsed": user.password_last_used,
    }


def wall() -> float:
    return time.time()
