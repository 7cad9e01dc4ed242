"""Decides whether AWS can use a display token, and as which type of device."""

from dataclasses import dataclass

from mfa_kit.core import otp
from mfa_kit.core.models import DeviceType
from mfa_kit.tokens.seeds import AWS_OCTETS, Factor, Token

# The issuer of a seed that AWS made for a virtual device.
AWS_ISSUER = "Amazon Web Services"


@dataclass(frozen=True, slots=True)
class AwsUse:
    """Whether AWS can use a token, and `why` or why not.

    `device_type` is the type of the MFA device in IAM, or None if AWS cannot use the token.
    """

    device_type: DeviceType | None
    why: str


def aws_use(token: Token) -> AwsUse:
    """Return whether AWS can use a token, and as which type of MFA device.

    AWS cannot import seeds, so it can use few of the tokens that come with a seed.
    """
    if not token.octets:
        return AwsUse(
            DeviceType.HARDWARE_TOTP, "hardware TOTP, if AWS knows its serial number; --probe-user checks that"
        )
    parameters = (token.factor, token.digest, token.digits, token.period)
    if token.capacity >= AWS_OCTETS:
        return AwsUse(DeviceType.VIRTUAL, "programmable: AWS creates the seed, and you write it to the token")
    if token.capacity:
        return AwsUse(
            None, f"programmable, but its seeds have at most {token.capacity} bytes and AWS's have {AWS_OCTETS}"
        )
    if token.maker == AWS_ISSUER and token.octets == AWS_OCTETS:
        if parameters == (Factor.TOTP, "sha1", otp.DIGITS, otp.PERIOD):
            return AwsUse(DeviceType.VIRTUAL, "it has a seed that AWS created for a virtual device")
        return AwsUse(None, "AWS uses TOTP with SHA-1, 6 digits and 30 s")
    return AwsUse(None, "AWS accepts only hardware tokens sold for AWS and cannot import seeds")
