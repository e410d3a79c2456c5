"""Requests a second through uvicorn, over connections that are kept open."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from servers import LOOPBACK, free_port, wait_until

from .contenders import BARE, CASHEWS, DEPENDS, FASTAPI_CACHE, LOCAL, MARKERS, PLAIN, SDK, Contender
from .process import environment_at, python_at

CONNECTIONS = 32
SIZE = 500
CONTENDERS = (BARE, PLAIN, LOCAL, MARKERS, DEPENDS, SDK, CASHEWS, FASTAPI_CACHE)

_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
_WARM_UP_SECONDS = 0.3

Rates = dict[str, list[float]]
"""Requests a second of each contender, a value for each round."""


@contextmanager
def uvicorn(contender: Contender, redis_url: str, *, workers: int = 1) -> Iterator[int]:
    """The port on which uvicorn serves a contender."""
    port = free_port()
    settings = {"BENCH_APP": contender.app, "BENCH_SIZE": str(SIZE)}
    command = (
        *(python_at(contender.place), "-m", "uvicorn", "--factory", "benchmarks.server:build"),
        *("--host", LOOPBACK, "--port", str(port), "--workers", str(workers)),
        *("--no-access-log", "--log-level", "error"),
    )
    process = subprocess.Popen(
        command,
        env={**environment_at(contender.place, redis_url), **settings},
        start_new_session=True,
    )
    try:
        wait_until(
            lambda: process.poll() is not None or _answers(port),
            what=f"an answer of {contender.name}",
            seconds=_START_SECONDS,
        )
        yield port
    finally:
        _stop(process)


def _answers(port: int) -> bool:
    try:
        return asyncio.run(_drive(port, connections=1, seconds=0.0)) > 0
    except OSError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    # its workers are in its group
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def rates(contenders: Sequence[Contender], redis_url: str, *, rounds: int, seconds: float) -> Rates:
    """Requests a second of each contender, in rounds."""
    found: Rates = defaultdict(list)
    with ExitStack() as stack:
        ports: Mapping[str, int] = {
            one.name: stack.enter_context(uvicorn(one, redis_url)) for one in contenders
        }
        for number in range(rounds):
            for name in list(ports)[:: -1 if number % 2 else 1]:
                found[name].append(rate(ports[name], seconds=seconds))
    return found


def rate(port: int, *, seconds: float, connections: int = CONNECTIONS) -> float:
    """Requests a second that are answered on a port."""
    asyncio.run(_drive(port, connections=connections, seconds=_WARM_UP_SECONDS))
    started = time.perf_counter()
    answered = asyncio.run(_drive(port, connections=connections, seconds=seconds))
    return answered / (time.perf_counter() - started)


async def _drive(port: int, *, connections: int, seconds: float) -> int:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    clients: list[_Client] = []
    for number in range(connections):
        make = partial(_Client, number, until)
        _, client = await loop.create_connection(make, LOOPBACK, port)
        clients.append(client)
    await asyncio.gather(*(client.done for client in clients))
    return sum(client.answered for client in clients)


class _Client(asyncio.Protocol):
    """Sends one request after the other; the answers have a Content-Length."""

    def __init__(self, number: int, until: float) -> None:
        self._request = (
            f"GET /shop/products/{number} HTTP/1.1\r\nhost: shop.example\r\n"
            "user-agent: benchmark\r\naccept: */*\r\n\r\n"
        ).encode()
        self._until = until
        self._received = b""
        self._loop = asyncio.get_running_loop()
        self.answered = 0
        self.done: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not _is_whole(self._received):
            return
        if not self._received.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(self._received[:200].decode())
        self._received = b""
        self.answered += 1
        if self._loop.time() < self._until:
            self._transport.write(self._request)
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _is_whole(received: bytes) -> bool:
    head, separator, body = received.partition(b"\r\n\r\n")
    if not separator:
        return False
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return len(body) >= int(length)
