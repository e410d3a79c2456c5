from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from shop_types import Product

from redis_fastapi import Cached, CacheRoute

router = APIRouter(route_class=CacheRoute)


@router.get("/later")
async def later() -> Annotated[Later, Cached(ttl=5)]:  # R: redis-cache-unread
    return Later(id=1)


@router.get("/postponed")
async def postponed() -> Annotated[Product, Cached(ttl=0)]:  # E:56 redis-cache-value ttl=0
    return Product(id=1)


@router.get("/quoted")
async def quoted() -> "Annotated[Product, Cached(ttl=0)]":  # E: redis-cache-value ttl=0 # R: redis-cache-unread
    return Product(id=1)


@router.get("/ünïcode")
async def ünïcode() -> Annotated[Product, Cached(group="ü", ttl=0)]:  # E:65 redis-cache-value ttl=0
    return Product(id=1)


class Later(Product):
    pass
