"""Key URIs (`otpauth://`), by pyotp. Apart from otp because importing pyotp costs what a verb's `--help` may not."""

import base64
import hashlib

import pyotp

from mfa_kit.core import otp
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import KeyUri, Secret, Seed

ISSUER = "Amazon Web Services"


def otpauth(seed: Seed, *, label: str) -> KeyUri:
    """Return the URI that AWS's own QR code holds for a seed; label is `<device>@<alias or account>`."""
    return KeyUri(
        pyotp.TOTP(base64.b32encode(seed.reveal()).decode().rstrip("=")).provisioning_uri(
            name=label, issuer_name=ISSUER
        )
    )


def seed_of(uri: KeyUri) -> Seed:
    """Return the seed within a URI for AWS: TOTP, SHA-1, 6 digits, 30 s. Raise IntegrityFault for anything else."""
    try:
        parsed = pyotp.parse_uri(uri.reveal())
        seed = otp.from_base32(Secret(parsed.secret.upper()))
    except ValueError:
        raise IntegrityFault(
            "this QR code is no otpauth URI", "use the QR code that AWS showed for the device"
        ) from None
    parameters = (parsed.digits, getattr(parsed, "interval", None), parsed.digest)
    if not isinstance(parsed, pyotp.TOTP) or parameters != (otp.DIGITS, otp.PERIOD, hashlib.sha1):
        raise IntegrityFault(
            "this QR code is not of an AWS device: those have TOTP with SHA-1 and 6 digits every 30 seconds",
            "use the QR code that AWS showed for the device",
        )
    return seed


def label_of(uri: KeyUri) -> str:
    """`issuer:device@account` without the secret. Raise IntegrityFault as seed_of does."""
    seed_of(uri)
    parsed = pyotp.parse_uri(uri.reveal())
    return f"{parsed.issuer}:{parsed.name}" if parsed.issuer else parsed.name
