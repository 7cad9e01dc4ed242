"""Serves a page on the loopback interface, in a thread. Nothing is logged, because requests contain secrets."""

import asyncio
import logging
import socket
import threading
import time

import uvicorn

from mfa_kit.adapters.web.app import App, Views
from mfa_kit.adapters.web.connections import MOST, LimitedConnection
from mfa_kit.adapters.web.guard import OPEN, Guard
from mfa_kit.adapters.web.sessions import Sessions
from mfa_kit.core.otp import Secret
from mfa_kit.core.stopping import sleep

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
        self._server = uvicorn.Server(
            uvicorn.Config(
                Guard(self._app.asgi, self._host),
                lifespan="off",
                ws="none",
                http=LimitedConnection,
                backlog=MOST,  # also the maximum number of connections that asyncio accepts at once
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
