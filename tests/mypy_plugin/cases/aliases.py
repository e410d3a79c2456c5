import typing as t
from typing import Annotated, TypeAlias, TypeVar

import shop_types
from fastapi import APIRouter
from shop_types import (
    NEVER,
    SHORT,
    DeferredProduct,
    NeverProduct,
    Product,
    ProductById,
    ShortProduct,
    lasting,
)
from shop_types import ShortProduct as Quick

import redis_fastapi as rf
from redis_fastapi import Cached as Kept
from redis_fastapi import CacheRoute

T = TypeVar("T")
router = APIRouter(route_class=CacheRoute)
OwnNever = Annotated[Product, Kept(ttl=0)]
OwnExplicit: TypeAlias = Annotated[Product, Kept(ttl="5")]  # E:54 arg-type Argument "ttl" to "Cached" # static: refused where it is used
Many = Annotated[list[T], Kept(ttl=0)]


@router.get("/right-alias")
async def right_alias() -> ShortProduct:
    return Product(id=1)


@router.get("/right-renamed")
async def right_renamed() -> Quick:
    return Product(id=1)


@router.get("/right-constant")
async def right_constant() -> t.Annotated[Product, SHORT]:
    return Product(id=1)


@router.get("/factory-value")
async def factory_value() -> Annotated[Product, lasting(0)]:  # R: redis-cache-value
    return Product(id=1)


@router.get("/right/{product_id}")
async def right_placeholder(product_id: int) -> ProductById:
    return Product(id=product_id)


@router.get("/alias")
async def alias() -> NeverProduct:  # E:22 redis-cache-value ttl=0 of Cached # N: -> Annotated[Product, Cached(ttl=300)]
    return Product(id=1)


@router.get("/dotted")
async def dotted() -> shop_types.NeverProduct:  # E: redis-cache-value ttl=0 of Cached
    return Product(id=1)


@router.get("/placeholder/{number}")
async def placeholder(number: int) -> ProductById:  # E: redis-cache-placeholder names 'product_id'
    return Product(id=number)


@router.get("/constant")
async def constant() -> Annotated[Product, NEVER]:  # E:44 redis-cache-value ttl=0 of Cached
    return Product(id=1)


@router.get("/factory")
async def factory() -> Annotated[Product, lasting("5")]:  # E:51 arg-type Argument 1 to "lasting" has incompatible type "str"; expected "int"
    return Product(id=1)


@router.get("/renamed")
async def renamed() -> Annotated[Product, Kept(ttl=0)]:  # E: redis-cache-value ttl=0 of Cached
    return Product(id=1)


@router.get("/module")
async def module() -> t.Annotated[Product, rf.Cached(ttl=0)]:  # E: redis-cache-value ttl=0 of Cached
    return Product(id=1)


@router.get("/own")
async def own() -> OwnNever:  # E: redis-cache-value ttl=0 of Cached
    return Product(id=1)


@router.get("/explicit")
async def explicit() -> OwnExplicit:  # R: redis-cache-value
    return Product(id=1)


@router.get("/generic")
async def generic() -> Many[Product]:  # E: redis-cache-value ttl=0 of Cached # N: -> Annotated[..., Cached(ttl=300)]
    return []


@router.get("/deferred")
async def deferred() -> DeferredProduct:  # E: redis-cache-value ttl=-1 of Cached
    return Product(id=1)


@router.get("/nested")
async def nested() -> Annotated[ShortProduct, Kept(ttl=9)]:  # E: redis-cache-conflict Cached conflicts with Cached
    return Product(id=1)
