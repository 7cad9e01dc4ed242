"""Reads the public SSH keys of an account from a forge (a site such as GitHub or GitLab): `BASE/LOGIN.keys`.

GitHub and GitLab document this address. The request needs no credentials and contains none. Redirects are refused,
because the keys must come from the site that the administrator named.
"""

import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.loopback import is_loopback

# How many seconds connecting may take. Reading the response may then take the same time again.
SECONDS = 15
# The maximum length of a response in octets. A hundred keys take about 60 kB.
LONGEST = 1 << 18
LOGIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}", re.ASCII)


class FetchError(Exception):
    """The keys of an account could not be read. The message says why."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects."""

    def redirect_request(self, *_: object) -> None:
        """Follow no redirect, so that urllib raises HTTPError for the response."""
        return


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
    local = [urllib.request.ProxyHandler({})] if is_loopback(address) else []
    opener = urllib.request.build_opener(_NoRedirect, *local)
    request = urllib.request.Request(address, headers={"User-Agent": "mfa-kit", "Accept": "text/plain"})  # noqa: S310 - check_base
    try:
        with opener.open(request, timeout=SECONDS) as answer:
            octets = b"".join(_chunks(answer))
    except urllib.error.HTTPError as error:
        error.close()
        raise FetchError(f"{address} answers {_status(error.code)}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise FetchError(
                f"the certificate of {address} is not trusted ({reason.verify_message}); if your company signed it, "
                "set SSL_CERT_FILE to a file with the CA's certificate"
            ) from None
        raise FetchError(f"{address} cannot be read: {type(reason).__name__}") from None
    text = octets.decode("utf-8", "replace")
    if text.lstrip().startswith("<"):
        raise FetchError(f"{address} is a web page, not a list of keys; the site may require a sign-in")
    return text.splitlines()


def _chunks(answer: "urllib.request._UrlopenRet") -> Iterator[bytes]:
    """Yield the content of a response. Raise FetchError if it is too long or takes too long."""
    until, size = time.monotonic() + SECONDS, 0
    while chunk := answer.read1(LONGEST):
        size += len(chunk)
        if size > LONGEST or time.monotonic() > until:
            raise FetchError("the answer is too long, or takes too long")
        yield chunk


def _status(code: int) -> str:
    if code == HTTPStatus.NOT_FOUND:
        return "that there is no such account"
    if code in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.FORBIDDEN}:
        return f"HTTP {code}: too many requests (try again later), or the site does not show keys to everyone"
    if code in {301, 302, 303, 307, 308}:
        return "with a redirect, which is not followed; give the site's own address: --base-url URL"
    return f"HTTP {code}"
