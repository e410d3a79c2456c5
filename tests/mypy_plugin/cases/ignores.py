from typing import Annotated

from fastapi import APIRouter
from shop_types import Product

from redis_fastapi import Cached, CacheRoute

router = APIRouter(route_class=CacheRoute)


@router.get("/by-code")
async def by_code() -> Annotated[Product, Cached(ttl=0)]:  # type: ignore[redis-cache-value]  # R: redis-cache-value
    return Product(id=1)


@router.get("/by-parent")
async def by_parent() -> Annotated[Product, Cached(ttl=0)]:  # type: ignore[redis-cache]  # R: redis-cache-value # E: unused-ignore use narrower [redis-cache-value]
    return Product(id=1)


@router.get("/on-any-line")
async def on_any_line() -> Annotated[
    Product,
    Cached(
        group="products",
        ttl=0,  # R: redis-cache-value
    ),  # type: ignore[redis-cache-value]
]:
    return Product(id=1)


@router.get("/on-the-last-line")
async def on_the_last_line(number: int) -> Annotated[
    Product,
    Cached(ttl=5),
    Cached(  # R: redis-cache-conflict
        ttl=6,
    ),  # type: ignore[redis-cache-conflict]
]:
    return Product(id=1)
