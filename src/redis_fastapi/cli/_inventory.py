"""What the cache stores in Redis, and what its processes count; all reads are bounded.

Everything is read over the client's own connections, and nothing waits for longer than a few
seconds: what was not seen by then is reported as missing.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import RedisCluster
from redis.exceptions import ResponseError

from .._redis.server import TROUBLE, Memory, memory_of
from .._telemetry.counters import RouteCounts, summed
from .._telemetry.published import published
from ..exceptions import CacheUnavailableError

DEADLINE_SECONDS: Final = 2.0
"""Deadline of one operation of a command; no request waits for it."""

_SCAN_SECONDS: Final = 3.0
_SCAN_COUNT: Final = 1_000
_SAMPLES: Final = 100
_PATIENCE_SECONDS: Final = 10.0
_GLOB: Final = re.compile(r"[*?\[\]\\]")
"""What has a meaning in a pattern for keys."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """What the cache stores in Redis.

    Attributes:
        entries: Entries that were seen.
        complete: Whether all of Redis was looked at; otherwise there are more.
        mean_bytes: Memory of one entry, by a sample; None if the server does not report it.
        memory: How the server uses its memory, or None.
    """

    entries: int
    complete: bool
    mean_bytes: float | None
    memory: Memory | None


@dataclass(frozen=True, slots=True)
class Stats:
    """What the cache stores in Redis, and what was counted.

    Attributes:
        inventory: What lies there.
        processes: How many processes publish counts.
        routes: Their counts by route, added up.
    """

    inventory: Inventory
    processes: int
    routes: dict[str, RouteCounts]


async def stats_of(client: Any, prefix: str, *, most: int) -> Stats:
    """Inspect the cache under a prefix, up to ``most`` entries.

    Raises:
        CacheUnavailableError: Redis does not reply.
    """
    try:
        return await asyncio.wait_for(_stats(client, prefix, most), _PATIENCE_SECONDS)
    except TROUBLE as error:
        raise CacheUnavailableError(f"Redis does not reply: {error}") from error


async def _stats(client: Any, prefix: str, most: int) -> Stats:
    counts = await published(client, prefix, now=time.time())
    return Stats(await _inventory(client, prefix, most), len(counts), summed(counts))


async def _inventory(client: Any, prefix: str, most: int) -> Inventory:
    found: list[Any] = []
    complete = False
    with suppress(asyncio.TimeoutError):
        literal = _GLOB.sub(r"\\\g<0>", prefix)
        scan = _scan(client, f"{literal}:e:*", most, found)
        complete = await asyncio.wait_for(scan, _SCAN_SECONDS)
    mean_bytes = await _mean_bytes(client, found[:_SAMPLES])
    return Inventory(len(found), complete, mean_bytes, await _memory(client))


async def _memory(client: Any) -> Memory | None:
    node = {"target_nodes": "random"} if isinstance(client, RedisCluster) else {}
    try:
        return memory_of(await client.execute_command("INFO", "memory", **node))
    except ResponseError:
        return None


async def _scan(client: Any, pattern: str, most: int, found: list[Any]) -> bool:
    """Collect keys; returns whether that was all of them."""
    async for key in client.scan_iter(match=pattern, count=_SCAN_COUNT):
        if len(found) == most:
            return False
        found.append(key)
    return True


async def _mean_bytes(client: Any, keys: Sequence[Any]) -> float | None:
    try:
        sizes = [await client.memory_usage(key) for key in keys]
    except ResponseError:
        return None
    known = [size for size in sizes if size is not None]
    return sum(known) / len(known) if known else None
