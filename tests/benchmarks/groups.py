"""Measures evicting a large group in a large keyspace, and how long other clients wait."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from servers import LOOPBACK, RedisServer

from .contenders import MARKERS, SDK, Contender
from .process import environment_at, next_line, python_at

CONTENDERS = (MARKERS, SDK)
GROUPS = 9
ENTRIES = 100_000
KEYS = 1_000_000

PATIENCE_SECONDS = 120.0
"""What a million keys may take on a busy machine."""

_PAUSE_SECONDS = 0.000_1
"""Between two PINGs; the longest wait may be this much longer than what is found."""

_NEEDS_DEBUG = ("--enable-debug-command", "local")


@dataclass(slots=True)
class Evictions:
    """Milliseconds, a value for each group.

    Attributes:
        calls: How long the call took.
        pings: The longest that another client waited for PING meanwhile.
    """

    calls: list[float] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)


def evictions(
    contenders: Sequence[Contender], *, entries: int = ENTRIES, keys: int = KEYS
) -> dict[str, Evictions]:
    """Evict one group of `entries` after the other among `keys` keys, on a server of its own."""
    found = {}
    with RedisServer(*_NEEDS_DEBUG) as server:
        for one in contenders:
            with _worker(one, server.url, entries, keys - GROUPS * entries) as worker:
                found[one.name] = _evictions(worker, server.port)
    return found


def _worker(contender: Contender, redis_url: str, *sizes: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python_at(contender.place), "-m", "benchmarks.group_worker", *map(str, sizes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment_at(contender.place, redis_url),
    )


def _evictions(worker: subprocess.Popen[str], port: int) -> Evictions:
    """What came of each group but the first, by which the library has learnt all it ever does."""
    next_line(worker)
    found = Evictions()
    for number in range(GROUPS):
        with _Pinger(port) as pinger:
            milliseconds = _evict(worker)
        if number:
            found.calls.append(milliseconds)
            found.pings.append(pinger.worst_ms)
    return found


def _evict(worker: subprocess.Popen[str]) -> float:
    assert worker.stdin is not None
    worker.stdin.write("evict\n")
    worker.stdin.flush()
    return float(next_line(worker))


class _Pinger(threading.Thread):
    """Sends PINGs for the time of a `with`, with a pause that leaves others a processor."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self._ends = threading.Event()
        self._began = threading.Event()
        self.worst_ms = 0.0

    def run(self) -> None:
        with socket.create_connection((LOOPBACK, self._port)) as connection:
            while not self._ends.is_set():
                started = time.perf_counter()
                connection.sendall(b"PING\r\n")
                connection.recv(64)
                self.worst_ms = max(self.worst_ms, (time.perf_counter() - started) * 1e3)
                self._began.set()
                time.sleep(_PAUSE_SECONDS)

    def __enter__(self) -> _Pinger:
        self.start()
        self._began.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self.join()
