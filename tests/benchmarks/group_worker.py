"""Evicts a large group through `CacheBackend`, which both libraries have.

    python -m benchmarks.group_worker

A line on stdin says to fill the keyspace anew, the next one to evict the group; each is answered
with the milliseconds that the call took.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Iterator

from redis.asyncio import Redis

from benchmarks.groups import PATIENCE_SECONDS
from redis_fastapi import CacheBackend

GROUP = "products"
PIPELINE = 5_000

_DIGEST = re.compile(rb"[0-9a-f]{32}")


async def work() -> None:
    """Fill and evict until stdin ends."""
    url = os.environ["REDIS_URL"]
    async with Redis.from_url(url, socket_timeout=PATIENCE_SECONDS) as redis:
        backend = CacheBackend(redis, eviction_group=GROUP)
        while line := await asyncio.to_thread(sys.stdin.readline):
            entries, others = map(int, line.split())
            await _fill(redis, backend, entries, others)
            _say(0.0)
            await asyncio.to_thread(sys.stdin.readline)
            started = time.perf_counter()
            await backend.delete_group(GROUP)
            _say((time.perf_counter() - started) * 1e3)


async def _fill(redis: Redis, backend: CacheBackend, entries: int, others: int) -> None:
    """One entry as the library makes it, copies under names of its kind, and other keys."""
    await redis.flushall()
    await backend.set("0", {"name": "x" * 200}, ttl=3_600)
    keys = await redis.keys()
    sizes = [await redis.strlen(key) for key in keys]
    entry = keys[sizes.index(max(sizes))]
    names = list(_names(entry, entries))
    for first in range(0, len(names), PIPELINE):
        pipeline = redis.pipeline(transaction=False)
        for name in names[first : first + PIPELINE]:
            pipeline.execute_command("COPY", entry, name)
        await pipeline.execute()
    if others:
        await redis.execute_command("DEBUG", "POPULATE", others, "other", 64)


def _names(entry: bytes, entries: int) -> Iterator[bytes]:
    for number in range(1, entries):
        text = b"%032x" % number
        yield _DIGEST.sub(text, entry) if _DIGEST.search(entry) else entry + b":" + text


def _say(milliseconds: float) -> None:
    sys.stdout.write(f"{milliseconds}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(work())
