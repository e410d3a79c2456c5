"""What it costs to evict a large group in a large keyspace, and who waits meanwhile."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from servers import LOOPBACK, RedisServer

from .contenders import MARKERS, SDK, Contender
from .process import environment_at, python_at

CONTENDERS = (MARKERS, SDK)
ENTRIES = 100_000
KEYS = 1_000_000

PATIENCE_SECONDS = 120.0
"""What a million keys may take on a busy machine."""

_NEEDS_DEBUG = ("--enable-debug-command", "local")


@dataclass(slots=True)
class Evictions:
    """Milliseconds, a value for each round.

    Attributes:
        calls: How long the call took.
        pings: The longest that another client waited for PING meanwhile.
    """

    calls: list[float] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)


def evictions(
    contenders: Sequence[Contender], *, rounds: int, entries: int = ENTRIES, keys: int = KEYS
) -> dict[str, Evictions]:
    """Evict a group of `entries` among `keys` keys, on a server of its own."""
    found = {one.name: Evictions() for one in contenders}
    with RedisServer(*_NEEDS_DEBUG) as server:
        for one in contenders:
            with _worker(one, server.url) as worker:
                for _ in range(rounds):
                    _evict(worker, server.port, f"{entries} {keys - entries}", found[one.name])
    return found


def _worker(contender: Contender, redis_url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [python_at(contender.place), "-m", "benchmarks.group_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment_at(contender.place, redis_url),
    )


def _evict(worker: subprocess.Popen[str], port: int, size: str, found: Evictions) -> None:
    _ask(worker, size)
    with _Pinger(port) as pinger:
        found.calls.append(_ask(worker, "evict"))
    found.pings.append(pinger.worst_ms)


def _ask(worker: subprocess.Popen[str], line: str) -> float:
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write(line + "\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


class _Pinger(threading.Thread):
    """Sends PING after PING for the time of a `with`."""

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

    def __enter__(self) -> _Pinger:
        self.start()
        self._began.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self.join()
