"""The same read with cashews: it keeps the endpoint's result, which is serialized every time."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cashews import cache
from fastapi import APIRouter, FastAPI

from benchmarks.catalogue import Product, product_of


@asynccontextmanager
async def _opened(_: FastAPI) -> AsyncIterator[None]:
    cache.setup(os.environ["REDIS_URL"])
    yield
    await cache.close()


def build(size: int) -> FastAPI:
    """The application."""
    answer = product_of(0, size)
    router = APIRouter(prefix="/products")

    @router.get("/{product_id}")
    @cache(ttl="5m", key=f"products:{size}:{{product_id}}")
    async def get_product(product_id: int) -> Product:
        return answer

    app = FastAPI(lifespan=_opened)
    app.include_router(router, prefix="/shop")
    return app
