"""Refuses requests that do not come from the page itself, before any other code of the server sees them.

A web site can make the browser send requests to a server on this computer, even under a name of its own that it maps to
127.0.0.1 (DNS rebinding). The Host, Origin or Sec-Fetch-Site header (W3C Fetch Metadata) of such a request differs from
that of the page's own requests.
"""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The paths of one-time addresses begin with this. A link to such an address may be outside the page, for example in the
# local file that mfa-kit opens in the browser.
OPEN = "/open/"
# The longest body of a request, in octets. A code or a password is far shorter.
LONGEST = 4096
REFUSED = "This page can be used only in the window that mfa-kit opened.\n"
# Headers of every response. The documents of views replace the content security policy with one that allows their own
# script and style.
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Guard:
    """An ASGI application that passes on only requests from the page at `host` (an address and a port).

    Each refusal ends its connection, so that no one can keep the server occupied with requests that it refuses.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app, self._host = app, host

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with 403, or pass it on. Add HEADERS to the response."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if message["status"] >= HTTPStatus.BAD_REQUEST:
                    headers["connection"] = "close"
            await send(message)

        app = self._app
        if scope["type"] != "http" or not self._is_allowed(scope):
            app = PlainTextResponse(REFUSED, status_code=403)
        if scope["type"] == "http":
            await app(scope, receive, send_with_headers)

    def _is_allowed(self, scope: Scope) -> bool:
        method, path, headers = scope["method"], scope["path"], Headers(scope=scope)
        return (
            scope["raw_path"] == path.encode()  # no path of the page has escapes
            and headers.getlist("host") == [self._host]
            and headers.get("origin", f"http://{self._host}") == f"http://{self._host}"
            and _is_from_page(path, headers)
            and (method == "GET" or (method == "POST" and _is_own_post(headers)))
        )


def _is_from_page(path: str, headers: Mapping[str, str]) -> bool:
    """Return whether the browser reports that the page itself or its user made the request (Fetch Metadata).

    A one-time address may be opened from elsewhere, but only as a document. A request without Fetch Metadata is
    allowed, because the other checks still apply.
    """
    site = headers.get("sec-fetch-site", "none")
    where = headers.get("sec-fetch-dest", "document")
    if path.startswith(OPEN):
        return where == "document"
    return site in {"same-origin", "none"} and where in {"document", "empty"}


def _is_own_post(headers: Mapping[str, str]) -> bool:
    """Return whether a POST has an Origin, a type that no HTML form can send, and an acceptable length."""
    length = headers.get("content-length", "")
    return (
        "origin" in headers
        and headers.get("content-type") == "application/json"
        and "transfer-encoding" not in headers  # this header would override Content-Length
        and length.isdecimal()
        and int(length) <= LONGEST
    )
