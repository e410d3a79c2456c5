"""``uvicorn cdn.main:app``

``Cached(cdn_ttl=...)`` says how long a CDN may keep an answer, ``REDIS_SURROGATE_HEADER`` names the
answer's groups for it. After a write the CDN is told the same names that were evicted in Redis.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI

from redis_fastapi import Cached, CacheEvict, FastAPIRedis, RedisSettings

PRICES = {1: 1250, 2: 790}
Purge = Callable[[str], Awaitable[None]]


async def purge_nothing(group: str) -> None:
    """Where there is no CDN; a real one is sent ``group``, by its own API."""


def get_purge() -> Purge:
    """Makes the CDN purge what carries a name."""
    return purge_nothing


app = FastAPI(title="Behind a CDN")
FastAPIRedis(app, RedisSettings(surrogate_header="Surrogate-Key")).lifespan().caching()


@app.get("/teas/{tea_id}")
async def get_tea(
    tea_id: int,
) -> Annotated[int, Cached(ttl=10, cdn_ttl=86_400, group=("teas", "tea:{tea_id}"))]:
    """Ten seconds in Redis and browsers, a day in the CDN, where it can be purged."""
    return PRICES[tea_id]


@app.put("/teas/{tea_id}")
async def put_tea(
    tea_id: int, price: int, tasks: BackgroundTasks, purge: Annotated[Purge, Depends(get_purge)]
) -> Annotated[int, CacheEvict(group="tea:{tea_id}")]:
    """A task runs after the response, and so after the eviction: what the CDN fetches is new."""
    PRICES[tea_id] = price
    tasks.add_task(purge, f"tea:{tea_id}")
    return price
