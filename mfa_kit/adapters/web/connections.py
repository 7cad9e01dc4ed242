"""Limits the connections to a server, because every user of this computer can open connections and send nothing.

uvicorn itself limits only the time between two requests of a connection. Without this module, another user could open
so many connections that this process has no file descriptor left to write its ledger.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# The maximum number of connections. A browser opens six for a page with two windows, and a few more in advance.
MOST = 32
# Seconds within which a connection must send a request. After a response, uvicorn closes an idle connection earlier.
SLOW = 10.0


class LimitedConnection(H11Protocol):
    """A connection that is closed if it is idle and sends no request for a time between SLOW and 2 * SLOW seconds.

    A connection is idle while no response is being sent. If a connection is opened while there are MOST others, the
    oldest idle connection is closed. If none of the others is idle, the new connection is closed.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._since = self.loop.time()
        self._seen: object = None

    @property
    def _is_answered(self) -> bool:
        """Whether a response is being sent. An open window keeps one connection in this state, for its updates."""
        return not getattr(self.cycle, "response_complete", True)  # uvicorn sets `cycle` at the first request

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Accept a new connection, and close a connection if there are too many."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self.loop.call_later(SLOW, self._look)
        others = [each for each in self.connections if isinstance(each, LimitedConnection) and each is not self]
        if len(others) >= MOST:
            idle = [each for each in others if not each._is_answered]  # noqa: SLF001 - of the same class
            min([*idle, self], key=lambda each: each._since).drop()  # noqa: SLF001 - as above

    def drop(self) -> None:
        """Close the connection at once."""
        self.connections.discard(self)
        self.transport.abort()

    def _look(self) -> None:
        """Close the connection if it is idle and got no request since the last call, or else schedule another call."""
        if self.transport.is_closing():
            return
        if not self._is_answered and self.cycle is self._seen:
            self.drop()
            return
        self._seen = self.cycle
        self.loop.call_later(SLOW, self._look)
