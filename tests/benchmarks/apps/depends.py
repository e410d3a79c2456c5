"""Caching declared by dependencies, written so that both libraries with this interface serve it."""

from __future__ import annotations

from fastapi import APIRouter, Depends, FastAPI

from benchmarks.catalogue import Product, product_of
from redis_fastapi import FastAPIRedis, cache, cache_evict, cache_put, default_key_builder

GROUP = "products"


def build(size: int) -> FastAPI:
    """The application."""
    answer = product_of(0, size)
    router = APIRouter(prefix="/products")
    read = cache(ttl=300, eviction_group=GROUP)
    write = cache_put(ttl=300, eviction_group=GROUP, key_builder=default_key_builder)
    evict_one = cache_evict(eviction_group=GROUP, key_builder=default_key_builder)
    evict_all = cache_evict(eviction_group=GROUP)

    @router.get("/{product_id}", dependencies=[Depends(read)])
    async def get_product(product_id: int) -> Product:
        return answer

    @router.put("/{product_id}", dependencies=[Depends(write)])
    async def put_product(product_id: int, product: Product) -> Product:
        return product

    @router.delete("/{product_id}", dependencies=[Depends(evict_one)])
    async def delete_product(product_id: int) -> None:
        return None

    @router.delete("", dependencies=[Depends(evict_all)])
    async def delete_products() -> None:
        return None

    app = FastAPI()
    FastAPIRedis(app).lifespan().caching()
    app.include_router(router, prefix="/shop")
    return app
