"""Counters per route that every process publishes in Redis, for ``redis-fastapi stats``.

All are fields of one hash, each written by its process and counted for three intervals; the hash
expires when no process writes to it any more.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import orjson

from .._redis.transport import Command, keyed
from ..exceptions import CacheUnavailableError
from .counters import Counters

_BELIEVED_INTERVALS: Final = 3
_LEAST_BELIEVED_SECONDS: Final = 5.0
_KEPT_MS: Final = 24 * 60 * 60 * 1_000

Counts = Mapping[str, Mapping[str, Any]]


def _key(prefix: str) -> str:
    return f"{prefix}:stats"


class Publisher:
    """Publishes the counts of this process until it is cancelled.

    Args:
        execute: Sends commands; raises CacheUnavailableError without a reply.
        prefix: First part of every key.
        counters: What to publish.
        interval: Seconds between two publications.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        execute: Callable[[Sequence[Command]], Awaitable[list[Any]]],
        prefix: str,
        counters: Counters,
        interval: float,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._execute = execute
        self._key = _key(prefix).encode()
        self._counters = counters
        self._interval = interval
        self._clock = clock
        self._process = f"{socket.gethostname()}:{os.getpid()}:{os.urandom(4).hex()}"

    async def run(self) -> None:
        """Publish now and at every interval; counts that cannot be sent are sent next time."""
        with suppress(CacheUnavailableError):
            await self._remove_dead_processes()
        while True:
            with suppress(CacheUnavailableError):
                await self.publish()
            await asyncio.sleep(self._interval)

    async def publish(self) -> None:
        """Write this process's counts."""
        counts = {
            "at": self._clock(),
            "believed_seconds": max(_LEAST_BELIEVED_SECONDS, _BELIEVED_INTERVALS * self._interval),
            "routes": self._counters.as_json(),
        }
        writing = keyed("HSET", self._key, self._process, orjson.dumps(counts))
        await self._execute((writing, keyed("PEXPIRE", self._key, _KEPT_MS)))

    async def _remove_dead_processes(self) -> None:
        (found,) = await self._execute((keyed("HGETALL", self._key),))
        now = self._clock()
        dead = [name for name, raw in _pairs(found) if _living(raw, now) is None]
        if dead:
            await self._execute((keyed("HDEL", self._key, *dead),))


def _pairs(reply: Any) -> Iterable[tuple[bytes, bytes]]:
    """Fields and values of a hash, from a reply in either protocol version."""
    if isinstance(reply, dict):
        return reply.items()
    return zip(reply[::2], reply[1::2], strict=True) if isinstance(reply, list) else ()


async def published(client: Any, prefix: str, *, now: float) -> list[Counts]:
    """The counts of every process that is alive."""
    found = await client.hgetall(_key(prefix))
    counts = (_living(raw, now) for raw in found.values())
    return [one for one in counts if one is not None]


def _living(raw: bytes | str, now: float) -> Counts | None:
    """The counts of a process; None if they are too old or corrupt."""
    try:
        counts = orjson.loads(raw)
        alive = now - counts["at"] < counts["believed_seconds"]
        routes: Counts = counts["routes"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return routes if alive else None
