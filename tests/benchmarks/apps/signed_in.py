"""The same endpoint with the marker, its answer the same for everyone who is let in."""

from typing import Annotated

from fastapi import APIRouter, FastAPI

from benchmarks.apps.users import CurrentUser
from benchmarks.catalogue import Product, product_of
from redis_fastapi import Cached, CacheRoute, FastAPIRedis


def build(size: int) -> FastAPI:
    """The application."""
    answer = product_of(0, size)
    router = APIRouter(prefix="/products", route_class=CacheRoute)

    @router.get("/{product_id}")
    async def get_product(
        product_id: int, user: CurrentUser
    ) -> Annotated[Product, Cached(300, group="products", shared=True)]:
        return answer

    app = FastAPI()
    FastAPIRedis(app).lifespan().caching()
    app.include_router(router, prefix="/shop")
    return app
