"""What an outage costs a lookup: `python -m outages.delays` in tests, times in milliseconds.

Fifty tasks look up one after the other. `at first` is the worst lookup from the beginning of the
trouble until the breaker opened, `then` the worst of those that began while it was open, `back` the
time from the end of the trouble to the first hit. The event loop's own worst delay in the same
time stands beside them: what a busy machine adds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from outages.proxy import Proxy
from redis_fastapi._engine.engine import Engine, Hit, Miss
from redis_fastapi._redis.entry import Entry
from redis_fastapi._redis.keys import EPOCH, Target, digest
from redis_fastapi._redis.shared_transport import SharedTransport
from redis_fastapi._redis.store import Store
from servers import LOOPBACK, RedisServer

DEADLINE = 0.05
CLIENTS = 50
TROUBLE_SECONDS = 3.0
TARGET = Target(digest(["delays"]), (EPOCH,), b"shape--1")


@dataclass(slots=True)
class Seen:
    """Worst times in milliseconds."""

    first: float = 0.0
    then: float = 0.0
    loop: float = 0.0
    back: float | None = None
    ended: float | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Scene:
    """One server behind a proxy, and an engine on it."""

    server: RedisServer
    proxy: Proxy
    engine: Engine
    transport: SharedTransport


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    with RedisServer() as server:
        async with Proxy(server.port) as proxy:
            url = f"redis://{LOOPBACK}:{proxy.port}/0"
            async with Redis.from_url(url) as client:
                transport = SharedTransport(client, prefix="t", name=url, deadline=DEADLINE)
                store = Store(client, prefix="t", deadline=DEADLINE, transport=transport)
                engine = Engine(store)
                yield Scene(server, proxy, engine, transport)
                await engine.aclose()


async def look_up(scene: Scene, seen: Seen) -> None:
    while True:
        is_away, began = scene.transport.is_away, time.perf_counter()
        outcome = await scene.engine.look_up(TARGET)
        took = (time.perf_counter() - began) * 1_000
        if isinstance(outcome, Miss):
            await outcome.lease.fill(Entry(200, (), b"x" * 600, 0, 0), None)
        if seen.ended is None:
            seen.first = seen.first if is_away else max(seen.first, took)
            seen.then = max(seen.then, took) if is_away else seen.then
        elif seen.back is None and isinstance(outcome, Hit):
            seen.back = (time.perf_counter() - seen.ended) * 1_000
        await asyncio.sleep(0.02)


async def watch_the_loop(seen: Seen) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        seen.loop = max(seen.loop, (time.perf_counter() - began) * 1_000 - 1)


Act = Callable[[Scene], Any]


async def measured(begin: Act, end: Act) -> Seen:
    async with scene() as ready:
        warm = [asyncio.ensure_future(look_up(ready, Seen())) for _ in range(CLIENTS)]
        await asyncio.sleep(0.5)
        await stopped(warm)
        seen = Seen()
        work = [look_up(ready, seen) for _ in range(CLIENTS)]
        begin(ready)
        tasks = [asyncio.ensure_future(one) for one in (*work, watch_the_loop(seen))]
        await asyncio.sleep(TROUBLE_SECONDS)
        await asyncio.to_thread(end, ready)
        seen.ended = time.perf_counter()
        for _ in range(1_000):
            if seen.back is not None:
                break
            await asyncio.sleep(0.01)
        await stopped(tasks)
        return seen


async def stopped(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def set_delay(seconds: float) -> Act:
    return lambda scene: setattr(scene.proxy, "delay", seconds)


def set_silent(silent: bool) -> Act:
    return lambda scene: setattr(scene.proxy, "silent", silent)


TROUBLES: tuple[tuple[str, Act, Act], ...] = (
    ("none", lambda _: None, lambda _: None),
    ("hung (SIGSTOP)", lambda s: s.server.pause(), lambda s: s.server.resume()),
    ("killed", lambda s: s.server.kill(), lambda s: s.server.start()),
    ("replies after 200 ms", set_delay(0.2), set_delay(0.0)),
    ("replies after 20 ms", set_delay(0.02), set_delay(0.0)),
    ("bytes vanish", set_silent(True), set_silent(False)),
)


async def main() -> None:
    print(f"deadline {DEADLINE * 1_000:.0f} ms, {CLIENTS} tasks")
    print(f"{'trouble':24}{'at first':>10}{'then':>10}{'loop':>10}{'back':>10}")
    for name, begin, end in TROUBLES:
        seen = await measured(begin, end)
        numbers = (seen.first, seen.then, seen.loop, seen.back or 0.0)
        print(f"{name:24}" + "".join(f"{number:10.1f}" for number in numbers), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
