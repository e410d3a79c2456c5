"""Evicts large groups through `CacheBackend`, which both libraries have.

    python -m benchmarks.group_worker ENTRIES OTHERS

Fills a keyspace with `GROUPS` groups of ENTRIES entries each and OTHERS other keys, and then prints
a line. For each line on stdin it evicts a group, and prints the milliseconds that the call took.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator

from redis.asyncio import Redis

from benchmarks.groups import GROUPS, PATIENCE_SECONDS
from redis_fastapi import CacheBackend

_COPY = """
for number = ARGV[2], ARGV[3] do
    redis.call('COPY', KEYS[1], string.format(ARGV[1], number))
end
"""
_DIGEST = re.compile(rb"[0-9a-f]{32}")


async def work(entries: int, others: int) -> None:
    """Fill, then evict until there is no group left."""
    url = os.environ["REDIS_URL"]
    async with Redis.from_url(url, socket_timeout=PATIENCE_SECONDS) as redis:
        await redis.flushall()
        backends = [CacheBackend(redis, eviction_group=f"group{n}") for n in range(GROUPS)]
        found = [entry async for entry in _first_entries(redis, backends)]
        for number, entry in enumerate(found):
            first = number * entries + 1
            copies = (_names_like(entry), first, first + entries - 2)
            await redis.execute_command("EVAL", _COPY, 1, entry, *copies)
        await redis.execute_command("DEBUG", "POPULATE", others, "other", 64)
        _say("filled")
        for number, backend in enumerate(backends):
            await asyncio.to_thread(sys.stdin.readline)
            started = time.perf_counter()
            await backend.delete_group(f"group{number}")
            _say(str((time.perf_counter() - started) * 1e3))


async def _first_entries(redis: Redis, backends: list[CacheBackend]) -> AsyncIterator[bytes]:
    """Names of one entry in each group, as the library makes them."""
    known: set[bytes] = set()
    for number, backend in enumerate(backends):
        await backend.set(str(number), {"name": "x" * 200}, ttl=3_600)
        # both libraries put a hash tag in the names of entries, and nowhere else
        names = set(await redis.keys("*{*}*"))
        yield (names - known).pop()
        known = names


def _names_like(entry: bytes) -> bytes:
    """A format for the names of more entries, with the place of a number."""
    if _DIGEST.search(entry):
        return _DIGEST.sub(b"%032x", entry)
    return entry + b":%032x"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(work(int(sys.argv[1]), int(sys.argv[2])))
