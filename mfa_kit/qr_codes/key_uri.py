"""Reads and writes key URIs (`otpauth://`). Google Authenticator's wiki page "Key Uri Format" defines the format.

Programs write key URIs in different ways. This module therefore accepts every difference that cannot change a code:
unknown parameters, other spellings, and secrets in groups.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from mfa_kit.core import otp
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import KeyUri, Secret, Seed

ISSUER = "Amazon Web Services"
SHORT_ISSUER = "AWS"
# Characters of device names that need no escape in a path (RFC 3986, 3.3). The + is escaped, because some apps read it
# as a space.
LABEL = "@,="
# The shortest secret that is accepted, and the shortest that RFC 4226 (R6) allows, in octets. Older apps and servers
# use 80 bits.
FEWEST_OCTETS, SAFE_OCTETS = 10, 16
HINT = "use the QR code that AWS showed for the device"
NOT_OF_AWS = "this key URI is not for an AWS device: AWS uses TOTP with SHA-1 and 6 digits every 30 seconds"
NOT_A_KEY_URI = "this picture or text does not contain a usable otpauth URI"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceUri:
    """The secret and the label (`issuer:device@account`) in a key URI for AWS. `notes` are shown to the user."""

    seed: Seed
    label: str
    notes: tuple[str, ...] = ()


def otpauth(seed: Seed, *, label: str) -> KeyUri:
    """Return the URI that AWS's own QR code contains for a secret.

    `label` is `DEVICE@ACCOUNT`. In AWS's QR codes, ACCOUNT is the account's alias, or its ID if it has no alias.
    """
    issuer = quote(ISSUER)
    secret = Secret(base64.b32encode(seed.reveal()).decode().rstrip("="))
    return KeyUri(f"otpauth://totp/{issuer}:{quote(label)}?secret={secret.reveal()}&issuer={issuer}")


def short_otpauth(seed: Seed, *, device: str, account: str) -> KeyUri:
    """Return the shortest URI that apps show as an AWS account, for a QR code that has to fit into a terminal.

    It has no `issuer` parameter, so apps take the issuer from the label (Key Uri Format, "Issuer").
    """
    secret = Secret(base64.b32encode(seed.reveal()).decode().rstrip("="))
    return KeyUri(f"otpauth://totp/{SHORT_ISSUER}:{quote(device, safe=LABEL)}@{account}?secret={secret.reveal()}")


def parse(uri: KeyUri) -> DeviceUri:
    """Parse a key URI. Raise IntegrityFault for text that is not a key URI, or for parameters that AWS does not use."""
    try:
        parts = Secret(urlsplit(uri.reveal()))
        secret_parameters = _parameters(Secret(parts.reveal().query))
        seed = _secret(secret_parameters.pop("secret", Secret("")))
        parameters = {name: value.reveal() for name, value in secret_parameters.items()}
        for_aws = _kind(parts.reveal().scheme, parts.reveal().netloc) == "totp" and _uses_aws_parameters(parameters)
    except ValueError:
        raise IntegrityFault(NOT_A_KEY_URI, HINT) from None
    if not for_aws:
        raise IntegrityFault(NOT_OF_AWS, HINT)
    prefix, issuer, name = _names(parts.reveal().path, parameters.get("issuer", ""))
    label = f"{issuer}:{name}" if issuer else name
    return DeviceUri(seed=seed, label=label, notes=tuple(_notes(seed, prefix, issuer)))


def seed_of(uri: KeyUri) -> Seed:
    """Return the secret of a key URI for AWS. Raise IntegrityFault in the same cases as `parse`."""
    return parse(uri).seed


def _kind(scheme: str, kind: str) -> str:
    """Return the type of a key URI, `totp` or `hotp`. Raise ValueError for any other URI."""
    if scheme != "otpauth" or kind.lower() not in {"totp", "hotp"}:
        raise ValueError("not a key URI")
    return kind.lower()


def _parameters(query: Secret[str]) -> dict[str, Secret[str]]:
    """Return the parameters, with their names in lower case. Raise ValueError if a parameter occurs with two values."""
    parameters: dict[str, Secret[str]] = {}
    for pair in map(Secret, parse_qsl(query.reveal())):
        value = Secret(pair.reveal()[1])
        if parameters.setdefault(pair.reveal()[0].lower(), value) != value:
            raise ValueError("a parameter has two values")
    return parameters


def _secret(text: Secret[str]) -> Seed:
    """Decode a base32 secret, which may be in lower case and in groups.

    Raise ValueError if it is not base32 or has too few bits.
    """
    groups = Secret(text.reveal().replace("-", " ").upper().split())
    seed = otp.from_base32(Secret("".join(groups.reveal()).rstrip("=")))
    if len(seed.reveal()) < FEWEST_OCTETS:
        raise ValueError("too short for a secret")
    return seed


def _uses_aws_parameters(parameters: Mapping[str, str]) -> bool:
    """Return whether the codes are computed with AWS's parameters. Raise ValueError if a number cannot be parsed."""
    algorithm = parameters.get("algorithm", "SHA1").upper().replace("-", "").replace("_", "").removeprefix("HMAC")
    digits, period = _number(parameters.get("digits"), otp.DIGITS), _number(parameters.get("period"), otp.PERIOD)
    # Steam's codes have letters.
    steam = parameters.get("encoder", "").lower() == "steam"
    return (algorithm, digits, period, steam) == ("SHA1", otp.DIGITS, otp.PERIOD, False)


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 10):  # noqa: PLR2004 - no useful number is longer
        raise ValueError("not a number")
    return int(text)


def _names(path: str, issuer: str) -> tuple[str, str, str]:
    """Return the issuer in the label, the issuer that apps show, and the account's name.

    `path` is a slash and the escaped label. `issuer` is the parameter `issuer`, or "" if there is none. Apps show the
    parameter if there is one, and otherwise the issuer in the label.
    """
    label = unquote(path.removeprefix("/"))
    prefix, colon, name = label.partition(":")
    if not colon:
        return "", issuer, label.strip()
    return prefix.strip(), issuer or prefix.strip(), name.strip()


def _notes(seed: Seed, prefix: str, issuer: str) -> list[str]:
    notes = []
    if prefix and prefix != issuer:
        notes.append(f"the label names the issuer {prefix!r}, but the issuer parameter is {issuer!r}")
    if len(seed.reveal()) < SAFE_OCTETS:
        notes.append(f"the secret has only {8 * len(seed.reveal())} bits; RFC 4226 requires 128 or more")
    return notes
