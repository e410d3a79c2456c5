"""Generates load if wrk is not installed: one process, one request at a time per connection."""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from servers import LOOPBACK

from .scenarios import PRODUCT

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_BUFFER = 65_536


def rate(port: int, *, connections: int, seconds: float) -> float:
    """Requests a second that are answered on a port; raises OSError."""
    with _connected(port, connections) as selector:
        started = time.perf_counter()
        answered = 0
        while time.perf_counter() < started + seconds:
            for key, _ in selector.select():
                client: _Client = key.data
                answered += client.proceed()
        return answered / (time.perf_counter() - started)


@contextmanager
def _connected(port: int, connections: int) -> Iterator[selectors.BaseSelector]:
    """Clients that have sent their first requests."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for number in range(connections):
            connection = stack.enter_context(socket.create_connection((LOOPBACK, port)))
            selector.register(connection, selectors.EVENT_READ, _Client(connection, number))
        yield selector


class _Client:
    """Asks for one product, again and again; the answers have a Content-Length."""

    def __init__(self, connection: socket.socket, number: int) -> None:
        path = PRODUCT.format(number=number)
        self._request = f"GET {path} HTTP/1.1\r\nhost: shop.example\r\n\r\n".encode()
        self._connection = connection
        self._received = b""
        connection.sendall(self._request)

    def proceed(self) -> bool:
        """Take what has come; where the answer is whole, ask again."""
        self._received += self._connection.recv(_BUFFER)
        if not self._received.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(self._received[:200].decode())
        if not self._is_whole():
            return False
        self._received = b""
        self._connection.sendall(self._request)
        return True

    def _is_whole(self) -> bool:
        head = self._received.find(b"\r\n\r\n")
        length = _LENGTH.search(self._received)
        return head >= 0 and length is not None and len(self._received) >= head + 4 + int(length[1])
