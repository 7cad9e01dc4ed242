"""MFA devices as AWS stores them: virtual devices, hardware TOTP tokens and FIDO security keys."""

import base64
import io
import secrets
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import zxingcpp
from moto.iam.models import MFADevice, User, VirtualMfaDevice
from PIL import Image

from mfa_kit.lab.aws.codes import PERIOD, DeviceCodes, code

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
