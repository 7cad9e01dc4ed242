"""Gets a sign-in token from AWS's federation endpoint, and builds the URL that opens the console with this token.

Source: IAM user guide, "Enable custom identity broker access to the AWS console". For 15 minutes a sign-in token is as
powerful as a password.
"""

from http import HTTPStatus
from urllib.parse import urlencode, urlsplit

from mfa_kit.core.errors import AwsFault, UsageFault
from mfa_kit.core.file_formats import read_json
from mfa_kit.core.local_servers import is_loopback
from mfa_kit.core.otp import Secret
from mfa_kit.network.http import BoundedResponse, get

SECONDS = 20
ISSUER = "mfa-kit"


class TokenResponse(BoundedResponse):
    """A response with a sign-in token, which has a few thousand octets."""

    octets = 1 << 16


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
    if not endpoint.startswith("https://") and not is_loopback(endpoint):
        raise UsageFault(f"{endpoint} is not encrypted", "sign in to the console yourself")
    query = Secret(urlencode({"Action": "getSigninToken", "Session": session.reveal()}))
    try:
        reply = get(f"{endpoint}?{query.reveal()}", TokenResponse, silence=SECONDS)
        if reply.status == HTTPStatus.OK:
            return Secret(str(read_json(reply.content)["SigninToken"]))
        why = f"HTTP {reply.status}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = type(error).__name__
    raise AwsFault(f"{urlsplit(endpoint).hostname} returned no sign-in token: {why}", "sign in to the console yourself")
