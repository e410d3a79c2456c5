from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from shop_types import Product

from redis_fastapi import Cached, CacheEvict, CachePut, CacheRoute

router = APIRouter(route_class=CacheRoute)
LIFETIME = "5m"


class Note:
    def __init__(self, text: str) -> None:
        self.text = text


def database() -> int:
    return 1


@router.get("/right")
async def right(
    product_id: Annotated[int, Query(alias="p")],
    db: Annotated[int, Depends(database)],
) -> Annotated[Product, "a text", Note(5), Cached(ttl=5, when=lambda one: one.id > 1)]:
    return Product(id=product_id + db)


@router.get("/call-arg")
async def call_arg() -> Annotated[Product, Cached(tll=5)]:  # E:44 call-arg Unexpected keyword argument "tll" for "Cached"
    return Product(id=1)


@router.get("/arg-type")
async def arg_type() -> Annotated[Product, Cached(ttl="5m")]:  # E:55 arg-type Argument "ttl" to "Cached" has incompatible type "str"; expected "int | timedelta | None"
    return Product(id=1)


@router.get("/constant")
async def constant() -> Annotated[Product, Cached(ttl=LIFETIME)]:  # E: arg-type Argument "ttl" to "Cached" has incompatible type "str"
    return Product(id=1)


@router.put("/call-arg")
async def call_arg_put() -> Annotated[Product, CachePut(vary="a")]:  # E:48 call-arg Unexpected keyword argument "vary" for "CachePut"
    return Product(id=1)


@router.get("/local")
async def local() -> Annotated[Product, Cached(ttl=5, local="no")]:  # E:61 arg-type Argument "local" to "Cached" has incompatible type "str"; expected "bool | None"
    return Product(id=1)


@router.put("/preconditions")
async def preconditions() -> Annotated[Product, CachePut(preconditions=1)]:  # E:72 arg-type Argument "preconditions" to "CachePut" has incompatible type "int"; expected "bool"
    return Product(id=1)


@router.delete("/preconditions")
async def preconditions_evict() -> Annotated[None, CacheEvict(group="a", preconditions=None)]:  # E:88 arg-type Argument "preconditions" to "CacheEvict" has incompatible type "None"; expected "bool"
    return None


@router.get("/read-preconditions")
async def read_preconditions() -> Annotated[Product, Cached(preconditions=True)]:  # E:54 call-arg Unexpected keyword argument "preconditions" for "Cached"
    return Product(id=1)


@router.get("/lines")
async def lines() -> Annotated[
    Product,
    Cached(
        ttl=5,
        group=5,  # E:15 arg-type Argument "group" to "Cached" has incompatible type "int"
        vary=["a"],  # E:14 arg-type Argument "vary" to "Cached" has incompatible type "list[str]"
    ),
]:
    return Product(id=1)


@router.get("/undefined")
async def undefined() -> Annotated[Product, Cached(ttl=LIFETME)]:  # E:56 name-defined Name "LIFETME" is not defined
    return Product(id=1)


def told(result: Any, twice: int) -> bool:
    return bool(result) and twice > 1


@router.delete("/predicate")
async def predicate() -> Annotated[None, CacheEvict(group="a", when=told)]:  # E: arg-type Argument "when" to "CacheEvict" has incompatible type # static: its shape shows at the first call
    return None
