"""TCP proxies whose wire can be cut: what is on its way then arrives late, when the wire is mended.

The cluster has one before an extra listener of each broker. They share a thread with an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Self

_CHUNK = 65_536


class Wire:
    """Proxies that are cut and mended together; `cut`, `mend` and `add` may be called from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._is_whole = asyncio.Event()
        self._is_whole.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stress-wire", daemon=True)
        self._servers: list[asyncio.Server] = []
        self._pumps: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def add(self, host: str, port: int) -> int:
        """Another way to an address: the port of 127.0.0.1 that leads there."""
        return asyncio.run_coroutine_threadsafe(self._listen(host, port), self._loop).result(10)

    def cut(self) -> None:
        """Nothing gets through: no byte, no end of a connection, no new one."""
        self._loop.call_soon_threadsafe(self._is_whole.clear)

    def mend(self) -> None:
        """All that was held back arrives."""
        self._loop.call_soon_threadsafe(self._is_whole.set)

    async def _listen(self, host: str, port: int) -> int:
        async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._is_whole.wait()
            try:
                there = await asyncio.open_connection(host, port)
            except OSError:
                writer.close()
                return
            for source, sink in ((reader, there[1]), (there[0], writer)):
                task = self._loop.create_task(self._pump(source, sink))
                self._pumps.add(task)
                task.add_done_callback(self._pumps.discard)

        server = await asyncio.start_server(connect, "127.0.0.1", 0)
        self._servers.append(server)
        number: int = server.sockets[0].getsockname()[1]
        return number

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """One direction of a connection; its end is passed on as well."""
        try:
            with contextlib.suppress(OSError):
                while data := await source.read(_CHUNK):
                    await self._is_whole.wait()
                    sink.write(data)
                    await sink.drain()
            await self._is_whole.wait()
        finally:
            sink.close()

    async def _end(self) -> None:
        self._is_whole.set()
        for server in self._servers:
            server.close()
        for task in list(self._pumps):
            task.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
