"""Simulates AWS's federation endpoint, which signs users in to the console.

Instead of the console, it serves a text that names the signed-in user. Source: IAM user guide, "Enable custom identity
broker access to the AWS console".
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit
from wsgiref.types import WSGIEnvironment

from mfa_kit.core.file_formats import read_json
from mfa_kit.lab.aws.events import LOGIN_PAGE, console_event, identity_of
from mfa_kit.lab.aws.wire import HttpResponse, IamError

if TYPE_CHECKING:
    from mfa_kit.lab.aws.account import Principal
    from mfa_kit.lab.aws.organization import LabOrganization


FEDERATION, CONSOLE = "/federation", "/console/"
# How long a sign-in token is valid, in seconds.
LIFETIME = 15 * 60
# The kinds of credentials that can sign in. Credentials of GetSessionToken and a user's own keys cannot.
ACCEPTED = ("role", "federated")
COOKIE = "lab-console"


class SigninEndpoint:
    """The federation endpoint and the console of a lab, for all its accounts.

    For tests, `signed_in` has the principal and destination of each sign-in, and `seen_at_console` the principal of
    each console request with a valid cookie.
    """

    def __init__(self, organization: LabOrganization) -> None:
        self.organization, self.account = organization, organization.management
        self.signed_in: list[tuple[Principal, str]] = []
        self.seen_at_console: list[Principal] = []
        self._tokens: dict[str, tuple[Principal, float]] = {}
        self._browsers: dict[str, Principal] = {}

    def answer(self, environ: WSGIEnvironment) -> HttpResponse:
        """Answer a request for the federation endpoint or the console."""
        query = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        if environ["PATH_INFO"] != FEDERATION:
            return self._console(environ)
        match query.get("Action"):
            case "getSigninToken":
                return self._issue_token(query)
            case "login":
                return self._sign_in(query)
            case _:
                return _bad_request("Invalid action")

    def _issue_token(self, query: Mapping[str, str]) -> HttpResponse:
        """Exchange the credentials of a session for a sign-in token."""
        try:
            caller = self._principal(query["Session"])
        except (IamError, KeyError, ValueError, TypeError):
            return _bad_request("Invalid credentials parameter")
        if "SessionDuration" in query and caller.kind == "federated":
            return _bad_request("Invalid SessionDuration parameter")
        token = secrets.token_urlsafe(300)
        self._tokens[token] = (caller, self.account.now() + LIFETIME)
        body = json.dumps({"SigninToken": token}).encode()
        return _response(HTTPStatus.OK, [("Content-Type", "application/json")], body)

    def _principal(self, text: str) -> Principal:
        """Return the principal to whom session credentials belong. `text` is the JSON with these credentials.

        Raise ValueError if credentials of this kind cannot sign in, or the secret is wrong. Raise IamError if the
        credentials are unknown or expired.
        """
        session = read_json(text)
        with self.account.lock:
            account = self.organization.account_of(session["sessionId"]) or self.account
            secret, caller = account.secret(session["sessionId"], session["sessionToken"], service="signin")
        if secret != session.get("sessionKey") or caller.kind not in ACCEPTED:
            raise ValueError(caller.kind)
        return caller

    def _sign_in(self, query: Mapping[str, str]) -> HttpResponse:
        """Sign in a browser and redirect it to its destination. Each sign-in token works once."""
        caller, until = self._tokens.pop(query.get("SigninToken", ""), (None, 0.0))
        destination = query.get("Destination", "")
        if caller is None or self.account.now() > until or not urlsplit(destination).path.startswith(CONSOLE):
            return _bad_request("Invalid SigninToken or Destination")
        browser = secrets.token_urlsafe()
        self._browsers[browser] = caller
        self.signed_in.append((caller, destination))
        self._record(caller)
        cookie = f"{COOKIE}={browser}; HttpOnly; SameSite=Lax; Path=/"
        return _response(HTTPStatus.FOUND, [("Location", destination), ("Set-Cookie", cookie)], b"")

    def _record(self, caller: Principal) -> None:
        """Record a sign-in without a password. Its MFAUsed is always No, whatever the session has."""
        with self.account.lock:
            account = self.organization.find(caller.arn.split(":")[4]) or self.account
            extra = LOGIN_PAGE | {"MFAUsed": "No"}
            console_event("ConsoleLogin", account, identity_of(caller, account, ""), state="Success", extra=extra)

    def _console(self, environ: WSGIEnvironment) -> HttpResponse:
        """Show which user is signed in with this browser's cookie."""
        cookie = str(environ.get("HTTP_COOKIE", "")).partition(f"{COOKIE}=")[2].partition(";")[0]
        caller = self._browsers.get(cookie)
        if caller:
            self.seen_at_console.append(caller)
        text = f"the lab's console: signed in as {caller.arn if caller else 'nobody'}\n"
        return _response(HTTPStatus.OK, [("Content-Type", "text/plain; charset=utf-8")], text.encode())


def _response(status: HTTPStatus, headers: Sequence[tuple[str, str]], body: bytes) -> HttpResponse:
    return HttpResponse(f"{status} {status.phrase}", headers, body)


def _bad_request(why: str) -> HttpResponse:
    return _response(HTTPStatus.BAD_REQUEST, [("Content-Type", "text/plain")], why.encode())
