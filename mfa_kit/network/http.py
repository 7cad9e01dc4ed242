"""HTTP responses whose total time and size are limited.

The timeout of a socket limits only the time between two reads, so a server that sends a byte now and then could delay a
command forever. Ctrl-C interrupts only the main thread. Other threads stop waiting for a response when their Stop is
set.
"""

import http.client
import io
import socket
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from mfa_kit.core.local_servers import is_loopback
from mfa_kit.core.stopping import Stop

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

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
    """A response was not complete when its time had passed, although the server may send an octet now and then."""


class LongResponse(OSError):
    """A response has more octets than allowed."""


class MalformedResponse(OSError):
    """A response is not HTTP, or is incomplete."""


class BoundedResponse(http.client.HTTPResponse):
    """A response that must be complete within `seconds` and `octets`. Otherwise a read raises OSError.

    `seconds` begin at the end of the request, and `octets` are those of the headers and the body. The default is for
    AWS: a page of GetAccountAuthorizationDetails with 1,000 users has about four million octets.
    """

    seconds = 120.0
    octets = 32 << 20

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None):
        super().__init__(sock, debuglevel, method, url)
        self.fp = io.BufferedReader(_BoundedStream(sock, self.fp.detach(), seconds=self.seconds, octets=self.octets))


class _BoundedStream(io.RawIOBase):
    def __init__(self, sock: socket.socket, inner: io.RawIOBase, *, seconds: float, octets: int) -> None:
        self._sock, self._inner = sock, inner
        self._silence = sock.gettimeout() or seconds
        self._until, self._left = time.monotonic() + seconds, octets
        self._stops = _STOPS.get()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer", /) -> int | None:
        count = self._receive(buffer)
        self._left -= count
        if self._left < 0:
            raise LongResponse("the response is too long")
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


class Response(NamedTuple):
    """The status of a response, such as 200, and its content."""

    status: int
    content: bytes


def get(
    address: str, response_class: type[BoundedResponse], *, silence: float, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the response to a GET request for an http or https address, whatever its status.

    A redirect is not followed, because the request may contain credentials, and must not be sent to another server. A
    server on this computer is asked directly, any other by the proxy that is configured. Raise OSError if there is no
    connection, no octet for `silence` seconds, or no response within the limits of `response_class`.
    """
    opener = urllib.request.OpenerDirector()  # without the handlers of redirects, of other statuses and of `file:`
    opener.add_handler(urllib.request.ProxyHandler({} if is_loopback(address) else None))
    opener.add_handler(_BoundedHandler(response_class))
    request = urllib.request.Request(address, headers=dict(headers or {}))  # noqa: S310 - only http and https open
    try:
        with opener.open(request, timeout=silence) as response:
            return Response(response.status, response.read())
    except http.client.HTTPException as error:
        raise MalformedResponse(type(error).__name__) from None


class _BoundedHandler(urllib.request.AbstractHTTPHandler):
    """Opens http and https addresses. The responses are of `response_class`."""

    def __init__(self, response_class: type[BoundedResponse]) -> None:
        super().__init__()
        self._response_class = response_class

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Open an http address."""
        return self.do_open(partial(self._connect, http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Open an https address. The server's certificate is checked."""
        return self.do_open(partial(self._connect, http.client.HTTPSConnection), request)

    def _connect(
        self, connection_class: type[http.client.HTTPConnection], host: str, **options: Any
    ) -> http.client.HTTPConnection:
        connection = connection_class(host, **options)
        connection.response_class = self._response_class
        return connection
