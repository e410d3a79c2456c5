"""On fastapi-cache2."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Header
from fastapi_cache import FastAPICache
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.decorator import cache
from redis.asyncio import Redis

from peers.shop import CurrentUser, Shelf


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with Redis.from_url(os.environ["REDIS_URL"]) as redis:
        FastAPICache.init(RedisBackend(redis), prefix="shop")
        yield


def build(shelf: Shelf) -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    cached = cache(expire=300, namespace="items")

    @app.get("/items/{item_id}")
    @cached
    async def get_item(item_id: int) -> int:
        return item_id

    @app.delete("/items")
    async def delete_items() -> None:
        await FastAPICache.clear(namespace="items")

    @app.get("/price")
    @cached
    async def get_price() -> int:
        return await shelf.read()

    @app.get("/greeting")
    @cached
    async def get_greeting(accept_language: Annotated[str, Header()]) -> str:
        return accept_language

    @app.get("/files/{path:path}")
    @cached
    async def get_file(path: str) -> str:
        return path

    @app.get("/offers")
    @cached
    async def get_offers(user: CurrentUser) -> str:
        return "members pay less"

    @app.get("/basket")
    @cached
    async def get_basket(user: CurrentUser) -> str:
        return user

    return app
