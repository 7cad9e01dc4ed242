"""AWS's federation endpoint as a double of its own: who may sign in to the console, and where that leads.

IAM user guide, "Enable custom identity broker access to the AWS console". Behind it is one page in place of the
console, which says who is signed in.
"""

import html
import json
import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from mfa_kit.lab.aws.account import LabAccount, Principal
from mfa_kit.lab.aws.wire import IamError

FEDERATION, CONSOLE = "/federation", "/console/"
# How long a sign-in token is good for.
LASTS = 15 * 60
# Credentials of GetSessionToken are refused, and a user's own keys too.
TAKEN = ("role", "federated")
PAGE = "<!doctype html><title>the lab's console</title><p>signed in as {who}</p>"
COOKIE = "lab-console"


class Page(NamedTuple):
    """One answer."""

    status: HTTPStatus
    headers: Sequence[tuple[str, str]]
    body: bytes


class SigninEndpoint:
    """The endpoint and the console of one account."""

    def __init__(self, account: LabAccount) -> None:
        self.account = account
        self.signed_in: list[tuple[Principal, str]] = []
        self.seen_at_console: list[Principal] = []
        self._tokens: dict[str, tuple[Principal, float]] = {}
        self._browsers: dict[str, Principal] = {}

    def answer(self, environ: Mapping[str, Any]) -> Page:
        """Answer a request to one of our two paths."""
        asked = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
        if environ["PATH_INFO"] != FEDERATION:
            return self._console(environ)
        match asked.get("Action"):
            case "getSigninToken":
                return self._token(asked)
            case "login":
                return self._login(asked)
            case _:
                return _refused("Invalid action")

    def _token(self, asked: Mapping[str, str]) -> Page:
        try:
            session = json.loads(asked["Session"])
            key, token = session["sessionId"], session["sessionToken"]
            with self.account.lock:
                secret, caller = self.account.secret(key, token, service="signin")
        except (IamError, KeyError, ValueError, TypeError):
            return _refused("Invalid credentials parameter")
        if secret != session.get("sessionKey") or caller.kind not in TAKEN:
            return _refused("Invalid credentials parameter")
        if "SessionDuration" in asked and caller.kind == "federated":
            return _refused("Invalid SessionDuration parameter")
        signin = secrets.token_urlsafe(300)
        self._tokens[signin] = (caller, self.account.now() + LASTS)
        return Page(HTTPStatus.OK, [("Content-Type", "application/json")], json.dumps({"SigninToken": signin}).encode())

    def _login(self, asked: Mapping[str, str]) -> Page:
        caller, until = self._tokens.pop(asked.get("SigninToken", ""), (None, 0.0))
        destination = asked.get("Destination", "")
        if caller is None or self.account.now() > until or not urlsplit(destination).path.startswith(CONSOLE):
            return _refused("Invalid SigninToken or Destination")
        browser = secrets.token_urlsafe()
        self._browsers[browser] = caller
        self.signed_in.append((caller, destination))
        cookie = f"{COOKIE}={browser}; HttpOnly; SameSite=Lax; Path=/"
        return Page(HTTPStatus.FOUND, [("Location", destination), ("Set-Cookie", cookie)], b"")

    def _console(self, environ: Mapping[str, Any]) -> Page:
        cookie = str(environ.get("HTTP_COOKIE", "")).partition(f"{COOKIE}=")[2].partition(";")[0]
        caller = self._browsers.get(cookie)
        if caller:
            self.seen_at_console.append(caller)
        who = html.escape(caller.arn) if caller else "nobody"
        return Page(HTTPStatus.OK, [("Content-Type", "text/html; charset=utf-8")], PAGE.format(who=who).encode())


def _refused(why: str) -> Page:
    return Page(HTTPStatus.BAD_REQUEST, [("Content-Type", "text/plain")], why.encode())
