"""Gets a sign-in token from AWS's federation endpoint, and writes a page that opens the console with the token.

Source: IAM user guide, "Enable custom identity broker access to the AWS console". For 15 minutes a sign-in token is as
powerful as a password, so it is kept in a file that only this user can read. The file is removed after use.
"""

import html
import http.client
import os
import secrets
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from mfa_kit.adapters.aws.bounds import BoundedResponse
from mfa_kit.core.errors import AwsFault, UsageFault
from mfa_kit.core.json_text import read_json
from mfa_kit.core.loopback import is_loopback
from mfa_kit.core.otp import Secret

SECONDS = 20
# How many seconds a sign-in token is valid (IAM user guide).
GOOD = 15 * 60
ISSUER = "mfa-kit"
LONGEST = 1 << 16
PAGE = """<!doctype html>
<meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>mfa-kit</title>
<meta http-equiv="refresh" content="0; url={address}">
<p>Opening {what}. <a href="{address}">Open it here</a> if nothing happens.</p>
"""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, because the request must not be sent to another server."""

    def redirect_request(self, *_: object) -> None:
        """Follow no redirect, so that urllib raises HTTPError for the response."""
        return


class _HttpConnection(http.client.HTTPConnection):
    response_class = BoundedResponse


class _HttpsConnection(http.client.HTTPSConnection):
    response_class = BoundedResponse


class _BoundedHttp(urllib.request.HTTPHandler):
    """Aborts a slow or endless response. urllib's timeout limits only the time between two reads."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open an http address."""
        return self.do_open(_HttpConnection, req)


class _BoundedHttps(urllib.request.HTTPSHandler):
    """Aborts a slow or endless response over https."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open an https address."""
        return self.do_open(_HttpsConnection, req)


def console_address(endpoint: str, session: Secret[str], *, destination: str) -> Secret[str]:
    """Return a URL that signs in to the console and opens the page `destination`.

    `session` has the credentials, as the JSON that the endpoint accepts. Raise AwsFault if the endpoint refuses them or
    does not respond, and UsageFault if the endpoint's address is not https.
    """
    token = _token(endpoint, session)
    asked = {"Action": "login", "Issuer": ISSUER, "Destination": destination, "SigninToken": token.reveal()}
    return Secret(f"{endpoint}?{urlencode(asked)}")


def _token(endpoint: str, session: Secret[str]) -> Secret[str]:
    """Request a sign-in token and return it. Errors quote no part of the request."""
    local = is_loopback(endpoint)
    if not endpoint.startswith("https://") and not local:
        raise UsageFault(f"{endpoint} is not encrypted", "sign in to the console yourself")
    query = Secret(urlencode({"Action": "getSigninToken", "Session": session.reveal()}))
    direct = [urllib.request.ProxyHandler({})] if local else []
    opener = urllib.request.build_opener(_NoRedirect, _BoundedHttp, _BoundedHttps, *direct)
    try:
        with opener.open(f"{endpoint}?{query.reveal()}", timeout=SECONDS) as answer:
            said = read_json(answer.read(LONGEST))
        return Secret(str(said["SigninToken"]))
    except urllib.error.HTTPError as error:
        error.close()
        why = f"HTTP {error.code}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = type(error).__name__
    raise AwsFault(f"{urlsplit(endpoint).hostname} returned no sign-in token: {why}", "sign in to the console yourself")


@contextmanager
def write_page(folder: Path, address: Secret[str], *, what: str = "the AWS console") -> Iterator[Path]:
    """Write a page that opens an address, and yield its path. Only this user can read it. It is removed at the end.

    `what` names in the page what is opened.

    A page left by a killed process is removed too, once its token has expired.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in folder.glob("console-*.html"):
        with suppress(OSError):
            if old.lstat().st_mtime < time.time() - GOOD:
                old.unlink()
    path = folder / f"console-{secrets.token_hex(8)}.html"
    handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(PAGE.format(address=html.escape(address.reveal(), quote=True), what=what))
        yield path
    finally:
        path.unlink(missing_ok=True)
