"""An application that caches, and an endpoint that does not."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from benchmarks.catalogue import Product, product_of
from redis_fastapi import CacheRoute, FastAPIRedis


def build(size: int) -> FastAPI:
    """The application."""
    answer = product_of(0, size)
    router = APIRouter(prefix="/products", route_class=CacheRoute)

    @router.get("/{product_id}")
    async def get_product(product_id: int) -> Product:
        return answer

    app = FastAPI()
    FastAPIRedis(app).lifespan().caching()
    app.include_router(router, prefix="/shop")
    return app
