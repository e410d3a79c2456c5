"""A plain endpoint that waits for two round trips to Redis, and does nothing with what it reads."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from benchmarks.apps.reading import reading_app
from benchmarks.catalogue import Product, product_of


def build(size: int) -> FastAPI:
    """The application."""
    answer = product_of(0, size)
    app, redis = reading_app()
    router = APIRouter(prefix="/products")

    @router.get("/{product_id}")
    async def get_product(product_id: int) -> Product:
        for _ in range(2):
            await redis.get(f"product:{product_id}")
        return answer

    app.include_router(router, prefix="/shop")
    return app
