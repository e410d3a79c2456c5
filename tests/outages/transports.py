"""Compares the shared connection with the client's pool: `python -m outages.transports` in tests.

Both serve the same engine operations on one server, in turns within one run. Printed is the median
of the turns in microseconds an operation, and the CPU time of this process in the same unit.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import median

from redis.asyncio import Redis

from redis_fastapi._engine.engine import Engine, Hit, Miss
from redis_fastapi._redis.entry import Entry
from redis_fastapi._redis.keys import EPOCH, Target, digest, group_name
from redis_fastapi._redis.shared_transport import shared_transport
from redis_fastapi._redis.store import Store
from servers import RedisServer

DEADLINE = 1.0
ENTRY = Entry(200, ((b"content-type", b"application/json"),), b"x" * 600, 0, 0)
LANES = (1, 8, 32)


def target(name: str) -> Target:
    return Target(digest([name]), (EPOCH, group_name("products")), b"shape--1")


async def hit(engine: Engine, lane: int, turn: int) -> None:
    assert isinstance(await engine.look_up(target(f"hit {lane}")), Hit)


async def miss(engine: Engine, lane: int, turn: int) -> None:
    outcome = await engine.look_up(target(f"miss {id(engine)} {lane} {turn} {time.time_ns()}"))
    assert isinstance(outcome, Miss)
    await outcome.lease.fill(ENTRY, 10_000)


async def evict(engine: Engine, lane: int, turn: int) -> None:
    assert await engine.evict((), (group_name(f"other {lane}"),))


Operation = Callable[[Engine, int, int], Awaitable[None]]
OPERATIONS: tuple[Operation, ...] = (hit, miss, evict)


async def timed(engine: Engine, operation: Operation, lanes: int, each: int) -> tuple[float, float]:
    """Wall and CPU microseconds an operation."""

    async def run(lane: int) -> None:
        for turn in range(each):
            await operation(engine, lane, turn)

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(run(lane) for lane in range(lanes)))
    scale = 1e6 / (lanes * each)
    return (time.perf_counter() - wall) * scale, (time.process_time() - cpu) * scale


async def compare(url: str, rounds: int, calls: int) -> None:
    async with Redis.from_url(url) as client:
        transport = shared_transport(client, prefix="t", name=url, deadline=DEADLINE)
        engines = {
            "pool": Engine(Store(client, prefix="t", deadline=DEADLINE)),
            "shared": Engine(Store(client, prefix="t", deadline=DEADLINE, transport=transport)),
        }
        for lane in range(max(LANES)):
            outcome = await engines["pool"].look_up(target(f"hit {lane}"))
            assert isinstance(outcome, Miss)
            await outcome.lease.fill(ENTRY, None)
        print(
            f"{'':14}{'pool wall/cpu':>20}{'shared wall/cpu':>20}"
            f"{'wall ratio':>12}{'cpu ratio':>12}"
        )
        for operation in OPERATIONS:
            for lanes in LANES:
                await print_row(engines, operation, lanes, rounds, max(1, calls // lanes))
        for engine in engines.values():
            await engine.aclose()


async def print_row(
    engines: dict[str, Engine], operation: Operation, lanes: int, rounds: int, each: int
) -> None:
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in engines}
    for _ in range(rounds):
        for name, engine in engines.items():
            taken[name].append(await timed(engine, operation, lanes, each))
    (pool_wall, pool_cpu), (shared_wall, shared_cpu) = (
        (median(wall for wall, _ in turns), median(cpu for _, cpu in turns))
        for turns in taken.values()
    )
    print(
        f"{operation.__name__:>6} x {lanes:<5}{pool_wall:11.0f} /{pool_cpu:6.0f} "
        f"{shared_wall:12.0f} /{shared_cpu:6.0f} {pool_wall / shared_wall:11.1f} "
        f"{pool_cpu / shared_cpu:11.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=640)
    arguments = parser.parse_args()
    with RedisServer() as server:
        asyncio.run(compare(server.url, arguments.rounds, arguments.calls))


if __name__ == "__main__":
    main()
