from typing import Annotated, Optional

from fastapi import APIRouter
from pydantic import BaseModel
from shop_types import Product, ShortProduct

from redis_fastapi import Cached, CacheEvict, CacheRoute

router = APIRouter(route_class=CacheRoute)


@router.get("/right")
async def right() -> Annotated[Product | None, Cached(ttl=5)]:
    return None


@router.get("/union")
async def union() -> Annotated[Product, Cached(ttl=5)] | None:  # E:41 redis-cache-misplaced Cached has no effect here
    return None


@router.get("/optional")
async def optional() -> Optional[Annotated[Product, Cached(ttl=5)]]:  # E: redis-cache-misplaced Cached has no effect
    return None


@router.get("/list")
async def rows() -> list[Annotated[Product, Cached(ttl=5)]]:  # E: redis-cache-misplaced Cached has no effect
    return []


@router.get("/alias")
async def alias() -> list[ShortProduct]:  # E:27 redis-cache-misplaced Cached has no effect
    return []


@router.get("/parameter")
async def parameter(number: Annotated[int, Cached(ttl=5)]) -> Product:  # E: redis-cache-misplaced Cached has no effect
    return Product(id=number)


@router.get("/parameter-class")
async def parameter_class(number: Annotated[int, CacheEvict]) -> Product:  # E: redis-cache-misplaced CacheEvict has no effect
    return Product(id=number)


class Shelf(BaseModel):  # static: FastAPI never shows us a model's fields
    product: Annotated[Product, Cached(ttl=5)]  # E: redis-cache-misplaced Cached has no effect


shelf: Annotated[Product, Cached(ttl=5)] = Product(id=1)  # E: redis-cache-misplaced Cached has no effect # static: a variable has no run time


@router.get("/class")
async def bare() -> Annotated[Product, Cached]:  # E:40 redis-cache-instance Cached is the marker class, not an instance
    return Product(id=1)


@router.delete("/class")
async def bare_evict() -> Annotated[None, CacheEvict, CacheEvict(group="a")]:  # E: redis-cache-instance CacheEvict is the marker class
    return None
