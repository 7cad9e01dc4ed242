"""The web application of a page: it opens one-time addresses, serves and updates views, and passes input to them.

A page has one or more views, such as one for the admin and one for the colleague. A view is identified by its role, and
has its own browser window. This module does not know what the views show. Starlette handles the requests.
"""

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from mfa_kit.adapters.web.guard import OPEN, REFUSED
from mfa_kit.core.file_formats import read_json
from mfa_kit.core.otp import Secret

# The number of random octets in each secret of this module, enough that no one can guess the secret.
OCTETS = 32

# The text of such a secret.
TOKEN = re.compile(rb"[\w-]{43}")
# The name in a request's scope that says that the request had a valid session or address.
KNOWN = "mfa_kit.known"


def _random() -> Secret[str]:
    return Secret(secrets.token_urlsafe(OCTETS))


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSession:
    """A browser window that may show the view `role`.

    The window proves itself with `cookie` and with `key`. Programs that listen on other ports of this computer get the
    cookie too, because browsers send cookies to all ports of a host. They do not get the key, because only pages of the
    same port can read the storage in which the page keeps the key. The server proves itself with `proof`, because
    another program could listen on the port later.
    """

    role: str
    cookie: Secret[str] = field(default_factory=_random)
    key: Secret[str] = field(default_factory=_random)
    proof: Secret[str] = field(default_factory=_random)


@dataclass(slots=True)
class Sessions:
    """The sessions of one server, and its one-time addresses.

    The keys of `unopened` and `current` are the roles of views. `unopened` has the addresses that no one has opened
    yet, `opened` has those that were opened, and `current` has the sessions.
    """

    unopened: dict[str, Secret[str]] = field(default_factory=dict)
    opened: list[Secret[str]] = field(default_factory=list)
    current: dict[str, ViewSession] = field(default_factory=dict)

    def new_address(self, role: str) -> Secret[str]:
        """Return the secret part of a new one-time address of a view. An earlier unopened address becomes invalid."""
        self.unopened[role] = _random()
        return self.unopened[role]

    def open(self, address: Secret[str]) -> ViewSession | None:
        """Return a new session for an unopened address, or else None. The view's earlier session ends."""
        role = next((role for role, unopened_address in self.unopened.items() if unopened_address == address), None)
        if role is None:
            return None
        self.opened.append(self.unopened.pop(role))
        self.current[role] = ViewSession(role=role)
        return self.current[role]

    def was_opened(self, address: Secret[str]) -> bool:
        """Return whether this address was opened before."""
        return any(opened_address == address for opened_address in self.opened)

    def is_current(self, token: Secret[str]) -> bool:
        """Return whether a text is an unopened address, or the cookie of a session."""
        return any(token == valid for valid in self.unopened.values()) or any(
            token == session.cookie for session in self.current.values()
        )

    def find(self, role: str, *, cookie: Secret[str], key: Secret[str] | None) -> ViewSession | None:
        """Return the session of a view, or None if the cookie or the key is wrong.

        If `key` is None, only the cookie is checked.
        """
        session = self.current.get(role)
        if session is None or session.cookie != cookie or (key is not None and session.key != key):
            return None
        return session


# While nothing changes, each window gets a line at this interval, in seconds. If the line cannot be sent, the window
# was closed.
BEAT = 1.0
# Seconds after which a disconnected window counts as closed. A reload takes less.
CLOSED = 3.0
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
USED = (
    "This address was opened before, and it can be opened only once.\n"
    "If you did not open it, press Stop in the admin's view, or end the command in the terminal.\n"
)


class Views(Protocol):
    """What the views of a page show, and what happens when a user acts in a view.

    All methods are called in the server's thread.
    """

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the page's views."""
        ...

    @property
    def ended(self) -> bool:
        """Whether the page has reached its final state."""
        ...

    def document(self, role: str, *, nonce: str) -> str:
        """Return the HTML document of a view, without personal data. Its script and style have the nonce."""
        ...

    def entrance(self, role: str, *, nonce: str, key: Secret[str], proof: Secret[str]) -> Secret[str]:
        """Return the page at a one-time address of a view.

        The page stores `key` and `proof` in the browser window as JSON, in the session storage with the name of the
        role. Then it replaces itself with the document.
        """
        ...

    def parts(self, role: str) -> Mapping[str, Secret[str]]:
        """Return the parts of a view as HTML. Each key is the ID of the element that shows the part."""
        ...

    def act(self, role: str, request: Mapping[str, object]) -> str | None:
        """Carry out a request from the window of a view.

        Return the role of a view to open, or "" if there is none. Return None if this view may not make the request.
        """
        ...

    def windows(self, counts: Mapping[str, int]) -> None:
        """Note how many windows of each view are open."""
        ...

    def reopened(self) -> None:
        """Note that an address was opened a second time."""
        ...

    def refused(self, user: int) -> None:
        """Note that another user of this computer, with this ID, sent a valid address or session, and was refused."""
        ...


class App:
    """The web application. All methods run in the server's thread; other threads may read only `busy`."""

    def __init__(self, views: Views, sessions: Sessions, *, port: int) -> None:
        self._views, self._sessions, self._port = views, sessions, port
        self._windows: dict[asyncio.Event, str] = {}
        self.asgi = Starlette(
            routes=[
                Route(f"{OPEN}{{address}}", self._enter, methods=["GET"]),
                Route("/{role}", self._document, methods=["GET"]),
                Route("/{role}/news", self._news, methods=["GET"]),
                Route("/{role}/act", self._act, methods=["POST"]),
            ]
        )
        self.asgi.router.redirect_slashes = False

    def wake(self) -> None:
        """Send to each window the parts of its view that have changed."""
        for changed in self._windows:
            changed.set()

    def note_refused(self, request: bytes, user: int) -> None:
        """Report a request of another user that was refused, if it has a valid address or session."""
        if any(self._sessions.is_current(Secret(token.decode())) for token in TOKEN.findall(request)):
            self._views.refused(user)

    @property
    def busy(self) -> bool:
        """Whether a window is still connected."""
        return bool(self._windows)

    async def _enter(self, request: Request) -> Response:
        """Answer a request to a one-time address: start a new session, or refuse the request."""
        address = Secret(request.path_params["address"])
        session = self._sessions.open(address)
        if session is None:
            if self._sessions.was_opened(address):
                self._views.reopened()
                return PlainTextResponse(USED, status_code=403)
            return _refuse()
        request.scope[KNOWN] = True
        self.wake()  # this ends the windows of an earlier session of this view
        nonce = secrets.token_urlsafe()
        page = self._views.entrance(session.role, nonce=nonce, key=session.key, proof=session.proof)
        response = HTMLResponse(page.reveal(), headers=_policy(nonce))
        response.set_cookie(
            self._cookie(session.role),
            session.cookie.reveal(),
            path=f"/{session.role}",
            httponly=True,
            samesite="strict",
        )
        return response

    def _cookie(self, role: str) -> str:
        return f"mfa-kit-{role}-{self._port}"

    def _session(self, request: Request, *, keyed: bool) -> ViewSession | None:
        role = request.path_params["role"]
        session = self._sessions.find(
            role,
            cookie=Secret(request.cookies.get(self._cookie(role), "")),
            key=Secret(request.headers.get("x-key", "")) if keyed else None,
        )
        if session:
            request.scope[KNOWN] = True
        return session

    async def _document(self, request: Request) -> Response:
        session = self._session(request, keyed=False)
        if session is None:
            return _refuse()
        nonce = secrets.token_urlsafe()
        return HTMLResponse(self._views.document(session.role, nonce=nonce), headers=_policy(nonce))

    async def _news(self, request: Request) -> Response:
        session = self._session(request, keyed=True)
        if session is None:
            return _refuse()
        return StreamingResponse(self._lines(session), media_type="application/x-ndjson")

    async def _lines(self, session: ViewSession) -> AsyncIterator[str]:
        """Yield lines of JSON: the server's proof, then the parts of the view that changed.

        Stop when the page ends or another session replaces this one.
        """
        role, changed, sent = session.role, asyncio.Event(), dict[str, int]()
        self._windows[changed] = role
        self._count()
        try:
            yield _line(proof=session.proof.reveal())
            while self._sessions.current.get(role) is session:
                changed.clear()
                ended = self._views.ended
                yield _line(parts=_changes(self._views.parts(role), sent), ended=ended)
                if ended:
                    return
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), BEAT)
            yield _line(replaced=True)
        finally:
            del self._windows[changed]
            # Count the windows later, because a window that is reloaded connects again at once.
            asyncio.get_running_loop().call_later(CLOSED, self._count)

    def _count(self) -> None:
        roles = list(self._windows.values())
        self._views.windows({role: roles.count(role) for role in self._views.roles})

    async def _act(self, request: Request) -> Response:
        session = self._session(request, keyed=True)
        if session is None:
            return _refuse()
        try:
            body = read_json(await request.body())
        except ValueError:
            return _refuse()
        opens = self._views.act(session.role, body) if isinstance(body, dict) else None
        if opens is None:
            return _refuse()
        if not opens:
            return JSONResponse({})
        return JSONResponse({"address": f"{OPEN}{self._sessions.new_address(opens).reveal()}"})


def _refuse() -> Response:
    return PlainTextResponse(REFUSED, status_code=403)


def _policy(nonce: str) -> dict[str, str]:
    return {"content-security-policy": POLICY.format(nonce=nonce)}


def _line(**fields: object) -> str:
    return f"{json.dumps(fields)}\n"


def _changes(parts: Mapping[str, Secret[str]], sent: dict[str, int]) -> dict[str, str]:
    """Return the parts that differ from those sent before, as plain HTML.

    `sent` has the hash of each part that was sent before, by the name of the part. This function updates it.
    """
    digest: Callable[[Secret[str]], int] = lambda part: hash(part.reveal())  # noqa: E731 - its name says what it returns
    new = {name: part for name, part in parts.items() if sent.get(name) != digest(part)}
    sent.update({name: digest(part) for name, part in new.items()})
    return {name: part.reveal() for name, part in new.items()}
