"""Gets a sign-in token from AWS's federation endpoint, and builds the URL that opens the console with this token.

Source: IAM user guide, "Enable custom identity broker access to the AWS console". For 15 minutes a sign-in token is as
powerful as a password.
"""

import http.client
import urllib.error
import urllib.request
from urllib.parse import urlencode, urlsplit

from mfa_kit.adapters.aws.answers import BoundedResponse
from mfa_kit.core.errors import AwsFault, UsageFault
from mfa_kit.core.file_formats import read_json
from mfa_kit.core.local_servers import is_loopback
from mfa_kit.core.otp import Secret

SECONDS = 20
ISSUER = "mfa-kit"
LONGEST = 1 << 16


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects, because the request contains credentials and must not be sent to another server."""

    def redirect_request(self, *_: object) -> None:
        """Return None, so that urllib follows no redirect and raises HTTPError."""
        return


class _HttpConnection(http.client.HTTPConnection):
    response_class = BoundedResponse


class _HttpsConnection(http.client.HTTPSConnection):
    response_class = BoundedResponse


class _BoundedHttp(urllib.request.HTTPHandler):
    """Opens http addresses, and aborts a slow or endless response. urllib's timeout limits only each single read."""

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open an http address."""
        return self.do_open(_HttpConnection, req)


class _BoundedHttps(urllib.request.HTTPSHandler):
    """Opens https addresses, and aborts a slow or endless response."""

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open an https address."""
        return self.do_open(_HttpsConnection, req)


def console_address(endpoint: str, session: Secret[str], *, destination: str) -> Secret[str]:
    """Return a URL that signs in to the console and opens the page `destination`.

    `session` has the credentials, as the JSON that the endpoint accepts. Raise AwsFault if the endpoint returns no
    token, and UsageFault if its address is neither https nor on loopback.
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
            reply = read_json(answer.read(LONGEST))
        return Secret(str(reply["SigninToken"]))
    except urllib.error.HTTPError as error:
        error.close()
        why = f"HTTP {error.code}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = type(error).__name__
    raise AwsFault(f"{urlsplit(endpoint).hostname} returned no sign-in token: {why}", "sign in to the console yourself")
