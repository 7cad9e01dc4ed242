"""A TCP proxy before the tests' PostgreSQL server: a network that is slow, or that is cut."""

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.postgresql import OWNER, Server

PIECE = 65536


class Proxy:
    """The proxy: `with Proxy(server) as network: ... network.address(database)`.

    Each byte arrives `delay` seconds after it was sent. After `cut`, nothing arrives any more, and no side is told.
    """

    def __init__(self, server: Server, *, delay: float = 0.0) -> None:
        self._socket, self._delay = str(server.folder / ".s.PGSQL.5432"), delay
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._servers: set[asyncio.StreamWriter] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listening = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._connect, "127.0.0.1", 0), self._loop
        ).result()
        self._port = self._listening.sockets[0].getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._listening.close()
        for each in {*self._servers, *self._clients}:
            each.transport.abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the loop closes the sockets of aborted connections in its next round

    def address(self, database: str, *, role: str = OWNER) -> str:
        """Return the address of a database behind the proxy."""
        return f"host=127.0.0.1 port={self._port} user={role} dbname={database}"

    def cut(self) -> None:
        """Let nothing pass until `mend`."""
        self._call(self._open.clear)

    def give_up(self) -> None:
        """End all connections with the server, as the server does when its keepalives are not answered."""
        self._call(self._abort)

    def mend(self) -> None:
        """Let everything pass again, also the end of connections that the server has given up."""
        self._call(self._open.set)

    def _call(self, act: Callable[[], None]) -> None:
        async def run() -> None:
            act()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def _abort(self) -> None:
        for each in self._servers:
            each.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, server = await asyncio.open_unix_connection(self._socket)
        except OSError:
            writer.close()
            return
        self._servers.add(server)
        self._clients.add(writer)
        await asyncio.gather(self._pass(reader, server), self._pass(answers, writer))

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        pieces = asyncio.Queue[tuple[float, bytes]]()

        async def read() -> None:
            piece = b"more"
            while piece:
                try:
                    piece = await source.read(PIECE)
                except OSError:
                    piece = b""
                pieces.put_nowait((time.monotonic() + self._delay, piece))

        async def write() -> None:
            while True:
                due, piece = await pieces.get()
                await asyncio.sleep(due - time.monotonic())
                await self._open.wait()
                if not piece:
                    target.close()
                    return
                target.write(piece)

        await asyncio.gather(read(), write())
