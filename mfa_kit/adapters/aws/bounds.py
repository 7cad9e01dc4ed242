"""Limits the total time and the size of each response from AWS.

botocore itself limits only the time between two reads, so a server that sends a byte now and then could delay a command
forever. The limits apply to all of botocore's connections in this process, including those that renew credentials.
"""

import http.client
import io
import socket
import time
from typing import TYPE_CHECKING

from botocore.awsrequest import AWSHTTPConnection, AWSHTTPSConnection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

# The maximum time in seconds from the end of a request to the end of its response. AWS takes 30 seconds at most.
DEADLINE = 120.0
# The maximum size of headers and body in octets. A page of GetAccountAuthorizationDetails with 1,000 users has about
# four million octets.
LONGEST = 32 << 20


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

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "Buffer", /) -> int | None:
        seconds = self._until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("the response takes too long")
        self._sock.settimeout(min(seconds, self._silence))
        count = self._inner.readinto(buffer)
        self._left -= count or 0
        if self._left < 0:
            raise OSError("the response is too long")
        return count

    def close(self) -> None:
        self._inner.close()
        super().close()


def bound_answers() -> None:
    """Apply the limits to every connection that botocore makes from now on."""
    for connection in (AWSHTTPConnection, AWSHTTPSConnection):
        connection.response_class = BoundedResponse  # type: ignore[assignment]  # the stubs expect the class that it replaces
