"""What the command line does with a running cache: evict, count, warm up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fastapi import FastAPI

from .._engine.engine import Engine
from .._policy.resource import path_resource
from .._redis.keys import EPOCH, group_name
from .._redis.pool import close_client, open_client
from .._redis.store import Store
from .._routes.registry import Registry
from .._routes.targets import Evicted, evicted_resources
from ..settings import RedisSettings
from ._client import Headers, client_of, path_in
from ._inventory import DEADLINE_SECONDS, Stats, stats_of


def names_to_evict(
    registry: Registry | None, *, groups: Iterable[str], paths: Iterable[str], everything: bool
) -> Evicted:
    """The names to evict; a path that no route here reads is used as it is."""
    if everything:
        return Evicted(generations=(EPOCH,))
    named = Evicted(generations=tuple(group_name(group) for group in groups))
    resources = [one for path in paths for one in _resources(registry, path_in(path))]
    return named.plus(evicted_resources(resources))


def _resources(registry: Registry | None, path: str) -> tuple[str, ...]:
    found = registry.resources_at(path) if registry else ()
    return found or (path_resource(path),)


async def evict(settings: RedisSettings, names: Evicted) -> bool:
    """Evict; returns whether Redis confirmed it."""
    client = open_client(settings)
    store = Store(
        client,
        prefix=settings.prefix,
        deadline=DEADLINE_SECONDS,
        wait_replicas=settings.wait_replicas,
    )
    engine = Engine(store)
    try:
        return await engine.evict(names.entries, names.generations)
    finally:
        await engine.aclose()
        await close_client(client)


async def stats(settings: RedisSettings, *, most: int) -> Stats:
    """What the cache stores in Redis and what was counted, up to ``most`` entries."""
    client = open_client(settings)
    try:
        return await stats_of(client, settings.prefix, most=most)
    finally:
        await close_client(client)


@dataclass(frozen=True, slots=True)
class Warmed:
    """One request of a warm-up.

    Attributes:
        url: As requested.
        status: Status code of the response.
        state: ``X-Redis-Cache`` of the response, or None.
    """

    url: str
    status: int
    state: str | None

    @property
    def failed(self) -> bool:
        """Whether the request failed, so that nothing useful was stored."""
        return self.status >= 400


async def warm(
    app: FastAPI,
    urls: Iterable[str],
    headers: Headers,
    *,
    concurrency: int,
    report: Callable[[Warmed], None],
) -> list[Warmed]:
    """Request URLs from the application in this process, ``concurrency`` at a time, in order."""
    turns = asyncio.Semaphore(concurrency)
    async with client_of(app) as client:

        async def request(url: str) -> Warmed:
            async with turns:
                response = await client.get(url, headers=list(headers))
            warmed = Warmed(url, response.status_code, response.headers.get("x-redis-cache"))
            report(warmed)
            return warmed

        return list(await asyncio.gather(*(request(url) for url in urls)))


def addresses(lines: Iterable[str]) -> list[str]:
    """The URLs in a file: one per line, without empty lines and lines that begin with ``#``."""
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith("#")]
