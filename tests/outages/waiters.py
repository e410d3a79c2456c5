"""Waiting for another process's computation: `python -m outages.waiters` in tests.

One engine computes, lookups of another wait for it, notified of changes or not, in turns within one
run. Printed is what a lookup took longer than the fill, and how often it read meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from statistics import median, quantiles
from typing import Any

from redis.asyncio import Redis

from redis_fastapi._engine.engine import Engine, Hit, Miss
from redis_fastapi._engine.local import LocalTier
from redis_fastapi._redis.changes import Changes
from redis_fastapi._redis.entry import Entry
from redis_fastapi._redis.keys import EPOCH, Target, digest
from redis_fastapi._redis.shared_transport import shared_transport
from redis_fastapi._redis.store import Snapshot, Store
from redis_fastapi._redis.tracking import Tracking
from servers import RedisServer

DEADLINE = 1.0
WAITERS = 8
COMPUTES_SECONDS = (0.03, 0.12)


class CountingStore(Store):
    """A store that counts its reads."""

    reads = 0

    async def read(self, target: Target, **options: Any) -> Snapshot:
        self.reads += 1
        return await super().read(target, **options)


@asynccontextmanager
async def engine_on(client: Redis, *, told: bool) -> AsyncIterator[tuple[Engine, CountingStore]]:
    changes = Changes()
    transport = shared_transport(client, prefix="t", name="here", deadline=DEADLINE)
    store = CountingStore(client, prefix="t", deadline=DEADLINE, transport=transport)
    engine = Engine(store, local=LocalTier(changes))
    tracking = Tracking(client, changes, prefix="t", name="here")
    if told:
        tracking.start()
        await until_heard(changes)
    yield engine, store
    await tracking.aclose()
    await engine.aclose()


async def until_heard(changes: Changes) -> None:
    for _ in range(1_000):
        if changes.is_tracking:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def waited(leader: Engine, follower: Engine) -> list[float]:
    """Milliseconds between the fill and each of those who waited for it."""
    target = Target(digest([str(time.time_ns())]), (EPOCH,), b"shape--1")
    led = await leader.look_up(target)
    assert isinstance(led, Miss)

    async def follow() -> float:
        assert isinstance(await follower.look_up(target), Hit)
        return time.perf_counter()

    following = [asyncio.create_task(follow()) for _ in range(WAITERS)]
    await asyncio.sleep(random.uniform(*COMPUTES_SECONDS))
    await led.lease.fill(Entry(200, (), b"x" * 600, leader.now_ms(), 60_000), 60_000)
    filled = time.perf_counter()
    return [1_000 * max(0.0, at - filled) for at in await asyncio.gather(*following)]


async def measure(url: str, turns: int) -> None:
    print(f"{'waiters are':20}{'median ms':>10}{'p95 ms':>9}{'reads each':>12}")
    async with (
        Redis.from_url(url) as client,
        engine_on(client, told=False) as (leader, _),
        engine_on(client, told=False) as polling,
        engine_on(client, told=True) as woken,
    ):
        late: dict[str, list[float]] = {"left to look": [], "notified": []}
        for _ in range(turns):
            for (engine, _), found in zip((polling, woken), late.values(), strict=True):
                found += await waited(leader, engine)
        for (name, found), (_, store) in zip(late.items(), (polling, woken), strict=True):
            reads = store.reads / len(found)
            print(
                f"{name:20}{median(found):>10.1f}{quantiles(found, n=20)[-1]:>9.1f}{reads:>12.1f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=100)
    with RedisServer() as server:
        asyncio.run(measure(server.url, parser.parse_args().turns))


if __name__ == "__main__":
    main()
