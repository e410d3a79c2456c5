"""Simulates a distant Redis: a TCP proxy, in a thread, that delays replies.

Delays overlap as on a network: each reply is delayed from its arrival, independently of others.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections import deque
from types import TracebackType

from typing_extensions import Self

from servers import LOOPBACK


class DelayedRedis:
    """Listens on a port of its own and hands on to `port`.

    Attributes:
        seconds: How long each reply is kept back.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        # epoll rounds up to milliseconds
        self._loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.seconds = 0.0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://{LOOPBACK}:{self._server.sockets[0].getsockname()[1]}"

    def __enter__(self) -> Self:
        listening = self._loop.create_server(lambda: _Near(self), LOOPBACK, 0)
        self._server = self._loop.run_until_complete(listening)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def connect(self, near: asyncio.Transport) -> asyncio.Task[object]:
        """Open the way on to the server, for one client."""
        far = self._loop.create_connection(lambda: _Far(self, near), LOOPBACK, self._to)
        return self._loop.create_task(far)

    def later(self, act: object) -> None:
        """Call `act` when the delay is over, at once where there is none."""
        assert callable(act)
        if self.seconds:
            self._loop.call_later(self.seconds, act)
        else:
            act()


class _Near(asyncio.Protocol):
    """The client's side: what it sends goes on at once."""

    def __init__(self, proxy: DelayedRedis) -> None:
        self._proxy = proxy
        self._early: list[bytes] = []
        self._far: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._proxy.connect(transport).add_done_callback(self._connected)

    def _connected(self, task: asyncio.Task[object]) -> None:
        result = task.result()
        assert isinstance(result, tuple)
        self._far = result[0]
        self._far.writelines(self._early)

    def data_received(self, data: bytes) -> None:
        if self._far is None:
            self._early.append(data)
        else:
            self._far.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._far is not None:
            self._far.close()


class _Far(asyncio.Protocol):
    """The server's side: what it sends is kept back, in its order."""

    def __init__(self, proxy: DelayedRedis, near: asyncio.Transport) -> None:
        self._proxy = proxy
        self._near = near
        self._kept: deque[bytes] = deque()

    def data_received(self, data: bytes) -> None:
        self._kept.append(data)
        self._proxy.later(self._hand_on)

    def _hand_on(self) -> None:
        # whichever timer of several comes first hands on what came first
        self._near.write(self._kept.popleft())

    def connection_lost(self, exc: Exception | None) -> None:
        self._near.close()
