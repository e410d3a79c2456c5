from typing import Annotated

from fastapi import APIRouter
from shop_types import Product

from redis_fastapi import Cached, CacheEvict, CacheRoute

router = APIRouter(route_class=CacheRoute)

type Right = Annotated[Product, Cached(ttl=5)]
type Never = Annotated[Product, Cached(ttl=0)]
type Many[T] = Annotated[list[T], Cached(ttl=5, group="product:{number}")]
type Both = Annotated[Right, CacheEvict(group="a")]
type Own = Annotated[Product, Cached(ttl="5")]  # E:42 arg-type Argument "ttl" to "Cached" # static: refused where it is used


@router.get("/right")
async def right() -> Right:
    return Product(id=1)


@router.get("/both")
async def both() -> Both:
    return Product(id=1)


@router.get("/many/{number}")
async def many(number: int) -> Many[Product]:
    return []


@router.get("/never")
async def never() -> Never:  # E:22 redis-cache-value ttl=0 of Cached
    return Product(id=1)


@router.get("/many")
async def no_number() -> Many[Product]:  # E: redis-cache-placeholder names 'number'
    return []


@router.get("/inside")
async def inside() -> list[Right]:  # E: redis-cache-misplaced Cached has no effect
    return []


@router.get("/own")
async def own() -> Own:  # R: redis-cache-value
    return Product(id=1)
