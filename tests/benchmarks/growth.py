"""Measures how the cost of a hit grows with one property of the workload at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from redis import Redis

from servers import RedisServer

from .contenders import CASHEWS, GET, LOCAL, MARKERS, SDK, Contender
from .delay import DelayedRedis
from .groups import PATIENCE_SECONDS
from .load import rate
from .measuring import Workers, workers_for
from .protocol import Order
from .scenarios import HIT
from .serving import uvicorn

GROUPS = (0, 1, 4, 16, 64)
SIZES = (500, 5_000, 50_000, 500_000)
CONCURRENCY = (1, 8, 32, 128)
KEYSPACE = (0, 10_000, 100_000, 1_000_000)
PROCESSES = (1, 2, 4)
DELAYS_MS = (0, 1, 2)

_SLICE_SECONDS = 0.1
_NEEDS_DEBUG = ("--enable-debug-command", "local")


@dataclass(slots=True)
class Grown:
    """One property and what a hit costs with each of its values.

    Attributes:
        title: What grows.
        unit: Of the numbers.
        cells: For each value and contender a number for each round.
    """

    title: str
    unit: str
    cells: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))


def growths(contenders: Sequence[Contender], *, rounds: int) -> Iterator[Grown]:
    """Everything that grows, in turn."""
    ours = [one for one in (LOCAL, MARKERS) if one in contenders]
    with RedisServer(*_NEEDS_DEBUG) as server, workers_for(ours, server.url) as w:
        bench = _Bench(server, w, rounds)
        yield bench.grown("groups an entry is in, 1 at a time", GROUPS, ours, _with_groups)
        yield bench.grown("bytes of the body, 1 at a time", SIZES, ours, _with_size)
        yield bench.grown("requests at a time", CONCURRENCY, ours, _with_lanes)
        yield bench.grown("other keys in Redis, 32 at a time", KEYSPACE, ours, bench.among)
        yield _more_workers(ours, server.url, rounds)
    yield from _farther_away(contenders, rounds)


def _order(contender: Contender, lanes: int = 1, **shape: int) -> Order:
    return Order(
        contender=contender.name,
        scenario=HIT.name,
        lanes=lanes,
        seconds=_SLICE_SECONDS,
        shape=shape,
    )


def _with_groups(contender: Contender, groups: int) -> Order:
    return _order(contender, groups=groups)


def _with_size(contender: Contender, size: int) -> Order:
    return _order(contender, size=size)


def _with_lanes(contender: Contender, lanes: int) -> Order:
    return _order(contender, lanes)


class _Bench:
    def __init__(self, server: RedisServer, workers: Workers, rounds: int) -> None:
        self._server = server
        self._workers = workers
        self._rounds = rounds

    def grown(
        self,
        title: str,
        values: Sequence[int],
        contenders: Sequence[Contender],
        order: Callable[[Contender, int], Order],
    ) -> Grown:
        """Measure a hit with each of the values, in rounds."""
        found = Grown(title, "µs")
        self._server.flush()
        for _ in range(self._rounds):
            for value in values:
                for one in contenders:
                    report = self._workers[one.name].carry_out(order(one, value))
                    found.cells[f"{value:,}", one.name].append(report.microseconds("wall"))
        return found

    def among(self, contender: Contender, keys: int) -> Order:
        """Make sure that there are so many other keys."""
        with Redis.from_url(self._server.url, socket_timeout=PATIENCE_SECONDS) as client:
            if not keys <= client.execute_command("DBSIZE") < keys + 1_000:
                client.execute_command("FLUSHALL")
                if keys:
                    client.execute_command("DEBUG", "POPULATE", keys, "other", 64)
        return _order(contender, 32)


def _more_workers(contenders: Sequence[Contender], redis_url: str, rounds: int) -> Grown:
    found = Grown("uvicorn workers, 32 connections", "requests/s")
    with ExitStack() as stack:
        ports = {
            (str(processes), one.name): stack.enter_context(
                uvicorn(one, redis_url, workers=processes)
            )
            for processes in PROCESSES
            for one in contenders
        }
        for _ in range(rounds):
            for cell, port in ports.items():
                found.cells[cell].append(rate(port, seconds=1))
    return found


def _farther_away(contenders: Sequence[Contender], rounds: int) -> Iterator[Grown]:
    taking_part = [one for one in (LOCAL, MARKERS, SDK, CASHEWS, GET) if one in contenders]
    with (
        RedisServer() as server,
        DelayedRedis(server.port) as redis,
        workers_for(taking_part, redis.url) as workers,
    ):
        for lanes in (1, 32):
            found = Grown(f"milliseconds to Redis and back, {lanes} at a time", "µs")
            for delay in DELAYS_MS * rounds:
                redis.seconds = delay / 1e3
                for one in taking_part:
                    report = workers[one.name].carry_out(_order(one, lanes))
                    found.cells[str(delay), one.name].append(report.microseconds("wall"))
            yield found
