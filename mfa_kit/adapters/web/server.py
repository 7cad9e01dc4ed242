"""Serves a page on the loopback interface, in a thread. Nothing is logged, because requests contain secrets.

A connection of another user of this computer is closed before a request is read from it, if the kernel reports its
user. The number of connections is limited, because any program can open connections and send nothing. uvicorn itself
limits only the time between two requests of a connection. Without this limit, a program could open so many connections
that this process has no file descriptor left to write its ledger.
"""

import asyncio
import logging
import os
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mfa_kit.adapters.web.app import KNOWN, App, Sessions, Views
from mfa_kit.adapters.web.guard import LONGEST, OPEN, Guard
from mfa_kit.core.otp import Secret
from mfa_kit.core.stopping import sleep
from mfa_kit.posix.connections import Address, Owners, owner_of, socket_owners, users_at_computer

# The maximum number of connections. A browser opens six for a page with two windows, and a few more in advance.
MOST = 32
# Seconds within which a connection must send a request. After a response, uvicorn closes an idle connection earlier.
SLOW = 10.0
# The number of connections that the kernel keeps until they are accepted, so that those of others leave room.
QUEUE = 4096


class LimitedConnection(H11Protocol):
    """A connection that is closed if it is idle and sends no request for a time between SLOW and 2 * SLOW seconds.

    A connection is idle while no response is being sent. If a connection is opened while there are MOST others, the
    oldest one whose last request had no valid session is closed. If all had one, the oldest idle connection is closed.
    If none of the others is idle, the new connection is closed. A connection of a user who is not in `users` is closed
    at once.
    """

    # The users of the sockets of this computer, and the time before they were read. A connection that was accepted
    # before this time is among them. Many are read at once, because the kernel needs milliseconds for the list.
    owners: ClassVar[tuple[float, Owners | None]] = (0.0, None)

    def __init__(self, *args: Any, web: App, users: set[int], **options: Any) -> None:
        super().__init__(*args, **options)
        self._web, self._users = web, users
        self._since = self.loop.time()
        self._seen: object = None

    @property
    def _is_answered(self) -> bool:
        """Whether a response is being sent. An open window keeps one connection in this state, for its updates."""
        return not getattr(self.cycle, "response_complete", True)  # uvicorn sets `cycle` at the first request

    @property
    def _is_known(self) -> bool:
        """Whether the last request had a valid session or address."""
        scope: Any = self.scope  # None until the first request
        return scope is not None and KNOWN in scope

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Accept a new connection, or refuse it, and close a connection if there are too many."""
        super().connection_made(transport)
        if not self._is_own():
            self.drop()
            return
        self._since = self.loop.time()
        self.loop.call_later(SLOW, self._look)
        others = [
            connection
            for connection in self.connections
            if isinstance(connection, LimitedConnection) and connection is not self
        ]
        if len(others) >= MOST:
            unknown = [connection for connection in others if not connection._is_known]  # noqa: SLF001 - as below
            idle = [connection for connection in others if not connection._is_answered]  # noqa: SLF001 - of the same class
            min([*(unknown or idle), self], key=lambda connection: connection._since).drop()  # noqa: SLF001 - as above

    def _is_own(self) -> bool:
        """Return whether the other end is a socket of one of the users, or whether the kernel does not report that.

        A socket that is missing in a list is looked for once more, because the kernel skips rows while it writes them.
        """
        far: Address = self.transport.get_extra_info("peername")
        near: Address = self.transport.get_extra_info("sockname")
        for time_needed in (self._since, self.loop.time()):
            if LimitedConnection.owners[0] <= time_needed:
                LimitedConnection.owners = (self.loop.time(), socket_owners())
            owners = LimitedConnection.owners[1]
            if owners is None or (owner := owner_of(owners, far, near)) in self._users:
                return True
            if owner is not None:
                self._report(owner)
                return False
        return False

    def _report(self, owner: int) -> None:
        """Report a refused request that has a secret of the page, if the request has already arrived.

        Perhaps the admin's browser runs as another user, or another user has seen the address.
        """
        with suppress(OSError), socket.socket(fileno=os.dup(self.transport.get_extra_info("socket").fileno())) as link:
            self._web.note_refused(link.recv(LONGEST, socket.MSG_PEEK), owner)

    def drop(self) -> None:
        """Close the connection at once."""
        self.connections.discard(self)
        self.transport.abort()

    def _look(self) -> None:
        """Close the connection if it is idle and got no request since the last call, or else schedule another call."""
        if self.transport.is_closing():
            self.drop()  # the last response was not taken
            return
        if not self._is_answered and self.cycle is self._seen:
            self.drop()
            return
        self._seen = self.cycle
        self.loop.call_later(SLOW, self._look)


class QueuingServer(uvicorn.Server):
    """A server that accepts MOST connections at once, and lets the kernel keep QUEUE more."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(QUEUE)


LOOPBACK = "127.0.0.1"
# Seconds that `stop` waits at most until all windows have received the last update, and then until the thread ends.
LAST = 2.0


class PageServer:
    """Serves the views of a page at a free port of 127.0.0.1 until `stop`."""

    def __init__(self, views: Views) -> None:
        self._socket = socket.create_server((LOOPBACK, 0))
        self._host = f"{LOOPBACK}:{self._socket.getsockname()[1]}"
        self._sessions = Sessions()
        self._app = App(views, self._sessions, port=self._socket.getsockname()[1])
        # uvicorn reports errors with tracebacks, and a traceback may quote what a view contains.
        logging.getLogger("uvicorn.error").disabled = True
        self._server = QueuingServer(
            uvicorn.Config(
                Guard(self._app.asgi, self._host),
                lifespan="off",
                ws="none",
                http=partial(LimitedConnection, web=self._app, users=users_at_computer()),  # type: ignore[arg-type]
                backlog=MOST,  # the maximum number of connections that asyncio accepts at once
                loop="asyncio",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda *_: None)  # the default handler prints tracebacks too
        self._thread = threading.Thread(target=self._serve, name="page", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._server.serve(sockets=[self._socket]))

    def new_address(self, role: str) -> Secret[str]:
        """Return a new one-time address of a view. An earlier address that was not opened becomes invalid."""
        return Secret(f"http://{self._host}{OPEN}{self._sessions.new_address(role).reveal()}")

    def wake(self) -> None:
        """Send to each window the parts of its view that have changed. Any thread may call this method."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._app.wake)

    def stop(self) -> None:
        """Wait up to LAST seconds until all windows have received the last update, and close the port."""
        self.wake()
        until = time.monotonic() + LAST
        while self._app.busy and time.monotonic() < until:
            sleep(0.01)
        self._server.should_exit = True
        self._thread.join(LAST)
        self._socket.close()
