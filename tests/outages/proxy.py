"""A TCP proxy in the event loop of a test: slow, or silent."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from typing_extensions import Self

from servers import LOOPBACK


class Proxy:
    """Hands bytes on between its clients and a server.

    Attributes:
        delay: Seconds that a chunk from the server is kept back.
        silent: Whether bytes vanish, in both directions.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.delay = 0.0
        self.silent = False

    @property
    def port(self) -> int:
        """Where the proxy listens."""
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, LOOPBACK)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with suppress(OSError, asyncio.CancelledError):
            answers, requests = await asyncio.open_connection(LOOPBACK, self._to)
            try:
                await asyncio.gather(
                    self._pass_on(reader, requests, slowly=False),
                    self._pass_on(answers, writer, slowly=True),
                )
            finally:
                requests.close()
                writer.close()
        self._tasks.discard(task)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slowly: bool
    ) -> None:
        while chunk := await reader.read(65_536):
            if slowly and self.delay:
                await asyncio.sleep(self.delay)
            if not self.silent:
                writer.write(chunk)
        writer.close()
