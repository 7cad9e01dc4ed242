"""Reads the public SSH keys of an account from a forge (a site such as GitHub or GitLab): `BASE/LOGIN.keys`.

GitHub and GitLab document this address. The request needs no credentials and contains none. Redirects are refused,
because the keys must come from the site that the administrator named.
"""

import re
import ssl
from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.local_servers import is_loopback
from mfa_kit.network.http import BoundedResponse, LongResponse, SlowResponse, get

LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}", re.ASCII)


class FetchError(Exception):
    """The keys of an account could not be read. The message says why."""


class KeysResponse(BoundedResponse):
    """A response with public keys. A hundred keys have about 60,000 octets. Connecting may take the same time again."""

    seconds = 15.0
    octets = 1 << 18


def check_base(base: str) -> str:
    """Return the address of a forge without a slash at its end. Raise UsageFault if it is not a usable https address.

    Plain http is allowed for this computer only. The error message does not quote `base`, because it may contain a
    password.
    """
    try:
        parts = urlsplit(base)
        usable = bool(parts.hostname) and not (parts.query or parts.fragment or "@" in parts.netloc)
    except ValueError:
        usable = False
    if not usable or not (base.startswith("https://") or (base.startswith("http://") and is_loopback(base))):
        raise UsageFault(
            "--base-url is not the address of a forge: it must begin with https:// and contain no password",
            "write https://github.com or https://gitlab.example.com",
        )
    return base.rstrip("/")


def keys_address(base: str, login: str) -> str:
    """Return the address of an account's keys. Raise FetchError if `login` is not a valid name of an account."""
    if not LOGIN.fullmatch(login):
        raise FetchError(f"{login!a} is not the name of an account")
    return f"{base}/{quote(login)}.keys"


def fetch_keys(address: str) -> list[str]:
    """Return the lines at an address from `keys_address`. Raise FetchError if they cannot be read."""
    try:
        reply = get(
            address,
            KeysResponse,
            silence=KeysResponse.seconds,
            headers={"User-Agent": "mfa-kit", "Accept": "text/plain"},
        )
    except (LongResponse, SlowResponse) as error:
        raise FetchError(f"{address} cannot be read: {error}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise FetchError(
                f"the certificate of {address} is not trusted ({reason.verify_message}); if your company signed it, "
                "set SSL_CERT_FILE to a file with the CA's certificate"
            ) from None
        raise FetchError(f"{address} cannot be read: {type(reason).__name__}") from None
    if reply.status != HTTPStatus.OK:
        raise FetchError(f"{address} answers {_status(reply.status)}")
    text = reply.content.decode("utf-8", "replace")
    if text.lstrip().startswith("<"):
        raise FetchError(f"{address} is a web page, not a list of keys; the site may require a sign-in")
    return text.splitlines()


def _status(code: int) -> str:
    if code == HTTPStatus.NOT_FOUND:
        return "that there is no such account"
    if code in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.FORBIDDEN}:
        return f"HTTP {code}: too many requests (try again later), or the site does not show keys to everyone"
    if code in {301, 302, 303, 307, 308}:
        return "with a redirect, which is not followed; give the site's own address: --base-url URL"
    return f"HTTP {code}"


# The minimum length of an RSA key in bits. Shorter keys are not allowed (NIST SP 800-131A).
LEAST_BITS = 2048
# Matches the name of a key type (RFC 4253, 6.6, and OpenSSH's own types, which contain a domain).
TYPE = re.compile(r"[a-z0-9-]{1,40}(?:@[a-z0-9.]{1,30})?", re.ASCII)
AGE = "age1"


def sort_keys(lines: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return the usable public keys without comments, and descriptions of the other lines, such as their key types.

    Usable keys are Ed25519 keys, RSA keys of at least 2048 bits, and age recipients. All other keys, such as ECDSA keys
    and keys on security keys (`sk-…`), are damaged, too weak, or not supported by age. Duplicates are dropped from both
    lists.
    """
    usable: dict[str, None] = {}
    skipped: dict[str, None] = {}
    for line in lines:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(AGE):
            usable[words[0]] = None
        elif obstacle := _obstacle(words):
            skipped[obstacle] = None
        else:
            usable[" ".join(words[:2])] = None
    return [*usable], [*skipped]


def _obstacle(words: list[str]) -> str:
    """Return a description of a key that cannot be used, such as its type. Return "" if the key can be used."""
    kind = words[0] if TYPE.fullmatch(words[0]) else "a line that is not a key"
    if kind not in {"ssh-ed25519", "ssh-rsa"}:
        return kind
    try:
        key = load_ssh_public_key(" ".join(words[:2]).encode())
    except (ValueError, UnsupportedAlgorithm):
        return f"a damaged {kind} key"
    if isinstance(key, RSAPublicKey) and key.key_size < LEAST_BITS:
        return f"ssh-rsa with {key.key_size} bits"
    return ""
