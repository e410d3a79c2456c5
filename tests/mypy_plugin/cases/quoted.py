from typing import Annotated

from fastapi import APIRouter
from shop_types import Product

from redis_fastapi import Cached, CacheRoute

router = APIRouter(route_class=CacheRoute)
Quoted = Annotated["Later", Cached(ttl=0)]


@router.get("/right/{product_id}")
async def right(product_id: int) -> "Annotated[Product, Cached(ttl=5, group='p:{product_id}')]":
    return Product(id=product_id)


@router.get("/value")
async def value() -> "Annotated[Product, Cached(ttl=0)]":  # E:22 redis-cache-value ttl=0 of Cached
    return Product(id=1)


@router.get("/native")
async def native() -> "Annotated[Product, Cached(ttl='5')]":  # E:23 arg-type Argument "ttl" to "Cached" has incompatible type "str" # R: redis-cache-value
    return Product(id=1)


@router.get("/union")
async def union() -> "Annotated[Product, Cached(ttl=5)] | None":  # E: redis-cache-misplaced Cached has no effect
    return None


@router.get("/type")
async def quoted_type() -> Annotated["Product", Cached(ttl=0)]:  # E:60 redis-cache-value ttl=0 of Cached
    return Product(id=1)


class Later(Product):
    pass


@router.get("/alias")
async def alias() -> Quoted:  # E: redis-cache-value ttl=0 of Cached
    return Later(id=1)
