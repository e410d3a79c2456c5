"""The same read with fastapi-cache2."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi_cache import FastAPICache
from fastapi_cache.backends.redis import RedisBackend
from fastapi_cache.decorator import cache
from redis.asyncio import Redis

from benchmarks.catalogue import Product, product_of


@asynccontextmanager
async def _opened(_: FastAPI) -> AsyncIterator[None]:
    async with Redis.from_url(os.environ["REDIS_URL"]) as redis:
        FastAPICache.init(RedisBackend(redis))
        yield


def build(size: int) -> FastAPI:
    """The application."""
    answer = product_of(0, size)
    router = APIRouter(prefix="/products")

    @router.get("/{product_id}")
    @cache(expire=300, namespace=f"products:{size}")
    async def get_product(product_id: int) -> Product:
        return answer

    app = FastAPI(lifespan=_opened)
    app.include_router(router, prefix="/shop")
    return app
