"""Limits the total time and the size of each response from AWS.

botocore itself limits only the time between two reads, so a server that sends a byte now and then could delay a command
forever. The limits apply to all of botocore's connections in this process, including those that renew credentials.

Ctrl-C interrupts only the main thread. Other threads stop waiting for a response when their Stop (a request to end the
work) is set.
"""

import http.client
import io
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection

from mfa_kit.core.stopping import Stop

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

# The maximum time in seconds from the end of a request to the end of its response.
DEADLINE = 120.0
# The maximum size of headers and body in octets. A page of GetAccountAuthorizationDetails with 1,000 users has about
# four million octets.
LONGEST = 32 << 20
# While a thread waits for a response, it checks its Stops at intervals of this many seconds.
LOOK = 0.2

_STOPS: ContextVar[tuple[Stop, ...]] = ContextVar("stops", default=(Stop(),))


@contextmanager
def ended_by(stop: Stop) -> Iterator[None]:
    """In the `with` block, requests of this thread raise KeyboardInterrupt soon after `stop` is set."""
    before = _STOPS.set((*_STOPS.get(), stop))
    try:
        yield
    finally:
        _STOPS.reset(before)


class SlowResponse(TimeoutError):
    """A response was not complete after DEADLINE seconds, although the server may send an octet now and then."""


class BoundedResponse(http.client.HTTPResponse):
    """A response that must be complete within DEADLINE seconds and LONGEST octets. Otherwise a read raises OSError."""

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None):
        super().__init__(sock, debuglevel, method, url)
        self.fp = io.BufferedReader(_BoundedStream(sock, self.fp.detach()))


class _BoundedStream(io.RawIOBase):
    def __init__(self, sock: socket.socket, inner: io.RawIOBase) -> None:
        self._sock, self._inner = sock, inner
        self._silence = sock.gettimeout() or DEADLINE
        self._until, self._left = time.monotonic() + DEADLINE, LONGEST
        self._stops = _STOPS.get()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer", /) -> int | None:
        count = self._receive(buffer)
        self._left -= count
        if self._left < 0:
            raise OSError("the response is too long")
        return count

    def _receive(self, buffer: "Buffer") -> int:
        """Receive octets into `buffer` and return their number, which is 0 at the end of the stream.

        Raise SlowResponse after the deadline, TimeoutError if no octets arrive for as long as the socket's timeout, and
        KeyboardInterrupt if a Stop of this thread is set. The socket is read directly, because the stream that
        http.client makes cannot be read again after a timeout.
        """
        until = time.monotonic() + self._silence
        while True:
            seconds = min(until, self._until) - time.monotonic()
            if seconds <= 0 and until > self._until:
                raise SlowResponse("the response takes too long")
            seconds = max(seconds, 0.001)
            self._sock.settimeout(min(seconds, LOOK))
            try:
                return self._sock.recv_into(buffer)
            except TimeoutError:
                for stop in self._stops:
                    stop.check()
                if time.monotonic() >= until:
                    raise

    def close(self) -> None:
        self._inner.close()
        super().close()


def bound_answers() -> None:
    """Apply the limits to every connection that botocore makes from now on."""
    for connection in (AWSHTTPConnection, AWSHTTPSConnection):
        connection.response_class = BoundedResponse  # type: ignore[assignment]  # the stubs declare another class
