"""Bounds on the answers of AWS: the total time that one may take, and its size.

botocore's own limit is on the silence between two reads, so a server that sends a byte now and then would hold a
command forever. All of botocore's connections in this process get the bounds, also those that renew credentials.
"""

import http.client
import io
import socket
import time
from typing import TYPE_CHECKING

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

# Seconds from the end of a request to the end of its answer. AWS generates none for longer than 30 seconds.
DEADLINE = 120.0
# Octets of headers and body. A page of GetAccountAuthorizationDetails with 1,000 users has about four million.
LONGEST = 32 << 20


class BoundedResponse(http.client.HTTPResponse):
    """An answer that must be complete after DEADLINE seconds and LONGEST octets; otherwise a read raises OSError."""

    def __init__(self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None):
        super().__init__(sock, debuglevel, method, url)
        self.fp = io.BufferedReader(_BoundedStream(sock, self.fp.detach()))


class _BoundedStream(io.RawIOBase):
    def __init__(self, sock: socket.socket, inner: io.RawIOBase) -> None:
        self._sock, self._inner = sock, inner
        self._silence = sock.gettimeout() or DEADLINE
        self._until, self._left = time.monotonic() + DEADLINE, LONGEST

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer", /) -> int | None:
        seconds = self._until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the answer takes too long")
        self._sock.settimeout(min(seconds, self._silence))
        count = self._inner.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise OSError("the answer is too long")
        return count

    def close(self) -> None:
        self._inner.close()
        super().close()


def bound_answers() -> None:
    """Give the bounds to every connection that botocore makes from now on."""
    for connection in (AWSHTTPConnection, AWSHTTPSConnection):
        connection.response_class = BoundedResponse  # type: ignore[assignment]  # the stubs expect the class that it replaces
