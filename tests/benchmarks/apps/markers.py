"""Caching declared in the return type."""

from typing import Annotated

from fastapi import APIRouter, FastAPI

from benchmarks.catalogue import Product, product_of
from redis_fastapi import Cached, CacheEvict, CachePut, CacheRoute, FastAPIRedis


def build(size: int, groups: int = 1) -> FastAPI:
    """The application."""
    app = FastAPI()
    FastAPIRedis(app).lifespan().caching()
    app.include_router(products(size, groups), prefix="/shop")
    return app


def products(size: int, groups: int = 1) -> APIRouter:
    """The endpoints."""
    answer = product_of(0, size)
    names = ("products", *(f"group{number}" for number in range(1, groups)))
    router = APIRouter(prefix="/products", route_class=CacheRoute)

    @router.get("/{product_id}")
    async def get_product(product_id: int) -> Annotated[Product, Cached(300, group=names)]:
        return answer

    @router.put("/{product_id}")
    async def put_product(product_id: int, product: Product) -> Annotated[Product, CachePut()]:
        return product

    @router.delete("/{product_id}")
    async def delete_product(product_id: int) -> Annotated[None, CacheEvict(key=get_product)]:
        return None

    @router.delete("")
    async def delete_products() -> Annotated[None, CacheEvict(group="products")]:
        return None

    return router
