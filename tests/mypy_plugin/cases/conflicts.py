from typing import Annotated

from fastapi import APIRouter
from shop_types import Product

from redis_fastapi import Cached, CacheEvict, CachePut, CacheRoute

router = APIRouter(route_class=CacheRoute)


@router.get("/right")
async def right() -> Annotated[
    Product, Cached(ttl=5), CacheEvict(group="views"), CacheEvict(key="/views")
]:
    return Product(id=1)


@router.get("/twice")
async def twice() -> Annotated[Product, Cached(ttl=60), Cached(ttl=300)]:  # E:57 redis-cache-conflict Cached conflicts with Cached
    return Product(id=1)


@router.put("/both")
async def both() -> Annotated[Product, CachePut(), Cached(ttl=300)]:  # E: redis-cache-conflict Cached conflicts with CachePut # E: redis-cache-method Cached on PUT
    return Product(id=1)


@router.get("/shared/{team}")
async def shared(
    team: str,
) -> Annotated[Product, Cached(ttl=5, vary="team", shared=True)]:  # E:59 redis-cache-conflict vary selects an entry per caller
    return Product(id=1)
